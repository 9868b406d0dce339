"""Each symptom on samples that have it, and none on fresh draws of the same data, whatever kind of data it is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noisette.metrics.memory import memory
from noisette.metrics.symptoms import CHANCE, Walk, absent, findings, grain, symptoms

WELL = Walk(True, 1.3, 1.1)


def photos(n: int, seed: int) -> np.ndarray:
    """Smooth colour images with a little grain, (n, 16, 16, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 55, (n, 4, 4, 3)).repeat(4, 1).repeat(4, 2) + rng.normal(0, 25, (n, 1, 1, 3))
    for _ in range(2):
        coarse = (coarse + np.roll(coarse, 1, 1) + np.roll(coarse, 1, 2) + np.roll(coarse, -1, 1)) / 4
    return to_bytes(120 + coarse + rng.normal(0, 3, (n, 16, 16, 3)))


def strokes(n: int, seed: int) -> np.ndarray:
    """White bars on black, no tone between."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 16, 16, 1), np.uint8)
    for image in x:
        top, left = rng.integers(1, 9, 2)
        height, width = rng.integers(2, 7, 2)
        image[top : top + height, left : left + width] = 255
    return x


def night(n: int, seed: int) -> np.ndarray:
    """Dark, a fifth of it all black."""
    x = photos(n, seed) // 8
    x[np.random.default_rng(seed).random(n) < 0.2] = 0
    return x


def static(n: int, seed: int) -> np.ndarray:
    """Noise is what these data are."""
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 1), dtype=np.uint8)


def to_bytes(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def ill(samples: np.ndarray, real: np.ndarray, **known: object) -> list[str]:
    found = symptoms(samples, real, **known)  # type: ignore[arg-type]
    assert all(s.words.endswith(".") and math.isfinite(s.expected[0]) for s in found)
    return [symptom.key for symptom in findings(found)]


@pytest.mark.parametrize("kind", [photos, strokes, night, static])
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("n", [36, 64])
def test_fresh_draws_of_the_data_are_well(kind, seed: int, n: int) -> None:
    real = kind(300, 0)
    samples = kind(n, seed)
    assert ill(samples, real, walk=WELL, memory=memory(samples, real, kind(60, 99))) == []


def black(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return to_bytes(rng.normal(2, 1, x.shape))


def constant(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return to_bytes(rng.integers(60, 200, (len(x), 1, 1, 1)) + rng.normal(0, 1, x.shape))


def saturated(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return to_bytes(128 + 4 * (x.astype(float) - x.mean((1, 2, 3), keepdims=True)))


def noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return to_bytes(x + rng.normal(0, 15, x.shape))


def collapsed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return to_bytes(x[np.arange(len(x)) % 3] + rng.normal(0, 2, x.shape))


@pytest.mark.parametrize("harm", [black, constant, saturated, noisy, collapsed])
@pytest.mark.parametrize("kind", [photos, strokes])
def test_each_symptom_is_told_and_no_other(harm, kind) -> None:
    if (harm, kind) == (saturated, strokes):
        pytest.skip("black and white data cannot be saturated")
    samples = harm(kind(64, 1), np.random.default_rng(2))
    (found,) = findings(symptoms(samples, kind(300, 0), WELL))
    assert found.key == harm.__name__ and found.beyond >= 1
    assert not found.expected[0] <= found.measured <= found.expected[1]


def test_shades_are_lost_in_drawings() -> None:
    """Data of black and white with some grey: a third of it gone is noticed, though the ends are full anyway."""
    real = to_bytes(strokes(300, 0) * 0.6 + strokes(300, 3) * 0.4)
    assert "saturated" not in ill(to_bytes(strokes(64, 1) * 0.6 + strokes(64, 4) * 0.4), real)
    assert "saturated" in ill(strokes(64, 1), real)


@pytest.mark.parametrize(("share", "expected"), [(0.05, []), (0.25, ["black"])])
def test_one_black_sample_in_twenty_is_chance(share: float, expected: list[str]) -> None:
    samples = photos(64, 1)
    samples[: round(share * 64)] = 0
    assert ill(samples, photos(300, 0)) == expected


@pytest.mark.parametrize(
    ("walk", "says"),
    [
        (Walk(False, 1.0, 1.0), "no number"),
        (Walk(True, 40.0, 1.0), "up to 40.0"),
        (Walk(True, math.inf, 1.0), "up to inf"),
        (Walk(True, 1.0, 9.0), "9.0 times"),
    ],
)
def test_explosions(walk: Walk, says: str) -> None:
    samples = photos(64, 1)
    (found,) = findings(symptoms(samples, photos(300, 0), walk))
    assert found.key == "exploding" and says in found.words and found.beyond > 2


def test_copies_explain_why_samples_are_alike() -> None:
    real = photos(20, 0)
    samples = real[np.arange(64) % 5]
    copied = memory(samples, real)
    assert ill(samples, real) == ["collapsed"]
    assert ill(samples, real, memory=copied) == ["copied"]


def test_classes_are_compared_with_their_own() -> None:
    """Two classes, each of near-equal images: samples like them are as varied as they should be."""

    def two(n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return to_bytes(photos(2, 7)[np.arange(n) % 2] + rng.normal(0, 6, (n, 16, 16, 3)))

    labels, real_labels = np.arange(40) % 2, np.arange(200) % 2
    assert ill(two(40, 1), two(200, 0), labels=labels, real_labels=real_labels) == []
    alike = two(2, 1)[labels]
    assert ill(alike, two(200, 0), labels=labels, real_labels=real_labels) == ["collapsed"]
    assert ill(two(40, 1), two(200, 0), labels=labels + 5, real_labels=real_labels) == []  # no class in common


def test_missing_classes() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 500)
    seen = np.where(rng.random(500) < 0.9, true, rng.integers(0, 5, 500))  # read right nine times in ten
    classes = ("a", "b", "c", "d", "e")
    for told in (None, np.arange(64) % 5):
        whole = absent(np.arange(64) % 5, told, seen, true, classes)
        assert whole is not None and not whole.ill
        lost = absent(np.arange(64) % 3, told, seen, true, classes)
        assert lost is not None and lost.key == "collapsed" and lost.ill and "d, e" in lost.words
    only = np.zeros(64, np.int64)
    asked = absent(only, only, seen, true, classes)  # nothing else was asked for: a few misreadings are no class
    assert asked is None or not asked.ill
    assert absent(np.arange(8) % 5, None, seen, true, classes) is None  # too few
    assert absent(np.arange(64) % 3, None, rng.integers(0, 5, 500), true, classes) is None  # cannot be read
    assert absent(np.arange(64) % 3, None, seen[:0], true[:0], classes) is None
    assert math.exp(-CHANCE) < 2e-4


def test_grain_is_the_share_of_the_finest_detail() -> None:
    checks = np.indices((8, 8)).sum(0) % 2 * 200
    x = np.stack([checks, np.full((8, 8), 90), np.linspace(0, 255, 64).reshape(8, 8)])[..., None].astype(np.uint8)
    found = grain(x)
    assert found[0] == pytest.approx(2.0) and found[1] == 0 and found[2] < 0.01  # 2 x 2 checks are all detail
    assert grain(x[:, :7, :7]).shape == (3,)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        symptoms(photos(5, 0), strokes(5, 0))
    with pytest.raises(ValueError, match="2 samples"):
        symptoms(photos(1, 0), photos(5, 0))

"""Nearest training images by brute force, and verdicts on models that are known to copy or not to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisette.diffusion.exact import Empirical, Gaussian, Mixture
from noisette.diffusion.samplers import SampleNoise, heun, start, time_grid
from noisette.diffusion.schedules import make_schedule
from noisette.metrics import memory as measured
from noisette.metrics.memory import Nearest, judge, memory, nearest, unseen

SHAPE = (1, 6, 6)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def brute(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """(N, M) distances by their definition."""
    a, b = x.reshape(len(x), -1).astype(np.float64), train.reshape(len(train), -1).astype(np.float64)
    return np.sqrt(((a[:, None] - b) ** 2).sum(2))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_neighbours_are_those_of_brute_force(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the blocks, far from the origin too."""
    x, train = (rng(k).integers(0, 256, (n, 5, 4, 3)).astype(dtype) for k, n in ((1, 37), (2, 90)))
    if dtype != np.uint8:
        x, train = x + dtype(1e4), train + dtype(1e4)
    distance = brute(x, train)
    seen: list[tuple[int, int]] = []
    for elements in (2**22, 600, 1):
        monkeypatch.setattr(measured, "_ELEMENTS", elements)
        found = nearest(x, train, k=3, progress=lambda *p: seen.append(p))
        assert found.index.dtype == np.int64
        np.testing.assert_allclose(found.distance, np.sort(distance)[:, :3], rtol=1e-12)
        np.testing.assert_allclose(np.take_along_axis(distance, found.index, 1), found.distance, rtol=1e-12)
        np.testing.assert_allclose(found.ratio, found.distance[:, 0] / found.distance[:, 1])
        assert seen[-1] == (90, 90)


def test_equal_training_images_count_once_and_a_copy_is_at_zero() -> None:
    train = rng().integers(0, 256, (20, *SHAPE), dtype=np.uint8)
    train[7] = train[3]
    train[12] = train[3]
    found = nearest(train[[12, 5]], train)
    assert found.index[0, 0] == 3 and found.distance[0, 0] == 0 and found.distance[0, 1] > 100
    assert found.index[1, 0] == 5 and (found.ratio == 0).all()
    left_out = unseen(train)
    assert len(left_out) == 18 and left_out.distance.min() > 100  # no image has itself, or its equal, for a neighbour
    assert len(unseen(train, most=5)) == 5
    np.testing.assert_allclose(left_out.distance[0, 0], np.sort(brute(train[:1], train)[0])[1])


@pytest.mark.parametrize(
    ("x", "train", "says"),
    [
        (np.zeros((2, 3)), np.zeros((9, 4)), "shape"),
        (np.zeros((2, 3)), np.zeros((9, 3)), "there are 1"),
        (np.full((2, 3), np.nan), rng().normal(size=(9, 3)), "finite"),
        (np.zeros((2, 3)), np.full((9, 3), np.inf) * rng().normal(size=(9, 1)), "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(x: np.ndarray, train: np.ndarray, says: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=says):
        nearest(x, train)
    with pytest.raises(ValueError, match="at least one sample"):
        judge(Nearest(np.zeros((0, 2), np.int64), np.zeros((0, 2))), unseen(rng().normal(size=(9, 3))), "train")


def sampled(model: object, n: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    noise = SampleNoise(range(n), shape, dtype=torch.float64)
    schedule = model.schedule  # type: ignore[attr-defined]
    *_, last = heun(model, start(schedule, noise), time_grid(schedule, 60), noise=noise)  # type: ignore[arg-type]
    return last.x.numpy()


def smooth(n: int, seed: int) -> np.ndarray:
    """Draws from a Gaussian of which few directions vary much, as images do."""
    return (rng(seed).normal(size=(n, 36)) * 0.6 ** np.arange(36) @ basis()).reshape(n, *SHAPE)


def basis() -> np.ndarray:
    return np.linalg.qr(rng(9).normal(size=(36, 36)))[0]


def test_a_model_that_knows_its_images_by_heart_copies() -> None:
    train = smooth(60, 1)
    model = Empirical(torch.from_numpy(train), make_schedule("cosine"))
    for held_out in (smooth(100, 2), smooth(10, 2), None):
        found = memory(sampled(model, 80), train, held_out)
        assert found.verdict == "copies" and found.copied.low > 0.85 > found.copied_unseen.high
        assert found.closer.value == 1 and found.nearer.value > 0.999
        assert found.measure == ("held_out" if held_out is not None and len(held_out) == 100 else "train")
        assert "copies its training pictures" in found.words


@pytest.mark.parametrize("held_out", [True, False])
def test_a_model_of_the_distribution_does_not_copy(held_out: bool) -> None:
    covariance = torch.from_numpy(basis().T * 0.36 ** np.arange(36) @ basis())
    schedule = make_schedule("cosine")
    gaussian = Gaussian(torch.zeros(SHAPE, dtype=torch.float64), covariance, schedule)
    found = memory(sampled(gaussian, 300), smooth(500, 1), smooth(300, 2) if held_out else None)
    assert found.verdict == "learned" and "not copies" in found.words, found.words
    assert found.closer.low < 0.05 < found.closer.high and found.nearer.low < 0.5 < found.nearer.high
    centres = torch.from_numpy(3 * smooth(5, 3))
    mixture = Mixture(centres, torch.full((5,), 0.3), schedule)
    train, other = (centres.numpy()[r.integers(0, 5, 400)] + r.normal(0, 0.3, (400, *SHAPE)) for r in (rng(4), rng(5)))
    found = memory(sampled(mixture, 300), train, other if held_out else None)
    assert found.verdict == "learned", found.words
    assert found.closer.low < 0.05 < found.closer.high and found.nearer.low < 0.5 < found.nearer.high


def test_some_copies_among_many_samples_are_found() -> None:
    train, other, own = smooth(400, 1), smooth(200, 2), smooth(200, 3)
    for share, verdict in ((0, "learned"), (0.04, "unsure"), (0.1, "copies"), (1, "copies")):
        samples = own.copy()
        count = round(share * len(own))
        samples[:count] = train[:count]
        found = memory(samples, train, other)
        assert found.verdict == verdict and found.copied.value == pytest.approx(share, abs=0.011), found.words
    assert memory(own[:20], train, other).verdict == "unsure"
    assert memory(train[:20], train, other).verdict == "copies"  # few, but clear


def test_washed_out_samples_are_near_and_no_copies() -> None:
    """The mean image is nearer to the data than the data are to each other."""
    train, other = smooth(400, 1), smooth(200, 2)
    found = memory(0.3 * smooth(200, 3), train, other)
    assert found.nearer.low > 0.6 and found.verdict == "learned", found.words


def test_copies_of_images_that_come_in_versions_are_suspect() -> None:
    """Two versions of each image hide copies from the ratio; they are still much nearer than held-out images."""
    once = smooth(200, 1)
    train = np.concatenate([once, once + rng(6).normal(0, 1e-3, once.shape)])
    found = memory(once[:100] + rng(7).normal(0, 1e-3, (100, *SHAPE)), train, smooth(200, 2))
    assert found.verdict == "unsure" and "several versions" in found.words and found.closer.value == 1


def test_versions_of_one_image_count_once_where_they_are_known() -> None:
    """Of the images in a group only the nearest counts: copies show, and an image left out is without its versions."""
    once = smooth(60, 1)
    train = np.concatenate([once + rng(k).normal(0, 1e-3, once.shape) for k in range(3)])
    groups = np.tile(np.arange(60), 3)
    copies = once[:40] + rng(7).normal(0, 1e-3, (40, *SHAPE))
    distance = brute(copies, train).reshape(40, 3, 60).min(1)
    found = nearest(copies, train, k=3, groups=groups)
    np.testing.assert_allclose(found.distance, np.sort(distance)[:, :3], rtol=1e-9)
    assert (groups[found.index[:, 0]] == np.arange(40)).all()
    left_out = unseen(train, groups=groups.astype(str))
    assert (groups[left_out.index] != groups[: len(train), None]).all() and left_out.distance.min() > 0.01
    for held_out in (smooth(200, 2), None):
        assert memory(copies, train, held_out).verdict != "copies"
        judged = memory(copies, train, held_out, groups=groups, what="clip")
        assert judged.verdict == "copies" and "copies its training clips" in judged.words
        assert memory(smooth(200, 3), train, held_out, groups=groups).verdict == "learned"
    with pytest.raises(ValueError, match="need 2 different groups of distinct training images, there are 1"):
        nearest(copies, train, groups=0 * groups)
    for held_out in (smooth(200, 2), None):
        with pytest.raises(ValueError, match="training clips, there are 1"):
            memory(copies, train, held_out, groups=0 * groups, what="clip")
    with pytest.raises(ValueError, match="different groups of distinct"):
        nearest(copies, np.concatenate([once[:2], once[:2]]), k=3, groups=np.arange(4))


@pytest.mark.parametrize("elements", [2**22, 500, 60])
def test_the_nearest_of_each_group_are_those_of_brute_force(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of any size, all mixed, in blocks of any size."""
    monkeypatch.setattr(measured, "_ELEMENTS", elements)
    x, train = rng(1).normal(size=(15, 6)), rng(2).normal(size=(80, 6))
    groups = np.repeat([0, 1, 2, 3, 4], [60, 10, 6, 3, 1])[rng(3).permutation(80)]
    distance = brute(x, train)
    best = np.stack([np.where(groups == g, distance, np.inf).min(1) for g in range(5)], 1)
    for k in (1, 2, 5):
        found = nearest(x, train, k=k, groups=groups)
        np.testing.assert_allclose(found.distance, np.sort(best)[:, :k], rtol=1e-9)
        np.testing.assert_allclose(np.take_along_axis(distance, found.index, 1), found.distance, rtol=1e-9)
        assert (groups[found.index] == np.argsort(best)[:, :k]).all()


def test_a_large_group_costs_no_more_than_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances are taken anew of the k nearest alone, however many images a group has."""
    refined: list[tuple[int, ...]] = []
    monkeypatch.setattr(measured, "_refined", lambda x, train, index: refined.append(index.shape))
    train = rng().normal(size=(500, 3))
    nearest(train[:7], train, groups=(np.arange(500) >= 490).astype(int))
    assert refined == [(7, 2)]


def test_the_interval_of_nearer_holds_its_level() -> None:
    """95 % of intervals hold the true probability, here Phi(1/sqrt(2)) = 0.7602 for normals one apart."""
    hits = 0
    for seed in range(300):
        a, b = rng(seed).normal(0, 1, (80, 1)), rng(1000 + seed).normal(1, 1, (60, 1))
        found = measured._before(a[:, 0], b[:, 0])
        hits += found.low <= 0.7602 <= found.high
    assert 0.92 <= hits / 300 <= 0.98
    ties = measured._before(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0]))
    assert ties.value == pytest.approx((0.5 + 1 + 0.5 + 1 + 0 + 0.5) / 6)

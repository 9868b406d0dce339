"""Illnesses that were put into clips are found, and healthy clips have none."""

from __future__ import annotations

import motion_toys as toys
import numpy as np
import pytest

from noisette.metrics.memory import memory
from noisette.metrics.motion import Body, comparable
from noisette.metrics.motion_symptoms import KEYS, Symptom, findings, symptoms


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    return toys.figures(150, 0)[0]


@pytest.fixture(scope="module")
def body(real: np.ndarray) -> Body:
    return Body.of(real, toys.EDGES, root=toys.ROOT, feet=toys.FEET, up=toys.UP, fps=toys.FPS)


def keys(found: list[Symptom]) -> list[str]:
    return [symptom.key for symptom in findings(found)]


def test_healthy_clips_have_no_symptom(real: np.ndarray, body: Body) -> None:
    for seed in (1, 2):
        found = symptoms(toys.figures(80, seed)[0], real, body)
        assert [s.key for s in found] == list(KEYS[:5]) and not keys(found), findings(found)
        assert max(s.beyond for s in found) < 0.9
    shaky = real + np.random.default_rng(0).normal(0, 0.01, real.shape)  # a shaky recording, and samples like it
    same = toys.figures(80, 1)[0] + np.random.default_rng(1).normal(0, 0.01, (80, *real.shape[1:]))
    assert not keys(symptoms(same, shaky, Body.of(shaky, toys.EDGES, root=0, fps=toys.FPS)))


@pytest.mark.parametrize(
    ("name", "ills"),
    [
        ("noise", ["broken", "jittery"]),
        ("shuffled", ["jittery"]),
        ("frozen", ["frozen"]),
        ("long bones", ["broken"]),
        ("loose bones", ["broken"]),
        ("drifting", ["drifting"]),
    ],
)
def test_each_illness_is_found(name: str, ills: list[str], real: np.ndarray, body: Body) -> None:
    found = symptoms(toys.spoilt(toys.figures(80, 1)[0], 0)[name], real, body)
    assert set(keys(found)) - {"collapsed"} == set(ills), findings(found)
    assert keys(found) == [k for k in KEYS if k in keys(found)]


def test_the_words_say_what_was_seen(real: np.ndarray, body: Body) -> None:
    said = {
        name: {s.key: s.words for s in symptoms(x, real, body)}
        for name, x in toys.spoilt(toys.figures(80, 1)[0], 0).items()
    }
    assert said["long bones"]["broken"].startswith(
        "80 of 80 samples fall apart: their bones are off by 30.0 % of their"
    )
    assert said["loose bones"]["broken"].endswith("those of real clips by less than 0.1 %.")
    assert "hardly move: 0 % of what real clips do" in said["frozen"]["frozen"]
    assert "drift away: 1." in said["drifting"]["drifting"] and "trembles" in said["noise"]["jittery"]


def test_a_part_of_the_samples_is_enough(real: np.ndarray, body: Body) -> None:
    """A quarter that does not move, or is broken, or leaves; a twentieth is let pass."""
    x = toys.figures(80, 1)[0]
    for name, key in (("frozen", "frozen"), ("long bones", "broken"), ("drifting", "drifting")):
        for share, wanted in ((0.25, [key]), (0.05, [])):
            mixed = x.copy()
            count = round(share * len(x))
            mixed[:count] = toys.spoilt(x, 0)[name][:count]
            assert keys(symptoms(mixed, real, body)) == wanted, (name, share)


def test_jitter_in_quiet_moments_shows_beside_fast_ones() -> None:
    """Real clips rest for a half and then move fast; the samples' rest is not still."""
    rng = np.random.default_rng(0)

    def bursts(n: int) -> np.ndarray:
        x = np.zeros((n, 40, 2, 3))
        x[:, 20:, 1, 0] = rng.normal(0, 1, (n, 20)).cumsum(1)
        return x + rng.normal(0, 0.001, x.shape)

    real, samples = bursts(60), bursts(60)
    body = Body.of(real, fps=20.0)
    assert not keys(symptoms(samples, real, body))
    samples[:, :20] += rng.normal(0, 0.15, (60, 20, 2, 3))
    (ill,) = findings(symptoms(samples, real, body))
    assert ill.key == "jittery" and "in the quietest moments" in ill.words


def test_alike_and_copied(real: np.ndarray, body: Body) -> None:
    rng = np.random.default_rng(0)
    alike = np.repeat(real[:2], 40, 0) + rng.normal(0, 0.001, (80, *real.shape[1:])).astype(np.float32)
    assert "collapsed" in keys(symptoms(alike, real, body))
    held_out = toys.figures(60, 5)[0]
    copies = real[:80] + rng.normal(0, 1e-4, (80, *real.shape[1:])).astype(np.float32)
    spaces = [comparable(x, toys.ROOT) for x in (copies, real, held_out)]
    judged = memory(*spaces, what="clip")
    assert "the model copies its training clips" in judged.words
    assert keys(symptoms(copies, real, body, memory=judged)) == ["copied"]


def test_classes_are_compared_with_their_own() -> None:
    """Samples of one class that was asked for are as varied as that class, if not as all."""
    real, labels = toys.figures(200, 0)
    x, told = toys.figures(160, 1)
    x, told = x[told == 0], told[told == 0]
    body = Body.of(real, toys.EDGES, root=0, fps=toys.FPS)
    found = {s.key: s for s in symptoms(x, real, body, told, labels)}
    assert not found["collapsed"].ill and found["collapsed"].measured == pytest.approx(1, abs=0.3)


def test_degenerate_data_are_no_illness() -> None:
    still = np.zeros((10, 6, 3, 2)) + np.random.default_rng(0).normal(size=(10, 1, 3, 2))
    found = symptoms(still, still, Body.of(still, np.array([(0, 1)])))
    assert not keys(found)
    point = np.random.default_rng(0).normal(size=(20, 8, 1, 2)).cumsum(1)
    assert not keys(symptoms(point, point, Body.of(point)))
    with pytest.raises(ValueError, match="of one shape are needed"):
        symptoms(still[:1], still, Body.of(still))
    with pytest.raises(ValueError, match="of one shape are needed"):
        symptoms(still[:, :5], still, Body.of(still))

"""Real recordings: what is worse measures worse, and real clips of other people measure as real."""

from __future__ import annotations

import motion_toys as toys
import numpy as np
import pytest
from numpy.typing import NDArray

from noisette.metrics.distances import diversity, frechet, kid, multimodality, prdc
from noisette.metrics.memory import memory
from noisette.metrics.motion import Body, comparable, measures
from noisette.metrics.motion_features import train_autoencoder, train_classifier
from noisette.metrics.motion_symptoms import findings, symptoms
from noisette.metrics.ratios import beside

ROOT, FEET, UP, FPS = 6, (17, 18), 1, 15.0


@pytest.fixture(scope="module")
def cut() -> dict[str, NDArray]:
    return toys.windows()


@pytest.fixture(scope="module")
def halves(cut: dict[str, NDArray]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Training subjects, and the sequences of the others in two halves."""
    train = cut["subject"] % 2 == 1
    names = np.random.default_rng(0).permutation(np.unique(cut["sequence"][~train]))
    first = np.isin(cut["sequence"], names[: len(names) // 2])
    return train, first & ~train, ~first & ~train


def body_of(x: NDArray, edges: NDArray) -> Body:
    return Body.of(x, edges, root=ROOT, feet=FEET, up=UP, fps=FPS)


def test_movement_is_measured(cut: dict[str, NDArray], halves: tuple[NDArray, ...]) -> None:
    train, first, second = halves
    body = body_of(cut["x"][train], cut["edges"])
    assert 1.4 < body.size < 1.8
    real, groups = measures(cut["x"][first], body), cut["sequence"][first]
    other = cut["x"][second]
    ratio = {
        name: {m: found.ratio for m, v in measures(x, body).items() if (found := beside(v, real[m], groups)).ratio}
        for name, x in {"same": other, **toys.spoilt(other, ROOT)}.items()
    }
    for measure in ("speed", "acceleration", "jerk", "sliding", "contact"):
        assert ratio["same"][measure].low < 1 < ratio["same"][measure].high, measure
    assert ratio["noise"]["jerk"].low > 2 and ratio["shuffled"]["jerk"].low > 4
    assert ratio["frozen"]["speed"].high == 0
    assert ratio["noise"]["bone_jitter"].low > 5 and ratio["loose bones"]["bone_jitter"].low > 4
    assert ratio["long bones"]["bone_error"].low > 2 and ratio["noise"]["bent"].low > ratio["same"]["bent"].high
    assert ratio["drifting"]["sliding"].low > 1.5


def test_illnesses_are_found(cut: dict[str, NDArray], halves: tuple[NDArray, ...]) -> None:
    train, first, _ = halves
    body = body_of(cut["x"][train], cut["edges"])
    wanted = {
        "noise": ["broken", "jittery"],
        "shuffled": ["jittery"],
        "frozen": ["frozen"],
        "long bones": ["broken"],
        "loose bones": ["broken"],
        "drifting": ["drifting"],
    }
    real = cut["x"][train]
    assert not findings(symptoms(cut["x"][first], real, body))
    for name, x in toys.spoilt(cut["x"][first], ROOT).items():
        assert [s.key for s in findings(symptoms(x, real, body))] == wanted[name], name


def test_copies_are_told_from_new_recordings() -> None:
    """Windows of one recording overlap: only against other recordings is a copy of one much nearer than the next."""
    cut = toys.windows(stride=1)
    train = cut["subject"] % 2 == 1
    poses = comparable(cut["x"], ROOT)
    held_out, groups = poses[~train][::10], cut["sequence"][train]
    copies = poses[train][::40] + np.random.default_rng(0).normal(0, 0.008 / 640**0.5, poses[train][::40].shape)
    new = memory(held_out[::2], poses[train], held_out[1::2], groups=groups, what="clip")
    assert new.verdict == "learned" and 0.05 < np.median(new.nearest.distance[:, 0]) < 0.3  # metres
    found = memory(copies, poses[train], held_out, groups=groups, what="clip")
    assert found.verdict == "copies" and np.median(found.nearest.distance[:, 0]) < 0.02
    assert memory(copies, poses[train], held_out, what="clip").copied.value < found.copied.value


@pytest.mark.parametrize("labelled", [True, False])
def test_distances_grow_with_damage(labelled: bool, cut: dict[str, NDArray], halves: tuple[NDArray, ...]) -> None:
    train, first, second = halves
    x, y = cut["x"], cut["labels"]
    if labelled:
        names = [str(k) for k in range(20)]
        extractor = train_classifier(x[train], y[train], names, x[~train], y[~train], root=ROOT, epochs=20)
        assert extractor.accuracy is not None and extractor.accuracy > 0.7
    else:
        extractor = train_autoencoder(x[train], x[~train], root=ROOT, epochs=20)
    real, other = extractor(x[first]), extractor(x[second])
    floor, near = frechet(real, other).value, prdc(real, other)
    assert near.precision.value > 0.8 and near.recall.value > 0.8
    seen = ("noise", "shuffled", "frozen", "long bones")  # the rest is for the measures of bones and of drift
    damaged = {name: extractor(z) for name, z in toys.spoilt(x[second], ROOT).items() if name in seen}
    assert min(frechet(real, z).value for z in damaged.values()) > 2 * floor
    assert min(kid(real, z).value for z in damaged.values()) > 2 * kid(real, other).high
    assert prdc(real, damaged["frozen"]).recall.high < 0.5
    assert multimodality(real, y[first]).value.high < diversity(real).low

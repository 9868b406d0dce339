"""What is wrong with samples, told by measurement: black, flat, saturated, exploding, noisy, alike, copied.

Every limit is drawn from real images of the same data set, so that dark, grainy or black-and-white data are no illness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.metrics.memory import SHARE, Memory

Images = NDArray[np.uint8]
Array = NDArray[np.float64]

AFFECTED = 0.1
"""Share of samples that may be black or flat."""

REACH, SWELL = 3.0, 2.0
"""How far the estimates of x0, in units of the data's range, and the size of x, in units of what it should be, may go.
Trained nets stay below 1.6 and 1.3; guidance of 10 brings them to 2 and 1.4."""

HISS = 5.0
"""Grey levels of fine detail that a plain ground may have beyond that of real images: trained nets leave one or two."""

ALIKE = 0.5
"""How near samples may be to each other, over how near real images are."""

READABLE = 0.7
"""Share of unseen images whose class the nearest training image must tell, for classes to be judged by it."""

CHANCE = 9.0
"""Samples of absent classes that should be there: none of 9 expected is seen with a probability of 1e-4."""


@dataclass(frozen=True)
class Walk:
    """What was seen on the way from noise to samples.

    finite: no value was inf or nan. reach: the largest |x0| that the model believed in once signal dominated, before
    clipping (99.9 % quantile over values; the data's is 1). swell: the largest root mean square of x over what it
    should be at its noise level.
    """

    finite: bool
    reach: float
    swell: float


@dataclass(frozen=True)
class Symptom:
    """One measurement of samples against real images.

    key: one of KEYS. measured, and the range `expected` of
    real images in the same unit. beyond: how far past its limit, ill from 1 on. words: what was found.
    """

    key: str
    measured: float
    expected: tuple[float, float]
    beyond: float
    words: str

    @property
    def ill(self) -> bool:
        return self.beyond >= 1


KEYS = ("exploding", "black", "constant", "saturated", "noisy", "collapsed", "copied")

HIDES: dict[str, tuple[str, ...]] = {
    "black": ("saturated", "noisy", "collapsed"),
    "constant": ("saturated", "noisy", "collapsed"),
    "copied": ("collapsed",),
}
"""Symptoms that only follow from another one."""


def symptoms(
    samples: Images,
    real: Images,
    walk: Walk | None = None,
    labels: NDArray[np.int64] | None = None,
    real_labels: NDArray[np.int64] | None = None,
    memory: Memory | None = None,
) -> list[Symptom]:
    """All measurements of samples (N, H, W, C) against real images (M, H, W, C), the ill and the healthy ones.

    labels (N,), real_labels (M,): classes that the samples were told and the real images have, so that the variety of
    a class is compared with its own. walk, memory: where they are known.

    Raises:
        ValueError: fewer than 2 images on a side, or different shapes.
    """
    if samples.shape[1:] != real.shape[1:] or min(len(samples), len(real)) < 2:
        raise ValueError(f"2 samples and 2 real images of one shape are needed, got {samples.shape}, {real.shape}")
    black, dark = _black(samples, real)
    found = [black, _constant(samples, real, dark), _saturated(samples, real), _noisy(samples, real)]
    if walk is not None:
        found.insert(0, exploding(walk))
    found.append(collapsed(samples, real, labels, real_labels))
    if memory is not None:
        found.append(copied(memory))
    return found


def findings(found: Sequence[Symptom], keys: Sequence[str] = KEYS) -> list[Symptom]:
    """The ill ones, in the order of their keys, without those that another one explains."""
    ill = sorted((symptom for symptom in found if symptom.ill), key=lambda symptom: keys.index(symptom.key))
    hidden = {key for symptom in ill for key in HIDES.get(symptom.key, ())}
    return [symptom for symptom in ill if symptom.key not in hidden]


# --- picture by picture -------------------------------------------------------------------------------------------


def _flat(x: NDArray[Any]) -> Array:
    return x.reshape(len(x), -1).astype(np.float64)


def brightest(x: Images) -> Array:
    """(N,) the 99.5 % quantile of an image's values, 0 to 255."""
    return np.asarray(np.quantile(_flat(x), 0.995, axis=1))


def contrast(x: Images) -> Array:
    """(N,) standard deviation of an image's values over places and colours, in grey levels."""
    return np.asarray(_flat(x).std(1))


def at_ends(x: Images) -> Array:
    """(N,) share of an image's values that are within 8 levels of black or of full."""
    return np.asarray(((x <= 8) | (x >= 247)).reshape(len(x), -1).mean(1))


def _detail(x: Images) -> Array:
    """(N, M) size of the finest diagonal detail at every place, in grey levels: Haar's, over 2 x 2 pixels."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    y = x[:, :height, :width].astype(np.float64)
    detail = (y[:, ::2, ::2] - y[:, 1::2, ::2] - y[:, ::2, 1::2] + y[:, 1::2, 1::2]) / 2
    return np.abs(detail).reshape(len(x), -1)


def grain(x: Images) -> Array:
    """(N,) mean size of the finest detail over the contrast; 0 for a flat image."""
    spread = contrast(x)
    return np.asarray(np.where(spread >= 1, _detail(x).mean(1) / np.maximum(spread, 1), 0.0))


def hiss(x: Images) -> Array:
    """(N,) median size of the finest detail, in grey levels: 0 where more than half of an image is plain."""
    return np.asarray(np.median(_detail(x), axis=1))


def _black(samples: Images, real: Images) -> tuple[Symptom, NDArray[np.bool_]]:
    """The symptom, and which samples are black."""
    lit, usual = brightest(samples), brightest(real)
    low = float(np.quantile(usual, 0.01))
    dark = lit < low / 4
    share = float(dark.mean())
    words = (
        f"{count(dark)} are black: their brightest pixels are at {np.median(lit[dark]) if share else 0:.0f} of 255, "
        f"those of real pictures at {low:.0f} or more."
    )
    return Symptom("black", share, ordinary(usual < low / 4), excess(share, usual < low / 4), words), dark


def _constant(samples: Images, real: Images, dark: NDArray[np.bool_]) -> Symptom:
    spread, usual = contrast(samples), contrast(real)
    low, high = (float(v) for v in np.quantile(usual, (0.05, 0.95)))
    flat = (spread < low / 4) & ~dark
    theirs = float(np.median(spread[flat])) if flat.any() else 0.0
    words = (
        f"{count(flat)} are one flat colour: their contrast (standard deviation) is {theirs:.1f} grey levels, that of "
        f"real pictures {low:.0f} to {high:.0f}."
    )
    share = float(flat.mean())
    return Symptom("constant", share, ordinary(usual < low / 4), excess(share, usual < low / 4), words)


def count(hit: NDArray[np.bool_]) -> str:
    """How many of the samples, in words."""
    return f"{int(hit.sum())} of {len(hit)} samples"


def ordinary(hit: NDArray[np.bool_]) -> tuple[float, float]:
    """The range of a share that real ones have."""
    return 0.0, float(hit.mean())


def excess(share: float, usual: NDArray[np.bool_]) -> float:
    """How far a share of samples is past what may have it, where these of the real ones do: ill from 1 on."""
    return share / (AFFECTED + float(usual.mean()))


def _saturated(samples: Images, real: Images) -> Symptom:
    """In pictures of black and white it shows in the middle tones, which go; in others in the ends, which fill."""
    ends, usual = float(np.median(at_ends(samples))), at_ends(real)
    low, middle, quarter, high = (float(v) for v in np.quantile(usual, (0.05, 0.5, 0.75, 0.95)))
    limit = min(quarter + 0.15, 1 - (1 - high) / 2)
    words = (
        f"{100 * ends:.0f} % of a sample's values are black or full (in the median), of a real picture's "
        f"{100 * middle:.0f} %: the tones between are lost."
    )
    return Symptom("saturated", ends, (low, high), ends / limit if high < 1 else 0.0, words)


def _noisy(samples: Images, real: Images) -> Symptom:
    """By the grain, which holds at any contrast, or by the hiss, which shows on plain grounds beside sharp edges."""
    found, usual = float(np.median(grain(samples))), grain(real)
    low, high = (float(v) for v in np.quantile(usual, (0.05, 0.95)))
    level, most = float(np.median(hiss(samples))), float(np.quantile(hiss(real), 0.95))
    by_grain, by_hiss = found / max(high, 1e-9), level / (most + HISS)
    if by_grain >= by_hiss:
        words = (
            f"The finest detail of a sample is {found:.2f} of its contrast (in the median), of real pictures {low:.2f} "
            f"to {high:.2f}: that is noise."
        )
        return Symptom("noisy", found, (low, high), by_grain, words)
    words = (
        f"Half of a sample has fine detail of {level:.1f} grey levels or more (in the median), of real pictures "
        f"{most:.1f} at most: that is noise."
    )
    return Symptom("noisy", level, (0.0, most), by_hiss, words)


# --- all together -------------------------------------------------------------------------------------------------


def exploding(walk: Walk, what: str = "picture", usual: str = "where those of the data end at 1") -> Symptom:
    """How far the values went on the way from noise; `what` is what a sample is called, `usual` what 1 stands for."""
    if not walk.finite:
        words = "On the way from noise a value became infinite or no number at all."
        return Symptom("exploding", math.inf, (0.0, REACH), math.inf, words)
    far, large = walk.reach / REACH, walk.swell / SWELL
    words = (
        f"The model believed in {what}s with values up to {walk.reach:,.1f}, {usual}."
        if far >= large
        else f"On the way from noise x grew to {walk.swell:,.1f} times the size that it should have."
    )
    return Symptom("exploding", max(walk.reach, walk.swell), (0.0, REACH), max(far, large), words)


def copied(memory: Memory) -> Symptom:
    """What nearest neighbours said of copies."""
    share = memory.copied.value
    beyond = share / SHARE if memory.verdict == "copies" else 0.0
    return Symptom("copied", share, (0.0, memory.copied_unseen.high), beyond, memory.words)


def collapsed(
    samples: NDArray[Any],
    real: NDArray[Any],
    labels: NDArray[np.int64] | None,
    real_labels: NDArray[np.int64] | None,
    what: str = "picture",
) -> Symptom:
    """How near samples (N, ...) lie to each other, against how near real ones (M, ...), called `what`, do."""
    rng = np.random.default_rng(0)
    own, others = [], []
    for _ in range(5):
        mine, theirs = _matched(rng, samples, real, labels, real_labels)
        own.append(_spacing(mine))
        others.append(_spacing(theirs))
    usual = float(np.mean(others))
    if usual == 0:  # equal pictures among the real ones, which then say nothing
        return Symptom("collapsed", 1.0, (1.0, 1.0), 0.0, f"The real {what}s are alike themselves.")
    found = float(np.mean(own)) / usual
    words = (
        f"The samples are alike: each is {100 * found:.0f} % as far from the next as real {what}s"
        f"{'' if labels is None or real_labels is None else ' of the same classes'} are from each other."
    )
    return Symptom("collapsed", found, (min(others) / usual, max(others) / usual), ALIKE / max(found, 1e-9), words)


def absent(
    read: NDArray[np.int64],
    told: NDArray[np.int64] | None,
    unseen_read: NDArray[np.int64],
    unseen_true: NDArray[np.int64],
    classes: Sequence[str],
    what: str = "picture",
) -> Symptom | None:
    """Whether whole classes are missing, by the class of each sample's nearest training image, `read` (N,); `what` is
    what that is called.

    How well that tells a class is known from unseen images: what is read of them, and what they are, (M,) each. told
    (N,) are the classes that were asked for; where none were, as many of each class are expected as among unseen
    images. None where classes cannot be read so, or too few samples are there.
    """
    if not len(unseen_true) or float((unseen_read == unseen_true).mean()) < READABLE:
        return None
    kinds = len(classes)
    if told is None:
        expected = np.bincount(unseen_read, minlength=kinds) / len(unseen_read) * len(read)
    else:
        confusion = np.zeros((kinds, kinds))
        np.add.at(confusion, (unseen_true, unseen_read), 1)
        expected = (confusion / np.maximum(confusion.sum(1, keepdims=True), 1))[told].sum(0)
    if expected.max() < 5:
        return None
    gone = (np.bincount(read, minlength=kinds) == 0) & (expected >= 5)
    lost = float(expected[gone].sum())
    named = ", ".join(str(classes[k]) for k in np.flatnonzero(gone)[:8])
    words = f"No sample reads as {named} by its nearest training {what}, where {lost:.0f} of {len(read)} should."
    return Symptom("collapsed", float(gone.sum()), (0.0, 0.0), lost / CHANCE, words)


def _matched(
    rng: np.random.Generator,
    samples: NDArray[Any],
    real: NDArray[Any],
    labels: NDArray[np.int64] | None,
    real_labels: NDArray[np.int64] | None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Equally many of both, drawn anew, and of each class equally many where classes are known on both sides."""
    a, b = rng.permutation(len(samples)), rng.permutation(len(real))
    if labels is None or real_labels is None:
        n = min(len(a), len(b))
        return samples[a[:n]], real[b[:n]]
    mine: list[NDArray[np.int64]] = []
    theirs: list[NDArray[np.int64]] = []
    for label in np.unique(labels):
        here, there = a[labels[a] == label], b[real_labels[b] == label]
        n = min(len(here), len(there))
        mine.append(here[:n])
        theirs.append(there[:n])
    return samples[np.concatenate(mine)], real[np.concatenate(theirs)]


def _spacing(x: NDArray[Any]) -> float:
    """Mean distance of an image to its nearest neighbour among the others; 0 for fewer than two."""
    if len(x) < 2:
        return 0.0
    y = _flat(x)
    y -= y.mean(0)
    squares = (y**2).sum(1)[:, None] + (y**2).sum(1) - 2 * y @ y.T
    np.fill_diagonal(squares, np.inf)
    return float(np.sqrt(np.maximum(squares.min(1), 0)).mean())

"""Whether samples are copies of the training images: nearest neighbours, and what they say against unseen images.

Any feature space will do: flattened pixels, or the features of an extractor. Only order and ratios of Euclidean
distances matter, so no unit does.

    closer   share of samples nearer to a training image than 95 % of unseen images are; 0.05 for an equal distribution
    nearer   probability that a sample is nearer to its training image than an unseen image is to its own; 0.5 for an
             equal distribution (the statistic of Meehan et al. 2020, over the whole space)
    copied   share of samples that are three times nearer to one training image than to any other (Yoon et al. 2023,
             d1/d2 < 1/3): copies have that, and merely typical samples do not

Unseen images are held-out ones. Where there are too few of them, each training image stands in, seen by all others.

Training data may come in groups of which all are alike, such as clips cut from one sequence: then neighbours are of
different groups, so that the nearest is compared with the next one that is not a version of it.

Samples that are blurred or washed out are nearer to everything: they raise `nearer`, and washed-out ones `closer`,
without being copies. So the verdict rests on `copied`. Copies of training images that come in several versions escape
it; those are suspected where samples are three times nearer to a training image than unseen images typically are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.metrics.distances import Estimate, Z, wilson

Array = NDArray[np.float64]

FEWEST = 50
"""Held-out images below which the training images themselves are the measure."""

COPY = 1 / 3
"""d1/d2 below which a sample is a copy (Yoon et al. 2023, sec. 3)."""

FEWEST_SAMPLES = 30
SHARE = 0.05
"""Share of copies, beyond that of unseen images, that makes a model one that copies."""

_ELEMENTS = 2**22  # numbers in a block of rows: 32 MB


@dataclass(frozen=True)
class Nearest:
    """The k nearest distinct training images of each of N images: rows (N, k) of the training array, nearest first,
    and their Euclidean distances (N, k). Of equal training images the first stands for all."""

    index: NDArray[np.int64]
    distance: Array

    def __len__(self) -> int:
        return len(self.index)

    @property
    def ratio(self) -> Array:
        """d1/d2, (N,) in [0, 1]: near 0 for a copy, near 1 for an image between others."""
        first, second = self.distance[:, 0], self.distance[:, 1]
        return np.asarray(np.where(second > 0, first / np.where(second > 0, second, 1), 1.0))


Progress = Callable[[int, int], None]
"""Called with (training images compared, in all) as the work goes on."""


def nearest(
    x: NDArray[Any],
    train: NDArray[Any],
    k: int = 2,
    progress: Progress | None = None,
    groups: NDArray[Any] | None = None,
    what: str = "image",
) -> Nearest:
    """The k nearest distinct training images of each row: exact, in float64, in blocks of bounded memory.

    Args:
        x: (N, ...) of any number type, uint8 images included.
        train: (M, ...) of the same shape, and scale.
        k: how many.
        groups: (M,) names or numbers; the k neighbours are then the nearest ones of k different groups.
        what: what an image is called, in errors.

    Raises:
        ValueError: other shapes; fewer than k distinct training images, or groups; a number that is not finite.
    """
    if np.shape(x)[1:] != np.shape(train)[1:]:
        raise ValueError(f"samples are of shape {np.shape(x)[1:]}, training {what}s of {np.shape(train)[1:]}")
    rows = _distinct(train)
    names = np.arange(len(train)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if (count := len(np.unique(names[rows]))) < k:
        of = f"distinct training {what}s" if groups is None else f"different groups of distinct training {what}s"
        raise ValueError(f"{k} nearest neighbours need {k} {of}, there are {count}")
    return _refined(x, train, _walked(x, train, k, rows, names, progress))


def unseen(
    train: NDArray[Any], k: int = 2, most: int = 1000, groups: NDArray[Any] | None = None, what: str = "image"
) -> Nearest:
    """What `nearest` would say of images that were not trained on: training images, each among the others, or among
    those of the other groups.

    At most `most` of them, evenly spread. Raises ValueError as `nearest`, which needs one more image, or group, here.
    """
    rows = _distinct(train)
    chosen = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    found = nearest(train[chosen], train, k + 1, groups=groups, what=what)
    return Nearest(found.index[:, 1:], found.distance[:, 1:])  # the first is the image itself


def _distinct(train: NDArray[Any]) -> NDArray[np.int64]:
    """The first row of each group of equal ones, rising."""
    first: dict[bytes, int] = {}
    for row, image in enumerate(train):
        first.setdefault(hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest(), row)
    return np.fromiter(first.values(), np.int64, len(first))


def _flat(x: NDArray[Any]) -> Array:
    out = np.asarray(x, np.float64).reshape(len(x), -1)
    if not np.isfinite(out).all():
        raise ValueError("features must be finite")
    return out


def _walked(
    x: NDArray[Any],
    train: NDArray[Any],
    k: int,
    rows: NDArray[np.int64],
    names: NDArray[np.int64],
    progress: Progress | None,
) -> NDArray[np.int64]:
    """(N, k) the nearest of `rows` of k different groups, whose names (M,) are; there are at least k groups in them."""
    dims = max(1, math.prod(np.shape(x)[1:]))
    step = max(1, _ELEMENTS // dims)
    centre = _flat(train[rows[:step]]).mean(0)  # far from the origin, squared distances lose digits
    index = np.zeros((len(x), k), np.int64)
    squares = np.full((len(x), k), np.inf)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        there = _flat(train[block]) - centre
        norms = (there**2).sum(1)
        width = max(1, min(step, _ELEMENTS // len(block)))
        for first in range(0, len(x), width):
            part = slice(first, first + width)
            here = _flat(x[part]) - centre
            found = (here**2).sum(1)[:, None] + norms - 2 * here @ there.T
            held = np.concatenate([squares[part], found], 1)
            known = np.concatenate([index[part], np.broadcast_to(block, found.shape)], 1)
            groups, each = names[known], np.arange(len(here))
            for column in range(k):
                best = held.argmin(1)
                squares[part, column], index[part, column] = held[each, best], known[each, best]
                held[groups == groups[each, best][:, None]] = np.inf
        if progress:
            progress(start + len(block), len(rows))
    return index


def _refined(x: NDArray[Any], train: NDArray[Any], index: NDArray[np.int64]) -> Nearest:
    """Distances from the differences themselves, so that a copy is at 0 exactly; sorted."""
    columns = []
    for column in index.T:
        parts = [np.zeros(0)]
        for first in range(0, len(x), 256):
            part = slice(first, first + 256)
            parts.append(((_flat(x[part]) - _flat(train[column[part]])) ** 2).sum(1))
        columns.append(np.sqrt(np.concatenate(parts)))
    distance = np.stack(columns, 1)
    order = np.argsort(distance, axis=1, kind="stable")
    return Nearest(np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1))


# --- what they say ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """How far samples are copies of training images, see the top of this file.

    Attributes:
        nearest: of the samples.
        measure: "held_out" or "train": which images stood for unseen ones.
        closer, nearer, copied: of the samples; expected 0.05, 0.5 and about copied_unseen.
        copied_unseen: the same share of the unseen images.
        verdict: "copies" | "learned" | "unsure".
        words: why, in one sentence.
    """

    nearest: Nearest
    measure: str
    closer: Estimate
    nearer: Estimate
    copied: Estimate
    copied_unseen: Estimate
    verdict: str
    words: str


def memory(
    samples: NDArray[Any],
    train: NDArray[Any],
    held_out: NDArray[Any] | None = None,
    progress: Progress | None = None,
    groups: NDArray[Any] | None = None,
    what: str = "picture",
) -> Memory:
    """Samples (N, ...) against training images (M, ...) and held-out ones, or none: numbers, and a verdict.

    Where training mirrored its images, `train` should hold the mirrored ones too. groups: of the training images, see
    `nearest`. what: what one of them is called.

    Raises:
        ValueError: fewer than 3 distinct training images, no sample, or as `nearest`.
    """
    near = nearest(samples, train, progress=progress, groups=groups, what=what)
    if held_out is not None and len(held_out) >= FEWEST:
        return judge(near, nearest(held_out, train, groups=groups, what=what), "held_out", what)
    return judge(near, unseen(train, groups=groups, what=what), "train", what)


def judge(samples: Nearest, others: Nearest, measure: str, what: str = "picture") -> Memory:
    """What the neighbours of samples and of unseen images say. measure: see Memory. what: what an image is called."""
    if not len(samples) or not len(others):
        raise ValueError(f"copies are judged from at least one sample and one unseen {what}")
    near, far = samples.distance[:, 0], others.distance[:, 0]
    copied, copied_unseen = wilson(samples.ratio < COPY), wilson(others.ratio < COPY)
    found = Memory(samples, measure, _closer(near, far), _before(near, far), copied, copied_unseen, "", "")
    typical = COPY * float(np.median(far))
    verdict, words = _verdict(found, wilson(near < typical), wilson(far < typical), what)
    return replace(found, verdict=verdict, words=words)


def _closer(near: Array, far: Array, level: float = 0.05) -> Estimate:
    """Share of `near` below the quantile of `far`, with what either side's number leaves open."""

    def share(q: float) -> float:
        return float((near < np.quantile(far, min(max(q, 0.0), 1.0))).mean())

    inside = wilson(near < np.quantile(far, level))
    value, slack = inside.value, Z * math.sqrt(level * (1 - level) / len(far))
    low = value - math.hypot(value - inside.low, value - share(level - slack))
    high = value + math.hypot(inside.high - value, share(level + slack) - value)
    how = "Wilson over samples, with the rank of the quantile among unseen images"
    return Estimate(value, max(0.0, low), min(1.0, high), how)


def _before(a: Array, b: Array) -> Estimate:
    """P(a < b), ties half, with the interval of DeLong et al. 1988."""
    sorted_a, sorted_b = np.sort(a), np.sort(b)
    of_a = 1 - (np.searchsorted(sorted_b, a, "left") + np.searchsorted(sorted_b, a, "right")) / (2 * len(b))
    of_b = (np.searchsorted(sorted_a, b, "left") + np.searchsorted(sorted_a, b, "right")) / (2 * len(a))
    value = float(of_a.mean())
    variance = sum(float(part.var(ddof=1)) / len(part) if len(part) > 1 else 0.25 for part in (of_a, of_b))
    half = Z * math.sqrt(variance)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), "DeLong, over samples and unseen images")


def _verdict(found: Memory, close: Estimate, close_unseen: Estimate, what: str) -> tuple[str, str]:
    """close: share of samples, and of unseen images, far nearer than unseen images typically are."""
    n, copied, unseen = len(found.nearest), found.copied, found.copied_unseen
    others = f"held-out {what}s" if found.measure == "held_out" else f"training {what}s left out in turn"
    count = int((found.nearest.ratio < COPY).sum())
    said = f"{count} of {n} samples are three times nearer to one training {what} than to any other"
    compared = f"{_percent(unseen.value)} of {others} are"
    more = copied.low > unseen.high
    if more and copied.value >= SHARE:
        return "copies", f"{said} ({_percent(copied.value)}; {compared}): the model copies its training {what}s."
    if n < FEWEST_SAMPLES:
        return "unsure", f"{said}, but {n} are too few to judge by: at least {FEWEST_SAMPLES} are needed."
    if more:
        return "unsure", f"{said} ({_percent(copied.value)}; {compared}): most are its own, but some may be copies."
    if close.low > close_unseen.high and close.value >= SHARE:
        return "unsure", (
            f"{said}, but {_percent(close.value)} are three times nearer to a training {what} than {others} "
            f"typically are: they may be copies of {what}s that come in several versions."
        )
    return "learned", (
        f"{said} ({compared}), and {_percent(found.closer.value)} lie nearer to a training {what} than 95 % of "
        f"{others} do (5 % expected): these are not copies."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.1 or share == 0 else 1}f} %"

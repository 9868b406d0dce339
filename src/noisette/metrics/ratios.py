"""Means of samples beside those of real clips, and how many times the real one each is, with 95 % intervals.

Real clips are cut from few sequences, of fewer people still, and it is those that are independent of each other: the
intervals count groups of clips, and with few groups they are Student's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped]

from noisette.metrics.distances import Array, Estimate

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Beside:
    """A measure of samples and of real clips, and how many times the real one it is; ratio is None where the real one
    is nothing. classes: those that both have and that count the same; None where classes were not looked at."""

    samples: Estimate
    real: Estimate
    ratio: Estimate | None
    classes: tuple[int, ...] | None = None


def beside(
    samples: Array,
    real: Array,
    groups: NDArray[Any] | None = None,
    most: float = math.inf,
    labels: tuple[Labels, Labels] | None = None,
    nothing: float = 0.0,
) -> Beside:
    """Means of (N,) and (M,) numbers that are at least 0, one a clip, with 95 % intervals; nan is left out.

    Args:
        groups: (M,) what each real clip was cut from: a sequence, or all those of a person. Clips of one group are
            alike, those that overlap most of all, and say less of others than as many of different groups would.
        most: what no mean can exceed, 1 for shares.
        labels: (N,) and (M,) classes of the two. Each class that both have counts the same then: a model that draws its
            classes in turn is no slower than real clips of which most are quick.
        nothing: a real mean up to here is rounding, of which nothing is so many times.

    Raises ValueError for fewer than two numbers, or groups, on a side, and where no class is on both.
    """
    ours, theirs = _Side.of(samples, None, labels and labels[0]), _Side.of(real, groups, labels and labels[1])
    common = None
    if labels is not None:
        common = np.intersect1d(ours.labels, theirs.labels)
        if not len(common):
            raise ValueError("samples and real clips have no class in common")
        ours, theirs = ours.among(common), theirs.among(common)
    one, other = ours.mean("clips"), theirs.mean("clips" if groups is None else "groups of clips")
    ratio = _ratio(one, other) if other.value > nothing else None
    classes = None if common is None else tuple(common.tolist())
    return Beside(one.estimate(most), other.estimate(most), ratio, classes)


class _Mean(NamedTuple):
    """A mean, half the length of its 95 % interval where nothing cuts it, and how that was made."""

    value: float
    reach: float
    how: str

    def estimate(self, most: float) -> Estimate:
        return Estimate(self.value, max(0.0, self.value - self.reach), min(most, self.value + self.reach), self.how)


def _ratio(ours: _Mean, theirs: _Mean) -> Estimate:
    """On the logarithmic scale: means of what is at least 0 have no ratio below 0, and however unsure the real one is,
    the interval says how many times it is at least, and at most."""
    value = ours.value / theirs.value
    reach = math.hypot(*(mean.reach / mean.value for mean in (ours, theirs) if mean.value))
    times = math.exp(min(reach, 500.0))  # two sequences can leave everything open
    return Estimate(value, value / times, value * times, f"of the logarithm: {ours.how}, and {theirs.how}")


class _Side(NamedTuple):
    """The numbers of one side that are known, each with its group and its class."""

    values: Array
    groups: NDArray[Any]
    labels: Labels

    @classmethod
    def of(cls, values: Array, groups: NDArray[Any] | None, labels: Labels | None) -> _Side:
        values = np.asarray(values, np.float64)
        groups = np.arange(len(values)) if groups is None else np.asarray(groups)
        labels = np.zeros(len(values), np.int64) if labels is None else np.asarray(labels)
        known = ~np.isnan(values)
        return cls(values[known], groups[known], labels[known])

    def among(self, classes: Labels) -> _Side:
        kept = np.isin(self.labels, classes)
        return _Side(self.values[kept], self.groups[kept], self.labels[kept])

    def mean(self, what: str) -> _Mean:
        """Of all clips, or of classes that count the same, around which groups differ.

        The standard error is of all groups as if they were drawn anew, their classes as well, so rather too large where
        those are fixed. A group lies nearer to a mean that it is part of, which the divisor makes good.
        """
        _, of, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        weights = 1 / (len(counts) * counts[of]) if len(counts) else np.empty(0)
        _, names = np.unique(self.groups, return_inverse=True)
        count = int(names.max(initial=-1)) + 1
        if count < 2:
            raise ValueError(f"{len(self.values)} clips of {count} sequences: an interval needs two of both")
        value = float(weights @ self.values)
        shares, parts = (np.bincount(names, each) for each in (weights, weights * (self.values - value)))
        squares = float((shares**2).sum())
        error = math.sqrt(float((parts**2 / (1 - 2 * shares + squares)).sum()))
        freedom = max(1.0, 1 / squares - 1)  # groups less one, where all count the same
        reach = error * float(stdtrit(freedom, 0.975))
        return _Mean(value, reach, f"Student's t of {freedom:.3g} degrees of freedom, over {count} {what}")

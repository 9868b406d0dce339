"""How much settings differ that were tried with several seeds each, and how sure that is from very few of them.

The unit is the seed: each value is one whole training, so what differs between seeds is the luck of training and of
sampling together, and a difference between settings has to be larger than that luck makes it. Two to five values say
little of their own spread, so each setting's variance is drawn towards the variance that all settings have in common
(Smyth 2004, equation 3.2), and the differences are held against Student's t distribution (Welch 1947 for its degrees of
freedom). How many differences are looked at is paid for by Holm's method (1979).

Distances, times and other positive quantities of free scale spread in proportion to their size; for them everything
is done on their logarithm (`log`), and what comes back is in their own unit again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

from noisette.metrics.distances import Z

LEVEL = 0.05
"""The chance, over all differences that are looked at together, that even one is called real and is none."""

PRIOR = 4.0
"""How many degrees of freedom the common variance is worth beside a setting's own. More finds smaller effects, and is
fooled sooner by one setting that is noisier than the others. With 4, by simulation, the chance of a false difference
stays at 5 % where one setting spreads three times as widely as the rest; four times as widely, with two seeds, it is
6.5 %."""


@dataclass(frozen=True)
class Measured:
    """What one seed gave; error is the standard error within that run, from the samples it was measured on.

    shared: the standard error of what all seeds of the setting are measured against; more seeds do not lessen it.
    """

    seed: int
    value: float
    error: float | None = None
    shared: float = 0.0


@dataclass(frozen=True)
class Mean:
    """The mean over n seeds with its 95 % interval.

    Of one seed the interval is that of the samples within the run, and None where that is not known.
    """

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Effect:
    """Setting a less setting b, as means over seeds, with a 95 % interval of this one difference and its two-sided p.

    ratio, ratio_low, ratio_high: a over b, where it was done on logarithms.
    seeds: how many of them the setting with fewer has. With one, `general` is False: the interval and p are then of
    the samples of these two runs and say nothing of another training. low and high are None where no spread is known.
    """

    a: int
    b: int
    by: float
    low: float | None
    high: float | None
    p: float
    seeds: int
    general: bool
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None


@dataclass(frozen=True)
class _Error:
    """A variance and its degrees of freedom; infinite where it is known."""

    variance: float
    df: float


def means(groups: Sequence[Sequence[Measured]], *, log: bool = False) -> list[Mean]:
    """The mean of each setting. Raises ValueError for an empty one, or, with log, for a value that is not positive."""
    scaled = [_scaled(group, log) for group in groups]
    spread, found = _Spread.of(scaled), []
    for k, (group, own) in enumerate(zip(groups, scaled, strict=True)):
        value, middle, error = _mean(group), _mean(own), spread.error(k)
        if error is None:
            found.append(Mean(value, None, None, len(group)))
            continue
        reach = _reach(error)
        ends = (_exp(middle - reach), _exp(middle + reach)) if log else (middle - reach, middle + reach)
        found.append(Mean(value, *ends, len(group)))
    return found


def effects(
    groups: Sequence[Sequence[Measured]],
    pairs: Sequence[tuple[int, int]] | None = None,
    *,
    log: bool = False,
    paired: bool = False,
    exact: bool = False,
) -> list[Effect]:
    """The differences between settings.

    Args:
        groups: for each setting what its seeds gave, one value a seed.
        pairs: which settings to hold against each other; every two by default. A pair of which one setting has several
            seeds and the other one alone is left out: there is no telling what another seed of that one would give.
        log: values are positive and spread in proportion to their size.
        paired: the same seed is the same training in all settings (they differ in how samples are drawn, say), so
            differences are taken seed by seed and the luck of training falls out. Where settings are trained apart,
            their luck would have to correlate by about 0.2, which nobody knows, to repay the degrees of freedom.
        exact: what comes out the same with every seed (a number of weights, say) differs for sure where it differs;
            otherwise seeds that agree in everything have no spread to judge by, and nothing is claimed of them.

    Raises:
        ValueError: an empty setting or, with log, a value that is not positive.
    """
    scaled = [_scaled(group, log) for group in groups]
    pairs = list(itertools.combinations(range(len(groups)), 2)) if pairs is None else pairs
    pairs = [(a, b) for a, b in pairs if (len(groups[a]) > 1) == (len(groups[b]) > 1)]
    together = _paired_errors(scaled, [(a, b) for a, b in pairs if len(groups[a]) > 1]) if paired else {}
    spread, found = _Spread.of(scaled), []
    for a, b in pairs:
        gap, seeds = _mean(scaled[a]) - _mean(scaled[b]), min(len(groups[a]), len(groups[b]))
        error = spread.error(a, b)
        if (a, b) in together:
            gap, error, seeds = together[a, b]
        found.append(_effect(a, b, groups, gap, error, seeds, log, exact))
    return found


def holm(p: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which of these are real: Holm's step-down method (1979), so that all that it lets through hold together."""
    real = [False] * len(p)
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if not p[i] <= level / (len(p) - rank):
            break
        real[i] = True
    return real


# --- means and their errors -----------------------------------------------------------------------------------------


def _scaled(group: Sequence[Measured], log: bool) -> list[Measured]:
    if not group:
        raise ValueError("a setting without a value has no mean")
    if not log:
        return list(group)
    if min(m.value for m in group) <= 0:
        raise ValueError(f"only positive values have a logarithm, got {min(m.value for m in group)}")
    return [
        Measured(m.seed, math.log(m.value), None if m.error is None else m.error / m.value, m.shared / m.value)
        for m in group
    ]


def _mean(group: Sequence[Measured]) -> float:
    return sum(m.value for m in group) / len(group)


def _variance(values: Sequence[float]) -> float:
    if min(values) == max(values):
        return 0.0  # exactly, whatever a mean of logarithms is rounded to
    middle = sum(values) / len(values)
    return sum((v - middle) ** 2 for v in values) / (len(values) - 1)


@dataclass(frozen=True)
class _Spread:
    """What the seeds of all settings say of their noise: own variances, 0 for a setting of one seed, and the common one
    with its degrees of freedom."""

    groups: Sequence[Sequence[Measured]]
    own: list[float]
    common: float
    freedom: int

    @classmethod
    def of(cls, groups: Sequence[Sequence[Measured]]) -> _Spread:
        own = [_variance([m.value for m in group]) if len(group) > 1 else 0.0 for group in groups]
        freedom = sum(len(group) - 1 for group in groups)
        total = sum((len(group) - 1) * variance for group, variance in zip(groups, own, strict=True))
        return cls(groups, own, total / freedom if freedom else 0.0, freedom)

    def error(self, *which: int) -> _Error | None:
        """The error of the mean of a setting, or of the difference of two; None where nothing is known of it.

        Between seeds where there are several: Welch's degrees of freedom from these settings' own variances, and as
        many of those of PRIOR as the common variance comes from other settings. Of one seed each, within the runs.
        """
        some = [self.groups[k] for k in which]
        if any(len(group) == 1 for group in some):
            known = [group[0].error for group in some]
            shared = sum(group[0].shared ** 2 for group in some)
            return None if None in known else _Error(sum(e**2 for e in known if e is not None) + shared, math.inf)
        own = [self.own[k] / len(self.groups[k]) for k in which]
        freedom = sum(len(group) - 1 for group in some)
        spread = sum(v**2 / (len(group) - 1) for v, group in zip(own, some, strict=True))
        df = sum(own) ** 2 / spread if spread else float(freedom)
        df += PRIOR * (self.freedom - freedom) / self.freedom
        return _Error(sum(self._of_mean(k) for k in which), min(df, self.freedom))

    def _of_mean(self, k: int) -> float:
        """The variance of a mean, drawn towards the common one.

        Samples alone make seeds differ by their error within a run: values that lie closer together do so by luck.
        """
        group, n = self.groups[k], len(self.groups[k]) - 1
        variance = (PRIOR * self.common + n * self.own[k]) / (PRIOR + n)
        known = [m.error**2 for m in group if m.error is not None]
        shared = sum(m.shared**2 for m in group) / len(group)
        return max(variance, sum(known) / len(known) if known else 0.0) / len(group) + shared


def _paired_errors(
    groups: Sequence[Sequence[Measured]], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[float, _Error, int]]:
    """pair -> (mean difference, its error, seeds), seed by seed; pairs with fewer than two seeds in common are not
    there."""
    values = [{m.seed: m.value for m in group} for group in groups]
    gaps = {(a, b): [values[a][s] - values[b][s] for s in values[a] if s in values[b]] for a, b in pairs}
    gaps = {pair: gap for pair, gap in gaps.items() if len(gap) > 1}
    if not gaps:
        return {}
    own = sum(len(gap) - 1 for gap in gaps.values())
    common = sum((len(gap) - 1) * _variance(gap) for gap in gaps.values()) / own
    settings = len({k for pair in gaps for k in pair})
    freedom = (settings - 1) * (max(len(gap) for gap in gaps.values()) - 1)
    found = {}
    for pair, gap in gaps.items():
        n = len(gap) - 1
        variance = (PRIOR * common + n * _variance(gap)) / (PRIOR + n)
        df = min(freedom, n + PRIOR * (settings - 2) / settings)
        found[pair] = (sum(gap) / len(gap), _Error(variance / len(gap), df), len(gap))
    return found


# --- differences ------------------------------------------------------------------------------------------------------


def _reach(error: _Error) -> float:
    """Half of a 95 % interval."""
    t = Z if math.isinf(error.df) else float(stdtrit(error.df, 0.975))
    return t * math.sqrt(error.variance)


def _p(gap: float, error: _Error) -> float:
    """Two-sided. What is exact and differs, differs for sure."""
    if not error.variance:
        return float(gap == 0)
    t = abs(gap) / math.sqrt(error.variance)
    return math.erfc(t / math.sqrt(2)) if math.isinf(error.df) else 2 * float(stdtr(error.df, -t))


def _effect(
    a: int,
    b: int,
    groups: Sequence[Sequence[Measured]],
    gap: float,
    error: _Error | None,
    seeds: int,
    log: bool,
    exact: bool,
) -> Effect:
    one, other = _mean(groups[a]), _mean(groups[b])
    by, ratio = one - other, one / other if log else None
    if error is None or not (error.variance or (exact and seeds > 1)):  # nothing is known of the luck
        return Effect(a, b, by, None, None, 1.0, seeds, seeds > 1, ratio)
    reach, p = _reach(error), _p(gap, error)
    low, high = gap - reach, gap + reach
    if not log:
        return Effect(a, b, by, low, high, p, seeds, seeds > 1)
    middle = math.sqrt(one * other)  # m (e^(d/2) - e^(-d/2)) is the difference of two numbers with mean m and ratio e^d
    one_end, other_end = (middle * (_exp(end / 2) - _exp(-end / 2)) for end in (low, high))
    return Effect(a, b, by, one_end, other_end, p, seeds, seeds > 1, ratio, _exp(low), _exp(high))


def _exp(x: float) -> float:
    """Finite for the interval of two values that lie hundreds of orders of magnitude apart."""
    return math.exp(min(x, 300.0))

"""Differences between settings over few seeds: exact where a formula is known, honest by simulation where none is."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from noisette.metrics import effects
from noisette.metrics.effects import LEVEL, Measured, holm, means

Groups = list[list[Measured]]
Spread = Callable[[np.random.Generator, int], np.ndarray]


def groups(x: np.ndarray, error: float | None = None) -> Groups:
    """(settings, seeds) as what was measured."""
    return [[Measured(seed, float(v), error) for seed, v in enumerate(row)] for row in x]


# --- where there is a formula ---------------------------------------------------------------------------------------


def test_two_settings_alone_are_welchs_test() -> None:
    """Nobody else knows the spread that they have in common, so PRIOR changes nothing."""
    x = np.array([[4.1, 4.6, 3.8, 4.4], [5.9, 9.2, 5.6, 7.0]])
    (found,) = effects.effects(groups(x))
    wanted = stats.ttest_ind(x[0], x[1], equal_var=False)
    assert math.isclose(found.by, x[0].mean() - x[1].mean()) and found.general and found.seeds == 4
    assert np.allclose([found.p, found.low, found.high], [wanted.pvalue, *wanted.confidence_interval()], rtol=1e-6)


def test_without_a_common_variance_it_is_welchs_test_for_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "PRIOR", 0.0)
    x = np.array([[4.1, 4.6, 3.8], [5.9, 9.2, 5.6], [5.0, 5.1, 5.2]])
    found = effects.effects(groups(x))
    for effect in found:
        wanted = stats.ttest_ind(x[effect.a], x[effect.b], equal_var=False)
        assert math.isclose(effect.p, wanted.pvalue, rel_tol=1e-6)


def test_what_other_settings_spread_by_counts_too() -> None:
    """Two settings whose seeds agree by luck: others that spread far more make them less sure, calm ones surer."""
    two = [[4.0, 4.1, 4.2], [4.5, 4.6, 4.7]]
    alone, calm, wild = (
        effects.effects(groups(np.array([*two, *others])), [(0, 1)])[0].p
        for others in ([], [[7.0, 7.1, 7.2], [8.0, 8.1, 8.2]], [[7.0, 9.0, 5.0], [8.0, 5.0, 9.0]])
    )
    assert calm < alone < wild


def test_paired_of_two_settings_is_the_paired_t_test() -> None:
    x = np.array([[4.1, 6.6, 5.8], [4.4, 7.1, 6.0]])
    (found,) = effects.effects(groups(x), paired=True)
    wanted = stats.ttest_rel(x[0], x[1])
    assert np.allclose([found.p, *wanted.confidence_interval()], [wanted.pvalue, found.low, found.high], rtol=1e-6)


def test_on_logarithms_a_ratio_is_what_is_tested() -> None:
    """Everything ten times as large: same p, same ratio, ten times the difference."""
    x = np.array([[4.1, 4.6, 3.8], [5.9, 5.2, 5.6]])
    (small,), (large,) = effects.effects(groups(x), log=True), effects.effects(groups(10 * x), log=True)
    assert math.isclose(small.p, large.p, rel_tol=1e-9) and math.isclose(10 * small.by, large.by, rel_tol=1e-9)
    assert small.low is not None and large.low is not None and math.isclose(10 * small.low, large.low, rel_tol=1e-9)
    assert small.ratio is not None and small.ratio_low is not None and small.ratio_high is not None
    assert small.ratio_low < small.ratio < small.ratio_high < 1 and small.low < small.by < (small.high or 0) < 0
    assert (small.p < LEVEL) == (small.ratio_high < 1)


def test_a_mean_has_its_interval_in_its_own_unit() -> None:
    x = np.array([[4.1, 4.6, 3.8]])
    (plain,), (log,) = means(groups(x)), means(groups(x), log=True)
    reach = stats.t.ppf(0.975, 2) * x.std(ddof=1) / math.sqrt(3)
    assert np.allclose([plain.low, plain.high], [x.mean() - reach, x.mean() + reach])
    assert log.value == plain.value and log.low is not None and 0 < log.low < log.value < (log.high or 0)


def test_seeds_that_agree_by_luck_do_not_hide_the_error_of_their_samples() -> None:
    """Two seeds each within 0.01, but each known to 0.5 only."""
    x = np.array([[5.00, 5.01], [5.20, 5.21]])
    (bare,), (known,) = effects.effects(groups(x)), effects.effects(groups(x, 0.5))
    assert bare.p < 0.01 and known.p > 0.5


# --- one seed, no spread, holes -------------------------------------------------------------------------------------


def test_one_seed_speaks_of_its_samples_alone() -> None:
    (found,) = effects.effects(groups(np.array([[4.0], [6.0]]), 0.3))
    assert not found.general and found.seeds == 1
    assert found.high is not None and math.isclose(found.high, -2.0 + 1.959964 * 0.3 * math.sqrt(2), rel_tol=1e-6)
    (mean, _) = means(groups(np.array([[4.0], [6.0]]), 0.3))
    assert mean.low is not None and math.isclose(mean.low, 4.0 - 1.959964 * 0.3, rel_tol=1e-6)


def test_one_seed_without_an_error_is_sure_of_nothing() -> None:
    (found,) = effects.effects(groups(np.array([[4.0], [6.0]])))
    assert found.p == 1.0 and found.low is None and found.high is None
    assert means(groups(np.array([[4.0]])))[0].low is None


def test_several_seeds_are_not_held_against_one() -> None:
    many, one = groups(np.array([[4.0, 4.1, 3.9]]))[0], [Measured(0, 9.0)]
    assert effects.effects([many, one]) == []


def test_what_every_seed_gives_alike_differs_for_sure() -> None:
    """A size in memory; with one run each, an error of 0 says nothing."""
    sizes = groups(np.array([[4.0, 4.0], [4.0, 4.0], [6.0, 6.0]]))
    same, other = effects.effects(sizes, [(0, 1), (0, 2)], exact=True)
    assert same.p == 1.0 and other.p == 0.0 and (other.low, other.high) == (-2.0, -2.0)
    assert all(counts.p == 1.0 and counts.low is None for counts in effects.effects(sizes))  # classes reached, say
    (alone,) = effects.effects(groups(np.array([[4.0], [6.0]]), 0.0))
    assert alone.p == 1.0 and alone.low is None


def test_an_error_that_all_seeds_share_is_not_lessened_by_more_of_them() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(10, 0.1, (2, 400))
    (found,) = effects.effects([[Measured(k, v, shared=1.0) for k, v in enumerate(one)] for one in values])
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(2), rel=0.01)
    (found,) = effects.effects([[Measured(0, v, 0.5, shared=1.0)] for v in (10.0, 12.0)])
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(2 * (0.25 + 1)), rel=0.01)


def test_paired_takes_the_seeds_that_both_have() -> None:
    one = [Measured(k, v) for k, v in ((0, 4.0), (1, 5.0), (2, 9.0))]
    other = [Measured(k, v) for k, v in ((1, 5.5), (2, 9.4), (3, 1.0))]
    (found,) = effects.effects([one, other], paired=True)
    assert found.seeds == 2 and math.isclose(0.5 * ((found.low or 0) + (found.high or 0)), -0.45)


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(ValueError, match="without a value"):
        means([[]])
    with pytest.raises(ValueError, match="logarithm"):
        effects.effects(groups(np.array([[1.0, -1.0], [2.0, 2.0]])), log=True)


def test_values_hundreds_of_orders_of_magnitude_apart_do_not_overflow() -> None:
    (found,) = effects.effects(groups(np.array([[1e-150, 1e150], [1e-150, 1e140]])), log=True)
    assert found.p > LEVEL and found.high is not None and math.isfinite(found.high)


def test_holm_is_stricter_than_each_on_its_own_and_keeps_the_order() -> None:
    assert holm([0.04, 0.001, 0.02]) == [True, True, True]  # 0.001 < 5/3 %, 0.02 < 5/2 %, 0.04 < 5 %
    assert holm([0.04, 0.001, 0.03]) == [False, True, False]  # 0.03 > 5/2 %, and what comes after it falls with it
    assert holm([]) == []


# --- by simulation --------------------------------------------------------------------------------------------------

SPREADS: dict[str, Spread] = {
    "equal": lambda rng, k: np.ones(k),
    "one noisy": lambda rng, k: np.r_[3.0, np.ones(k - 1)],
    "half noisy": lambda rng, k: np.r_[np.full(k // 2, 2.0), np.ones(k - k // 2)],
    "all unlike": lambda rng, k: np.exp(rng.normal(0, 0.4, k)),
}
ROUNDS = 1000
SLACK = 2.6 * math.sqrt(LEVEL * (1 - LEVEL) / ROUNDS)
"""What the share of false alarms may lie above the level by the luck of the simulation."""


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("k", "n"), [(2, 2), (2, 5), (3, 3), (4, 2), (6, 3)])
def test_settings_that_are_equal_are_hardly_ever_told_apart(spread: str, k: int, n: int) -> None:
    """Lognormal distances with one truth and any spread: even one false difference in all pairs is rare."""
    rng = np.random.default_rng([k, n, *spread.encode()])
    wrong = 0
    for _ in range(ROUNDS):
        noise = rng.normal(size=(k, n)) * 0.15 * SPREADS[spread](rng, k)[:, None]
        wrong += any(holm([e.p for e in effects.effects(groups(7 * np.exp(noise)), log=True)]))
    assert wrong / ROUNDS <= LEVEL + SLACK


@pytest.mark.parametrize(("k", "n"), [(2, 3), (4, 2), (5, 3)])
def test_ways_to_draw_from_the_same_runs_that_are_equal_are_hardly_ever_told_apart(k: int, n: int) -> None:
    rng = np.random.default_rng([k, n])
    wrong = 0
    for _ in range(ROUNDS):
        luck = rng.normal(size=(1, n))
        noise = luck + 0.2 * rng.normal(size=(k, n)) * np.exp(rng.normal(0, 0.3, (k, 1)))
        wrong += any(holm([e.p for e in effects.effects(groups(7 + noise), paired=True)]))
    assert wrong / ROUNDS <= LEVEL + SLACK


def power(k: int, n: int, size: float, paired: bool = False) -> float:
    """The share of differences that are found between one setting and k - 1 others from which it lies `size` standard
    deviations of a seed away."""
    rng = np.random.default_rng([k, n, int(10 * size)])
    found = 0.0
    for _ in range(200):
        x = rng.normal(size=(k, n)) + (4 * rng.normal(size=(1, n)) if paired else 0.0)
        x[0] -= size
        made = effects.effects(groups(x), paired=paired)
        real = holm([e.p for e in made])
        found += float(np.mean([ok for e, ok in zip(made, real, strict=True) if 0 in (e.a, e.b)]))
    return found / 200


def test_a_planted_effect_is_found() -> None:
    """What few seeds can do: 3 standard deviations with 5 seeds nearly always, with 3 about every second time, with 2
    hardly ever."""
    assert power(2, 5, 3.0) > 0.93 and power(4, 5, 3.0) > 0.85
    assert power(2, 3, 3.0) > 0.6 and power(4, 3, 3.0) > 0.35 and power(4, 3, 4.0) > 0.6
    assert power(4, 5, 2.0) > 0.38
    assert power(4, 2, 2.0) < 0.15


def test_pairing_finds_what_the_luck_of_training_would_hide() -> None:
    assert power(3, 5, 3.0, paired=True) > 0.5

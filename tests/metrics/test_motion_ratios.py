"""Means of samples beside those of real clips: intervals that hold their level, few sequences or many."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtrit  # type: ignore[import-untyped]

from noisette.metrics.ratios import beside


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_by_hand() -> None:
    found = beside(np.array([1.0, 2.0, 3.0, np.nan]), np.array([4.0, 4.0, 4.0]))
    assert (found.samples.value, found.real.value) == (2, 4) and found.ratio is not None and found.ratio.value == 0.5
    reach = stdtrit(2, 0.975) / np.sqrt(3)  # their standard deviation is 1
    assert found.samples.high - 2 == pytest.approx(reach) and found.samples.low == 0 and found.classes is None
    assert found.real.low == found.real.high == 4
    assert found.ratio.high == pytest.approx(0.5 * np.exp(reach / 2))
    assert found.ratio.low == pytest.approx(0.5 / np.exp(reach / 2))
    assert "2 degrees of freedom, over 3 clips" in found.samples.interval
    assert beside(np.ones(3), np.zeros(3)).ratio is None
    none = beside(np.zeros(3), np.array([1.0, 2.0])).ratio
    assert none is not None and none.value == none.low == none.high == 0
    shares = beside(np.array([1.0, 1.0, 0.4]), np.array([1.0, 0.9, 0.2]), most=1)
    free = beside(np.array([1.0, 1.0, 0.4]), np.array([1.0, 0.9, 0.2]))
    assert shares.samples.high == shares.real.high == 1 < free.samples.high and shares.ratio == free.ratio
    for samples, real, groups in ((np.ones(1), np.ones(3), None), (np.ones(3), np.ones(3), np.zeros(3))):
        with pytest.raises(ValueError, match="an interval needs two of both"):
            beside(samples, real, groups)


def test_of_what_is_rounding_there_is_no_ratio() -> None:
    samples, real = np.array([3.0, 4.0]), np.array([1e-5, 2e-5])
    assert beside(samples, real, nothing=1e-3).ratio is None
    assert beside(samples, real).ratio is not None


def test_the_interval_of_a_ratio_holds_its_level() -> None:
    """Also where every real clip comes five times over, as long as it is told which belong together."""
    hits, blind = 0, 0
    for seed in range(400):
        samples, real = rng(seed).exponential(2, 80), np.repeat(rng(1000 + seed).exponential(1, 40), 5)
        for told in (True, False):
            ratio = beside(samples, real, np.repeat(np.arange(40), 5) if told else None).ratio
            assert ratio is not None
            hits += told and ratio.low <= 2 <= ratio.high
            blind += not told and ratio.low <= 2 <= ratio.high
    assert 0.91 <= hits / 400 <= 0.98 and blind / 400 < 0.9


@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize("equal", [True, False])
def test_few_sequences_cover_as_well(count: int, equal: bool) -> None:
    hits = often = 0
    for seed in range(400):
        draw = rng(seed)
        groups = np.repeat(np.arange(count), 5 if equal else draw.integers(1, 12, count))
        found = beside(draw.normal(20, 3, 100), draw.normal(10, 1, count)[groups], groups)
        assert found.ratio is not None
        hits += found.real.low <= 10 <= found.real.high
        often += found.ratio.low <= 2 <= found.ratio.high
    assert 0.91 <= hits / 400 <= 0.99 and 0.91 <= often / 400 <= 0.99


def test_a_ratio_far_from_1_is_told_where_the_real_mean_is_unsure() -> None:
    """Four sequences, one of them far quicker: the interval of the real mean reaches 0, that of the ratio does not."""
    samples, real = 62 + rng().normal(0, 1, 300), np.repeat([0.1, 0.2, 0.3, 2.6], 10)
    found = beside(samples, real, np.repeat(np.arange(4), 10))
    assert found.real.low == 0 and found.ratio is not None and found.ratio.low > 2 and found.ratio.high < 2000


def test_classes_count_the_same() -> None:
    """Of real clips six times as many wave, slowly; samples are drawn in turn, and are no quicker than these."""
    labels, real_labels = np.arange(140) % 7, np.repeat(np.arange(7), [180, *[30] * 6])
    pace = np.array([0.2, 1, 1, 1, 1.5, 1.5, 2])
    samples, real = (pace[y] * rng(int(y[1])).uniform(0.9, 1.1, len(y)) for y in (labels, real_labels))
    groups = np.arange(len(real)) // 5
    plain, even = beside(samples, real, groups).ratio, beside(samples, real, groups, labels=(labels, real_labels))
    assert plain is not None and plain.value > 1.3
    assert even.ratio is not None and even.ratio.value == pytest.approx(1, abs=0.03)
    assert even.ratio.low < 1 < even.ratio.high and even.classes == (0, 1, 2, 3, 4, 5, 6)


def test_a_class_that_one_side_lacks_is_left_out() -> None:
    labels, real_labels = np.array([0, 0, 1, 1, 2]), np.array([1, 1, 1, 2, 2])
    samples, real = np.array([9.0, 9, 1, 3, np.nan]), np.array([4.0, 4, 4, 7, 7])
    found = beside(samples, real, labels=(labels, real_labels))
    assert found.classes == (1,) and (found.samples.value, found.real.value) == (2, 4)
    with pytest.raises(ValueError, match="no class in common"):
        beside(samples[:2], real, labels=(labels[:2], real_labels))


def test_a_group_that_weighs_most_leaves_few_degrees_of_freedom() -> None:
    real, groups = np.repeat(rng().uniform(1, 2, 30), 2), np.repeat(np.arange(30), 2)
    alone = np.concatenate([real, np.full(120, 1.2)]), np.concatenate([groups, np.full(120, 30)])
    many, one = (beside(np.ones(5), *each).real for each in ((real, groups), alone))
    assert "of 29 degrees of freedom, over 30 groups" in many.interval
    assert float(one.interval.split(" of ")[1].split()[0]) < 2 and one.high - one.low > 2 * (many.high - many.low)

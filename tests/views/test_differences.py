"""Which numbers compare, and which differences are more than noise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import evaluations
import numpy as np

from noisette.metrics.effects import LEVEL
from noisette.views import scores, verdicts
from noisette.views.differences import differences, questions
from noisette.views.scores import Score


def score(value: float, half: float = 1.96, metric: str = "fid", better: str = "lower", **more: Any) -> Score:
    base = {"n": 2048, "reference": "train", "reference_n": 4500, "hash": "aa", "extractor": "pixels"}
    made = Score(metric, value, value - half, value + half, label="ddim:50", better=better)
    return replace(made, **{**base, **more})


def test_only_what_was_measured_alike_is_compared() -> None:
    found = [
        [score(9.0)],
        [score(8.0)],
        [score(7.0, hash="bb", extractor="inception")],
        [score(7.0, n=512)],
        [score(7.0)],
        [score(7.0, label="ddpm:1000")],
        [score(7.0, reference_n=100)],
        [],
    ]
    (asked,) = questions(found, ["digits"] * 4 + ["photos"] + ["digits"] * 3)
    assert asked.label == "ddim:50" and set(asked.scores) == {0, 1}
    reasons = {a.run: a.reason for a in asked.apart}
    assert set(reasons) == {2, 3, 4, 5, 6}
    assert "inception bb, not of pixels aa" in reasons[2] and reasons[3] == "from 512 pictures, not 2,048"
    assert reasons[4] == "it is about other data" and "ddpm:1000, not with ddim:50" in reasons[5]
    assert "100 pictures, not 4,500" in reasons[6]


def test_of_equally_common_samplers_the_runs_own_is_compared() -> None:
    found = [[score(9.0, label="ddpm:1000"), score(9.5)], [score(8.0, label="ddpm:1000"), score(8.5)]]
    assert questions(found, ["d", "d"])[0].label == "ddpm:1000"
    assert questions(found, ["d", "d"], own=["ddim:50"])[0].label == "ddim:50"
    assert questions(found, ["d", "d"], label="ddpm:1000")[0].label == "ddpm:1000"


def test_one_reference_a_metric_and_bits_of_unseen_pictures() -> None:
    runs = [verdicts.current(scores.read([evaluations.whole(shift)])) for shift in (0, 4)]
    asked = questions([[s for s in run if not s.real] for run in runs], ["d", "d"])
    by_metric = {q.metric: q for q in asked}
    assert len(by_metric) == len(asked)
    assert {s.reference for s in by_metric["fid"].scores.values()} == {"train"}
    assert {s.reference for s in by_metric["bits"].scores.values()} == {"held_out"}


def test_the_better_one_comes_first_whichever_way_is_better() -> None:
    (low,) = differences(questions([[score(9.0)], [score(2.0)]], ["d", "d"]))
    assert (low.a, low.b, low.by) == (1, 0, 7.0) and low.real
    (high,) = differences(questions([[score(9.0, better="higher")], [score(2.0, better="higher")]], ["d", "d"]))
    assert (high.a, high.b) == (0, 1)


def test_a_difference_has_both_errors_in_it() -> None:
    """Half-widths 3 and 4 make 5; p is the two-sided tail of the normal distribution."""
    (found,) = differences(questions([[score(0.0, 3.0)], [score(5.0, 4.0)]], ["d", "d"]))
    assert math.isclose(found.half, 5.0, rel_tol=1e-6)
    assert math.isclose(found.p, 0.05, rel_tol=1e-4)


def test_without_an_interval_or_a_better_way_nothing_is_tested() -> None:
    bare = replace(score(9.0), low=None, high=None)
    assert differences(questions([[bare], [score(2.0)]], ["d", "d"])) == []
    assert (
        differences(questions([[score(9.0, metric="memory_copied")], [score(2.0, metric="memory_copied")]], ["d"] * 2))
        == []
    )


def test_holm_is_stricter_than_each_on_its_own_and_keeps_the_order() -> None:
    """p = 0.001, 0.02, 0.04: on their own all are below 5 %, together 0.04 and then 0.02 have to beat 2.5 % each."""
    halves = dict.fromkeys(("fid", "kid", "bits"), 1.0)
    gaps = {"fid": 3.2905, "kid": 2.3263, "bits": 2.0537}  # two-sided p 0.001, 0.02, 0.04
    found = []
    for sign in (0, 1):
        found.append([score(sign * gaps[m] * math.sqrt(2) / 1.959964, halves[m], metric=m) for m in halves])
    made = {d.question.metric: d for d in differences(questions(found, ["d", "d"]))}
    assert np.allclose([made[m].p for m in halves], [0.001, 0.02, 0.04], rtol=0.01)
    assert [made[m].real for m in halves] == [True, True, True]  # 0.001 < 5/3 %, 0.02 < 5/2 %, 0.04 < 5 %
    found[1][1] = score(2.1701 * math.sqrt(2) / 1.959964, 1.0, metric="kid")  # p 0.03 > 5/2 %
    made = {d.question.metric: d for d in differences(questions(found, ["d", "d"]))}
    assert [made[m].real for m in halves] == [True, False, False]  # 0.04 < 5 %, but it comes after 0.03


def test_runs_that_are_equal_are_hardly_ever_told_apart() -> None:
    """The chance that even one of ten differences between equal runs is called real stays near the level."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        values = rng.normal(10, 1, 5)
        found = differences(questions([[score(float(v))] for v in values], ["d"] * 5))
        assert len(found) == 10
        wrong += any(d.real for d in found)
    assert wrong / 400 < LEVEL + 0.02

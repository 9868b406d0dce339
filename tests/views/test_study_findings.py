"""What is said of a study's numbers, and what is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import study_results as given
from study_results import made, noisy, result

from noisette.experiment import studies
from noisette.experiment.jobs import settings
from noisette.tasks.study import Result
from noisette.views.study.findings import Findings, findings, noise
from noisette.views.study.units import compared, numeric, pairs, units

BETTER = re.compile(r"\bbeat\b|(?:better|worse) is [^b]|comes first|costs|as many images|rises|falls|the middle|Worth")
"""Words that call a difference real."""


def told(results: Sequence[Result], answers: Sequence[str] = ("fid",), *baselines: str) -> Findings:
    return findings(units(results), answers, baselines)


def said(found: Findings) -> str:
    return " ".join([*found.answer, *found.more]).replace("\u00a0", " ")


# --- nothing is made up, and what is there is found -----------------------------------------------------------------


def test_where_nothing_differs_a_difference_is_hardly_ever_claimed() -> None:
    """20 studies of 4 equal settings, 3 seeds, 3 numbers and their times: at most 2 may claim anything."""
    truth = dict.fromkeys(("linear", "cosine", "sigmoid", "quadratic"), 7.0)
    claimed = 0
    for study in range(20):
        rng = np.random.default_rng([study, 1])
        spread = dict(zip(truth, np.exp(rng.normal(0, 0.4, 4)) * 0.12, strict=True))
        draw = lambda k, mean, spread=spread, study=study: {  # noqa: E731
            name: list(mean * np.exp(np.random.default_rng([study, k, i]).normal(size=3) * spread[name]))
            for i, name in enumerate(truth)
        }
        results = made(draw(2, 7.0), kid=draw(3, 0.02), bits=draw(4, 2.9), seconds_train=draw(5, 60.0))
        claimed += bool(BETTER.search(said(told(results, ("fid", "kid", "bits")))))
    assert claimed <= 2


def test_a_planted_effect_is_found_and_carries_its_numbers() -> None:
    text = said(told(made({"linear": [7.3, 7.6, 7.1], "cosine": [4.2, 4.4, 4.1]})))
    assert re.search(r"cosine beat linear by 3\.1 ± 0\.\d+ over 3 seeds \(Fréchet distance; lower is better\)", text)


def test_of_many_the_first_is_named_with_what_it_beat_and_what_it_did_not() -> None:
    values = {"a": [4.0, 4.1, 3.9], "b": [4.1, 4.0, 4.2], "c": [9.0, 9.3, 8.8], "d": [12.0, 12.4, 11.7]}
    text = said(told(made(values)))
    assert re.search(r"a comes first in Fréchet distance with 4\.\d+ over 3 seeds \(lower is better\)", text)
    assert re.search(r"it beat d by 8\.\d ± 0\.\d+ and c by 5\.\d ± 0\.\d+", text)
    assert re.search(r"no difference beyond the noise from b \(0\.1", text)
    assert "Of 6 pairs, 5 differ by more than the noise." in text


def test_where_higher_is_better_the_higher_one_wins() -> None:
    text = said(told(made({"a": [0.91, 0.92, 0.90], "b": [0.61, 0.63, 0.62]}, key="precision"), ("precision",)))
    assert re.search(r"a beat b by 29 ± \d percentage points over 3 seeds \(precision; higher is better\)", text)


def test_against_a_baseline_only_it_is_held_against_the_others() -> None:
    values = {"linear": [7.0, 7.1, 6.9], "cosine": [4.0, 4.1, 3.9], "late": [9.0, 9.1, 9.3], "same": [7.0, 7.2, 6.8]}
    found = told(made(values), ("fid",), "linear")
    assert len(found.claims.of("fid")) == 3
    text = said(found)
    assert re.search(r"Fréchet distance against linear \(7\.0\d? over 3 seeds; lower is better\)", text)
    assert "better is cosine by 3.0" in text and "worse is late by 2.1" in text
    assert "no difference beyond the noise for same (" in text


def test_every_sentence_carries_a_number() -> None:
    values = noisy(3, {"T=100": 9.0, "T=300": 6.0, "T=1000": 4.0}, spread=0.03)
    times = noisy(4, {"T=100": 20.0, "T=300": 41.0, "T=1000": 60.0}, spread=0.02)
    results = made(values, seconds_train=times)
    results[0] = replace(results[0], state="failed", reason="the loss is not a number at step 120", numbers={})
    found = told(results)
    for sentence in [*found.answer, *found.more, noise(found.claims)]:
        assert re.search(r"\d", sentence), sentence


# --- price, trend, front --------------------------------------------------------------------------------------------


def test_a_price_is_a_ratio_with_its_interval() -> None:
    same = {"small": [4.0, 4.4, 4.2], "large": [4.1, 4.3, 4.0]}
    text = said(told(made(same, seconds_train={"small": [40.0, 41.0, 40.5], "large": [93.0, 92.0, 94.0]})))
    assert re.search(r"large costs 2\.3\d? \[2\.\d+, 2\.\d+\] times the time of small \(training: 1 min 33 s", text)
    assert "beat" not in text


def test_at_equal_time_it_is_the_speed_that_differs() -> None:
    same = {"small": [4.0, 4.4, 4.2], "large": [4.1, 4.3, 4.0]}
    speed = {"small": [800.0, 810.0, 790.0], "large": [200.0, 205.0, 199.0]}
    equal = {"small": [60.0, 60.1, 60.0], "large": [60.2, 60.0, 60.1]}
    text = said(told(made(same, seconds_train=equal, images_per_second=speed)))
    assert re.search(r"small trains on (3\.9|4\.\d)\d* \[.*\] times as many images a second as large", text)
    assert "costs" not in text


def test_a_trend_is_said_where_it_is_there_and_not_where_it_is_not() -> None:
    truth = {"100": 9.0, "300": 6.0, "1000": 4.0, "3000": 3.0}
    steady = said(told(made(noisy(1, truth, spread=0.03))))
    assert re.search(r"Fréchet distance falls with schedule at every step: 9\.\d* at 100, .* at 3000\.", steady)
    level = said(told(made(noisy(1, dict.fromkeys(truth, 5.0), spread=0.1))))
    assert "falls" not in level and "rises" not in level and "steadily" not in level


def test_the_middle_is_best_only_where_it_beats_both_ends() -> None:
    truth = {"0.0001": 9.0, "0.001": 4.0, "0.01": 8.0}
    assert "best in the middle of schedule, at 0.001" in said(told(made(noisy(1, truth, spread=0.03))))
    flat = {"0.0001": 5.0, "0.001": 4.9, "0.01": 8.0}
    assert "best in the middle" not in said(told(made(noisy(2, flat, spread=0.05))))


def test_what_takes_longer_without_a_gain_is_not_worth_its_time() -> None:
    values = {"a": [9.0, 9.2, 8.9], "b": [4.0, 4.1, 4.0], "c": [4.05, 4.0, 4.1]}
    times = {"a": [20.0, 20.4, 19.9], "b": [40.0, 40.4, 39.9], "c": [80.0, 80.4, 79.9]}
    text = said(told(made(values, seconds_train=times)))
    assert re.search(r"Worth the time of training: a \(20 s, Fréchet distance 9\.\d+\) and b \(40 s, .*\)", text)
    assert "c takes longer than b without a gain beyond the noise" in text


# --- what limits it -------------------------------------------------------------------------------------------------


def test_failures_are_counted() -> None:
    results = made({"0.001": [4.0, 4.1, 4.2], "0.01": [4.1, 4.0, 4.3], "0.1": [9.0, 9.0, 9.0]})
    results = [
        replace(r, state="failed", reason="the loss is not a number at step 7", numbers={})
        if r.setting == "0.1" and r.seed < 2
        else r
        for r in results
    ]
    text = said(told(results))
    assert "2 of 3 seeds of 0.1 diverged." in text
    assert "Of 0.1 only 1 seed finished" in text
    full = [replace(r, state="failed", reason="no space left on the disk") if r.seed == 2 else r for r in results]
    assert "1 of 3 seeds of 0.001 failed (no space left on the disk)" in said(told(full))


def test_a_failure_before_the_way_is_known_is_a_seed_of_its_setting() -> None:
    results = [replace(r, way="ddim:50") for r in made({"a": [4.0, 4.1], "b": [5.0, 5.1]})]
    results.append(result("b", 2, {}, state="failed", reason="not finite"))
    assert [len(u.results) for u in units(results)] == [2, 3]
    assert "1 of 3 seeds of b diverged" in said(told(results))


def test_seeds_that_draw_a_few_classes_only_have_collapsed() -> None:
    known = {"a": [10.0] * 3, "b": [10.0] * 3}
    results = made({"a": [10.0, 9.0, 10.0], "b": [10.0, 4.0, 5.0]}, key="classes_reached", classes_known=known)
    assert "2 of 3 seeds of b collapsed (4 and 5 of 10 classes)." in said(told(results, ("classes_reached",)))
    results = made({"a": [10.0, 9.0, 10.0], "b": [10.0, 6.0, 8.0]}, key="classes_reached", classes_known=known)
    assert "No seed collapsed (3 of a and 3 of b)" in said(told(results, ("classes_reached",)))
    assert "collapsed" not in said(told(results, ("fid",)))


def test_how_far_seeds_lie_apart_is_told_with_how_little_is_known_of_it() -> None:
    text = said(told(made({"a": [10.0, 11.0, 9.0], "b": [20.0, 20.2, 19.8]})))
    assert "seeds of one setting lie apart (standard deviation): 10 % (a) and 1 % (b)" in text
    assert "Of 3 seeds this is known within a factor of 0.52 to 6.3." in text  # sqrt(2 / chi2 of 2 degrees)


def test_what_is_not_finished_is_counted() -> None:
    results = made({"a": [4.0, 4.1], "b": [5.0, 5.1]})
    results[3] = replace(results[3], state="missing", numbers={})
    assert "1 of 4 trainings are not finished yet" in said(told(results))


def test_one_seed_says_that_luck_is_not_known() -> None:
    results = [replace(r, errors={"fid": 0.2}) for r in made({"linear": [7.3], "cosine": [4.2]})]
    found = told(results)
    assert "cosine beat linear by 3.1 ± 0.6 in 1 training each" in said(found)
    assert found.answer[-1].startswith("1 seed: the luck of training is not known.")
    bare = said(told(made({"linear": [7.3], "cosine": [4.2]})))
    assert "beat" not in bare and "1 seed: the luck of training is not known." in bare
    assert "4.2 with cosine, 7.3 with linear; what another would give is not known." in bare
    assert "beyond the noise" not in bare


def test_what_was_not_measured_is_said_and_nothing_else() -> None:
    results = made({"a": [4.0, 4.1, 4.0], "b": [5.0, 5.1, 5.2]})
    found = told(results, ("fid", "bits"))
    assert "Bits/dim of held-out images was not measured." in found.more
    assert not BETTER.search(" ".join(told(results, ("bits",)).answer))
    empty = told([replace(r, state="missing", numbers={}) for r in results])
    few = told([replace(r, reasons={"fid": "too few"}) for r in made({"a": [1.0, 2.0]}, "kid")], ("fid",))
    assert few.answer[0].endswith("has been measured yet. Fréchet distance was not measured: too few.")
    assert empty.answer[0] == "Nothing that the question asks for has been measured yet." and empty.claims.found == []


def test_numbers_of_other_data_are_not_held_against_each_other() -> None:
    results = made({"digits": [4.0, 4.1, 4.0], "cars": [15.0, 15.1, 15.2]})
    found = findings(units(results), ("fid",), kind=lambda unit, key: (unit.name,))
    assert found.claims.of("fid") == [] and not BETTER.search(said(found))
    assert "Fréchet distance does not compare between these 2 settings" in said(found)


def test_the_answer_is_short() -> None:
    truth = {"100": 9.0, "300": 6.0, "1000": 4.0}
    rows = {key: noisy(k, truth, spread=0.02) for k, key in enumerate(("kid", "bits", "clear", "recall"))}
    found = told(made(noisy(9, truth, spread=0.02), **rows), ("fid", "kid", "bits", "recall"))
    assert 2 <= len(found.answer) <= 6 and found.more


# --- units ----------------------------------------------------------------------------------------------------------


def grid() -> list[Result]:
    return [
        result(f"T={T}, {space}", seed, {"fid": 5.0 + seed}, values={"T": T, "space": space})
        for T in ("100", "300")
        for space in ("eps", "x0")
        for seed in range(2)
    ]


def test_in_a_grid_only_what_differs_in_one_factor_is_compared() -> None:
    found = units(grid())
    assert [u.name for u in found] == ["T=100, eps", "T=100, x0", "T=300, eps", "T=300, x0"]
    assert pairs(found) == [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert pairs(found, ["eps"]) == [(0, 1), (2, 3)] and pairs(found, ["T=100, eps"]) == [(0, 1), (0, 2)]
    assert pairs(found, ["300", "eps"]) == [(0, 1), (0, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize("name", sorted(studies.known()))
def test_everything_that_a_built_in_study_tries_is_held_against_something(name: str) -> None:
    study = studies.known()[name]
    for budget in study.budgets if study.factors else ():
        chosen = studies.chosen(study, budget=budget)
        tried = [(s, way) for s in settings(chosen) for way in s.ways]
        found = units([result(s.label, 0, {"fid": 5.0}, values=s.values, way=way) for s, way in tried])
        looked = pairs(found, study.baseline)
        assert {k for pair in looked for k in pair} == {*range(len(found))}


def test_along_many_numbers_a_baseline_is_held_against_all_and_a_trend_is_told() -> None:
    rates = {"0.0001": 9.0, "0.0003": 7.0, "0.001": 5.0, "0.003": 4.0, "0.01": 6.0, "0.1": 12.0}
    results = [
        result(f"rate={rate}", seed, {"fid": value + 0.1 * seed}, values={"rate": rate})
        for rate, value in rates.items()
        for seed in range(3)
    ]
    found = told(results, ("fid",), "rate=0.003")
    assert len(found.claims.of("fid")) == 5
    assert "Fréchet distance is best in the middle of rate, at 0.003" in said(found)


def test_a_value_is_held_against_a_baseline_in_every_setting() -> None:
    """Two tables at two T: each T against the last, and in each T one table against the other."""
    fid = {("300", "raw"): 9.0, ("300", "scaled"): 4.0, ("1000", "raw"): 5.9, ("1000", "scaled"): 6.0}
    results = [
        result(f"T={T}, {table}", seed, {"fid": value + 0.1 * seed}, values={"T": T, "table": table})
        for (T, table), value in fid.items()
        for seed in range(3)
    ]
    text = said(told(results, ("fid",), "1000", "scaled"))
    against = r"Fréchet distance against scaled \(over 3 seeds; lower is better\): worse is T=300, raw by 5\.0"
    assert re.search(against, text) and re.search(r"no difference beyond the noise for T=1000, raw \(0\.1", text)
    assert re.search(r"against 1000 \(.*?\): better is T=300, scaled by 2\.0.*?worse is T=300, raw by 3\.1", text)


def test_ways_of_one_setting_are_what_is_compared() -> None:
    results = [
        result("cosine", seed, {"fid": 5.0}, way=way, run=Path(f"nowhere/{seed}"))
        for way in ("ddim:50", "ddpm:1000")
        for seed in range(2)
    ]
    found = units(results)
    assert [u.name for u in found] == ["ddim:50", "ddpm:1000"] and compared(found) == found
    assert pairs(found) == [(0, 1)]
    other = [replace(r, setting="linear", run=Path(f"nowhere/linear-{r.seed}")) for r in results]
    both = units([*results, *other])
    assert [u.name for u in compared(both)] == ["cosine, ddim:50", "linear, ddim:50"]


def test_ways_to_draw_from_the_same_runs_are_compared_seed_by_seed() -> None:
    """The luck of training, far larger than what the ways differ by, falls out."""
    luck = [4.0, 9.0, 6.0, 12.0]
    results = [
        result(way, seed, {"fid": value * factor}, values={"way": way}, way=way, run=Path(f"nowhere/{seed}"))
        for way, factor in (("ddim:50", 1.0), ("ddim:10", 1.3))
        for seed, value in enumerate(np.array(luck) * [1.0, 1.01, 0.99, 1.0])
    ]
    results = [
        replace(r, numbers={"fid": (r.numbers["fid"] or 0) * (1 + 0.01 * (r.seed % 2) * (r.way == "ddim:10"))})
        for r in results
    ]
    assert "ddim:50 beat ddim:10" in said(told(results))
    apart = [replace(r, run=Path(f"nowhere/{r.way}-{r.seed}")) for r in results]
    assert "No difference beyond the noise" in said(told(apart))


def test_the_made_up_results_are_what_they_say() -> None:
    """The helper puts each value where it belongs."""
    results = given.made({"a": [1.0, 2.0]}, bits={"a": [3.0, 4.0]})
    assert [(r.seed, r.numbers) for r in results] == [(0, {"fid": 1.0, "bits": 3.0}), (1, {"fid": 2.0, "bits": 4.0})]


# --- where the model struggles --------------------------------------------------------------------------------------


def of_thirds(early: Sequence[float], middle: Sequence[float], late: Sequence[float]) -> list[Result]:
    return [
        result("eps", seed, {"eps_early": e, "eps_middle": m, "eps_late": f})
        for seed, (e, m, f) in enumerate(zip(early, middle, late, strict=True))
    ]


def test_the_hardest_third_is_named_where_it_is_beyond_the_noise() -> None:
    results = of_thirds([0.41, 0.40, 0.42], [0.10, 0.11, 0.10], [0.02, 0.02, 0.021])
    text = said(told(results, ("eps_early", "eps_middle", "eps_late")))
    assert "eps struggles most in the early third of t, the least noisy: its error of the noise is 0.4" in text
    assert "over 3 seeds" in text
    level = of_thirds([0.41, 0.30, 0.52], [0.40, 0.51, 0.30], [0.39, 0.42, 0.41])
    text = said(told(level, ("eps_early", "eps_middle", "eps_late")))
    assert "No third of t is the hardest for eps beyond the noise" in text and "struggles" not in text


# --- many values of a number ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("300", 300.0),
        ("T=300", 300.0),
        ("1e-4", 1e-4),
        ("1,000", 1000.0),
        ("eta 0.5", None),
        ("2M", None),
        ("cosine", None),
    ],
)
def test_a_label_is_a_number_or_a_name(label: str, wanted: float | None) -> None:
    assert numeric(label) == wanted


def test_along_many_numbers_neighbours_and_ends_are_held_together() -> None:
    results = [
        result(f"steps={n}", 0, {"fid": 5.0}, values={"steps": n}) for n in ("5", "10", "20", "50", "100", "250")
    ]
    assert pairs(units(results)) == [(0, 1), (0, 5), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert len(pairs(units(results[:5]))) == 10


def test_a_difference_that_is_only_one_among_many_says_so() -> None:
    some = {"a": [5.0, 5.3, 5.1], "b": [5.6, 5.5, 5.9]}
    others = {key: {"a": [1.0, 1.1, 0.9], "b": [1.0, 0.9, 1.1]} for key in ("kid", "bits", "recall", "precision")}
    alone = said(told(made(some)))
    assert "a beat b" in alone and "were it the only one" not in alone
    many = said(told(made(some, **others), ("fid", *others)))
    assert re.search(r"between \w and \w \(Fréchet distance;[^)]*; one, were it the only one looked at\)", many)
    assert many.count("the only one") == 1

"""Rows of an evaluation, read, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import evaluations
import pytest

from noisette.views import scores, verdicts
from noisette.views.scores import Score


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "text", "bounds"),
    [
        (9.1234, 8.42, 9.83, "", "9.1", "[8.4, 9.8]"),
        (0.01234, 0.0112, 0.0136, "", "0.0123", "[0.0112, 0.0136]"),
        (-0.0002, -0.0011, 0.0007, "", "−0.0002", "[−0.0011, 0.0007]"),
        (1234.5, 1200.0, 1270.0, "", "1,234", "[1,200, 1,270]"),
        (0.9823, 0.976, 0.988, "share", "98.2 %", "[97.6, 98.8]"),
        (1.0, 1.0, 1.0, "share", "100.0 %", "[100.0, 100.0]"),
        (2.345678, None, None, "bits/dim", "2.35", ""),
        (None, None, None, "", "–", ""),
    ],
)
def test_a_number_has_as_many_digits_as_its_interval_lets_it(
    value: float | None, low: float | None, high: float | None, unit: str, text: str, bounds: str
) -> None:
    score = Score("fid", value, low, high, unit=unit)
    assert (plain(score.text()), score.bounds()) == (text, bounds)


def test_the_newest_of_equal_rows_counts_and_what_is_no_row_is_left_out() -> None:
    old, new = evaluations.drawn("ddim:50"), evaluations.drawn("ddim:50", shift=2)
    found = scores.read([{"rows": [*old, None, "x", {"value": 1}]}, {"rows": new}, {}])
    assert len(found) == len(old)
    assert next(s for s in found if s.metric == "fid").value == new[0]["value"]


def test_damaged_rows_are_read_as_far_as_they_go() -> None:
    rows: list[Any] = [
        {"metric": "fid", "value": math.nan, "low": "x", "n": True, "seeds": [], "detail": 3, "nfe": None},
        {"metric": "mine", "value": 2, "low": 1.0, "label": None, "sampler": "ddim"},
    ]
    first, second = scores.read([{"rows": rows}])
    assert first.value is None and first.n is None and first.detail == {} and first.seeds is None
    assert second.name == "mine" and second.label == "ddim" and second.bounds() == ""


def test_ways_of_the_same_label_are_told_apart() -> None:
    found = [Score("fid", 1.0, label="ddim:50", protocol=(("guidance", g),)) for g in ("1", "2")]
    found.append(Score("fid", 1.0, label="ddpm:1000"))
    assert list(scores.names(found).values()) == ["ddim:50, guidance 1", "ddim:50, guidance 2", "ddpm:1000"]


def test_what_speaks_for_a_run_is_its_newest_checkpoint_with_the_most_samples() -> None:
    rows = [*evaluations.drawn("ddim:50", step=100), *evaluations.drawn("ddim:50", step=200, n=512)]
    rows += [*evaluations.drawn("ddim:50", step=200), *evaluations.drawn("ddim:50", step=200, n=256)]
    rows += [*evaluations.drawn("ddim:50", step=200, weights="raw"), *evaluations.real()]
    now = verdicts.current(scores.read([{"rows": rows}]))
    drawn = [s for s in now if not s.real]
    assert {(s.checkpoint, s.n, s.weights) for s in drawn} == {(200, 2048, "ema")}
    assert any(s.real for s in now) and verdicts.current([]) == []


def test_values_of_another_extractor_do_not_mix() -> None:
    other = {"extractor": "pixels", "extractor_hash": "ffff", "extractor_accuracy": None}
    rows = [*evaluations.drawn("ddim:50"), *evaluations.drawn("ddim:20", **other)]
    now = verdicts.current(scores.read([{"rows": rows}]))
    assert {s.hash for s in now if s.reference} == {"ffff"}


def told(rows: list[evaluations.Row], newest: int = 614) -> str:
    return plain(" ".join(verdicts.quality(scores.read([{"rows": rows}]), Path("runs/x"), newest)))


def test_the_summary_says_how_good_and_how_sure() -> None:
    text = told(evaluations.whole()["rows"])
    assert "With ddpm:1000, the best of 4 samplers that were tried (ddim:50, dpmpp_2m:20 cannot be told apart" in text
    assert "9.1 [8.4, 9.8] from the training pictures; two sets of real pictures come to 1.90 [1.71, 2.09]" in text
    assert "98.2 %" in text and "98.5 % of real ones" in text and "of the first 36, 35 are clear" in text
    assert "2,048 samples" in text and "one training" in text and "right on 97.9 % of held-out pictures" in text
    assert "newest checkpoint" not in text


def test_a_reader_that_says_one_thing_of_everything_is_not_believed() -> None:
    rows = [r for r in evaluations.drawn("ddim:50") if r["metric"] == "clear"]
    assert "noise is read so too" not in told(rows)
    rows[0] = {**rows[0], "detail": {**rows[0]["detail"], "by_class": {"3": 2, "8": 2000}}}
    assert "nearly all of them are read as 8, and noise is read so too" in told(rows)


def test_the_floor_has_the_same_reference_and_about_the_same_n() -> None:
    now = verdicts.current(scores.read([{"rows": evaluations.whole()["rows"]}]))
    head = verdicts.headline(now)
    assert head is not None and head.floor is not None and head.floor.real == "train against train"
    held_out = next(s for s in now if s.metric == "fid" and s.reference == "held_out" and not s.real)
    assert verdicts.floor(held_out, now) is None  # 250 real pictures against 250 say nothing of 2,048
    found = verdicts.floor(replace(held_out, n=250), now)
    assert found is not None and found.real == "held_out halves"


def test_a_floor_of_fewer_pictures_is_read_beside_as_many_samples() -> None:
    """Where there are too few real pictures for a floor of all samples."""
    rows = [*evaluations.real(), *evaluations.drawn("ddim:50")]
    for row in rows:
        row |= {"n": 300} if row["real"] == "train against train" else {}
    few = [{**r, "n": 300, "value": 20.0} for r in rows if r["label"] and r["metric"] == "fid"]
    before, now = (verdicts.current(scores.read([{"rows": found}])) for found in (rows, [*rows, *few]))
    head = verdicts.headline(before)
    assert head is not None and head.best.n == 2048 and head.floor is None
    head = verdicts.headline(now)
    assert head is not None and head.floor is not None and head.best.n == head.floor.n == 300
    assert {s.n for s in now if not s.real and (s.reference, s.metric) == ("held_out", "fid")} == {2048}
    whole = [{**r, "n": 2048} for r in rows if r["real"] == "train against train"]
    head = verdicts.headline(verdicts.current(scores.read([{"rows": [*rows, *few, *whole]}])))
    assert head is not None and head.floor is not None and head.best.n == head.floor.n == 2048


def test_only_samplers_of_equal_n_rank() -> None:
    rows = evaluations.whole()["rows"]
    few = [{**r, "n": 250, "value": 0.1} for r in rows if r["label"] == "ddim:50" and r["metric"] == "fid"]
    found = [r for r in rows if not (r["label"] == "ddim:50" and r["metric"] == "fid")] + few
    head = verdicts.headline(verdicts.current(scores.read([{"rows": found}])))
    assert head is not None and head.best.n == 2048 and "ddim:50" not in {s.label for s in head.among}


def test_the_summary_knows_when_it_is_out_of_date() -> None:
    text = told(evaluations.drawn("ddim:50", step=600), newest=700)
    assert "measured at step 600; the newest checkpoint" in text and "step 700" in text


def test_without_an_evaluation_nothing_is_claimed() -> None:
    text = told([])
    assert "has not been measured" in text and "noisette evaluate runs/x" in text
    only_clear = [r for r in evaluations.drawn("ddim:50") if r["metric"] == "clear"]
    text = told(only_clear)
    assert "98.2 %" in text and "Fréchet" not in text


def test_closer_than_real_pictures_is_suspect() -> None:
    rows = [r for r in evaluations.whole()["rows"] if r["real"] or r["label"] == "ddim:50"]
    for row in rows:
        if row["metric"] == "fid" and not row["real"]:
            row |= {"value": 0.5, "low": 0.4, "high": 0.6}
    assert "nearer to its training pictures" not in told(rows)  # against other numbers of pictures, that proves nothing
    for row in rows:
        if row["real"] == "train against train":
            row |= {"n": 2048, "reference_n": 4500}
    assert "nearer to its training pictures than other real pictures are" in told(rows)
    assert "nearer to its training pictures" not in told(evaluations.whole()["rows"])


def test_copying_is_said_on_top() -> None:
    rows = evaluations.whole()["rows"]
    assert "It copies" not in told(rows)
    for row in rows:
        if row["metric"] == "memory_copied":
            row["detail"] = {"verdict": "copies", "words": "2000 of 2048 samples are copies."}
    assert "It copies: 2000 of 2048 samples are copies." in told(rows)


def test_absurd_numbers_are_written_somehow() -> None:
    absurd = {"metric": "fid", "value": 1e300, "low": -1e308, "high": 1e308, "seeds": ["a", None], "label": "ddim:5"}
    (score,) = scores.read([{"rows": [absurd]}])
    assert score.text() and score.bounds() and score.seeds is None

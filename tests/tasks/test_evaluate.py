"""Evaluations of tiny runs: what is refused, what is kept, and that the numbers know a good sample from a bad one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import bright
import numpy as np
import pytest
from tiny import tiny

from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.metrics.distances import FEWEST
from noisette.tasks import evaluate, judge, plan, rows, shards

ROW = {"metric", "value", "low", "high", "interval", "unit", "better", "n", "real", "label", "weights", "checkpoint"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 grey 8x8 images in two classes, a bright square top left or bottom right."""
    return bright.squares(tmp_path_factory.mktemp("many") / "squares.npz", 600)


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    patch = pytest.MonkeyPatch()
    patch.setenv("NOISETTE_CACHE", str(tmp_path_factory.mktemp("cache")))
    try:
        return tiny(source, tmp_path_factory.mktemp("evaluated") / "run", data__held_out=0.4, train__steps=30)
    finally:
        patch.undo()


@pytest.fixture(autouse=True)
def few_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likelihoods of a few images at a few times: what they are worth is tested where they are made."""
    for name, value in (("BITS_IMAGES", 24), ("BITS_TIMES", 8), ("FLOW_IMAGES", 12), ("FLOW_STEPS", 8)):
        monkeypatch.setattr(evaluate, name, value)


@pytest.fixture(scope="module")
def told_nothing(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose net is told no classes; not written into."""
    return tiny(source, tmp_path_factory.mktemp("plain") / "run", net__conditional=False)


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A copy to write into."""
    shutil.copytree(finished.path, tmp_path / "run")
    return Run.open(tmp_path / "run")


def one(found: list[rows.Row], metric: str, **wanted: Any) -> rows.Row:
    (row,) = [r for r in found if r["metric"] == metric and all(r.get(k) == v for k, v in wanted.items())]
    return row


def test_every_number_is_a_row_with_its_protocol_in_the_run_folder(run: Run) -> None:
    found = evaluate.evaluate(run, 120, ("fid", "kid", "prdc"), ("ddim:4", "ddpm:6"), "pixels")
    kept = [row for evaluation in run.evaluations() for row in evaluation["rows"]]
    assert json.loads(json.dumps(found)) and len(kept) == len(found)
    for row in found:
        assert set(row) >= ROW and row["extractor"] == "pixels" and len(row["extractor_hash"]) == 16
        assert row["low"] <= row["value"] <= row["high"] and isinstance(row["interval"], str)
    drawn = one(found, "fid", label="ddpm:6", reference="train")
    assert (drawn["n"], drawn["reference_n"], drawn["nfe"], drawn["seeds"]) == (120, 240, 6, [0, 119])
    assert drawn["weights"] == "ema" and drawn["checkpoint"] == 30 and drawn["seconds"] > 0
    floor = one(found, "fid", real="train against train")
    assert (floor["n"], floor["reference_n"]) == (120, 240)  # the same reference
    assert floor["value"] < drawn["value"]  # noise after 30 steps of training
    assert {r["real"] for r in found} == {None, "train against train", "train against held_out", "held_out halves"}


def test_a_broken_off_evaluation_goes_on_and_a_larger_one_keeps_what_is_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ("fid",)
    whole = evaluate.evaluate(run, 200, wanted, (), "pixels")
    shutil.rmtree(run.eval_shards)
    drawings = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        drawings.append(args[3][0])
        if len(drawings) == 3:
            raise KeyboardInterrupt
        return draw(*args, **kwargs)

    draw = shards.draw
    monkeypatch.setattr(shards, "draw", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(run, 200, wanted, (), "pixels")
    small = evaluate.evaluate(run, 2 * shards.SHARD, wanted, (), "pixels")  # both shards are there
    assert len(drawings) == 3 and one(small, "fid", real=None, reference="train")["n"] == 2 * shards.SHARD
    again = evaluate.evaluate(run, 200, wanted, (), "pixels")
    assert drawings == [0, shards.SHARD, 2 * shards.SHARD, 2 * shards.SHARD]
    assert [r["value"] for r in again] == [r["value"] for r in whole]
    torn = next(run.eval_shards.rglob("*.npz"))
    torn.write_bytes(torn.read_bytes()[:100])
    assert [r["value"] for r in evaluate.evaluate(run, 200, wanted, (), "pixels")] == [r["value"] for r in whole]


def test_other_weights_or_settings_have_shards_of_their_own(run: Run) -> None:
    for more in ({"weights": "raw"}, {}, {"using": ["ddim:4:eta=1"]}, {"using": ["ddim:5"]}):
        evaluate.evaluate(run, 100, ("fid",), **{"using": ["ddim:4"], "features": "pixels", **more})
    assert len(list(run.eval_shards.iterdir())) == 4


def test_a_second_evaluation_replaces_its_own_numbers_and_keeps_the_others(run: Run) -> None:
    for n, metrics in ((180, ("fid",)), (140, ("kid",)), (180, ("fid", "prdc")), (40, ("fid", "bits"))):
        evaluate.evaluate(run, n, metrics, ("ddim:4",), "pixels")
    kept = [r for e in run.evaluations() for r in e["rows"] if r["label"] == "ddim:4" and r["reference"] == "train"]
    four = ("precision", "recall", "density", "coverage")
    assert sorted((r["metric"], r["n"], r["value"] is None) for r in kept) == sorted(
        [("fid", 40, True), ("fid", 180, False), ("kid", 140, False), *((name, 180, False) for name in four)]
    )


def test_torn_evaluations_are_written_over(run: Run) -> None:
    torn = [7, {"metric": ["fid"]}, {"metric": "fid", "n": {}, "value": "x"}]
    run.save_evaluation("real", {"rows": torn})
    found = evaluate.evaluate(run, 100, ("fid",), ("ddim:4",), "pixels")
    assert len([r for e in run.evaluations() for r in e["rows"]]) == len(found) + 2


def test_one_image_measures_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", x=np.arange(2 * 192, dtype=np.uint8).reshape(2, 8, 8, 3))
    run = tiny(tmp_path / "two.npz", tmp_path / "run", data__held_out=0.5)
    with pytest.raises(UserError, match="too few"):
        evaluate.evaluate(run, 100, ("fid",), (), "pixels")


def test_too_few_samples_are_refused_with_the_reason(run: Run) -> None:
    with pytest.raises(UserError, match=f"too few for fid, kid.*{FEWEST}"):
        evaluate.evaluate(run, FEWEST - 1, ("fid", "kid"), (), "pixels")
    found = evaluate.evaluate(run, 40, ("fid", "bits"), (), "pixels")
    refused = one(found, "fid", real=None, reference="train")
    assert refused["value"] is None and str(FEWEST) in refused["reason"]
    with pytest.raises(UserError, match="give more --minutes"):
        evaluate.evaluate(run, 200, ("fid",), ("ddim:4",), "pixels", minutes=1e-6)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"metrics": ("fod",)}, 'unknown metric "fod"; did you mean "fid"'),
        ({"using": ("ddimm:5",)}, 'unknown sampler "ddimm"; did you mean "ddim"'),
        ({"using": ("ddim:five",)}, "name:steps"),
        ({"using": ("ddim:5:etaa=1",)}, 'no sampler setting "etaa"; did you mean "eta"'),
        ({"using": ("ddim:5:eta=x",)}, "name:steps"),
        ({"using": ("ddpm:5:variance=learned",)}, "has not learned a variance"),
        ({"using": ("ddim:2000",)}, "ddim:2000"),
        ({"using": ("ddim:5:guidance=2",)}, "nothing to guide by"),
        ({"using": ("ddpm:5:eta=1",)}, "ddpm has no eta"),
        ({"using": ("ddim:5:sampler=ddpm",)}, 'no sampler setting "sampler"'),
        ({"features": "nowhere.pt"}, "nowhere.pt"),
        ({"features": "inceptoin"}, 'unknown features "inceptoin"; did you mean "inception"'),
        ({"at": 7}, "no checkpoint at step 7"),
        ({"samples": 0}, "--samples must be 1 or more"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(told_nothing: Run, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        evaluate.evaluate(told_nothing, **{"samples": 100, "features": "pixels", **wrong})
    assert "\n" not in str(error.value) and not told_nothing.evaluations()


def test_bits_of_a_table_and_of_a_formula(run: Run, source: Path, tmp_path: Path) -> None:
    table = evaluate.evaluate(run, metrics=("bits",), features="pixels")
    row = one(table, "bits", reference="held_out")
    total = row["detail"]["prior"] + row["detail"]["decoder"] + sum(row["detail"]["by_time"])
    assert row["value"] == pytest.approx(total, abs=1e-3) and row["unit"] == "bits/dim"
    assert 0 < row["low"] < row["value"] < row["high"]
    flow = tiny(source, tmp_path / "flow", schedule__name="flow", objective__predicts="flow", train__steps=30)
    row = one(evaluate.evaluate(flow, metrics=("bits",), features="pixels"), "bits", reference="train")
    assert row["detail"]["kind"] == "probability-flow ODE" and np.isfinite(row["value"])


def test_the_reader_is_trained_once_and_counts_clear_samples(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = evaluate.evaluate(run, 108, ("clear", "is"), (), "classifier")
    row, real = one(found, "clear", real=None), one(found, "clear", real="held_out")
    assert real["value"] > 0.95 and row["extractor_accuracy"] >= 0.95
    assert row["detail"]["first_36"] <= 36 and sum(row["detail"]["by_class"].values()) == round(row["value"] * 108)
    assert one(found, "inception_score", real=None)["value"] <= 2
    monkeypatch.setattr(judge, "train", None)
    again = evaluate.evaluate(run, 108, ("clear",), (), "classifier")
    assert one(again, "clear", real=None)["value"] == row["value"]


def test_a_reader_that_cannot_read_is_not_trusted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", x=rng.integers(0, 256, (260, 8, 8, 1), dtype=np.uint8), y=rng.integers(0, 2, 260))
    run = tiny(tmp_path / "noise.npz", tmp_path / "run")
    found = evaluate.evaluate(run, 100, ("fid", "clear"))
    assert one(found, "fid", real=None, reference="train")["extractor"] == "pixels"
    row = one(found, "clear")
    assert row["value"] is None and "cannot be trusted" in row["reason"]


def test_features_without_classes_give_no_inception_score(run: Run) -> None:
    row = one(evaluate.evaluate(run, 100, ("is",), (), "pixels"), "inception_score")
    assert row["value"] is None and "--features classifier" in row["reason"]


def test_copies_are_found_beyond_the_images_that_features_are_taken_of(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "MOST", 100)
    data = build.data(run)
    left_out = sorted({*data.train} - {*judge.Judge(data, run.config.data, "pixels").rows("train")})
    copies = data.x[left_out[: shards.SHARD]]
    monkeypatch.setattr(shards, "draw", lambda *args, **kwargs: (copies, []))
    row = one(evaluate.evaluate(run, 72, ("memory", "bits"), (), "pixels"), "memory_copied", space="pixels")
    assert row["value"] == 1 and row["reference_n"] == 360


def test_a_limit_in_minutes_leads_to_few_numbers_of_samples(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[plan.Plan] = []
    monkeypatch.setattr(plan, "_rate", lambda model: 1.0)
    monkeypatch.setattr(plan, "_look", lambda extractor, model: 0.0)
    for minutes in (17, 30, 60):  # of them 70 % may be planned with
        evaluate.evaluate(run, 300, ("kid",), ("ddim:4:guidance=1",), "pixels", minutes=minutes, planned=plans.append)
        shutil.rmtree(run.eval_shards)
    assert [p.n for p in plans] == [100, 250, 300]
    assert [p.seconds for p in plans] == [4 * shards.SHARD * k for k in (2, 4, 5)]  # whole shards are drawn


def test_without_classes_there_is_nothing_to_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "plain.npz", x=rng.integers(0, 256, (240, 8, 8, 3), dtype=np.uint8))
    run = tiny(tmp_path / "plain.npz", tmp_path / "run")
    row = one(evaluate.evaluate(run, 100, ("clear", "bits"), (), "pixels"), "clear")
    assert row["value"] is None and "no classes" in row["reason"]
    with pytest.raises(UserError, match="no classes"):
        evaluate.evaluate(run, 100, ("fid",), (), "classifier")


def test_the_data_themselves_are_as_good_as_the_floor_and_noise_is_not(run: Run) -> None:
    data = build.data(run)
    appointed = judge.Judge(data, run.config.data, "pixels")
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, data.x[data.held_out].shape, dtype=np.uint8)
    reference = appointed.real("train")
    good = rows.between(reference, appointed.real("held_out"), ("fid", "kid", "prdc"), {})
    bad = rows.between(reference, appointed.features(noise), ("fid", "kid", "prdc"), {})
    for better, worse in zip(good, bad, strict=True):
        sign = 1 if better["better"] == "lower" else -1
        assert sign * better["value"] < sign * worse["value"], better["metric"]


def test_a_copying_model_is_told_from_one_that_learned(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    data = build.data(run)
    honest = one(evaluate.evaluate(run, 120, ("memory",), (), "pixels"), "memory_copied", space="pixels")
    copies = data.x[np.resize(data.train, shards.SHARD)]
    shutil.rmtree(run.eval_shards)
    monkeypatch.setattr(shards, "draw", lambda *args, **kwargs: (copies, []))
    caught = one(evaluate.evaluate(run, 120, ("memory",), (), "pixels"), "memory_copied", space="pixels")
    assert caught["detail"]["verdict"] == "copies" and caught["value"] == 1
    assert honest["detail"]["verdict"] == "learned" and honest["value"] < 0.05


def test_real_images_are_drawn_as_the_model_draws(run: Run) -> None:
    appointed = judge.Judge(build.data(run), run.config.data, "pixels")
    labels = appointed.data.labels
    assert labels is not None
    even, free = (appointed.order(appointed.rows("train"), evenly, 0, 1) for evenly in (True, False))
    assert sorted(even) == sorted(free) == list(range(360))
    told = labels[appointed.rows("train")]
    assert all(abs(told[even[:n]].mean() - 0.5) <= 1 / n for n in (10, 61, 200))
    assert any(abs(told[free[:n]].mean() - 0.5) > 1 / n for n in (10, 61, 200))


def test_a_training_can_look_at_its_samples_now_and_then(source: Path, tmp_path: Path) -> None:
    run = tiny(source, tmp_path / "watched", train__eval_every=5, train__steps=12)
    looks = [row for row in run.metrics() if "proxy_fd" in row]
    assert [row["step"] for row in looks] == [5, 10, 12]
    assert all(row["proxy_fd"] > row["proxy_floor"] > 0 and row["proxy_n"] == 256 for row in looks)


def test_a_look_needs_enough_images(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few for looks at the quality"):
        tiny(squares, tmp_path / "small", train__eval_every=5)
    assert not (tmp_path / "small").exists()

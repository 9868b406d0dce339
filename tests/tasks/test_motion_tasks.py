"""What is measured of runs of motion: rows, floors, copies, the doctor, neighbours, levels and looks while training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_motion import FRAMES, tiny_motion, walks

from noisette.data.motion import MotionData
from noisette.data.motion.clips import rotated
from noisette.data.motion.spec import Augment
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.metrics import distances, motion_features
from noisette.metrics.symptoms import Walk
from noisette.tasks import compare, doctor, evaluate, levels, motion_rows, neighbours, shards, study, study_rows
from noisette.tasks.generate import Samples, settings_of
from noisette.tasks.judge import Judge
from noisette.tasks.motion import MotionJudge
from noisette.tasks.proxy import Proxy
from noisette.tasks.rows import Row
from noisette.views import health, scores, verdicts


@pytest.fixture(autouse=True)
def short_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extractors that are trained for a second: what they are worth is tested where they are made."""
    monkeypatch.setattr(motion_features, "_PASSES", 4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place, patch = tmp_path_factory.mktemp("moving"), pytest.MonkeyPatch()
    patch.setenv("NOISETTE_CACHE", str(place / "cache"))
    try:
        return tiny_motion(walks(place / "walks.npz", 80), place / "run", data__held_out=0.3)
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def data(finished: Run) -> MotionData:
    found = build.data(finished)
    assert isinstance(found, MotionData)
    return found


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A copy to write into."""
    shutil.copytree(finished.path, tmp_path / "run")
    return Run.open(tmp_path / "run")


def judge_of(run: Run, data: MotionData, features: str = "auto") -> MotionJudge:
    found = Judge.of(data, run.config.data, features)
    assert isinstance(found, MotionJudge)
    return found


def passed_off(run: Run, x: np.ndarray, labels: np.ndarray | None) -> Samples:
    """Clips passed off as samples of a run."""
    made = {**settings_of(run).model_dump(mode="json"), "weights": "ema", "checkpoint": run.checkpoint().step}
    return Samples(x, list(range(len(x))), labels, run.shape.classes, made)


def middles(data: MotionData, rows: np.ndarray) -> np.ndarray:
    """The middle clip of each take."""
    _, first, sizes = np.unique(data.take[rows], return_index=True, return_counts=True)
    return np.asarray(rows[first + sizes // 2])


def named(found: list[Row], real: bool = False) -> dict[str, Row]:
    return {row["metric"]: row for row in found if bool(row.get("real")) == real and row["value"] is not None}


def test_every_number_of_motion_is_a_row(run: Run) -> None:
    found = evaluate.evaluate(run, 144)
    assert json.dumps(found)
    ours = named(found)
    assert {"fid", "kid", "precision", "recall", "density", "coverage", "clear", "asked", "inception_score"} <= {*ours}
    assert {"bone_error", "bone_jitter", "speed", "jerk_rms", "contact", "bent"} <= {*ours}
    assert {"diversity", "multimodality"} <= {*ours}
    assert "bits" not in {row["metric"] for row in found}
    assert ours["speed"]["unit"] == "m/s" and ours["bone_error"]["unit"] == "%"
    value, (real, low, high) = ours["speed"]["value"], ours["speed"]["detail"]["real"]
    assert low < real < high and ours["speed"]["detail"]["ratio"][0] == pytest.approx(value / real)
    jitter = ours["bone_jitter"]
    assert jitter["value"] > 0.1 > jitter["detail"]["real"][0]  # twelve steps of training: nothing holds together yet
    assert jitter["detail"]["ratio"] is None and jitter["better"] == "lower"  # of bones that are rigid but for rounding
    assert ours["bone_error"]["better"] == "real" and ours["speed"]["detail"]["classes"] == ["quick", "slow"]
    assert {row.get("space") for row in found if row["metric"] == "memory_copied"} == {"poses", "classifier"}
    floors = [row for row in found if row["metric"] == "fid" and row.get("real")]
    assert {row["real"] for row in floors} == {"train against train", "train against held_out", "held_out halves"}
    floor = next(row for row in floors if row["real"] == "train against train")
    assert floor["value"] < ours["fid"]["value"] and floor["n"] == 144
    drawn = next(row for row in found if row["metric"] == "fid" and row.get("reference") == "train" and not row["real"])
    assert floor["reference_n"] == drawn["reference_n"]
    with pytest.raises(UserError, match=r"of clips there are .*, and no bits"):
        evaluate.evaluate(run, 144, ("bits",))


def test_real_clips_of_one_take_count_once_in_variety(finished: Run, data: MotionData) -> None:
    judge = judge_of(finished, data, "autoencoder")
    rows, labels = judge.rows("held_out"), data.labels
    assert labels is not None
    alone = middles(data, rows)
    assert np.array_equal(rows[judge.middles(rows)], alone) and len(alone) == len({*data.take[rows]}) < len(rows) / 4
    features = judge.real("held_out")
    same = judge.features(data.x[alone])
    found = named(motion_rows.variety(judge, features, labels[rows], {}))
    assert found["diversity"]["reference_n"] == len(alone)
    expected = distances.diversity(same, labels[alone]), distances.multimodality(same, labels[alone]).value
    for name, wanted in zip(("diversity", "multimodality"), expected, strict=True):
        (real, low, high), row = found[name]["detail"]["real"], found[name]
        assert (real, low, high) == pytest.approx((wanted.value, wanted.low, wanted.high))
        assert high - low > 1.5 * (row["high"] - row["low"])  # of all windows, as if they were independent


def test_a_floor_of_fewer_clips_has_as_many_samples_beside_it(run: Run, data: MotionData) -> None:
    n = len(data.train) // 2 + 40
    found = [row for row in evaluate.evaluate(run, n, ("fid", "prdc")) if row["reference"] == "train"]
    for metric in ("fid", "recall"):
        drawn = {row["n"]: row for row in found if row["metric"] == metric and not row["real"]}
        floor = next(r for r in found if r["metric"] == metric and r["real"] == "train against train")
        assert {*drawn} == {n, floor["n"]} and floor["n"] <= len(data.train) // 2
        few = drawn[floor["n"]]
        assert few["reference_n"] == floor["reference_n"] and few["seeds"] == [0, floor["n"] - 1]
    drawn = {row["n"]: row for row in found if row["metric"] == "fid" and not row["real"]}
    floor = next(r for r in found if r["metric"] == "fid" and r["real"] == "train against train")
    head = verdicts.headline(verdicts.current(scores.read(run.evaluations())))
    assert head is not None and head.floor is not None and head.best.n == head.floor.n == floor["n"]
    way = run.config.sample.label
    rows = [row for evaluation in run.evaluations() for row in evaluation["rows"]]
    step = run.checkpoint().step
    numbers, errors, _, _ = study_rows.drawn(rows, step, way, {"samples": n, "seed": 0}, study.NUMBERS)
    assert numbers["fid"] == drawn[n]["value"] and errors["fid_ratio"] > 0
    assert numbers["fid_ratio"] == pytest.approx(drawn[floor["n"]]["value"] / floor["value"])


def test_images_have_no_row_of_motion(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    found = evaluate.evaluate(run, 20, ("motion", "memory"))
    assert {row["metric"] for row in found} == {"memory_closer", "memory_copied"}
    with pytest.raises(UserError, match=r"nothing to measure: of images there are .*bits.*, and no motion"):
        evaluate.evaluate(run, 20, ("motion",))


@pytest.mark.parametrize("evenly", [True, False])
def test_no_take_is_on_both_sides_of_real_against_real(finished: Run, data: MotionData, evenly: bool) -> None:
    judge = judge_of(finished, data)
    for which in ("train", "held_out"):
        rows = judge.rows(which)
        one, other = judge.apart(rows, len(rows) // 2, evenly, 0, 7)
        assert len(one) == len(rows) // 2 <= len(other) + 9  # but for the rest of one take
        assert not {*one.tolist()} & {*other.tolist()} and not {*data.take[rows[one]]} & {*data.take[rows[other]]}
        again = judge.apart(rows, len(rows) // 2, evenly, 0, 7)
        assert all(np.array_equal(a, b) for a, b in zip((one, other), again, strict=True))
        assert data.labels is not None
        assert not evenly or abs(data.labels[rows[one]].mean() - 0.5) < 0.1
        few, _ = judge.apart(rows, 6, evenly, 0, 7)
        assert len({*data.take[rows[few]]}) == min(6, len({*data.take[rows]}) // 2)  # a take for each


def test_a_take_that_is_most_of_the_data_stays_whole(finished: Run, data: MotionData) -> None:
    judge = judge_of(finished, data)
    takes = data.take[data.train]
    rows = np.concatenate([np.tile(data.train[takes == takes[0]], 20), data.train[takes != takes[0]][:18]])
    one, other = judge.apart(rows, len(rows) // 2, False, 0, 7)
    assert len(one) == 18 and not {*data.take[rows[one]]} & {*data.take[rows[other]]}


@pytest.mark.parametrize("features", ["auto", "autoencoder"])
def test_a_net_that_is_taught_to_turn_is_compared_ahead(finished: Run, data: MotionData, features: str) -> None:
    turning = replace(data, augment=Augment(rotate=180))
    judge, usual = judge_of(finished, turning, features), judge_of(finished, data, features)
    x = data.x[data.train[:9]]
    turned = rotated(x, np.linspace(0, 5, 9), data.skeleton)
    for look in (judge.comparable, judge.extractor, judge.extractor.probabilities, judge.plain(data.x[data.train])):
        if (seen := look(x)) is not None:
            np.testing.assert_allclose(look(turned), seen, atol=1e-3)
    assert np.abs(usual.comparable(turned) - usual.comparable(x)).max() > 0.01  # metres
    assert judge.extractor.hash != usual.extractor.hash and judge.extractor.name == usual.extractor.name
    without = replace(turning, skeleton=replace(data.skeleton, pairs=()))
    assert judge_of(finished, without, features).ahead is None


def test_few_held_out_clips_are_said_in_words(tmp_path: Path) -> None:
    source = walks(tmp_path / "few.npz", 40, labels=False)
    run = tiny_motion(source, tmp_path / "run", train__steps=4, data__held_out=0.03)
    found = evaluate.evaluate(run, 100)
    without = {(row["metric"], row.get("real")): row["reason"] for row in found if row["value"] is None}
    assert "9 samples" in without["fid", "train against held_out"] and ("fid", "held_out halves") in without
    assert without["clear", None].endswith("the clips have no classes")
    assert {row["extractor"] for row in found if row["metric"] == "fid"} == {"autoencoder"}
    assert named(found)["speed"]["reference"] == "train"  # one take is held out, which says nothing of others
    with pytest.raises(UserError, match="too few"):
        evaluate.evaluate(run, 20, ("fid",))
    with pytest.raises(UserError, match="use --features autoencoder"):
        evaluate.evaluate(run, 100, ("fid",), (), "classifier")
    for other in ("pixels", "inception", "net.pt"):
        with pytest.raises(UserError, match="do not see clips"):
            evaluate.evaluate(run, 100, ("fid",), (), other)


def test_copies_of_training_clips_are_told(run: Run, data: MotionData, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = data.x[np.resize(data.train, shards.SHARD)]
    monkeypatch.setattr(shards, "draw", lambda *args, **kwargs: (copies, []))
    found = evaluate.evaluate(run, 72, ("memory",))
    for row in found:
        if row["metric"] == "memory_copied":
            assert row["value"] == 1 and row["detail"]["verdict"] == "copies" and "clip" in row["detail"]["words"]


def test_the_doctor_of_clips(finished: Run, data: MotionData) -> None:
    assert data.labels is not None
    held = middles(data, data.held_out)
    unseen = doctor.diagnose(finished, passed_off(finished, data.x[held], data.labels[held]), data)
    assert [f.key for f in unseen.findings if f.key != "exploding"] == []
    assert [s.key for s in unseen.symptoms][:5] == ["exploding", "broken", "jittery", "frozen", "drifting"]
    rng = np.random.default_rng(0)
    known = middles(data, data.train)
    for x, key in (
        (data.x[held] + rng.normal(0, 0.3, data.x[held].shape), "broken"),
        (np.repeat(data.x[held][:, :1], FRAMES, 1), "frozen"),
        (data.x[known], "copied"),
        (data.x[held] * np.nan, "exploding"),
    ):
        found = doctor.diagnose(finished, passed_off(finished, x.astype(np.float32), None), data)
        (mine,) = [f for f in found.findings if f.key == key]
        assert mine.causes and len(mine.causes) == len(mine.tries) and "picture" not in mine.words
        assert not any("picture" in cause for cause in mine.causes)
        assert not any("--clip" in tried for tried in mine.tries)


def test_clips_of_one_take_are_examined_without_copies(tmp_path: Path) -> None:
    run = tiny_motion(walks(tmp_path / "one.npz", 1, frames=160, labels=False), tmp_path / "run", train__steps=2)
    data = build.data(run)
    assert isinstance(data, MotionData) and len({*data.take}) == 1
    found = doctor.diagnose(run, passed_off(run, data.x[data.train], None), data)
    assert {"jittery", "collapsed"} <= {s.key for s in found.symptoms} and "copied" not in {
        s.key for s in found.symptoms
    }
    said = health.well(found)
    assert "Copies were not looked for" in said and "or copies" not in said


def test_values_of_clips_that_explode_are_held_against_real_ones(
    finished: Run, data: MotionData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "walk", lambda *args: Walk(True, 100.0, 1.0))
    held = data.x[middles(data, data.held_out)]
    (found,) = doctor.diagnose(finished, passed_off(finished, held, None), data).findings
    assert found.key == "exploding" and found.words.endswith("where 99.9 % of those of real clips lie within 1.")


def test_the_nearest_training_clip_is_another_take_and_not_its_next_window(finished: Run, data: MotionData) -> None:
    rows = data.train[:: len(data.train) // 36][:36]
    moved = data.x[rows] + np.float32([5, 0, -3])  # it is the poses that are compared
    found = neighbours.neighbours(moved, data)
    assert np.array_equal(found.x, data.x[rows]) and found.ratio.max() < 1e-4 and "clip" in found.words
    assert data.labels is not None and found.labels is not None and np.array_equal(found.labels, data.labels[rows])
    held = data.x[data.held_out[:: len(data.held_out) // 36][:36]]
    assert np.median(neighbours.neighbours(held, data).ratio) > 0.5
    assert neighbours.alike(held, judge_of(finished, data)).shape == held.shape


def test_levels_and_comparisons_see_clips(finished: Run, data: MotionData) -> None:
    model, _ = build.trained(finished)
    objective = build.objective(finished.config, finished.shape)
    found = levels.measure(model, objective, data, told=True, a_bin=2)  # type: ignore[arg-type]
    assert found.mean("eps", "memory") < found.mean("eps", "training")  # it knows them by heart
    assert found.mean("eps", "linear") > 0 and found.pictures == len(data.train)
    x = data.x[data.train[:3]]
    assert np.allclose(compare.rms(x, x + np.float32(0.25)), 0.25, atol=1e-5)
    noises = compare.Noises(finished, [0, 1], np.array([0, 1]), finished.config.sample)
    ema, raw = compare.weights(noises)
    assert ema.x.shape == raw.x.shape == (2, *data.x.shape[1:]) and raw.off is not None and raw.off.min() > 0


def test_a_look_while_it_trains(finished: Run, data: MotionData) -> None:
    proxy = Proxy(finished, data)
    look = proxy.measure(build.trained(finished)[0])
    assert look["proxy_fd"] > look["proxy_floor"] > 0 and look["proxy_n"] == min(256, len(data.train) // 2)
    assert look == Proxy(finished, data).measure(build.trained(finished)[0])


def test_keys_of_shards_outlive_newer_settings(trained: Run) -> None:
    """What was drawn before there were transformers and motion is found again."""
    told = shards._mattering(trained.config)
    assert {*told} == {"schedule", "net", "objective"}
    assert not {"backbone", "resample", "padding_mode", "expand", "skip"} & {*told["net"]}
    assert not {"velocity", "bones", "contact"} & {*told["objective"]}
    other = trained.config.changed({"net.padding_mode": "circular"})
    assert shards._mattering(other)["net"]["padding_mode"] == "circular"

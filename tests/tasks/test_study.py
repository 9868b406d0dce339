"""What is read from a study's run folders, and how one run of it is done."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import evaluations
import pytest
from study_maker import ACTIVATION, folder_of, study_of, unseen
from tiny import TINY

from noisette.errors import UserError
from noisette.experiment.files import locked
from noisette.experiment.jobs import Folder, going_on, jobs
from noisette.experiment.runs import Run
from noisette.metrics.distances import Z
from noisette.tasks import study, study_rows, study_run, train
from noisette.tasks.trainer import Trainer


def never() -> int:
    return 0


def carry_out(folder: Folder, name: str, stopped: Any = never) -> bool:
    made = folder.read()
    (job,) = [job for job in jobs(made) if job.name == name]
    return study_run.carry_out(folder, made, job, stopped, unseen)


# --- reading ------------------------------------------------------------------------------------------------------


def measured(folder: Folder, trained: Run, name: str, shift: float, way: str = "ddim:2") -> Run:
    """A finished run of this name with made-up numbers."""
    shutil.copytree(trained.path, folder.path / "runs" / name)
    run, made = Run.open(folder.path / "runs" / name), folder.read()
    (job,) = [job for job in jobs(made) if job.name == name]
    step, how = run.checkpoint().step, study.protocol(made, job)
    n, mine = how["samples"], {"seeds": [how["seed"], how["seed"] + how["samples"] - 1]}
    rows = [*evaluations.drawn(way, shift, n, step, **mine), *evaluations.drawn(way, 50.0, n, step - 1, **mine)]
    for others in ({**mine, "weights": "raw"}, {"seeds": [7, 7 + n - 1]}):
        rows += evaluations.drawn(way, 50.0, n, step, **others)
    rows += evaluations.drawn(way, 50.0, n + 1, step, **mine)
    rows.append(evaluations.row("fid", 4.55, 0.1, **{**evaluations.CLASSIFIER, "n": n, "reference": "train"}))
    rows[-1] |= {"real": "train against train", "label": None, "checkpoint": None}
    for reference, value in (("train", 2.0), ("held_out", 3.0)):
        rows.append(
            evaluations.row("bits", value, 0.1, label=None, reference=reference, checkpoint=step, n=256, weights="ema")
        )
    run.save_evaluation("all", {"rows": rows})
    found = study.evaluated(run, [way], how)[way]
    found["numbers"]["chain_bits"] = 4.0
    kept = {"protocol": how, "seconds": 3.0, "ways": {way: found}, "facts": study.facts(run)}
    whole = {"numbers": {"forward_seconds": 0.5}, "series": {"loss_t": [1]}}
    run.update_meta(**{study.MEASURED: {**kept, "whole": whole}})
    return run


def test_results_are_read_from_the_run_folders_alone(source: Path, trained: Run, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source)
    assert {r.state for r in study.results(folder.path)} == {"missing"}
    measured(folder, trained, "silu-seed-0", 1.0)
    shutil.copytree(trained.path, folder.path / "runs" / "silu-seed-1")
    broken = shutil.copytree(trained.path, folder.path / "runs" / "relu-seed-0")
    Run.open(broken).update_meta(state="failed", reason="step 9 is nan")
    found = study.results(folder.path)
    assert [(r.setting, r.seed, r.state) for r in found] == [
        *(("silu", 0, "finished"), ("silu", 1, "running")),
        *(("relu", 0, "failed"), ("relu", 1, "missing")),
    ]
    first, second, third, _ = found
    assert first.values == {"activation": "silu"} and first.way == "ddim:2" and first.run.name == "silu-seed-0"
    value, half = evaluations.DISTANCES["fid"]
    numbers, expected = first.numbers, value + 0.5 * half
    assert numbers["fid"] == pytest.approx(expected) and first.errors["fid"] == pytest.approx(half / Z)
    assert numbers["fid_ratio"] == pytest.approx(expected / 4.55)
    assert first.shared["fid_ratio"] == pytest.approx(expected / 4.55 * 0.1 / Z / 4.55)
    assert (numbers["bits"], numbers["chain_bits"], numbers["forward_seconds"]) == (3.0, 4.0, 0.5)
    assert numbers["seconds_sample"] == pytest.approx(1.4 * 36 / (2 * 72)) and numbers["nfe"] == 2
    assert numbers["classes_reached"] == 10 and numbers["memory_copied"] == 0.0
    assert numbers["steps"] == 12 and numbers["seconds_total"] == pytest.approx(trained.meta["seconds"] + 3.0)
    assert numbers["terminal_signal"] is not None and numbers["terminal_signal"] < 0.01
    assert numbers["grad_norm"] and numbers["val_loss"] == first.series["val_loss"][-1][3]
    assert first.series["loss"][0][:2] == [2, 16] and first.series["loss_t"] == [1]
    assert len(first.series["val_loss_t"]) == 20
    assert second.reason == "trained, not measured yet" and second.numbers["steps"] == 12
    assert "fid" not in second.numbers
    assert third.reason == "step 9 is nan" and third.numbers == {} and third.series["loss"]
    assert {*numbers} <= {*study.NUMBERS}
    assert all(better in ("lower", "higher", "") for _, _, better in study.NUMBERS.values())


HOW = {"samples": 200, "seed": 5}
PLAIN = {"weights": "ema", "n": 200, "seeds": [5, 204]}


def test_a_class_is_reached_by_a_tenth_of_its_share() -> None:
    counts = {"a": 400, "b": 5, "c": 4, "d": 0}
    row = {"metric": "clear", "value": 1.0, "label": "x", "checkpoint": 1, "detail": {"by_class": counts}}
    assert study_rows.drawn([{**row, **PLAIN}], 1, "x", HOW, study.NUMBERS)[0]["classes_reached"] == 2


def test_samples_that_are_all_read_as_one_class_have_no_clear_share() -> None:
    row = {"metric": "clear", "value": 1.0, "low": 0.98, "high": 1.0, "label": "x", "checkpoint": 1, **PLAIN}
    noise = study_rows.drawn([{**row, "detail": {"by_class": {"1": 0, "8": 199, "9": 1}}}], 1, "x", HOW, study.NUMBERS)
    assert "clear" not in noise[0] and "clear" not in noise[1] and noise[0]["classes_reached"] == 1
    good = study_rows.drawn([{**row, "detail": {"by_class": {"1": 50, "8": 100, "9": 50}}}], 1, "x", HOW, study.NUMBERS)
    assert good[0]["clear"] == 1.0 and good[0]["classes_reached"] == 3


def test_whoever_looks_again_or_trains_on_does_not_change_what_was_found(
    source: Path, trained: Run, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "study", source)
    run = measured(folder, trained, "silu-seed-0", 1.0)
    before = study.results(folder.path)[0].numbers
    run.save_evaluation("all", {"rows": evaluations.drawn("ddim:2", 50.0, 100, run.checkpoint().step)})
    for _ in train.train(train.continued(run, {"steps": 4})):
        pass
    after = study.results(folder.path)[0]
    assert after.state == "finished" and after.numbers == before


def test_another_protocol_is_no_result(source: Path, trained: Run, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source)
    run = measured(folder, trained, "silu-seed-0", 0.0)
    kept = run.meta[study.MEASURED]
    run.update_meta(**{study.MEASURED: {**kept, "protocol": {**kept["protocol"], "samples": 7}}})
    assert study.results(folder.path)[0].state == "running"
    assert len(study.left(folder, folder.read())) == 4


def test_the_fastest_settings(source: Path, trained: Run, tmp_path: Path) -> None:
    values = ["silu", "relu", "gelu"]
    folder = folder_of(tmp_path / "study", source, factors=[{**ACTIVATION, "values": values}])
    for name, speeds in (("silu", (100, 300)), ("relu", (150, 150)), ("gelu", (400, 500))):
        for seed, speed in enumerate(speeds):
            run = measured(folder, trained, f"{name}-seed-{seed}", 0.0)
            run.update_meta(**{study.MEASURED: run.meta[study.MEASURED] | {"facts": {"images_per_second": speed}}})
    assert [s.label for s in study.fastest(folder.path, 2)] == ["gelu", "silu"]
    Run.open(folder.path / "runs" / "gelu-seed-1").update_meta(state="failed")
    assert [s.label for s in study.fastest(folder.path, 2)] == ["silu", "relu"]
    with pytest.raises(UserError, match="2 settings are finished, 3 are needed"):
        study.fastest(folder.path, 3)


def test_settings_that_differ_only_in_how_long_they_trained_count_once(
    source: Path, trained: Run, tmp_path: Path
) -> None:
    at = {"label": "at", "values": [{"label": "steps", "budget": "steps"}, {"label": "images", "budget": "images"}]}
    budgets = {"quick": {"train": {"steps": 6, "images": 96}, "samples": 100, "seeds": 1}}
    folder = folder_of(tmp_path / "study", source, factors=[ACTIVATION, at], budgets=budgets)
    for name, speed in (("silu-steps", 300), ("silu-images", 310), ("relu-steps", 290), ("relu-images", 280)):
        run = measured(folder, trained, f"{name}-seed-0", 0.0)
        run.update_meta(**{study.MEASURED: run.meta[study.MEASURED] | {"facts": {"images_per_second": speed}}})
    assert [s.label for s in study.fastest(folder.path, 2)] == ["silu, images", "relu, steps"]


# --- one run ------------------------------------------------------------------------------------------------------


def test_a_run_is_trained_and_measured_once(source: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source, measure=["fid", "forward", "loss_by_t"], ways=["ddim:2", "lerp:3"])
    assert carry_out(folder, "relu-seed-1")
    run = Run.open(folder.path / "runs" / "relu-seed-1")
    stamp = run.checkpoint().path.stat().st_mtime_ns
    assert not carry_out(folder, "relu-seed-1")
    assert run.checkpoint().path.stat().st_mtime_ns == stamp and run.config.train.seed == 1
    drawn, path = [r for r in study.results(folder.path) if r.state == "finished"]
    assert drawn.way == "ddim:2" and math.isfinite(drawn.numbers["fid"] or math.nan) and drawn.errors["fid"] > 0
    assert run.evaluations()[0]["rows"][0]["seeds"] != [0, 99]  # another seed is another set of noises
    shares = [drawn.numbers[f"share_{third}"] for third in ("early", "middle", "late")]
    assert sum(s or 0.0 for s in shares) == pytest.approx(1)
    assert len(drawn.series["loss_t"]) == len(drawn.series["eps_t"]) == 20 and drawn.numbers["forward_seconds"]
    assert path.way == "lerp:3" and path.numbers["smoothness"] >= 1 and 0 < path.numbers["noise_norm"] < 0.9
    assert path.numbers.get("fid") is None


def test_a_run_that_was_killed_goes_on(source: Path, tmp_path: Path) -> None:
    budgets = {"quick": {"train": {"steps": 20}, "samples": 100, "seeds": 1}}
    folder = folder_of(tmp_path / "study", source, budgets=budgets)
    (folder.path / "runs" / "silu-seed-0").mkdir(parents=True)
    (folder.path / "runs" / "silu-seed-0" / "data.json").write_text("{}")  # killed before there was a run
    asked = iter([0] * 8)
    with pytest.raises(train.Interrupted):
        carry_out(folder, "silu-seed-0", lambda: next(asked, 15))
    run = Run.open(folder.path / "runs" / "silu-seed-0")
    assert 0 < run.checkpoint().step < 20 and study.results(folder.path)[0].state == "running"
    before = [row for row in run.metrics() if "loss" in row]
    assert carry_out(folder, "silu-seed-0")
    after = [row for row in run.metrics() if "loss" in row]
    assert after[: len(before)] == before and run.checkpoint().step == 20
    assert study.results(folder.path)[0].state == "finished"


def test_a_training_that_explodes_is_a_result(source: Path, tmp_path: Path) -> None:
    rate = {"label": "rate", "key": "optim.lr", "values": [0.001, 1e30]}
    base = {**TINY, "optim": {"name": "adamw", "warmup": 0.0}}
    folder = folder_of(tmp_path / "study", source, factors=[rate], base=base)
    assert carry_out(folder, "rate-1e-30-seed-0")
    failed = next(r for r in study.results(folder.path) if r.setting == "rate=1e+30")
    assert failed.state == "failed" and "is inf" in failed.reason and "\n" not in failed.reason
    assert not failed.reason.startswith(str(folder.path))
    assert not carry_out(folder, "rate-1e-30-seed-0")  # it would explode again


def test_no_memory_is_a_result_and_a_full_disk_is_not(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "study", source)

    def raising(error: Exception) -> Any:
        def method(self: Any, *arguments: Any) -> Any:
            raise error

        return method

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_checkpoint", raising(UserError("a checkpoint could not be written")))
        with pytest.raises(UserError, match="could not be written"):
            carry_out(folder, "silu-seed-0")
    monkeypatch.setattr(Trainer, "advance", raising(RuntimeError("CUDA out of memory")))
    assert carry_out(folder, "silu-seed-1")
    assert study.results(folder.path)[1].reason == "not enough memory"
    monkeypatch.setattr(Trainer, "advance", raising(RuntimeError("a mistake in the code")))
    with pytest.raises(RuntimeError, match="mistake"):
        carry_out(folder, "relu-seed-0")


def test_a_loss_that_fails_in_training_is_a_result(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_fails.py").write_text(
        "def f(x, y):\n    if len(x) > 4:\n        raise ValueError('only four,\\nplease')\n    return (x - y) ** 2\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    loss = {"label": "loss", "key": "objective.distance", "values": ["l1", "mine_fails:f"]}
    folder = folder_of(tmp_path / "study", source, factors=[loss])
    study_run.check(folder.read())
    assert carry_out(folder, "mine_fails-f-seed-0")
    failed = study.results(folder.path)[2]
    assert failed.state == "failed" and "\n" not in failed.reason
    assert '"mine_fails:f" fails for two tensors of shape (8, 1, 8, 8): ValueError: only four' in failed.reason
    assert not carry_out(folder, "mine_fails-f-seed-0")


def test_what_was_trained_is_never_removed(source: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source)
    carry_out(folder, "silu-seed-0")
    path = folder.path / "runs" / "silu-seed-0"
    (path / "config.toml").unlink()
    with pytest.warns(UserWarning, match="kept as silu-seed-0-old-1"):
        assert carry_out(folder, "silu-seed-0")
    assert (path.with_name("silu-seed-0-old-1") / "checkpoints" / "step-6").is_dir()
    assert study.results(folder.path)[0].state == "finished" and folder.seeds("silu") == [0]


@pytest.mark.parametrize("name", ["meta.json", "config.toml", "data.json"])
def test_a_damaged_run_is_told_and_the_others_are_read(name: str, source: Path, trained: Run, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source)
    measured(folder, trained, "silu-seed-0", 0.0)
    damaged = measured(folder, trained, "relu-seed-0", 0.0).path / name
    damaged.write_text(damaged.read_text()[:30])
    found = {(r.setting, r.seed): r for r in study.results(folder.path)}
    assert found["silu", 0].state == "finished" and found["relu", 0].state == "failed"
    assert found["relu", 0].reason.startswith(name) and "remove this folder to train it anew" in found["relu", 0].reason
    assert [job.name for job in study.left(folder, folder.read())] == ["silu-seed-1", "relu-seed-1"]
    assert not carry_out(folder, "relu-seed-0")


@pytest.mark.parametrize("kept", [None, [], {"ways": None}, {"ways": {"ddim:2": None}}, {"facts": 3, "seconds": "x"}])
def test_measurements_that_are_damaged_are_made_again(kept: Any, source: Path, trained: Run, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source)
    run = measured(folder, trained, "silu-seed-0", 0.0)
    run.update_meta(study=kept if not isinstance(kept, dict) else {**run.meta["study"], **kept})
    done = isinstance(kept, dict) and "facts" in kept
    assert study.results(folder.path)[0].state == ("finished" if done else "running")
    assert ("silu-seed-0" in [job.name for job in study.left(folder, folder.read())]) is not done


def test_why_a_number_is_none_is_kept(source: Path, trained: Run, tmp_path: Path) -> None:
    row = {"metric": "fid", "value": None, "reason": "too few", "label": "x", "checkpoint": 1, **PLAIN}
    numbers, _, _, reasons = study_rows.drawn([row], 1, "x", HOW, study.NUMBERS)
    assert numbers["fid"] is None and reasons == {"fid": "too few", "fid_ratio": "too few"}
    folder = folder_of(tmp_path / "study", source)
    run = measured(folder, trained, "silu-seed-0", 0.0)
    kept = run.meta[study.MEASURED]
    kept["ways"]["ddim:2"]["reasons"] = reasons
    run.update_meta(**{study.MEASURED: kept})
    assert study.results(folder.path)[0].reasons == reasons


def test_a_run_that_another_worker_has_is_left_alone(source: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source)
    with locked(folder.lock(jobs(folder.read())[0])), pytest.raises(study_run.Busy):
        carry_out(folder, "silu-seed-0")
    assert not (folder.path / "runs").exists()


def test_the_fastest_are_trained_on_from_their_own_runs(source: Path, tmp_path: Path) -> None:
    first = {"quick": {"train": {"steps": 6}, "samples": 100, "seeds": 1}}
    earlier = folder_of(tmp_path / "earlier", source, budgets=first)
    for name in ("silu-seed-0", "relu-seed-0"):
        carry_out(earlier, name)
    budgets = {"quick": {"train": {"steps": 4}, "samples": 100, "seeds": 1}}
    more = study_of(source, name="more", factors=[], takes=2, budgets=budgets, base={})
    folder = Folder(tmp_path / "more")
    folder.settle(going_on(more, earlier.path, earlier.read(), study.fastest(earlier.path, 2)))
    study_run.check(folder.read())
    with pytest.raises(UserError, match=r"lu-seed-1: not finished, so it cannot be trained on"):
        study_run.check(folder.read().model_copy(update={"seeds": 2}))
    (folder.path / "runs" / ".taking-silu-seed-0").mkdir(parents=True)  # killed while copying
    assert carry_out(folder, "silu-seed-0")
    run, old = Run.open(folder.path / "runs" / "silu-seed-0"), Run.open(earlier.path / "runs" / "silu-seed-0")
    assert run.checkpoint().step == 10 and old.checkpoint().step == 6 and old.finished
    assert run.config.net == old.config.net and run.meta["history"][0]["extended_at_step"] == 6
    found = study.results(folder.path)
    assert found[0].state == "finished" or found[1].state == "finished"
    rows = [row for e in run.evaluations() for row in e["rows"] if row.get("checkpoint")]
    assert {row["checkpoint"] for row in rows} == {10}

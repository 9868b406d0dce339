"""Searches of a study: what they count, what they say, and how they go on."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from study_maker import ACTIVATION, folder_of, study_of
from tiny import TINY

from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.jobs import Folder, Job
from noisette.experiment.runs import Run, Shape
from noisette.tasks import study, study_queue, study_search
from noisette.tasks.train import Interrupted
from noisette.views import study as reporting


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for those who are gone."""
    monkeypatch.setattr(study_queue, "HEARTBEAT", 1)
    monkeypatch.setattr(study_queue, "GRACE", 1)
    monkeypatch.setattr(study_queue, "PAUSE", 0.1)


def search(folder: Folder, count: int) -> list[str]:
    """Searches until so many runs were done; their names."""
    done: list[str] = []
    with pytest.raises(study_queue.Stop):
        study_search.search(
            folder,
            study_queue.database(folder, None),
            60,
            lambda: 15 * (len(done) >= count),
            lambda *doing: None,
            lambda job: done.append(job.name),
        )
    return done


def connected(folder: Folder) -> optuna.Study:
    with study_queue.quiet():
        return study_queue.connect(study_queue.database(folder, None), folder.read(), study_queue.SEARCH)


@pytest.fixture
def pretending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained; seed 1 is a little worse than seed 0."""

    def carry_out(folder: Folder, made: Any, job: Job, stopped: Any, watch: Any) -> bool:
        """A run folder with settings alone."""
        path = folder.run(job)
        if not path.exists():
            settings = {key: value for key, value in job.settings.items() if key != "data"}
            Run.create(
                path, build.resolve(Shape.images(1, 8, 8, ("0", "1")), "small-grey", settings), {"shape": [8, 8, 1]}, {}
            )
        return True

    def answer(folder: Folder, made: Any, job: Job) -> float:
        return {"relu-x0": 1.0}.get(job.trained, 5.0) + 0.01 * job.seed

    monkeypatch.setattr(study_queue, "carry_out", carry_out)
    monkeypatch.setattr(study_queue, "answer", answer)


def test_a_search_finds_a_recipe_that_trains(source: Path, tmp_path: Path, pretending: None) -> None:
    predicts = {"label": "predicts", "key": "objective.predicts", "values": ["v", "x0"]}
    folder = folder_of(tmp_path / "study", source, factors=[ACTIVATION, predicts])
    looked = search(folder, 12)
    assert len(looked) == len({*looked})  # one that is tried again has another seed
    found = study_search.best(folder, study_queue.database(folder, None))
    assert found[0].setting.label == "relu, x0" and found[0].mean < 4 < found[-1].mean
    shape = Shape.images(1, 8, 8, ("0", "1"))
    recipe = build.resolve(shape, str(folder.best_path), {"train": {"steps": 3}})
    assert recipe.net.activation == "relu" and recipe.objective.predicts == "x0" and recipe.train.steps == 3


def test_each_way_is_judged_by_its_own_numbers_and_all_that_was_tried_is_told(source: Path, tmp_path: Path) -> None:
    values = [{"label": way, "settings": {"way": way}} for way in ("ddim:1", "ddim:3", "ddim:4")]
    factor = {"label": "sampler", "kind": "sample", "values": values}
    budgets = {"quick": {"train": {"steps": 4}, "samples": 100, "seeds": 1}}
    folder = folder_of(tmp_path / "study", source, factors=[factor], ways=(), budgets=budgets)
    queue = connected(folder)
    for way in ("ddim:1", "ddim:3", "ddim:3"):
        queue.enqueue_trial({"sampler": way})
    assert search(folder, 3) == ["run-seed-0", "run-seed-0", "run-seed-1"]
    found = study.results(folder.path)
    assert [(r.setting, r.seed, r.state) for r in found] == [
        *(("ddim:1", 0, "finished"), ("ddim:3", 0, "finished"), ("ddim:3", 1, "finished")),
    ]
    told = {one.setting.label: one.values for one in study_search.best(folder, study_queue.database(folder, None))}
    fids = [r.numbers["fid"] for r in found]
    assert told == {"ddim:1": {0: fids[0]}, "ddim:3": {0: fids[1], 1: fids[2]}} and fids[0] != fids[1]
    page = reporting.report(folder.path).read_text(encoding="utf-8")
    assert "2 of 2" in page and "not finished" not in page and "--search" in page
    assert folder.results_path.read_text().count("\n") == 4
    # Whoever tries all of it after all is told what is missing.
    with pytest.raises(study_queue.Stop):
        study_queue.work(folder, study_queue.database(folder, None), lambda: 15, lambda *a: None, lambda job: None)
    assert {r.state for r in study.results(folder.path)} == {"running"} and len(study.results(folder.path)) == 3


def test_a_searched_run_that_is_not_finished_is_told(source: Path, tmp_path: Path, pretending: None) -> None:
    folder = folder_of(tmp_path / "study", source)
    connected(folder).enqueue_trial({"activation": "relu"})
    assert search(folder, 1) == ["relu-seed-0"]
    assert [(r.setting, r.seed, r.state) for r in study.results(folder.path)] == [("relu", 0, "running")]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_the_run_of_a_killed_search_is_gone_on_with_and_counted_once(
    source: Path, tmp_path: Path, pretending: None
) -> None:
    folder = folder_of(tmp_path / "study", source)
    queue = connected(folder)
    queue.enqueue_trial({"activation": "silu"})
    with study_queue.quiet():
        trial = queue.ask()
        trial.suggest_categorical("activation", ["silu", "relu"])
        trial.set_user_attr(study_search.SEED, 0)
        queue._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
    queue.enqueue_trial({"activation": "silu"})
    assert search(folder, 1) == ["silu-seed-1"]
    assert study_search.best(folder, study_queue.database(folder, None))[0].values == {1: 5.01}  # with its recipe
    time.sleep(study_queue.GRACE + 1.1)
    assert search(folder, 1) == ["silu-seed-0"]
    shutil.rmtree(folder.path / "runs" / "silu-seed-0")
    assert study_search.best(folder, study_queue.database(folder, None))[0].values == {0: 5.0, 1: 5.01}


def test_an_interrupted_search_goes_on_with_the_same_run(
    source: Path, tmp_path: Path, pretending: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "study", source)
    queue = connected(folder)

    def interrupted(folder: Folder, made: Any, job: Job, stopped: Any, watch: Any) -> bool:
        raise Interrupted(SimpleNamespace(path=folder.run(job)), 1, 2)  # type: ignore[arg-type]

    queue.enqueue_trial({"activation": "silu"})
    with monkeypatch.context() as context, pytest.raises(Interrupted):
        context.setattr(study_queue, "carry_out", interrupted)
        search(folder, 1)
    queue.enqueue_trial({"activation": "relu"})
    assert search(folder, 2) == ["silu-seed-0", "relu-seed-0"]


def test_a_search_in_which_all_fails_ends_and_says_why(source: Path, tmp_path: Path) -> None:
    rate = {"label": "rate", "key": "optim.lr", "values": [1e30, 1e31]}
    base = {**TINY, "optim": {"name": "adamw", "warmup": 0.0}}
    folder = folder_of(tmp_path / "study", source, factors=[rate], base=base)
    where = study_queue.database(folder, None)
    study_search.search(folder, where, 60, lambda: 0, lambda *a: None, lambda job: None)
    with pytest.raises(UserError, match=r"all that was tried failed, 2 runs: .*is (inf|nan)"):
        study_search.best(folder, where)


def test_answers_to_different_questions_are_kept_apart(source: Path, tmp_path: Path) -> None:
    url, metrics = f"sqlite:///{tmp_path / 'study.db'}", ["fid", "prdc"]
    by_fid, by_recall = (study_of(source, measure=metrics, answers=[key]) for key in ("fid", "recall"))
    names = {study_queue.connect(url, made, study_queue.SEARCH).study_name for made in (by_fid, by_recall)}
    assert len(names) == 2
    assert len({study_queue.connect(url, made).study_name for made in (by_fid, by_recall)}) == 1


def test_a_database_that_goes_away_ends_a_search_in_one_line(source: Path, tmp_path: Path, pretending: None) -> None:
    folder = folder_of(tmp_path / "study", source)
    where = study_queue.database(folder, None)
    with pytest.raises(UserError, match="the same command goes on"):
        study_search.search(folder, where, 60, lambda: 0, lambda *a: None, lambda job: folder.database.write_bytes(b""))

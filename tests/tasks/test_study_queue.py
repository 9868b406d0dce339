"""Workers of a study, killed and interrupted: nothing is lost, and nothing is trained twice."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from study_maker import folder_of, study_of
from tiny import TINY

from noisette.errors import UserError
from noisette.experiment.files import locked
from noisette.experiment.jobs import Folder, jobs
from noisette.experiment.runs import Run
from noisette.tasks import study, study_queue


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for those who are gone."""
    monkeypatch.setattr(study_queue, "HEARTBEAT", 1)
    monkeypatch.setattr(study_queue, "GRACE", 2)
    monkeypatch.setattr(study_queue, "PAUSE", 0.1)


def work(folder: Folder, stopped: Callable[[], int] = lambda: 0, url: str | None = None) -> list[str]:
    """Works on a study here; the names of the runs that were done."""
    done: list[str] = []
    where = study_queue.database(folder, url)
    study_queue.work(folder, where, stopped, lambda what, share: None, lambda job: done.append(job.name))
    return done


def take(folder: Folder, name: str) -> None:
    """A run is taken from the queue by somebody who gives no sign of life."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        queue = study_queue.connect(study_queue.database(folder, None), folder.read())
        queue.enqueue_trial({}, user_attrs={study_queue.RUN: name})
        queue.ask()


def finished(folder: Folder) -> bool:
    return all(result.state == "finished" for result in study.results(folder.path))


def trainings(folder: Folder) -> dict[str, tuple[int, str]]:
    """Of every finished run, what only a second training would change."""
    found = {}
    for path in sorted((folder.path / "runs").glob("*/config.toml")):
        run = Run.open(path.parent)
        if run.finished:
            weights = run.checkpoint().path / "model.safetensors"
            found[run.name] = (weights.stat().st_mtime_ns, run.meta["created"])
    return found


def steps(run: Run) -> list[int]:
    return [row["step"] for row in run.metrics() if "loss" in row]


# --- one worker ---------------------------------------------------------------------------------------------------


def test_a_study_is_done_seed_by_seed_and_only_once(source: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source)
    assert work(folder) == ["silu-seed-0", "relu-seed-0", "silu-seed-1", "relu-seed-1"]
    assert finished(folder) and work(folder) == []
    before = trainings(folder)
    folder.settle(study_of(source, seeds=3))
    assert work(folder) == ["silu-seed-2", "relu-seed-2"]
    assert before.items() < trainings(folder).items()
    folder.database.unlink()  # the queue is no more than a queue
    shutil.rmtree(folder.path / "runs" / "relu-seed-0")
    assert work(folder) == ["relu-seed-0"]


def test_a_failed_run_does_not_stop_the_others(source: Path, tmp_path: Path) -> None:
    rate = {"label": "rate", "key": "optim.lr", "values": [1e30, 0.001]}
    base = {**TINY, "optim": {"name": "adamw", "warmup": 0.0}}
    budgets = {"quick": {"train": {"steps": 6}, "samples": 100, "seeds": 1}}
    folder = folder_of(tmp_path / "study", source, factors=[rate], base=base, budgets=budgets)
    assert work(folder) == ["rate-1e-30-seed-0", "rate-0.001-seed-0"]
    assert [r.state for r in study.results(folder.path)] == ["failed", "finished"]
    assert work(folder) == []


def test_a_worker_that_was_taken_for_dead_ends_in_peace(source: Path, tmp_path: Path) -> None:
    """Its machine slept, its trial is marked as failed, and then it is done after all."""
    folder = folder_of(tmp_path / "study", source)
    made = folder.read()
    with study_queue.quiet():
        queue = study_queue.connect(study_queue.database(folder, None), made)
        study_queue.once(queue, lambda trial: (queue.tell(trial, state=optuna.trial.TrialState.FAIL), 1.0)[1])
        with pytest.raises(ValueError, match="a mistake"):
            study_queue.once(queue, _mistaken)


def _mistaken(trial: optuna.Trial) -> float:
    raise ValueError("a mistake")


def test_a_run_whose_worker_never_gave_a_sign_is_dealt_out_again(source: Path, tmp_path: Path) -> None:
    """Killed between taking the trial and the first heartbeat: Optuna would leave it running for ever."""
    folder = folder_of(tmp_path / "study", source)
    take(folder, "relu-seed-1")
    begun = time.monotonic()
    assert {*work(folder)} == {"silu-seed-0", "relu-seed-0", "silu-seed-1", "relu-seed-1"}
    assert time.monotonic() - begun >= 2 * study_queue.GRACE and finished(folder)


def test_a_run_that_others_work_on_is_waited_for(source: Path, tmp_path: Path) -> None:
    budgets = {"quick": {"train": {"steps": 6}, "samples": 100, "seeds": 1}}
    folder = folder_of(tmp_path / "study", source, budgets=budgets)
    job = jobs(folder.read())[0]
    looks = iter(range(40))

    def stopped() -> int:
        return 15 if next(looks) > 30 else 0

    take(folder, job.name)
    with locked(folder.lock(job)), pytest.raises(study_queue.Stop):
        work(folder, stopped)
    assert [result.state for result in study.results(folder.path)] == ["missing", "finished"]


def test_a_run_that_a_living_worker_has_is_not_dealt_out(source: Path, tmp_path: Path) -> None:
    """It was taken for dead, so its trial is over, and only its lock is left to say that it lives."""
    folder = folder_of(tmp_path / "study", source)
    (job, *_), unattended = jobs(folder.read()), study_queue._Unattended(folder)
    with study_queue.quiet():
        queue = study_queue.connect(study_queue.database(folder, None), folder.read())
        with locked(folder.lock(job)):
            assert not study_queue._refill(queue, [job], unattended) and not queue.trials
        assert study_queue._refill(queue, [job], unattended) and len(queue.trials) == 1


def test_a_run_that_is_with_another_is_not_asked_for_again_at_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(study_queue.time, "sleep", naps.append)
    folder = folder_of(tmp_path / "study", source)
    made = folder.read()
    (job, *_) = jobs(made)
    with study_queue.quiet(), locked(folder.lock(job)):
        queue = study_queue.connect(study_queue.database(folder, None), made)
        one = partial(study_queue.done, folder, made, job, lambda: 0, lambda *doing: None, lambda job: None)
        study_queue.once(queue, lambda trial: one())
        assert naps == [study_queue.PAUSE] and queue.trials[0].state == optuna.trial.TrialState.FAIL


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_worker_that_gives_signs_of_life_keeps_its_run(source: Path, tmp_path: Path) -> None:
    """Its lock may be on a disk that passes no locks between machines."""
    folder = folder_of(tmp_path / "study", source)
    (first, second, *_) = jobs(folder.read())
    unattended = study_queue._Unattended(folder)
    for job in (first, second):
        unattended.since[job.name] = -math.inf
    with study_queue.quiet():
        queue = study_queue.connect(study_queue.database(folder, None), folder.read())
        queue.enqueue_trial({}, user_attrs={study_queue.RUN: first.name})
        trial = queue.ask()
        queue._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
        assert not study_queue._refill(queue, [first], unattended)
        # Dealt out once more, it takes its attributes along, and is killed before its first sign.
        attributes = {**queue.trials[0].user_attrs, study_queue.RUN: second.name}
        assert study_queue.ALIVE in attributes
        queue.enqueue_trial({}, user_attrs=attributes)
        queue.ask()
        assert study_queue._refill(queue, [second], unattended)


def lose(folder: Folder) -> None:
    """The database has no tables any more."""
    with contextlib.closing(sqlite3.connect(folder.database)) as database, database:
        for table in ("trials", "trial_heartbeats"):
            database.execute(f"drop table {table}")


def test_a_database_that_goes_away_in_the_middle_is_told_in_one_line(source: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source)
    where = study_queue.database(folder, None)
    with pytest.raises(UserError, match=r"went away .*no such table.* the same command goes on") as error:
        study_queue.work(folder, where, lambda: 0, lambda *doing: None, lambda job: lose(folder))
    assert "\n" not in str(error.value)
    assert [r.state for r in study.results(folder.path)].count("finished") == 1
    with study_queue.quiet():
        storage = study_queue._Storage(f"sqlite:///{tmp_path / 'other.db'}", heartbeat_interval=1)
        storage.remove_session()
        (tmp_path / "other.db").write_bytes(b"")
        storage.record_heartbeat(0)  # it may be back for the next one


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "--storage: .*postgresql"),
        ("oracle+none://x/y", "--storage: "),
        ("sqlite:////no/such/place/study.db", "does not answer"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_one_line(
    source: Path, tmp_path: Path, url: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_queue, "PAUSE", 0.0)
    with pytest.raises(UserError, match=says) as error:
        study_queue.connect(url, study_of(source))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["garbage", "cut", "cut late", "a folder"])
def test_a_broken_queue_in_the_folder_is_put_aside(
    damage: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_queue, "PAUSE", 0.01)
    folder = folder_of(tmp_path / "study", source)
    url = study_queue.database(folder, None)
    study_queue.deal_out(folder, url)
    whole = folder.database.read_bytes()
    folder.database.unlink()
    if damage == "a folder":
        folder.database.mkdir()
    else:
        left = {"garbage": b"garbage" * 100, "cut": whole[:5000], "cut late": whole[: len(whole) // 2]}
        folder.database.write_bytes(left[damage])
    with pytest.raises(UserError, match=r"study\.db.* does not answer|went away"):  # its owner's
        study_queue.queue_of(folder, f"{url}?timeout=1", folder.read()).get_trials()
    with pytest.warns(UserWarning, match=r"damaged: kept as study\.db-old-1, and made anew"):
        study_queue.deal_out(folder, url)
    queue = study_queue.connect(url, folder.read())
    assert len(queue.get_trials(deepcopy=False)) == 4 and folder.path.joinpath("study.db-old-1").exists()


# --- killed and interrupted ---------------------------------------------------------------------------------------

LONG = {"quick": {"train": {"steps": 80}, "samples": 100, "seeds": 2}}


def command(folder: Folder, *words: object) -> list[str]:
    return [sys.executable, "-m", "noisette.cli", "study", str(folder.path), *map(str, words)]


def started(folder: Folder, *words: object, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(command(folder, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def until(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def in_the_middle(folder: Folder) -> bool:
    """One run is finished, and another has begun to learn."""
    found = [Run.open(path.parent) for path in (folder.path / "runs").glob("*/config.toml")]
    return any(run.finished for run in found) and any(not run.finished and steps(run) for run in found)


def test_kill_9_of_a_worker_loses_nothing(source: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source, budgets=LONG)
    worker = started(folder)
    until(lambda: in_the_middle(folder) or worker.poll() is not None)
    worker.kill()
    worker.communicate()
    before = trainings(folder)
    assert before and not finished(folder)
    again = work(folder)
    assert finished(folder) and before.items() < trainings(folder).items()
    assert {*again} | {*before} == {job.name for job in jobs(folder.read())} and len(again) == len({*again})
    for path in (folder.path / "runs").glob("*/config.toml"):
        run = Run.open(path.parent)
        assert steps(run) == sorted({*steps(run)}) and run.checkpoint().step == 80


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not say who started whom")
def test_kill_9_of_the_driver_takes_its_workers_along(source: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source, budgets=LONG)
    driver = started(folder, "--workers", 2)
    until(lambda: in_the_middle(folder) or driver.poll() is not None)
    workers = children(driver.pid)
    assert len(workers) == 2
    driver.kill()
    driver.communicate()
    until(lambda: not any(map(alive, workers)))  # with a checkpoint each
    before = trainings(folder)
    work(folder)
    assert finished(folder) and before.items() <= trainings(folder).items()


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(source: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "study", source, budgets=LONG)
    # What runs in the background of a shell would not hear of it.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    driver = started(folder, "--workers", 2, start_new_session=True, preexec_fn=heard)
    until(lambda: in_the_middle(folder) or driver.poll() is not None)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    _, said = driver.communicate(timeout=300)
    assert driver.returncode == 130
    assert said.strip().count("\n") == 0 and "same command goes on" in said, said
    assert not finished(folder)
    before = trainings(folder)
    work(folder)
    assert finished(folder) and before.items() <= trainings(folder).items()


# --- several machines ---------------------------------------------------------------------------------------------


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL of one's own, from Debian's package."""
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
    if not places:
        pytest.skip("PostgreSQL is not installed")
    place = Path(tempfile.mkdtemp(prefix="noisette-postgres-"))
    # It refuses to be the superuser's.
    user: dict[str, Any] = {"user": "nobody"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(place, "nobody")
    bin_, data = places[-1], place / "data"

    def run(*words: object) -> None:
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, cwd=place, **user)
        assert done.returncode == 0, done.stderr

    run(bin_ / "initdb", "-D", data, "-U", "noisette", "-A", "trust", "--no-sync")
    options = f"-c listen_addresses='' -k {place} -c fsync=off"
    run(bin_ / "pg_ctl", "-D", data, "-o", options, "-l", place / "log", "-w", "start")
    try:
        yield f"postgresql+psycopg://noisette@/postgres?host={place}"
    finally:
        run(bin_ / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(place, ignore_errors=True)


def test_two_machines_finish_one_study_together(source: Path, tmp_path: Path, postgres: str) -> None:
    folder = folder_of(tmp_path / "study", source, budgets=LONG)
    both = [started(folder, "--storage", postgres) for _ in range(2)]
    said = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert finished(folder) and not folder.database.exists()
    lines = [re.findall(r"\d/4  (\S+):", out) for out, _ in said]
    assert sorted(lines[0] + lines[1]) == sorted(job.name for job in jobs(folder.read()))  # each run once
    assert lines[0] and lines[1]
    for run in (Run.open(folder.run(job)) for job in jobs(folder.read())):
        assert steps(run) == sorted({*steps(run)}) and json.dumps(run.meta)

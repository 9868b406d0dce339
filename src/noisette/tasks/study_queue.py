"""Who does which run of a study, by Optuna: workers on one machine or on several share a queue in a database.

The run folders say what is done and the queue only deals out what is left, so that nothing is lost or trained twice
whatever is killed: a run that is dealt out once more is found done, or with another worker. A worker's heartbeat is in
the database; the run of one that was killed goes back into the queue by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from noisette.errors import UserError
from noisette.experiment.files import locked
from noisette.experiment.jobs import Folder, Job, jobs
from noisette.experiment.runs import move_aside
from noisette.experiment.studies import Study, matters
from noisette.tasks.study import NUMBERS, left, of_job
from noisette.tasks.study_run import Busy, Stopped, Watch, carry_out

HEARTBEAT, GRACE = 5, 20
"""Seconds between a worker's signs of life, and without one until its run is given to others."""

PAUSE, TRIES = 1.0, 5
"""Seconds between two looks at a queue that others work on or at a database that is silent; how many of the latter."""

SILENT = (sqlalchemy.exc.SQLAlchemyError, StorageInternalError)
"""What a database that does not answer comes to."""

RUN, ALIVE = "run", "alive"
"""Attributes of a trial: the name of its run; its own number, once it gave a sign of life."""

SEARCH = "-search"

Ended = Callable[[Job], None]
"""Told of each run that ended here, finished or failed."""


class Stop(KeyboardInterrupt):
    """The worker was asked to stop between two runs; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__("stopped between two runs")
        self.number = number


def database(folder: Folder, storage: str | None) -> str:
    """The address of a study's queue: SQLite in its folder, where nothing else is given."""
    return storage or f"sqlite:///{folder.database.resolve()}"


class _Storage(RDBStorage):
    """Optuna's, whose heartbeats outlive a database that is away for a while, and leave a trace in the trial."""

    def record_heartbeat(self, trial_id: int) -> None:
        with contextlib.suppress(*SILENT, UpdateFinishedTrialError):
            super().record_heartbeat(trial_id)
            # A trial that is dealt out again takes its attributes along, so it is told whose the heart is.
            self.set_trial_user_attr(trial_id, ALIVE, self.get_trial_number_from_id(trial_id))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's remarks that heartbeats are new. Raises UserError where the database goes away."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    except SILENT as error:
        raise UserError(
            f"--storage: the database went away ({_line(error)}), all that was done is kept: when it is back, the "
            "same command goes on"
        ) from None


def queue_of(
    folder: Folder, url: str, study: Study, kind: str = "", sampler: optuna.samplers.BaseSampler | None = None
) -> optuna.Study:
    """The queue of a study. One in the study's own folder that is broken, by a full disk, say, is put aside for a new
    one: the run folders say what is done. Raises UserError as `connect` does."""
    before = _which(folder.database)
    try:
        queue = connect(url, study, kind, sampler)
        with quiet():
            queue.get_trials(deepcopy=False)  # what opens may still be cut off further down
        return queue
    except UserError as error:
        if url != database(folder, None) or before is None or "full" in str(error):
            raise
    try:
        with locked(folder.path / "locks" / folder.database.name):
            if _which(folder.database) == before:  # and not another worker's new one
                _put_aside(folder.database)
            return connect(url, study, kind, sampler)
    except BlockingIOError:  # another worker is at it
        time.sleep(PAUSE)
        return connect(url, study, kind, sampler)


def _which(file: Path) -> int | None:
    return file.stat().st_ino if file.exists() else None


def _put_aside(file: Path) -> None:
    """Keeps a database under another name, with what SQLite has beside it, which a new one must not find."""
    aside = move_aside(file)
    for more in ("-journal", "-wal", "-shm"):
        if (beside := file.with_name(file.name + more)).exists():
            beside.rename(aside.with_name(aside.name + more))
    warnings.warn(f"{file}: damaged: kept as {aside.name}, and made anew", stacklevel=4)


@quiet()
def connect(url: str, study: Study, kind: str = "", sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    """The queue of a study, made where it is not there yet. Raises UserError where the database cannot be used."""
    options: dict[str, Any] = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    # The queue of a search keeps answers: those to another question are no use to it.
    told = {**matters(study), "answer": study.answers[0]} if kind == SEARCH else matters(study)
    said = json.dumps(told, sort_keys=True)
    name = f"{study.name}{kind}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    why = ""
    for _ in range(TRIES):
        try:
            kept = _Storage(
                url,
                engine_kwargs=options,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
            return optuna.create_study(
                study_name=name,
                storage=kept,
                sampler=sampler or optuna.samplers.RandomSampler(),
                direction="maximize" if NUMBERS[study.answers[0]][2] == "higher" else "minimize",
                load_if_exists=True,
            )
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            known = "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE (pip install noisette[postgres])"
            raise UserError(f"--storage: {_line(error)}: write {known}") from None
        except SILENT as error:  # others may be making its tables
            why = _line(error)
            time.sleep(PAUSE)
    named = sqlalchemy.make_url(url).render_as_string(hide_password=True)
    raise UserError(
        f"--storage: the database {named} does not answer ({why}): is it there and whole, is it running, and does it "
        "let you in?"
    )


def _line(error: Exception) -> str:
    said = str(error.__cause__ or error)  # Optuna's own words say only that there was an error
    return " ".join(said.split("\n")[0].split())[:200]


def deal_out(folder: Folder, url: str, search: bool = False) -> None:
    """Makes the queue, and puts all that is left of a study into it, for workers to come. Raises UserError."""
    study = folder.read()
    with quiet():
        queue = queue_of(folder, url, study, SEARCH if search else "")
        if not search:
            _refill(queue, left(folder, study), _Unattended(folder))


def work(folder: Folder, url: str, stopped: Stopped, watch: Watch, ended: Ended) -> None:
    """Works on a study until all of its runs are done, here or by others.

    Raises:
        Interrupted, Stop: `stopped` said so; the same again goes on.
        UserError: what is not a setting's fault, see carry_out; a database that cannot be used.
    """
    study = folder.read()
    folder.mark(searched=False)
    with quiet():
        queue, unattended = queue_of(folder, url, study), _Unattended(folder)
        while missing := left(folder, study):
            if number := stopped():
                raise Stop(number)
            if _refill(queue, missing, unattended):
                _deal(queue, folder, study, stopped, watch, ended)
            else:  # all that is left is with others, or with one that was killed just now
                time.sleep(PAUSE)
                optuna.storages.fail_stale_trials(queue)


def _refill(queue: optuna.Study, missing: Sequence[Job], unattended: _Unattended) -> bool:
    """Puts jobs that nobody is at work on into the queue; whether there is anything to take from it."""
    waiting, running = (_dealt(queue, state) for state in (TrialState.WAITING, TrialState.RUNNING))
    # Of those that gave a sign of life, Optuna knows when the last one was.
    known = {*waiting, *(name for name, alive in running.items() if alive)}
    lost = [job for job in missing if job.name not in known and unattended(job, job.name in running)]
    for job in lost:
        queue.enqueue_trial({}, user_attrs={RUN: job.name})
    return bool(waiting or lost)


def _dealt(queue: optuna.Study, state: TrialState) -> dict[str, bool]:
    """The names of runs in this state, and whether whoever took them gave a sign of life."""
    found: dict[str, bool] = {}
    for trial in queue.get_trials(deepcopy=False, states=(state,)):
        name = trial.user_attrs.get(RUN, "")
        found[name] = found.get(name, False) or trial.user_attrs.get(ALIVE) == trial.number
    return found


def _deal(queue: optuna.Study, folder: Folder, study: Study, stopped: Stopped, watch: Watch, ended: Ended) -> None:
    """Takes one run from the queue and does it."""
    known = {job.name: job for job in jobs(study)}

    def objective(trial: optuna.Trial) -> float:
        job = known.get(trial.user_attrs.get(RUN, ""))
        if job is None:  # another worker was quicker, and Optuna made up a trial of its own
            raise optuna.TrialPruned
        return done(folder, study, job, stopped, watch, ended)

    once(queue, objective)


def done(folder: Folder, study: Study, job: Job, stopped: Stopped, watch: Watch, ended: Ended) -> float:
    """Does a job, and gives its answer. Raises TrialPruned where it has none, Busy where another worker has it."""
    if carry_out(folder, study, job, stopped, watch):
        ended(job)
    value = answer(folder, study, job)
    if value is None:
        raise optuna.TrialPruned
    return value


def answer(folder: Folder, study: Study, job: Job) -> float | None:
    """The first of the study's answers for a job, the mean over its ways to sample; None where it failed."""
    found = [result.numbers.get(study.answers[0]) for result in of_job(folder, study, job)]
    values = [value for value in found if value is not None]
    return sum(values) / len(values) if values else None


def once(queue: optuna.Study, objective: Callable[[optuna.Trial], float]) -> None:
    """One trial, with heartbeats. One that another worker is at is given up, after a pause: it may come again."""
    over = False

    def watched(trial: optuna.Trial) -> float:
        nonlocal over
        try:
            value = objective(trial)
        except optuna.TrialPruned:
            over = True
            raise
        except Busy:
            over = True
            time.sleep(PAUSE)
            raise
        over = True
        return value

    try:
        queue.optimize(watched, n_trials=1, catch=(Busy,))
    except Exception:  # Optuna says in several ways that a trial is somebody else's now
        if not over:
            raise
        # The machine slept and was taken for dead. What was done is in the run folder, where others find it.


class _Unattended:
    """Whether nobody is at work on a job: its lock is free, and has been for a while if it is dealt out.

    It is asked about jobs that are not dealt out (a worker that was taken for dead may be at them), and about those
    without a heartbeat: Optuna never takes a trial for dead whose worker was killed before its first.
    """

    def __init__(self, folder: Folder):
        self.folder, self.since = folder, dict[str, float]()

    def __call__(self, job: Job, dealt: bool) -> bool:
        try:
            with locked(self.folder.lock(job)):
                pass
        except BlockingIOError:
            self.since.pop(job.name, None)
            return False
        if not dealt:
            return True
        if time.monotonic() - self.since.setdefault(job.name, time.monotonic()) < 2 * GRACE:
            return False
        del self.since[job.name]
        return True

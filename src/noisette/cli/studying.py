"""The verb study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from noisette.cli.frame import Settings, app, as_settings, fail
from noisette.errors import UserError
from noisette.views import terminal

if TYPE_CHECKING:
    from noisette.experiment.jobs import Folder, Job
    from noisette.experiment.studies import Study

LIST = "list"
GOES_ON = "interrupted, all that was done is kept; the same command goes on"


@app.command
def study(
    what: str,
    /,
    *,
    data: Annotated[list[str] | None, Parameter(negative=())] = None,
    budget: Literal["quick", "standard", "long"] | None = None,
    seeds: int | None = None,
    samples: int | None = None,
    features: str | None = None,
    values: Annotated[list[str] | None, Parameter(negative=())] = None,
    of: Path | None = None,
    out: Path | None = None,
    workers: int = 1,
    storage: str | None = None,
    search: Annotated[bool, Parameter(negative=())] = False,
    minutes: float | None = None,
    settings: Settings = None,
    worker: Annotated[bool, Parameter(show=False, negative=())] = False,
) -> None:
    """Answer a question by trying: train every setting a few times, measure, and report what differs beyond chance.

    `noisette study list` names the questions. Each run is an ordinary run folder. What was interrupted or killed goes
    on with the same command, or with the study's folder instead of its name.

    Parameters
    ----------
    what
        The name of a study, a .toml file of your own, the folder of a study that was begun, or list.
    data
        Other data than the study's own; twice or more for a study that compares data.
    budget
        How long it may take: quick is a quarter of an hour at most on two cores. quick by default.
    seeds
        Runs of each setting; more of them later go on with the same study.
    samples
        How many are drawn to be measured, of each setting; as the budget says by default.
    features
        What samples are compared by: auto, inception, classifier, pixels.
    values
        Other values of a factor, or fewer: --values T=100,200 --values table=scaled.
    of
        For best-of: the folder of the study whose fastest settings are trained on.
    out
        The folder; runs/study-NAME by default.
    workers
        Processes that share the work, and the cores.
    storage
        A database for workers on several machines, postgresql+psycopg://USER@HOST/DATABASE: the same command on each
        joins in. The folder must then be one that all of them see.
    search
        Do not try every setting: search for the best one for so many --minutes, and keep its recipe.
    minutes
        How long to search; by default as the budget says.
    """
    if workers < 1:
        raise UserError(f"--workers must be 1 or more, not {workers}")
    if minutes is not None and not (search and 0 < minutes < float("inf")):
        raise UserError("--minutes is for --search, and must be more than 0")
    if what == LIST:
        _list()
        return
    from noisette.tasks import study_start

    folder, asked = study_start.asked(
        what,
        data=data or (),
        budget=budget,
        seeds=seeds,
        samples=samples,
        features=features,
        values=values or (),
        of=of,
        out=out,
        given=as_settings(settings),
    )
    if worker:
        _work(folder, storage, search, minutes, os.getppid())
        return
    chosen = _begin(folder, asked, search, minutes)
    if workers > 1:
        _share(folder, workers, storage, search, minutes)
    else:
        _work(folder, storage, search, minutes)
    _conclude(folder, chosen, storage, search)


def _list() -> None:
    from noisette.experiment.jobs import jobs
    from noisette.experiment.studies import known

    for name, found in known().items():
        count = len(jobs(found)) if found.factors else 0
        took = found.chosen.took
        long = f", {took:g} min on two cores" if took is not None else ""
        runs = f"{count} runs{long} at {found.budget}" if count else f"trains the {found.takes} fastest of another on"
        print(f"{name:<20} {found.question}\n{'':<20} {runs}")


def _begin(folder: Folder, asked: Study, search: bool, minutes: float | None) -> Study:
    """Looks at the study before anything is written, settles it in its folder, and says what will be done."""
    from noisette.experiment.jobs import jobs
    from noisette.experiment.jobs import settings as settings_of
    from noisette.tasks.study import left
    from noisette.tasks.study_start import begin

    chosen = begin(folder, asked)
    if search:
        span, count = minutes or chosen.chosen.search, len(settings_of(chosen))
        print(f"{chosen.title}: a search of {span:g} minutes in {count} settings, into {folder.path}", flush=True)
        return chosen
    every = len(jobs(chosen))
    done = every - len(left(folder, chosen))
    went = f", {done} of them done" if done else ""
    print(f"{chosen.title}: {every} runs, {chosen.seeds} of each setting{went}, into {folder.path}", flush=True)
    return chosen


# --- working ------------------------------------------------------------------------------------------------------


def _work(folder: Folder, storage: str | None, search: bool, minutes: float | None, parent: int | None = None) -> None:
    """Works in this process; with a `parent`, silently given up when that process is gone."""
    from noisette.tasks import study_queue, study_search, train

    url, chosen = study_queue.database(folder, storage), folder.read()
    try:
        with train.stop_on_signals() as asked, terminal.doing() as doing:

            def stopped() -> int:
                orphaned = parent is not None and os.getppid() != parent
                return signal.SIGTERM if orphaned else asked()

            ended = _teller(folder, chosen, search)
            if search:
                span = minutes or chosen.chosen.search
                study_search.search(folder, url, span, stopped, doing, ended)
            else:
                study_queue.work(folder, url, stopped, doing, ended)
    except (train.Interrupted, study_queue.Stop) as stop:
        if parent is not None:
            sys.exit(128 + stop.number)
        fail(GOES_ON, 128 + stop.number)


def _teller(folder: Folder, chosen: Study, search: bool) -> Callable[[Job], None]:
    """Prints a line for each run that ended."""
    from noisette.experiment.jobs import jobs
    from noisette.tasks.study import NUMBERS, left, of_job
    from noisette.views.table import number

    every = len(jobs(chosen))

    def tell(job: Job) -> None:
        first = of_job(folder, chosen, job)[0]
        said = f"failed: {first.reason}"
        if first.state == "finished":
            seconds = first.numbers.get("seconds_train") or 0.0
            found = [(NUMBERS[key][0], first.numbers.get(key)) for key in chosen.answers[:2]]
            said = ", ".join([f"{seconds:,.0f} s", *(f"{name} {number(v)}" for name, v in found if v is not None)])
        if search:
            print(f"{first.setting}, seed {job.seed}: {said}", flush=True)
        else:
            print(f"{every - len(left(folder, chosen)):>3}/{every}  {job.name}: {said}", flush=True)

    return tell


def _share(folder: Folder, workers: int, storage: str | None, search: bool, minutes: float | None) -> None:
    """The same command in several processes, which share the cores; waits for them."""
    from noisette.tasks import machine, study_queue

    study_queue.deal_out(folder, study_queue.database(folder, storage), search)
    words = [sys.executable, "-m", "noisette.cli", "study", str(folder.path), "--worker"]
    words += ["--storage", storage] if storage else []
    words += ["--search"] if search else []
    words += ["--minutes", str(minutes)] if minutes else []
    threads = str(max(1, machine.cores() // workers))
    shared = {name: os.environ.get(name, threads) for name in machine.NAMED}
    # In sessions of their own, so that a Ctrl-C is this process's alone to pass on.
    more = {"env": {**os.environ, **shared}, "start_new_session": True}
    processes = [subprocess.Popen(words, **more) for _ in range(workers)]
    try:
        codes = [process.wait() for process in processes]
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
        fail(GOES_ON, 128 + signal.SIGINT)
    worst = max(codes)
    if worst > 128:
        fail(GOES_ON, worst)
    if worst > 0:
        sys.exit(worst)  # the worker has said why


def _conclude(folder: Folder, chosen: Study, storage: str | None, search: bool) -> None:
    """The report, and where it is."""
    from noisette.tasks.study import left, results
    from noisette.views import study as reporting

    if not search and (missing := left(folder, chosen)):
        count = len(missing)
        raise UserError(f"{folder.path}: {count} runs are left, as workers were killed: the same command goes on")
    page = reporting.report(folder.path)  # it is there whatever is said next
    if search:
        from noisette.tasks import study_queue, study_search
        from noisette.views.table import number

        for one in study_search.best(folder, study_queue.database(folder, storage)):
            count = len(one.values)
            print(f"{number(one.mean):>10}  {one.setting.label}, {count} run{'s' * (count > 1)}")
        print(f"Recipe  {folder.best_path} (noisette train DATA --recipe {folder.best_path})")
    failed = sum(result.state == "failed" for result in results(folder.path))
    if failed:
        print(f"{failed} results are missing, as their runs failed: the report says why")
    print(f"Report  {page}")
    print(f"Table   {folder.results_path}")

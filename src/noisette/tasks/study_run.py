"""One run of a study, from nothing or from wherever it was left: trained, sampled in all its ways, and measured."""

from __future__ import annotations

import contextlib
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noisette.data import cache, fetch, medium
from noisette.data.medium import Data
from noisette.diffusion.denoisers import NetDenoiser
from noisette.diffusion.schedules import TerminalSignalWarning
from noisette.errors import UserError, nearest
from noisette.experiment import build, losses, ways
from noisette.experiment.config import BUDGETS, Config
from noisette.experiment.files import locked
from noisette.experiment.jobs import Folder, Job, jobs
from noisette.experiment.runs import Run, move_aside
from noisette.experiment.studies import Study
from noisette.metrics import distances
from noisette.metrics.features import Inception
from noisette.tasks import plan, study_measures, train
from noisette.tasks.evaluate import evaluate
from noisette.tasks.judge import NETWORK, Judge, Progress, known_features
from noisette.tasks.rows import DISTANCES, METRICS, refusal
from noisette.tasks.study import MEASURED, NUMBERS, damage, evaluated, facts, is_done, kept, opened, protocol

Stopped = Callable[[], int]
"""Asked now and then; a signal's number instead of 0 ends the work, with a checkpoint."""

Watch = Callable[[str, float], None]
"""Called with (what is being done, the share of it that is done)."""


class Busy(Exception):
    """Another worker has this run."""


def carry_out(folder: Folder, study: Study, job: Job, stopped: Stopped, watch: Watch) -> bool:
    """Does all that is left to do for a job; whether there was anything.

    A training that cannot go on (a loss that is not finite or that its author got wrong, not enough memory) is a
    result: the run is marked as failed, with the reason.

    Raises:
        Busy: another worker has it.
        Interrupted: `stopped` said so; all that was done is kept.
        UserError: what is not the setting's fault: data that are gone, a full disk.
    """

    def here(what: str, share: float) -> None:
        watch(f"{job.name}: {what}", share)

    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore", TerminalSignalWarning)  # it is one of the numbers
        try:
            stack.enter_context(locked(folder.lock(job)))
        except BlockingIOError:
            raise Busy from None
        path = folder.run(job)
        if damage(path) or ((run := opened(path)) is not None and is_done(run, study, job)):
            return False
        try:
            run = _trained(folder, study, job, run, stopped, here)
            if run.finished:
                _measure(run, study, job, stopped, here)
        except losses.DistanceError as error:
            if (run := opened(path)) is None:
                raise
            run.update_meta(state="failed", reason=str(error))
        return True


# --- training -----------------------------------------------------------------------------------------------------


def _trained(folder: Folder, study: Study, job: Job, run: Run | None, stopped: Stopped, watch: Watch) -> Run:
    """The run at the end of its budget, or marked as failed."""
    path, data = folder.run(job), None
    if run is None:
        _clear(path)
        if study.continues:
            run = _taken_on(Folder(Path(study.continues)), job, path)
        else:
            source, settings = source_of(job)
            run, data = train.start(source, settings, study.recipe or None, path)
    if run.finished:
        return run
    try:
        for step in train.train(run, data, stopped):
            watch("training", step.progress)
    except UserError as error:
        if run.meta.get("state") != "failed":
            raise
        run.update_meta(reason=str(error).removeprefix(f"{run.path}: "))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        run.update_meta(state="failed", reason="not enough memory")
    return Run.open(path)


def _clear(path: Path) -> None:
    """Makes room for a run: the beginning of one that was killed goes, but what was trained is kept."""
    if (path / "checkpoints").is_dir():
        aside = move_aside(path)
        warnings.warn(f"{path}: its config.toml is gone: kept as {aside.name}, and trained anew", stacklevel=2)
    else:
        shutil.rmtree(path, ignore_errors=True)


def source_of(job: Job) -> tuple[str, dict[str, Any]]:
    """(where a job's data come from, its other settings)."""
    data = dict(job.settings["data"])
    return data.pop("source"), {**job.settings, "data": data}


def _finished(earlier: Folder, job: Job) -> Run:
    run = opened(earlier.run(job))
    if run is None or not run.finished:
        raise UserError(f"{earlier.run(job)}: not finished, so it cannot be trained on: noisette study {earlier.path}")
    return run


def _taken_on(earlier: Folder, job: Job, path: Path) -> Run:
    """A copy of a finished run of another study, with the budget of this one on top."""
    source = _finished(earlier, job)
    copy = path.with_name(f".taking-{path.name}")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source.path, copy, ignore=shutil.ignore_patterns("eval", "report.html", ".lock"))
    more = {name: value for name, value in job.settings["train"].items() if name in BUDGETS}
    train.continued(Run.open(copy), more).update_meta(**{MEASURED: {}})
    copy.rename(path)
    return Run.open(path)


# --- measuring ----------------------------------------------------------------------------------------------------


def _measure(run: Run, study: Study, job: Job, stopped: Stopped, watch: Watch) -> None:
    """Evaluates what is drawn in each way, and adds what the study itself measures to the run's facts."""

    def progress(stage: str, done: int, total: int) -> None:
        if number := stopped():
            raise train.Interrupted(run, run.checkpoint().step, number)
        watch(stage, done / max(total, 1))

    how, before = protocol(study, job), kept(run.meta)
    if before["protocol"] != how:
        before = {"protocol": how, "ways": {}, "seconds": 0.0}
    missing = [way for way in job.ways if way not in before["ways"]]
    drawn = tuple(way for way in missing if way and not ways.is_path(way))
    metrics = [metric for metric in study.measure if metric in METRICS]
    data = build.data(run)
    features, why = features_of(run, study, data, progress)
    judge = Judge.of(data, run.config.data, features, progress)
    if {*metrics} & {*DISTANCES} and cache.folder() is not None:
        _ = judge.real("train"), judge.real("held_out")
    begun = time.perf_counter()  # what is done once for these data does not count
    for using in ((),) * ("" in missing) + (drawn,) * bool(drawn):
        if metrics:
            evaluate(run, how["samples"], metrics, using, features, seed=how["seed"], progress=progress)
    asked = [measure for measure in study.measure if measure in study_measures.MEASURES]
    found = evaluated(run, missing, how)
    whole: dict[str, Any] = {}
    more = asked or any(ways.is_path(way) for way in missing)
    if more and isinstance(model := build.trained(run)[0], NetDenoiser):
        whole = study_measures.whole(run, model, data, asked, progress).told()
        for way in found:
            if way:
                own = study_measures.of_way(run, model, data, judge, way, asked, progress).told()
                found[way] = {kind: {**found[way].get(kind, {}), **own.get(kind, {})} for kind in (*found[way], *own)}
    seconds = before["seconds"] + time.perf_counter() - begun
    before |= {"ways": {**before["ways"], **found}, "whole": whole, "seconds": round(seconds, 1), "features": why}
    run.update_meta(**{MEASURED: {**before, "facts": before.get("facts") or facts(run)}})


def features_of(run: Run, study: Study, data: Data, progress: Progress) -> tuple[str, str]:
    """(what a run's samples are compared by, a word on why where that is not the first choice).

    What is left to us ("auto") needs no more samples than a study draws, and more real images than there are: the same
    for all runs of one data set, as their distances are held against each other.
    """
    wanted = [metric for metric in study.measure if metric in DISTANCES]
    if (
        study.features != "auto" or not wanted or run.shape.moves or data.x.shape[3] == 1
    ):  # grey images are not Inception's
        return study.features, ""
    least = distances.smallest(Inception.dim) if "fid" in wanted else distances.FEWEST
    real = len(data.train) - min(study.chosen.samples, len(data.train) // 2)
    if min(study.chosen.samples, real) >= least:
        return "auto", ""
    judge = Judge.of(data, run.config.data, "pixels", progress)
    few = f"{study.chosen.samples:,} samples" if study.chosen.samples < least else f"{real:,} real images"
    return (
        "classifier" if judge.reads_well else "pixels",
        f"{few} are too few for the Inception network: {least} or more",
    )


# --- before anything is trained -----------------------------------------------------------------------------------


def check(study: Study) -> None:
    """Looks at every setting on its data, before anything is trained. Raises UserError for what is wrong."""
    known = (*METRICS, *study_measures.MEASURES)
    for metric in study.measure:
        if metric not in known:
            raise UserError(f'{study.name}: measure: unknown "{metric}"{nearest(metric, known)}')
    for answer in study.answers:
        if answer not in NUMBERS:
            raise UserError(f'{study.name}: answers: unknown number "{answer}"{nearest(answer, NUMBERS)}')
    known_features(study.features)
    network = study.features == Inception.name or study.features.endswith(NETWORK)
    if why := refusal([m for m in study.measure if m in METRICS], study.chosen.samples, Inception.dim * network):
        raise UserError(f"{study.name}: {why}")
    if network:
        fetch.inception_file(Path(study.features) if study.features.endswith(NETWORK) else None)
    if study.continues:
        for job in jobs(study):  # what was trained before was looked at before
            _finished(Folder(Path(study.continues)), job)
        return
    for job in jobs(study, seeds=[0]):
        source, settings = source_of(job)
        data, shape, config = train.planned(source, settings, study.recipe or None)
        if shape.moves and study_measures.CHAIN_BITS in study.measure:
            raise UserError(f"{study.name}: measure: {study_measures.CHAIN_BITS} counts bits of pixels: leave it out")
        _enough(study, data, config)
        for way in job.ways:
            if way and not ways.is_path(way):
                plan.settings(way, config, build.conditional(config, shape))
                told = config.sample.filled(ways.settings_of(way))
                build.check(config.changed({"sample": told}, f"{study.name}: {way}"), shape)


def _enough(study: Study, data: Data, config: Config) -> None:
    """Raises UserError where these data can never be measured by what the study asks for."""
    source = config.data.source
    if not {*study.measure} & {*DISTANCES}:
        return
    if len(data.train) < 2:
        many = medium.of(medium.facts(data)).many
        raise UserError(f"{source}: {len(data.train)} training {many} are too few to hold samples against: take more")
    judge = Judge.of(data, config.data, study.features)
    if study.features == "classifier" and judge.no_reader:
        raise UserError(f"{source}: no classifier: {judge.no_reader}; use --features {judge.plainest}")

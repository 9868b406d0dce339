"""The results of a study, read from its run folders alone: at any moment, whoever made them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noisette.diffusion.schedules import TerminalSignalWarning
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import BUDGETS
from noisette.experiment.jobs import Folder, Job, Setting, jobs, settings
from noisette.experiment.runs import Run
from noisette.experiment.studies import Study
from noisette.tasks.study_rows import drawn, number

NUMBERS: dict[str, tuple[str, str, str]] = {
    "seconds_train": ("time to train", "s", "lower"),
    "images_per_second": ("training speed", "images/s", "higher"),
    "steps": ("optimiser steps", "", ""),
    "images": ("images shown", "", ""),
    "memory": ("memory at the peak", "bytes", "lower"),
    "parameters": ("parameters", "", ""),
    "seconds_total": ("time to train and measure", "s", "lower"),
    "forward_seconds": ("time to noise 64 images step by step", "s", "lower"),
    "terminal_signal": ("signal left at T", "share", "lower"),
    "val_loss": ("loss on held-out images", "", "lower"),
    "grad_norm": ("gradient norm, second half", "", ""),
    "grad_norm_spread": ("unsteadiness of the gradient norm", "share", "lower"),
    "setback": ("quality at the end, in the best of the training", "times", "lower"),
    "loss_early": ("loss at little noise, first third of t", "", "lower"),
    "loss_middle": ("loss in the middle third of t", "", "lower"),
    "loss_late": ("loss at much noise, last third of t", "", "lower"),
    "share_early": ("share of the loss from the first third of t", "share", ""),
    "share_middle": ("share of the loss from the middle third of t", "share", ""),
    "share_late": ("share of the loss from the last third of t", "share", ""),
    "eps_early": ("error of the noise at little noise, first third of t", "", "lower"),
    "eps_middle": ("error of the noise in the middle third of t", "", "lower"),
    "eps_late": ("error of the noise at much noise, last third of t", "", "lower"),
    "seconds_sample": ("time to draw 36 samples", "s", "lower"),
    "nfe": ("network calls a sample", "", "lower"),
    "fid": ("Fréchet distance", "", "lower"),
    "fid_ratio": ("Fréchet distance, in that of real ones", "times", "lower"),
    "kid": ("kernel distance (KID)", "", "lower"),
    "precision": ("precision", "share", "higher"),
    "recall": ("recall", "share", "higher"),
    "density": ("density", "", "higher"),
    "coverage": ("coverage", "share", "higher"),
    "inception_score": ("Inception Score", "", "higher"),
    "clear": ("clear samples", "share", "higher"),
    "asked": ("samples of the class asked for", "share", "higher"),
    "classes_reached": ("classes reached", "", "higher"),
    "classes_known": ("classes of the data", "", ""),
    "memory_copied": ("copied samples", "share", "lower"),
    "bone_error": ("distance of the lengths of bones from the median body", "%", ""),
    "bone_error_ratio": ("distance of the lengths of bones from the median body, in that of real clips", "times", ""),
    "bone_jitter": ("change of the lengths of bones over time", "%", "lower"),
    "speed_ratio": ("speed, in that of real clips", "times", ""),
    "speed_off": ("error of the speed, in that of real clips", "share", "lower"),
    "acceleration_ratio": ("acceleration, in that of real clips", "times", ""),
    "acceleration_off": ("error of the acceleration, in that of real clips", "share", "lower"),
    "jerk_ratio": ("jerk, in that of real clips", "times", ""),
    "jerk_off": ("error of the jerk, in that of real clips", "share", "lower"),
    "sliding_ratio": ("sliding of standing feet, in that of real clips", "times", "lower"),
    "bent": ("angles of joints that are too far", "share", "lower"),
    "diversity": ("distance of two samples (diversity)", "", ""),
    "multimodality": ("distance of two samples of a class (multimodality)", "", ""),
    "bits": ("bits/dim of held-out images", "bits/dim", "lower"),
    "chain_bits": ("bits/dim with these steps", "bits/dim", "lower"),
    "smoothness": ("largest step of a path, in mean steps", "times", "lower"),
    "detour": ("length of a path, in straight lines", "times", "lower"),
    "jump": ("share of a path in its sharpest place", "share", "lower"),
    "clear_between": ("clear pictures half-way", "share", "higher"),
    "noise_norm": ("length of the noise half-way", "share", ""),
}
"""Key -> (name in words, unit, which way is better: "lower", "higher", or "" for neither)."""

FACTS = ("images_per_second", "steps", "images", "memory", "parameters")
"""Keys of meta.json that are numbers of a run."""

SERIES = ("loss", "loss_critic", "val_loss", "grad_norm", "proxy_fd")
"""Keys of metrics.jsonl that become series."""

MEASURED = "study"
"""The key of meta.json under which a run keeps what its study measured of it."""


@dataclass(frozen=True)
class Result:
    """One setting x seed x way of sampling.

    state: finished | failed (or damaged) | running (it may have been broken off) | missing; reason: one line, why
    there are no numbers. numbers: keys of NUMBERS, None where nothing was measured, and `reasons` why; errors:
    standard errors within the run; shared: those of what every seed of the setting is held against. series:
    "loss", "val_loss", "grad_norm", ... as rows (step, images, seconds, value); "val_loss_t", 20 means in equal bins
    of t; "loss_t" and "eps_t", the same by noisette.tasks.levels, in the space trained in and in that of the noise.
    """

    setting: str
    values: dict[str, str]
    seed: int
    way: str
    run: Path
    state: str
    reason: str = ""
    numbers: dict[str, float | None] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    shared: dict[str, float] = field(default_factory=dict)
    series: dict[str, list[Any]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def results(folder: Path) -> list[Result]:
    """All results of a study's folder: setting by setting, seed by seed.

    Those that are still missing are included; in a folder that is searched, where nobody knows what will be tried, it
    is what was begun. Raises UserError for a folder that holds no study.
    """
    place = Folder(Path(folder))
    study = place.read()
    return _searched(place, study) if place.searched else _planned(place, study)


def _planned(place: Folder, study: Study) -> list[Result]:
    """Of every setting with each of the study's seeds."""
    read = {job.name: _Read.of(place.run(job), study, job) for job in jobs(study)}
    return [
        result
        for setting in settings(study)
        for job in jobs(study, [setting])
        for result in read[job.name].results(setting, job)
    ]


def _searched(place: Folder, study: Study) -> list[Result]:
    """Of every run there is, in the ways that it was measured in; where there are none yet, in all of its ways."""
    found = [
        result
        for setting in settings(study)
        for job in jobs(study, [setting], place.seeds(setting.trained))
        for result in _Read.of(place.run(job), study, job).results(setting, job)
    ]
    measured = {result.run for result in found if result.state == "finished"}
    return [result for result in found if result.state == "finished" or result.run not in measured]


def of_job(folder: Folder, study: Study, job: Job) -> list[Result]:
    """The results of one job: of its ways, and of the settings that they are the ways of."""
    read = _Read.of(folder.run(job), study, job)
    mine = [s for s in settings(study) if s.trained == job.trained and set(s.ways) <= set(job.ways)]
    return [result for setting in mine for result in read.results(setting, job)]


def is_done(run: Run, study: Study, job: Job) -> bool:
    """Whether nothing is left to do for this job: it failed, or it is trained and measured."""
    meta = run.meta
    if meta.get("state") == "failed":
        return True
    found = kept(meta)
    whole = found["protocol"] == protocol(study, job) and set(job.ways) <= set(found["ways"])
    return meta.get("state") == "finished" and whole


def kept(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's facts keep of what its study measured: protocol, facts, whole, ways, seconds and more. What is not
    as it was written counts as not measured."""
    found = meta.get(MEASURED)
    found = found if isinstance(found, dict) else {}
    ways = _parts(found.get("ways"))
    return {
        **found,
        "protocol": found.get("protocol"),
        "facts": found["facts"] if isinstance(found.get("facts"), dict) else {},
        "whole": _parts(found.get("whole")),
        "ways": {way: _parts(part) for way, part in ways.items()},
        "seconds": number(found.get("seconds")) or 0.0,
    }


def _parts(tree: Any) -> dict[str, Any]:
    """Those values of a dict that are dicts."""
    return {name: part for name, part in tree.items() if isinstance(part, dict)} if isinstance(tree, dict) else {}


def protocol(study: Study, job: Job) -> dict[str, Any]:
    """How a job is measured: what differs from it does not count."""
    return {
        "measure": list(study.measure),
        "samples": study.chosen.samples,
        "features": study.features,
        "seed": job.sampling_seed,
    }


def opened(path: Path) -> Run | None:
    """The run of a folder; None where there is none yet, or only its beginning."""
    return Run.open(path) if (path / "config.toml").is_file() else None


def damage(path: Path) -> str:
    """What is wrong with the files of a run folder; empty where nothing is."""
    try:
        if run := opened(path):
            _ = run.meta, run.shape
    except UserError as error:
        return f"{error}; remove this folder to train it anew"
    return ""


def left(folder: Folder, study: Study) -> list[Job]:
    """The jobs that are not done. A damaged run is done: what it was is for its owner to look at."""
    found = []
    for job in jobs(study):
        path = folder.run(job)
        if not damage(path) and ((run := opened(path)) is None or not is_done(run, study, job)):
            found.append(job)
    return found


def fastest(folder: Path, count: int) -> list[Setting]:
    """The settings of a study that trained the most images a second, the fastest first; only those with all seeds.

    Those that differ only in how long they trained count once.

    Raises UserError where fewer than `count` are finished.
    """
    place = Folder(folder)
    study = place.read()
    speeds: dict[str, list[float]] = {}
    for result in _planned(place, study):
        speed = result.numbers.get("images_per_second") if result.state == "finished" else None
        speeds.setdefault(result.setting, []).append(speed or 0.0)
    whole = {label: float(np.mean(found)) for label, found in speeds.items() if min(found) > 0}
    done = [setting for setting in settings(study) if setting.label in whole]
    by_training: dict[str, Setting] = {}
    for setting in sorted(done, key=lambda setting: -whole[setting.label]):
        train = {key: value for key, value in setting.settings["train"].items() if key not in BUDGETS}
        by_training.setdefault(json.dumps({**setting.settings, "train": train}, sort_keys=True), setting)
    ranked = list(by_training.values())
    if len(ranked) < count:
        raise UserError(f"{folder}: {len(ranked)} settings are finished, {count} are needed: noisette study {folder}")
    return ranked[:count]


# --- one run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Read:
    """What a run folder says, read once for all of its ways."""

    path: Path
    run: Run | None
    state: str
    reason: str
    numbers: dict[str, float | None]
    errors: dict[str, float]
    series: dict[str, list[Any]]
    ways: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path, study: Study, job: Job) -> _Read:
        if why := damage(path):
            return cls(path, None, "failed", why.removeprefix(f"{path}/"), {}, {}, {}, {})
        run = opened(path)
        if run is None:
            return cls(path, None, "missing", "not begun", {}, {}, {}, {})
        meta, series = run.meta, _series(run)
        if meta.get("state") == "failed":
            return cls(path, run, "failed", str(meta.get("reason") or "it failed"), {}, {}, series, {})
        measured = kept(meta)
        numbers = {key: number(value) for key, value in (measured["facts"] or facts(run)).items()}
        whole = measured["whole"]
        numbers |= {key: number(value) for key, value in whole.get("numbers", {}).items()}
        numbers["seconds_total"] = (numbers.get("seconds_train") or 0.0) + measured["seconds"]
        series |= whole.get("series", {})
        if not is_done(run, study, job):
            why = "trained, not measured yet" if run.finished else "not trained to its end yet"
            return cls(path, run, "running", why, numbers, {}, series, {})
        return cls(path, run, "finished", "", numbers, _numbers(whole, "errors"), series, measured["ways"])

    def results(self, setting: Setting, job: Job) -> Iterator[Result]:
        for way in setting.ways:
            numbers, errors, name = dict(self.numbers), dict(self.errors), way
            shared: dict[str, float] = {}
            reasons: dict[str, str] = {}
            if self.run is not None and self.state == "finished":
                name = way or self.run.config.sample.label
                mine = self.ways.get(way, {})
                numbers |= {key: number(value) for key, value in mine.get("numbers", {}).items()}
                errors |= _numbers(mine, "errors")
                shared |= _numbers(mine, "shared")
                reasons |= {key: str(why) for key, why in mine.get("reasons", {}).items()}
            yield Result(
                setting=setting.label,
                values=setting.values,
                seed=job.seed,
                way=name,
                run=self.path,
                state=self.state,
                reason=self.reason,
                numbers=numbers,
                errors=errors,
                shared=shared,
                series=self.series,
                reasons=reasons,
            )


def _numbers(tree: Mapping[str, Any], name: str) -> dict[str, float]:
    return {key: value for key, said in tree.get(name, {}).items() if (value := number(said)) is not None}


def facts(run: Run) -> dict[str, float | None]:
    """What a run's training comes to."""
    meta = run.meta
    numbers = {key: number(meta.get(key)) for key in FACTS}
    numbers |= {"seconds_train": number(meta.get("seconds")), "terminal_signal": terminal_signal(run)}
    return numbers | _trained(_series(run))


def evaluated(run: Run, ways: Sequence[str], how: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the run's evaluation by a protocol gave for each way: numbers, errors, shared, reasons. Kept in the run's
    facts, so that whoever evaluates the run in other ways, or trains it on, does not change what the study found."""
    rows = [row for evaluation in run.evaluations() for row in evaluation["rows"]]
    step, own = run.checkpoint().step, run.config.sample.label
    names = ("numbers", "errors", "shared", "reasons")
    return {way: dict(zip(names, drawn(rows, step, way or own, how, NUMBERS), strict=True)) for way in ways}


def terminal_signal(run: Run) -> float | None:
    """The share of signal that a run's schedule leaves at its end; None for a model without one."""
    if run.config.kind != "diffusion":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TerminalSignalWarning)
        return build.schedule(run.config.schedule).terminal_signal


def _series(run: Run) -> dict[str, list[Any]]:
    rows = run.metrics()
    found: dict[str, list[Any]] = {}
    for key in SERIES:
        points = [
            [r["step"], r.get("images"), r.get("seconds"), r[key]] for r in rows if number(r.get(key)) is not None
        ]
        if points:
            found[key] = points
    by_time = [row["val_loss_t"] for row in rows if isinstance(row.get("val_loss_t"), list)]
    return {**found, **({"val_loss_t": by_time[-1]} if by_time else {})}


def _trained(series: Mapping[str, list[Any]]) -> dict[str, float | None]:
    """The numbers that the course of the training gives."""
    found: dict[str, float | None] = {}
    if losses := series.get("val_loss"):
        found["val_loss"] = losses[-1][3]
    if len(looks := [row[3] for row in series.get("proxy_fd", ())]) > 1 and min(looks) > 0:
        found["setback"] = looks[-1] / min(looks)
    norms = np.array([row[3] for row in series.get("grad_norm", ())], np.float64)
    norms = norms[len(norms) // 2 :]
    if len(norms) > 2 and norms.mean() > 0:
        found |= {"grad_norm": float(norms.mean()), "grad_norm_spread": float(norms.std(ddof=1) / norms.mean())}
    return found

"""The results of a study, read from its run folders alone: at any moment, whoever made them."""

from __future__ import annotations

import json
import math
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
from noisette.metrics.distances import Z
from noisette.tasks.rows import alone
from noisette.tasks.shards import SHARD

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
    "fid_ratio": ("Fréchet distance, in that of real images", "times", "lower"),
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

REACHED = 0.1
"""A class is reached where at least this part of its even share of the samples is read as it with confidence: one
misread sample reaches no class."""


@dataclass(frozen=True)
class Result:
    """One setting x seed x way of sampling.

    state: finished | failed | running (it may have been broken off) | missing; reason: one line, why there are no
    numbers. numbers: keys of NUMBERS, None where nothing was measured; errors: standard errors within the run; shared:
    those of what every seed of the setting is held against. series:
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
    kept = meta.get(MEASURED, {})
    whole = kept.get("protocol") == protocol(study, job) and set(job.ways) <= set(kept.get("ways", {}))
    return meta.get("state") == "finished" and whole


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


def left(folder: Folder, study: Study) -> list[Job]:
    """The jobs that are not done."""
    return [job for job in jobs(study) if (run := opened(folder.run(job))) is None or not is_done(run, study, job)]


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
        run = opened(path)
        if run is None:
            return cls(path, None, "missing", "not begun", {}, {}, {}, {})
        meta, series = run.meta, _series(run)
        if meta.get("state") == "failed":
            return cls(path, run, "failed", str(meta.get("reason") or "it failed"), {}, {}, series, {})
        kept = meta.get(MEASURED, {})
        numbers = dict(kept.get("facts") or facts(run))
        whole = kept.get("whole", {})
        numbers |= {key: _float(value) for key, value in whole.get("numbers", {}).items()}
        numbers["seconds_total"] = (numbers.get("seconds_train") or 0.0) + (_float(kept.get("seconds")) or 0.0)
        series |= whole.get("series", {})
        if not is_done(run, study, job):
            why = "trained, not measured yet" if run.finished else "not trained to its end yet"
            return cls(path, run, "running", why, numbers, {}, series, {})
        return cls(path, run, "finished", "", numbers, dict(whole.get("errors", {})), series, kept.get("ways", {}))

    def results(self, setting: Setting, job: Job) -> Iterator[Result]:
        for way in setting.ways:
            numbers, errors, name = dict(self.numbers), dict(self.errors), way
            shared: dict[str, float] = {}
            if self.run is not None and self.state == "finished":
                name = way or self.run.config.sample.label
                kept = self.ways.get(way, {})
                numbers |= {key: _float(value) for key, value in kept.get("numbers", {}).items()}
                errors |= kept.get("errors", {})
                shared |= kept.get("shared", {})
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
            )


def facts(run: Run) -> dict[str, float | None]:
    """What a run's training comes to."""
    meta = run.meta
    numbers = {key: _float(meta.get(key)) for key in FACTS}
    numbers |= {"seconds_train": _float(meta.get("seconds")), "terminal_signal": terminal_signal(run)}
    return numbers | _trained(_series(run))


def evaluated(run: Run, ways: Sequence[str], how: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the run's evaluation by a protocol gave for each way: numbers, errors, shared. Kept in the run's facts, so
    that whoever evaluates the run in other ways, or trains it on, does not change what the study found."""
    rows = [row for evaluation in run.evaluations() for row in evaluation["rows"]]
    step, own = run.checkpoint().step, run.config.sample.label
    names = ("numbers", "errors", "shared")
    return {way: dict(zip(names, _drawn(rows, step, way or own, how), strict=True)) for way in ways}


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
            [r["step"], r.get("images"), r.get("seconds"), r[key]] for r in rows if _float(r.get(key)) is not None
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


Found = tuple[dict[str, float | None], dict[str, float], dict[str, float]]


def _drawn(rows: Sequence[Mapping[str, Any]], checkpoint: int, way: str, how: Mapping[str, Any]) -> Found:
    """Numbers, standard errors and shared ones of the evaluation of a way at a checkpoint."""
    mine = [r for r in rows if r.get("checkpoint") == checkpoint and not r.get("real") and _asked_for(r, way, how)]
    numbers: dict[str, float | None] = {}
    errors: dict[str, float] = {}
    shared: dict[str, float] = {}
    for row in mine:
        metric, value = row.get("metric"), _float(row.get("value"))
        other = "train" if metric == "bits" else "held_out"
        if metric not in NUMBERS or row.get("reference") == other or row.get("space") not in (None, "pixels"):
            continue
        numbers[metric] = value
        if value is not None and (error := _error(row)) is not None:
            errors[metric] = error
        if row.get("label") == way:
            numbers |= _cost(row)
        if metric == "clear" and value is not None:
            numbers |= _reached(row)
            if alone(row.get("detail", {}).get("by_class", {})):
                del numbers["clear"]
                errors.pop("clear", None)
        if metric == "fid" and value is not None and (found := _floor(rows, row)):
            floor, error = found
            numbers["fid_ratio"] = value / floor
            errors |= {"fid_ratio": errors["fid"] / floor} if "fid" in errors else {}
            shared["fid_ratio"] = value / floor * error / floor
    return numbers, errors, shared


def _asked_for(row: Mapping[str, Any], way: str, how: Mapping[str, Any]) -> bool:
    """Whether a row is of this way and protocol; one without a label is of the whole run."""
    if row.get("weights") != "ema" or row.get("label") not in (way, None):
        return False
    return row.get("label") is None or (row.get("n"), (row.get("seeds") or [None])[0]) == (how["samples"], how["seed"])


def _cost(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Network calls, and seconds for 36 samples: whole shards were drawn."""
    seconds, n = _float(row.get("seconds")), _float(row.get("n"))
    drawn = math.ceil(n / SHARD) * SHARD if n else 0
    per_36 = seconds * 36 / drawn if seconds is not None and drawn else None
    return {"nfe": _float(row.get("nfe")), "seconds_sample": per_36}


def _floor(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> tuple[float, float] | None:
    """What as many real images have for a Fréchet distance, against the same others, and its standard error."""
    same = ("metric", "reference", "extractor_hash", "n")
    for other in reversed(rows):
        if other.get("real") == "train against train" and all(other.get(key) == row.get(key) for key in same):
            value = _float(other.get("value"))
            return (value, _error(other) or 0.0) if value and value > 0 else None
    return None


def _reached(row: Mapping[str, Any]) -> dict[str, float | None]:
    counts, n = row.get("detail", {}).get("by_class"), _float(row.get("n"))
    if not counts or not n:
        return {}
    reached = sum(count >= max(1.0, REACHED * n / len(counts)) for count in counts.values())
    return {"classes_reached": float(reached), "classes_known": float(len(counts))}


def _error(row: Mapping[str, Any]) -> float | None:
    low, high = _float(row.get("low")), _float(row.get("high"))
    return None if low is None or high is None else (high - low) / (2 * Z)


def _float(value: Any) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain else None

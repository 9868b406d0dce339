"""A run's samples against real images: numbers with intervals and their protocol, written to eval/*.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noisette.data.medium import Stored
from noisette.data.spec import permutation
from noisette.diffusion import likelihood
from noisette.errors import UserError, nearest
from noisette.experiment import build
from noisette.experiment.config import SampleConfig
from noisette.experiment.runs import Run
from noisette.metrics import memory
from noisette.nets.gan import Generator
from noisette.tasks import plan as planning
from noisette.tasks import rows as measured
from noisette.tasks import shards
from noisette.tasks.judge import Judge, Progress, silent
from noisette.tasks.motion import MotionJudge
from noisette.tasks.motion_rows import moves, variety
from noisette.tasks.rows import METRICS, Row

BITS_IMAGES, BITS_TIMES, FLOW_IMAGES, FLOW_STEPS = 256, 32, 64, 20
LOOKING = {"fid", "kid", "prdc", "is", "memory", "motion"}
"""Metrics that need features."""

_HALVES, _TRAIN, _BITS = 0x4A1F, 0x7EA1, 0xB175  # set these uses of a seed apart from the others


def evaluate(
    run: Run,
    samples: int = 2048,
    metrics: Sequence[str] = METRICS,
    using: Sequence[str] = (),
    features: str = "auto",
    *,
    minutes: float | None = None,
    weights: str = "ema",
    at: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    planned: Callable[[planning.Plan], None] = lambda plan: None,
) -> list[Row]:
    """Measures a run, writes every number to eval/*.json as soon as it is known, and returns them all.

    Args:
        samples: how many for each sampler, with seeds seed, seed + 1, ...
        metrics: of METRICS: fid, kid, prdc, is, bits, memory, clear, motion; beside others, those that do not concern
            the medium are left out (bits of motion, which has no bytes to count, motion of images).
        using: samplers as "ddim:50" or "ddim:50:eta=1:guidance=2"; the run's own by default.
        features: see Judge.
        minutes: draw fewer samples where all of them would take longer; the same number for each sampler.
        weights: ema or raw.
        at: the step of a checkpoint; the newest by default.
        progress: called with (stage, done, all).
        planned: told what will be done, before the long part begins.

    Raises:
        UserError: an unknown metric, sampler or setting; no metric that concerns the medium; too few samples for all
            that is asked; data that are gone.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise UserError(f'unknown metric "{metric}"{nearest(metric, METRICS)}')
    other = "bits" if run.shape.moves else "motion"
    metrics = [metric for metric in metrics if metric != other]
    if not metrics:
        known = ", ".join(metric for metric in METRICS if metric != other)
        many = run.shape.medium.many
        raise UserError(f"{run.path}: there is nothing to measure: of {many} there are {known}, and no {other}")
    if samples < 1 or seed < 0 or seed + samples + shards.SHARD > 2**32:
        raise UserError(f"--samples must be 1 or more and the seeds below {2**32:,}, got {samples} from {seed}")
    model = shards.Model.open(run, weights, at)
    chosen = planning.chosen(model, tuple(using))
    data = build.data(run, lambda done, total: progress("Reading the data", done, total))
    judge = Judge.of(data, run.config.data, features, progress)
    looking = LOOKING & {*metrics}
    if looking and (why := measured.refusal(metrics, samples, judge.extractor.dim)):
        raise UserError(why)
    drawing = bool({*metrics} - {"bits"})
    begun = time.perf_counter()  # what is done once for these data does not count
    plan = planning.plan(
        model,
        chosen if drawing else {},
        samples,
        seed,
        None if minutes is None else 60 * minutes - (time.perf_counter() - begun),
        (lambda: judge.extractor) if looking else None,
        judge.unknown() if looking else 0,
    )
    if plan.n < samples:
        why = measured.refusal(metrics, plan.n, judge.extractor.dim) if looking and plan.n else ""
        if why or not plan.n:
            why = why or f"not even {planning.COUNTS[0]} samples can be drawn"
            raise UserError(f"in {minutes:g} minutes, {why}: give more --minutes, or faster samplers")
    planned(plan)
    reals = _Reals.of(model, judge, plan.n) if {"fid", "kid", "prdc"} & {*metrics} else None
    found = _real(model, judge, reals, metrics)
    if drawing:
        for label, settings in chosen.items():
            found += _sampler(model, judge, reals, metrics, label, settings, plan.n, seed, progress)
    if "bits" in metrics:
        found += _bits(model, judge, progress)
    return found


# --- what is measured ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reals:
    """Features of real images: what samples are held against, and real pictures to hold against the same.

    Some training images are taken out of the reference to stand where the model's samples stand: as many of them, but
    at most half of all, and against the very same others, so that the two numbers are one measurement. (A Fréchet
    distance grows as either set shrinks.) Where they are fewer, as many of the samples are measured beside all.
    """

    train: measured.Features
    instead: measured.Features
    held_out: measured.Features
    halves: tuple[measured.Features, measured.Features]

    @classmethod
    def of(cls, model: shards.Model, judge: Judge, n: int) -> _Reals:
        train, held_out, seed = judge.real("train"), judge.real("held_out"), model.run.config.data.seed
        few, half = min(n, len(train) // 2), len(held_out) // 2
        instead, rest = judge.apart(judge.rows("train"), few, model.labelled, seed, _TRAIN)
        one, other = judge.apart(judge.rows("held_out"), half, model.labelled, seed, _HALVES)
        return cls(train[rest], train[instead], held_out, (held_out[other], held_out[one]))


def _sampler(
    model: shards.Model,
    judge: Judge,
    reals: _Reals | None,
    metrics: Sequence[str],
    label: str,
    settings: SampleConfig,
    n: int,
    seed: int,
    progress: Progress,
) -> list[Row]:
    drawn = shards.drawn(model, settings, n, seed, lambda done: progress(f"Drawing with {label}", done, n))
    base: Row = {
        **measured.BLANK,
        "label": label,
        **measured.drawn_by(settings, model.labelled),
        "weights": model.weights,
        "checkpoint": model.step,
        "seeds": [seed, seed + n - 1],
        "seconds": round(drawn.seconds, 5),  # a GAN draws in less than a hundredth
    }
    found: list[Row] = []
    inside = base
    if LOOKING & {*metrics}:
        inside = {**base, **measured.named(judge.extractor)}
    if LOOKING - {"is"} & {*metrics}:
        told = f"Features of samples by {label}"
        of_samples = drawn.measured(judge.extractor.hash, lambda x: judge.features(x, told))
        for which, reference in (("train", reals.train), ("held_out", reals.held_out)) if reals else ():
            if len(reference):
                found += measured.between(reference, of_samples, metrics, {**inside, "reference": which})
        if reals is not None:
            found += _as_many(reals, of_samples, metrics, inside)
        if "memory" in metrics:
            found += _memory(judge, drawn.x, of_samples, base, progress)
        if isinstance(judge, MotionJudge) and "motion" in metrics:
            found += moves(judge, drawn.x, base, drawn.labels)
            found += variety(judge, of_samples, drawn.labels, inside)
    if "is" in metrics:
        found.append(measured.inception_score(judge.extractor.probabilities(drawn.x), inside))
    if "clear" in metrics:
        found += _clear(judge, drawn.x, drawn.labels, base)
    _save(model.run, f"step-{model.step}-{model.weights}-{label}", found)
    return found


def _as_many(reals: _Reals, of_samples: measured.Features, metrics: Sequence[str], base: Row) -> list[Row]:
    """Where fewer real images than samples stand in their place: what as many samples, the first ones, come to."""
    few, n, first = len(reals.instead), len(of_samples), base["seeds"][0]
    if few >= n:
        return []
    seconds = round(base["seconds"] * few / n, 5)
    base = {**base, "reference": "train", "seeds": [first, first + few - 1], "seconds": seconds}
    found = measured.between(reals.train, of_samples[:few], metrics, base)
    return [row for row in found if row["value"] is not None]


def _memory(judge: Judge, x: Stored, features: NDArray[np.float64], base: Row, progress: Progress) -> list[Row]:
    """Whether samples copy training ones: as they are, and by their features where those are others."""
    data, base = judge.data, {**base, "reference": "train"}

    def as_they_are() -> tuple[Stored, Stored, Stored]:
        seen = judge.taught(data.x[data.train])  # it has learned the mirror images as well
        return judge.comparable(x), judge.comparable(seen), judge.comparable(data.x[data.held_out])

    spaces: list[tuple[str, NDArray[np.int64], Callable[[], tuple[Stored, Stored, Stored]], Row]]
    spaces = [(judge.raw, data.train, as_they_are, {})]
    if judge.extractor.name != judge.raw:
        named = measured.named(judge.extractor)
        known = judge.rows("train")
        spaces.append(
            (judge.extractor.name, known, lambda: (features, judge.real("train"), judge.real("held_out")), named)
        )
    found: list[Row] = []
    for space, rows, arrays, named in spaces:
        samples, seen, unseen = arrays()
        here = {**base, **named, "reference_n": len(rows)}
        groups = judge.groups(rows)
        groups = None if groups is None else np.resize(groups, len(seen))
        stage = f"Nearest training {judge.medium.many} by {space}"
        try:
            said = memory.memory(
                samples,
                seen,
                unseen,
                lambda done, total, stage=stage: progress(stage, done, total),
                groups,
                judge.what,
            )
        except ValueError as error:
            found += [
                measured.row(metric, None, here, space=space, reason=str(error))
                for metric in ("memory_closer", "memory_copied")
            ]
            continue
        found += measured.memory(said, space, rows, here)
    return found


def _clear(judge: Judge, x: Stored, labels: NDArray[np.int64] | None, base: Row) -> list[Row]:
    """How many images the reader of the data's own classes reads with confidence."""
    if judge.reader is None:
        return [measured.row("clear", None, base, reason=f"there is nothing to read: {judge.no_reader}")]
    base = {**base, **measured.named(judge.reader)}
    if not judge.reads_well:
        right = judge.reader.accuracy
        knows = (
            "it could not be checked"
            if right is None
            else f"it is right on {right:.0%} of the held-out {judge.medium.many} only"
        )
        return [measured.row("clear", None, base, reason=f"the reader of the classes cannot be trusted: {knows}")]
    return measured.clear(judge.reader.probabilities(x), judge.reader.classes, labels, base)


def _real(model: shards.Model, judge: Judge, reals: _Reals | None, metrics: Sequence[str]) -> list[Row]:
    """Real images against real images: the floor that no model is expected to beat."""
    run = model.run
    base: Row = {**measured.BLANK, "detail": {"chosen_by": run.config.data.seed, "evenly": model.labelled}}
    found: list[Row] = []
    if reals is not None:
        inside = {**base, **measured.named(judge.extractor)}
        pairs = [("train against train", "train", reals.train, reals.instead)]
        if len(reals.held_out):
            pairs.append(("train against held_out", "train", reals.train, reals.held_out))
            pairs.append(("held_out halves", "held_out", *reals.halves))
        for what, which, reference, instead in pairs:
            begun = time.perf_counter()
            said = measured.between(reference, instead, metrics, {**inside, "real": what, "reference": which})
            found += [{**row, "seconds": round(time.perf_counter() - begun, 2)} for row in said]
    if "clear" in metrics and len(judge.data.held_out) and judge.reads_well:
        held = judge.rows("held_out")
        labels = None if judge.data.labels is None else judge.data.labels[held]
        found += _clear(judge, judge.data.x[held], labels, {**base, "real": "held_out"})
    if found:
        _save(run, "real", found)
    return found


def _bits(model: shards.Model, judge: Judge, progress: Progress) -> list[Row]:
    """Bits a dimension, on held-out and on training images: the bound of a table, or the flow of a formula."""
    found: list[Row] = []
    base: Row = {**measured.BLANK, "weights": model.weights, "checkpoint": model.step}
    for which in ("held_out", "train"):
        rows = judge.rows(which)
        why = "a GAN gives no likelihood" if isinstance(model.denoiser, Generator) else ""
        why = why or ("no images were held out" if len(rows) < 2 else "")
        if why:
            found.append(measured.row("bits", None, {**base, "reference": which}, reason=why))
            continue
        schedule, device = model.denoiser.schedule, next(model.denoiser.parameters()).device
        most = BITS_IMAGES if schedule.steps else FLOW_IMAGES
        rows = np.sort(rows[permutation(len(rows), _BITS)[:most]])
        clean = judge.medium.encode(judge.data.x[rows]).to(device)
        told = None
        if model.labelled and judge.data.labels is not None:
            told = torch.from_numpy(judge.data.labels[rows]).to(device)
        generator = torch.Generator().manual_seed(_BITS)
        stage = f"Bits of {which.replace('_', '-')} images"
        begun = time.perf_counter()
        common: dict[str, Any] = {
            "generator": generator,
            "cond": told,
            "batch": shards.SHARD,
            "progress": lambda done, total, stage=stage: progress(stage, done, total),
        }
        detail: dict[str, Any] = {"told_classes": told is not None, "noise_seed": _BITS}
        if schedule.steps:
            clipped = build.wrapped(model.denoiser, model.run.config.sample, None, 0)  # as samples are drawn
            bound = likelihood.variational_bits(clipped, clean, BITS_TIMES, **common)
            total, kind = bound.total, "variational bound"
            detail |= {
                "prior": float(bound.prior.mean()),
                "decoder": float(bound.decoder.mean()),
                "by_time": [round(float(v), 5) for v in bound.by_time],
                "variance": bound.variance,
                "clip": model.run.config.sample.clip,
                "times": bound.times,
            }
        else:
            flow = likelihood.ode_bits(model.denoiser, clean, FLOW_STEPS, **common)
            total, kind = flow.total, "probability-flow ODE"
            detail |= {"prior": float(flow.prior.mean()), "volume": float(flow.volume.mean()), "calls": flow.calls}
        here = {
            **base,
            "reference": which,
            "n": len(rows),
            "reference_n": len(rows),
            "seconds": round(time.perf_counter() - begun, 2),
        }
        found.append(measured.row("bits", measured.mean(total.numpy()), here, detail={"kind": kind, **detail}))
    _save(model.run, f"step-{model.step}-{model.weights}-bits", found)
    return found


def _save(run: Run, name: str, found: list[Row]) -> None:
    """Writes these rows beside those of an earlier evaluation that measured something else."""
    name = name.replace(":", "-").replace("=", "").replace(" ", "-")
    run.save_evaluation(name, {"version": 1, "rows": measured.merged(run.evaluation(name), found)})

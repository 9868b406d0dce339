"""A run's samples against real images: numbers with intervals and their protocol, written to eval/*.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noisette.data.spec import permutation
from noisette.data.stream import to_model
from noisette.diffusion import likelihood, samplers
from noisette.errors import UserError, nearest
from noisette.experiment import build
from noisette.experiment.config import SampleConfig
from noisette.experiment.runs import Run
from noisette.metrics import memory
from noisette.tasks import rows as measured
from noisette.tasks import shards
from noisette.tasks.generate import settings_of
from noisette.tasks.judge import Judge, Progress, silent
from noisette.tasks.rows import METRICS, Row

FITS = 0.75
"""Share of a limit in minutes that sampling may plan with: the rest is for features and what timing cannot foresee."""

NAMED = ("extractor", "extractor_hash", "extractor_accuracy")
BITS_IMAGES, BITS_TIMES, FLOW_IMAGES, FLOW_STEPS = 256, 32, 64, 50
_HALVES, _TRAIN, _BITS = 0x4A1F, 0x7EA1, 0xB175  # set these uses of a seed apart from the others


@dataclass(frozen=True)
class Plan:
    """What an evaluation will do: n samples for each sampler, `draws` of them still to be drawn, in about `seconds`."""

    n: int
    labels: tuple[str, ...]
    draws: int
    seconds: float


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
    planned: Callable[[Plan], None] = lambda plan: None,
) -> list[Row]:
    """Measures a run, writes every number to eval/*.json as soon as it is known, and returns them all.

    Args:
        samples: how many for each sampler, with seeds seed, seed + 1, ...
        metrics: of METRICS: fid, kid, prdc, is, bits, memory, clear.
        using: samplers as "ddim:50" or "ddim:50:eta=1:guidance=2"; the run's own by default.
        features: see Judge.
        minutes: draw fewer samples where all of them would take longer; the same number for each sampler.
        weights: ema or raw.
        at: the step of a checkpoint; the newest by default.
        progress: called with (stage, done, all).
        planned: told what will be done, before the long part begins.

    Raises:
        UserError: an unknown metric, sampler or setting; too few samples for all that is asked; data that are gone.
    """
    begun = time.perf_counter()
    for metric in metrics:
        if metric not in METRICS:
            raise UserError(f'unknown metric "{metric}"{nearest(metric, METRICS)}')
    if samples < 1 or seed < 0 or seed + samples + shards.SHARD > 2**32:
        raise UserError(f"--samples must be 1 or more and the seeds below {2**32:,}, got {samples} from {seed}")
    chosen = {label_of(spec, run): _settings(run, spec) for spec in using or (_own(run),)}
    model = shards.Model.open(run, weights, at)
    for label, settings in chosen.items():
        if settings.variance == "learned" and not model.denoiser.learn_variance:
            raise UserError(f"{label}: the net of {run.path} has not learned a variance: use variance=small")
        with build.as_user_errors(label):
            samplers.time_grid(model.denoiser.schedule, settings.steps, settings.grid)
    judge = Judge(
        build.data(run, lambda done, total: progress("Reading the data", done, total)),
        run.config.data,
        features,
        progress,
    )
    if why := measured.refusal(metrics, samples, judge.extractor.dim):
        raise UserError(why)
    drawing = bool({*metrics} - {"bits"})
    plan = _plan(
        model, chosen if drawing else {}, samples, minutes and 60 * minutes - (time.perf_counter() - begun), seed
    )
    if why := measured.refusal(metrics, plan.n, judge.extractor.dim):
        raise UserError(f"in {minutes:g} minutes, {why}: give more --minutes, or faster samplers")
    planned(plan)
    found = _real(model, judge, metrics, plan.n)
    if drawing:
        for label, settings in chosen.items():
            found += _sampler(model, judge, metrics, label, settings, plan.n, seed, progress)
    if "bits" in metrics:
        found += _bits(model, judge, progress)
    return found


# --- what is asked for --------------------------------------------------------------------------------------------


def _own(run: Run) -> str:
    return f"{run.config.sample.sampler}:{run.config.sample.steps}"


def label_of(spec: str, run: Run) -> str:
    """A sampler's name in tables: "ddim" -> "ddim:50", with the run's own number of steps."""
    name, *rest = spec.strip().split(":")
    return ":".join([name, *(rest if rest and "=" not in rest[0] else [str(run.config.sample.steps), *rest])])


def _settings(run: Run, spec: str) -> SampleConfig:
    """ "ddim:50:eta=1" -> the run's settings with these changed. Raises UserError."""
    name, steps, *more = label_of(spec, run).split(":")
    changes: dict[str, Any] = {"sampler": name}
    try:
        changes["steps"] = int(steps)
        for pair in more:
            key, _, value = pair.partition("=")
            if key not in SampleConfig.model_fields:
                raise UserError(f'"{spec}": no sampler setting "{key}"{nearest(key, SampleConfig.model_fields)}')
            changes[key] = float(value) if key in ("eta", "guidance") else value
    except ValueError:
        raise UserError(f'"{spec}": samplers are written name:steps, for example ddim:50 or ddim:50:eta=1') from None
    settings = settings_of(run, **changes)
    build.sampler(settings)
    return settings


def _plan(model: shards.Model, chosen: dict[str, SampleConfig], samples: int, limit: float | None, seed: int) -> Plan:
    """How many samples fit, after a trial of the net's speed. Raises UserError where not even a shard does."""
    n = samples
    rate = _rate(model) if chosen else 0.0
    if limit is not None and chosen:
        each = rate * sum(shards.calls(s, model.labelled) for s in chosen.values())
        n = min(samples, int(FITS * max(limit, 0) / each))
    draws = [shards.missing(model, s, n, seed) for s in chosen.values()]
    seconds = sum(rate * d * shards.calls(s, model.labelled) for d, s in zip(draws, chosen.values(), strict=True))
    return Plan(n, tuple(chosen), sum(draws), seconds)


def _rate(model: shards.Model) -> float:
    """Seconds of the net for one image, at the size of batch that shards are drawn in."""
    shape, device = model.run.shape, next(model.denoiser.parameters()).device
    x = torch.zeros(shards.SHARD, *shape.x, device=device)
    told = torch.zeros(shards.SHARD, dtype=torch.int64, device=device) if model.labelled else None
    taken = []
    with torch.no_grad():
        for _ in range(4):
            begun = time.perf_counter()
            model.denoiser(x, 0.5, told).x0.sum().item()  # .item() waits for a GPU
            taken.append(time.perf_counter() - begun)
    return float(np.median(taken[1:])) / shards.SHARD


# --- what is measured ---------------------------------------------------------------------------------------------


def _sampler(
    model: shards.Model,
    judge: Judge,
    metrics: Sequence[str],
    label: str,
    settings: SampleConfig,
    n: int,
    seed: int,
    progress: Progress,
) -> list[Row]:
    drawn = shards.drawn(model, settings, n, seed, lambda done: progress(f"Drawing with {label}", done, n))
    base: Row = {
        "real": None,
        "label": label,
        **settings.model_dump(mode="json", exclude={"interval"}),  # a row's interval is how its bounds were made
        "guidance_interval": list(settings.interval),
        "nfe": samplers.network_calls(settings.sampler, settings.steps),
        "weights": model.weights,
        "checkpoint": model.step,
        "seeds": [seed, seed + n - 1],
        "seconds": round(drawn.seconds, 2),
    }
    found: list[Row] = []
    inside = {**base, **measured.named(judge.extractor)}
    if {"fid", "kid", "prdc", "memory"} & {*metrics}:
        told = f"Features of samples by {label}"
        of_samples = drawn.measured(judge.extractor.hash, lambda x: judge.features(x, told))
        for which in ("train", "held_out"):
            if len(judge.rows(which)):
                found += measured.between(judge.real(which), of_samples, metrics, {**inside, "reference": which})
        if "memory" in metrics:
            found += _memory(judge, drawn.x, of_samples, base, progress)
    if "is" in metrics and judge.extractor.classes:
        probabilities = judge.extractor.probabilities(drawn.x)
        if probabilities is not None:
            found.append(measured.inception_score(probabilities, inside))
    if "clear" in metrics:
        found += _clear(judge, drawn.x, drawn.labels, base)
    _save(model.run, f"step-{model.step}-{model.weights}-{label}", found)
    return found


def _memory(
    judge: Judge, x: NDArray[np.uint8], features: NDArray[np.float64], base: Row, progress: Progress
) -> list[Row]:
    """Whether samples copy training images: by their pixels, and by their features where those are not pixels."""
    train, held_out = judge.rows("train"), judge.rows("held_out")
    base = {**base, "reference": "train", "reference_n": len(train)}
    spaces = [("pixels", lambda: (x, judge.data.x[train], judge.data.x[held_out]), dict.fromkeys(NAMED))]
    if judge.extractor.name != "pixels":
        named = measured.named(judge.extractor)
        spaces.append((judge.extractor.name, lambda: (features, judge.real("train"), judge.real("held_out")), named))
    found: list[Row] = []
    for space, arrays, named in spaces:
        samples, seen, unseen = arrays()
        if space == "pixels" and judge.settings.flip:  # it has learned the mirror images as well
            seen = np.concatenate([seen, seen[:, :, ::-1]])
        stage = f"Nearest training images by {space}"
        try:
            said = memory.memory(samples, seen, unseen, lambda done, total, stage=stage: progress(stage, done, total))
        except ValueError as error:
            found += [
                measured.row(metric, None, {**base, **named}, space=space, reason=str(error))
                for metric in ("memory_closer", "memory_copied")
            ]
            continue
        found += measured.memory(said, space, train, {**base, **named})
    return found


def _clear(judge: Judge, x: NDArray[np.uint8], labels: NDArray[np.int64] | None, base: Row) -> list[Row]:
    """How many images the reader of the data's own classes reads with confidence."""
    if judge.reader is None:
        return [measured.row("clear", None, base, reason=f"there is nothing to read: {judge.no_reader}")]
    base = {**base, **measured.named(judge.reader)}
    if not judge.reads_well:
        right = judge.reader.accuracy
        knows = (
            "it could not be checked" if right is None else f"it is right on {right:.0%} of the held-out images only"
        )
        return [measured.row("clear", None, base, reason=f"the reader of the classes cannot be trusted: {knows}")]
    return measured.clear(judge.reader.probabilities(x), judge.reader.classes, labels, base)


def _real(model: shards.Model, judge: Judge, metrics: Sequence[str], n: int) -> list[Row]:
    """Real images against real images: the floor that no model is expected to beat."""
    run = model.run
    base: Row = {"label": None, "seeds": None, "weights": None, "checkpoint": None}
    inside = {**base, **measured.named(judge.extractor)}
    found: list[Row] = []
    if {"fid", "kid", "prdc"} & {*metrics}:
        train, held_out = judge.real("train"), judge.real("held_out")
        seed = run.config.data.seed
        order = _order(judge, "train", model.labelled, seed, _TRAIN)
        few = min(n, len(train) // 2)  # as many as the model draws, so that the two compare
        pairs = [("train against train", "train", train[order[few:]], train[order[:few]])]
        if len(held_out):
            order = _order(judge, "held_out", model.labelled, seed, _HALVES)
            half = len(held_out) // 2
            pairs += [
                ("train against held_out", "train", train, held_out),
                ("held_out halves", "held_out", held_out[order[half:]], held_out[order[:half]]),
            ]
        for what, which, reference, instead in pairs:
            found += measured.between(reference, instead, metrics, {**inside, "real": what, "reference": which})
    if "clear" in metrics and len(judge.data.held_out) and judge.reads_well:
        held = judge.rows("held_out")
        labels = None if judge.data.labels is None else judge.data.labels[held]
        found += _clear(judge, judge.data.x[held], labels, {**base, "real": "held_out"})
    if found:
        _save(run, f"real-{judge.extractor.name}", found)
    return found


def _order(judge: Judge, which: str, evenly: bool, *key: int) -> NDArray[np.int64]:
    """A random order of the rows of a split; evenly: the classes in turn, as a model that is told them draws them.

    Even classes lie nearer to the whole than classes at random do, so a floor without them would be too high.
    """
    rows = judge.rows(which)
    order = permutation(len(rows), *key)
    if not evenly or judge.data.labels is None:
        return order
    labels = judge.data.labels[rows][order]
    turn = np.zeros(len(order), np.int64)
    for label in np.unique(labels):
        turn[labels == label] = np.arange(int((labels == label).sum()))
    return order[np.argsort(turn, kind="stable")]


def _bits(model: shards.Model, judge: Judge, progress: Progress) -> list[Row]:
    """Bits a dimension, on held-out and on training images: the bound of a table, or the flow of a formula."""
    found: list[Row] = []
    schedule, device = model.denoiser.schedule, next(model.denoiser.parameters()).device
    base: Row = {"real": None, "label": None, "seeds": None, "weights": model.weights, "checkpoint": model.step}
    for which in ("held_out", "train"):
        rows = judge.rows(which)
        if len(rows) < 2:
            found.append(measured.row("bits", None, {**base, "reference": which}, reason="no images were held out"))
            continue
        most = BITS_IMAGES if schedule.steps else FLOW_IMAGES
        rows = np.sort(rows[permutation(len(rows), _BITS)[:most]])
        clean = to_model(torch.from_numpy(judge.data.x[rows]).permute(0, 3, 1, 2)).to(device)
        told = None
        if model.labelled and judge.data.labels is not None:
            told = torch.from_numpy(judge.data.labels[rows]).to(device)
        generator = torch.Generator().manual_seed(0)
        stage = f"Bits of {which.replace('_', '-')} images"
        begun = time.perf_counter()
        common: dict[str, Any] = {
            "generator": generator,
            "cond": told,
            "batch": shards.SHARD,
            "progress": lambda done, total, stage=stage: progress(stage, done, total),
        }
        detail: dict[str, Any] = {"told_classes": told is not None}
        if schedule.steps:
            bound = likelihood.variational_bits(model.denoiser, clean, BITS_TIMES, **common)
            total, kind = bound.total, "variational bound"
            detail |= {
                "prior": float(bound.prior.mean()),
                "decoder": float(bound.decoder.mean()),
                "by_time": [round(float(v), 5) for v in bound.by_time],
                "variance": bound.variance,
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
    name = name.replace(":", "-").replace("=", "")
    run.save_evaluation(name, {"version": 1, "rows": measured.merged(run.evaluation(name), found)})

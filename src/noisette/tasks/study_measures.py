"""What a study measures beyond an evaluation: the forward process, the loss by t, a chain's bits, paths of noises.

Each measure gives numbers by the keys of noisette.tasks.study.NUMBERS, with standard errors where it has them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noisette.data.medium import Data
from noisette.data.spec import permutation
from noisette.diffusion import likelihood
from noisette.diffusion.denoisers import NetDenoiser
from noisette.diffusion.schedules import TableSchedule
from noisette.experiment import build, ways
from noisette.experiment.config import SampleConfig
from noisette.experiment.runs import Run
from noisette.tasks import interpolate, levels
from noisette.tasks.evaluate import BITS_IMAGES, BITS_TIMES
from noisette.tasks.generate import settings_in
from noisette.tasks.judge import Judge
from noisette.tasks.rows import CONFIDENT
from noisette.tasks.shards import SHARD
from noisette.tasks.trainer import BINS

FORWARD, LOSS_BY_T, CHAIN_BITS = "forward", "loss_by_t", "chain_bits"
MEASURES = (FORWARD, LOSS_BY_T, CHAIN_BITS)

NOISED, ROUNDS = 64, 3
"""Images that are noised step by step, and how often, to time it."""

PAIRS = 12
"""Paths that are walked: between seeds 0 and 1, 2 and 3, ..."""

_CHAIN = 0xC4A1  # sets this use of a seed apart from the others

Watch = Callable[[str, int, int], None]
"""Called with (what is being done, done, all); it may raise to break off."""


@dataclass
class Measured:
    """numbers by key; errors: their standard errors; series: lists by key."""

    numbers: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    series: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, key: str, values: NDArray[np.float64]) -> None:
        """The mean of independent values (N,), with its standard error."""
        self.numbers[key] = float(values.mean())
        if len(values) > 1:
            self.errors[key] = float(values.std(ddof=1) / len(values) ** 0.5)

    def told(self) -> dict[str, Any]:
        """For meta.json."""
        return {name: kept for name, kept in vars(self).items() if kept}


def whole(run: Run, model: NetDenoiser, data: Data, asked: Sequence[str], watch: Watch) -> Measured:
    """What there is to say of a run whatever the way to sample."""
    found = Measured()
    if FORWARD in asked and isinstance(model.schedule, TableSchedule):
        watch("The forward process", 0, 1)
        clean = run.shape.medium.encode(data.x[data.train[:NOISED]])
        found.numbers["forward_seconds"], _ = forward(model.schedule, clean)
    if LOSS_BY_T in asked:
        watch("Loss by t", 0, 1)
        _by_t(run, model, data, found)
    return found


def of_way(
    run: Run, model: NetDenoiser, data: Data, judge: Judge, way: str, asked: Sequence[str], watch: Watch
) -> Measured:
    """What there is to say of one way to sample."""
    found = Measured()
    if ways.is_path(way):
        _paths(run, model, judge, way, found, watch)
    elif CHAIN_BITS in asked:
        settings = settings_in(run.config, **ways.settings_of(way))
        if settings.sampler == "ddpm" and model.schedule.steps is not None:
            found.add("chain_bits", chain_bits(run, model, data, settings, watch))
    return found


# --- the forward process ------------------------------------------------------------------------------------------


def forward(schedule: TableSchedule, x: torch.Tensor) -> tuple[float, torch.Tensor]:
    """(seconds, x_T): images (N, C, H, W) taken to noise one step at a time (Ho et al. 2020, eq. 2), median of ROUNDS.

    In one step to any t (eq. 4) it would take the same for every T: this is the walk that its T counts.
    """
    generator = torch.Generator().manual_seed(0)
    taken, x_t = [], x
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        x_t = deque(schedule.walk(x, lambda x_t: torch.randn(x_t.shape, generator=generator)), maxlen=1).pop()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken)), x_t


# --- where the loss lies ------------------------------------------------------------------------------------------


def _by_t(run: Run, model: NetDenoiser, data: Data, found: Measured) -> None:
    """The loss on held-out images by thirds and by twentieths of t, in the objective's space and in the noise's."""
    told = build.conditional(run.config, run.shape)
    losses = levels.measure(model, build.objective(run.config, run.shape), data, told=told)
    judged = "held_out" if len(data.held_out) else "training"
    for kind, space in (("loss", losses.space), ("eps", "eps")):
        third, values = losses.third(), losses.losses[space][judged]
        for k, name in enumerate(levels.THIRDS):
            found.add(f"{kind}_{name}", values[third == k])
        middle, mean, _ = losses.by_level(space, judged)
        line: list[float | None] = [None] * BINS
        for t, value in zip(middle, mean, strict=True):
            line[int(t * BINS)] = float(value)
        found.series[f"{kind}_t"] = line
    for name, share in zip(levels.THIRDS, losses.shares(losses.space, judged), strict=True):
        found.numbers[f"share_{name}"] = float(share)


# --- bits of a chain ----------------------------------------------------------------------------------------------


def chain_bits(run: Run, model: NetDenoiser, data: Data, settings: SampleConfig, watch: Watch) -> NDArray[np.float64]:
    """Bits/dim (N,) of held-out images under the chain of ddpm's steps with its variance, x0 clipped as it draws."""
    rows = data.held_out if len(data.held_out) else data.train
    rows = np.sort(rows[permutation(len(rows), _CHAIN)[:BITS_IMAGES]])
    device = next(model.parameters()).device
    told = None
    if build.conditional(run.config, run.shape) and data.labels is not None:
        told = torch.from_numpy(data.labels[rows]).to(device)
    bound = likelihood.variational_bits(
        build.wrapped(model, settings, None, 0),
        run.shape.medium.encode(data.x[rows]).to(device),
        BITS_TIMES,
        generator=torch.Generator().manual_seed(_CHAIN),
        cond=told,
        batch=SHARD,
        steps=settings.steps,
        variance=settings.variance,
        progress=lambda done, total: watch("Bits of a chain", done, total),
    )
    return np.asarray(bound.total.numpy(), np.float64)


# --- paths between noises -----------------------------------------------------------------------------------------


def _paths(run: Run, model: NetDenoiser, judge: Judge, way: str, found: Measured, watch: Watch) -> None:
    """How evenly pictures change on the way from one noise to another, in the features that samples are judged by."""
    kind, count = way.partition(":")[0], ways.pictures(way)
    told, classes = build.conditional(run.config, run.shape), len(run.shape.classes)
    columns: dict[str, list[float]] = {}
    for k in range(PAIRS):
        watch(f"Paths by {kind}", k, PAIRS)
        label = k % classes if told else None
        path = interpolate.interpolate(
            model, run.config.sample, run.shape, (2 * k, 2 * k + 1), count, kind=kind, label=label
        )
        smooth = interpolate.smoothness(path, judge.extractor)
        row = {
            "smoothness": smooth.unevenness,
            "detour": smooth.detour,
            "jump": interpolate.sharpest(model, run.config.sample, run.shape, path, judge.extractor),
            "noise_norm": float(path.norm[count // 2]),
        }
        if judge.reads_well and judge.reader is not None:
            middle = path.x[count // 4 : -(count // 4) or None]
            row["clear_between"] = float((judge.reader.probabilities(middle).max(1) > CONFIDENT).mean())
        for key, value in row.items():
            columns.setdefault(key, []).append(value)
    for key, values in columns.items():
        found.add(key, np.array(values, np.float64))

"""What is wrong with a run's samples, measured against its own data, with likely causes and what to try."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisette.data import ImageData
from noisette.diffusion import samplers
from noisette.diffusion.denoisers import Denoiser, NetDenoiser, Prediction, Wrapper
from noisette.diffusion.schedules import Time, as_time
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import SampleConfig
from noisette.experiment.runs import Run
from noisette.metrics import memory
from noisette.metrics.symptoms import Symptom, Walk, absent, findings, symptoms
from noisette.nets.gan import Generator
from noisette.tasks import remedies
from noisette.tasks.generate import Progress, Samples, generate, labels_for, settings_of

WALKED = 8  # samples whose way from noise is watched
REAL = 1000  # training images that say what is usual
PRODUCTS = 2**34
"""Multiplications that the comparison with unseen images may cost: unseen images times training images times pixels."""


@dataclass(frozen=True)
class Finding:
    """Something wrong with the samples.

    key: exploding | black | constant | saturated | noisy | collapsed | copied. severity: "serious" | "slight", serious
    from twice the limit on. measured, and the range `expected` of real images in the same unit. words: what was found.
    causes, likely ones first; tries: commands and settings.
    """

    key: str
    severity: str
    measured: float
    expected: tuple[float, float]
    words: str
    causes: tuple[str, ...]
    tries: tuple[str, ...]


@dataclass(frozen=True)
class Diagnosis:
    """The findings on n samples made with `settings`, and every measurement, the healthy ones too."""

    findings: tuple[Finding, ...]
    symptoms: tuple[Symptom, ...]
    n: int
    settings: dict[str, Any]


def examine(
    run: Run,
    n: int = 64,
    *,
    seed: int = 0,
    weights: str = "ema",
    at: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Diagnosis:
    """Draws n samples and says what is wrong with them.

    Args:
        settings: keys of SampleConfig, as for generate; what is left out is as the run's settings say.

    Raises:
        UserError: n < 16; data that are gone, or fewer than 3 different training images; as generate.
    """
    if n < 16:
        raise UserError(f"fewer than 16 samples say little: give -n 64, not {n}")
    data = build.data(run)
    drawn, _ = generate(run, n, seed=seed, weights=weights, at=at, progress=progress, **settings)
    return diagnose(run, drawn, data)


def diagnose(run: Run, drawn: Samples, data: ImageData) -> Diagnosis:
    """What is wrong with these samples of a run, which learned from these data. Raises UserError as examine."""
    known = {key: drawn.settings[key] for key in SampleConfig.model_fields}
    settings = settings_of(run, **known)
    weights, step = drawn.settings["weights"], drawn.settings["checkpoint"]
    model, _ = build.trained(run, weights, step)
    walks = not isinstance(model, Generator)  # else there is no way from noise to watch
    train = data.x[data.train]
    usual = data.train[np.linspace(0, len(train) - 1, min(len(train), REAL)).astype(np.int64)]
    try:
        seen = np.concatenate([train, train[:, :, ::-1]]) if run.config.data.flip else train  # as it was taught
        near = memory.nearest(drawn.x, seen)
        others, rows, measure = _unseen(data, seen)
        judged = memory.judge(near, others, measure)
        found = symptoms(
            drawn.x,
            data.x[usual],
            walk(run, model, settings, drawn.seeds[:WALKED]) if walks else None,
            drawn.labels,
            None if data.labels is None else data.labels[usual],
            judged,
        )
    except ValueError as error:
        raise UserError(f"{run.path}: {error}") from None
    if data.labels is not None and rows is not None:
        labels = data.labels[data.train]
        read, unseen_read = (labels[n.index[:, 0] % len(train)] for n in (near, others))
        lost = absent(read, drawn.labels, unseen_read, data.labels[rows], data.classes)
        found += [lost] if lost else []
    left = model.schedule.terminal_signal if walks else 0.0
    case = remedies.Case(run, settings, weights, step, left, len(train))
    return Diagnosis(tuple(_finding(s, case) for s in findings(found)), tuple(found), len(drawn), drawn.settings)


def _finding(symptom: Symptom, case: remedies.Case) -> Finding:
    causes, tries = remedies.remedies(symptom.key, case)
    severity = "serious" if symptom.beyond >= 2 else "slight"
    return Finding(symptom.key, severity, symptom.measured, symptom.expected, symptom.words, causes, tries)


def _unseen(data: ImageData, train: NDArray[np.uint8]) -> tuple[memory.Nearest, NDArray[np.int64] | None, str]:
    """(the training images nearest to unseen ones, rows of those unseen, what they are): held-out ones if they do."""
    most = max(memory.FEWEST, PRODUCTS // max(train.size, 1))
    if len(data.held_out) >= memory.FEWEST:
        rows = data.held_out[np.linspace(0, len(data.held_out) - 1, min(most, len(data.held_out))).astype(np.int64)]
        return memory.nearest(data.x[rows], train), rows, "held_out"
    return memory.unseen(train, most=min(most, REAL)), None, "train"


# --- the way from noise -------------------------------------------------------------------------------------------


class _Watched(Wrapper):
    """A denoiser that keeps the largest estimate and the largest x that passed, before anything clips them."""

    def __init__(self, denoiser: Denoiser):
        super().__init__(denoiser)
        self.finite, self.reach, self.swell = True, 0.0, 0.0

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        prediction = self.denoiser(x_t, t, cond)
        alpha, sigma = (float(level.max()) for level in self.schedule.level(as_time(t)))
        size = float(x_t.double().square().mean().sqrt())
        far = float(torch.quantile(prediction.x0.detach().abs().flatten().double(), 0.999))
        self.finite &= math.isfinite(size) and math.isfinite(far)
        self.swell = max(self.swell, size / math.hypot(alpha, sigma))
        if alpha >= sigma:  # earlier, a net's smallest error in eps is a large one in x0, and does no harm
            self.reach = max(self.reach, far)
        return prediction


@torch.no_grad()
def walk(run: Run, model: NetDenoiser, settings: SampleConfig, seeds: list[int]) -> Walk:
    """A few samples on their way from noise: what the model believed in, and how large x grew."""
    device = next(model.parameters()).device
    told = labels_for(run, seeds, None)
    labels = None if told is None else torch.from_numpy(told).to(device)
    free = settings.model_copy(update={"clip": "none"})
    watched = _Watched(build.wrapped(model, free, labels, len(run.shape.classes)))
    denoiser = build.wrapped(watched, settings, None, 0)  # clips what was watched
    noise = samplers.SampleNoise(seeds, run.shape.x, device=device)
    ts = samplers.time_grid(model.schedule, settings.steps, settings.grid)
    x = samplers.start(model.schedule, noise, ts[0])
    for step in build.sampler(settings)(denoiser, x, ts, noise=noise):
        x = step.x
    finite = watched.finite and bool(torch.isfinite(x).all())
    return Walk(finite, watched.reach, max(watched.swell, float(x.double().square().mean().sqrt())))

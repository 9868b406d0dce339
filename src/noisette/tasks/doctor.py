"""What is wrong with a run's samples, measured against its own data, with likely causes and what to try."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisette.data.medium import Data, Stored
from noisette.diffusion import samplers
from noisette.diffusion.denoisers import Denoiser, NetDenoiser, Prediction, Wrapper
from noisette.diffusion.schedules import Time, as_time
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import SampleConfig
from noisette.experiment.runs import Run
from noisette.metrics import memory, motion_symptoms
from noisette.metrics.symptoms import Symptom, Walk, absent, exploding, findings, symptoms
from noisette.nets.gan import Generator
from noisette.tasks import remedies
from noisette.tasks.generate import Progress, Samples, generate, labels_for, settings_of
from noisette.tasks.judge import Judge
from noisette.tasks.motion import MotionJudge

WALKED = 8  # samples whose way from noise is watched
REAL = 1000  # training samples that say what is usual
FEW_PIECES = 16  # pieces from which on one sample of each says it
PRODUCTS = 2**34
"""Multiplications that the comparison with unseen samples may cost: unseen times training ones times their numbers."""


@dataclass(frozen=True)
class Finding:
    """Something wrong with the samples.

    key: exploding | black | constant | saturated | noisy | collapsed | copied; of clips exploding | broken | jittery |
    frozen | drifting | collapsed | copied. severity: "serious" | "slight", serious from twice the limit on. measured,
    and the range `expected` of real samples in the same unit. words: what was found. causes, likely ones first; tries:
    commands and settings.
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


def diagnose(run: Run, drawn: Samples, data: Data) -> Diagnosis:
    """What is wrong with these samples of a run, which learned from these data. Raises UserError as examine."""
    known = {key: drawn.settings[key] for key in SampleConfig.model_fields}
    settings = settings_of(run, **known)
    weights, step = drawn.settings["weights"], drawn.settings["checkpoint"]
    model, _ = build.trained(run, weights, step)
    walks = not isinstance(model, Generator)  # else there is no way from noise to watch
    judge = Judge.of(data, run.config.data)
    usual = _usual(judge)
    finite = bool(np.isfinite(drawn.x).all())
    try:
        walked = walk(run, model, settings, drawn.seeds[:WALKED]) if walks else None
        copies = _copies(judge, drawn.x) if finite else None
        real_labels = None if data.labels is None else data.labels[usual]
        told = data.x[usual], walked, drawn.labels, real_labels, None if copies is None else copies.judged
        found = _of_clips(judge, drawn.x, *told) if isinstance(judge, MotionJudge) else symptoms(drawn.x, *told)
    except ValueError as error:
        raise UserError(f"{run.path}: {error}") from None
    lost = None if copies is None else copies.absent(judge, drawn.labels)
    found += [lost] if lost else []
    left = model.schedule.terminal_signal if walks else 0.0
    takes = judge.groups(data.train)
    pieces = None if takes is None else len(np.unique(takes))
    case = remedies.Case(run, settings, weights, step, left, len(data.train), judge.what, pieces)
    ill = motion_symptoms.findings(found) if isinstance(judge, MotionJudge) else findings(found)
    return Diagnosis(tuple(_finding(s, case) for s in ill), tuple(found), len(drawn), drawn.settings)


def _usual(judge: Judge) -> NDArray[np.int64]:
    """Training rows that say what is usual, at most REAL; the middle one of each piece, as those of one are alike."""
    rows = judge.data.train
    middles = judge.middles(rows)
    rows = rows[middles] if len(middles) >= FEW_PIECES else rows
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), REAL)).astype(np.int64)]


def _of_clips(
    judge: MotionJudge,
    x: Stored,
    real: Stored,
    walked: Walk | None,
    labels: NDArray[np.int64] | None,
    real_labels: NDArray[np.int64] | None,
    judged: memory.Memory | None,
) -> list[Symptom]:
    """The symptoms of clips; of such as hold no numbers, that alone."""
    if walked is None or not np.isfinite(x).all():
        return [exploding(Walk(False, 0.0, 0.0), judge.what)]
    far = np.quantile(np.abs(judge.medium.encode(real).numpy()), 0.999)  # nothing bounds the values of clips
    walked = replace(walked, reach=walked.reach / max(float(far), 1e-9))
    way = exploding(walked, judge.what, "where 99.9 % of those of real clips lie within 1")
    return [way, *motion_symptoms.symptoms(x, real, judge.body, labels, real_labels, judged)]


def _finding(symptom: Symptom, case: remedies.Case) -> Finding:
    causes, tries = remedies.remedies(symptom.key, case)
    severity = "serious" if symptom.beyond >= 2 else "slight"
    return Finding(symptom.key, severity, symptom.measured, symptom.expected, symptom.words, causes, tries)


@dataclass(frozen=True)
class _Copies:
    """What the nearest training samples say; rows: of the data, those of the unseen ones, where they are held-out."""

    near: memory.Nearest
    others: memory.Nearest
    rows: NDArray[np.int64] | None
    judged: memory.Memory

    def absent(self, judge: Judge, told: NDArray[np.int64] | None) -> Symptom | None:
        """Whether classes are missing among samples of which these classes were asked for (N,), or none."""
        data = judge.data
        if data.labels is None or self.rows is None:
            return None
        labels = data.labels[data.train]
        read, unseen_read = (labels[n.index[:, 0] % len(labels)] for n in (self.near, self.others))
        return absent(read, told, unseen_read, data.labels[self.rows], data.classes, judge.what)


def _copies(judge: Judge, x: Stored) -> _Copies | None:
    """Samples and unseen ones (held-out ones, if they do) beside the training ones, mirrored ones where it was taught
    those. None where these are of too few pieces to compare the nearest with the next one. Raises ValueError for too
    few training samples."""
    data, held_out = judge.data, len(judge.data.held_out) >= memory.FEWEST
    seen = judge.comparable(judge.taught(data.x[data.train]))
    groups = judge.groups(np.resize(data.train, len(seen)))
    if groups is not None and len(np.unique(groups)) < (2 if held_out else 3):
        return None
    near = memory.nearest(judge.comparable(x), seen, groups=groups, what=judge.medium.one)
    most = max(memory.FEWEST, PRODUCTS // max(seen.size, 1))
    rows = None
    if held_out:
        rows = data.held_out[np.linspace(0, len(data.held_out) - 1, min(most, len(data.held_out))).astype(np.int64)]
        others = memory.nearest(judge.comparable(data.x[rows]), seen, groups=groups, what=judge.medium.one)
    else:
        others = memory.unseen(seen, most=min(most, REAL), groups=groups, what=judge.medium.one)
    measure = "train" if rows is None else "held_out"
    return _Copies(near, others, rows, memory.judge(near, others, measure, judge.what))


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

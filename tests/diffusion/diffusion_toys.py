"""What the diffusion tests share: the registries as parameter lists, and small exact problems in float64."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from noisette.diffusion.denoisers import Prediction
from noisette.diffusion.exact import Gaussian, Mixture
from noisette.diffusion.samplers import SAMPLERS, SampleNoise, Step
from noisette.diffusion.schedules import (
    CONTINUOUS,
    DISCRETE,
    SCHEDULES,
    NoiseSchedule,
    TerminalSignalWarning,
    make_schedule,
)

F64 = torch.float64
T_VALUES = (2, 3, 10, 300, 1000, 4000, 10_000)
TABLES = [(name, zero) for name in DISCRETE for zero in (False, True)]
EVERY = [*TABLES, *((name, False) for name in CONTINUOUS)]
assert {name for name, _ in EVERY} == set(SCHEDULES)


def quiet(name: str, T: int = 1000, zero_terminal_snr: bool = False, scaled: bool = True) -> NoiseSchedule:
    """A schedule without its warning about the terminal signal, which has tests of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TerminalSignalWarning)
        return make_schedule(name, T, scaled=scaled, zero_terminal_snr=zero_terminal_snr)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=F64)


def noise_for(x: Tensor, seed: int = 0) -> SampleNoise:
    return SampleNoise(range(seed, seed + len(x)), x.shape[1:], dtype=x.dtype)


def run(sampler: str, denoiser: object, x: Tensor, ts: list[float], seed: int = 0, **options: object) -> list[Step]:
    steps: Iterator[Step] = SAMPLERS[sampler](denoiser, x, ts, noise=noise_for(x, seed), **options)
    return list(steps)


def correlated_gaussian(schedule: NoiseSchedule) -> Gaussian:
    """Three correlated numbers, shaped (1, 3) as a one-channel signal."""
    root = torch.tensor([[0.6, 0.0, 0.0], [0.4, 0.3, 0.0], [-0.2, 0.25, 0.1]], dtype=F64)
    return Gaussian(torch.tensor([[0.5, -0.3, 0.1]], dtype=F64), root @ root.T, schedule)


def covariance(gaussian: Gaussian) -> Tensor:
    return (gaussian.axes * gaussian.variances) @ gaussian.axes.T


def two_bumps(schedule: NoiseSchedule) -> Mixture:
    means = torch.tensor([[-0.6, 0.2], [0.5, -0.4], [0.3, 0.7]], dtype=F64)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=F64)
    return Mixture(means, torch.tensor([0.3, 0.25, 0.2], dtype=F64), schedule, weights)


class Counted:
    """A denoiser that counts its calls and remembers the times."""

    def __init__(self, denoiser):
        self.denoiser, self.schedule, self.times = denoiser, denoiser.schedule, []

    def __call__(self, x_t: Tensor, t, cond: Tensor | None = None) -> Prediction:
        self.times.append(t)
        return self.denoiser(x_t, t, cond)


class Elementwise:
    """A smooth nonlinear x0 that treats every number alone, so that results do not depend on the batch at all."""

    def __init__(self, schedule: NoiseSchedule):
        self.schedule = schedule

    def __call__(self, x_t: Tensor, t, cond: Tensor | None = None) -> Prediction:
        alpha, sigma = self.schedule.level(t)
        return Prediction(x_t, torch.tanh(x_t / math.sqrt(float(alpha**2 + sigma**2))), alpha, sigma)

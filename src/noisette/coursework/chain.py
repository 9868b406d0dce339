"""A chain of T noise levels as courses count it, over the diffusion core. Every facade of this package holds one.

Courses number the steps t = 0..T-1; the core's time of that step is (t + 1)/T, and its net is told t. So alpha_bar[t]
is the core's alpha_bar((t + 1)/T), and there is no step for clean data, which the core has at time 0.
"""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from noisette.diffusion import denoisers, samplers
from noisette.diffusion.denoisers import NetDenoiser, Prediction, expand
from noisette.diffusion.objectives import Distance, Losses, Objective, UniformTimes, l2
from noisette.diffusion.schedules import NoiseSchedule, TableSchedule, make_schedule
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import Config, SampleConfig

EpsModel = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t) -> the noise in x_t; t (N,) int64 in 0..T-1."""


class Told(nn.Module):
    """A model called as model(x_t, t), seen as the core calls a backbone; t arrives as whole numbers."""

    def __init__(self, model: EpsModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.model(x, c_noise.round().long())


class Chain:
    """An eps model and a table of T levels: noising, losses and steps back, all of them the core's.

    Args:
        model: any (x_t, t) -> eps; 2C channels where it learns the variance.
        learn_variance: the second half of the channels says where the variance lies (Nichol & Dhariwal 2021, eq. 15).

    Attributes:
        denoiser: the model as the core's denoiser, for any sampler of noisette.diffusion.
        steps: T.
        beta, alpha, alpha_bar: (T,) float64: beta_t, 1 - beta_t and its running product (Ho et al. 2020, eq. 4).

    Raises:
        UserError: a schedule with no signal left at its last step, where noise says nothing about the data.
    """

    def __init__(self, model: EpsModel, schedule: TableSchedule, learn_variance: bool = False):
        with build.as_user_errors("schedule"):
            self.denoiser = NetDenoiser(Told(model), schedule, "eps", learn_variance=learn_variance)
        self.schedule, self.steps = schedule, len(schedule.betas)
        self.alpha_bar = schedule.alpha_bar(self.time(torch.arange(self.steps)))
        self.beta = schedule.betas
        self.alpha = 1 - self.beta

    # --- t ---

    def time(self, t: Tensor) -> Tensor:
        """The core's time of step t in 0..T-1: (t + 1)/T, float64 on the CPU. Raises UserError outside that range."""
        t = torch.as_tensor(t, device="cpu")
        if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
            raise UserError(f"t counts steps: it must hold whole numbers, not {t.dtype}")
        if t.numel() and not 0 <= int(t.min()) <= int(t.max()) < self.steps:
            raise UserError(f"t must lie in 0..{self.steps - 1}, it runs from {int(t.min())} to {int(t.max())}")
        return (t.double() + 1) / self.steps

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n steps, each of 0..T-1 equally likely, (n,) int64 on the CPU: the core's UniformTimes."""
        times, _ = UniformTimes().draw(n, self.schedule, generator or torch.default_generator)
        return (times * self.steps).round().long() - 1

    # --- forwards ---

    def level(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), shaped and typed to multiply x (N, ...)."""
        alpha, sigma = self.schedule.level(self.time(t))
        return expand(alpha, x), expand(sigma, x)

    def noised(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise (Ho et al. 2020, eq. 4)."""
        alpha, sigma = self.level(t, x0)
        return alpha * x0 + sigma * noise

    def losses(self, x0: Tensor, t: Tensor, noise: Tensor, distance: Distance = l2, vlb: float = 0.001) -> Losses:
        """The core's Objective in the space of eps, for every sample (Ho et al. 2020, eq. 14)."""
        return Objective("eps", distance, vlb=vlb)(self.denoiser, x0, self.time(t), noise)

    # --- backwards ---

    def predict(self, x_t: Tensor, t: Tensor) -> Prediction:
        """What the model says of x_t at steps t (N,)."""
        return self.denoiser(x_t, self.time(t))

    def back(self, x_t: Tensor, t: Tensor, noise: Tensor, variance: str = "small", clipped: bool = False) -> Tensor:
        """x_{t-1}, a step of the core's ddpm (Ho et al. 2020, algorithm 2); where t = 0 no noise is added.

        Args:
            x_t: (N, ...).
            t: (N,), or one step for all; samples may be at steps of their own.
            noise: N(0, I) in the shape of x_t.
            variance: small (beta~), large (beta) or learned.
            clipped: the estimate of x0 is clamped to [-1, 1] first.
        """
        self.time(t)
        denoiser = denoisers.clip(self.denoiser) if clipped else self.denoiser
        t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
        out = torch.empty_like(x_t)
        for step in t.unique().tolist():
            rows = t == step
            ts = [(step + 1) / self.steps, step / self.steps]
            out[rows] = next(samplers.ddpm(denoiser, x_t[rows], ts, noise=lambda z=noise[rows]: z, variance=variance)).x
        return out

    def walk(self, noise: samplers.Noise, **settings: Any) -> tuple[Tensor, Iterator[samplers.Step]]:
        """(x_T = N(0, I), the steps of a sampler from there to clean data).

        Args:
            noise: gives N(0, I) noise in the shape of the samples, where to start from first.
            settings: as in a run's [sample]: sampler, steps, grid, eta, variance, clip. By default ddpm in T steps.

        Raises:
            UserError: a setting that is unknown or out of range.
        """
        given = {"sampler": "ddpm", "steps": self.steps, **settings}
        wanted = Config().changed({f"sample.{key}": value for key, value in given.items()}, "sample").sample
        for name in ("guidance", "interval"):
            if getattr(wanted, name) != getattr(SampleConfig(), name):
                raise UserError(f"sample.{name}: this model is told no classes, and cannot be guided: leave it out")
        if wanted.variance == "learned" and not self.denoiser.learn_variance:
            raise UserError("sample.variance: this model has not learned a variance: use small or large")
        sampler = build.sampler(wanted)
        with build.as_user_errors("sample"):
            ts = samplers.time_grid(self.schedule, wanted.steps, wanted.grid)
        start = samplers.start(self.schedule, noise, ts[0])
        return start, sampler(build.wrapped(self.denoiser, wanted, None, 0), start, ts, noise=noise)


def whole(what: str, value: Any, low: int | None = None) -> int:
    """A whole number, of at least `low`; numpy's too. Raises UserError: 28.5 and 1000.0 are none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UserError(f"{what} must be a whole number, not {value!r}")
    if low is not None and value < low:
        raise UserError(f"{what} must be at least {low}, not {value}")
    return int(value)


# --- randomness, devices ------------------------------------------------------------------------------------------


def normal_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """N(0, I) in the shape, type and place of x; drawn on the CPU, so that a seed means the same on any device."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)


def sample_noise(
    n: int, shape: Sequence[int], seed: int | None, device: torch.device | str, first: Tensor | None = None
) -> samplers.Noise:
    """Noise for n samples of a shape (C, ...), sample k from seed + k; None takes a seed from torch's own generator.

    first: (n, *shape), given at the first call instead of what the seeds give.

    Raises:
        UserError: no samples, or `first` of another shape.
    """
    if whole("the number of samples", n) < 1:
        raise UserError(f"at least one sample must be asked for, got {n}")
    if first is not None and tuple(first.shape) != (n, *shape):
        raise UserError(f"the noise must have shape {(n, *shape)}, it has {tuple(first.shape)}")
    if seed is None:
        seed = int(torch.randint(2**31, ()))
    source = samplers.SampleNoise(range(seed, seed + n), shape, device=device)
    waiting = [] if first is None else [first.to(device, torch.float32)]

    def noise() -> Tensor:
        drawn = source()  # drawn even where other noise is given, so that what is added later stays the same
        return waiting.pop() if waiting else drawn

    return noise


@contextlib.contextmanager
def resting(model: object) -> Iterator[None]:
    """A net without dropout and the like inside, as it was afterwards."""
    learning = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    for module in learning:
        module.training = False
    try:
        yield
    finally:
        for module in learning:
            module.training = True


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Inside, torch's CPU generator starts from the seed, and afterwards is as it was before; None: nothing is done."""
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.random.default_generator.manual_seed(seed)
        yield


def schedule_of(schedule: str | NoiseSchedule, steps: int, scaled: bool) -> TableSchedule:
    """A discrete schedule by its name, or the one given, which must have that many steps. Raises UserError."""
    found, steps = schedule, whole("the number of steps T", steps)
    if isinstance(found, str):
        with build.as_user_errors("schedule"):
            found = make_schedule(found, steps, scaled=scaled)
    if not isinstance(found, NoiseSchedule):
        raise UserError(f"schedule must be the name of one, or a schedule, not {found!r}")
    if not isinstance(found, TableSchedule):
        raise UserError(f"the {found.name} schedule has no steps to count: use a discrete one, linear or cosine")
    if found.steps != steps:
        raise UserError(f"the schedule given has {found.steps} steps, not {steps}")
    return found

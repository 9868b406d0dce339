"""Objectives: how t is drawn, in which space and by which distance a prediction is judged, and with what weight.

An Objective gives a loss for every sample together with its t, so that a trainer can log where the model struggles.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from noisette.diffusion.denoisers import SPACES, Denoiser, Prediction, expand
from noisette.diffusion.samplers import posterior, reverse_log_variance
from noisette.diffusion.schedules import NoiseLevel, NoiseSchedule, Time, as_time
from noisette.diffusion.terms import Term, trust

Distance = Callable[[Tensor, Tensor], Tensor]
"""(prediction, target) of one shape -> a loss for every element, in that shape."""


def l1(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs()


def l2(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square()


def huber(x: Tensor, y: Tensor, delta: float = 1.0) -> Tensor:
    """Quadratic below delta, linear above."""
    return F.huber_loss(x, y, reduction="none", delta=delta)


def charbonnier(x: Tensor, y: Tensor, epsilon: float = 1e-3) -> Tensor:
    """sqrt((x - y)^2 + epsilon^2): l1 with a smooth bottom (Charbonnier et al. 1994)."""
    return ((x - y).square() + epsilon**2).sqrt()


DISTANCES: dict[str, Distance] = {"l1": l1, "l2": l2, "huber": huber, "charbonnier": charbonnier}

Weight = Callable[[Tensor, Tensor], Tensor]
"""(snr, space_factor) -> weight, both (N,) float64; space_factor turns an x0 loss into one in the objective's space."""


def uniform(snr: Tensor, factor: Tensor) -> Tensor:
    """Every t counts the same in the objective's own space ("simple" of Ho et al. 2020 where that is eps)."""
    return torch.ones_like(snr)


def snr_weight(snr: Tensor, factor: Tensor) -> Tensor:
    """SNR in x0 space, which is the plain eps loss whatever the space."""
    return snr / factor


def truncated_snr(snr: Tensor, factor: Tensor) -> Tensor:
    """max(SNR, 1) in x0 space (Salimans & Ho 2022, sec. 4)."""
    return snr.clamp(min=1) / factor


def min_snr(snr: Tensor, factor: Tensor, gamma: float = 5.0) -> Tensor:
    """min(SNR, gamma) in x0 space (Hang et al. 2023, sec. 3.4)."""
    return snr.clamp(max=gamma) / factor


def edm(snr: Tensor, factor: Tensor, sigma_data: float = 0.5) -> Tensor:
    """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2 in x0 space (Karras et al. 2022, table 1)."""
    return (1 / sigma_data**2 + snr) / factor


WEIGHTS: dict[str, Weight] = {
    "uniform": uniform,
    "min_snr": min_snr,
    "snr": snr_weight,
    "truncated_snr": truncated_snr,
    "edm": edm,
}


def space_factor(level: NoiseLevel, space: str) -> Tensor:
    """By how much a squared error in x0 grows when it is seen in another space, (N,) float64."""
    alpha, sigma = level
    ratio = alpha / sigma
    if space == "eps":
        return ratio**2
    if space == "v":  # v = alpha eps - sigma x0, and an x0 error moves eps by -alpha/sigma
        return (alpha * ratio + sigma) ** 2
    if space == "flow":
        return (ratio + 1) ** 2
    return torch.ones_like(alpha)


class Times(ABC):
    """How t is drawn: n times and the weight that keeps the expected loss unbiased. Most have no memory to keep."""

    @abstractmethod
    def draw(self, n: int, schedule: NoiseSchedule, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(t, weight), both (n,) float64; t lies where the schedule trains a net."""

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Told the unweighted losses, (N,), of these times, (N,)."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what state_dict gave."""


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64)


def _slices(n: int, generator: torch.Generator) -> Tensor:
    """One number in each of n equal slices of [0, 1), in random order."""
    return (torch.randperm(n, generator=generator) + _uniform(n, generator)) / n


def _spread(u: Tensor, schedule: NoiseSchedule) -> Tensor:
    """u in [0, 1) -> t: every i/T equally likely for a table, uniform over [t_min, 1] otherwise."""
    if schedule.steps is not None:
        return ((u * schedule.steps).floor().clamp(max=schedule.steps - 1) + 1) / schedule.steps
    return schedule.t_min + u * (1 - schedule.t_min)


class UniformTimes(Times):
    """t uniform, each sample on its own."""

    def draw(self, n: int, schedule: NoiseSchedule, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return _spread(_uniform(n, generator), schedule), torch.ones(n, dtype=torch.float64)


class StratifiedTimes(Times):
    """One t in each of n equal slices of [0, 1]: uniform, with less variance a batch (Kingma et al. 2021, app. I.1)."""

    def draw(self, n: int, schedule: NoiseSchedule, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return _spread(_slices(n, generator), schedule), torch.ones(n, dtype=torch.float64)


class LogitNormalTimes(Times):
    """t = sigmoid(mean + std * z): more of the middle levels (Esser et al. 2024, eq. 19).

    z is normal, one in each of n slices of equal probability, for less variance a batch.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        self.mean, self.std = mean, std

    def draw(self, n: int, schedule: NoiseSchedule, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        z = torch.special.ndtri(_slices(n, generator).clamp(min=1e-12))
        return schedule.snap(torch.sigmoid(self.mean + self.std * z)), torch.ones(n, dtype=torch.float64)


class ImportanceTimes(Times):
    """t in proportion to sqrt(E[L_t^2]) of the last losses (Nichol & Dhariwal 2021, eq. 18), in equal bins of t.

    Uniform until every bin has `history` losses. The weight 1 / (bins * p) keeps the expected loss as it was. A table
    with fewer points than bins gets one bin a point: a bin without any would keep the draw uniform for ever. It is
    the one way of drawing t that has a memory: save and load it with state_dict and load_state_dict.
    """

    def __init__(self, bins: int = 50, history: int = 10, floor: float = 1e-3):
        self.floor = floor
        self.losses = torch.zeros(bins, history, dtype=torch.float64)
        self.seen = torch.zeros(bins, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """(bins,) float64."""
        bins, history = self.losses.shape
        uniform = torch.full((bins,), 1 / bins, dtype=torch.float64)
        if not bool((self.seen >= history).all()):
            return uniform
        p = self.losses.square().mean(1).sqrt()
        return (1 - self.floor) * p / p.sum() + self.floor * uniform if p.sum() > 0 else uniform

    def draw(self, n: int, schedule: NoiseSchedule, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if schedule.steps is not None and schedule.steps < len(self.seen) and not bool(self.seen.any()):
            self.losses, self.seen = self.losses[: schedule.steps], self.seen[: schedule.steps]
        p = self.probabilities()
        bins = torch.multinomial(p, n, replacement=True, generator=generator)
        t = _spread((bins + _uniform(n, generator)) / len(p), schedule)
        return t, 1 / (len(p) * p[bins])

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Remembers the unweighted losses, (N,), of these times, (N,)."""
        bins, history = self.losses.shape
        # i/T on a bin's upper edge belongs to that bin, whatever the last digit of i/T * bins says
        where = (as_time(t) * bins - 1e-9).ceil().long().sub(1).clamp(0, bins - 1)
        for b, loss in zip(where.tolist(), losses.detach().double().tolist(), strict=True):
            self.losses[b, int(self.seen[b]) % history] = loss
            self.seen[b] += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"losses": self.losses.clone(), "seen": self.seen.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses, self.seen = state["losses"].clone(), state["seen"].clone()


TIMES: dict[str, Callable[[], Times]] = {
    "uniform": UniformTimes,
    "stratified": StratifiedTimes,
    "logit_normal": LogitNormalTimes,
    "importance": ImportanceTimes,
}


@dataclass(frozen=True)
class Losses:
    """Per-sample losses, (N,) each: `total` is what to minimise, `simple` its unweighted distance term, `vlb` the
    variational term in bits/dim (None without a learned variance), `t` the times they belong to, `terms` what each
    further term measured, by name, before its weight and without a gradient."""

    total: Tensor
    simple: Tensor
    vlb: Tensor | None
    t: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """weight(t) * mean over elements of distance(prediction, target) in a space, plus lambda * T * L_vlb, plus terms.

    Args:
        space: eps | x0 | v | flow.
        distance: per-element loss, one of DISTANCES or your own function.
        weight: one of WEIGHTS or your own function of (snr, space_factor).
        vlb: lambda of Nichol & Dhariwal 2021, eq. 16; it reaches the variance only, the mean is detached.
        terms: further losses of the estimate of x0, each times its weight and terms.trust(SNR).

    Raises:
        ValueError: an unknown space; a distance that does not keep the shape.
    """

    space: str = "v"
    distance: Distance = l2
    weight: Weight = uniform
    vlb: float = 0.001
    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ValueError(f"unknown space {self.space!r}; known: {', '.join(SPACES)}")

    def __call__(self, denoiser: Denoiser, x0: Tensor, t: Time, noise: Tensor, cond: Tensor | None = None) -> Losses:
        """Losses of these samples: x0 and noise (N, C, ...), t (N,) in (0, 1], cond (N,) labels or None."""
        t = as_time(t).expand(len(x0))
        level = denoiser.schedule.level(t)
        x_t = expand(level.alpha, x0) * x0 + expand(level.sigma, x0) * noise
        prediction = denoiser(x_t, t, cond)
        target = Prediction(x_t, x0, *level).view(self.space) if self.space != "eps" else noise
        elements = self.distance(prediction.view(self.space), target)
        if elements.shape != x0.shape:
            raise ValueError(
                f"the distance must give one loss for every element: expected shape {tuple(x0.shape)}, "
                f"got {tuple(elements.shape)}"
            )
        simple = elements.flatten(1).mean(1)
        factor = space_factor(level, self.space)
        snr = (level.alpha / level.sigma) ** 2
        # Where x_t is pure noise eps is known and its loss is 0: no weight, however large, must make it NaN.
        weight = torch.where(factor == 0, 0.0, self.weight(snr, factor))
        total = simple * weight.to(simple, non_blocking=simple.is_cuda)
        vlb = None
        if prediction.variance is not None:
            assert denoiser.schedule.steps is not None
            vlb = variational_term(denoiser.schedule, prediction.with_x0(prediction.x0.detach()), x0, t)
            total = total + self.vlb * denoiser.schedule.steps * vlb
        measured = {}
        for term in self.terms:
            value = term.measure(prediction.x0, x0)
            total = total + term.weight * trust(snr).to(value, non_blocking=value.is_cuda) * value
            measured[term.name] = value.detach()
        return Losses(total, simple, vlb, t, measured)


def variational_term(
    schedule: NoiseSchedule,
    prediction: Prediction,
    x0: Tensor,
    t: Tensor,
    variance: str = "learned",
    times: Tensor | None = None,
) -> Tensor:
    """L_{t-1} of the variational bound (Ho et al. 2020, eq. 5), (N,) in bits/dim.

    For i > 1 it is KL(q(x_{i-1} | x_i, x0) || p(x_{i-1} | x_i)); for i = 1 the negative log-likelihood of the 8-bit
    pixel under a discretised Gaussian (eq. 13). Their sum over i plus `prior_term` bounds -log p(x0).

    Args:
        schedule: a discrete schedule.
        prediction: at x_t, (N, C, ...).
        x0: the clean data in [-1, 1].
        t: (N,) of i/T.
        variance: small | large | learned, the model's reverse variance.
        times: (K + 1,) the rising times of a chain that takes K steps, from 0 to 1, with t among them; None for i/T.
    """
    if schedule.steps is None:
        raise ValueError(f"the variational bound needs a discrete schedule, {schedule.name} is continuous")
    if times is None:
        s = (t - 1 / schedule.steps).clamp(min=0)
        s, first = torch.where(s < 0.5 / schedule.steps, torch.zeros_like(s), s), None
    else:
        place = torch.searchsorted(times, t - 0.5 / schedule.steps)
        s, first = times[(place - 1).clamp(min=0)], (times[min(2, len(times) - 1)], times[1])
    q = posterior(schedule, t, s)
    mean = expand(q.of_x_t, x0) * prediction.x_t + expand(q.of_x0, x0) * prediction.x0
    miss = expand(q.of_x0, x0) * (x0 - prediction.x0)  # the true mean minus this one, without cancellation
    log_var = reverse_log_variance(schedule, prediction, t, s, variance, first=first)
    true_log_var = expand(reverse_log_variance(schedule, prediction, t, s, "small", True, first), x0)
    kl = 0.5 * (log_var - true_log_var + torch.exp(true_log_var - log_var) - 1)
    kl = kl + 0.5 * miss.square() * torch.exp(-log_var)
    decoder = -discretised_gaussian_log_likelihood(x0, mean, 0.5 * log_var)
    nats = torch.where(expand(s, x0) == 0, decoder, kl)
    return nats.flatten(1).mean(1) / math.log(2)


def prior_term(schedule: NoiseSchedule, x0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x0) || N(0, I)), (N,) in bits/dim (Ho et al. 2020, eq. 5)."""
    alpha, sigma = schedule.level(1.0)
    mean2 = (float(alpha) * x0).square()
    nats = 0.5 * (mean2 + float(sigma) ** 2 - 1 - 2 * math.log(float(sigma)))
    return nats.flatten(1).mean(1) / math.log(2)


def discretised_gaussian_log_likelihood(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log of the probability that N(mean, std^2) gives the 8-bit level of x (Ho et al. 2020, eq. 13), elementwise.

    x lies in [-1, 1] in steps of 2/255; the outermost levels reach to infinity.
    """
    inverse = torch.exp(-log_std)
    above, below = (x - mean + 1 / 255) * inverse, (x - mean - 1 / 255) * inverse
    # Both tails are read on the side where the cdf is small: near 1, float32 has no digits left for a difference.
    flip = torch.where(above + below > 0, -1.0, 1.0)
    inside = (torch.special.ndtr(flip * above) - torch.special.ndtr(flip * below)).abs()
    inside = torch.where(x > 0.999, torch.special.ndtr(-below), inside)
    inside = torch.where(x < -0.999, torch.special.ndtr(above), inside)
    return inside.clamp(min=1e-12).log()

"""Samplers: walk x from noise to data along a list of times.

A sampler is a generator, sampler(denoiser, x, ts, *, noise, ...) -> Iterator[Step]: it takes x at ts[0] down to
ts[-1] and yields after every step, so that a trajectory, a progress bar, a stream and early stop need no code of
their own. `ts` comes from time_grid and ends in 0, where every sampler is clean; any falling list will do.
`noise` is a function without arguments that gives fresh N(0, I) noise in the shape of x: see SampleNoise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from noisette.diffusion.denoisers import Denoiser, Prediction, expand
from noisette.diffusion.schedules import NoiseSchedule, Time

Noise = Callable[[], Tensor]

VARIANCES = ("small", "large", "learned")


class Step(NamedTuple):
    """One step of a sampler.

    i: 0, 1, ... ; t: the time that x has now; x: (N, C, ...); prediction: what the denoiser said last, at the time
    before. prediction.x0 of each step shows what the model thinks the picture will be.
    """

    i: int
    t: float
    x: Tensor
    prediction: Prediction


class Sampler(Protocol):
    def __call__(self, denoiser: Denoiser, x: Tensor, ts: Sequence[float], *, noise: Noise) -> Iterator[Step]: ...


class SampleNoise:
    """Fresh noise for a batch in which sample k depends on seeds[k] alone, on any device.

    Args:
        seeds: one integer a sample.
        shape: one sample's shape, (C, ...).
        dtype, device: of the result; the numbers are always drawn in float32 on the CPU.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        self.shape, self.dtype, self.device = tuple(shape), dtype, device
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self) -> Tensor:
        rows = [torch.randn(self.shape, generator=generator) for generator in self.generators]
        return torch.stack(rows).to(self.device, self.dtype)


def start(schedule: NoiseSchedule, noise: Noise, t: float = 1.0) -> Tensor:
    """x at the noisiest time: sigma(t) * N(0, I)."""
    return float(schedule.sigma(t)) * noise()


# --- time grids ---------------------------------------------------------------------------------------------------

GRIDS = ("trailing", "leading", "linspace", "log_snr", "karras")
LOG_SNR_FLOOR = -10.0  # below it alpha is under 0.7 %: steps there would be spent on nothing


def time_grid(schedule: NoiseSchedule, steps: int, kind: str = "trailing", rho: float = 7.0) -> list[float]:
    """steps + 1 falling times, the last one 0; the i/T of a table where the kind is defined on indices.

    * trailing: from the last index down in equal strides (Lin et al. 2023, table 2).
    * leading: equal strides from index 1 up; it does not start at T (as in DDIM's code).
    * linspace: evenly from T to 1.
    * log_snr: evenly in log-SNR (Lu et al. 2022, sec. 3.4).
    * karras: evenly in (sigma/alpha)^(1/rho) (Karras et al. 2022, eq. 5).

    Raises:
        ValueError: an unknown kind, steps < 1, or more steps than the table has.
    """
    if kind not in GRIDS:
        raise ValueError(f"unknown time grid {kind!r}; known: {', '.join(GRIDS)}")
    if steps < 1:
        raise ValueError(f"a sampler needs at least 1 step, got {steps}")
    if kind in ("log_snr", "karras"):
        return [*_by_noise(schedule, steps, kind, rho), 0.0]
    T = schedule.steps
    if T is not None and steps > T:
        raise ValueError(f"{steps} steps are more than the schedule's T={T}: ask for at most {T}")
    k = torch.arange(steps, dtype=torch.float64)
    if T is None:
        span = 1 - schedule.t_min
        if kind == "trailing":
            ts = 1 - span * k / steps
        elif kind == "leading":
            ts = schedule.t_min + span * (1 - (k + 1) / steps)
        else:
            ts = 1 - span * k / max(steps - 1, 1)
        return [*ts.tolist(), 0.0]
    if kind == "trailing":
        index = torch.round(T - k * (T / steps))
    elif kind == "leading":
        index = (steps - 1 - k) * (T // steps) + 1
    else:
        index = torch.linspace(T - 1, 0, steps, dtype=torch.float64).round() + 1
    return [*(index / T).tolist(), 0.0]


def _by_noise(schedule: NoiseSchedule, steps: int, kind: str, rho: float) -> list[float]:
    low = float(schedule.log_snr(1.0))
    if not schedule.variance_exploding:
        low = max(low, LOG_SNR_FLOOR)
    high = float(schedule.log_snr(schedule.t_min))
    share = torch.linspace(0, 1, steps, dtype=torch.float64)
    if kind == "log_snr":
        log_snr = low + share * (high - low)
    else:
        largest, smallest = math.exp(-low / 2 / rho), math.exp(-high / 2 / rho)
        log_snr = -2 * rho * (largest + share * (smallest - largest)).log()
    ts = schedule.t_of_log_snr(log_snr)
    ts[0] = 1.0
    return [float(t) for t in ts]


# --- one step's arithmetic ----------------------------------------------------------------------------------------


class Posterior(NamedTuple):
    """q(x_s | x_t, x0) = N(of_x_t * x_t + of_x0 * x0, small); `large` is the variance of q(x_t | x_s). float64."""

    of_x_t: Tensor
    of_x0: Tensor
    small: Tensor
    large: Tensor


def posterior(schedule: NoiseSchedule, t: Time, s: Time) -> Posterior:
    """The Gaussian q(x_s | x_t, x0) for s < t (Ho et al. 2020, eq. 6-7; Kingma et al. 2021, eq. 25 for any pair).

    On neighbouring table points `large` is beta and `small` the posterior beta; on a coarser grid they are those of
    the respaced chain.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.level(t), schedule.level(s)
    ratio = alpha_t / alpha_s
    large = (sigma_t**2 - ratio**2 * sigma_s**2).clamp(min=0)
    return Posterior(
        of_x_t=ratio * sigma_s**2 / sigma_t**2,
        of_x0=alpha_s * large / sigma_t**2,
        small=large * sigma_s**2 / sigma_t**2,
        large=large,
    )


def reverse_log_variance(
    schedule: NoiseSchedule,
    prediction: Prediction,
    t: Time,
    s: Time,
    variance: str,
    per_sample: bool = False,
    first: tuple[Time, Time] | None = None,
) -> Tensor:
    """log of the model's variance of x_s given x_t, shaped to broadcast against x (a plain (N,) with per_sample).

    small | large | learned; learned mixes the two in log space (Nichol & Dhariwal 2021, eq. 15). The posterior
    variance is 0 at the last step: its log is taken one step earlier there, as in their sec. 3.1. `first` is that
    step's (t, s) on a grid that does not take every step of the table.
    """
    if variance not in VARIANCES:
        raise ValueError(f"unknown variance {variance!r}; known: {', '.join(VARIANCES)}")
    q = posterior(schedule, t, s)
    if first is None:
        least = schedule.snap(schedule.t_min)
        first = (2 * least).clamp(max=1), least
    clipped = torch.where(q.small > 0, q.small, posterior(schedule, *first).small)
    small, large = clipped.log(), q.large.log()
    if variance == "learned":
        if prediction.variance is None:
            raise ValueError("this model has not learned a variance: use small or large")
        x = prediction.x_t
        share = prediction.variance
        return share * expand(large, x) + (1 - share) * expand(small, x)
    chosen = small if variance == "small" else large
    return chosen if per_sample else expand(chosen, prediction.x_t)


# --- samplers -----------------------------------------------------------------------------------------------------


def _pairs(ts: Sequence[float]) -> Iterator[tuple[int, float, float]]:
    if len(ts) < 2 or ts[0] > 1 or ts[-1] < 0 or any(t <= s for t, s in itertools.pairwise(ts)):
        raise ValueError("the times of a sampler must fall, from at most 1 to at least 0")
    for i, (t, s) in enumerate(itertools.pairwise(ts)):
        yield i, float(t), float(s)


@torch.no_grad()
def ddpm(
    denoiser: Denoiser, x: Tensor, ts: Sequence[float], *, noise: Noise, variance: str = "small"
) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), on any grid; variance small | large | learned.

    The last step adds no noise.
    """
    schedule = denoiser.schedule
    for i, t, s in _pairs(ts):
        prediction = denoiser(x, t)
        q = posterior(schedule, t, s)
        x = float(q.of_x_t) * x + float(q.of_x0) * prediction.x0
        log_variance = reverse_log_variance(schedule, prediction, t, s, variance)
        if s > 0:
            x = x + torch.exp(0.5 * log_variance) * noise()
        yield Step(i, s, x, prediction)


@torch.no_grad()
def ddim(denoiser: Denoiser, x: Tensor, ts: Sequence[float], *, noise: Noise, eta: float = 0.0) -> Iterator[Step]:
    """DDIM (Song et al. 2021, eq. 12): deterministic at eta = 0, ddpm with the small variance at eta = 1."""
    if eta < 0:
        raise ValueError(f"eta must be 0 or more, got {eta:g}")
    schedule = denoiser.schedule
    for i, t, s in _pairs(ts):
        prediction = denoiser(x, t)
        alpha_s, sigma_s = (float(value) for value in schedule.level(s))
        added = eta * float(posterior(schedule, t, s).small) ** 0.5
        x = alpha_s * prediction.x0 + math.sqrt(max(sigma_s**2 - added**2, 0)) * prediction.eps
        if added > 0:
            x = x + added * noise()
        yield Step(i, s, x, prediction)


def _churned(schedule: NoiseSchedule, x: Tensor, t: float, share: float, noise: Noise) -> tuple[Tensor, float]:
    """x moved up to the time at which sigma/alpha is (1 + share) times as large (Karras et al. 2022, alg. 2)."""
    alpha, sigma = (float(value) for value in schedule.level(t))
    if share == 0 or alpha == 0:
        return x, t
    target = -2 * math.log(sigma / alpha * (1 + share))
    up = float(schedule.t_of_log_snr(target))
    alpha_up, sigma_up = (float(value) for value in schedule.level(up))
    added = max(sigma_up**2 - (alpha_up / alpha * sigma) ** 2, 0)
    return alpha_up / alpha * x + math.sqrt(added) * noise(), max(up, t)


@torch.no_grad()
def euler(denoiser: Denoiser, x: Tensor, ts: Sequence[float], *, noise: Noise, churn: float = 0.0) -> Iterator[Step]:
    """Euler's method on the probability-flow ODE in sigma/alpha (Karras et al. 2022, algorithm 2 without correction).

    With churn > 0 each step first adds noise, S_churn there: sigma grows by min(churn / steps, sqrt(2) - 1).
    """
    yield from _edm(denoiser, x, ts, noise, churn, second_order=False)


@torch.no_grad()
def heun(denoiser: Denoiser, x: Tensor, ts: Sequence[float], *, noise: Noise, churn: float = 0.0) -> Iterator[Step]:
    """Heun's method (Karras et al. 2022, algorithm 2): second order, two network calls a step, one in the last.

    It runs in the paper's sigma/alpha where signal dominates. Where noise dominates it runs in alpha/sigma: their
    step grows without bound as alpha goes to 0 (a cosine table ends at sigma/alpha = 20,000), this one does not.
    """
    yield from _edm(denoiser, x, ts, noise, churn, second_order=True)


def _edm(
    denoiser: Denoiser, x: Tensor, ts: Sequence[float], noise: Noise, churn: float, second_order: bool
) -> Iterator[Step]:
    if churn < 0:
        raise ValueError(f"churn must be 0 or more, got {churn:g}")
    schedule = denoiser.schedule
    share = min(churn / max(len(ts) - 1, 1), math.sqrt(2) - 1)
    for i, t, s in _pairs(ts):
        x, t = _churned(schedule, x, t, share, noise)
        prediction = denoiser(x, t)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (map(float, schedule.level(time)) for time in (t, s))
        eps = prediction.eps
        end = alpha_s * prediction.x0 + sigma_s * eps  # Euler in sigma/alpha is the deterministic DDIM step
        if second_order and sigma_s > 0:
            there = denoiser(end, s)
            if alpha_t * alpha_s < sigma_t * sigma_s:
                slope = 0.5 * (prediction.x0 + there.x0)  # of x/sigma along alpha/sigma
                end = sigma_s / sigma_t * x + (alpha_s - alpha_t * sigma_s / sigma_t) * slope
            else:
                slope = 0.5 * (eps + there.eps)  # of x/alpha along sigma/alpha
                end = alpha_s / alpha_t * x + (sigma_s - sigma_t * alpha_s / alpha_t) * slope
        x = end
        yield Step(i, s, x, prediction)


class _Extrapolated:
    """x0 at the middle of a step, in log-SNR, from its estimates at this step's beginning and the last one's.

    The multistep rule of DPM-Solver++(2M); the first step and the one to sigma = 0 take the estimate as it is.
    """

    def __init__(self, schedule: NoiseSchedule):
        self.schedule = schedule
        self.before: tuple[Tensor, float] | None = None  # the previous x0 and the log-SNR/2 span of its step

    def __call__(self, x0: Tensor, t: float, s: float) -> Tensor:
        span = 0.5 * float(self.schedule.log_snr(s) - self.schedule.log_snr(t))
        middle = x0
        if self.before is not None and s > 0:
            ratio = span / (2 * self.before[1])
            middle = (1 + ratio) * x0 - ratio * self.before[0]
        self.before = (x0, span)
        return middle


@torch.no_grad()
def dpmpp_2m(denoiser: Denoiser, x: Tensor, ts: Sequence[float], *, noise: Noise) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2): second order with one network call a step.

    The first step and the last (to sigma = 0) are of first order.
    """
    schedule = denoiser.schedule
    middle = _Extrapolated(schedule)
    for i, t, s in _pairs(ts):
        prediction = denoiser(x, t)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (map(float, schedule.level(time)) for time in (t, s))
        # sigma_s/sigma_t x - alpha_s (exp(-span) - 1) x0, written so that an infinite span is finite
        x = sigma_s / sigma_t * x + (alpha_s - alpha_t * sigma_s / sigma_t) * middle(prediction.x0, t, s)
        yield Step(i, s, x, prediction)


@torch.no_grad()
def dpmpp_2m_sde(denoiser: Denoiser, x: Tensor, ts: Sequence[float], *, noise: Noise) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022b, sec. 5 and appendix): dpmpp_2m for the process that ddpm walks.

    An ancestral step with the small variance solves the reverse SDE exactly where x0 stays the same; here x0 is taken
    at the step's middle instead of its beginning.
    """
    schedule = denoiser.schedule
    middle = _Extrapolated(schedule)
    for i, t, s in _pairs(ts):
        prediction = denoiser(x, t)
        q = posterior(schedule, t, s)
        x = float(q.of_x_t) * x + float(q.of_x0) * middle(prediction.x0, t, s)
        if s > 0:
            x = x + float(q.small) ** 0.5 * noise()
        yield Step(i, s, x, prediction)


SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "euler": euler,
}


def network_calls(sampler: str, steps: int) -> int:
    """NFE: how often the net is called for one sample, without guidance."""
    return 2 * steps - 1 if sampler == "heun" else steps


def adds_noise(sampler: str, eta: float = 0.0) -> bool:
    """Whether it draws noise on its way; without, samples are a function of where they start."""
    return sampler in ("ddpm", "dpmpp_2m_sde") or (sampler == "ddim" and eta > 0)


__all__ = [
    "GRIDS",
    "SAMPLERS",
    "VARIANCES",
    "Noise",
    "Posterior",
    "SampleNoise",
    "Sampler",
    "Step",
    "adds_noise",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "euler",
    "heun",
    "network_calls",
    "posterior",
    "reverse_log_variance",
    "start",
    "time_grid",
]

"""Noise schedules: how much signal and how much noise is left at time t.

Every schedule is a map from t in [0, 1] to a noise level (alpha, sigma) with

    x_t = alpha(t) * x0 + sigma(t) * eps,     eps ~ N(0, I),

where t = 0 is clean data, exactly, and t = 1 is the noisiest level. All arithmetic is float64 on the CPU:
a schedule is asked for a handful of numbers a step, and float32 loses the small betas of a long chain.

A discrete schedule is a table of T levels at t = i/T, i = 1..T, with betas as in DDPM (Ho et al. 2020, eq. 4):
alpha_bar_i = prod_{j<=i} (1 - beta_j), alpha = sqrt(alpha_bar), sigma = sqrt(1 - alpha_bar). A continuous one is
a formula. Samplers, objectives and denoisers see no difference.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Time = float | Tensor
"""A time in [0, 1], or a tensor of them."""

T_MIN, T_MAX = 2, 10_000
MAX_BETA = 0.999  # Nichol & Dhariwal 2021, sec. 3.2: a beta of 1 would divide by zero in the posterior
MAX_TERMINAL_SIGNAL = 0.01


class TerminalSignalWarning(UserWarning):
    """The schedule's last level still holds visible signal, so sampling from pure noise does not match training."""


class NoiseLevel(NamedTuple):
    """Signal and noise amplitude at a time: x_t = alpha * x0 + sigma * eps. Both float64, the shape of t."""

    alpha: Tensor
    sigma: Tensor


def as_time(t: Time) -> Tensor:
    """t as a float64 CPU tensor. Raises ValueError outside [0, 1]."""
    t = torch.as_tensor(t, dtype=torch.float64, device="cpu")
    if t.numel() and not bool(((t >= 0) & (t <= 1)).all()):
        raise ValueError(f"a time must lie in [0, 1], got values from {float(t.min()):g} to {float(t.max()):g}")
    return t


class NoiseSchedule(ABC):
    """t in [0, 1] -> NoiseLevel(alpha, sigma), and all that follows from it.

    Attributes:
        name: what errors and reports call it.
        steps: T of a discrete table, None for a continuous schedule.
        t_min: the smallest time worth training on or stepping to before 0 (1/T for a table).
        variance_exploding: alpha stays 1 and sigma grows far beyond it, so that a net needs its input scaled.
    """

    name: str
    steps: int | None = None
    t_min: float = 1e-3
    variance_exploding: bool = False

    @abstractmethod
    def level(self, t: Time) -> NoiseLevel:
        """Signal and noise amplitude at t (float64, the shape of t). Raises ValueError outside [0, 1]."""

    @abstractmethod
    def t_of_log_snr(self, log_snr: Time) -> Tensor:
        """The time at which log-SNR has this value; values beyond the schedule's range give its nearest end."""

    def alpha(self, t: Time) -> Tensor:
        return self.level(t).alpha

    def sigma(self, t: Time) -> Tensor:
        return self.level(t).sigma

    def alpha_bar(self, t: Time) -> Tensor:
        """Share of signal in the power, alpha^2 / (alpha^2 + sigma^2): DDPM's alpha_bar, for any schedule."""
        alpha, sigma = self.level(t)
        return alpha**2 / (alpha**2 + sigma**2)

    def snr(self, t: Time) -> Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2 (Kingma et al. 2021, eq. 2); infinite at t = 0."""
        alpha, sigma = self.level(t)
        return alpha**2 / sigma**2

    def log_snr(self, t: Time) -> Tensor:
        """log(alpha^2 / sigma^2) in nats; +inf at t = 0, -inf at t = 1 where the terminal SNR is zero."""
        alpha, sigma = self.level(t)
        return 2 * (alpha.log() - sigma.log())

    def c_noise(self, t: Time) -> Tensor:
        """What the net is told of the time: i - 1 in 0..T-1 on a table's i/T, 1000 * t for a continuous schedule."""
        return as_time(t) * 1000

    def snap(self, t: Time) -> Tensor:
        """The nearest trained time at or above t: the next i/T of a table, at least t_min otherwise."""
        return as_time(t).clamp(min=self.t_min)

    @property
    def terminal_signal(self) -> float:
        """sqrt(alpha_bar(1)): the share of x_T's amplitude that is still data. Noise means below about 0.01."""
        return float(self.alpha_bar(1.0).sqrt())

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether x at t = 1 holds no signal at all (then eps says nothing about x0 there)."""
        return self.terminal_signal == 0.0

    def __repr__(self) -> str:
        return f"{self.name}(T={self.steps})" if self.steps else f"{self.name}()"


class TableSchedule(NoiseSchedule):
    """A discrete schedule given by its betas.

    Between two table points alpha_bar is linear in t, so that any t is a valid time (second-order samplers and
    log-SNR grids need it) and the table's own points are exact.

    Args:
        betas: (T,) in (0, 1], float64; a last beta of 1 is a zero terminal SNR.
        name: for messages.
        zero_terminal_snr: rescale sqrt(alpha_bar) so that its last value is 0 and its first is kept
            (Lin et al. 2023, algorithm 1).

    Raises:
        ValueError: T outside 2..10,000, or a beta outside (0, 1].
    """

    def __init__(self, betas: Tensor, name: str = "table", zero_terminal_snr: bool = False):
        betas = betas.to(torch.float64)
        self.name = name
        self.steps = check_steps(len(betas))
        self.t_min = 1 / self.steps
        if not bool(((betas > 0) & (betas <= 1)).all()):
            raise ValueError(f"{name}: every beta must lie in (0, 1]")
        # log1p/expm1 keep sigma^2 of the first steps exact to the last digit; 1 - cumprod would not.
        log_alpha_bar = torch.log1p(-betas).cumsum(0)
        alpha_bar, sigma2 = log_alpha_bar.exp(), -torch.expm1(log_alpha_bar)
        if zero_terminal_snr:
            root = alpha_bar.sqrt()
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            alpha_bar, sigma2 = root**2, torch.cat([sigma2[:1], 1 - root[1:] ** 2])
        self._alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar])
        self._sigma2 = torch.cat([torch.zeros(1, dtype=torch.float64), sigma2])

    @property
    def betas(self) -> Tensor:
        """(T,) float64: 1 - alpha_bar_i / alpha_bar_{i-1}."""
        return 1 - self._alpha_bar[1:] / self._alpha_bar[:-1]

    def walk(self, x0: Tensor, noise: Callable[[Tensor], Tensor] = torch.randn_like) -> Iterator[Tensor]:
        """x_1, ..., x_T, noise added step by step: x_i ~ N(sqrt(1 - beta_i) x_{i-1}, beta_i I) (Ho et al. 2020, eq. 2).

        x0: any shape; noise: gives N(0, I) like the tensor that it is given.
        """
        x_t = x0
        for beta in self.betas.tolist():
            x_t = (1 - beta) ** 0.5 * x_t + beta**0.5 * noise(x_t)
            yield x_t

    def _position(self, t: Time) -> Tensor:
        assert self.steps is not None
        position = as_time(t) * self.steps
        nearest = position.round()
        # (i/T)*T is not always i; a tensor of float32 or less is off by its own rounding more.
        coarse = isinstance(t, Tensor) and t.dtype != torch.float64
        slack = torch.finfo(torch.float32).eps * self.steps if coarse else 1e-9
        return torch.where((position - nearest).abs() < slack, nearest, position)

    def level(self, t: Time) -> NoiseLevel:
        position = self._position(t)
        low = position.floor().long()
        high = position.ceil().long()
        share = position - low
        alpha_bar = torch.lerp(self._alpha_bar[low], self._alpha_bar[high], share)
        sigma2 = torch.lerp(self._sigma2[low], self._sigma2[high], share)
        return NoiseLevel(alpha_bar.sqrt(), sigma2.sqrt())

    def t_of_log_snr(self, log_snr: Time) -> Tensor:
        assert self.steps is not None
        log_snr = torch.as_tensor(log_snr, dtype=torch.float64)
        alpha_bar, sigma2 = torch.sigmoid(log_snr), torch.sigmoid(-log_snr)
        # Each half reads the table in which its numbers are small, where float64 keeps their digits.
        by_sigma = _inverse(self._sigma2, sigma2)
        by_alpha = self.steps - _inverse(self._alpha_bar.flip(0), alpha_bar)
        return torch.where(log_snr > 0, by_sigma, by_alpha) / self.steps

    def c_noise(self, t: Time) -> Tensor:
        return self._position(t) - 1

    def snap(self, t: Time) -> Tensor:
        assert self.steps is not None
        return self._position(t).ceil().clamp(min=1) / self.steps


def _inverse(table: Tensor, value: Tensor) -> Tensor:
    """Positions (fractional indices) at which an increasing piecewise-linear table takes these values."""
    high = torch.searchsorted(table, value.contiguous()).clamp(1, len(table) - 1)
    left, right = table[high - 1], table[high]
    return high - 1 + ((value - left) / (right - left)).clamp(0, 1)


def check_steps(T: int) -> int:
    """T itself. Raises ValueError outside 2..10,000."""
    if not T_MIN <= T <= T_MAX:
        raise ValueError(f"T must lie in {T_MIN}..{T_MAX:,}, got {T}")
    return T


def _table(name: str, betas: Tensor, zero_terminal_snr: bool, mend: str) -> TableSchedule:
    schedule = TableSchedule(betas.clamp(max=MAX_BETA), name, zero_terminal_snr)
    if (signal := schedule.terminal_signal) > MAX_TERMINAL_SIGNAL:
        warnings.warn(
            f"{name} schedule with T={schedule.steps} still holds {signal:.1%} signal at the last step, so x_T is "
            f"not noise: use {mend}zero_terminal_snr=True{'' if name == 'cosine' else ' or the cosine schedule'}",
            TerminalSignalWarning,
            stacklevel=3,
        )
    return schedule


def _between(T: int, start: float, end: float) -> Tensor:
    return torch.linspace(start, end, check_steps(T), dtype=torch.float64)


def _scale(T: int, scaled: bool) -> float:
    return 1000 / T if scaled else 1.0


def linear(T: int = 1000, scaled: bool = True, zero_terminal_snr: bool = False) -> TableSchedule:
    """betas linear from 1e-4 to 0.02 (Ho et al. 2020, sec. 4), times 1000/T unless scaled=False.

    The raw table was made for T = 1000; with T = 300 it leaves 22 % of the signal at the end.
    """
    betas = _between(T, 1e-4, 0.02) * _scale(T, scaled)
    return _table("linear", betas, zero_terminal_snr, "" if scaled else "scaled=True (betas times 1000/T), ")


def scaled_linear(T: int = 1000, scaled: bool = True, zero_terminal_snr: bool = False) -> TableSchedule:
    """sqrt(beta) linear from sqrt(0.00085) to sqrt(0.012), the table of latent diffusion (Rombach et al. 2022)."""
    betas = _between(T, 0.00085**0.5, 0.012**0.5) ** 2 * _scale(T, scaled)
    return _table("scaled_linear", betas, zero_terminal_snr, "")


def quadratic(T: int = 1000, scaled: bool = True, zero_terminal_snr: bool = False) -> TableSchedule:
    """sqrt(beta) linear from sqrt(1e-4) to sqrt(0.02): the "quad" table of Song et al. 2021 (DDIM), appendix D."""
    betas = _between(T, 1e-4**0.5, 0.02**0.5) ** 2 * _scale(T, scaled)
    return _table("quadratic", betas, zero_terminal_snr, "")


def sigmoid(T: int = 1000, scaled: bool = True, zero_terminal_snr: bool = False) -> TableSchedule:
    """betas on a logistic curve over [-6, 6], from about 1e-4 to 0.02, times 1000/T unless scaled=False."""
    betas = (torch.sigmoid(_between(T, -6, 6)) * (0.02 - 1e-4) + 1e-4) * _scale(T, scaled)
    return _table("sigmoid", betas, zero_terminal_snr, "" if scaled else "scaled=True (betas times 1000/T), ")


def cosine(
    T: int = 1000, scaled: bool = True, zero_terminal_snr: bool = False, epsilon: float = 0.008
) -> TableSchedule:
    """alpha_bar = f(t)/f(0), f(t) = cos^2(((t + epsilon) / (1 + epsilon)) * pi/2) (Nichol & Dhariwal 2021, eq. 17).

    It is defined by t = i/T, so it fits every T as it is and `scaled` changes nothing.
    """
    t = torch.arange(check_steps(T) + 1, dtype=torch.float64) / T
    f = torch.cos((t + epsilon) / (1 + epsilon) * math.pi / 2) ** 2
    return _table("cosine", 1 - f[1:] / f[:-1], zero_terminal_snr, "")


class ContinuousCosine(NoiseSchedule):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2) (Salimans & Ho 2022, sec. 3); zero terminal SNR."""

    name = "continuous_cosine"

    def level(self, t: Time) -> NoiseLevel:
        t = as_time(t)
        alpha = torch.where(t == 1, 0.0, torch.cos(t * (math.pi / 2)))  # cos(pi/2) is 6e-17 in float64
        return NoiseLevel(alpha, torch.sin(t * (math.pi / 2)))

    def t_of_log_snr(self, log_snr: Time) -> Tensor:
        log_snr = torch.as_tensor(log_snr, dtype=torch.float64)
        return torch.atan(torch.exp(-log_snr / 2)) * (2 / math.pi)


class Flow(NoiseSchedule):
    """alpha = 1 - t, sigma = t: the straight path of rectified flow (Liu et al. 2022, eq. 1); zero terminal SNR."""

    name = "flow"

    def level(self, t: Time) -> NoiseLevel:
        t = as_time(t)
        return NoiseLevel(1 - t, t)

    def t_of_log_snr(self, log_snr: Time) -> Tensor:
        return torch.sigmoid(-torch.as_tensor(log_snr, dtype=torch.float64) / 2)


class EDM(NoiseSchedule):
    """alpha = 1, sigma = sigma_max * t^rho: variance exploding, in the time that makes EDM's step grid uniform.

    Karras et al. 2022, eq. 5 spaces sigma^(1/rho) evenly; with this t their grid is a straight line and sigma(0) is 0.

    Args:
        sigma_max: noise amplitude at t = 1, in units of the data.
        sigma_min: the smallest sigma worth a network call; sets t_min.
        rho: 7 in the paper.
        sigma_data: standard deviation of the data, which the terminal signal is measured against.
    """

    name = "edm"
    variance_exploding = True

    def __init__(self, sigma_max: float = 80.0, sigma_min: float = 0.002, rho: float = 7.0, sigma_data: float = 0.5):
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"edm needs 0 < sigma_min < sigma_max, got {sigma_min:g} and {sigma_max:g}")
        self.sigma_max, self.rho, self.sigma_data = sigma_max, rho, sigma_data
        self.t_min = (sigma_min / sigma_max) ** (1 / rho)

    def level(self, t: Time) -> NoiseLevel:
        t = as_time(t)
        return NoiseLevel(torch.ones_like(t), self.sigma_max * t**self.rho)

    def t_of_log_snr(self, log_snr: Time) -> Tensor:
        sigma = torch.exp(-torch.as_tensor(log_snr, dtype=torch.float64) / 2)
        return (sigma / self.sigma_max).pow(1 / self.rho).clamp(max=1)

    @property
    def terminal_signal(self) -> float:
        return self.sigma_data / math.hypot(self.sigma_data, self.sigma_max)


DISCRETE: dict[str, Callable[..., TableSchedule]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "cosine": cosine,
    "quadratic": quadratic,
    "sigmoid": sigmoid,
}
CONTINUOUS: dict[str, Callable[[], NoiseSchedule]] = {
    "continuous_cosine": ContinuousCosine,
    "edm": EDM,
    "flow": Flow,
}
SCHEDULES = (*DISCRETE, *CONTINUOUS)


def make_schedule(name: str, T: int = 1000, scaled: bool = True, zero_terminal_snr: bool = False) -> NoiseSchedule:
    """A schedule by its registered name; T, scaled and zero_terminal_snr concern the discrete ones only.

    Raises:
        ValueError: an unknown name, or T outside 2..10,000.
    """
    if name in DISCRETE:
        return DISCRETE[name](T, scaled=scaled, zero_terminal_snr=zero_terminal_snr)
    if name in CONTINUOUS:
        return CONTINUOUS[name]()
    raise ValueError(f"unknown schedule {name!r}; known: {', '.join(SCHEDULES)}")

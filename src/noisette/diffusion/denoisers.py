"""Denoisers: what a model says about x_t, whatever the net was trained to give.

A denoiser is a function (x_t, t) -> Prediction. In a Prediction x0 is the one truth; eps, v, flow and the score are
views of it. A net becomes a denoiser through NetDenoiser; clipping, thresholding and guidance are wrappers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from noisette.diffusion.schedules import NoiseSchedule, Time, as_time

PREDICTS = ("eps", "x0", "v", "flow", "edm")


def expand(value: Tensor, x: Tensor) -> Tensor:
    """A number a sample, (N,) or scalar float64, shaped and typed to multiply x of shape (N, ...)."""
    value = value.to(device=x.device, dtype=x.dtype, non_blocking=x.is_cuda)
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value


@dataclass(frozen=True)
class Prediction:
    """What a denoiser says about x_t: E[x0 | x_t], and every other parameterisation derived from it.

    Attributes:
        x_t: (N, C, ...) the noisy input.
        x0: (N, C, ...) the estimate of the clean data.
        alpha, sigma: float64, (N,) or scalar: the noise level of x_t.
        variance: (N, C, ...) in about [0, 1], or None: where the model's reverse variance lies between the posterior
            beta (0) and beta (1), in log space (Nichol & Dhariwal 2021, eq. 15).
    """

    x_t: Tensor
    x0: Tensor
    alpha: Tensor
    sigma: Tensor
    variance: Tensor | None = None

    @property
    def eps(self) -> Tensor:
        """The noise in x_t: (x_t - alpha x0) / sigma."""
        return (self.x_t - expand(self.alpha, self.x_t) * self.x0) / expand(self.sigma, self.x_t)

    @property
    def v(self) -> Tensor:
        """alpha eps - sigma x0 (Salimans & Ho 2022, sec. 4)."""
        return expand(self.alpha, self.x_t) * self.eps - expand(self.sigma, self.x_t) * self.x0

    @property
    def flow(self) -> Tensor:
        """eps - x0: the velocity dx_t/dt of the straight path (Liu et al. 2022, eq. 1, with t = 1 at the noise)."""
        return self.eps - self.x0

    @property
    def score(self) -> Tensor:
        """grad log p(x_t) = -eps / sigma (Song et al. 2021, eq. 6 via Tweedie's formula)."""
        return -self.eps / expand(self.sigma, self.x_t)

    def view(self, space: str) -> Tensor:
        """This prediction in a space: eps, x0, v or flow."""
        if space not in SPACES:
            raise ValueError(f"unknown space {space!r}; known: {', '.join(SPACES)}")
        return getattr(self, space)  # type: ignore[no-any-return]

    def with_x0(self, x0: Tensor) -> Prediction:
        """The same input with another estimate."""
        return replace(self, x0=x0)


SPACES = ("eps", "x0", "v", "flow")


class Denoiser(Protocol):
    """(x_t, t, cond) -> Prediction. t is a float or (N,) in (0, 1]; cond is (N,) class labels or None."""

    schedule: NoiseSchedule

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction: ...


class NetDenoiser(nn.Module):
    """A net seen as a denoiser.

    The backbone is called as backbone(x, c_noise, cond) and gives C channels, or 2C where it also learns the variance.

    Args:
        backbone: the net.
        schedule: the noise schedule it is trained with.
        predicts: what its output means: eps | x0 | v | flow, or edm for the preconditioning of Karras et al. 2022.
        learn_variance: the second half of the output channels is the variance, in [-1, 1] (Nichol & Dhariwal 2021).
        sigma_data: standard deviation of the data, used by edm.
        dtype: that of the backbone's weights, which its input is cast to; None where it takes x_t as it is. The
            prediction has the dtype of x_t.

    Raises:
        ValueError: an unknown `predicts`; eps with a zero terminal SNR; a learned variance without a discrete table.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: NoiseSchedule,
        predicts: str = "v",
        learn_variance: bool = False,
        sigma_data: float = 0.5,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if predicts not in PREDICTS:
            raise ValueError(f"unknown parameterisation {predicts!r}; known: {', '.join(PREDICTS)}")
        if predicts == "eps" and schedule.zero_terminal_snr:
            raise ValueError(
                f"{schedule.name} has zero terminal SNR: at t=1 x_t is pure noise, so eps is x_t itself and says "
                "nothing about x0; let the net predict v, x0 or flow"
            )
        if learn_variance and schedule.steps is None:
            raise ValueError(f"a learned variance needs a discrete schedule, {schedule.name} is continuous")
        self.backbone, self.schedule, self.predicts = backbone, schedule, predicts
        self.learn_variance, self.sigma_data, self.dtype = learn_variance, sigma_data, dtype

    def forward(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        t = as_time(t).expand(len(x_t))
        alpha, sigma = self.schedule.level(t)
        a, s = expand(alpha, x_t), expand(sigma, x_t)
        # Variance-preserving input already has unit scale and is left alone, as nets trained elsewhere expect.
        scale = expand(self._input_scale(alpha, sigma), x_t)
        c_noise = self.schedule.c_noise(t).to(x_t.device, torch.float32, non_blocking=x_t.is_cuda)
        out = self.backbone((x_t * scale).to(self.dtype or x_t.dtype), c_noise, cond).to(x_t.dtype)
        variance = None
        if self.learn_variance:
            out, variance = out.chunk(2, dim=1)
            variance = (variance + 1) / 2
        return Prediction(x_t, self._x0(x_t, out, a, s), alpha, sigma, variance)

    def _input_scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        if self.predicts == "edm":  # c_in of Karras et al. 2022, table 1, for any alpha
            return (alpha**2 * self.sigma_data**2 + sigma**2).rsqrt()
        if self.schedule.variance_exploding:
            return (self.sigma_data**2 + sigma**2).rsqrt()
        return torch.ones_like(alpha)

    def _x0(self, x: Tensor, out: Tensor, a: Tensor, s: Tensor) -> Tensor:
        if self.predicts == "eps":
            return (x - s * out) / a
        if self.predicts == "x0":
            return out
        if self.predicts == "v":
            return (a * x - s * out) / (a**2 + s**2)
        if self.predicts == "flow":
            return (x - s * out) / (a + s)
        # c_skip and c_out of Karras et al. 2022, table 1, at sigma/alpha, multiplied out so that alpha = 0 is finite
        norm = s**2 + a**2 * self.sigma_data**2
        return self.sigma_data**2 * a / norm * x + s * self.sigma_data * norm.rsqrt() * out


class Wrapper(ABC):
    """A denoiser made from another: the base of clip, threshold, condition and guide."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser = denoiser
        self.schedule = denoiser.schedule

    @abstractmethod
    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction: ...


class clip(Wrapper):
    """x0 clamped to [low, high], the data's range; eps follows from the clipped x0."""

    def __init__(self, denoiser: Denoiser, low: float = -1.0, high: float = 1.0):
        super().__init__(denoiser)
        if not low < high:
            raise ValueError(f"clip needs low < high, got {low:g} and {high:g}")
        self.low, self.high = low, high

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        prediction = self.denoiser(x_t, t, cond)
        return prediction.with_x0(prediction.x0.clamp(self.low, self.high))


class threshold(Wrapper):
    """Dynamic thresholding (Saharia et al. 2022, sec. 2.3): x0 clamped to its own percentile s >= 1, over s."""

    def __init__(self, denoiser: Denoiser, percentile: float = 0.995):
        super().__init__(denoiser)
        if not 0 < percentile <= 1:
            raise ValueError(f"the percentile must lie in (0, 1], got {percentile:g}")
        self.percentile = percentile

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        prediction = self.denoiser(x_t, t, cond)
        flat = prediction.x0.flatten(1)
        s = torch.quantile(flat.abs(), self.percentile, dim=1, keepdim=True).clamp(min=1)
        return prediction.with_x0((flat.clamp(-s, s) / s).reshape(prediction.x0.shape))


class condition(Wrapper):
    """The denoiser told these class labels, (N,) integers, whatever it is called with."""

    def __init__(self, denoiser: Denoiser, labels: Tensor):
        super().__init__(denoiser)
        self.labels = labels

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        return self.denoiser(x_t, t, self.labels)


class guide(Wrapper):
    """Classifier-free guidance: x0 = x0_none + scale * (x0_class - x0_none) (Ho & Salimans 2022, eq. 6, scale = w + 1).

    scale 0 ignores the labels, 1 is the plain conditional model, above 1 exaggerates what the label changes. Outside
    `interval` (times, inclusive) the plain conditional model is used (Kynkäänniemi et al. 2024): one call, not two.

    Args:
        denoiser: trained with labels and with the null label.
        labels: (N,) integers in 0..null-1.
        null: the label that means "no class".
        scale: >= 0.
        interval: (low, high) in [0, 1].
    """

    def __init__(
        self,
        denoiser: Denoiser,
        labels: Tensor,
        null: int,
        scale: float,
        interval: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__(denoiser)
        low, high = interval
        if scale < 0:
            raise ValueError(f"the guidance scale must be 0 or more, got {scale:g}")
        if not 0 <= low <= high <= 1:
            raise ValueError(f"the guidance interval must satisfy 0 <= low <= high <= 1, got {low:g}, {high:g}")
        self.labels, self.scale, self.low, self.high = labels, scale, low, high
        self.none = torch.full_like(labels, null)

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        t = as_time(t)
        inside = (t >= self.low) & (t <= self.high)
        if self.scale == 1 or not bool(inside.any()):
            return self.denoiser(x_t, t, self.labels)
        if self.scale == 0 and bool(inside.all()):
            return self.denoiser(x_t, t, self.none)
        both = self.denoiser(torch.cat([x_t, x_t]), t.expand(len(x_t)).repeat(2), torch.cat([self.labels, self.none]))
        x0, x0_none = both.x0.chunk(2)
        scale = expand(1 + (self.scale - 1) * inside.double(), x_t)
        variance = None if both.variance is None else both.variance.chunk(2)[0]
        return Prediction(x_t, x0_none + scale * (x0 - x0_none), *self.schedule.level(t), variance)

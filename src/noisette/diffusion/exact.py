"""Denoisers that are known in closed form: the best that any net could do on these data.

They make the mathematics visible without training anything, and they are what samplers and metrics are tested
against. Each is a Denoiser, usable wherever a trained net is. x has shape (N, C, ...); data tensors have the shape of
one sample, or (K, ...) for K of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from noisette.diffusion.denoisers import Prediction, expand
from noisette.diffusion.schedules import NoiseSchedule, Time, as_time


class _Exact(ABC):
    """The shared frame: levels at t, then E[x0 | x_t] from `posterior_mean`."""

    def __init__(self, schedule: NoiseSchedule):
        self.schedule = schedule

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        alpha, sigma = self.schedule.level(as_time(t).expand(len(x_t)))
        return Prediction(x_t, self.posterior_mean(x_t, expand(alpha, x_t), expand(sigma, x_t)), alpha, sigma)

    @abstractmethod
    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x_t = x], with alpha and sigma shaped to broadcast against x."""


class PointMass(_Exact):
    """All data are one point: x0 is that point, whatever x_t is."""

    def __init__(self, point: Tensor, schedule: NoiseSchedule):
        super().__init__(schedule)
        self.point = point

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self.point.to(x).expand_as(x)


class Gaussian(_Exact):
    """Data ~ N(mean, covariance): E[x0 | x_t] is linear in x_t, and the sampling ODE has a closed solution.

    Args:
        mean: (...) one sample's shape.
        covariance: (D, D) over the flattened sample, symmetric positive semi-definite.
        schedule: any noise schedule.

    Raises:
        ValueError: the covariance does not fit the mean.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, schedule: NoiseSchedule):
        super().__init__(schedule)
        if covariance.shape != (mean.numel(), mean.numel()):
            raise ValueError(f"covariance must be {mean.numel()} x {mean.numel()}, got {tuple(covariance.shape)}")
        self.mean = mean
        self.variances, self.axes = torch.linalg.eigh(covariance)
        self.variances = self.variances.clamp(min=0)
        self.rest: Tensor | None = None  # the variance of every direction outside the axes, where they are not all

    @classmethod
    def fitted(
        cls, data: Tensor, schedule: NoiseSchedule, components: int, generator: torch.Generator | None = None
    ) -> Gaussian:
        """The Gaussian of these samples, (K, ...): as a denoiser, the best linear one for them.

        Its mean is theirs. The `components` principal axes of the largest variance keep theirs, and all other
        directions share what is left of it evenly (Tipping & Bishop 1999, eq. 8); with as many components as a sample
        has elements, the covariance is exact. Fewer are found by subspace iteration (Halko et al. 2011, alg. 4.4)
        from a start that `generator` draws.
        """
        flat = data.flatten(1)
        mean, (count, size) = flat.mean(0), flat.shape
        centred = flat - mean
        if components >= size:
            return cls(mean.reshape(data.shape[1:]), centred.T @ centred / count, schedule)
        axes = torch.randn(size, components, generator=generator).to(flat)
        for _ in range(4):
            axes = torch.linalg.qr(centred.T @ (centred @ axes)).Q
        fitted = cls.__new__(cls)
        _Exact.__init__(fitted, schedule)
        fitted.mean = mean.reshape(data.shape[1:])
        fitted.variances, turn = torch.linalg.eigh((centred @ axes).T @ (centred @ axes) / count)
        fitted.variances, fitted.axes = fitted.variances.clamp(min=0), axes @ turn
        left = centred.square().sum() / count - fitted.variances.sum()
        fitted.rest = left.clamp(min=0) / (size - components)
        return fitted

    def _gain(self, x: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """x (N, ...) with its principal components scaled: variances (D,) -> gain (N, D) or (D,)."""
        axes, flat = self.axes.to(x), x.flatten(1)
        scaled, scale = torch.zeros_like(flat), gain(self.variances).to(x)
        if self.rest is not None:
            base = gain(self.rest.reshape(1)).to(x)
            scaled, scale = base * flat, scale - base
        scaled += (flat @ axes) * scale @ axes.T
        return scaled.reshape(x.shape)

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        a, s = alpha.reshape(-1, 1), sigma.reshape(-1, 1)
        mean = self.mean.to(x)
        return mean + self._gain(x - alpha * mean, lambda c: a * c.to(x) / (a**2 * c.to(x) + s**2))

    def flow(self, x: Tensor, t: Time, s: Time = 0.0) -> Tensor:
        """Where the probability-flow ODE (Song et al. 2021, eq. 13) takes x from time t to time s, exactly.

        Each principal component keeps its place in units of the marginal's standard deviation.
        """
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule.level(t), self.schedule.level(s)

        def gain(variances: Tensor) -> Tensor:
            variances = variances.to("cpu", torch.float64)
            std_t, std_s = (
                (a.reshape(-1, 1) ** 2 * variances + b.reshape(-1, 1) ** 2).sqrt()
                for a, b in ((alpha_t, sigma_t), (alpha_s, sigma_s))
            )
            return std_s / std_t

        mean = self.mean.to(x)
        return expand(alpha_s, x) * mean + self._gain(x - expand(alpha_t, x) * mean, gain)


class Mixture(_Exact):
    """Data ~ sum_k weight_k N(mean_k, std_k^2 I).

    Args:
        means: (K, ...) one sample's shape each.
        stds: (K,) >= 0; zeros make it a mixture of points.
        weights: (K,) summing to one; uniform when None.
        schedule: any noise schedule.
    """

    def __init__(self, means: Tensor, stds: Tensor, schedule: NoiseSchedule, weights: Tensor | None = None):
        super().__init__(schedule)
        if len(means) != len(stds):
            raise ValueError(f"a mixture needs one std a mean, got {len(means)} means and {len(stds)} stds")
        weights = torch.ones(len(means)) if weights is None else weights
        self.means, self.stds, self.weights = means, stds, weights / weights.sum()

    def responsibilities(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(N, K): the posterior probability of each component given x_t."""
        a, s = alpha.reshape(-1, 1), sigma.reshape(-1, 1)
        flat, means = x.flatten(1), self.means.to(x).flatten(1)
        variance = a**2 * self.stds.to(x) ** 2 + s**2
        # |x - a m|^2 by the product, so that a whole data set can stand in for the means
        distance = flat.square().sum(1, keepdim=True) - 2 * a * flat @ means.T + a**2 * means.square().sum(1)
        log_p = self.weights.to(x).log() - distance / (2 * variance) - flat.shape[1] / 2 * variance.log()
        return torch.softmax(log_p, dim=1)

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        a, s = alpha.reshape(-1, 1), sigma.reshape(-1, 1)
        flat, means = x.flatten(1), self.means.to(x).flatten(1)
        share = self.responsibilities(x, alpha, sigma)
        variance = self.stds.to(x) ** 2
        gain = a * variance / (a**2 * variance + s**2)  # (N, K)
        # sum_k r_k (m_k + g_k (x - a m_k)), without an (N, K, D) array
        mean = (share * (1 - a * gain)) @ means + (share * gain).sum(1, keepdim=True) * flat
        return mean.reshape(x.shape)


class Empirical(Mixture):
    """Data are exactly these images, each equally likely: the perfectly overfitted model, which copies its data."""

    def __init__(self, data: Tensor, schedule: NoiseSchedule):
        super().__init__(data, torch.zeros(len(data)), schedule)

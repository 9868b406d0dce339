"""MNISTDiffusion: DDPM as one torch module, with a cosine schedule and a learned mean and variance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from noisette.coursework.chain import Chain, normal_like, resting, sample_noise, whole
from noisette.coursework.scratch import DiffusionModel
from noisette.diffusion.schedules import TableSchedule, cosine
from noisette.errors import UserError
from noisette.experiment import build


class MNISTDiffusion(nn.Module):
    """p(x_{t-1} | x_t) = N(mu_theta(x_t, t), Sigma_theta(x_t, t)) (Nichol & Dhariwal 2021), t = 0..T-1.

    It shows denoisers.NetDenoiser with learn_variance. The U-Net has twice the channels of the images: the first half
    is eps_theta, which gives the mean, the second says where the variance lies between beta~ and beta, in log space
    (eq. 15).

    Args:
        image_size, in_channels: of the images.
        timesteps: T, 2 to 10,000.
        seed: of the fresh weights.
        net: anything else of DiffusionModel.

    Attributes:
        model: the U-Net.
        beta, alpha, alpha_bar: (T,) float32 buffers, index t.
        chain.denoiser: the model for the core's samplers.

    Raises:
        UserError: a setting that does not exist or is out of range.
    """

    beta: Tensor
    alpha: Tensor
    alpha_bar: Tensor

    def __init__(
        self,
        image_size: int = 28,
        in_channels: int = 1,
        timesteps: int = 1000,
        *,
        seed: int | None = None,
        **net: Any,
    ):
        super().__init__()
        if "learn_variance" in net:
            raise UserError("learn_variance: MNISTDiffusion always learns its variance: leave it out")
        self.timesteps, self.image_size, self.in_channels = timesteps, image_size, in_channels
        self.model = DiffusionModel(image_size, in_channels, learn_variance=True, seed=seed, **net)
        betas = self._cosine_variance_schedule(timesteps)
        self.chain = Chain(self.model, TableSchedule(betas, "cosine"), learn_variance=True)
        for name in ("beta", "alpha", "alpha_bar"):
            self.register_buffer(name, getattr(self.chain, name).float(), persistent=False)

    @staticmethod
    def _cosine_variance_schedule(timesteps: int, epsilon: float = 0.008) -> Tensor:
        """(T,) float64 betas, at most 0.999, of alpha_bar = cos^2((t/T + epsilon)/(1 + epsilon) pi/2) over its value
        at 0 (Nichol & Dhariwal 2021, eq. 17): schedules.cosine."""
        timesteps = whole("timesteps", timesteps)
        with build.as_user_errors("timesteps"):
            return cosine(timesteps, epsilon=epsilon).betas

    def forward(self, x: Tensor, noise: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """eps_theta(x_t, t), the noise that the model sees, for one t a sample, drawn uniformly from 0..T-1.

        x (N, C, H, W) in [-1, 1] and noise ~ N(0, I) in its shape. This trains the mean alone; `loss` trains both.
        """
        t = self.chain.draw(len(x), generator)
        return self.chain.predict(self._forward_diffusion(x, t, noise), t).eps

    def _forward_diffusion(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t ~ q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I), of this noise; t (N,) in 0..T-1.

        It shows NoiseSchedule.level (Ho et al. 2020, eq. 4).
        """
        return self.chain.noised(x_0, t, noise)

    def _reverse_diffusion(self, x_t: Tensor, t: Tensor, noise: Tensor, clipped: bool = False) -> Tensor:
        """x_{t-1} = mu_theta(x_t, t) + sqrt(Sigma_theta(x_t, t)) noise, without the noise where t = 0.

        It shows a step of samplers.ddpm with variance="learned".

        x_t and noise (N, C, H, W), t (N,) in 0..T-1. clipped: the estimate of x_0 in the mean is clamped to [-1, 1].
        """
        with resting(self.model):
            return self.chain.back(x_t, t, noise, variance="learned", clipped=clipped)

    def loss(self, x: Tensor, noise: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """L_hybrid, the mean over the batch: the squared error of the noise, plus 0.001 T L_vlb in bits per dimension,
        which teaches the variance and leaves the mean alone (Nichol & Dhariwal 2021, eq. 16): objectives.Objective."""
        t = self.chain.draw(len(x), generator)
        noise = normal_like(x, generator) if noise is None else noise
        return self.chain.losses(x, t, noise).total.mean()

    def kept_steps(self, every: int = 1) -> list[int]:
        """How many steps of noise are left in each frame of `sampling`: T first, 0 last."""
        every = whole("every counts steps: it", every, 1)
        return sorted({0, *range(self.timesteps, 0, -every)}, reverse=True)

    def sampling(self, n_samples: int = 36, every: int = 1, seed: int | None = None, clipped: bool = True) -> Tensor:
        """The whole way from noise to n samples, on the CPU: (T + 1, n, C, H, W), noise first, samples last.

        It shows samplers.ddpm with variance="learned" (Ho et al. 2020, algorithm 2).

        Args:
            n_samples: how many.
            every: keep every so many steps only, and the first and the last; `kept_steps` says which. Memory goes
                with what is kept.
            seed: sample k comes from seed + k alone; None takes a seed from torch's own generator.
            clipped: the estimate of x_0 is clamped to the data's range [-1, 1] at every step (Ho et al. 2020's code).

        Raises:
            UserError: no samples, or `every` below 1.
        """
        kept = self.kept_steps(every)
        place = {left: k for k, left in enumerate(kept)}
        shape = (self.in_channels, self.image_size, self.image_size)
        source = sample_noise(n_samples, shape, seed, next(self.model.parameters()).device)
        way = torch.empty(len(kept), n_samples, *shape)
        with resting(self.model):
            way[0], steps = self.chain.walk(source, variance="learned", clip="static" if clipped else "none")
            for step in steps:
                if (left := self.timesteps - 1 - step.i) in place:
                    way[place[left]] = step.x
        return way

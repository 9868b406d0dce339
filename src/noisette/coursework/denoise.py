"""DenoiseDiffusion: DDPM around any eps model, with the variance beta_t (Ho et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noisette.coursework.chain import Chain, EpsModel, normal_like, resting, schedule_of
from noisette.experiment import build


class DenoiseDiffusion:
    """q and p of DDPM for a model eps_theta(x_t, t), t = 0..T-1; samples of any shape (N, ...): images, clips.

    Args:
        eps_model: called as eps_model(xt, t) with t (N,) int64; gives the noise, in the shape of xt.
        n_steps: T, 2 to 10,000.
        device: where the model and the tables are; a name or a torch.device.
        scaled: betas times 1000/T. As the paper has them (False) they end in noise for T near 1000 only, and a warning
            says how much signal is left for fewer.

    Attributes:
        beta, alpha, alpha_bar: (T,) float32: linear from 1e-4 to 0.02, 1 - beta, and its running product.
        sigma2, sigmat: (T,): the variance of p(x_{t-1} | x_t), which is beta, and its root.
        chain.denoiser: the model for the core's samplers.

    Raises:
        UserError: n_steps out of range, no such device.
    """

    def __init__(
        self, eps_model: EpsModel, n_steps: int = 1000, device: torch.device | str = "cpu", *, scaled: bool = False
    ):
        self.eps_model, self.n_steps, self.device = eps_model, n_steps, build.device(str(device))
        if isinstance(eps_model, nn.Module):
            eps_model.to(self.device)
        self.chain = Chain(eps_model, schedule_of("linear", n_steps, scaled))
        self.beta = self.chain.beta.float().to(self.device)
        self.alpha = self.chain.alpha.float().to(self.device)
        self.alpha_bar = self.chain.alpha_bar.float().to(self.device)
        self.sigma2, self.sigmat = self.beta, self.beta.sqrt()

    def q_xt_x0(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, variance) of q(x_t | x0) = N(sqrt(alpha_bar_t) x0, (1 - alpha_bar_t) I) (Ho et al. 2020, eq. 4).

        It shows NoiseSchedule.level. x0 (N, ...), t (N,); the mean has the shape of x0, the variance (N, 1, ...).
        """
        alpha, sigma = self.chain.level(t, x0)
        return alpha * x0, sigma**2

    def q_sample(
        self, x0: Tensor, t: Tensor, eps: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """x_t ~ q(x_t | x0), of this noise eps, or of fresh one; its level is NoiseSchedule.level's."""
        return self.chain.noised(x0, t, normal_like(x0, generator) if eps is None else eps)

    def p_sample(
        self,
        xt: Tensor,
        t: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        clipped: bool = False,
    ) -> Tensor:
        """x_{t-1} ~ p(x_{t-1} | x_t) = N(mu_theta(x_t, t), beta_t I) (Ho et al. 2020, algorithm 2); at t = 0 the mean.

        It shows a step of samplers.ddpm with variance="large". xt (N, ...), t (N,). clipped: the estimate of x0 in the
        mean is clamped to [-1, 1].
        """
        noise = normal_like(xt, generator) if noise is None else noise
        with resting(self.eps_model):
            return self.chain.back(xt, t, noise, variance="large", clipped=clipped)

    def loss(self, x0: Tensor, noise: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """L_simple, the mean over a batch: |eps - eps_theta(x_t, t)|^2 with t uniform (Ho et al. 2020, eq. 14).

        It shows objectives.Objective in the space of eps, with UniformTimes.
        """
        t = self.chain.draw(len(x0), generator)
        return self.chain.losses(x0, t, normal_like(x0, generator) if noise is None else noise).total.mean()

"""DDPM from scratch: DiffusionModel, the U-Net that predicts noise, and DiffusionProcess, which trains and samples."""

from __future__ import annotations

import math
import numbers
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from noisette.coursework.chain import Chain, normal_like, resting, sample_noise, schedule_of, seeded, whole
from noisette.diffusion.objectives import Distance, Losses
from noisette.diffusion.schedules import NoiseSchedule
from noisette.errors import UserError
from noisette.experiment import build, losses
from noisette.experiment.runs import Shape
from noisette.tasks.interpolate import slerp
from noisette.tasks.trainer import bin_means, by_time


class DiffusionModel(nn.Module):
    """eps_theta(x_t, t): the core's noisette.nets.UNet, with the settings of the recipe that fits the image size.

    The time is embedded once and concatenated with the features of every residual block, unless `time` says otherwise.

    Args:
        image_size: side of the images in pixels, up to 256, odd ones too.
        channels: of the images: 1 grey, 3 colour.
        learn_variance: twice as many channels come out, the second half for the variance.
        seed: of the weights; None draws them from torch's own generator.
        net: anything else of the U-Net, as in a run's [net]: multipliers, blocks, attention, activation, time, ...;
            its `channels`, those of the first level, are called `width` here.

    Raises:
        UserError: a setting that does not exist or is out of range.
    """

    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        *,
        learn_variance: bool = False,
        seed: int | None = None,
        **net: Any,
    ):
        super().__init__()
        image_size, channels = whole("image_size", image_size, 1), whole("channels", channels, 1)
        wanted = {"time": "concat", **net}
        if "width" in wanted:
            wanted["channels"] = wanted.pop("width")
        like = Shape.images(1 if channels == 1 else 3, image_size, image_size)
        settings = build.resolve(like, None, {f"net.{key}": value for key, value in wanted.items()}).net
        with seeded(seed):
            self.unet = build.backbone(settings, Shape.images(channels, image_size, image_size), learn_variance)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The noise in x (N, C, H, W), which is at steps t (N,) in 0..T-1; (N, 2C, H, W) with learn_variance."""
        return self.unet(x, t.expand(len(x)))


class DiffusionProcess:
    """Denoising diffusion (Ho et al. 2020) on images: the core's schedule, Objective and samplers around one model.

    Args:
        image_size, channels: of the images.
        noise_steps: T, 2 to 10,000.
        schedule: a discrete schedule by name (linear, cosine, quadratic, scaled_linear, sigmoid), or one of T steps.
        scaled: the betas of a named schedule times 1000/T, so that x_T is noise for any T: the linear ones, 1e-4..0.02,
            were made for T = 1000. False takes them as they are. At T = 1000, and for cosine, it changes nothing.
        model: any net with model(x_t, t) -> noise; a DiffusionModel when None.
        loss: l1 | l2 | huber | charbonnier, or your own function of two tensors that gives a loss for every element.
        lr: learning rate of AdamW. `optimizer` is an attribute: put another in its place.
        device: auto is the GPU where there is one.
        seed: of the fresh weights.

    Attributes:
        model, optimizer, device, noise_steps, schedule.
        denoiser: the model as the core sees it, for any of its samplers.
        beta, alpha, alpha_bar: (T,) float64, index t = 0..T-1.

    Raises:
        UserError: a setting that does not exist or is out of range.
    """

    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        noise_steps: int = 1000,
        *,
        schedule: str | NoiseSchedule = "linear",
        scaled: bool = True,
        model: nn.Module | None = None,
        loss: str | Distance = "l2",
        lr: float = 2e-3,
        device: str = "auto",
        seed: int | None = None,
    ):
        image_size, channels = whole("image_size", image_size, 1), whole("channels", channels, 1)
        if model is not None and not isinstance(model, nn.Module):
            raise UserError(f"model must be a torch.nn.Module, an object and not its class, got {model!r}")
        if not isinstance(lr, numbers.Real) or not math.isfinite(lr):
            raise UserError(f"lr must be a number, and finite, not {lr!r}")
        self.device = build.device(device)
        self.shape, self.noise_steps = (channels, image_size, image_size), noise_steps
        self.model = (DiffusionModel(image_size, channels, seed=seed) if model is None else model).to(self.device)
        with build.as_user_errors("lr"):
            self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr, weight_decay=0.0)
        self.chain = Chain(self.model, schedule_of(schedule, noise_steps, scaled))
        self.schedule, self.denoiser = self.chain.schedule, self.chain.denoiser
        self.beta, self.alpha, self.alpha_bar = self.chain.beta, self.chain.alpha, self.chain.alpha_bar
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", str(loss))
        self.distance = losses.distance(loss) if isinstance(loss, str) else partial(losses.own, name, loss)
        losses.try_distance(name, self.distance)

    def add_noise(self, x: Tensor, t: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(x_t, the noise in it): x_t = sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) noise (Ho et al. 2020, eq. 4).

        It shows NoiseSchedule.level. x (N, C, H, W) in [-1, 1]; t (N,) in 0..T-1. Raises UserError for a t outside.
        """
        noise = normal_like(x, generator)
        return self.chain.noised(x, t, noise), noise

    def train_step(self, x: Tensor, generator: torch.Generator | None = None) -> float:
        """One step of the optimiser on a batch x (N, C, H, W) in [-1, 1]; the mean loss (Ho et al. 2020, algorithm 1).

        It shows objectives.Objective in the space of eps, with UniformTimes. t and the noise come from `generator` (on
        the CPU), or from torch's own.
        """
        loss = self._losses(x, generator).total.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def sample(self, n: int = 36, *, seed: int | None = None, noise: Tensor | None = None, **settings: Any) -> Tensor:
        """n new images, (n, C, H, W) float32, in the range of the data, [-1, 1], by noisette.diffusion.samplers.

        Args:
            n: how many.
            seed: sample k comes from seed + k alone; None takes a seed from torch's own generator.
            noise: (n, C, H, W) N(0, I), to start from instead of what the seeds give.
            settings: of the core's samplers: sampler="ddim", steps=50, eta=0.0, variance, grid, clip. By default it is
                ddpm in T steps (Ho et al. 2020, algorithm 2), with x0 clipped to the range of the data.

        Raises:
            UserError: a setting that does not exist or is out of range.
        """
        x, steps = self.chain.walk(sample_noise(n, self.shape, seed, self.device, noise), **settings)
        with resting(self.model):
            for step in steps:
                x = step.x
        return x

    def interpolate(self, a: Tensor, b: Tensor, count: int = 9, steps: int = 50) -> Tensor:
        """Images from `count` noises on the great circle from a to b, each (C, H, W): (count, C, H, W), by DDIM.

        It shows tasks.interpolate.slerp and samplers.ddim, which adds no noise, so that nothing but its start decides
        what it draws (Song et al. 2021, sec. 5.3).
        """
        if count < 2:
            raise UserError(f"an interpolation needs at least 2 pictures, got {count}")
        noise = torch.stack([slerp(a, b, k / (count - 1)) for k in range(count)])
        return self.sample(count, noise=noise, sampler="ddim", steps=min(steps, self.noise_steps))

    @torch.no_grad()
    def loss_by_timestep(self, x: Tensor, generator: torch.Generator | None = None) -> list[float | None]:
        """The mean loss in 20 equal ranges of t, from the cleanest to the noisiest; None where no t fell.

        It shows tasks.trainer.by_time. x (N, C, H, W): each image is noised to one random t, so take some hundreds.
        """
        with resting(self.model):
            losses = self._losses(x, generator)
            return bin_means(by_time(losses.t.cpu(), losses.simple.cpu().double()))

    def _losses(self, x: Tensor, generator: torch.Generator | None) -> Losses:
        x = x.to(self.device)
        return self.chain.losses(x, self.chain.draw(len(x), generator), normal_like(x, generator), self.distance)

"""The projects that Noisette is measured against, each taking training steps as its own training example takes them.

A peer is made of a net of its own kind (`build`) and the number of steps that it will train for, which its learning
rate may follow. Data come as float images that lie ready in memory, so that a step is all that is measured. Where the
schedule can be chosen it is the DDPM's: 1,000 betas from 1e-4 to 0.02, eps predicted.

Some packages import torchvision for data loading alone. It is never installed beside the CPU build of torch (its
import fails there), so it is mocked while they are imported.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import sys
from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any, ClassVar
from unittest import mock

import torch
import torch.nn.functional as F
from plain import PlainUNet
from torch import Tensor, nn

os.environ.setdefault("TQDM_DISABLE", "1")

T = 1000
ALPHA_BAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64), 0)
"""(T,) share of the signal's variance that is left at step i = 0..T-1 of the DDPM's schedule."""


def imported(module: str) -> ModuleType:
    """A peer's package, without torchvision. Raises ImportError where it is not installed."""
    if module in sys.modules:
        return sys.modules[module]
    importlib.import_module("accelerate")  # looks for the real torchvision, so it must come before the mock
    names = ("torchvision", "torchvision.transforms", "torchvision.datasets", "torchvision.utils")
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in names}):
        loaded = importlib.import_module(module)
        found = {name: known for name, known in sys.modules.items() if name.split(".")[0] != "torchvision"}
    sys.modules.update(found)  # patch.dict forgets what was imported under it
    return loaded


class Peer(ABC):
    """One project in training.

    net     what learns; its parameters and FLOPs are what the comparison is held equal by
    step    one training step on x (B, C, H, W) float32 in [-1, 1]; its loss
    eps     the noise in x_t (N, C, H, W) at steps i (N,) int64 in 0..T-1, in evaluation mode
    call    one call of the net as the project's own sampling loop makes it, at one step i for all images
    """

    name: ClassVar[str]
    package: ClassVar[str]  # of the index; empty for a script
    example: ClassVar[str]  # whose training step this is

    def __init__(self, net: nn.Module, steps: int) -> None:
        self.net, self.steps = net, steps

    @classmethod
    def version(cls) -> str:
        return importlib.metadata.version(cls.package) if cls.package else ""

    @classmethod
    def missing(cls) -> str:
        """Why it cannot be measured here, or nothing."""
        try:
            for package in cls.needs:
                importlib.import_module(package)
            cls.build(1, 8, **cls.smallest)
        except ImportError as error:
            return f"{cls.name}: {error}; make bench installs it"
        return ""

    needs: ClassVar[tuple[str, ...]] = ("accelerate",)
    """Packages that training takes, beside what building the net does."""

    smallest: ClassVar[dict[str, Any]]
    """Arguments of `build` for a net of 8x8 images that costs nothing."""

    @staticmethod
    @abstractmethod
    def build(channels: int, side: int, /, **arguments: Any) -> nn.Module: ...

    @staticmethod
    @abstractmethod
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        """Any one call of the net, to count its operations by."""

    @abstractmethod
    def step(self, x: Tensor) -> float: ...

    @abstractmethod
    def eps(self, x_t: Tensor, i: Tensor) -> Tensor: ...

    @abstractmethod
    def call(self, x: Tensor, i: int) -> Tensor: ...


class Diffusers(Peer):
    """The loop of diffusers' unconditional image generation example with its default options; without EMA, as there."""

    name, package = "diffusers", "diffusers"
    example = "examples/unconditional_image_generation/train_unconditional.py, default options"
    smallest: ClassVar[dict[str, Any]] = {"widths": (32,), "attention": ()}

    @staticmethod
    def build(channels: int, side: int, /, widths: tuple[int, ...], attention: tuple[int, ...]) -> nn.Module:
        """`attention`: the levels, 0 the finest, that have it."""
        from diffusers import UNet2DModel

        on = [i in attention for i in range(len(widths))]
        return UNet2DModel(
            sample_size=side,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=2,
            block_out_channels=widths,
            down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in on],
            up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(on)],
        )

    @staticmethod
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return net(x, 0).sample

    precision: ClassVar[str] = "no"

    def __init__(self, net: nn.Module, steps: int, warmup: int = 500) -> None:
        super().__init__(net, steps)
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from diffusers import DDPMScheduler
        from diffusers.optimization import get_scheduler

        self.scheduler = DDPMScheduler(num_train_timesteps=T, beta_schedule="linear")
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
        rate = get_scheduler("cosine", optimizer=optimizer, num_warmup_steps=warmup, num_training_steps=steps)
        # accelerate allows a process one precision; the example's own is everybody's, another has a state of its own.
        apart = mock.patch.object(AcceleratorState, "_shared_state", {})
        with contextlib.nullcontext() if self.precision == "no" else apart:
            self.accelerator = Accelerator(gradient_accumulation_steps=1, mixed_precision=self.precision)
            self.net, self.optimizer, self.rate = self.accelerator.prepare(net, optimizer, rate)

    def step(self, x: Tensor) -> float:
        self.net.train()
        noise = torch.randn(x.shape, dtype=x.dtype)
        timesteps = torch.randint(0, T, (len(x),)).long()
        noisy = self.scheduler.add_noise(x, noise, timesteps)
        with self.accelerator.accumulate(self.net):
            output = self.net(noisy, timesteps).sample
            loss = F.mse_loss(output.float(), noise.float())
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimizer.step()
            self.rate.step()
            self.optimizer.zero_grad()
        return loss.detach().item()

    @torch.no_grad()
    def eps(self, x_t: Tensor, i: Tensor) -> Tensor:
        return self.net.eval()(x_t, i).sample

    @torch.no_grad()
    def call(self, x: Tensor, i: int) -> Tensor:
        return self.net(x, i).sample


class DiffusersBf16(Diffusers):
    """The same with its example's own flag for bf16. Not what the example does by default, so it stands apart."""

    name, precision = "diffusers, bf16", "bf16"
    example = "examples/unconditional_image_generation/train_unconditional.py, --mixed_precision=bf16"


class SmallDiffusion(Peer):
    """smalldiffusion's training_loop, step by step, with the model and schedule of its Fashion-MNIST example."""

    name, package = "smalldiffusion", "smalldiffusion"
    example = "smalldiffusion.training_loop, Scaled(Unet), ScheduleDDPM(1000), its default rate"
    smallest: ClassVar[dict[str, Any]] = {"ch": 32, "ch_mult": (1,), "attn_resolutions": ()}

    @staticmethod
    def build(channels: int, side: int, /, **arguments: Any) -> nn.Module:
        sd = imported("smalldiffusion")
        return sd.Scaled(sd.Unet)(side, channels, channels, **arguments)

    @staticmethod
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return net(x, torch.ones((), device=x.device))

    def __init__(self, net: nn.Module, steps: int) -> None:
        super().__init__(net, steps)
        from accelerate import Accelerator

        self.sd = imported("smalldiffusion")
        self.accelerator = Accelerator()
        self.schedule = self.sd.ScheduleDDPM(N=T, beta_start=1e-4, beta_end=0.02)
        self.loss = type(net).get_loss
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
        self.net, self.optimizer = self.accelerator.prepare(net, optimizer)

    def step(self, x: Tensor) -> float:
        self.net.train()
        self.optimizer.zero_grad()
        x0, sigma, eps, cond = self.sd.generate_train_sample(x, self.schedule)
        loss = self.loss(self.net, x0, sigma, eps, cond=cond)
        self.accelerator.backward(loss)
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def eps(self, x_t: Tensor, i: Tensor) -> Tensor:
        a = ALPHA_BAR[i].float()[:, None, None, None]  # its x is x0 + sigma eps, and so ours over sqrt(alpha_bar)
        return self.net.eval().predict_eps(x_t / a.sqrt(), ((1 - a) / a).sqrt())

    @torch.no_grad()
    def call(self, x: Tensor, i: int) -> Tensor:
        return self.net.predict_eps_cfg(x, self.schedule[i].to(x), None, 0.0)


class Lucidrains(Peer):
    """denoising-diffusion-pytorch's Trainer.train, EMA included, with eps and the linear schedule instead of its v."""

    name, package = "denoising-diffusion-pytorch", "denoising-diffusion-pytorch"
    example = "denoising_diffusion_pytorch.Trainer.train, default options"
    smallest: ClassVar[dict[str, Any]] = {"dim": 8, "dim_mults": (1,)}

    @staticmethod
    def build(channels: int, side: int, /, **arguments: Any) -> nn.Module:
        imported("ema_pytorch")
        return imported("denoising_diffusion_pytorch").Unet(channels=channels, **arguments)

    @staticmethod
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return net(x, torch.zeros(len(x), dtype=torch.long, device=x.device))

    def __init__(self, net: nn.Module, steps: int, side: int = 28) -> None:
        super().__init__(net, steps)
        from accelerate import Accelerator

        package = imported("denoising_diffusion_pytorch")
        diffusion = package.GaussianDiffusion(
            net, image_size=side, timesteps=T, objective="pred_noise", beta_schedule="linear", auto_normalize=False
        )
        self.accelerator = Accelerator(split_batches=True, mixed_precision="no")
        optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
        self.ema = imported("ema_pytorch").EMA(diffusion, beta=0.995, update_every=10)
        self.model, self.optimizer = self.accelerator.prepare(diffusion, optimizer)

    def step(self, x: Tensor) -> float:
        self.model.train()
        with self.accelerator.autocast():
            loss = self.model(x)
        total = loss.item()
        self.accelerator.backward(loss)
        self.accelerator.wait_for_everyone()
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.accelerator.wait_for_everyone()
        self.ema.update()
        return total

    @torch.no_grad()
    def eps(self, x_t: Tensor, i: Tensor) -> Tensor:
        return self.net.eval()(x_t, i)

    @torch.inference_mode()
    def call(self, x: Tensor, i: int) -> Tensor:
        return self.net(x, torch.full((len(x),), i, dtype=torch.long), None)


class Plain(Peer):
    """The script that a course or a tutorial has people write: float32, Adam, one loop; see plain.PlainUNet."""

    name, package, needs = "plain script", "", ()
    example = "a DDPM in one page: U-Net of double convolutions, Adam, float32"
    smallest: ClassVar[dict[str, Any]] = {"widths": (8,)}

    @staticmethod
    def build(channels: int, side: int, /, widths: tuple[int, ...]) -> nn.Module:
        return PlainUNet(channels, widths)

    @staticmethod
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return net(x, torch.zeros(len(x), dtype=torch.long, device=x.device))

    def __init__(self, net: nn.Module, steps: int, lr: float = 1e-3, schedule: str = "linear") -> None:
        """`schedule`: linear, or cosine (Nichol & Dhariwal 2021)."""
        super().__init__(net, steps)
        betas = torch.linspace(1e-4, 0.02, T)
        if schedule == "cosine":
            share = torch.cos((torch.arange(T + 1) / T + 0.008) / 1.008 * torch.pi / 2) ** 2
            betas = (1 - share[1:] / share[:-1]).clamp(max=0.999)
        self.alpha_bar = torch.cumprod(1 - betas, 0)
        self.optimizer = torch.optim.Adam(net.parameters(), lr=lr)

    def step(self, x: Tensor) -> float:
        self.net.train()
        t = torch.randint(0, T, (len(x),))
        noise = torch.randn_like(x)
        a = self.alpha_bar[t][:, None, None, None]
        loss = F.mse_loss(self.net(a.sqrt() * x + (1 - a).sqrt() * noise, t), noise)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def eps(self, x_t: Tensor, i: Tensor) -> Tensor:
        return self.net.eval()(x_t, i)

    @torch.no_grad()
    def call(self, x: Tensor, i: int) -> Tensor:
        return self.net(x, torch.full((len(x),), i))


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Diffusers, SmallDiffusion, Lucidrains, Plain)}

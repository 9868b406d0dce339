"""Small nets for the facades, DDPM as a student writes it, and its tables written out in numpy."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

F64 = torch.float64


class Small(nn.Module):
    """A smooth net of (x, t) with whole t; channels in, `out` channels out."""

    def __init__(self, channels: int = 1, out: int | None = None, seed: int = 0):
        super().__init__()
        self.conv = nn.Conv2d(channels, out or channels, 3, padding=1)
        weights = torch.randn(self.conv.weight.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            self.conv.weight.copy_(0.3 * weights)
            self.conv.bias.zero_()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        assert t.dtype == torch.int64 and t.shape == (len(x),)
        return torch.tanh(self.conv(x)) * (1 + torch.cos(t.to(x.dtype) / 7))[:, None, None, None]


class Net(nn.Module):
    """A small net that hears t: it scales and shifts the features."""

    def __init__(self, image_size: int = 28, channels: int = 1):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 16))
        self.first, self.last = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, channels, 3, padding=1)

    def told(self, t: Tensor) -> Tensor:
        angle = t.float() * (math.pi / 1000)
        return self.embed(torch.stack([angle.cos(), angle.sin()], dim=1))[:, :, None, None]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.last(torch.nn.functional.silu(self.first(x) * (1 + self.told(t))))


class Right:
    """DDPM as a student writes it."""

    shown = True  # whether its tables can be read from outside
    net = Net

    def __init__(self, image_size: int = 28, channels: int = 1):
        self._betas = self.table()
        self._bars = torch.cumprod(1 - self._betas, 0)
        if self.shown:
            self.betas, self.alpha_bars = self._betas, self._bars
        self.model = self.net(image_size, channels)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=5e-3)

    def table(self) -> Tensor:
        return torch.linspace(1e-4, 0.02, 1000)

    def amounts(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self._bars[t].sqrt(), (1 - self._bars[t]).sqrt()

    def draw(self, x: Tensor) -> Tensor:
        return torch.randn_like(x)

    def add_noise(self, x: Tensor, t: Tensor):
        noise = self.draw(x)
        a, b = (value[:, None, None, None] for value in self.amounts(t))
        return a * x + b * noise, noise

    def draw_t(self, x: Tensor) -> Tensor:
        return torch.randint(0, 1000, (len(x),))

    def tells(self, t: Tensor) -> Tensor:
        return t

    def shows(self, x: Tensor, noisy: Tensor) -> Tensor:
        return noisy

    def distance(self, said: Tensor, noise: Tensor) -> Tensor:
        return (said - noise).square().mean()

    def loss(self, x: Tensor) -> Tensor:
        t = self.draw_t(x)
        noisy, noise = self.add_noise(x, t)
        return self.distance(self.model(self.shows(x, noisy), self.tells(t)), noise)

    def train_step(self, x: Tensor):
        loss = self.loss(x)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def hidden(implementation: type[Right]) -> type[Right]:
    """The same without a table that anyone could read."""
    return type(f"Hidden{implementation.__name__}", (implementation,), {"shown": False})


def linear_betas(T: int, scale: float = 1.0) -> np.ndarray:
    return np.linspace(1e-4, 0.02, T) * scale


def cosine_betas(T: int, s: float = 0.008) -> np.ndarray:
    f = np.cos((np.arange(T + 1) / T + s) / (1 + s) * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def numbers(values: np.ndarray, t: Tensor, ndim: int = 4) -> Tensor:
    """values[t], shaped to multiply (N, ...)."""
    return torch.from_numpy(values[t.numpy()]).reshape(-1, *[1] * (ndim - 1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)

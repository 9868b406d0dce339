"""Small nets for the facades, and the tables of DDPM written out in numpy."""

from __future__ import annotations

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

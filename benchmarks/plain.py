"""The U-Net of a teaching script: two convolutions a level, max-pooling down, transposed convolutions up."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class DoubleConv(nn.Module):
    """Convolution, batch norm, ReLU, twice; the time is added in between."""

    def __init__(self, before: int, after: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())
        self.time = nn.Linear(time, after)
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.second(self.first(x) + self.time(t)[:, :, None, None])


class PlainUNet(nn.Module):
    """(N, channels, H, W), t (N,) int64 -> the noise, (N, channels, H, W); one level for each of `widths`.

    H and W must be multiples of 2^(levels - 1).
    """

    def __init__(self, channels: int, widths: tuple[int, ...], time: int = 128) -> None:
        super().__init__()
        self.half = time // 2
        self.time = nn.Sequential(nn.Linear(time, time), nn.ReLU(), nn.Linear(time, time))
        self.first = DoubleConv(channels, widths[0], time)
        self.down = nn.ModuleList(DoubleConv(a, b, time) for a, b in pairwise(widths))
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(list(pairwise(widths))))
        self.up = nn.ModuleList(DoubleConv(2 * a, a, time) for a in reversed(widths[:-1]))
        self.last = nn.Conv2d(widths[0], channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        w = torch.exp(-math.log(10000.0) * torch.arange(self.half, device=t.device) / self.half)
        angle = t[:, None] * w
        emb = self.time(torch.cat([angle.sin(), angle.cos()], dim=1))
        skips = [self.first(x, emb)]
        for block in self.down:
            skips.append(block(self.pool(skips[-1]), emb))
        h = skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            h = block(torch.cat([grow(h), skips.pop()], dim=1), emb)
        return self.last(h)

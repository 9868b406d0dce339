"""What every net that a denoiser is made of has in common: its face, and how it hears the noise level and the label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisette.nets.layers import TimeEmbedding


class Backbone(nn.Module, ABC):
    """forward(x, c_noise, cond) -> out of the same spatial size as x, whatever that is.

    Attributes:
        arguments: what it was built from: type(net)(**net.arguments) is a fresh net of the same kind.
        in_channels: channels of x.
        dims: number of spatial axes, 1 or 2.
        patch: side of the tile of x that becomes one position of the net.
        classes: number of class labels, 0 for none.
        input_gate: where `skip` is among the arguments, what makes of the embedding a number for each channel of x. The
            output has x in it so many times over, which a net whose last norm takes the size away can hardly do by
            itself: as a learned c_skip (Karras et al. 2022, sec. 5) of the noise level, and a channel each. 0 at first.
    """

    time_embedding: TimeEmbedding
    class_embedding: nn.Embedding | None
    input_gate: nn.Linear | None

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments
        self.in_channels: int = arguments["in_channels"]
        self.dims: int = arguments["dims"]
        self.patch: int = arguments["patch"]
        self.classes: int = arguments["classes"]
        self.input_gate = None

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """The output for a batch.

        Args:
            x: (N, in_channels, *S), any spatial size from 1 up.
            c_noise: (N,) the noise-conditioning number, about 0..1000, fractions allowed.
            cond: (N,) class labels 0..classes, whole numbers, where `classes` means none; None: no class for all.

        Returns:
            (N, out_channels, *S). Zero before training, since the last convolution starts at zero.

        Raises:
            ValueError: x of another number of axes or channels, or labels for a net without classes.
        """
        if x.ndim != self.dims + 2 or x.shape[1] != self.in_channels:
            raise ValueError(f"x of shape {tuple(x.shape)} must be (N, {self.in_channels}, {self.dims} spatial axes)")
        emb = self.embed(x.shape[0], c_noise, cond)
        out = self.out(x, emb)
        if self.input_gate is None:
            return out
        passed = x * self.input_gate(F.silu(emb)).unflatten(1, (-1, *[1] * self.dims))
        return out + F.pad(passed, [0, 0] * self.dims + [0, out.shape[1] - x.shape[1]])

    def gate(self) -> None:
        """Makes the input gate for what `time_embedding` gives, where the arguments ask for it."""
        if self.arguments["skip"]:
            self.input_gate = nn.Linear(self.time_embedding.linear_2.out_features, self.in_channels)
            for parameter in self.input_gate.parameters():
                nn.init.zeros_(parameter)

    def embed(self, n: int, c_noise: Tensor, cond: Tensor | None) -> Tensor:
        """What every block is told of n samples, (n, width of the embedding)."""
        emb: Tensor = self.time_embedding(c_noise)
        if self.class_embedding is None:
            if cond is not None:
                raise ValueError("cond was given, but this net has classes=0; build it with classes >= 1")
            return emb
        if cond is None:
            cond = torch.full((n,), self.classes, device=emb.device)
        return emb + self.class_embedding(cond).to(emb.dtype)

    @abstractmethod
    def out(self, x: Tensor, emb: Tensor) -> Tensor:
        """The output for x, by what its blocks are told."""

"""A transformer for signals of one or two spatial dimensions and of any size, with the face of the U-Net.

Over frames (dims=1) it is the encoder of the Motion Diffusion Model (Tevet et al. 2022, sec. 3, fig. 2), over the
patches of an image (dims=2) the DiT of Peebles & Xie 2023. Noise level and label reach every block as in the latter:
adaLN-Zero (sec. 3.2, "DiT block design").
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisette.nets.backbone import Backbone
from noisette.nets.layers import (
    TimeEmbedding,
    activation,
    at_least,
    attend,
    choose,
    conv,
    crop,
    depth_to_space,
    sinusoid,
    space_to_depth,
)


class Transformer(Backbone):
    """A transformer: forward(x, c_noise, cond) -> out of the same spatial size as x, whatever that is.

    Every patch^dims tile of x is a token. Where a token lies is told by sinusoids of its index along each axis, so no
    weight belongs to a place and other sizes than those it learned from are taken; the further a size is from those,
    the less it has learned of such indices.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output; as many as x has by default, twice that for a learned variance.
        dims: number of spatial axes, 1 or 2.
        channels: width of a token, a multiple of 8.
        blocks: transformer blocks.
        head_dim: channels of one attention head; must divide `channels`.
        expand: width of the two-layer net of a block as a multiple of `channels`.
        dropout: probability in [0, 1), after the attention and after the two-layer net of each block.
        activation: a name in layers.ACTIVATIONS.
        classes: number of class labels, 0 for none. Labels are 0..classes-1; `classes` is the null label ("no class").
        patch: side of a tile; 1 for frames. Sizes that are no multiple are padded with zeros and cropped.
        skip: the output has x in it besides, each channel times a number that the noise level decides, see Backbone.

    Raises:
        ValueError: an argument outside these ranges, in one line that names it, its value and the valid ones.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        dims: int = 2,
        channels: int = 128,
        blocks: int = 4,
        head_dim: int = 32,
        expand: int = 4,
        dropout: float = 0.0,
        activation: str = "gelu",
        classes: int = 0,
        patch: int = 1,
        skip: bool = False,
    ) -> None:
        out_channels = in_channels if out_channels is None else out_channels
        least = {"in_channels": in_channels, "out_channels": out_channels, "blocks": blocks, "expand": expand}
        for name, value in {**least, "patch": patch, "head_dim": head_dim}.items():
            at_least(name, value, 1)
        at_least("classes", classes, 0)
        choose("dims", dims, (1, 2))
        at_least("channels", channels, 8)
        if channels % 8:
            raise ValueError(f"channels={channels!r} must be a multiple of 8")
        if channels % head_dim:
            raise ValueError(f"head_dim={head_dim!r} must divide the {channels} channels of a token")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout!r} must be in [0, 1)")
        super().__init__(
            {
                **least,
                "dims": dims,
                "channels": channels,
                "head_dim": head_dim,
                "dropout": dropout,
                "activation": activation,
                "classes": classes,
                "patch": patch,
                "skip": skip,
            }
        )
        tile = patch**dims
        self.conv_in = conv(dims, in_channels * tile, channels, kernel=1)
        self.time_embedding = TimeEmbedding(channels // 4, "silu")
        self.class_embedding = nn.Embedding(classes + 1, channels) if classes else None
        self.gate()
        self.blocks = nn.ModuleList(
            Block(channels, head_dim, expand, dropout=dropout, act=activation) for _ in range(blocks)
        )
        self.time_emb_proj = nn.Linear(channels, 2 * channels)
        self.conv_out = conv(dims, channels, out_channels * tile, kernel=1)
        for parameter in (*self.time_emb_proj.parameters(), *self.conv_out.parameters()):
            nn.init.zeros_(parameter)

    def out(self, x: Tensor, emb: Tensor) -> Tensor:
        emb = F.silu(emb)
        h = self.conv_in(space_to_depth(x, self.patch))
        grid = h.shape[2:]
        tokens = h.flatten(2).transpose(1, 2)  # N, L, C
        tokens = tokens + places(tuple(grid), tokens.shape[2], tokens.device).to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens, emb)
        scale, shift = self.time_emb_proj(emb)[:, None].chunk(2, dim=2)
        h = modulated(tokens, scale, shift).transpose(1, 2).unflatten(2, grid)
        return crop(depth_to_space(self.conv_out(h), self.patch), tuple(x.shape[2:]))


class Block(nn.Module):
    """Attention, then a two-layer net, each with adaLN-Zero: (N, L, width) -> (N, L, width).

    The embedding gives scale and shift after each norm and a gate before each sum. The layer that makes them starts at
    zero, and with it the block as the identity (Peebles & Xie 2023, sec. 3.2).
    """

    def __init__(self, width: int, head_dim: int, expand: int, *, dropout: float, act: str) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.time_emb_proj = nn.Linear(width, 6 * width)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.Linear(width, width)
        self.linear_1 = nn.Linear(width, expand * width)
        self.linear_2 = nn.Linear(expand * width, width)
        self.act = activation(act)
        self.dropout = nn.Dropout(dropout)
        for parameter in self.time_emb_proj.parameters():
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, emb: Tensor) -> Tensor:
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = self.time_emb_proj(emb)[:, None].chunk(6, dim=2)
        h = modulated(tokens, scale_1, shift_1)
        q, k, v = (to(h).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        h = self.to_out(attend(q, k, v).transpose(1, 2).flatten(2))
        tokens = tokens + gate_1 * self.dropout(h)
        h = self.linear_2(self.act(self.linear_1(modulated(tokens, scale_2, shift_2))))
        return tokens + gate_2 * self.dropout(h)


def modulated(tokens: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm without weights, then (1 + scale) and shift, (N, 1, C) each (Perez et al. 2018, eq. 2). eps 1e-6."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift


def places(grid: tuple[int, ...], width: int, device: torch.device) -> Tensor:
    """(L, width): for each token of a grid, row by row, the sinusoids of its index along every axis, side by side."""
    share = width // len(grid)
    axes = torch.meshgrid(*(torch.arange(size, device=device) for size in grid), indexing="ij")
    return torch.cat([sinusoid(axis.flatten(), share) for axis in axes], dim=1)

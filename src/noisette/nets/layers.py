"""The parts of the nets, written once for one and two spatial dimensions. Plain torch; nothing here knows diffusion.

Shapes: N batch, C channels, S = the spatial axes (L) or (H, W).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "mish": nn.Mish,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "hardswish": nn.Hardswish,
}
"""Non-linearities by name; add a name here and every net can use it."""

NORMS = ("group", "layer", "rms")
"""GroupNorm (Wu & He 2018, over channels of a group and all positions); LayerNorm (Ba et al. 2016) and RMSNorm
(Zhang & Sennrich 2019), both over the channels of each position."""

TIMES = ("add", "scale_shift", "concat")
"""How a residual block hears the embedding: added before its second norm (Ho et al. 2020), as a scale and a shift
after it (Dhariwal & Nichol 2021, "adaptive group norm"), or as further channels of its second convolution."""

PADDINGS = ("zeros", "reflect", "circular")
"""What a convolution sees beyond the edge: nothing, the signal mirrored at its last position, or its other end."""

RESAMPLES = ("conv", "pool", "block")
"""How a U-Net changes its resolution: by a convolution (Ho et al. 2020), by means and repetition without weights, or
inside a residual block (Dhariwal & Nichol 2021, "BigGAN up/downsampling")."""


def choose(argument: str, value: object, valid: Iterable[object]) -> None:
    """Raise ValueError, naming the argument, its value and the valid ones, unless value is among the valid."""
    options = tuple(valid)
    if value not in options:
        raise ValueError(f"{argument}={value!r} is not one of {', '.join(map(repr, options))}")


def at_least(argument: str, value: int, least: int) -> None:
    """Raise ValueError unless value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{argument}={value!r} must be a whole number of at least {least}")


def activation(name: str) -> nn.Module:
    """A fresh non-linearity by its name in ACTIVATIONS. Raises ValueError for an unknown name."""
    choose("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def norm(name: str, width: int, groups: int) -> nn.Module:
    """A normalisation of (N, width, *S) by its name in NORMS; `groups` is for "group" alone and must divide width."""
    choose("norm", name, NORMS)
    if name == "group":
        if width % groups:
            raise ValueError(f"groups={groups!r} must divide the {width} channels of every layer")
        return nn.GroupNorm(groups, width)
    return ChannelNorm(width, centre=name == "layer")


def conv(
    dims: int, in_width: int, out_width: int, kernel: int = 3, stride: int = 1, padding_mode: str = "zeros"
) -> nn.Module:
    """A convolution over `dims` spatial axes, padded so that stride 1 keeps the size and stride 2 halves it up."""
    choose("dims", dims, (1, 2))
    choose("padding_mode", padding_mode, PADDINGS)
    if padding_mode == "zeros" or kernel == 1:
        layer = nn.Conv1d if dims == 1 else nn.Conv2d
        return layer(in_width, out_width, kernel, stride, padding=kernel // 2)
    layer = PaddedConv1d if dims == 1 else PaddedConv2d
    return layer(in_width, out_width, kernel, stride, padding_mode)


def pad(x: Tensor, amounts: Sequence[tuple[int, int]], padding_mode: str) -> Tensor:
    """(N, C, *S) with (before, after) more positions on each spatial axis, see PADDINGS.

    torch's own reflection and wrap refuse an axis shorter than what it is padded by; here it is mirrored or repeated
    as often as that takes.
    """
    if padding_mode == "zeros":
        return F.pad(x, [n for both in reversed(amounts) for n in both])
    for axis, (before, after) in enumerate(amounts, start=2):
        size = x.shape[axis]
        period = size if padding_mode == "circular" else max(2 * size - 2, 1)
        places = [place % period for place in (*range(-before, 0), *range(size, size + after))]
        edge = [x.narrow(axis, place if place < size else period - place, 1) for place in places]
        x = torch.cat([*edge[:before], x, *edge[before:]], axis)
    return x


class _Padded:
    """A convolution of an odd kernel that pads by reflection or around; its weights are those of the plain one."""

    def __init__(self, in_width: int, out_width: int, kernel: int, stride: int, padding_mode: str) -> None:
        super().__init__(in_width, out_width, kernel, stride)
        self.reach, self.beyond = kernel // 2, padding_mode

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad(x, [(self.reach, self.reach)] * (x.ndim - 2), self.beyond))


class PaddedConv1d(_Padded, nn.Conv1d):
    pass


class PaddedConv2d(_Padded, nn.Conv2d):
    pass


class ChannelNorm(nn.Module):
    """LayerNorm (centre=True) or RMSNorm over the channels of each position of (N, C, *S). eps 1e-5."""

    def __init__(self, width: int, centre: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if centre else None

    def forward(self, x: Tensor) -> Tensor:
        last = x.movedim(1, -1)
        if self.bias is None:
            last = F.rms_norm(last, self.weight.shape, self.weight.to(x.dtype), eps=1e-5)
        else:
            last = F.layer_norm(last, self.weight.shape, self.weight.to(x.dtype), self.bias.to(x.dtype), eps=1e-5)
        return last.movedim(-1, 1)


def sinusoid(c_noise: Tensor, width: int) -> Tensor:
    """(N,) numbers of about 0..1000 -> (N, width) = [cos(c w_i), sin(c w_i)], w_i = 10000^(-i/half), half = width/2.

    Vaswani et al. 2017, in the order and with the frequencies of diffusers (flip_sin_to_cos, freq_shift 0).
    Computed in float32 whatever the autocast mode: bf16 cannot tell 999 from 1000.
    """
    half = width // 2
    w = torch.exp(torch.arange(half, device=c_noise.device, dtype=torch.float32) * (-math.log(10000.0) / half))
    angle = c_noise.float()[:, None] * w
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class TimeEmbedding(nn.Module):
    """(N,) -> (N, 4 width): the sinusoid, Linear, activation, Linear."""

    def __init__(self, width: int, act: str) -> None:
        super().__init__()
        self.width = width
        self.linear_1 = nn.Linear(width, 4 * width)
        self.act = activation(act)
        self.linear_2 = nn.Linear(4 * width, 4 * width)

    def forward(self, c_noise: Tensor) -> Tensor:
        wave = sinusoid(c_noise, self.width).to(self.linear_1.weight.dtype)
        return self.linear_2(self.act(self.linear_1(wave)))


class ResBlock(nn.Module):
    """norm, act, conv, norm, act, dropout, conv, plus the input: (N, in_width, *S) -> (N, out_width, *S).

    The embedding (N, emb_width) comes in between, see TIMES. The shortcut is a 1x1 convolution where widths differ.
    `resize` is applied to the input and to its first activation, where the block changes the resolution too.
    """

    def __init__(
        self,
        in_width: int,
        out_width: int,
        emb_width: int,
        *,
        dims: int,
        act: str,
        norm_name: str,
        groups: int,
        time: str,
        dropout: float,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        choose("time", time, TIMES)
        self.time = time
        extra = max(4, out_width // 4) if time == "concat" else 0
        self.norm1 = norm(norm_name, in_width, groups)
        self.conv1 = conv(dims, in_width, out_width, padding_mode=padding_mode)
        self.time_emb_proj = nn.Linear(emb_width, {"add": 1, "scale_shift": 2}.get(time, 0) * out_width + extra)
        self.norm2 = norm(norm_name, out_width, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(dims, out_width + extra, out_width, padding_mode=padding_mode)
        self.act = activation(act)
        self.conv_shortcut = conv(dims, in_width, out_width, kernel=1) if in_width != out_width else None

    def forward(self, x: Tensor, emb: Tensor, resize: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        h = self.act(self.norm1(x))
        if resize is not None:
            x, h = resize(x), resize(h)
        h = self.conv1(h)
        e = self.time_emb_proj(self.act(emb))
        e = e[(...,) + (None,) * (x.ndim - 2)]
        if self.time == "add":
            h = self.act(self.norm2(h + e))
        elif self.time == "scale_shift":
            scale, shift = e.chunk(2, dim=1)
            h = self.act(self.norm2(h) * (1 + scale) + shift)
        else:
            h = self.act(self.norm2(h))
            h = torch.cat([h, e.to(h.dtype).expand(-1, -1, *h.shape[2:])], dim=1)
        h = self.conv2(self.dropout(h))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


PLAIN_UP_TO = {torch.bfloat16: 256, torch.float32: 64}
"""Positions up to which two matrix products beat the flash kernel on a CPU, by dtype (LOG.md, "Attention")."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of (N, heads, L, d) each, by the faster of two ways (Vaswani et al. 2017, eq. 1)."""
    length, width = q.shape[-2:]
    if q.device.type == "cpu" and length <= PLAIN_UP_TO.get(q.dtype, 0):
        return (q * width**-0.5 @ k.transpose(-1, -2)).softmax(dim=-1, dtype=q.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Self-attention over all positions of (N, C, *S), plus the input, with heads of head_dim channels (at most C)."""

    def __init__(self, width: int, head_dim: int, norm_name: str, groups: int) -> None:
        super().__init__()
        head_dim = min(head_dim, width)
        if width % head_dim:
            raise ValueError(f"head_dim={head_dim!r} must divide the {width} channels of a level with attention")
        self.head_dim = head_dim
        self.group_norm = norm(norm_name, width, groups)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # N, L, C
        q, k, v = (
            to(tokens).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v)
        )
        h = attend(q, k, v)
        h = self.to_out[0](h.transpose(1, 2).flatten(2))
        return x + h.transpose(1, 2).reshape(x.shape)


class Resample(nn.Module):
    """A change of resolution, see RESAMPLES; `block` is the residual block of "block"."""

    stride = 1

    def __init__(
        self, width: int, dims: int, resample: str, padding_mode: str = "zeros", block: ResBlock | None = None
    ) -> None:
        super().__init__()
        choose("resample", resample, RESAMPLES)
        self.conv = None
        if resample == "conv":
            self.conv = conv(dims, width, width, stride=self.stride, padding_mode=padding_mode)
        self.block = block


class Downsample(Resample):
    """Halve every spatial axis of (N, width, *S), rounding up."""

    stride = 2

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        if self.conv is not None:
            return self.conv(x)
        return halve(x) if self.block is None else self.block(x, emb, halve)


class Upsample(Resample):
    """Double every spatial axis of (N, width, *S), cut to `size`: what Downsample had rounded up."""

    def forward(self, x: Tensor, emb: Tensor, size: tuple[int, ...]) -> Tensor:
        resize = partial(double, size=size)
        if self.conv is not None:
            return self.conv(resize(x))
        return resize(x) if self.block is None else self.block(x, emb, resize)


def halve(x: Tensor) -> Tensor:
    """(N, C, *S) -> (N, C, *ceil(S/2)): the mean of two positions an axis, at an odd end the last one itself."""
    pool = F.avg_pool1d if x.ndim == 3 else F.avg_pool2d
    return pool(x, 2, ceil_mode=True, count_include_pad=False)


def double(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Every position twice an axis, then the first `size` of them."""
    return crop(F.interpolate(x, scale_factor=2.0, mode="nearest"), size)


def crop(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """The first `size` positions of each spatial axis of (N, C, *S)."""
    for axis, length in enumerate(size, start=2):
        x = x.narrow(axis, 0, length)
    return x


def space_to_depth(x: Tensor, patch: int, padding_mode: str = "zeros") -> Tensor:
    """(N, C, *S) -> (N, C patch^d, *ceil(S/patch)): the patch^d pixels of a tile become channels.

    Where S is no multiple, further positions fill the last tiles, see PADDINGS.
    """
    if patch == 1:
        return x
    dims = x.ndim - 2
    x = pad(x, [(0, -size % patch) for size in x.shape[2:]], padding_mode)
    for axis in range(dims):  # N, C, S1, p, S2, p
        x = x.unflatten(2 + 2 * axis, (-1, patch))
    x = x.permute(0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2))
    return x.flatten(1, 1 + dims)


def depth_to_space(x: Tensor, patch: int) -> Tensor:
    """The inverse of space_to_depth, the filled edge included: (N, C patch^d, *S) -> (N, C, *(S patch))."""
    if patch == 1:
        return x
    dims = x.ndim - 2
    x = x.unflatten(1, (-1,) + (patch,) * dims)  # N, C, p, p, S1, S2
    order = [axis for d in range(dims) for axis in (2 + dims + d, 2 + d)]
    x = x.permute(0, 1, *order)
    for axis in range(dims):
        x = x.flatten(2 + axis, 3 + axis)
    return x

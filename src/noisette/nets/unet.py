"""One U-Net for signals of one or two spatial dimensions and of any size.

It follows Ho et al. 2020 (Denoising Diffusion Probabilistic Models, appendix B) as diffusers' UNet2DModel lays it out;
its parts carry the names that they have there, so weights are exchanged without a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, Self

import torch
from torch import Tensor, nn

from noisette.nets.backbone import Backbone
from noisette.nets.layers import (
    PADDINGS,
    RESAMPLES,
    TIMES,
    Attention,
    Downsample,
    Resample,
    ResBlock,
    TimeEmbedding,
    Upsample,
    activation,
    at_least,
    choose,
    conv,
    crop,
    depth_to_space,
    norm,
    space_to_depth,
)


class Level(nn.Module):
    """The blocks at one resolution: residual blocks, the attentions that follow the first of them, a resampling."""

    def __init__(self, resnets: Iterable[ResBlock], attentions: Iterable[Attention]) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions)
        self.downsamplers = nn.ModuleList()
        self.upsamplers = nn.ModuleList()

    def steps(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """(residual block, its attention or the identity) in order."""
        return zip_longest(self.resnets, self.attentions, fillvalue=nn.Identity())


class UNet(Backbone):
    """A U-Net: forward(x, c_noise, cond) -> out of the same spatial size as x, whatever that is.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output; as many as x has by default, twice that for a learned variance.
        dims: number of spatial axes, 1 or 2.
        channels: width of the first level, even.
        multipliers: width of each level as a multiple of `channels`; each further level has half the resolution.
        blocks: residual blocks a level on the way down (one more on the way up).
        attention: levels (0 = finest) whose residual blocks are each followed by self-attention.
        middle_attention: self-attention between the two residual blocks of the coarsest level.
        head_dim: channels of one attention head; must divide the width of a level with attention.
        dropout: probability in [0, 1), before the second convolution of each residual block.
        activation: a name in layers.ACTIVATIONS.
        norm: "group", "layer" or "rms", see layers.NORMS.
        groups: groups of the group norm; must divide `channels`.
        time: "add", "scale_shift" or "concat", see layers.TIMES.
        classes: number of class labels, 0 for none. Labels are 0..classes-1; `classes` is the null label ("no class").
        patch: 1, 2 or 4; each patch^dims tile of x becomes one position of the net (space to depth), which makes the
            net about patch^dims times cheaper. Sizes that are no multiple are padded and cropped.
        heads: heads of every attention, instead of head_dim; 0 leaves it to head_dim.
        resample: "conv", "pool" or "block", see layers.RESAMPLES.
        padding_mode: "zeros", "reflect" or "circular", see layers.PADDINGS. With "circular", x is a ring: where every
            axis is a multiple of `stride`, an input turned by a multiple of it gives the same output, turned.
        skip: the output has x in it besides, each channel times a number that the noise level decides, see Backbone.

    Attributes:
        stride: positions of x to one of the coarsest level, patch * 2^(levels - 1).

    Raises:
        ValueError: an argument outside these ranges, in one line that names it, its value and the valid ones.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        dims: int = 2,
        channels: int = 64,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (),
        middle_attention: bool = True,
        head_dim: int = 32,
        dropout: float = 0.0,
        activation: str = "silu",
        norm: str = "group",
        groups: int = 8,
        time: str = "add",
        classes: int = 0,
        patch: int = 1,
        heads: int = 0,
        resample: str = "conv",
        padding_mode: str = "zeros",
        skip: bool = False,
    ) -> None:
        out_channels = in_channels if out_channels is None else out_channels
        multipliers, attention = tuple(multipliers), tuple(attention)
        _check(in_channels, out_channels, dims, channels, multipliers, blocks, attention, head_dim, dropout)
        at_least("groups", groups, 1)
        at_least("classes", classes, 0)
        choose("patch", patch, (1, 2, 4))
        choose("time", time, TIMES)
        at_least("heads", heads, 0)
        choose("resample", resample, RESAMPLES)
        choose("padding_mode", padding_mode, PADDINGS)
        super().__init__(
            {
                "in_channels": in_channels,
                "out_channels": out_channels,
                "dims": dims,
                "channels": channels,
                "multipliers": multipliers,
                "blocks": blocks,
                "attention": attention,
                "middle_attention": middle_attention,
                "head_dim": head_dim,
                "dropout": dropout,
                "activation": activation,
                "norm": norm,
                "groups": groups,
                "time": time,
                "classes": classes,
                "patch": patch,
                "heads": heads,
                "resample": resample,
                "padding_mode": padding_mode,
                "skip": skip,
            }
        )
        self.padding_mode, self.stride = padding_mode, patch * 2 ** (len(multipliers) - 1)
        self._build()

    def _build(self) -> None:
        a = self.arguments
        dims, tile, blocks = a["dims"], a["patch"] ** a["dims"], a["blocks"]
        widths = [a["channels"] * m for m in a["multipliers"]]
        emb = 4 * a["channels"]
        part = {"norm_name": a["norm"], "groups": a["groups"]}
        edge = {"padding_mode": a["padding_mode"]}
        block = {**part, **edge, "dims": dims, "act": a["activation"], "time": a["time"], "dropout": a["dropout"]}

        def level(ins: list[int], width: int, attentions: int) -> Level:
            if attentions and a["heads"] and width % a["heads"]:
                raise ValueError(f"heads={a['heads']!r} must divide the {width} channels of a level with attention")
            head_dim = width // a["heads"] if a["heads"] else a["head_dim"]
            return Level(
                (ResBlock(i, width, emb, **block) for i in ins),
                (Attention(width, head_dim, **part) for _ in range(attentions)),
            )

        def resampled(kind: type[Resample], width: int) -> Resample:
            inside = ResBlock(width, width, emb, **block) if a["resample"] == "block" else None
            return kind(width, dims, a["resample"], **edge, block=inside)

        self.conv_in = conv(dims, a["in_channels"] * tile, widths[0], **edge)
        self.time_embedding = TimeEmbedding(a["channels"], a["activation"])
        self.class_embedding = nn.Embedding(self.classes + 1, emb) if self.classes else None
        self.gate()

        down, skips, width = [], [widths[0]], widths[0]
        for i, out in enumerate(widths):
            down.append(level([width] + [out] * (blocks - 1), out, blocks * (i in a["attention"])))
            skips += [out] * blocks
            if i < len(widths) - 1:
                down[-1].downsamplers.append(resampled(Downsample, out))
                skips.append(out)
            width = out
        self.down_blocks = nn.ModuleList(down)

        self.mid_block = level([width, width], width, int(a["middle_attention"]))

        up = []
        for i, out in reversed(list(enumerate(widths))):
            ins = [(out if k else width) + skips.pop() for k in range(blocks + 1)]
            up.append(level(ins, out, (blocks + 1) * (i in a["attention"])))
            if i > 0:
                up[-1].upsamplers.append(resampled(Upsample, out))
            width = out
        self.up_blocks = nn.ModuleList(up)

        self.conv_norm_out = norm(a["norm"], width, a["groups"])
        self.act_out = activation(a["activation"])
        self.conv_out = conv(dims, width, a["out_channels"] * tile, **edge)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def out(self, x: Tensor, emb: Tensor) -> Tensor:
        size = tuple(x.shape[2:])
        h = self.conv_in(space_to_depth(x, self.patch, self.padding_mode))

        skips = [h]
        for level in self.down_blocks:
            for res, attend in level.steps():
                h = attend(res(h, emb))
                skips.append(h)
            for downsample in level.downsamplers:
                h = downsample(h, emb)
                skips.append(h)

        for res, attend in self.mid_block.steps():
            h = attend(res(h, emb))

        for level in self.up_blocks:
            for res, attend in level.steps():
                h = attend(res(torch.cat([h, skips.pop()], dim=1), emb))
            for upsample in level.upsamplers:
                h = upsample(h, emb, tuple(skips[-1].shape[2:]))

        h = self.conv_out(self.act_out(self.conv_norm_out(h)))
        return crop(depth_to_space(h, self.patch), size)

    @classmethod
    def diffusers(cls, in_channels: int, out_channels: int | None = None, **arguments: Any) -> Self:
        """A U-Net whose weights are those of diffusers' UNet2DModel, one to one, with that model's own defaults.

        `arguments` are those of UNet; what UNet2DModel cannot express raises ValueError. Its weights come from
        to_diffusers_state(net), its config from to_diffusers_config(net).
        """
        net = cls(in_channels, out_channels, **{"head_dim": 8, "groups": 32, **arguments})
        to_diffusers_config(net)
        return net


def to_diffusers_config(net: UNet, sample_size: int | tuple[int, int] | None = None) -> dict[str, Any]:
    """The keyword arguments of the diffusers UNet2DModel that takes this net's weights (JSON-ready).

    Raises ValueError where UNet2DModel has no such option: it knows dims=2, patch=1, norm="group", activation="silu",
    time="add" or "scale_shift", resample="conv", padding_mode="zeros" and no skip. Its heads have one width everywhere.
    """
    a = net.arguments
    for name, valid in {
        "dims": (2,),
        "patch": (1,),
        "norm": ("group",),
        "activation": ("silu",),
        "time": ("add", "scale_shift"),
        "heads": (0,),
        "resample": ("conv",),
        "padding_mode": ("zeros",),
        "skip": (False,),
    }.items():
        choose(f"for diffusers, {name}", a[name], valid)
    attend = [i in a["attention"] for i in range(len(a["multipliers"]))]
    return {
        "sample_size": sample_size,
        "in_channels": a["in_channels"],
        "out_channels": a["out_channels"],
        "layers_per_block": a["blocks"],
        "block_out_channels": [a["channels"] * m for m in a["multipliers"]],
        "down_block_types": ["AttnDownBlock2D" if on else "DownBlock2D" for on in attend],
        "up_block_types": ["AttnUpBlock2D" if on else "UpBlock2D" for on in reversed(attend)],
        "add_attention": a["middle_attention"],
        "attention_head_dim": a["head_dim"],
        "norm_num_groups": a["groups"],
        "attn_norm_num_groups": a["groups"],
        "norm_eps": 1e-5,
        "dropout": a["dropout"],
        "act_fn": "silu",
        "resnet_time_scale_shift": "default" if a["time"] == "add" else "scale_shift",
        "num_class_embeds": a["classes"] + 1 if a["classes"] else None,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "downsample_padding": 1,
    }


def to_diffusers_state(net: UNet) -> dict[str, Tensor]:
    """The weights under the names of diffusers' UNet2DModel. Raises ValueError as to_diffusers_config does."""
    to_diffusers_config(net)
    return {name: weight.detach() for name, weight in net.state_dict().items()}


def _check(
    in_channels: int,
    out_channels: int,
    dims: int,
    channels: int,
    multipliers: tuple[int, ...],
    blocks: int,
    attention: tuple[int, ...],
    head_dim: int,
    dropout: float,
) -> None:
    at_least("in_channels", in_channels, 1)
    at_least("out_channels", out_channels, 1)
    choose("dims", dims, (1, 2))
    at_least("channels", channels, 2)
    if channels % 2:
        raise ValueError(f"channels={channels!r} must be even")
    if not multipliers:
        raise ValueError("multipliers=() must name at least one level")
    for m in multipliers:
        at_least("multipliers", m, 1)
    at_least("blocks", blocks, 1)
    for level in attention:
        choose("attention", level, range(len(multipliers)))
    at_least("head_dim", head_dim, 1)
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout!r} must be in [0, 1)")

"""The three sizes that are compared, with one net a project for each, equal in parameters and operations.

    python benchmarks/sizes.py            every net beside the reference, which is diffusers'
    python benchmarks/sizes.py --fit 28   nets of Noisette's own that come within 10 % of it

Operations are those of one call for one image (torch's FlopCounterMode, a multiply-add counts as two). They are counted
on the meta device, where attention is two matrix products: the counter does not see the CPU's flash kernel.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ours import Noisette
from peers import PEERS, Peer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from noisette.data import ImageData, load
from noisette.data.cache import digest_rows
from noisette.data.spec import DataSpec

PROJECTS: dict[str, type[Peer]] = {Noisette.name: Noisette, **PEERS}


@dataclass(frozen=True)
class Size:
    """Images (channels, side, side) in batches, and what each project's `build` is given for them."""

    name: str
    channels: int
    side: int
    batch: int
    nets: dict[str, dict[str, Any]]
    options: dict[str, dict[str, Any]]  # what a project's training is told, beside its net


def _ours(**net: Any) -> dict[str, Any]:
    return {"patch": 2, "norm": "layer", "attention": (), "head_dim": 32, **net}


SIZES = {
    size.name: size
    for size in (
        Size(
            "28",
            1,
            28,
            128,
            {
                "noisette": _ours(channels=80, multipliers=(1,), blocks=3, time="concat", head_dim=16),
                "diffusers": {"widths": (32, 64, 64), "attention": (1, 2)},
                "smalldiffusion": {"ch": 32, "ch_mult": (1, 2, 2), "attn_resolutions": (14, 7)},
                "denoising-diffusion-pytorch": {"dim": 42, "dim_mults": (1, 1, 2)},
                "plain script": {"widths": (72, 128, 192)},
            },
            {"denoising-diffusion-pytorch": {"side": 28}},
        ),
        Size(
            "32",
            3,
            32,
            64,
            {
                "noisette": _ours(channels=160, multipliers=(1,), blocks=4),
                "diffusers": {"widths": (64, 128, 128, 128), "attention": (1,)},
                "smalldiffusion": {"ch": 64, "ch_mult": (1, 2, 2, 2), "attn_resolutions": (16,)},
                "denoising-diffusion-pytorch": {"dim": 72, "dim_mults": (1, 2, 2, 2)},
                "plain script": {"widths": (160, 192, 256, 384)},
            },
            {"denoising-diffusion-pytorch": {"side": 32}, "plain script": {"lr": 2e-4}},
        ),
        Size(
            "64",
            3,
            64,
            16,
            {
                "noisette": _ours(channels=160, multipliers=(1, 1, 1), blocks=3),
                "diffusers": {"widths": (64, 128, 128, 256), "attention": (3,)},
                "smalldiffusion": {"ch": 64, "ch_mult": (1, 2, 2, 4), "attn_resolutions": (8,)},
                "denoising-diffusion-pytorch": {"dim": 64, "dim_mults": (1, 2, 4, 4)},
                "plain script": {"widths": (120, 208, 320, 832)},
            },
            {"denoising-diffusion-pytorch": {"side": 64}, "plain script": {"lr": 2e-4}},
        ),
    )
}

TINY = Size(
    "tiny",
    1,
    8,
    4,
    {name: project.smallest for name, project in PROJECTS.items()},
    {"denoising-diffusion-pytorch": {"side": 8}},
)
"""Nets that prove a script in seconds; they are not equal in size."""


def count(project: type[Peer], size: Size, net: dict[str, Any] | None = None) -> tuple[int, int]:
    """(parameters, operations of one call for one image)."""
    with torch.device("meta"):
        built = project.build(size.channels, size.side, **(net or size.nets[project.name])).eval()
    x = torch.empty(1, size.channels, size.side, size.side, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        project.forward(built, x)
    return sum(p.numel() for p in built.parameters()), counter.get_total_flops()


def facts(project: type[Peer], size: Size) -> dict[str, Any]:
    """What a table says of a project beside its speed."""
    parameters, flops = count(project, size)
    return {
        "version": project.version(),
        "example": project.example,
        "net": size.nets[project.name],
        "parameters": parameters,
        "flops_a_call": flops,
    }


def present(wanted: list[str] | None = None) -> tuple[dict[str, type[Peer]], list[str]]:
    """(the projects that can be measured here, ours first; why the others cannot)."""
    chosen = {name: project for name, project in PROJECTS.items() if not wanted or name in wanted}
    reasons = {name: project.missing() for name, project in chosen.items()}
    return {n: p for n, p in chosen.items() if not reasons[n]}, [reason for reason in reasons.values() if reason]


def made(project: type[Peer], size: Size, steps: int, data: ImageData, **options: Any) -> Peer:
    """A project ready to train on this size for so many steps, its weights drawn by the fixed seed 0."""
    torch.manual_seed(0)
    if project is Noisette:
        return Noisette.on(data, size.batch, steps, size.nets[project.name])
    net: nn.Module = project.build(size.channels, size.side, **size.nets[project.name])
    return project(net, steps, **{**size.options.get(project.name, {}), **options})


# --- data ---------------------------------------------------------------------------------------------------------


def data_for(size: Size, source: str | None = None) -> tuple[ImageData, str]:
    """(images of this size without labels, what they are): the bundled digits at 28, else `source`, else made up."""
    if source or size.name == "28":
        spec = DataSpec(source or "digits", image_size=size.side, color="rgb" if size.channels == 3 else "grayscale")
        data = load(spec)
        return unlabelled(data.x, data.train, data.held_out), source or "digits"
    x = noise_images(512, size)
    rows = np.arange(len(x), dtype=np.int64)
    return unlabelled(x, rows[:-64], rows[-64:]), "made-up images: smooth random colours"


def noise_images(n: int, size: Size) -> NDArray[np.uint8]:
    """(n, side, side, channels) uint8: random colours on a 4x4 grid, enlarged smoothly."""
    small = torch.rand(n, size.channels, 4, 4, generator=torch.Generator().manual_seed(0))
    large = nn.functional.interpolate(small, (size.side, size.side), mode="bilinear", align_corners=False)
    return (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def unlabelled(x: NDArray[np.uint8], train: NDArray[np.int64], held_out: NDArray[np.int64]) -> ImageData:
    few = digest_rows(x[:1])
    return ImageData(x, None, (), "", {}, train, held_out, few)


SHAPES = ((1,), (1, 1), (1, 2), (1, 3), (1, 1, 1), (1, 1, 2), (1, 2, 2), (1, 2, 3), (1, 2, 4))

# --- the table ----------------------------------------------------------------------------------------------------


def fit(size: Size, within: float = 0.1) -> list[tuple[float, dict[str, Any], int, int]]:
    """(largest error, net, parameters, operations) of Noisette's nets this near to the reference, nearest first."""
    reference = count(PEERS["diffusers"], size)
    found = []
    for multipliers, blocks, time in itertools.product(SHAPES, (1, 2, 3, 4), ("add", "concat")):
        width, shape = max(multipliers), {"multipliers": multipliers, "blocks": blocks, "time": time}
        parameters, _ = count(Noisette, size, _ours(channels=64, **shape))
        guess = 64 * (reference[0] / parameters) ** 0.5  # parameters grow with the square of the width
        for channels in {int(guess // 8 * 8) + more for more in (0, 8)}:
            head = next(h for h in (32, 16, 8) if channels * width % h == 0)
            net = _ours(channels=channels, head_dim=head, **shape)
            got = count(Noisette, size, net)
            error = max(abs(a / b - 1) for a, b in zip(got, reference, strict=True))
            if error <= within:
                found.append((error, net, *got))
    return sorted(found, key=lambda row: row[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fit", choices=SIZES, help="look for nets of this size")
    args = parser.parse_args()
    for size in [SIZES[args.fit]] if args.fit else SIZES.values():
        reference = count(PEERS["diffusers"], size)
        rows = [(net, *got) for _, net, *got in fit(size)] if args.fit else []
        if not args.fit:
            rows = [(name, *count(project, size)) for name, project in PROJECTS.items()]
        for what, parameters, flops in rows:
            shares = f"{parameters / reference[0]:5.3f}  {flops / reference[1]:5.3f}"
            print(f"{size.name}  {parameters / 1e6:7.3f} M  {flops / 1e9:7.3f} GFLOP  {shares}  {what}")


if __name__ == "__main__":
    main()

"""The three sizes that are compared, with one net a project for each, equal in parameters and operations.

    python benchmarks/sizes.py            every net beside the reference, which is diffusers'
    python benchmarks/sizes.py --fit 28   nets of Noisette's own that come within 10 % of it

Operations are those of one call for one image (torch's FlopCounterMode, a multiply-add counts as two). They are counted
on the meta device, where attention is two matrix products: the counter does not see the CPU's flash kernel. To count,
a project's net is enough: accelerate need not be there, which all but diffusers' and the plain script's import.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import SIDES, ends_in_one_line, parser
from machine import operations
from numpy.typing import NDArray
from ours import Noisette
from peers import PEERS, Peer
from torch import nn

from noisette.data import ImageData, cache, fetch, load
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


LR_PHOTOS = 2e-4
"""Adam's rate where a one-page script learns photos: that of Ho et al. 2020, appendix B, whose images and U-Net such
scripts take over. With digits it is Adam's own default, 1e-3."""


def _ours(**net: Any) -> dict[str, Any]:
    return {"patch": 2, "norm": "layer", "attention": (), "middle_attention": False, **net}


SIZES = {
    size.name: size
    for size in (
        Size(
            "28",
            1,
            28,
            128,
            {
                "noisette": _ours(channels=96, multipliers=(1,), blocks=2, time="concat"),
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
                "noisette": _ours(channels=192, multipliers=(1,), blocks=2, time="scale_shift"),
                "diffusers": {"widths": (64, 128, 128, 128), "attention": (1,)},
                "smalldiffusion": {"ch": 64, "ch_mult": (1, 2, 2, 2), "attn_resolutions": (16,)},
                "denoising-diffusion-pytorch": {"dim": 72, "dim_mults": (1, 2, 2, 2)},
                "plain script": {"widths": (160, 192, 256, 384)},
            },
            {"denoising-diffusion-pytorch": {"side": 32}, "plain script": {"lr": LR_PHOTOS}},
        ),
        Size(
            "64",
            3,
            64,
            16,
            {
                "noisette": _ours(channels=192, multipliers=(1,), blocks=2, time="scale_shift"),
                "diffusers": {"widths": (64, 128, 128, 128), "attention": (2,)},
                "smalldiffusion": {"ch": 64, "ch_mult": (1, 2, 2, 2), "attn_resolutions": (16,)},
                "denoising-diffusion-pytorch": {"dim": 72, "dim_mults": (1, 2, 2, 2)},
                "plain script": {"widths": (152, 184, 256, 400)},
            },
            {"denoising-diffusion-pytorch": {"side": 64}, "plain script": {"lr": LR_PHOTOS}},
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


def like(project: type[Peer]) -> str:
    """The project of the tables whose nets this one has."""
    return next(name for name, known in PROJECTS.items() if issubclass(project, known))


def count(project: type[Peer], size: Size, net: dict[str, Any] | None = None) -> tuple[int, int]:
    """(parameters, operations of one call for one image)."""
    with torch.device("meta"):
        built = project.build(size.channels, size.side, **(net or size.nets[like(project)])).eval()
    x = torch.empty(1, size.channels, size.side, size.side, device="meta")
    return sum(p.numel() for p in built.parameters()), operations(lambda: project.forward(built, x))


def counted(size: Size) -> dict[str, tuple[int, int]]:
    """`count` of every project whose net can be built here."""
    found = {}
    for name, project in PROJECTS.items():
        with contextlib.suppress(ImportError):
            found[name] = count(project, size)
    return found


def facts(project: type[Peer], size: Size) -> dict[str, Any]:
    """What a table says of a project beside its speed."""
    parameters, flops = count(project, size)
    return {
        "version": project.version(),
        "example": project.example,
        "net": size.nets[like(project)],
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
    net: nn.Module = project.build(size.channels, size.side, **size.nets[like(project)])
    return project(net, steps, **{**size.options.get(like(project), {}), **options})


# --- data ---------------------------------------------------------------------------------------------------------


def at_hand(name: str) -> bool:
    """Whether a named set needs no download: it lies in NOISETTE_DATA or in the cache."""
    home = cache.folder()
    kept = home is not None and all((home / "downloads" / name / f.name).is_file() for f in fetch.REMOTE[name])
    return kept or fetch.local(name) is not None


def data_for(size: Size, source: str | None = None) -> tuple[ImageData, str]:
    """(images of this size without labels, what they are in words): `source` where there is one, else the bundled
    digits at 28, else CIFAR-10 where it is at hand, else made-up images.

    Raises UserError for a source that cannot be read.
    """
    if not source and size.name == "28":
        source = "digits"
    if not source and size.name in SIDES and at_hand("cifar10"):
        source = "cifar10"
    if source:
        spec = DataSpec(source, image_size=size.side, color="rgb" if size.channels == 3 else "grayscale")
        data = load(spec)
        original = data.info["original"]["width"][-1]
        enlarged = f", enlarged to {size.side}x{size.side}" if original < size.side else ""
        return unlabelled(data.x, data.train, data.held_out), f"{Path(source).name}{enlarged}"
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


@ends_in_one_line
def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--fit", choices=SIZES, help="look for nets of this size")
    args = options.parse_args(arguments)
    for size in [SIZES[args.fit]] if args.fit else SIZES.values():
        reference = count(PEERS["diffusers"], size)
        rows: list[tuple[Any, int, int]] = [(name, *got) for name, got in counted(size).items()]
        if args.fit:
            rows = [(net, *got) for _, net, *got in fit(size)]
        for what, parameters, flops in rows:
            shares = f"{parameters / reference[0]:5.3f}  {flops / reference[1]:5.3f}"
            print(f"{size.name}  {parameters / 1e6:7.3f} M  {flops / 1e9:7.3f} GFLOP  {shares}  {what}")


if __name__ == "__main__":
    main()

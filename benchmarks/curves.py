"""The loss after the same number of images: the same data, the same objective, every project's own step.

    python benchmarks/curves.py [--sizes 28,32] [--images 30000] [--data32 PATH] [--data64 PATH]

Each project sees the same batches in the same order, predicts eps on the DDPM's linear schedule of 1,000 steps, and is
measured by one function that it does not know: the mean squared error of its eps on held-out images at fixed times and
noise, in float32. Peers are measured with the weights they learn, ours with those and with the averaged ones that it
samples from. diffusers' 500 steps of warm-up are cut to a tenth of the run where that is less, or it would hardly have
begun. Written to results/curves.json and results/curves.png.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from machine import RESULTS, save
from ours import Noisette
from peers import ALPHA_BAR, Peer, T
from sizes import SIZES, TINY, Size, data_for, facts, made, present
from torch import Tensor

from noisette.data import ImageData
from noisette.data.stream import Stream

AVERAGED = "noisette, averaged weights"
IMAGES = {"28": 30_000, "32": 12_000, "64": 3_000, "tiny": 40}
"""Training images of a curve: about 8, 16 and 16 minutes for a peer that trains at 120 GFLOP/s."""

TESTED = 256  # held-out images, each at one time


class Exam:
    """Held-out x_t at fixed times and noise; `of` gives a project's mean squared error of eps."""

    def __init__(self, data: ImageData, stream: Stream, most: int = TESTED) -> None:
        x = stream.take(data.held_out[:most]).x
        generator = torch.Generator().manual_seed(1)
        self.eps = torch.randn(x.shape, generator=generator)
        self.i = torch.linspace(0, T - 1, len(x)).round().long()[torch.randperm(len(x), generator=generator)]
        a = ALPHA_BAR[self.i].float()[:, None, None, None]
        self.x_t = a.sqrt() * x + (1 - a).sqrt() * self.eps

    def of(self, project: Peer, **options: bool) -> float:
        parts = zip(self.x_t.split(64), self.i.split(64), self.eps.split(64), strict=True)
        wrong = [(project.eps(x, i, **options) - eps).double().square().sum() for x, i, eps in parts]
        return float(torch.stack(wrong).sum() / self.eps.numel())


def learn(project: Peer, stream: Stream, exam: Exam, steps: int, points: int) -> list[dict[str, Any]]:
    """Trains to the end; a row at evenly spaced numbers of images."""
    rows, busy = [], 0.0
    due = {round(steps * (k + 1) / points) for k in range(points)}
    for step in range(steps):
        x: Tensor = stream.batch(step).x
        begun = time.perf_counter()
        project.step(x)
        busy += time.perf_counter() - begun
        if step + 1 in due:
            row = {"images": (step + 1) * stream.count, "seconds": round(busy, 2), "loss": exam.of(project)}
            if isinstance(project, Noisette):
                row["averaged"] = exam.of(project, averaged=True)
            rows.append(row)
    return rows


def measure(size: Size, images: int, points: int, source: str | None, wanted: list[str] | None) -> dict[str, Any]:
    data, what = data_for(size, source)
    steps = max(2, images // size.batch)
    kinds, left_out = present(wanted)
    table = {}
    for name, kind in kinds.items():
        options = {"warmup": min(500, steps // 10)} if name == "diffusers" else {}
        project = made(kind, size, steps, data, **options)
        stream = Stream(data, size.batch, 0)
        curve = learn(project, stream, Exam(data, stream), steps, points)
        table[name] = {**facts(kind, size), "curve": curve}
        ends = [f"{curve[-1][key]:.5f} ({key})" for key in ("loss", "averaged") if key in curve[-1]]
        print(
            f"  {name:30s} {curve[-1]['images']:8d} images, {curve[-1]['seconds']:8.1f} s, {', '.join(ends)}",
            flush=True,
        )
    image = [size.channels, size.side, size.side]
    return {
        "image": image,
        "batch": size.batch,
        "steps": steps,
        "data": Path(what).name,
        "projects": table,
        "left_out": left_out,
    }


def draw(sizes: dict[str, Any], path: Path) -> None:
    """Held-out loss against images seen, one panel a size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(sizes), figsize=(5 * len(sizes), 4), squeeze=False, layout="constrained")
    for axis, result in zip(axes[0], sizes.values(), strict=True):
        for number, (name, row) in enumerate(result["projects"].items()):
            images = [point["images"] for point in row["curve"]]
            axis.plot(images, [point["loss"] for point in row["curve"]], color=f"C{number}", label=name)
            if "averaged" in row["curve"][0]:
                averaged = [point["averaged"] for point in row["curve"]]
                axis.plot(images, averaged, color=f"C{number}", linestyle="--", label=AVERAGED)
        channels, side, _ = result["image"]
        axis.set(title=f"{channels}x{side}x{side}, {result['data']}", xlabel="training images seen", yscale="log")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("held-out mean squared error of eps")
    axes[0][-1].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"written: {path}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="28,32", help="which of 28, 32, 64")
    parser.add_argument(
        "--images", type=int, help="training images, seen again where there are fewer; by size if not said"
    )
    parser.add_argument("--points", type=int, default=15, help="of each curve")
    parser.add_argument("--only", help="projects, with commas between them")
    parser.add_argument("--data32", help="32x32 images: anything that noisette trains on (CIFAR-10's .npz, a folder)")
    parser.add_argument("--data64", help="64x64 images, likewise")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for curves.json and curves.png")
    parser.add_argument("--tiny", action="store_true", help="very small nets, to see that it works")
    args = parser.parse_args(arguments)
    sizes = [TINY] if args.tiny else [SIZES[name] for name in args.sizes.split(",")]
    points = 2 if args.tiny else args.points
    found = {}
    for size in sizes:
        print(f"{size.channels}x{size.side}x{size.side}")
        source, wanted = getattr(args, f"data{size.side}", None), args.only and args.only.split(",")
        images = args.images or IMAGES[size.name]
        found[size.name] = measure(size, images, points, source, wanted)
        save("curves", {"settings": {"points": points, "tested": TESTED}, "sizes": found}, args.out)
    draw(found, args.out / "curves.png")


if __name__ == "__main__":
    main()

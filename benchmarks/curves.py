"""The loss after the same number of images: the same data, the same objective, every project's own step.

    python benchmarks/curves.py [--sizes 28,32] [--images28 12800] [--images32 3200] [--only "noisette;diffusers"]
                                [--data32 PATH] [--data64 PATH]

Each project sees the same batches in the same order, predicts eps on the DDPM's linear schedule of 1,000 steps, and is
measured by one function that it does not know: the mean squared error of its eps on held-out images at fixed times and
noise, in float32. Peers are measured with the weights they learn, ours with those and with the averaged ones that it
samples from. diffusers' 500 steps of warm-up are cut to a tenth of the run where that is less, or it would hardly have
begun.

A project at a size is a process of its own. Its curve stays in --work under a name with a hash of all that it depends
on, so a call that was stopped goes on with the next. Written to results/curves.json and curves.png.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import SIDES, add_data, add_results, add_sizes, ends_in_one_line, parser, positive, results, some_of
from kept import HERE, PRODUCT, code, key
from machine import Watch, about, save
from ours import Noisette
from peers import ALPHA_BAR, Peer, T
from sizes import PROJECTS, SIZES, TINY, Size, data_for, facts, like, made, present
from torch import Tensor

from noisette.data import ImageData
from noisette.data.cache import digest_rows
from noisette.data.stream import Stream
from noisette.experiment.files import write_json

AVERAGED = "noisette, averaged weights"
IMAGES = {"28": 30_000, "32": 12_000, "64": 3_000, "tiny": 40}
"""Training images of a curve: 8, 16 and 15 minutes for a peer that trains at 120 GFLOP/s."""

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


def one(name: str, size: Size, images: int, points: int, source: str | None, file: Path) -> None:
    """Writes the curve of one project to a file."""
    data, _ = data_for(size, source)
    steps, kind, watch = max(2, images // size.batch), PROJECTS[name], Watch(0.3)
    options = {"warmup": min(500, steps // 10)} if name == "diffusers" else {}
    project, stream = made(kind, size, steps, data, **options), Stream(data, size.batch, 0)
    curve = learn(project, stream, Exam(data, stream), steps, points)
    write_json(file, {**facts(kind, size), "machine": {**about(), **watch.told()}, "curve": curve})


def depends(name: str, size: Size, images: int, points: int, data: ImageData) -> str:
    """The hash of what a curve is made from."""
    files = [HERE / f"{part}.py" for part in ("curves", "ours", "peers", "plain")]
    project = PROJECTS[name]
    pixels = digest_rows(data.x[:: max(1, len(data) // 100)]).tobytes().hex()
    net = [size.nets[like(project)], size.options.get(name), size.batch, project.version()]
    versions = [torch.__version__, np.__version__, torch.get_num_threads()]
    ours = code(*PRODUCT) if project is Noisette else ""
    return key(net, images, points, pixels, len(data), versions, code(*files), ours)


def measure(size: Size, images: int, args: argparse.Namespace) -> dict[str, Any]:
    """Every project's curve at one size: kept, or learned now in its own process."""
    source = getattr(args, f"data{size.side}", None)
    data, what = data_for(size, source)
    kinds, left_out = present(args.only)
    table = {}
    for name in kinds:
        stem = f"{size.name}-{name.replace(' ', '-')}-{depends(name, size, images, args.points, data)}"
        file: Path = args.work / f"{stem}.json"
        if not file.exists():
            told = [name, size.name, str(images), str(args.points), source or "", str(file)]
            subprocess.run([sys.executable, __file__, "--one", *told], check=True)
        table[name] = json.loads(file.read_text())
        last = table[name]["curve"][-1]
        ends = [f"{last[key]:.5f} ({key})" for key in ("loss", "averaged") if key in last]
        print(f"  {name:30s} {last['images']:8d} images, {last['seconds']:8.1f} s, {', '.join(ends)}", flush=True)
    image = [size.channels, size.side, size.side]
    steps = max(2, images // size.batch)
    shared = {"image": image, "batch": size.batch, "steps": steps, "data": what}
    return {**shared, "projects": table, "left_out": left_out}


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


@ends_in_one_line
def main(arguments: list[str] | None = None) -> None:
    ask = parser(__doc__)
    add_sizes(ask, ("28", "32"))
    for side in SIDES:
        usual = f"(default: {IMAGES[side]:,}); seen again where there are fewer"
        ask.add_argument(f"--images{side}", type=positive, default=IMAGES[side], help=f"training images {usual}")
    ask.add_argument("--points", type=positive, default=15, help="of each curve")
    ask.add_argument("--only", type=some_of(PROJECTS, ";"), help="projects, with ; in between")
    add_data(ask)
    ask.add_argument("--work", type=Path, help="where curves are kept (default: runs/curves)")
    add_results(ask, "folder for curves.json and curves.png")
    ask.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    args = ask.parse_args(arguments)
    if args.one:
        name, size_name, images, points, source, file = args.one
        size = {**SIZES, TINY.name: TINY}[size_name]
        return one(name, size, int(images), int(points), source or None, Path(file))
    out, watch = results(args), Watch()
    if args.tiny:
        args.points = 2
    if not args.work:
        args.work = Path(tempfile.mkdtemp(prefix="noisette-tiny-")) if args.tiny else Path("runs/curves")
    found = {}
    for size in [TINY] if args.tiny else [SIZES[name] for name in args.sizes]:
        print(f"{size.channels}x{size.side}x{size.side}")
        images = IMAGES["tiny"] if args.tiny else getattr(args, f"images{size.name}")
        found[size.name] = measure(size, images, args)
        save("curves", {"settings": {"points": args.points, "tested": TESTED}, "sizes": found}, out, watch)
    draw(found, out / "curves.png")


if __name__ == "__main__":
    main()

"""How many network calls does a good sample need? Every sampler at 5 to 1,000 calls, on one trained model.

    python benchmarks/samplers.py RUN --mnist DIR [--samples 1024] [--calls 5,10,20,50,100,250,1000] [--only ddim,heun]

RUN is a run that learned digits. The same seeds are drawn in every way; a reader of MNIST (see digits_quality.py)
gives the Fréchet distance to MNIST's 10,000 test images, with its 95 % interval. Every sampler is drawn with all that
it takes (deterministic and not, every variance), on the run's own grid at every number of calls, and on the other grids
up to --grids-up-to calls: beyond, where steps are places of the table, they come close to one another. Everything else
(guidance, clipping) is as the run's settings say.

Calls are those of one sample without guidance; Heun's method takes two a step and one in the last, so an odd number,
one less where an even one is asked for. Two samplers that take the very same steps are drawn once (see SAME), and so
are two grids that are the same times.

Ratios are to ddpm with the small variance at the most calls asked for: 1,000-step ancestral sampling. The samples lie
in the run folder, 72 a file, so a run that was stopped goes on; it says first how long it will take. Written:
results/samplers.json after every row, and samplers.png.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from digits_quality import LEAST_ACCURACY, Judge, options

from noisette.diffusion.samplers import GRIDS, SAMPLERS, network_calls, time_grid
from noisette.experiment import build
from noisette.experiment.config import SampleConfig
from noisette.experiment.environment import environment
from noisette.experiment.files import write_json
from noisette.experiment.runs import Run
from noisette.tasks import shards

CALLS = (5, 10, 20, 50, 100, 250, 1000)

SAME = {"ddim, eta 0": "euler", "ddpm, small": "ddim, eta 1"}
"""Ways that stand for another, which takes the same steps."""

CHOICES: dict[str, tuple[Any, ...]] = {"eta": (0.0, 1.0), "variance": ("small", "large", "learned")}
"""What is tried of each option that a sampler takes."""


@dataclass(frozen=True)
class Way:
    """A sampler with its options, `name`, on a grid."""

    name: str
    settings: SampleConfig

    @property
    def calls(self) -> int:
        return network_calls(self.settings.sampler, self.settings.steps)


def variants(base: SampleConfig, learned: bool) -> dict[str, SampleConfig]:
    """Every registered sampler with every choice of its options, by name; those that stand for another only once."""
    found = {}
    for sampler in SAMPLERS:
        options = build.OPTIONS.get(sampler, ())
        assert len(options) <= 1, "a sampler with two options needs their product here"
        if not options:
            found[sampler] = base.model_copy(update={"sampler": sampler})
        for option in options:
            for choice in CHOICES[option]:
                if choice != "learned" or learned:
                    said = f"{option} {choice:g}" if isinstance(choice, float) else choice
                    found[f"{sampler}, {said}"] = base.model_copy(update={"sampler": sampler, option: choice})
    return {name: settings for name, settings in found.items() if name not in SAME.values()}


def steps_of(sampler: str, calls: int) -> int:
    """The most steps that take no more than these calls."""
    return (calls + 1) // 2 if sampler == "heun" else calls


def ways(model: shards.Model, calls: Sequence[int], grids_up_to: int, only: Sequence[str]) -> list[Way]:
    """All to be drawn, that which the others are compared with first, then by calls; each list of times once."""
    base, schedule = model.run.config.sample, model.denoiser.schedule
    named = variants(base, model.denoiser.learn_variance)
    if unknown := [name for name in only if name not in (*named, *SAMPLERS, *SAME.values())]:
        sys.exit(f"samplers: no sampler {', '.join(unknown)}; there are {', '.join(named)}")
    reference = named["ddpm, small"].model_copy(update={"steps": max(calls)})
    found: dict[tuple[str, tuple[float, ...]], Way] = {}

    def add(name: str, settings: SampleConfig) -> None:
        if settings.grid in ("log_snr", "karras") or settings.steps <= (schedule.steps or settings.steps):
            ts = tuple(time_grid(schedule, settings.steps, settings.grid))
            found.setdefault((name, ts), Way(name, settings))

    add("ddpm, small", reference)
    for count in sorted(calls):
        for name, settings in named.items():
            if not only or name in only or settings.sampler in only:
                steps = steps_of(settings.sampler, count)
                for grid in (base.grid, *(GRIDS if count <= grids_up_to else ())):
                    add(name, settings.model_copy(update={"steps": steps, "grid": grid}))
    return list(found.values())


def speed(model: shards.Model, settings: SampleConfig) -> float:
    """Images a second through the net as samples are drawn, from a few calls."""
    from noisette.tasks.generate import draw, labels_for

    few, seeds = settings.model_copy(update={"sampler": "ddim", "steps": 4}), list(range(shards.SHARD))
    labels, shape = labels_for(model.run, seeds, None), model.run.shape
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        draw(model.denoiser, few, shape.x, seeds, labels, len(shape.classes), chunk=shards.SHARD)
        taken.append(time.perf_counter() - begun)
    return shards.SHARD * shards.calls(few, model.labelled) / min(taken)


def left(model: shards.Model, todo: Sequence[Way], n: int) -> int:
    """Images that have to go through the net."""
    return sum(shards.missing(model, way.settings, n) * shards.calls(way.settings, model.labelled) for way in todo)


def measure(model: shards.Model, judge: Judge, way: Way, n: int, ancestral: float | None) -> dict[str, Any]:
    """One row; `ancestral` is the distance that it is compared with, its own when None."""
    drawn = shards.drawn(model, way.settings, n)
    found = judge(drawn.x, drawn.labels)
    about = {"name": way.name, "same_as": SAME.get(way.name), "grid": way.settings.grid, "calls": way.calls}
    settings = {"settings": way.settings.model_dump(mode="json"), "seconds": drawn.seconds}
    return {**about, **found, "ratio": found["frechet"] / (ancestral or found["frechet"]), **settings}


def table(rows: Sequence[dict[str, Any]], calls: Sequence[int]) -> str:
    """Ways down, calls across: the ratio to ancestral sampling; the best grid of each is named where it is not the
    first row's."""
    usual = rows[0]["grid"]
    lines = ["| sampler | " + " | ".join(f"{count:,}" for count in calls) + " |", "|---" * (len(calls) + 1) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        cells = []
        for count in calls:
            mine = [row for row in rows if row["name"] == name and row["calls"] in (count, count - (count % 2 == 0))]
            first = [f"{row['ratio']:.2f}" for row in mine if row["grid"] == usual][:1]
            best = min(mine, key=lambda row: row["ratio"], default=None)
            other = [f"{best['grid']} {best['ratio']:.2f}"] if best and best["grid"] != usual else []
            cells.append("; ".join(first + other))
        label = f"{name} (= {SAME[name]})" if name in SAME else name
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(rows: Sequence[dict[str, Any]], real: float, out: Path) -> None:
    """Distance against calls on the usual grid, with intervals; the best other grid's as a cross."""
    figure, ax = plt.subplots(figsize=(7, 4.6))
    for k, name in enumerate(dict.fromkeys(row["name"] for row in rows)):
        mine = sorted((row for row in rows if row["name"] == name), key=lambda row: row["calls"])
        usual = [row for row in mine if row["grid"] == rows[0]["grid"]]
        spread = [
            [row["frechet"] - row["frechet_low"] for row in usual],
            [row["frechet_high"] - row["frechet"] for row in usual],
        ]
        ax.errorbar(
            [r["calls"] for r in usual],
            [r["frechet"] for r in usual],
            spread,
            fmt="o-",
            ms=3,
            lw=1.2,
            capsize=2,
            color=f"C{k}",
            label=name,
        )
        for calls in dict.fromkeys(row["calls"] for row in mine):
            others = [r["frechet"] for r in mine if r["calls"] == calls and r["grid"] != rows[0]["grid"]]
            if others:
                ax.plot(calls, min(others), "x", color=f"C{k}", ms=5)
    ax.axhline(rows[0]["frechet"], color="grey", lw=0.8, label="ancestral, all calls")
    ax.axhline(real, color="grey", ls=":", label="real digits")
    ax.set(xscale="log", yscale="log", xlabel="network calls a sample", ylabel="Fréchet distance, digit reader")
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7)
    figure.savefig(out, dpi=150, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    options(parser)
    parser.add_argument("--samples", type=int, default=1024, help="drawn in every way (default: 1024)")
    parser.add_argument("--calls", type=lambda text: [int(part) for part in text.split(",")], default=list(CALLS))
    parser.add_argument("--grids-up-to", type=int, default=50, help="calls up to which other grids are tried")
    parser.add_argument("--only", type=lambda text: text.split(";"), default=[], help="samplers, separated by ;")
    parser.add_argument("--weights", default="ema", help="ema or raw (default: ema)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "samplers.json")
    parser.add_argument("--estimate", action="store_true", help="only say how long it would take")
    parser.add_argument("--tiny", action="store_true", help="few calls, any reader: shows that it runs, nothing else")
    args = parser.parse_args()
    calls = [2, 3] if args.tiny else args.calls
    n = 100 if args.tiny else args.samples

    model = shards.Model.open(Run.open(args.run), args.weights)
    todo = ways(model, calls, args.grids_up_to, args.only)
    images = left(model, todo, n)
    rate = speed(model, model.run.config.sample)
    print(f"{len(todo)} rows; {images:,} calls at {rate:,.0f} a second: about {images / rate / 60:.1f} min", flush=True)
    if args.estimate:
        return
    if not args.mnist:
        parser.error("--mnist DIR is needed: the folder with MNIST's four idx .gz files")
    judge = Judge(args.mnist, args.cache, args.epochs, 0.0 if args.tiny else LEAST_ACCURACY)
    beside = judge.about(n, args.data)
    about = {"machine": environment(), "run": {"checkpoint": model.step, "weights": model.weights, "hash": model.hash}}
    rows: list[dict[str, Any]] = []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for way in todo:
        rows.append(measure(model, judge, way, n, rows[0]["frechet"] if rows else None))
        row = rows[-1]
        said = f"{row['frechet']:.1f} ({row['frechet_low']:.1f} to {row['frechet_high']:.1f}), ratio {row['ratio']:.3f}"
        print(f"{row['name']}, {row['grid']}, {row['calls']} calls: {said}, {row['seconds']:.0f} s", flush=True)
        write_json(args.out, {**about, "samples": n, **beside, "rows": rows})
    picture(rows, beside["real"], args.out.with_suffix(".png"))
    print(table(rows, calls))


if __name__ == "__main__":
    main()

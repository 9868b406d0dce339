"""How many network calls does a good sample need? Every sampler at 5 to 1,000 calls, on one trained model.

    python benchmarks/samplers.py RUN --mnist DIR [--samples 1024] [--calls 5,10,20,50,100,1000] [--only "ddim;heun"]
    python benchmarks/samplers.py RUN --mnist DIR --confirm "dpmpp_2m, trailing, 20" [--samples 5000] [--seed 1000000]

RUN is a run that learned digits. The same seeds are drawn in every way; a reader of MNIST (see digits_quality.py)
gives the Fréchet distance to MNIST's 10,000 test images, with its 95 % interval. Every sampler is drawn with all that
it takes (deterministic and not, every variance), on the run's own grid at every number of calls, and on the other grids
up to --grids-up-to calls: beyond, where steps are places of the table, they come close to one another. Everything else
(guidance, clipping) is as the run's settings say.

Calls are those of one sample without guidance; Heun's method takes two a step and one in the last, so an odd number,
one less where an even one is asked for. Two samplers that take the very same steps are drawn once (see SAME), and so
are two grids that are the same times.

Ratios are to ddpm with the small variance at the most calls asked for, or at as many as the run's schedule has steps:
1,000-step ancestral sampling. The samples lie in the run folder, 72 a file, so a run that was stopped goes on (--tiny
leaves its few there too); it says first how long it will take. Written: results/samplers.json after every row, and
samplers.png.

The best of many rows was lucky with its seeds too. --confirm draws one way, named as a row is printed, and ancestral
sampling again from seeds that chose nothing, and gives their ratio with a 95 % interval by the jackknife over blocks of
seeds, left out of both at once: the two ways draw from the same noise, so their errors largely cancel. It becomes a
row of results/samplers-confirm.json, beside those of other ways, weights, seeds and numbers of samples.

A Fréchet distance of N samples is too high by about b / N, with nearly the same b for both ways, so a ratio of two lies
nearer to 1 than that of endless samples: (a + b/N) / (c + b/N). A ratio of 1.0 stays, one of 1.3 seems less; look at it
with more samples. --confirm also takes that term out of both distances, by the same jackknife: `ratio_corrected`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from command import add_results, ends_in_one_line, parser, positive, results, whole
from digit_reader import images
from digits_quality import Judge, enough, judge_of, options, real_digits, run_of_digits, settle
from kept import rows_of
from machine import Watch, about
from numpy.typing import NDArray

from noisette.diffusion.samplers import GRIDS, SAMPLERS, network_calls, time_grid
from noisette.errors import UserError, nearest
from noisette.experiment import build
from noisette.experiment.config import SampleConfig
from noisette.experiment.files import write_json
from noisette.metrics.distances import frechet_of_moments, moments
from noisette.tasks import shards

CALLS = (5, 10, 20, 50, 100, 250, 1000)

ANCESTRAL_GRID = "trailing"
"""Where ancestral sampling walks, whatever grid the run prefers for its own sampler."""

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


def reference(model: shards.Model, calls: int) -> Way:
    """What the others are compared with: so many steps, or as many as the schedule has."""
    named = variants(model.run.config.sample, model.denoiser.learn_variance)
    steps = min(calls, model.denoiser.schedule.steps or calls)
    return Way("ddpm, small", named["ddpm, small"].model_copy(update={"steps": steps, "grid": ANCESTRAL_GRID}))


def ways(model: shards.Model, calls: Sequence[int], grids_up_to: int, only: Sequence[str]) -> list[Way]:
    """All to be drawn, that which the others are compared with first, then by calls; each list of times once."""
    base, schedule = model.run.config.sample, model.denoiser.schedule
    named = variants(base, model.denoiser.learn_variance)
    for name in only:
        if name not in (there := (*named, *SAMPLERS, *SAME.values())):
            raise UserError(f'no sampler "{name}"{nearest(name, there)}')
    first = reference(model, max(calls))
    found: dict[tuple[str, tuple[float, ...]], Way] = {}

    def add(name: str, settings: SampleConfig) -> None:
        if settings.grid in ("log_snr", "karras") or settings.steps <= (schedule.steps or settings.steps):
            ts = tuple(time_grid(schedule, settings.steps, settings.grid))
            found.setdefault((name, ts), Way(name, settings))

    add(first.name, first.settings)
    for count in sorted(calls):
        for name, settings in named.items():
            if not only or name in only or settings.sampler in only:
                steps = steps_of(settings.sampler, count)
                for grid in (ANCESTRAL_GRID, base.grid, *(GRIDS if count <= grids_up_to else ())):
                    add(name, settings.model_copy(update={"steps": steps, "grid": grid}))
    return list(found.values())


def speed(model: shards.Model, settings: SampleConfig) -> float:
    """Images a second through the net as samples are drawn, from a few calls."""
    from noisette.tasks.generate import draw, labels_for

    few, seeds = settings.model_copy(update={"sampler": "ddim", "steps": 4}), list(range(shards.SHARD))
    labels = labels_for(model.run, seeds, None)
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        draw(model.denoiser, few, model.run.shape, seeds, labels, chunk=shards.SHARD)
        taken.append(time.perf_counter() - begun)
    return shards.SHARD * shards.calls(few, model.labelled) / min(taken)


def left(model: shards.Model, todo: Sequence[Way], n: int, seed: int = 0) -> int:
    """Images that have to go through the net."""
    return sum(
        shards.missing(model, way.settings, n, seed) * shards.calls(way.settings, model.labelled) for way in todo
    )


def measure(model: shards.Model, judge: Judge, way: Way, n: int, ancestral: float | None) -> dict[str, Any]:
    """One row; `ancestral` is the distance that it is compared with, its own when None."""
    drawn = shards.drawn(model, way.settings, n)
    found = judge(drawn.x, drawn.labels)
    said = {"name": way.name, "same_as": SAME.get(way.name), "grid": way.settings.grid, "calls": way.calls}
    settings = {"settings": way.settings.model_dump(mode="json"), "seconds": drawn.seconds}
    return {**said, **found, "ratio": found["frechet"] / (ancestral or found["frechet"]), **settings}


# --- a chosen way once more ---------------------------------------------------------------------------------------

BLOCKS = 32
"""Of seeds, each left out once."""


def chosen(model: shards.Model, text: str, only: int) -> list[Way]:
    """[ancestral sampling with `only` calls, the way that `text` names: "dpmpp_2m, trailing, 20"]. Raises UserError."""
    named = variants(model.run.config.sample, model.denoiser.learn_variance)
    parts = [part.strip() for part in text.removesuffix(" calls").split(",")]
    if len(parts) < 3:
        raise UserError(f'--confirm "{text}": it reads as "dpmpp_2m, trailing, 20"')
    *parts, grid, count = parts
    if (name := ", ".join(parts)) not in named:
        raise UserError(f'--confirm "{text}": no sampler "{name}"{nearest(name, named)}')
    if grid not in GRIDS:
        raise UserError(f'--confirm "{text}": no grid "{grid}"{nearest(grid, GRIDS)}')
    if not count.isdecimal() or not int(count):
        raise UserError(f'--confirm "{text}": how many calls? It reads as "dpmpp_2m, trailing, 20"')
    settings = named[name].model_copy(update={"grid": grid, "steps": steps_of(named[name].sampler, int(count))})
    with build.as_user_errors(f'--confirm "{text}"'):
        time_grid(model.denoiser.schedule, settings.steps, grid)
    return [reference(model, only), Way(name, settings)]


def paired(
    reference: NDArray[np.float64], ancestral: NDArray[np.float64], other: NDArray[np.float64]
) -> dict[str, float | list[float]]:
    """The ratio of two Fréchet distances to the same reference, other over ancestral, from features (N, D) of samples
    that share their seeds; low and high are its 95 % interval, by the delete-a-block jackknife (Efron 1982) of log
    ratios. `distances_corrected` are less their first-order bias, B d - (B - 1) mean(d without a block)."""
    fixed = moments(reference)
    both = [ancestral, other]
    whole = np.array([frechet_of_moments(fixed, moments(x)) for x in both])
    blocks = np.array_split(np.arange(len(ancestral)), BLOCKS)
    without = np.array([[frechet_of_moments(fixed, moments(np.delete(x, b, 0))) for x in both] for b in blocks])
    logs = np.log(without[:, 1] / without[:, 0])
    error = float(np.sqrt((BLOCKS - 1) / BLOCKS * ((logs - logs.mean()) ** 2).sum()))
    corrected = BLOCKS * whole - (BLOCKS - 1) * without.mean(0)
    ratio = float(whole[1] / whole[0])
    return {
        "ratio": ratio,
        "low": ratio * float(np.exp(-1.96 * error)),
        "high": ratio * float(np.exp(1.96 * error)),
        "ratio_corrected": float(corrected[1] / corrected[0]),
        "distances": whole.tolist(),
        "distances_corrected": corrected.tolist(),
    }


SAID = ("run", "ways", "samples", "seed")
"""What tells two rows of samplers-confirm.json apart."""


def confirmed(path: Path) -> list[dict[str, Any]]:
    """The rows that are there. Raises UserError for a damaged file."""
    return list(rows_of(path, {"rows": SAID}).get("rows", []))


def confirm(model: shards.Model, judge: Judge, pair: Sequence[Way], n: int, seed: int) -> dict[str, Any]:
    drawn = [shards.drawn(model, way.settings, n, seed) for way in pair]
    features = [judge.read(images(samples.x))[1] for samples in drawn]
    ways = [{"name": w.name, "calls": w.calls, "settings": w.settings.model_dump(mode="json")} for w in pair]
    return {"ways": ways, "samples": n, "seed": seed, **paired(judge.test_features, *features)}


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


@ends_in_one_line
def main() -> None:
    ask = parser(__doc__)
    ask.add_argument("run", type=Path)
    options(ask)
    ask.add_argument("--samples", type=positive, default=1024, help="drawn in every way (default: 1024)")
    ask.add_argument("--calls", type=lambda text: [positive(part) for part in text.split(",")], default=list(CALLS))
    ask.add_argument("--grids-up-to", type=whole, default=50, help="calls up to which other grids are tried")
    ask.add_argument("--only", type=lambda text: text.split(";"), default=[], help="samplers, separated by ;")
    ask.add_argument("--confirm", metavar="WAY", help='measure this one on other seeds: "dpmpp_2m, trailing, 20"')
    ask.add_argument("--seed", type=positive, default=1_000_000, help="the first for --confirm (default: 1,000,000)")
    ask.add_argument("--weights", choices=("ema", "raw"), default="ema")
    add_results(ask, "folder for samplers.json and samplers.png", "few calls, any reader: shows that it runs")
    ask.add_argument("--estimate", action="store_true", help="only say how long it would take")
    args = ask.parse_args()
    settle(args)
    calls, n = ([2, 3], 100) if args.tiny else (args.calls, args.samples)
    enough(n)
    if not args.mnist and not args.estimate:
        ask.error("--mnist DIR is needed: the folder with MNIST's four idx .gz files")
    out = None if args.estimate else results(args)
    if out and args.confirm:
        confirmed(out / "samplers-confirm.json")
    if not args.confirm:
        real_digits(args.data, n)
    watch = Watch(0.3)
    model = shards.Model.open(run_of_digits(args.run), args.weights)
    if args.confirm and args.seed < n:
        raise UserError(f"--seed {args.seed}: these seeds chose the way; take one from {n} up")
    first = args.seed if args.confirm else 0
    todo = chosen(model, args.confirm, max(calls)) if args.confirm else ways(model, calls, args.grids_up_to, args.only)
    calls_left = left(model, todo, n, first)
    rate, minutes = speed(model, model.run.config.sample), calls_left / 60
    print(f"{len(todo)} rows; {calls_left:,} calls at {rate:,.0f} a second: about {minutes / rate:.1f} min", flush=True)
    if not out:
        return
    judge = judge_of(args)
    run = {"checkpoint": model.step, "weights": model.weights, "hash": model.hash}
    if args.confirm:
        found = {"run": run, **confirm(model, judge, todo, n, first)}
        path = out / "samplers-confirm.json"
        others = [row for row in confirmed(path) if any(row.get(key) != found[key] for key in SAID)]
        write_json(path, {"rows": [*others, {"machine": {**about(), **watch.told()}, **found}]})
        said = f"{found['ratio']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
        print(f"{args.confirm} over ancestral: {said}; without bias {found['ratio_corrected']:.3f}")
        return
    beside, rows = judge.about(n, args.data), []
    for way in todo:
        rows.append(measure(model, judge, way, n, rows[0]["frechet"] if rows else None))
        row = rows[-1]
        said = f"{row['frechet']:.1f} ({row['frechet_low']:.1f} to {row['frechet_high']:.1f}), ratio {row['ratio']:.3f}"
        print(f"{row['name']}, {row['grid']}, {row['calls']} calls: {said}, {row['seconds']:.0f} s", flush=True)
        machine = {**about(), **watch.told()}
        write_json(out / "samplers.json", {"machine": machine, "run": run, "samples": n, **beside, "rows": rows})
    picture(rows, beside["real"], out / "samplers.png")
    print(table(rows, calls))


if __name__ == "__main__":
    main()

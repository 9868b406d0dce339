"""Does what is drawn between kept frames join them? Held-out clips, their ends kept, their middles drawn.

    python benchmarks/in_between.py RUN [--clips 24] [--keep 0:8,-8:] [--rounds 0,1,2,5] [--smooth 0,3,5]
                                       [--ways "ddim:50:1;ddim:50:0;dpmpp_2m:20"] [--seed 0]

RUN learned motion. The clips are its own held-out ones, one of each take, those that move in every frame; clip k is
drawn with seed k, told its own class. Each row is one setting of `diffusion.editing.hold` under one sampler
(SAMPLER:STEPS, for ddim also :ETA; the run's own by default).

    kept      the largest distance of a kept coordinate from what was given, in the data's units; `unpasted` is the
              same before the given numbers are pasted in, which is what the sampler left
    join      acceleration (the second difference of positions, averaged over joints) in the 3 frames either side of
              each boundary, over that of the real clips in those same frames: a ratio of means with its 95 % interval,
              by the jackknife over clips
    touching  the same in the two frames beside each boundary, whose second differences reach across it
    inside    the same in the drawn frames that are farther from a boundary: how rough the model itself is
    far       how far the drawn frames lie from the real ones, over how far the clips' frames lie from each other: not a
              fault, since many motions fit between, but a collapse shows here

Written: results/in_between.json, rows in the order in which they are drawn.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from command import add_results, ends_in_one_line, parser, positive, results, whole
from machine import about
from numpy.typing import NDArray

from noisette.data.medium import Motion
from noisette.data.motion import MotionData
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import SampleConfig
from noisette.experiment.files import write_json
from noisette.experiment.runs import Run
from noisette.tasks import edit
from noisette.tasks.generate import draw, settings_of

BESIDE = 3
"""Frames either side of a boundary that belong to the join."""


def chosen(data: MotionData, count: int) -> NDArray[np.int64]:
    """Held-out rows, one of each take, that move in every frame; evenly chosen. Raises UserError where none does."""
    _, first = np.unique(data.take[data.held_out], return_index=True)
    rows = data.held_out[np.sort(first)]
    moving = [row for row in rows if (np.abs(np.diff(data.x[row], axis=0)).max((1, 2)) > 0).all()]
    if not moving:
        raise UserError("no held-out clip moves in every frame: a run of shorter clips has some")
    return np.array(moving)[np.unique(np.linspace(0, len(moving) - 1, count).round().astype(int))]


def accelerations(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Clips (n, F, J, D) -> (n, F): the length of the second difference at each frame, averaged over joints; NaN at
    the ends."""
    found = np.full(x.shape[:2], np.nan)
    second = np.diff(x.astype(np.float64), n=2, axis=1)
    found[:, 1:-1] = np.linalg.norm(second, axis=-1).mean(-1)
    return found


def places(kept: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    """Frames that belong to the join, touch it, or lie inside what is drawn, of kept (F,)."""
    frames = np.arange(len(kept))
    after = np.flatnonzero(kept[1:] != kept[:-1]) + 1  # the first frame after a boundary
    apart = np.minimum.reduce([np.where(frames >= b, frames - b, b - 1 - frames) for b in after])
    seen = (frames > 0) & (frames < len(kept) - 1)
    return {
        "join": frames[seen & (apart < BESIDE)],
        "touching": frames[seen & (apart == 0)],
        "inside": frames[seen & ~kept & (apart >= BESIDE)],
    }


def ratio(made: NDArray[np.float64], real: NDArray[np.float64]) -> dict[str, float]:
    """Mean over mean of (n,) clips, with its 95 % interval by the jackknife of its logarithm (Efron 1982)."""
    whole = made.sum() / real.sum()
    without = np.log((made.sum() - made) / (real.sum() - real))
    n = len(made)
    error = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    return {
        "ratio": float(whole),
        "low": float(whole * np.exp(-1.96 * error)),
        "high": float(whole * np.exp(1.96 * error)),
    }


def measure(
    run: Run, model: Any, real: NDArray[np.float32], labels: NDArray[np.int64] | None, mask: NDArray[np.bool_],
    settings: SampleConfig, rounds: int, smooth: float, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """One row."""
    medium = run.shape.medium
    assert isinstance(medium, Motion)
    kept = edit.keeping(run, real, mask)
    way = edit.Edited(medium, real.shape[1], kept=kept, rounds=rounds, smooth=smooth)
    seeds, begun = list(range(seed, seed + len(real))), time.perf_counter()
    made, steps = draw(model, settings, run.shape, seeds, labels, True, chunk=len(real), plan=way)
    seconds = time.perf_counter() - begun
    frames = kept.mask.all(1)
    found, there = accelerations(made), accelerations(real)
    row: dict[str, Any] = {
        "sampler": settings.label + (f":{settings.eta:g}" if settings.sampler == "ddim" else ""),
        "rounds": rounds,
        "smooth": smooth,
        "kept": float(np.abs(made - real)[:, kept.mask].max()),
        "unpasted": float(np.abs(steps[-1].x - real)[:, kept.mask].max()),
    }
    for name, at in places(frames).items():
        if len(at):
            row[name] = ratio(found[:, at].mean(1), there[:, at].mean(1))
    spread = real - real.mean((0, 1))
    drawn = (made - real)[:, ~kept.mask]
    row["far"] = float(np.sqrt((drawn**2).mean() / (spread[:, ~kept.mask] ** 2).mean()))
    return {**row, "seconds": round(seconds, 1)}


def ways(run: Run, asked: Sequence[str]) -> list[SampleConfig]:
    """SAMPLER:STEPS or ddim:STEPS:ETA as settings; the run's own for none. Raises UserError."""
    found = []
    for text in asked:
        name, _, rest = text.partition(":")
        steps, _, eta = rest.partition(":")
        try:
            change: dict[str, Any] = {"sampler": name, "steps": int(steps), **({"eta": float(eta)} if eta else {})}
        except ValueError:
            raise UserError(f'--ways "{text}": it reads as ddim:50:1 or dpmpp_2m:20') from None
        found.append(settings_of(run, **change))
        build.sampler(found[-1])
    return found or [run.config.sample]


def told(row: dict[str, Any]) -> str:
    cells = [row["sampler"], f"{row['rounds']}", f"{row['smooth']:g}", f"{row['kept']:.1e}", f"{row['unpasted']:.1e}"]
    for name in ("join", "touching", "inside"):
        part = row.get(name)
        cells.append(f"{part['ratio']:.2f} ({part['low']:.2f} to {part['high']:.2f})" if part else "")
    return "| " + " | ".join([*cells, f"{row['far']:.2f}", f"{row['seconds']:.0f} s"]) + " |"


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


@ends_in_one_line
def main(argv: list[str] | None = None) -> None:
    ask = parser(__doc__)
    ask.add_argument("run", type=Path)
    ask.add_argument("--clips", type=positive, default=24, help="held-out clips, at least 2 (default: 24)")
    ask.add_argument("--keep", default="0:8,-8:", help="frames that are kept (default: 0:8,-8:)")
    ask.add_argument("--rounds", type=lambda text: [whole(part) for part in text.split(",")], default=[0, 1, 2, 5])
    ask.add_argument("--smooth", type=numbers, default=[0.0, 3.0, 5.0])
    ask.add_argument("--ways", type=lambda text: text.split(";"), default=[], help="samplers, separated by ;")
    ask.add_argument("--seed", type=whole, default=0)
    add_results(ask, "folder for in_between.json", "two clips, one setting")
    args = ask.parse_args(argv)
    out = results(args)
    run = Run.open(args.run)
    medium, data = run.shape.medium, build.data(run)
    if not isinstance(medium, Motion) or not isinstance(data, MotionData):
        raise UserError(f"{run.path}: its samples are images, and this is about motion")
    frames, joints, _ = medium.stored
    mask = np.zeros((frames, joints), bool)
    mask[edit.frames_of(args.keep, frames)] = True
    rows = chosen(data, max(2, 2 if args.tiny else args.clips))
    if len(rows) < 2:
        raise UserError(f"{run.path}: one held-out clip that moves in every frame, and an interval needs two")
    real = data.x[rows]
    told_classes = data.labels is not None and build.conditional(run.config, run.shape)
    labels = data.labels[rows] if told_classes and data.labels is not None else None
    model, step = build.trained(run)
    print(f"{len(rows)} clips of {frames} frames, kept: {args.keep}; checkpoint {step}")
    print("| sampler | rounds | smooth | kept | unpasted | join | touching | inside | far | takes |")
    print("|---" * 10 + "|", flush=True)
    found: list[dict[str, Any]] = []
    for settings in ways(run, args.ways):
        for rounds in args.rounds[: 1 if args.tiny else None]:
            for smooth in args.smooth[: 1 if args.tiny else None]:
                found.append(measure(run, model, real, labels, mask, settings, rounds, smooth, args.seed))
                print(told(found[-1]), flush=True)
                kept = {"clips": len(rows), "keep": args.keep, "seed": args.seed, "checkpoint": step}
                write_json(
                    out / "in_between.json", {"machine": about(), "data": data.info["source"], **kept, "rows": found}
                )


if __name__ == "__main__":
    main()

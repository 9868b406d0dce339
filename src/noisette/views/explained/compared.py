"""The same noise through other checkpoints, weights, samplers and strengths of guidance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Stored
from noisette.errors import UserError
from noisette.views.curves import Rows, series
from noisette.views.explained.exhibit import Bench, Board, Explanation, NotConcerned, Row
from noisette.views.figures import evenly, percent

MOST_CHECKPOINTS = 6
MOST_CLASSES = 10
STILL = 8.0
"""Grey levels: pictures that change by less between two checkpoints look the same."""

STILL_SHARE = 0.1
"""The same of clips, as a share of the distance from one clip to another."""

STILL_RATE = 0.02
"""A learning rate below this share of its largest value moves the weights hardly any more."""

EXTREME = 4
"""Grey levels from black or white within which a pixel counts as saturated."""


def checkpoints(bench: Bench) -> Explanation:
    """Checkpoint by checkpoint. The same noise through each of them."""
    from noisette.tasks import compare

    saved = bench.run.checkpoints()
    if not saved:
        bench.run.checkpoint()  # says what to do
    if len(saved) < 2:
        raise NotConcerned(
            f"{bench.run.path}: there is only one checkpoint, at step {saved[0].step:,}: nothing to compare"
        )
    steps = [saved[i].step for i in evenly(len(saved), MOST_CHECKPOINTS)]
    noises = bench.noises()
    rows = compare.checkpoints(noises, steps, bench.newest(len(noises.seeds)))
    moved = [float(row.off.mean()) for row in rows if row.off is not None]
    finding = (
        f"From {rows[-2].label} to {rows[-1].label} the pictures still change by {bench.away(moved[-1])} ({bench.rms})"
    )
    if len(moved) > 1:
        finding += f"; between the first two checkpoints it was {bench.number(moved[0])}"
    still = STILL_SHARE * _apart(rows[-1].x) if bench.moves else STILL
    finding += ". They have settled." if moved[-1] < still else ". They had not settled when training ended."
    shown = [Row(row.label, bench.seen(row.x, rows[-1].x)) for row in rows]
    board = Board("", "A sample", bench.columns(noises), shown)
    text = ["Every row starts from the same noise, with the averaged (EMA) weights of that checkpoint."]
    return Explanation(finding, text, boards=[board])


def _apart(x: Stored) -> float:
    """Root mean square difference of neighbouring samples."""
    return float(np.sqrt(((x[1:].astype(np.float64) - x[:-1]) ** 2).mean()))


def weights(bench: Bench) -> Explanation:
    """EMA beside raw weights. What the running average does."""
    from noisette.experiment import build
    from noisette.tasks import compare, levels

    noises = bench.noises()
    ema, raw = compare.weights(noises, bench.newest(len(noises.seeds)))
    off = 0.0 if raw.off is None else float(raw.off.mean())
    finding = f"The pictures of the two differ by {bench.away(off)} ({bench.rms})."
    text = [
        "The averaged (EMA) weights above, those of the last step of training below, from the same noise."
        + _stood_still(bench.material.rows)
    ]
    missing = ""
    try:
        if bench.run.config.kind == "gan":
            raise UserError("those of a GAN do not say which generator is better")
        models = [bench.material.model, build.trained(bench.run, "raw")[0]]
        judge, data = build.objective(bench.run.config, bench.run.shape), bench.material.images
        finding = f"{_better(*levels.pictures_losses(models, judge, data, told=bench.told))} {finding}"
    except UserError as error:
        missing = f"Their losses were not measured: {error}."
    shown = [Row(row.label, bench.seen(row.x, ema.x)) for row in (ema, raw)]
    board = Board("", "A sample", bench.columns(noises), shown)
    return Explanation(finding, text, boards=[board], missing=missing)


def _stood_still(rows: Rows) -> str:
    """Why there may be no difference: at the end of a decay nothing moves any more."""
    _, rates = series(rows, "lr")
    if not len(rates) or rates[-1] > STILL_RATE * rates.max():
        return ""
    return (
        f" The learning rate ended at {percent(float(rates[-1] / rates.max()))} of its largest value, so the raw "
        "weights had almost come to rest, and little was left for the average to smooth."
    )


def _better(ema: NDArray[np.float64], raw: NDArray[np.float64]) -> str:
    """Which of them has the lower loss, and whether that is more than chance."""
    gap = raw - ema
    error = float(gap.std(ddof=1) / len(gap) ** 0.5)
    share, sure = float(gap.mean() / raw.mean()), abs(gap.mean()) > 2 * error
    said = f"({ema.mean():.3g} against {raw.mean():.3g} on {len(gap)} pictures with the same noise)"
    if not sure:
        return f"Averaged and raw weights have the same loss, as far as it can be told {said}."
    if abs(share) < 0.01:
        return f"Averaged and raw weights have the same loss to within {percent(abs(share))} {said}."
    better, worse = ("averaged", "raw") if share > 0 else ("raw", "averaged")
    return f"The loss of the {better} weights is {percent(abs(share))} lower than that of the {worse} ones {said}."


def samplers(bench: Bench) -> Explanation:
    """Samplers side by side. The same noise, the same number of network calls."""
    from noisette.tasks import compare

    model, noises = bench.material.model, bench.noises()
    calls = bench.asked.steps or min(compare.CALLS, model.schedule.steps or compare.CALLS)
    rows, limit = compare.samplers(noises, model, calls)
    away = {row.label: float(row.off.mean()) for row in rows if row.off is not None}
    best = min(away, key=lambda name: away[name])
    said = ", ".join(
        f"{name} {bench.number(value, 1)}" for name, value in sorted(away.items(), key=lambda pair: pair[1])
    )
    finding = (
        f"With {calls} network calls, {best} comes nearest to the exact solution of the sampling equation: its "
        f"pictures are {bench.away(away[best], 1)} away (all of them: {said})."
    )
    text = [
        "All start from the same noise and walk the same grid of times. The deterministic samplers walk to the same "
        "pictures, some of them in fewer steps; the last row shows where "
        f"({limit.settings.sampler} with {limit.calls} calls). ddpm adds fresh noise on its way and so ends elsewhere: "
        "it cannot be held against them picture by picture."
    ]
    every = [Row(f"{row.label}\n{row.calls} calls", bench.seen(row.x, limit.x)) for row in (*rows, limit)]
    return Explanation(finding, text, boards=[Board("", "A sample", bench.columns(noises), every)])


def guidance(bench: Bench) -> Explanation:
    """Guidance. How strongly the class is asked for."""
    from noisette.tasks import compare

    if not bench.told:
        raise NotConcerned(
            f"{bench.run.path}: its net was trained without class labels, so there is nothing to guide by"
        )
    if bench.run.config.train.label_dropout == 0:
        raise NotConcerned(
            f"{bench.run.path}: its net has never been without a class label, so there is nothing to guide by"
        )
    known = bench.run.shape.classes
    names = list(bench.asked.classes or known[:MOST_CLASSES])
    bench.noises(1)  # a class that is not known is told before the work begins
    labels = np.array([known.index(name) for name in names])
    noises = compare.Noises(bench.run, [bench.asked.seed] * len(names), labels, bench.settings)
    rows = compare.guidance(noises, bench.material.model)
    plain, strong = rows[1], rows[-1]
    apart = [float(row.x.astype(np.float64).std(axis=0).mean()) for row in (plain, strong)]
    if bench.moves:
        measured = f"{bench.number(apart[0])} to {bench.away(apart[1])} apart (standard deviation of a coordinate"
    else:
        measured = f"{apart[0]:.0f} to {apart[1]:.0f} grey levels apart (standard deviation of a pixel"
    finding = f"From guidance {plain.label} to {strong.label} the classes move from {measured} over them)"
    hard = [0.0 if bench.moves else _saturated(row.x) for row in (plain, strong)]
    if hard[1] > hard[0] + 0.01:
        finding += f", and the share of black and white pixels grows from {percent(hard[0])} to {percent(hard[1])}"
    chosen = bench.run.config.sample.guidance
    text = [
        "One noise for all: only the class, and how strongly it is asked for, changes. 0 ignores it, 1 is the plain "
        f"conditional model, above 1 what sets a class apart is exaggerated. The run's own setting is {chosen:g}."
    ]
    finding += "."
    board = Board("", "A sample", names, [Row(f"guidance {row.label}", bench.seen(row.x, plain.x)) for row in rows])
    return Explanation(finding, text, boards=[board])


def _saturated(x: Stored) -> float:
    """The share of black and white pixels."""
    return float(((x < EXTREME) | (x > 255 - EXTREME)).mean())

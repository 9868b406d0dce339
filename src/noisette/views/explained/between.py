"""From one noise to another, and from samples to the training pictures nearest to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noisette.views.explained import charts
from noisette.views.explained.exhibit import Bench, Board, Chart, Explanation, Row

if TYPE_CHECKING:
    from noisette.tasks.interpolate import Path, Smoothness

UNEVEN, JUMP = 2.0, 3.0
"""A largest step of this many mean steps makes a way uneven, and a jump."""


def interpolation(bench: Bench) -> Explanation:
    """Between two noises. Whether the pictures change smoothly on the way."""
    from noisette.tasks import interpolate

    between = bench.asked.between or (bench.asked.seed, bench.asked.seed + 1)
    model, run = bench.material.model, bench.run
    null = len(run.shape.classes)
    label = None
    if (asked_for := bench.noises(1).labels) is not None:
        label = int(asked_for[0])  # of the first class asked for
    paths: dict[str, Path] = {}
    asked = "" if label is None else f", class {run.shape.classes[label]}"
    wanted = [(f"slerp{asked}", "slerp", label), (f"lerp{asked}", "lerp", label)]
    if label is not None and run.config.train.label_dropout > 0:
        wanted.append(("slerp, no class", "slerp", null))
    for name, kind, of in wanted:
        paths[name] = interpolate.interpolate(
            model, bench.settings, run.shape.x, between, bench.asked.count, kind=kind, label=of, null=null
        )
    features, where = bench.features
    found = {name: interpolate.smoothness(path, features) for name, path in paths.items()}
    first = next(iter(paths))
    used = interpolate.without_chance(bench.settings)
    text = [_meaning(found[first], paths[first]), _why_not(paths)]
    if len(paths) == 3:
        text.append(f"Without a class, {_verdict(*list(found.items())[2], paths, short=True)}.")
    shown = [
        Chart(
            "steps",
            charts.unevenness(
                [(paths[n], found[n]) for n in paths], ["slerp", "lerp", "slerp, no class"][: len(paths)]
            ),
            "Curve of how far each picture is from the one before it, in shares of the mean step.",
            "How evenly the pictures change",
        ),
        Chart(
            "length",
            charts.norms({path.kind: path for path in list(paths.values())[:2]}),
            "The length of the noise on the way: slerp keeps it, lerp falls.",
            "Length of the noise",
        ),
    ]
    labels = [f"{share:.2g}" for share in paths[first].share]
    board = Board(
        "",
        f"Between the noises of seeds {between[0]} and {between[1]}",
        labels,
        [Row(name, path.x) for name, path in paths.items()],
        f"From the noise of seed {between[0]} (0) to that of seed {between[1]} (1), by {used.sampler} in {used.steps} "
        f"steps without noise of its own. Steps are measured in {where}.",
    )
    return Explanation(f"{_verdict(first, found[first], paths)}.", text, shown, [board])


def _verdict(name: str, smooth: Smoothness, paths: dict[str, Path], short: bool = False) -> str:
    """Smooth, uneven or with a jump, by the numbers."""
    at = int(smooth.steps.argmax())
    share = paths[name].share
    where = f"between {share[at]:.2f} and {share[at + 1]:.2f} of the way"
    ratio = f"the largest step is {smooth.unevenness:.1f} times the mean step"
    if smooth.unevenness > JUMP:
        said = f"the transition has a jump {where}: {ratio}"
    elif smooth.unevenness > UNEVEN:
        said = f"the transition is smooth in the main, quickest {where}: {ratio}"
    else:
        said = f"the transition is smooth: {ratio}"
    return said if short else said[0].upper() + said[1:]


def _meaning(smooth: Smoothness, path: Path) -> str:
    """What that says of the space that the model has learned."""
    detour = (
        f"the whole way is {smooth.detour:.1f} times as long as the straight line from its first picture to its last"
    )
    if smooth.unevenness > JUMP:
        return (
            "The sampler is continuous, so there is no true break; but a small change of the noise can flip what the "
            f"picture shows, as at the border between two kinds ({detour})."
        )
    middle, ends = path.x[len(path.x) // 2], path.x[[0, -1]].astype(float)
    own = _detail(middle) / max((_detail(ends[0]) + _detail(ends[1])) / 2, 1e-9)
    faded = _detail(ends.mean(0)) / max((_detail(ends[0]) + _detail(ends[1])) / 2, 1e-9)
    text = f"Near noises give near pictures ({detour}). The one half way has {own:.2f} times the detail of the two ends"
    if own > faded + 0.05:
        return f"{text}; these laid over each other would have {faded:.2f} times: it is a picture of its own, no blend."
    return f"{text}, and these laid over each other would have {faded:.2f} times: by that it could be a blend of them."


def _why_not(paths: dict[str, Path]) -> str:
    slerp, lerp = list(paths.values())[:2]
    middle = len(slerp.share) // 2
    contrast = float(lerp.x[middle].std()) / max(float(slerp.x[middle].std()), 1e-9)
    detail = _detail(lerp.x[middle]) / max(_detail(slerp.x[middle]), 1e-9)
    return (
        f"Why not in a straight line (lerp): half way, the noise is only {lerp.norm[middle]:.2f} of its length (1/√2 "
        "for two independent ones), which is not what the model was trained to begin with; there its picture has "
        f"{contrast:.2f} times the contrast and {detail:.2f} times the detail (mean step from pixel to pixel) of that "
        f"on the great circle (slerp), whose noise stays at {slerp.norm[middle]:.2f}."
    )


def _detail(picture: np.ndarray) -> float:
    """The mean step from pixel to pixel, (H, W, C)."""
    x = picture.astype(float)
    return float(abs(x[1:] - x[:-1]).mean() + abs(x[:, 1:] - x[:, :-1]).mean())


def neighbours(bench: Bench) -> Explanation:
    """The nearest training pictures. Whether samples are copies of what it learned from."""
    from noisette.tasks.neighbours import alike, neighbours

    drawn, data = bench.samples, bench.material.images
    found = neighbours(drawn.x, data, bench.run.config.data.flip)
    order = found.ratio.argsort(kind="stable")[: bench.asked.count]
    lead = (
        f"The nearest training picture of a sample is {np.median(found.ratio):.2f} times as far away as the second "
        f"nearest (the median of {len(found.ratio)}; {found.ratio.min():.2f} for the sample most like a copy)."
    )
    text = [
        "The samples that are most like copies, and below each the training picture nearest to it, pixel by pixel. The "
        "number is its distance over that of the second nearest: near 0 where one picture was copied, near 1 where "
        "the sample lies between many."
    ]
    labels = [f"{found.ratio[k]:.2f}" for k in order]
    rows = [Row("sample", drawn.x[order]), Row("nearest, by pixels", found.x[order])]
    if bench.judge is not None:
        rows.append(Row("nearest, by features", alike(drawn.x[order], bench.judge)))
        text.append("The last row is nearest in the features of a classifier of these pictures: of the same content.")
    board = Board("", "A sample and its nearest training picture", labels, rows)
    return Explanation(found.words or lead, [*([lead] if found.words else []), *text], boards=[board])

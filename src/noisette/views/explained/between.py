"""From one noise to another, and from samples to the training pictures nearest to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from noisette.views import words
from noisette.views.explained import charts
from noisette.views.explained.exhibit import Bench, Board, Chart, Explanation, Row
from noisette.views.figures import percent

if TYPE_CHECKING:
    from noisette.tasks.interpolate import Path, Smoothness

UNEVEN = 2.0
"""A largest step of this many mean steps is looked at more closely."""

JUMP = 0.6
"""A step that keeps this share of itself when it is cut into eight is a jump."""


@dataclass(frozen=True)
class _Way:
    """A path with its name, how evenly it changes, and how much of its largest step is left on a closer look."""

    name: str
    path: Path
    smooth: Smoothness
    sharpest: float | None


def interpolation(bench: Bench) -> Explanation:
    """Between two noises. Whether the pictures change smoothly on the way."""
    from noisette.tasks import interpolate

    settings, run, (features, measured) = bench.settings, bench.run, bench.features
    between = bench.asked.between or (bench.asked.seed, bench.asked.seed + 1)
    classes = run.shape.classes
    given = bench.noises(1).labels  # of the first class asked for
    label = None if given is None else int(given[0])
    asked = "" if label is None else f", class {classes[label]}"
    wanted: list[tuple[str, str, int | None]] = [(f"slerp{asked}", "slerp", label), (f"lerp{asked}", "lerp", label)]
    if label is not None and run.config.train.label_dropout > 0:
        wanted.append(("slerp, no class", "slerp", len(classes)))
    ways = []
    for name, kind, told in wanted:
        common = (bench.material.model, settings, run.shape)
        path = interpolate.interpolate(*common, between, bench.asked.count, kind=kind, label=told)
        smooth = interpolate.smoothness(path, features)
        close = not ways and smooth.unevenness > UNEVEN
        ways.append(_Way(name, path, smooth, interpolate.sharpest(*common, path, features) if close else None))
    slerp, lerp = ways[:2]
    verdict = _verdict(slerp)
    text = [_meaning(slerp, bench.moves), _why_not(slerp.path, lerp.path, bench.moves)]
    if len(ways) == 3:
        text.append(f"Without a class, {_largest(ways[2])}.")
    shown = [
        Chart(
            "steps",
            charts.unevenness([(w.path, w.smooth) for w in ways], ["slerp", "lerp", "slerp, no class"][: len(ways)]),
            f"Curve of how far each picture is from the one before it, in shares of the mean step: {verdict}.",
            "How evenly the pictures change",
        ),
        Chart(
            "length",
            charts.norms({"slerp": slerp.path, "lerp": lerp.path}),
            f"The length of the noise on the way: slerp keeps it, lerp falls to {lerp.path.norm.min():.2f} of it.",
            "Length of the noise",
        ),
    ]
    used = interpolate.without_chance(settings)
    board = Board(
        "",
        f"Between the noises of seeds {between[0]} and {between[1]}",
        [f"{share:.2g}" for share in slerp.path.share],
        [Row(way.name, bench.seen(way.path.x, slerp.path.x)) for way in ways],
        f"From the noise of seed {between[0]} (0) to that of seed {between[1]} (1), by {words.way(vars(used))}, "
        f"without noise of its own. Steps are measured in {measured}.",
    )
    return Explanation(f"{verdict[0].upper()}{verdict[1:]}.", text, shown, [board])


def _verdict(way: _Way) -> str:
    """Smooth, uneven or with a jump, by the numbers."""
    if way.sharpest is None:
        return f"the transition is smooth: {_largest(way)}"
    closer = f"{percent(min(way.sharpest, 1))} of it in one step on an eight times closer look"
    said = "has a jump" if way.sharpest > JUMP else "is smooth but uneven"
    return f"the transition {said}: {_largest(way)}, with {closer}"


def _largest(way: _Way) -> str:
    at, share = int(way.smooth.steps.argmax()), way.path.share
    where = f"between {share[at]:.2f} and {share[at + 1]:.2f} of the way"
    return f"the largest step, {where}, is {way.smooth.unevenness:.1f} times the mean step"


def _meaning(way: _Way, moves: bool = False) -> str:
    """What that says of the space that the model has learned."""
    detour = (
        f"the whole way is {way.smooth.detour:.1f} times as long as the straight line from its first picture to its "
        "last"
    )
    if way.sharpest is not None and way.sharpest > JUMP:
        return (
            "Pictures are continuous in the noise, so there is no true break; but a small change of it can flip what "
            f"they show, as at the border between two kinds ({detour})."
        )
    middle, ends = way.path.x[len(way.path.x) // 2], way.path.x[[0, -1]].astype(float)
    detail, would, times = (_speed, "move", "times as fast") if moves else (_detail, "have", "times")
    whole = max((detail(ends[0]) + detail(ends[1])) / 2, 1e-9)
    own, faded = detail(middle) / whole, detail(ends.mean(0)) / whole
    text = f"Near noises give near pictures ({detour}). The one half way "
    text += f"moves {own:.2f} times as fast as" if moves else f"has {own:.2f} times the detail of"
    text += " the two ends"
    if own > faded + 0.05:
        return (
            f"{text}; these laid over each other would {would} {faded:.2f} {times}: it is a picture of its own, no "
            "blend."
        )
    return (
        f"{text}, and these laid over each other would {would} {faded:.2f} {times}: by that it could be a blend of "
        "them."
    )


def _why_not(slerp: Path, lerp: Path, moves: bool = False) -> str:
    middle = len(slerp.share) // 2
    straight, round_ = lerp.x[middle], slerp.x[middle]
    if moves:
        speed = _speed(straight) / max(_speed(round_), 1e-9)
        there = f"there its clip moves {speed:.2f} times as fast as that"
    else:
        contrast = float(straight.std()) / max(float(round_.std()), 1e-9)
        detail = _detail(straight) / max(_detail(round_), 1e-9)
        there = (
            f"there its picture has {contrast:.2f} times the contrast and {detail:.2f} times the detail (mean step "
            "from pixel to pixel) of that"
        )
    return (
        f"Why not in a straight line (lerp): half way, the noise is only {lerp.norm[middle]:.2f} of its length (1/√2 "
        f"for two independent ones), which is not what the model was trained to begin with; {there} "
        f"on the great circle (slerp), whose noise stays at {slerp.norm[middle]:.2f}."
    )


def _detail(picture: np.ndarray) -> float:
    """The mean step from pixel to pixel, (H, W, C)."""
    x = picture.astype(float)
    return float(abs(x[1:] - x[:-1]).mean() + abs(x[:, 1:] - x[:, :-1]).mean())


def _speed(clip: np.ndarray) -> float:
    """The mean step of a coordinate from frame to frame, (F, J, D)."""
    return float(abs(np.diff(clip.astype(float), axis=0)).mean())


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
    by, told = ("pixels", "pixel by pixel") if not bench.moves else ("poses", "joint by joint")
    text = [
        f"The samples that are most like copies, and below each the training picture nearest to it, {told}. The "
        "number is its distance over that of the second nearest: near 0 where one picture was copied, near 1 where "
        f"the sample lies between many. {words.many(found.known)} training pictures were looked through."
    ]
    labels = [f"{found.ratio[k]:.2f}" for k in order]
    x = drawn.x[order]
    rows = [Row("sample", bench.seen(x)), Row(f"nearest, by {by}", bench.seen(found.x[order], x))]
    if bench.judge is not None:
        rows.append(Row("nearest, by features", bench.seen(alike(x, bench.judge), x)))
        text.append(
            "The last row is nearest in the features of a classifier of these pictures: it goes by what is shown, not "
            f"by where its {'joints are' if bench.moves else 'pixels lie'}."
        )
    board = Board("", "A sample and its nearest training picture", labels, rows)
    return Explanation(found.words or lead, [*([lead] if found.words else []), *text], boards=[board])

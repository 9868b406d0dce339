"""Generated clips beside real ones on one stage, of the same class, or the nearest ones where there are few; how fast
their joints go; and one of them on its way from noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Motion, Stored
from noisette.data.motion.spec import MotionData
from noisette.errors import UserError
from noisette.experiment.config import DataConfig
from noisette.views import skeletons, words
from noisette.views.export import class_names
from noisette.views.material import Material
from noisette.views.parts import Drawing, Figure, drawing

if TYPE_CHECKING:
    from noisette.tasks.generate import Samples

PAIRS = 4
"""Clips that are shown beside real ones."""

Rows = NDArray[np.int64]


def beside(material: Material, drawn: Samples, command: str) -> list[Figure]:
    """Figures for a run of motion whose data are at hand, else none: clips that move, and speeds over time.

    Where there are too few sequences to judge by, the samples that are nearest to a training clip, each before that
    clip; else the first samples, each before a real clip of its class, held-out ones where there are any.
    """
    if not isinstance(material.run.shape.medium, Motion):
        return []
    try:
        data = material.images
    except UserError:
        return []  # the section of the data says why
    assert isinstance(data, MotionData)
    rows, which = (data.held_out, "held-out") if len(data.held_out) else (data.train, "training")
    speeds = _speeds(drawn, data, _alike(drawn, data, rows, len(drawn.x)), which, command)
    if words.too_little(material.data):
        return [_nearest(drawn, data, command), speeds]
    chosen = np.arange(min(PAIRS, len(drawn.x)))
    kind = "of its class" if drawn.labels is not None else "of the data"
    text = f"Samples, none of them chosen, each before a {which} clip {kind}."
    rows = _alike(drawn, data, rows, len(chosen))
    said, title = ["real"] * len(rows), "Generated beside real"
    return [_figure(drawn, chosen, data, rows, data.x[rows], said, title, text, command), speeds]


def denoised(material: Material, command: str) -> list[Figure]:
    """The first sample of a run of motion on its way from noise, each step labelled; of images nothing."""
    medium, frames = material.run.shape.medium, material.drawn[1]
    if not isinstance(medium, Motion) or not frames:
        return []
    scene = skeletons.denoising(
        np.stack([frame.x[0] for frame in frames]),
        range(len(frames)),
        [frame.t for frame in frames],
        skeletons.Body.of(medium.skeleton),
    )
    text = "At each step its middle pose, and the whole motion behind it."
    return [Figure([skeletons.drawing(scene)], "", command, "The first sample on its way from noise", [text])]


def _alike(drawn: Samples, data: MotionData, rows: Rows, count: int) -> Rows:
    """One of `rows` for each of the first samples: of its class where both have classes, evenly spread over them."""
    found = []
    for k in range(count):
        mine = rows
        if drawn.labels is not None and data.labels is not None:
            of_class = rows[data.labels[rows] == drawn.labels[k]]
            mine = of_class if len(of_class) else rows
        found.append(mine[int((k + 0.5) / count * len(mine))])
    return np.array(found, np.int64)


def _speeds(drawn: Samples, data: MotionData, rows: Rows, which: str, command: str) -> Figure:
    """How fast the joints that move most go, over the frames of the samples and of as many real clips."""
    body, real = skeletons.Body.of(data.skeleton), [data.x[row] for row in rows.tolist()]
    made: list[Drawing] = []
    for joint in skeletons.telling(real, body):
        name = body.names[joint].replace("_", " ")
        curve = skeletons.over_time(real, drawn.x, body, joint, fps=data.fps)
        made += drawing(curve, f"speed-{joint}", f"Speed of {name} over time: real clips, and generated ones.", name)
    text = (
        f"The {len(drawn.x)} samples and as many {which} clips: the line is the median, eight of ten lie in the band. "
        f"Of the {'ends of limbs' if body.ends else 'joints'}, those are shown that move most in the real ones."
    )
    return Figure(made, "", command, "How fast they go over time", [text])


def _nearest(drawn: Samples, data: MotionData, command: str) -> Figure:
    """The samples that are nearest to a training clip, by the poses, with how far they are from it; mirrored ones
    count as well where training showed them."""
    from noisette.metrics import memory
    from noisette.tasks.judge import Judge

    judge, unit = Judge.of(data, DataConfig()), data.skeleton.unit  # it knows what to compare, without any training
    seen = judge.taught(data.x[data.train])
    found = memory.nearest(judge.comparable(drawn.x), judge.comparable(seen), k=1)
    away = found.distance[:, 0]
    chosen = away.argsort(kind="stable")[:PAIRS]
    said = [f"{away[k]:.2g} {unit}".strip() + " away" for k in chosen]
    moved = float(np.median(away))
    text = (
        "The samples that are nearest to a training clip, each before that clip, with how far their joints are apart "
        f"(root mean square, seen from the root; the median of all {len(away)} samples is {moved:.2g} {unit}".rstrip()
        + "). Where it is about 0, the sample is a copy."
    )
    at = found.index[chosen, 0]
    rows = np.resize(data.train, len(seen))[at]
    title = "Generated beside the nearest training clips"
    return _figure(drawn, chosen, data, rows, seen[at], said, title, text, command)


def _figure(
    drawn: Samples,
    chosen: Rows,
    data: MotionData,
    rows: Rows,
    real: Stored,
    said: list[str],
    title: str,
    text: str,
    command: str,
) -> Figure:
    """Samples, each before a real clip, which is this row of the data."""
    names, clips, captions = class_names(drawn), [], []
    for k, row, clip, what in zip(chosen.tolist(), rows.tolist(), real, said, strict=True):
        clips += [drawn.x[k], clip]
        theirs = f"{data.classes[int(data.labels[row])]}, " if data.labels is not None else ""
        captions += [(f"{names[k]}, " if names else "") + f"seed {drawn.seeds[k]}", theirs + what]
    stage = skeletons.stage(clips, skeletons.Body.of(data.skeleton), captions, fps=data.fps)
    return Figure([stage], "", command, title, [text])

"""Clips -> pictures that stand still: poses in time, the denoising of one clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from noisette.views.curves import themed
from noisette.views.figures import evenly
from noisette.views.parts import Drawing
from noisette.views.skeletons.body import Array, Body, extent, look, place
from noisette.views.skeletons.pose import COLOUR, Spot, pose, shadow
from noisette.views.skeletons.scene import FONT, Group, Lines, Mark, Scene, Words

POSES = 6
"""Poses in a strip: as many as a phone shows at readable size."""

WIDTH, TALL = 440, 100
"""Pixels: of a strip, as wide as a chart, and of a body in it at most."""

TOP, BELOW, LINE = 6, 10, 15
"""Pixels above a strip's highest joint, under its floor, and of a line of text."""

OLDEST = 0.3
"""Opacity of the first pose of a strip; the last one has 1."""

OVERLAP = 0.62
"""Half a body may be as wide as this share of its place: what reaches further is drawn over its neighbour."""

GHOSTS = 10
"""Poses of a whole motion that are drawn behind its middle one."""

FAINT = 0.2
"""Opacity of each of them."""

WILD = 1.35
"""Noise is drawn out to this many times the extent of the clip that it becomes; beyond that it lies on the edge."""


def strips(
    clips: Sequence[ArrayLike],
    body: Body,
    captions: Sequence[str] | None = None,
    *,
    poses: int = POSES,
    fps: float | None = None,
) -> list[Scene]:
    """A strip for each clip: poses at even times from left to right, the older ones fading, all at one scale.

    Under a strip stands the time of its first and last pose; thin lines are the ways of the ends of the limbs.

    Args:
        clips: (frames, joints, dims) each, of any length.
        captions: one for each, or None.
        fps: frames a second; without it the frames are counted.

    Raises:
        ValueError: no clips, a clip of another shape than the body's, or captions that do not match.
    """
    if not len(clips) or (captions is not None and len(captions) != len(clips)):
        raise ValueError(f"{0 if captions is None else len(captions)} captions for {len(clips)} clips")
    placed = [place(clip, body) for clip in clips]
    half, height = extent(placed)
    slot = WIDTH / poses
    scale = min(TALL / height, OVERLAP * slot / half)
    return [
        _strip(points, body, caption, min(poses, len(points)), scale, scale * height, fps)
        for points, caption in zip(placed, captions or [""] * len(clips), strict=True)
    ]


def denoising(
    states: ArrayLike,
    steps: Sequence[int | str],
    times: Sequence[float],
    body: Body,
    *,
    columns: int = POSES,
    title: str = "",
) -> Scene:
    """One clip at steps of its sampler, noise first: its middle pose, and the whole motion as a ghost behind it.

    All are seen by the camera that suits the last state, at one scale, each labelled with its step and its t.

    Args:
        states: (steps, frames, joints, dims) in the data's own units.
        steps: the number, or the name, of each; times: t of each in [0, 1], 1 being noise.
        columns: that many steps are chosen evenly, the first and the last among them.
    """
    x = np.asarray(states, np.float64)
    if x.ndim != 4 or not len(x) == len(steps) == len(times):
        raise ValueError(f"{len(steps)} steps and {len(times)} times for states {x.shape}")
    chosen = evenly(len(x), columns)
    view = look(x[-1], body)
    placed = [place(x[k], body, view) for k in chosen]
    half, height = extent([placed[-1]])
    slot = WIDTH / len(chosen)
    scale = min(TALL / height, 0.5 * slot / half) / WILD
    margin = (WILD - 1) / 2 * height * scale
    floor = TOP + margin + height * scale
    low, high = [-slot / 2 + 3, -margin], [slot / 2 - 3, height * scale + margin]
    groups: list[Group] = []
    for i, (k, points) in enumerate(zip(chosen, placed, strict=True)):
        spot = Spot((i + 0.5) * slot, floor, scale, height * scale)
        points = points.copy()
        points[..., :2] = np.clip(points[..., :2], np.array(low) / scale, np.array(high) / scale)
        for f in evenly(len(points), GHOSTS):
            groups.append(Group(pose(points[f], body, spot, plain=True), FAINT))
        groups.append(Group(pose(points[len(points) // 2], body, spot)))
        for line, text in enumerate((f"step {steps[k]}", f"t = {times[k]:.2f}")):
            groups.append(Group([Words(spot.x, floor + margin + BELOW + FONT + line * LINE, text)]))
    alt = f"One clip from noise to motion in {len(chosen)} looks, from step {steps[0]} to step {steps[-1]}."
    return Scene(WIDTH, floor + margin + BELOW + FONT + 2 * LINE - 6, groups, title, alt)


def drawing(scene: Scene) -> Drawing:
    """A scene as a part of a page, in the page's colours, below its title."""
    return Drawing(themed(scene.svg()), scene.alt, scene.title)


def _strip(points: Array, body: Body, caption: str, poses: int, scale: float, tall: float, fps: float | None) -> Scene:
    slot, floor = WIDTH / poses, TOP + tall
    chosen = evenly(len(points), poses)
    where = np.interp(np.arange(len(points)), chosen, (np.arange(poses) + 0.5) * slot)
    spots = [Spot(x, floor, scale, tall) for x in where]
    ground = Lines(np.array([[0, floor, WIDTH, floor]]), "line", 1)
    groups = [Group([ground, *_together([m for f in chosen for m in shadow(points[f], body, spots[f])])])]
    groups += [Group(_ways(points, body, spots), 0.45)]
    for i, f in enumerate(chosen):
        fade = OLDEST + (1 - OLDEST) * i / max(1, poses - 1)
        groups.append(Group(pose(points[f], body, spots[f]), fade))
    times = [_time(f, fps) for f in (chosen[0], chosen[-1])]
    ends = (where[0], where[-1])[:poses]
    groups.append(Group([Words(x, floor + BELOW + FONT, text) for x, text in zip(ends, times, strict=False)]))
    alt = f"{caption or 'A clip'}: {poses} poses from {times[0]} to {times[-1]}."
    return Scene(WIDTH, floor + BELOW + FONT + 4, groups, caption, alt)


def _together(shadows: Sequence[Mark]) -> list[Mark]:
    """Shadows of several poses as one mark."""
    lines = [mark for mark in shadows if isinstance(mark, Lines)]
    return [replace(lines[0], ends=np.concatenate([mark.ends for mark in lines]))] if lines else list(shadows)


def _time(frame: int, fps: float | None) -> str:
    return f"{frame / fps:.2g} s" if fps else f"frame {frame}"


def _ways(points: Array, body: Body, spots: Sequence[Spot]) -> list[Mark]:
    """The ways of the ends of paired limbs through a strip."""
    paths = np.stack([spot.pixels(p)[:, :2] for spot, p in zip(spots, points, strict=True)])
    marks: list[Mark] = []
    for joint in body.ends:
        if body.sides[joint] == "middle":
            continue
        way = np.concatenate([paths[:-1, joint], paths[1:, joint]], 1)
        if len(way := way[np.isfinite(way).all(1)]):
            marks.append(Lines(way, COLOUR[body.sides[joint]], 0.8))
    return marks

"""Clips -> a part of a page in which they move: play, pause, scrub, and turn the camera, without a request to anywhere.

Every clip also has a strip of poses, which is what paper shows, and a browser that runs no script. The joints travel
as whole numbers, each the change since the frame before; `stage.js` adds them up and draws them as `pose` does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisette.data.motion.skeleton import FPS
from noisette.views.curves import themed
from noisette.views.parts import Moving, Player
from noisette.views.skeletons import pose
from noisette.views.skeletons.body import TILT, Array, Body, View, extent, look, place, spacing
from noisette.views.skeletons.films import REST_MS
from noisette.views.skeletons.stills import strips

FINEST = 1000
"""The longer side of what a camera sees in units of the whole numbers: one is a fifth of a pixel of a large figure."""


def stage(
    clips: Sequence[ArrayLike],
    body: Body,
    captions: Sequence[str] | None = None,
    *,
    fps: float | None = None,
    cyclic: bool = False,
    title: str = "",
) -> Moving:
    """Clips that move beside each other on a page, at one scale and at their own speed.

    Args:
        clips: (frames, joints, dims) each; one that ends before the others keeps its last pose.
        captions: one for each, or None.
        fps: frames a second; without it the page counts frames.
        cyclic: the end of a clip leads back to its start.

    Raises:
        ValueError: no clips, a clip of another shape than the body's, or captions that do not match.
    """
    stills = strips(clips, body, captions, fps=fps)
    views = [look(clip, body) for clip in clips]
    placed = [place(clip, body, view) for clip, view in zip(clips, views, strict=True)]
    half, tall = extent(placed, turning=True)
    unit = max(2 * half, tall) / FINEST
    flat = views[0].flat
    scene: dict[str, Any] = {
        "fps": fps or FPS,
        "timed": fps is not None,
        "rest": 0 if cyclic else REST_MS / 1000,
        "flat": flat,
        "half": round(half / unit),
        "tall": round(tall / unit),
        "every": round(spacing(tall) / unit),
        "tilt": 0 if flat else TILT,
        "sides": [_SIDES.index(side) for side in body.sides],
        "bones": [[a, b, _SIDES.index(side)] for (a, b), side in zip(body.bones, body.bone_sides, strict=True)],
        "head": None if body.head is None else body.head[1],
        "paired": bool(body.pairs),
        "thick": pose.THICK,
        "near": pose.NEAR,
        "deep": pose.DEEP,
        "middle": pose.MIDDLE,
        "halo": pose.HALO,
        "skull": pose.HEAD,
        "clips": [_clip(points, view, unit) for points, view in zip(placed, views, strict=True)],
    }
    data = json.dumps(scene, separators=(",", ":"), allow_nan=False)
    shape = f"{2.1 * half:.4g} / {1.08 * tall + (0 if flat else 0.4 * half):.4g}"
    players = [Player(still.title, still.alt, themed(still.svg())) for still in stills]
    return Moving(players, data, shape, not flat, title)


_SIDES = tuple(pose.COLOUR)


def _clip(points: Array, view: View, unit: float) -> dict[str, Any]:
    axes = 2 if view.flat else 3
    path = view.path[:, :1] if view.flat else view.path
    return {
        "frames": len(points),
        "joints": _changes(points[..., :axes].reshape(len(points), -1) / unit),
        "path": _changes(path / unit),
    }


def _changes(x: NDArray[np.float64]) -> list[int | None]:
    """(frames, channels) -> channel after channel, each value as its change since the last one; None for NaN."""
    found: list[int | None] = []
    for channel in x.T:
        last = 0
        for value in channel.tolist():
            if value != value:
                found.append(None)
                continue
            found.append(round(value) - last)
            last = round(value)
    return found

"""Clips -> a GIF or a WebP in which they move side by side, on a floor."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageColor

from noisette.data.motion.skeleton import FPS
from noisette.views.figures import shorten
from noisette.views.skeletons.body import Array, Body, extent, look, place, spacing
from noisette.views.skeletons.pose import Spot, pose, shadow
from noisette.views.skeletons.scene import COLOURS, FONT, Dots, Group, Lines, Mark, Scene, Words

CELL = 150
"""Pixels: the longer side of a cell, before `scale`."""

PAINTS = ("accent", "second", "ink", "muted", "line")
STEPS = 18
"""Colours that a GIF has: those of a figure, and so many steps from each to each and to paper (256 at most)."""

GAP, LINE = 6, 18
"""Pixels around cells, and of a caption."""

FASTEST = 20
"""Milliseconds that a frame is shown at least: browsers slow down what claims to be faster."""

REST_MS = 600
"""How long the last frame stays where the end of a clip does not lead back to its start."""


def film(
    clips: Sequence[ArrayLike],
    body: Body,
    kind: str,
    *,
    fps: float | None = None,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    repeat: bool = True,
    cyclic: bool = False,
    scale: int = 1,
) -> bytes:
    """Clips in a grid, all at one scale, at their own speed. A clip that ends before the others keeps its last pose.

    Args:
        clips: (frames, joints, dims) each.
        kind: "gif" or "webp".
        fps: frames a second; FPS by default. Above 50 frames are left out, so that the speed is kept.
        captions: one for each, or None.
        repeat: whether it starts again when it ends; otherwise it is shown once.
        cyclic: the end of a clip leads back to its start, so that the last frame is held no longer than the others.
        scale: pixels for each of those of a cell (CELL of them).

    Raises:
        ValueError: no clips, a clip of another shape than the body's, or captions that do not match.
    """
    if not len(clips) or (captions is not None and len(captions) != len(clips)):
        raise ValueError(f"{0 if captions is None else len(captions)} captions for {len(clips)} clips")
    if kind not in ("gif", "webp"):
        raise ValueError(f'kind is "gif" or "webp", not {kind!r}')
    stage = _Cells(clips, body, captions, columns)
    fps = fps or FPS
    skip = max(1, math.ceil(FASTEST * fps / 1000))
    shown = list(range(0, stage.frames, skip))
    pictures = [stage.scene(f).image(scale) for f in shown]
    durations = _durations(len(shown), 1000 * skip / fps, 10 if kind == "gif" else 1)
    if not cyclic:
        durations[-1] = max(durations[-1], REST_MS)
    options: dict[str, Any] = {"save_all": True, "duration": durations}
    if kind == "gif":
        pictures = [_painted(picture) for picture in pictures]
        options |= {"optimize": False, "disposal": 1, **({"loop": 0} if repeat else {})}
    else:
        options |= {"lossless": True, "method": 2, "loop": 0 if repeat else 1}
    file = io.BytesIO()
    pictures[0].save(file, kind.upper(), append_images=pictures[1:], **options)
    return file.getvalue()


def _durations(n: int, each: float, unit: int) -> list[int]:
    """Milliseconds of n frames in whole units whose sum keeps up with n times `each`."""
    ends = (np.arange(n + 1) * each / unit).round().astype(int) * unit
    return [int(v) for v in np.diff(ends)]


class _Cells:
    """Placed clips in a grid, of which any frame can be drawn."""

    def __init__(self, clips: Sequence[ArrayLike], body: Body, captions: Sequence[str] | None, columns: int | None):
        self.body, self.captions = body, list(captions or [""] * len(clips))
        views = [look(clip, body) for clip in clips]
        self.clips = [place(clip, body, view) for clip, view in zip(clips, views, strict=True)]
        self.paths, self.flat = [view.path for view in views], views[0].flat
        self.frames = max(map(len, self.clips))
        self.half, self.tall = extent(self.clips)
        self.scale = (CELL - 2 * GAP) / max(2 * self.half, self.tall)
        self.width, self.height = 2 * self.half * self.scale + 2 * GAP, self.tall * self.scale + 4 * GAP
        rows = math.ceil(math.sqrt(len(clips) * self.width / self.height))
        self.columns = min(len(clips), columns or math.ceil(len(clips) / rows))
        self.line = LINE if any(self.captions) else 0

    def scene(self, frame: int) -> Scene:
        """All clips at this frame."""
        groups: list[Group] = []
        below = self.height + self.line
        for k, points in enumerate(self.clips):
            x, y = (k % self.columns + 0.5) * self.width, k // self.columns * below
            spot = Spot(x, y + self.height - 2.5 * GAP, self.scale, self.tall * self.scale)
            f = min(frame, len(points) - 1)
            marks = floor(self.paths[k][f], spot, self.half, spacing(self.tall), self.flat)
            groups.append(Group([*marks, *shadow(points[f], self.body, spot), *pose(points[f], self.body, spot)]))
            text = shorten(self.captions[k], int(self.width) - GAP)
            groups.append(Group([Words(x, y + self.height + FONT, text)]))
        rows = math.ceil(len(self.clips) / self.columns)
        return Scene(math.ceil(self.columns * self.width), math.ceil(rows * below), groups)


def floor(at: Array, spot: Spot, half: float, every: float, flat: bool) -> list[Mark]:
    """Marks that lie still on the floor while the camera, which looks at `at` (x and z), follows a body.

    Args:
        half: how far the floor reaches around it; every: distance between marks, in the data's unit.
        flat: a line with ticks, rather than points on a plane.
    """
    if flat:
        x = np.arange(math.ceil((at[0] - half) / every), math.floor((at[0] + half) / every) + 1) * every - at[0]
        reach = half * spot.scale
        ticks = [[t, spot.y, t, spot.y + 4] for t in spot.x + x * spot.scale]
        return [Lines(np.array([[spot.x - reach, spot.y, spot.x + reach, spot.y], *ticks]), "line", 1)]
    axes = [np.arange(math.ceil((a - half) / every), math.floor((a + half) / every) + 1) * every - a for a in at]
    x, z = (grid.ravel() for grid in np.meshgrid(*axes))
    near = np.hypot(x, z) <= half
    if not near.any():
        return []
    points = np.stack([x, np.zeros_like(x), z], -1)[near]
    return [Dots(spot.pixels(points)[:, :2], "line", 1.1)]


def _painted(picture: Image.Image) -> Image.Image:
    """The picture in our palette: the nearest colour to each of its pixels, by a table of 32 steps a channel."""
    x = np.asarray(picture) >> 3
    colours, table = _palette()
    shown = Image.fromarray(table[x[..., 0], x[..., 1], x[..., 2]])
    shown.putpalette(colours.tobytes())
    return shown


@functools.cache
def _palette() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Colours (n, 3) from each paint to paper and to the other paints, and which is nearest to each of (32, 32, 32).

    With these and no others, edges stay smooth and nothing flickers.
    """
    paints = [np.array(ImageColor.getrgb(COLOURS[name]), float) for name in ("paper", *PAINTS)]
    ramps = [a + (b - a) * s for i, a in enumerate(paints) for b in paints[:i] for s in np.linspace(0, 1, STEPS)]
    colours = np.unique(np.round(ramps).astype(np.uint8), axis=0)
    steps = np.arange(32) * 255 / 31
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    away = (colours.astype(float) ** 2).sum(1) - 2 * cube @ colours.T.astype(float)  # but for the square of the cube's
    return colours, away.argmin(1).astype(np.uint8).reshape(32, 32, 32)

"""One pose of a body -> marks: its bones by side and depth, the nearer ones thicker and in front, and its shadow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisette.views.skeletons.body import Array, Body, tilted
from noisette.views.skeletons.scene import Dots, Lines, Mark

COLOUR = {"left": "accent", "right": "second", "middle": "ink"}
"""Of a bone by its side: blue left, orange right."""

THICK = 0.026
"""Width of a bone, as a share of the body's height."""

NEAR, DEEP = 0.28, 0.2
"""A bone that is nearer than the body's middle by DEEP times the height, or more, is thicker by this share; one that is
farther, thinner."""

STEPS = 5
"""Widths of bones that are told apart: bones of one width and colour are one path."""

MIDDLE = 0.06
"""Bones within this share of the height from the body's middle are neither far nor near: those in front of others are
drawn after them, with a rim."""

HALO = 1.9
"""A nearer bone parts those behind it by a rim of paper, this many times as wide as itself."""

HEAD = 0.042
"""Radius of a head, as a share of the height."""


@dataclass(frozen=True)
class Spot:
    """Where on a sheet a body stands: the pixel of the floor below what the camera looks at, pixels a unit, and how
    tall a body is in pixels, which line widths follow."""

    x: float
    y: float
    scale: float
    tall: float

    def pixels(self, points: Array) -> Array:
        """(..., 3) placed points -> (..., 3): x and y on the sheet, and depth as a share of the height."""
        seen = tilted(points)
        depth = seen[..., 2] * self.scale / self.tall
        return np.stack([self.x + seen[..., 0] * self.scale, self.y - seen[..., 1] * self.scale, depth], -1)


def pose(points: Array, body: Body, spot: Spot, plain: bool = False) -> list[Mark]:
    """Marks of placed joints (joints, 3), the farthest first. A bone with a missing end is not drawn.

    Args:
        plain: thin lines without rims, for the many poses of a ghost.
    """
    seen = spot.pixels(points)
    if not body.bones:
        return _points(seen, body, spot)
    a, b = np.array(body.bones, int).T
    ends = np.concatenate([seen[a, :2], seen[b, :2]], 1)
    depth = (seen[a, 2] + seen[b, 2]) / 2
    there = np.isfinite(ends).all(1)
    depth -= _middle(seen[:, 2])
    layer = np.digitize(depth, [-MIDDLE, MIDDLE])
    step = np.nan_to_num((depth / DEEP).clip(-1, 1) * (STEPS // 2)).round()
    sides = np.array(body.bone_sides)
    marks: list[Mark] = []
    if plain:
        thin = THICK / 3 * spot.tall
        return [Lines(ends[there & (sides == s)], c, thin) for s, c in COLOUR.items() if (there & (sides == s)).any()]
    widths = THICK * spot.tall * (1 + NEAR * step / (STEPS // 2))
    for which in range(3):
        here = there & (layer == which)
        if which:
            marks += [Lines(_shrunk(ends[k], w), "paper", HALO * w, round=False) for k, w in _alike(here, widths)]
        for side in ("middle", "right", "left"):
            marks += [Lines(ends[k], COLOUR[side], w) for k, w in _alike(here & (sides == side), widths)]
    if body.head is not None and np.isfinite(seen[list(body.head), :2]).all():
        marks.append(Dots(seen[body.head[1], :2][None], COLOUR["middle"], HEAD * spot.tall))
    return marks


def shadow(points: Array, body: Body, spot: Spot) -> list[Mark]:
    """What the body casts on the floor, from light right above it."""
    below = spot.pixels(points * [1, 0, 1])[:, :2]
    below[np.isnan(points).any(1)] = np.nan
    width = 0.8 * THICK * spot.tall
    if not body.bones:
        found = below[np.isfinite(below).all(1)]
        return [Dots(found, "line", width / 2)] if len(found) else []
    a, b = np.array(body.bones, int).T
    ends = np.concatenate([below[a], below[b]], 1)
    ends = ends[np.isfinite(ends).all(1)]
    return [Lines(ends, "line", width, round=False)] if len(ends) else []


def _points(seen: Array, body: Body, spot: Spot) -> list[Mark]:
    there, sides = np.isfinite(seen).all(1), np.array(body.sides)
    marks: list[Mark] = []
    for side, colour in COLOUR.items():
        if (chosen := there & (sides == side)).any():
            marks.append(Dots(seen[chosen, :2], colour if body.pairs else "accent", 0.8 * THICK * spot.tall))
    return marks


def _alike(chosen: NDArray[np.bool_], widths: Array) -> list[tuple[NDArray[np.bool_], float]]:
    """The chosen bones by their width, the thin ones first."""
    return [(chosen & (widths == w), float(w)) for w in np.unique(widths[chosen])]


def _middle(depth: Array) -> float:
    depth = depth[np.isfinite(depth)]
    return float(np.median(depth)) if len(depth) else 0.0


def _shrunk(ends: Array, by: float) -> Array:
    """Lines shortened at both ends, so that the rim of a bone does not cut the one that it hangs on."""
    start, end = ends[:, :2], ends[:, 2:]
    along = end - start
    length = np.hypot(*along.T)[:, None]
    step = along * np.minimum(by / np.maximum(length, 1e-9), 0.5)
    return np.concatenate([start + step, end - step], 1)

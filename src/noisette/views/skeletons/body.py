"""Clips of joints -> points before a camera that stands a little to the side of where the body faces. No torch.

A clip is (frames, joints, dims) in the data's own units, dims 2 or 3; NaN where a joint is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from noisette.data.motion.skeleton import Skeleton

Array = NDArray[np.float64]

ASIDE = math.radians(40)
"""How far the camera stands to the side of the way a body faces: limbs do not hide each other, and it walks right."""

TILT = math.radians(12)
"""How far the camera looks down, so that the floor is seen as one."""

FLOOR = 25
"""Percentile of the lowest joint over the frames that is taken for the floor: a slip below it does not lower it, and a
jump does not raise it."""

TRAVEL = 0.5
"""A body that goes further than this share of its height is followed by the camera."""

SMOOTH = 0.25
"""The camera follows the moving average over this share of the frames."""

EXTREME = 99.5
"""Percentile of what must be in the picture: one joint that flies off does not make the others small."""


@dataclass(frozen=True)
class Body:
    """How a skeleton is drawn.

    joints: how many. bones: the joints that are joined; without any, points are drawn. pairs: (left, right) joints.
    up: the axis of the vertical. down: whether its numbers grow downwards, as those of pixels do. names: of the joints,
    or none; unit: of the coordinates.
    """

    joints: int
    bones: tuple[tuple[int, int], ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    up: int = 1
    down: bool = False
    names: tuple[str, ...] = ()
    unit: str = ""

    @classmethod
    def of(cls, skeleton: Skeleton) -> Body:
        """What a skeleton says of it."""
        s = skeleton
        return cls(len(s.names), s.edges, s.pairs, s.up, s.down, s.names, s.unit)

    def __post_init__(self) -> None:
        named = [joint for two in (*self.bones, *self.pairs) for joint in two]
        if named and not 0 <= min(named) <= max(named) < self.joints:
            raise ValueError(f"a bone or a pair names a joint outside 0..{self.joints - 1}")

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """ "left", "right" or "middle" of each joint."""
        left, right = {a for a, _ in self.pairs}, {b for _, b in self.pairs}
        return tuple("left" if j in left else "right" if j in right else "middle" for j in range(self.joints))

    @cached_property
    def bone_sides(self) -> tuple[str, ...]:
        """The same of each bone: that of its ends; middle where it joins left and right."""
        ends = [{self.sides[a], self.sides[b]} - {"middle"} for a, b in self.bones]
        return tuple(next(iter(found)) if len(found) == 1 else "middle" for found in ends)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Joints at the end of a limb: with one bone. Without bones there are none."""
        bones = np.bincount(np.array(self.bones, int).reshape(-1), minlength=self.joints)
        return tuple(int(j) for j in np.flatnonzero(bones == 1))

    @cached_property
    def head(self) -> tuple[int, int] | None:
        """(joint before it, head): the one end of a limb that is neither left nor right; None where none is."""
        found = [j for j in self.ends if self.sides[j] == "middle"]
        if not self.pairs or len(found) != 1:
            return None
        a, b = next(bone for bone in self.bones if found[0] in bone)
        return (a, b) if b == found[0] else (b, a)

    @cached_property
    def _girdles(self) -> tuple[tuple[int, int], ...]:
        """The pairs next to the middle of the body, hips and shoulders, which say where it faces; or all pairs."""
        middle = {j for j, side in enumerate(self.sides) if side == "middle"}
        near = {j for a, b in self.bones for j, other in ((a, b), (b, a)) if other in middle}
        return tuple((a, b) for a, b in self.pairs if a in near and b in near) or self.pairs


@dataclass(frozen=True)
class View:
    """Where a clip is looked at from.

    axes: (3, dims) rows that give x (right), y (up) and z (towards the camera). floor: y of the floor.
    path: (frames, 2) x and z that the camera looks at.
    """

    axes: Array
    floor: float
    path: Array

    @property
    def flat(self) -> bool:
        """Whether there is no depth."""
        return self.axes.shape[1] == 2


def check_clip(clip: ArrayLike, body: Body) -> Array:
    """The clip as float64, with NaN for all that is not finite. Raises ValueError for another shape than the body's."""
    x = np.asarray(clip, np.float64)
    if x.ndim != 3 or not len(x) or x.shape[1] != body.joints or x.shape[2] not in (2, 3) or body.up >= x.shape[2]:
        raise ValueError(f"expected a clip (frames, {body.joints}, 2 or 3) whose axis {body.up} is up, got {x.shape}")
    return np.where(np.isfinite(x), x, np.nan)


def look(clip: ArrayLike, body: Body) -> View:
    """The view that suits a clip: from a little aside of where it faces, following it where it travels."""
    x = check_clip(clip, body)
    axes = _axes(x, body)
    points = _through(x, axes)
    return View(axes, _percentile(_lowest(points), FLOOR), _path(points))


def place(clip: ArrayLike, body: Body, view: View | None = None) -> Array:
    """(frames, joints, 3) before the camera: x to the right and z towards it of what it looks at, y above the floor."""
    view = view or look(clip, body)
    points = _through(check_clip(clip, body), view.axes)
    points[..., 1] -= view.floor
    points[..., [0, 2]] -= view.path[:, None]
    return points


def tilted(points: Array, tilt: float = TILT) -> Array:
    """(..., 3) seen by a camera that looks down by `tilt` (radians): right, up on the picture, and depth."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([x, y * math.cos(tilt) - z * math.sin(tilt), z * math.cos(tilt) + y * math.sin(tilt)], -1)


def extent(clips: Sequence[Array], turning: bool = False) -> tuple[float, float]:
    """(half width, height) that holds placed clips, but for a few joints that fly off.

    turning: whichever way they are turned.
    """
    reach = [(np.hypot(c[..., 0], c[..., 2]) if turning else abs(c[..., 0])).ravel() for c in clips]
    tops = [np.concatenate([c[..., 1].ravel(), [0.0]]) for c in clips]
    half = max((_percentile(r, EXTREME) for r in reach), default=0.0)
    height = max((_percentile(t, EXTREME) for t in tops), default=0.0)
    return max(half, 1e-9), max(height, 0.5 * half, 1e-9)


def spacing(height: float) -> float:
    """A round distance (1, 2 or 5 times a power of ten) for the marks on the floor, a third of the height at most."""
    power = 10.0 ** math.floor(math.log10(height / 3))
    return power * max((m for m in (1, 2, 5) if m * power <= height / 3), default=1)


# --- what a view is made of -----------------------------------------------------------------------------------------


def _through(x: Array, axes: Array) -> Array:
    return np.stack([(x * row).sum(-1) for row in axes], -1)


def _axes(x: Array, body: Body) -> Array:
    up = np.zeros(x.shape[2])
    up[body.up] = -1 if body.down else 1
    if x.shape[2] == 2:
        return np.stack([np.eye(2)[1 - body.up], up, np.zeros(2)])
    facing = _facing(x, body, up)
    aside = np.cross(up, facing)
    towards = math.cos(ASIDE) * facing - math.sin(ASIDE) * aside
    return np.stack([np.cross(up, towards), up, towards])


def _facing(x: Array, body: Body, up: Array) -> Array:
    """The horizontal direction of length 1 in which the body faces, over the clip, or at its start where it turns.

    Without pairs, the direction in which it is thinnest. Right-handed axes: facing = up x (right - left).
    """
    ways = [np.cross(up, x[:, b] - x[:, a]) for a, b in body._girdles]
    if ways:
        each = _mean(np.stack(ways), 0)  # (frames, 3)
        mean = _mean(each, 0)
        if np.linalg.norm(mean) < 0.3 * np.nan_to_num(_mean(np.linalg.norm(each, axis=-1), 0)):
            mean = _mean(each[: max(1, len(each) // 8)], 0)
        if (length := float(np.linalg.norm(mean))) > 1e-9:  # False for NaN
            return mean / length
    across = np.delete(np.eye(3), body.up, 0)
    flat = (x - _mean(x, 1)[:, None]).reshape(-1, 3) @ across.T
    flat = flat[np.isfinite(flat).all(1)]
    thin = np.linalg.eigh(flat.T @ flat)[1][:, 0] if len(flat) else np.array([0.0, 1.0])
    return np.asarray((thin if thin[1] >= 0 else -thin) @ across, np.float64)


def _path(points: Array) -> Array:
    """(frames, 2) what the camera looks at: one place, or, where the body travels, the way it takes, smoothed."""
    middle = _mean(points, 1)[:, [0, 2]]
    seen = np.isfinite(middle).all(1)
    if not seen.any():
        return np.zeros((len(points), 2))
    at = np.arange(len(points))
    middle = np.stack([np.interp(at, at[seen], column[seen]) for column in middle.T], 1)
    low, high = middle.min(0), middle.max(0)
    tall = _percentile(_highest(points) - _lowest(points), 95)
    if np.hypot(*(high - low)) <= TRAVEL * tall:
        return np.broadcast_to((low + high) / 2, middle.shape).copy()
    half = max(1, int(SMOOTH * len(points) / 2))
    if len(points) <= half:
        return middle
    padded = np.pad(middle, ((half, half), (0, 0)), mode="reflect", reflect_type="odd")
    total = np.concatenate([np.zeros((1, 2)), padded.cumsum(0)])
    window = 2 * half + 1
    return (total[window:] - total[:-window]) / window


def _mean(x: Array, axis: int) -> Array:
    """The mean over what is finite, NaN where nothing is."""
    good = np.isfinite(x)
    count = good.sum(axis)
    total = np.where(good, x, 0).sum(axis)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _lowest(points: Array) -> Array:
    y = points[..., 1]
    return np.where(np.isnan(y), np.inf, y).min(1)


def _highest(points: Array) -> Array:
    y = points[..., 1]
    return np.where(np.isnan(y), -np.inf, y).max(1)


def _percentile(values: Array, q: float) -> float:
    """Of what is finite; 0 of nothing."""
    values = values[np.isfinite(values)]
    return float(np.percentile(values, q)) if len(values) else 0.0

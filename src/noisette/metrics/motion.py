"""How clips of key points move: bones, speeds, feet and joints of samples, beside those of real clips.

A set of clips is (N, frames, joints, dims), dims 2 or 3, in any unit of length; every measure gives one number a clip,
(N,) float64, at least 0:

    bone_error     mean difference of the bones from the lengths they should have, in % of those
    bone_jitter    mean standard deviation of the bones over time, in % of their mean
    speed, acceleration, jerk   mean size over joints and frames of the first, second and third difference over time, in
                   units per second, per second squared, per second cubed; with _rms their root mean square, which the
                   fastest moments decide
    contact        share of frames in which a foot stands on the ground
    sliding        mean horizontal speed of the feet that stand, units per second; nan where none ever does
    bent           share of angles between two bones, over all frames, that are beyond what real clips have

`Body.of` draws from real clips what these need to know, `measures` takes them all, `noisette.metrics.ratios.beside`
holds two sets of numbers against each other. Nothing is good or bad by itself: real clips jitter and slide too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.metrics.distances import Array

Clips = NDArray[np.floating[Any]]
"""(N, frames, joints, dims)."""

Indices = NDArray[np.int64]

CHANGES = {"speed": 1, "acceleration": 2, "jerk": 3}

NEAR, RISE = 0.03, 0.2
"""A foot stands where it is less than NEAR of the body's size above the ground (5 cm of an adult), and moves up or down
by less than RISE of it a second."""

RATE = 30.0
"""Frames a second that tell a standing foot where none are known."""

TAIL, SLACK = 0.001, 10.0
"""An angle is beyond the real ones where it is SLACK degrees outside of all but a share TAIL of them to either side."""

ROUNDING = 1e-3
"""Per cent of a bone's length below which its error or jitter is that of positions kept as float32: rigid bones of two
metres from the origin come to a tenth of it."""

MOST = 2000
"""Real clips that a body is drawn from, evenly spread over what is given."""


def checked(x: Clips) -> Array:
    """x as float64. Raises ValueError when it is not (N, frames, joints, 2 or 3), or holds what is no number."""
    clips = np.asarray(x, np.float64)
    if clips.ndim != 4 or clips.shape[3] not in (2, 3) or not clips.shape[2]:
        raise ValueError(f"clips are (N, frames, joints, 2 or 3), not {clips.shape}")
    if not np.isfinite(clips).all():
        raise ValueError("clips hold values that are not finite")
    return clips


def place(x: Array, root: int | None) -> Array:
    """Where the body is, (N, frames, 1, dims): its root joint, else the middle of its joints."""
    return x.mean(2, keepdims=True) if root is None else x[:, :, root, None]


def pose(x: Clips, root: int | None = None) -> Array:
    """Joints from where the body is: the same wherever it stands or goes. A single joint keeps its place."""
    x = checked(x)
    return x if x.shape[2] == 1 else x - place(x, root)


def comparable(x: Clips, root: int | None = None) -> Array:
    """Poses in such a scale that the Euclidean distance of two clips is the root mean square distance of their joints,
    in the clips' own unit: what `memory.nearest` looks for copies in."""
    x = pose(x, root)
    return x / math.sqrt(x.shape[1] * x.shape[2])


# --- bones --------------------------------------------------------------------------------------------------------


def bone_lengths(x: Clips, edges: Indices) -> Array:
    """(N, frames, E) for edges (E, 2) of joint numbers."""
    x = checked(x)
    return np.asarray(np.linalg.norm(x[:, :, edges[:, 0]] - x[:, :, edges[:, 1]], axis=-1))


def _typical(found: Array) -> Array:
    """(N, frames, E) lengths -> (E,) medians."""
    return np.asarray(np.median(found, axis=(0, 1)) if found.size else np.empty(0))


def bone_error(x: Clips, edges: Indices, lengths: Array | None = None) -> Array:
    """(N, E) mean over time of |length - what it should be|, in % of that.

    lengths: (E,) what it should be; by default each clip's own mean. A bone that should have no length gives nan where
    lengths are given, and 0 where it never had any.
    """
    found = bone_lengths(x, edges)
    wanted = found.mean(1, keepdims=True) if lengths is None else np.where(lengths > 0, lengths, np.nan)
    return np.asarray(100 * np.abs(found - wanted).mean(1) / _positive(np.broadcast_to(wanted, found.shape)[:, 0]))


def bone_jitter(x: Clips, edges: Indices) -> Array:
    """(N, E) standard deviation over time of each bone's length, in % of its mean in the clip."""
    found = bone_lengths(x, edges)
    return np.asarray(100 * found.std(1) / _positive(found.mean(1)))


def _positive(x: Array) -> Array:
    return np.where(x == 0, 1.0, x)


# --- speed and its changes ----------------------------------------------------------------------------------------


def change(x: Clips, order: int, fps: float | None = None) -> Array:
    """(N, frames - order, joints) size of the order-th difference over time, in units per s^order (1 speed,
    2 acceleration, 3 jerk), per frame^order without fps. Raises ValueError where there are too few frames."""
    x = checked(x)
    if x.shape[1] <= order:
        raise ValueError(f"{order + 1} frames are needed, clips have {x.shape[1]}")
    return np.asarray(np.linalg.norm(np.diff(x, n=order, axis=1), axis=-1) * (fps or 1.0) ** order)


def mean_change(x: Clips, order: int, fps: float | None = None) -> Array:
    """(N,) mean of `change` over frames and joints."""
    return np.asarray(change(x, order, fps).mean((1, 2)))


def rms_change(x: Clips, order: int, fps: float | None = None) -> Array:
    """(N,) root mean square of `change` over frames and joints."""
    return np.asarray(np.sqrt((change(x, order, fps) ** 2).mean((1, 2))))


def movement(x: Clips, root: int | None = None) -> Array:
    """(N,) how much the pose changes: root mean square distance of the joints from their mean over the clip, seen from
    the root. Unlike speed, it hardly grows with jitter, and does not see a stiff body that glides."""
    x = pose(x, root)
    return np.asarray(np.sqrt(((x - x.mean(1, keepdims=True)) ** 2).sum(-1).mean((1, 2))))


def drift(x: Clips, root: int | None = None) -> Array:
    """(N,) how far the body gets from where it started: the largest distance over the clip."""
    where = place(checked(x), root)
    return np.asarray(np.linalg.norm(where - where[:, :1], axis=-1).max((1, 2)))


# --- joints -------------------------------------------------------------------------------------------------------


def corners(edges: Indices) -> Indices:
    """(A, 3) of every two bones that meet: their other ends, with the joint between."""
    found = []
    for a, b in combinations(edges.tolist(), 2):
        for joint in {*a} & {*b}:
            found.append((sum(a) - joint, joint, sum(b) - joint))
    return np.array(found, np.int64).reshape(-1, 3)


def angles(x: Clips, edges: Indices) -> Array:
    """(N, frames, A) angle of every two bones that meet, 0 to 180 degrees, 180 in a straight line; nan where a bone has
    no length."""
    x = checked(x)
    first, joint, second = corners(edges).T
    a, b = x[:, :, first] - x[:, :, joint], x[:, :, second] - x[:, :, joint]
    size = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = a / size[0][..., None], b / size[1][..., None]
    # of half the angle: the arc cosine of a.b loses half the digits near 0 and 180 degrees
    return np.asarray(np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))))


def limits(x: Clips, edges: Indices) -> Array:
    """(2, A) least and most of each angle in real clips, but for a share TAIL of the frames to either side."""
    found = angles(x, edges)
    found = found.reshape(math.prod(found.shape[:2]), found.shape[2])
    bounds = np.stack([np.full(found.shape[1], -np.inf), np.full(found.shape[1], np.inf)])
    known = ~np.isnan(found).all(0)
    if known.any():
        bounds[:, known] = np.nanquantile(found[:, known], (TAIL, 1 - TAIL), axis=0)
    return bounds


def bent(x: Clips, edges: Indices, limits: Array) -> Array:
    """(N,) share of angles, over all frames, that are more than SLACK degrees beyond their limits (2, A)."""
    found = angles(x, edges)
    outside = (found < limits[0] - SLACK) | (found > limits[1] + SLACK)
    return np.asarray(outside.mean((1, 2)))


# --- feet ---------------------------------------------------------------------------------------------------------


def standing(x: Clips, body: Body) -> NDArray[np.bool_]:
    """(N, frames - 1, K): whether each foot stands on the ground between two frames.

    The ground of a clip is where its lowest 5 % of the feet are, so that it may lie anywhere.
    """
    height = body.heights(checked(x))
    ground = np.quantile(height, 0.05, axis=(1, 2), keepdims=True)
    low = (height[:, 1:] + height[:, :-1]) / 2 < ground + NEAR * body.size
    return np.asarray(low & (np.abs(np.diff(height, axis=1)) * (body.fps or RATE) < RISE * body.size))


def contact(x: Clips, body: Body) -> Array:
    """(N,) share of frames in which at least one foot stands."""
    return np.asarray(standing(x, body).any(2).mean(1))


def sliding(x: Clips, body: Body) -> Array:
    """(N,) mean horizontal speed of the feet that stand, units per second; nan for clips in which none ever does."""
    held = standing(x, body)
    flat = np.delete(checked(x)[:, :, list(body.feet)], body.up or 0, axis=3)
    pace = np.linalg.norm(np.diff(flat, axis=1), axis=-1) * (body.fps or 1.0)
    with np.errstate(invalid="ignore"):
        return np.asarray((pace * held).sum((1, 2)) / held.sum((1, 2)))


# --- all of it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Body:
    """What the measures know of a body; see `of`.

    edges    (E, 2) joints that bones join
    lengths  (E,) of the bones
    limits   (2, A) of the angles between bones that meet, in degrees
    size     the longest side of the box around the joints, in the median over real clips and frames; above 0
    root     the joint that says where the body is; None for the middle of all
    feet     joints that stand on the ground; () where the clips cannot tell
    rest     how much higher each of them is than the lowest, when all stand
    up       the vertical axis; it points down, as in pictures, where `down`
    fps      frames a second; None where unknown
    """

    edges: Indices
    lengths: Array
    limits: Array
    size: float
    root: int | None
    feet: tuple[int, ...]
    rest: tuple[float, ...]
    up: int | None
    down: bool
    fps: float | None

    @classmethod
    def of(
        cls,
        real: Clips,
        edges: Indices | None = None,
        *,
        root: int | None = None,
        feet: tuple[int, ...] = (),
        up: int | None = None,
        down: bool = False,
        fps: float | None = None,
        lengths: Array | None = None,
    ) -> Body:
        """The body of real clips, the training ones.

        Feet are left out where no vertical axis is given, and where the body is held in its place in every frame: then
        its feet slide because it does not.

        Args:
            edges: (E, 2); without them nothing is said of bones and joints.
            lengths: (E,) of the bones, where they are known; by default their medians.

        Raises:
            ValueError: no clip; numbers of joints or axes that are not there; as `checked`.
        """
        if not len(real):
            raise ValueError("a body is drawn from at least one clip")
        x = checked(real[:: math.ceil(len(real) / MOST)])
        joints, dims = x.shape[2:]
        edges = np.empty((0, 2), np.int64) if edges is None else np.asarray(edges, np.int64).reshape(-1, 2)
        named = [*edges.ravel().tolist(), *feet, *(() if root is None else (root,))]
        if named and not 0 <= min(named) <= max(named) < joints:
            raise ValueError(f"joints {min(named)} to {max(named)} of clips that have {joints}")
        if up is not None and not 0 <= up < dims:
            raise ValueError(f"vertical axis {up} of clips that have {dims}")
        boxes = x.max(2) - x.min(2), x.max((1, 2)) - x.min((1, 2))  # one joint alone is as large as its way
        size = next((s for s in (float(np.median(box.max(-1))) for box in boxes) if s > 0), 1.0)
        still = float(np.abs(np.diff(place(x, root), axis=1)).max(initial=0.0)) <= 1e-6 * size
        feet = () if up is None or still or joints == 1 else tuple(feet)
        rest = np.zeros(len(feet))
        if feet:
            rest = np.median(np.quantile(_heights(x, feet, up, down), 0.05, axis=1), axis=0)
        return cls(
            edges,
            _typical(bone_lengths(x, edges)) if lengths is None else np.asarray(lengths, np.float64),
            limits(x, edges),
            size,
            root,
            feet,
            tuple((rest - rest.min(initial=np.inf)).tolist()),
            up,
            down,
            fps,
        )

    def heights(self, x: Array) -> Array:
        """(N, frames, K) of the feet, less what each is above the lowest when all stand."""
        return np.asarray(_heights(x, self.feet, self.up, self.down) - np.asarray(self.rest))


def _heights(x: Array, feet: tuple[int, ...], up: int | None, down: bool) -> Array:
    heights = x[:, :, list(feet), up or 0]
    return -heights if down else heights


def measures(x: Clips, body: Body) -> dict[str, Array]:
    """Every measure that these clips and their body allow, by name: (N,) each. Raises ValueError as `checked`."""
    x = checked(x)
    found: dict[str, Array] = {}
    boned = body.lengths > 0
    if boned.any():
        edges = body.edges[boned]
        found["bone_error"] = bone_error(x, edges, body.lengths[boned]).mean(1)
        found["bone_jitter"] = bone_jitter(x, edges).mean(1)
    for name, order in CHANGES.items():
        if x.shape[1] > order:
            found[name] = mean_change(x, order, body.fps)
            found[f"{name}_rms"] = rms_change(x, order, body.fps)
    if body.feet and x.shape[1] > 1:
        found["contact"] = contact(x, body)
        found["sliding"] = sliding(x, body)
    if body.limits.size:
        found["bent"] = bent(x, body.edges, body.limits)
    return found


def unit(measure: str, length: str, fps: float | None) -> str:
    """The unit of a measure, where lengths are in `length`: "m/s^2" for an acceleration, say, or "m/frame^2"."""
    if measure.startswith("bone"):
        return "%"
    if measure in ("contact", "bent"):
        return "share"
    order = CHANGES.get(measure.removesuffix("_rms"), 1)
    return f"{length}/{'s' if fps else 'frame'}" + (f"^{order}" if order > 1 else "")


def nothing(measure: str) -> float:
    """Up to here a measure of real clips is rounding, of which nothing is so many times."""
    return ROUNDING if measure.startswith("bone") else 0.0

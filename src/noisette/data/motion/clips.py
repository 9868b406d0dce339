"""From takes to clips of one length: resampling in time, windows, where a clip stands and which way it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion.skeleton import Skeleton

Centre = Literal["start", "root", "world"]

FLOOR = 0.05
GOLDEN = (5**0.5 - 1) / 2
"""A joint's scale is at least this share of the median joint's: one that hardly moves must not be blown up."""

SAME_RATE = 0.002
"""Share by which two rates may differ and be one: 0.033333 seconds a frame are 30 frames a second, and nobody sees the
difference from 29.97. A take that is resampled for it would lose its last frame, and the rest its sharpness."""


def interpolate(
    frames: NDArray[np.float32],
    times: NDArray[np.float64],
    low: NDArray[np.int64] | int = 0,
    high: NDArray[np.int64] | int | None = None,
    kind: Literal["linear", "cubic"] = "cubic",
) -> NDArray[np.float32]:
    """Positions between frames.

    frames (T, J, D); times (...) in frames, inside [low, high - 1]; low and high (broadcast to times) bound the
    stretch that may be looked at, all of it by default. Cubic is Catmull and Rom's spline (1974), whose tangent at a
    frame is half the step from the frame before to the one after; beyond a bound the motion goes on as it went.
    At whole times both kinds give the frame itself, bit for bit. Returns (..., J, D) float32.
    """
    last = np.asarray(len(frames) if high is None else high) - 1
    at = np.clip(np.floor(times).astype(np.int64), low, last)
    w = np.asarray(times - at, dtype=np.float32)[..., None, None]
    one, two = frames[at], frames[np.minimum(at + 1, last)]
    if kind == "linear":
        return np.asarray(one + w * (two - one), dtype=np.float32)
    before = np.where((at > low)[..., None, None], frames[np.maximum(at - 1, low)], 2 * one - two)
    after = np.where((at + 2 <= last)[..., None, None], frames[np.minimum(at + 2, last)], 2 * two - one)
    slope = 0.5 * (two - before)
    bend = before - 2.5 * one + 2 * two - 0.5 * after
    twist = 0.5 * (after - before) + 1.5 * (one - two)
    return np.asarray(one + w * (slope + w * (bend + w * twist)), dtype=np.float32)


def resample(
    x: NDArray[np.float32], fps: float, to: float, kind: Literal["linear", "cubic"] = "cubic"
) -> NDArray[np.float32]:
    """A take (F, J, D) of `fps` frames a second at `to` frames a second: from the first frame on, as far as it goes;
    as it is where the two are one rate."""
    if abs(fps / to - 1) < SAME_RATE or len(x) < 2:
        return x
    count = int(np.floor((len(x) - 1) / fps * to + 1e-6)) + 1
    times = np.minimum(np.arange(count) * (fps / to), len(x) - 1)
    near = np.rint(times)
    times = np.where(np.abs(times - near) < 1e-6, near, times)
    return interpolate(x, times, kind=kind)


def starts(length: int, frames: int, stride: int) -> NDArray[np.int64]:
    """First frames of the windows of a stretch of `length` frames: every `stride`-th that leaves a whole window."""
    return np.arange(0, length - frames + 1, stride, dtype=np.int64)


# --- which way is forward --------------------------------------------------------------------------------------------


def ground(up: int, dims: int) -> tuple[int, ...]:
    """The axes of the ground plane: (sideways, forward) in three dimensions, (sideways,) in two.

    With y up a clip that looks along +z has its left along +x, with z up one along +y its left along -x.
    """
    return {0: (1, 2), 1: (0, 2), 2: (0, 1)}[up] if dims == 3 else (0,)


def across(x: NDArray[Any], skeleton: Skeleton) -> NDArray[np.float64]:
    """(..., 2): the mean step from right to left over hips and shoulders, in the ground plane, of poses (..., J, 3)."""
    left, right = np.array(skeleton.broad).T
    a, b = ground(skeleton.up, 3)
    step = (np.asarray(x[..., left, :], np.float64) - x[..., right, :]).mean(-2)
    return np.asarray(step[..., [a, b]])


def sense(x: NDArray[Any], skeleton: Skeleton) -> int:
    """+1 or -1: which side of the line from right to left is forward, over frames (m, J, 3).

    Feet point forward: the sum of the last bones of the legs decides, and so does for left-handed axes, and where
    left and right were found by shape. Without feet a right-handed frame is taken.
    """
    side = across(x, skeleton)
    bones = [(skeleton.parents[f], f) for f in skeleton.feet if skeleton.parents and skeleton.parents[f] >= 0]
    if not bones:
        return 1 if (skeleton.up == 1) != skeleton.down else -1
    a, b = ground(skeleton.up, 3)
    toes = sum(np.asarray(x[:, f], np.float64) - x[:, p] for p, f in bones)[:, [a, b]]
    ahead = (_ahead(side) * toes).sum(-1)
    return 1 if np.median(ahead) > 0 else -1


def _ahead(side: NDArray[np.float64]) -> NDArray[np.float64]:
    """A quarter turn of (..., 2) from (sideways, forward) = (1, 0) to (0, 1)."""
    return np.stack((-side[..., 1], side[..., 0]), axis=-1)


def facing(x: NDArray[Any], skeleton: Skeleton, sense: int) -> NDArray[np.float64]:
    """Angle (...) in radians by which poses (..., J, 3) are turned in the ground plane away from looking along its
    second axis, towards its first one."""
    ahead = sense * _ahead(across(x, skeleton))
    return np.asarray(np.arctan2(ahead[..., 0], ahead[..., 1]))


def turn(x: NDArray[np.float32], angle: NDArray[np.float64], up: int) -> NDArray[np.float32]:
    """Clips (B, F, J, 3) turned about the vertical through the origin by angles (B,), from the ground plane's second
    axis towards its first one."""
    a, b = ground(up, 3)
    cos, sin = (f(angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    out = x.copy()
    out[..., a] = cos * x[..., a] + sin * x[..., b]
    out[..., b] = cos * x[..., b] - sin * x[..., a]
    return out


def rotated(x: NDArray[np.float32], angle: NDArray[np.float64], skeleton: Skeleton) -> NDArray[np.float32]:
    """Clips (B, F, J, 3) turned by angles (B,) about the vertical through the root of their first pose."""
    centre = pivot(x, skeleton)
    return turn(x - centre, angle, skeleton.up) + centre


def pivot(x: NDArray[np.float32], skeleton: Skeleton) -> NDArray[np.float32]:
    """(B, 1, 1, D): where the root of the first pose of clips (B, F, J, D) is."""
    return x[:, :1, skeleton.root : skeleton.root + 1].copy()


@dataclass(frozen=True, eq=False)
class Where:
    """offset (B, 1 or F, 1, D): what is taken away from clips; angle (B,) radians: how they then look, None if kept."""

    offset: NDArray[np.float32]
    angle: NDArray[np.float64] | None


@dataclass(frozen=True)
class Placing:
    """Where a clip is put before a net sees it.

    centre   "start": its first root stands at the origin of the ground plane, heights are kept; "root": every root
             is at the origin; "world": untouched
    heading  it is turned about the vertical so that its first pose looks along the ground plane's second axis
    sense    of `facing`; root, up: of the skeleton
    """

    skeleton: Skeleton
    centre: Centre
    heading: bool
    sense: int = 1

    @classmethod
    def of(cls, info: dict[str, Any]) -> Placing:
        """That of loaded data, from their `info`: for clips that are to stand as those did."""
        return cls(Skeleton.from_json(info["skeleton"]), info["centre"], info["heading"], info["sense"])

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Clips (B, F, J, D) -> the same, placed; a new array."""
        return self.put(x, self.where(x))

    def where(self, x: NDArray[np.float32]) -> Where:
        """Where clips (B, F, J, D) stand, and which way they look."""
        offset = np.zeros((len(x), 1, 1, x.shape[-1]), np.float32)
        root = x[:, :, self.skeleton.root, None]
        if self.centre == "root":
            offset = root.copy()
        elif self.centre == "start":
            flat = list(ground(self.skeleton.up, x.shape[-1]))
            offset[..., flat] = root[:, :1, :, flat]
        return Where(offset, facing(x[:, 0], self.skeleton, self.sense) if self.heading else None)

    def put(self, x: NDArray[np.float32], where: Where) -> NDArray[np.float32]:
        """Clips that stand `where`, placed."""
        x = x - where.offset
        return x if where.angle is None else turn(x, -where.angle, self.skeleton.up)

    def back(self, x: NDArray[np.float32], where: Where) -> NDArray[np.float32]:
        """Placed clips, put back where others stood: undoes `put`."""
        return (x if where.angle is None else turn(x, where.angle, self.skeleton.up)) + where.offset


@dataclass(eq=False)
class Clips:
    """Windows of frames that are kept once, however much the windows overlap; `clips[rows]` cuts and places them.

    frames     (T, J, D) float32, all stretches end to end
    start      (n,) int64 first frame of each clip;  low, high (n,) its stretch [low, high)
    length     frames of a clip
    """

    frames: NDArray[np.float32]
    start: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    length: int
    placing: Placing

    def __len__(self) -> int:
        return len(self.start)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, frames, joints, dims)."""
        return (len(self), self.length, *self.frames.shape[1:])

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return self.frames.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that are held, which the overlap of the clips does not multiply."""
        return self.frames.nbytes

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Rows as numpy understands them -> (B, F, J, D) float32; one number gives one clip (F, J, D)."""
        chosen = np.arange(len(self), dtype=np.int64)[rows]
        out = self.cut(np.atleast_1d(chosen))
        return out[0] if np.ndim(chosen) == 0 else out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def cut(self, rows: NDArray[np.int64], speed: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        """(B, F, J, D) placed clips; speed (B,) plays them faster (above 1) or slower.

        A clip that is played faster needs more of its take: it begins earlier where the take ends too soon, and goes
        only as fast as the take is long.
        """
        start, low, high = self.start[rows], self.low[rows], self.high[rows]
        steps = np.arange(self.length)
        if speed is None:
            return self.placing(self.frames[start[:, None] + steps])
        reach = (high - low - 1) / max(self.length - 1, 1)
        speed = np.minimum(speed, np.maximum(reach, 1.0))
        span = (self.length - 1) * speed
        begin = np.minimum(start, high - 1 - span)
        times = np.minimum(begin[:, None] + steps * speed[:, None], (high - 1)[:, None])
        return self.placing(interpolate(self.frames, times, low[:, None], high[:, None]))


# --- what the net sees -----------------------------------------------------------------------------------------------


def fit_normaliser(clips: Clips, rows: NDArray[np.int64], relative: bool, rotate: float = 0.0) -> dict[str, Any]:
    """{"kind": "motion", "root": r or None, "mean": (J, D), "scale": (J,)} of the clips' rows, as lists.

    relative  every joint but the root r is seen from the root, frame by frame: then what a net must get right to hold
              the bones is not small beside the way that the body goes
    rotate    degrees: the clips are turned by up to so much, as they are in training, each by an angle of its own
    scale is the root mean square distance of a joint's coordinates from their mean, and at least FLOOR of the median
    joint's. Sums are float64, a block of clips at a time.
    """
    frames = clips.length
    root = clips.placing.skeleton.root if relative else None
    blocks = np.array_split(rows, -(-len(rows) // 256))
    count = len(rows) * frames

    def seen(block: NDArray[np.int64]) -> NDArray[np.float64]:
        x = clips[block]
        if rotate:  # multiples of the golden ratio lie evenly however many there are
            angle = np.radians(rotate) * (2 * (block * GOLDEN % 1) - 1)
            x = rotated(x, angle, clips.placing.skeleton)
        return _seen(x.astype(np.float64), root)

    mean = sum(seen(b).sum((0, 1)) for b in blocks) / count
    squares = sum(((seen(b) - mean) ** 2).sum((0, 1)) for b in blocks)
    scale = np.sqrt(squares.mean(1) / count)
    floor = FLOOR * float(np.median(scale))
    scale = np.maximum(scale, floor if floor > 0 else 1.0)
    return {
        "kind": "motion",
        "root": root,
        "mean": np.float32(mean).astype(float).tolist(),
        "scale": np.float32(scale).astype(float).tolist(),
    }


def _seen(x: NDArray[Any], root: int | None) -> NDArray[Any]:
    """Clips (B, F, J, D) with every joint but the root seen from the root; as they are where there is none."""
    if root is None:
        return x
    out: NDArray[Any] = x - x[:, :, root : root + 1]
    out[:, :, root] = x[:, :, root]
    return out


def normalise(x: NDArray[np.float32], normaliser: dict[str, Any]) -> NDArray[np.float32]:
    """Clips (B, F, J, D) in the data's units -> what a net sees: (B, J * D, F) float32, channel = joint * D + dim.

    y = (seen(x) - mean) / scale, with seen(x) = x, or x minus its root but for the root itself.
    """
    mean, scale = (np.asarray(normaliser[k], np.float32) for k in ("mean", "scale"))
    y = (_seen(x, normaliser.get("root")) - mean) / scale[:, None]
    return np.ascontiguousarray(y.reshape(*x.shape[:2], -1).transpose(0, 2, 1), dtype=np.float32)


def denormalise(y: NDArray[np.floating[Any]], normaliser: dict[str, Any]) -> NDArray[np.float32]:
    """What a net made (B, J * D, F) -> clips (B, F, J, D) float32 in the data's units. Undoes `normalise`."""
    mean, scale = (np.asarray(normaliser[k], np.float32) for k in ("mean", "scale"))
    x = np.asarray(y, np.float32).transpose(0, 2, 1).reshape(y.shape[0], y.shape[2], *mean.shape)
    x = np.asarray(x * scale[:, None] + mean, dtype=np.float32)
    root = normaliser.get("root")
    if root is not None:
        base = x[:, :, root].copy()
        x += base[:, :, None]
        x[:, :, root] = base
    return x

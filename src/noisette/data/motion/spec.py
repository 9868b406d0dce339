"""What a user asks for (MotionSpec) and what comes back (MotionData)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion.clips import Centre, Clips
from noisette.data.motion.skeleton import Skeleton
from noisette.errors import UserError, nearest


@dataclass(frozen=True)
class Augment:
    """How clips are varied while they are trained on.

    mirror  half of them have left and right exchanged; the skeleton must know which joints those are
    rotate  degrees: each is turned about the vertical by up to so much, either way; in three dimensions
    speed   share: each is played up to so much faster or slower
    """

    mirror: bool = False
    rotate: float = 0.0
    speed: float = 0.0

    def __bool__(self) -> bool:
        return self.mirror or self.rotate > 0 or self.speed > 0


@dataclass(frozen=True)
class MotionSpec:
    """A set of motion clips, asked for: everything that decides what a model sees.

    source    `motion` (the bundled set), a file (.npz .npy .csv .tsv .json .bvh), or a folder of such files
    frames    frames of a clip
    fps       frames a second that everything is resampled to; None: as the source has it, and where its takes
              differ, their median
    stride    frames from the start of one clip to the start of the next one of the same take; None: frames / 8
    skeleton  path of a JSON file; None takes what the source says
    columns   of tables: the coordinate columns joint by joint, where their names do not end in x, y, z
    centre    "start": a clip begins at the origin of the ground; "root": every pose is at the origin; "world"
    heading   a clip is turned so that its first pose looks along +z (where z is up, along +y); where left and right
              are known, and not with "world"; None: unless `rotate` turns clips to every side
    relative  the net sees every joint from the root, and the root where it is; else all of them where they are
    short     takes of fewer frames than a clip, but of at least half: "hold" keeps their last pose to the end of the
              clip, "drop" leaves them out, as all shorter ones are
    classes   names of the classes to keep, in this order; () keeps all
    held_out  share that is never trained on, in [0, 1): whole subjects where they are known, else whole takes
    seed      of the split, and of what `limit` draws
    limit     at most this many takes
    mirror, rotate, speed   augmentation: see Augment; rotate=True is any direction, 180 degrees

    Raises UserError when a value is out of its range.
    """

    source: str
    frames: int = 64
    fps: float | None = None
    stride: int | None = None
    skeleton: str | None = None
    columns: tuple[str, ...] = ()
    centre: Centre = "start"
    heading: bool | None = None
    relative: bool = True
    short: str = "hold"
    classes: tuple[str, ...] = ()
    held_out: float = 0.1
    seed: int = 0
    limit: int | None = None
    mirror: bool = False
    rotate: float | bool = 0.0
    speed: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rotate", 180.0 if self.rotate is True else float(self.rotate))
        for name, low, high in (("frames", 4, 4096), ("stride", 1, 4096), ("limit", 1, None)):
            value = getattr(self, name)
            if value is not None and (value < low or (high and value > high)):
                raise UserError(f"{name} must be {f'from {low} to {high}' if high else f'at least {low}'}, not {value}")
        if self.fps is not None and not 1 <= self.fps <= 1000:
            raise UserError(f"fps must be from 1 to 1000 frames a second, not {self.fps:g}")
        for name, known in (("centre", get_args(Centre)), ("short", ("hold", "drop"))):
            if getattr(self, name) not in known:
                raise UserError(f'no {name} "{getattr(self, name)}"{nearest(str(getattr(self, name)), known)}')
        if not 0.0 <= self.held_out < 1.0:
            raise UserError(f"held_out is a share, from 0 up to but without 1, not {self.held_out}")
        if self.seed < 0:
            raise UserError(f"seed must not be negative, not {self.seed}")
        if not 0 <= float(self.rotate) <= 180:
            raise UserError(f"rotate is in degrees, from 0 to 180, not {self.rotate:g}")
        if self.rotate and self.heading:
            raise UserError("heading turns all clips to look one way, and rotate turns them away again: leave one out")
        if not 0 <= self.speed <= 0.5:
            raise UserError(f"speed is a share, from 0 to 0.5, not {self.speed:g}")
        for name in ("classes", "columns"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise UserError(f"one of {name} is named twice: {', '.join(getattr(self, name))}")

    @property
    def ahead(self) -> bool:
        """Whether clips are to be turned to one heading."""
        return not self.rotate if self.heading is None else self.heading

    @property
    def step(self) -> int:
        """Frames between the starts of clips."""
        return self.stride or max(1, self.frames // 8)

    @property
    def augment(self) -> Augment:
        return Augment(self.mirror, float(self.rotate), self.speed)


@dataclass(eq=False)
class MotionData:
    """Clips of motion, ready to be cut: the face of ImageData, for motion.

    x            Clips: x.shape is (n, frames, joints, dims), x[rows] is float32 in the data's own units
    labels       (n,) int64 indices into `classes`, or None
    fingerprint  hash of the frames, their labels, how they are cut and placed, and the takes and subjects that the
                 split keeps whole
    info         JSON-able: source, count (clips), takes, frames, joints, dims, fps, unit, per_class, split, cleaning,
                 short, skipped [{file, reason}], ignored, notes, skeleton
    train        (t,) int64, sorted: rows to train on
    held_out     (h,) int64, sorted: rows never trained on; no two clips of one take (of one subject, where the split
                 is by subject) are on both sides
    digests      (n, 16) uint8, one hash a clip
    skeleton     with all that could be told of it; its fps is that of the clips
    normaliser   JSON-able: kind "motion", root (or None), mean (J, D), scale (J,), fitted to the training rows
    lateral      the axis that a mirror turns round: sideways of those who move
    augment      what the training stream does unless it is told otherwise
    take         (n,) int64: the take that each clip is cut from;  takes: their names
    subjects     their subjects, None where unknown
    """

    x: Clips
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    fingerprint: str
    info: dict[str, Any]
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    digests: NDArray[np.uint8] = field(repr=False)
    skeleton: Skeleton
    normaliser: dict[str, Any] = field(repr=False)
    lateral: int
    augment: Augment
    take: NDArray[np.int64] = field(repr=False)
    takes: tuple[str, ...] = field(repr=False)
    subjects: tuple[str | None, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def fps(self) -> float | None:
        """Frames a second of the clips; None where nobody says."""
        return self.skeleton.fps

    def name(self, row: int) -> str:
        """What to call a clip: its take, and the frames of it."""
        first = int(self.x.start[row] - self.x.low[row])
        return f"{self.takes[self.take[row]]}, frames {first} to {first + self.x.length - 1}"

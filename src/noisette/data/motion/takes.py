"""What the readers of motion give back: takes, the skeleton that they share, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion.skeleton import MOST, Skeleton
from noisette.errors import UserError

BESIDE = {
    "name": ("clip", "name", "take", "sequence", "seq", "file", "clip_id"),
    "label": ("label", "action", "class", "activity"),
    "subject": ("subject", "person", "actor"),
    "fps": ("fps", "rate", "frame_rate"),
    "dt": ("dt", "frame_time"),
    "time": ("time", "timestamp", "seconds", "t"),
}
"""What may stand beside the frames, and the names by which every reader knows it: arrays, columns, fields."""

FASTEST = 10_000
"""Frames a second above which a rate is a mistake."""

SLOWEST = 1.0
"""Frames a second below which times are a mistake: most likely they are milliseconds, which would make a minute of a
take of two seconds, nearly all of it made up between the frames."""


@dataclass(frozen=True, eq=False)
class Take:
    """One uninterrupted recording.

    x        (frames, joints, dims) float32, dims 2 or 3, NaN where a joint was not seen
    name     what to call it in messages
    label    its class, where it has one
    subject  who moves, where that is known
    fps      frames a second, where the file says so
    """

    x: NDArray[np.float32]
    name: str
    label: str | None = None
    subject: str | None = None
    fps: float | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass
class Recording:
    """All takes of a source: equal joints, equal dims.

    skeleton  as far as the files tell; None where they say nothing
    stated    which of "unit" and "up" a file or the caller says: the rest is inferred
    version   names the content where the bytes of the takes do not, being computed
    """

    takes: list[Take]
    skeleton: Skeleton | None = None
    stated: frozenset[str] = frozenset()
    skipped: list[dict[str, str]] = field(default_factory=list)
    ignored: int = 0
    notes: list[str] = field(default_factory=list)
    version: str = ""


def as_take(x: Any, name: str, **facts: Any) -> Take:
    """A take of numbers (F, J, D), what is not finite turned to NaN. Raises UserError where they are no motion."""
    x = np.asarray(x)
    if x.dtype.kind not in "iufb" or x.ndim != 3 or x.shape[2] not in (2, 3) or not x.shape[1]:
        raise UserError(f"{name}: {describe(x)} is not motion, which is (frames, joints, 2 or 3) numbers")
    if not len(x):
        raise UserError(f"{name}: no frame in it")
    if x.shape[1] > MOST:
        raise UserError(f"{name}: {x.shape[1]} joints; at most {MOST} are understood")
    with np.errstate(invalid="ignore", over="ignore"):
        out = np.ascontiguousarray(x, dtype=np.float32)
    whole = np.isfinite(out)
    return Take(out if whole.all() else np.where(whole, out, np.float32(np.nan)), name, **facts)


def per_second(seconds: float, where: str) -> float:
    """Frames a second, of the seconds from one frame to the next; to four digits, as times are stored with few.

    Raises UserError where they are so many that they are no seconds."""
    if seconds * SLOWEST > 1:
        raise UserError(
            f"{where}: {seconds:g} seconds from one frame to the next; are they milliseconds? divide the times by 1000"
        )
    return float(f"{1 / seconds:.4g}")


def describe(x: NDArray[Any]) -> str:
    return f"an array of {x.dtype}, shape {x.shape},"

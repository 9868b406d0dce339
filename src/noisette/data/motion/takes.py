"""What the readers of motion give back: takes, the skeleton that they share, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion.skeleton import Skeleton, numbered
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
    with np.errstate(invalid="ignore", over="ignore"):
        out = np.ascontiguousarray(x, dtype=np.float32)
    whole = np.isfinite(out)
    return Take(out if whole.all() else np.where(whole, out, np.float32(np.nan)), name, **facts)


def describe(x: NDArray[Any]) -> str:
    return f"an array of {x.dtype}, shape {x.shape},"


def gather(found: Sequence[Recording], source: str) -> Recording:
    """Several recordings as one, those with other joints or dims than most takes have left out and listed.

    Joints come in the order of the first recording; one with the same names in another order is put into it.
    Raises UserError where no take is left.
    """
    skipped = [s for r in found for s in r.skipped]
    found = [r for r in found if r.takes]
    if not found:
        raise UserError(f"{source}: {len(skipped)} files and none can be read ({skipped[0]['reason']})")
    kinds: dict[Any, int] = {}
    for recording in found:
        kinds[_kind(recording)] = kinds.get(_kind(recording), 0) + len(recording.takes)
    most = max(kinds, key=lambda k: kinds[k])
    first = next(r for r in found if _kind(r) == most)
    takes: list[Take] = []
    for recording in found:
        if _kind(recording) == most:
            takes += _ordered(recording, first)
            continue
        joints, dims, _ = _kind(recording)
        reason = f"{joints} joints of {dims} coordinates, where most have {most[0]} of {most[1]}"
        if (joints, dims) == most[:2]:
            reason = "its joints have other names than those of most files"
        skipped += [{"file": t.name, "reason": reason} for t in recording.takes]
    notes = list(dict.fromkeys(n for r in found for n in r.notes))
    stated = frozenset.intersection(*(r.stated for r in found))
    return Recording(takes, first.skeleton, stated, skipped, sum(r.ignored for r in found), notes)


def _kind(recording: Recording) -> tuple[int, int, frozenset[str]]:
    _, joints, dims = recording.takes[0].x.shape
    return joints, dims, frozenset(recording.skeleton.names if recording.skeleton else numbered(joints))


def _ordered(recording: Recording, first: Recording) -> list[Take]:
    if recording.skeleton is None or first.skeleton is None or recording.skeleton.names == first.skeleton.names:
        return recording.takes
    order = [recording.skeleton.names.index(n) for n in first.skeleton.names]
    return [replace(t, x=t.x[:, order]) for t in recording.takes]

"""Joints that were not seen: found, filled over a short gap, and where the gap is long the recording is cut there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GAP = 0.2
"""Seconds up to which a joint that is missing is filled by a straight line."""

GAP_FRAMES = 4
"""The same in frames, where it is not known how many there are a second."""

_ORIGIN = 0.95  # share of frames, or of takes, at zero from which a joint is taken to lie at the origin by choice


@dataclass(frozen=True)
class Origin:
    """The joint on which the data were centred, so that its zeros are true; None where they were not.

    always  in every frame; else each take begins there
    """

    joint: int | None = None
    always: bool = False

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(F, J) where a zero of frames (F, J, D) is true."""
        out = np.zeros(x.shape[:2], bool)
        if self.joint is not None:
            out[: None if self.always else 1, self.joint] = True
        return out


@dataclass
class Cleaned:
    """Stretches of a take without a gap.

    pieces   arrays (frames, J, D) float32, in order; a window must not cross from one to the next
    missing  joints not seen, summed over frames; empty: frames with none seen (of these, all joints are in missing)
    filled   of the missing ones, those that were filled;  dropped: frames that were left out
    """

    pieces: list[NDArray[np.float32]]
    missing: int = 0
    empty: int = 0
    filled: int = 0
    dropped: int = 0


def at_origin(takes: Sequence[NDArray[np.float32]], root: int | None = None) -> Origin:
    """The joint that lies at zero in nearly every frame in which any joint does not, or in the first frame of nearly
    every take. Data are centred on one joint only, and where one is named as the root, on that: zeros of others are
    joints that were never seen."""
    always, first = np.zeros(takes[0].shape[1]), np.zeros(takes[0].shape[1])
    frames = begun = 0
    for x in takes:
        rows = x[(x != 0).any((1, 2))]
        always += (rows == 0).all(2).sum(0)
        frames += len(rows)
        if (x[0] != 0).any():
            first += (x[0] == 0).all(1)
            begun += 1
    joints = np.flatnonzero(always >= max(_ORIGIN * frames, 1))
    if len(joints) and root in (None, *joints):
        return Origin(int(joints[0]) if root is None else root, always=True)
    joints = np.flatnonzero(first >= max(_ORIGIN * begun, 1))
    if root in joints or (root is None and len(joints) == 1):
        return Origin(int(joints[0]) if root is None else root)
    return Origin()


def clean(x: NDArray[np.float32], fps: float | None, origin: Origin) -> Cleaned:
    """Finds missing joints (NaN, infinite, or zero in all coordinates), fills short gaps, cuts at long ones.

    x (F, J, D) float32; fps or None; origin: the joint whose zeros are true.
    A gap is filled on a straight line between the frames beside it; one at the beginning or the end has nothing on one
    side, so its frames are dropped, whatever its length.
    """
    gone = np.asarray(~np.isfinite(x).all(2))
    empty = np.asarray(gone.all(1)) | np.all(np.nan_to_num(x, posinf=0, neginf=0) == 0, axis=(1, 2))
    gone |= ((x == 0).all(2) & ~origin(x)) | empty[:, None]
    if not gone.any():
        return Cleaned([x])
    longest = GAP_FRAMES if fps is None else max(1, round(GAP * fps))
    x, bad, short = x.copy(), np.zeros(len(x), bool), np.zeros(gone.shape, bool)
    for j in np.flatnonzero(gone.any(0)):
        for a, b in runs(gone[:, j]):
            if a == 0 or b == len(x) or b - a > longest:
                bad[a:b] = True
                continue
            share = (np.arange(1, b - a + 1, dtype=np.float32) / (b - a + 1))[:, None]
            x[a:b, j] = x[a - 1, j] * (1 - share) + x[b, j] * share
            short[a:b, j] = True
    filled = int(short[~bad].sum())
    return Cleaned([x[a:b] for a, b in runs(~bad)], int(gone.sum()), int(empty.sum()), filled, int(bad.sum()))


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Stretches [a, b) of true flags (F,)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]

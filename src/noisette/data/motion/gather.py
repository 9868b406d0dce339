"""Several recordings as one, and a recording under a skeleton that somebody gives: joints go by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion import infer
from noisette.data.motion.skeleton import METRES, Skeleton, numbered
from noisette.data.motion.takes import Recording, Take
from noisette.errors import UserError

APART = 10.0
"""How many times as large a body may be in one file as in another before their units are doubted."""


def under(found: Recording, given: Skeleton, stated: frozenset[str]) -> Recording:
    """The recording with a skeleton of as many joints, which replaces its own.

    Joints that both call by the same names are put in the given order; where either has no names, or others, they are
    taken as they come, and other names are noted. A rate that a take does not say itself is the given one, else the
    file's.
    """
    own, notes = found.skeleton, list(found.notes)
    fps = given.fps or (own.fps if own is not None else None)
    takes = found.takes
    if own is not None and _has_names(own) and _has_names(given):
        if set(own.names) == set(given.names):
            takes = _ordered(found, given)
        else:
            one, two = next((a, b) for a, b in zip(own.names, given.names, strict=True) if a != b)
            notes.append(
                f'the skeleton has other names than the data ("{two}" for "{one}"): their joints were taken to be in '
                "the same order"
            )
    takes = [replace(t, fps=t.fps or fps) for t in takes]
    return replace(found, takes=takes, skeleton=given, stated=stated, notes=notes)


def gather(found: Sequence[Recording], source: str) -> Recording:
    """Several recordings as one, those with other joints or dims than most takes have left out and listed.

    Joints come in the order of the first recording; one with the same names in another order is put into it. So are
    the unit and the vertical axis those of the first recording that states them: others are scaled and turned. Each
    take carries its own rate, and the skeleton none.
    Raises UserError where no take is left.
    """
    skipped = [s for r in found for s in r.skipped]
    ignored, notes = sum(r.ignored for r in found), list(dict.fromkeys(n for r in found for n in r.notes))
    found = [r for r in found if r.takes]
    if not found:
        raise UserError(f"{source}: {len(skipped)} files and none can be read ({skipped[0]['reason']})")
    kinds: dict[Any, int] = {}
    for recording in found:
        kinds[_kind(recording)] = kinds.get(_kind(recording), 0) + len(recording.takes)
    most = max(kinds, key=lambda k: kinds[k])
    skeleton = next(r for r in found if _kind(r) == most).skeleton
    same: list[Recording] = []
    for recording in found:
        if _kind(recording) == most:
            takes = recording.takes if skeleton is None else _ordered(recording, skeleton)
            own = recording.skeleton.fps if recording.skeleton is not None else None
            same.append(replace(recording, takes=[replace(t, fps=t.fps or own) for t in takes]))
            continue
        joints, dims, _ = _kind(recording)
        reason = f"{joints} joints of {dims} coordinates, where most have {most[0]} of {most[1]}"
        if (joints, dims) == most[:2]:
            reason = "its joints have other names than those of most files"
        skipped += [{"file": t.name, "reason": reason} for t in recording.takes]
    same, unit = _in_one_unit(same, skipped, notes)
    same, up = _upright(same, notes)
    if skeleton is not None:
        axis, down = up or (skeleton.up, skeleton.down)
        skeleton = replace(skeleton, fps=None, unit=unit or skeleton.unit, up=axis, down=down)
    stated = frozenset.intersection(*(r.stated for r in same))
    return Recording([t for r in same for t in r.takes], skeleton, stated, skipped, ignored, notes)


def _in_one_unit(
    found: list[Recording], skipped: list[dict[str, str]], notes: list[str]
) -> tuple[list[Recording], str]:
    """(the recordings in the unit that the first one states, that unit or ""); those in pixels beside metres, or the
    other way round, are left out and listed."""
    units = [r.skeleton.unit if r.skeleton is not None and "unit" in r.stated else "" for r in found]
    unit = next(filter(None, units), "")
    out: list[Recording] = []
    scaled = 0
    for recording, own in zip(found, units, strict=True):
        if own in ("", unit):
            out.append(recording)
        elif own in METRES and unit in METRES:
            factor = np.float32(METRES[own] / METRES[unit])
            out.append(replace(recording, takes=[replace(t, x=t.x * factor) for t in recording.takes]))
            scaled += 1
        else:
            reason = f"it is in {own}, where others are in {unit}"
            skipped += [{"file": t.name, "reason": reason} for t in recording.takes]
    if scaled:
        notes.append(f"{scaled} of {len(found)} files are in another unit than {unit}: scaled to {unit}")
    if "" in units:
        sizes = sorted((size, r.takes[0].name) for r in out if (size := _size(r)) > 0)
        if sizes and sizes[-1][0] > APART * sizes[0][0]:
            (low, one), (high, two) = sizes[0], sizes[-1]
            notes.append(
                f"a body measures {low:.3g} in {one} and {high:.3g} in {two}, and not every file states its unit: are "
                "they all in one?"
            )
    return out, unit


def _size(recording: Recording) -> float:
    """How large a body is in a recording, 0 where no frame is whole."""
    x = infer.sample([t.x for t in recording.takes], 50)
    return float(np.median((x.max(1) - x.min(1)).max(1))) if len(x) else 0.0


Axis = tuple[int, bool]
"""The vertical axis, and whether it points down."""


def _upright(found: list[Recording], notes: list[str]) -> tuple[list[Recording], Axis | None]:
    """(the recordings on the vertical axis that the first one states, that axis)."""

    def axis(recording: Recording) -> Axis | None:
        if recording.skeleton is None or "up" not in recording.stated:
            return None
        flat = recording.takes[0].x.shape[2] == 2
        return 1 if flat else recording.skeleton.up, recording.skeleton.down

    axes = [axis(r) for r in found]
    up = next((a for a in axes if a is not None), None)
    out, turned = [], 0
    for recording, own in zip(found, axes, strict=True):
        if own is not None and up is not None and own != up:
            recording = replace(recording, takes=[replace(t, x=_turned(t.x, own, up)) for t in recording.takes])
            turned += 1
        out.append(recording)
    if turned:
        notes.append(f"{turned} of {len(found)} files have another vertical axis than the first: turned to its")
    return out, up


def _turned(x: NDArray[np.float32], own: Axis, up: Axis) -> NDArray[np.float32]:
    """Frames (F, J, D) with their vertical axis on another one, by a rotation, which keeps left left and right right:
    a quarter turn, or half a turn where the axis only points the other way. In two dimensions y changes its sign."""
    if x.shape[2] == 2:
        return x * np.array([1, -1], np.float32)
    one, two = (np.eye(3)[axis] * (-1 if down else 1) for axis, down in (own, up))
    if own[0] == up[0]:
        about = np.roll(one, 1)
        turn = 2 * np.outer(about, about) - np.eye(3)
    else:
        about = np.cross(one, two)
        turn = np.outer(about, about) + np.outer(two, one) - np.outer(one, two)
    return np.asarray(x @ turn.T, np.float32)


def _kind(recording: Recording) -> tuple[int, int, frozenset[str]]:
    _, joints, dims = recording.takes[0].x.shape
    return joints, dims, frozenset(recording.skeleton.names if recording.skeleton else numbered(joints))


def _ordered(recording: Recording, skeleton: Skeleton) -> list[Take]:
    """The takes with their joints in the order of a skeleton of the same names."""
    if recording.skeleton is None or recording.skeleton.names == skeleton.names:
        return recording.takes
    order = [recording.skeleton.names.index(n) for n in skeleton.names]
    return [replace(t, x=t.x[:, order]) for t in recording.takes]


def _has_names(skeleton: Skeleton) -> bool:
    return skeleton.names != tuple(numbered(len(skeleton)))

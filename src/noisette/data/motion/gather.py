"""Several recordings as one, and a recording under a skeleton that somebody gives: joints go by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from noisette.data.motion.skeleton import Skeleton, numbered
from noisette.data.motion.takes import Recording, Take
from noisette.errors import UserError


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
            takes += recording.takes if first.skeleton is None else _ordered(recording, first.skeleton)
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


def _ordered(recording: Recording, skeleton: Skeleton) -> list[Take]:
    """The takes with their joints in the order of a skeleton of the same names."""
    if recording.skeleton is None or recording.skeleton.names == skeleton.names:
        return recording.takes
    order = [recording.skeleton.names.index(n) for n in skeleton.names]
    return [replace(t, x=t.x[:, order]) for t in recording.takes]


def _has_names(skeleton: Skeleton) -> bool:
    return skeleton.names != tuple(numbered(len(skeleton)))

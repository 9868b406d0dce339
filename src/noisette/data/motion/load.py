"""load(spec): read the takes, mend them, resample, cut windows, split them, and measure what the net is told."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion import infer
from noisette.data.motion.clean import GAP, GAP_FRAMES, Cleaned, Origin, at_origin, clean
from noisette.data.motion.clips import (
    SAME_RATE,
    Clips,
    Placing,
    across,
    fit_normaliser,
    ground,
    resample,
    sense,
    starts,
)
from noisette.data.motion.read import read
from noisette.data.motion.skeleton import Skeleton
from noisette.data.motion.spec import MotionData, MotionSpec
from noisette.data.motion.takes import Recording, Take
from noisette.data.spec import permutation
from noisette.data.split import split
from noisette.errors import UserError, nearest

FEWEST_SUBJECTS = 5
"""From so many subjects on whole subjects are held out; of fewer, each is too large a share of what there is."""

_CHOOSE, _SUBJECTS = 0x307, 0x5B1  # set the uses of the seed apart


def load(spec: MotionSpec) -> MotionData:
    """The clips that a MotionSpec asks for.

    Raises UserError: no such source, nothing readable, a skeleton that does not fit, an unknown class, clips longer
    than every take, no frame left. Single bad files and takes raise nothing: they are in info["skipped"].
    """
    found = read(spec.source, spec.skeleton, spec.columns)
    notes = list(found.notes)
    takes = _chosen(found, spec)
    rate = None if found.skeleton is None else found.skeleton.fps
    takes = [replace(t, fps=t.fps or rate) for t in takes]
    fps = _rate(takes, spec, notes)
    pieces = _pieces(takes, fps, found, spec)
    frames = infer.sample([s.x for s in pieces.stretches])
    skeleton, told = infer.complete(found.skeleton, frames, found.stated)
    skeleton = replace(skeleton, fps=fps)
    notes += told
    _variable(skeleton, frames.shape[-1], spec)
    heading = _heading(skeleton, frames, spec, notes)
    placing = Placing(skeleton, spec.centre, heading, sense(frames, skeleton) if heading else 1)
    x, of = _windows(pieces, spec, placing, notes)

    kept, take = np.unique(np.array([pieces.stretches[s].take for s in of]), return_inverse=True)
    labels, classes = _labels([takes[k].label for k in kept], spec, notes)
    each = None if labels is None else labels[take]
    digests = _digests(x, takes, kept[take], found.version)
    subjects = tuple(takes[k].subject for k in kept)
    identities = _identities([takes[k] for k in kept], found.version)
    train, held_out, by = _split(take, identities, labels, subjects, spec, notes)
    if not len(train):
        raise UserError(f"{spec.source}: no clip is left to train on; a smaller --held-out or --frames gives some")
    fingerprint = _fingerprint(x, digests, each, classes, spec, skeleton, identities, subjects)
    held = sorted({subjects[take[r]] or "" for r in held_out}) if by == "subject" else []
    info: dict[str, Any] = {
        "kind": "motion",
        "source": spec.source,
        "count": len(x),
        "takes": len(kept),
        "frames": x.length,
        "joints": x.shape[2],
        "dims": x.shape[3],
        "seconds": None if fps is None else round(x.length / fps, 3),
        "fps": fps,
        "fps_before": _spread([t.fps for t in takes]),
        "unit": skeleton.unit,
        "centre": spec.centre,
        "heading": heading,
        "sense": placing.sense,
        "per_class": {} if each is None else {n: Counter(each.tolist())[c] for c, n in enumerate(classes)},
        "split": {"by": by, "subjects": held},
        "cleaning": pieces.counts,
        "short": pieces.short,
        "skipped": found.skipped,
        "ignored": found.ignored,
        "notes": notes,
        "skeleton": skeleton.to_json(),
        "train": len(train),
        "held_out": len(held_out),
    }
    names = tuple(takes[k].name for k in kept)
    normaliser = fit_normaliser(x, train, spec.relative, spec.augment.rotate)
    return MotionData(
        x, each, classes, fingerprint, info, train, held_out, digests, skeleton, normaliser,
        _lateral(skeleton, frames, heading), spec.augment, take.astype(np.int64), names, subjects,
    )  # fmt: skip


def _chosen(found: Recording, spec: MotionSpec) -> list[Take]:
    """The takes of the classes asked for, at most `limit` of them, drawn by the seed."""
    takes = found.takes
    if spec.classes:
        known = list(dict.fromkeys(t.label for t in takes if t.label is not None))
        if not known:
            raise UserError(f"{spec.source}: --classes was given, but its takes have no classes")
        for name in spec.classes:
            if name not in known:
                raise UserError(f'{spec.source}: no class "{name}"{nearest(name, known)}')
        takes = [t for t in takes if t.label in spec.classes]
    if spec.limit and len(takes) > spec.limit:
        takes = [takes[k] for k in np.sort(permutation(len(takes), spec.seed, _CHOOSE)[: spec.limit])]
    return takes


def _rate(takes: list[Take], spec: MotionSpec, notes: list[str]) -> float | None:
    """Frames a second of the clips; None where neither the source nor the user says."""
    rates = [t.fps for t in takes if t.fps is not None]
    silent = len(takes) - len(rates)
    if not rates:
        if spec.fps is not None:
            notes.append(f"the source does not say how many frames a second it has: taken as {spec.fps:g}")
        else:
            notes.append(
                "the source does not say how many frames a second it has (fps in the skeleton file does): speeds are "
                "per frame"
            )
        return spec.fps
    middle = float(np.median(rates))
    to = spec.fps or middle
    to = round(to) if abs(to - round(to)) < SAME_RATE * to else to
    if max(rates) > 1.005 * min(rates) and spec.fps is None:
        notes.append(f"the takes have {min(rates):g} to {max(rates):g} frames a second: resampled to {to:g} (--fps)")
    if silent:
        notes.append(
            f"{silent} of {len(takes)} takes do not say how many frames a second they have: taken to have {to:g}"
        )
    return float(to)


@dataclass
class _Stretch:
    """Frames (F, J, D) without a gap, at the clips' rate; the number of the take that they come from."""

    x: NDArray[np.float32]
    take: int


@dataclass
class _Pieces:
    stretches: list[_Stretch]
    counts: dict[str, Any]
    short: dict[str, int]


def _pieces(takes: list[Take], fps: float | None, found: Recording, spec: MotionSpec) -> _Pieces:
    """Cleaned and resampled stretches of all takes. Raises UserError where nothing is left of them."""
    origin = at_origin([t.x for t in takes], found.skeleton.named_root if found.skeleton else None)
    out: list[_Stretch] = []
    sums = Counter[str]()
    for k, take in enumerate(takes):
        done: Cleaned = clean(take.x, take.fps, origin)
        sums.update(
            missing=done.missing, filled=done.filled, empty_frames=done.empty, dropped_frames=done.dropped,
            cuts=max(0, len(done.pieces) - 1), takes=int(done.missing > 0),
        )  # fmt: skip
        if not done.pieces:
            found.skipped.append({"file": take.name, "reason": _emptiness(take, found.skeleton, origin)})
        out += [_Stretch(resample(x, take.fps, fps) if take.fps and fps else x, k) for x in done.pieces]
    if not out:
        reason = found.skipped[-1]["reason"]
        raise UserError(
            f"{spec.source}: no usable frame in its {len(takes)} take{'s' if len(takes) > 1 else ''} ({reason})"
        )
    limit = f"{GAP:g} s" if fps else f"{GAP_FRAMES} frames"
    counts = {k: sums[k] for k in ("takes", "missing", "filled", "empty_frames", "dropped_frames", "cuts")}
    return _Pieces(out, counts | {"longest_gap_filled": limit}, {})


def _emptiness(take: Take, skeleton: Skeleton | None, origin: Origin) -> str:
    """Why nothing is left of a take."""
    seen = (np.isfinite(take.x).all(2) & ((take.x != 0).any(2) | origin(take.x))).any(0)
    if not any(s for j, s in enumerate(seen) if j != origin.joint):
        return "all frames are empty"
    if seen.all():
        return "no frame has all joints"
    joint = int(np.argmin(seen))
    how = "" if np.isnan(take.x[:, joint]).any() else ": it is 0 in every frame"
    return f'joint "{skeleton.names[joint] if skeleton else joint}" is never seen{how}'


def _variable(skeleton: Skeleton, dims: int, spec: MotionSpec) -> None:
    """Raises UserError where clips cannot be varied as they are asked to be."""
    if spec.mirror and not skeleton.pairs:
        raise UserError(
            f"{spec.source}: mirror exchanges left and right joints, but which they are is not known: a skeleton file "
            'with "pairs", or with names that tell them apart, says it (--skeleton FILE)'
        )
    if spec.rotate and dims == 2:
        raise UserError(f"{spec.source}: rotate turns clips about the vertical: not in two dimensions")


def _heading(skeleton: Skeleton, frames: NDArray[np.float64], spec: MotionSpec, notes: list[str]) -> bool:
    if not spec.ahead or spec.centre == "world" or frames.shape[-1] == 2:
        return False
    if not skeleton.pairs:
        notes.append("clips are not turned to one heading: which joints are left and right is not known")
        return False
    return True


def _lateral(skeleton: Skeleton, frames: NDArray[np.float64], heading: bool) -> int:
    """The axis along which a body is broad: once turned the first one of the ground plane, else as bodies stand."""
    axes = ground(skeleton.up, frames.shape[-1])
    if heading or len(axes) == 1 or not skeleton.pairs:
        return axes[0]
    return axes[int(np.argmax(np.abs(across(frames, skeleton)).mean(0)))]


def _windows(pieces: _Pieces, spec: MotionSpec, placing: Placing, notes: list[str]) -> tuple[Clips, list[int]]:
    """(the clips, for each the stretch that it lies in). Raises UserError where every stretch is too short."""
    longest = max(len(s.x) for s in pieces.stretches)
    if longest < spec.frames:
        raise UserError(
            f"{spec.source}: clips of {spec.frames} frames, but its longest take has {longest}: a smaller --frames"
        )
    blocks, start, low, of, at = [], [], [], [], 0
    held, dropped = set[int](), Counter[int]()  # takes; stretches of each take
    for k, stretch in enumerate(pieces.stretches):
        x = stretch.x
        if len(x) < spec.frames:
            if spec.short == "drop" or 2 * len(x) < spec.frames:
                dropped[stretch.take] += 1
                continue
            held.add(stretch.take)
            x = np.concatenate((x, np.repeat(x[-1:], spec.frames - len(x), axis=0)))
        first = starts(len(x), spec.frames, spec.step)
        blocks.append(x)
        start.append(first + at)
        low += [(at, at + len(x))] * len(first)
        of += [k] * len(first)
        at += len(x)
    used = {pieces.stretches[k].take for k in of}
    takes = len(used | set(dropped))
    lost = len(set(dropped) - used)
    parts = sum(count for take, count in dropped.items() if take in used)
    if lost:
        notes.append(f"{lost} of {takes} takes are too short for {spec.frames} frames: left out")
    if parts:
        notes.append(f"{parts} parts of takes, cut off by gaps, are too short for {spec.frames} frames: left out")
    if held:
        notes.append(
            f"{len(held)} of {takes} takes have fewer than {spec.frames} frames without a gap: the last pose is kept "
            "to the end of the clip (a smaller --frames needs no such filling)"
        )
    pieces.short = {"held": len(held), "dropped": lost}
    bounds = np.array(low, np.int64)
    frames = np.ascontiguousarray(np.concatenate(blocks), dtype=np.float32)
    return Clips(frames, np.concatenate(start), bounds[:, 0].copy(), bounds[:, 1].copy(), spec.frames, placing), of


def _labels(
    texts: list[str | None], spec: MotionSpec, notes: list[str]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """(a label for every take, class names): in the order asked for, else sorted, numbers by their value."""
    none = texts.count(None)
    if none:
        if none < len(texts):
            notes.append(f"{none} of {len(texts)} takes have no class: the classes of the others are not used")
        return None, ()
    present = {str(t) for t in texts}
    classes = spec.classes or tuple(sorted(present, key=lambda t: (0, int(t), "") if t.isdecimal() else (1, 0, t)))
    return np.array([classes.index(str(t)) for t in texts], np.int64), classes


def _digests(x: Clips, takes: list[Take], take: NDArray[np.int64], version: str) -> NDArray[np.uint8]:
    """(n, 16): one hash a clip, of the frames it is cut from; of what is computed, of how it is computed, since the
    last digit of a sine differs between machines."""
    out = bytearray()
    for row in range(len(x)):
        first = int(x.start[row])
        if version:
            content = json.dumps([version, takes[take[row]].name, first - int(x.low[row]), x.length]).encode()
        else:
            content = x.frames[first : first + x.length].astype("<f4").tobytes()
        out += hashlib.blake2b(content, digest_size=16).digest()
    return np.frombuffer(out, np.uint8).reshape(len(x), 16)


def _fingerprint(
    x: Clips, digests: NDArray[np.uint8], labels: NDArray[np.int64] | None, classes: tuple[str, ...],
    spec: MotionSpec, skeleton: Skeleton, identities: NDArray[np.uint8], subjects: tuple[str | None, ...],
) -> str:  # fmt: skip
    """Of all that a model sees, and of what the split hangs on: data that are split otherwise are other data."""
    state = hashlib.blake2b(digest_size=16)
    told = [list(x.shape), list(classes), spec.centre, x.placing.heading, skeleton.to_json(), subjects]
    state.update(json.dumps(told).encode())
    state.update(identities.tobytes())
    state.update(digests.tobytes())
    if labels is not None:
        state.update(labels.astype("<i8").tobytes())
    return state.hexdigest()


def _identities(takes: list[Take], version: str) -> NDArray[np.uint8]:
    """(takes, 16): one hash a take, as the source has it; equal takes, equal hashes."""
    out = bytearray()
    for take in takes:
        content = json.dumps([version, take.name]).encode() if version else take.x.tobytes()
        out += hashlib.blake2b(content, digest_size=16).digest()
    return np.frombuffer(out, np.uint8).reshape(-1, 16)


def _split(
    take: NDArray[np.int64], identities: NDArray[np.uint8], labels: NDArray[np.int64] | None,
    subjects: tuple[str | None, ...], spec: MotionSpec, notes: list[str],
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:  # fmt: skip
    """Sorted rows (train, held_out), and what was kept whole: "subject" or "take"."""
    people = sorted({s for s in subjects if s is not None})
    if None not in subjects and len(people) >= FEWEST_SUBJECTS and spec.held_out > 0:
        count = min(max(1, round(spec.held_out * len(people))), len(people) - 1)
        chosen = {people[k] for k in permutation(len(people), spec.seed, _SUBJECTS)[:count]}
        held = np.array([s in chosen for s in subjects])
        by = "subject"
    else:
        if None in subjects and len(people) >= FEWEST_SUBJECTS and spec.held_out > 0:
            none = subjects.count(None)
            notes.append(f"{none} of {len(subjects)} takes have no subject: takes are held out, not whole subjects")
        _, out = split(identities, labels, spec.held_out, spec.seed)  # equal takes stay on one side, as equal images do
        held = np.isin(np.arange(len(subjects)), out)
        by = "take"
    rows = held[take]
    return np.flatnonzero(~rows).astype(np.int64), np.flatnonzero(rows).astype(np.int64), by


def _spread(rates: list[float | None]) -> list[float] | None:
    """[lowest, median, highest] frames a second of the takes."""
    known = [r for r in rates if r is not None]
    return [float(f(known)) for f in (np.min, np.median, np.max)] if known else None

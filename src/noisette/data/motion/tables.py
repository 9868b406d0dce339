"""Motion in CSV and JSON: one row a frame, a joint's coordinates in columns called `hip_x`, `hip.y`, `hip Z`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.arrays import first_line
from noisette.data.motion.skeleton import Skeleton, numbered, pairs_by_name
from noisette.data.motion.takes import Recording, Take, as_take
from noisette.errors import UserError, nearest

_COORDINATE = re.compile(r"^(.+?)[\s._:\-]*\(?([xyz])\)?$", re.IGNORECASE)
_BESIDE = {
    "name": ("clip", "take", "sequence", "seq", "file", "clip_id"),
    "label": ("label", "action", "class", "activity"),
    "subject": ("subject", "person", "actor"),
    "fps": ("fps", "rate"),
    "time": ("time", "timestamp", "seconds", "t"),
}
_EMPTY = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})


def read_csv(path: Path, columns: Sequence[str] = ()) -> Recording:
    """Takes of a table: commas, semicolons or tabs; rows of one clip follow each other where a column names clips.

    columns  the coordinate columns joint by joint (`hip_x`, `hip_y`, `knee_x`, ...); () finds them by their endings
    An empty cell or NaN is a joint that was not seen. Raises UserError, with the line, where it is not such a table.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.reader(text.splitlines(), delimiter=delimiter))
    except csv.Error as error:
        raise UserError(f"{path}: not a readable table ({first_line(error)})") from None
    if not rows or not any(c.strip() for c in rows[0]):
        raise UserError(f"{path}: the first line must name the columns, such as hip_x, hip_y, hip_z")
    header = [c.strip() for c in rows[0]]
    body = [(n, r) for n, r in enumerate(rows[1:], 2) if any(c.strip() for c in r)]
    for n, row in body:
        if len(row) != len(header):
            raise UserError(f"{path}, line {n}: {len(row)} cells, but {len(header)} columns")
    decimal_comma = delimiter == ";" and any("," in c and "." not in c for _, r in body[:20] for c in r)

    def number(cell: str, n: int, column: str) -> float:
        cell = cell.strip()
        if cell.lower() in _EMPTY:
            return np.nan
        try:
            return float(cell.replace(",", ".") if decimal_comma else cell)
        except ValueError:
            raise UserError(f'{path}, line {n}: "{cell[:30]}" under {column} is not a number') from None

    names, dims, at = _coordinates(header, columns, str(path))
    values = [[number(row[k], n, header[k]) for k in at] for n, row in body]
    x = np.array(values, dtype=np.float64).reshape(-1, len(names), dims)
    beside = {kind: _column(header, kind, at) for kind in _BESIDE}
    cells = {kind: [row[k].strip() for _, row in body] for kind, k in beside.items() if k is not None}
    for kind in ("time", "fps"):
        if kind in cells:
            cells[kind] = [number(c, n, kind) for c, (n, _) in zip(cells[kind], body, strict=True)]  # type: ignore[misc]
    return _recording(x, cells, names, path)


def _column(header: list[str], kind: str, taken: list[int]) -> int | None:
    plain = [h.lower() for h in header]
    return next((plain.index(n) for n in _BESIDE[kind] if n in plain and plain.index(n) not in taken), None)


def _coordinates(header: Sequence[str], columns: Sequence[str], where: str) -> tuple[list[str], int, list[int]]:
    """(joints, dims, for joint by joint the column of x, y and z)."""
    if len(set(header)) < len(header):
        twice = next(h for h in header if list(header).count(h) > 1)
        raise UserError(f'{where}: two columns are called "{twice}"')
    missing = [c for c in columns if c not in header]
    if missing:
        raise UserError(f'{where}: no column "{missing[0]}"{nearest(missing[0], header)}')
    found: dict[str, dict[str, int]] = {}
    for name in columns or header:
        match = _COORDINATE.match(name)
        if match:
            found.setdefault(match[1], {})[match[2].lower()] = list(header).index(name)
    if columns and sum(map(len, found.values())) != len(columns):
        dims = 3 if len(columns) % 3 == 0 else 2
        if len(columns) % dims:
            raise UserError(f"{where}: {len(columns)} columns listed, which is not 2 or 3 a joint")
        return numbered(len(columns) // dims), dims, [list(header).index(c) for c in columns]
    joints = {j: axes for j, axes in found.items() if len(axes) >= 2}
    if not joints:
        raise UserError(
            f"{where}: no columns such as hip_x, hip_y, hip_z; it has {', '.join(header[:6])}"
            f"{' ...' if len(header) > 6 else ''}: list the coordinates, joint by joint, with `columns`"
        )
    axes = sorted({"".join(sorted(a)) for a in joints.values()})
    if len(axes) > 1 or axes[0] not in ("xy", "xyz"):
        odd = min(joints, key=lambda j: len(joints[j]))
        raise UserError(
            f'{where}: "{odd}" has {", ".join(sorted(joints[odd]))} only; each joint needs x and y, and z if one has it'
        )
    return list(joints), len(axes[0]), [joints[j][a] for j in joints for a in axes[0]]


def _recording(x: NDArray[np.float64], cells: dict[str, list[Any]], names: list[str], path: Path) -> Recording:
    """Rows cut into takes wherever the clip's name changes."""
    if not len(x):
        raise UserError(f"{path}: no frame in it")
    called = cells.get("name", [path.stem] * len(x))
    cuts = [0, *(k for k in range(1, len(x)) if called[k] != called[k - 1]), len(x)]
    takes = []
    for a, b in pairwise(cuts):
        rate = None
        if "fps" in cells and cells["fps"][a] > 0:
            rate = float(cells["fps"][a])
        elif "time" in cells and b - a > 1:
            step = float(np.median(np.diff(np.array(cells["time"][a:b], dtype=np.float64))))
            rate = float(f"{1 / step:.4g}") if step > 0 else None
        label, subject = (cells[k][a] or None if k in cells else None for k in ("label", "subject"))
        takes.append(as_take(x[a:b], called[a], label=label, subject=subject, fps=rate))
    return Recording(takes, Skeleton(tuple(names), (), pairs_by_name(names), unit=""))


# --- JSON ------------------------------------------------------------------------------------------------------------


def read_json(path: Path, columns: Sequence[str] = ()) -> Recording:
    """Takes of a JSON file, in any of these forms:

    {"clips": [{"frames": [[[x, y, z], ...], ...], "name", "label", "subject", "fps"}, ...], "skeleton": {...}}
    {"frames": ..., "fps", "label", ...}    one take; frames as above, or rows as below
    [{"hip_x": 0.1, "hip_y": ...}, ...] or [{"hip": [x, y, z], ...}, ...]    one row a frame
    [[[x, y, z], ...], ...]    one take, or a list of such takes

    null is a joint that was not seen. Raises UserError where it holds anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON file ({first_line(error)})") from None
    skeleton = None
    if isinstance(content, dict):
        if is_skeleton(content):
            raise UserError(f"{path}: it holds a skeleton and no motion: give it with --skeleton")
        if content.get("skeleton") is not None:
            skeleton = Skeleton.from_json(content["skeleton"], str(path))
        clips = content.get("clips", [content])
        if not isinstance(clips, list) or not clips:
            raise UserError(f'{path}: "clips" must be a list of at least one clip')
        shared = {k: content.get(k) for k in ("fps", "label", "subject")}
    else:
        clips = content if _depth(content) == 4 else [content]
        shared = {}
    takes: list[Take] = []
    names: list[str] | None = None
    for k, clip in enumerate(clips):
        name = path.stem if len(clips) == 1 else f"{path.stem} #{k}"
        clip = clip if isinstance(clip, dict) else {"frames": clip}
        facts = {**shared, **{f: clip[f] for f in ("fps", "label", "subject") if clip.get(f) is not None}}
        frames = next((clip[f] for f in ("frames", "x", "rows", "data") if f in clip), None)
        if frames is None:
            raise UserError(f'{path}: {name} has no "frames"')
        x, own = _frames(frames, clip.get("columns") or columns, f"{path}: {name}")
        names = names or own
        if own != names:
            raise UserError(f"{path}: {name} has other joints than the clip before it")
        takes.append(as_take(x, str(clip.get("name") or name), **_facts(facts, f"{path}: {name}")))
    odd = next((t for t in takes if t.x.shape[1:] != takes[0].x.shape[1:]), None)
    if odd is not None:
        raise UserError(
            f"{path}: {odd.name} has {odd.x.shape[1]} joints of {odd.x.shape[2]} coordinates, {takes[0].name} has "
            f"{takes[0].x.shape[1]} of {takes[0].x.shape[2]}: every clip must have the same"
        )
    stated = frozenset(content["skeleton"]) & {"unit", "up"} if skeleton is not None else frozenset()
    if skeleton is None and names is not None:
        skeleton = Skeleton(tuple(names), (), pairs_by_name(names), unit="")
    if skeleton is not None and len(skeleton) != takes[0].x.shape[1]:
        raise UserError(f"{path}: its skeleton has {len(skeleton)} joints, its frames {takes[0].x.shape[1]}")
    return Recording(takes, skeleton, stated)


def is_skeleton(content: Any) -> bool:
    """Whether JSON is a skeleton and nothing else."""
    return (
        isinstance(content, dict)
        and any(k in content for k in ("names", "parents", "edges"))
        and not any(k in content for k in ("clips", "frames", "x", "rows", "data"))
    )


def _facts(facts: dict[str, Any], where: str) -> dict[str, Any]:
    out: dict[str, Any] = {k: None if facts.get(k) is None else str(facts[k]) for k in ("label", "subject")}
    fps = facts.get("fps")
    if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= 10_000):
        raise UserError(f'{where}: "fps" must be a number above 0, not {json.dumps(fps)[:30]}')
    return {**out, "fps": None if fps is None else float(fps)}


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = next((v for v in value if v is not None), None)
    return depth


def _frames(frames: Any, columns: Sequence[str], where: str) -> tuple[NDArray[np.float64], list[str] | None]:
    """(x (F, J, D), the joints' names where the rows carry them)."""
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{where}: no frame in it")
    if all(isinstance(f, dict) for f in frames):
        names = [k for k, v in frames[0].items() if isinstance(v, list) and len(v) in (2, 3)]
        if names and not columns:
            return _numbers([[f.get(n) for n in names] for f in frames], where), names
        header = list(dict.fromkeys(k for f in frames for k in f))
        names, dims, at = _coordinates(header, columns, where)
        flat = _numbers([[f.get(header[k]) for k in at] for f in frames], where)
        return flat.reshape(len(frames), len(names), dims), names
    if columns and _depth(frames) == 2:
        names, dims, at = _coordinates(columns, columns, where)
        return _numbers(frames, where)[:, at].reshape(len(frames), len(names), dims), names
    return _numbers(frames, where), None


def _numbers(value: list[Any], where: str) -> NDArray[np.float64]:
    """Nested lists as an array; null, for a number or for a whole joint, becomes NaN. Raises UserError."""
    width = 3 if any(isinstance(v, list) and len(v) == 3 for f in value if isinstance(f, list) for v in f) else 2
    joint_lists = any(isinstance(v, list) for f in value if isinstance(f, list) for v in f)
    clean = [
        [[np.nan] * width if v is None and joint_lists else v for v in f] if isinstance(f, list) else f for f in value
    ]
    counts = {len(f) for f in clean if isinstance(f, list)}
    if len(counts) > 1:
        raise UserError(f"{where}: its frames have {min(counts)} to {max(counts)} joints; each must have the same")
    try:
        return np.array(clean, dtype=np.float64)
    except (ValueError, TypeError):
        raise UserError(f"{where}: a frame must be a list of joints, each with 2 or 3 numbers") from None

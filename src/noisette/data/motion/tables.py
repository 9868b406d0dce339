"""Motion in CSV and JSON: one row a frame, a joint's coordinates in columns called `hip_x`, `hip.y`, `hip Z`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.arrays import first_line
from noisette.data.motion.skeleton import Skeleton, axis, numbered, pairs_by_name
from noisette.data.motion.takes import BESIDE, FASTEST, Recording, Take, as_take, per_second
from noisette.errors import UserError, nearest

_COORDINATE = re.compile(r"^(.+?)([\s._:\-]*\(?)([xyz])\)?$", re.IGNORECASE)
_LEADING = re.compile(r"^([xyz])[\s._:\-]+(.+)$", re.IGNORECASE)  # x_hip: of columns that are listed alone
_TEXTS, _NUMBERS = ("name", "label", "subject"), ("fps", "dt", "time")  # of BESIDE
_EMPTY = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})


def read_csv(path: Path, columns: Sequence[str] = ()) -> Recording:
    """Takes of a table: commas, semicolons or tabs; the rows are cut into takes by what stands beside them, see _cut.

    columns  the coordinate columns: named like hip_x or x_hip, or joint by joint; () finds those named like hip_x
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
    if not len(x):
        raise UserError(f"{path}: no frame in it")
    cells: _Cells = {}
    for kind, k in _beside(header, at).items():
        if kind in _TEXTS:
            cells[kind] = [row[k].strip() or None for _, row in body]
        else:
            cells[kind] = [number(row[k], n, header[k]) for n, row in body]
    skeleton, stated = _named(names), frozenset[str]()
    said = {row[k].strip() for k, name in enumerate(header) if name.lower() == "up" for _, row in body}
    if len(said) == 1 and re.fullmatch("-?[xyz]", text := said.pop().lower()):  # other columns may be called so
        up, down = axis(text)
        skeleton, stated = replace(skeleton, up=up, down=down), frozenset({"up"})
    return Recording(_cut(x, cells, path.stem, {}, str(path)), skeleton, stated)


_Cells = dict[str, list[Any]]
"""What stands beside the rows, by its kind in BESIDE: texts or None, and numbers or NaN, one a row."""


def _beside(header: Sequence[str], taken: Sequence[int] = ()) -> dict[str, int]:
    """The column of each kind of BESIDE that a table has, coordinates apart."""
    plain = {h.lower(): k for k, h in enumerate(header) if k not in taken}
    found = {kind: next((plain[n] for n in names if n in plain), None) for kind, names in BESIDE.items()}
    return {kind: k for kind, k in found.items() if k is not None}


def _named(names: Sequence[str]) -> Skeleton:
    return Skeleton(tuple(names), (), pairs_by_name(names), unit="")


def _coordinates(header: Sequence[str], columns: Sequence[str], where: str) -> tuple[list[str], int, list[int]]:
    """(joints, dims, for joint by joint the column of x, y and z)."""
    if len(set(header)) < len(header):
        twice = next(h for h in header if list(header).count(h) > 1)
        raise UserError(f'{where}: two columns are called "{twice}"')
    missing = [c for c in columns if c not in header]
    if missing:
        raise UserError(f'{where}: no column "{missing[0]}"{nearest(missing[0], header)}')
    found: dict[str, dict[str, int]] = {}
    meant: set[str] = set()  # knee_x is a coordinate, however lonely; index, body and activity are words
    for name in columns or header:
        match = _COORDINATE.match(name)
        if match:
            joint, between, letter = match.groups()
            found.setdefault(joint, {})[letter.lower()] = list(header).index(name)
            if columns or between or (letter.isupper() and not joint.isupper()):
                meant.add(joint)
    if columns and sum(map(len, found.values())) != len(columns):
        leading = [_LEADING.match(c) for c in columns]
        if not all(leading):
            return _by_count(header, columns, where)
        found, meant = {}, set()
        for match in filter(None, leading):
            letter, joint = match.groups()
            found.setdefault(joint, {})[letter.lower()] = list(header).index(match.string)
            meant.add(joint)
    joints = {j: axes for j, axes in found.items() if len(axes) >= 2 or j in meant}
    if not joints:
        raise UserError(
            f"{where}: no columns such as hip_x, hip_y, hip_z; it has {', '.join(header[:6])}"
            f"{' ...' if len(header) > 6 else ''}: list the coordinates, joint by joint, with `columns`"
        )
    axes = sorted({"".join(sorted(a)) for a in joints.values()})
    if len(axes) > 1 or axes[0] not in ("xy", "xyz"):
        odd = min(joints, key=lambda j: len(joints[j]))
        raise UserError(
            f'{where}: "{odd}" has {", ".join(sorted(joints[odd]))} only; each joint needs x and y, and z if one has '
            "it (`columns` lists those that are meant)"
        )
    return list(joints), len(axes[0]), [joints[j][a] for j in joints for a in axes[0]]


def _by_count(header: Sequence[str], columns: Sequence[str], where: str) -> tuple[list[str], int, list[int]]:
    """The same of columns that are listed joint by joint, whose names do not tell axes: by how many there are."""
    many = len(columns)
    if many % 6 == 0:
        raise UserError(
            f"{where}: the {many} columns listed may be {many // 2} joints of 2 coordinates or {many // 3} of 3; names "
            "such as hip_x or x_hip, for all of them, say which"
        )
    dims = 3 if many % 3 == 0 else 2
    if many % dims:
        raise UserError(f"{where}: {many} columns listed, which is not 2 or 3 a joint")
    return numbered(many // dims), dims, [list(header).index(c) for c in columns]


def _cut(x: NDArray[np.float64], cells: _Cells, name: str, facts: dict[str, Any], where: str) -> list[Take]:
    """Rows (F, J, D) cut into takes wherever the clip's name, the label or the subject changes, and where the time
    steps back; what a take's first row does not say, `facts` do."""
    told = [cells[kind] for kind in _TEXTS if kind in cells]
    times = cells.get("time", [np.nan] * len(x))
    cuts = [k for k in range(1, len(x)) if times[k] < times[k - 1] or any(v[k] != v[k - 1] for v in told)]
    called = cells.get("name", [None] * len(x))
    takes = []
    for k, (a, b) in enumerate(pairwise([0, *cuts, len(x)])):
        first = {kind: values[a] for kind, values in cells.items()}
        own = {kind: first.get(kind) for kind in ("label", "subject")}
        own["fps"] = _rate(first.get("fps"), first.get("dt"), times[a:b], where)
        takes.append(as_take(x[a:b], called[a] or (f"{name} #{k}" if cuts else name), **_filled(own, facts)))
    return takes


def _filled(own: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    return {**others, **{k: v for k, v in own.items() if v is not None}}


def _rate(fps: float | None, dt: float | None, times: Sequence[float], where: str) -> float | None:
    """Frames a second, of those, of the seconds from one to the next, or of the times; NaN is not known."""
    for key, value in (("fps", fps), ("dt", dt)):
        if value is not None and not np.isnan(value):
            rate = value if key == "fps" else 1 / value if value else 0.0
            if not 0 < rate <= FASTEST:
                raise UserError(f'{where}: "{key}" must be above 0, and at most {FASTEST} frames a second: {value:g}')
            return float(value) if key == "fps" else per_second(value, where)
    at = np.array(times, dtype=np.float64)
    at = at[np.abs(at) < 1e300]
    middle = float(np.median(np.diff(at))) if len(at) > 1 else 0.0
    return per_second(middle, where) if middle * FASTEST >= 1 else None


# --- JSON ------------------------------------------------------------------------------------------------------------


def read_json(path: Path, columns: Sequence[str] = ()) -> Recording:
    """Takes of a JSON file, in any of these forms:

    {"clips": [{"frames": [[[x, y, z], ...], ...], "name", "label", "subject", "fps"}, ...], "skeleton": {...}}
    {"frames": ..., "fps", "label", ...}    one take; frames as above, or rows as below
    [{"hip_x": 0.1, "hip_y": ...}, ...] or [{"hip": [x, y, z], ...}, ...]    one row a frame, cut like a table
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
        shared = _facts(content, str(path))
    else:
        clips = content if _depth(content) == 4 else [content]
        shared = {}
    takes: list[Take] = []
    names: list[str] | None = None
    for k, clip in enumerate(clips):
        name = path.stem if len(clips) == 1 else f"{path.stem} #{k}"
        where = f"{path}: {name}"
        clip = clip if isinstance(clip, dict) else {"frames": clip}
        frames = next((clip[f] for f in ("frames", "x", "rows", "data") if f in clip), None)
        if frames is None:
            raise UserError(f'{where} has no "frames"')
        listed = clip.get("columns")
        if listed is not None and not (isinstance(listed, list) and all(isinstance(c, str) for c in listed)):
            raise UserError(f'{where}: "columns" must be a list of texts, such as "hip_x"')
        x, own, cells = _frames(frames, listed or columns, where)
        names = names or own
        if own != names:
            raise UserError(f"{where} has other joints than the clip before it")
        takes += _cut(x, cells, _said(clip, "name", where) or name, _filled(_facts(clip, where), shared), where)
    odd = next((t for t in takes if t.x.shape[1:] != takes[0].x.shape[1:]), None)
    if odd is not None:
        raise UserError(
            f"{path}: {odd.name} has {odd.x.shape[1]} joints of {odd.x.shape[2]} coordinates, {takes[0].name} has "
            f"{takes[0].x.shape[1]} of {takes[0].x.shape[2]}: every clip must have the same"
        )
    stated = frozenset(content["skeleton"]) & {"unit", "up"} if skeleton is not None else frozenset()
    if skeleton is None and names is not None:
        skeleton = _named(names)
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


def _facts(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """label, subject and fps of a clip, or of a whole file: None for what it does not say."""
    told = {kind: _said(content, kind, where) for kind in ("label", "subject", "fps", "dt")}
    return {"label": told["label"], "subject": told["subject"], "fps": _rate(told["fps"], told["dt"], (), where)}


def _said(content: Mapping[str, Any], kind: str, where: str) -> Any:
    """What JSON says under one of the names of a kind of BESIDE: a text, a number, or None."""
    key = next((n for n in BESIDE[kind] if content.get(n) is not None), None)
    return None if key is None else _plain(content[key], kind, key, where)


def _plain(value: Any, kind: str, key: str, where: str) -> Any:
    if kind in _NUMBERS:
        if value is None:
            return np.nan
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f'{where}: "{key}" must be a number, not {json.dumps(value)[:30]}')
        return float(value) if abs(value) < 1e300 or value != value else np.inf
    if isinstance(value, list | dict):
        raise UserError(f'{where}: "{key}" must be a text or a number, not {json.dumps(value)[:30]}')
    return None if value is None or value == "" else str(value)


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = next((v for v in value if v is not None), None)
    return depth


def _frames(frames: Any, columns: Sequence[str], where: str) -> tuple[NDArray[np.float64], list[str] | None, _Cells]:
    """(x (F, J, D), the joints' names where the rows carry them, what else the rows say)."""
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{where}: no frame in it")
    if all(isinstance(f, dict) for f in frames):
        header = list(dict.fromkeys(k for f in frames for k in f))
        names = [k for k in header if any(isinstance(f.get(k), list) and len(f[k]) in (2, 3) for f in frames)]
        if names and not columns:
            x = _numbers([[f.get(n) for n in names] for f in frames], where)
            taken = [header.index(n) for n in names]
        else:
            names, dims, taken = _coordinates(header, columns, where)
            x = _numbers([[f.get(header[k]) for k in taken] for f in frames], where)
            x = x.reshape(len(frames), len(names), dims)
        beside = {kind: header[k] for kind, k in _beside(header, taken).items()}
        return x, names, {kind: [_plain(f.get(k), kind, k, where) for f in frames] for kind, k in beside.items()}
    if columns and _depth(frames) == 2:
        names, dims, at = _coordinates(columns, columns, where)
        x = _numbers(frames, where)
        if x.shape[1] != len(columns):
            raise UserError(f"{where}: {x.shape[1]} numbers a row, but {len(columns)} columns")
        return x[:, at].reshape(len(frames), len(names), dims), names, {}
    return _numbers(frames, where), None, {}


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
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{where}: a frame must be a list of joints, each with 2 or 3 numbers") from None

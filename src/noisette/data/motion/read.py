"""From a name, a file or a folder to takes: the kind of file decides who reads it."""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from noisette.data.arrays import IMAGE_KEYS
from noisette.data.images import extensions
from noisette.data.motion import procedural
from noisette.data.motion.bvh import read_bvh
from noisette.data.motion.gather import gather, under
from noisette.data.motion.npz import CLIP_KEYS, EDGE_KEYS, LENGTH_KEYS, PARENT_KEYS, read_npy, read_npz
from noisette.data.motion.skeleton import load_skeleton
from noisette.data.motion.tables import is_skeleton, read_csv, read_json
from noisette.data.motion.takes import Recording
from noisette.errors import UserError

SUFFIXES = (".npz", ".npy", ".csv", ".tsv", ".json", ".bvh")
_TEXT = (".csv", ".tsv", ".json", ".bvh")  # never images
_BESIDE_MOTION = (*LENGTH_KEYS, *PARENT_KEYS, *EDGE_KEYS)
_LOOKED_AT = 50  # files of a folder, to tell what it holds


def is_motion(text: str) -> bool:
    """Whether a source is motion and not images: by its name, its ending, or the shape of what is in it. Cheap.

    A folder with a picture in it is one of images, whatever tables lie beside them.
    """
    if text == procedural.NAME:
        return True
    path = Path(text).expanduser()
    if path.is_dir():
        files, others = _files(path)
        if any(p.suffix.lower() in extensions() for p in others):
            return False
        return any(is_motion(str(p)) for p in files[:_LOOKED_AT])
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in SUFFIXES:
        return False
    if suffix in _TEXT:
        return True
    try:
        if suffix == ".npy":
            with path.open("rb") as array:
                return _like_clips(array)
        with zipfile.ZipFile(path) as file:
            held = [n.removesuffix(".npy") for n in file.namelist()]
            if any(k in held for k in _BESIDE_MOTION):
                return True
            asked = [k for k in CLIP_KEYS if k in held]
            if not asked and not any(k in IMAGE_KEYS for k in held):  # beside pictures points may be anything
                asked = held
            for key in asked:
                with file.open(f"{key}.npy") as array:
                    if _like_clips(array):
                        return True
    except Exception:  # whatever a damaged file raises: the reader will say
        pass
    return False


def _like_clips(array: IO[bytes]) -> bool:
    """Floats (F, J, 2 or 3) or (n, F, J, 2 or 3); colour pictures (n, H, W, 3) are square, or never below 0. Whole
    numbers where the last axis is 2, as no picture is two pixels wide or has two colours.

    Of a .npy the head is read, and some hundred rows of floats that may be colour pictures.
    """
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = header[np.lib.format.read_magic(array)](array)
    if len(shape) not in (3, 4) or shape[-1] not in (2, 3):
        return False
    if dtype.kind in "iu":
        return shape[-1] == 2
    if dtype.kind != "f":
        return False
    if len(shape) == 3 or shape[-1] == 2:
        return True
    some = np.frombuffer(array.read(min(100, shape[0]) * math.prod(shape[1:]) * dtype.itemsize), dtype)
    return shape[1] != shape[2] and bool((some < 0).any())


def read(source: str, skeleton: str | None = None, columns: Sequence[str] = ()) -> Recording:
    """All takes of a source: `motion`, a file (.npz .npy .csv .tsv .json .bvh), or a folder of such files.

    skeleton  a JSON file, which replaces what the files say; its joints go by name where the files have the same names
    columns   coordinate columns of tables, joint by joint; () finds them by their endings
    The folders on the first level of a folder are classes. A file that cannot be read is listed in `skipped` where
    others can. Raises UserError where nothing can be read, or the skeleton does not fit the joints.
    """
    path = Path(source).expanduser()
    if source == procedural.NAME:
        found = procedural.recording()
    elif path.is_dir():
        found = _folder(path, columns)
    elif not path.is_file():
        raise UserError(f"{source}: no such file or folder")
    else:
        found = _file(path, columns)
    if skeleton is not None:
        given, fields = load_skeleton(skeleton)
        joints = found.takes[0].x.shape[1]
        if len(given) != joints:
            raise UserError(f"{skeleton}: a skeleton of {len(given)} joints, but {source} has {joints}")
        found = under(found, given, fields)
    return found


def _file(path: Path, columns: Sequence[str]) -> Recording:
    readers: dict[str, Callable[[], Recording]] = {
        ".npz": lambda: read_npz(path),
        ".npy": lambda: read_npy(path),
        ".csv": lambda: read_csv(path, columns),
        ".tsv": lambda: read_csv(path, columns),
        ".json": lambda: read_json(path, columns),
        ".bvh": lambda: read_bvh(path),
    }
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: not a kind of file that is read as motion; known: {', '.join(SUFFIXES)}, or a folder")
    try:
        return readers[path.suffix.lower()]()
    except MemoryError:
        raise UserError(f"{path}: it does not fit into memory") from None


def _folder(root: Path, columns: Sequence[str]) -> Recording:
    files, others = _files(root)
    found: list[Recording] = []
    beside = None
    for path in files:
        if path.suffix.lower() == ".json" and _holds_skeleton(path):
            beside = path.relative_to(root).as_posix(), *load_skeleton(path)
            continue
        below = path.relative_to(root)
        try:
            recording = _file(path, columns)
        except UserError as error:
            reason = str(error).removeprefix(f"{path}").lstrip(":, ")
            found.append(Recording([], skipped=[{"file": below.as_posix(), "reason": reason}]))
            continue
        name, label = below.with_suffix("").as_posix(), below.parts[0] if len(below.parts) > 1 else None
        one = len(recording.takes) == 1
        recording.takes = [
            replace(t, name=name if one else f"{name}: {t.name}", label=t.label or label) for t in recording.takes
        ]
        found.append(recording)
    if not found:
        raise UserError(f"{root}: no motion in it" + (f" ({len(others)} other files)" if others else ""))
    whole = gather(found, str(root))
    whole.ignored += len(others)
    if beside is not None:
        name, given, stated = beside
        joints = whole.takes[0].x.shape[1]
        if len(given) == joints:
            return under(whole, given, stated)
        whole.notes.append(f"{name} is a skeleton of {len(given)} joints, but the takes have {joints}: not used")
    return whole


def _holds_skeleton(path: Path) -> bool:
    try:
        return path.stat().st_size < 2**20 and is_skeleton(json.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, RecursionError):
        return False


def _files(root: Path) -> tuple[list[Path], list[Path]]:
    """(files that may be motion, others) under a folder, in a fixed order. Raises UserError."""
    if not os.access(root, os.R_OK | os.X_OK):
        raise UserError(f"{root}: the folder cannot be read")
    files: list[Path] = []
    others: list[Path] = []
    for place, folders, names in os.walk(root):
        folders[:] = sorted((f for f in folders if not f.startswith((".", "__MACOSX"))), key=_natural)
        for name in sorted((n for n in names if not n.startswith(".")), key=_natural):
            path = Path(place, name)
            (files if path.suffix.lower() in SUFFIXES else others).append(path)
    return files, others


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts take2 before take10."""
    return [(0, int(t), "") if t.isdecimal() else (1, 0, t) for t in re.split(r"(\d+)", text)]

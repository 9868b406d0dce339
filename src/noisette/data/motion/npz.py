"""Motion in .npz and .npy files: frames by name, with lengths, labels, subjects, rates and a skeleton beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.arrays import first_line
from noisette.data.motion.skeleton import Skeleton, numbered, pairs_by_name
from noisette.data.motion.takes import BESIDE, FASTEST, Recording, Take, as_take, describe, per_second
from noisette.errors import UserError

CLIP_KEYS = ("x", "clips", "motion", "motions", "positions", "poses", "keypoints", "data", "arr_0")
LENGTH_KEYS = ("length", "lengths")
LABEL_KEYS = ("label", "labels", *BESIDE["label"], "actions", "y", "targets")
CLASS_KEYS = ("classes", "class_names", "label_names", "categories", "actions_names")
SUBJECT_KEYS = (*BESIDE["subject"], "subjects")
JOINT_KEYS = ("names", "joint", "joints", "joint_names", "keypoint_names")
PARENT_KEYS = ("parents", "parent")
EDGE_KEYS = ("edges", "bones", "links")
_SKELETON_KEYS = (*JOINT_KEYS, *PARENT_KEYS, *EDGE_KEYS, "pairs", "unit", "up")


def read_npy(path: Path) -> Recording:
    """One take (F, J, D), or n of equal length (n, F, J, D). Raises UserError where the file holds anything else."""
    try:
        with path.open("rb") as opened:
            x = np.load(opened, allow_pickle=False)
    except Exception as error:  # a damaged file raises almost anything
        raise UserError(f"{path}: not a readable .npy file ({_without_pickle(error)})") from None
    return Recording(_split(x, None, path.stem, str(path)), notes=_like_pictures(x))


def read_npz(path: Path) -> Recording:
    """Takes under one of CLIP_KEYS, cut by LENGTH_KEYS; or every array of the file that is motion, one take each.

    x (sum of lengths, J, D) with length (n,); x (n, F, J, D), of which `length` may count the frames that are meant;
    x (F, J, D), one take. Labels, subjects, names and rates have one value a take, or one for all.
    Raises UserError where nothing in it is motion, or where what is beside it does not fit.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {}
            for key in file.files:
                try:
                    arrays[key] = file[key]
                except Exception as error:
                    raise UserError(f"{path}: {key} cannot be read: {_without_pickle(error)}") from None
    except UserError:
        raise
    except Exception as error:  # a damaged file raises almost anything
        raise UserError(f"{path}: not a readable .npz file ({_without_pickle(error)})") from None
    notes: list[str] = []
    clips = next((k for k in CLIP_KEYS if k in arrays and arrays[k].ndim >= 2), None)
    if clips is None:
        many = [k for k, a in arrays.items() if a.ndim == 3 and a.shape[2] in (2, 3) and a.dtype.kind in "iuf"]
        if not many:
            held = ", ".join(f"{k} {a.shape}" for k, a in arrays.items()) or "nothing"
            raise UserError(f"{path}: no motion under {', '.join(CLIP_KEYS)}; it holds {held}")
        takes = [as_take(arrays[k], k) for k in many]
        odd = next((t for t in takes if t.x.shape[1:] != takes[0].x.shape[1:]), None)
        if odd is not None:
            raise UserError(
                f"{path}: {odd.name} has {odd.x.shape[1]} joints of {odd.x.shape[2]} coordinates, {takes[0].name} has "
                f"{takes[0].x.shape[1]} of {takes[0].x.shape[2]}: every take must have the same"
            )
        arrays = {k: a for k, a in arrays.items() if k not in many}  # a take may be called `walk`, or `action`
    else:
        x = _with_joints(arrays[clips], arrays, f"{path}: {clips}")
        length = _first(arrays, LENGTH_KEYS)
        takes = _split(x, length, path.stem, f"{path}: {clips}")
        notes = [] if length is not None else _like_pictures(x)
    takes = _told(takes, arrays, path)
    stated = frozenset(arrays) & {"unit", "up"}
    return Recording(takes, _skeleton(arrays, takes[0].x.shape[1], path), stated, notes=notes)


def _like_pictures(x: NDArray[Any]) -> list[str]:
    """A note where (n, F, J, 3) may as well be colour pictures (n, H, W, 3) in [-1, 1]."""
    if x.ndim != 4 or x.shape[-1] != 3 or (np.abs(x) > 1).any():
        return []
    return [
        f"{len(x)} takes of {x.shape[1]} frames and {x.shape[2]} joints: if these are pictures, --data.medium images"
    ]


def _without_pickle(error: BaseException) -> str:
    text = first_line(error)
    if "allow_pickle" in text or "pickled" in text:
        return "it holds Python objects, which may run code; save one array of numbers a take instead"
    return text


def _first(arrays: dict[str, NDArray[Any]], keys: tuple[str, ...]) -> NDArray[Any] | None:
    return next((arrays[k] for k in keys if k in arrays), None)


def _with_joints(x: NDArray[Any], arrays: dict[str, NDArray[Any]], where: str) -> NDArray[Any]:
    """(F, J * D) as (F, J, D), where the names or parents beside it say how many joints there are."""
    if x.ndim != 2:
        return x
    beside = next((arrays[k] for k in (*JOINT_KEYS, *PARENT_KEYS) if k in arrays and arrays[k].ndim == 1), None)
    if beside is None or not len(beside) or x.shape[1] not in (2 * len(beside), 3 * len(beside)):
        raise UserError(
            f"{where}: {describe(x)} does not say what is a joint; reshape it to (frames, joints, 2 or 3), or put the "
            "joints' names beside it as `names`"
        )
    return x.reshape(len(x), len(beside), -1)


def _split(x: NDArray[Any], length: NDArray[Any] | None, stem: str, where: str) -> list[Take]:
    if x.ndim not in (3, 4) or x.shape[-1] not in (2, 3):
        raise UserError(
            f"{where}: {describe(x)} is not motion; (frames, joints, 2 or 3) is, or (n, frames, joints, 2 or 3)"
        )
    if length is not None and (length.dtype.kind not in "iu" or length.ndim != 1 or length.min(initial=1) < 1):
        raise UserError(f"{where}: `length` must be whole numbers from 1, one a take")
    if x.ndim == 4:
        if length is not None and (len(length) != len(x) or length.max() > x.shape[1]):
            raise UserError(f"{where}: `length` does not fit {len(x)} clips of {x.shape[1]} frames")
        parts = [clip if length is None else clip[: length[k]] for k, clip in enumerate(x)]
    elif length is not None:
        if int(length.sum()) != len(x):
            raise UserError(f"{where}: `length` adds up to {int(length.sum())} frames, but there are {len(x)}")
        parts = np.split(x, np.cumsum(length)[:-1])
    else:
        return [as_take(x, stem)]
    if not parts:
        raise UserError(f"{where}: no take in it")
    return [as_take(part, f"{stem} #{k}") for k, part in enumerate(parts)]


def _told(takes: list[Take], arrays: dict[str, NDArray[Any]], path: Path) -> list[Take]:
    """The takes with what stands beside them: a value each, or one for all."""
    n = len(takes)
    classes = _first(arrays, CLASS_KEYS)
    labels, subjects = (_texts(arrays, k, n, path) for k in (LABEL_KEYS, SUBJECT_KEYS))
    names = _texts(arrays, BESIDE["name"], n, path)
    given = _first(arrays, LABEL_KEYS)
    if given is not None and given.dtype.kind == "f" and (given == np.rint(given)).all():
        given = given.astype(np.int64)
    if classes is not None and given is not None and given.dtype.kind in "iu":
        if given.size and not 0 <= int(given.min()) <= int(given.max()) < len(classes):
            raise UserError(f"{path}: labels from {given.min()} to {given.max()} do not fit {len(classes)} class names")
        labels = [str(classes[int(v)]) for v in np.broadcast_to(given.reshape(-1), n)]
    rates = _rate(arrays, n, path)
    told = []
    for k, take in enumerate(takes):
        told.append(Take(take.x, names[k] or take.name, labels[k], subjects[k], rates[k]))
    return told


def _texts(arrays: dict[str, NDArray[Any]], keys: tuple[str, ...], n: int, path: Path) -> list[str | None]:
    key = next((k for k in keys if k in arrays), None)
    if key is None:
        return [None] * n
    values = arrays[key].reshape(-1)
    if len(values) not in (1, n):
        raise UserError(f"{path}: {len(values)} values of `{key}` for {n} takes")
    texts = [v.decode("latin1") if isinstance(v, bytes) else str(v) for v in values.tolist()]
    return [*texts] if len(texts) == n else [texts[0]] * n


def _rate(arrays: dict[str, NDArray[Any]], n: int, path: Path) -> list[float | None]:
    """Frames a second of each take, of `fps` or `dt`; kept to four digits, for times that were stored in float32."""
    values, step = _first(arrays, BESIDE["fps"]), _first(arrays, BESIDE["dt"])
    if values is None and step is None:
        return [None] * n
    try:
        given = np.asarray(values if values is not None else step, dtype=np.float64).reshape(-1)
    except ValueError:
        raise UserError(f"{path}: `fps` and `dt` must be numbers") from None
    if len(given) not in (1, n):
        raise UserError(f"{path}: {len(given)} rates for {n} takes")
    if not (np.isfinite(given) & (given > 0)).all():
        raise UserError(f"{path}: frames a second and seconds a frame must be above 0")
    rates = given if values is not None else [per_second(float(s), f"{path}: dt") for s in given]
    if np.max(rates) > FASTEST:
        raise UserError(f"{path}: {np.max(rates):g} frames a second, more than {FASTEST}")
    return [float(f"{r:.4g}") for r in np.broadcast_to(rates, n)]


def _skeleton(arrays: dict[str, NDArray[Any]], joints: int, path: Path) -> Skeleton | None:
    if not any(k in arrays for k in _SKELETON_KEYS):
        return None
    names = _first(arrays, JOINT_KEYS)
    if names is not None and (names.dtype.kind not in "US" or names.ndim != 1):
        names = None  # an array called `joints` may be anything
    listed = numbered(joints) if names is None else [str(v) for v in names.astype(str).tolist()]
    if len(listed) != joints:
        raise UserError(f"{path}: {len(listed)} names for {joints} joints")
    content: dict[str, Any] = {"names": listed}
    parents, edges = _first(arrays, PARENT_KEYS), _first(arrays, EDGE_KEYS)
    if parents is not None:
        content["parents"] = parents.reshape(-1).tolist()
    elif edges is not None:
        content["edges"] = edges.tolist()
    content["pairs"] = arrays["pairs"].tolist() if "pairs" in arrays else [list(p) for p in pairs_by_name(listed)]
    for key in ("unit", "up"):
        if key in arrays:
            if not arrays[key].size:
                raise UserError(f"{path}: `{key}` is empty")
            value = arrays[key].reshape(-1)[0].item()
            content[key] = value.decode("latin1") if isinstance(value, bytes) else value
    return Skeleton.from_json(content, str(path))

"""Clips back into files that the readers here, and others, read: .npz, .npy, .json, .csv, .bvh."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.cache import write as write_whole
from noisette.data.motion.geometry import euler, fit_rotation
from noisette.data.motion.skeleton import FPS, Skeleton
from noisette.errors import UserError

Clip = NDArray[np.float32]
SUFFIXES = (".npz", ".npy", ".json", ".csv", ".bvh")

RIGID = 2e-5
"""Share of a bone's length by which it may vary and still be written as an offset that never changes."""


def write(
    path: str | Path,
    clips: Sequence[Clip] | Clip,
    skeleton: Skeleton,
    labels: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> list[Path]:
    """Writes clips, (n, F, J, D) or a list of (F, J, D), in the format that the path's ending names.

    skeleton  of the clips; its fps is written where the format has room for it
    labels    the class of each clip;  names: what to call each
    BVH holds one clip a file: several go to NAME-0.bvh, NAME-1.bvh, ... Returns the paths. Raises UserError where the
    ending is not known or the disk refuses.
    """
    path, clips = Path(path).expanduser(), [np.asarray(c, np.float32) for c in clips]
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: motion is written as {', '.join(SUFFIXES)}")
    if not clips or any(c.ndim != 3 or c.shape[1:] != (len(skeleton), clips[0].shape[2]) for c in clips):
        raise ValueError("clips must be (F, J, D), with as many joints as the skeleton")
    if labels is not None and len(labels) != len(clips):
        raise ValueError(f"{len(labels)} labels for {len(clips)} clips")
    called = list(names) if names is not None else [f"clip {k}" for k in range(len(clips))]
    told = None if labels is None else [str(v) for v in labels]
    suffix = path.suffix.lower()
    if suffix == ".bvh":
        width = len(str(len(clips) - 1))
        paths = [path] if len(clips) == 1 else [path.with_stem(f"{path.stem}-{k:0{width}d}") for k in range(len(clips))]
        contents = [bvh(c, skeleton).encode() for c in clips]
    else:
        paths = [path]
        if suffix == ".npz":
            contents = [_npz(clips, skeleton, told, called)]
        elif suffix == ".npy":
            contents = [_npy(clips, path)]
        elif suffix == ".json":
            contents = [_json(clips, skeleton, told, called).encode()]
        else:
            contents = [_csv(clips, skeleton, told, called).encode()]
    for at, content in zip(paths, contents, strict=True):
        try:
            at.parent.mkdir(parents=True, exist_ok=True)
            write_whole(at, content)
        except OSError as error:
            raise UserError(f"{at}: cannot be written ({error.strerror or error})") from None
    return paths


def _npz(clips: list[Clip], skeleton: Skeleton, labels: list[str] | None, names: list[str]) -> bytes:
    arrays: dict[str, Any] = {
        "x": np.concatenate(clips),
        "length": np.array([len(c) for c in clips], np.int32),
        "name": np.array(names),
        "names": np.array(skeleton.names),
        "pairs": np.array(skeleton.pairs, np.int32).reshape(-1, 2),
        "unit": np.array(skeleton.unit),
        "up": np.array(skeleton.vertical),
    }
    if skeleton.parents:
        arrays["parents"] = np.array(skeleton.parents, np.int32)
    elif skeleton.links:
        arrays["edges"] = np.array(skeleton.links, np.int32)
    if skeleton.fps is not None:
        arrays["fps"] = np.array(skeleton.fps)
    if labels is not None:
        arrays["label"] = np.array(labels)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _npy(clips: list[Clip], path: Path) -> bytes:
    if len({len(c) for c in clips}) > 1:
        raise UserError(f"{path}: a .npy holds clips of one length; these differ, write .npz")
    file = io.BytesIO()
    np.save(file, np.stack(clips))
    return file.getvalue()


def _short(x: Clip) -> Any:
    """Nested lists with the fewest digits that give the same float32 back."""
    texts = x.astype(str).reshape(-1).tolist()
    return np.array([float(t) for t in texts], dtype=np.float64).reshape(x.shape).tolist()


def _json(clips: list[Clip], skeleton: Skeleton, labels: list[str] | None, names: list[str]) -> str:
    out = []
    for k, clip in enumerate(clips):
        facts = {"name": names[k]} if labels is None else {"name": names[k], "label": labels[k]}
        out.append({**facts, "fps": skeleton.fps, "frames": _short(clip)})
    return json.dumps({"skeleton": skeleton.to_json(), "clips": out})


def _csv(clips: list[Clip], skeleton: Skeleton, labels: list[str] | None, names: list[str]) -> str:
    """One row a frame: the clip's name (and class, and rate, and the vertical axis if it is not y), then every joint's
    coordinates."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    beside = ["clip", *(["label"] if labels is not None else []), *(["fps"] if skeleton.fps is not None else [])]
    beside += ["up"] if skeleton.vertical != "y" else []
    table.writerow([*beside, *(f"{n}_{a}" for n in skeleton.names for a in "xyz"[: clips[0].shape[2]])])
    for k, clip in enumerate(clips):
        told = [names[k], *([labels[k]] if labels is not None else [])]
        told += [f"{skeleton.fps:g}"] if skeleton.fps is not None else []
        told += [skeleton.vertical] if skeleton.vertical != "y" else []
        for row in clip.reshape(len(clip), -1).astype(str).tolist():
            table.writerow([*told, *row])
    return file.getvalue()


# --- BVH -------------------------------------------------------------------------------------------------------------


def bvh(clip: Clip, skeleton: Skeleton) -> str:
    """One clip (F, J, D) as BVH.

    Offsets are the bones of the mean pose, each as long as it is on average. A joint's rotation brings the bones that
    hang on it as near to where they are as one rotation can (the shortest one for a single bone, Kabsch's for more).
    Where that is not exact, because a bone's length varies or the bones at a joint move against each other, the child
    has position channels too, so that reading the file back gives the positions; programs that know rotations alone
    show nearly the same. Joints that hang on none, or whose order is not known, are roots. 2-D clips have z = 0.
    """
    x = np.zeros((*clip.shape[:2], 3))
    x[..., : clip.shape[2]] = clip
    frames, joints, _ = x.shape
    parents = skeleton.parents or (-1,) * joints
    children: list[list[int]] = [[] for _ in range(joints)]
    for j, p in enumerate(parents):
        if p >= 0:
            children[p].append(j)
    order = skeleton.order()
    turned = np.broadcast_to(np.eye(3), (joints, frames, 3, 3)).copy()  # of each joint, in the world
    offset, local, angles = np.zeros((joints, 3)), np.zeros((joints, frames, 3)), np.zeros((joints, frames, 3))
    for j in order:
        if parents[j] >= 0:
            offset[j] = _bone(x[:, j] - x[:, parents[j]])
    for j in order:
        above = np.eye(3) if parents[j] < 0 else turned[parents[j]]
        step = x[:, j] if parents[j] < 0 else x[:, j] - x[:, parents[j]]
        local[j] = (np.swapaxes(above, -1, -2) @ step[..., None])[..., 0] if parents[j] >= 0 else step
        if children[j]:
            wanted = np.stack([x[:, c] - x[:, j] for c in children[j]], axis=1)
            own = fit_rotation(
                offset[children[j]], (np.swapaxes(above, -1, -2)[..., None, :, :] @ wanted[..., None])[..., 0]
            )
            angles[j] = np.degrees(euler(own))
            turned[j] = above @ own
    length = np.linalg.norm(offset, axis=1)
    loose = [p < 0 or np.abs(local[j] - offset[j]).max() > RIGID * max(length[j], 1e-12) for j, p in enumerate(parents)]
    columns: list[NDArray[np.float64]] = []
    lines = ["HIERARCHY"]

    def put(j: int, depth: int) -> None:
        pad = "  " * depth
        lines.append(f"{pad}{'ROOT' if parents[j] < 0 else 'JOINT'} {skeleton.names[j]}")
        lines.append(pad + "{")
        lines.append(f"{pad}  OFFSET {' '.join(f'{v:.6f}' for v in offset[j])}")
        place = "Xposition Yposition Zposition " if loose[j] else ""
        lines.append(f"{pad}  CHANNELS {6 if loose[j] else 3} {place}Zrotation Yrotation Xrotation")
        columns.extend([local[j], angles[j]] if loose[j] else [angles[j]])
        for c in children[j]:
            put(c, depth + 1)
        if not children[j]:
            lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 0 0", f"{pad}  }}"])
        lines.append(pad + "}")

    for j in order:
        if parents[j] < 0:
            put(j, 0)
    table = np.concatenate(columns, axis=1)
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {1 / (skeleton.fps or FPS):.8f}"]
    lines += [" ".join(f"{v:.6f}" for v in row) for row in table.tolist()]
    return "\n".join(lines) + "\n"


def _bone(step: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) the mean direction of a bone (F, 3), as long as it is on average."""
    mean, length = step.mean(0), float(np.linalg.norm(step, axis=1).mean())
    size = float(np.linalg.norm(mean))
    return mean * (length / size) if size > 1e-9 * max(length, 1e-12) else np.array([0.0, length, 0.0])

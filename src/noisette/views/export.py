"""Samples and trajectories -> files: the suffix chooses the format, and every file appears whole or not at all."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from noisette.data.medium import Medium, Motion
from noisette.errors import UserError
from noisette.experiment.runs import atomic
from noisette.views import figures

if TYPE_CHECKING:
    from noisette.tasks.generate import Frame, Samples

Kind = Literal["samples", "trajectory", "forward", "bundle"]

FOLDER = "/"
SUFFIXES: dict[str, dict[str, str]] = {
    "samples": {".png": "grid", ".npz": "arrays", FOLDER: "a folder of single PNGs"},
    "trajectory": {".png": "strip", ".gif": "animation", ".webp": "animation", ".npz": "every step"},
}
SUFFIXES |= {"forward": SUFFIXES["trajectory"], "bundle": {".zip": "a folder, packed"}}

OF_CLIPS: dict[str, str] = {
    ".npz": "arrays",
    ".json": "joints by name",
    ".csv": "a row a frame",
    ".bvh": "a file a clip",
    ".gif": "moving",
    ".webp": "moving",
    ".png": "strips of poses",
    FOLDER: "a folder of single .bvh files",
}
"""What samples of motion are written as."""

ROWS = 8
"""Samples in a strip, unless said otherwise: more rows are more of the same."""


def usual(medium: Medium) -> str:
    """The suffix that samples have where nobody says: a grid of images, clips that move."""
    return ".gif" if isinstance(medium, Motion) else ".png"


def check_suffix(path: str | Path, kind: Kind, medium: Medium | None = None) -> str:
    """What to write there: ".png", ".npz", ... or "/" for a folder. To be asked before the long work.

    Args:
        medium: of the samples; images where none is given.

    Raises:
        UserError: a suffix that is not known, or a place that cannot be written.
    """
    clips = kind == "samples" and isinstance(medium, Motion)
    valid, text = OF_CLIPS if clips else SUFFIXES[kind], str(path)
    place = Path(path)
    folder = FOLDER in valid and (text.endswith(("/", os.sep)) or place.is_dir())
    suffix = FOLDER if folder else place.suffix.lower()
    if suffix not in valid:
        names = ", ".join(f"{s} ({what})" for s, what in valid.items())
        raise UserError(f"{text}: its ending must say what to write: {names}")
    if folder and place.is_dir() and any(place.iterdir()):
        raise UserError(f"{text}: the folder is not empty, and old samples would mix with new ones: choose another")
    if folder and place.exists() and not place.is_dir():
        raise UserError(f"{text}: a file is in the way: choose another name")
    if not folder and place.is_dir():
        raise UserError(f"{text}: a folder is in the way: choose another name")
    nearest = place.absolute().parent
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UserError(f"{text}: {nearest} is a file, not a folder: choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{text}: {nearest} cannot be written: choose another place")
    return suffix


def save_samples(samples: Samples, path: str | Path, medium: Medium | None = None) -> Path:
    """Samples in the format that the path's ending names; where they are.

    Images: a .png grid (with class names where there are any), an .npz, or a folder of PNGs (path ends in /). The .npz
    holds x uint8 (N, H, W, C), seeds int64 (N,) and, where there are any, labels int64 (N,) and classes.
    Clips: a .gif or .webp in which they move, a .png of strips, or what noisette.data.motion.read reads back: .npz,
    .json, .csv, or .bvh, in which several clips are files NAME-0.bvh, NAME-1.bvh, ...: then their pattern is returned.
    A folder holds single .bvh files, and their skeleton.json.

    Args:
        medium: what the samples are; images where none is given.

    Raises:
        UserError: see check_suffix, or the place cannot be written.
    """
    suffix, place = check_suffix(path, "samples", medium), Path(path)
    if isinstance(medium, Motion):
        return _save_clips(samples, place, suffix, medium)
    if suffix == FOLDER:
        return _save_folder(samples, ((".png", png(figures.to_image(x))) for x in samples.x), place)
    if suffix == ".npz":
        arrays: dict[str, np.ndarray] = {"x": samples.x, "seeds": np.asarray(samples.seeds, np.int64)}
        if samples.labels is not None:
            arrays |= {"labels": np.asarray(samples.labels, np.int64), "classes": np.asarray(samples.classes, str)}
        return _write(place, _npz(**arrays))
    return _write(place, png(picture(samples)))


def picture(samples: Samples, medium: Medium | None = None) -> Image.Image:
    """All samples on one sheet, with class names where there are any: a grid of images, or strips of poses."""
    if not isinstance(medium, Motion):
        return figures.grid(samples.x, class_names(samples))
    from noisette.views import skeletons

    body = skeletons.Body.of(medium.skeleton)
    scenes = skeletons.strips(list(samples.x), body, class_names(samples), fps=medium.fps)
    columns = max(1, round(math.sqrt(len(scenes) / 3)))  # a strip is about three times as wide as high
    return skeletons.sheet(scenes, columns).image()


def _save_clips(samples: Samples, path: Path, suffix: str, medium: Motion) -> Path:
    from noisette.data.motion.write import bvh, write
    from noisette.views import skeletons

    classes, skeleton = class_names(samples), medium.skeleton
    if suffix == FOLDER:
        beside = {"skeleton.json": json.dumps(skeleton.to_json(), indent=2).encode()}  # for what BVH has no room
        return _save_folder(samples, ((".bvh", bvh(x, skeleton).encode()) for x in samples.x), path, beside)
    if suffix == ".png":
        return _write(path, png(picture(samples, medium)))
    if suffix in (".gif", ".webp"):
        body = skeletons.Body.of(skeleton)
        loops = bool(samples.settings.get("edit", {}).get("loop"))
        moving = skeletons.film(list(samples.x), body, suffix[1:], fps=medium.fps, captions=classes, cyclic=loops)
        return _write(path, moving)
    written = write(path, samples.x, skeleton, classes, [f"seed {seed}" for seed in samples.seeds])
    return path if written == [path] else path.with_stem(f"{path.stem}-*")


def class_names(samples: Samples) -> list[str] | None:
    """The name of each sample's class; None where there are no labels."""
    if samples.labels is None:
        return None
    known = samples.classes
    return [known[k] if 0 <= k < len(known) else ("any" if k < 0 else str(k)) for k in map(int, samples.labels)]


def look_of(frames: Sequence[Frame], medium: Medium | None = None) -> figures.Look:
    """How states on the way to or from noise are seen: images as they are, each clip by the camera that suits its
    clean state, and all at one scale."""
    if not isinstance(medium, Motion):
        return figures.as_kept
    from noisette.views import looks

    clean, moving = min(frames, key=lambda frame: frame.t).x, medium
    return lambda x: looks.pictures(x, moving, clean)


def save_trajectory(
    frames: Sequence[Frame],
    path: str | Path,
    count: int = figures.COLUMNS,
    samples: int | None = None,
    medium: Medium | None = None,
) -> Path:
    """Frames as a labelled strip (.png), an animation (.gif, .webp) or arrays (.npz).

    The .npz holds every step: x (S, N, ...) as samples are kept, uint8 (S, N, H, W, C) or float32 (S, N, F, J, D),
    t float64 (S,), labels (S,) the steps' names and, where there are any, signal (S,) and x0, the model's estimate of
    the clean sample made of each state, shaped as x.

    Args:
        frames: in order; the first is the first column.
        path: its suffix chooses.
        count: columns of a strip, evenly chosen.
        samples: only the first that many samples; by default up to ROWS of them in a strip, all elsewhere.
        medium: what the samples are; images where none is given.

    Raises:
        UserError: see check_suffix, or the place cannot be written.
    """
    suffix, look = check_suffix(path, "trajectory"), look_of(frames, medium)
    if suffix == ".png":
        shown = figures.strip(frames, count=count, samples=ROWS if samples is None else samples, look=look)
        return _write(Path(path), png(shown))
    if suffix != ".npz":
        return _write(Path(path), figures.animation(frames, suffix[1:], samples=samples, look=look))
    stacked: dict[str, np.ndarray] = {
        "x": np.stack([f.x[:samples] for f in frames]),
        "t": np.asarray([f.t for f in frames], np.float64),
        "labels": np.asarray([f.label for f in frames], str),
    }
    if any(f.x0 is not None for f in frames):
        stacked["x0"] = np.stack([f.x0[:samples] for f in figures.paired(frames) if f.x0 is not None])
    if all(f.signal is not None for f in frames):
        stacked["signal"] = np.asarray([f.signal for f in frames], np.float64)
    return _write(Path(path), _npz(**stacked))


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _write(path: Path, content: bytes) -> Path:
    try:
        with atomic(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): choose another place") from None
    return path


def _save_folder(
    samples: Samples, files: Iterable[tuple[str, bytes]], path: Path, beside: Mapping[str, bytes] | None = None
) -> Path:
    """One file (its suffix, its content) a sample, and others beside them, in a folder that appears when it is
    complete."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        for k, ((suffix, content), seed) in enumerate(zip(files, samples.seeds, strict=True)):
            label = "" if samples.labels is None else f"-label{int(samples.labels[k])}"
            (temporary / f"{k:06d}-seed{seed}{label}{suffix}").write_bytes(content)
        for name, content in (beside or {}).items():
            (temporary / name).write_bytes(content)
        temporary.chmod(0o755)
        if path.is_dir():
            path.rmdir()  # empty, as check_suffix saw
        temporary.rename(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): choose another place") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return path

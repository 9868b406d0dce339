"""Files that hold arrays of images: .npy, .npz, idx (.gz), CIFAR-10's batches. Nothing in them is ever run."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.pickles import load_arrays
from noisette.errors import UserError

IMAGE_KEYS = ("x", "images", "image", "x_train", "train_images", "data", "arr_0")
LABEL_KEYS = ("y", "labels", "label", "y_train", "train_labels", "targets", "arr_1")
CLASS_KEYS = ("classes", "class_names", "label_names", "categories")

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64] | None, tuple[str, ...]]
"""x (N, H, W, C) uint8; labels (N,) int64 into the class names, or None with ()."""

_MOTION = " (key points of motion: --data.medium motion)"


def read_npy(path: Path) -> Labelled:
    """One array, memory-mapped where it needs no conversion. Raises UserError when it is not one of images."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a readable .npy file ({first_line(error)})") from None
    return to_bytes(array, str(path)), None, ()


def read_npz(path: Path) -> Labelled:
    """Arrays by name: images under one of IMAGE_KEYS, labels of LABEL_KEYS, class names of CLASS_KEYS.

    Raises UserError where there are no images, or labels that do not fit them.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if "length" in file.files:
                raise UserError(f"{path} holds clips of motion (it has `length`), not images")
            image = next((k for k in IMAGE_KEYS if k in file.files), None)
            if image is None:
                raise UserError(
                    f"{path}: no images under {', '.join(IMAGE_KEYS)}; it holds {', '.join(file.files) or 'nothing'}"
                )
            label = next((k for k in LABEL_KEYS if k in file.files), None)
            names = next((k for k in CLASS_KEYS if k in file.files), None)
            x = to_bytes(file[image], f"{path}: {image}")
            values = None if label is None else file[label]
            known = () if names is None else tuple(str(v) for v in file[names].reshape(-1))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable .npz file ({first_line(error)})") from None
    if values is None:
        return x, None, ()
    return x, *to_labels(values, len(x), known, f"{path}: {label}")


def to_bytes(array: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Any array of images -> (N, H, W, C) uint8.

    Takes (N, H, W), (N, H, W, C) and (N, C, H, W) with C = 1, 3 or 4; uint8, bool, other integers in 0..255, and
    floats in [0, 1], [-1, 1] or [0, 255] (the range is read from the data). Raises UserError otherwise.
    """
    hint = _MOTION if array.ndim in (3, 4) and array.shape[-1] in (2, 3) else ""
    if array.ndim == 4 and array.shape[3] not in (1, 3, 4) and array.shape[1] in (1, 3, 4):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or min(array.shape[1:3]) < 5:
        raise UserError(
            f"{what}: shape {array.shape} is not images; (N, H, W) or (N, H, W, C) is, with C 1, 3 or 4{hint}"
        )
    if len(array) == 0:
        raise UserError(f"{what}: no image in it")
    if array.dtype == np.uint8:
        return array
    scale, shift = _range(array, what)
    out = np.empty(array.shape, np.uint8)
    for at in range(0, len(array), 1024):
        block = array[at : at + 1024].astype(np.float32)
        out[at : at + 1024] = np.rint(np.clip((block + shift) * scale, 0, 255))
    return out


def _range(array: NDArray[Any], what: str) -> tuple[float, float]:
    """(scale, shift) with byte = (value + shift) * scale."""
    if array.dtype == np.bool_:
        return 255.0, 0.0
    if array.dtype.kind not in "iuf":
        raise UserError(f"{what}: an array of {array.dtype} is not images; uint8 and floats are")
    blocks = [array[at : at + 1024] for at in range(0, len(array), 1024)]
    low, high = min(float(b.min()) for b in blocks), max(float(b.max()) for b in blocks)
    if not np.isfinite([low, high]).all():
        raise UserError(f"{what}: not all of its values are finite numbers")
    eps = 1e-3
    if array.dtype.kind == "f":
        if low >= -eps and high <= 1 + eps:
            return 255.0, 0.0
        if low >= -1 - eps and high <= 1 + eps:
            return 127.5, 1.0
    if low >= -eps and high <= 255 + eps:
        return 1.0, 0.0
    hint = _MOTION if array.shape[-1] == 3 else ""
    raise UserError(f"{what}: values from {low:g} to {high:g}; images are in 0..255, [0, 1] or [-1, 1]{hint}")


def to_labels(
    values: NDArray[Any], n: int, names: Sequence[str], what: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as a file has them -> (indices, class names); one-hot rows and texts are understood. Raises UserError."""
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "iufb":
        values = values.argmax(1)
    values = values.reshape(-1)
    if len(values) != n:
        raise UserError(f"{what}: {len(values)} labels for {n} images")
    if values.dtype.kind in "iub" and names and values.min() >= 0 and values.max() < len(names):
        return values.astype(np.int64), tuple(names)
    if values.dtype.kind == "f" and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iubUS":
        raise UserError(f"{what}: labels of type {values.dtype} are not understood; whole numbers or texts are")
    present, index = np.unique(values, return_inverse=True)
    texts = [v.decode("latin1") if isinstance(v, bytes) else str(v) for v in present.tolist()]
    return index.reshape(-1).astype(np.int64), tuple(texts)


_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> NDArray[Any]:
    """The array in an idx file, gzipped or not. Raises UserError when it is damaged."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        zero, kind, dims = struct.unpack(">HBB", raw[:4])
        shape = struct.unpack(f">{dims}I", raw[4 : 4 + 4 * dims])
        if zero or kind not in _IDX_TYPES:
            raise ValueError("it does not begin as one")
        return np.frombuffer(raw, _IDX_TYPES[kind], offset=4 + 4 * dims).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: not a readable idx file ({first_line(error)})") from None


def idx_labels_of(images: Path) -> Path | None:
    """The labels file beside an idx images file: `train-labels-idx1-ubyte.gz` for `train-images-idx3-ubyte.gz`."""
    stem = images.name.removesuffix(".gz")
    name = stem.replace("images", "labels").replace("idx3", "idx1")
    if name == stem:
        return None
    return next((p for p in (images.with_name(name + ".gz"), images.with_name(name)) if p.is_file()), None)


def read_idx_pair(images: Path, names: Sequence[str] = ()) -> Labelled:
    """An idx images file with the labels found beside it, if any."""
    x = to_bytes(read_idx(images), str(images))
    beside = idx_labels_of(images)
    if beside is None:
        return x, None, ()
    return x, *to_labels(read_idx(beside), len(x), names, str(beside))


CIFAR_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def read_cifar(path: Path) -> Labelled:
    """CIFAR-10's training batches, from the folder that holds data_batch_*, or from the .tar.gz as published.

    Raises UserError when a batch is damaged, or holds anything but arrays, lists and numbers.
    """
    batches: list[tuple[str, bytes]] = []
    try:
        if path.is_dir():
            batches = [(str(f), f.read_bytes()) for n in CIFAR_BATCHES if (f := path / n).is_file()]
        else:
            with tarfile.open(path) as tar:
                members = {Path(m.name).name: m for m in tar.getmembers() if m.isfile()}
                for n in CIFAR_BATCHES:
                    if n in members and (file := tar.extractfile(members[n])) is not None:
                        batches.append((f"{path}: {n}", file.read()))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{path}: not readable ({first_line(error)})") from None
    if not batches:
        raise UserError(f"{path}: no data_batch_1 to data_batch_5 in it, CIFAR-10's python version is known here only")
    xs, ys = [], []
    for name, raw in batches:
        batch = load_arrays(raw, name)
        data, labels = batch.get("data"), batch.get("labels")
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
            raise UserError(f"{name}: no `data` of N x 3072 bytes in it")
        if not isinstance(labels, list) or len(labels) != len(data):
            raise UserError(f"{name}: no `labels`, one for each image")
        xs.append(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        ys += labels
    x = np.ascontiguousarray(np.concatenate(xs))
    return x, *to_labels(np.array(ys), len(x), CIFAR10_CLASSES, str(path))


def first_line(error: BaseException) -> str:
    """An exception's message, cut to one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

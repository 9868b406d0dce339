"""Files like MNIST's four and data like the bundled digits, with coarse patterns for digits."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))


def patches(n: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(n, 28, 28) pictures of noise with one of ten coarse patterns of 4x4 patches, its number the label, (n,)."""
    patterns = np.random.default_rng(0).integers(0, 2, (10, 4, 4), dtype=np.uint8).repeat(7, 1).repeat(7, 2)
    y = (np.arange(n) % 10).astype(np.uint8)
    return np.random.default_rng(seed).integers(0, 60, (n, 28, 28), dtype=np.uint8) + 180 * patterns[y], y


def write_mnist(folder: Path, train: int = 512, test: int = 200) -> Path:
    """The four idx files, gzipped."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, n, seed in (("train", train, 1), ("t10k", test, 2)):
        for kind, array in zip(("images", "labels"), patches(n, seed), strict=True):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            name = f"{part}-{kind}-idx{array.ndim}-ubyte.gz"
            (folder / name).write_bytes(gzip.compress(head + array.tobytes()))
    return folder


def write_data(path: Path, n: int = 200) -> Path:
    """An .npz of n images with labels."""
    x, y = patches(n, 3)
    np.savez(path, x=x[..., None], y=y.astype(np.int64))
    return path

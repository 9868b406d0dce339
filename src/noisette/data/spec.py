"""What a user asks for (DataSpec), what comes back (ImageData), and the one map between bytes and [-1, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from noisette.errors import UserError, nearest

Color = Literal["auto", "grayscale", "rgb"]

NORMALISER: dict[str, Any] = {"kind": "image", "scale": 127.5, "shift": -1.0}
"""x = byte / scale + shift: 0 becomes -1, 255 becomes +1. A run stores this dict in its data.json."""


@dataclass(frozen=True)
class DataSpec:
    """A data set, asked for: everything that decides which pixels a model sees.

    source      a name (`digits`, `mnist`, ...), a path, or `hf:owner/name`
    image_size  side of the square images, in pixels; None keeps the native size where all images share one
    classes     names of the classes to keep, in this order (the labels become 0, 1, ...); empty keeps all
    per_class   at most this many images of each class, drawn by `seed`
    color       "auto": one channel where every image is grey, else three
    flip        the training stream mirrors half of the images
    held_out    share of the images that is never trained on, in [0, 1)
    limit       at most this many images in all, drawn by `seed`

    Raises UserError when a value is out of its range.
    """

    source: str
    image_size: int | None = None
    classes: tuple[str, ...] = ()
    per_class: int | None = None
    color: Color = "auto"
    flip: bool = False
    held_out: float = 0.1
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        for name, low in (("image_size", 2), ("per_class", 1), ("limit", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise UserError(f"{name} must be at least {low}, not {value}")
        if self.image_size is not None and self.image_size > 1024:
            raise UserError(f"image_size must be at most 1024, not {self.image_size}")
        if not 0.0 <= self.held_out < 1.0:
            raise UserError(f"held_out is a share of the images, from 0 up to but without 1, not {self.held_out}")
        if self.color not in ("auto", "grayscale", "rgb"):
            raise UserError(f'no color "{self.color}"{nearest(self.color, ("auto", "grayscale", "rgb"))}')
        if self.seed < 0:
            raise UserError(f"seed must not be negative, not {self.seed}")
        if len(set(self.classes)) != len(self.classes):
            raise UserError(f"a class is named twice in classes: {', '.join(self.classes)}")


@dataclass(eq=False)
class ImageData:
    """Images, decoded once.

    x            (N, H, W, C) uint8, C-contiguous, C = 1 (grey) or 3 (RGB); a read-only np.memmap when large
    labels       (N,) int64 indices into `classes`, or None
    fingerprint  hash of pixels, shape, labels and class names: equal data, equal fingerprint, on any machine
    info         JSON-able: source, count, channels, size, original (sizes), per_class, skipped [{file, reason}],
                 ignored, notes, cache (path relative to the cache folder, or None)
    train        (n,) int64, sorted: rows to train on
    held_out     (m,) int64, sorted: rows never trained on; exact duplicates stay on one side of the split
    digests      (N, 16) uint8, one hash per image
    """

    x: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    fingerprint: str
    info: dict[str, Any]
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    digests: NDArray[np.uint8] = field(repr=False)

    def __len__(self) -> int:
        return len(self.x)


def normalise(x: NDArray[np.uint8], normaliser: Mapping[str, Any] = NORMALISER) -> NDArray[np.float32]:
    """Bytes 0..255 -> float32 in [-1, 1]; the shape is kept."""
    return x.astype(np.float32) / np.float32(normaliser["scale"]) + np.float32(normaliser["shift"])


def denormalise(x: NDArray[np.floating[Any]], normaliser: Mapping[str, Any] = NORMALISER) -> NDArray[np.uint8]:
    """Floats -> the nearest byte; what lies outside [-1, 1] is clipped. Every byte survives the round trip."""
    y = (np.asarray(x, dtype=np.float32) - np.float32(normaliser["shift"])) * np.float32(normaliser["scale"])
    return np.asarray(np.clip(np.rint(y), 0, 255), dtype=np.uint8)


def random_bits(n: int, *key: int) -> NDArray[np.uint64]:
    """n random 64-bit words, a pure function of the key (non-negative integers).

    PCG64's raw stream, seeded through SeedSequence: numpy keeps both fixed across versions, unlike the
    methods of Generator, so that permutations, flips and splits made of these words last.
    """
    return np.asarray(np.random.PCG64(np.random.SeedSequence(key)).random_raw(n), dtype=np.uint64).reshape(n)


def permutation(n: int, *key: int) -> NDArray[np.int64]:
    """A random order of 0..n-1, a pure function of n and the key."""
    return np.argsort(random_bits(n, *key), kind="stable").astype(np.int64)

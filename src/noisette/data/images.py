"""From one picture in any format to (H, W, C) bytes: orientation, transparency, depth, size, channels."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from noisette.data.arrays import first_line

T = TypeVar("T")

Picture = Path | NDArray[np.uint8] | Image.Image
"""A file, an (H, W, C) uint8 array, or an opened image."""

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
GREY_TOLERANCE = 3
"""Largest difference between channels, in bytes, at which a pixel still counts as grey."""

_ORIENTATION = 0x0112
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NOT_PHOTOS = frozenset({"EPS", "PDF", "MPEG", "WMF", "HDF5", "GRIB", "BUFR", "FITS"})


class Header(NamedTuple):
    """What is known without decoding: width and height in pixels, upright, and whether the format is grey."""

    width: int
    height: int
    grey: bool


class Failure(NamedTuple):
    """Why an image could not be read."""

    reason: str


def extensions() -> frozenset[str]:
    """File endings (with the dot, lower case) of the formats that are read."""
    known = Image.registered_extensions()
    return frozenset(e for e, form in known.items() if form in Image.OPEN and form not in _NOT_PHOTOS)


def header(picture: Picture) -> Header:
    """Size and greyness of a picture. Raises what Pillow raises where there is no picture in it."""
    if isinstance(picture, np.ndarray):
        return Header(picture.shape[1], picture.shape[0], picture.shape[2] == 1)
    with _opened(picture) as image:
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        return Header(width, height, image.mode in GREY_MODES)


def decode(picture: Picture, size: int | None, channels: int) -> NDArray[np.uint8]:
    """A picture -> (H, W, channels) uint8.

    The first frame, upright by its EXIF orientation, transparency laid on white, 16 bits brought down to 8. `size` cuts
    the central square and resizes it to size x size with Lanczos's filter, which averages when it shrinks; None keeps
    the pixels as they are. Raises what Pillow raises on a damaged file.
    """
    if isinstance(picture, np.ndarray):
        flat = picture[..., 0] if picture.shape[2] == 1 else picture
        return _finish(Image.fromarray(np.ascontiguousarray(flat)), size, channels)
    with _opened(picture) as image:
        if size is not None:  # lets the JPEG decoder shrink by 2, 4 or 8 as long as twice the wanted size is left
            scale = 2 * size / min(image.size)
            image.draft(image.mode, (int(image.width * scale) + 1, int(image.height * scale) + 1))
        turn = _TURN.get(_orientation(image))
        image.load()
        return _finish(image if turn is None else image.transpose(turn), size, channels)


@contextlib.contextmanager
def _opened(picture: Path | Image.Image) -> Iterator[Image.Image]:
    if isinstance(picture, Image.Image):
        yield picture
        return
    with Image.open(picture) as image:
        yield image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


def _finish(image: Image.Image, size: int | None, channels: int) -> NDArray[np.uint8]:
    image = _to_eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    array = np.asarray(image, dtype=np.uint8)
    return array[..., None] if array.ndim == 2 else array


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Deep grey modes -> L: 16 bits by their full range, 32 bits and floats by the range their values are in."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("values that are not finite")
    if image.mode.startswith("I;"):
        top = 65535.0
    else:
        top = 1.0 if image.mode == "F" and high <= 1 else 255.0 if high <= 255 else 65535.0 if high <= 65535 else high
    return Image.fromarray(np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8))


def is_grey(x: NDArray[np.uint8]) -> bool:
    """Whether every pixel of (..., 3) bytes is grey within GREY_TOLERANCE."""
    if x.shape[-1] == 1:
        return True
    for at in range(0, len(x), 512):
        block = x[at : at + 512].astype(np.int16)
        if (np.abs(block[..., :1] - block) > GREY_TOLERANCE).any():
            return False
    return True


def each(
    work: Callable[[Any], T], items: Sequence[Any], threads: bool, window: int = 256
) -> Iterator[tuple[int, T | Failure]]:
    """work(item) for every item, in order, by several threads; an exception becomes a Failure.

    At most `window` results wait at a time. Pillow's warnings are silenced, but for the one about images made to
    exhaust memory, which counts as a failure.
    """

    def guarded(at: int) -> tuple[int, T | Failure]:
        try:
            return at, work(items[at])
        except MemoryError:
            return at, Failure("not enough memory to decode it")
        except Exception as error:  # a damaged file raises almost anything
            return at, Failure(f"{type(error).__name__}: {first_line(error)}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if not threads:
            for at in range(len(items)):
                yield guarded(at)
            return
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            order = iter(range(len(items)))
            while ahead := list(islice(order, window)):
                yield from pool.map(guarded, ahead)

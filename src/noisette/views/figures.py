"""Arrays of pixels -> pictures: labelled grids and strips, and animations. Pillow only, no torch.

Small images are enlarged by whole numbers, each pixel a square: a blurred 28 x 28 digit hides what the model drew.
Images are uint8 (N, H, W, C) with C = 1 (grey) or 3 (RGB). Frames of clips need a Look, which makes images of them.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from noisette.tasks.generate import Frame

Pixels = NDArray[np.uint8]
"""uint8 images, (N, H, W, C)."""

Look = Callable[[NDArray[Any]], Pixels]
"""Samples as they are kept -> what is seen of them, as many."""

CELL = 64
"""Small images are enlarged until their longer side has at least this many pixels."""

BACKGROUND, INK = 255, 60
FONT_SIZE, LINE = 12, 15
COLUMNS = 11  # of a strip: a start, an end and every tenth of the way, whatever the number of steps
FIRST_MS, STEP_MS, LAST_MS = 700, 60, 1500
MOST_FRAMES = 100
"""An animation shows at most this many evenly chosen frames: with a step each, about six seconds."""


def check_pixels(x: Pixels) -> None:
    """Raises ValueError when x is not uint8 (N >= 1, H, W, 1 or 3)."""
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] not in (1, 3) or not len(x):
        raise ValueError(f"expected uint8 images (N, H, W, 1 or 3), got {x.dtype} {x.shape}")


def to_image(x: NDArray[np.uint8]) -> Image.Image:
    """(H, W, C) uint8 -> a picture of the same pixels."""
    return Image.fromarray(x[..., 0] if x.shape[2] == 1 else x)


def fit(height: int, width: int, cell: int = CELL) -> int:
    """The smallest whole enlargement that makes the longer side at least `cell` pixels."""
    return max(1, math.ceil(cell / max(height, width)))


def enlarge(x: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """(..., H, W, C) with each pixel repeated `scale` times in both directions."""
    return x.repeat(scale, axis=-3).repeat(scale, axis=-2)


def evenly(n: int, count: int) -> list[int]:
    """At most `count` indices of range(n), evenly spaced; the first and the last are among them."""
    if n <= count:
        return list(range(n))
    return [round(i * (n - 1) / (count - 1)) for i in range(count)] if count > 1 else [n - 1]


def percent(share: float) -> str:
    """A share of 1 with about two digits: 0.31 -> "31 %", 0.0016 -> "0.16 %"."""
    value = 100 * share
    if 0 < value < 0.01:
        return "<0.01 %"
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.2g} %"


@functools.cache
def _font() -> Any:
    return ImageFont.load_default(FONT_SIZE)  # travels with Pillow: the same letters on every machine


def _text_width(text: str) -> int:
    return math.ceil(max((_font().getlength(line) for line in text.split("\n")), default=0))


def shorten(text: str, width: int) -> str:
    """A line of text cut, with an ellipsis, to this many pixels."""
    if _text_width(text) <= width:
        return text
    while text and _text_width(text + "…") > width:
        text = text[:-1]
    return text + "…"


def grid(
    x: Pixels,
    captions: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    scale: int | None = None,
    pad: int = 4,
    title: str = "",
) -> Image.Image:
    """Images in rows, left to right, each with its caption centred under it (several lines where it has "\\n").

    Args:
        x: (N, H, W, C).
        captions: one per image, or None for none.
        columns: images in a row; by default as square as can be.
        scale: whole enlargement, by default as `fit` says.
        pad: pixels around and between the cells.
        title: one line above all.

    Raises:
        ValueError: not uint8 (N, H, W, 1 or 3), or captions that do not match.
    """
    check_pixels(x)
    n, height, width, channels = x.shape
    if captions is not None and len(captions) != n:
        raise ValueError(f"{len(captions)} captions for {n} images")
    scale = scale or fit(height, width)
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    x, height, width = enlarge(x, scale), height * scale, width * scale
    longest = max(width, 2 * CELL)  # a wider caption is cut rather than the picture torn apart
    captions = ["\n".join(shorten(line, longest) for line in c.split("\n")) for c in captions or [""] * n]
    cell = max(width, *(_text_width(c) + 4 if c else 0 for c in captions))
    text = LINE * max(c.count("\n") + 1 for c in captions) + 4 if any(captions) else 0
    top = LINE + 6 if title else 0
    rows = math.ceil(n / columns)
    size = (pad + columns * (cell + pad), top + pad + rows * (height + text + pad))
    canvas = Image.new("L" if channels == 1 else "RGB", size, _grey(BACKGROUND, channels))
    draw, font = ImageDraw.Draw(canvas), _font()
    if title:
        draw.text((pad, pad), shorten(title, size[0] - 2 * pad), fill=_grey(INK, channels), font=font)
    for k in range(n):
        left = pad + k % columns * (cell + pad)
        upper = top + pad + k // columns * (height + text + pad)
        canvas.paste(to_image(x[k]), (left + (cell - width) // 2, upper))
        for i, line in enumerate(captions[k].split("\n")):
            if line:
                where = (left + cell / 2, upper + height + 3 + i * LINE)
                draw.text(where, line, fill=_grey(INK, channels), font=font, anchor="ma")
    return canvas


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other, from the left, on one sheet."""
    size = (max(p.width for p in pictures), sum(p.height for p in pictures))
    sheet = Image.new(pictures[0].mode, size, _grey(BACKGROUND, len(pictures[0].getbands())))
    top = 0
    for p in pictures:
        sheet.paste(p, (0, top))
        top += p.height
    return sheet


def _grey(value: int, channels: int) -> Any:
    return value if channels == 1 else (value,) * 3


def caption(frame: Frame) -> str:
    """What is printed under a frame: its step, and the remaining signal where it is known."""
    return frame.label if frame.signal is None else f"{frame.label}\nsignal {percent(frame.signal)}"


def paired(frames: Sequence[Frame]) -> list[Frame]:
    """A reverse trajectory with each state beside the estimate that the model made of it.

    A sampler's step carries the estimate of the state before it, which it used to get here. The last state, the
    sample, is its own estimate.
    """
    estimates = [*(frame.x0 for frame in frames[1:]), frames[-1].x]
    return [replace(frame, x0=x0) for frame, x0 in zip(frames, estimates, strict=True)]


def as_kept(x: Pixels) -> Pixels:
    """The Look of images."""
    return x


def strip(
    frames: Sequence[Frame],
    *,
    count: int = COLUMNS,
    samples: int = 1,
    estimates: bool = False,
    scale: int | None = None,
    look: Look = as_kept,
) -> Image.Image:
    """Steps from left to right, every image labelled with its step; one row for each sample.

    Args:
        frames: in the order in which they are to be seen.
        count: columns: that many frames are chosen evenly, the first and the last among them.
        samples: rows: the first that many samples.
        estimates: under each state, a row with the model's estimate of the clean image.
    """
    if estimates:
        frames = paired(frames)
    chosen = [frames[i] for i in evenly(len(frames), count)]
    states = [look(frame.x[:samples]) for frame in chosen]
    guesses = [look((frame.x if frame.x0 is None else frame.x0)[:samples]) for frame in chosen] if estimates else []
    rows, captions = [], []
    for k in range(len(states[0])):
        rows += [x[k] for x in states]
        captions += [caption(frame) for frame in chosen]
        if estimates:
            rows += [x0[k] for x0 in guesses]
            captions += [f"x0 at {frame.label}" for frame in chosen]
    return grid(np.stack(rows), captions, columns=len(chosen), scale=scale)


def animation(
    frames: Sequence[Frame],
    kind: str,
    *,
    samples: int | None = None,
    labelled: bool = True,
    scale: int | None = None,
    look: Look = as_kept,
) -> bytes:
    """The frames as a looping animation; the first frame is held for a moment, the last for a second and a half.

    Args:
        frames: at most MOST_FRAMES of them are shown, evenly chosen.
        kind: "gif" or "webp".
        samples: only the first that many samples, in a grid.
        labelled: whether the step is printed above the images.
    """
    chosen = [frames[i] for i in evenly(len(frames), MOST_FRAMES)]
    pictures = [
        grid(look(frame.x[:samples]), scale=scale, title=caption(frame).replace("\n", ", ") if labelled else "")
        for frame in chosen
    ]
    durations = [STEP_MS] * len(pictures)
    durations[0], durations[-1] = FIRST_MS, LAST_MS
    options: dict[str, Any] = {"save_all": True, "duration": durations, "loop": 0}
    if kind == "gif":
        pictures = _one_palette(pictures)
        options |= {"optimize": False, "disposal": 1}
    else:
        pictures = [picture.convert("RGB") for picture in pictures]
        exact = sum(p.width * p.height for p in pictures) <= 2**24
        options |= {"lossless": True, "method": 2} if exact else {"quality": 85, "method": 2}
    file = io.BytesIO()
    pictures[0].save(file, kind.upper(), append_images=pictures[1:], **options)
    return file.getvalue()


def _one_palette(pictures: list[Image.Image]) -> list[Image.Image]:
    """All pictures in one palette of 256 colours, so that nothing flickers. Grey pictures are kept exactly.

    The palette is fitted to a few pictures of the whole course and, with the greater weight, to the last one.
    """
    if pictures[0].mode == "L":
        return pictures
    chosen = [np.asarray(pictures[i]) for i in evenly(len(pictures), 6)]
    fitted = Image.fromarray(np.concatenate([*chosen, *[chosen[-1]] * 6])).quantize(256, Image.Quantize.MEDIANCUT)
    return [picture.quantize(palette=fitted, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures]

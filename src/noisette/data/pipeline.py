"""load(spec): find the source, choose images, decode them once into the cache, split them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data import cache, images, sources
from noisette.data.sources import Content
from noisette.data.spec import DataSpec, ImageData, permutation
from noisette.data.split import split
from noisette.errors import UserError, nearest

Progress = Callable[[int, int], None]
"""progress(done, total), called from the thread that called load."""

NATIVE_AT_MOST = 256
"""Side in pixels up to which images that share one size keep it when no image_size is given."""

_CHOOSE = 0xC400  # sets this use of the seed apart from the others


def load(spec: DataSpec, progress: Progress | None = None) -> ImageData:
    """The images that a DataSpec asks for, decoded, cached and split.

    Raises UserError: no such source, no image, an unknown class, options that fit no labels, nothing readable.
    Single unreadable files raise nothing: they are in info["skipped"].
    """
    source = sources.find(spec.source)
    opened = source.open(spec.source)
    # The same file by name or by path has other class names, so the kind of source is part of the key.
    asked: list[Any] = [source.name, spec.image_size, list(spec.classes), spec.per_class, spec.color, spec.limit]
    if spec.per_class or spec.limit:
        asked.append(spec.seed)
    content = rows = None
    if opened.files:
        version = cache.digest_files(opened.files, [f.name for f in opened.files])
    else:
        content = opened.read()
        content, rows = _choose(content, spec)
        version = content.version or _version(content, rows)
    key = cache.key(version, asked)
    entry = cache.read(key)
    if entry is None:
        if content is None or rows is None:
            content, rows = _choose(opened.read(), spec)
        entry = _decode(content, rows, spec, key, progress)
    train, held_out = split(entry.digests, entry.labels, spec.held_out, spec.seed)
    meta = dict(entry.meta)
    classes = tuple(meta.pop("classes"))
    info = {"source": spec.source, **{k: v for k, v in meta.items() if k not in ("labelled", "fingerprint")}}
    info |= {"train": len(train), "held_out": len(held_out)}
    return ImageData(entry.x, entry.labels, classes, meta["fingerprint"], info, train, held_out, entry.digests)


def _version(content: Content, rows: NDArray[np.int64]) -> str:
    """Hash of the chosen files' names, which hold their classes, and bytes."""
    names = content.names or [str(r) for r in range(len(content.images))]
    return cache.digest_files([content.images[r] for r in rows], [names[r] for r in rows])


def _choose(content: Content, spec: DataSpec) -> tuple[Content, NDArray[np.int64]]:
    """The content with its labels renumbered to the classes asked for, and the sorted rows to decode.

    per_class takes the first n images of each class in an order shuffled by the seed, limit the first n of what is
    left in another one; neither changes when images of other classes come or go.
    """
    n, labels, classes = len(content.images), content.labels, content.classes
    notes = list(content.notes)
    if labels is not None and not spec.classes:
        mixed, folders = bool((labels < 0).any()), content.names is not None
        if mixed and len(classes) > 1:
            notes.append("some images lie in no class: the classes were not used (name them in classes to use them)")
        if mixed or (folders and len(classes) < 2):
            labels, classes = None, ()
    if labels is None and (spec.classes or spec.per_class):
        raise UserError(f"{spec.source}: its images have no classes, so classes and per_class cannot be used")
    rows = np.arange(n, dtype=np.int64)
    if spec.classes and labels is not None:
        for name in spec.classes:
            if name not in classes:
                listed = f" (available: {', '.join(classes)})" if "known:" not in nearest(name, classes) else ""
                raise UserError(f'{spec.source}: no class "{name}"{nearest(name, classes)}{listed}')
        new = np.full(len(classes) + 1, -1, dtype=np.int64)  # the last one is where label -1 points
        new[[classes.index(name) for name in spec.classes]] = np.arange(len(spec.classes))
        labels, classes = new[labels], spec.classes
        rows = rows[labels >= 0]
    if spec.per_class and labels is not None:
        of = [rows[labels[rows] == c] for c in range(len(classes))]
        rows = np.sort(np.concatenate([r[permutation(len(r), spec.seed, _CHOOSE)[: spec.per_class]] for r in of]))
    if spec.limit and len(rows) > spec.limit:
        rows = np.sort(rows[permutation(len(rows), spec.seed, _CHOOSE + 1)[: spec.limit]])
    if not len(rows):
        raise UserError(f"{spec.source}: no image is left with these options")
    return replace(content, labels=labels, classes=classes, notes=notes), rows


def _decode(
    content: Content, rows: NDArray[np.int64], spec: DataSpec, key: str, progress: Progress | None
) -> cache.Entry:
    """Decodes the rows into a cache entry; into memory, with a note, where there is no cache to write to."""
    notes = list(content.notes)
    with cache.workspace(key) as place:
        x, kept, skipped, facts = _pixels(content, rows, spec, place, progress, notes)
        labels = None if content.labels is None else np.ascontiguousarray(content.labels[kept])
        shares = Counter() if labels is None else Counter(labels.tolist())
        meta: dict[str, Any] = {
            "classes": list(content.classes),
            "labelled": labels is not None,
            "count": len(x),
            "size": [int(x.shape[2]), int(x.shape[1])],
            "channels": int(x.shape[3]),
            "original": facts,
            "per_class": {name: shares[c] for c, name in enumerate(content.classes)},
            "skipped": skipped,
            "ignored": content.ignored,
            "notes": notes,
            "cache": cache.relative(key),
        }
        entry = cache.Entry(x, labels, cache.digest_rows(x), meta)
        meta["fingerprint"] = cache.fingerprint(entry)
        if place is not None:
            try:
                return cache.commit(place, key, entry)
            except OSError as error:
                notes.append(
                    f"the cache could not be written ({error.strerror or error}): it is decoded anew every time"
                )
        else:
            notes.append("there is no cache folder to write to: the images are decoded anew every time")
        meta["cache"] = None
        if isinstance(x, np.memmap):  # its file goes with the workspace
            entry.x = np.array(x)
        return entry


def _pixels(
    content: Content,
    rows: NDArray[np.int64],
    spec: DataSpec,
    place: Path | None,
    progress: Progress | None,
    notes: list[str],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[dict[str, str]], dict[str, Any]]:
    """(x, the rows that could be read, [{file, reason}], what the originals were like)."""
    whole = content.images if isinstance(content.images, np.ndarray) else None
    skipped: list[dict[str, str]] = []

    def skip(row: np.int64, failure: images.Failure) -> None:
        skipped.append({"file": content.names[int(row)] if content.names else f"#{row}", "reason": failure.reason})

    if whole is not None:
        heads = [images.Header(whole.shape[2], whole.shape[1], whole.shape[3] == 1)] * len(rows)
    else:
        heads, good = [], []
        chosen = [content.images[r] for r in rows] if content.threads else _View(content.images, rows)
        for at, head in images.each(images.header, chosen, content.threads):
            if isinstance(head, images.Failure):
                skip(rows[at], head)
            else:
                heads.append(head)
                good.append(at)
        rows = rows[good]
    if not len(rows):
        raise UserError(f"{spec.source}: none of its {len(skipped)} images can be read ({skipped[0]['reason']})")

    size, (width, height) = _size(heads, spec, notes)
    grey = all(h.grey for h in heads)
    channels = 3 if spec.color == "rgb" or (spec.color == "auto" and not grey) else 1
    x = cache.allocate((len(rows), height, width, channels), place, "x.npy")
    done = 0
    good = []
    if whole is not None and (width, height) == (whole.shape[2], whole.shape[1]) and whole.shape[3] == channels:
        for at in range(0, len(rows), 4096):
            x[at : at + 4096] = whole[rows[at : at + 4096]]
        done, good = len(rows), list(range(len(rows)))
        if progress is not None:
            progress(done, done)
    else:
        view = _View(content.images, rows)
        for at, pixels in images.each(lambda p: images.decode(p, size, channels), view, content.threads):
            if isinstance(pixels, images.Failure):
                skip(rows[at], pixels)
            else:
                x[done] = pixels
                done += 1
                good.append(at)
            if progress is not None:
                progress(at + 1, len(rows))
    if done == 0:
        raise UserError(f"{spec.source}: none of its {len(skipped)} images can be read ({skipped[0]['reason']})")
    facts = _facts([heads[g] for g in good], width, height)
    last = channels
    if spec.color == "auto" and channels == 3 and images.is_grey(x[:done]):
        last = 1
        notes.append("every image is grey: one channel was kept")
    if done < len(x) or last < channels:
        y = cache.allocate((done, height, width, last), place, "y.npy")
        for at in range(0, done, 1024):
            y[at : at + 1024] = x[at : min(at + 1024, done), :, :, :last]
        x = y
    return x, rows[good], skipped, facts


class _View(Sequence[Any]):
    """Some rows of a sequence, fetched when asked for."""

    def __init__(self, whole: Any, rows: NDArray[np.int64]) -> None:
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        return self.whole[self.rows[at]]


def _size(heads: list[images.Header], spec: DataSpec, notes: list[str]) -> tuple[int | None, tuple[int, int]]:
    """(side to resize to or None, (width, height) of the result); notes what was chosen for the user."""
    if spec.image_size is not None:
        return spec.image_size, (spec.image_size, spec.image_size)
    sizes = {(h.width, h.height) for h in heads}
    if len(sizes) == 1 and max(one := next(iter(sizes))) <= NATIVE_AT_MOST:
        return None, one
    middle = float(np.median([min(h.width, h.height) for h in heads]))
    side = min(64, 2 ** int(math.log2(max(middle, 8))))
    why = "the images have different sizes" if len(sizes) > 1 else f"the images are {one[0]}x{one[1]}"
    notes.append(f"{why}: the central square was resized to {side}x{side} (image_size sets another side)")
    return side, (side, side)


def _facts(heads: list[images.Header], width: int, height: int) -> dict[str, Any]:
    """Sizes of the originals in pixels, shapes, the share of the area that was cut away, and how many were enlarged."""
    sizes = np.array([(h.width, h.height) for h in heads], dtype=np.float64)
    short, long = sizes.min(1), sizes.max(1)
    resized = (sizes != (width, height)).any(1)
    ratio = sizes[:, 0] / sizes[:, 1]
    cut = np.where(resized, 1 - short / long, 0.0)

    def spread(values: NDArray[np.float64]) -> list[float]:
        return [round(float(v), 4) for v in (values.min(), np.median(values), values.max())]

    return {
        "width": spread(sizes[:, 0]),
        "height": spread(sizes[:, 1]),
        "aspect": spread(ratio),
        "distinct": len(np.unique(sizes, axis=0)),
        "landscape": int((ratio > 1.05).sum()),
        "portrait": int((ratio < 1 / 1.05).sum()),
        "cropped": round(float(cut.mean()), 4),
        "enlarged": int((resized & (short < width)).sum()),
    }

"""Statistics of a data set for the preflight, and what they mean in plain words. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.spec import ImageData, permutation

THUMB = 16
"""Side in pixels of the grey thumbnails that near duplicates are looked for in."""

NEAR = 3.0
"""Root mean square difference of two thumbnails, in bytes, below which two images count as near duplicates."""

FLAT = 4.0
"""Standard deviation of an image's bytes below which it is near-constant."""

COMPARED = 50_000
"""Near duplicates are looked for among at most this many images, drawn by a fixed seed."""

_BLOCK = 1024


def statistics(data: ImageData) -> dict[str, Any]:
    """What a preflight has to say about loaded images, JSON-able.

    count, width, height, channels, bytes, classes, per_class, largest_share, unreadable, ignored, original (sizes),
    train, held_out, exact_duplicates (images that are a copy of an earlier one), near_duplicates (further images
    that nearly are), near_pairs (up to 10 pairs of rows), compared, near_constant, mean and std (bytes, per channel).
    Time grows with N, but for near duplicates, where only images of similar projections are compared.
    """
    n = len(data)
    shares = data.info.get("per_class") or {}
    _, first = np.unique(_keys(data.digests), return_index=True)
    first = np.sort(first)
    if len(first) > COMPARED:
        first = np.sort(first[permutation(len(first), 0)[:COMPARED]])
    thumbs, std, mean, spread = _measure(data.x)
    flat = std < FLAT
    among = first[~flat[first]]
    near, pairs = near_duplicates(thumbs[among])
    return {
        "count": n,
        "width": int(data.x.shape[2]),
        "height": int(data.x.shape[1]),
        "channels": int(data.x.shape[3]),
        "bytes": int(data.x.nbytes),
        "classes": len(data.classes),
        "per_class": dict(shares),
        "largest_share": max(shares.values()) / n if shares else 0.0,
        "unreadable": len(data.info.get("skipped", [])),
        "ignored": int(data.info.get("ignored", 0)),
        "original": dict(data.info.get("original", {})),
        "train": len(data.train),
        "held_out": len(data.held_out),
        "exact_duplicates": n - len(np.unique(_keys(data.digests))),
        "near_duplicates": near,
        "near_pairs": [[int(among[i]), int(among[j])] for i, j in pairs],
        "compared": len(among),
        "near_constant": int(flat.sum()),
        "mean": [round(float(v), 2) for v in mean],
        "std": [round(float(v), 2) for v in spread],
    }


def _keys(digests: NDArray[np.uint8]) -> NDArray[Any]:
    return np.ascontiguousarray(digests).view(np.dtype((np.void, digests.shape[1]))).reshape(len(digests))


def _measure(x: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], Any, Any]:
    """(N, THUMB * THUMB) thumbnails, (N,) standard deviations, and mean and standard deviation of each channel."""
    n, height, width, channels = x.shape
    thumbs, std = np.empty((n, THUMB * THUMB), np.float32), np.empty(n, np.float32)
    rows, columns = _averaging(height), _averaging(width)
    total, squares = np.zeros(channels), np.zeros(channels)
    block = max(1, min(_BLOCK, 2**25 // (height * width * channels)))
    for at in range(0, n, block):
        part = x[at : at + block].astype(np.float32)
        std[at : at + block] = part.std(axis=(1, 2)).max(1)
        total += part.sum(axis=(0, 1, 2), dtype=np.float64)
        squares += np.square(part).sum(axis=(0, 1, 2), dtype=np.float64)
        thumbs[at : at + block] = (rows @ part.mean(3) @ columns.T).reshape(len(part), -1)
    mean = total / (n * height * width)
    return thumbs, std, mean, np.sqrt(np.maximum(squares / (n * height * width) - mean**2, 0))


def _averaging(length: int) -> NDArray[np.float32]:
    """(THUMB, length) weights that average a line of pixels down, or spread it out, to THUMB equal stretches."""
    edges = np.linspace(0, length, THUMB + 1)
    left, right = np.arange(length), np.arange(1, length + 1)
    overlap = np.minimum(edges[1:, None], right) - np.maximum(edges[:-1, None], left)
    overlap = np.maximum(overlap, 0)
    return np.asarray(overlap / overlap.sum(1, keepdims=True), dtype=np.float32)


def near_duplicates(thumbs: NDArray[np.float32], near: float = NEAR) -> tuple[int, list[tuple[int, int]]]:
    """(how many rows have a near twin before them, up to 10 such pairs) among (N, D) thumbnails.

    Exact: rows are sorted along their principal axis, and two whose projections differ by more than the threshold can
    not be near. Memory is bounded by blocks of 1,024 x 1,024 distances.
    """
    n = len(thumbs)
    if n < 2:
        return 0, []
    centred = thumbs - thumbs.mean(0)
    values, axes = np.linalg.eigh(np.cov(centred, rowvar=False).astype(np.float64))
    projection = centred @ axes[:, np.argmax(values)].astype(np.float32)
    order = np.argsort(projection, kind="stable")
    rows, projection = centred[order], projection[order]
    norm = np.square(rows).sum(1)
    limit = np.float32(near**2 * thumbs.shape[1])
    reach = float(np.sqrt(limit)) + 1e-3
    twin, pairs = np.zeros(n, dtype=bool), []
    for at in range(0, n, _BLOCK):
        to = min(at + _BLOCK, n)
        end = int(np.searchsorted(projection, projection[to - 1] + reach, side="right"))
        for start in range(at, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            square = norm[at:to, None] + norm[start:stop] - 2 * (rows[at:to] @ rows[start:stop].T)
            i, j = np.nonzero(square < limit)
            i, j = i + at, j + start
            later = i < j
            i, j = order[i[later]], order[j[later]]
            low, high = np.minimum(i, j), np.maximum(i, j)
            twin[high] = True
            pairs += list(zip(low[:10].tolist(), high[:10].tolist(), strict=True))
    return int(twin.sum()), sorted(pairs)[:10]


def warnings(stats: dict[str, Any]) -> list[str]:
    """What a user should know before training, most serious first; empty when all is well."""
    n, out = stats["count"], []
    if n < 100:
        out.append(f"Only {n} images: the model will learn them by heart and copy them. A few hundred are a start.")
    elif n < 1000:
        out.append(
            f"{n} images are few: expect samples close to single training images. More data helps, so does --flip."
        )
    shares = stats["per_class"]
    if len(shares) > 1:
        name, most = max(shares.items(), key=lambda item: item[1])
        few = [c for c, k in shares.items() if k < 10]
        if most >= 0.8 * n:
            out.append(f'{most / n:.0%} of the images are of one class, "{name}": the others will hardly be learnt.')
        elif most > 10 * max(1, min(shares.values())):
            least = min(shares, key=lambda c: shares[c])
            out.append(f'The classes are uneven: {most} images of "{name}", {shares[least]} of "{least}".')
        if few and n >= 100:
            out.append(f"Fewer than 10 images of {', '.join(few[:5])}{' and others' if len(few) > 5 else ''}.")
    shape = stats["original"]
    if shape.get("portrait") and shape.get("landscape"):
        least, most = sorted((shape["portrait"], shape["landscape"]))
        if least >= 0.05 * n:
            out.append(
                f"Mixed shapes: {shape['landscape']} wide and {shape['portrait']} tall images. Each is cut to its "
                f"middle square; {shape['cropped']:.0%} of the picture is lost on average."
            )
    elif shape.get("cropped", 0) > 0.3:
        out.append(f"Cutting out the middle square loses {shape['cropped']:.0%} of the picture on average.")
    if shape.get("enlarged", 0) > 0.1 * n:
        out.append(f"{shape['enlarged']} images are smaller than the chosen size and were enlarged: they are blurred.")
    if stats["exact_duplicates"]:
        out.append(f"{stats['exact_duplicates']} images are exact copies of others: the model will repeat them.")
    if stats["near_duplicates"] > 0.01 * stats["compared"]:
        among = "" if stats["compared"] < COMPARED else f" (of {stats['compared']} compared)"
        out.append(f"{stats['near_duplicates']} images are nearly the same as another one{among}.")
    if stats["near_constant"] > 0.005 * n:
        out.append(f"{stats['near_constant']} images are one flat colour, or nearly.")
    if stats["unreadable"]:
        out.append(f"{stats['unreadable']} files could not be read and were left out.")
    return out

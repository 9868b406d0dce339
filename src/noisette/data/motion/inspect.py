"""Statistics of motion for the preflight, and what they mean in plain words. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion.spec import MotionData

FEW_TAKES = 50
"""Takes below which a model learns them by heart, and can hardly be judged by them."""

STILL = 0.02
"""A clip counts as still where no joint goes further than this share of the body's size."""

JITTER = 0.03
"""Mean change of a bone's length, as a share of it, above which a recording counts as shaky."""

LOOKED_AT = 2000
"""Clips that are looked at, evenly spread over all."""


def statistics(data: MotionData) -> dict[str, Any]:
    """What a preflight has to say about loaded clips, JSON-able.

    count, takes, frames, joints, dims, fps, seconds (of all takes, None where the rate is not known), unit, pairs (of
    left and right joints), bytes, classes, per_class, largest_share, unreadable, ignored, cleaning, short, train,
    held_out, split (by what, and which subjects are held out), exact_duplicates (takes that begin like an earlier one),
    still (clips in which hardly anything moves), size (of a body: the median over clips of the largest extent of the
    first pose), speed (mean over joints and frames, units a second, or a frame), reach (median distance between a
    clip's first and last root), jitter (how much bones change their length within a clip: the mean over bones of
    standard deviation / mean; None without bones).
    """
    rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), LOOKED_AT)).astype(np.int64))
    x = data.x[rows].astype(np.float64)
    info, root = data.info, data.skeleton.root
    size = np.median((x[:, 0].max(1) - x[:, 0].min(1)).max(1))
    moved = np.linalg.norm(x - x[:, :1], axis=-1).max((1, 2))
    speed = np.linalg.norm(np.diff(x, axis=1), axis=-1).mean() * (data.fps or 1.0)
    shares = info["per_class"]
    first = np.flatnonzero(data.x.start == data.x.low)
    copies = len(first) - len({data.digests[r].tobytes() for r in first})
    length = data.x.high[first] - data.x.low[first]
    return {
        "count": len(data),
        "takes": info["takes"],
        "frames": info["frames"],
        "joints": info["joints"],
        "dims": info["dims"],
        "fps": data.fps,
        "seconds": None if data.fps is None else round(float(length.sum()) / data.fps, 1),
        "unit": data.skeleton.unit,
        "pairs": len(data.skeleton.pairs),
        "bytes": data.x.nbytes,
        "classes": len(data.classes),
        "per_class": dict(shares),
        "largest_share": max(shares.values()) / len(data) if shares else 0.0,
        "unreadable": len(info["skipped"]),
        "ignored": info["ignored"],
        "cleaning": dict(info["cleaning"]),
        "short": dict(info["short"]),
        "train": len(data.train),
        "held_out": len(data.held_out),
        "split": dict(info["split"]),
        "exact_duplicates": copies,
        "still": int((moved < STILL * size).sum()),
        "looked_at": len(rows),
        "size": _round(size),
        "speed": _round(speed),
        "reach": _round(np.median(np.linalg.norm(x[:, -1, root] - x[:, 0, root], axis=-1))),
        "jitter": _jitter(x, data.skeleton.edge_array),
    }


def _round(value: Any) -> float:
    return float(f"{float(value):.4g}")


def _jitter(x: NDArray[np.float64], edges: NDArray[np.int64]) -> float | None:
    if not len(edges):
        return None
    length = np.linalg.norm(x[:, :, edges[:, 0]] - x[:, :, edges[:, 1]], axis=-1)
    return _round((length.std(1) / np.maximum(length.mean(1), 1e-12)).mean())


def warnings(stats: dict[str, Any]) -> list[str]:
    """What a user should know before training, most serious first; empty when all is well."""
    out: list[str] = []
    takes, n = stats["takes"], stats["count"]
    if takes < FEW_TAKES:
        out.append(f"Only {takes} takes: the model will learn them by heart and copy them. A few hundred are a start.")
    elif takes < 4 * FEW_TAKES:
        helps = "More data helps, so does --mirror." if stats["pairs"] else "More data helps."
        out.append(f"{takes} takes are few: expect clips close to single ones. {helps}")
    shares = stats["per_class"]
    if len(shares) > 1:
        name, most = max(shares.items(), key=lambda item: item[1])
        few = [c for c, k in shares.items() if k < 10]
        if most >= 0.8 * n:
            out.append(f'{most / n:.0%} of the clips are of one class, "{name}": the others will hardly be learnt.')
        if few:
            out.append(f"Fewer than 10 clips of {', '.join(few[:5])}{' and others' if len(few) > 5 else ''}.")
    held, dropped = stats["short"]["held"], stats["short"]["dropped"]
    if held > 0.2 * takes:
        out.append(
            f"{held} of {takes} takes are shorter than {stats['frames']} frames and end in a still pose; so will the "
            "clips that the model makes. A smaller --frames avoids it."
        )
    if dropped > 0.2 * (takes + dropped):
        out.append(f"{dropped} takes are much shorter than {stats['frames']} frames and were left out.")
    if stats["jitter"] is not None and stats["jitter"] > JITTER:
        out.append(
            f"The recording is shaky: within a clip a bone's length varies by {stats['jitter']:.1%}. The model learns "
            "that too."
        )
    cleaning = stats["cleaning"]
    if cleaning["missing"]:
        out.append(
            f"Joints were missing in {cleaning['takes']} takes: {cleaning['filled']} of {cleaning['missing']} "
            f"positions could be filled, {cleaning['dropped_frames']} frames were dropped."
        )
    if stats["exact_duplicates"]:
        out.append(f"{stats['exact_duplicates']} takes are exact copies of others: the model will repeat them.")
    if stats["still"] > 0.05 * stats["looked_at"]:
        out.append(f"In {stats['still'] / stats['looked_at']:.0%} of the clips hardly anything moves.")
    if stats["unreadable"]:
        out.append(f"{stats['unreadable']} files or takes could not be used and were left out.")
    return out

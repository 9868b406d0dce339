"""What the evaluation of one run says of one way to sample, as numbers of a study."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

from noisette.metrics.distances import Z
from noisette.tasks.rows import alone
from noisette.tasks.shards import SHARD

REACHED = 0.1
"""A class is reached where at least this part of its even share of the samples is read as it with confidence: one
misread sample reaches no class."""

RAW = ("pixels", "poses")
"""What samples are looked at in where no extractor sees them, to tell copies."""

Found = tuple[dict[str, float | None], dict[str, float], dict[str, float], dict[str, str]]


def drawn(
    rows: Sequence[Mapping[str, Any]], checkpoint: int, way: str, how: Mapping[str, Any], known: Container[str]
) -> Found:
    """Numbers of the `known` keys, standard errors and shared ones of the evaluation of a way at a checkpoint, and why
    others are none."""
    mine = [r for r in rows if r.get("checkpoint") == checkpoint and not r.get("real") and _asked_for(r, way, how)]
    numbers: dict[str, float | None] = {}
    errors: dict[str, float] = {}
    shared: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for row in mine:
        metric, value = row.get("metric"), number(row.get("value"))
        if "real" in (row.get("detail") or {}):  # a measure of motion, beside that of real clips
            for key, times, error in _beside(row):
                if key in known:
                    numbers[key] = times
                    errors |= {} if error is None else {key: error}
        elif row.get("reference") == ("train" if metric == "bits" else "held_out"):
            continue
        if metric not in known or row.get("space") not in (None, *RAW):
            continue
        numbers[metric] = value
        if value is None and row.get("reason"):
            reasons |= dict.fromkeys((metric, "fid_ratio") if metric == "fid" else (metric,), str(row["reason"]))
        if value is not None and (error := _error(row)) is not None:
            errors[metric] = error
        if row.get("label") == way:
            numbers |= _cost(row)
        if metric == "clear" and value is not None:
            numbers |= _reached(row)
            if alone(row.get("detail", {}).get("by_class", {})):
                del numbers["clear"]
                errors.pop("clear", None)
                reasons["clear"] = "the samples are all read as one class, as noise is"
        if metric == "fid" and value is not None and (found := _beside_real(rows, row)):
            (ours, error), (floor, unsure) = found
            numbers["fid_ratio"] = ours / floor
            errors |= {} if error is None else {"fid_ratio": error / floor}
            shared["fid_ratio"] = ours / floor * (unsure or 0.0) / floor
    return numbers, errors, shared, reasons


def _beside(row: Mapping[str, Any]) -> list[tuple[str, float | None, float | None]]:
    """(key, number, standard error) of how many times the real one a measure of motion is, and of how far off 1.

    The error is that of the samples: all settings are held against the same real clips, so what is unsure in those,
    most of it where they are of few people, tells no setting from another.
    """
    metric, detail = row["metric"], row["detail"]
    times, real = (number((detail.get(what) or [None])[0]) for what in ("ratio", "real"))
    error = _error(row)
    error = None if error is None or not real else error / real
    return [(f"{metric}_ratio", times, error), (f"{metric}_off", None if times is None else abs(times - 1), error)]


def _asked_for(row: Mapping[str, Any], way: str, how: Mapping[str, Any]) -> bool:
    """Whether a row is of this way and protocol; one without a label is of the whole run."""
    if row.get("weights") != "ema" or row.get("label") not in (way, None):
        return False
    return row.get("label") is None or (row.get("n"), (row.get("seeds") or [None])[0]) == (how["samples"], how["seed"])


def _cost(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Network calls, and seconds for 36 samples: whole shards were drawn."""
    seconds, n = number(row.get("seconds")), number(row.get("n"))
    made = math.ceil(n / SHARD) * SHARD if n else 0
    per_36 = seconds * 36 / made if seconds is not None and made else None
    return {"nfe": number(row.get("nfe")), "seconds_sample": per_36}


Number = tuple[float, float | None]
"""A value with its standard error, where it has one."""


def _beside_real(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> tuple[Number, Number] | None:
    """The Fréchet distance of these samples, and what as many real images have against the same others. Where there
    are not as many, that of the first of the samples, as many as there are."""
    same = ("metric", "reference", "extractor_hash")
    alike = [r for r in reversed(rows) if all(r.get(key) == row.get(key) for key in same) and number(r.get("value"))]
    drawn = ("label", "checkpoint", "weights")
    ours = [r for r in alike if not r.get("real") and all(r.get(key) == row.get(key) for key in drawn)]
    ours = [r for r in ours if (r.get("seeds") or [None])[0] == (row.get("seeds") or [None])[0] and r["n"] < row["n"]]
    for mine in (row, *sorted(ours, key=lambda r: -int(r["n"]))):
        for real in alike:
            if real.get("real") == "train against train" and real["n"] == mine["n"] and real["value"] > 0:
                return (float(mine["value"]), _error(mine)), (float(real["value"]), _error(real))
    return None


def _reached(row: Mapping[str, Any]) -> dict[str, float | None]:
    counts, n = row.get("detail", {}).get("by_class"), number(row.get("n"))
    if not counts or not n:
        return {}
    reached = sum(count >= max(1.0, REACHED * n / len(counts)) for count in counts.values())
    return {"classes_reached": float(reached), "classes_known": float(len(counts))}


def _error(row: Mapping[str, Any]) -> float | None:
    low, high = number(row.get("low")), number(row.get("high"))
    return None if low is None or high is None else (high - low) / (2 * Z)


def number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain else None

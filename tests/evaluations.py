"""What `noisette evaluate` writes, with made-up numbers."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

DISTANCES = {"fid": (9.1, 0.7), "kid": (0.0123, 0.0013), "precision": (0.91, 0.012), "recall": (0.72, 0.03)}
DISTANCES |= {"density": (0.98, 0.03), "coverage": (0.88, 0.02)}
SHARES = ("precision", "recall", "coverage", "clear", "asked", "memory_closer", "memory_copied")
HIGHER = ("precision", "recall", "density", "coverage", "clear", "asked", "inception_score")
CLASSIFIER = {"extractor": "classifier", "extractor_hash": "a1b2c3d4e5f60718", "extractor_accuracy": 0.979}


def row(metric: str, value: float | None, half: float = 0.0, **more: Any) -> Row:
    low, high = (None, None) if value is None or not half else (value - half, value + half)
    return {
        **{"metric": metric, "value": value, "low": low, "high": high, "interval": "1.96 standard errors"},
        **{"unit": "share" if metric in SHARES else "bits/dim" if metric == "bits" else ""},
        **{"better": "higher" if metric in HIGHER else "lower", "real": None, **more},
    }


def drawn(label: str, shift: float = 0.0, n: int = 2048, step: int = 614, **more: Any) -> list[Row]:
    """One sampler's rows; shift moves its distances, in standard errors."""
    sampler, steps = label.split(":")[:2]
    base = {
        **{"label": label, "sampler": sampler, "steps": int(steps), "nfe": int(steps), "eta": 0.0, "guidance": 2.0},
        **{
            "weights": "ema",
            "checkpoint": step,
            "seeds": [0, n - 1],
            "seconds": 0.7 * int(steps),
            **CLASSIFIER,
            **more,
        },
    }
    rows = []
    for reference, count in (("train", 4500), ("held_out", 500)):
        for metric, (value, half) in DISTANCES.items():
            moved = value + shift * half * (-0.5 if metric in HIGHER else 0.5)
            found = row(metric, moved, half, n=n, reference=reference, reference_n=count, **base)
            rows.append(found)
    by_class = {str(k): 190 + 3 * k for k in range(10)}
    detail = {"confidence": 0.9, "first_36": 35 - round(shift), "by_class": by_class}
    rows.append(row("clear", 0.982 - 0.01 * shift, 0.006, n=n, reference=None, detail=detail, **base))
    rows.append(row("asked", 0.993, 0.004, n=n, reference=None, detail={}, **base))
    memory = {"space": "pixels", "detail": {"verdict": "learned", "words": "0 of 2048 are: these are not copies."}}
    rows.append(row("memory_closer", 0.051, 0.01, n=n, reference="train", **base, **memory))
    rows.append(row("memory_copied", 0.0, 0.001, n=n, reference="train", **base, **memory))
    return rows


def real() -> list[Row]:
    rows = []
    base = {"label": None, "seeds": None, "weights": None, "checkpoint": None, **CLASSIFIER}
    for what, reference, n, count, fid in (
        ("train against train", "train", 2048, 2452, 1.9),
        ("train against held_out", "train", 500, 4500, 4.0),
        ("held_out halves", "held_out", 250, 250, 6.2),
    ):
        more = {**base, "real": what, "reference": reference, "n": n, "reference_n": count}
        rows += [row("fid", fid, 0.1 * fid, **more), row("kid", -0.0002, 0.0009, **more)]
        rows += [row(m, 0.97, 0.01, **more) for m in ("precision", "recall", "density", "coverage")]
    rows.append(row("clear", 0.985, 0.01, n=500, **{**base, "real": "held_out", "reference": None}))
    return rows


def bits(step: int = 614) -> list[Row]:
    detail = {"kind": "variational bound", "prior": 0.001, "decoder": 0.31}
    detail |= {"by_time": [0.3 / (k + 1) for k in range(20)], "variance": "small", "times": 32}
    base = {"label": None, "weights": "ema", "checkpoint": step, "seconds": 9.0, "n": 256, "detail": detail}
    return [row("bits", v, 0.04, reference=r, **base) for r, v in (("held_out", 2.91), ("train", 2.88))]


def whole(shift: float = 0.0, step: int = 614, **more: Any) -> Row:
    """One file's worth of everything, with a refusal."""
    labels = ("ddpm:1000", "ddim:50", "ddim:20", "dpmpp_2m:20")
    rows = [r for k, label in enumerate(labels) for r in drawn(label, shift + (0, 0.5, 6, 1)[k], step=step, **more)]
    base = {**drawn("ddim:20", step=step, **more)[-1], "space": None, "detail": {}, "reference": None, "n": 2048}
    refused = {**base, **row("inception_score", None, reason="the network has no classes")}
    return {"version": 1, "rows": [*real(), *rows, *bits(step), refused]}

"""A small run of motion, made up: fresh weights, metrics, previews and an evaluation, all from the bundled set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from noisette.data import medium
from noisette.experiment import build
from noisette.experiment.runs import Run, Shape

SETTINGS: dict[str, Any] = {
    "data": {"source": "motion", "limit": 60},
    "motion": {"frames": 16},
    "net": {"channels": 16, "head_dim": 8},
    "train": {"steps": 20, "precision": "fp32", "batch": 8},
    "sample": {"steps": 3},
}


def made(folder: Path, limit: int = 60, measured: bool = True, **settings: Any) -> Run:
    """limit: sequences; below 50 they are too few to judge by. settings: dotted with __ for the dot."""
    from noisette.experiment.config import merge

    tree = merge(SETTINGS, {"data.limit": limit, "data.medium": "motion"})
    tree = merge(tree, {k.replace("__", "."): v for k, v in settings.items()})
    draft = build.resolve(_any_shape(), "motion", tree)
    data = build.loaded(draft)
    facts = medium.facts(data)
    shape = Shape.of(facts)
    config = build.resolve(shape, "motion", tree)
    meta = {"state": "finished", "seconds": 60.0, "images": 160, "steps": 20, "images_per_second": 2.7}
    run = Run.create(folder / "moving", config, facts, meta)
    for step in range(1, 21):
        row = {"step": step, "images": 8 * step, "seconds": 3.0 * step, "loss": 1 / step, "grad_norm": 1.0}
        by_time = [math.exp(-k / 5) for k in range(20)]
        run.log({**row, "lr": 1e-3, "images_per_second": 2.7, "loss_t": by_time, "count_t": [6] * 20})
    run.samples.mkdir(exist_ok=True)
    clips = data.x[data.train[:: len(data.train) // 16][:16]]
    noise = np.random.default_rng(0).normal(size=clips.shape).astype(np.float32)
    for step, share in ((0, 1.0), (10, 0.2), (20, 0.02)):
        np.savez_compressed(run.preview_path(step, ".npz"), x=clips + share * noise)
    state = build.denoiser(config, shape).backbone.state_dict()
    run.save_checkpoint(20, state, state, {})
    if measured:
        run.save_evaluation("all", {"rows": rows(len(data.held_out), int(data.train[0]))})
    return run


def _any_shape() -> Shape:
    """Of any clip: what it is decides nothing of how the data are read."""
    from noisette.data.medium import Motion
    from noisette.data.motion.skeleton import Skeleton

    return Shape(Motion((16, 1, 3), {}, Skeleton(("a",))), ("a", "b"))


def rows(held_out: int, near: int) -> list[dict[str, Any]]:
    """What noisette.tasks.motion_rows writes, with made-up numbers."""
    base = {"label": "ddim:50", "sampler": "ddim", "steps": 50, "nfe": 50, "weights": "ema", "checkpoint": 20}
    base |= {"real": None, "seeds": [0, 63], "n": 64, "seconds": 3.0, "extractor": "autoencoder"}
    base |= {"extractor_hash": "0123456789abcdef", "reference": "train", "reference_n": 200, "unit": ""}
    found = [{**base, "metric": "fid", "value": 8.0, "low": 7.5, "high": 8.5, "better": "lower"}]
    floor = {"label": None, "sampler": None, "checkpoint": None, "weights": None, "real": "train against train"}
    found.append({**found[0], **floor, "value": 2.0, "low": 1.8, "high": 2.2})
    moving = {**base, "extractor": None, "extractor_hash": None, "reference": "held_out", "reference_n": held_out}
    for metric, unit, better, value, real in (
        ("bone_error", "%", "real", 6.1, 7.0),
        ("bone_jitter", "%", "lower", 3.2, 0.4),
        ("speed", "m/s", "real", 0.9, 1.0),
        ("jerk", "m/s^3", "real", 150.0, 100.0),
        ("contact", "share", "real", 0.8, 0.9),
    ):
        both = {"real": [real, 0.95 * real, 1.05 * real], "ratio": [value / real, 0.9 * value / real, value]}
        row = {**moving, "metric": metric, "unit": unit, "better": better, "detail": both}
        found.append({**row, "value": value, "low": 0.98 * value, "high": 1.02 * value})
    more = {"reference": None, "reference_n": None, "better": "real", "metric": "diversity"}
    found.append({**base, **more, "value": 12.0, "low": 11.0, "high": 13.0})
    pair = {"sample": 5, "row": near, "ratio": 0.21}
    detail = {"verdict": "learned", "words": "0 of 64 samples are copies.", "most_alike": [pair]}
    copied = {"metric": "memory_copied", "space": "poses", "value": 0.0, "low": 0.0, "high": 0.05, "unit": "share"}
    found.append({**base, **copied, "better": "lower", "detail": detail})
    return found

"""Small runs, made up."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluations
import numpy as np
from PIL import Image

from noisette.experiment import build
from noisette.experiment.config import Config
from noisette.experiment.runs import Run

SMALL = {"net": {"channels": 8, "multipliers": [1], "groups": 4, "patch": 2}, "sample": {"steps": 4}}


def noisy(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def maker(folder: Path) -> Callable[..., Run]:
    """Makes runs in a folder: with a checkpoint of fresh weights, metrics, previews, data with labels, a skipped file.

    shift moves the distances of the evaluation; None for no evaluation.
    """

    def make(
        name: str = "pets",
        size: int = 8,
        channels: int = 3,
        classes: tuple[str, ...] = ("cat", "dog"),
        settings: dict[str, Any] | None = None,
        shift: float | None = 0.0,
    ) -> Run:
        source = folder / "pets"
        for k, kind in enumerate(classes):
            (source / kind).mkdir(parents=True, exist_ok=True)
            for i in range(5):
                Image.fromarray(noisy(size, size, channels, seed=10 * k + i)).save(source / kind / f"{i}.png")
        config = Config().changed({"data.source": str(source), "train.precision": "fp32", **SMALL})
        config = config.changed(settings or {})
        data = build.loaded(config)
        info: dict[str, Any] = {
            **data.info,
            "fingerprint": data.fingerprint,
            "shape": [size, size, channels],
            "train": len(data.train),
            "held_out": len(data.held_out),
            "classes": list(data.classes),
            "skipped": [{"file": "<b>torn</b>.png", "reason": "it ends too early"}],
            "notes": ["two sizes"],
        }
        meta = {"state": "finished", "seconds": 88.4, "images": 2560, "steps": 20, "images_per_second": 29.0}
        meta |= {"memory": 310 * 2**20, "estimate": {"images_per_second": 31.4, "steps": 22, "memory": 250 * 2**20}}
        run = Run.create(folder / "runs" / name, config, info, {**meta, "cpu": "Abacus", "cores": 2})
        for step in range(1, 21):
            row = {"step": step, "images": 128 * step, "seconds": 4.4 * step, "loss": 1 / step, "grad_norm": 1.0}
            by_time = [None if k == 3 else math.exp(-k / 5) for k in range(20)]
            run.log({**row, "lr": 1e-3, "images_per_second": 29.0, "loss_t": by_time, "count_t": [6] * 20})
            if step % 10 == 0:
                run.log({"step": step, "images": 128 * step, "seconds": 4.4 * step, "val_loss": 1.1 / step})
        for step in (0, 20):
            run.samples.mkdir(exist_ok=True)
            Image.fromarray(noisy(20, 20, 3, seed=step)).save(run.preview_path(step))
        state = build.denoiser(config, run.shape).backbone.state_dict()
        run.save_checkpoint(20, state, state, {})
        if shift is not None:
            run.save_evaluation("all", evaluations.whole(shift, step=20))
        return run

    return make

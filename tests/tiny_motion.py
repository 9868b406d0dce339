"""Clips of a small body, and nets so small that a whole run of them takes a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Motion
from noisette.data.motion.skeleton import Skeleton
from noisette.experiment.runs import Run, Shape

NAMES = ("hips", "head", "l_hip", "r_hip", "l_foot", "r_foot")
PARENTS = (-1, 0, 0, 0, 2, 3)
SKELETON = Skeleton(NAMES, PARENTS, ((2, 3), (4, 5)), "m", 20.0, 1)
REST = np.array([[0, 0.9, 0], [0, 1.6, 0], [0.1, 0.85, 0], [-0.1, 0.85, 0], [0.1, 0.05, 0.1], [-0.1, 0.05, 0.1]])
FRAMES = 16

TINY_MOTION: dict[str, Any] = {
    "motion": {"frames": FRAMES, "stride": 4},
    "net": {"channels": 16, "multipliers": [1], "attention": [], "middle_attention": False, "groups": 4, "patch": 1},
    "train": {
        **{"batch": 16, "precision": "fp32", "compile": "off", "micro_batch": 16},
        **{"log_every": 2, "checks": 2, "previews": 1},
    },
    "sample": {"sampler": "ddim", "steps": 4, "eta": 0.0},
}
"""Settings of a run of clips that trains at some dozen steps a second."""


def take(frames: int, seed: int, quick: bool) -> NDArray[np.float32]:
    """(frames, 6, 3) metres: a walk along z, slow or quick, whose legs swing and whose bones keep their length."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / 20
    rate, size = (2.0 if quick else 0.8) * rng.uniform(0.9, 1.1), rng.uniform(0.9, 1.1)
    x = np.repeat(size * REST[None], frames, 0)
    for hip, foot, side in ((2, 4, 0.0), (3, 5, np.pi)):
        angle = 0.5 * np.sin(2 * np.pi * rate * t + side + 6 * rng.random())
        leg = size * (REST[foot] - REST[hip])
        x[:, foot, 1] = x[:, hip, 1] + leg[1] * np.cos(angle) - leg[2] * np.sin(angle)
        x[:, foot, 2] = x[:, hip, 2] + leg[2] * np.cos(angle) + leg[1] * np.sin(angle)
    x[:, :, 2] += (rate * t)[:, None]
    return np.asarray(x, np.float32)


def walks(path: Path, takes: int = 30, frames: int = 48, labels: bool = True) -> Path:
    """Takes of two classes, slow and quick, as one .npz with their skeleton."""
    made = [take(frames, k, k % 2 == 1) for k in range(takes)]
    told = {"label": np.array([("slow", "quick")[k % 2] for k in range(takes)])} if labels else {}
    arrays = {"x": np.concatenate(made), "length": np.full(takes, frames), "fps": 20.0, "unit": "m"}
    np.savez(path, names=np.array(NAMES), parents=np.array(PARENTS), **arrays, **told)
    return path


def clips(classes: tuple[str, ...] = ("slow", "quick"), root: int | None = 0) -> Shape:
    """The shape of clips of these walks."""
    rng = np.random.default_rng(0)
    normaliser = {"kind": "motion", "root": root, "mean": rng.normal(size=(6, 3)).tolist()}
    normaliser["scale"] = rng.uniform(0.5, 2, 6).tolist()
    return Shape(Motion((FRAMES, 6, 3), normaliser, SKELETON), classes)


def tiny_motion(source: Path, out: Path, **settings: Any) -> Run:
    """A trained tiny run of clips; settings are dotted with __ for the dot."""
    from noisette.experiment.config import merge
    from noisette.tasks import train

    wanted = merge(TINY_MOTION, {"train.steps": 12, **{k.replace("__", "."): v for k, v in settings.items()}})
    run, data = train.start(str(source), wanted, None, out)
    for _ in train.train(run, data):
        pass
    return Run.open(out)

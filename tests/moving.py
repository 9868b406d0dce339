"""Runs of a tiny net that learned clips of motion for a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from data.motion_made import npz
from tiny import TINY

from noisette.experiment.config import merge
from noisette.experiment.runs import Run
from noisette.tasks import train

FRAMES = 16
NET = {"channels": 16, "multipliers": [1], "attention": [], "groups": 4, "head_dim": 8, "patch": 1}
SETTINGS = merge({**TINY, "net": NET}, {"train.steps": 4, "motion.frames": FRAMES, "data.held_out": 0.3})


def moving(folder: Path, **settings: Any) -> Run:
    """A run that learned for a moment from ten walks of two classes; dotted settings with __ for the dot."""
    source = npz(folder / "walks.npz", [24] * 10, yaw=0.5, label=np.array(["slow", "fast"] * 5))
    wanted = merge(SETTINGS, {k.replace("__", "."): v for k, v in settings.items()})
    run, data = train.start(source, wanted, None, folder / "run")
    for _ in train.train(run, data):
        pass
    return Run.open(folder / "run")

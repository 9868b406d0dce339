"""A body of fourteen joints that swings its arms and legs, for figures of skeletons."""

from __future__ import annotations

import math

import numpy as np

from noisette.views.skeletons import Body

NAMES = (
    *("hips", "neck", "head", "lsho", "rsho", "lelb", "relb", "lhand", "rhand"),
    *("lhip", "rhip", "lfoot", "rfoot", "nose"),
)
LEFT = (3, 5, 7, 9, 11)
RIGHT = (4, 6, 8, 10, 12)
PAIRS = tuple(zip(LEFT, RIGHT, strict=True))
BONES = ((0, 1), (1, 2), (1, 3), (1, 4), (3, 5), (4, 6), (5, 7), (6, 8), (0, 9), (0, 10), (9, 11), (10, 12))
BODY = Body(14, BONES, PAIRS, names=NAMES, unit="m")
"""The nose hangs on nothing: it only tells where the body looks."""

REST = np.array(
    [
        *([0, 0.95, 0], [0, 1.45, 0], [0, 1.7, 0], [0.2, 1.45, 0], [-0.2, 1.45, 0], [0.22, 1.15, 0], [-0.22, 1.15, 0]),
        *(
            [0.22, 0.85, 0],
            [-0.22, 0.85, 0],
            [0.1, 0.95, 0],
            [-0.1, 0.95, 0],
            [0.1, 0, 0],
            [-0.1, 0, 0],
            [0, 1.65, 0.1],
        ),
    ]
)
"""(joints, 3): it stands, in metres, y up, and faces z: its left is at positive x."""


def walker(frames: int = 24, *, turned: float = 0.0, travel: float = 0.0, phase: float = 0.0) -> np.ndarray:
    """(frames, 14, 3) float32. turned: radians about the vertical, from z to x; travel: metres forward in all."""
    t = np.arange(frames) / frames
    x = np.repeat(REST[None], frames, 0)
    swing = 0.25 * np.sin(2 * math.pi * t + phase)
    for joints, sign in (((7, 12), 1), ((8, 11), -1)):
        for j in joints:
            x[:, j, 2] += sign * swing
    x[..., 2] += travel * t[:, None]
    c, s = math.cos(turned), math.sin(turned)
    return (x @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])).astype(np.float32)

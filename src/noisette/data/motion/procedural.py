"""`motion`: seven actions of twenty made-up people, computed, so that a demo and a test need no file.

Every clip has its own parameters (speed, reach, height of a jump, side, pauses), drawn by its number; every person has
a body of their own. 30 frames a second, metres, y up, 2.4 to 4.8 seconds a clip.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from noisette.data.motion.actions import ACTIONS
from noisette.data.motion.body import NAMES, PARENTS, Body
from noisette.data.motion.curves import Draw
from noisette.data.motion.geometry import rotation
from noisette.data.motion.skeleton import Skeleton, pairs_by_name
from noisette.data.motion.takes import Recording, Take

NAME = "motion"
VERSION = "motion/1"
"""Raised when any clip changes."""

FPS = 30.0
PEOPLE, EACH = 20, 3
"""Bodies, and clips of each action by each of them: 420 clips in all."""


def skeleton() -> Skeleton:
    """The 20 joints of the set."""
    return Skeleton(NAMES, PARENTS, pairs_by_name(NAMES), "m", FPS, 1)


def body(person: int) -> Body:
    """The body of a person: 1.52 to 1.92 m tall, each segment within 4 % of the average share of the height."""
    draw = Draw(0xB0D4, person)
    height = draw.between(1.52, 1.92)
    return Body.of(height, np.array([draw.between(0.96, 1.04) for _ in range(12)]))


def clip(action: str, person: int, number: int) -> np.ndarray:
    """Clip `number` of an action by a person: (frames, 20, 3) float32. A pure function of its arguments."""
    draw = Draw(0xAC71, list(ACTIONS).index(action), person, number)
    t = np.arange(draw.whole(72, 144)) / FPS
    make: Callable[..., np.ndarray] = ACTIONS[action]
    x = make(body(person), t, draw)
    x = x @ rotation(1, np.array(draw.between(-np.pi, np.pi))).T
    return np.asarray(x + np.array([draw.between(-1, 1), 0, draw.between(-1, 1)]), dtype=np.float32)


def recording() -> Recording:
    """The whole set: one take a clip, labelled by action, person by person."""
    takes = []
    for action in ACTIONS:
        for person in range(PEOPLE):
            for number in range(EACH):
                name = f"{action} {number + 1} of person {person + 1}"
                takes.append(Take(clip(action, person, number), name, action, f"person {person + 1}", FPS))
    return Recording(takes, skeleton(), frozenset({"unit", "up"}), version=VERSION)

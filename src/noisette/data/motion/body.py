"""A walking, jumping body of 20 joints: its proportions, and poses from feet, hips, trunk and arms.

Legs are placed by their feet: where the ankles are is given, and the knees follow by the law of cosines, so that a
foot that stands does not slide and every bone keeps its length. Arms and trunk are chains of rotations.
y is up; a body that is not turned looks along +z, its left is +x. Angles are radians, lengths metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion.geometry import rotation

Array = NDArray[np.float64]

_LIMBS = ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe")
NAMES = ("hips", "chest", "neck", "head", *(f"{side}_{limb}" for side in ("left", "right") for limb in _LIMBS))
_ON = {"chest": "hips", "neck": "chest", "head": "neck", "shoulder": "chest", "elbow": "shoulder", "wrist": "elbow"}
_ON |= {"hand": "wrist", "hip": "hips", "knee": "hip", "ankle": "knee", "toe": "ankle"}


def _parent(name: str) -> int:
    side, _, limb = name.rpartition("_")
    above = _ON.get(limb)
    if above is None:
        return -1
    return NAMES.index(above if above in NAMES else f"{side}_{above}")


PARENTS = tuple(_parent(n) for n in NAMES)

STRAIGHT = 0.99
"""Share of a leg's length that a standing leg is stretched to at most: knees are never locked."""


@dataclass(frozen=True)
class Body:
    """Lengths in metres. As shares of the height they follow Winter (Biomechanics and Motor Control of Human Movement,
    2009, figure 4.1, after Drillis and Contini 1966), each varied by a factor of its own for every body."""

    height: float
    thigh: float
    shank: float
    ankle: float
    foot: float
    hip: float
    low_back: float
    high_back: float
    head: float
    shoulder: float
    upper_arm: float
    forearm: float
    hand: float

    @classmethod
    def of(cls, height: float, vary: Array) -> Body:
        """A body of this height; vary (12,) are factors near 1, one a segment."""
        shares = (0.245, 0.246, 0.039, 0.125, 0.053, 0.135, 0.135, 0.15, 0.115, 0.186, 0.146, 0.09)
        return cls(height, *(height * s * f for s, f in zip(shares, vary.tolist(), strict=True)))

    @property
    def leg(self) -> float:
        return self.thigh + self.shank


@dataclass
class Foot:
    """One foot over time.

    at      (F, 3) where the ankle would be with the sole flat: its height is 0 on the ground
    yaw     (F,) turned to the left
    heel    (F,) >= 0: the heel is lifted by this angle, about the toes
    toes    (F,) >= 0: the toes are lifted by this angle, about the ankle
    """

    at: Array
    yaw: Array
    heel: Array
    toes: Array


@dataclass
class Arm:
    """One arm over time, each (F,): raised forward, raised sideways, turned outwards about itself, elbow bent."""

    forward: Array
    side: Array
    out: Array
    bend: Array


@dataclass
class Trunk:
    """Hips and back over time. at (F, 2): hips over the ground, (x, z); height (F,): how they rise and fall about a
    level that the legs' reach settles; yaw, tilt (forward), roll (to the left) of the pelvis; of the chest against it
    lean (forward), bow (to the left), twist (to the left); nod (forward) of the head. (F,) each."""

    at: Array
    height: Array
    yaw: Array
    tilt: Array
    roll: Array
    lean: Array
    bow: Array
    twist: Array
    nod: Array


def pose(body: Body, trunk: Trunk, feet: tuple[Foot, Foot], arms: tuple[Arm, Arm], standing: Array) -> Array:
    """Positions (F, 20, 3) of a motion; feet and arms are (left, right).

    standing (F, 2) says which feet must be where they are asked to be: the hips are as high as those legs allow, in
    all frames at once. A foot in the air that is out of reach comes as near as its leg can.
    """
    frames = len(trunk.yaw)
    x = np.empty((frames, len(NAMES), 3))
    pelvis = rotation(1, trunk.yaw) @ rotation(0, trunk.tilt) @ rotation(2, -trunk.roll)
    ankles, toes, hips = [], [], []
    for side, foot in zip((1.0, -1.0), feet, strict=True):
        sole = np.array([0.0, -body.ankle, body.foot])
        turned = rotation(1, foot.yaw)
        flat = foot.at + np.array([0, body.ankle, 0])
        lifted = flat + turned @ sole - (turned @ rotation(0, foot.heel)) @ sole
        ankles.append(lifted)
        toes.append((turned @ rotation(0, foot.heel - foot.toes)) @ sole)
        hips.append(pelvis @ np.array([side * body.hip, -0.03 * body.height, 0.0]))
    level = np.inf
    reach = STRAIGHT * body.leg
    for k in (0, 1):
        flat = trunk.at + hips[k][:, [0, 2]] - ankles[k][:, [0, 2]]
        highest = ankles[k][:, 1] + np.sqrt(np.maximum(reach**2 - (flat**2).sum(1), (0.3 * reach) ** 2))
        free = highest - hips[k][:, 1] - trunk.height
        level = min(level, float(free[standing[:, k] > 0].min(initial=np.inf)))
    root = np.stack((trunk.at[:, 0], level + trunk.height, trunk.at[:, 1]), axis=1)

    half = rotation(0, trunk.lean / 2) @ rotation(2, -trunk.bow / 2) @ rotation(1, trunk.twist / 2)
    low, chest = pelvis @ half, pelvis @ half @ half
    # The head turns half of the way back to where the hips look, as one who looks ahead does.
    head = chest @ rotation(1, -trunk.twist / 2) @ rotation(0, trunk.nod - (trunk.lean + trunk.tilt) / 2)
    x[:, 0] = root
    x[:, 1] = root + low @ np.array([0, body.low_back, 0])
    x[:, 2] = x[:, 1] + chest @ np.array([0, body.high_back, 0])
    x[:, 3] = x[:, 2] + head @ np.array([0, body.head * 0.97, body.head * 0.24])

    for k, side in enumerate((1.0, -1.0)):
        at = 4 + 8 * k
        x[:, at] = x[:, 1] + chest @ np.array([side * body.shoulder, 0.87 * body.high_back, 0])
        turned = chest @ _mirrored(_upper_arm(arms[k]), side)
        x[:, at + 1] = x[:, at] + turned @ np.array([0, -body.upper_arm, 0])
        bent = turned @ rotation(0, -arms[k].bend)
        x[:, at + 2] = x[:, at + 1] + bent @ np.array([0, -body.forearm, 0])
        x[:, at + 3] = x[:, at + 2] + bent @ rotation(0, np.full(frames, -0.15)) @ np.array([0, -body.hand, 0])
        hip = root + hips[k]
        sideways = rotation(1, (trunk.yaw + feet[k].yaw) / 2)[..., 0]
        knee, ankle = _leg(body, hip, ankles[k], sideways)
        x[:, at + 4 : at + 8] = np.stack((hip, knee, ankle, ankle + toes[k]), axis=1)
    return x


def _upper_arm(arm: Arm) -> Array:
    """Rotation of a left arm that hangs down."""
    return rotation(2, arm.side) @ rotation(0, -arm.forward) @ rotation(1, arm.out)


def _mirrored(turn: Array, side: float) -> Array:
    """The rotation of a left limb for the right one."""
    flip = np.diag([side, 1.0, 1.0])
    return flip @ turn @ flip


def _leg(body: Body, hip: Array, ankle: Array, sideways: Array) -> tuple[Array, Array]:
    """(knee, ankle), each (F, 3): the knee by the law of cosines, bent forwards; an ankle beyond reach is drawn in."""
    step = ankle - hip
    far = np.linalg.norm(step, axis=1, keepdims=True)
    along = step / far
    # Up to STRAIGHT of the leg's length nothing changes; beyond, what is left is used up ever more slowly.
    start, room = STRAIGHT * body.leg, (0.998 - STRAIGHT) * body.leg
    over = np.maximum(far - start, 0)
    far = np.where(over > 0, start + room * (1 - np.exp(-over / room)), far)
    far = np.maximum(far, 1.05 * abs(body.thigh - body.shank) + 0.25 * body.leg)
    before = (body.thigh**2 - body.shank**2 + far**2) / (2 * far)
    bulge = np.sqrt(np.maximum(body.thigh**2 - before**2, 0))
    front = np.cross(along, sideways)
    front /= np.linalg.norm(front, axis=1, keepdims=True)
    return hip + before * along + bulge * front, hip + far * along

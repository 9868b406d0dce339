"""Parts of a body: which joints of a skeleton are its legs, its left arm, its upper half."""

from __future__ import annotations

import re

from noisette.data.motion.skeleton import Skeleton, plain_name
from noisette.errors import UserError

_HEAD = re.compile(r"head|neck|nose|eye|ear$|jaw|face|mouth")
_ARM = re.compile(r"shoulder|sho$|clavicle|collar|arm|elbow|elb$|wrist|hand|finger|thumb")
_LEG = re.compile(r"hip|thigh|upleg|leg|knee|shin|calf|ankle|foot|toe|heel|ball")
_SHOWN = 40  # joints that an error lists


def parts(skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """Joints by the part of the body: legs, arms, head, left, right, left_leg, ..., upper, lower; those that there are.

    A leg goes from a foot, an arm from any other paired end up to the trunk; the head is what ends in no pair, or is
    called so. Where it is not known how joints hang together their names decide. lower is the legs and the root,
    upper all else.
    """
    named = {j: plain_name(name) for j, name in enumerate(skeleton.names)}
    paired = {j for pair in skeleton.pairs for j in pair}
    head = {j for j, name in named.items() if _HEAD.search(name)}
    if skeleton.parents:
        ends = [j for j, below in enumerate(skeleton.children()) if not below]
        legs = {k for j in skeleton.feet for k in _limb(skeleton, j, paired)}
        arms = {k for j in ends if j in paired and j not in legs | head for k in _limb(skeleton, j, paired)} - legs
        head = head or {k for j in ends if j not in paired | legs for k in _stem(skeleton, j, paired)}
        lower = legs | {skeleton.root}
    else:
        arms = {j for j, name in named.items() if _ARM.search(name)} - head
        legs = {j for j, name in named.items() if _LEG.search(name) and (j in paired or not paired)} - head - arms
        lower = legs | {j for j in (skeleton.named_root,) if j is not None}
    left, right = ({pair[side] for pair in skeleton.pairs} for side in (0, 1))
    found = {"legs": legs, "arms": arms, "head": head - legs - arms, "left": left, "right": right}
    for limb, joints in (("leg", legs), ("arm", arms)):
        found |= {f"left_{limb}": joints & left, f"right_{limb}": joints & right}
    if legs:
        found |= {"lower": lower, "upper": set(named) - lower}
    return {name: tuple(sorted(joints)) for name, joints in found.items() if joints}


def joints(skeleton: Skeleton, asked: str) -> tuple[int, ...]:
    """The joints of "legs,head" or "left_knee,RightHand": names of parts and of joints, between commas.

    Raises UserError for a name that is neither, with those that there are.
    """
    known = parts(skeleton)
    by_name = {plain_name(name): (j,) for j, name in reversed(list(enumerate(skeleton.names)))}
    found: set[int] = set()
    for name in (part.strip() for part in asked.split(",")):
        chosen = known.get(name.lower().replace(" ", "_").replace("-", "_")) or by_name.get(plain_name(name))
        if not chosen:
            shown = ", ".join(skeleton.names[:_SHOWN]) + (", ..." if len(skeleton) > _SHOWN else "")
            groups = f"{', '.join(known)}, or " if known else ""
            raise UserError(f'no joints "{name}" here: there are {groups}the joints {shown}')
        found |= set(chosen)
    return tuple(sorted(found))


def _limb(skeleton: Skeleton, end: int, paired: set[int]) -> list[int]:
    """From the end of a limb up to where the trunk begins."""
    children, way = skeleton.children(), []
    for joint in skeleton.path(end):
        if joint == skeleton.root or (joint not in paired if paired else len(children[joint]) > 1):
            break
        way.append(joint)
    return way


def _stem(skeleton: Skeleton, end: int, paired: set[int]) -> list[int]:
    """From an end that has no twin up to where something else hangs too."""
    children, way = skeleton.children(), []
    for joint in skeleton.path(end):
        if joint == skeleton.root or joint in paired or len(children[joint]) > 1:
            break
        way.append(joint)
    return way

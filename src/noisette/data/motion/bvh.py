"""BVH: a hierarchy of joints with offsets, and a table of channels. Forward kinematics makes positions of them.

A joint's place in its parent's frame is its OFFSET, or its position channels where it has any; its rotation is the
product of its rotation channels, in the order in which they are listed, each in degrees about the axis it names:

    R_j = R_parent(j) Rot(c1) Rot(c2) Rot(c3)        p_j = p_parent(j) + R_parent(j) t_j

(Meredith and Maddock, Motion Capture File Formats Explained, 2001.) That position channels stand in for the offset,
and are not added to it, is how the programs that write them for every joint mean them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion.geometry import rotation
from noisette.data.motion.skeleton import Skeleton, pairs_by_name
from noisette.data.motion.takes import FASTEST, SLOWEST, Recording, as_take
from noisette.errors import UserError

CHANNELS = tuple(f"{axis}{kind}" for kind in ("position", "rotation") for axis in "XYZ")

_COLON = re.compile(
    r"^([ \t]*(?:frames|frame[ \t]+time))[ \t]*:", re.IGNORECASE | re.MULTILINE
)  # "Frames:2", "Frames : 2"


@dataclass
class Joint:
    """name, index of the parent or -1, offset (3,) from it, channels by name, in the file's order."""

    name: str
    parent: int
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    channels: list[str] = field(default_factory=list)
    end: bool = False


def read_bvh(path: Path) -> Recording:
    """One take (F, J, 3); end sites are joints too, but for those without an offset, which say nothing new.

    Raises UserError, with the line, where the file does not follow the format.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    joints, table, seconds = parse(text, str(path))
    x = positions(joints, table)
    kept = [k for k, j in enumerate(joints) if not (j.end and j.offset == (0.0, 0.0, 0.0))]
    place = {k: at for at, k in enumerate(kept)}
    names = _unique([joints[k].name for k in kept])
    parents = tuple(place.get(joints[k].parent, -1) for k in kept)
    try:
        skeleton = Skeleton(names, parents, pairs_by_name(names), unit="", fps=float(f"{1 / seconds:.6g}"))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Recording([as_take(x[:, kept], path.stem, fps=skeleton.fps)], skeleton)


def _unique(names: list[str]) -> tuple[str, ...]:
    """The names, with a number behind those that were there before."""
    out: list[str] = []
    for name in names:
        twin, k = name, 1
        while twin in out:
            k += 1
            twin = f"{name}_{k}"
        out.append(twin)
    return tuple(out)


def _apart(line: str) -> list[str]:
    return line.replace("{", " { ").replace("}", " } ").split()


class _Words:
    """The words of a file one by one, each with its line."""

    def __init__(self, text: str, where: str) -> None:
        self.words = [(w, n) for n, line in enumerate(text.splitlines(), 1) for w in _apart(line)]
        self.at, self.where = 0, where

    def next(self, wanted: str) -> str:
        if self.at == len(self.words):
            raise UserError(f"{self.where}: the file ends where {wanted} should follow")
        word, _ = self.words[self.at]
        self.at += 1
        return word

    def peek(self) -> str:
        return self.words[self.at][0] if self.at < len(self.words) else ""

    def expect(self, word: str) -> None:
        if (found := self.next(word)).upper() != word:
            raise self.wrong(f'{word} should stand where "{found[:30]}" does')

    def number(self, what: str) -> float:
        word = self.next(what)
        try:
            value = float(word)
        except ValueError:
            value = np.inf
        if not np.isfinite(value):
            raise self.wrong(f'{what} is "{word[:30]}", which is no number')
        return value

    def wrong(self, what: str) -> UserError:
        return UserError(f"{self.where}, line {self.words[self.at - 1][1]}: {what}")


def parse(text: str, where: str = "bvh") -> tuple[list[Joint], NDArray[np.float64], float]:
    """(joints, each after its parent; the table (frames, channels of all joints); seconds a frame).

    Raises UserError with the line of the first thing that is not BVH.
    """
    words = _Words(_COLON.sub(r"\1: ", text), where)
    words.expect("HIERARCHY")
    joints: list[Joint] = []
    while words.peek().upper() == "ROOT":
        words.next("ROOT")
        _joint(words, joints, -1)
    if not joints:
        words.expect("ROOT")
    words.expect("MOTION")
    words.expect("FRAMES:")
    frames = words.number("the number of frames")
    words.expect("FRAME")
    words.expect("TIME:")
    seconds = words.number("the frame time")
    if not seconds * FASTEST >= 1:
        raise words.wrong(f"a frame time of {seconds:g} seconds")
    if seconds * SLOWEST > 1:
        raise words.wrong(f"a frame time of {seconds:g} seconds; is it in milliseconds? divide it by 1000")
    width = sum(len(j.channels) for j in joints)
    rest = words.words[words.at :]
    if not width or not rest:
        raise UserError(f"{where}: no frame in it")
    try:
        values = np.array([w for w, _ in rest], dtype=np.float64)
        values[~np.isfinite(values)] = np.nan
    except ValueError:
        while True:
            words.number("a channel")
    if len(values) % width or len(values) // width != int(frames):
        raise UserError(
            f"{where}: {len(values)} numbers under MOTION, but {int(frames)} frames of {width} channels are announced"
        )
    return joints, values.reshape(-1, width), seconds


def _joint(words: _Words, joints: list[Joint], parent: int) -> None:
    """One joint with all that hangs on it: without recursion, as a chain may be deeper than Python's stack."""
    joints.append(Joint(_name(words), parent))
    words.expect("{")
    open_ = [len(joints) - 1]
    while open_:
        joint, word = joints[open_[-1]], words.next("}")
        kind = word.upper()
        if kind == "OFFSET":
            joint.offset = tuple(words.number("an offset") for _ in range(3))  # type: ignore[assignment]
        elif kind == "CHANNELS":
            for _ in range(int(words.number("the number of channels"))):
                channel = words.next("a channel")
                known = next((c for c in CHANNELS if c.lower() == channel.lower()), None)
                if known is None or known in joint.channels:
                    raise words.wrong(f'"{channel[:30]}" is no channel, or is there twice')
                joint.channels.append(known)
        elif kind in ("JOINT", "END"):
            if kind == "END":
                words.expect("SITE")
                joints.append(Joint(f"{joint.name}_end", open_[-1], end=True))
            else:
                joints.append(Joint(_name(words), open_[-1]))
            words.expect("{")
            open_.append(len(joints) - 1)
        elif word == "}":
            open_.pop()
        else:
            raise words.wrong(f'"{word[:30]}" is not understood here')


def _name(words: _Words) -> str:
    """A joint's name, which may have spaces in it: all words up to the brace."""
    parts = [words.next("a name")]
    while words.peek() != "{" and words.peek():
        parts.append(words.next("{"))
    return " ".join(parts)


def positions(joints: list[Joint], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions (F, J, 3) of the channels (F, C) of all joints: the equation at the top of this file."""
    frames = len(table)
    place = np.empty((frames, len(joints), 3))
    turned = np.empty((len(joints), frames, 3, 3))
    column = 0
    for k, joint in enumerate(joints):
        local = np.broadcast_to(np.array(joint.offset), (frames, 3)).copy()
        turn = np.broadcast_to(np.eye(3), (frames, 3, 3))
        for channel in joint.channels:
            axis, values = "XYZ".index(channel[0]), table[:, column]
            column += 1
            if channel.endswith("position"):
                local[:, axis] = values
            else:
                turn = turn @ rotation(axis, np.radians(values))
        if joint.parent < 0:
            place[:, k], turned[k] = local, turn
        else:
            above = turned[joint.parent]
            place[:, k] = place[:, joint.parent] + (above @ local[..., None])[..., 0]
            turned[k] = above @ turn
    return place

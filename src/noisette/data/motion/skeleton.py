"""What the joints of a clip are: their names, how they hang together, which are left and right, unit and rate."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.arrays import first_line
from noisette.errors import UserError, nearest

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048}
"""Metres in one of each unit of length. Of another unit (pixels, or an unknown one, "") the size is not known."""

UNITS = (*METRES, "px", "")

FPS = 30.0
"""Frames a second at which clips are shown, and written where some rate must be named, if nobody knows theirs."""

MOST = 10_000
"""Joints that a skeleton may have: a file that numbers more has mistaken something."""

_AXES = "xyz"
_ROOTS = ("hips", "pelvis", "root", "hipcenter", "hipcentre", "midhip", "hip", "hipscenter", "lowertorso")
_FEET = re.compile(r"toe|foot|ball|ankle|heel")
_TRUNK = re.compile(r"hip|thigh|upleg|shoulder|sho$|clavicle|collar")
_KEYS = ("names", "parents", "edges", "pairs", "unit", "fps", "up")


@dataclass(frozen=True)
class Skeleton:
    """The joints of every clip of a data set, in the order of their axis.

    names    one a joint, each once
    parents  for each joint the index of the one it hangs on, -1 for a root (several are allowed); () where unknown
    pairs    (left, right) indices of joints that a mirror swaps
    unit     of the coordinates: m, cm, mm, in, ft, px, or "" where it is not known
    fps      frames a second, None where it is not known
    up       the axis that is vertical: 0, 1 or 2 (in two dimensions 1)
    down     whether that axis points down, as in pictures
    links    pairs of joints that are joined, where the order is not known: given instead of parents

    Raises UserError where joints are named twice or are missing, or the parents run in a circle.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    unit: str = "m"
    fps: float | None = None
    up: int = 1
    down: bool = False
    links: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("names", "parents"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("pairs", "links"):
            object.__setattr__(self, name, tuple((int(a), int(b)) for a, b in getattr(self, name)))
        if not self.names:
            raise UserError("a skeleton needs at least one joint")
        if len(self.names) > MOST:
            raise UserError(f"a skeleton of {len(self.names)} joints; at most {MOST} are understood")
        twice = sorted({n for n in self.names if self.names.count(n) > 1})
        if twice:
            raise UserError(f'the skeleton names a joint twice: "{twice[0]}"')
        if self.parents and len(self.parents) != len(self.names):
            raise UserError(f"the skeleton has {len(self.names)} joints but {len(self.parents)} parents")
        for joint, parent in enumerate(self.parents):
            if not -1 <= parent < len(self.names):
                raise UserError(
                    f'the parent of joint "{self.names[joint]}" is number {parent}, but the joints are numbered '
                    f"0 to {len(self.names) - 1} (-1 for a root)"
                )
        self._no_circle()
        for what, found in (("edge", self.links), ("left/right pair", self.pairs)):
            for a, b in found:
                for j in (a, b):
                    if not 0 <= j < len(self.names):
                        raise UserError(
                            f"{what} ({a}, {b}) of the skeleton names joint {j}, but there are joints 0 to "
                            f"{len(self.names) - 1}"
                        )
                if a == b:
                    raise UserError(f'a {what} of the skeleton joins "{self.names[a]}" to itself')
        if len({j for pair in self.pairs for j in pair}) < 2 * len(self.pairs):
            raise UserError("a joint of the skeleton is in two left/right pairs")
        if self.unit not in UNITS:
            raise UserError(f'no unit "{self.unit}"{nearest(self.unit, [u for u in UNITS if u])}')
        if self.fps is not None and not 0 < self.fps <= 10_000:
            raise UserError(f"frames a second must be above 0 and at most 10000, not {self.fps:g}")
        if self.up not in (0, 1, 2):
            raise UserError(f"the vertical axis is x, y or z (0, 1 or 2), not {self.up}")

    def _no_circle(self) -> None:
        for joint in range(len(self.parents)):
            path = [joint]
            while (parent := self.parents[path[-1]]) >= 0:
                path.append(parent)
                if parent == joint:
                    round_ = " -> ".join(self.names[j] for j in path)
                    raise UserError(f"the parents of the skeleton run in a circle: {round_}")
                if len(path) > len(self.names):
                    break  # a circle that this joint only hangs on: found from one of its own

    def __len__(self) -> int:
        return len(self.names)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) for every bone; where no parents are known, the links as they were given."""
        if not self.parents:
            return self.links
        return tuple((p, j) for j, p in enumerate(self.parents) if p >= 0)

    @property
    def edge_array(self) -> NDArray[np.int64]:
        """(E, 2) int64: `edges` for those who know no skeleton."""
        return np.array(self.edges, np.int64).reshape(-1, 2)

    @property
    def vertical(self) -> str:
        """The vertical axis as files name it: "y", or "-y" where it points down."""
        return ("-" if self.down else "") + _AXES[self.up]

    @property
    def left_right(self) -> NDArray[np.int64]:
        """(J,) int64: the joint that a mirror puts in each one's place."""
        order = np.arange(len(self), dtype=np.int64)
        for a, b in self.pairs:
            order[[a, b]] = b, a
        return order

    @property
    def broad(self) -> tuple[tuple[int, int], ...]:
        """The pairs that say which way the trunk looks, hips and shoulders: those that hang on one joint, else those so
        named, else all. A knee or a hand swings too far for it."""
        hung = [p for p in self.pairs if self.parents and self.parents[p[0]] == self.parents[p[1]] >= 0]
        named = [p for p in self.pairs if _TRUNK.search(plain_name(self.names[p[0]]))]
        return tuple(hung or named or self.pairs)

    @property
    def root(self) -> int:
        """The joint that says where the body is: hips or pelvis by name, else the root with most joints on it."""
        named = self.named_root
        if named is not None:
            return named
        if not self.parents:
            return 0
        roots = [j for j, p in enumerate(self.parents) if p < 0]
        tops = [self.path(j)[-1] for j in range(len(self))]
        return max(roots, key=lambda r: (tops.count(r), -r))

    @property
    def named_root(self) -> int | None:
        """The joint whose name says that it is the hips, the pelvis or the root; None without one."""
        plain = [plain_name(n) for n in self.names]
        return next((plain.index(r) for r in _ROOTS if r in plain), None)

    @property
    def feet(self) -> tuple[int, ...]:
        """The joints that touch the ground: the last one of each leg; () where that cannot be told.

        By name (toe, foot, ankle, ...), else the paired ends that hang on the root by an unbranched chain.
        """
        named = [j for j, n in enumerate(self.names) if _FEET.search(plain_name(n))]
        if named and self.parents:
            above = {k for j in named for k in self.path(j)[1:]}
            return tuple(j for j in named if j not in above)
        if named:
            for word in ("toe", "foot", "ball", "ankle", "heel"):
                found = tuple(j for j in named if word in plain_name(self.names[j]))
                if found:
                    return found
        if not self.parents:
            return ()
        children = self.children()
        paired = {j for pair in self.pairs for j in pair}
        root = self.root
        out = []
        for j in paired:
            way = self.path(j)
            if not children[j] and root in way and all(len(children[k]) == 1 for k in way[1 : way.index(root)]):
                out.append(j)
        return tuple(sorted(out))

    def children(self) -> list[list[int]]:
        """For each joint those that hang on it."""
        out: list[list[int]] = [[] for _ in self.names]
        for parent, child in self.edges if self.parents else ():
            out[parent].append(child)
        return out

    def path(self, joint: int) -> list[int]:
        """The joint, its parent, and so on to its root."""
        out = [joint]
        while self.parents and self.parents[out[-1]] >= 0:
            out.append(self.parents[out[-1]])
        return out

    def order(self) -> list[int]:
        """All joints, each after the one that it hangs on."""
        return sorted(range(len(self)), key=lambda j: (len(self.path(j)), j))

    def rooted(self, root: int) -> Skeleton:
        """The skeleton with parents: its links, walked outwards from `root`, and from the first joint of each further
        piece. Where the links close a circle there is no order to give, and it comes back as it is."""
        beside: list[list[int]] = [[] for _ in self.names]
        for a, b in self.edges:
            beside[a].append(b)
            beside[b].append(a)
        parents = [-2] * len(self)
        for start in (root, *range(len(self))):
            if parents[start] != -2:
                continue
            parents[start] = -1
            waiting = [start]
            while waiting:
                at = waiting.pop()
                for other in beside[at]:
                    if parents[other] == -2:
                        parents[other] = at
                        waiting.append(other)
        if sum(p >= 0 for p in parents) != len({frozenset(e) for e in self.edges}):
            return self
        return replace(self, parents=tuple(parents), links=())

    # --- JSON ---

    def to_json(self) -> dict[str, Any]:
        """What from_json reads: joints by name, so that a person can read and change it."""
        named: list[str | None] = [None if p < 0 else self.names[p] for p in self.parents]
        out: dict[str, Any] = {"names": list(self.names)}
        if self.parents:
            out["parents"] = named
        elif self.links:
            out["edges"] = [[self.names[a], self.names[b]] for a, b in self.links]
        out["pairs"] = [[self.names[a], self.names[b]] for a, b in self.pairs]
        return out | {"unit": self.unit, "fps": self.fps, "up": self.vertical}

    @classmethod
    def from_json(cls, content: Any, where: str = "skeleton") -> Skeleton:
        """A skeleton from JSON: names, parents or edges, pairs, unit, fps, up ("y", "-y", "z" or an axis number).

        Joints are given by name or by number, a root's parent is null or -1. Pairs are found by name where none are
        given. Raises UserError, with `where` in front, for anything that does not fit.
        """
        if not isinstance(content, dict):
            raise UserError(f"{where}: a skeleton is a JSON object with names and parents or edges")
        unknown = [k for k in content if k not in _KEYS]
        if unknown:
            raise UserError(f'{where}: no field "{unknown[0]}" in a skeleton{nearest(unknown[0], _KEYS)}')
        try:
            edges = content.get("edges")
            names = content.get("names")
            if names is None and (edges or content.get("parents")):
                names = _counted(content)
            if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
                raise UserError('"names" must be a list of texts, one a joint')
            parents = content.get("parents") or ()
            if not isinstance(parents, list | tuple):
                raise UserError('"parents" must be a list, one a joint: its name or number, null for a root')
            parents = tuple(_index(p, names, "parent", root=True) for p in parents)
            links = () if parents else _pairs(edges, names, "edge")
            pairs = _pairs(content.get("pairs"), names, "pair") if "pairs" in content else pairs_by_name(names)
            up, down = axis(content.get("up", 1))
            fps = content.get("fps")
            if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int | float)):
                raise UserError(f'"fps" must be a number, not {_shown(fps)}')
            unit = content.get("unit", "m")
            if not isinstance(unit, str):
                raise UserError(f'"unit" must be a text, not {_shown(unit)}')
            return cls(tuple(names), parents, pairs, unit, fps, up, down, links)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


def load_skeleton(path: str | Path) -> tuple[Skeleton, frozenset[str]]:
    """(the skeleton in a JSON file, which of its fields the file has). Raises UserError where there is none."""
    path = Path(path).expanduser()
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a mark in front
    except FileNotFoundError:
        raise UserError(f"{path}: no such skeleton file") from None
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON file ({first_line(error)})") from None
    return Skeleton.from_json(content, str(path)), frozenset(content)


def plain_name(name: str) -> str:
    """Small letters and digits only, without the prefix that some programs put: `mixamorig:Hips` is `hips`."""
    return re.sub(r"[^a-z0-9]", "", name.rsplit(":", 1)[-1].lower())


_SIDES = (
    (re.compile(r"left", re.IGNORECASE), lambda m: _cased("right", m.group())),
    (re.compile(r"(?<![A-Za-z])[lL](?![A-Za-z])"), lambda m: _cased("r", m.group())),
    (re.compile(r"(?<![A-Za-z])l(?=[a-z])|(?<![A-Za-z])L(?=[A-Z][a-z])"), lambda m: _cased("r", m.group())),
    (re.compile(r"(?<=[a-z0-9])L(?![a-z])"), lambda m: "R"),
)


def pairs_by_name(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(left, right) joints whose names differ in left/right or l/r alone: LeftKnee, knee_l, L.knee, lknee, KneeL."""
    where = {n: j for j, n in enumerate(names)}
    out: list[tuple[int, int]] = []
    for j, name in enumerate(names):
        for pattern, other in _SIDES:
            twin = pattern.sub(other, name)
            if twin != name and twin in where:
                out.append((j, where[twin]))
                break
    return tuple(out)


def _cased(word: str, like: str) -> str:
    return word.upper() if like.isupper() else word.capitalize() if like[0].isupper() else word


def _counted(content: dict[str, Any]) -> list[str]:
    """Names for joints that are known by number alone."""
    parents, edges = content.get("parents"), content.get("edges")
    try:
        n = len(parents) if parents else 1 + max(int(j) for e in edges or () for j in e)
    except (TypeError, ValueError, OverflowError):
        raise UserError('"names" is missing: a list of texts, one a joint') from None
    if n > MOST:
        raise UserError(f"a skeleton of {n} joints; at most {MOST} are understood")
    return numbered(n)


def numbered(n: int) -> list[str]:
    """Names for joints that have none: joint0, joint1, ..."""
    return [f"joint{j}" for j in range(n)]


def _index(value: Any, names: Sequence[str], what: str, root: bool = False) -> int:
    if root and (value is None or value == -1):
        return -1
    if isinstance(value, str):
        if value not in names:
            raise UserError(f'a {what} names a joint "{value}" that is not in the skeleton{nearest(value, names)}')
        return list(names).index(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"a {what} must be a joint's name or number, not {_shown(value)}")
    if not 0 <= value < len(names):
        raise UserError(f"a {what} names joint {value}, but the joints are numbered 0 to {len(names) - 1}")
    return value


def _pairs(value: Any, names: Sequence[str], what: str) -> tuple[tuple[int, int], ...]:
    if value is None:
        return ()
    if not isinstance(value, Iterable) or any(not isinstance(p, list | tuple) or len(p) != 2 for p in value):
        raise UserError(f'"{what}s" must be a list of two joints each')
    return tuple((_index(a, names, what), _index(b, names, what)) for a, b in value)


def axis(value: Any) -> tuple[int, bool]:
    """(axis, whether it points down) of "y", "-y", "+z" or 1."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?[xyz]", value.strip().lower()):
        text = value.strip().lower()
        return _AXES.index(text[-1]), text.startswith("-")
    if isinstance(value, int) and not isinstance(value, bool) and value in (0, 1, 2):
        return value, False
    raise UserError(f'"up" must be an axis ("x", "y", "z", with "-" where it points down), not {_shown(value)}')


def _shown(value: Any) -> str:
    """What stands where something else should, for a message; arrays hold what JSON does not."""
    return json.dumps(value, default=str)[:30]

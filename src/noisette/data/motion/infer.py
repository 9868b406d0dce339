"""What the positions say about a skeleton where nobody else does: the vertical, the root, left and right, the unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion.skeleton import METRES, Skeleton, numbered, pairs_by_name

SAMPLE = 2000
"""Frames that are looked at, evenly spread."""

LONGEST = (0.18, 0.75)
"""Metres between which the longest limb of a body lies, a child's and a very tall person's."""

TALLEST = (0.45, 2.6)
"""Metres between which the extent of a body lies, crouching and with an arm raised."""


def sample(takes: list[NDArray[np.float32]], most: int = SAMPLE) -> NDArray[np.float64]:
    """Up to `most` frames (m, J, D) float64, evenly over all takes, those without a gap only where there are any."""
    total = sum(map(len, takes))
    step = max(1, total // most)
    x = np.concatenate([t[::step] if len(t) > step else t[:1] for t in takes]).astype(np.float64)
    whole = np.isfinite(x).all((1, 2))
    return x[whole] if whole.any() else x[:0]


def complete(
    skeleton: Skeleton | None, x: NDArray[np.float64], stated: frozenset[str] = frozenset()
) -> tuple[Skeleton, list[str]]:
    """(the skeleton with what can be told from frames, notes on what was).

    x       (m, J, D) frames without gaps
    stated  "unit" where that is known, and is only checked; "up" where the vertical axis is
    Parents are found from links, pairs from names, else from the shape of the tree.
    """
    joints, dims = x.shape[1:]
    notes: list[str] = []
    if skeleton is None:
        skeleton = Skeleton(tuple(numbered(joints)), unit="")
        notes.append("no skeleton is known: the joints are drawn as points (--skeleton FILE gives one)")
    if not len(x):
        return skeleton, notes
    if "up" not in stated:
        skeleton = replace(skeleton, up=vertical(x))
    up = skeleton.up if dims == 3 else 1
    skeleton = replace(skeleton, up=up)
    if skeleton.links:
        skeleton = skeleton.rooted(_middle(skeleton, x))
    if not skeleton.pairs:
        skeleton = replace(skeleton, pairs=pairs_by_name(skeleton.names) or pairs_by_shape(skeleton))
    if "up" not in stated and (down := _upside_down(skeleton, x)) is not None:
        skeleton = replace(skeleton, down=down)
        if down:
            notes.append(f"the {'xyz'[up]} axis points down: the feet have larger values than the head")
    unit, note = _unit(skeleton, x, "unit" in stated)
    return replace(skeleton, unit=unit), notes + ([note] if note else [])


def vertical(x: NDArray[np.float64]) -> int:
    """The axis along which bodies are longest, by the median over frames (m, J, D); in two dimensions y."""
    if x.shape[2] == 2:
        return 1
    extent = np.median(x.max(1) - x.min(1), axis=0)
    return 1 if extent[1] >= 0.95 * extent.max() else int(np.argmax(extent))


def _middle(skeleton: Skeleton, x: NDArray[np.float64]) -> int:
    """The joint to walk the links outwards from: the lowest on average of those where three or more meet, hips."""
    if skeleton.named_root is not None:
        return skeleton.named_root
    count = np.bincount(skeleton.edge_array.reshape(-1), minlength=len(skeleton))
    height = x[:, :, skeleton.up].mean(0) * (-1 if skeleton.down else 1)
    forks = np.flatnonzero(count >= 3)
    if not len(forks):
        return int(np.argmax(count))
    ends = np.flatnonzero(count == 1)
    # Where the axis points down the forks' order turns round with that of the ends, of which two or three of five
    # are feet and hands: hips are nearer to the lowest end of all than necks are.
    low, high = height[ends].min(), height[ends].max()
    best = min(forks, key=lambda j: abs(height[j] - low) / max(high - low, 1e-12))
    return int(best)


def pairs_by_shape(skeleton: Skeleton) -> tuple[tuple[int, int], ...]:
    """Pairs of branches that hang on the same joint and have the same shape, such as two legs.

    Only where exactly two branches at a joint are alike. Which of a pair is called left is arbitrary, but one choice
    holds at every joint: the branch whose joint comes first.
    """
    if not skeleton.parents:
        return ()
    children = skeleton.children()

    def shape(j: int) -> str:
        return "(" + "".join(sorted(shape(c) for c in children[j])) + ")"

    shapes = [shape(j) for j in range(len(skeleton))]
    out: list[tuple[int, int]] = []

    def match(a: int, b: int) -> None:
        out.append((a, b))
        for c, d in zip(*(sorted(children[k], key=lambda j: (shapes[j], j)) for k in (a, b)), strict=True):
            match(c, d)

    for at in skeleton.order():
        if any(at in pair for pair in out):
            continue
        alike: dict[str, list[int]] = {}
        for c in children[at]:
            alike.setdefault(shapes[c], []).append(c)
        for twins in alike.values():
            if len(twins) == 2:
                match(min(twins), max(twins))
    return tuple(out)


def _upside_down(skeleton: Skeleton, x: NDArray[np.float64]) -> bool | None:
    """Whether the vertical axis points down: the feet are above the rest of the body. None without feet."""
    feet = skeleton.feet
    if not feet or len(feet) == len(skeleton):
        return None
    height = x[:, :, skeleton.up].mean(0)
    rest = np.delete(height, list(feet))
    return bool(height[list(feet)].mean() > rest.mean())


def _unit(skeleton: Skeleton, x: NDArray[np.float64], stated: bool) -> tuple[str, str | None]:
    """(unit, a note where it was guessed, or where no body has such limbs in the unit that was stated)."""
    edges = skeleton.edge_array
    if len(edges):
        size = float(np.median(np.linalg.norm(x[:, edges[:, 0]] - x[:, edges[:, 1]], axis=-1), axis=0).max())
        low, high = LONGEST
        what = "the longest limb measures"
    else:
        size = float(np.median((x.max(1) - x.min(1)).max(1)))
        low, high = TALLEST
        what = "a body measures"
    fits = [u for u in ("m", "cm", "mm") if low <= size * METRES[u] <= high]
    if stated and skeleton.unit in METRES:
        if low <= size * METRES[skeleton.unit] <= high:
            return skeleton.unit, None
        looks = f"; the numbers look like {fits[0]}" if fits else ""
        return skeleton.unit, (
            f"the unit is given as {skeleton.unit}, but {what} {size:.3g} {skeleton.unit}, which no body has{looks}: "
            'mend "unit" in the skeleton file, or the measures of speed and sliding mean little'
        )
    if stated:
        return skeleton.unit, None
    if x.shape[2] == 2:
        unit = "px" if size > 10 else ""
        return unit, None
    if fits:
        taken = f"no unit is given: {what} {size:.3g}, so the data were taken to be in {fits[0]}"
        return fits[0], None if fits[0] == "m" else taken
    return "", (
        f"no unit is given, and {what} {size:.3g}, which no body has in m, cm or mm: speeds are in units of the data"
    )

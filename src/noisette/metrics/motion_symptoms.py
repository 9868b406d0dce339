"""What is wrong with clips of key points, told by measurement: falling apart, jittery, frozen, drifting, alike, copied.

Every limit is drawn from real clips of the same data set, so that shaky recordings and calm motions are no illness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from noisette.metrics import symptoms as pictures
from noisette.metrics.distances import Array
from noisette.metrics.memory import Memory
from noisette.metrics.motion import Body, Clips, bone_error, bone_jitter, change, checked, drift, movement, pose
from noisette.metrics.symptoms import Symptom, collapsed, copied, count, excess, ordinary

KEYS = ("broken", "jittery", "frozen", "drifting", "collapsed", "copied")

STRETCH = 2.0
"""Per cent of a bone's length that samples may be off beyond one and a half times what real clips are."""

TREMBLE = 0.0005
"""Standard deviation of jitter, in sizes of the body, that samples may have beyond that of real clips (1 mm of an
adult)."""

STILL = 0.5
"""How much of the movement of real clips samples must have."""

WANDER = 0.1
"""Sizes of the body that samples may get from their start beyond what real clips do."""


def symptoms(
    samples: Clips,
    real: Clips,
    body: Body,
    labels: NDArray[np.int64] | None = None,
    real_labels: NDArray[np.int64] | None = None,
    memory: Memory | None = None,
) -> list[Symptom]:
    """All measurements of samples (N, frames, joints, dims) against real clips (M, ...), the ill and the healthy ones.

    labels (N,), real_labels (M,): classes that the samples were told and the real clips have, so that the variety of a
    class is compared with its own. memory: where it is known.

    Raises:
        ValueError: fewer than 2 clips on a side, different shapes, or fewer than 4 frames.
    """
    if samples.shape[1:] != real.shape[1:] or min(len(samples), len(real)) < 2:
        raise ValueError(f"2 samples and 2 real clips of one shape are needed, got {samples.shape}, {real.shape}")
    samples, real = checked(samples), checked(real)
    found = [_broken(samples, real, body)] if (body.lengths > 0).any() else []
    found += [_jittery(samples, real, body), _frozen(samples, real, body), _drifting(samples, real, body)]
    poses = pose(samples, body.root), pose(real, body.root)
    found.append(collapsed(*poses, labels, real_labels, what="clip"))
    if memory is not None:
        found.append(copied(memory))
    return found


def findings(found: Sequence[Symptom]) -> list[Symptom]:
    """The ill ones, without those that another one explains; the way from noise (noisette.metrics.symptoms.exploding)
    may be among them."""
    return pictures.findings(found, ("exploding", *KEYS))


def _broken(samples: Array, real: Array, body: Body) -> Symptom:
    """By the bones' lengths against what they should be, or over time, whichever is further off."""
    boned = body.lengths > 0
    edges, lengths = body.edges[boned], body.lengths[boned]
    found = []
    for ours, theirs, said in (
        (
            *(bone_error(x, edges, lengths).mean(1) for x in (samples, real)),
            "their bones are off by {} % of their length",
        ),
        (
            *(bone_jitter(x, edges).mean(1) for x in (samples, real)),
            "the lengths of their bones vary by {} % over time",
        ),
    ):
        low, high = (float(v) for v in np.quantile(theirs, (0.05, 0.95)))
        limit = 1.5 * high + STRETCH
        off = ours > limit
        much = said.format(f"{np.median(ours[off]) if off.any() else 0:.1f}")
        usual = f"{low:.1f} to {high:.1f} %" if high >= 0.05 else "less than 0.1 %"
        words = f"{count(off)} fall apart: {much}, those of real clips by {usual}."
        share = float(off.mean())
        found.append(Symptom("broken", share, ordinary(theirs > limit), excess(share, theirs > limit), words))
    return max(found, key=lambda symptom: symptom.beyond)


def _jittery(samples: Array, real: Array, body: Body) -> Symptom:
    """By the jerk, or by that of a clip's quietest moments, where jitter shows beside fast motion."""
    fps = body.fps or 1.0
    allowed = TREMBLE * body.size * math.sqrt(20 * real.shape[3]) * fps**3  # white noise, differenced three times
    unit = "body sizes per second cubed" if body.fps else "body sizes per frame cubed"
    ours, theirs = (change(x, 3, body.fps).mean(2) for x in (samples, real))
    found = []
    for measured, usual, when in (
        (ours.mean(1), theirs.mean(1), ""),
        (np.quantile(ours, 0.1, axis=1), np.quantile(theirs, 0.1, axis=1), " in the quietest moments"),
    ):
        value = float(np.median(measured))
        low, middle, high = (float(v) for v in np.quantile(usual, (0.05, 0.5, 0.95)))
        limit = max(high, 1.5 * middle) + allowed
        said = [f"{v / body.size:.3g}" for v in (value, low, high)]
        words = (
            f"The jerk of a sample{when} is {said[0]} {unit} (in the median), that of real clips {said[1]} to "
            f"{said[2]}: it trembles."
        )
        found.append(Symptom("jittery", value, (low, high), value / limit, words))
    return max(found, key=lambda symptom: symptom.beyond)


def _frozen(samples: Array, real: Array, body: Body) -> Symptom:
    """By how much samples move in the median, or by how many of them hardly move."""
    ours, theirs = movement(samples, body.root), movement(real, body.root)
    low, least, middle, high = (float(v) for v in np.quantile(theirs, (0.05, 0.01, 0.5, 0.95)))
    if middle == 0:
        return Symptom("frozen", 1.0, (1.0, 1.0), 0.0, "The real clips do not move themselves.")
    moved = float(np.median(ours)) / middle
    still, usually = ours < STILL * least, theirs < STILL * least
    by_share, by_median = excess(float(still.mean()), usually), STILL / max(moved, 1e-9)
    if by_share > by_median:
        words = f"{count(still)} hardly move: less than {100 * STILL:.0f} % of what the calmest real clips do."
        return Symptom("frozen", float(still.mean()), ordinary(usually), by_share, words)
    words = f"The samples hardly move: {100 * moved:.0f} % of what real clips do (in the median)."
    return Symptom("frozen", moved, (low / middle, high / middle), by_median, words)


def _drifting(samples: Array, real: Array, body: Body) -> Symptom:
    ours, theirs = drift(samples, body.root) / body.size, drift(real, body.root) / body.size
    most = float(np.quantile(theirs, 0.99))
    gone, usually = ours > most + WANDER, theirs > most + WANDER
    words = (
        f"{count(gone)} drift away: {np.median(ours[gone]) if gone.any() else 0:.1f} times the body's size from where "
        f"they start, real clips {most:.1f} at most."
    )
    share = float(gone.mean())
    return Symptom("drifting", share, ordinary(usually), excess(share, usually), words)

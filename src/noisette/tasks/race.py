"""The fastest of several ways to do the same thing, found in little time and fair to all on a machine that drifts."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

FEW = 4  # images of the first look
HOPELESS, LOSER = 3.0, 1.25
"""Times the fastest way's seconds at which a way is given up: after the first look, and after one round."""

LONGEST = 0.25  # seconds that one pass should take at most: a larger batch is tried with a part of it
PASSES = 6  # for each way, with those that prepare: what patience must suffice for
ROUNDS = 3
RESTLESS = 1.5
"""Times its fastest round that a way's slowest may take: beyond that a race tells of the moment, not of the ways."""

Timer = Callable[[str, int], float]
"""Seconds that (way, images) take."""


@dataclass(frozen=True)
class Race:
    """Median seconds of a pass of `batch` images by way, of those that were not hopeless; spread: how many times its
    fastest round the slowest took, of the way where that is worst, 1 where all agree; hurried: there was no time for
    all rounds."""

    batch: int
    seconds: dict[str, float]
    spread: float
    hurried: bool = False

    @property
    def best(self) -> str:
        return min(self.seconds, key=lambda way: self.seconds[way])


def race(
    ways: Sequence[str],
    seconds: Timer,
    batch: int,
    patience: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> Race:
    """Measures the ways in turn, dropping clear losers, on batches of at most `batch` images.

    A first look at a few images drops what is hopeless (bf16 where the processor has no such arithmetic); one round
    drops clear losers; the others are measured ROUNDS times. A way's first pass of a size prepares kernels and does
    not count. The less patience, the smaller the batches; after `patience` seconds what is known by then decides, but
    two ways at least are looked at: the first two should be those that are likely to differ most.
    """
    until = clock() + patience
    size, look = min(FEW, batch), {}
    for way in ways:
        seconds(way, size)
        look[way] = seconds(way, size)
        if clock() > until and len(look) > 1:
            return Race(size, look, 1.0, hurried=True)
    left = _near(look, HOPELESS)
    longest, passed = min(LONGEST, patience / (PASSES * len(left))), look[left[0]]
    while (larger := _part(batch, size * longest / passed)) > size:
        size = larger
        if size == batch:
            break
        seconds(left[0], size)
        passed = seconds(left[0], size)  # a GPU takes about as long for many images as for a few
    for way in left:
        seconds(way, size)
    times: dict[str, list[float]] = {way: [] for way in left}
    hurried = False
    for turn in range(ROUNDS):
        for way in left:
            times[way].append(seconds(way, size))
        if turn == 0:
            left = _near({way: seen[0] for way, seen in times.items()}, LOSER)
        if hurried := clock() > until and turn + 1 < ROUNDS:
            break
    medians = {way: statistics.median(seen) for way, seen in times.items()}
    return Race(size, medians, spread({way: times[way] for way in left}), hurried)


def spread(times: Mapping[str, Sequence[float]]) -> float:
    """How many times its fastest round the slowest took, of the way where that is worst."""
    return max(max(seen) / max(min(seen), 1e-9) for seen in times.values())


def _part(batch: int, most: float) -> int:
    """The largest of batch, batch / 2, batch / 4, ... that is at most `most`; at least 1."""
    while batch > most and batch > 1:
        batch = -(-batch // 2)
    return batch


def _near(seconds: Mapping[str, float], factor: float) -> list[str]:
    """The ways that take at most `factor` times as long as the fastest, fastest first."""
    limit = factor * min(seconds.values())
    return sorted((way for way in seconds if seconds[way] <= limit), key=lambda way: seconds[way])

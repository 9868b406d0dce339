"""Smooth functions of time for made-up motion: everything here has a continuous second derivative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from noisette.data.spec import random_bits

Array = NDArray[np.float64]


class Draw:
    """Random numbers of a key, one after the other; the same on every machine and for every version of numpy."""

    def __init__(self, *key: int) -> None:
        self.values = (random_bits(256, *key) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        self.at = -1

    def unit(self) -> float:
        """In [0, 1)."""
        self.at += 1
        return float(self.values[self.at])

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """low, ..., high, each as likely."""
        return low + int(self.unit() * (high - low + 1))

    def sign(self) -> int:
        return 1 if self.unit() < 0.5 else -1


def rise(t: Array, start: float, end: float) -> Array:
    """0 before `start`, 1 after `end`, in between 10 u^3 - 15 u^4 + 6 u^5: the smoothest step there is (least jerk)."""
    u = np.clip((t - start) / (end - start), 0, 1)
    return np.asarray(u**3 * (10 + u * (6 * u - 15)))


def bump(t: Array, start: float, top: float, end: float, until: float | None = None) -> Array:
    """Up from 0 at `start` to 1 at `top`, and down to 0 at `end`; it stays at 1 from `top` to `until`."""
    return rise(t, start, top) - rise(t, top if until is None else until, end)


def drift(t: Array, draw: Draw, size: float) -> Array:
    """A slow random sway of about `size`: three sines of 0.1 to 0.6 Hz."""
    out = np.zeros(len(t))
    for _ in range(3):
        out += np.sin(2 * np.pi * (draw.between(0.1, 0.6) * t + draw.unit()))
    return size * out / 2


def through(t: Array, knots: Sequence[tuple[float, float]]) -> Array:
    """A curve through (time, value) knots, at rest before the first and after the last one.

    Between two knots a quintic with the slope of the line through their neighbours (Catmull and Rom), and no
    acceleration at the knots.
    """
    times, values = (np.array(k, dtype=np.float64) for k in zip(*knots, strict=True))
    slopes = np.zeros(len(times))
    slopes[1:-1] = (values[2:] - values[:-2]) / (times[2:] - times[:-2])
    return quintic(t, times, values, slopes, np.zeros(len(times)))


def quintic(t: Array, times: Array, values: Array, slopes: Array, bends: Array) -> Array:
    """The piecewise quintic with these values and first and second derivatives at these times; constant beyond."""
    t = np.clip(t, times[0], times[-1])
    k = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
    h = times[k + 1] - times[k]
    u = (t - times[k]) / h
    p0, p1, v0, v1 = values[k], values[k + 1], slopes[k] * h, slopes[k + 1] * h
    a0, a1 = bends[k] * h**2, bends[k + 1] * h**2
    c3 = 10 * (p1 - p0) - 6 * v0 - 4 * v1 - 1.5 * a0 + 0.5 * a1
    c4 = -15 * (p1 - p0) + 8 * v0 + 7 * v1 + 1.5 * a0 - a1
    c5 = 6 * (p1 - p0) - 3 * (v0 + v1) - 0.5 * (a0 - a1)
    return np.asarray(p0 + u * (v0 + u * (a0 / 2 + u * (c3 + u * (c4 + u * c5)))))

"""Many clips -> how fast a joint goes over time, real clips beside generated ones, as bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from noisette.views.curves import PALETTE, legend, plot
from noisette.views.skeletons.body import Array, Body, check_clip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAND = (10, 90)
"""Percentiles between which a band lies: eight of ten clips."""

CHARTED = 4
"""Joints that are charted, at most."""

SIZE = (4.4, 2.2)
"""Inches: as wide as the other charts, and flatter, since there are several of them."""

FEWEST = 3
"""Clips that a band is made of at least; where fewer are that long, it ends."""


def over_time(
    real: Sequence[ArrayLike],
    generated: Sequence[ArrayLike],
    body: Body,
    joint: int,
    *,
    fps: float | None = None,
) -> Figure:
    """Median and band of a joint's speed over the frames of clips.

    Args:
        real, generated: (frames, joints, dims) each, of any length.
        fps: frames a second; without it the speed is that from frame to frame.

    Raises:
        ValueError: a clip of another shape than the body's.
    """
    y = f"{body.unit or 'units'} a {'second' if fps else 'frame'}"
    with plot("seconds" if fps else "frame", y, SIZE) as (figure, axes):
        end = 0.0
        for clips, name, colour in ((real, "real", PALETTE["muted"]), (generated, "generated", PALETTE["accent"])):
            values = _table([_speeds(check_clip(clip, body))[:, joint] * (fps or 1) for clip in clips])
            frames = np.flatnonzero(np.isfinite(values).sum(0) >= min(FEWEST, len(values)))
            if not len(frames):
                continue
            low, middle, high = np.nanpercentile(values[:, frames], [BAND[0], 50, BAND[1]], axis=0)
            x = (frames + 0.5) / (fps or 1)  # between two frames
            end = max(end, float(x[-1]))
            axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
            axes.plot(x, middle, color=colour, lw=1.6, label=name)
        axes.set_xlim(0, max(end, 1e-9))
        axes.set_ylim(bottom=0)
        legend(axes)
    return figure


def telling(clips: Sequence[ArrayLike], body: Body) -> list[int]:
    """The joints that are worth a chart: ends of limbs, or all joints without bones, those that move most."""
    among = list(body.ends) or list(range(body.joints))
    moved = np.zeros(len(among))
    for clip in clips:
        speeds = _speeds(check_clip(clip, body))[:, among]
        moved += np.where(np.isfinite(speeds), speeds, 0).sum(0)
    fastest = np.argsort(-moved, kind="stable")[:CHARTED]
    return sorted(among[k] for k in fastest)


def _speeds(x: Array) -> Array:
    """(frames - 1, joints): how far each joint goes from frame to frame."""
    return np.asarray(np.sqrt((np.diff(x, axis=0) ** 2).sum(-1)))


def _table(rows: Sequence[Array]) -> Array:
    """Rows of any length as (rows, longest), NaN where they have ended."""
    table = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table

"""A map of the loss by noise level over training, in a few SVG elements: one filled shape a colour."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from noisette.views.curves import PALETTE, SIZE, Rows, finite, plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 60
SHADES = 14
SPAN = 1000.0
"""The colours reach from the largest loss down to this part of it; what is below has the last colour."""

BESIDE = 0.045
"""Width of a column beside the map, as a share of it."""

Grid = NDArray[np.float64]


def over_training(rows: Rows, columns: int = COLUMNS) -> tuple[Grid, Grid]:
    """(edges of the steps (k + 1,), mean loss (bins of t, k)): the logged losses in at most `columns` spans of steps.

    Within a span each bin is weighted by how many pictures fell into it; NaN where none did.
    """
    rows = [row for row in rows if row.get("loss_t") and finite(row.get("step")) and row["step"] > 0]
    if not rows:
        return np.empty(0), np.empty((0, 0))
    bins, last = len(rows[-1]["loss_t"]), float(rows[-1]["step"])
    rows = [row for row in rows if len(row["loss_t"]) == bins]
    edges = np.linspace(0, last, min(columns, len(rows)) + 1)
    total, count = np.zeros((2, bins, len(edges) - 1))
    before = 0.0
    for row in rows:
        # a row tells of all steps since the one before it, and so belongs to every span that it reaches into
        reach = np.minimum(edges[1:], row["step"]) - np.maximum(edges[:-1], before)
        share = np.maximum(reach, 0) / max(row["step"] - before, 1e-9)
        before = float(row["step"])
        values = np.array([v if finite(v) else np.nan for v in row["loss_t"]])
        weights = np.array([w if finite(w) and w > 0 else 0.0 for w in row.get("count_t") or [1] * bins])
        weights[np.isnan(values)] = 0
        count += weights[:, None] * share
        total += (np.nan_to_num(values) * weights)[:, None] * share
    with np.errstate(invalid="ignore", divide="ignore"):
        return edges, np.where(count > 0, total / count, np.nan)


def by_time_over_training(rows: Rows, beside: Mapping[str, Grid] | None = None) -> Figure | None:
    """Loss by noise level (up) and step (to the right), on a logarithmic scale of colours.

    beside: losses of other models by the same bins of t, as columns of their own with the same colours.
    """
    edges, values = over_training(rows)
    if not np.isfinite(values).any() or not (values[np.isfinite(values)] > 0).any():
        return None
    others = {name: column for name, column in (beside or {}).items() if len(column) == len(values)}
    top = float(np.nanmax(values))
    low = max(float(np.nanmin(np.where(values > 0, values, np.nan))), top / SPAN)
    low = min(low, top / 2)
    levels = np.geomspace(low, top, SHADES + 1)[:-1]
    width = edges[-1]
    with plot("step", "t  (0 clean, 1 noise)", (SIZE[0], SIZE[1] + 0.5)) as (figure, axes):
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)
        _shapes(axes, edges, values, levels)
        for k, (name, column) in enumerate(others.items()):
            left = width * (1 + 0.02 + k * (BESIDE + 0.012))
            _shapes(axes, np.array([left, left + BESIDE * width]), column[:, None], levels)
            axes.text(left + BESIDE * width / 2, 1.02, name, rotation=55, ha="left", va="bottom", fontsize=7.5)
        axes.set_xlim(0, width * (1 + (0.02 if others else 0) + len(others) * (BESIDE + 0.012)))
        axes.set_ylim(0, 1)
        axes.set_xticks([x for x in axes.get_xticks() if 0 <= x <= width])
        _legend(axes, levels, top)
    return figure


def colours(count: int = SHADES) -> list[str]:
    """From the smallest loss to the largest: dark blue over green to yellow, told apart on white and on black."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](0.14 + 0.84 * k / (count - 1))) for k in range(count)]


def _shapes(axes: Axes, edges: Grid, values: Grid, levels: Grid) -> None:
    """A filled shape for each level, over all cells that reach it, so that no seam shows between neighbours."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    heights = np.linspace(0, 1, len(values) + 1)
    for k, colour in enumerate(colours(len(levels))):
        reached = np.isfinite(values) if k == 0 else values >= levels[k]
        corners: list[tuple[float, float]] = []
        for row, line in enumerate(reached):
            for first, last in _spans(line):
                low, high, left, right = heights[row], heights[row + 1], edges[first], edges[last]
                corners += [(left, low), (right, low), (right, high), (left, high), (left, low)]
        if corners:
            codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(corners) // 5)
            axes.add_patch(PathPatch(Path(corners, codes), facecolor=colour, edgecolor="none", lw=0))


def _spans(line: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, one past the last) of every run of True."""
    ends = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in ends.reshape(-1, 2)]


def _legend(axes: Axes, levels: Grid, top: float) -> None:
    """The colours with their losses, as a bar above the map."""
    from matplotlib.patches import Rectangle

    bar = axes.inset_axes((0.0, 1.2, 0.62, 0.045))
    for k, colour in enumerate(colours(len(levels))):
        bar.add_patch(Rectangle((k, 0), 1.02, 1, facecolor=colour, edgecolor="none", lw=0))
    bar.set_xlim(0, len(levels))
    bar.set_ylim(0, 1)
    bar.set_yticks([])
    bar.grid(visible=False)
    for side in bar.spines.values():
        side.set_visible(False)
    step = math.log(top / levels[0]) / len(levels)
    ticks = [v for v in _round(levels[0], top) if levels[0] <= v <= top * 1.001]
    bar.set_xticks([math.log(v / levels[0]) / step for v in ticks], [f"{v:g}" for v in ticks])
    bar.tick_params(length=0, pad=1)
    bar.set_title("loss", loc="left", fontsize=8.5, color=PALETTE["muted"], pad=2)


def _round(low: float, high: float) -> list[float]:
    """Numbers that people like between two: 1, 2 and 5 of each decade, fewer where there are many decades."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    few = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    return [float(f"{digit}e{d}") for d in decades for digit in few]

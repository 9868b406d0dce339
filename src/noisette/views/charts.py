"""Measured numbers -> charts: dots with their intervals, bars, and curves of several runs over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from noisette.views.curves import PALETTE, SIZE, legend, log_axis, plot, thin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("accent", "second", "third", "fourth", "fifth", "sixth")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
"""With more runs than colours, the colours come again with another dash."""

ROW, MARGIN = 0.24, 0.75
"""Inches: a row of a chart, and what its axes and legend need."""

LONGEST = 26


@dataclass(frozen=True)
class Dot:
    """A value with its interval, on the row of its label; colour counts through COLOURS."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    colour: int = 0


@dataclass(frozen=True)
class Line:
    """A run's curve; which says its colour and dash."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    which: int


def colour(which: int) -> str:
    return PALETTE[COLOURS[which % len(COLOURS)]]


def dash(which: int) -> str | tuple[int, tuple[float, ...]]:
    return DASHES[which // len(COLOURS) % len(DASHES)]


def short(text: str) -> str:
    """A name that leaves room for the chart beside it: its end is what tells names apart.

    As it is written: dollars are no mathematics, and a leading _ does not keep it out of a legend.
    """
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = text if len(text) <= LONGEST else "…" + text[1 - LONGEST :]
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def dots(found: Sequence[Dot], x: str, floors: Sequence[tuple[str, float]] = (), percent: bool = False) -> Figure:
    """A row for each dot, top to bottom, its 95 % interval as a whisker; floors are named vertical lines.

    Args:
        percent: the values are shares of 1, to be written as percentages.
    """
    from matplotlib.ticker import PercentFormatter

    height = MARGIN + ROW * len(found) + 0.17 * len(floors)
    with plot(x, "", (SIZE[0], height)) as (figure, axes):
        at = np.arange(len(found))
        for k, dot in enumerate(found):
            if dot.low is not None and dot.high is not None:
                axes.plot([dot.low, dot.high], [k, k], color=colour(dot.colour), lw=1.6, solid_capstyle="butt")
            axes.plot([dot.value], [k], "o", color=colour(dot.colour), ms=4.5, clip_on=False)
        for k, (name, value) in enumerate(floors):
            axes.axvline(value, color=PALETTE["muted"], lw=1.1, ls=DASHES[k % len(DASHES)], label=name, zorder=1)
        axes.set_yticks(at, [short(dot.label) for dot in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.grid(False, axis="y")
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        shown = [v for dot in found for v in (dot.low, dot.value, dot.high) if v is not None]
        shown += [value for _, value in floors]
        low, high = min(shown), max(shown)
        if low >= 0 and low < 0.6 * high:
            axes.set_xlim(0, 1.05 * high if high > 0 else 1)
        if floors:
            legend(axes, 1)
    return figure


def bars(names: Sequence[str], values: Sequence[float], x: str) -> Figure:
    """A horizontal bar for each name, top to bottom."""
    with plot(x, "", (SIZE[0], MARGIN + ROW * len(names))) as (figure, axes):
        at = np.arange(len(names))
        axes.barh(at, values, height=0.7, color=PALETTE["accent"], lw=0)
        axes.set_yticks(at, [short(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, max(1e-9, 1.02 * max(values)))
        axes.grid(False, axis="y")
    return figure


def steps_of_t(values: Sequence[float], y: str) -> Figure:
    """Values of equal bins of t in [0, 1], as bars that touch."""
    with plot("t  (0 clean, 1 noise)", y) as (figure, axes):
        edges = np.linspace(0, 1, len(values) + 1)
        axes.bar(edges[:-1], values, np.diff(edges), align="edge", color=PALETTE["accent"], ec=PALETTE["line"], lw=0.4)
        axes.set_xlim(0, 1)
        axes.grid(False, axis="x")
    return figure


def overlaid(lines: Sequence[Line], x: str, y: str, *, dotted: bool = False, from_zero: bool = False) -> Figure | None:
    """Curves of several runs, each in its own colour; logarithmic where they span a lot. None without a curve.

    Args:
        dotted: with a mark at each point, for curves of few of them.
        from_zero: the y axis begins at 0.
    """
    lines = [line for line in lines if len(line.x)]
    if not lines:
        return None
    rows = -(-len(lines) // 2)
    with plot(x, y, (SIZE[0], SIZE[1] + 0.17 * max(0, rows - 1))) as (figure, axes):
        for line in lines:
            mark = {"marker": "o", "ms": 3} if dotted else {}
            axes.plot(
                *thin(line.x, line.y),
                color=colour(line.which),
                ls=dash(line.which),
                lw=1.4,
                label=short(line.name),
                **mark,
            )
        drawn = np.concatenate([line.y for line in lines])
        axes.set_xlim(0, max(*(float(line.x[-1]) for line in lines), 1e-9))
        if from_zero:
            axes.set_ylim(0, 1.08 * max(float(drawn.max()), 1e-12))
        elif drawn.min() > 0 and drawn.max() / drawn.min() > 4:
            log_axis(axes, drawn)
        legend(axes, 2 if len(lines) > 3 or max(len(line.name) for line in lines) > 12 else 3, size=7.5)
    return figure

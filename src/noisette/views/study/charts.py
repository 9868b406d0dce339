"""Charts of settings: curves with a band over seeds, means with every seed beside them, quality over what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from noisette.views.charts import MARGIN, ROW, colour, dash, short
from noisette.views.curves import SIZE, legend, log_axis, plot, smooth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 200
WIDE = 4.0
"""A largest value this many times the smallest asks for a logarithmic axis."""

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(x, y) of one seed."""


@dataclass(frozen=True)
class Band:
    """A setting's curve: mean, lowest and highest over its seeds at each x; which says its colour and dash."""

    name: str
    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    which: int


def band(name: str, which: int, seeds: Sequence[Curve], noisy: bool = False) -> Band | None:
    """The curves of a setting's seeds on one axis, as far as all of them reach. None where there are none.

    Args:
        noisy: each is smoothed first.
    """
    seeds = [(x, smooth(y) if noisy else y) for x, y in seeds if len(x)]
    if not seeds:
        return None
    first, last = max(x[0] for x, _ in seeds), min(x[-1] for x, _ in seeds)
    own = seeds[0][0][(seeds[0][0] >= first) & (seeds[0][0] <= last)]
    x = own if 0 < len(own) <= POINTS else np.linspace(first, last, POINTS)
    y = np.stack([np.interp(x, at, values) for at, values in seeds])
    return Band(name, x, y.mean(0), y.min(0), y.max(0), which)


def bands(found: Sequence[Band], x: str, y: str, dotted: bool = False) -> Figure | None:
    """Curves of settings over each other; logarithmic where they span a lot. None without a curve.

    Args:
        dotted: with a mark at each point, for curves of few of them.
    """
    if not found:
        return None
    with plot(x, y, (SIZE[0], SIZE[1] + _legend_height(len(found)))) as (figure, axes):
        for b in found:
            mark = {"marker": "o", "ms": 3} if dotted else {}
            axes.fill_between(b.x, b.low, b.high, color=colour(b.which), alpha=0.18, lw=0)
            axes.plot(b.x, b.mean, color=colour(b.which), ls=dash(b.which), lw=1.4, label=short(b.name), **mark)
        drawn = np.concatenate([part for b in found for part in (b.low, b.high)])
        axes.set_xlim(0, max(*(float(b.x[-1]) for b in found), 1e-9))
        if drawn.min() > 0 and drawn.max() / drawn.min() > WIDE:
            log_axis(axes, drawn)
        _legend(axes, [b.name for b in found])
    return figure


def _legend_height(rows: int) -> float:
    return 0.17 * max(0, -(-rows // 2) - 1)


def _legend(axes: Axes, names: Sequence[str]) -> None:
    legend(axes, 2 if len(names) > 3 or max(map(len, names)) > 12 else 3, size=7.5)


@dataclass(frozen=True)
class Row:
    """A setting's mean with its interval, and what each seed gave."""

    name: str
    value: float
    low: float | None
    high: float | None
    seeds: Sequence[float]
    which: int

    def over(self, size: float) -> Row:
        """The same in another unit, of this size."""
        low, high = (None if v is None else v / size for v in (self.low, self.high))
        return replace(self, value=self.value / size, low=low, high=high, seeds=[v / size for v in self.seeds])


def rows(found: Sequence[Row], x: str, percent: bool = False) -> Figure:
    """A row for each setting: its mean and 95 % interval, and a faint dot for every seed.

    Args:
        percent: the values are shares of 1, to be written as percentages.
    """
    from matplotlib.ticker import PercentFormatter

    with plot(x, "", (SIZE[0], MARGIN + ROW * len(found))) as (figure, axes):
        for k, row in enumerate(found):
            seen = colour(row.which)
            axes.plot(row.seeds, [k] * len(row.seeds), "o", color=seen, alpha=0.35, ms=3, clip_on=False)
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [k, k], color=seen, lw=1.6, solid_capstyle="butt")
            axes.plot([row.value], [k], "o", color=seen, ms=5, clip_on=False)
        axes.set_yticks(np.arange(len(found)), [short(row.name) for row in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.grid(False, axis="y")
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        shown = [v for row in found for v in (row.low, row.value, row.high, *row.seeds) if v is not None]
        if min(shown) >= 0 and min(shown) < 0.6 * max(shown):
            axes.set_xlim(0, 1.05 * max(shown) or 1)
    return figure


@dataclass(frozen=True)
class Point:
    """A setting at what it costs; points of one group are joined."""

    name: str
    group: str
    x: float
    y: float
    low: float | None
    high: float | None


def tradeoff(found: Sequence[Point], x: str, y: str) -> Figure:
    """Quality over cost, which is logarithmic where it spans a lot; a colour for each group, in the order of cost."""
    groups = list(dict.fromkeys(p.group for p in found))
    with plot(x, y, (SIZE[0], SIZE[1] + _legend_height(len(groups)))) as (figure, axes):
        for which, group in enumerate(groups):
            mine = sorted((p for p in found if p.group == group), key=lambda p: p.x)
            for p in mine:
                if p.low is not None and p.high is not None:
                    axes.plot([p.x, p.x], [p.low, p.high], color=colour(which), lw=1.2, solid_capstyle="butt")
            at, values = [p.x for p in mine], [p.y for p in mine]
            axes.plot(at, values, color=colour(which), ls=dash(which), lw=1.2, marker="o", ms=4, label=short(group))
        costs = np.array([p.x for p in found])
        drawn = np.array([v for p in found for v in (p.low, p.y, p.high) if v is not None])
        if costs.min() > 0 and costs.max() / costs.min() > WIDE:
            _log_x(axes, costs)
        else:
            axes.set_xlim(0, 1.06 * costs.max())
        if drawn.min() > 0 and drawn.max() / drawn.min() > WIDE:
            log_axis(axes, drawn)
        _legend(axes, groups)
    return figure


def _log_x(axes: Axes, costs: NDArray[np.float64]) -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if costs.max() / costs.min() < 1000 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)

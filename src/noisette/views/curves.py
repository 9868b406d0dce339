"""Rows of metrics and schedules -> curves, as matplotlib figures and as SVG for a page.

matplotlib is imported when a curve is drawn and never through pyplot, so nothing is left behind. The SVG is the same
for the same numbers, its text is text, and its colours are those of PALETTE, which a page may replace by its own.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from noisette.diffusion.schedules import NoiseSchedule

Rows = Sequence[Mapping[str, Any]]
"""Lines of metrics.jsonl."""

PALETTE = {
    "ink": "#24292e",
    "muted": "#6b7279",
    "line": "#d9dcdf",
    "accent": "#2a6fb0",
    "accent-soft": "#b4cfe8",
    "second": "#c4571b",
    "third": "#2e8b57",
    "fourth": "#8a4fb5",
    "fifth": "#a5850f",
    "sixth": "#c2407f",
}
"""The names under which a page's style sheet has these colours, and what they are on white paper."""

SIZE = (4.4, 2.75)
"""Inches. Two of them fit beside each other on a desk, and one of them is as wide as a phone, at readable letters."""

POINTS = 400
SMOOTH = 0.03
FINAL = 0.2


@contextmanager
def style() -> Iterator[None]:
    """Our look, for as long as a figure is made or written."""
    import matplotlib as mpl

    settings: Any = {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 8.5,
        "text.color": PALETTE["ink"],
        "axes.labelcolor": PALETTE["muted"],
        "axes.edgecolor": PALETTE["line"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.formatter.use_mathtext": False,
        "grid.color": PALETTE["line"],
        "grid.linewidth": 0.6,
        "xtick.color": PALETTE["line"],
        "ytick.color": PALETTE["line"],
        "xtick.labelcolor": PALETTE["muted"],
        "ytick.labelcolor": PALETTE["muted"],
        "legend.frameon": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
    }
    with mpl.rc_context(settings):
        yield


@contextmanager
def plot(x: str, y: str, size: tuple[float, float] = SIZE) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one pair of axes, named x and y, of this size in inches."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with style():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
        yield figure, axes


def svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element. `name` keeps its inner names apart from those of others on the page."""
    file = io.StringIO()
    with style():
        import matplotlib as mpl

        mpl.rcParams["svg.hashsalt"] = name
        with warnings.catch_warnings():  # the text stays text, and a browser has the letters that our font lacks
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    return re.sub(r'<g id="[a-z_0-9.]+"', "<g", text).strip() + "\n"


def themed(text: str) -> str:
    """An SVG whose colours are the variables of a page's style sheet (--ink, --accent, ...)."""
    for name, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{name})")
    return text


# --- numbers ------------------------------------------------------------------------------------------------------


def series(rows: Rows, key: str, x: str = "step") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(x, values) of a key where both are finite numbers."""
    pairs = [(row[x], row[key]) for row in rows if finite(row.get(x)) and finite(row.get(key))]
    found = np.array(pairs, np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def finite(value: Any) -> bool:
    """Whether a value read from JSON is a number to draw."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def smooth(values: NDArray[np.float64], share: float = SMOOTH) -> NDArray[np.float64]:
    """A centred moving average over this share of the values; the window shrinks at both ends."""
    half = min(int(len(values) * share), (len(values) - 1) // 2)
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    reach = np.minimum(half, np.minimum(at, len(values) - 1 - at))
    mean: NDArray[np.float64] = (total[at + reach + 1] - total[at - reach]) / (2 * reach + 1)
    return mean


def thin(*arrays: NDArray[np.float64], most: int = POINTS) -> tuple[NDArray[np.float64], ...]:
    """At most about `most` points of each array, evenly chosen, the last one among them."""
    n = len(arrays[0])
    keep = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) if n else np.empty(0, int)
    return tuple(a[keep] for a in arrays)


def final_by_time(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(middle of each bin of t, mean training loss there) over the last fifth of the steps; empty bins are left out.

    Bins are weighted by how many images fell into them.
    """
    rows = [row for row in rows if row.get("loss_t") and finite(row.get("step"))]
    if not rows:
        return np.empty(0), np.empty(0)
    last = rows[-1]
    bins = len(last["loss_t"])
    total, count = np.zeros(bins), np.zeros(bins)
    for row in rows:
        if row["step"] <= (1 - FINAL) * last["step"] or len(row["loss_t"]) != bins:
            continue
        weights = row.get("count_t") or [1] * bins
        for k, (value, weight) in enumerate(zip(row["loss_t"], weights, strict=False)):
            if finite(value) and finite(weight) and weight > 0:
                total[k] += value * weight
                count[k] += weight
    seen = count > 0
    return ((np.arange(bins) + 0.5) / bins)[seen], total[seen] / count[seen]


def last_held_out_by_time(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(middle of each bin of t, loss on held-out images there) of the last validation."""
    for row in reversed(rows):
        values = row.get("val_loss_t")
        if values:
            pairs = [((k + 0.5) / len(values), v) for k, v in enumerate(values) if finite(v)]
            found = np.array(pairs, np.float64).reshape(-1, 2)
            return found[:, 0], found[:, 1]
    return np.empty(0), np.empty(0)


# --- curves: each is None where there is nothing to draw ----------------------------------------------------------


def loss(rows: Rows) -> Figure | None:
    """Training loss, raw and smoothed, and loss on held-out images, over steps; logarithmic where it spans a lot."""
    steps, values = series(rows, "loss")
    checked, held_out = series(rows, "val_loss")
    if not len(values) and not len(held_out):
        return None
    with plot("step", "loss") as (figure, axes):
        axes.set_xlim(0, max(1.0, *steps[-1:], *checked[-1:]))
        if len(values):
            axes.plot(*thin(steps, values), color=PALETTE["accent-soft"], lw=0.8)
            axes.plot(*thin(steps, smooth(values)), color=PALETTE["accent"], lw=1.6, label="training")
        if len(held_out):
            axes.plot(
                checked, held_out, "o-", color=PALETTE["second"], ms=3, lw=1.2, label="held out, averaged weights"
            )
        drawn = np.concatenate([values, held_out])
        if drawn.min() > 0 and drawn.max() / drawn.min() > 4:
            log_axis(axes, drawn)
        legend(axes)
    return figure


def legend(axes: Axes, columns: int = 3, size: float = 8.5) -> None:
    """Above the axes, where no curve can run through it; letters of this size in points."""
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.99), "borderaxespad": 0}
    axes.legend(**place, ncols=columns, columnspacing=1.4, fontsize=size)


def log_axis(axes: Axes, drawn: NDArray[np.float64]) -> None:
    """A logarithmic y axis with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = math.log10(drawn.max() / drawn.min())
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", length=0)


def _simple(rows: Rows, key: str, y: str, format_y: Callable[[float], str]) -> Figure | None:
    from matplotlib.ticker import FuncFormatter

    steps, values = series(rows, key)
    if not len(values):
        return None
    with plot("step", y) as (figure, axes):
        axes.set_xlim(0, max(1.0, steps[-1]))
        axes.plot(*thin(steps, values), color=PALETTE["accent"], lw=1.4)
        axes.set_ylim(bottom=0, top=1.08 * max(float(values.max()), 1e-12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: format_y(v)))
    return figure


def speed(rows: Rows, label: str = "images a second") -> Figure | None:
    """Images a second, or what else they are, over steps."""
    return _simple(rows, "images_per_second", label, lambda v: f"{v:,.10g}")


def learning_rate(rows: Rows) -> Figure | None:
    """Learning rate over steps."""
    return _simple(rows, "lr", "learning rate", lambda v: f"{v:g}")


def proxy(rows: Rows) -> Figure | None:
    """The quick Fréchet distance that was logged while it trained, over steps, and that of real images."""
    steps, values = series(rows, "proxy_fd")
    _, floor = series(rows, "proxy_floor")
    if not len(values):
        return None
    with plot("step", "Fréchet distance, quick") as (figure, axes):
        axes.plot(steps, values, "o-", color=PALETTE["accent"], ms=3, lw=1.4, label="samples")
        axes.set_xlim(0, max(1.0, steps[-1]))
        if len(floor):
            axes.axhline(floor[-1], color=PALETTE["muted"], lw=1.1, ls=(0, (4, 3)), label="real images")
            values = np.append(values, floor[-1])
            legend(axes)
        if values.min() > 0 and values.max() / values.min() > 4:
            log_axis(axes, values)
        else:
            axes.set_ylim(bottom=0, top=1.08 * max(float(values.max()), 1e-12))
    return figure


def gradient(rows: Rows) -> Figure | None:
    """Norm of the gradient before clipping, over steps."""
    steps, values = series(rows, "grad_norm")
    if not len(values):
        return None
    with plot("step", "norm of the gradient") as (figure, axes):
        axes.set_xlim(0, max(1.0, steps[-1]))
        axes.plot(*thin(steps, values), color=PALETTE["accent-soft"], lw=0.8)
        axes.plot(*thin(steps, smooth(values)), color=PALETTE["accent"], lw=1.6)
        if values.min() > 0 and values.max() / values.min() > 4:
            log_axis(axes, values)
    return figure


def loss_by_time(rows: Rows) -> Figure | None:
    """Loss at the end of training by noise level, in training and on held-out images."""
    t, values = final_by_time(rows)
    checked, held_out = last_held_out_by_time(rows)
    if not len(t) and not len(checked):
        return None
    with plot("t  (0 clean, 1 noise)", "loss") as (figure, axes):
        if len(t):
            axes.plot(t, values, "o-", color=PALETTE["accent"], ms=3, lw=1.4, label="training, last fifth")
        if len(checked):
            axes.plot(checked, held_out, "o-", color=PALETTE["second"], ms=3, lw=1.2, label="held out, last check")
        axes.set_xlim(0, 1)
        drawn = np.concatenate([values, held_out])
        if drawn.min() > 0 and drawn.max() / drawn.min() > 8:
            log_axis(axes, drawn)
        legend(axes)
    return figure


def schedule_signal(schedule: NoiseSchedule) -> Figure:
    """What is left of the image (signal) and what has come in (noise) by time, as shares of the amplitude."""
    from matplotlib.ticker import PercentFormatter

    t = np.linspace(0, 1, 201)
    signal = np.array([float(schedule.alpha_bar(float(v))) for v in t]).clip(0, 1)
    with plot("t  (0 clean, 1 noise)", "share of the amplitude") as (figure, axes):
        axes.plot(t, signal**0.5, color=PALETTE["accent"], lw=1.6, label="signal  √α̅")
        axes.plot(t, (1 - signal) ** 0.5, color=PALETTE["second"], lw=1.6, label="noise  √(1 − α̅)")
        axes.plot(t, signal, color=PALETTE["muted"], lw=1.1, ls=(0, (4, 3)), label="α̅")
        axes.plot([1], [schedule.terminal_signal], "o", color=PALETTE["accent"], ms=4, clip_on=False, zorder=5)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        legend(axes)
    return figure


def schedule_log_snr(schedule: NoiseSchedule) -> Figure:
    """log(signal power / noise power) by time, in nats, over the times that are trained on."""
    t = np.linspace(schedule.t_min, 1, 201)
    values = np.array([float(schedule.log_snr(float(v))) for v in t])
    finite = np.isfinite(values)
    with plot("t  (0 clean, 1 noise)", "log-SNR (nats)") as (figure, axes):
        axes.axhline(0, color=PALETTE["muted"], lw=0.8, ls=(0, (4, 3)))
        axes.annotate("as much noise as signal", (0.99, 0), xytext=(0, 3), textcoords="offset points", ha="right")
        axes.plot(t[finite], values[finite], color=PALETTE["accent"], lw=1.6)
        axes.set_xlim(0, 1)
        axes.set_ylim(max(values[finite].min(), -25) - 1, min(values[finite].max(), 25) + 1)
    return figure

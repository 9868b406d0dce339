"""The curves of the explanations."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from noisette.views import curves
from noisette.views.curves import PALETTE, SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from noisette.diffusion.schedules import NoiseSchedule
    from noisette.tasks.interpolate import Path, Smoothness
    from noisette.tasks.levels import Losses

Dash = str | tuple[int, tuple[float, ...]]
DASHED: Dash = (0, (4, 3))
DOTTED: Dash = (0, (1, 1.5))

MODELS = {
    "training": ("the net, training pictures", "accent", "-"),
    "held_out": ("the net, held-out pictures", "second", "-"),
    "linear": ("best linear denoiser", "muted", DASHED),
    "memory": ("perfect memory", "third", DOTTED),
}
BELOW = 8
"""A curve that falls below the net's own by more than this factor leaves the picture."""


def by_level(losses: Losses, space: str) -> Figure:
    """Loss by noise level of the net and of the exact models of the same pictures."""
    with curves.plot("t  (0 clean, 1 noise)", f"loss in {space}") as (figure, axes):
        shown = []
        for model, (name, colour, dash) in MODELS.items():
            if model in losses.losses[space]:
                t, mean, _ = losses.by_level(space, model)
                marker = "o" if dash == "-" else None
                axes.plot(t, mean.clip(1e-12), marker=marker, ls=dash, color=PALETTE[colour], ms=3, lw=1.4, label=name)
                shown += [] if model == "memory" else [mean[mean > 0]]
        drawn = np.concatenate(shown)
        axes.set_xlim(0, 1)
        curves.log_axis(axes, drawn)
        axes.set_ylim(drawn.min() / BELOW, drawn.max() * 1.5)
        curves.legend(axes, 2)
    return figure


def every_schedule(own: NoiseSchedule, steps: int) -> tuple[Figure, Figure]:
    """(alpha_bar, log-SNR) of every schedule, a small chart each, with the run's own behind it."""
    return _small_charts(own, steps, signal=True), _small_charts(own, steps, signal=False)


def quiet(name: str, steps: int, scaled: bool = True) -> NoiseSchedule:
    """A schedule without its warning: the page says which leave too much signal."""
    from noisette.diffusion.schedules import make_schedule

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_schedule(name, steps, scaled)


def schedules(steps: int) -> dict[str, NoiseSchedule]:
    """Every schedule at this T, by name."""
    from noisette.diffusion.schedules import SCHEDULES

    return {name: quiet(name, steps) for name in SCHEDULES}


def _small_charts(own: NoiseSchedule, steps: int, signal: bool) -> Figure:
    with curves.style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(SIZE[0], SIZE[1] + 0.3))  # of eight axes, a constrained layout would take a second
        figure.subplots_adjust(left=0.09, right=0.975, bottom=0.11, top=0.93, wspace=0.28, hspace=0.3)
        every = schedules(steps)
        grid = figure.subplots(2, -(-len(every) // 2), sharex=True, sharey=True)
        for axes, (name, schedule) in zip(grid.flat, every.items(), strict=False):
            _one(axes, own, "accent-soft", 3.5, signal)
            _one(axes, schedule, "accent" if name == own.name else "ink", 1.3, signal)
            axes.set_title(name.replace("continuous_", "cont. "), fontsize=7.5, color=PALETTE["ink"], pad=3)
            axes.set_xlim(0, 1)
            axes.set_ylim((0, 1.02) if signal else (-14, 14))
            axes.set_xticks([0, 1], ["0", "1"])
            axes.set_yticks([0, 0.5, 1] if signal else [-10, 0, 10])
        for axes in grid[-1]:
            axes.set_xlabel("t", labelpad=0)
    return figure


def _one(axes: Axes, schedule: NoiseSchedule, colour: str, width: float, signal: bool) -> None:
    import torch

    t = torch.linspace(0 if signal else schedule.t_min, 1, 121, dtype=torch.float64)
    values = (schedule.alpha_bar(t) if signal else schedule.log_snr(t)).numpy()
    axes.plot(t, values.clip(-99, 99), color=PALETTE[colour], lw=width, solid_capstyle="butt")


def unevenness(found: Sequence[tuple[Path, Smoothness]], names: Sequence[str]) -> Figure:
    """How far each picture of an interpolation is from the one before it, as a share of the mean of its path."""
    with curves.plot("share of the way", "step, of the mean step") as (figure, axes):
        axes.axhline(1, color=PALETTE["muted"], lw=0.8)
        for (path, smooth), name, (colour, dash) in zip(found, names, _looks(len(found)), strict=True):
            middle = (path.share[1:] + path.share[:-1]) / 2
            steps = smooth.steps / max(float(smooth.steps.mean()), 1e-12)
            axes.plot(middle, steps, marker="o", ls=dash, color=PALETTE[colour], ms=3, lw=1.4, label=name)
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        curves.legend(axes)
    return figure


def norms(paths: Mapping[str, Path]) -> Figure:
    """How long the noise is on the way, as a share of the length that pure noise has."""
    with curves.plot("share of the way", "length of the noise") as (figure, axes):
        axes.axhline(1, color=PALETTE["muted"], lw=0.8)
        for (name, path), (colour, dash) in zip(paths.items(), _looks(len(paths)), strict=True):
            axes.plot(path.share, path.norm, marker="o", ls=dash, color=PALETTE[colour], ms=3, lw=1.4, label=name)
        axes.set_xlim(0, 1)
        axes.set_ylim(0.6, 1.1)
        curves.legend(axes)
    return figure


def _looks(count: int) -> list[tuple[str, Dash]]:
    return [("accent", "-"), ("second", DASHED), ("third", "-")][:count]

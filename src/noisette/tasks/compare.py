"""The same noise through different checkpoints, weights, samplers and strengths of guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Stored
from noisette.diffusion.denoisers import NetDenoiser
from noisette.diffusion.samplers import SAMPLERS, adds_noise, network_calls
from noisette.experiment import build
from noisette.experiment.config import SampleConfig
from noisette.experiment.runs import Run
from noisette.tasks.generate import draw

STRENGTHS = (0.0, 1.0, 2.0, 4.0)
GRID = SampleConfig().grid
CALLS = 25  # odd, so that Heun's method, at two calls a step and one in the last, comes out even with the others
LIMIT = 3
"""The sampling equation counts as solved with this many times the calls."""

SAME = {"ddim": "ddim, euler"}
"""Without noise of its own, ddim takes Euler's very steps: they are drawn once."""


@dataclass(frozen=True)
class Row:
    """What became of the noises, x as samples are kept; `off` is how far it is from what it is compared with, (N,)."""

    label: str
    x: Stored
    settings: SampleConfig
    off: NDArray[np.float64] | None = None

    @property
    def calls(self) -> int:
        """NFE: network calls for one picture, without guidance."""
        return network_calls(self.settings.sampler, self.settings.steps)


@dataclass(frozen=True)
class Noises:
    """The noises to compare with: a seed each, a label each where the net is told labels, and how to sample."""

    run: Run
    seeds: Sequence[int]
    labels: NDArray[np.int64] | None
    settings: SampleConfig

    def row(self, label: str, model: build.Model, **changes: Any) -> Row:
        """The pictures that a model makes of these noises, with some settings changed."""
        settings, shape = self.settings.model_copy(update=self.settings.filled(changes)), self.run.shape
        x, _ = draw(model, settings, shape, self.seeds, self.labels, chunk=len(self.seeds))
        return Row(label, x, settings)


def rms(a: Stored, b: Stored) -> NDArray[np.float64]:
    """Root mean square difference of samples, (N,), in grey levels of 0 to 255, or in the unit of clips."""
    return np.asarray(np.sqrt(((a.astype(np.float64) - b) ** 2).reshape(len(a), -1).mean(1)))


def _against(rows: Sequence[Row], others: Sequence[Row | None]) -> list[Row]:
    """The rows with their distance from others."""
    return [
        replace(row, off=None if other is None else rms(row.x, other.x))
        for row, other in zip(rows, others, strict=True)
    ]


def checkpoints(noises: Noises, steps: Sequence[int], newest: Stored | None = None) -> list[Row]:
    """The same noise through the averaged weights of checkpoints; each is compared with the one before it.

    newest: what the last of them makes of the noises, where that is known.
    """
    drawn = steps if newest is None else steps[:-1]
    rows = [noises.row(f"step {step:,}", build.trained(noises.run, "ema", step)[0]) for step in drawn]
    if newest is not None:
        rows.append(Row(f"step {steps[-1]:,}", newest, noises.settings))
    return _against(rows, [None, *rows[:-1]])


def weights(noises: Noises, averaged: Stored | None = None) -> tuple[Row, Row]:
    """(the averaged weights, the raw ones, compared with them); averaged: what the former make, where it is known."""
    if averaged is None:
        ema = noises.row("averaged", build.trained(noises.run, "ema")[0])
    else:
        ema = Row("averaged", averaged, noises.settings)
    raw = noises.row("raw", build.trained(noises.run, "raw")[0])
    return ema, replace(raw, off=rms(raw.x, ema.x))


def samplers(noises: Noises, model: NetDenoiser, calls: int = CALLS) -> tuple[list[Row], Row]:
    """(every sampler at the same number of network calls, the solution that the deterministic ones approach).

    All walk the usual grid, not that of the run, which was chosen for its sampler. ddim has no noise of its own.
    Heun's method takes an odd number of calls: one less where `calls` is even. The solution is what dpmpp_2m gives
    with LIMIT times the calls, or Heun's method at every step of a table that has fewer; the deterministic rows are
    compared with it.
    """
    rows = []
    for name in SAMPLERS:
        if name != "euler":
            steps = (calls + 1) // 2 if name == "heun" else calls
            rows.append(noises.row(SAME.get(name, name), model, sampler=name, steps=steps, eta=0.0, grid=GRID))
    steps, T = LIMIT * calls, model.schedule.steps
    name, steps = ("dpmpp_2m", steps) if T is None or steps <= T else ("heun", T)
    solved = noises.row("solved", model, sampler=name, steps=steps, eta=0.0, grid=GRID)
    return _against(rows, [None if adds_noise(row.settings.sampler) else solved for row in rows]), solved


def guidance(noise: Noises, model: NetDenoiser, strengths: Sequence[float] = STRENGTHS) -> list[Row]:
    """One noise at every strength of guidance, for each of the labels; at 0, where none counts, drawn once."""
    rows = []
    for strength in strengths:
        if strength == 0:
            one = replace(noise, seeds=noise.seeds[:1], labels=None if noise.labels is None else noise.labels[:1])
            row = one.row("0", model, guidance=0.0)
            rows.append(replace(row, x=row.x.repeat(len(noise.seeds), axis=0)))
        else:
            rows.append(noise.row(f"{strength:g}", model, guidance=strength))
    return rows

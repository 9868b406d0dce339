"""What the sections of a report are made from: a run's files, samples and data, each fetched once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from noisette.errors import UserError
from noisette.experiment.runs import Run
from noisette.views import scores

if TYPE_CHECKING:
    from noisette.data.medium import Data
    from noisette.diffusion.schedules import NoiseSchedule
    from noisette.experiment import build
    from noisette.tasks.generate import Frame, Samples

SAMPLES, SHOWN_WAYS = 36, 3

KEPT = 2**28
"""Bytes of steps that are kept in memory to draw samples and trajectories at once; beyond, they are drawn apart."""


class Material:
    """Everything that the sections read of a run, each thing fetched once and when it is first asked for."""

    def __init__(self, run: Run):
        self.run, self.config = run, run.config
        self.meta, self.data = _or_empty(lambda: run.meta), _or_empty(lambda: run.data)
        self.rows = [row for row in run.metrics() if isinstance(row, dict)]
        last = self.rows[-1] if self.rows else {}
        counted = {"seconds": last.get("seconds"), "images": last.get("images"), "steps": last.get("step")}
        self.meta = {**{key: value for key, value in counted.items() if value is not None}, **self.meta}

    @cached_property
    def drawn(self) -> tuple[Samples, list[Frame]]:
        """The samples, and every step of the first few of them, where there are steps.

        Raises UserError without a usable checkpoint.
        """
        from noisette.tasks.generate import generate

        self.run.checkpoint()
        if "shape" not in self.data:
            raise UserError("data.json, which would say what shape the pictures have, is missing or incomplete")
        if self.config.sample.at_once:
            return generate(self.run, SAMPLES)
        steps = self.config.sample.steps
        size = math.prod(self.run.shape.x) * self.run.shape.medium.dtype.itemsize
        if 2 * SAMPLES * size * steps <= KEPT:
            samples, frames = generate(self.run, SAMPLES, frames=True)
            few = slice(SHOWN_WAYS)
            return samples, [replace(f, x=f.x[few], x0=None if f.x0 is None else f.x0[few]) for f in frames]
        return generate(self.run, SAMPLES)[0], generate(self.run, SHOWN_WAYS, frames=True)[1]

    @cached_property
    def model(self) -> build.Model:
        """What draws, with its averaged weights. Raises UserError without a usable checkpoint."""
        from noisette.experiment import build

        return build.trained(self.run)[0]

    @cached_property
    def schedule(self) -> NoiseSchedule:
        from noisette.experiment import build

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the page says it itself
            return build.schedule(self.config.schedule)

    @cached_property
    def scores(self) -> list[scores.Score]:
        """What was measured of the run, oldest first."""
        return scores.read(self.run.evaluations())

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        found = self.run.checkpoints()
        return found[-1].step if found else None

    @cached_property
    def images(self) -> Data:
        """The data that the run learned from. Raises UserError when it is gone or has changed."""
        from noisette.experiment import build

        return build.data(self.run)


def _or_empty(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except UserError:
        return {}

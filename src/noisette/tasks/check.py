"""The preflight: what is in the data, what would be trained on it, and how far the time goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from noisette.data import inspect
from noisette.data.medium import Data
from noisette.data.motion import MotionData
from noisette.data.motion import inspect as motion_inspect
from noisette.experiment import build
from noisette.experiment.config import Config, merge
from noisette.experiment.runs import Shape
from noisette.tasks import machine
from noisette.tasks.estimate import Estimate, estimate
from noisette.tasks.train import decided, looks, planned

FEW_EPOCHS = 5.0


@dataclass
class Preflight:
    """statistics: of the data, see noisette.data.inspect; config: what `train` would use, with what was left open
    settled by measurement; estimate: what that comes to; free: bytes of memory to be had; warnings: plain words."""

    shape: Shape
    statistics: dict[str, Any]
    config: Config
    parameters: int
    estimate: Estimate
    free: int
    notes: list[str]
    skipped: list[dict[str, str]]
    warnings: list[str]


def check(
    source: str,
    settings: Mapping[str, Any],
    recipe: str | None = None,
    minutes: float = 2.0,
    progress: Callable[[int, int], None] | None = None,
) -> Preflight:
    """Looks at the data and times a few training steps. Raises UserError.

    Nothing is written but the cache: decoded images, and what the trial found.
    """
    data, shape, config = planned(source, merge(settings, {"train.minutes": minutes}), recipe, progress)
    with machine.same_threads():
        settled = decided(config, shape, patient=False)
    resident = machine.resident(build.device(config.train.device))
    once, a_step = looks(settled.config, shape, len(data.held_out))
    expected = estimate(settled, shape, len(data.train), resident, once, a_step)
    stats, remarks = _looked_at(data)
    found = Preflight(
        shape=shape,
        statistics=stats,
        config=settled.config,
        parameters=sum(p.numel() for p in build.learning(settled.config, shape).parameters()),
        estimate=expected,
        free=machine.free_memory(build.device(config.train.device)),
        notes=list(data.info.get("notes", [])),
        skipped=list(data.info.get("skipped", [])),
        warnings=remarks,
    )
    if expected.epochs < FEW_EPOCHS:
        found.warnings.append(
            f"In {minutes:g} minutes {'a clip' if shape.moves else 'an image'} is seen {expected.epochs:.1f} times: "
            f"more minutes or a smaller {'--frames' if shape.moves else '--image-size'} help."
        )
    return found


def _looked_at(data: Data) -> tuple[dict[str, Any], list[str]]:
    """(statistics of the data, what they mean in plain words)."""
    if isinstance(data, MotionData):
        found = motion_inspect.statistics(data)
        return found, motion_inspect.warnings(found)
    found = inspect.statistics(data)
    return found, inspect.warnings(found)

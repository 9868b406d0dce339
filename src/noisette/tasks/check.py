"""The preflight: what is in the data, what would be trained on it, and how far the time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from noisette.data import load
from noisette.data.inspect import statistics
from noisette.data.inspect import warnings as data_warnings
from noisette.data.spec import DataSpec
from noisette.experiment import build
from noisette.experiment.config import Config, merge
from noisette.experiment.runs import Shape
from noisette.tasks.measure import Trial, free_memory, settle
from noisette.tasks.train import shape_of
from noisette.tasks.trainer import Trainer

FEW_EPOCHS = 5.0
TRIED = 3  # training steps


@dataclass
class Preflight:
    """statistics: of the data, see noisette.data.inspect; config: the recipe that `train` would use, precision and
    micro-batch settled by measurement; images_per_second, memory (bytes): measured here; warnings: plain words."""

    shape: Shape
    statistics: dict[str, Any]
    config: Config
    parameters: int
    images_per_second: float
    memory: int
    free: int
    notes: list[str]
    skipped: list[dict[str, str]]
    warnings: list[str]

    def images_in(self, minutes: float) -> int:
        return int(self.images_per_second * 60 * minutes)

    def epochs_in(self, minutes: float) -> float:
        return self.images_in(minutes) / max(self.statistics["train"], 1)


def check(
    source: str,
    settings: Mapping[str, Any],
    recipe: str | None = None,
    minutes: float = 2.0,
    progress: Callable[[int, int], None] | None = None,
) -> Preflight:
    """Looks at the data and tries a few training steps; nothing is written but the decoded cache. Raises UserError."""
    data = load(DataSpec(**build.data_settings(source, recipe, settings).model_dump()), progress)
    shape = shape_of(data)
    config = build.resolve(shape, recipe, merge(settings, {"data.source": source}))
    build.check(config, shape)
    trial = Trial(config, shape)
    config, _ = settle(config, trial)
    size = config.train.micro_batch or config.train.batch
    trainer = Trainer(config, shape, data)
    trainer.advance(0.0)  # the first step is slower than the others
    begun = time.perf_counter()
    for _ in range(TRIED):
        trainer.advance(0.0)
    speed = TRIED * config.train.batch / (time.perf_counter() - begun)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    stats = statistics(data)
    found = Preflight(
        shape=shape,
        statistics=stats,
        config=config,
        parameters=parameters,
        images_per_second=speed,
        memory=trial.memory_a_sample() * size + parameters * 4 * 5,  # weights, gradients, two moments, EMA
        free=free_memory(trial.device),
        notes=list(data.info.get("notes", [])),
        skipped=list(data.info.get("skipped", [])),
        warnings=data_warnings(stats),
    )
    if (epochs := found.epochs_in(minutes)) < FEW_EPOCHS:
        found.warnings.append(
            f"In {minutes:g} minutes an image is seen {epochs:.1f} times: more minutes or a smaller --image-size help."
        )
    return found

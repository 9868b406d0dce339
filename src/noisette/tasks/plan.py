"""What an evaluation will do: which samplers, with which settings, and how many samples fit in the time there is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisette.diffusion import samplers
from noisette.diffusion.schedules import TerminalSignalWarning
from noisette.errors import UserError, nearest
from noisette.experiment import build
from noisette.experiment.config import Config, SampleConfig
from noisette.metrics.features import Extractor
from noisette.tasks import shards
from noisette.tasks.generate import one_call, settings_in

FITS = 0.7
"""Share of a limit in minutes that may be planned with: the rest is for likelihoods, for neighbours, and for a machine
that is slower later on than in its trial."""

COUNTS = (100, 250, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
"""How many samples a limit in minutes may lead to: few numbers, so that runs measured in a like time compare."""

OPTIONS = ("eta", "variance", "grid", "guidance", "clip")
"""What may follow a sampler and its steps."""


@dataclass(frozen=True)
class Plan:
    """n samples for each sampler, `draws` of them still to be drawn; all in about `seconds`, likelihoods apart."""

    n: int
    labels: tuple[str, ...]
    draws: int
    seconds: float


def chosen(model: shards.Model, specs: tuple[str, ...]) -> dict[str, SampleConfig]:
    """The settings of samplers written as "ddim:50" or "ddim:50:eta=1", by label; the run's own where none is given.

    Raises:
        UserError: an unknown sampler or option, or one that this sampler or net cannot follow.
    """
    own = model.run.config.sample
    found = {_label(spec, own): spec for spec in specs or (own.label,)}
    config, labelled = model.run.config, model.labelled
    return {label: own if label == own.label else settings(spec, config, labelled) for label, spec in found.items()}


def _label(spec: str, own: SampleConfig) -> str:
    """A sampler's name in tables: "ddim" -> "ddim:50", with the run's own number of steps."""
    if spec.strip() == own.label:
        return own.label
    name, *rest = spec.strip().split(":")
    return ":".join([name, *(rest if rest and "=" not in rest[0] else [str(own.steps), *rest])])


def settings(spec: str, config: Config, labelled: bool) -> SampleConfig:
    """The settings of a sampler written as "ddim:50:eta=1", for a run of this config whose net is told labels or not.

    Raises:
        UserError: an unknown sampler or option, or one that this sampler or net cannot follow.
    """
    name, steps, *more = _label(spec, config.sample).split(":")
    if name not in samplers.SAMPLERS:
        raise UserError(f'unknown sampler "{name}"{nearest(name, samplers.SAMPLERS)}')
    changes: dict[str, Any] = {"sampler": name}
    elsewhere = build.without_effect(name)
    try:
        changes["steps"] = int(steps)
        for pair in more:
            key, _, value = pair.partition("=")
            if key not in OPTIONS:
                raise UserError(f'"{spec}": no sampler setting "{key}"{nearest(key, OPTIONS)}')
            if key in elsewhere:
                raise UserError(f'"{spec}": {name} has no {key}: leave it out')
            if key == "guidance" and not labelled:
                raise UserError(f'"{spec}": the net was trained without class labels, so there is nothing to guide by')
            changes[key] = float(value) if key in ("eta", "guidance") else value
    except ValueError:
        raise UserError(f'"{spec}": samplers are written name:steps, for example ddim:50 or ddim:50:eta=1') from None
    found = settings_in(config, **changes)
    build.sampler(found)
    if name == "ddpm" and found.variance == "learned" and not config.objective.learn_variance:
        raise UserError(f'"{spec}": the net has not learned a variance: use variance=small')
    with build.as_user_errors(f'"{spec}"'), warnings.catch_warnings():
        warnings.simplefilter("ignore", TerminalSignalWarning)
        samplers.time_grid(build.schedule(config.schedule), found.steps, found.grid)
    return found


def plan(
    model: shards.Model,
    using: Mapping[str, SampleConfig],
    samples: int,
    seed: int,
    limit: float | None,
    extractor: Callable[[], Extractor] | None,
    real: int,
) -> Plan:
    """How many samples fit in `limit` seconds (None: no limit), after a trial of the net's and the extractor's speed.

    Args:
        extractor: gives what looks at every sample; None where nothing does.
        real: real images whose features are not known yet.
    """
    if not using:
        return Plan(samples, (), 0, 0.0)
    rate = _rate(model)
    look = 0.0 if extractor is None else _look(extractor(), model)

    def cost(n: int) -> float:
        drawing = sum(
            rate * shards.missing(model, settings, n, seed) * shards.calls(settings, model.labelled)
            for settings in using.values()
        )
        return drawing + look * (real + n * len(using))

    n = samples
    if limit is not None and cost(n) > FITS * limit:
        n = max((count for count in COUNTS if count < samples and cost(count) <= FITS * limit), default=0)
    draws = sum(shards.missing(model, settings, n, seed) for settings in using.values())
    return Plan(n, tuple(using), draws, cost(n))


def _rate(model: shards.Model) -> float:
    """Seconds of the net for one image, at the size of batch that shards are drawn in."""
    call = one_call(model.run, model.denoiser, shards.SHARD)
    return _median(lambda: call(model.denoiser), 4) / shards.SHARD


def _look(extractor: Extractor, model: shards.Model) -> float:
    """Seconds of the extractor for one image."""
    medium, count = model.run.shape.medium, 8
    x = np.zeros((count, *medium.stored), medium.dtype)
    return _median(lambda: extractor(x), 2) / count


def _median(call: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken[1:]))

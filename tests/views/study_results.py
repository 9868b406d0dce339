"""Results of studies that nobody ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisette.tasks.study import Result


def result(setting: str, seed: int, numbers: Mapping[str, float | None], **more: Any) -> Result:
    given: dict[str, Any] = {
        **{"values": {"schedule": setting}, "way": "", "run": Path(f"nowhere/{setting}-seed-{seed}")},
        **{"state": "finished", "reason": "", "errors": {}, "series": {}},
        **more,
    }
    return Result(setting=setting, seed=seed, numbers=dict(numbers), **given)


def made(
    values: Mapping[str, Sequence[float]], key: str = "fid", **numbers: Mapping[str, Sequence[float]]
) -> list[Result]:
    """A result for each setting and value, with a number, and further ones by their keys."""
    return [
        result(setting, seed, {key: value, **{other: more[setting][seed] for other, more in numbers.items()}})
        for setting, found in values.items()
        for seed, value in enumerate(found)
    ]


def noisy(seed: int, settings: Mapping[str, float], seeds: int = 3, spread: float = 0.1) -> dict[str, list[float]]:
    """Values that spread lognormally about each setting's truth."""
    rng = np.random.default_rng(seed)
    return {name: list(truth * np.exp(spread * rng.normal(size=seeds))) for name, truth in settings.items()}

"""Trials whose passes take the seconds that a test says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny import TINY

from noisette.data.cache import folder
from noisette.experiment import build
from noisette.experiment.config import Config, merge
from noisette.experiment.runs import Shape
from noisette.tasks.measure import Settled, Trial, settle

SHAPE = Shape.images(1, 8, 8, ("left", "right"))
OPEN: dict[str, Any] = {"precision": "auto", "layout": "auto", "compile": "auto"}
GIB = 2**30


def config_of(**settings: Any) -> Config:
    tree = merge(TINY, {"train": {"micro_batch": None, **OPEN, "steps": 50}})
    return build.resolve(SHAPE, "small-grey", merge(tree, {k.replace("__", "."): v for k, v in settings.items()}))


class Timed(Trial):
    """A trial whose passes take the seconds that a test says, an image; it counts them."""

    def __init__(self, config: Config, an_image: dict[str, float], jitter: Callable[[int], float] = lambda k: 1.0):
        super().__init__(config, SHAPE)
        self.an_image, self.jitter, self.passes = an_image, jitter, 0

    def seconds(self, way: str, batch: int, compile: str = "off") -> float:
        self.passes += 1
        return self.an_image[way] * batch * self.jitter(self.passes)


FAST_BF16 = {"fp32 channels_first": 3e-3, "fp32 channels_last": 4e-3, "bf16 channels_first": 1e-3}
ALL = {**FAST_BF16, "bf16 channels_last": 1.1e-3}


def settled(an_image: dict[str, float], config: Config | None = None, **more: Any) -> tuple[Settled, Timed]:
    config = config or config_of()
    jitter = more.pop("jitter", lambda k: 1.0)
    trial = Timed(config, an_image, jitter)
    return settle(config, trial, **{"free": lambda device: 8 * GIB, "others": lambda: 0.0, **more}), trial


def kept() -> list[Path]:
    """The files in which trials' figures are kept."""
    home = folder()
    assert home
    return sorted(home.glob("trials/*.json"))

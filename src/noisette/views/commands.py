"""The commands that make the figures of a report, as one would type them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from noisette.experiment.config import BUDGETS, Config, DataConfig, MotionConfig

BY_KEY = ("heading", "relative", "short")
"""Settings of motion that the command line has no option for."""


def _line(*words: object) -> str:
    return shlex.join(["noisette", *(f"{w:g}" if isinstance(w, float) else str(w) for w in words)])


def sample(run: Path, n: int, seed: int, *more: str) -> str:
    return _line("sample", run, "-n", n, "--seed", seed, *more)


def report(*runs: Path) -> str:
    return _line("report", *runs)


def evaluate(
    run: Path, samples: int | None = None, labels: Sequence[str] = (), features: str = "", metrics: str = ""
) -> str:
    """A measurement with this many samples of each of these samplers ("ddim:50"); what is not given is left out."""
    words: list[object] = [] if samples is None else ["--samples", samples]
    words += ["--metrics", metrics] if metrics else []
    words += ["--samplers", ",".join(labels)] if labels else []
    words += ["--features", features] if features else []
    return _line("evaluate", run, *words)


def explain(run: Path, what: str) -> str:
    return _line("explain", run, what)


def check(config: Config) -> str:
    return _line("check", config.data.source, *_kind(config), *_data(config.data), *_motion(config.motion))


def train(config: Config) -> str:
    """A training with the data options and the budget of this one; what else was set is in the table of settings."""
    budgets = ((name, getattr(config.train, name)) for name in BUDGETS)
    budget = [word for name, value in budgets if value is not None for word in (f"--{name}", value)]
    return _line("train", config.data.source, *_kind(config), *budget, *_data(config.data), *_motion(config.motion))


def _kind(config: Config) -> list[str]:
    return [] if config.kind == "diffusion" else ["--kind", config.kind]


def _data(data: DataConfig) -> list[str | int]:
    words: list[str | int] = []
    for option, value in (
        ("--classes", ",".join(data.classes)),
        ("--per-class", data.per_class),
        ("--image-size", data.image_size),
    ):
        words += [option, value] if value else []
    words += {"grayscale": ["--grayscale"], "rgb": ["--rgb"], "auto": []}[data.color]
    return [*words, "--flip"] if data.flip else words


def _motion(motion: MotionConfig) -> list[object]:
    """What differs from the defaults; of images nothing does."""
    words: list[object] = []
    for key, value in motion:
        if value == MotionConfig.model_fields[key].default:
            continue
        if key in BY_KEY:
            words += [f"--motion.{key}", str(value).lower()]
        else:
            words += [f"--{key}", *([] if value is True else [",".join(value) if key == "columns" else value])]
    return words


def doctor(run: Path, n: int) -> str:
    return _line("doctor", run, "-n", n)


def study(what: Path | str, *more: object) -> str:
    return _line("study", what, *more)

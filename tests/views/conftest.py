"""Frames, samples and small runs, made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_maker import maker, noisy

from noisette.experiment.config import Config
from noisette.experiment.runs import Run
from noisette.tasks.generate import Frame, Samples


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    return noisy


@pytest.fixture
def make_frames(noise: Callable[..., np.ndarray]) -> Callable[..., list[Frame]]:
    def make(steps: int = 25, n: int = 2, size: int = 8, channels: int = 1) -> list[Frame]:
        shape = (n, size, size, channels)
        return [
            Frame(
                t=1 - k / steps,
                label=f"t={steps - k}",
                x=noise(*shape, seed=k),
                x0=noise(*shape, seed=1000 + k) if k else None,
                signal=k / steps,
            )
            for k in range(steps + 1)
        ]

    return make


@pytest.fixture
def make_samples(noise: Callable[..., np.ndarray]) -> Callable[..., Samples]:
    def make(n: int = 5, size: int = 8, channels: int = 1, labelled: bool = True) -> Samples:
        labels = np.arange(n, dtype=np.int64) % 2 if labelled else None
        names = ("cat", "dog") if labelled else ()
        return Samples(noise(n, size, size, channels), list(range(7, 7 + n)), labels, names, {"seconds": 0.5})

    return make


@pytest.fixture
def empty_run(tmp_path: Path) -> Run:
    """A folder with settings and nothing else."""
    run = Run.create(tmp_path / "runs" / "empty", Config(), {}, {})
    (run.path / "meta.json").unlink()
    (run.path / "data.json").unlink()
    return run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """See maker."""
    return maker(tmp_path)

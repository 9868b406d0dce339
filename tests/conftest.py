"""A tiny data set and a tiny net: whole runs in a second or two."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Tests run side by side, one thread each; set before torch is imported, and for the commands they start.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest

from noisette.experiment.runs import Run

TINY: dict[str, Any] = {
    "net": {"channels": 8, "multipliers": [1], "groups": 4, "head_dim": 8, "patch": 1},
    "train": {"batch": 8, "precision": "fp32", "micro_batch": 8, "log_every": 2, "checks": 2, "previews": 1},
    "sample": {"steps": 4, "guidance": 1.0},
}
"""Settings of a run that trains at a hundred steps a second."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 grey 8x8 images in two classes: a bright square in a corner, top left or bottom right."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 40, (60, 8, 8, 1), dtype=np.uint8)
    y = np.arange(60) % 2
    for image, label in zip(x, y, strict=True):
        image[4 * label : 4 * label + 4, 4 * label : 4 * label + 4] += 180
    path = tmp_path_factory.mktemp("data") / "squares.npz"
    np.savez(path, x=x, y=y)
    return path


def tiny(squares: Path, out: Path, **settings: Any) -> Run:
    """A trained tiny run; settings are dotted with __ for the dot."""
    from noisette.experiment.config import merge
    from noisette.tasks import train

    wanted = merge(TINY, {"train.steps": 12, **{k.replace("__", "."): v for k, v in settings.items()}})
    run, data = train.start(str(squares), wanted, "small-grey", out)
    for _ in train.train(run, data):
        pass
    return Run.open(out)


@pytest.fixture(scope="session")
def trained(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished tiny run, shared: do not write into it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("NOISETTE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    try:
        return tiny(squares, tmp_path_factory.mktemp("runs") / "trained")
    finally:
        patch.undo()

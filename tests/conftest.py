"""A tiny data set and a tiny net: whole runs in a second or two."""

from __future__ import annotations

import os
from pathlib import Path

# Tests run side by side, one thread each; set before torch is imported, and for the commands they start.
os.environ["OMP_NUM_THREADS"] = "1"

import bright
import pytest
import study_maker
from tiny import tiny

from noisette.experiment.runs import Run


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 grey 8x8 images in two classes: a bright square in a corner, top left or bottom right."""
    return bright.squares(tmp_path_factory.mktemp("data") / "squares.npz", 60)


@pytest.fixture(scope="session")
def trained(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished tiny run, shared: do not write into it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("NOISETTE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    try:
        return tiny(squares, tmp_path_factory.mktemp("runs") / "trained")
    finally:
        patch.undo()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data for studies: enough to measure distances."""
    return study_maker.many(tmp_path_factory.mktemp("many") / "squares.npz")

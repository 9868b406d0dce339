"""Real data, where it lies beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisette.data import DataSpec, fetch, load
from noisette.data.inspect import statistics, warnings


def test_mnist(shared: Path) -> None:
    data = load(DataSpec(str(shared / "mnist")))
    assert data.x.shape == (60000, 28, 28, 1) and data.labels is not None
    assert np.bincount(data.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(data.held_out) == 6000
    for remote in fetch.REMOTE["mnist"]:
        assert fetch.checksum(shared / "mnist" / remote.name, "sha256", unpacked=True) == remote.checksum


def test_animals(shared: Path) -> None:
    wanted = ("cat", "dog", "horse", "lion", "bear")
    data = load(DataSpec(str(shared / "animals15"), classes=wanted, per_class=20, image_size=32))
    assert data.x.shape == (100, 32, 32, 3) and data.classes == wanted and data.labels is not None
    assert np.bincount(data.labels).tolist() == [20] * 5
    assert np.bincount(data.labels[data.held_out]).tolist() == [2] * 5
    assert any(w.startswith("Mixed shapes") for w in warnings(statistics(data)))


def test_cars(shared: Path) -> None:
    data = load(DataSpec(str(shared / "stanford_cars" / "images"), image_size=32))
    assert data.x.shape == (3000, 32, 32, 3) and data.labels is None and not data.info["skipped"]


def test_emoji(shared: Path) -> None:
    data = load(DataSpec(str(shared / "emoji32" / "noto_emoji32.npz")))
    assert data.x.shape == (1911, 32, 32, 3) and len(data.classes) == 10 and "Flags" in data.classes

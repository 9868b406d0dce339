"""Every test has a cache folder of its own and no local data but what it makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noisette.data import ImageData
from noisette.data.cache import digest_rows


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("NOISETTE_CACHE", str(place))
    monkeypatch.delenv("NOISETTE_DATA", raising=False)
    return place


@pytest.fixture(scope="session")
def shared() -> Path:
    place = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not place.is_dir():
        pytest.skip("no folder of real test data beside the repository")
    return place


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    def make(size: tuple[int, int] = (12, 10), mode: str = "RGB", seed: int = 0) -> Image.Image:
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
        return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))

    return make


@pytest.fixture
def folder(tmp_path: Path, picture: Callable[..., Image.Image]) -> Path:
    """Two classes, six colour images each."""
    root = tmp_path / "pets"
    for k, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(6):
            picture(seed=10 * k + i).save(root / name / f"{name}{i}.png")
    return root


@pytest.fixture
def image_data() -> Callable[..., ImageData]:
    def make(n: int = 23, held_out: int = 3, size: int = 6, channels: int = 1, labelled: bool = True) -> ImageData:
        x = np.random.default_rng(n).integers(0, 256, (n, size, size, channels), dtype=np.uint8)
        labels = np.arange(n, dtype=np.int64) % 3 if labelled else None
        rows = np.arange(n, dtype=np.int64)
        info: dict[str, Any] = {"per_class": {}, "skipped": [], "ignored": 0, "original": {}}
        cut = n - held_out
        return ImageData(x, labels, ("a", "b", "c"), "f", info, rows[:cut], rows[cut:], digest_rows(x))

    return make

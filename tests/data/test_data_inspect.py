"""The preflight: what is wrong with a set is counted, and said in words."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisette.data import DataSpec, ImageData, load
from noisette.data.inspect import near_duplicates, statistics, warnings


def smooth(seed: int, size: tuple[int, int] = (48, 48)) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def test_a_set_with_everything_wrong(tmp_path: Path) -> None:
    for k, (name, count) in enumerate((("common", 60), ("rare", 2))):
        (tmp_path / name).mkdir()
        for i in range(count):
            smooth(1000 * k + i, (64, 48) if i % 2 else (48, 64)).save(tmp_path / name / f"{i:02}.png")
    common = tmp_path / "common"
    for i in range(3):
        (common / f"copy{i}.png").write_bytes((common / f"0{i}.png").read_bytes())
    smooth(5, (64, 48)).save(common / "again.jpg", quality=80)
    for i in range(2):
        Image.new("RGB", (64, 48), (i, 90, 90)).save(common / f"flat{i}.png")
    (common / "bad.png").touch()
    data = load(DataSpec(str(tmp_path), image_size=32))
    stats = statistics(data)
    assert stats["count"] == 68 and stats["exact_duplicates"] == 3 and stats["near_duplicates"] == 1
    assert stats["near_constant"] == 2 and stats["unreadable"] == 1 and stats["largest_share"] > 0.95
    assert stats["bytes"] == 68 * 32 * 32 * 3 and len(stats["mean"]) == 3
    assert stats["mean"] == pytest.approx(data.x.reshape(-1, 3).mean(0), abs=0.01)
    assert stats["std"] == pytest.approx(data.x.reshape(-1, 3).std(0), abs=0.01)
    text = " ".join(warnings(stats))
    for words in (
        "Only 68 images",
        '97% of the images are of one class, "common"',
        "Mixed shapes",
        "3 images are exact copies",
        "1 images are nearly the same",
        "2 images are one flat colour",
        "1 files could not be read",
    ):
        assert words in text


def test_nothing_to_say_about_good_data(image_data: Callable[..., ImageData]) -> None:
    data = image_data(1200, size=8)
    data.info["per_class"] = {"a": 400, "b": 400, "c": 400}
    assert warnings(statistics(data)) == []


def test_near_duplicates_are_the_ones_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(128, 10, (700, 256)).astype(np.float32)
    x += rng.normal(0, 60, (700, 1)).astype(np.float32)
    copies = rng.choice(700, 40, replace=False)
    x[copies[20:]] = x[copies[:20]] + rng.normal(0, 1.5, (20, 256))
    square = ((x[:, None, :64] - x[None, :, :64]) ** 2).sum(-1)
    expected = {max(i, j) for i, j in np.argwhere(square < 9 * 64) if i != j}
    count, pairs = near_duplicates(x[:, :64])
    assert count == len(expected) >= 20
    assert all(square[i, j] < 9 * 64 and i < j for i, j in pairs) and len(pairs) == 10


def test_many_in_bounded_time() -> None:
    rng = np.random.default_rng(0)
    thumbs = rng.normal(100, 15, (20_000, 256)).astype(np.float32) + rng.normal(0, 40, (20_000, 1)).astype(np.float32)
    start = time.process_time()
    assert near_duplicates(thumbs)[0] == 0
    assert time.process_time() - start < 30


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_sets(n: int, image_data: Callable[..., ImageData]) -> None:
    stats = statistics(image_data(n, held_out=0))
    assert stats["count"] == n and stats["near_duplicates"] == 0

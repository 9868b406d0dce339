"""Samples beside their nearest training pictures."""

from __future__ import annotations

import numpy as np
import pytest

from noisette.data import ImageData
from noisette.errors import UserError
from noisette.tasks import neighbours as near


def images(n: int = 200, held_out: int = 60, labelled: bool = True) -> ImageData:
    x = np.random.default_rng(0).integers(0, 256, (n, 6, 6, 1), dtype=np.uint8)
    labels = (np.arange(n) % 4).astype(np.int64) if labelled else None
    train, rest = np.arange(held_out, n), np.arange(held_out)
    return ImageData(x, labels, ("a", "b", "c", "d"), "none", {}, train, rest, np.zeros((n, 16), np.uint8))


def test_copies_are_found_and_called_so() -> None:
    data = images()
    rows = [199, 60, 77] * 12
    copies = (data.x[rows].astype(int) + 1).clip(0, 255).astype(np.uint8)
    found = near.neighbours(copies, data)
    np.testing.assert_array_equal(found.x, data.x[rows])
    assert found.labels is not None and found.labels.tolist() == [row % 4 for row in rows]
    assert found.ratio.max() < 0.05
    assert "copies" in found.words and "36 of 36" in found.words


def test_fresh_pictures_are_not() -> None:
    data = images(labelled=False)
    fresh = np.random.default_rng(1).integers(0, 256, (36, 6, 6, 1), dtype=np.uint8)
    found = near.neighbours(fresh, data)
    distance = ((fresh[:, None].astype(float) - data.x[data.train]) ** 2).sum((2, 3, 4))
    np.testing.assert_array_equal(found.x, data.x[data.train][distance.argmin(1)])
    first, second = np.sort(np.sqrt(distance), axis=1)[:, :2].T
    np.testing.assert_allclose(found.ratio, first / second)
    assert found.labels is None and "0 of 36" in found.words


def test_mirrored_pictures_count_where_training_mirrored_them() -> None:
    data = images()
    mirrored = data.x[100:136, :, ::-1]
    assert near.neighbours(mirrored, data).ratio.min() > 0.3
    found = near.neighbours(mirrored, data, mirrored=True)
    assert found.ratio.max() == 0
    np.testing.assert_array_equal(found.x, mirrored)
    assert found.labels is not None and found.labels.tolist() == [row % 4 for row in range(100, 136)]


def test_no_verdict_where_it_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "PRODUCTS", 10)
    data = images()
    found = near.neighbours(data.x[:36], data)
    assert found.words == "" and len(found.ratio) == 36


def test_of_very_many_pictures_an_even_share_is_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "NUMBERS", 50 * 36)
    data = images()  # 140 training pictures, of which every third is
    found = near.neighbours(data.x[data.train[:36]], data)
    assert found.known == 47 and (found.ratio == 0).sum() == 12


def test_too_few_training_pictures_is_the_users() -> None:
    data = images(n=62)
    data.x[60:] = data.x[60]
    with pytest.raises(UserError, match="cannot be told"):
        near.neighbours(data.x[:3], data)

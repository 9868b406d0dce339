"""The split, and the map between bytes and [-1, 1]."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisette.data import denormalise, normalise
from noisette.data.cache import digest_rows
from noisette.data.spec import permutation
from noisette.data.split import split


@settings(max_examples=150, deadline=None)
@given(
    kinds=st.lists(st.integers(0, 60), min_size=1, max_size=80),
    classes=st.integers(0, 4),
    share=st.floats(0, 0.95),
    seed=st.integers(0, 2**40),
)
def test_every_split(kinds: list[int], classes: int, share: float, seed: int) -> None:
    x = np.array(kinds, np.uint8)[:, None]  # equal kinds are exact duplicates
    n = len(x)
    labels = np.arange(n, dtype=np.int64) % classes if classes else None
    train, held = split(digest_rows(x), labels, share, seed)
    assert sorted([*train, *held]) == list(range(n)) and (np.diff(train) > 0).all() and (np.diff(held) > 0).all()
    assert len(train) >= 1 and len(held) <= max(1, round(share * n), n if share else 0)
    if share == 0 or n < 2:
        assert len(held) == 0
    else:
        assert len(held) >= 1
        if len(set(kinds)) > 1:
            assert not {kinds[i] for i in train} & {kinds[i] for i in held}  # no copy on both sides
    again = split(digest_rows(x), labels, share, seed)
    assert (again[0] == train).all() and (again[1] == held).all()


def test_it_is_stratified() -> None:
    x = np.arange(2000, dtype=np.uint16).view(np.uint8).reshape(1000, 4)
    labels = np.repeat(np.arange(3), (700, 200, 100))
    _, held = split(digest_rows(x), labels, 0.1, 0)
    assert np.bincount(labels[held]).tolist() == [70, 20, 10]
    assert (split(digest_rows(x), labels, 0.1, 1)[1] != held).any()


@pytest.mark.parametrize("labelled", (False, True))
def test_the_way_for_images_that_all_differ_gives_the_same_split(labelled: bool) -> None:
    """Digests that differ in the second half only take the other way."""
    half = np.random.default_rng(0).integers(0, 256, (300, 8), dtype=np.uint8)
    labels = np.arange(300, dtype=np.int64) % 3 if labelled else None
    fast, slow = (np.concatenate(h, axis=1) for h in ((half, half), (np.zeros_like(half), half)))
    before = fast.copy()
    for a, b in zip(split(fast, labels, 0.2, 5), split(slow, labels, 0.2, 5), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(fast, before)


def test_permutations_do_not_change_between_versions() -> None:
    assert permutation(8, 0, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]


def test_every_byte_survives() -> None:
    b = np.arange(256, dtype=np.uint8)
    x = normalise(b)
    assert x.dtype == np.float32 and x[0] == -1 and x[-1] == 1
    assert (denormalise(x) == b).all()
    assert denormalise(np.array([-7.0, 7.0])).tolist() == [0, 255]


@pytest.mark.parametrize("noise", [-0.003, 0.003])
def test_rounding_is_to_the_nearest(noise: float) -> None:
    b = np.arange(1, 255, dtype=np.uint8)
    assert (denormalise(normalise(b) + np.float32(noise)) == b).all()

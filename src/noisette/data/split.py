"""Which rows are trained on, and which never are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noisette.data.spec import permutation

_SPLIT = 0x5917  # sets this use of the seed apart from the others


def split(
    digests: NDArray[np.uint8], labels: NDArray[np.int64] | None, held_out: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted row numbers (train, held_out), a pure function of its arguments.

    digests (N, 16) uint8, one hash per image; labels (N,) or None; held_out in [0, 1).
    Stratified by label (largest remainders), about round(held_out * N) rows and at least one where N >= 2 and
    held_out > 0. Images that are equal byte for byte stay together, so that a memorised copy does not pass for a
    held-out image; only where all N images are equal is that impossible, and one of them is held out all the same.
    """
    n = len(digests)
    everything = np.arange(n, dtype=np.int64)
    if held_out == 0 or n < 2:
        return everything, everything[:0]
    first, group, size = _groups(digests)
    first_label = np.zeros(len(first), np.int64) if labels is None else labels[first]
    order = np.argsort(first, kind="stable")  # groups in the order of their first row ...
    order = order[permutation(len(order), seed, _SPLIT)]  # ... shuffled

    total = min(max(1, round(held_out * n)), n - 1)
    present = np.unique(first_label)
    weight = np.array([size[first_label == c].sum() for c in present], dtype=np.int64)
    quota = _apportion(weight, total)
    chosen = np.zeros(len(first), dtype=bool)
    for c, k in zip(present, quota, strict=True):
        mine = order[first_label[order] == c]
        chosen[mine[np.cumsum(size[mine]) <= k]] = True
    if not chosen.any():  # every group at the front of its class was larger than its quota
        fits = order[np.argsort(size[order], kind="stable")]
        if size[fits[0]] < n:
            chosen[fits[0]] = True
        else:
            return everything[:-1], everything[-1:]
    held = chosen[group]
    return everything[~held], everything[held]


def _groups(digests: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Images that are equal: (the first row of each group, the group of each row, the number of rows of each group)."""
    n = len(digests)
    halves = digests[:, :8].copy().view(np.uint64).reshape(n)
    halves.sort()
    if (halves[1:] != halves[:-1]).all():  # the common case, for a quarter of the memory that np.unique takes
        each = np.arange(n, dtype=np.int64)
        return each, each, np.ones(n, np.int64)
    keys = np.ascontiguousarray(digests).view(np.dtype((np.void, digests.shape[1]))).reshape(n)
    _, first, group, size = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return first, group.reshape(n), size


def _apportion(weight: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Shares `total` out in proportion to `weight` by largest remainder; no class gives its last while others can."""
    exact = weight * (total / weight.sum())
    share = np.floor(exact).astype(np.int64)
    short = total - int(share.sum())
    spare = np.where(share < weight - 1, exact - share, -1.0)  # not a class's last image, unless nothing else is left
    share[np.argsort(-spare, kind="stable")[:short]] += 1
    return np.asarray(np.minimum(share, weight), dtype=np.int64)

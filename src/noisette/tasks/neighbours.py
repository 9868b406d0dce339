"""Samples beside the training pictures that are nearest to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Data, Stored
from noisette.errors import UserError
from noisette.metrics import memory
from noisette.tasks.judge import Judge

NUMBERS = 2**30
"""Pixels of training pictures that are looked through: of more, an even share is."""

PRODUCTS = 2**34
"""Multiplications that a verdict may cost, a second or two: unseen images times training images times pixels."""


@dataclass(frozen=True)
class Neighbours:
    """For each of N samples the nearest training picture, x uint8 (N, H, W, C), and how near.

    ratio (N,): its distance over that of the second nearest, near 0 for a copy. labels (N,) of the training pictures,
    or None. known: how many training pictures were looked through. words: the verdict, and what it rests on; "" where
    it would take too long.
    """

    x: Stored
    ratio: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    known: int
    words: str


def neighbours(samples: Stored, data: Data, mirrored: bool = False) -> Neighbours:
    """The training pictures nearest to these samples, pixel by pixel.

    Args:
        mirrored: whether training also showed the pictures mirrored; then they count too.

    Raises:
        UserError: fewer than three different training pictures.
    """
    most = max(1, NUMBERS // int(np.prod(data.x.shape[1:])))
    rows = data.train[:: -(-len(data.train) // most)] if len(data.train) else data.train
    known, count = data.x[rows], len(rows)
    if mirrored:
        known, rows = np.concatenate([known, known[:, :, ::-1]]), np.concatenate([rows, rows])
    try:
        near = memory.nearest(samples, known)
        words = _verdict(near, data, known)
    except ValueError as error:
        raise UserError(f"the nearest training pictures cannot be told: {error}") from None
    first = near.index[:, 0]
    labels = None if data.labels is None else data.labels[rows[first]]
    return Neighbours(known[first], near.ratio, labels, count, words)


def alike(samples: Stored, judge: Judge) -> Stored:
    """The training pictures nearest to these samples in a judge's features, (N, H, W, C)."""
    near = memory.nearest(judge.features(samples), judge.real("train"), k=1)
    return np.asarray(judge.data.x[judge.rows("train")[near.index[:, 0]]])


def _verdict(near: memory.Nearest, data: Data, known: Stored) -> str:
    most = PRODUCTS // known.size
    if min(most, len(data.held_out)) >= memory.FEWEST:
        return memory.judge(near, memory.nearest(data.x[data.held_out[:most]], known), "held_out").words
    if most >= memory.FEWEST:
        return memory.judge(near, memory.unseen(known, most=most), "train").words
    return ""

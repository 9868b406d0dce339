"""Samples beside the training ones that are nearest to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Data, Stored
from noisette.errors import UserError
from noisette.experiment.config import DataConfig
from noisette.metrics import memory
from noisette.tasks.judge import Judge

NUMBERS = 2**30
"""Numbers of training samples, pixels say, that are looked through: of more, an even share is."""

PRODUCTS = 2**34
"""Multiplications that a verdict may cost, a second or two: unseen samples times training ones times their numbers."""


@dataclass(frozen=True)
class Neighbours:
    """For each of N samples the nearest training one, x as samples are kept, and how near.

    ratio (N,): its distance over that of the second nearest (of clips: from another take), near 0 for a copy. labels
    (N,) of the training ones, or None. known: how many of them were looked through. words: the verdict, and what it
    rests on; "" where it would take too long.
    """

    x: Stored
    ratio: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    known: int
    words: str


def neighbours(samples: Stored, data: Data, mirrored: bool = False) -> Neighbours:
    """The training pictures nearest to these samples, pixel by pixel; of clips, pose by pose.

    Args:
        mirrored: whether training also showed the pictures mirrored; then they count too. (Clips say so themselves.)

    Raises:
        UserError: fewer than three different training pictures, or takes.
    """
    judge = Judge.of(data, DataConfig(flip=mirrored))  # it knows what to compare; nothing is trained for that
    most = max(1, NUMBERS // int(np.prod(data.x.shape[1:])))
    rows = data.train[:: -(-len(data.train) // most)] if len(data.train) else data.train
    seen, count = judge.taught(data.x[rows]), len(rows)
    rows = np.resize(rows, len(seen))  # the mirrored ones follow
    known, groups = judge.comparable(seen), judge.groups(rows)
    try:
        near = memory.nearest(judge.comparable(samples), known, groups=groups, what=judge.medium.one)
        words = _verdict(near, judge, known, groups)
    except ValueError as error:
        raise UserError(f"the nearest training {judge.what}s cannot be told: {error}") from None
    first = near.index[:, 0]
    labels = None if data.labels is None else data.labels[rows[first]]
    return Neighbours(seen[first], near.ratio, labels, count, words)


def alike(samples: Stored, judge: Judge) -> Stored:
    """The training samples nearest to these in a judge's features, as samples are kept."""
    near = memory.nearest(judge.features(samples), judge.real("train"), k=1)
    return np.asarray(judge.data.x[judge.rows("train")[near.index[:, 0]]])


def _verdict(near: memory.Nearest, judge: Judge, known: Stored, groups: NDArray[np.int64] | None) -> str:
    most, held_out = PRODUCTS // known.size, judge.data.held_out
    if min(most, len(held_out)) >= memory.FEWEST:
        others = memory.nearest(judge.comparable(judge.data.x[held_out[:most]]), known, groups=groups)
        return memory.judge(near, others, "held_out", judge.what).words
    if most >= memory.FEWEST:
        unseen = memory.unseen(known, most=most, groups=groups, what=judge.medium.one)
        return memory.judge(near, unseen, "train", judge.what).words
    return ""

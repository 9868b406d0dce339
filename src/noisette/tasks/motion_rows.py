"""Rows of an evaluation of motion: how samples move, and how they vary, beside how real clips do."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Stored
from noisette.metrics import distances, motion
from noisette.tasks import rows as measured
from noisette.tasks.motion import MotionJudge
from noisette.tasks.rows import Row

LOWER = ("bone_error", "bone_jitter", "sliding", "bent")
"""Measures of which less is better; the others should be what they are in real clips."""


def moves(judge: MotionJudge, x: Stored, base: Row) -> list[Row]:
    """How samples (N, F, J, D) move, a row for each measure, with the same of real clips in `detail`: those that were
    held out, where they come from two sequences at least, else the training ones."""
    data, body = judge.data, judge.body
    rows, which = data.held_out, "held_out"
    if len(np.unique(data.take[rows])) < 2:
        rows, which = data.train, "train"
    ours, theirs = motion.measures(x, body), motion.measures(data.x[rows], body)
    base = {**base, "n": len(x), "reference": which, "reference_n": len(rows)}
    found = []
    for name in ours:
        more: dict[str, Any] = {"unit": motion.unit(name, data.skeleton.unit, data.fps)}
        more["better"] = "lower" if name in LOWER else "real"
        most = 1.0 if more["unit"] == "share" else math.inf
        try:
            both = motion.beside(ours[name], theirs[name], data.take[rows], most)
        except ValueError as error:
            found.append(measured.row(name, None, base, reason=str(error), **more))
            continue
        ratio = both.ratio
        detail = {
            "real": [both.real.value, both.real.low, both.real.high],
            "ratio": None if ratio is None else [ratio.value, ratio.low, ratio.high],
        }
        found.append(measured.row(name, both.samples, base, detail=detail, **more))
    return found


def variety(
    judge: MotionJudge, features: NDArray[np.float64], labels: NDArray[np.int64] | None, base: Row
) -> list[Row]:
    """Diversity, and multimodality where labels (N,) are known, of features (N, D), with those of held-out clips: of
    each take the middle one, for clips that overlap are nearer to each other than samples, which do not, can be."""
    rows, known = judge.rows("held_out"), judge.data.labels
    middles = judge.middles(rows)
    real, theirs = judge.real("held_out")[middles], None if known is None else known[rows[middles]]
    base = {**base, "n": len(features), "reference": "held_out", "reference_n": len(real), "better": "real"}
    found = []
    for name in ("diversity", "multimodality"):
        if name == "multimodality" and labels is None:
            continue
        try:
            ours = _variety(name, features, labels)
        except ValueError as error:
            found.append(measured.row(name, None, base, reason=str(error)))
            continue
        detail: dict[str, Any] = {}
        with contextlib.suppress(ValueError):  # of too few real clips there is none
            beside = _variety(name, real, theirs)
            detail["real"] = [beside.value, beside.low, beside.high]
        found.append(measured.row(name, ours, base, detail=detail))
    return found


def _variety(name: str, features: NDArray[np.float64], labels: NDArray[np.int64] | None) -> distances.Estimate:
    """Raises ValueError where there are too few."""
    if name == "diversity":
        return distances.diversity(features)
    if labels is None:
        raise ValueError("the clips have no classes")
    return distances.multimodality(features, labels).value

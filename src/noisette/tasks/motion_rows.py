"""Rows of an evaluation of motion: how samples move, and how they vary, beside how real clips do."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Stored
from noisette.metrics import distances, motion
from noisette.metrics.ratios import beside
from noisette.tasks import rows as measured
from noisette.tasks.motion import MotionJudge, alike
from noisette.tasks.rows import Row

Labels = NDArray[np.int64]

LOWER = ("bone_jitter", "sliding", "bent")
"""Measures of which less is better; the others should be what they are in real clips. The error of bones is one of
these: it is how far a body is from the median one, so that samples which are all the median person have none."""


def moves(judge: MotionJudge, x: Stored, base: Row, labels: Labels | None = None) -> list[Row]:
    """How samples (N, F, J, D) move, a row for each measure, with the same of real clips in `detail`: those that were
    held out, where they come from two sequences at least, else the training ones.

    labels: (N,) classes that the samples were told. They come in turn, so classes count the same in real clips too.
    """
    data, body = judge.data, judge.body
    rows, which = data.held_out, "held_out"
    if len(np.unique(data.take[rows])) < 2:
        rows, which = data.train, "train"
    ours, theirs = motion.measures(x, body), motion.measures(data.x[rows], body)
    groups = alike(data, rows)
    told = None if labels is None or data.labels is None else (labels, data.labels[rows])
    base = {**base, "n": len(x), "reference": which, "reference_n": len(rows)}
    found = []
    for name in ours:
        more: dict[str, Any] = {"unit": motion.unit(name, data.skeleton.unit, data.fps)}
        more["better"] = "lower" if name in LOWER else "real"
        most = 1.0 if more["unit"] == "share" else math.inf
        try:
            both = beside(ours[name], theirs[name], groups, most, told, motion.nothing(name))
        except ValueError as error:
            found.append(measured.row(name, None, base, reason=str(error), **more))
            continue
        ratio = both.ratio
        detail = {
            "real": [both.real.value, both.real.low, both.real.high],
            "ratio": None if ratio is None else [ratio.value, ratio.low, ratio.high],
        }
        if both.classes is not None:
            detail["classes"] = _names(judge, both.classes)
        found.append(measured.row(name, both.samples, base, detail=detail, **more))
    return found


def variety(judge: MotionJudge, features: NDArray[np.float64], labels: Labels | None, base: Row) -> list[Row]:
    """Diversity, and multimodality where labels (N,) are known, of features (N, D), with those of held-out clips: of
    each take the middle one, for clips that overlap are nearer to each other than samples, which do not, can be.

    Both are of the classes of which both sides have enough, each of which counts the same.
    """
    rows, known = judge.rows("held_out"), judge.data.labels
    middles = judge.middles(rows)
    real, theirs = judge.real("held_out")[middles], None if known is None else known[rows[middles]]
    base = {**base, "n": len(features), "reference": "held_out", "better": "real"}
    found = []
    for name, fewest in (("diversity", 2), ("multimodality", distances.PAIRED)):
        if name == "multimodality" and labels is None:
            continue
        ours, others, detail = (features, labels), (real, theirs), dict[str, Any]()
        if labels is not None and theirs is not None and len(common := _common(labels, theirs, fewest)):
            ours, others = _among(features, labels, common), _among(real, theirs, common)
            detail["classes"] = _names(judge, common.tolist())
        elif labels is None:
            others = (real, None)
        here = {**base, "reference_n": len(others[0])}
        try:
            value = _variety(name, *ours)
        except ValueError as error:
            found.append(measured.row(name, None, here, reason=str(error)))
            continue
        with contextlib.suppress(ValueError):  # of too few real clips there is none
            same = _variety(name, *others)
            detail["real"] = [same.value, same.low, same.high]
        found.append(measured.row(name, value, here, detail=detail))
    return found


def _common(ours: Labels, theirs: Labels, fewest: int) -> Labels:
    """Classes of which both have `fewest` at least."""
    enough = [names[counts >= fewest] for names, counts in (np.unique(x, return_counts=True) for x in (ours, theirs))]
    return np.intersect1d(*enough)


def _among(features: NDArray[np.float64], labels: Labels, classes: Labels) -> tuple[NDArray[np.float64], Labels]:
    kept = np.isin(labels, classes)
    return features[kept], labels[kept]


def _names(judge: MotionJudge, classes: Iterable[int]) -> list[str]:
    return [judge.data.classes[label] for label in classes]


def _variety(name: str, features: NDArray[np.float64], labels: Labels | None) -> distances.Estimate:
    """Raises ValueError where there are too few."""
    if name == "diversity":
        return distances.diversity(features, labels)
    if labels is None:
        raise ValueError("the clips have no classes")
    return distances.multimodality(features, labels).value

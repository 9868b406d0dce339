"""Rows of an evaluation: one number each, with its interval and the protocol that it was measured by.

    metric, value, low, high, interval, n, seeds [first, last], reference "train" | "held_out", reference_n,
    extractor, extractor_hash, extractor_accuracy, label "ddim:50", sampler, steps, eta, grid, variance, guidance,
    clip, nfe, weights, checkpoint, seconds, unit, better "lower" | "higher", real, detail {}

`value` is null where there is none, and `reason` says why. `real` is null for a model's samples; else it says which
real images were held against which, and everything about a sampler is null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.spec import permutation
from noisette.diffusion import samplers
from noisette.experiment.config import SampleConfig
from noisette.metrics import distances
from noisette.metrics.distances import Estimate
from noisette.metrics.features import Extractor
from noisette.metrics.memory import Memory

Row = dict[str, Any]
Features = NDArray[np.float64]

DISTANCES = ("fid", "kid", "prdc", "is")
METRICS = (*DISTANCES, "bits", "memory", "clear", "motion")

BLANK: Row = dict.fromkeys(
    (
        *("real", "label", "sampler", "steps", "eta", "grid", "variance", "guidance", "clip", "nfe", "weights"),
        *("checkpoint", "seeds", "reference", "reference_n", "extractor", "extractor_hash", "extractor_accuracy"),
        *("n", "seconds"),
    )
)
"""What every row says, as long as it says nothing."""

BETTER = {
    **dict.fromkeys(("fid", "kid", "bits", "memory_closer", "memory_copied"), "lower"),
    **dict.fromkeys(("precision", "recall", "density", "coverage", "inception_score", "clear", "asked"), "higher"),
}
UNITS = {
    "bits": "bits/dim",
    **dict.fromkeys(("precision", "recall", "coverage", "clear", "asked", "memory_closer", "memory_copied"), "share"),
}

_EQUAL = 0xE0A1  # sets this use of a permutation apart from the others

CONFIDENT = 0.9
"""A sample is clear where the reader gives its best class more than this probability."""

PAIRS = 12
"""Samples with their nearest training image that a row keeps, the most alike first."""

GRADED = 36
"""Courses grade by how many of 36 samples are clear."""

ALONE = 0.9
"""The share of clear samples in one class from which on their number means nothing: a reader has to say something of
noise too, and is often sure of it, but always of the same class."""


def row(metric: str, found: Estimate | None, base: Row, **more: Any) -> Row:
    """One number with its interval; with found None, say `reason`."""
    value: Row = {"metric": metric, "value": None, "low": None, "high": None, "interval": ""}
    if found is not None:
        value |= {"value": found.value, "low": found.low, "high": found.high, "interval": found.interval}
    told = {"unit": UNITS.get(metric, ""), "better": BETTER.get(metric, "lower")}
    return {**value, **told, **base, **more}


def drawn_by(settings: SampleConfig, labelled: bool) -> Row:
    """What a row says of how samples were drawn; of guidance only where the net is told labels."""
    if settings.at_once:
        return {"sampler": settings.sampler, "steps": settings.steps, "nfe": 1}
    told = settings.model_dump(mode="json", exclude={"interval"})  # a row's interval is how its bounds were made
    told |= {"guidance_interval": list(settings.interval)} if labelled else {"guidance": None}
    return {**told, "nfe": samplers.network_calls(settings.sampler, settings.steps)}


def named(extractor: Extractor) -> Row:
    """What a row says of the features it was measured in."""
    accuracy = extractor.accuracy
    return {
        "extractor": extractor.name,
        "extractor_hash": extractor.hash,
        "extractor_accuracy": None if accuracy is None else round(accuracy, 4),
    }


def refusal(metrics: Sequence[str], n: int, dim: int) -> str:
    """Why none of these metrics can be had from n samples; empty where one can."""
    wanted = [m for m in metrics if m in DISTANCES]
    least = min((distances.smallest(dim) if m == "fid" else distances.FEWEST for m in wanted), default=0)
    if set(metrics) - set(wanted) or n >= least:
        return ""
    return f"{n} samples are too few for {', '.join(wanted)}: the error would hide what they show; take {least} or more"


def between(reference: Features, samples: Features, metrics: Sequence[str], base: Row) -> list[Row]:
    """fid, kid and prdc, those that are asked for, of samples (N, D) against a reference (M, D).

    prdc takes at most N of the reference, always the same: a share of neighbourhoods that are reached depends on how
    many there are, and means what its papers say where both sets have one size.
    """
    base = {**base, "n": len(samples), "reference_n": len(reference)}
    rows: list[Row] = []
    for metric, measure in (("fid", distances.frechet), ("kid", distances.kid)):
        if metric in metrics:
            rows.append(_tried(metric, lambda measure=measure: measure(reference, samples), base))  # type: ignore[misc]
    if "prdc" in metrics:
        names = ("precision", "recall", "density", "coverage")
        reference = reference[permutation(len(reference), _EQUAL)[: len(samples)]]
        base["reference_n"] = len(reference)
        try:
            found = distances.prdc(reference, samples)
            rows += [row(name, getattr(found, name), base) for name in names]
        except ValueError as error:
            rows += [row(name, None, base, reason=str(error)) for name in names]
    return rows


def _tried(metric: str, measure: Callable[[], Estimate], base: Row) -> Row:
    try:
        return row(metric, measure(), base)
    except ValueError as error:
        return row(metric, None, base, reason=str(error))


def inception_score(probabilities: Features | None, base: Row) -> Row:
    """From class probabilities (N, K); without a value where the extractor gives none."""
    if probabilities is None:
        return row("inception_score", None, base, reason="these features read no classes: use --features classifier")
    return _tried(
        "inception_score",
        lambda: distances.inception_score(probabilities),
        {**base, "n": len(probabilities), "reference": None, "reference_n": None},
    )


def clear(probabilities: Features, classes: Sequence[str], labels: NDArray[np.int64] | None, base: Row) -> list[Row]:
    """The share of images that a reader reads with confidence and, where classes were asked for, reads as those.

    Args:
        probabilities: (N, K) of the reader.
        classes: the K names.
        labels: (N,) what was asked for, or None.
    """
    read, sure = probabilities.argmax(1), probabilities.max(1) > CONFIDENT
    counts = np.bincount(read[sure], minlength=len(classes))
    base = {**base, "n": len(read), "reference": None, "reference_n": None}
    detail = {
        "confidence": CONFIDENT,
        "first_36": int(sure[:GRADED].sum()) if len(sure) >= GRADED else None,
        "by_class": {name: int(count) for name, count in zip(classes, counts, strict=True)},
    }
    rows = [row("clear", distances.wilson(sure), base, detail=detail)]
    if labels is not None:
        right = read == labels
        wrong = {
            name: round(1 - float(right[labels == k].mean()), 4)
            for k, name in enumerate(classes)
            if (labels == k).any()
        }
        rows.append(row("asked", distances.wilson(right), base, detail={"wrong_by_class": wrong}))
    return rows


def alone(by_class: Mapping[str, int]) -> str | None:
    """The class that nearly all clear samples are read as, where there are several; else None."""
    most = max(by_class, key=lambda name: by_class[name], default=None)
    if most is None or len(by_class) < 2 or by_class[most] < ALONE * max(1, sum(by_class.values())):
        return None
    return most


def memory(found: Memory, space: str, numbers: NDArray[np.int64], base: Row) -> list[Row]:
    """What nearest neighbours say of copying, in a space ("pixels" or an extractor's name).

    `numbers` are the rows of the data that the training images are; their mirror images may follow them.

    memory_closer: share of samples nearer to a training image than 95 % of unseen ones are, 0.05 expected;
    memory_copied: share of samples three times nearer to one training image than to any other.
    """
    base = {**base, "space": space, "n": len(found.nearest)}
    verdict = {"verdict": found.verdict, "words": found.words, "measure": found.measure}
    rows = numbers[found.nearest.index[:, 0] % len(numbers)]
    pairs = [
        {"sample": int(k), "row": int(rows[k]), "ratio": round(float(found.nearest.ratio[k]), 4)}
        for k in np.argsort(found.nearest.ratio, kind="stable")[:PAIRS]
    ]
    closer = {**verdict, "expected": 0.05, "nearer": found.nearer.value}
    copied = {**verdict, "expected": found.copied_unseen.value, "most_alike": pairs}
    return [
        row("memory_closer", found.closer, base, detail=closer),
        row("memory_copied", found.copied, base, detail=copied),
    ]


def mean(values: NDArray[np.float64], over: str = "images") -> Estimate:
    """The mean of (N,) values with its 95 % interval by the central limit theorem."""
    middle, reach = float(values.mean()), 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(middle, middle - reach, middle + reach, f"95 %, normal, over {over}")


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The new rows, and those old ones that none of them replaces."""
    replaced = {_identity(r) for r in new}
    return [*(r for r in old if _identity(r) not in replaced), *new]


def _identity(r: Row) -> str:
    return json.dumps([r.get(key) for key in ("metric", "n", "reference", "real", "extractor_hash", "space", "label")])

"""Rows of eval/*.json, read: what a number is called, what it means, and how it is written with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from noisette.metrics.distances import Z
from noisette.metrics.motion import ROUNDING


@dataclass(frozen=True)
class Metric:
    """What people call it, which way is better, and what it means. better: "lower", "higher", "real" where it should
    be what it is of real clips, or "" for neither."""

    name: str
    better: str
    meaning: str


METRICS = {
    "fid": Metric(
        "Fréchet distance",
        "lower",
        "How far the samples as a whole are from the real pictures, in the mean and the spread of their features. "
        "0 would be the same; it comes out larger when there are fewer samples.",
    ),
    "kid": Metric(
        "kernel distance (KID)",
        "lower",
        "The same question asked with a kernel. It does not grow when there are fewer samples, and for samples as good "
        "as real pictures it scatters around 0, so it may be negative.",
    ),
    "precision": Metric(
        "precision",
        "higher",
        "The share of samples that lie where real pictures lie: how many look real. Real pictures themselves do not "
        "come to 100 %.",
    ),
    "recall": Metric(
        "recall",
        "higher",
        "The share of real pictures that lie where samples lie: how much of their variety the model has. Real pictures "
        "themselves do not come to 100 %.",
    ),
    "density": Metric(
        "density",
        "higher",
        "How many real pictures are close to a sample, against how many would be if it were real: about 1 is as good "
        "as real, and it may be above.",
    ),
    "coverage": Metric("coverage", "higher", "The share of real pictures that have a sample close by."),
    "inception_score": Metric(
        "Inception Score",
        "higher",
        "How sure a classifier is of each sample, and how evenly it finds its classes: 1 to the number of classes. "
        "It never looks at real pictures.",
    ),
    "clear": Metric("clear", "higher", "The share of samples that the classifier reads with a confidence above 0.9."),
    "asked": Metric(
        "as asked", "higher", "The share of samples that the classifier reads as the class that was asked for."
    ),
    "bone_error": Metric(
        "bone error",
        "real",
        "How far the bones are from their lengths in the median of the training clips, in % of those. Bodies differ: "
        "where it is less than in real clips, the samples are all of one size.",
    ),
    "bone_jitter": Metric("bone jitter", "lower", "How much the bones change their lengths over time, in % of those."),
    "speed": Metric("speed", "real", "How fast joints move, in the mean over joints and frames."),
    "speed_rms": Metric("speed, root mean square", "real", "The same, decided by the fastest moments."),
    "acceleration": Metric("acceleration", "real", "How fast their speeds change."),
    "acceleration_rms": Metric("acceleration, root mean square", "real", "The same, decided by the fastest changes."),
    "jerk": Metric(
        "jerk", "real", "How suddenly the accelerations change: what shakes has more of it than real clips have."
    ),
    "jerk_rms": Metric("jerk, root mean square", "real", "The same, decided by the most sudden moments."),
    "contact": Metric("foot contact", "real", "The share of frames in which a foot stands on the ground."),
    "sliding": Metric("foot sliding", "lower", "How fast feet that stand move along the ground."),
    "bent": Metric(
        "bent too far",
        "lower",
        "The share of angles between two bones, over all frames, that are beyond those of the training clips.",
    ),
    "diversity": Metric("diversity", "real", "How far apart the features of two samples are, in the mean."),
    "multimodality": Metric(
        "multimodality", "real", "How far apart the features of two samples of one class are, in the mean."
    ),
    "memory_closer": Metric(
        "nearer than new",
        "lower",
        "The share of samples that are nearer to a training picture than a new picture is expected to be.",
    ),
    "memory_copied": Metric(
        "copied", "lower", "The share of samples that are, but for small changes, one of the training pictures."
    ),
    "bits": Metric(
        "bits/dim",
        "lower",
        "How many bits the model would need to write down one colour value of a picture: 8 without knowing anything. "
        "It is a bound from above or an estimate, as the row says.",
    ),
}
"""In the order in which they are shown. One that is not here is shown under its own name, after these."""

REAL_NAMES = {"held_out": "held-out pictures", "train": "training pictures"}
BETTER = {"lower": "lower is better", "higher": "higher is better", "real": "as in real clips is best"}
PERCENT = "\u00a0%"


@dataclass(frozen=True)
class Score:
    """One row of an evaluation: see the fields of eval/*.json in docs and README; what a row lacks is None or "".

    protocol names how the samples were drawn, beyond the label; it is empty for rows of real pictures.
    """

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    interval: str = ""
    n: int | None = None
    seeds: tuple[int, int] | None = None
    space: str = ""
    reference: str = ""
    reference_n: int | None = None
    real: str = ""
    extractor: str = ""
    hash: str = ""
    accuracy: float | None = None
    label: str = ""
    protocol: tuple[tuple[str, str], ...] = ()
    nfe: int | None = None
    weights: str = ""
    checkpoint: int | None = None
    seconds: float | None = None
    unit: str = ""
    better: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)

    @property
    def name(self) -> str:
        known = METRICS.get(self.metric)
        return known.name if known else self.metric.replace("_", " ")

    @property
    def error(self) -> float | None:
        """The standard error that the 95 % interval stands for, or None."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / (2 * Z)

    @property
    def off(self) -> float | None:
        """How far it is from the best, up to a constant: the less the better; None where nothing says what is best."""
        if self.value is None or not self.better:
            return None
        if self.better == "real":
            real = self.beside("real")
            return None if real is None or real[0] is None else abs(self.value - real[0])
        return -self.value if self.better == "higher" else self.value

    def beside(self, what: str) -> tuple[float | None, float | None, float | None] | None:
        """(value, low, high) of the same number of real clips ("real"), or how many times that it is ("ratio")."""
        found = self.detail.get(what)
        if not isinstance(found, list) or len(found) != 3:
            return None
        value, low, high = map(_float, found)
        return value, low, high

    @property
    def key(self) -> tuple[Any, ...]:
        """What the number is of: two rows with the same key measure the same thing, perhaps with other N."""
        return (
            self.metric,
            self.real,
            *self.sample,
            self.weights,
            self.checkpoint,
            self.hash,
            self.space,
            self.reference,
        )

    @property
    def sample(self) -> tuple[Any, ...]:
        """How the samples were drawn."""
        return (self.label, self.protocol)

    def text(self) -> str:
        """The value: "9.1", "98.2 %"."""
        return number(self.value, self.low, self.high, self.unit)

    def bounds(self) -> str:
        """The interval: "[8.4, 9.8]", or "" where there is none."""
        if self.low is None or self.high is None:
            return ""
        return bounds(self.low, self.high, self.unit)


def bounds(low: float, high: float, unit: str = "") -> str:
    """An interval: "[8.4, 9.8]"."""
    least, most = (number(v, low, high, unit).removesuffix(PERCENT) for v in (low, high))
    return f"[{least}, {most}]"


def number(value: float | None, low: float | None = None, high: float | None = None, unit: str = "") -> str:
    """A value with as many digits as its interval lets it have; three significant ones where it has none, and none of
    what is rounding."""
    if value is None:
        return "–"
    scale = 100 if unit == "share" else 1
    half = (high - low) / 2 * scale if low is not None and high is not None else 0.0
    value *= scale
    if unit == "%" and 0 < value < ROUNDING:
        text = f"<{ROUNDING:g}"
    elif 0 < half < math.inf:
        digits = min(max(-math.floor(math.log10(half / 2)), 0), 8)
        text = f"{value:,.{digits}f}"
    elif scale == 100:
        text = f"{value:.1f}"
    else:
        text = f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
    text = text.replace("-", "−")
    return f"{text}{PERCENT}" if unit in ("share", "%") else text


def read(evaluations: Iterable[Mapping[str, Any]]) -> list[Score]:
    """All rows, oldest first; of rows with the same key and N only the newest. What is no row is left out."""
    found: dict[tuple[Any, ...], Score] = {}
    for evaluation in evaluations:
        for row in evaluation.get("rows") or ():
            if isinstance(row, Mapping) and isinstance(row.get("metric"), str):
                score = _score(row)
                identity = (*score.key, score.n)
                found.pop(identity, None)  # so that the newest is last
                found[identity] = score
    return list(found.values())


def _score(row: Mapping[str, Any]) -> Score:
    low, high = _float(row.get("low")), _float(row.get("high"))
    seeds, known = row.get("seeds"), METRICS.get(row["metric"])
    drawn = ("guidance", "eta", "grid", "clip")
    return Score(
        metric=row["metric"],
        value=_float(row.get("value")),
        low=None if high is None else low,
        high=None if low is None else high,
        reason=_text(row.get("reason")),
        interval=_text(row.get("interval")),
        n=_int(row.get("n")),
        seeds=(seeds[0], seeds[-1])
        if isinstance(seeds, list) and seeds and all(type(s) is int for s in seeds)
        else None,
        space=_text(row.get("space")),
        reference=_text(row.get("reference")),
        reference_n=_int(row.get("reference_n")),
        real=_text(row.get("real")),
        extractor=_text(row.get("extractor")),
        hash=_text(row.get("extractor_hash")),
        accuracy=_float(row.get("extractor_accuracy")),
        label=_text(row.get("label") or row.get("sampler")),
        protocol=tuple((name, _plain(row[name])) for name in drawn if row.get(name) is not None),
        nfe=_int(row.get("nfe")),
        weights=_text(row.get("weights")),
        checkpoint=_int(row.get("checkpoint")),
        seconds=_float(row.get("seconds")),
        unit=_text(row.get("unit")),
        better=_text(row.get("better")) or (known.better if known else ""),
        detail=row["detail"] if isinstance(row.get("detail"), Mapping) else {},
    )


def _float(value: Any) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain else None


def _int(value: Any) -> int | None:
    found = _float(value)
    return None if found is None else int(found)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def order(metrics: Iterable[str]) -> list[str]:
    """Metrics in the order in which they are shown, each once."""
    known = list(METRICS)
    return sorted(dict.fromkeys(metrics), key=lambda m: (known.index(m) if m in METRICS else len(known), m))


def best_first(scores: Sequence[Score]) -> list[Score]:
    """Those with a value, the best first."""

    def place(s: Score) -> float:
        return (s.value or 0.0) if s.off is None else s.off

    return sorted((s for s in scores if s.value is not None), key=place)


def names(scores: Iterable[Score]) -> dict[tuple[Any, ...], str]:
    """A name for every way of drawing: its label, with the settings that tell it from others of the same label."""
    ways = list(dict.fromkeys(s.sample for s in scores if not s.real))
    named = {}
    for label, protocol in ways:
        others = [dict(p) for other, p in ways if other == label]
        apart = [f"{k} {v}" for k, v in protocol if len({other.get(k) for other in others}) > 1]
        named[label, protocol] = ", ".join([label or "the run's own sampler", *apart])
    return named

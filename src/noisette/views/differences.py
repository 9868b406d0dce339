"""Which numbers of several runs may be compared, and which differences are larger than the noise. No page, no files."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from noisette.experiment.config import ONE_CALL
from noisette.metrics.distances import Z
from noisette.metrics.effects import holm
from noisette.views.scores import REAL_NAMES, Score, order

WARNINGS = ("memory_closer", "memory_copied")
"""Metrics that warn of something and rank nothing: they stand side by side and are not tested."""


@dataclass(frozen=True)
class Apart:
    """A number that cannot stand beside the others, and why."""

    run: int
    score: Score
    reason: str


@dataclass(frozen=True)
class Question:
    """One metric, measured in the same way for several runs: run -> score, and those that were measured otherwise."""

    metric: str
    label: str
    scores: dict[int, Score]
    apart: list[Apart]

    @property
    def name(self) -> str:
        return next(iter(self.scores.values())).name


@dataclass(frozen=True)
class Difference:
    """Run a is better than run b by `by` +- half (95 %); real says whether that is larger than the noise.

    p is two-sided, from the normal distribution; real is by Holm's method over all differences that were looked at.
    """

    question: Question
    a: int
    b: int
    by: float
    half: float
    p: float
    real: bool = False


def questions(
    found: Sequence[Sequence[Score]], data: Sequence[str], own: Sequence[str] = (), label: str | None = None
) -> list[Question]:
    """What can be compared: for each metric one reference, one way of drawing and one protocol, those of most runs.

    What draws in one call has no other way, and stands beside any.

    Args:
        found: the scores of each run that speak for it, without those of real pictures.
        data: what tells each run's data from other data.
        own: the runs' own ways of drawing, which come first where several are equally common.
        label: the way of drawing; the one that most runs were measured with when None.
    """
    made = []
    for metric in order(s.metric for scores in found for s in scores):
        rows = [(run, s) for run, scores in enumerate(found) for s in scores if s.metric == metric]
        rows = [(run, s) for run, s in rows if s.value is not None]
        if not rows:
            continue
        reference = _reference(metric, [s for _, s in rows])
        rows = [(run, s) for run, s in rows if (s.reference, s.space) == reference]
        labels = [s.label for _, s in rows]
        drawn = [one for one in labels if one != ONE_CALL] or labels
        chosen = _most(drawn, own) if label is None or metric == "bits" else label
        here = {run: s for run, s in rows if s.label in (chosen, ONE_CALL)}
        if not any(s.label == chosen for s in here.values()):
            continue
        made.append(_question(metric, chosen, here, rows, data, others=label is None))
    return made


def _reference(metric: str, scores: Sequence[Score]) -> tuple[str, str]:
    """The reference and space in which a metric is compared: for bits the pictures that were not learned from, for all
    else the larger reference."""
    wanted = "held_out" if metric == "bits" else None
    best = max(scores, key=lambda s: (s.reference == wanted, s.reference_n or 0))
    return best.reference, best.space


def _most(values: Sequence[str], first: Sequence[str]) -> str:
    """The most frequent one; of several such one of `first`, else the one that comes first."""
    counts = Counter(values)
    return max(counts, key=lambda value: (counts[value], value in first))


def _question(
    metric: str,
    label: str,
    here: dict[int, Score],
    rows: Sequence[tuple[int, Score]],
    data: Sequence[str],
    others: bool,
) -> Question:
    protocols = {run: _protocol(s, data[run]) for run, s in here.items()}
    counts = Counter(protocols.values())
    chosen = max(counts, key=lambda p: (counts[p], p.n))
    apart = [Apart(run, s, chosen.against(protocols[run])) for run, s in here.items() if protocols[run] != chosen]
    if others:
        for run in dict.fromkeys(run for run, _ in rows if run not in here):
            score = next(s for other, s in rows if other == run)
            apart.append(Apart(run, score, f"drawn with {score.label or 'its own sampler'}, not with {label}"))
    scores = {run: s for run, s in here.items() if protocols[run] == chosen}
    return Question(metric, label, scores, sorted(apart, key=lambda a: a.run))


@dataclass(frozen=True)
class _Protocol:
    """What must be equal for two numbers to compare."""

    data: str
    reference: str
    extractor: str
    hash: str
    n: int
    reference_n: int
    weights: str
    kind: str

    def against(self, other: _Protocol) -> str:
        """Why a number of the other protocol does not compare with those of this one."""
        if other.data != self.data:
            return "it is about other data"
        if other.hash != self.hash:
            names = [f"{p.extractor or 'unknown'} {p.hash[:6]}".strip() for p in (other, self)]
            return f"measured in the features of {names[0]}, not of {names[1]}"
        if other.kind != self.kind:
            return f"{other.kind}, not {self.kind}"
        if other.weights != self.weights:
            return f"of {other.weights or 'unknown'} weights, not {self.weights or 'unknown'}"
        if other.n != self.n:
            return f"from {other.n:,} pictures, not {self.n:,}"
        if other.reference != self.reference:
            said = [REAL_NAMES.get(p.reference, p.reference) for p in (other, self)]
            return f"held against {said[0]}, not {said[1]}"
        return f"held against {other.reference_n:,} pictures, not {self.reference_n:,}"


def _protocol(score: Score, data: str) -> _Protocol:
    kind = str(score.detail.get("kind") or "")
    if kind and score.detail.get("told_classes"):
        kind += " of pictures whose classes it is told"
    return _Protocol(
        data,
        score.reference,
        score.extractor,
        score.hash,
        score.n or 0,
        (score.reference_n or 0) * bool(score.hash),
        score.weights,
        kind,
    )


# --- noise --------------------------------------------------------------------------------------------------------


def differences(asked: Sequence[Question]) -> list[Difference]:
    """Every pair of runs in every question, as far as its numbers have intervals; the better one of a pair first."""
    found = []
    for question in asked:
        if question.metric in WARNINGS:
            continue
        known = {run: s for run, s in question.scores.items() if s.error is not None and s.off is not None}
        for a, b in itertools.combinations(known, 2):
            found.append(_difference(question, a, b))
    real = holm([d.p for d in found])
    return [replace(d, real=ok) for d, ok in zip(found, real, strict=True)]


def _difference(question: Question, a: int, b: int) -> Difference:
    """Both errors are taken for independent: an interval is over a run's own samples, the reference held fixed. Bits
    are of the same pictures for both runs, so that there the errors are too large and the test is a cautious one. What
    should be as in real clips is compared by how far it is from them, in either direction."""
    one, two = question.scores[a], question.scores[b]
    gap = (one.off or 0.0) - (two.off or 0.0)
    if gap > 0:
        a, b = b, a
    error = math.hypot(one.error or 0.0, two.error or 0.0)
    p = math.erfc(abs(gap) / error / math.sqrt(2)) if error else 1.0  # no spread at all says nothing of the noise
    return Difference(question, a, b, abs(gap), Z * error, p)

"""What an evaluation comes to, in sentences: how good, how sure, copied or not, up to date or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noisette.metrics.distances import Z
from noisette.views import commands, words
from noisette.views.moved import sentence
from noisette.views.scores import REAL_NAMES, Score, best_first, names

HEADLINES = ("fid", "kid")
"""What the summary speaks of: the first of these that was measured."""


NEAR = 0.9
"""Two numbers of pictures within this ratio are about the same."""


@dataclass(frozen=True)
class Headline:
    """The best sampler's number, all that it was chosen from, and the same number of real pictures, if it is known."""

    best: Score
    among: list[Score]
    floor: Score | None


def current(found: Sequence[Score]) -> list[Score]:
    """The rows of the newest checkpoint that was evaluated (averaged weights before raw ones), those about real
    pictures with them; of the same measurement only the one with the most pictures, but first one that as many real
    pictures stand beside, for a distance falls with their number; of extractors only the newest."""
    steps = [s.checkpoint for s in found if s.checkpoint is not None]
    if not steps:
        return []
    newest = [s for s in found if s.checkpoint == max(steps)]
    weights = "ema" if any(s.weights == "ema" for s in newest) else newest[-1].weights
    newest = [s for s in newest if s.weights == weights]
    real = _largest([s for s in found if s.real])
    kept = [*_largest(newest, [s for s in real if s.real == "train against train" and s.value is not None]), *real]
    hashes = [s.hash for s in kept if s.reference and s.label and s.hash and s.value is not None]
    return [s for s in kept if not hashes or not s.reference or not s.hash or s.hash == hashes[-1]]


def _largest(found: Sequence[Score], floors: Sequence[Score] = ()) -> list[Score]:
    """Of each measurement the row with the most pictures, of those that have a floor of their own number if any do."""
    floored = {(s.metric, s.hash, s.reference, s.n) for s in floors}

    def rank(s: Score) -> tuple[bool, bool, int]:
        return s.value is not None, (s.metric, s.hash, s.reference, s.n) in floored, s.n or 0

    largest: dict[object, Score] = {}
    for score in found:
        known = largest.get(score.key)
        if known is None or rank(score) >= rank(known):
            largest[score.key] = score
    return list(largest.values())


def headline(found: Sequence[Score]) -> Headline | None:
    """What the summary speaks of, from `current` rows; None where no distance was measured."""
    for metric in HEADLINES:
        rows = [s for s in found if s.metric == metric and not s.real and s.value is not None]
        if rows:
            reference = max(rows, key=lambda s: s.reference_n or 0).reference
            rows = [s for s in rows if s.reference == reference]
            sizes = [(s.n, s.reference_n) for s in rows]
            most = max(sizes, key=lambda size: (sizes.count(size), size[0] or 0))  # only equal sizes rank
            among = best_first([s for s in rows if (s.n, s.reference_n) == most])
            return Headline(among[0], among, floor(among[0], found))
    return None


def floor(score: Score, found: Sequence[Score]) -> Score | None:
    """The row of real pictures that a score is to be read against: same metric, features, reference and about the same
    number of pictures, for a distance falls with it; None where there is none."""
    same = [s for s in found if s.real and s.value is not None and (s.metric, s.hash) == (score.metric, score.hash)]
    same = [
        s for s in same if s.reference == score.reference and s.n and score.n and NEAR * s.n <= score.n <= s.n / NEAR
    ]
    return min(same, key=lambda s: abs((s.n or 0) - (score.n or 0)), default=None)


def apart(one: Score, other: Score) -> bool:
    """Whether two numbers with intervals differ by more than their errors together, at 95 %."""
    if one.error is None or other.error is None:
        return True
    return abs((one.value or 0.0) - (other.value or 0.0)) > Z * math.hypot(one.error, other.error)


def real_name(real: str) -> str:
    """What was held against what, for people: "held_out halves" -> "one half of the held-out pictures ..."."""
    return {
        "held_out halves": "held-out pictures, half against half",
        "train against train": "training pictures against each other",
        "train against held_out": "held-out against training pictures",
        "held_out": "held-out pictures",
        "train": "training pictures",
    }.get(real, real.replace("_", "-"))


def quality(found: Sequence[Score], run: Path, newest: int | None) -> list[str]:
    """How good and how sure, for the summary; where nothing was measured, how to find out."""
    now = current(found)
    head = headline(now)
    if head is None:
        said = reading(now)
        if said:
            return [said, *_outdated(now, newest)]
        return [
            "How good its pictures are has not been measured yet: only the losses and the eye speak for it so far. "
            f"{commands.evaluate(run)} measures it."
        ]
    best, named = head.best, names(head.among)
    mine = [s for s in now if s.sample == best.sample]
    way, close = named[best.sample], [named[s.sample] for s in head.among[1:] if not apart(best, s)]
    chosen = f"With {way}"
    if len(head.among) > 1:
        chosen += f", the best of {len(head.among)} samplers that were tried"
        chosen += f" ({', '.join(close)} cannot be told apart from it)," if close else ","
    reals = REAL_NAMES.get(best.reference, "real pictures")
    text = f"{chosen} its samples have a {best.name} of {value(best)} from the {reals}"
    if head.floor is not None:
        text += f"; two sets of real pictures come to {value(head.floor)}"
    text += "."
    for said in (reading([s for s in now if s.real or s.sample == best.sample]), sentence(mine)):
        text += f" {said}" if said else ""
    equal = head.floor is not None and (head.floor.n, head.floor.reference_n) == (best.n, best.reference_n)
    if equal and head.floor is not None and best.high is not None and best.high < (head.floor.low or 0.0):
        text += (
            " That is nearer to its training pictures than other real pictures are, which no model should be: see "
            "whether it copies them."
        )
    if copied := [s for s in now if s.detail.get("verdict") == "copies" and s.detail.get("words")]:
        text += f" It copies: {copied[0].detail['words']}"
    return [text, sure(best), *_outdated(now, newest)]


def value(score: Score) -> str:
    """ "9.1 [8.4, 9.8]", never broken at the end of a line."""
    return f"{score.text()} {score.bounds()}".strip().replace(" ", "\u00a0")


def sure(best: Score) -> str:
    """How far the number carries: N, what the interval means, one training, one extractor."""
    text = f"That is from {words.many(best.n)} samples" if best.n else "That is from an unknown number of samples"
    if best.bounds():
        text += ", and the interval says, at 95 %, what other seeds of this same model would give"
    text += ". It is one training: how much another one with the same settings would differ is not known."
    if best.extractor:
        text += f" The number belongs to its features ({extractor(best)}) and compares with others of the same alone."
    return text


def extractor(score: Score) -> str:
    """ "classifier, right on 97.9 % of the held-out pictures"."""
    known = {
        "classifier": "a classifier trained on the data's own labels",
        "inception": "the Inception network that FID is defined on",
        "pixels": "principal components of the pixels",
        "autoencoder": "an autoencoder trained on these clips",
    }.get(score.extractor, score.extractor)
    return known if score.accuracy is None else f"{known}, right on {100 * score.accuracy:.1f} % of held-out pictures"


def reading(found: Sequence[Score]) -> str:
    """What the classifier reads in the samples, in one sentence; "" where it was not asked."""
    from noisette.tasks.rows import alone  # which needs torch, and a page may not

    clear = best_first([s for s in found if s.metric == "clear" and not s.real])
    if not clear:
        return ""
    text = f"A classifier reads {clear[0].text()} of them with a confidence above 0.9"
    real = best_first([s for s in found if s.metric == "clear" and s.real])
    if real:
        text += f" ({real[0].text()} of real ones)"
    if (first := first_36(clear[0])) is not None:
        text += f"; of the first 36, {first} are clear"
    asked = [
        s for s in found if s.metric == "asked" and not s.real and s.sample == clear[0].sample and s.value is not None
    ]
    if asked:
        text += f"; {asked[0].text()} show the class that was asked for"
    if one := alone(clear[0].detail.get("by_class", {})):
        text += f". But nearly all of them are read as {one}, and noise is read so too: that says nothing of them"
    return text + "."


def first_36(score: Score) -> int | None:
    found = score.detail.get("first_36")
    return found if isinstance(found, int) else None


def _outdated(now: Sequence[Score], newest: int | None) -> list[str]:
    return [text] if (text := outdated(now, newest)) else []


def outdated(now: Sequence[Score], newest: int | None) -> str:
    """A word where the run has been trained on since it was evaluated."""
    measured = max((s.checkpoint for s in now if s.checkpoint is not None), default=None)
    if measured is None or newest is None or newest <= measured:
        return ""
    return (
        f"This was measured at step {measured:,}; the newest checkpoint, which draws the samples on this page, is of "
        f"step {newest:,}. Evaluate again to know about that one."
    )

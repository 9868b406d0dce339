"""What a study found, in plain sentences that carry their numbers. What the numbers do not bear is not said.

A sentence that calls one setting better rests on a claim that held (see claims). Prices, trends and the front of time
and quality are made of such claims, so that no further chance of error comes in with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from noisette.views.comparison import listed
from noisette.views.study import claims as claiming
from noisette.views.study import units as of
from noisette.views.study.claims import Claims
from noisette.views.study.levels import hardest, thirds
from noisette.views.study.sentences import capital, front, price, ranking, trends
from noisette.views.study.units import Kind, Unit

SENTENCES = 6
"""Of the answer."""

LED = 2
"""Trends that come before everything that is not about the first answer."""

NAMED = 3

DIVERGED = re.compile(r"not a number|\bnan\b|finite|diverge", re.IGNORECASE)


@dataclass(frozen=True)
class Findings:
    """The answer in a few sentences, everything else that was found, and the claims that both rest on."""

    answer: list[str]
    more: list[str]
    claims: Claims


def findings(found: Sequence[Unit], answers: Sequence[str], baseline: str = "", kind: Kind = of.kind) -> Findings:
    """What these units say.

    Args:
        found: every setting in every way.
        answers: the numbers that the study's question is about, the most important first.
        baseline: the value or setting that others are held against; "" for every two.
        kind: what must be equal for a number of two units to compare.
    """
    units = of.compared(found)
    cost = claiming.cost(units)
    within = thirds(units) if any(key.startswith("eps_") for key in answers) else []
    made = claiming.claims(units, [*answers, cost], baseline, kind, within)
    measured = [key for key in answers if key in made.means]
    lead = hardest(made, units) if within else []
    steady = [trends(made, key, units) for key in measured]
    lead += [s for key in measured[:1] for s in ranking(made, key, baseline)]
    lead += [s for some in steady[:1] for s in some[:LED]]
    others = [ranking(made, key, baseline) for key in measured[1:]]
    worth = [] if cost in measured else price(made, cost)
    worth += [s for key in measured[:1] for s in front(made, key, cost)]
    if not measured:
        lead = ["Nothing that the question asks for has been measured yet."]
    said = [
        *lead,
        *(s for ranked in others[:1] for s in ranked),
        *worth,
        *(s for ranked in others[1:] for s in ranked),
        *(s for some in steady[:1] for s in some[LED:]),
        *(s for some in steady[1:] for s in some),
    ]
    limits = [*_failed(found), *_unfinished(found), *_alone(units)]
    room = max(1, SENTENCES - len(limits))
    missing = [f"{capital(of.about(key)[0])} was not measured." for key in answers if key not in made.means]
    return Findings([*said[:room], *limits], [*said[room:], *(missing if measured else [])], made)


def noise(made: Claims) -> str:
    """How the differences were judged; "" where there are none."""
    if not made.found:
        return ""
    many = f"{len(made.found)} differences were" if len(made.found) > 1 else "One difference was"
    general = any(c.effect.general for c in made.found)
    over_what = "over seeds, each of them a training of its own" if general else "over the samples of one training"
    return (
        f"{many} looked at. ± and brackets are 95 % intervals {over_what}. Those called better hold together, with a "
        "chance of 5 % that even one of them is noise (Holm's method). Distances and times are held against each other "
        "by their ratio, shares by their difference."
    )


def _failed(found: Sequence[Unit]) -> list[str]:
    """ "2 of 3 seeds of lr=0.1 diverged.": each training once, however many ways draw from it."""
    told: dict[str, str] = {}
    for unit in found:
        setting = unit.setting
        failed = [r for r in unit.results if r.state == "failed"]
        if failed and setting not in told:
            diverged = all(DIVERGED.search(r.reason) for r in failed)
            how = "diverged" if diverged else f"failed ({failed[0].reason.rstrip('.')})"
            told[setting] = f"{len(failed)} of {len(unit.results)} seeds of {setting} {how}"
    return [f"{'; '.join(told.values())}."] if told else []


def _unfinished(found: Sequence[Unit]) -> list[str]:
    every = {(r.setting, r.seed) for unit in found for r in unit.results}
    waiting = {(r.setting, r.seed) for unit in found for r in unit.results if r.state in ("running", "missing")}
    return [f"{len(waiting)} of {len(every)} trainings are not finished yet."] if waiting else []


def _alone(found: Sequence[Unit]) -> list[str]:
    """A word where one seed is all there is."""
    counts = {unit.name: len(unit.finished) for unit in found if unit.finished}
    alone = [name for name, n in counts.items() if n == 1]
    if not alone:
        return []
    if len(alone) == len(counts):
        return [
            "1 seed: the luck of training is not known. What differs here beyond the error of the samples may be that "
            "luck, and need not come out again with another seed."
        ]
    told = listed([*alone[:NAMED], *([f"{len(alone) - NAMED} more"] if len(alone) > NAMED else [])])
    return [f"Of {told} only 1 seed finished: what another would give is not known, so it is held against nothing."]

"""What a study found, in plain sentences that carry their numbers. What the numbers do not bear is not said.

A sentence that calls one setting better rests on a claim that held (see claims). Prices, trends and the front of time
and quality are made of such claims, so that no further chance of error comes in with them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.special import chdtri  # type: ignore[import-untyped]

from noisette.views.comparison import listed
from noisette.views.study import claims as claiming
from noisette.views.study import units as of
from noisette.views.study.claims import Claims
from noisette.views.study.levels import hardest, thirds
from noisette.views.study.sentences import capital, front, price, ranking, trends
from noisette.views.study.units import Kind, Unit

REACHED = "classes_reached"

SENTENCES = 6
"""Of the answer."""

LED = 2
"""Trends that come before everything that is not about the first answer."""

NAMED = 3

SPREADS = 8
"""Settings up to which the spread of each is told."""

DIVERGED = re.compile(r"not a number|\bnan\b|finite|diverge", re.IGNORECASE)


@dataclass(frozen=True)
class Findings:
    """The answer in a few sentences, everything else that was found, and the claims that both rest on."""

    answer: list[str]
    more: list[str]
    claims: Claims


def findings(
    found: Sequence[Unit], answers: Sequence[str], baselines: Sequence[str] = (), kind: Kind = of.kind
) -> Findings:
    """What these units say.

    Args:
        found: every setting in every way.
        answers: the numbers that the study's question is about, the most important first.
        baselines: values and settings that others are held against; none for every two.
        kind: what must be equal for a number of two units to compare.
    """
    units = of.compared(found)
    cost = claiming.cost(units)
    within = thirds(units) if any(key.startswith("eps_") for key in answers) else []
    made = claiming.claims(units, [*answers, cost], baselines, kind, within)
    measured = [key for key in answers if key in made.means]
    lead = hardest(made, units) if within else []
    steady = [trends(made, key, units) for key in measured]
    lead += [s for key in measured[:1] for s in ranking(made, key, baselines)]
    lead += [s for some in steady[:1] for s in some[:LED]]
    others = [ranking(made, key, baselines) for key in measured[1:]]
    worth = [] if cost in measured else price(made, cost)
    worth += [s for key in measured[:1] for s in front(made, key, cost)]
    if not measured:
        why = dict.fromkeys(filter(None, (_why(found, key) for key in answers)))
        lead = [" ".join(["Nothing that the question asks for has been measured yet.", *why])]
    said = [
        *lead,
        *(s for ranked in others[:1] for s in ranked),
        *worth,
        *(s for ranked in others[1:] for s in ranked),
        *(s for some in steady[:1] for s in some[LED:]),
        *(s for some in steady[1:] for s in some),
    ]
    limits = [*_failed(found), *(_collapsed(units) if REACHED in answers else []), *_unfinished(found), *_alone(units)]
    room = max(1, SENTENCES - len(limits))
    said += _spread(units, measured[0]) if measured else []
    missing = [
        _why(found, key) or f"{capital(of.about(key)[0])} was not measured." for key in answers if key not in made.means
    ]
    return Findings([*said[:room], *limits], [*said[room:], *(missing if measured else [])], made)


def _why(found: Sequence[Unit], key: str) -> str:
    """ "Fréchet distance was not measured: ..."; empty where no run says why."""
    reasons = dict.fromkeys(r.reasons[key] for unit in found for r in unit.finished if key in r.reasons)
    return f"{capital(of.about(key)[0])} was not measured: {next(iter(reasons)).rstrip('.')}." if reasons else ""


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


def _spread(found: Sequence[Unit], key: str) -> list[str]:
    """How far the seeds of each setting lie apart in a number, and how little so few of them say of that."""
    values = {unit.name: [m.value for m in unit.measured(key)] for unit in found}
    values = {name: v for name, v in values.items() if len(v) > 1}
    if not values or len(values) > SPREADS:
        return []
    share = of.is_share(key)
    told = [
        f"{of.text(key, stdev(v))} ({name})" if share else f"{100 * stdev(v) / abs(mean(v)):.2g}\u00a0% ({name})"
        for name, v in values.items()
        if share or mean(v)
    ]
    fewest = min(len(v) for v in values.values())
    low, high = (math.sqrt((fewest - 1) / float(chdtri(fewest - 1, tail))) for tail in (0.025, 0.975))
    return [
        f"{capital(of.about(key)[0])}, how far seeds of one setting lie apart (standard deviation): {listed(told)}. Of "
        f"{fewest} seeds this is known within a factor of {low:.2g} to {high:.2g}."
    ]


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


def _collapsed(found: Sequence[Unit]) -> list[str]:
    """ "1 of 3 seeds of gan collapsed (4 of 10 classes)."; said where none did as well."""
    told: list[str] = []
    counted: list[str] = []
    for unit in found:
        reached = [m.value for m in unit.measured(REACHED)]
        known = max((m.value for m in unit.measured("classes_known")), default=0.0)
        if not reached or known < 3:
            continue
        few = [count for count in reached if count <= known / 2]
        counted.append(f"{len(reached)} of {unit.name}")
        if few:
            counts = listed([f"{count:g}" for count in few])
            told.append(f"{len(few)} of {len(reached)} seeds of {unit.name} collapsed ({counts} of {known:g} classes)")
    if not counted:
        return []
    if not told:
        return [f"No seed collapsed ({listed(counted)}): each reaches more than half of the classes."]
    return [f"{'; '.join(told)}."]


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

"""Claims -> sentences, a kind of finding each: who comes first, what it costs, what is worth it, where it goes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from noisette.metrics.effects import Effect
from noisette.views import scores
from noisette.views.comparison import listed
from noisette.views.study import units as of
from noisette.views.study.claims import Claim, Claims
from noisette.views.study.units import Unit

PRICE = 1.1
"""A ratio of times that is worth a sentence."""

NAMED = 3
"""Settings that a sentence names before it counts the others."""

EVEN = 1.3
"""An interval is written with ± where its longer side is at most this many times the shorter."""

COSTS = {"seconds_train": "training", "seconds_sample": "drawing"}


# --- who comes first ------------------------------------------------------------------------------------------------


def ranking(made: Claims, key: str, baselines: Sequence[str] = ()) -> list[str]:
    """One number over all units that compare in it, a sentence for each baseline; one more where not all compare."""
    text = [_apart(made, key)] if key in made.apart else []
    mine = made.of(key)
    if not mine:
        return text
    if all(c.effect.low is None for c in mine):
        return [*text, _lone(made, mine, key)]
    if len(mine) == 1:
        return [*text, _pair(mine[0])]
    told: list[str] = []
    rest = mine
    for label in baselines:
        held = [c for c in rest if of.has(label, c.a, c.b)]
        rest = [c for c in rest if c not in held]
        told += [_pair(held[0]) if len(held) == 1 else _against(made, held, key, label)] if held else []
    return [*text, *(told or [_standing(made, mine, key)])]


def _apart(made: Claims, key: str) -> str:
    name, parts = capital(of.about(key)[0]), made.apart[key]
    why = "other data, another machine or another way of measuring"
    alike = [" with ".join(unit.name for unit in part) for part in parts if len(part) > 1]
    if not alike:
        return f"{name} does not compare between these {len(parts)} settings: {why} each."
    return f"{name} does not compare between all {sum(map(len, parts))} settings ({why}), only {'; '.join(alike)}."


def _lone(made: Claims, mine: Sequence[Claim], key: str) -> str:
    """Of one training each, in a number that has no error of its own."""
    first, last = _ends(made, mine, key)
    ends = f"{value(made, key, first)} with {first.name}, {value(made, key, last)} with {last.name}"
    return f"{capital(of.about(key)[0])} of 1 training each: {ends}; what another would give is not known."


def _pair(claim: Claim) -> str:
    """ "cosine beat linear by 3.1 ± 0.8 over 3 seeds (Fréchet distance; lower is better)." """
    (name, _, way), effect = of.about(claim.key), claim.effect
    what = f"{name}; {way} is better" if way else name
    if not claim.real:
        told = f"{difference(claim.key, effect)}{over(effect)}{_alone(effect)}"
        return f"No difference beyond the noise between {claim.a.name} and {claim.b.name} ({what}; {told})."
    if way:
        return f"{claim.a.name} beat {claim.b.name} by {difference(claim.key, effect)}{over(effect)} ({what})."
    return f"{claim.a.name} has a lower {name} than {claim.b.name}, by {difference(claim.key, effect)}{over(effect)}."


def _standing(made: Claims, mine: Sequence[Claim], key: str) -> str:
    """Who comes first, and what it beat; where no two differ, the span that all lie in."""
    name, _, way = of.about(key)
    first, last = _ends(made, mine, key)
    real, seeds = sum(c.real for c in mine), _most(mine)
    if not real:
        return (
            f"No difference in {name} beyond the noise between {len(_names(mine))} settings ({len(mine)} pairs): from "
            f"{value(made, key, first)} with {first.name} to {value(made, key, last)} with {last.name}{seeds}."
        )
    here = [c for c in mine if c.a is first]
    beat = sorted((c for c in here if c.real), key=lambda c: -abs(c.effect.by))
    close = [c for c in here if not c.real]
    lead = f"comes first in {name}" if way else f"has the lowest {name}"
    parts = [f"{'it beat' if way else 'it lies below'} {_named(beat, key)}"] if beat else []
    parts += [f"no difference beyond the noise from {_named(close, key)}"] if close else []
    better = f" ({way} is better)" if way else ""
    told = f": {'; '.join(parts)}" if parts else ""
    text = f"{first.name} {lead} with {value(made, key, first)}{seeds}{better}{told}."
    if len(mine) == len(here):
        return text
    count = f"All {real} pairs" if real == len(mine) else f"Of {len(mine)} pairs, {real}"
    return f"{text} {count} differ{'' if real > 1 else 's'} by more than the noise."


def _against(made: Claims, mine: Sequence[Claim], key: str, label: str) -> str:
    """What differs from a baseline alone: from the one unit that it is, or each from its own."""
    name, _, way = of.about(key)
    groups = (
        (f"{'better' if way else 'lower'} is", [c for c in mine if c.real and of.named(c.b, label)]),
        (f"{'worse' if way else 'higher'} is", [c for c in mine if c.real and of.named(c.a, label)]),
        ("no difference beyond the noise for", [c for c in mine if not c.real]),
    )
    parts = [f"{word} {_named(some, key, label)}" for word, some in groups if some]
    bases = {unit.name: unit for c in mine for unit in (c.a, c.b) if of.named(unit, label)}
    better = f"; {way} is better" if way else ""
    told, seeds = next(iter(bases)), _most(mine).removeprefix(" ")
    if len(bases) > 1:
        told = label
    else:
        seeds = f"{value(made, key, bases[told])} {seeds}"
    return f"{capital(name)} against {told} ({seeds}{better}): {'; '.join(parts)}."


def _ends(made: Claims, mine: Sequence[Claim], key: str) -> tuple[Unit, Unit]:
    """(the unit with the best mean, the one with the worst) of those that are compared."""
    names, sign = _names(mine), -1 if of.about(key)[2] == "higher" else 1
    ranked = sorted((pair for pair in made.means[key] if pair[0].name in names), key=lambda p: sign * p[1].value)
    return ranked[0][0], ranked[-1][0]


def _names(mine: Sequence[Claim]) -> set[str]:
    return {unit.name for c in mine for unit in (c.a, c.b)}


def _named(some: Sequence[Claim], key: str, than: str = "") -> str:
    """ "linear by 3.1 ± 0.8, sigmoid by 2.2 ± 0.9 and 2 more": the other one of each claim, or that without a label."""
    told = []
    for claim in some[:NAMED]:
        other = claim.a if than and of.named(claim.b, than) else claim.b
        by = difference(key, claim.effect)
        told.append(f"{other.name} by {by}" if claim.real else f"{other.name} ({by}{_alone(claim.effect)})")
    more = len(some) - len(told)
    return listed([*told, f"{more} more"] if more else told)


# --- what it costs --------------------------------------------------------------------------------------------------


def price(made: Claims, key: str) -> list[str]:
    """What the dearest costs beside the cheapest, where that is larger than the noise and worth a word."""
    mine = [c for c in made.of(key) if c.real and c.effect.ratio]
    widest = max(mine, key=lambda c: _times(c.effect)[0], default=None)
    if widest is None or _times(widest.effect)[0] < PRICE:
        return []
    ratio, *bounds = _times(widest.effect)
    times = f"{scores.number(ratio, *bounds)} [{', '.join(scores.number(b, *bounds) for b in bounds)}] times"
    cheap, dear, seeds = value(made, key, widest.a), value(made, key, widest.b), over(widest.effect)
    if key in COSTS:
        what = f"{widest.b.name} costs {times} the time of {widest.a.name}"
        return [f"{what} ({COSTS[key]}: {dear} against {cheap}{seeds})."]
    what = f"{widest.a.name} trains on {times} as many images a second as {widest.b.name}"
    return [f"{what} ({cheap} against {dear}{seeds})."]


def _times(effect: Effect) -> tuple[float, float, float]:
    """A ratio above one, with its interval."""
    ratio, low, high = effect.ratio or 1.0, effect.ratio_low or 1.0, effect.ratio_high or 1.0
    return (ratio, low, high) if ratio >= 1 else (1 / ratio, 1 / high, 1 / low)


def front(made: Claims, key: str, cost: str) -> list[str]:
    """Which settings are worth their time: nothing that is cheaper is as good within the noise, and nothing that is
    better is as cheap. Only where every two were held against each other in both, over several seeds."""
    quality, costs = made.of(key), made.of(cost)
    units = [unit for unit, _ in made.means.get(key, ()) if unit.name in _names(costs)]
    every = len(units) * (len(units) - 1) // 2
    if cost not in COSTS or len(units) < 3 or not len(quality) == len(costs) == every:
        return []
    if not (any(c.real for c in quality) and any(c.real for c in costs)) or not quality[0].effect.general:
        return []

    def wins(number: str, one: Unit, other: Unit) -> bool:
        claim = made.between(number, one, other)
        return claim is not None and claim.real and claim.a is one

    off: dict[str, str] = {}
    for unit in units:
        for other in units:
            if wins(cost, other, unit) and not wins(key, unit, other):
                off.setdefault(unit.name, f"{unit.name} takes longer than {other.name} without a gain beyond the noise")
            elif wins(key, other, unit) and not wins(cost, unit, other):
                off.setdefault(unit.name, f"{unit.name} is worse than {other.name} and saves no time beyond the noise")
    on = [
        f"{unit.name} ({value(made, cost, unit)}, {of.about(key)[0]} {value(made, key, unit)})"
        for unit in units
        if unit.name not in off
    ]
    if not on or not off:
        return []
    return [f"Worth the time of {COSTS[cost]}: {listed(on)}; {listed(list(off.values())[:NAMED])}."]


# --- where it goes --------------------------------------------------------------------------------------------------


def trends(made: Claims, key: str, found: Sequence[Unit]) -> list[str]:
    """Whether a number goes one way along each numeric factor, by its means at every step; only where its ends differ
    by more than the noise, or where the middle beats both ends."""
    known, text = {unit.name for unit, _ in made.means.get(key, ())}, []
    for factor in dict.fromkeys(name for unit in found for name in unit.values):
        lines: dict[str, list[tuple[float, Unit]]] = {}
        for unit in found:
            x = of.numeric(unit.values.get(factor, ""))
            if x is not None and unit.name in known:
                rest = ", ".join(v for name, v in unit.values.items() if name != factor)
                lines.setdefault(rest, []).append((x, unit))
        for rest, line in lines.items():
            if len(line) >= 3 and len({x for x, _ in line}) == len(line):
                text += _trend(made, key, f"{factor} ({rest})" if rest else factor, sorted(line, key=lambda p: p[0]))
    return text


def _trend(made: Claims, key: str, factor: str, line: Sequence[tuple[float, Unit]]) -> list[str]:
    name, _, way = of.about(key)
    units = [unit for _, unit in line]
    means = [made.mean(key, unit).value for unit in units]
    path = ", ".join(f"{value(made, key, unit)} at {x:g}" for x, unit in line)
    best = means.index(max(means) if way == "higher" else min(means))
    if _holds(made, key, units[0], units[-1]):
        steps = [after - before for before, after in itertools.pairwise(means)]
        if min(steps) > 0 or max(steps) < 0:
            return [f"{capital(name)} {'rises' if steps[0] > 0 else 'falls'} with {factor} at every step: {path}."]
        inside = f"{capital(name)} does not go steadily one way with {factor}: {path}."
    else:
        inside = ""
    if way and 0 < best < len(means) - 1 and all(_holds(made, key, units[best], units[end]) for end in (0, -1)):
        return [f"{capital(name)} is best in the middle of {factor}, at {line[best][0]:g}: {path}."]
    return [inside] if inside else []


def _holds(made: Claims, key: str, one: Unit, other: Unit) -> bool:
    claim = made.between(key, one, other)
    return claim is not None and claim.real and claim.effect.general


# --- words ----------------------------------------------------------------------------------------------------------


def _alone(effect: Effect) -> str:
    """What to say of no difference whose own interval does not hold 0: among many, one such is to be expected."""
    out = effect.low is not None and effect.high is not None and effect.low * effect.high > 0
    return "; one, were it the only one looked at" if out else ""


def difference(key: str, effect: Effect) -> str:
    """ "3.1 ± 0.8", or with its interval where that is lopsided: "3.1 [2.2, 5.4]"."""
    sign = 1 if effect.by >= 0 else -1
    by = sign * effect.by
    if effect.low is None or effect.high is None:
        return of.text(key, by)
    low, high = sorted((sign * effect.low, sign * effect.high))
    below, above = by - low, high - by
    if 0 < max(below, above) <= EVEN * min(below, above):
        told = f"{of.text(key, by, low, high)} ± {of.text(key, (high - low) / 2, low, high)}"
    else:
        told = f"{of.text(key, by, low, high)} {of.interval(key, low, high)}"
    return _points(told).replace(" ", "\u00a0")


def _points(told: str) -> str:
    """A difference of shares: a per cent of what would not be clear."""
    return told.replace("\u00a0%", "") + " percentage points" if "%" in told else told


def value(made: Claims, key: str, unit: Unit) -> str:
    """The mean of a unit, as people read it."""
    mean = made.mean(key, unit)
    return of.text(key, mean.value, mean.low, mean.high)


def over(effect: Effect) -> str:
    """How many trainings a difference is of."""
    return f" over {effect.seeds} seeds" if effect.general else " in 1 training each"


def _most(mine: Sequence[Claim]) -> str:
    return over(max((c.effect for c in mine), key=lambda effect: effect.seeds))


def capital(text: str) -> str:
    return text[0].upper() + text[1:]

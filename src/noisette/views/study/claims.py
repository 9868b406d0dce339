"""Every difference between settings that a study looks at, and which of them are larger than the luck of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from noisette.metrics import effects
from noisette.metrics.effects import Effect, Mean
from noisette.views.study import units as of
from noisette.views.study.units import Kind, Unit

ALIKE = 1.05
"""Times of training within this ratio are taken for equal by design: then it is the speed that differs."""


@dataclass(frozen=True)
class Claim:
    """Unit a and unit b differ in a number; a has the better mean, or the lower one where neither way is better.

    real: larger than the noise, by Holm's method over all claims of the study.
    """

    key: str
    a: Unit
    b: Unit
    effect: Effect
    real: bool = False


@dataclass(frozen=True)
class Claims:
    """All that were looked at, with the mean of each unit, and the numbers that do not compare between all units."""

    found: list[Claim]
    means: dict[str, list[tuple[Unit, Mean]]]
    apart: dict[str, list[list[Unit]]]

    def of(self, key: str) -> list[Claim]:
        return [c for c in self.found if c.key == key]

    def between(self, key: str, one: Unit, other: Unit) -> Claim | None:
        return next((c for c in self.of(key) if {c.a.name, c.b.name} == {one.name, other.name}), None)

    def mean(self, key: str, unit: Unit) -> Mean:
        return next(mean for other, mean in self.means[key] if other.name == unit.name)


def claims(
    found: Sequence[Unit],
    keys: Sequence[str],
    baselines: Sequence[str] = (),
    kind: Kind = of.kind,
    within: Sequence[tuple[str, Sequence[Unit]]] = (),
) -> Claims:
    """The differences in these numbers between the units that compare.

    Args:
        baselines: values and settings that others are held against; none for every two.
        kind: what must be equal for a number of two units to compare.
        within: (number, units) that are held against each other in it as well, apart from all others.
    """
    made: list[Claim] = []
    every: dict[str, list[tuple[Unit, Mean]]] = {}
    apart: dict[str, list[list[Unit]]] = {}
    for key in dict.fromkeys(keys):
        groups: dict[tuple[str, ...], list[Unit]] = {}
        for unit in found:
            if unit.measured(key):
                groups.setdefault(kind(unit, key), []).append(unit)
        if len(groups) > 1:
            apart[key] = list(groups.values())
        for group in groups.values():
            every.setdefault(key, []).extend(zip(group, means(group, key), strict=True))
            made += _between(group, key, baselines)
    for key, group in within:
        every.setdefault(key, []).extend(zip(group, means(group, key), strict=True))
        made += _between(group, key, ())
    real = effects.holm([c.effect.p for c in made])
    made = [Claim(c.key, c.a, c.b, c.effect, ok) for c, ok in zip(made, real, strict=True)]
    return Claims(made, every, apart)


def means(group: Sequence[Unit], key: str) -> list[Mean]:
    """The mean of each unit over its seeds; their spread is judged together, so they should be of one kind."""
    values = [unit.measured(key) for unit in group]
    return effects.means(values, log=of.positive(key, values))


def _between(group: Sequence[Unit], key: str, baselines: Sequence[str]) -> list[Claim]:
    values = [unit.measured(key) for unit in group]
    log, sign = of.positive(key, values), -1 if of.about(key)[2] == "higher" else 1
    exact = key in of.EXACT
    looked = of.pairs(group, baselines)
    turned = [(b, a) if sign * _gap(values[a], values[b]) > 0 else (a, b) for a, b in looked]
    made = effects.effects(values, [(a, b) for a, b in turned if group[a].runs != group[b].runs], log=log, exact=exact)
    for runs in {str(unit.runs): unit.runs for unit in group}.values():
        shared = [(a, b) for a, b in turned if group[a].runs == group[b].runs == runs]
        made += effects.effects(values, shared, log=log, paired=True, exact=exact)
    return [Claim(key, group[e.a], group[e.b], e) for e in made]


def _gap(a: Sequence[effects.Measured], b: Sequence[effects.Measured]) -> float:
    return sum(m.value for m in a) / len(a) - sum(m.value for m in b) / len(b)


def cost(found: Sequence[Unit]) -> str:
    """The number that says what a setting costs: the time of drawing where all draw from the same runs, else that of
    training, or its speed where the time was given."""
    if of.one_training(found):
        return "seconds_sample"
    seconds = [m.value for unit in found for m in unit.measured("seconds_train")]
    return "seconds_train" if seconds and max(seconds) > ALIKE * min(seconds) else "images_per_second"

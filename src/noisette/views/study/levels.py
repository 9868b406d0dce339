"""Where the model struggles: the thirds of t of each setting, held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noisette.tasks.levels import THIRDS
from noisette.views.study.claims import Claims
from noisette.views.study.sentences import NAMED, over, value
from noisette.views.study.units import LEVEL, Unit

ENDS = ("the least noisy", "in between", "the noisiest")


def thirds(found: Sequence[Unit]) -> list[tuple[str, list[Unit]]]:
    """For each unit that has them, three: its error of the noise in each third of t, as one number of each."""
    return [(LEVEL, parts) for unit in found if (parts := _parts(unit))]


def _parts(unit: Unit) -> list[Unit]:
    parts = []
    for name in THIRDS:
        results = tuple(replace(r, numbers={LEVEL: r.numbers.get(f"eps_{name}")}, errors={}) for r in unit.results)
        parts.append(Unit(f"{unit.name}, {name}", {"third": name}, unit.way, results))
    return parts if all(part.measured(LEVEL) for part in parts) else []


def hardest(made: Claims, found: Sequence[Unit]) -> list[str]:
    """In which third the error of the noise is the largest, for the first few units; where it is beyond the noise."""
    text = []
    for unit in found:
        if not (parts := _parts(unit)):
            continue
        means = [made.mean(LEVEL, part).value for part in parts]
        at = means.index(max(means))
        held = [made.between(LEVEL, parts[at], part) for k, part in enumerate(parts) if k != at]
        told = ", ".join(f"{value(made, LEVEL, p)} in the {name} third" for name, p in zip(THIRDS, parts, strict=True))
        if all(claim is not None and claim.real for claim in held):
            seeds = over(next(claim.effect for claim in held if claim is not None))
            text.append(
                f"{unit.name} struggles most in the {THIRDS[at]} third of t, {ENDS[at]}: its error of the noise is "
                f"{told}{seeds}."
            )
        else:
            text.append(f"No third of t is the hardest for {unit.name} beyond the noise: error of the noise {told}.")
    return text[:NAMED]

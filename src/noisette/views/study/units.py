"""What a study compares: a setting, drawn in one way, with all of its seeds; and which two of them compare in what."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from noisette.errors import UserError
from noisette.experiment.runs import Run
from noisette.metrics.effects import Measured
from noisette.tasks.study import NUMBERS, Result
from noisette.views import scores, words
from noisette.views.comparison_curves import loss_kind
from noisette.views.material import Material

TIMES = ("seconds_train", "images_per_second", "forward_seconds", "seconds_sample", "seconds_total", "memory")
LOSSES = ("loss", "val_loss", "grad_norm", "loss_early", "loss_middle", "loss_late")
ERRORS = ("eps_early", "eps_middle", "eps_late")
DISTANCES = ("fid", "kid", "precision", "recall", "density", "coverage")
ANYWHERE = ("steps", "images", "parameters", "nfe", "terminal_signal", "grad_norm_spread", "fid_ratio")
"""Numbers that mean the same whatever was learned from and wherever it was done."""


EXACT = ("steps", "images", "parameters", "nfe", "terminal_signal")
"""Numbers in which no luck is where every seed gives the same."""

NUMBER = re.compile(r"(?:[\w. ]+=)?([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)")

LEVEL = "eps_level"
"""The error of the noise in one third of t, where thirds are held against each other."""

LONG = 5
"""Along a numeric factor with more values than this, a value is held against its neighbours, and the two ends against
each other: every two would be so many differences that few could be told from luck."""


@dataclass(frozen=True)
class Unit:
    """A setting drawn in one way: its results, a seed each."""

    name: str
    values: Mapping[str, str]
    way: str
    results: tuple[Result, ...]

    @property
    def setting(self) -> str:
        return self.results[0].setting

    @property
    def finished(self) -> list[Result]:
        return [r for r in self.results if r.state == "finished"]

    def measured(self, key: str) -> list[Measured]:
        """What each finished seed gave, as far as it is a number."""
        found = []
        for result in self.finished:
            value, error = result.numbers.get(key), result.errors.get(key)
            if value is not None and math.isfinite(value):
                known = error is not None and math.isfinite(error)
                found.append(Measured(result.seed, value, error if known else None, result.shared.get(key, 0.0)))
        return found

    @property
    def runs(self) -> dict[int, str]:
        """seed -> run folder."""
        return {r.seed: str(r.run) for r in self.results}

    @cached_property
    def materials(self) -> list[Material]:
        """The runs of the finished seeds, read, as far as they are still there."""
        found = []
        for result in self.finished:
            with contextlib.suppress(UserError):
                found.append(Material(Run.open(result.run)))
        return found

    @property
    def material(self) -> Material | None:
        """That of the first finished seed; None where there is none."""
        return next(iter(self.materials), None)


def units(results: Sequence[Result]) -> list[Unit]:
    """All settings in all ways, in the order of the results.

    A run that is not finished may not know yet how it is drawn: it counts to its setting's first way.
    """
    settings = dict.fromkeys(r.setting for r in results)
    first = {setting: next((r.way for r in results if r.setting == setting and r.way), "") for setting in settings}
    together: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        together.setdefault((result.setting, result.way or first[result.setting]), []).append(result)
    several = len(together) > len(settings)
    found = []
    for (setting, way), mine in together.items():
        name = setting
        if several and way:
            name = f"{setting}, {way}" if len(settings) > 1 else way
        values = dict(mine[0].values)
        if several and len(settings) == 1:
            values["way"] = way
        found.append(Unit(name or "all runs", values, way, tuple(sorted(mine, key=lambda r: r.seed))))
    return found


def compared(found: Sequence[Unit]) -> list[Unit]:
    """Those that findings are about: where several settings were each drawn in several ways, the first way of each."""
    if len({unit.setting for unit in found}) == 1:
        return list(found)
    first: dict[str, Unit] = {}
    for unit in found:
        first.setdefault(unit.setting, unit)
    return list(first.values())


def pairs(found: Sequence[Unit], baselines: Sequence[str] = ()) -> list[tuple[int, int]]:
    """Which two are held against each other: those that differ in one factor (where no two do, every two), and with
    baselines, labels of values or of settings, those of them that have one on one side."""
    every = list(itertools.combinations(range(len(found)), 2))
    apart = {(a, b): _differing(found[a], found[b]) for a, b in every}
    one = [pair for pair in every if len(apart[pair]) == 1] or every
    if held := [(a, b) for a, b in one if any(has(label, found[a], found[b]) for label in baselines)]:
        return held
    return [pair for pair in one if len(apart[pair]) > 1 or _near(found, pair, apart[pair][0])]


def has(label: str, one: Unit, other: Unit) -> bool:
    """Whether exactly one of two has this label, of a setting, or of a value in which they differ."""
    apart = _differing(one, other)
    return (label in _names(one, apart)) != (label in _names(other, apart))


def named(unit: Unit, label: str) -> bool:
    """Whether this is the label of the unit's setting or of one of its values."""
    return label in _names(unit, list(unit.values))


def _near(found: Sequence[Unit], pair: tuple[int, int], factor: str) -> bool:
    """Whether two that differ in this factor alone are held together: along many numbers, neighbours and the ends."""
    ends = [numeric(found[k].values.get(factor, "")) for k in pair]
    alike = [unit for unit in found if set(_differing(unit, found[pair[0]])) <= {factor}]
    line = sorted({x for unit in alike if (x := numeric(unit.values.get(factor, ""))) is not None})
    if len(line) <= LONG or None in ends:
        return True
    a, b = sorted(line.index(x) for x in ends if x is not None)
    return b - a == 1 or (a, b) == (0, len(line) - 1)


def numeric(label: str) -> float | None:
    """The number that a label is: "300" and "T=300" -> 300; None for "eta 0.5", which is a name."""
    found = NUMBER.fullmatch(label)
    return float(found[1].replace(",", "")) if found else None


def _names(unit: Unit, factors: Sequence[str]) -> list[str]:
    return [unit.setting, *(unit.values.get(factor, "") for factor in factors)]


def _differing(one: Unit, other: Unit) -> list[str]:
    names = dict.fromkeys([*one.values, *other.values])
    return [name for name in names if one.values.get(name) != other.values.get(name)]


def moves(found: Sequence[Unit]) -> bool:
    """Whether all that is known of is motion."""
    known = [unit.material for unit in found if unit.material is not None]
    return bool(known) and all(words.moves(material.config) for material in known)


def one_training(found: Sequence[Unit]) -> bool:
    """Whether all of them were drawn from the same trained runs, seed by seed."""
    return len(found) > 1 and all(unit.runs == found[0].runs for unit in found)


Kind = Callable[[Unit, str], tuple[str, ...]]


def kind(unit: Unit, key: str) -> tuple[str, ...]:
    """What must be equal for this number of two units to compare: the machine of a time, the data of a distance.

    Where it is not even equal for the seeds of the unit, it compares with none.
    """
    kinds = dict.fromkeys(_kind(material, key) for material in unit.materials)
    return next(iter(kinds), ()) if len(kinds) < 2 else ("mixed", unit.name)


def _kind(material: Material, key: str) -> tuple[str, ...]:
    if key in ANYWHERE or key.startswith("share_"):
        return ()
    if key in TIMES:
        return (words.machine_name(material.meta),)
    if key in (*LOSSES, *ERRORS):
        of_loss = dict(loss_kind(material, training=False))
        return tuple(of_loss.values()) if key in LOSSES else (of_loss["data"], of_loss["schedule"])
    data = words.data_key(material.config, material.data)
    if key in DISTANCES:
        hashes = [s.hash for s in material.scores if s.metric == key and not s.real and s.hash]
        return (data, *hashes[-1:])
    if key == "bits":
        return ("flow" if material.config.schedule.name.startswith("continuous") else "bound",)
    return (data,)


# --- numbers in words -----------------------------------------------------------------------------------------------


def about(key: str) -> tuple[str, str, str]:
    """(name in words, unit, which way is better) of a number."""
    own = {LEVEL: ("error of the noise", "", "lower")}
    return {**NUMBERS, **own}.get(key, (key.replace("_", " "), "", ""))


def better(key: str) -> str:
    """ "lower is better", or "" where neither is."""
    way = about(key)[2]
    return f"{way} is better" if way else ""


def is_share(key: str) -> bool:
    return about(key)[1] == "share"


def within(key: str, low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """An interval, for a share no wider than from 0 to 1."""
    if low is None or high is None or not is_share(key):
        return low, high
    return max(low, 0.0), min(high, 1.0)


def positive(key: str, groups: Sequence[Sequence[Measured]]) -> bool:
    """Whether a number spreads in proportion to its size: a distance or a time, but no share and nothing that may cross
    zero."""
    free = key != "kid" and not is_share(key)
    return free and all(m.value > 0 for group in groups for m in group)


def text(key: str, value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A number as people read it, with as many digits as its interval lets it have."""
    if value is None:
        return "–"
    unit = about(key)[1]
    if unit == "s":
        return words.duration(value) if abs(value) >= 1 else f"{scores.number(value, low, high)}\u00a0s"
    return words.size(value) if unit == "bytes" else scores.number(value, low, high, unit)


def interval(key: str, low: float | None, high: float | None) -> str:
    """ "[8.4, 9.8]", or "" where there is none."""
    if low is None or high is None:
        return ""
    ends = [text(key, end, low, high).removesuffix("\u00a0%") for end in (low, high)]
    return f"[{ends[0]}, {ends[1]}]"

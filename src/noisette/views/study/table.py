"""Every number of a study: as a table for people, a row for each setting, and as lines of CSV, one for each result."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence

from noisette.metrics.effects import Mean
from noisette.tasks.study import NUMBERS, Result
from noisette.views import words
from noisette.views.parts import Table
from noisette.views.study import units as of
from noisette.views.study.claims import means
from noisette.views.study.units import Kind, Unit

MAIN = ("seconds_train", "images_per_second", "memory", "seconds_sample", "fid", "bits", "clear", "terminal_signal")
"""Columns of the first table; all others follow in a second one."""

WIDTH = 22
"""Characters of a line of a column's head, in plain text."""


def table(found: Sequence[Unit], answers: Sequence[str] = (), kind: Kind = of.kind) -> tuple[Table, Table]:
    """Units x numbers, each the mean over seeds with its 95 % interval below; what nobody measured has no column.

    Two tables: what the study asks for, first, with what everybody wants to know; and all other numbers, folded.
    """
    known = [key for key in keys([r for unit in found for r in unit.results]) if any(u.measured(key) for u in found)]
    first = [*(key for key in answers if key in known), *(key for key in MAIN if key in known and key not in answers)]
    others = [key for key in known if key not in first]
    return _table(found, first, "", kind), _table(found, others, "All other numbers", kind)


def _table(found: Sequence[Unit], columns: Sequence[str], title: str, kind: Kind) -> Table:
    cells = {key: _column(found, key, kind) for key in columns}
    head = ["", *[f"{of.about(key)[0]}\n{of.better(key)}".rstrip() for key in columns]]
    rows = [[_name(unit), *[cells[key].get(unit.name, "–") for key in columns]] for unit in found]
    return Table(rows, title, head, folded=bool(title), wide=True)


def keys(results: Sequence[Result]) -> list[str]:
    """Every number that was measured of any result: the known ones in their order, others after them."""
    seen = {key for result in results for key, value in result.numbers.items() if value is not None}
    return [*(key for key in NUMBERS if key in seen), *sorted(seen - set(NUMBERS))]


def plain(found: Sequence[Unit], numbers: Sequence[str], kind: Kind = of.kind) -> str:
    """Units x numbers as lines of text, in aligned columns; what nobody measured has no column."""
    table = _table(found, [key for key in numbers if any(unit.measured(key) for unit in found)], "", kind)
    say = words.of_clips if of.moves(found) else str
    heads = [textwrap.wrap(say(head.split("\n")[0]), WIDTH) for head in table.head]
    deep = max(map(len, heads))
    head = [[""] * (deep - len(lines)) + lines for lines in heads]
    cells = [[row[0].replace("\n", " (") + ")", *(cell.replace("\n", " ") for cell in row[1:])] for row in table.rows]
    rows = [*map(list, zip(*head, strict=True)), *cells]
    widths = [max(len(row[k]) for row in rows) for k in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines[:deep], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[deep:]])


def _name(unit: Unit) -> str:
    finished = len(unit.finished)
    if finished == len(unit.results):
        return f"{unit.name}\n{finished} seed{'s' if finished != 1 else ''}"
    return f"{unit.name}\n{finished} of {len(unit.results)} seeds"


def _column(found: Sequence[Unit], key: str, kind: Kind) -> dict[str, str]:
    """Unit -> its cell. Spread is judged over units of one kind together."""
    groups: dict[tuple[str, ...], list[Unit]] = {}
    for unit in found:
        if unit.measured(key):
            groups.setdefault(kind(unit, key), []).append(unit)
    return {
        unit.name: _cell(key, mean)
        for group in groups.values()
        for unit, mean in zip(group, means(group, key), strict=True)
    }


def _cell(key: str, mean: Mean) -> str:
    low, high = of.within(key, mean.low, mean.high)
    value = of.text(key, mean.value, low, high)
    return value if low == high else f"{value}\n{of.interval(key, low, high)}"


def lines(results: Sequence[Result]) -> str:
    """The results as CSV: setting, a column for each factor, seed, way, state, reason, run, then every number, and its
    standard error within the run where it has one. A number that is not there is empty."""
    factors = list(dict.fromkeys(name for result in results for name in result.values))
    numbers = keys(results)
    errors = [key for key in numbers if any(key in result.errors for result in results)]
    file = io.StringIO()
    write = csv.writer(file, lineterminator="\n").writerow
    rest = ["seed", "way", "state", "reason", "run", *numbers, *(f"{key}_error" for key in errors)]
    # A column has one name: a factor may be called as a number is, like the steps of a sampler.
    write(["setting", *(f"{name} (factor)" if name in ("setting", *rest) else name for name in factors), *rest])
    for r in results:
        row = [r.setting, *(r.values.get(name, "") for name in factors), r.seed, r.way, r.state, r.reason, r.run.name]
        row += [_plain(r.numbers.get(key)) for key in numbers] + [_plain(r.errors.get(key)) for key in errors]
        write(row)
    return file.getvalue()


def _plain(value: float | None) -> str:
    return "" if value is None else repr(float(value))

"""How samples of motion move, beside how real clips do: the rows of noisette.tasks.motion_rows as a figure."""

from __future__ import annotations

from collections.abc import Sequence

from noisette.metrics.motion_symptoms import STRETCH
from noisette.views.parts import Figure, Table
from noisette.views.scores import BETTER, Score, bounds, names, number, order

MOVES = (
    *("bone_error", "bone_jitter", "speed", "speed_rms", "acceleration", "acceleration_rms", "jerk", "jerk_rms"),
    *("contact", "sliding", "bent", "diversity", "multimodality"),
)


def moved(now: Sequence[Score], command: str) -> list[Figure]:
    """A table for each way of drawing: a measure a row, with the same of real clips and how many times that it is."""
    rows = [s for s in now if s.metric in MOVES and not s.real and s.value is not None]
    tables, said = [], []
    for sample, name in names(rows).items():
        mine = {s.metric: s for s in rows if s.sample == sample}
        tables.append(_table(mine, name))
        said.append(sentence(list(mine.values())))
    if not tables:
        return []
    which = next((s for s in rows if s.reference), None)
    whose = {"held_out": "held-out", "train": "training"}.get(which.reference, "") if which else ""
    caption = f"Real are the {which.reference_n:,} {whose} clips. " if which and which.reference_n else ""
    caption += "Clips of one sequence are alike, and where whole people were held out those of one person, which the "
    caption += "intervals of the real numbers allow for; of their diversity and multimodality only the middle clip of "
    caption += "each sequence counts."
    if any("classes" in s.detail for s in rows):
        caption += " Each class counts the same."
    text = [
        f"{name}: {told}" if len(tables) > 1 else told for name, told in zip(names(rows).values(), said, strict=True)
    ]
    return [Figure(tables, caption, command, "How they move", [t for t in text if t])]


def _table(mine: dict[str, Score], title: str) -> Table:
    rows = []
    for metric in order(mine):
        s = mine[metric]
        name = s.name if s.unit in ("", "share", "%") else f"{s.name}, {s.unit.replace('^2', '²').replace('^3', '³')}"
        cells = [f"{s.text()}\n{s.bounds()}".strip(), _cell(s, "real"), _cell(s, "ratio")]
        rows.append([f"{name}\n{BETTER.get(s.better, '')}".strip(), *cells])
    return Table(rows, title, ["", "samples", "real clips", "times real"], wide=True)


def _cell(score: Score, what: str) -> str:
    """The real number, or the ratio to it, with its interval. Each end of a ratio's has three digits: it reaches as
    many times down as up, so its length says nothing of how precise the lower end is."""
    found = score.beside(what)
    if found is None or found[0] is None:
        return "–"
    value, low, high = found
    unit = score.unit if what == "real" else ""
    if low is None or high is None:
        return number(value, unit=unit)
    if what == "ratio":
        return f"{number(value)}\n[{number(low)}, {number(high)}]"
    return f"{number(value, low, high, unit)}\n{bounds(low, high, unit)}"


def sentence(rows: Sequence[Score]) -> str:
    """Of the rows of one way of drawing: whether bones hold, and whether speed and jerk are those of real clips; ""
    where nobody measured."""
    mine = {s.metric: s for s in rows if s.metric in MOVES and not s.real and s.value is not None}
    text = []
    if jitter := mine.get("bone_jitter"):
        real = jitter.beside("real")
        theirs = ""
        if real is not None and real[0] is not None:
            most = number(1.5 * real[0] + STRETCH, unit=jitter.unit)
            theirs = f" (real clips: {number(*real, unit=jitter.unit)}; up to {most} a body holds together)"
        text.append(f"bones change their lengths by {jitter.text()} over time{theirs}")
    for metric in ("speed", "jerk"):
        ratio = mine[metric].beside("ratio") if metric in mine else None
        if ratio is not None and ratio[0] is not None:
            text.append(f"{metric} is {ratio[0]:.2f} times that of real clips")
    said = "; ".join(text)
    return f"{said[0].upper()}{said[1:]}." if said else ""

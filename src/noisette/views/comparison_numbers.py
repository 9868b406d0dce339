"""What several runs measured, side by side, and which differences are larger than the noise."""

from __future__ import annotations

from collections.abc import Sequence

from noisette.experiment.config import ONE_CALL
from noisette.views import charts, commands, verdicts, words
from noisette.views.charts import Dot
from noisette.views.differences import Difference, Question, differences, questions
from noisette.views.material import Material
from noisette.views.parts import Drawing, Figure, Section, Table, drawing
from noisette.views.scores import BETTER, METRICS, Score, number

AGAIN = ("speed_rms", "acceleration_rms", "jerk_rms")
"""What says the same as another number, and stands in a run's own report."""

PAIRS = 6
"""Pairs of runs that sentences can bear; beyond, they are in a table."""


def _asked(materials: Sequence[Material], label: str | None = None) -> list[Question]:
    found = [[s for s in verdicts.current(m.scores) if not s.real and s.metric not in AGAIN] for m in materials]
    own = [m.config.sample.label for m in materials]
    return questions(found, [words.data_key(m.config, m.data) for m in materials], own, label)


def verdict(materials: Sequence[Material], named: Sequence[str]) -> list[str]:
    """The comparison in two or three sentences, for the summary."""
    asked = _asked(materials)
    found = differences(asked)
    missing = [name for name, m in zip(named, materials, strict=True) if not verdicts.current(m.scores)]
    text = []
    for question in asked:
        mine = [d for d in found if d.question is question]
        if mine:
            text += [f"{_question_name(question)}: {_sentences(mine, named)}", _noise(found)]
            break
    if not text:
        text.append(
            "Nothing that was measured compares between these runs yet: noisette evaluate RUN, with the same options "
            "for each of them, makes numbers that do."
        )
    elif missing:
        text.append(f"Not measured yet: {', '.join(missing)}.")
    return text


def _noise(found: Sequence[Difference]) -> str:
    many = f"{len(found)} differences were looked at" if len(found) > 1 else "One difference was looked at"
    return (
        f"± is a 95 % interval. {many} on this page; those that are called better hold together, with a chance of 5 % "
        "that even one of them is noise (Holm's method). The noise is that of the samples' seeds, and for "
        "bits/dim that of the pictures: each run is one training, and another training with the same settings might "
        "differ by more."
    )


def numbers_section(materials: Sequence[Material], named: Sequence[str]) -> Section:
    """The numbers. Metrics with their intervals, side by side."""
    asked = _asked(materials)
    missing = [k for k, m in enumerate(materials) if not verdicts.current(m.scores)]
    section = Section("numbers", "The numbers")
    if missing:
        section.missing = f"Not measured yet: {', '.join(named[k] for k in missing)}."
        section.command = commands.evaluate(materials[missing[0]].run.path)
    if not asked:
        return section
    section.text = [_protocol(asked)]
    found = differences(asked)
    drawings = [d for q in asked if len(q.scores) > 1 for d in _dots(q, named, _floor(q, materials))]
    command = commands.report(*(m.run.path for m in materials))
    section.figures = [Figure([_table(asked, named, materials), *drawings], "", command)]
    if found:
        section.figures.insert(0, _larger_than_noise(found, named, command))
    section.tables = [*_apart(asked, named), *_other_ways(materials, named, asked)]
    if len(_all_pairs(found)) > PAIRS:
        section.tables.insert(0, _list(found, named))
    return section


def _protocol(asked: Sequence[Question]) -> str:
    judged = next((s for q in asked for s in q.scores.values() if s.hash and s.reference), None)
    text = "A number stands beside another one only if both were measured alike: same features, data, reference and N."
    if judged is None:
        return text
    label = next((q.label for q in asked if q.label), "")
    drawn = f" Samples are drawn with {label}." if label else ""
    if label != ONE_CALL and any(s.label == ONE_CALL for q in asked for s in q.scores.values()):
        drawn = f" Samples are drawn with {label}, those of a GAN in one call of its generator."
    return f"{text}{drawn} Features: {verdicts.extractor(judged)} (hash {judged.hash})."


def _question_name(question: Question) -> str:
    name = question.name[0].upper() + question.name[1:]
    return f"{name} ({question.label})" if question.label else name


# --- which differences are larger than the noise ------------------------------------------------------------------


def _sentences(found: Sequence[Difference], named: Sequence[str]) -> str:
    """ "A is better than B by 3.1 ± 0.9; A and C cannot be told apart." For many runs, the first against the others."""
    if len(found) <= PAIRS:
        return "; ".join(_sentence(d, named) for d in found) + "."
    first, worse, close = _standing(found)
    apart = sum(d.real for d in found)
    if not apart:
        return "no two of them can be told apart."
    text = f"{named[first]} comes first"
    if worse:
        text += f", better than {', '.join(named[run] for run in worse)}"
    if close:
        text += f"; it cannot be told apart from {', '.join(named[run] for run in close)}"
    return f"{text}. Of {len(found)} pairs, {apart} can be told apart."


def _standing(found: Sequence[Difference]) -> tuple[int, list[int], list[int]]:
    """(the run with the best value, those that it is better than, those that it cannot be told apart from)."""
    runs = {run for d in found for run in (d.a, d.b)}
    first = max(sorted(runs), key=lambda run: sum(d.a == run for d in found))
    mine = [d for d in found if first in (d.a, d.b)]
    other = [(d.b if d.a == first else d.a, d.real) for d in mine]
    return first, [run for run, real in other if real], [run for run, real in other if not real]


def _sentence(d: Difference, named: Sequence[str]) -> str:
    if d.real:
        return f"{named[d.a]} is better than {named[d.b]} by {_by(d)}"
    return f"{named[d.a]} and {named[d.b]} cannot be told apart ({_by(d)})"


def _by(d: Difference) -> str:
    unit = next(iter(d.question.scores.values())).unit
    by, half = (number(v, d.by - d.half, d.by + d.half, unit) for v in (d.by, d.half))
    return f"{by.removesuffix(chr(160) + '%')} ± {half}".replace(" ", "\u00a0")


def _all_pairs(found: Sequence[Difference]) -> list[tuple[int, int]]:
    return list(dict.fromkeys((min(d.a, d.b), max(d.a, d.b)) for d in found))


def _larger_than_noise(found: Sequence[Difference], named: Sequence[str], command: str) -> Figure:
    """A table of metrics x pairs; for many pairs, a sentence for each metric."""
    title = "Which differences are larger than the noise"
    asked = list({id(d.question): d.question for d in found}.values())
    pairs = _all_pairs(found)
    if len(pairs) > PAIRS:
        rows = []
        for question in asked:
            mine = [d for d in found if d.question is question]
            first, worse, close = _standing(mine)
            told = [", ".join(named[run] for run in runs) or "none" for runs in (worse, close)]
            rows.append([_question_name(question), named[first], *told, f"{sum(d.real for d in mine)} of {len(mine)}"])
        head = ["", "comes first", "is better than", "cannot be told apart from", "pairs told apart"]
        return Figure([Table(rows, head=head, wide=True)], "", command, title, [_noise(found)])
    rows = []
    for question in asked:
        mine = {(min(d.a, d.b), max(d.a, d.b)): d for d in found if d.question is question}
        rows.append([_question_name(question), *[_outcome(mine.get(pair), named) for pair in pairs]])
    head = ["", *[f"{named[a]} and {named[b]}" for a, b in pairs]]
    return Figure([Table(rows, head=head, wide=True)], "", command, title, [_noise(found)])


def _outcome(d: Difference | None, named: Sequence[str]) -> str:
    if d is None:
        return ""
    return f"{named[d.a]} is better\nby {_by(d)}" if d.real else f"cannot be told apart\n{_by(d)}"


def _list(found: Sequence[Difference], named: Sequence[str]) -> Table:
    rows = [
        [_question_name(d.question), f"{named[d.a]} and {named[d.b]}", _by(d), "yes" if d.real else "no"] for d in found
    ]
    head = ["", "the better one first", "difference", "larger than the noise"]
    return Table(rows, f"All {len(rows)} differences", head, folded=True)


# --- side by side -------------------------------------------------------------------------------------------------


def _table(asked: Sequence[Question], named: Sequence[str], materials: Sequence[Material]) -> Table:
    rows = []
    for run, name in enumerate(named):
        steps = {s.checkpoint for q in asked if (s := q.scores.get(run)) and s.checkpoint is not None}
        told = f"\nstep {max(steps):,}" if steps else ""
        late = verdicts.outdated([s for q in asked if (s := q.scores.get(run))], materials[run].newest)
        told += ", trained on since" if late else ""
        rows.append([name + told, *[_cell(q, run) for q in asked]])
    marked = [False] * len(rows)
    floors = [_floor(q, materials) for q in asked]
    if any(floors):
        rows.append(["real pictures\nagainst each other", *[f"{s.text()}\n{s.bounds()}" if s else "" for s in floors]])
        marked.append(True)
    return Table(rows, "", ["", *[_head(q) for q in asked]], marked, wide=True)


def _head(question: Question) -> str:
    way = BETTER.get(next(iter(question.scores.values())).better, "")
    return f"{question.name}\n{way}" if way else question.name


def _cell(question: Question, run: int) -> str:
    score = question.scores.get(run)
    if score is None:
        return "see below" if any(a.run == run for a in question.apart) else "–"
    return f"{score.text()}\n{score.bounds()}"


def _floor(question: Question, materials: Sequence[Material]) -> Score | None:
    """The real pictures' number, from the first run that measured it in the same way."""
    for run, score in question.scores.items():
        if score.hash and (found := verdicts.floor(score, materials[run].scores)):
            return found
    return None


def _dots(question: Question, named: Sequence[str], floor: Score | None) -> list[Drawing]:
    scores = question.scores
    dots = [Dot(named[run], s.value or 0.0, s.low, s.high, run) for run, s in scores.items()]
    floors = [(verdicts.real_name(floor.real), floor.value)] if floor and floor.value is not None else []
    said = "; ".join(f"{named[run]} {s.text()} {s.bounds()}" for run, s in scores.items())
    title = _question_name(question)
    way = BETTER.get(next(iter(scores.values())).better, "")
    axis = f"{question.name}, {way}" if way else question.name
    chart = charts.dots(dots, axis, floors, percent=next(iter(scores.values())).unit == "share")
    return drawing(chart, f"numbers-{question.metric}", f"{title}: {said}.", title)


def _apart(asked: Sequence[Question], named: Sequence[str]) -> list[Table]:
    """What does not compare, a row for each run and reason."""
    together: dict[tuple[int, str], list[str]] = {}
    for q in asked:
        for a in q.apart:
            told = f"{q.name} {a.score.text()} {a.score.bounds()}".strip()
            together.setdefault((a.run, a.reason), []).append(told)
    rows = [[named[run], reason, "; ".join(values)] for (run, reason), values in sorted(together.items())]
    return [Table(rows, "Measured otherwise", ["", "does not compare, because", "values"], wide=True)] if rows else []


def _other_ways(materials: Sequence[Material], named: Sequence[str], asked: Sequence[Question]) -> list[Table]:
    """The same numbers with the other samplers that at least two runs were measured with."""
    main = {*(q.label for q in asked), ONE_CALL}  # the last one stands in every table
    labels = [s.label for m in materials for s in verdicts.current(m.scores) if s.label and s.label not in main]
    tables = []
    for label in dict.fromkeys(labels):
        there = [q for q in _asked(materials, label) if q.label == label and len(q.scores) > 1 and q.metric in METRICS]
        if there:
            tables.append(_named(_table(there, named, materials), f"With {label}"))
    return tables


def _named(table: Table, title: str) -> Table:
    return Table(table.rows, title, table.head, table.marked, folded=True, wide=True)

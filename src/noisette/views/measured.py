"""The section of a report that says how good the samples are: what `noisette evaluate` wrote, each number with its
interval and its protocol, and real pictures set apart as the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noisette.data.motion.spec import MotionData
from noisette.errors import UserError
from noisette.views import charts, commands, verdicts, words
from noisette.views.material import Material
from noisette.views.moved import moved
from noisette.views.parts import Drawing, Figure, Section, Table, drawing
from noisette.views.scores import BETTER, METRICS, REAL_NAMES, Score, best_first, names, order

DISTANCES = ("fid", "kid", "precision", "recall", "density", "coverage")
READ = ("clear", "asked", "inception_score")
MEMORY = ("memory_closer", "memory_copied")
CHARTS = ("fid", "kid")
MOST_CLASSES = 40
ALIKE = 4
"""Samples that are named with the training clip that each is most like."""


def measured(material: Material) -> Section:
    """How good it is. What an evaluation measured."""
    found = material.scores
    now = verdicts.current(found)
    if not now:
        return Section(
            "measured",
            "How good it is",
            missing="Nothing has been measured yet. This command does it, and this section then shows its numbers:",
            command=commands.evaluate(material.run.path),
        )
    command = _command(material, now)
    text = [_protocol(now)]
    if late := verdicts.outdated(now, material.newest):
        text.insert(0, late)
    against, same = _against(now, command)
    shown = [
        *against,
        *moved(now, command),
        *_read(now, command),
        *_memory(material, now, command),
        *_bits(now, commands.evaluate(material.run.path, metrics="bits")),
    ]
    tables = [*_refused(now), *same, _meanings(now), *_earlier(found, now)]
    return Section("measured", "How good it is", text, shown, tables)


def _command(material: Material, now: Sequence[Score]) -> str:
    drawn = [s for s in now if s.label]
    samples = max((s.n for s in drawn if s.n is not None and s.value is not None), default=None)
    features = next((s.extractor for s in reversed(drawn) if s.metric in DISTANCES), "")
    return commands.evaluate(material.run.path, samples, list(dict.fromkeys(s.label for s in drawn)), features)


def _protocol(now: Sequence[Score]) -> str:
    """How the samples were drawn and what they are held against."""
    drawn = [s for s in now if s.label and s.value is not None]
    text = ""
    if drawn:
        counts = sorted({s.n for s in drawn if s.n is not None})
        many = words.many(counts[0]) if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}" if counts else "Some"
        text = f"{many} samples with each sampler"
        seeds = {s.seeds for s in drawn if s.seeds}
        if len({first for first, _ in seeds}) == 1:
            first, last = max(seeds)
            text += f", seeds {first} to {last}"
        kind = {"ema": "averaged (EMA)", "raw": "raw"}.get(drawn[0].weights, drawn[0].weights)
        text += f", from the {kind} weights of step {drawn[0].checkpoint:,}. "
        text += "Brackets hold 95 % intervals: what other seeds of the same model would give (for bits/dim, "
        text += "other pictures). "
    judged = next((s for s in drawn if s.metric in DISTANCES), None)
    if judged is not None:
        text += (
            f"Pictures are compared by their features: {verdicts.extractor(judged)} (hash {judged.hash or 'unknown'}). "
            "Values compare only within one extractor."
        )
    return text.strip()


# --- distances to real pictures -----------------------------------------------------------------------------------


def _against(now: Sequence[Score], command: str) -> tuple[list[Figure], list[Table]]:
    """A figure for the larger reference, and a folded table for the other one."""
    rows = [s for s in now if s.metric in DISTANCES and s.reference]
    references = sorted({s.reference for s in rows if not s.real}, key=lambda r: -_size(rows, r))
    shown: list[Figure] = []
    tables: list[Table] = []
    for reference in references:
        here = [s for s in rows if s.reference == reference]
        title = f"Against {_size(here, reference):,} {REAL_NAMES.get(reference, 'real pictures')}"
        if shown:
            tables.append(_table(here, f"The same {title[0].lower()}{title[1:]}", folded=True))
            continue
        drawings = [d for metric in CHARTS for d in _dots(here, metric, reference)]
        caption = FLOOR if any(s.real for s in here) else ""
        caption += _as_many(here, max((s.n or 0 for s in now if s.label), default=0))
        shown.append(Figure([_table(here), *drawings], caption, command, title))
    return shown, tables


FLOOR = (
    "In grey, what real pictures come to when they are held against real pictures: the floor. In the charts, a line."
)


def _as_many(rows: Sequence[Score], most: int) -> str:
    """A word on samples of which fewer than were drawn stand in these rows, as many as real pictures do."""
    counts = [s.n or 0 for s in rows if s.value is not None and s.real in ("", "train against train")]
    if len({*counts}) != 1 or counts[0] >= most:
        return ""
    return f" Of the samples the first {counts[0]:,} are measured: there are no more real pictures to stand there."


def _size(rows: Sequence[Score], reference: str) -> int:
    return max((s.reference_n or 0 for s in rows if s.reference == reference and not s.real), default=0)


def _table(rows: Sequence[Score], title: str = "", folded: bool = False) -> Table:
    """Ways of drawing (or real pictures, set apart) x metrics."""
    metrics, named = order(s.metric for s in rows), names(rows)
    head = ["", *[_head(s) for m in metrics for s in [next(r for r in rows if r.metric == m)]]]
    table, marked = [], []
    for way, name in named.items():
        mine = {s.metric: s for s in rows if not s.real and s.sample == way}
        table.append([f"{name}\n{_drawn(list(mine.values()))}", *[_cell(mine.get(m)) for m in metrics]])
        marked.append(False)
    for real in dict.fromkeys(s.real for s in rows if s.real):
        mine = {s.metric: s for s in rows if s.real == real}
        first = next(iter(mine.values()))
        counts = " against ".join(f"{n:,}" for n in (first.n, first.reference_n) if n is not None)
        table.append([f"{verdicts.real_name(real)}\n{counts}", *[_cell(mine.get(m)) for m in metrics]])
        marked.append(True)
    return Table(table, title, head, marked, folded=folded, wide=True)


def _head(score: Score) -> str:
    way = BETTER.get(score.better, "")
    return f"{score.name}\n{way}" if way else score.name


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
    return f"{score.text()}\n{score.bounds()}" if score.bounds() else score.text()


def _drawn(rows: Sequence[Score]) -> str:
    """What the samples cost: "50 network calls, 34 s"."""
    first = rows[0]
    parts = [f"{first.nfe:,} network call{'s' if first.nfe > 1 else ''}"] if first.nfe else []
    if seconds := max((s.seconds or 0 for s in rows), default=0):
        parts.append(words.duration(seconds))
    counts = {s.n for s in rows if s.n is not None}
    parts += [f"{n:,} samples" for n in counts] if len(counts) == 1 else []
    return ", ".join(parts)


def _dots(rows: Sequence[Score], metric: str, reference: str) -> list[Drawing]:
    found = [s for s in rows if s.metric == metric and s.value is not None]
    named, floors = names(rows), [(verdicts.real_name(s.real), s.value or 0.0) for s in found if s.real]
    dots = [charts.Dot(named[s.sample], s.value or 0.0, s.low, s.high) for s in found if not s.real]
    if not dots:
        return []
    title = found[0].name[0].upper() + found[0].name[1:]
    said = "; ".join(
        f"{d.label} {verdicts.value(s)}" for d, s in zip(dots, [s for s in found if not s.real], strict=True)
    )
    alt = f"{title} for each sampler: {said}."
    if floors:
        alt += " Lines: " + "; ".join(f"{name} {value:.3g}" for name, value in floors) + "."
    return drawing(charts.dots(dots, found[0].name, floors), f"{metric}-{reference}", alt, title)


# --- what a classifier reads --------------------------------------------------------------------------------------


def _read(now: Sequence[Score], command: str) -> list[Figure]:
    rows = [s for s in now if s.metric in READ and s.value is not None]
    if all(s.real for s in rows):
        return []
    text, parts = [], [_first_36(_table(rows), rows)]
    clear = best_first([s for s in rows if s.metric == "clear" and not s.real])
    if clear:
        text = [verdicts.reading([s for s in rows if s.real or s.sample == clear[0].sample])]
        text[0] = text[0].replace("of them", f"of the samples with {names(rows)[clear[0].sample]}", 1)
        if clear[0].extractor:
            text[0] += f" It is {verdicts.extractor(clear[0])}."
    return [
        Figure(
            [*parts, *(_by_class(clear[0], names(rows)[clear[0].sample]) if clear else [])],
            "",
            command,
            "What a classifier reads in the samples",
            text,
        )
    ]


def _first_36(table: Table, rows: Sequence[Score]) -> Table:
    """The table with a column more: how many of the first 36 samples are clear."""
    clear = {s.sample: first for s in rows if s.metric == "clear" and (first := verdicts.first_36(s)) is not None}
    if not clear:
        return table
    counts = [clear.get(way) for way in names(rows)]
    column = ["" if n is None else str(n) for n in counts] + [""] * (len(table.rows) - len(counts))
    return replace(
        table,
        head=[*table.head, "clear of the first 36"],
        rows=[[*row, n] for row, n in zip(table.rows, column, strict=True)],
    )


def _by_class(score: Score, way: str) -> list[Drawing]:
    counts = score.detail.get("by_class")
    if not isinstance(counts, dict) or not 1 < len(counts) <= MOST_CLASSES:
        return []
    known = {str(name): float(n) for name, n in counts.items() if isinstance(n, int | float)}
    least = min(known, key=lambda name: known[name])
    alt = f"Clear samples of {way} by class: " + ", ".join(f"{name} {n:.0f}" for name, n in known.items()) + "."
    alt += f" The fewest are of {least}."
    chart = charts.bars(list(known), list(known.values()), "clear samples, by what they are read as")
    return drawing(chart, "clear-by-class", alt, f"Clear samples by class, {way}")


# --- copies, bits -------------------------------------------------------------------------------------------------


def _memory(material: Material, now: Sequence[Score], command: str) -> list[Figure]:
    rows = [s for s in now if s.metric in MEMORY and s.value is not None]
    if not rows:
        return []
    head = verdicts.headline(now)
    best = head.best.sample if head is not None else rows[0].sample
    mine = [s for s in rows if s.sample == best] or [s for s in rows if s.sample == rows[0].sample]
    said = {str(s.detail["words"]): s.space for s in mine if s.detail.get("words")}
    way = {"pixels": "pixel by pixel", "poses": "pose by pose"}
    text = [
        f"{names(rows)[mine[0].sample]}, compared {way.get(space, f'by the features of the {space}')}: {words}"
        for words, space in said.items()
    ]
    parts = [_memory_table(rows), *_most_alike(material, mine)]
    return [Figure(parts, "", command, "Did it learn its pictures by heart?", text)]


def _most_alike(material: Material, mine: Sequence[Score]) -> list[Table]:
    """Of clips, which have names: the samples that are most like copies, and the training clips they are like."""
    found = [s for s in mine if s.metric == "memory_copied" and isinstance(s.detail.get("most_alike"), list)]
    if not found or not words.moves(material.config):
        return []
    try:
        data = material.images
    except UserError:
        return []
    assert isinstance(data, MotionData)
    tables = []
    for s in found:
        first, pairs = (s.seeds or (0, 0))[0], s.detail["most_alike"][:ALIKE]
        rows = [
            [f"seed {first + int(pair['sample'])}", data.name(int(pair["row"])), f"{float(pair['ratio']):.2f}"]
            for pair in pairs
        ]
        head = ["sample", "nearest training clip", "its distance over that of the next sequence's"]
        tables.append(Table(rows, f"Most like copies, by {s.space}", head))
    return tables


def _memory_table(rows: Sequence[Score]) -> Table:
    named, spaces = names(rows), list(dict.fromkeys(s.space for s in rows))
    columns = [(m, space) for m in order(s.metric for s in rows) for space in spaces]
    columns = [c for c in columns if any((s.metric, s.space) == c for s in rows)]
    head = [""]
    for metric, space in columns:
        name = METRICS[metric].name if metric in METRICS else metric
        head.append(f"{name} ({space})" if space else name)
    table = []
    for way, name in named.items():
        mine = {(s.metric, s.space): s for s in rows if not s.real and s.sample == way}
        table.append([name, *[_cell(mine.get(c)) for c in columns]])
    return Table(table, head=head, wide=True)


def _bits(now: Sequence[Score], command: str) -> list[Figure]:
    rows = [s for s in now if s.metric == "bits" and s.value is not None]
    if not rows:
        return []
    table = []
    for s in rows:
        kind = str(s.detail.get("kind") or s.interval)
        name = f"{s.n:,} {REAL_NAMES.get(s.reference, 'pictures')}" if s.n else REAL_NAMES.get(s.reference, "pictures")
        table.append([name, _cell(s), kind, _terms(s)])
    head = ["", "bits/dim\nlower is better", "how", "made of"]
    parts: list[Drawing | Table] = [Table(table, head=head, wide=True)]
    by_time = rows[0].detail.get("by_time")
    if isinstance(by_time, list) and by_time and all(isinstance(v, int | float) for v in by_time):
        worst = max(range(len(by_time)), key=lambda k: by_time[k])
        alt = f"Bits by noise level, most of them near t = {(worst + 0.5) / len(by_time):.2f}."
        chart = charts.steps_of_t([float(v) for v in by_time], "bits/dim")
        parts += drawing(chart, "bits-by-time", alt, "Where the bits go")
    return [Figure(parts, "", command, "Bits to write a picture down")]


def _terms(score: Score) -> str:
    """The parts of a bound, or of a flow's density, that add up to it."""
    named = {
        "prior": "what is left of the picture in the noise",
        "between": "the steps",
        "decoder": "the last step to whole colour values",
        "volume": "how much the flow expands",
    }
    by_time = score.detail.get("by_time")
    known = {**score.detail, **({"between": sum(by_time)} if isinstance(by_time, list) else {})}
    values = {key: value for key in named if isinstance(value := known.get(key), int | float)}
    return "; ".join(f"{named[k]} {'<0.001' if abs(v) < 0.001 else f'{v:.3g}'}" for k, v in values.items())


# --- the rest -----------------------------------------------------------------------------------------------------


def _refused(now: Sequence[Score]) -> list[Table]:
    """What was asked for and is not there, with the reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for s in now:
        if s.value is None:
            what = s.label or verdicts.real_name(s.real) or REAL_NAMES.get(s.reference, "")
            reasons.setdefault((s.name, s.reason or "no reason was given"), []).append(what)
    rows = [[name, ", ".join(dict.fromkeys(w for w in what if w)), why] for (name, why), what in reasons.items()]
    return [Table(rows, "Not measured", ["", "of", "because"])] if rows else []


def _meanings(now: Sequence[Score]) -> Table:
    known = [METRICS[m] for m in order(s.metric for s in now) if m in METRICS]
    return Table([[m.name, m.meaning] for m in known], "What these numbers mean", folded=True)


def _earlier(found: Sequence[Score], now: Sequence[Score]) -> list[Table]:
    """Everything else that was ever measured: other checkpoints, weights, extractors, numbers of samples."""
    rest = [s for s in found if s not in now and s.value is not None]
    metrics, together = order(s.metric for s in rest), dict[tuple[str, str], dict[str, Score]]()
    for s in sorted(rest, key=lambda s: (-(s.checkpoint or 0), s.weights)):
        what = s.label or verdicts.real_name(s.real)
        said = [f"step {s.checkpoint:,}" if s.checkpoint is not None else "", s.weights, s.extractor, s.hash[:6]]
        said += [
            f"{s.n:,} pictures" if s.n is not None else "",
            s.reference and f"against {REAL_NAMES.get(s.reference, s.reference)}",
        ]
        together.setdefault((what, " ".join(word for word in said if word)), {})[s.metric] = s
    rows = [[f"{what}\n{how}", *[_cell(mine.get(m)) for m in metrics]] for (what, how), mine in together.items()]
    head = ["", *[METRICS[m].name if m in METRICS else m for m in metrics]]
    return [Table(rows, "Other evaluations of this run", head, folded=True, wide=True)] if rows else []

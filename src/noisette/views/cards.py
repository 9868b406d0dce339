"""Sections of a report that are mostly tables: data, timing, settings, environment."""

from __future__ import annotations

from typing import Any

from noisette.data.medium import Motion
from noisette.errors import UserError
from noisette.experiment.config import Config
from noisette.views import commands, curves, looks, words
from noisette.views.material import Material
from noisette.views.parts import Figure, Section, Table, curve_figure, drawing

REAL = 10
LISTED = 50
"""Classes and skipped files that a table shows before it says how many more there are."""


def data(material: Material) -> Section:
    """The data. What it learned from."""
    from noisette.tasks import explain

    images, info = None, material.data
    shown, text, missing = [], [], ""
    try:
        images = material.images
    except UserError as error:
        missing = words.spoken(f"The pictures themselves are not shown: {error}.", material.config)
    if images is not None and len(images.train):
        rows = explain.rows(images, REAL)
        labels = ["" if images.labels is None else images.classes[int(images.labels[row])] for row in rows]
        alts = [f"Training picture {row}" for row in rows]
        part = looks.shown(images.x[rows], material.run.shape.medium, labels, alts, (84, 56, 56))
        caption = words.spoken("Real pictures from the training data, to compare with.", material.config)
        shown.append(Figure([part], caption, commands.check(material.config)))
    if few := words.too_little(info):
        text.append(few)
    text += [str(note) for note in info.get("notes") or []]
    return Section("data", "The data", text, shown, _data_tables(material), missing)


def _data_tables(material: Material) -> list[Table]:
    info = material.data
    rows = [["source", str(info.get("source", material.config.data.source))]]
    if info.get("shape"):
        rows.append([words.spoken("pictures", material.config), words.size_name(info)])
    for key, label in (("count", "in all"), ("train", "to learn from"), ("held_out", "kept apart")):
        if (value := words.number(info, key)) is not None:
            rows.append([label, words.many(value) + (_apart(info) if key == "held_out" and value else "")])
    if info.get("fingerprint"):
        rows.append(["fingerprint", str(info["fingerprint"])])
    if normaliser := info.get("normaliser"):
        rows.append(["normaliser", _normaliser(dict(normaliser))])
    skipped = [s for s in info.get("skipped") or [] if isinstance(s, dict)]
    rows.append(["skipped files", words.many(len(skipped)) if skipped else "none"])
    tables = [Table(rows), *_clip_tables(info)]
    counts = {str(k): int(v) for k, v in (info.get("per_class") or {}).items()}
    if counts:
        largest = max(*counts.values(), 1)
        some = list(counts.items())[:LISTED]
        table = [[name, words.many(n)] for name, n in some]
        tables.append(Table(_and_more(table, len(counts)), "Classes", bars=[n / largest for _, n in some]))
    if skipped:
        listed = [[str(s.get("file", "?")), str(s.get("reason", ""))] for s in skipped[:LISTED]]
        tables.append(Table(_and_more(listed, len(skipped)), "Skipped files", ["file", "why"], folded=True))
    return tables


def _normaliser(found: dict[str, Any]) -> str:
    """What the net sees; of motion, whose numbers are one for each joint, in words."""
    if found.get("kind") != Motion.name:
        return ", ".join(f"{k} {v}" for k, v in found.items())
    seen = "where they are" if found.get("root") is None else "from the root"
    return f"every joint {seen}, by its own mean and spread over the training clips"


def _apart(info: dict[str, Any]) -> str:
    """Of clips, what was held out as a whole: ": whole subjects (3, 7)"."""
    if info.get("kind") != Motion.name:
        return ""
    split = info.get("split") or {}
    people = ", ".join(map(str, split.get("subjects") or []))
    return f": whole {'subjects' if split.get('by') == 'subject' else 'sequences'}" + (f" ({people})" if people else "")


def _clip_tables(info: dict[str, Any]) -> list[Table]:
    """How clips were cut, placed and mended; nothing of images."""
    if info.get("kind") != Motion.name:
        return []
    before = [words.plain(v) for v in info.get("fps_before") or []]
    rows = [
        ["sequences", words.many(info.get("takes") or 0)],
        ["frames a second", words.plain(info["fps"]) if info.get("fps") else "not known: speeds are per frame"],
        ["unit", str(info.get("unit") or "not known")],
        ["a clip begins", _PLACED.get(str(info.get("centre")), "") + (", turned ahead" if info.get("heading") else "")],
    ]
    if before and before[0] != before[-1]:
        rows.insert(2, ["before resampling", f"{before[0]} to {before[-1]}, median {before[1]}"])
    skeleton = info.get("skeleton") or {}
    if names := skeleton.get("names"):
        rows.append(["joints", ", ".join(map(str, names))])
    mended = {**(info.get("cleaning") or {}), **{f"short_{k}": v for k, v in (info.get("short") or {}).items()}}
    cleaned = [[label, as_text(mended[key])] for key, label in _CLEANED if key in mended]
    return [Table(rows, "Clips"), *([Table(cleaned, "Cleaning")] if cleaned else [])]


_PLACED = {"start": "at the origin of the ground", "root": "with its root at the origin, always", "world": "as it is"}
_CLEANED = (
    ("takes", "sequences with missing joints"),
    ("missing", "joints missing, over all frames"),
    ("filled", "of them filled on a straight line"),
    ("longest_gap_filled", "longest gap that is filled"),
    ("empty_frames", "empty frames"),
    ("dropped_frames", "frames dropped"),
    ("cuts", "cuts where a gap was longer"),
    ("short_held", "short sequences that keep their last pose"),
    ("short_dropped", "sequences too short, left out"),
)


def _and_more(rows: list[list[str]], count: int) -> list[list[str]]:
    return rows if len(rows) == count else [*rows, [f"and {count - len(rows):,} more", ""]]


def timing(material: Material) -> Section:
    """Timing. Where the time went."""
    meta = material.meta
    before = meta["estimate"] if isinstance(meta.get("estimate"), dict) else {}
    rows = []
    for key, label, form in (
        ("seconds", "training", words.duration),
        ("steps", "steps", words.many),
        ("images", "images", words.many),
        ("images_per_second", "images a second", words.many),
        ("memory", "memory", words.size),
    ):
        happened, guessed = words.number(meta, key), words.number(before, key)
        if happened is not None:
            rows.append([label, form(happened), "" if guessed is None else form(guessed)])
    if material.run.checkpoints():
        made = material.drawn[0].settings
        if made.get("seconds"):
            count, taken = len(material.drawn[0].x), made["seconds"]
            rows.append([f"{count} samples", f"{words.duration(taken)}, {taken / count:.2g} s each", ""])
    head = ["", "what it took", "expected before"]
    tables = [Table(rows, head=head) if before else Table([row[:2] for row in rows])] if rows else []
    tables += [Table(_flat(meta["history"]), "Sessions")] if meta.get("history") else []
    for key, title in (
        ("trial", "Choice of precision and memory layout: seconds of both passes, measured"),
        ("threads_trial", "Choice of threads beside busy processes: seconds of both passes, measured"),
        ("compile", "Choice of compiling"),
    ):
        if isinstance(meta.get(key), dict):
            tables.append(Table(_flat(meta[key]), title, folded=True))
    label = words.spoken("images a second", material.config)
    curve = curves.speed(material.rows, label)
    drawings = drawing(curve, "speed", f"Curve of {label} over steps.", "Speed")
    if not (tables or drawings):
        raise UserError("nothing has been timed yet")
    shown = [curve_figure(drawings, commands.report(material.run.path))] if drawings else []
    return Section("timing", "Timing", [], shown, tables)


def _flat(value: Any) -> list[list[str]]:
    """A JSON value as rows of text."""
    if isinstance(value, dict):
        return [[str(k), as_text(v)] for k, v in value.items()]
    if isinstance(value, list):
        return [[str(i + 1), as_text(v)] for i, v in enumerate(value)]
    return [["", as_text(value)]]


def settings(material: Material) -> Section:
    """Settings. Every one of them."""
    text = [
        "Every setting of the run, as config.toml in its folder has it. Set apart: what differs from the package's "
        "own defaults."
    ]
    if material.config.recipe:
        text[0] += f" Recipe: {material.config.recipe}."
    tables = []
    default, apart = Config(), material.config.unconcerned()
    for name in material.config.sections:
        ours, theirs = getattr(material.config, name), getattr(default, name)
        keys = [key for key in type(ours).model_fields if (name, key) not in apart]
        rows = [[f"{name}.{key}", as_text(getattr(ours, key))] for key in keys]
        tables.append(Table(rows, name, marked=[getattr(ours, k) != getattr(theirs, k) for k in keys], folded=True))
    return Section("settings", "Settings", text, tables=tables)


ENVIRONMENT = (
    *("command", "state", "created", "noisette", "commit", "python", "torch", "platform"),
    *("device", "precision", "parameters", "cpu", "cores", "threads", "gpu"),
)


def environment(material: Material) -> Section:
    """Environment. Versions and machine."""
    rows = [[key, as_text(material.meta[key])] for key in ENVIRONMENT if material.meta.get(key) not in (None, "")]
    if not rows:
        raise UserError("meta.json is missing or says nothing")
    return Section("environment", "Environment", tables=[Table(rows)])


def as_text(value: Any) -> str:
    """A setting or a JSON value as people read it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(as_text, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {as_text(v)}" for k, v in value.items())
    if isinstance(value, int):
        return f"{value:,}" if value >= 10_000 else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)

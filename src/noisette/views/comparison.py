"""Several runs -> one page that compares them: what differs between them, the same seeds, the numbers, the curves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from noisette.errors import UserError
from noisette.experiment.config import SECTIONS
from noisette.experiment.runs import Run
from noisette.views import commands, looks, page, words
from noisette.views.cards import as_text
from noisette.views.comparison_curves import curves_section
from noisette.views.comparison_numbers import numbers_section, verdict
from noisette.views.material import Material
from noisette.views.parts import Figure, Matrix, Picture, Section, Table, picture, reworded

MOST = 24
SEEDS = 10
LISTED = 6
"""Runs, and settings that differ, that the summary names."""


def compare(runs: Sequence[Run], out: str | Path | None = None) -> Path:
    """Writes the comparison of several runs, by default beside them, and returns where it is.

    Beside them is comparison.html in the folder that holds them all; in the working directory where no folder does.

    Raises:
        UserError: fewer than two runs, more than MOST, one of them twice, or a place that cannot be written.
    """
    if not 2 <= len(runs) <= MOST:
        raise UserError(f"a comparison takes 2 to {MOST} runs, got {len(runs)}")
    places = [run.path.resolve() for run in runs]
    for k, place in enumerate(places):
        if place in places[:k]:
            raise UserError(f"{runs[k].path}: given twice: a run is not compared with itself")
    folders = {place.parent for place in places}
    folder = runs[0].path.parent if len(folders) == 1 else Path()
    return page.write(render(runs), Path(out) if out else folder / "comparison.html")


def render(runs: Sequence[Run]) -> str:
    """The page itself."""
    materials, named = [Material(run) for run in runs], names(runs)
    differing = settings_that_differ(materials)
    sections = [
        _settings(materials, named, differing),
        _seeds(materials, named),
        numbers_section(materials, named),
        curves_section(materials, named),
    ]
    title = ", ".join(named) if len(named) <= 4 else f"{len(named)} runs compared"
    summary = [_what(materials, named, differing), *verdict(materials, named)]
    if all(words.moves(material.config) for material in materials):
        say = partial(words.spoken, config=materials[0].config)
        sections, summary = [reworded(section, say) for section in sections], [*map(say, summary)]
    return page.render(
        title, "Noisette comparison", summary, [], sections, commands.report(*(run.path for run in runs))
    )


def names(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its folder's, with as many folders above it as it takes to tell it from the others."""
    parts = [run.path.resolve().parts for run in runs]
    depths = [1] * len(runs)
    while True:
        found = ["/".join(p[-depth:]) for p, depth in zip(parts, depths, strict=True)]
        deeper = [d + (found.count(name) > 1 and d < len(p)) for name, p, d in zip(found, parts, depths, strict=True)]
        if deeper == depths:
            return found
        depths = deeper


def settings_that_differ(materials: Sequence[Material]) -> dict[str, list[Any]]:
    """Setting -> its value in each run, for those that concern all of them and are not the same in all."""
    found = {"kind": [m.config.kind for m in materials]}
    for section, model in SECTIONS.items():
        if all(section in m.config.sections for m in materials):
            for key in model.model_fields:
                found[f"{section}.{key}"] = [getattr(getattr(m.config, section), key) for m in materials]
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


# --- summary ------------------------------------------------------------------------------------------------------


def listed(said: Sequence[str]) -> str:
    """ "a, b and c"."""
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _what(materials: Sequence[Material], named: Sequence[str], differing: dict[str, list[Any]]) -> str:
    text = f"{len(named)} runs are compared" + (f": {listed(named)}." if len(named) <= LISTED else ".")
    data = {words.data_key(m.config, m.data): words.source_name(m.config) for m in materials}
    if len(data) == 1:
        text += f" All learned from the same data, {next(iter(data.values()))}."
    else:
        said = [f"{name} from {words.source_name(m.config)}" for name, m in zip(named, materials, strict=True)]
        text += f" They did not learn from the same data: {listed(said)}, so only what does not depend on it compares."
    keys = list(differing)
    if not keys:
        return f"{text} No setting differs: what differs between them is luck, or the machine."
    if keys == ["train.seed"]:
        return f"{text} They differ in nothing but the seed of their training: what differs between them is luck."
    some = listed(keys) if len(keys) <= LISTED else ", ".join(keys[:LISTED]) + f" and {len(keys) - LISTED} more"
    return f"{text} They differ in {len(keys)} setting{'s' if len(keys) > 1 else ''}: {some}."


# --- sections -----------------------------------------------------------------------------------------------------


def _settings(materials: Sequence[Material], named: Sequence[str], differing: dict[str, list[Any]]) -> Section:
    rows = [[key, *map(as_text, values)] for key, values in differing.items()]
    done: list[list[str]] = []
    for key, label, form in (
        ("state", "state", str),
        ("seconds", "training", words.duration),
        ("steps", "steps", words.many),
        ("images", "images seen", words.many),
        ("images_per_second", "images a second", words.many),
        ("parameters", "parameters", words.many),
    ):
        values = [m.meta.get(key) if form is str else words.number(m.meta, key) for m in materials]
        done.append([label, *["–" if value is None else form(value) for value in values]])  # type: ignore[operator]
    done.append(["machine", *[words.machine_name(m.meta) or "–" for m in materials]])
    text = [
        "What is not listed here is the same in all of them." if rows else "Every setting is the same in all of them."
    ]
    command = commands.report(*(m.run.path for m in materials))
    head = ["", *named]
    parts = [Table(rows, "Settings", head, wide=True)] if rows else []
    parts.append(Table(done, "Training", head, wide=True))
    return Section("settings", "What differs", text, [Figure(parts, "", command)])


def _seeds(materials: Sequence[Material], named: Sequence[str]) -> Section:
    """The same seeds, drawn by each run with its own settings."""
    columns: list[list[Picture | None]] = []
    how: dict[str, list[str]] = {}
    missing, classes = [], set()
    for name, material in zip(named, materials, strict=True):
        try:
            drawn = _drawn(material)
        except UserError as error:
            columns.append([None] * SEEDS)
            missing.append(f"{error}." if name in str(error) else f"{name}: {error}.")
            continue
        told, medium = drawn.labels is not None, material.run.shape.medium
        said = [drawn.classes[int(k)] for k in drawn.labels] if told else [""] * SEEDS
        classes |= {tuple(said)} if told else set()
        columns.append(
            [
                picture(x, f"Seed {seed} drawn by {name}" + (f", class {label}" if label else ""), most=192)
                for x, seed, label in zip(looks.pictures(drawn.x, medium), drawn.seeds, said, strict=True)
            ]
        )
        way = words.way(drawn.settings)
        if not told:
            way += ", told no class"
        elif not material.config.sample.at_once:
            way += f", guidance {drawn.settings['guidance']:g}"
        how.setdefault(way, []).append(name)
    common = classes.pop() if len(classes) == 1 else [""] * SEEDS
    rows = [f"seed {k}" + (f": {label}" if label else "") for k, label in enumerate(common)]
    text = ["In each row every run begins with the same noise."]
    if how:
        ways = [f"{listed(who)} with {way}" for way, who in how.items()]
        ways = [f"all with {way}" for way in how] if len(how) == 1 else ways
        text.append(f"Drawn now, from the averaged weights of the newest checkpoint: {'; '.join(ways)}.")
    figure = Figure(
        [Matrix(list(named), rows, [list(row) for row in zip(*columns, strict=True)], side=_side(len(named)))],
        "",
        commands.sample(materials[0].run.path, SEEDS, 0, "--out", "samples.png"),
    )
    return Section("seeds", "The same seeds", text, [figure] if how else [], missing=" ".join(missing))


def _side(columns: int) -> int:
    return max(56, min(112, 900 // columns))


def _drawn(material: Material) -> Any:
    from noisette.tasks.generate import generate

    material.run.checkpoint()
    return generate(material.run, SEEDS)[0]

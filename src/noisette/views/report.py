"""A run -> one HTML file that explains it and asks nothing of anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from noisette.errors import UserError
from noisette.experiment.runs import Run
from noisette.views import commands, page, verdicts, words
from noisette.views.material import Material
from noisette.views.parts import Section, reworded
from noisette.views.sections import MAKERS


def report(run: Run, out: str | Path | None = None) -> Path:
    """Writes the report of a run, by default into its folder, and returns where it is.

    Raises:
        UserError: the place cannot be written. What is missing of the run is told on the page instead.
    """
    return page.write(render(run), Path(out) if out else run.report_path)


def render(run: Run) -> str:
    """The page itself."""
    material = Material(run)
    made = [_made(maker, material) for maker in MAKERS]
    sections = [_worded(section, material) for section in made if section is not None]
    return page.render(
        run.name,
        "Noisette report",
        summary(material, run.path),
        facts(material),
        sections,
        commands.report(run.path),
    )


def summary(material: Material, place: Path) -> list[str]:
    """What the run is and how good, a paragraph each; `place` is its folder as the commands in them name it."""
    quality = verdicts.quality(material.scores, place, material.newest) if material.newest is not None else []
    name = material.run.path.resolve().name
    return words.summary(name, material.config, material.meta, material.data, material.rows, quality)


def _made(maker: Callable[[Material], Section | None], material: Material) -> Section | None:
    try:
        return maker(material)
    except UserError as error:
        title, key = (maker.__doc__ or "").split(".")[0], maker.__name__
        return Section(key, title, missing=str(error))


AS_THEY_ARE = ("data", "settings", "environment")
"""Sections that speak in the words of the user's own files."""


def _worded(section: Section, material: Material) -> Section:
    """In the words of the run's medium."""
    if section.key in AS_THEY_ARE or not words.moves(material.config):
        return section
    return reworded(section, lambda text: words.spoken(text, material.config))


def facts(material: Material) -> list[tuple[str, str]]:
    """(number, what it is) for the row under the summary, as far as they are known."""
    meta = material.meta
    found = {} if material.config.kind == "gan" else words.losses(material.rows)  # those of a GAN say nothing alone
    shown: list[tuple[str, str]] = []
    for key, label, form in (
        ("seconds", "of training", words.duration),
        ("images_per_second", "images a second", words.many),
        ("images", "images seen", words.many),
        ("parameters", "parameters", words.many),
    ):
        value = words.number(meta, key)
        if value is not None:
            shown.append((form(value), words.spoken(label, material.config)))
    if "last" in found:
        shown.append((f"{found['last']:.3g}", "training loss"))
    if "held_out" in found:
        shown.append((f"{found['held_out']:.3g}", "held-out loss"))
    if head := verdicts.headline(verdicts.current(material.scores)):
        floor = "" if head.floor is None else f" (real pictures: {head.floor.text()})"
        shown.append((head.best.text(), words.spoken(head.best.name + floor, material.config)))
    return shown

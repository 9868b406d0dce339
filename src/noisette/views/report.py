"""A run -> one HTML file that explains it and asks nothing of anywhere."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from noisette.errors import UserError
from noisette.experiment.runs import Run, write_text
from noisette.views import commands, words
from noisette.views.material import Material
from noisette.views.parts import Section
from noisette.views.sections import MAKERS


def report(run: Run, out: str | Path | None = None) -> Path:
    """Writes the report of a run, by default into its folder, and returns where it is.

    Raises:
        UserError: the place cannot be written. What is missing of the run is told on the page instead.
    """
    path = Path(out) if out else run.report_path
    page = render(run)
    try:
        write_text(path, page)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): choose another place") from None
    return path


def render(run: Run) -> str:
    """The page itself."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    material = Material(run)
    made = [_made(maker, material) for maker in MAKERS]
    style = (resources.files("noisette.views") / "report.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=PackageLoader("noisette", "views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        name=run.name,
        summary=words.summary(run.name, run.config, material.meta, material.data, material.rows),
        facts=facts(material),
        sections=[section for section in made if section is not None],
        style=Markup(style),
        markup=Markup,
        version=_version(),
        command=commands.report(run.path),
    )


def _made(maker: Callable[[Material], Section | None], material: Material) -> Section | None:
    try:
        return maker(material)
    except UserError as error:
        title, key = (maker.__doc__ or "").split(".")[0], maker.__name__
        return Section(key, title, missing=str(error))


def _version() -> str:
    import noisette

    return noisette.__version__


def facts(material: Material) -> list[tuple[str, str]]:
    """(number, what it is) for the row under the summary, as far as they are known."""
    meta, found = material.meta, words.losses(material.rows)
    shown: list[tuple[str, str]] = []
    for key, label, form in (
        ("seconds", "of training", words.duration),
        ("images_per_second", "images a second", words.many),
        ("images", "images seen", words.many),
        ("parameters", "parameters", words.many),
    ):
        value = words.number(meta, key)
        if value is not None:
            shown.append((form(value), label))
    if "last" in found:
        shown.append((f"{found['last']:.3g}", "training loss"))
    if "held_out" in found:
        shown.append((f"{found['held_out']:.3g}", "held-out loss"))
    return shown

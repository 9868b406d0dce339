"""Sections -> one HTML file that asks nothing of anywhere. What a page says is decided elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from noisette.errors import UserError
from noisette.experiment.runs import write_text
from noisette.views.parts import Moving, Section


def render(
    name: str,
    brand: str,
    summary: Sequence[str],
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    command: str,
) -> str:
    """The page as text.

    Args:
        name: the title; brand stands above it in small letters.
        summary: paragraphs of plain words.
        facts: (number, what it is) for the row under the summary.
        command: what wrote the page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    import noisette

    environment = Environment(
        loader=PackageLoader("noisette", "views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _read("report.css"), ""
    if any(isinstance(part, Moving) for section in sections for figure in section.figures for part in figure.parts):
        style, script = style + _read("skeletons/stage.css"), _read("skeletons/stage.js")
    return environment.get_template("report.html.j2").render(
        name=name,
        brand=brand,
        summary=summary,
        facts=facts,
        sections=sections,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode(),
        markup=Markup,
        version=noisette.__version__,
        command=command,
    )


def _read(name: str) -> str:
    return (resources.files("noisette.views") / name).read_text(encoding="utf-8").strip()


def write(page: str, path: Path) -> Path:
    """Writes a page whole or not at all. Raises UserError when the place cannot be written, or is named like a PDF."""
    if path.suffix.lower() == ".pdf":
        raise UserError(f"{path}: this is where the HTML page goes: name it .html (--pdf prints a PDF beside it)")
    try:
        write_text(path, page)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): choose another place") from None
    return path

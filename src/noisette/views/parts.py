"""What a page is made of: pictures that carry their own bytes, cells, drawings, figures, tables and sections."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from noisette.errors import UserError
from noisette.views import curves, figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Curve

LOSSLESS = 64 * 64
"""Pictures of more pixels than this are stored as WebP of high quality: noise does not compress."""


@dataclass(frozen=True)
class Picture:
    """An image of width x height CSS pixels before enlargement, its bytes in `src`."""

    src: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Cell:
    """Pictures on top of each other with one label (its lines) below."""

    pictures: list[Picture]
    label: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cells:
    """Rows of cells that break where the page ends. Enlargements on a desk, a phone and paper."""

    cells: list[Cell]
    screen: float
    phone: float
    paper: float
    title: str = ""


@dataclass(frozen=True)
class Drawing:
    """A curve as an <svg> element, and its text for those who cannot see it."""

    svg: str
    alt: str
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text. marked: rows to set apart; bars: a share in [0, 1] shown beside each row.

    wide: many columns of numbers, which a phone shows row by row, each number under its head. In a cell, what follows
    a line break is smaller: an interval below its value.
    """

    rows: list[list[str]]
    title: str = ""
    head: list[str] = field(default_factory=list)
    marked: list[bool] = field(default_factory=list)
    bars: list[float] = field(default_factory=list)
    folded: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Matrix:
    """Pictures in rows and columns that stay together; None where there is no picture. side: CSS pixels of one."""

    head: list[str]
    names: list[str]
    rows: list[list[Picture | None]]
    side: int = 96


@dataclass(frozen=True)
class Player:
    """A clip that moves: its caption, its text for those who cannot see it, and a strip of it as an <svg> element."""

    caption: str
    alt: str
    svg: str


@dataclass(frozen=True)
class Moving:
    """Clips that a page's script moves beside each other; where no script runs, and on paper, their strips.

    data: JSON that the script reads; shape: width / height of one; turns: whether the camera can be turned.
    """

    players: list[Player]
    data: str
    shape: str
    turns: bool
    title: str = ""


@dataclass(frozen=True)
class Figure:
    """Something to look at, with what it shows and the command that makes it; title and text stand above it."""

    parts: Sequence[Cells | Drawing | Matrix | Moving | Table]
    caption: str
    command: str
    title: str = ""
    text: Sequence[str] = ()

    @property
    def whole(self) -> bool:
        """Whether it is small enough to be kept on one page of paper; what is not breaks between its rows."""
        return len(self.parts) <= 4 and all(
            isinstance(p, Drawing) or (isinstance(p, Matrix) and len(p.rows) <= 10) for p in self.parts
        )


@dataclass
class Section:
    """A part of a page: text, what is missing and the command that mends it, figures, tables, in this order."""

    key: str
    title: str
    text: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    missing: str = ""
    command: str = ""


def picture(x: NDArray[np.uint8], alt: str, most: int = 256) -> Picture:
    """(H, W, C) as a picture that carries its own bytes; halved until no side is longer than `most`."""
    image = figures.to_image(x)
    while max(image.size) > most:
        image = image.reduce(2)
    file = io.BytesIO()
    if image.width * image.height <= LOSSLESS:
        image.save(file, "PNG", optimize=True)
        kind = "png"
    else:
        image.convert("RGB").save(file, "WEBP", quality=88, method=4)
        kind = "webp"
    src = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(src, alt, image.width, image.height)


def _scale(side: int, target: int) -> float:
    """The largest whole enlargement that stays within the target; below one, whatever fits."""
    return float(target // side) if side <= target else max(0.25, min(1.0, 1.5 * target / side))


def cells(found: list[Cell], screen: int, phone: int, paper: int, title: str = "") -> Cells:
    """Cells at whole enlargements for pictures of about these sizes in CSS pixels."""
    side = max(max(p.width, p.height) for cell in found for p in cell.pictures)
    return Cells(found, _scale(side, screen), _scale(side, phone), _scale(side, paper), title)


def drawing(curve: Curve | None, name: str, alt: str, title: str = "") -> list[Drawing]:
    """A list of one drawing, or of none where there is no curve."""
    return [] if curve is None else [Drawing(curves.themed(curves.svg(curve, name)), alt, title)]


def curve_figure(drawings: Sequence[Drawing], command: str) -> Figure:
    """Curves beside each other. Raises UserError where there are none."""
    if not drawings:
        raise UserError("nothing to draw has been logged yet")
    return Figure(drawings, "", command)


_WRITTEN = re.compile(r">([^<>]*[^<>\s][^<>]*)<")


def reworded(section: Section, say: Callable[[str], str]) -> Section:
    """The section with every text in other words, those in charts too, but not labels of pictures, nor commands."""

    def table(t: Table) -> Table:
        rows = [[say(cell) for cell in row] for row in t.rows]
        return replace(t, rows=rows, title=say(t.title), head=[say(cell) for cell in t.head])

    def part(p: Cells | Drawing | Matrix | Moving | Table) -> Cells | Drawing | Matrix | Moving | Table:
        if isinstance(p, Table):
            return table(p)
        if isinstance(p, Drawing):
            svg = _WRITTEN.sub(lambda found: f">{say(found[1])}<", p.svg)
            return replace(p, svg=svg, alt=say(p.alt), title=say(p.title))
        return p if isinstance(p, Matrix) else replace(p, title=say(p.title))

    def figure(f: Figure) -> Figure:
        parts, text = [part(p) for p in f.parts], [say(line) for line in f.text]
        return replace(f, parts=parts, caption=say(f.caption), title=say(f.title), text=text)

    return replace(
        section,
        title=say(section.title),
        text=[say(line) for line in section.text],
        figures=[figure(f) for f in section.figures],
        tables=[table(t) for t in section.tables],
        missing=say(section.missing),
    )

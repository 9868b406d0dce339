"""Lines, dots and words on a sheet -> SVG whose colours are a page's, or pixels with smooth edges. Pillow only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from noisette.views.curves import PALETTE
from noisette.views.figures import shorten

Array = NDArray[np.float64]

PAPER = "#ffffff"
COLOURS = {**PALETTE, "paper": PAPER}
"""Names of colours that a mark may have."""

FONT = 12
"""Height of letters, in the scene's pixels."""

FINER = 3
"""Pixels are drawn this many times finer and averaged, which makes edges smooth."""


@dataclass(frozen=True)
class Lines:
    """Straight lines, (n, 4): x and y of both ends, which are round or cut off."""

    ends: Array
    colour: str
    width: float
    round: bool = True


@dataclass(frozen=True)
class Dots:
    """Filled circles, (n, 2)."""

    at: Array
    colour: str
    radius: float


@dataclass(frozen=True)
class Words:
    """A line of text on its baseline; anchor: start, middle or end."""

    x: float
    y: float
    text: str
    colour: str = "muted"
    anchor: str = "middle"


Mark = Lines | Dots | Words


@dataclass(frozen=True)
class Group:
    """Marks that are as opaque as this together: where two of them cross is no darker than one."""

    marks: Sequence[Mark]
    opacity: float = 1.0


@dataclass(frozen=True)
class Scene:
    """Groups in the order in which they are drawn, on a sheet of width x height.

    title: what stands above it; alt: what it shows, for those who cannot see it.
    """

    width: float
    height: float
    groups: Sequence[Group]
    title: str = ""
    alt: str = ""

    def svg(self) -> str:
        """An <svg> element. Its colours are those of PALETTE, which `curves.themed` replaces by a page's."""
        body = "".join(_group(group) for group in self.groups)
        width, height = _n(self.width), _n(self.height)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="skeleton" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" fill="none" stroke-linecap="round" '
            f'font-size="{FONT}" font-family="sans-serif">{body}</svg>\n'
        )

    def image(self, scale: int = 2) -> Image.Image:
        """Pixels (RGB, on white), `scale` of them for each of the scene's."""
        k = scale * FINER
        sheet = Image.new("RGB", (math.ceil(self.width) * k, math.ceil(self.height) * k), PAPER)
        draw = ImageDraw.Draw(sheet)
        for group in self.groups:
            for mark in group.marks:
                if not isinstance(mark, Words):
                    _drawn(draw, mark, _mixed(mark.colour, group.opacity), k)
        sheet = sheet.reduce(FINER)
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(FONT * scale)
        for group in self.groups:
            for mark in group.marks:
                if isinstance(mark, Words):
                    place = (mark.x * scale, mark.y * scale)
                    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
                    draw.text(place, mark.text, fill=_mixed(mark.colour, group.opacity), font=font, anchor=anchor)
        return sheet


def moved(scene: Scene, x: float, y: float) -> list[Group]:
    """The groups of a scene, elsewhere."""

    def mark(m: Mark) -> Mark:
        if isinstance(m, Words):
            return replace(m, x=m.x + x, y=m.y + y)
        if isinstance(m, Dots):
            return replace(m, at=m.at + np.array([x, y]))
        return replace(m, ends=m.ends + np.array([x, y, x, y]))

    return [replace(group, marks=[mark(m) for m in group.marks]) for group in scene.groups]


def sheet(scenes: Sequence[Scene], columns: int = 1, gap: float = 16) -> Scene:
    """Scenes in rows, left to right, each below its title."""
    above = FONT + 8 if any(s.title for s in scenes) else 0
    width = max(s.width for s in scenes)
    groups: list[Group] = []
    y = gap / 2
    for start in range(0, len(scenes), columns):
        row = scenes[start : start + columns]
        for k, scene in enumerate(row):
            x = gap / 2 + k * (width + gap)
            groups.append(Group([Words(x, y + FONT, shorten(scene.title, int(width)), "ink", "start")]))
            groups += moved(scene, x, y + above)
        y += above + max(s.height for s in row) + gap
    used = min(columns, len(scenes))
    return Scene(used * (width + gap), y - gap / 2, groups)


def _mixed(colour: str, opacity: float) -> tuple[int, ...]:
    """The colour on paper: later marks cover earlier ones rather than shine through them."""
    ink, paper = (ImageColor.getrgb(COLOURS.get(c, c)) for c in (colour, "paper"))
    return tuple(round(opacity * a + (1 - opacity) * b) for a, b in zip(ink, paper, strict=True))


def _drawn(draw: ImageDraw.ImageDraw, mark: Lines | Dots, colour: tuple[int, ...], k: int) -> None:
    if isinstance(mark, Dots):
        _circles(draw, (mark.at * k).tolist(), mark.radius * k, colour)
        return
    width = max(1, round(mark.width * k))
    lines = (mark.ends * k).tolist()
    for line in lines:
        draw.line(line, fill=colour, width=width)
    if mark.round and width > FINER:
        _circles(draw, {(x, y) for a, b, c, d in lines for x, y in ((a, b), (c, d))}, width / 2, colour)


def _circles(draw: ImageDraw.ImageDraw, at: Iterable[tuple[float, float]], r: float, colour: tuple[int, ...]) -> None:
    for x, y in at:
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _n(value: float) -> str:
    """A coordinate with one decimal."""
    return f"{value:.1f}".removesuffix(".0").replace("-0.", "-.").removeprefix("0") or "0"


def _paint(colour: str) -> str:
    return f"var(--paper, {PAPER})" if colour == "paper" else COLOURS[colour]


def _group(group: Group) -> str:
    inner = "".join(_mark(mark) for mark in group.marks)
    if not inner or group.opacity >= 1:
        return inner
    return f'<g opacity="{group.opacity:.2g}">{inner}</g>'


def _mark(mark: Mark) -> str:
    if isinstance(mark, Words):
        if not mark.text:
            return ""
        anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
        place = f'x="{_n(mark.x)}" y="{_n(mark.y)}"{anchor}'
        return f'<text {place} fill="{_paint(mark.colour)}">{escape(mark.text)}</text>'
    if isinstance(mark, Dots):
        path = "".join(f"M{_n(x)} {_n(y)}h0" for x, y in mark.at.tolist())
        width = 2 * mark.radius
        rounded = True
    else:
        path, width, rounded = _path(mark.ends), mark.width, mark.round
    if not path:
        return ""
    cap = "" if rounded else ' style="stroke-linecap:butt"'
    return f'<path d="{path}" stroke="{_paint(mark.colour)}" stroke-width="{_n(width)}"{cap}/>'


def _path(ends: Array) -> str:
    """Lines in tenths of a pixel, each from where the last one ended where it can be, which keeps pages small."""
    path, last = [], None
    for x1, y1, x2, y2 in np.round(10 * ends).astype(int).tolist():
        path += [] if (x1, y1) == last else [f"M{_pair(x1, y1)}"]
        path.append(f"l{_pair(x2 - x1, y2 - y1)}")
        last = (x2, y2)
    return "".join(path)


def _pair(x: int, y: int) -> str:
    """Two numbers of tenths; a minus parts them as well as a space does, and so does a second point."""
    first, second = _n(x / 10), _n(y / 10)
    return first + second if second.startswith("-") or (second[0] == "." and "." in first) else f"{first} {second}"

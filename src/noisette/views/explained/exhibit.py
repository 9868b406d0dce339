"""What explains one thing about a run: a finding in words, charts, boards of pictures and ways through time.

An Explanation is made once and shown twice: as a section of the report (`section`) and as files (`save`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Medium, Motion, Stored
from noisette.errors import UserError
from noisette.experiment.files import atomic, write_text
from noisette.views import curves, export, figures
from noisette.views.material import SAMPLES, SHOWN_WAYS, Material
from noisette.views.parts import Cell, Cells, Drawing, Figure, Matrix, Picture, Section, Table, cells, drawing, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Curve
    from PIL.Image import Image

    from noisette.experiment.config import SampleConfig
    from noisette.tasks.compare import Noises
    from noisette.tasks.generate import Frame, Samples
    from noisette.tasks.judge import Judge

Pixels = NDArray[np.uint8]
"""uint8 images, (N, H, W, C)."""

SMALL = 84
"""CSS pixels of a picture on a board, at most."""

MOST = 128
"""Pixels of a picture on a page, at most: a board shows many of them, and small."""

REFERENCE = 512
"""Training pictures whose principal components are what distances are measured in."""

DPI = 180
PAPER = '><rect width="100%" height="100%" fill="#fff"/>'
"""Behind a curve that is a file of its own: its ink is dark, and a viewer may be so too."""


class NotConcerned(UserError):
    """An explanation that has nothing to say about this run, and why."""


@dataclass(frozen=True)
class Asked:
    """What an explanation may be told.

    seed: of the first picture; steps: of the sampler (network calls, where samplers are compared); count: pictures in
    a row; classes: names that the pictures take in turn; between: the two seeds of an interpolation. What is left out
    is as the run's settings say.
    """

    seed: int = 0
    steps: int | None = None
    count: int = 9
    classes: tuple[str, ...] = ()
    between: tuple[int, int] | None = None


@dataclass(frozen=True)
class Row:
    """Pictures (N, H, W, C) beside each other under one name; under: what stands below each, the estimates of x0."""

    name: str
    x: Pixels
    under: Pixels | None = None


@dataclass(frozen=True)
class Board:
    """Rows of pictures; each column has a label, its lines parted by "\\n". what: the pictures, in an alt text.

    wraps: a row is a strip that breaks where a page ends; otherwise the rows stay together as a table.
    """

    name: str
    what: str
    labels: Sequence[str]
    rows: Sequence[Row]
    caption: str = ""
    wraps: bool = False


@dataclass(frozen=True)
class Chart:
    name: str
    curve: Curve | None
    alt: str
    title: str


@dataclass(frozen=True)
class Course:
    """A way through time, to be seen as an animation; look: what is seen of each moment."""

    name: str
    frames: Sequence[Frame]
    look: figures.Look = figures.as_kept


@dataclass
class Explanation:
    """The answer in words first, then more of them, then what shows it."""

    finding: str
    text: list[str] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    boards: list[Board] = field(default_factory=list)
    courses: list[Course] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    caption: str = ""
    missing: str = ""

    def reworded(self, say: Callable[[str], str]) -> Explanation:
        """The same in other words."""
        return replace(
            self,
            finding=say(self.finding),
            text=[say(part) for part in self.text],
            charts=[replace(c, alt=say(c.alt), title=say(c.title)) for c in self.charts],
            boards=[
                replace(
                    board,
                    what=say(board.what),
                    caption=say(board.caption),
                    rows=[replace(row, name=say(row.name)) for row in board.rows],
                )
                for board in self.boards
            ],
            caption=say(self.caption),
            missing=say(self.missing),
        )


class Bench:
    """A run with what was asked: the model, the settings and the noises that several explanations share."""

    def __init__(self, material: Material, asked: Asked | None = None):
        self.material, self.run, self.asked = material, material.run, asked or Asked()
        if self.asked.count < 2 or self.asked.count > 64:
            raise UserError(f"--count must lie in 2..64, got {self.asked.count}")

    @property
    def moves(self) -> bool:
        """Whether the run learned motion."""
        return self.run.config.data.medium == Motion.name

    @property
    def medium(self) -> Medium:
        return self.run.shape.medium

    def seen(self, x: Stored, like: Stored | None = None) -> Pixels:
        """Samples as pictures; `like` as in noisette.views.looks.pictures."""
        from noisette.views import looks

        return looks.pictures(x, self.medium, like)

    def number(self, value: float, digits: int = 0) -> str:
        """A difference of samples: grey levels with so many digits, or two digits of what clips are measured in."""
        return f"{value:.2g}" if self.moves else f"{value:.{digits}f}"

    def away(self, value: float, digits: int = 0) -> str:
        """The same with its unit."""
        unit = "of 255 grey levels"
        if isinstance(self.medium, Motion):
            unit = self.medium.skeleton.unit or "units of the data"
        return f"{self.number(value, digits)} {unit}"

    @property
    def rms(self) -> str:
        """What is measured where samples are held against each other."""
        return "root mean square of a coordinate" if self.moves else "root mean square"

    @property
    def told(self) -> bool:
        """Whether the net is told class labels."""
        from noisette.experiment import build

        return build.conditional(self.run.config, self.run.shape)

    @cached_property
    def settings(self) -> SampleConfig:
        """How to sample: as the run's settings say, with the steps that were asked for."""
        from noisette.tasks.generate import settings_of

        return settings_of(self.run, steps=self.asked.steps)

    def noises(self, count: int | None = None) -> Noises:
        """The noises of the first seeds, with their labels."""
        from noisette.tasks.compare import Noises
        from noisette.tasks.generate import labels_for

        seeds = [self.asked.seed + k for k in range(count or self.asked.count)]
        if not 0 <= seeds[0] <= seeds[-1] < 2**32:
            raise UserError(f"seeds lie in 0..{2**32 - 1:,}, got {seeds[0]}")
        return Noises(self.run, seeds, labels_for(self.run, seeds, self.asked.classes or None), self.settings)

    @cached_property
    def samples(self) -> Samples:
        """As many samples as the report shows."""
        return self.material.drawn[0] if self.asked == Asked() else self._drawn(SAMPLES, frames=False)[0]

    @cached_property
    def ways(self) -> list[Frame]:
        """Every step of the first few samples, from pure noise."""
        return self.material.drawn[1] if self.asked == Asked() else self._drawn(SHOWN_WAYS, frames=True)[1]

    def _drawn(self, n: int, frames: bool) -> tuple[Samples, list[Frame]]:
        from noisette.tasks.generate import generate

        asked = self.asked
        classes = asked.classes or None
        return generate(self.run, n, seed=asked.seed, classes=classes, frames=frames, steps=asked.steps)

    def newest(self, count: int) -> Stored | None:
        """What the newest averaged weights make of the first noises, where the report has drawn them anyway."""
        return self.samples.x[:count] if self.asked == Asked() else None

    @cached_property
    def judge(self) -> Judge | None:
        """What reads these pictures, where it was trained before and can be trusted: a figure trains nothing."""
        from noisette.tasks.judge import Judge

        try:
            judge = Judge.of(self.material.images, self.run.config.data, "classifier")
        except UserError:
            return None
        return judge if judge.kept is not None and judge.reads_well else None

    @cached_property
    def features(self) -> tuple[Callable[[Stored], NDArray[np.float64]], str]:
        """(samples -> numbers whose distances say how alike two of them look, what those are)."""
        from noisette.metrics import motion
        from noisette.metrics.features import Pixels as Axes

        if self.judge is not None:
            return self.judge.extractor, "the features of a classifier of these pictures"
        if isinstance(self.medium, Motion):
            root = self.medium.skeleton.root
            return lambda x: motion.comparable(x, root).reshape(len(x), -1), "the distances of their joints"
        try:
            data = self.material.images
            return Axes(
                np.asarray(data.x[data.train[:REFERENCE]], np.uint8)
            ), "the principal components of the training pictures"
        except (UserError, ValueError):
            return lambda x: x.reshape(len(x), -1) / 255, "pixels"

    def columns(self, noises: Noises) -> list[str]:
        """What to print under each noise: its class, or its seed."""
        if noises.labels is None:
            return [f"seed {seed}" for seed in noises.seeds]
        return [self.run.shape.classes[int(label)] for label in noises.labels]


def section(explanation: Explanation, key: str, title: str, command: str) -> Section:
    """The explanation as a part of a page."""
    parts: list[Cells | Drawing | Matrix] = []
    for chart in explanation.charts:
        parts += drawing(chart.curve, f"{key}-{chart.name}", chart.alt, chart.title)
    for board in explanation.boards:
        parts += _shown(board)
    captions = [explanation.caption, *(board.caption for board in explanation.boards)]
    shown = [Figure(parts, _together(" ".join(c for c in captions if c)), command)] if parts else []
    text = [_together(part) for part in (explanation.finding, *explanation.text) if part]
    return Section(key, title, text, shown, explanation.tables, explanation.missing)


def _together(text: str) -> str:
    """The text with no line break before a percent sign."""
    return text.replace(" %", "\u00a0%")


def _shown(board: Board) -> list[Cells | Matrix]:
    lines = [label.split("\n") for label in board.labels]
    said = [label.replace("\n", ", ") for label in board.labels]

    def cell(row: Row, k: int) -> Cell:
        shown = [picture(row.x[k], f"{board.what}: {row.name}, {said[k]}", most=MOST)]
        if row.under is not None:
            shown.append(picture(row.under[k], f"What it is taken to be: {row.name}, {said[k]}", most=MOST))
        return Cell(shown, lines[k])

    if board.wraps:
        return [cells([cell(row, k) for k in range(len(lines))], 84, 56, 56, row.name) for row in board.rows]
    rows: list[list[Picture | None]] = [[cell(row, k).pictures[0] for k in range(len(lines))] for row in board.rows]
    width = min(board.rows[0].x.shape[2], SMALL)
    return [Matrix(list(board.labels), [row.name for row in board.rows], rows, width * (SMALL // width))]


def save(explanation: Explanation, key: str, folder: Path) -> list[Path]:
    """The explanation as files KEY*.png, .svg, .gif and .webp in a folder, which is made; where they are.

    Raises:
        UserError: the folder cannot be written.
    """
    written: list[Path] = []

    def place(name: str, suffix: str) -> Path:
        written.append(folder / f"{'-'.join(part for part in (key, name) if part)}{suffix}")
        return written[-1]

    try:
        for chart in explanation.charts:
            if chart.curve is not None:
                text = curves.svg(chart.curve, f"{key}-{chart.name}")
                write_text(place(chart.name, ".svg"), text.replace(">", PAPER, 1))
                file = io.BytesIO()
                chart.curve.savefig(file, format="png", dpi=DPI, facecolor="white")
                _write(place(chart.name, ".png"), file.getvalue())
        for board in explanation.boards:
            _write(place(board.name, ".png"), export.png(_drawn(board)))
        for course in explanation.courses:
            for kind in ("gif", "webp"):
                _write(place(course.name, f".{kind}"), figures.animation(course.frames, kind, look=course.look))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}): choose another --out") from None
    return written


def _drawn(board: Board) -> Image:
    """Every row under its name, every picture with its label."""
    strips = []
    for row in board.rows:
        x, labels = row.x, list(board.labels)
        if row.under is not None:
            x, labels = np.concatenate([x, row.under]), [*labels, *(f"x0 at {label}" for label in labels)]
        title = row.name.replace("\n", ", ")
        strips.append(figures.grid(x, labels, columns=len(board.labels), title=title))
    return figures.stacked(strips)


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as file:
        file.write(content)

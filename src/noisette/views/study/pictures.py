"""Pictures of a study: the same seeds drawn by every setting, and the ways between two noises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL.Image import Image

from noisette.errors import UserError
from noisette.experiment import ways
from noisette.experiment.runs import Run
from noisette.views import looks, words
from noisette.views.figures import grid, stacked
from noisette.views.parts import Figure, Matrix, Picture, picture
from noisette.views.study.units import Unit

SEEN = 8
"""Samples of each setting, and pictures of each path."""

MOST = 48
SIDE = 72
"""Settings that are shown, and CSS pixels of a picture."""

Shown = tuple[list[Figure], list[str]]
"""Figures, and what could not be drawn with the reason."""


def samples(found: Sequence[Unit], command: str) -> Shown:
    """A row for each setting, a column for each seed: the first samples that its evaluation drew."""
    found = [unit for unit in found if not ways.is_path(unit.way)]
    heads, rows, failed = _rows(found, _drawn)
    if not rows:
        return [], failed
    told = {head for head in heads if any(head)}
    labels = told.pop() if len(told) == 1 else ()
    head = [f"seed {k}" + (f": {labels[k]}" if labels else "") for k in range(SEEN)]
    caption = (
        "In each column every setting begins with the same noise, and the same class where it is told one. Drawn from "
        "the averaged weights of the newest checkpoint of its first seed; none was chosen by hand."
    )
    return [Figure([_matrix(head, rows)], caption, command)], failed


def paths(found: Sequence[Unit], command: str) -> Shown:
    """A row for each setting: the pictures from one noise to another, the noises and the class the same for all."""
    _, rows, failed = _rows(found, _path)
    if not rows:
        return [], failed
    head = [f"{share:.2g}" for share in np.linspace(0, 1, SEEN + 1)]
    caption = (
        "From the noise of seed 0 (0) to that of seed 1 (1), by a sampler that adds no noise of its own. slerp keeps "
        "the length of the noise on the way; lerp, the straight line, does not."
    )
    return [Figure([_matrix(head, rows)], caption, command)], failed


def sheet(found: Sequence[Unit]) -> Image:
    """One picture with a row for each setting, as `samples` or `paths` show it. Raises UserError: there is none."""
    rows, failed = [], []
    for unit in [unit for unit in found if unit.finished][:MOST]:
        try:
            x, _ = (_path if ways.is_path(unit.way) else _drawn)(unit, Run.open(unit.finished[0].run))
        except UserError as error:
            failed.append(str(error))
            continue
        rows.append(grid(x, columns=len(x), title=unit.name))
    if not rows:
        raise UserError(f"nothing can be shown yet: {'; '.join(failed) or 'no run is finished'}")
    color = any(row.mode == "RGB" for row in rows)
    return stacked([row.convert("RGB") for row in rows] if color else rows)


def _matrix(head: Sequence[str], rows: dict[str, list[Picture | None]]) -> Matrix:
    width = max(p.width for row in rows.values() for p in row if p is not None)
    return Matrix(list(head), list(rows), list(rows.values()), max(width * (SIDE // width), SIDE // 2))


def _rows(
    found: Sequence[Unit], draw: Callable[[Unit, Run], tuple[Any, Sequence[str]]]
) -> tuple[list[tuple[str, ...]], dict[str, list[Picture | None]], list[str]]:
    """(labels of each row, name -> its pictures, what went wrong)."""
    heads: list[tuple[str, ...]] = []
    rows: dict[str, list[Picture | None]] = {}
    failed = []
    finished = [unit for unit in found if unit.finished]
    if len(finished) > MOST:
        failed.append(f"The first {MOST} of {len(finished)} settings are shown.")
    for unit in finished[:MOST]:
        try:
            run = Run.open(unit.finished[0].run)
            x, labels = draw(unit, run)
        except UserError as error:
            failed.append(f"{unit.name}: {error}.")
            continue
        heads.append(tuple(labels))
        what = words.spoken("picture", run.config)
        rows[unit.name] = [picture(image, f"{unit.name}, {what} {k + 1}", most=128) for k, image in enumerate(x)]
    return heads, rows, failed


def _drawn(unit: Unit, run: Run) -> tuple[Any, Sequence[str]]:
    """The first samples of seed 0 on, from what the evaluation kept where it did."""
    from noisette.tasks import plan, shards

    model = shards.Model.open(run)
    (settings,) = plan.chosen(model, (unit.way,) if unit.way else ()).values()
    made = shards.drawn(model, settings, SEEN)
    names = run.shape.classes
    return looks.pictures(made.x, run.shape.medium), [] if made.labels is None else [
        names[int(label)] for label in made.labels
    ]


def _path(unit: Unit, run: Run) -> tuple[Any, Sequence[str]]:
    from noisette.experiment import build
    from noisette.tasks import interpolate

    model, _ = build.trained(run)
    kind = unit.way.partition(":")[0] if ways.is_path(unit.way) else "slerp"
    label = 0 if build.conditional(run.config, run.shape) else None
    found = interpolate.interpolate(model, run.config.sample, run.shape, count=SEEN + 1, kind=kind, label=label)
    return looks.pictures(found.x, run.shape.medium), []

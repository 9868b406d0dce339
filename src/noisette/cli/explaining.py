"""The verb explain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from noisette.cli.frame import app, names
from noisette.errors import UserError


@app.command
def explain(
    run: Path,
    /,
    *what: str,
    out: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    count: int = 9,
    classes: str | None = None,
    between: Annotated[str | None, Parameter(help="The two seeds of an interpolation: 3,7.")] = None,
) -> None:
    """Explain a run in pictures: what it does at each noise level, and what changes when one thing changes.

    Each explanation is a sentence on the terminal and files in the run's folder: .png, .svg for curves, .gif and
    .webp for what moves. They are the figures of the report.

    Parameters
    ----------
    run
        The run folder.
    what
        Any of loss, schedule, forward, reverse, checkpoints, interpolation, samplers, weights, guidance, neighbours;
        all by default.
    out
        The folder to write to; figures in the run folder by default.
    seed
        Of the first sample; the next ones count up.
    steps
        Of the sampler; for samplers, the network calls that each of them has.
    count
        Samples in a row.
    classes
        Class names, separated by commas: the samples take them in turn.
    """
    from noisette.experiment.runs import Run

    opened = Run.open(run)
    from noisette.views import explained
    from noisette.views.material import Material

    keys, folder = explained.chosen(what), out or opened.figures
    asked = explained.Asked(seed, steps, count, tuple(names(classes) or ()), _pair(between))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file is in the way: choose another --out")
    bench = explained.Bench(Material(opened), asked)
    for key in keys:
        try:
            found = explained.EXPLANATIONS[key](bench)
        except explained.NotConcerned as error:
            if what:
                raise
            print(f"noisette: note: {key}: {error}", file=sys.stderr)
            continue
        for line in (found.finding, found.missing):
            if line:
                print(f"{explained.title(key, opened.config)}. {line}", flush=True)
        for path in explained.save(found, key, folder):
            print(f"  {path}")


def _pair(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        first, last = (int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f'--between needs two seeds, 3,7 say, got "{text}"') from None
    return first, last

"""The verbs that hand a run on: notebook, bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from noisette.cli.frame import app
from noisette.views import terminal


@app.command
def notebook(run: Path, /, *, execute: Annotated[bool, Parameter(name="--run", negative=())] = False) -> None:
    """Write test_diffusion.ipynb into the run folder: it loads the model, makes an image of a given noise, and shows
    samples, the way there and the losses.

    Parameters
    ----------
    run
        The run folder.
    execute
        Also run it from top to bottom, so that its pictures are stored in it.
    """
    from noisette.experiment.runs import Run

    opened = Run.open(run)
    from noisette.views import notebook as writing

    print(writing.notebook(opened, execute))


@app.command
def bundle(
    run: Path,
    /,
    *,
    out: Path | None = None,
    name: str | None = None,
    number: str | None = None,
    suffix: str = "07",
) -> None:
    """Pack a run to hand it on: one zip with the model, a program and a notebook that use it, the report, a Readme.

    The data are not in it, and no path of this machine.

    Parameters
    ----------
    run
        The run folder.
    out
        The zip; NAME_NUMBER_SUFFIX.zip, or the run's name, by default. An existing file is never overwritten.
    name
        Your first name: with --number, the folder is called NAME_NUMBER_SUFFIX and the program NUMBER_SUFFIX.py.
    number
        Your roll number.
    suffix
        The last part of those names, the assignment's number for example.
    """
    from noisette.experiment.runs import Run

    opened = Run.open(run)
    from noisette.views import bundle as packing

    with terminal.bar("Packing") as progress:
        made = packing.bundle(opened, out, name, number, suffix, progress)
    print(made)

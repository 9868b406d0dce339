"""The verb that hands a run on: notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from noisette.cli.frame import app


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

"""The verb report."""

from __future__ import annotations

from pathlib import Path

from noisette.cli.frame import app


@app.command
def report(run: Path, /, *, out: Path | None = None) -> None:
    """Write a run's report: one HTML file that needs nothing else.

    Parameters
    ----------
    run
        The run folder.
    out
        Where to; report.html in the run folder by default.
    """
    from noisette.experiment.runs import Run

    opened = Run.open(run)
    from noisette.views import report as reporting

    print(reporting.report(opened, out))

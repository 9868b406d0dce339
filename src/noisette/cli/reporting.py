"""The verb report."""

from __future__ import annotations

from pathlib import Path

from noisette.cli.frame import app
from noisette.errors import UserError


@app.command
def report(*runs: Path, out: Path | None = None, pdf: bool = False) -> None:
    """Write a run's report, or the comparison of several: one HTML file that needs nothing else.

    Parameters
    ----------
    runs
        The run folder; several for a comparison.
    out
        Where to: report.html in the run folder, or comparison.html beside the runs, by default.
    pdf
        Print the page beside it as well, under the same name with .pdf.
    """
    if not runs:
        raise UserError("which run? noisette report RUN, or several to compare them")
    from noisette.experiment.runs import Run

    opened = [Run.open(run) for run in runs]
    from noisette.views import comparison
    from noisette.views import pdf as printing
    from noisette.views import report as reporting

    page = reporting.report(opened[0], out) if len(opened) == 1 else comparison.compare(opened, out)
    print(page)
    if pdf:
        made, by = printing.write(page)
        print(f"{made} ({by})")

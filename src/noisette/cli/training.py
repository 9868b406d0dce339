"""The verbs that train: demo, train, resume, check."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from noisette.cli.frame import (
    Classes,
    Cut,
    Flip,
    Grayscale,
    ImageSize,
    Kind,
    PerClass,
    Recipe,
    Settings,
    app,
    as_settings,
    budget_group,
    fail,
)
from noisette.errors import UserError
from noisette.views import terminal

if TYPE_CHECKING:
    from noisette.experiment.runs import Run

DEMO_MINUTES = 0.75


@app.command
def demo(*, out: Path = Path("runs/demo"), fresh: bool = False, settings: Settings = None) -> None:
    """Train on real handwritten digits, sample, and write a report, in about a minute.

    A finished demo shows its report again; an interrupted one goes on. The digits are fetched once (1.4 MB).

    Parameters
    ----------
    out
        The run folder.
    fresh
        Train anew; the old demo is moved aside, not removed.
    """
    from noisette.experiment.config import merge
    from noisette.experiment.runs import Run, move_aside

    tree = merge({"train": {"minutes": DEMO_MINUTES}}, as_settings(settings))
    if fresh and out.exists():
        from noisette.tasks.train import planned

        planned("digits", tree)  # a wrong setting is told while the old demo is still there
        print(f"The old demo is now {move_aside(out)}")
    if (out / "config.toml").is_file():
        if settings:
            raise UserError(f"{out}: already there, so its settings stand: --fresh trains anew with yours")
        run = Run.open(out)
        if not (run.finished and run.report_path.exists()):
            _go_on(run)
    else:
        begun = _begin("digits", tree, None, out)
        _train(*begun)
    print(f"Open {(out / 'report.html').resolve().as_uri()}")


@app.command
def train(
    data: str,
    /,
    *,
    minutes: Annotated[float | None, Parameter(group=budget_group)] = None,
    steps: Annotated[int | None, Parameter(group=budget_group)] = None,
    images: Annotated[int | None, Parameter(group=budget_group)] = None,
    kind: Kind = None,
    recipe: Recipe = None,
    out: Path | None = None,
    classes: Classes = None,
    per_class: PerClass = None,
    image_size: ImageSize = None,
    grayscale: Grayscale = None,
    flip: Flip = None,
    clips: Cut = None,
    precision: Literal["auto", "fp32", "bf16"] | None = None,
    seed: int | None = None,
    eval_every: int | None = None,
    tensorboard: Annotated[bool | None, Parameter(negative=())] = None,
    settings: Settings = None,
) -> None:
    """Train a model on your data, into a run folder with samples and a report.

    Parameters
    ----------
    data
        Images: a folder (subfolders are classes), .npy, .npz, idx .gz, CIFAR-10 batches, hf:owner/name, or a name:
        digits, mnist, fashion-mnist, cifar10. Key-point motion: .npz, .npy, .csv, .json, .bvh, a folder of them, or
        the name motion. Where a file could be either, --data.medium images or motion says which.
    minutes
        Wall-clock of the training, previews and checks included; reading the data and the report come on top.
    steps
        Optimiser steps.
    images
        Images, or clips, shown to the net.
    out
        The run folder; runs/DATA-NUMBER by default. An existing run is never overwritten.
    precision
        auto measures which is faster here.
    seed
        Of the weights, the order of the data, and the noise.
    eval_every
        Steps between cheap looks at the quality of the samples: a curve in the report; never by default.
    tensorboard
        Also write curves for TensorBoard into the run folder.
    """
    training = {"minutes": minutes, "steps": steps, "images": images}
    training |= {"precision": precision, "seed": seed, "eval_every": eval_every, "tensorboard": tensorboard}
    tree = as_settings(settings, classes, per_class, image_size, grayscale, flip, kind, clips, **training)
    _train(*_begin(data, tree, recipe, out))


@app.command
def resume(
    run: Path,
    /,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    images: int | None = None,
) -> None:
    """Go on with an interrupted run, exactly where its last checkpoint is, or extend a finished one.

    Parameters
    ----------
    run
        The run folder.
    minutes
        This much more.
    steps
        This many more.
    images
        This many more.
    """
    from noisette.experiment.runs import Run

    more = {"minutes": minutes, "steps": steps, "images": images}
    _go_on(Run.open(run), {k: v for k, v in more.items() if v is not None})


def _begin(data: str, tree: dict[str, Any], recipe: str | None, out: Path | None) -> tuple[Run, Any]:
    from noisette.tasks import train as training

    with terminal.bar("Reading") as progress:
        run, loaded = training.start(data, tree, recipe, out, progress)
    if run.shape.moves:
        print("".join(f"Note: {note}\n" for note in loaded.info["notes"]), end="", flush=True)
    return run, loaded


def _go_on(run: Run, more: dict[str, float] | None = None) -> None:
    from noisette.tasks import train as training

    if run.finished and not more and not run.report_path.exists():
        _conclude(run)  # it was interrupted in its very last moments
    else:
        _train(training.continued(run, more or {}), None)


def _train(run: Run, data: Any) -> None:
    """Trains with a progress bar, then samples and reports."""
    from noisette.tasks import train as training
    from noisette.views.preflight import expected

    print(f"Training into {run.path}", flush=True)
    try:
        with training.stop_on_signals() as stopped:
            steps = training.train(run, data, stopped, lambda ready: print(expected(ready), flush=True))
            terminal.watch(steps, run.shape.medium.many)
    except training.Interrupted as stop:
        fail(str(stop), 128 + stop.number)
    _conclude(type(run).open(run.path))


def _conclude(run: Run) -> None:
    """What every finished training ends with: a report, and what to do next."""
    from noisette.views import export
    from noisette.views import report as reporting

    meta, medium = run.meta, run.shape.medium
    path = reporting.report(run)
    seen = f"{meta.get('images', 0):,} {medium.many}"
    print(f"{meta.get('steps', 0):,} steps, {seen} in {meta.get('seconds', 0):,.0f} s")
    print(f"Report  {path}")
    place = f"samples{export.usual(medium)}"
    print(f"Next    {shlex.join(['noisette', 'sample', str(run.path), '-n', '36', '--out', place])}")


@app.command
def check(
    data: str,
    /,
    *,
    minutes: float = 2.0,
    kind: Kind = None,
    recipe: Recipe = None,
    classes: Classes = None,
    per_class: PerClass = None,
    image_size: ImageSize = None,
    grayscale: Grayscale = None,
    flip: Flip = None,
    clips: Cut = None,
    settings: Settings = None,
) -> None:
    """Look at the data before training: what is in it, what would be trained, and how far the time goes.

    Parameters
    ----------
    data
        As for train.
    minutes
        How long you could wait.
    """
    if not 0 < minutes < float("inf"):
        raise UserError("--minutes must be more than 0")
    tree = as_settings(settings, classes, per_class, image_size, grayscale, flip, kind, clips)
    from noisette.tasks.check import check as preflight
    from noisette.views.preflight import describe

    with terminal.bar("Reading") as progress:
        found = preflight(data, tree, recipe, minutes, progress)
    print(describe(found, data, minutes))

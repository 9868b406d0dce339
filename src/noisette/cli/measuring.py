"""The verb evaluate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from noisette.cli.frame import app, names
from noisette.errors import UserError
from noisette.views import terminal


@app.command
def evaluate(
    run: Path,
    /,
    *,
    samples: int = 2048,
    metrics: str | None = None,
    samplers: str | None = None,
    features: str = "auto",
    minutes: float | None = None,
    weights: Literal["ema", "raw"] = "ema",
    at: int | None = None,
    seed: int = 0,
) -> None:
    """Measure a run: how close its samples are to real ones, how varied, how clear, and whether they are copies.

    Every number has a 95 % interval and stands beside what two sets of real samples give. All of it is kept in the run
    folder (eval/), where the report finds it; samples are kept too, so that an evaluation that was broken off goes on.

    Parameters
    ----------
    run
        The run folder.
    samples
        How many to draw with each sampler.
    metrics
        Of fid, kid, prdc (precision, recall, density, coverage), is, bits, memory, clear, motion (bones, speed, jerk,
        feet); all that concern the data by default.
    samplers
        As name:steps, separated by commas: ddpm:1000,ddim:50,dpmpp_2m:20. More settings follow as ddim:50:eta=1. The
        run's own by default.
    features
        What images are compared by: inception (the network that FID is defined on), a classifier trained on the
        data's own classes, or pixels. auto takes inception for colour images where it is at hand, else the classifier
        where it reads well, else what there is. The path of Inception's file (.pt) also does. Motion is compared by a
        classifier, or by an autoencoder where that does not read well or there are no classes.
    minutes
        How long you can wait, more or less: fewer samples (1000, 500, 250, 100) are drawn where all would take longer.
        Training a classifier, once for these data, comes on top.
    weights
        The running average (ema) or the raw ones.
    at
        The step of a checkpoint; the newest by default.
    seed
        Of the first sample; the next ones count up.
    """
    from noisette.experiment.runs import Run

    if minutes is not None and not 0 < minutes < float("inf"):
        raise UserError("--minutes must be more than 0")
    opened = Run.open(run)
    from noisette.tasks import evaluate as evaluating
    from noisette.tasks import plan as planning
    from noisette.views import table

    def planned(plan: planning.Plan) -> None:
        if plan.draws:
            what = f"{plan.n:,} samples with each of {', '.join(plan.labels)}"
            print(f"Drawing {what}: about {terminal.clock(plan.seconds)}", file=sys.stderr, flush=True)

    with terminal.stages() as progress:
        rows = evaluating.evaluate(
            opened,
            samples,
            names(metrics) or evaluating.METRICS,
            names(samplers) or (),
            features,
            minutes=minutes,
            weights=weights,
            at=at,
            seed=seed,
            progress=progress,
            planned=planned,
        )
    print(table.evaluation(rows, opened.config))
    print(f"Kept in {opened.path / 'eval'}; noisette report {opened.path} shows them")

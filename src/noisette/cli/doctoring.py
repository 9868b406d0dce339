"""The verb doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from noisette.cli.frame import app
from noisette.views import terminal


@app.command
def doctor(
    run: Path,
    /,
    *,
    n: Annotated[int, Parameter(name=("-n", "--count"))] = 64,
    sampler: str | None = None,
    steps: int | None = None,
    eta: float | None = None,
    variance: str | None = None,
    guidance: float | None = None,
    clip: Literal["static", "dynamic", "none"] | None = None,
    weights: Literal["ema", "raw"] = "ema",
    at: int | None = None,
    seed: int = 0,
) -> None:
    """Say what is wrong with a run's samples, if anything: why, and what to try.

    Samples that are black, flat, saturated, noisy, alike or copied (clips: broken, jittery, frozen, drifting, alike or
    copied), and values that explode on the way, are told by measurement against the run's own data. What is not given
    is as the run's recipe says.

    Parameters
    ----------
    run
        The run folder.
    n
        How many samples to look at, 16 or more.
    sampler
        ddpm, ddim, heun, dpmpp_2m, dpmpp_2m_sde or euler.
    steps
        Sampler steps.
    eta
        ddim's noise: 0 deterministic, 1 as ddpm.
    variance
        ddpm's noise: small, large, or learned where the net has learned it.
    guidance
        Strength of the class label: 0 ignores it, 1 plain, above 1 exaggerates.
    clip
        What keeps x0 in range: static, dynamic (thresholding) or none.
    weights
        The running average (ema) or the raw ones.
    at
        The step of a checkpoint; the newest by default.
    seed
        Of the first sample; the next ones count up.
    """
    from noisette.experiment.runs import Run

    opened = Run.open(run)
    from noisette.tasks.doctor import examine
    from noisette.views.health import lines

    settings = {"sampler": sampler, "steps": steps, "eta": eta, "variance": variance}
    settings |= {"guidance": guidance, "clip": clip}
    with terminal.bar("Sampling") as progress:
        found = examine(opened, n, seed=seed, weights=weights, at=at, progress=progress, **settings)
    print("\n".join(lines(found)))

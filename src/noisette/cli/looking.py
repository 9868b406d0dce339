"""The verbs that look at pictures: sample, forward."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from noisette.cli.frame import ImageSize, app, names
from noisette.errors import UserError
from noisette.views import terminal

edit_group = Group("Clips of motion: what is kept of a given one, loops, other lengths")


@app.command
def sample(
    run: Path,
    /,
    *,
    n: Annotated[int, Parameter(name=("-n", "--count"))] = 36,
    sampler: str | None = None,
    steps: int | None = None,
    grid: str | None = None,
    eta: float | None = None,
    variance: str | None = None,
    guidance: float | None = None,
    interval: tuple[float, float] | None = None,
    clip: Literal["static", "dynamic", "none"] | None = None,
    seed: int = 0,
    classes: str | None = None,
    weights: Literal["ema", "raw"] = "ema",
    at: int | None = None,
    compile: Literal["auto", "on", "off"] = "auto",
    keep_frames: Annotated[str | None, Parameter(group=edit_group)] = None,
    keep_joints: Annotated[str | None, Parameter(group=edit_group)] = None,
    given: Annotated[str | None, Parameter(name="--from", group=edit_group)] = None,
    loop: Annotated[bool, Parameter(negative=(), group=edit_group)] = False,
    length: Annotated[int | None, Parameter(group=edit_group)] = None,
    out: str | None = None,
    trajectory: str | None = None,
) -> None:
    """Draw samples from a run. What is not given is as the run's recipe says.

    Sample k depends on its seed alone: -n 4 gives the first four of -n 36. A GAN draws in one call, so that of the
    sampler's settings none applies to it.

    Parameters
    ----------
    run
        The run folder.
    n
        How many.
    sampler
        ddpm, ddim, heun, dpmpp_2m, dpmpp_2m_sde or euler.
    steps
        Sampler steps; at most T on the grids trailing, leading and linspace.
    grid
        Where the steps lie: trailing, leading, linspace, log_snr or karras; trailing where another --sampler is named.
    eta
        ddim's noise: 0 deterministic, 1 as ddpm.
    variance
        ddpm's noise: small, large, or learned where the net has learned it.
    guidance
        Strength of the class label: 0 ignores it, 1 plain, above 1 exaggerates.
    interval
        The times, two numbers in 0 to 1, between which guidance is used; everywhere by default.
    clip
        What keeps x0 in range: static, dynamic (thresholding) or none.
    seed
        Of the first sample; the next ones count up.
    classes
        Class names, separated by commas: sample by sample in turn.
    weights
        The running average (ema) or the raw ones.
    at
        The step of a checkpoint; the newest by default.
    compile
        Compile the net first, which takes a minute or so and changes the last digits; auto does where a job of minutes
        (five on a CPU) is done sooner so.
    keep_frames
        Ranges of frames that are kept of a given clip, 0:8,56:64: the rest is drawn to go with them.
    keep_joints
        Joints that are kept of it in all frames: names, or legs, arms, head, left, right, left_arm, ..., upper, lower.
    given
        The clip: a motion file (its first take), FILE:TAKE, or held-out:ROW of the run's own data (held-out:0).
    loop
        The last frame leads into the first.
    length
        Frames of a clip; the run's own by default. Longer ones are drawn through overlapping windows.
    out
        .png a grid, .npz arrays, a folder of single PNGs when it ends in "/"; by default a grid in the run folder. Of
        motion: .gif or .webp that moves, .png strips of poses, .npz, .json, .csv or .bvh for other programs, a folder
        of single .bvh files; by default a .gif in the run folder.
    trajectory
        Also the way from noise: .png a labelled strip, .gif, .webp, or .npz with every step.
    """
    from noisette.experiment.runs import Run
    from noisette.views import export

    opened = Run.open(run)
    medium = opened.shape.medium
    place = out or str(opened.samples / f"samples-seed{seed}{export.usual(medium)}")
    export.check_suffix(place, "samples", medium)
    if trajectory:
        export.check_suffix(trajectory, "trajectory")
        if Path(trajectory) == Path(place):
            raise UserError(f"{place}: --out and --trajectory are the same file: choose another name for one")
    from noisette.tasks.edit import Edit
    from noisette.tasks.generate import generate

    settings = {"sampler": sampler, "steps": steps, "grid": grid, "eta": eta, "variance": variance, "clip": clip}
    settings |= {"guidance": guidance, "interval": interval}
    keep = trajectory is not None
    with terminal.bar("Sampling") as progress:
        made, frames = generate(
            opened,
            n,
            seed=seed,
            classes=names(classes),
            weights=weights,
            at=at,
            frames=keep,
            progress=progress,
            compile=compile,
            edit=Edit(keep_frames, keep_joints, given, loop, length),
            **settings,
        )
    if trajectory:
        print(export.save_trajectory(frames, trajectory, medium=medium))
    print(export.save_samples(made, place, medium))


@app.command
def forward(
    data: str,
    /,
    *,
    schedule: str | None = None,
    T: Annotated[int | None, Parameter(name="--T")] = None,
    scaled: Annotated[
        bool | None, Parameter(help="Scale the betas by 1000/T (the default); --no-scaled takes the raw table.")
    ] = None,
    zero_terminal_snr: bool | None = None,
    out: str,
    n: Annotated[int, Parameter(name=("-n", "--count"))] = 1,
    count: Annotated[int, Parameter(name="--columns")] = 10,
    image_size: ImageSize = None,
    frames: Annotated[int | None, Parameter(help="Frames of a clip of motion; 64 by default.")] = None,
    seed: int = 0,
) -> None:
    """Show how images, or clips of motion, turn into noise under a schedule, with the signal that is left at each step.

    Parameters
    ----------
    data
        As for train, or a single image file; a run folder stands for its data and, unless told otherwise, its schedule.
    schedule
        linear, scaled_linear, cosine (the default), quadratic, sigmoid, continuous_cosine, edm or flow.
    T
        Steps of the schedule, 2 to 10,000; 1,000 by default.
    zero_terminal_snr
        Rescale the schedule so that nothing is left at the end.
    out
        .png a labelled strip, .gif, .webp, or .npz.
    n
        How many images or clips.
    count
        How many noisy times to show.
    seed
        Of the noise, and of the choice of images where DATA is no run; clips are taken evenly over all.
    """
    from noisette.views import export, figures

    export.check_suffix(out, "forward")
    if n < 1 or count < 2:
        raise UserError("forward needs -n of at least 1 and --columns of at least 2")
    if not 0 <= seed <= 2**32 - n:
        raise UserError(f"--seed must lie in 0..{2**32 - n:,}, got {seed}")
    from noisette.data import medium
    from noisette.experiment import build, recipes
    from noisette.experiment.config import Config
    from noisette.experiment.runs import Run
    from noisette.tasks import explain

    given = {"name": schedule, "T": T, "scaled": scaled, "zero_terminal_snr": zero_terminal_snr}
    changes = {f"schedule.{key}": value for key, value in given.items() if value is not None}
    if (Path(data) / "config.toml").is_file():
        if image_size is not None or frames is not None:
            option = "--frames" if image_size is None else "--image-size"
            raise UserError(f"{data}: a run has the size of its data: leave out {option}, or name the data themselves")
        config = Run.open(data).config.changed(changes)
        loaded = build.loaded(config)
        clean = loaded.x[explain.rows(loaded, n)]
    else:
        config = Config().changed(changes)
        asked = {"data.image_size": image_size, "motion.frames": frames, "data.seed": seed, "data.held_out": 0.0}
        about = recipes.about_data(data, None, {k: v for k, v in asked.items() if v is not None})
        if about.data.medium != medium.Motion.name:  # of takes, those that were drawn might be too short
            about = about.changed({"data.limit": n})
        loaded = build.loaded(about)
        clean = loaded.x[figures.evenly(len(loaded), n)]
    chosen = build.schedule(config.schedule)
    kind = medium.of(medium.facts(loaded))
    way = explain.forward(clean, kind, chosen, count, seed)
    print(export.save_trajectory(way, out, count=count + 1, samples=n, medium=kind))
    last = way[-1].signal or 0.0
    print(f"{chosen.name}, T={chosen.steps or 'continuous'}: {last:.2%} of the signal is left at the end")

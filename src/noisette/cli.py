"""The command line: verbs only. torch is imported when a verb needs it, so that --help is instant."""

from __future__ import annotations

import os
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from noisette import __version__
from noisette.errors import UserError
from noisette.views import terminal

if TYPE_CHECKING:
    from noisette.experiment.runs import Run

USER_ERROR = 2
DEMO_MINUTES = 1.4
SETTING = re.compile(r"--([a-z][a-z_0-9]*\.[A-Za-z_0-9.]+)(=.*)?")
SET_VERBS = ("train", "check", "demo")

app = App(
    name="noisette",
    help="Train, sample, measure and explain small diffusion models.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
data_group, budget_group = Group("Data", sort_key=1), Group("Budget (one of them; 2 minutes by default)", sort_key=0)

Classes = Annotated[str | None, Parameter(group=data_group, help="Only these classes, separated by commas.")]
PerClass = Annotated[int | None, Parameter(group=data_group, help="At most this many images of each class.")]
ImageSize = Annotated[int | None, Parameter(group=data_group, help="Resize and crop to squares of this many pixels.")]
Grayscale = Annotated[
    bool | None,
    Parameter(
        group=data_group, name="--grayscale", negative="--rgb", help="Force the colours; read from the data otherwise."
    ),
]
Flip = Annotated[bool | None, Parameter(group=data_group, help="Mirror half of the images while training.")]
Recipe = Annotated[str | None, Parameter(help="A recipe's name or .toml file; chosen by the data's shape otherwise.")]
Settings = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative=(),
        help="Any setting of the run as section.key=value. --section.key value is the same: --optim.lr 0.001",
    ),
]


def main(argv: list[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 2 something the user can mend (one line on stderr), 128 + n a signal n."""
    warnings.showwarning = _warn
    try:
        app(dotted(sys.argv[1:] if argv is None else argv), exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (UserError, CycloptsError) as error:
        _fail(str(error), USER_ERROR)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except OSError as error:
        if error.errno is None:
            raise
        _fail(f"{error.filename or 'a file'}: {error.strerror}", USER_ERROR)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        _fail("not enough memory: try a smaller --train.batch, or --image-size", USER_ERROR)


def _fail(message: str, code: int) -> None:
    print(f"noisette: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"noisette: note: {' '.join(str(message).split())}", file=sys.stderr)


def dotted(tokens: list[str]) -> list[str]:
    """`--section.key value` or `=value` as `--set section.key=value`, for the verbs that take settings."""
    if not tokens or tokens[0] not in SET_VERBS:
        return tokens
    out: list[str] = []
    rest = iter(tokens)
    for token in rest:
        if token == "--":
            return [*out, token, *rest]
        if (match := SETTING.fullmatch(token)) is None:
            out.append(token)
            continue
        key, value = match[1], match[2]
        if value is None and (value := next(rest, None)) is None:
            raise UserError(f"--{key}: a value is missing: --{key} VALUE")
        out += ["--set", f"{key}={value.removeprefix('=') if match[2] else value}"]
    return out


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def _tree(
    settings: list[str] | None,
    classes: str | None = None,
    per_class: int | None = None,
    image_size: int | None = None,
    grayscale: bool | None = None,
    flip: bool | None = None,
    **train: Any,
) -> dict[str, Any]:
    """The options of a verb as settings; those not given are left out."""
    from noisette.experiment import config

    data = {
        "classes": _names(classes),
        "per_class": per_class,
        "image_size": image_size,
        "color": None if grayscale is None else "grayscale" if grayscale else "rgb",
        "flip": flip,
    }
    given = {f"data.{k}": v for k, v in data.items() if v is not None}
    given |= {f"train.{k}": v for k, v in train.items() if v is not None}
    return config.merge(config.overrides(settings or []), given)


# --- training -----------------------------------------------------------------------------------------------------


@app.command
def demo(*, out: Path = Path("runs/demo"), fresh: bool = False, settings: Settings = None) -> None:
    """Train on real handwritten digits, sample, and write a report, in about two minutes.

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

    if fresh and out.exists():
        print(f"The old demo is now {move_aside(out)}")
    if (out / "config.toml").is_file():
        if settings:
            raise UserError(f"{out}: already there, so its settings stand: --fresh trains anew with yours")
        run = Run.open(out)
        if not (run.finished and run.report_path.exists()):
            _go_on(run)
    else:
        begun = _begin("digits", merge({"train": {"minutes": DEMO_MINUTES}}, _tree(settings)), None, out)
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
    recipe: Recipe = None,
    out: Path | None = None,
    classes: Classes = None,
    per_class: PerClass = None,
    image_size: ImageSize = None,
    grayscale: Grayscale = None,
    flip: Flip = None,
    precision: Literal["auto", "fp32", "bf16"] | None = None,
    seed: int | None = None,
    tensorboard: Annotated[bool | None, Parameter(negative=())] = None,
    settings: Settings = None,
) -> None:
    """Train a model on your data, into a run folder with samples and a report.

    Parameters
    ----------
    data
        A folder of images (subfolders are classes), .npy, .npz, idx .gz, CIFAR-10 batches, hf:owner/name, or a name:
        digits, mnist, fashion-mnist, cifar10.
    minutes
        Wall-clock of the training, previews and checks included; reading the data and the report come on top.
    steps
        Optimiser steps.
    images
        Images shown to the net.
    out
        The run folder; runs/DATA-NUMBER by default. An existing run is never overwritten.
    precision
        auto measures which is faster here.
    seed
        Of the weights, the order of the data, and the noise.
    tensorboard
        Also write curves for TensorBoard into the run folder.
    """
    training = {"minutes": minutes, "steps": steps, "images": images}
    training |= {"precision": precision, "seed": seed, "tensorboard": tensorboard}
    tree = _tree(settings, classes, per_class, image_size, grayscale, flip, **training)
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
        return training.start(data, tree, recipe, out, progress)


def _go_on(run: Run, more: dict[str, float] | None = None) -> None:
    from noisette.tasks import train as training

    if run.finished and not more and not run.report_path.exists():
        _conclude(run)  # it was interrupted in its very last moments
    else:
        _train(training.continued(run, more or {}), None)


def _train(run: Run, data: Any) -> None:
    """Trains with a progress bar, then samples and reports."""
    from noisette.tasks import train as training

    print(f"Training into {run.path}")
    try:
        with training.stop_on_signals() as stopped:
            steps = training.train(run, data, stopped)
            terminal.watch(steps)
    except training.Interrupted as stop:
        _fail(str(stop), 128 + stop.number)
    _conclude(type(run).open(run.path))


def _conclude(run: Run) -> None:
    """What every finished training ends with: a report, and what to do next."""
    from noisette.views import report as reporting

    meta = run.meta
    path = reporting.report(run)
    print(f"{meta.get('steps', 0):,} steps, {meta.get('images', 0):,} images in {meta.get('seconds', 0):,.0f} s")
    print(f"Report  {path}")
    print(f"Next    {shlex.join(['noisette', 'sample', str(run.path), '-n', '36', '--out', 'samples.png'])}")


# --- looking ------------------------------------------------------------------------------------------------------


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
    out: str | None = None,
    trajectory: str | None = None,
) -> None:
    """Draw samples from a run. What is not given is as the run's recipe says.

    Sample k depends on its seed alone: -n 4 gives the first four of -n 36.

    Parameters
    ----------
    run
        The run folder.
    n
        How many.
    sampler
        ddpm, ddim, heun, dpmpp_2m or euler.
    steps
        Sampler steps; at most T on the grids trailing, leading and linspace.
    grid
        Where the steps lie: trailing, leading, linspace, log_snr or karras.
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
    out
        .png a grid, .npz arrays, a folder of single PNGs when it ends in "/"; by default a grid in the run folder.
    trajectory
        Also the way from noise: .png a labelled strip, .gif, .webp, or .npz with every step.
    """
    from noisette.experiment.runs import Run
    from noisette.views import export

    opened = Run.open(run)
    place = out or str(opened.samples / f"samples-seed{seed}.png")
    export.check_suffix(place, "samples")
    if trajectory:
        export.check_suffix(trajectory, "trajectory")
        if Path(trajectory) == Path(place):
            raise UserError(f"{place}: --out and --trajectory are the same file: choose another name for one")
    from noisette.tasks.generate import generate

    settings = {"sampler": sampler, "steps": steps, "grid": grid, "eta": eta, "variance": variance, "clip": clip}
    settings |= {"guidance": guidance, "interval": interval}
    keep = trajectory is not None
    with terminal.bar("Sampling") as progress:
        made, frames = generate(
            opened,
            n,
            seed=seed,
            classes=_names(classes),
            weights=weights,
            at=at,
            frames=keep,
            progress=progress,
            **settings,
        )
    if trajectory:
        print(export.save_trajectory(frames, trajectory))
    print(export.save_samples(made, place))


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
    seed: int = 0,
) -> None:
    """Show how images turn into noise under a schedule, with the signal that is left at each step.

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
        How many images.
    count
        How many noisy times to show.
    seed
        Of the noise, and of the choice of images where DATA is no run.
    """
    from noisette.views import export

    export.check_suffix(out, "forward")
    if n < 1 or count < 2:
        raise UserError("forward needs -n of at least 1 and --columns of at least 2")
    if not 0 <= seed <= 2**32 - n:
        raise UserError(f"--seed must lie in 0..{2**32 - n:,}, got {seed}")
    from noisette.data import DataSpec, load
    from noisette.experiment import build
    from noisette.experiment.config import Config
    from noisette.experiment.runs import Run
    from noisette.tasks import explain

    given = {"name": schedule, "T": T, "scaled": scaled, "zero_terminal_snr": zero_terminal_snr}
    changes = {f"schedule.{key}": value for key, value in given.items() if value is not None}
    if (Path(data) / "config.toml").is_file():
        config = Run.open(data).config.changed(changes)
        loaded = load(build.data_spec(config))
        images = loaded.x[explain.rows(loaded, n)]
    else:
        config = Config().changed(changes)
        images = load(DataSpec(data, image_size=image_size, limit=n, seed=seed, held_out=0)).x
    chosen = build.schedule(config.schedule)
    frames = explain.forward(images, chosen, count, seed)
    print(export.save_trajectory(frames, out, count=count + 1, samples=n))
    last = frames[-1].signal or 0.0
    print(f"{chosen.name}, T={chosen.steps or 'continuous'}: {last:.2%} of the signal is left at the end")


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


@app.command
def check(
    data: str,
    /,
    *,
    minutes: float = 2.0,
    recipe: Recipe = None,
    classes: Classes = None,
    per_class: PerClass = None,
    image_size: ImageSize = None,
    grayscale: Grayscale = None,
    flip: Flip = None,
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
    tree = _tree(settings, classes, per_class, image_size, grayscale, flip)
    from noisette.tasks.check import check as preflight
    from noisette.views.preflight import describe

    with terminal.bar("Reading") as progress:
        found = preflight(data, tree, recipe, minutes, progress)
    print(describe(found, data, minutes))


if __name__ == "__main__":
    main()

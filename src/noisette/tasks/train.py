"""Training as a generator of steps, exact to resume.

Everything random of step k (which images, mirrored or not, t, noise, dropped labels, dropout) is a pure function of
(seed, k), so a checkpoint holds weights, optimiser and counters, and a run that was killed and resumed is the run that
never stopped, bit for bit, where its budget counts steps or images.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from noisette.data import medium
from noisette.data.medium import Data
from noisette.data.motion.clips import Clips
from noisette.data.stream import fits
from noisette.errors import UserError
from noisette.experiment import build, recipes
from noisette.experiment.config import BUDGETS, Config, TrainConfig, merge
from noisette.experiment.environment import environment
from noisette.experiment.runs import Run, Shape, atomic, fresh_path
from noisette.metrics.distances import FEWEST
from noisette.tasks import adversary, board, compiling, machine
from noisette.tasks.adversary import Adversary
from noisette.tasks.estimate import Estimate, estimate
from noisette.tasks.generate import draw, labels_for, quick, tile
from noisette.tasks.measure import Settled, Trial, settle
from noisette.tasks.proxy import SAMPLES, STEPS, Proxy
from noisette.tasks.trainer import HELD_OUT, Trainer

PREVIEWS, PREVIEW_STEPS = 16, 12  # a look at the model must not cost much of its training time
SAFE_EVERY = 120.0  # seconds between checkpoints, at most
COMPILE_OFF = 'use --train.compile off; to go on with a run that has begun, put compile = "off" into its config.toml'


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and the checkpoint is written; `number` is the signal's."""

    def __init__(self, run: Run, step: int, number: int):
        super().__init__(f"interrupted at step {step}, all saved; noisette resume {run.path} goes on from there")
        self.number = number


@dataclass(frozen=True)
class TrainStep:
    """What a viewer of training sees after each step. `progress` is the share of the budget that is used up."""

    step: int
    images: int
    seconds: float
    progress: float
    loss: float
    images_per_second: float


@dataclass(frozen=True)
class Ready:
    """What is known when training is about to begin: the settings that were settled, what was measured for that (see
    noisette.tasks.measure.settle), what to expect, and the bytes of memory that the device has to spare."""

    config: Config
    found: Mapping[str, Any]
    estimate: Estimate
    free: int


# --- starting a run -----------------------------------------------------------------------------------------------


def planned(
    source: str,
    settings: Mapping[str, Any],
    recipe: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Data, Shape, Config]:
    """(the data, their shape, the full settings of a run on them), all looked at. Raises UserError."""
    data = build.loaded(recipes.about_data(source, recipe, settings), progress)
    shape = Shape.of(medium.facts(data))
    config = build.resolve(shape, recipe, merge(settings, {"data.source": source}))
    build.check(config, shape)
    if config.train.tensorboard:
        board.need()
    if config.train.eval_every and len(data.train) < 2 * FEWEST:
        raise UserError(
            f"{source}: {len(data.train)} training {shape.medium.many} are too few for looks at the quality "
            f"(train.eval_every), which need {2 * FEWEST}: leave it out, or set --train.eval_every 0"
        )
    return data, shape, config


def start(
    source: str,
    settings: Mapping[str, Any],
    recipe: str | None = None,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Run, Data]:
    """A new run folder for this data, ready to train.

    Args:
        source: a data set's name or path.
        settings: nested or dotted settings on top of the recipe.
        recipe: a recipe's name or file; chosen by the data's shape when None.
        out: the run folder; runs/<data>-<number> when None.
        progress: called with (decoded, all) while images are read.

    Raises:
        UserError: anything wrong with the data, the settings or the folder; nothing is written then.
    """
    if out and Path(source).is_dir() and Path(out).resolve().is_relative_to(Path(source).resolve()):
        raise UserError(f"{out}: lies inside the data, and would be read as data next time: choose another --out")
    data, _, config = planned(source, settings, recipe, progress)
    path = Path(out) if out else fresh_path(source)
    return Run.create(path, config, medium.facts(data), {**environment(), "state": "new"}), data


def continued(run: Run, more: Mapping[str, float]) -> Run:
    """A run to go on with: an interrupted one as it is, or a finished one with a larger budget.

    The new budget is what the run has done so far plus `more`, one of minutes, steps or images. The learning rate
    follows its curve over the whole new budget, so it rises again.

    Raises:
        UserError: nothing left to do, not one positive budget, or `more` for a run that has not used up its own.
    """
    if not more:
        if run.finished:
            raise UserError(f"{run.path}: finished; to go on, say how much more: --minutes 5")
        return run
    if len(more) > 1 or not set(more) <= set(BUDGETS):
        raise UserError(f"give one budget of {', '.join(BUDGETS)}, not {' and '.join(more)}")
    if not run.finished:
        raise UserError(f"{run.path}: not finished yet: resume it as it is first, then extend it")
    ((kind, amount),) = more.items()
    if not 0 < amount < math.inf:
        raise UserError(f"{kind} must be more than 0, got {amount:g}")
    done = run.checkpoint().state()
    total = amount + {"minutes": done["seconds"] / 60, "steps": done["step"], "images": done["images"]}[kind]
    history = [*run.meta.get("history", []), {"extended_at_step": done["step"], kind: amount}]
    extended = run.reconfigured(run.config.changed({f"train.{kind}": total}))
    extended.update_meta(state="extended", history=history)
    return extended


# --- one run ------------------------------------------------------------------------------------------------------


def used(train: TrainConfig, step: int, images: int, seconds: float, lead: float = 0.0) -> float:
    """The share of the budget that is used up, in [0, 1]; without the first `lead` seconds of it, where it is time."""
    if train.minutes is not None:
        return min(1.0, max(seconds - lead, 0.0) / max(train.minutes * 60 - lead, 1e-9))
    done = {"steps": step, "images": images}
    return min(1.0, next(done[name] / total for name in done if (total := getattr(train, name)) is not None))


def train(
    run: Run,
    data: Data | None = None,
    stopped: Callable[[], int] = lambda: 0,
    ready: Callable[[Ready], None] = lambda ready: None,
) -> Iterator[TrainStep]:
    """Trains a new, interrupted or extended run to the end of its budget, yielding after every step.

    Args:
        run: from `start`, Run.open or `extend`.
        data: the run's data, if it is at hand; loaded otherwise.
        stopped: asked after every step; a signal number instead of 0 ends the run with a checkpoint.
        ready: told what to expect before the first step.

    Raises:
        UserError: the data changed since the run began, a checkpoint is damaged, the loss is not finite, or another
            process is training this run.
        Interrupted: `stopped` said so.
    """
    with machine.same_threads(), run.exclusive():
        yield from _train(run, data, stopped, ready)


def _train(
    run: Run, data: Data | None, stopped: Callable[[], int], ready: Callable[[Ready], None]
) -> Iterator[TrainStep]:
    begun = time.perf_counter()
    left = machine.forget_peak(build.device(run.config.train.device))
    data = build.data(run) if data is None else data
    run, trainer = _prepare(run, data, begun, stopped, ready)
    run.rewind(trainer.step)
    run.update_meta(state="training")
    proxy = [Proxy(run, data)] if run.config.train.eval_every else []
    loop = _Loop(run, trainer, begun - trainer.seconds, run.config.train, proxy, left)
    if trainer.step == 0:
        loop.preview()
    last_saved = time.perf_counter()
    trainer.lead += last_saved - begun
    compiles = run.config.train.compile == "on"  # with the first step, which takes the longer
    while (before := loop.progress()) < 1 or not trainer.step:  # however little time there is
        spent = trainer.seconds
        try:
            with compiling.or_told(COMPILE_OFF) if compiles else contextlib.nullcontext():
                loss = trainer.advance(loop.learned())
        except UserError:
            run.update_meta(state="failed")
            raise
        except FloatingPointError as error:
            run.update_meta(state="failed")
            good = [checkpoint.step for checkpoint in run.checkpoints()]
            kept = f"the last good checkpoint is step {good[-1]}" if good else "there is no checkpoint yet"
            raise UserError(f"{run.path}: {error}; {kept}; try {trainer.mend}") from None
        after = loop.progress()
        if compiles:
            trainer.lead, compiles = trainer.lead + trainer.seconds - spent, False
        speed = trainer.window.steps * run.config.train.batch / max(trainer.window.busy, 1e-9)
        ended = after >= 1
        if ended or trainer.step % run.config.train.log_every == 0:
            loop.log(trainer.row())
        if ended or _due(run.config.train.checks, before, after):
            loop.check()
        if ended or _due(run.config.train.previews, before, after):
            loop.preview()
        if (every := run.config.train.eval_every) and (ended or trainer.step % every == 0):
            loop.evaluate()
        number = stopped()
        late = time.perf_counter() - last_saved > SAFE_EVERY
        if ended or number or late or _due(run.config.train.checkpoints, before, after):
            loop.save()
            last_saved = time.perf_counter()
        yield TrainStep(trainer.step, trainer.images, trainer.seconds, after, loss, speed)
        if number and not ended:
            run.update_meta(state="interrupted", **loop.summary())
            raise Interrupted(run, trainer.step, number)
    run.update_meta(state="finished", **loop.summary())


def _due(times: int, before: float, after: float) -> bool:
    """Whether one of `times` evenly spaced moments of the budget lies between two shares of it."""
    return math.floor(after * times) > math.floor(before * times)


def decided(config: Config, shape: Shape, **how: Any) -> Settled:
    """What was left open, settled by a trial of this kind of model, whose nets are gone afterwards; how: see settle."""
    return adversary.settle(config, shape) if config.kind == "gan" else settle(config, Trial(config, shape), **how)


def _prepare(
    run: Run, data: Data, begun: float, stopped: Callable[[], int], ready: Callable[[Ready], None]
) -> tuple[Run, Trainer | Adversary]:
    """The trainer at the newest checkpoint, and the run with all that was left open settled."""
    resumed, timed = bool(run.checkpoints()), run.config.train.minutes is not None
    if resumed and not timed and machine.threads_are_free() and (threads := machine.threads_then(run.meta)):
        torch.set_num_threads(threads)  # to round as it did before, which a clock would not let it anyway
    settled = decided(run.config, run.shape, choose_threads=timed or not resumed, stopped=stopped)
    device = build.device(run.config.train.device)
    machine.let_go(device)
    resident = machine.resident(device) + kept_on(device, data)
    run = run if settled.config == run.config else run.reconfigured(settled.config)
    config = run.config
    trainer = (Adversary if config.kind == "gan" else Trainer)(config, run.shape, data)
    if resumed:
        trainer.load(run.checkpoint())
    spent = trainer.seconds + time.perf_counter() - begun
    once, a_step = looks(config, run.shape, len(data.held_out))
    expected = estimate(settled, run.shape, len(data.train), resident, once, a_step, (trainer.step, spent))
    facts = {**trainer.facts(), "precision": config.train.precision, "device": str(trainer.device)}
    run.update_meta(**settled.found, **facts, estimate=expected.told())
    ready(Ready(config, settled.found, expected, machine.free_memory(trainer.device)))
    return run, trainer


def kept_on(device: torch.device, data: Data) -> int:
    """Bytes of the data that lie on a device while it trains: images, where they fit on a GPU."""
    return data.x.nbytes if device.type != "cpu" and not isinstance(data.x, Clips) and fits(data.x, device) else 0


def looks(config: Config, shape: Shape, held_out: int) -> tuple[float, float]:
    """(images that the net is shown for previews and checks, images a step that it is shown for eval_every)."""
    train = config.train
    calls = 1 if config.sample.guidance == 1 or not build.conditional(config, shape) else 2
    a_preview, a_proxy = (1, 1) if config.sample.at_once else (PREVIEW_STEPS * calls, STEPS * calls)
    previews = (train.previews + 1) * PREVIEWS * a_preview if train.previews else 0
    checks = 0 if config.sample.at_once else train.checks * min(held_out, HELD_OUT)
    every = SAMPLES * a_proxy / train.eval_every if train.eval_every else 0.0
    return previews + checks, every


@dataclass
class _Loop:
    """What surrounds the steps: the clock and the run folder. left: bytes that earlier work of this process holds."""

    run: Run
    trainer: Trainer | Adversary
    begun: float
    train: TrainConfig
    proxy: Sequence[Proxy] = ()
    left: int = 0

    def __post_init__(self) -> None:
        step = self.trainer.step
        self.boards = [board.writer(self.run.board_path, step)] if self.train.tensorboard else []

    def log(self, row: Mapping[str, Any]) -> None:
        self.run.log(row)
        for write in self.boards:
            write(row)

    def progress(self) -> float:
        trainer = self.trainer
        trainer.seconds = time.perf_counter() - self.begun
        return used(self.train, trainer.step, trainer.images, trainer.seconds)

    def learned(self) -> float:
        """The progress of the learning: getting ready, which may take a good part of a short budget, is none."""
        trainer = self.trainer
        return used(self.train, trainer.step, trainer.images, trainer.seconds, trainer.lead)

    def check(self) -> None:
        found = self.trainer.validate()
        if found:
            self.log({**self.trainer.counters(), **found})

    def evaluate(self) -> None:
        for proxy in self.proxy:
            self.log({**self.trainer.counters(), **proxy.measure(self.trainer.averaged())})

    def preview(self) -> None:
        """A sheet of samples from the EMA weights, always from the same noise."""
        if not self.train.previews:
            return
        run = self.run
        seeds, model = list(range(PREVIEWS)), self.trainer.averaged()
        settings, labels = quick(model, run.config.sample, PREVIEW_STEPS), labels_for(run, seeds, None)
        x, _ = draw(model, settings, run.shape, seeds, labels, chunk=PREVIEWS)
        if run.shape.moves:
            with atomic(run.preview_path(self.trainer.step, ".npz")) as file:
                np.savez_compressed(file, x=x)
            return
        sheet = tile(x)
        with atomic(run.preview_path(self.trainer.step)) as file:
            Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(file, format="PNG")

    def save(self) -> None:
        self.trainer.seconds = time.perf_counter() - self.begun
        self.run.save_checkpoint(self.trainer.step, *self.trainer.weights(), self.trainer.state())

    def summary(self) -> dict[str, Any]:
        trainer = self.trainer
        peak = machine.peak_memory(trainer.device)
        speeds = [row["images_per_second"] for row in self.run.metrics() if "images_per_second" in row]
        return {
            "seconds": round(trainer.seconds, 1),
            "steps": trainer.step,
            "images": trainer.images,
            "images_per_second": round(float(np.median(speeds)), 1) if speeds else None,
            **({"memory": peak - self.left} if peak else {}),
        }


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], int]]:
    """A `stopped` for `train` that answers SIGINT and SIGTERM; a second signal acts as it always did."""
    seen = 0
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        nonlocal seen
        seen = number
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

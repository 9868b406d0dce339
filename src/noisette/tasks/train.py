"""Training as a generator of steps, exact to resume.

Everything random of step k (which images, mirrored or not, t, noise, dropped labels, dropout) is a pure function of
(seed, k), so a checkpoint holds weights, optimiser and counters, and a run that was killed and resumed is the run that
never stopped, bit for bit, where its budget counts steps or images.
"""

from __future__ import annotations

import contextlib
import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from noisette.data import ImageData, load
from noisette.data.spec import NORMALISER, DataSpec
from noisette.data.stream import Stream, generator
from noisette.diffusion.objectives import Losses, StratifiedTimes
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import BUDGETS, Config, OptimConfig, TrainConfig, merge
from noisette.experiment.environment import environment
from noisette.experiment.runs import Checkpoint, Run, Shape, atomic, fresh_path
from noisette.tasks import board
from noisette.tasks.generate import draw, labels_for, tile
from noisette.tasks.measure import Trial, settle
from noisette.tasks.optimisers import Optimiser

BINS = 20  # of t, for the loss by timestep
HELD_OUT = 256  # images in a validation loss
PREVIEWS, PREVIEW_STEPS = 16, 12  # a look at the model must not cost much of its training time
SAFE_EVERY = 120.0  # seconds between checkpoints, at most


class Interrupted(Exception):
    """Training was asked to stop: the checkpoint is written. `signal` is the signal's number."""

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


# --- starting a run -----------------------------------------------------------------------------------------------


def shape_of(data: ImageData) -> Shape:
    _, height, width, channels = data.x.shape
    return Shape(channels, height, width, data.classes if data.labels is not None else ())


def start(
    source: str,
    settings: Mapping[str, Any],
    recipe: str | None = None,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Run, ImageData]:
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
    data = load(DataSpec(**build.data_settings(source, recipe, settings).model_dump()), progress)
    shape = shape_of(data)
    config = build.resolve(shape, recipe, merge(settings, {"data.source": source}))
    build.check(config, shape)
    if config.train.tensorboard:
        board.need()
    path = Path(out) if out else fresh_path(source)
    info = {
        **data.info,
        "fingerprint": data.fingerprint,
        "shape": list(data.x.shape[1:]),
        "train": len(data.train),
        "held_out": len(data.held_out),
        "classes": list(shape.classes),
        "normaliser": dict(NORMALISER),
    }
    return Run.create(path, config, info, {**environment(), "state": "new"}), data


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
    if len(more) > 1:
        raise UserError(f"give one budget, not {' and '.join(more)}")
    if not run.finished:
        raise UserError(f"{run.path}: not finished yet: resume it as it is first, then extend it")
    ((kind, amount),) = more.items()
    if amount <= 0:
        raise UserError(f"{kind} must be more than 0, got {amount:g}")
    done = run.checkpoint().state()
    total = amount + {"minutes": done["seconds"] / 60, "steps": done["step"], "images": done["images"]}[kind]
    history = [*run.meta.get("history", []), {"extended_at_step": done["step"], kind: amount}]
    run.update_meta(state="extended", history=history)
    return run.reconfigured(run.config.changed({f"train.{kind}": total}))


# --- one run ------------------------------------------------------------------------------------------------------


def used(train: TrainConfig, step: int, images: int, seconds: float) -> float:
    """The share of the budget that is used up, in [0, 1]."""
    done = {"minutes": seconds / 60, "steps": step, "images": images}
    return min(1.0, next(done[name] / total for name in BUDGETS if (total := getattr(train, name)) is not None))


def rate_curve(optim: OptimConfig, progress: float) -> float:
    """The learning rate at this share of the budget as a share of the full one: a linear rise, then the decay."""
    warm = min(1.0, (progress + 1e-3) / optim.warmup) if optim.warmup else 1.0
    decay = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}[optim.decay]
    return warm * max(decay, 1e-3)


@dataclass
class Window:
    """Sums since the last line of metrics; saved with a checkpoint, so that no line depends on interruptions."""

    loss: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    norm: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    steps: int = 0
    by_t: Tensor = field(default_factory=lambda: torch.zeros(2, BINS, dtype=torch.float64))
    busy: float = 0.0  # seconds in training steps

    def add(self, loss: Tensor, norm: Tensor, by_t: Tensor) -> None:
        self.loss += loss
        self.norm += norm
        self.by_t += by_t
        self.steps += 1

    def state(self) -> dict[str, Any]:
        return {"loss": self.loss, "norm": self.norm, "steps": self.steps, "by_t": self.by_t, "busy": self.busy}


def by_time(losses: Losses) -> Tensor:
    """(2, BINS) float64: sums and counts of the unweighted losses in equal bins of t."""
    where = (losses.t * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    simple = losses.simple.detach().double().cpu()
    sums = torch.zeros(BINS, dtype=torch.float64).index_add_(0, where, simple)
    return torch.stack([sums, torch.bincount(where, minlength=BINS).double()])


def bin_means(by_t: Tensor) -> list[float | None]:
    return [round(float(s / n), 6) if n else None for s, n in by_t.T]


class Trainer:
    """The state of a training run and the arithmetic of one step; knows no files."""

    def __init__(self, config: Config, shape: Shape, data: ImageData):
        self.config, self.shape, self.data = config, shape, data
        self.device = build.device(config.train.device)
        self.model = build.denoiser(config, shape).to(self.device)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.objective, self.times = build.objective(config), build.times(config)
        self.optimiser = Optimiser(self.model.backbone, config.optim)
        self.stream = Stream(data, config.train.batch, config.train.seed, flip=config.data.flip, device=self.device)
        self.conditional = config.net.conditional and bool(shape.classes)
        self.step, self.images, self.seconds = 0, 0, 0.0
        self.curve, self.window = 0.0, Window()

    # --- state ---

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "optimiser": self.optimiser.state_dict(),
            "times": self.times.state_dict(),
            "window": self.window.state(),
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Continues from a checkpoint. Raises UserError when it is damaged or does not fit."""
        checkpoint.verify("model.safetensors", "ema.safetensors", "train_state.pt")
        try:
            self.model.backbone.load_state_dict(checkpoint.weights("raw"))
            self.ema.backbone.load_state_dict(checkpoint.weights("ema"))
            state = checkpoint.state()
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError):
            raise UserError(f"{checkpoint.path}: does not fit the settings in config.toml: restore that file") from None
        self.step, self.images, self.seconds = state["step"], state["images"], state["seconds"]
        self.window = Window(**state["window"])
        self.times.load_state_dict(state["times"])

    # --- one step ---

    def advance(self, progress: float) -> float:
        """One optimiser step at this share of the budget; the mean weighted loss. Raises FloatingPointError."""
        begun = time.perf_counter()
        train, optim = self.config.train, self.config.optim
        batch = self.stream.batch(self.step)
        n = len(batch.x)
        t, share = self.times.draw(n, self.model.schedule, self._generator("t"))
        noise = torch.randn(batch.x.shape, generator=self._generator("noise")).to(self.device)
        labels = self._labels(batch.labels, n)

        self.model.train()
        self.model.zero_grad(set_to_none=True)
        total, by_t = torch.zeros((), dtype=torch.float64), torch.zeros(2, BINS, dtype=torch.float64)
        size = train.micro_batch or n
        # Dropout draws from the global generators: forked and seeded by the step, it is as repeatable as the rest.
        with torch.random.fork_rng(enabled=self.config.net.dropout > 0):
            if self.config.net.dropout > 0:
                torch.manual_seed(self._generator("dropout").initial_seed())
            for first in range(0, n, size):
                part = slice(first, first + size)
                told = None if labels is None else labels[part]
                losses = self.objective(self.model, batch.x[part], t[part], noise[part], told)
                loss = (losses.total * share[part].to(losses.total)).sum() / n
                loss.backward()
                total += loss.detach().double().cpu()
                by_t += by_time(losses)
                self.times.update(t[part], losses.simple)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), optim.grad_clip).detach().double().cpu()
        for name, value in (("loss", total), ("gradient", norm)):
            if not math.isfinite(value):  # before the update, so that no checkpoint holds it
                rows = batch.index.tolist()
                listed = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
                raise FloatingPointError(f"the {name} of step {self.step} is {value:g} (batch: data rows {listed})")
        self.curve = rate_curve(optim, progress)
        self.optimiser.step(self.curve)
        self._average()
        self.step += 1
        self.images += n
        self.window.add(total, norm, by_t)
        self.window.busy += time.perf_counter() - begun
        return float(total)

    def _generator(self, purpose: str) -> torch.Generator:
        return generator(self.config.train.seed, self.step, purpose=purpose)

    def _labels(self, labels: Tensor | None, n: int) -> Tensor | None:
        """The batch's labels, some of them replaced by the null label so that the net also learns to do without."""
        if not self.conditional or labels is None:
            return None
        dropped = torch.rand(n, generator=self._generator("labels")) < self.config.train.label_dropout
        return labels.masked_fill(dropped.to(labels.device), len(self.shape.classes))

    @torch.no_grad()
    def _average(self) -> None:
        """EMA of the weights; its decay warms up, so that the first noisy steps are forgotten."""
        decay = min(self.config.optim.ema, (1 + self.step) / (10 + self.step))
        averaged, weights = list(self.ema.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(averaged, weights, 1 - decay)

    # --- looking at it ---

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Mean unweighted loss of the EMA weights on held-out images, always with the same t and noise."""
        rows = self.data.held_out
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), HELD_OUT)).astype(int)] if len(rows) else rows
        if not len(rows):
            return {}
        seed = self.config.train.seed
        t, _ = StratifiedTimes().draw(len(rows), self.model.schedule, generator(seed, 0, purpose="validation-t"))
        batch = self.stream.take(rows)
        noise = torch.randn(batch.x.shape, generator=generator(seed, 0, purpose="validation-noise")).to(self.device)
        labels = batch.labels if self.conditional else None
        by_t = torch.zeros(2, BINS, dtype=torch.float64)
        size = self.config.train.micro_batch or len(rows)
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            told = None if labels is None else labels[part]
            by_t += by_time(self.objective(self.ema, batch.x[part], t[part], noise[part], told))
        return {"val_loss": round(float(by_t[0].sum() / by_t[1].sum()), 6), "val_loss_t": bin_means(by_t)}

    def row(self) -> dict[str, Any]:
        """The line of metrics for the steps since the last one, which it closes.

        loss is the unweighted distance, as in a validation; objective is what was minimised, with its weights.
        """
        window, self.window = self.window, Window()
        return {
            **self.counters(),
            "loss": float(window.by_t[0].sum() / window.by_t[1].sum()),
            "objective": float(window.loss) / window.steps,
            "grad_norm": float(window.norm) / window.steps,
            "lr": self.config.optim.lr * self.curve,
            "images_per_second": round(window.steps * self.config.train.batch / max(window.busy, 1e-9), 1),
            "loss_t": bin_means(window.by_t),
            "count_t": [int(n) for n in window.by_t[1]],
        }

    def counters(self) -> dict[str, Any]:
        return {"step": self.step, "images": self.images, "seconds": round(self.seconds, 3)}


def train(run: Run, data: ImageData | None = None, stopped: Callable[[], int] = lambda: 0) -> Iterator[TrainStep]:
    """Trains a new, interrupted or extended run to the end of its budget, yielding after every step.

    Args:
        run: from `start`, Run.open or `extend`.
        data: the run's data, if it is at hand; loaded otherwise.
        stopped: asked after every step; a signal number instead of 0 ends the run with a checkpoint.

    Raises:
        UserError: the data changed since the run began, a checkpoint is damaged, or the loss is not finite.
        Interrupted: `stopped` said so.
    """
    begun = time.perf_counter()
    data = load(build.data_spec(run.config)) if data is None else data
    if data.fingerprint != run.data["fingerprint"]:
        raise UserError(
            f"{run.config.data.source}: these are not the images that {run.path} was trained on: restore them"
        )
    run, trainer = _prepare(run, data)
    run.rewind(trainer.step)
    run.update_meta(state="training")
    loop = _Loop(run, trainer, begun - trainer.seconds, run.config.train)
    if trainer.step == 0:
        loop.preview()
    last_saved = time.perf_counter()
    while (before := loop.progress()) < 1:
        try:
            loss = trainer.advance(before)
        except FloatingPointError as error:
            run.update_meta(state="failed")
            good = [checkpoint.step for checkpoint in run.checkpoints()]
            kept = f"the last good checkpoint is step {good[-1]}" if good else "there is no checkpoint yet"
            raise UserError(
                f"{run.path}: {error}; {kept}; try a lower --optim.lr (now {run.config.optim.lr:g}) or --precision fp32"
            ) from None
        after = loop.progress()
        speed = trainer.window.steps * run.config.train.batch / max(trainer.window.busy, 1e-9)
        ended = after >= 1
        if ended or trainer.step % run.config.train.log_every == 0:
            loop.log(trainer.row())
        if ended or _due(run.config.train.checks, before, after):
            loop.check()
        if ended or _due(run.config.train.previews, before, after):
            loop.preview()
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


def _prepare(run: Run, data: ImageData) -> tuple[Run, Trainer]:
    """The trainer at the newest checkpoint, and the run with precision and micro-batch settled."""
    config = run.config
    if config.train.precision == "auto" or config.train.micro_batch is None:
        model = build.denoiser(config, run.shape).to(build.device(config.train.device))
        conditional = config.net.conditional and bool(run.shape.classes)
        config, found = settle(config, Trial(model, build.objective(config), run.shape, conditional))
        run = run.reconfigured(config)
        run.update_meta(**found)
    trainer = Trainer(config, run.shape, data)
    if run.checkpoints():
        trainer.load(run.checkpoint())
    parameters = sum(p.numel() for p in trainer.model.parameters())
    run.update_meta(parameters=parameters, precision=config.train.precision, device=str(trainer.device))
    return run, trainer


@dataclass
class _Loop:
    """What surrounds the steps: the clock and the run folder."""

    run: Run
    trainer: Trainer
    begun: float
    train: TrainConfig

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

    def check(self) -> None:
        found = self.trainer.validate()
        if found:
            self.log({**self.trainer.counters(), **found})

    def preview(self) -> None:
        """A sheet of samples from the EMA weights, always from the same noise."""
        if not self.train.previews:
            return
        run = self.run
        seeds = list(range(PREVIEWS))
        steps = min(PREVIEW_STEPS, self.trainer.model.schedule.steps or PREVIEW_STEPS)
        settings = run.config.sample.model_copy(update={"sampler": "dpmpp_2m", "steps": steps})
        labels = labels_for(run, seeds, None)
        x, _ = draw(self.trainer.ema, settings, run.shape.x, seeds, labels, len(run.shape.classes), chunk=PREVIEWS)
        sheet = tile(x)
        with atomic(run.preview_path(self.trainer.step)) as file:
            Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(file, format="PNG")

    def save(self) -> None:
        self.trainer.seconds = time.perf_counter() - self.begun
        model, ema = self.trainer.model.backbone.state_dict(), self.trainer.ema.backbone.state_dict()
        self.run.save_checkpoint(self.trainer.step, model, ema, self.trainer.state())

    def summary(self) -> dict[str, Any]:
        trainer = self.trainer
        speeds = [row["images_per_second"] for row in self.run.metrics() if "images_per_second" in row]
        return {
            "seconds": round(trainer.seconds, 1),
            "steps": trainer.step,
            "images": trainer.images,
            "images_per_second": round(float(np.median(speeds)), 1) if speeds else None,
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

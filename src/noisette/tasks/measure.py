"""What is left open in a run's settings, decided by a short measured trial on this machine when the run starts.

Micro-batch, precision, memory layout, number of threads, and whether to compile. What a trial found is kept for runs to
come with the same net on the same machine, unless the machine was too restless for the figures to be trusted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from noisette.experiment import build
from noisette.experiment.config import Config, TrainConfig
from noisette.experiment.runs import Shape
from noisette.tasks import compiling, machine
from noisette.tasks.optimisers import Optimiser
from noisette.tasks.race import RESTLESS, Race, race
from noisette.tasks.worker import Worker

MEMORY_SHARE = 0.5  # of the free memory, for activations: the rest is for weights, optimiser and everybody else
PATIENCE, SHARE = 20.0, 0.05  # seconds, and share of a budget in minutes, that a trial takes at most: the smaller
PRECISIONS, LAYOUTS = ("fp32", "bf16"), ("channels_first", "channels_last")


def ways(train: TrainConfig) -> list[str]:
    """What may still be chosen, as "bf16 channels_first": the simplest first, and each precision early on."""
    precisions = PRECISIONS if train.precision == "auto" else (train.precision,)
    layouts = LAYOUTS if train.layout == "auto" else (train.layout,)
    return [f"{precision} {layout}" for layout in layouts for precision in precisions]


def _choice(way: str) -> dict[str, str]:
    return dict(zip(("precision", "layout"), way.split(), strict=True))


class Figures(BaseModel):
    """What a trial found.

    seconds: of forward and backward with `batch` images, by way; forward: of a forward pass alone with as many, in the
    chosen way; update: of an optimiser step; memory_a_sample: bytes that one more image in a batch keeps until the
    backward pass, in the chosen way and (memory_before) in the first one, which decides on the micro-batch; spread: see
    Race.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    chosen: str
    micro_batch: int = Field(ge=1)
    batch: int = Field(ge=1)
    seconds: dict[str, float]
    spread: float
    forward: float = Field(gt=0)
    update: float = Field(ge=0)
    memory_a_sample: int = Field(ge=0)
    memory_before: int = Field(ge=0)
    compiled: compiling.Figures | None = None

    @property
    def an_image(self) -> float:
        """Seconds of forward and backward in the chosen way."""
        return self.seconds[self.chosen] / self.batch


@dataclass(frozen=True)
class Settled:
    """Settings with nothing left open; an_image, forward, update: seconds of both passes for an image, of a forward
    pass for an image, of an optimiser step; memory_a_sample (bytes); found: what was measured and decided, and why,
    for meta.json."""

    config: Config
    an_image: float
    forward: float
    update: float
    memory_a_sample: int
    found: dict[str, Any]


class Trial:
    """Training steps on made-up data with a model of its own, which is not kept and is made when it is needed."""

    def __init__(self, config: Config, shape: Shape):
        self.config, self.shape, self.conditional = config, shape, build.conditional(config, shape)
        self.device = build.device(config.train.device)
        self.objective = build.objective(config, shape)
        self._workers: dict[str, Worker] = {}

    @cached_property
    def model(self) -> Any:
        return build.denoiser(self.config, self.shape).to(self.device).train()

    def worker(self, way: str, compile: str = "off") -> Worker:
        if (name := f"{way} {compile}") not in self._workers:
            train = self.config.train.model_copy(update={**_choice(way), "compile": compile})
            self._workers[name] = Worker(self.model, train)
        return self._workers[name]

    def _loss(self, worker: Worker, batch: int) -> Tensor:
        x = torch.zeros(batch, *self.shape.x, device=self.device)
        labels = torch.zeros(batch, dtype=torch.long, device=self.device) if self.conditional else None
        t = self.model.schedule.snap(torch.full((batch,), 0.5, dtype=torch.float64))
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):  # dropout's
            loss: Tensor = self.objective(worker.denoiser, x, t, torch.ones_like(x), labels).total.mean()
        return loss

    def memory_a_sample(self, way: str) -> int:
        """Bytes that one more sample in a batch keeps alive until the backward pass."""
        worker = self.worker(way)
        return activations(lambda batch: self._loss(worker, batch))

    def seconds(self, way: str, batch: int, compile: str = "off") -> float:
        """Wall-clock of one forward and backward pass."""
        worker = self.worker(way, compile)
        self._wait()
        begun = time.perf_counter()
        worker.begin()
        worker.backward(self._loss(worker, batch))
        self._wait()
        return time.perf_counter() - begun

    @torch.no_grad()
    def forward(self, way: str, batch: int) -> float:
        """Wall-clock of one forward pass alone."""
        worker = self.worker(way)
        self._loss(worker, batch)
        self._wait()
        begun = time.perf_counter()
        self._loss(worker, batch)
        self._wait()
        return time.perf_counter() - begun

    def update(self, way: str) -> float:
        """Wall-clock of what follows the passes: the optimiser, the worker's new weights, the average."""
        worker = self.worker(way)
        worker.begin()
        worker.backward(self._loss(worker, 1))
        optimiser = Optimiser(self.model.backbone, self.config.optim)
        weights = list(self.model.parameters())
        averaged = [weight.detach().clone() for weight in weights]
        begun = 0.0
        for _ in range(2):  # the first makes the optimiser's state
            self._wait()
            begun = time.perf_counter()
            torch.nn.utils.clip_grad_norm_(weights, self.config.optim.grad_clip)
            optimiser.step(0.0)
            worker.refresh()
            with torch.no_grad():
                torch._foreach_lerp_(averaged, weights, 0.0)
        self._wait()
        return time.perf_counter() - begun

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def activations(work: Callable[[int], object]) -> int:
    """Bytes that one more sample keeps alive for a backward pass, by work on so many samples that autograd records."""

    def kept(batch: int) -> int:
        storages: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            work(batch)
        return sum(storages.values())

    return max(kept(4) - kept(2), 0) // 2


def micro_batch(memory_a_sample: int, batch: int, free: int) -> int:
    """The largest batch / k whose activations fit into `free` bytes, at least 1."""
    affordable = max(int(free * MEMORY_SHARE) // max(memory_a_sample, 1), 1)
    parts = -(-batch // affordable)
    return -(-batch // parts)


def settle(
    config: Config,
    trial: Trial,
    patient: bool = True,
    choose_threads: bool = True,
    stopped: Callable[[], int] = lambda: 0,
    free: Callable[[torch.device], int] = machine.free_memory,
    others: Callable[[], float] = machine.watched,
) -> Settled:
    """The settings with what was left open decided by measurement, or by what was measured here before.

    Where others keep cores busy, torch is left with the number of threads that was fastest beside them.

    Args:
        trial: of the same settings.
        patient: may also try compiling, which takes a minute or more, where the budget could repay it.
        choose_threads: may set the number of torch's threads; it changes how sums round, and so every last digit.
        stopped: whether somebody waits for the end, who should not have to wait for a compiler.
        free: bytes of memory that a device has to spare.
        others: how many of our cores other processes keep busy.
    """
    begun = time.perf_counter()
    possible = ways(config.train)
    # A resumed run has nothing left to choose, but what it once chose among is known under all ways.
    for among in (ways(TrainConfig()), possible):
        place = machine.place("train", trial.device, _about(config, trial, among))  # with the threads before any choice
        cached = _recalled(place)
        if cached and cached.chosen in possible:
            break
    before = cached.memory_before if cached else trial.memory_a_sample(possible[0])
    micro = config.train.micro_batch or micro_batch(before, config.train.batch, free(trial.device))
    if cached and (cached.micro_batch != micro or cached.chosen not in possible):
        cached = None
    first = cached.chosen if cached else possible[0]
    patience = min(PATIENCE, SHARE * 60 * (config.train.minutes or math.inf))
    threads = _threads(trial, first, micro, others, patience) if choose_threads else None
    shared = threads is not None
    figures, doubt = (cached, "") if cached else _measured(trial, possible, micro, before, patience)
    doubt = "other processes kept cores busy" if shared else doubt
    an_image = threads.seconds[threads.best] / threads.batch if threads and cached else figures.an_image
    forward = figures.forward / figures.batch * an_image / figures.an_image  # never compiled: looks are few
    compiled = compiling.decide(
        config.train.compile,
        trial.device.type,
        budget_seconds(config.train, an_image * config.train.batch + figures.update),
        compiling.TRAINING,
        figures.compiled,
        (lambda: _compiled(trial, figures)) if patient and not stopped() else None,
    )
    if compiled.on and compiled.figures:
        an_image /= compiled.figures.gain
    certain = compiled.figures if compiled.figures and compiled.figures.certain else None
    new = figures.model_copy(update={"compiled": certain})
    kept = new == cached or (not doubt and machine.remember(place, new.model_dump()))
    told = {"chosen": figures.chosen, "batch": figures.batch, "seconds": figures.seconds, "spread": figures.spread}
    told |= {"cached": cached is not None, "kept": kept, "took": round(time.perf_counter() - begun, 2)}
    found = {
        "trial": {**told, "doubt": doubt} if doubt and not kept else told,
        "compile": compiled.told(),
        "memory_a_sample": figures.memory_a_sample,
        "threads": torch.get_num_threads(),
        **({"threads_trial": threads.seconds} if threads else {}),
    }
    chosen = {**_choice(figures.chosen), "micro_batch": micro, "compile": "on" if compiled.on else "off"}
    return Settled(config.changed({"train": chosen}), an_image, forward, figures.update, figures.memory_a_sample, found)


def budget_seconds(train: TrainConfig, step: float) -> float:
    """How long the whole budget takes where a step takes `step` seconds."""
    if train.minutes is not None:
        return train.minutes * 60
    return step * (train.steps if train.steps is not None else -(-(train.images or 0) // train.batch))


def _about(config: Config, trial: Trial, among: list[str]) -> Any:
    """All that the figures depend on, the machine apart."""
    sections = config.model_dump(mode="json", include={"net", "objective", "schedule", "optim"})
    return [sections, trial.shape.x, len(trial.shape.classes), config.train.batch, among]


def _recalled(place: Path | None) -> Figures | None:
    try:
        found = Figures.model_validate(machine.recall(place))
    except ValidationError:
        return None
    whole = found.seconds and min(found.seconds.values()) > 0 and found.chosen in found.seconds
    return found if whole else None


def _threads(trial: Trial, way: str, micro: int, others: Callable[[], float], patience: float) -> Race | None:
    """Sets the number of torch's threads by a race, where it is free to choose and others are busy."""
    most = torch.get_num_threads()
    if trial.device.type != "cpu" or most == 1 or not machine.threads_are_free() or not machine.shared(others()):
        return None

    def seconds(count: str, batch: int) -> float:
        torch.set_num_threads(int(count))
        return trial.seconds(way, batch)

    run = race([str(count) for count in sorted({most, max(1, most // 2), 1}, reverse=True)], seconds, micro, patience)
    torch.set_num_threads(int(run.best))
    return run


def _measured(trial: Trial, possible: list[str], micro: int, before: int, patience: float) -> tuple[Figures, str]:
    """(what a trial finds, why it should not be kept, if so)."""

    def seconds(way: str, batch: int) -> float:
        try:
            return trial.seconds(way, batch)
        except (RuntimeError, TypeError):  # how torch says that a device has no such arithmetic
            if way == possible[0]:
                raise
            return math.inf

    watch = machine.Others()
    run = race(possible, seconds, micro, patience)
    doubt = ""
    if machine.shared(busy := watch.cores()):
        doubt = f"other processes kept {busy:.1f} cores busy"
    elif run.hurried:
        doubt = "there was no time for all rounds"
    elif run.spread > RESTLESS:
        doubt = f"rounds disagreed by {run.spread:.1f} times"
    figures = Figures(
        chosen=run.best,
        micro_batch=micro,
        batch=run.batch,
        seconds={way: round(taken, 6) for way, taken in run.seconds.items() if math.isfinite(taken)},
        spread=round(run.spread, 2),
        forward=trial.forward(run.best, run.batch),
        update=trial.update(run.best),
        memory_a_sample=before if run.best == possible[0] else trial.memory_a_sample(run.best),
        memory_before=before,
    )
    return figures, doubt


def _compiled(trial: Trial, figures: Figures) -> compiling.Figures:
    """What compiling would cost and gain a training step, by the passes of the trial's batch."""
    way, batch = figures.chosen, figures.batch
    return compiling.measured(lambda: trial.seconds(way, batch, "on"), lambda: trial.seconds(way, batch), PATIENCE)

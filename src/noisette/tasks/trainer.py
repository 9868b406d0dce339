"""The state of a training run and the arithmetic of one step."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisette.data.medium import Data
from noisette.data.stream import generator
from noisette.diffusion.denoisers import NetDenoiser
from noisette.diffusion.objectives import StratifiedTimes
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import Config, OptimConfig
from noisette.experiment.runs import Checkpoint, Shape
from noisette.tasks.optimisers import Optimiser
from noisette.tasks.worker import Worker

BINS = 20  # of t, for the loss by timestep
HELD_OUT = 256  # images in a validation loss


def rate_curve(optim: OptimConfig, progress: float) -> float:
    """The learning rate at this share of the learning as a share of the full one: a linear rise, then the decay."""
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


def by_time(t: Tensor, simple: Tensor) -> Tensor:
    """(2, BINS) float64: sums and counts of unweighted losses in equal bins of t, both (N,) float64 on the CPU."""
    where = (t * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    sums = torch.zeros(BINS, dtype=torch.float64).index_add_(0, where, simple)
    return torch.stack([sums, torch.bincount(where, minlength=BINS).double()])


def bin_means(by_t: Tensor) -> list[float | None]:
    return [round(float(s / n), 6) if n else None for s, n in by_t.T]


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """EMA of the weights after `step` steps; its decay warms up, so that the first noisy steps are forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)


def must_be_finite(what: str, value: float, step: int, index: Tensor) -> None:
    """Raises FloatingPointError where it is not, with the rows of the data (B,) that were the step's batch."""
    if not math.isfinite(value):
        rows = index.tolist()
        listed = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        raise FloatingPointError(f"the {what} of step {step} is {value:g} (batch: data rows {listed})")


class Trainer:
    """The state of a training run and the arithmetic of one step; knows no files."""

    def __init__(self, config: Config, shape: Shape, data: Data):
        self.config, self.shape, self.data = config, shape, data
        self.device = build.device(config.train.device)
        self.model = build.denoiser(config, shape).to(self.device)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.worker = Worker(self.model, config.train)
        self.objective, self.times = build.objective(config, shape), build.times(config)
        self.optimiser = Optimiser(self.model.backbone, config.optim)
        self.stream = build.stream(config, data, self.device)
        self.conditional = build.conditional(config, shape)
        self.step, self.images, self.seconds = 0, 0, 0.0
        self.lead = 0.0  # of the seconds, those that went by before there was a step
        self.curve, self.window = 0.0, Window()

    # --- state ---

    def facts(self) -> dict[str, Any]:
        """What there is to say of the net, for meta.json."""
        return {"parameters": sum(p.numel() for p in self.model.parameters())}

    def weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(the weights, their average), by name, for a checkpoint."""
        return self.model.backbone.state_dict(), self.ema.backbone.state_dict()

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "lead": self.lead,
            "optimiser": self.optimiser.state_dict(),
            "times": self.times.state_dict(),
            "window": self.window.state(),
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Continues from a checkpoint. Raises UserError when it is damaged or does not fit."""
        try:
            self.model.backbone.load_state_dict(checkpoint.weights("raw"))
            self.ema.backbone.load_state_dict(checkpoint.weights("ema"))
            state = checkpoint.state()
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError):
            raise UserError(f"{checkpoint.path}: does not fit the settings in config.toml: restore that file") from None
        self.step, self.images, self.seconds = state["step"], state["images"], state["seconds"]
        self.lead = state.get("lead", 0.0)
        self.window = Window(**state["window"])
        self.times.load_state_dict(state["times"])
        self.worker.refresh()

    # --- one step ---

    def advance(self, progress: float) -> float:
        """One optimiser step at this share of the learning; the mean weighted loss. Raises FloatingPointError."""
        begun = time.perf_counter()
        train, optim = self.config.train, self.config.optim
        batch = self.stream.batch(self.step)
        n = len(batch.x)
        t, share = self.times.draw(n, self.model.schedule, self._generator("t"))
        drawn_here = generator(train.seed, self.step, purpose="noise", device=self.device)
        noise = torch.randn(batch.x.shape, generator=drawn_here, device=self.device)
        labels = self._labels(batch.labels, n)

        self.worker.begin()
        weighted, simple = [], []
        size = train.micro_batch or n
        # Dropout draws from the global generators: forked and seeded by the step, it is as repeatable as the rest.
        here = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(here, enabled=self.config.net.dropout > 0):
            if self.config.net.dropout > 0:
                torch.manual_seed(self._generator("dropout").initial_seed())
            for first in range(0, n, size):
                part = slice(first, first + size)
                told = None if labels is None else labels[part]
                losses = self.objective(self.worker.denoiser, batch.x[part], t[part], noise[part], told)
                loss = (losses.total * share[part].to(losses.total, non_blocking=losses.total.is_cuda)).sum() / n
                self.worker.backward(loss)
                weighted.append(loss.detach())
                simple.append(losses.simple.detach())
                self.times.update(t[part], losses.simple)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), optim.grad_clip).detach()
        # Together, because each copy waits for all that a GPU was given.
        numbers = torch.cat([norm.reshape(1), torch.stack(weighted), *simple]).cpu().double()
        norm, total, each = numbers[0], numbers[1 : 1 + len(weighted)].sum(), numbers[1 + len(weighted) :]
        for name, value in (("loss", total), ("gradient", norm)):  # before the update, so that no checkpoint holds it
            must_be_finite(name, float(value), self.step, batch.index)
        self.curve = rate_curve(optim, progress)
        self.optimiser.step(self.curve)
        self.worker.refresh()
        follow(self.ema, self.model, optim.ema, self.step)
        self.step += 1
        self.images += n
        self.window.add(total, norm, by_time(t, each))
        self.window.busy += time.perf_counter() - begun
        return float(total)

    def _generator(self, purpose: str) -> torch.Generator:
        return generator(self.config.train.seed, self.step, purpose=purpose)

    def _labels(self, labels: Tensor | None, n: int) -> Tensor | None:
        """The batch's labels, some of them replaced by the null label so that the net also learns to do without."""
        if not self.conditional or labels is None:
            return None
        dropped = torch.rand(n, generator=self._generator("labels")) < self.config.train.label_dropout
        return labels.masked_fill(dropped.to(labels.device, non_blocking=labels.is_cuda), len(self.shape.classes))

    # --- looking at it ---

    @property
    def mend(self) -> str:
        """What to try where the numbers are no longer finite."""
        return f"a lower --optim.lr (now {self.config.optim.lr:g}) or --precision fp32"

    def averaged(self) -> NetDenoiser:
        """The EMA weights, in the precision and layout that the run computes in."""
        return build.computing(self.ema, self.config.train)

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
        ema = self.averaged()
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            told = None if labels is None else labels[part]
            losses = self.objective(ema, batch.x[part], t[part], noise[part], told)
            by_t += by_time(t[part], losses.simple.cpu().double())
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

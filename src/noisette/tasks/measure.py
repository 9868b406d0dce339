"""What this machine can do with a net: memory a sample, images a second, and which precision is faster."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisette.experiment import build
from noisette.experiment.config import Config
from noisette.experiment.runs import Shape

MEMORY_SHARE = 0.5  # of the free memory, for activations: the rest is for weights, optimiser and everybody else
DTYPES: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with Path("/proc/meminfo").open() as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Trial:
    """Training steps on made-up data with a model of its own, which is not kept; each call sets the precision."""

    def __init__(self, config: Config, shape: Shape):
        self.shape, self.conditional = shape, build.conditional(config, shape)
        self.device = build.device(config.train.device)
        self.model = build.denoiser(config, shape).to(self.device).train()
        self.objective = build.objective(config)

    def _loss(self, batch: int) -> Tensor:
        x = torch.zeros(batch, *self.shape.x, device=self.device)
        labels = torch.zeros(batch, dtype=torch.long, device=self.device) if self.conditional else None
        t = torch.full((batch,), 0.5, dtype=torch.float64)
        t = self.model.schedule.snap(t)
        loss: Tensor = self.objective(self.model, x, t, torch.ones_like(x), labels).total.mean()
        return loss

    def memory_a_sample(self) -> int:
        """Bytes that one more sample in a batch keeps alive until the backward pass."""

        def kept(batch: int) -> int:
            storages: dict[int, int] = {}

            def keep(tensor: Tensor) -> Tensor:
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                self._loss(batch)
            return sum(storages.values())

        return max(kept(4) - kept(2), 0) // 2

    def seconds(self, batch: int, precision: str) -> float:
        """Wall-clock of one forward and backward pass."""
        self.model.autocast = DTYPES[precision]
        self._wait()
        begun = time.perf_counter()
        self._loss(batch).backward()
        self.model.zero_grad(set_to_none=True)
        self._wait()
        return time.perf_counter() - begun

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def compare(self, batch: int, rounds: int = 3) -> dict[str, float]:
        """Median seconds a pass of each precision, measured in turn so that a drifting machine is fair to both."""
        for precision in DTYPES:
            self.seconds(batch, precision)  # the first pass compiles kernels
        times: dict[str, list[float]] = {precision: [] for precision in DTYPES}
        for _ in range(rounds):
            for precision, seen in times.items():
                seen.append(self.seconds(batch, precision))
        return {precision: statistics.median(seen) for precision, seen in times.items()}


def micro_batch(trial: Trial, batch: int, free: Callable[[torch.device], int] = free_memory) -> int:
    """The largest batch / k whose activations fit the free memory, at least 1."""
    affordable = int(free(trial.device) * MEMORY_SHARE) // max(trial.memory_a_sample(), 1)
    parts = 1
    while -(-batch // parts) > max(affordable, 1):
        parts += 1
    return -(-batch // parts)


def settle(config: Config, trial: Trial) -> tuple[Config, dict[str, Any]]:
    """The settings with precision and micro-batch decided by measurement where they were left open, and the figures."""
    train, changes, found = config.train, {}, {}
    if train.micro_batch is None:
        changes["train.micro_batch"] = micro_batch(trial, train.batch)
        found["memory_a_sample"] = trial.memory_a_sample()
    if train.precision == "auto":
        size = min(changes.get("train.micro_batch", train.micro_batch), 64)
        seconds = trial.compare(size)
        changes["train.precision"] = min(seconds, key=lambda precision: seconds[precision])
        found["precision_trial"] = {"batch": size, **{k: round(v, 5) for k, v in seconds.items()}}
    return (config.changed(changes) if changes else config), found

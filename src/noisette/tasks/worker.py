"""The net that computes, and the one that learns: fast weights for the passes, float32 weights for the updates."""

from __future__ import annotations

import torch

from noisette.diffusion.denoisers import NetDenoiser
from noisette.experiment import build
from noisette.experiment.config import TrainConfig


class Worker:
    """Runs forward and backward passes for a float32 denoiser, its master, in the run's precision and layout.

    An update of a bf16 weight is often smaller than the weight's last digit and would be lost, so gradients go to the
    master's weights, the optimiser changes those, and the worker gets a rounded copy ("mixed precision training",
    Micikevicius et al. 2018, sec. 3.1). In float32 and the usual layout the worker is its master.
    """

    def __init__(self, master: NetDenoiser, train: TrainConfig):
        self.master = master
        self.denoiser = build.computing(master, train, compiled=train.compile == "on")
        self._masters = list(master.parameters())
        self._weights = list(self.denoiser.parameters())
        self._apart = self.denoiser is not master

    def begin(self) -> None:
        """Forgets all gradients, and trains (with dropout) whatever mode a caller has put the nets into."""
        self.denoiser.train()
        self.master.zero_grad(set_to_none=True)

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradients of a loss of `denoiser` to those of the master's weights, in float32."""
        loss.backward()
        if not self._apart:
            return
        # Weights that the loss does not reach (of a class embedding that nobody asked for, say) have no gradient.
        reached = [(m, w) for m, w in zip(self._masters, self._weights, strict=True) if w.grad is not None]
        more = [(m.grad, w.grad) for m, w in reached if m.grad is not None]
        for master, weight in reached:
            if master.grad is None:
                master.grad = weight.grad.to(master.dtype, memory_format=torch.contiguous_format)
        if more:
            torch._foreach_add_(*map(list, zip(*more, strict=True)))
        self.denoiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def refresh(self) -> None:
        """Takes over the master's weights; to be called after each update and each load. Our nets have no buffers."""
        if self._apart:
            torch._foreach_copy_(self._weights, self._masters)

"""The optimiser of a run: AdamW, or Muon for the hidden weights with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from noisette.experiment.config import OptimConfig
from noisette.tasks.muon import Muon

NOT_HIDDEN = ("conv_in", "conv_out", "time_embedding", "time_emb_proj", "class_embedding", "input_gate")


def is_hidden(name: str, parameter: Tensor) -> bool:
    """Whether a weight maps features to features: the ones Muon is for. Input, output and embeddings are not."""
    return parameter.ndim >= 2 and not set(name.split(".")) & set(NOT_HIDDEN)


class Optimiser:
    """AdamW on all weights, or (name = "muon") Muon on hidden ones, each seen as a matrix (out, in * kernel).

    Muon (Jordan et al. 2024) makes each update orthogonal, so that no direction of a weight matrix is left behind;
    it learns far more from the same images here, see LOG.md. It takes matrices only: a convolution's weight is handed
    to it as a view that shares its memory.
    """

    def __init__(self, net: nn.Module, config: OptimConfig):
        self.config = config
        muon = config.name == "muon"
        named = dict(net.named_parameters())
        self.hidden = [p for name, p in named.items() if muon and is_hidden(name, p)]
        rest = [p for name, p in named.items() if not (muon and is_hidden(name, p))]
        self.matrices = [p.detach().flatten(1).requires_grad_() for p in self.hidden]
        self.parts: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(
                rest, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
            )
        }
        if self.matrices:
            self.parts["muon"] = Muon(self.matrices, lr=config.muon_lr, weight_decay=config.weight_decay)

    def step(self, curve: float) -> None:
        """One update with every learning rate times `curve`, in [0, 1]."""
        for matrix, weight in zip(self.matrices, self.hidden, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        for name, rate in (("adamw", self.config.lr), ("muon", self.config.muon_lr)):
            if name in self.parts:
                for group in self.parts[name].param_groups:
                    group["lr"] = rate * curve
                self.parts[name].step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises KeyError or ValueError when the state is of another kind of optimiser."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])

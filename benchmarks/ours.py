"""Noisette itself among the projects: its own net, its own Trainer.advance, its own optimiser."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import torch
from peers import Peer, T
from torch import Tensor, nn

from noisette.data import ImageData
from noisette.experiment import build
from noisette.experiment.config import Config, NetConfig, TrainConfig
from noisette.experiment.runs import Shape
from noisette.tasks.compiling import FROZEN
from noisette.tasks.trainer import Trainer

LIKE_THE_PEERS = {
    "schedule": {"name": "linear", "T": T},
    "objective": {"predicts": "eps", "space": "eps", "weight": "uniform", "times": "uniform"},
}
"""The DDPM's schedule and objective, so that losses compare."""

FAST = {"precision": "bf16", "layout": "channels_last", "compile": "off"}
"""What the trial at the start of a run settles on where bf16 is fast; here it is fixed, so that runs compare."""


class Noisette(Peer):
    """Training steps of noisette.tasks.trainer.Trainer."""

    name, package, needs = "noisette", "noisette", ()
    example = "noisette.tasks.trainer.Trainer.advance, Muon, bf16 weights"
    smallest: ClassVar[dict[str, Any]] = {"channels": 8, "multipliers": (1,), "patch": 1, "norm": "layer"}

    @staticmethod
    def build(channels: int, side: int, /, **arguments: Any) -> nn.Module:
        return build.backbone(NetConfig(conditional=False, **arguments), Shape.images(channels, side, side))

    @staticmethod
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return net(x, torch.zeros(len(x), device=x.device))

    def __init__(self, trainer: Trainer, steps: int) -> None:
        super().__init__(trainer.model.backbone, steps)
        self.trainer = trainer
        self._sampling: tuple[int, Any] = (-1, None)

    @classmethod
    def on(
        cls, data: ImageData, batch: int, steps: int, net: dict[str, Any], train: dict[str, Any] | None = None
    ) -> Self:
        """A trainer on these images; `train` replaces settings of FAST."""
        settings = {
            **LIKE_THE_PEERS,
            "net": {"conditional": False, **net},
            "train": {"batch": batch, "steps": steps, "device": "cpu", **FAST, **(train or {})},
        }
        _, height, width, channels = data.x.shape
        return cls(Trainer(Config().changed(settings), Shape.images(channels, height, width), data), steps)

    def step(self, x: Tensor) -> float:
        """x is not looked at: the trainer cuts the same batch out of the data itself, as it always does."""
        return self.trainer.advance(min(1.0, self.trainer.step / self.steps))

    @torch.no_grad()
    def eps(self, x_t: Tensor, i: Tensor, averaged: bool = False) -> Tensor:
        model = self.trainer.ema if averaged else self.trainer.model
        return model(x_t, (i.double() + 1) / T).eps

    def sampler(self, compiled: bool = False) -> Any:
        """The denoiser that the product samples with: the averaged weights as they compute."""
        train: TrainConfig = self.trainer.config.train
        model = build.computing(self.trainer.ema, train)
        if compiled:
            model = copy.deepcopy(model)
            model.backbone.compile(options=FROZEN)
        return model

    @torch.no_grad()
    def call(self, x: Tensor, i: int) -> Tensor:
        if self._sampling[0] != self.trainer.step:
            self._sampling = (self.trainer.step, self.sampler())
        return self._sampling[1](x, (i + 1) / T).x0

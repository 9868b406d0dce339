"""Adversarial training: a generator learns from a critic, and the critic from both kinds of pictures.

`Adversary` has the face of noisette.tasks.trainer.Trainer, so that a GAN trains in the same loop: the same run folder,
the same budgets, and everything random of step k (which images, z) a pure function of (seed, k).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisette.data import ImageData
from noisette.data.stream import Batch, Stream, generator
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import Config
from noisette.experiment.runs import Checkpoint, Shape
from noisette.nets.gan import Generator
from noisette.tasks.measure import PATIENCE, SHARE, Settled, activations
from noisette.tasks.race import race
from noisette.tasks.trainer import follow, must_be_finite


@dataclass(frozen=True)
class Loss:
    """What each side minimises, from logits (N,) of real pictures and of the generator's: (N,) each.

    critic(real, fake), generator(fake).
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


LOSSES = {
    # -log D(x) - log(1 - D(G(z))), and -log D(G(z)), which does not saturate: Goodfellow et al. 2014, eq. 1 and sec. 3
    "logistic": Loss(lambda real, fake: F.softplus(-real) + F.softplus(fake), lambda fake: F.softplus(-fake)),
    # Miyato et al. 2018, eq. 16 and 17
    "hinge": Loss(lambda real, fake: F.relu(1 - real) + F.relu(1 + fake), lambda fake: -fake),
}


def steepness(critic: Callable[..., Tensor], x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    """(logits of x, squared length of their gradient at x), (N,) each, to be differentiated again.

    R1 = gamma/2 times the mean of the second over real pictures (Mescheder et al. 2018, eq. 9).
    """
    x = x.detach().requires_grad_()
    logits = critic(x, cond)
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return logits, gradient.flatten(1).square().sum(1)


MEANS = ("loss", "loss_critic", "real_logit", "fake_logit", "grad_norm", "grad_norm_critic")
"""What is averaged over the steps of a line of metrics; loss and grad_norm are the generator's."""


class Duel:
    """Both nets with their optimisers, and what one step does to them."""

    def __init__(self, config: Config, shape: Shape):
        self.settings, self.conditional = config.gan, build.conditional(config, shape)
        self.device = build.device(config.train.device)
        self.nets = build.gan(config, shape).to(self.device)
        adam = partial(torch.optim.Adam, lr=config.gan.lr, betas=config.gan.betas, fused=True)
        self.optimisers = {name: adam(net.parameters()) for name, net in self.nets.named_children()}

    def update(self, batch: Batch, z: Tensor, step: int, curve: float = 1.0) -> tuple[Tensor, Tensor | None]:
        """One step of the critic, then one of the generator.

        The generator is asked for the labels of the batch, so that both kinds of pictures have the same classes. The
        penalty is taken lazily, at every r1_every-th step and that many times as strong (Karras et al. 2020, sec. 3.1).

        Args:
            z: (N, z) standard normal.
            curve: share of the learning rate, in [0, 1].

        Returns:
            MEANS of this step, float64 on the CPU, and the mean squared gradient of the critic at real pictures, where
            it was taken.

        Raises:
            FloatingPointError: a gradient is not finite; that net is left as it was.
        """
        loss, critic, settings = LOSSES[self.settings.loss], self.nets.critic, self.settings
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = settings.lr * curve
        labels = batch.labels if self.conditional else None
        drawn = self.nets.generator(z, labels)

        squares = None
        if settings.r1 and step % settings.r1_every == 0:
            real, squares = steepness(critic, batch.x, labels)
        else:
            real = critic(batch.x, labels)
        fake = critic(drawn.detach(), labels)
        apart = loss.critic(real, fake).mean()
        penalty = 0.0 if squares is None else settings.r1 / 2 * settings.r1_every * squares.mean()
        norm_critic = self._learn("critic", apart + penalty, batch, step)

        fooled = loss.generator(critic(drawn, labels)).mean()
        norm = self._learn("generator", fooled, batch, step)
        means = torch.stack([fooled, apart, real.mean(), fake.mean(), norm, norm_critic]).detach().double().cpu()
        return means, None if squares is None else squares.detach().mean().double().cpu()

    def _learn(self, name: str, loss: Tensor, batch: Batch, step: int) -> Tensor:
        """One update of a net against a loss; the norm of its gradient."""
        weights = list(self.nets.get_submodule(name).parameters())
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient  # of this net alone: the other one is only passed through
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        must_be_finite(f"{name}'s gradient", float(norm), step, batch.index)
        self.optimisers[name].step()
        return norm


def rate_curve(progress: float) -> float:
    """The learning rate at this share of the learning as a share of the full one: full for the first half, then down
    to nothing in a straight line, so that the duel comes to rest."""
    return max(min(1.0, 2 * (1 - progress)), 1e-3)


@dataclass
class Window:
    """Sums since the last line of metrics; saved with a checkpoint, so that no line depends on interruptions.

    squares: (2,) sum and count of the critic's squared gradients, which are not taken at every step.
    """

    sums: Tensor = field(default_factory=lambda: torch.zeros(len(MEANS), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    steps: int = 0
    busy: float = 0.0  # seconds in training steps

    def add(self, means: Tensor, squares: Tensor | None) -> None:
        self.sums += means
        self.steps += 1
        if squares is not None:
            self.squares += torch.stack([squares, torch.ones_like(squares)])


class Adversary:
    """The state of a GAN's training; knows no files. Its `model` holds both nets, its average the generator alone."""

    def __init__(self, config: Config, shape: Shape, data: ImageData):
        self.config, self.shape = config, shape
        self.duel = Duel(config, shape)
        self.device, self.model = self.duel.device, self.duel.nets
        self.ema: Generator = copy.deepcopy(self.model.generator).eval().requires_grad_(False)
        self.stream = Stream(data, config.train.batch, config.train.seed, flip=config.data.flip, device=self.device)
        self.step, self.images, self.seconds = 0, 0, 0.0
        self.lead = 0.0  # of the seconds, those that went by before there was a step
        self.curve, self.window = 0.0, Window()

    # --- state ---

    def facts(self) -> dict[str, Any]:
        """What there is to say of the nets, for meta.json."""
        return {"parameters": count(self.model), "parameters_generator": count(self.model.generator)}

    def weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(the weights of both nets, the average of the generator's), by name, for a checkpoint."""
        averaged = {f"{build.GENERATOR}{name}": weight for name, weight in self.ema.state_dict().items()}
        return self.model.state_dict(), averaged

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "lead": self.lead,
            "optimisers": {name: one.state_dict() for name, one in self.duel.optimisers.items()},
            "window": vars(self.window),
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Continues from a checkpoint. Raises UserError when it is damaged or does not fit."""
        try:
            self.model.load_state_dict(checkpoint.weights("raw"))
            averaged = checkpoint.weights("ema").items()
            self.ema.load_state_dict({name.removeprefix(build.GENERATOR): weight for name, weight in averaged})
            state = checkpoint.state()
            for name, one in self.duel.optimisers.items():
                one.load_state_dict(state["optimisers"][name])
        except (RuntimeError, ValueError, KeyError):
            raise UserError(f"{checkpoint.path}: does not fit the settings in config.toml: restore that file") from None
        self.step, self.images, self.seconds = state["step"], state["images"], state["seconds"]
        self.lead, self.window = state["lead"], Window(**state["window"])

    # --- one step ---

    def advance(self, progress: float) -> float:
        """One step of both nets at this share of the learning; the generator's loss. Raises FloatingPointError."""
        begun = time.perf_counter()
        self.curve = rate_curve(progress)
        batch = self.stream.batch(self.step)
        drawn_here = generator(self.config.train.seed, self.step, purpose="z", device=self.device)
        z = torch.randn(len(batch.x), self.config.gan.z, generator=drawn_here, device=self.device)
        means, squares = self.duel.update(batch, z, self.step, self.curve)
        follow(self.ema, self.model.generator, self.config.gan.ema, self.step)
        self.step += 1
        self.images += len(batch.x)
        self.window.add(means, squares)
        self.window.busy += time.perf_counter() - begun
        return float(means[0])

    # --- looking at it ---

    @property
    def mend(self) -> str:
        """What to try where the numbers are no longer finite."""
        return f"a lower --gan.lr (now {self.config.gan.lr:g}) or a larger --gan.r1 (now {self.config.gan.r1:g})"

    def averaged(self) -> Generator:
        return self.ema

    def validate(self) -> dict[str, Any]:
        """Nothing: a critic's loss on other pictures is no measure of the generator's."""
        return {}

    def row(self) -> dict[str, Any]:
        """The line of metrics for the steps since the last one, which it closes; r1 is the mean squared gradient."""
        window, self.window = self.window, Window()
        return {
            **self.counters(),
            **dict(zip(MEANS, (window.sums / window.steps).tolist(), strict=True)),
            **({"r1": float(window.squares[0] / window.squares[1])} if window.squares[1] else {}),
            "lr": self.config.gan.lr * self.curve,
            "images_per_second": round(window.steps * self.config.train.batch / max(window.busy, 1e-9), 1),
        }

    def counters(self) -> dict[str, Any]:
        return {"step": self.step, "images": self.images, "seconds": round(self.seconds, 3)}


def count(net: nn.Module) -> int:
    """How many weights a net has."""
    return sum(p.numel() for p in net.parameters())


def settle(config: Config, shape: Shape) -> Settled:
    """What a step takes here, by a short trial with nets that are not kept; a GAN leaves no setting open."""
    duel, every = Duel(config, shape), config.gan.r1_every

    def seconds(size: int, step: int | None) -> float:
        """Of one step, or (None) of drawing."""
        x = torch.zeros(size, *shape.x, device=duel.device)
        labels = torch.zeros(size, dtype=torch.int64, device=duel.device)
        begun = time.perf_counter()
        if step is None:
            with torch.no_grad():
                duel.nets.generator(x, labels if duel.conditional else None).sum().item()  # waits for a GPU
        else:
            duel.update(Batch(x, labels, torch.arange(size)), x.new_zeros(size, config.gan.z), step)
        return time.perf_counter() - begun

    def mean(way: str, size: int) -> float:
        """Seconds of a step, of which one in `every` takes the penalty."""
        return (seconds(size, 0) + (every - 1) * seconds(size, 1)) / every

    patience = min(PATIENCE, SHARE * 60 * (config.train.minutes or math.inf))
    timed = race(["fp32"], mean, config.train.batch, patience)
    seconds(timed.batch, None)
    forward = seconds(timed.batch, None) / timed.batch
    kept = activations(lambda size: seconds(size, 0))
    return Settled(config, timed.seconds["fp32"] / timed.batch, forward, 0.0, kept, {})

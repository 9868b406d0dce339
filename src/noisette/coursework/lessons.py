"""Is the training of an implementation of DDPM right? Its net is watched while train_step is called.

Ho et al. 2020, algorithm 1: t is drawn from all of 0..T-1, the net is shown x_t and told that t, its answer is compared
with the noise in x_t, and every step of the optimiser follows the gradient of its own loss alone. A loss that falls
says little of that: it also falls where the net is told a wrong t, or where one t alone is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from noisette.errors import UserError

STEPS, FIRST, LAST, FALL = 300, 5, 10, 0.6  # the loss of the last ten of so many steps is under 0.6 of the first five's
LEARNED = 0.8  # and under so much of the loss of a net that answers zero
TRIALS = 4  # calls of train_step with one answer in the net's place
SOLVED = 0.1  # of the loss of zeros, for an answer that is the noise up to what an estimate of it misses
OTHER = 0.125  # of the pictures shown may look like another t than the one told: an estimate may err, t be off by one
SPREAD = 40  # by so many calls each third of 0..T-1 has been drawn, even where a batch shares one t


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UserError(otherwise)


def check_training(process: Any, x: Tensor, T: int, add_noise: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Raises UserError, in a sentence for who wrote it, where process.train_step(x) is not algorithm 1.

    x: a few pictures, (N, C, H, W) in [-1, 1]. add_noise(x, t) -> noisy_x: what the net should be shown.
    """
    with Watch(process, x, T) as watch:
        nothing = _check_question(watch, add_noise)
        losses = _check_weights(watch)
        _check_fall(watch, losses, nothing)


class Watch:
    """Inside `with`, what the net of a process is shown and told in train_step; `answer` speaks in its place.

    The net is the outermost module with weights that is called with a tensor in the shape of x and one of len(x)
    numbers. torch's hook on all modules finds it wherever the process keeps it. Where there is none, nothing is seen.

    Attributes:
        net: the net, None until it is called.
        shown, told: what its last call was given.
        answer: shown -> what it says, with no gradient; None lets it speak.
        answered: whether `answer` was put in the place of an output of its shape in the last call.
        seen: (shown, t) of every call in a trial so far; t (N,) as whole steps.
        steps: every t so far.
        calls: of train_step.
    """

    def __init__(self, process: Any, x: Tensor, T: int):
        self.process, self.x, self.T = process, x, T
        self.net: nn.Module | None = None
        self.shown: Tensor | None = None
        self.told: Tensor | None = None
        self.answer: Callable[[Tensor], Tensor] | None = None
        self.answered = False
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.steps: list[int] = []
        self.calls = 0

    def __enter__(self) -> Watch:
        self._hook = register_module_forward_hook(self._called, with_kwargs=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.remove()

    def step(self) -> float:
        """The loss of one train_step. Raises UserError where it is not a finite float."""
        self.shown = self.told = None
        self.answered = False
        loss = self.process.train_step(self.x)
        expect(isinstance(loss, float), f"Expected loss to be a float, got a {type(loss).__name__}: {loss}")
        expect(math.isfinite(loss), f"the loss of training step {self.calls} is {loss}")
        self.calls += 1
        t = self.step_told()
        if self.shown is not None and t is not None:
            if self.answer is not None:
                self.seen.append((self.shown, t))
            self.steps += t.tolist()
        return loss

    def trial(self, answer: Callable[[Tensor], Tensor]) -> float:
        """The mean loss of TRIALS steps with that answer; their gradient is zero, so that nothing is learned."""
        self.answer = answer
        losses = [self.step() for _ in range(TRIALS)]
        self.answer = None
        return sum(losses) / TRIALS

    def step_told(self) -> Tensor | None:
        """The t of the last call, (N,) int64; None where the net hears of it in another way.

        Some count from 1 to T, and some tell the net t/T: both are seen as the step they mean, or the one beside it.
        """
        if self.told is None:
            return None
        t = self.told.flatten()
        if self.told.is_floating_point() and float(t.max()) <= 1 and bool((t % 1 > 0).any()):
            t = t * self.T
        t = t.round()
        return t.long().clamp(max=self.T - 1) if bool(((t >= 0) & (t <= self.T)).all()) else None

    def _called(self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
        given = [value for value in (*args, *named.values()) if isinstance(value, Tensor)]
        shown = next((value for value in given if value.shape == self.x.shape), None)
        told = next((value for value in given if value.numel() == len(self.x)), None)
        if shown is None or told is None or module is self.process or next(module.parameters(), None) is None:
            return None
        self.net = module  # the outermost is the last to end
        self.shown, self.told = (value.detach().double().cpu() for value in (shown, told))
        self.answered = self.answer is not None and getattr(output, "shape", None) == self.x.shape
        if self.answer is None or not self.answered:
            return None
        return output * 0 + self.answer(self.shown).to(output)


def levels(x: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(a, b, noise) of noisy = a x + b noise for every picture, estimated from known x and noise ~ N(0, I)."""
    x, noisy = x.double().flatten(1), noisy.double().flatten(1)
    a = (noisy * x).sum(1) / x.square().sum(1)
    rest = noisy - a[:, None] * x
    b = rest.square().mean(1).sqrt()
    return a, b, rest / b.clamp(min=1e-12)[:, None]


def _check_question(watch: Watch, add_noise: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The net is shown what its t makes of x, and asked for the noise in it. The loss of zeros; inf if unknown."""

    def noise(shown: Tensor) -> Tensor:
        _, _, found = levels(watch.x, shown)
        return found.reshape(shown.shape)

    nothing = watch.trial(torch.zeros_like)
    _check_shown(watch, add_noise)
    if not watch.answered:
        return math.inf
    known = watch.trial(noise)
    if known >= SOLVED * nothing:
        told = f"an answer that is exactly the noise gets a loss of {known:.3f}, and zeros get {nothing:.3f}"
        expect(
            watch.trial(lambda shown: watch.x) >= SOLVED * nothing,
            f"train_step compares the model's answer with the clean picture, not with the noise: {told}",
        )
        raise UserError(
            f"train_step does not compare the model's answer with the noise in the picture it was shown: {told}; is "
            "the loss taken between the model's output and the very noise that was added?"
        )
    return nothing


def _check_shown(watch: Watch, add_noise: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The picture shown is noised as add_noise does it at the t that is told."""
    if not watch.seen:
        return
    shown, t = (torch.cat(parts) for parts in zip(*watch.seen, strict=True))
    x = watch.x.repeat(len(watch.seen), 1, 1, 1)
    a, b, _ = levels(x, shown)
    expected_a, expected_b, _ = levels(x, add_noise(x, t))
    apart = (a - expected_a).abs()
    wrong = (apart > 0.25) | (b > 1.25 * expected_b) | (expected_b > 1.25 * b)
    k = int((apart + (b - expected_b).abs()).argmax())
    expect(
        float(wrong.double().mean()) <= OTHER,
        f"train_step shows the model a picture of another t than it tells it: told t={int(t[k])}, where add_noise "
        f"gives {_mix(expected_a[k], expected_b[k])}, it was shown about {_mix(a[k], b[k])}; does the model get "
        "noisy_x, and the very t that add_noise got?",
    )


def _mix(a: Tensor, b: Tensor) -> str:
    return f"{abs(float(a)):.2f} x + {float(b):.2f} noise"  # both are estimates, and a may come out a little below 0


def _check_weights(watch: Watch) -> list[float]:
    """Weights change, and no gradient of an earlier step is left. The losses of the steps taken."""
    held = [watch.process, *getattr(watch.process, "__dict__", {}).values(), watch.net]
    weights = [p for net in held if isinstance(net, nn.Module) for p in net.parameters()]
    before = [p.detach().clone() for p in weights]
    losses = [watch.step(), watch.step()]
    expect(
        not weights or any(not torch.equal(a, b) for a, b in zip(before, weights, strict=True)),
        "train_step changes no weight: are loss.backward() and optimizer.step() called?",
    )
    first = _gradient(watch)
    # The gradient of an answer in the net's place is zero: what is there afterwards was there before.
    watch.answer = torch.zeros_like
    watch.step()
    watch.answer = None
    left = _gradient(watch)
    if watch.answered and first is not None and left is not None and bool(first.any()):
        expect(
            float((left - first).norm()) > 0.5 * float(first.norm()),
            "the gradient of one train_step is still there in the next, and they pile up: is optimizer.zero_grad() "
            "called before each loss.backward()?",
        )
    return losses


def _check_fall(watch: Watch, losses: list[float], nothing: float) -> None:
    """The net learns a few pictures, at every t."""
    begun = ended = math.inf
    while len(losses) < STEPS:
        losses.append(watch.step())
        begun, ended = sum(losses[:FIRST]) / FIRST, sum(losses[-LAST:]) / LAST
        missing = sorted({0, 1, 2} - {3 * t // watch.T for t in watch.steps}) if watch.steps else []
        if missing and watch.calls >= SPREAD:
            low, high = -(-missing[0] * watch.T // 3), -(-(missing[0] + 1) * watch.T // 3) - 1
            raise UserError(
                f"train_step drew no t in {low}..{high} in {watch.calls} calls: every t of 0..{watch.T - 1} must be "
                f"trained, as t = torch.randint(0, {watch.T}, (len(x),)) does"
            )
        if len(losses) > FIRST + LAST and not missing and ended < min(FALL * begun, LEARNED * nothing):
            return
    raise UserError(
        f"the loss does not fall on {len(watch.x)} simple pictures: {begun:.3f} in the first {FIRST} steps, "
        f"{ended:.3f} in the last {LAST} of {STEPS}; is it taken against the very noise that was added, "
        "is the gradient zeroed before each step, is the learning rate right?"
    )


def _gradient(watch: Watch) -> Tensor | None:
    """The gradient that is left in the net's weights, as one vector; None where nothing was seen."""
    if watch.net is None:
        return None
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in watch.net.parameters()]
    return torch.cat([part.detach().double().cpu().flatten() for part in parts])

"""The checks: right implementations pass, every planted mistake is told in a sentence, nothing is ever raised."""

from __future__ import annotations

import math

import pytest
import torch
from coursework_toys import Net, Right, hidden

from noisette.coursework import DiffusionModel, DiffusionProcess, check_diffusion_model, check_diffusion_process

# --- the model ------------------------------------------------------------------------------------------------------


class Deaf(Net):
    def told(self, t):
        return torch.zeros(len(t), 16, 1, 1)


class FirstOnly(Net):
    def told(self, t):
        return super().told(t[:1])


class Blind(Net):
    def forward(self, x, t):
        return super().forward(torch.zeros_like(x), t)


class Flat(Net):
    def forward(self, x, t):
        return super().forward(x, t).flatten(1)


class Broken(Net):
    def forward(self, x, t):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


class Infinite(Net):
    def forward(self, x, t):
        return super().forward(x, t) / 0.0


class Plain:
    def __init__(self, image_size, channels):
        self.net = Net(image_size, channels)

    def __call__(self, x, t):
        return self.net(x, t)


class Picky(Net):
    def __init__(self, size):
        super().__init__()


@pytest.mark.parametrize("model", [Net, DiffusionModel])
def test_right_models_pass(model, capsys):
    assert check_diffusion_model(model) is True
    assert capsys.readouterr().out == "DiffusionModel implementation is correct!\n"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Deaf, "it ignores t"),
        (FirstOnly, "each picture must be told its own t"),
        (Blind, "it ignores x"),
        (Flat, "Expected output shape (4, 1, 28, 28) but got (4, 784)"),
        (Broken, "RuntimeError: mat1 and mat2"),
        (Infinite, "its output is not finite"),
        (Plain, "it must be a torch.nn.Module"),
        (Picky, "TypeError: "),
        (None, "TypeError: 'NoneType' object is not callable"),
    ],
)
def test_wrong_models_fail_with_a_sentence(model, words, capsys):
    assert check_diffusion_model(model) is False
    said = capsys.readouterr().out
    assert said.startswith("DiffusionModel check failed: ") and words in said


# --- the process ----------------------------------------------------------------------------------------------------


class Cosine(Right):
    def table(self):
        f = torch.cos((torch.arange(1001) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - f[1:] / f[:-1]).clamp(max=0.999)


class CleanFirst(Right):
    """A table of T + 1 numbers that begins with clean data, read at t + 1."""

    def __init__(self, image_size=28, channels=1):
        super().__init__(image_size, channels)
        self._bars = torch.cat([torch.ones(1), self._bars])
        if self.shown:
            self.alpha_bars = self._bars

    def amounts(self, t):
        return super().amounts(t + 1)


class RootForgotten(Right):
    def amounts(self, t):
        return self._bars[t], 1 - self._bars[t]


class NoiseRootForgotten(Right):
    def amounts(self, t):
        return self._bars[t].sqrt(), 1 - self._bars[t]


class Beta(Right):
    def amounts(self, t):
        return self._betas[t].sqrt(), (1 - self._betas[t]).sqrt()


class Alpha(Right):
    def amounts(self, t):
        return (1 - self._betas[t]).sqrt(), self._betas[t].sqrt()


class Before(Right):
    def amounts(self, t):
        return super().amounts(t - 1)


class BeforeClamped(Right):
    def amounts(self, t):
        return super().amounts((t - 1).clamp(min=0))


class CleanAtZero(CleanFirst):
    """The same table of T + 1 numbers, read at t."""

    def amounts(self, t):
        return Right.amounts(self, t)


class Negative(Right):
    def amounts(self, t):
        a, b = super().amounts(t)
        return a, -b


class After(Right):
    def amounts(self, t):
        return super().amounts(t + 1)


class Swapped(Right):
    def amounts(self, t):
        return super().amounts(t)[::-1]


class FirstLevel(Right):
    def amounts(self, t):
        return super().amounts(t[:1].expand(len(t)))


class Weak(Right):
    def table(self):
        return super().table() / 10


class WrongTable(Right):
    def __init__(self, image_size=28, channels=1):
        super().__init__(image_size, channels)
        self.alpha_bars = self._bars = 1 - self._betas


class NoNoise(Right):
    def add_noise(self, x, t):
        return super().add_noise(x, t)[0]


class OtherNoise(Right):
    def add_noise(self, x, t):
        return super().add_noise(x, t)[0], torch.randn_like(x)


class Uniform(Right):
    def draw(self, x):
        return torch.rand_like(x)


class WideUniform(Right):
    def draw(self, x):
        return (torch.rand_like(x) - 0.5) * 12**0.5


class Same(Right):
    def draw(self, x):
        return torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


class Shared(Right):
    def draw(self, x):
        return torch.randn_like(x[:1]).expand_as(x)


class Clipped(Right):
    def add_noise(self, x, t):
        noisy, noise = super().add_noise(x, t)
        return noisy.clamp(-1, 1), noise


class TensorLoss(Right):
    def train_step(self, x):
        return torch.tensor(super().train_step(x))


class NoStep(Right):
    def train_step(self, x):
        return self.loss(x).item()


class WrongTarget(Right):
    def loss(self, x):
        t = torch.randint(0, 1000, (len(x),))
        return (self.model(self.add_noise(x, t)[0], t) - torch.randn_like(x)).square().mean()


class Uphill(Right):
    def train_step(self, x):
        loss = self.loss(x)
        self.optimizer.zero_grad()
        (-loss).backward()
        self.optimizer.step()
        return loss.item()


class Silent(Right):
    def train_step(self, x):
        raise NotImplementedError


@pytest.mark.parametrize("process", [Right, hidden(Right), Cosine, CleanFirst, DiffusionProcess])
def test_right_processes_pass(process, capsys):
    assert check_diffusion_process(process) is True
    assert capsys.readouterr().out == "DiffusionProcess implementation is correct!\n"


MISTAKES = [
    (RootForgotten, "the square root is missing"),
    (hidden(RootForgotten), "the square roots are missing"),
    (NoiseRootForgotten, "it must be sqrt(alpha_bar) x + sqrt(1 - alpha_bar) noise"),
    (Beta, "the square root of beta[t]: alpha_bar, the running product of 1 - beta, belongs there"),
    (hidden(Beta), "the picture must fade as t grows"),
    (Alpha, "the square root of 1 - beta[t]: its running product, alpha_bar, belongs there"),
    (hidden(Alpha), "99% of the picture is left: x_T must be noise"),
    (Before, "alpha_bar[t - 1]: t is one step off"),
    (BeforeClamped, "alpha_bar[t - 1]: t is one step off"),
    (hidden(Before), "the picture must fade as t grows"),
    (hidden(BeforeClamped), "the picture must fade as t grows"),
    (Negative, "the share of noise must be above 0"),
    (CleanAtZero, "alpha_bar[t - 1]: t is one step off"),
    (hidden(CleanAtZero), "the share of noise must be above 0 at every t of 0..999, t=0 too"),
    (After, "add_noise must take every t of 0..999"),
    (Swapped, "signal and noise have changed places"),
    (FirstLevel, "sqrt(alpha_bar[t])"),
    (Weak, "of the picture is left: x_T must be noise"),
    (WrongTable, "alpha_bar must be the running product of 1 - beta"),
    (NoNoise, "add_noise must return the pair (noisy_x, noise), it returns a Tensor"),
    (OtherNoise, "is it the very noise that was added"),
    (Uniform, "the noise returned is not N(0, 1)"),
    (WideUniform, "the noise returned is not N(0, 1)"),
    (Same, "the same noise at every call"),
    (Shared, "every picture of a batch the same noise"),
    (Clipped, "nothing clipped"),
    (TensorLoss, "Expected loss to be a float, got a Tensor: 1."),
    (NoStep, "train_step changes no weight"),
    (WrongTarget, "does not compare the model's answer with the noise"),
    (Uphill, "the loss"),
    (Silent, "NotImplementedError"),
    (object, "TypeError"),
]


@pytest.mark.parametrize(("process", "words"), MISTAKES, ids=[f"{k}-{p.__name__}" for k, (p, _) in enumerate(MISTAKES)])
def test_wrong_processes_fail_with_a_sentence(process, words, capsys):
    assert check_diffusion_process(process) is False
    said = capsys.readouterr().out
    assert said.startswith("DiffusionProcess check failed: ") and words in said
    assert said.count("\n") == 1


def test_checks_leave_torchs_generator_alone(capsys):
    state = torch.get_rng_state()
    check_diffusion_model(Net)
    check_diffusion_process(Right)
    assert torch.equal(torch.get_rng_state(), state)

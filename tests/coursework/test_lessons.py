"""What the checks ask of train_step: the net is watched while it is called."""

from __future__ import annotations

import pytest
import torch
from coursework_toys import Net, Right, hidden
from torch import nn

from noisette.coursework import DiffusionProcess, check_diffusion_process

# --- right ones -----------------------------------------------------------------------------------------------------


class Steep(Right):
    """Betas so large that alpha_bar underflows long before the last step."""

    def table(self):
        return torch.linspace(1e-4, 0.05, 1000)


class Gentle(Right):
    """Its first beta is a hundredth of the usual one: two steps near t = 0 are hardly apart."""

    def table(self):
        return torch.linspace(1e-6, 0.02, 1000)


class LossL1(Right):
    def distance(self, said, noise):
        return (said - noise).abs().sum()


class TellsShares(Right):
    """The net is told t/T, and is called by names."""

    def loss(self, x):
        t = self.draw_t(x)
        noisy, noise = self.add_noise(x, t)
        return self.distance(self.model(t=t.float() / 1000, x=noisy), noise)


class OneForAll(Right):
    """A batch shares one t."""

    def draw_t(self, x):
        return torch.randint(0, 1000, (1,)).expand(len(x))


class FromOne(Right):
    """The net counts from 1 to T."""

    def tells(self, t):
        return t + 1


class ZeroAtTheEnd(Right):
    def train_step(self, x):
        loss = self.loss(x)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


class Residual(Net):
    def forward(self, x, t):
        return x + super().forward(x, t)


class WithResidual(Right):
    net = Residual


class Hearing(nn.Module, Right):
    """A module itself, whose forward is the loss."""

    def __init__(self, image_size=28, channels=1):
        nn.Module.__init__(self)
        Right.__init__(self, image_size, channels)

    def forward(self, x, t):
        noisy, noise = self.add_noise(x, t)
        return self.distance(self.model(noisy, t), noise)

    def loss(self, x):
        return self(x, self.draw_t(x))


class TwoOut(Net):
    """Twice the channels, as nets that learn a variance have: nothing can speak in its place."""

    def __init__(self, image_size=28, channels=1):
        super().__init__(image_size, channels)
        self.last = nn.Conv2d(16, 2 * channels, 3, padding=1)


class LearnsVariance(Right):
    net = TwoOut

    def distance(self, said, noise):
        return (said[:, :1] - noise).square().mean()


def stable(image_size, channels):
    """The betas of Stable Diffusion, which leave 7 % of the picture."""
    with pytest.warns(UserWarning, match="still holds 6.8% signal"):
        return DiffusionProcess(image_size, channels, schedule="scaled_linear", model=Net(), lr=5e-3, device="cpu")


RIGHT = [
    Steep, hidden(Steep), hidden(Gentle), LossL1, TellsShares, OneForAll, FromOne, ZeroAtTheEnd, WithResidual, Hearing,
    LearnsVariance, stable,
]  # fmt: skip


@pytest.mark.parametrize("process", RIGHT)
def test_what_courses_hand_in_passes(process, capsys):
    assert check_diffusion_process(process) is True
    assert capsys.readouterr().out == "DiffusionProcess implementation is correct!\n"


# --- wrong ones -----------------------------------------------------------------------------------------------------


class NoZero(Right):
    def train_step(self, x):
        loss = self.loss(x)
        loss.backward()
        self.optimizer.step()
        return loss.item()


class LastAlone(Right):
    def draw_t(self, x):
        return torch.full((len(x),), 999)


class FirstHalf(Right):
    def draw_t(self, x):
        return torch.randint(0, 500, (len(x),))


class ToldAnother(Right):
    def tells(self, t):
        return torch.randint(0, 1000, t.shape)


class ToldZero(Right):
    def tells(self, t):
        return torch.zeros_like(t)


class SteepToldAnother(Steep, ToldAnother):
    pass


class ShownClean(Right):
    def shows(self, x, noisy):
        return x


class AsksForThePicture(Right):
    def loss(self, x):
        t = self.draw_t(x)
        return self.distance(self.model(self.add_noise(x, t)[0], t), x)


class AsksForFreshNoise(WithResidual):
    """The loss falls all the same: the net begins at x_t, and learns to say nothing."""

    def distance(self, said, noise):
        return (said - torch.randn_like(noise)).square().mean()


class WrongSign(Right):
    def distance(self, said, noise):
        return (said + noise).square().mean()


@pytest.mark.parametrize(
    ("process", "words"),
    [
        (NoZero, "the gradient of one train_step is still there in the next"),
        (LastAlone, "drew no t in 0..333 in 40 calls: every t of 0..999 must be trained"),
        (FirstHalf, "drew no t in 667..999"),
        (ToldAnother, "shows the model a picture of another t than it tells it: told t="),
        (SteepToldAnother, "shows the model a picture of another t than it tells it: told t="),
        (ToldZero, "told t=0, where add_noise gives 1.00 x + 0.01 noise, it was shown about 0."),
        (ShownClean, "it was shown about 1.00 x + 0.00 noise"),
        (AsksForThePicture, "compares the model's answer with the clean picture, not with the noise"),
        (AsksForFreshNoise, "an answer that is exactly the noise gets a loss of 2."),
        (WrongSign, "an answer that is exactly the noise gets a loss of 4."),
    ],
)
def test_wrong_training_is_told_though_the_loss_may_fall(process, words, capsys):
    assert check_diffusion_process(process) is False
    said = capsys.readouterr().out
    assert said.startswith("DiffusionProcess check failed: ") and words in said
    assert said.count("\n") == 1


def test_nothing_is_watched_afterwards(capsys):
    check_diffusion_process(Right)
    check_diffusion_process(NoZero)
    assert not torch.nn.modules.module._global_forward_hooks

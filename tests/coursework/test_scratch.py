"""DiffusionModel and DiffusionProcess against numpy and against the core."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from coursework_toys import Small, cosine_betas, generator, linear_betas, numbers, randn

from noisette import UserError
from noisette.coursework import DiffusionModel, DiffusionProcess, l2_loss
from noisette.diffusion.denoisers import clip
from noisette.diffusion.objectives import Objective, huber
from noisette.diffusion.samplers import SampleNoise, ddim, ddpm, time_grid
from noisette.diffusion.schedules import Flow, TerminalSignalWarning, make_schedule


def process(size: int = 8, channels: int = 1, **settings: object) -> DiffusionProcess:
    return DiffusionProcess(size, channels, model=Small(channels), device="cpu", **settings)


# --- the checks of the course, as its text asks ---------------------------------------------------------------------


def test_the_model_as_the_course_calls_it():
    model = DiffusionModel(image_size=28, channels=1)
    x, t = torch.randn(4, 1, 28, 28), torch.randint(0, 1000, (4,))
    assert model(x, t).shape == (4, 1, 28, 28)


def test_the_process_as_the_course_calls_it():
    diffusion = DiffusionProcess(image_size=28, channels=1)
    x, t = torch.randn(4, 1, 28, 28), torch.randint(0, 1000, (4,))
    noisy, noise = diffusion.add_noise(x, t)
    assert noisy.shape == noise.shape == x.shape
    assert type(diffusion.train_step(x)) is float


@pytest.mark.parametrize("size", [8, 9, 13, 15, 33])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_size(size, channels):
    diffusion = DiffusionProcess(size, channels, seed=0)
    x = randn(2, channels, size, size, dtype=torch.float32)
    assert np.isfinite(diffusion.train_step(x))
    made = diffusion.sample(2, sampler="ddim", steps=2, seed=0)
    assert made.shape == x.shape and made.dtype == torch.float32 and float(made.abs().max()) <= 1


# --- the model ------------------------------------------------------------------------------------------------------


def test_weights_come_from_the_seed_alone():
    state = torch.get_rng_state()
    one, two, other = (DiffusionModel(8, seed=seed, width=8, groups=4).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_the_model_takes_the_settings_of_the_net():
    model = DiffusionModel(
        16, 3, width=8, multipliers=[1, 1, 2], groups=4, head_dim=8, norm="group", learn_variance=True
    )
    assert model.unet.arguments["channels"] == 8 and model.unet.arguments["time"] == "concat"
    assert model(torch.zeros(2, 3, 16, 16), torch.tensor([0, 9])).shape == (2, 6, 16, 16)
    with pytest.raises(UserError, match=r'net\.blcks"; did you mean "net\.blocks"'):
        DiffusionModel(blcks=2)
    with pytest.raises(UserError, match="net: activation='sillu' is not one of"):
        DiffusionModel(activation="sillu")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 0}, "image_size must be at least 1, not 0"),
        ({"image_size": -3}, "image_size must be at least 1, not -3"),
        ({"image_size": 28.5}, "image_size must be a whole number, not 28.5"),
        ({"channels": 0}, "channels must be at least 1, not 0"),
        ({"channels": True}, "channels must be a whole number, not True"),
    ],
)
@pytest.mark.parametrize("facade", [DiffusionModel, DiffusionProcess])
def test_sizes_that_cannot_be(facade, settings, words):
    with pytest.raises(UserError, match=words):
        facade(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise_steps": 1000.0}, "the number of steps T must be a whole number, not 1000.0"),
        ({"noise_steps": "10"}, "the number of steps T must be a whole number, not '10'"),
        ({"noise_steps": 1}, "T must lie in"),
        ({"schedule": None}, "schedule must be the name of one, or a schedule, not None"),
        ({"model": DiffusionModel}, r"model must be a torch\.nn\.Module, an object"),
        ({"model": lambda x, t: x}, r"model must be a torch\.nn\.Module, an object"),
    ],
)
def test_settings_of_the_process_that_cannot_be(settings, words):
    with pytest.raises(UserError, match=words):
        DiffusionProcess(8, **{"model": Small(), "device": "cpu", **settings})


# --- tables and noise -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "betas"),
    [
        ({}, linear_betas(1000)),
        ({"noise_steps": 300}, linear_betas(300, 1000 / 300)),
        ({"noise_steps": 300, "schedule": "cosine"}, cosine_betas(300)),
        ({"schedule": "quadratic"}, np.linspace(1e-4**0.5, 0.02**0.5, 1000) ** 2),
    ],
)
def test_tables(settings, betas):
    with pytest.warns(TerminalSignalWarning) if settings.get("schedule") == "quadratic" else contextlib.nullcontext():
        diffusion = process(**settings)
    np.testing.assert_allclose(diffusion.beta, betas, rtol=1e-9)
    np.testing.assert_allclose(diffusion.alpha, 1 - betas, rtol=1e-9)
    np.testing.assert_allclose(diffusion.alpha_bar, np.cumprod(1 - betas), rtol=1e-9)


def test_the_raw_table_is_there_and_says_what_it_leaves():
    with pytest.warns(TerminalSignalWarning, match="T=300 still holds"):
        diffusion = process(noise_steps=300, scaled=False)
    np.testing.assert_allclose(diffusion.beta, linear_betas(300), rtol=1e-9)


def test_add_noise():
    diffusion, x = process(), randn(5, 1, 8, 8)
    t = torch.tensor([0, 1, 500, 998, 999])
    noisy, noise = diffusion.add_noise(x, t, generator(1))
    alpha_bar = np.cumprod(1 - linear_betas(1000))
    expected = numbers(np.sqrt(alpha_bar), t) * x + numbers(np.sqrt(1 - alpha_bar), t) * noise
    torch.testing.assert_close(noisy, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(diffusion.add_noise(x, t, generator(1))[1], noise, rtol=0, atol=0)
    assert not torch.equal(diffusion.add_noise(x, t)[1], noise)


@pytest.mark.parametrize("t", [[1000], [-1], [0, 1000]])
def test_a_t_outside_is_refused(t):
    with pytest.raises(UserError, match=r"t must lie in 0\.\.999"):
        process().add_noise(torch.zeros(len(t), 1, 8, 8), torch.tensor(t))
    with pytest.raises(UserError, match="whole numbers"):
        process().add_noise(torch.zeros(1, 1, 8, 8), torch.tensor([0.5]))


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["l2", huber])
def test_a_training_step_is_that_of_the_core(loss):
    diffusion, x = process(noise_steps=50, loss=loss), randn(6, 1, 8, 8, dtype=torch.float32)
    same = Small()
    draws = generator(5)
    t = diffusion.chain.draw(6, draws)
    noise = torch.randn(x.shape, generator=draws)
    noisy = diffusion.chain.noised(x, t, noise)
    difference = same(noisy, t) - noise
    by_hand = (difference.square() if loss == "l2" else huber(difference, torch.zeros(()).expand_as(x))).mean()
    by_hand.backward()
    core = Objective("eps", diffusion.distance)(diffusion.denoiser, x, (t.double() + 1) / 50, noise).total.mean()
    found = diffusion.train_step(x, generator(5))
    assert found == pytest.approx(float(by_hand.detach()), rel=1e-5) and found == float(core.detach())
    for a, b in zip(diffusion.model.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)
        assert not torch.equal(a, b)


def test_t_is_uniform():
    t = process(noise_steps=7).chain.draw(70_000, generator())
    counts = torch.bincount(t, minlength=7).double()
    assert len(counts) == 7
    chi2 = float(((counts - 10_000) ** 2 / 10_000).sum())
    assert chi2 < 22.5  # the 0.1 % point of chi-squared with 6 degrees of freedom


def test_it_learns():
    diffusion = DiffusionProcess(8, noise_steps=100, seed=0, lr=3e-3)
    x = torch.full((32, 1, 8, 8), -1.0)
    x[:, :, :4, :4] = 1.0
    draws = generator()
    losses = [diffusion.train_step(x, draws) for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def test_loss_by_timestep():
    class Nothing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, t):
            assert not self.training
            return (t < 50).to(x)[:, None, None, None] + 0 * x

    diffusion = DiffusionProcess(8, noise_steps=100, model=Nothing(), device="cpu")
    found = diffusion.loss_by_timestep(torch.zeros(4000, 1, 8, 8), generator())
    # noise of variance 1, and a net that says 1 in the first half of the steps and 0 in the second
    assert found == pytest.approx([2.0] * 10 + [1.0] * 10, abs=0.1)
    assert diffusion.model.training


# --- sampling -------------------------------------------------------------------------------------------------------


def test_samples_are_those_of_the_core():
    diffusion = process(noise_steps=20)
    made = diffusion.sample(3, seed=7)
    noise = SampleNoise([7, 8, 9], (1, 8, 8))
    start = float(diffusion.schedule.sigma(1.0)) * noise()
    ts = time_grid(diffusion.schedule, 20)
    *_, last = ddpm(clip(diffusion.denoiser), start, ts, noise=noise)
    assert torch.equal(made, last.x)
    torch.testing.assert_close(diffusion.sample(1, seed=9)[0], made[2], rtol=1e-5, atol=1e-5)


def test_settings_of_the_training_are_looked_at_before_it():
    with pytest.raises(UserError, match="lr: Invalid learning rate"):
        process(lr=-1)
    for rate in (float("inf"), float("nan"), "fast"):
        with pytest.raises(UserError, match="lr must be a number, and finite"):
            process(lr=rate)
    for loss in (l2_loss, torch.nn.functional.mse_loss):
        with pytest.raises(UserError, match="must give one loss for every element"):
            process(loss=loss)


def test_ddim_and_its_settings():
    diffusion = process(noise_steps=20)
    noise = SampleNoise([0, 1], (1, 8, 8))
    start = float(diffusion.schedule.sigma(1.0)) * noise()
    *_, last = ddim(diffusion.denoiser, start, time_grid(diffusion.schedule, 5), noise=noise, eta=0.5)
    assert torch.equal(diffusion.sample(2, seed=0, sampler="ddim", steps=5, eta=0.5, clip="none"), last.x)
    for settings, words in (
        ({"sampler": "dim"}, 'unknown sampler "dim"; did you mean "ddim"'),
        ({"steps": 21}, "21 steps are more than the schedule's T=20"),
        ({"stps": 5}, r'unknown key "sample\.stps"; did you mean "sample\.steps"'),
        ({"variance": "learned"}, "has not learned a variance"),
        ({"noise": torch.zeros(2, 1, 4, 4)}, "must have shape"),
        ({"guidance": 3}, r"sample\.guidance: this model is told no classes"),
        ({"interval": (0.2, 0.8)}, r"sample\.interval: this model is told no classes"),
    ):
        with pytest.raises(UserError, match=words):
            diffusion.sample(2, **settings)
    with pytest.raises(UserError, match="at least one sample"):
        diffusion.sample(0)
    with pytest.raises(UserError, match=r"number of samples must be a whole number, not 1\.5"):
        diffusion.sample(1.5)
    assert diffusion.sample(1, steps=1, guidance=1).shape == (1, 1, 8, 8)


def test_unseeded_samples_follow_the_global_seed():
    diffusion = process(noise_steps=5)
    torch.manual_seed(0)
    one, other = diffusion.sample(1), diffusion.sample(1)
    torch.manual_seed(0)
    assert torch.equal(diffusion.sample(1), one) and not torch.equal(one, other)


def test_interpolation_ends_where_the_noises_lead():
    diffusion = process(noise_steps=20)
    a, b = randn(1, 8, 8, dtype=torch.float32), randn(1, 8, 8, seed=1, dtype=torch.float32)
    way = diffusion.interpolate(a, b, 5, steps=10)
    ends = diffusion.sample(2, noise=torch.stack([a, b]), sampler="ddim", steps=10)
    assert way.shape == (5, 1, 8, 8)
    torch.testing.assert_close(way[[0, -1]], ends, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="at least 2"):
        diffusion.interpolate(a, b, 1)


def test_a_schedule_of_ones_own():
    mine = make_schedule("sigmoid", 40)
    assert process(noise_steps=40, schedule=mine).schedule is mine
    with pytest.raises(UserError, match="has 40 steps, not 1000"):
        process(schedule=mine)
    with pytest.raises(UserError, match="unknown schedule 'lnear'"):
        process(schedule="lnear")
    with pytest.raises(UserError, match="flow schedule has no steps to count"):
        process(schedule=Flow())
    with pytest.raises(UserError, match="zero terminal SNR"):
        process(noise_steps=40, schedule=make_schedule("linear", 40, zero_terminal_snr=True))

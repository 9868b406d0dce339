"""MNISTDiffusion against the formulas of Nichol & Dhariwal 2021, and against the core."""

from __future__ import annotations

import copy
import weakref

import numpy as np
import pytest
import torch
from coursework_toys import F64, Small, cosine_betas, generator, numbers, randn

from noisette import UserError
from noisette.coursework import MNISTDiffusion
from noisette.coursework.chain import Chain
from noisette.diffusion.denoisers import NetDenoiser, clip
from noisette.diffusion.objectives import Objective
from noisette.diffusion.samplers import SampleNoise, ddpm, time_grid


def small(T: int = 20, size: int = 8) -> MNISTDiffusion:
    """The facade around a tiny net with two channels out."""
    model = MNISTDiffusion(size, 1, T, width=8, groups=4, head_dim=8, seed=0)
    model.model = Small(1, 2)
    model.chain = Chain(model.model, model.chain.schedule, learn_variance=True)
    return model


@pytest.mark.parametrize("T", [10, 50, 1000, 10_000])
def test_the_cosine_table(T):
    model = MNISTDiffusion(8, 1, T, width=8, groups=4, head_dim=8)
    betas = cosine_betas(T)
    np.testing.assert_allclose(MNISTDiffusion._cosine_variance_schedule(T), betas, rtol=1e-8)
    np.testing.assert_allclose(model.chain.beta, betas, rtol=1e-8)
    np.testing.assert_allclose(model.beta, betas, rtol=1e-6)
    np.testing.assert_allclose(model.alpha, 1 - betas, rtol=1e-6)
    np.testing.assert_allclose(model.alpha_bar, np.cumprod(1 - betas), rtol=1e-6)
    assert float(model.beta.max()) <= np.float32(0.999)


def test_another_epsilon():
    found = MNISTDiffusion._cosine_variance_schedule(100, epsilon=0.02)
    np.testing.assert_allclose(found, cosine_betas(100, 0.02), rtol=1e-9)
    with pytest.raises(UserError, match="T must lie in"):
        MNISTDiffusion._cosine_variance_schedule(1)


def test_settings_that_cannot_be():
    with pytest.raises(UserError, match=r"timesteps must be a whole number, not 20\.0"):
        MNISTDiffusion(8, 1, 20.0, width=8, groups=4, head_dim=8)
    with pytest.raises(UserError, match="always learns its variance: leave it out"):
        MNISTDiffusion(8, 1, 20, learn_variance=False)
    with pytest.raises(UserError, match=r"must be a whole number, not 1\.5"):
        small().sampling(1, every=1.5)


def test_forward_noises_each_sample_at_a_t_of_its_own():
    model, x, noise = small().double(), randn(6, 1, 8, 8), randn(6, 1, 8, 8, seed=1)
    t = model.chain.draw(6, generator(3))
    assert len(t.unique()) > 1
    alpha_bar = np.cumprod(1 - cosine_betas(20))
    x_t = numbers(np.sqrt(alpha_bar), t) * x + numbers(np.sqrt(1 - alpha_bar), t) * noise
    torch.testing.assert_close(model._forward_diffusion(x, t, noise), x_t, rtol=1e-10, atol=1e-10)
    said = model(x, noise, generator=generator(3))
    torch.testing.assert_close(said, model.model(x_t, t)[:, :1], rtol=1e-8, atol=1e-8)
    (said - noise).square().mean().backward()
    assert float(model.model.conv.weight.grad[0].abs().max()) > 0


def test_a_reverse_step_has_the_mean_and_variance_of_the_net():
    model, x_t, noise = small().double(), randn(4, 1, 8, 8), randn(4, 1, 8, 8, seed=1)
    t = torch.tensor([0, 1, 7, 19])
    found = model._reverse_diffusion(x_t, t, noise)
    betas = cosine_betas(20)
    alpha_bar = np.cumprod(1 - betas)
    before = np.concatenate([[1.0], alpha_bar[:-1]])
    tilde = betas * (1 - before) / (1 - alpha_bar)
    tilde[0] = tilde[1]  # sec. 3.1: its log is needed, and not used
    eps, v = model.model(x_t, t).detach().chunk(2, dim=1)
    mean = (x_t - numbers(betas / np.sqrt(1 - alpha_bar), t) * eps) / numbers(np.sqrt(1 - betas), t)
    share = (v + 1) / 2
    variance = torch.exp(share * numbers(np.log(betas), t) + (1 - share) * numbers(np.log(tilde), t))  # eq. 15
    expected = mean + (t > 0)[:, None, None, None] * variance.sqrt() * noise
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert not found.requires_grad


@pytest.mark.parametrize("step", [0, 1, 19])
def test_a_reverse_step_is_that_of_the_core(step):
    model, x_t, noise = small(), randn(3, 1, 8, 8, dtype=torch.float32), randn(3, 1, 8, 8, seed=1, dtype=torch.float32)
    for clipped in (False, True):
        denoiser = clip(model.chain.denoiser) if clipped else model.chain.denoiser
        core = next(ddpm(denoiser, x_t, [(step + 1) / 20, step / 20], noise=lambda: noise, variance="learned")).x
        assert torch.equal(model._reverse_diffusion(x_t, torch.full((3,), step), noise, clipped=clipped), core)


def test_the_loss_is_the_hybrid_one_of_the_core():
    model, x = small().double(), randn(6, 1, 8, 8).clamp(-1, 1)
    draws = generator(4)
    t = model.chain.draw(6, draws)
    noise = torch.randn(x.shape, generator=draws, dtype=F64)

    class Backbone(torch.nn.Module):
        def forward(self, x, c_noise, cond=None):
            return model.model(x, c_noise.long())

    denoiser = NetDenoiser(Backbone(), model.chain.schedule, "eps", learn_variance=True)
    losses = Objective("eps", vlb=0.001)(denoiser, x, (t.double() + 1) / 20, noise)
    assert losses.vlb is not None
    by_hand = (losses.simple + 0.001 * 20 * losses.vlb).mean()
    torch.testing.assert_close(model.loss(x, generator=generator(4)), by_hand, rtol=1e-10, atol=0)
    model.loss(x).backward()
    assert (model.model.conv.weight.grad.abs().amax(dim=(1, 2, 3)) > 0).all(), "mean and variance both learn"


def test_the_real_net_learns_both_halves():
    model = MNISTDiffusion(9, 1, 50, width=8, groups=4, head_dim=8, seed=0)
    x = torch.full((8, 1, 9, 9), -1.0)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    draws, losses = generator(), []
    for _ in range(40):
        loss = model.loss(x, generator=draws)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


# --- the way --------------------------------------------------------------------------------------------------------


def test_the_whole_way():
    model = small()
    model.train()
    way = model.sampling(3, seed=5)
    assert way.shape == (21, 3, 1, 8, 8) and way.isfinite().all() and model.training
    noise = SampleNoise([5, 6, 7], (1, 8, 8))
    start = float(model.chain.schedule.sigma(1.0)) * noise()
    steps = ddpm(
        clip(model.chain.denoiser), start, time_grid(model.chain.schedule, 20), noise=noise, variance="learned"
    )
    torch.testing.assert_close(way, torch.stack([start, *(step.x for step in steps)]), rtol=0, atol=0)
    assert model.sampling(seed=0, every=20).shape == (2, 36, 1, 8, 8)


@pytest.mark.parametrize(("every", "left"), [(7, [20, 13, 6, 0]), (10, [20, 10, 0]), (20, [20, 0]), (99, [20, 0])])
def test_part_of_the_way(every, left):
    model = small()
    assert model.kept_steps(every) == left
    whole, part = model.sampling(2, seed=1), model.sampling(2, every=every, seed=1)
    assert torch.equal(part, whole[[20 - k for k in left]])


@pytest.mark.slow
def test_a_long_way_keeps_only_what_is_asked_for(monkeypatch):
    model = small(10_000)
    walk, seen, most = model.chain.walk, [], 0

    def watched(*arguments, **settings):
        nonlocal most
        start, steps = walk(*arguments, **settings)

        def each():
            nonlocal most, seen
            for step in steps:
                seen = [ref for ref in seen if ref() is not None] + [weakref.ref(step.x)]
                most = max(most, len(seen))
                yield step

        return start, each()

    monkeypatch.setattr(model.chain, "walk", watched)
    way = model.sampling(2, every=1000, seed=0)
    assert way.shape == (11, 2, 1, 8, 8) and way.isfinite().all()
    assert most <= 3, "states of the way outlive their step"


def test_wrong_questions():
    model = small()
    for call, words in (
        (lambda: model.sampling(0), "at least one sample"),
        (lambda: model.sampling(1, every=0), "every counts steps"),
        (lambda: MNISTDiffusion(8, 1, 10_001), "T must lie in 2..10,000"),
        (lambda: model._reverse_diffusion(torch.zeros(1, 1, 8, 8), torch.tensor([20]), torch.zeros(1)), r"0\.\.19"),
    ):
        with pytest.raises(UserError, match=words):
            call()


def test_a_copy_and_its_weights_go_together():
    model = MNISTDiffusion(8, 1, 10, width=8, groups=4, head_dim=8, seed=0)
    names = set(model.state_dict())
    assert names == {f"model.{name}" for name in model.model.state_dict()}
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.1)
    x, noise = torch.zeros(2, 1, 8, 8), randn(2, 1, 8, 8, dtype=torch.float32)
    assert not torch.equal(twin(x, noise, generator=generator()), model(x, noise, generator=generator()))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x, noise, generator=generator()), model(x, noise, generator=generator()))

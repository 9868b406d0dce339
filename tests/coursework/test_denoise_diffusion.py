"""DenoiseDiffusion against algorithm 1 and 2 of Ho et al. 2020, and against the core."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from coursework_toys import F64, Small, generator, linear_betas, numbers, randn

from noisette import UserError
from noisette.coursework import DenoiseDiffusion
from noisette.diffusion.denoisers import NetDenoiser
from noisette.diffusion.objectives import Objective
from noisette.diffusion.samplers import ddpm
from noisette.diffusion.schedules import TerminalSignalWarning, linear

BETAS = linear_betas(1000)
ALPHA_BAR = np.cumprod(1 - BETAS)
T_SEEN = torch.tensor([0, 1, 500, 999])


def diffusion() -> DenoiseDiffusion:
    return DenoiseDiffusion(Small().double(), n_steps=1000, device=torch.device("cpu"))


def test_tables():
    found = diffusion()
    np.testing.assert_allclose(found.beta, BETAS, rtol=1e-6)
    np.testing.assert_allclose(found.alpha, 1 - BETAS, rtol=1e-6)
    np.testing.assert_allclose(found.alpha_bar, ALPHA_BAR, rtol=1e-6)
    np.testing.assert_allclose(found.sigma2, BETAS, rtol=1e-6)
    np.testing.assert_allclose(found.sigmat, np.sqrt(BETAS), rtol=1e-6)


def test_q():
    found, x0, eps = diffusion(), randn(4, 1, 6, 6), randn(4, 1, 6, 6, seed=1)
    mean, variance = found.q_xt_x0(x0, T_SEEN)
    assert variance.shape == (4, 1, 1, 1)
    torch.testing.assert_close(mean, numbers(np.sqrt(ALPHA_BAR), T_SEEN) * x0, rtol=1e-9, atol=0)
    torch.testing.assert_close(variance, numbers(1 - ALPHA_BAR, T_SEEN), rtol=1e-9, atol=0)
    torch.testing.assert_close(found.q_sample(x0, T_SEEN, eps), mean + variance.sqrt() * eps, rtol=1e-9, atol=1e-12)
    drawn = found.q_sample(x0, T_SEEN, generator=generator(1))
    torch.testing.assert_close(drawn, mean + variance.sqrt() * eps, rtol=1e-9, atol=1e-12)


def test_samples_of_q_have_its_mean_and_variance():
    found, t = diffusion(), torch.full((20_000,), 300)
    x = found.q_sample(torch.full((20_000, 1), 0.7, dtype=F64), t, generator=generator())
    assert float(x.mean()) == pytest.approx(0.7 * math.sqrt(ALPHA_BAR[300]), abs=0.02)
    assert float(x.var()) == pytest.approx(1 - ALPHA_BAR[300], rel=0.04)


def test_p_is_algorithm_2_and_a_step_of_the_core():
    found, xt, noise = diffusion(), randn(4, 1, 6, 6), randn(4, 1, 6, 6, seed=1)
    eps = found.eps_model(xt, T_SEEN).detach()
    mean = (xt - numbers(BETAS / np.sqrt(1 - ALPHA_BAR), T_SEEN) * eps) / numbers(np.sqrt(1 - BETAS), T_SEEN)
    expected = mean + numbers(np.sqrt(BETAS), T_SEEN) * noise * (T_SEEN > 0)[:, None, None, None]
    made = found.p_sample(xt, T_SEEN, noise=noise)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-6)
    for k, step in enumerate(T_SEEN.tolist()):
        ts = [(step + 1) / 1000, step / 1000]
        core = next(ddpm(found.chain.denoiser, xt[k : k + 1], ts, noise=lambda k=k: noise[k : k + 1], variance="large"))
        torch.testing.assert_close(made[k : k + 1], core.x, rtol=0, atol=1e-12)
    again = found.p_sample(xt, T_SEEN, generator=generator(1))
    torch.testing.assert_close(again, made, rtol=0, atol=0)
    assert not made.requires_grad


def test_the_loss_is_algorithm_1_and_the_core():
    found, x0 = diffusion(), randn(5, 1, 6, 6)
    t = found.chain.draw(5, generator(2))
    noise = randn(5, 1, 6, 6, seed=3)
    by_hand = (found.eps_model(found.q_sample(x0, t, noise), t) - noise).square().mean()
    loss = found.loss(x0, noise, generator=generator(2))
    torch.testing.assert_close(loss, by_hand, rtol=1e-9, atol=0)

    class Backbone(torch.nn.Module):
        def forward(self, x, c_noise, cond=None):
            return found.eps_model(x, c_noise.long())

    core = Objective("eps")(
        NetDenoiser(Backbone(), linear(1000), "eps"), x0, (t.double() + 1) / 1000, noise
    ).total.mean()
    torch.testing.assert_close(loss, core, rtol=1e-12, atol=0)
    loss.backward()
    assert float(found.eps_model.conv.weight.grad.abs().max()) > 0
    assert float(found.loss(x0).detach()) > 0


def test_clips_of_key_points_and_a_plain_function():
    """Any shape, any function: the exact eps of normal data gives normal data back."""
    mean, std = 0.5, 0.2

    def eps_model(xt, t):
        assert t.dtype == torch.int64
        alpha_bar = torch.from_numpy(np.cumprod(1 - linear_betas(200, 5.0)))[t].reshape(-1, 1, 1).to(xt)
        alpha, sigma2 = alpha_bar.sqrt(), 1 - alpha_bar
        return sigma2.sqrt() * (xt - alpha * mean) / (alpha_bar * std**2 + sigma2)

    found = DenoiseDiffusion(eps_model, 200, "cpu", scaled=True)
    draws = generator()
    x = torch.randn(200, 3, 16, generator=draws, dtype=F64)
    for step in reversed(range(200)):
        x = found.p_sample(x, torch.full((200,), step), generator=draws)
    assert x.shape == (200, 3, 16)
    assert float(x.mean()) == pytest.approx(mean, abs=0.01)
    assert float(x.std()) == pytest.approx(std, rel=0.1)  # beta is the variance of the widest data, N(0, 1)
    assert found.q_xt_x0(x, torch.zeros(200, dtype=torch.int64))[1].shape == (200, 1, 1)


def test_few_steps_are_warned_of():
    with pytest.warns(TerminalSignalWarning, match="scaled=True"):
        DenoiseDiffusion(Small(), 100)
    found = DenoiseDiffusion(Small(), 100, scaled=True)
    np.testing.assert_allclose(found.beta, linear_betas(100, 10.0), rtol=1e-6)
    with pytest.raises(UserError, match="T must lie in"):
        DenoiseDiffusion(Small(), 1)
    with pytest.raises(UserError, match=r"T must be a whole number, not 10\.0"):
        DenoiseDiffusion(Small(), 10.0)
    with pytest.raises(UserError, match='no device "gpu"'):
        DenoiseDiffusion(Small(), device="gpu")

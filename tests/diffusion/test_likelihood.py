"""Bits/dim against exact Gaussian data, whose density is known."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from diffusion_toys import F64, covariance, generator, quiet, randn
from torch import nn

from noisette.diffusion.denoisers import NetDenoiser, clip, condition
from noisette.diffusion.exact import Gaussian
from noisette.diffusion.likelihood import BINS, LEVEL, _runs, ode_bits, variational_bits
from noisette.diffusion.objectives import discretised_gaussian_log_likelihood
from noisette.diffusion.samplers import posterior, time_grid
from noisette.diffusion.schedules import CONTINUOUS, TableSchedule

STDS = torch.tensor([0.26, 0.25, 0.24, 0.22], dtype=F64)
MEAN = torch.tensor([[[0.0, -0.05], [0.0, 0.05]]], dtype=F64)
DENSE = ["cosine", "linear", *CONTINUOUS]


def diagonal(schedule):
    """Four independent numbers, shaped (1, 2, 2) as a small image."""
    return Gaussian(MEAN, torch.diag(STDS**2), schedule)


def correlated(schedule):
    """Three numbers, two of them alike and one their opposite, shaped (1, 3) as a one-channel signal."""
    alike = torch.tensor([[1.0, 0.6, -0.4], [0.6, 1.0, -0.5], [-0.4, -0.5, 1.0]], dtype=F64)
    stds = torch.tensor([0.2, 0.15, 0.18], dtype=F64)
    return Gaussian(torch.tensor([[0.1, 0.0, -0.1]], dtype=F64), stds[:, None] * alike * stds, schedule)


def draw(model, n, seed=0):
    root = torch.linalg.cholesky(covariance(model))
    return model.mean + (randn(n, len(root), seed=seed) @ root.T).reshape(n, *model.mean.shape)


def quantised(x):
    assert float((x.abs() > 1).double().mean()) < 2e-4  # all but nothing is cut off
    return ((x + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


def truth(model, x):
    """-log2 of the probability of x's levels, in bits/dim: the density times the level's width, which is small."""
    normal = torch.distributions.MultivariateNormal(model.mean.flatten(), covariance(model))
    return -normal.log_prob(x.flatten(1)) / model.mean.numel() / math.log(2) - math.log2(LEVEL)


def off_by(found, true):
    """(mean difference, its standard error)."""
    miss = found - true
    return float(miss.mean()), float(miss.std()) / len(miss) ** 0.5


# --- the probability flow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DENSE)
def test_the_flow_gives_the_density_of_independent_numbers_image_by_image(name):
    """The divergence's estimate has no variance here: a diagonal Jacobian meets every probe alike."""
    model = diagonal(quiet(name))
    x = draw(model, 64)
    found = ode_bits(model, x, generator=generator(), dequantise=False)
    miss = found.total - truth(model, x)
    assert float(miss.abs().max()) < 0.03 and abs(float(miss.mean())) < 0.002
    torch.testing.assert_close(found.total, found.prior + found.volume)
    assert found.calls == 80 and found.t_min == pytest.approx(model.schedule.t_min)


@pytest.mark.parametrize("name", DENSE)
def test_the_flow_gives_the_density_of_correlated_numbers(name):
    model = correlated(quiet(name))
    x = draw(model, 300)
    found = ode_bits(model, x, generator=generator(1), probes=32, dequantise=False)
    mean, error = off_by(found.total, truth(model, x))
    assert abs(mean) < 0.01 and error < 0.005


def test_the_flow_is_of_fourth_order():
    model = diagonal(quiet("flow"))
    x = draw(model, 64)
    true = ode_bits(model, x, 80, generator=generator(), dequantise=False).total
    errors = [
        float((ode_bits(model, x, steps, generator=generator(), dequantise=False).total - true).abs().mean())
        for steps in (10, 20, 40)
    ]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(3.5 < order < 4.5 for order in orders), orders


def test_probes_only_take_variance_away():
    model = correlated(quiet("continuous_cosine"))
    x = draw(model, 1000)
    true = truth(model, x)
    (one, error_one), (many, error_many) = (
        off_by(ode_bits(model, x, 8, generator=generator(2), probes=n, dequantise=False).total, true) for n in (1, 16)
    )
    assert error_many < error_one / 2.5 and abs(one - many) < 3 * error_one


def test_spread_levels_cost_the_bits_of_the_levels():
    model = diagonal(quiet("flow"))
    x = quantised(draw(model, 2000))
    mean, error = off_by(ode_bits(model, x, generator=generator(), dequantise=True).total, truth(model, x))
    assert abs(mean) < 0.01 and error < 0.002
    plain = ode_bits(model, x[:50], 10, generator=generator(), dequantise=False).total
    spread = ode_bits(model, x[:50], 10, generator=generator(), dequantise=True).total
    assert 0 < float((plain - spread).abs().max()) < 0.2


# --- the variational bound ----------------------------------------------------------------------------------------


def expected(schedule, variance):
    """(E[L_0], E[L_{t-1}] for i = 2..T) of the diagonal model, bits/dim: a sum over levels and noise, and a formula.

    L_{t-1} is the KL of two Gaussians, with Var[x0 | x_t] for the expected square of the mean's error.
    """
    T = schedule.steps
    i = torch.arange(1, T + 1, dtype=F64)
    q = posterior(schedule, i / T, (i - 1) / T)
    alpha, sigma = (level[:, None] for level in schedule.level(i / T))
    left = (STDS**2 * sigma**2 / (alpha**2 * STDS**2 + sigma**2)).mean(1)
    reverse = q.large if variance == "large" else torch.cat([q.small[1:2], q.small[1:]])  # see reverse_log_variance
    kl = 0.5 * ((reverse / q.small).log() + q.small / reverse - 1) + q.of_x0**2 * left / (2 * reverse)
    levels = torch.arange(256, dtype=F64) / 127.5 - 1
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(80))
    decoder = []
    for mean, std in zip(MEAN.flatten(), STDS, strict=True):
        p = torch.softmax(-((levels - mean) ** 2) / (2 * std**2), 0)
        x1 = alpha[0] * levels[:, None] + sigma[0] * nodes
        gain = alpha[0] * std**2 / (alpha[0] ** 2 * std**2 + sigma[0] ** 2)
        guess = mean + gain * (x1 - alpha[0] * mean)
        nats = -discretised_gaussian_log_likelihood(levels[:, None], guess, 0.5 * reverse[:1].log())
        decoder.append(p @ (nats @ (weights / weights.sum())))
    return float(torch.stack(decoder).mean()) / math.log(2), kl[1:] / math.log(2)


def entropy():
    """The mean of `truth` over the diagonal model's own data."""
    return float((STDS.log() + 0.5 * math.log(2 * math.pi * math.e)).mean()) / math.log(2) - math.log2(LEVEL)


def test_the_bound_closes_as_the_table_gets_finer():
    """Its expectation lies above the truth at every T, less so with each, and within 0.01 bits/dim at T = 1000."""
    gaps = []
    for T in (10, 30, 100, 300, 1000):
        model = diagonal(quiet("cosine", T))
        x = quantised(draw(model, 4000))
        found = variational_bits(model, x, 10, generator=generator())
        decoder, between = expected(model.schedule, found.variance)
        gaps.append(decoder + float(between.sum()) - entropy())
        for values, mean in ((found.decoder, decoder), (found.total, decoder + float(between.sum()))):
            mean, error = off_by(values, torch.full_like(values, mean))
            assert abs(mean) < 3 * error < 0.1, T
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > 0.2 and 0 < gaps[-1] < 0.01, gaps


def test_the_bound_on_correlated_numbers():
    model = correlated(quiet("cosine", 500))
    x = quantised(draw(model, 20_000))
    mean, error = off_by(variational_bits(model, x, 10, generator=generator()).total, truth(model, x))
    assert -3 * error < mean < 0.01 + 3 * error and error < 0.015


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_each_term_is_what_the_paper_says_of_a_gaussian(name):
    schedule = quiet(name, BINS)  # a term a bin
    model = diagonal(schedule)
    found = variational_bits(model, quantised(draw(model, 20_000)), None, generator=generator())
    _, between = expected(schedule, found.variance)
    torch.testing.assert_close(found.by_time[1:], between, rtol=0.02, atol=1e-4)
    assert float(found.by_time[0]) == 0 and found.counts.tolist() == [0] + [20_000] * (BINS - 1)


def test_fewer_times_estimate_the_same_sum():
    model = diagonal(quiet("cosine", 100))
    x = quantised(draw(model, 4000))
    whole = variational_bits(model, x, None, generator=generator(1), batch=3000)
    few = variational_bits(model, x, 12, generator=generator(2))
    mean, error = off_by(few.total - few.decoder, whole.total - whole.decoder)  # L_0 is drawn once in both
    assert abs(mean) < 3 * error and error < 0.02
    assert whole.times == 99 and few.times == 12 and int(few.counts.sum()) == 12 * 4000
    for found in (whole, few):
        between = found.total - found.prior - found.decoder
        torch.testing.assert_close(found.by_time.sum(), between.mean())
        assert {v.dtype for v in (found.total, found.prior, found.decoder, found.by_time)} == {F64}


@pytest.mark.parametrize("T", [2, 3, 10, 1000])
@pytest.mark.parametrize("zero", [False, True])
def test_runs_cover_every_term_once(T, zero):
    for count in (1, 2, 7, 32, 999, 5000):
        first, size = _runs(quiet("linear", T, zero), torch.arange(T + 1, dtype=torch.float64) / T, count)
        assert len(first) == min(count, T - 1) and int(size.min()) >= 1
        covered = torch.cat([torch.arange(int(f), int(f + n)) for f, n in zip(first, size, strict=True)])
        assert covered.tolist() == list(range(2, T + 1))


class Learned:
    """A model that has learned a share of the way between the small and the large variance."""

    def __init__(self, model, share):
        self.model, self.share, self.schedule = model, share, model.schedule

    def __call__(self, x_t, t, cond=None):
        prediction = self.model(x_t, t)
        return dataclasses.replace(prediction, variance=torch.full_like(x_t, self.share))


@pytest.mark.parametrize("steps", [2, 3, 7, 50])
@pytest.mark.parametrize("variance", ["small", "large", "learned"])
def test_fewer_steps_are_the_chain_of_their_own_betas(steps, variance):
    """Nichol & Dhariwal 2021, sec. 4: the bound of a respaced chain is that of a table with its betas."""
    schedule = quiet("cosine", 1000)
    times = torch.tensor(time_grid(schedule, steps)[::-1], dtype=F64)
    alpha_bar = torch.cat([torch.ones(1, dtype=F64), schedule.alpha_bar(times[1:])])
    own = TableSchedule(1 - alpha_bar[1:] / alpha_bar[:-1], "respaced")
    x = quantised(draw(diagonal(schedule), 50))
    found, expected = (
        variational_bits(Learned(diagonal(s), 0.3), x, None, generator=generator(3), variance=variance, steps=k)
        for s, k in ((schedule, steps), (own, None))
    )
    for name in ("total", "prior", "decoder"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-9)
    assert found.variance == variance and found.times == expected.times == steps - 1


def test_the_learned_variance_is_used_and_otherwise_the_better_one():
    model = diagonal(quiet("cosine", 50))
    x = quantised(draw(model, 300))
    plain = variational_bits(model, x, None, generator=generator())
    small, half, large = (
        variational_bits(Learned(model, share), x, None, generator=generator()) for share in (0.0, 0.5, 1.0)
    )
    assert {small.variance, half.variance, large.variance} == {"learned"}
    better = min(small, large, key=lambda found: float(found.total.mean()))
    assert plain.variance == ("small" if better is small else "large")
    torch.testing.assert_close(plain.total, better.total)
    assert not torch.equal(half.total, better.total)


# --- both ---------------------------------------------------------------------------------------------------------


class Told(nn.Module):
    """A backbone that shifts by its label and remembers which labels it was told."""

    def __init__(self):
        super().__init__()
        self.gain, self.seen = nn.Parameter(torch.tensor(0.1)), []

    def forward(self, x, c_noise, cond):
        self.seen.append(None if cond is None else cond.tolist())
        return self.gain * x + (0 if cond is None else cond.reshape(-1, 1, 1, 1).to(x))


@pytest.mark.parametrize("name", ["cosine", "flow"])
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_nets_get_their_labels_and_leave_no_graph(name, guard):
    net = Told()
    model = NetDenoiser(net, quiet(name, 100))
    x, labels = quantised(0.2 * randn(6, 1, 2, 2)).float(), torch.tensor([0, 1, 2, 3, 4, 5])
    ways = [lambda **a: ode_bits(model, x, 2, generator=generator(), **a).total]
    if name == "cosine":
        ways.append(lambda **a: variational_bits(model, x, 3, generator=generator(), **a).total)
    for way in ways:
        net.seen.clear()
        with guard():
            whole, cut, none = way(cond=labels), way(cond=labels, batch=4), way()
        assert not whole.requires_grad and net.gain.grad is None
        torch.testing.assert_close(whole, cut)
        assert not torch.allclose(whole, none)
        assert {str(s) for s in net.seen} == {"[0, 1, 2, 3, 4, 5]", "[0, 1, 2, 3]", "[4, 5]", "None"}
    told = ode_bits(condition(model, labels), x, 2, generator=generator()).total
    torch.testing.assert_close(told, ode_bits(model, x, 2, generator=generator(), cond=labels).total)


def test_a_clipped_model_can_be_better_and_progress_is_told():
    model = Gaussian(torch.zeros(1, 2, 2, dtype=F64), torch.eye(4, dtype=F64), quiet("linear", 100))
    x = draw(diagonal(model.schedule), 200).sign()  # at the ends of the range, which the model does not know
    seen = []
    free = variational_bits(model, x, 20, generator=generator(), batch=150, progress=lambda *p: seen.append(p))
    held = variational_bits(clip(model), x, 20, generator=generator())
    assert float(held.total.mean()) < float(free.total.mean()) - 0.05
    assert seen == sorted(seen) and seen[-1] == (21 * 200, 21 * 200)
    ode_bits(model, x, 3, generator=generator(), batch=150, progress=lambda *p: seen.append(p))
    assert seen[-1] == (600, 600)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, x: variational_bits(diagonal(quiet("flow")), x, generator=generator()), "discrete schedule"),
        (lambda m, x: variational_bits(m, x, 0, generator=generator()), "at least 1 time"),
        (lambda m, x: ode_bits(m, x, 0, generator=generator()), "at least 1 step"),
        (lambda m, x: ode_bits(m, x, probes=0, generator=generator()), "1 probe"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, says):
    model = diagonal(quiet("cosine"))
    with pytest.raises(ValueError, match=says):
        call(model, draw(model, 2))

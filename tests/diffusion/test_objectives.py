"""Losses, weights, times and the variational bound, against formulas written out again here."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from diffusion_toys import EVERY, F64, T_VALUES, correlated_gaussian, generator, quiet, randn, two_bumps

from noisette.diffusion.denoisers import SPACES, NetDenoiser, Prediction, expand
from noisette.diffusion.exact import Gaussian
from noisette.diffusion.objectives import (
    DISTANCES,
    TIMES,
    WEIGHTS,
    ImportanceTimes,
    LogitNormalTimes,
    Objective,
    StratifiedTimes,
    discretised_gaussian_log_likelihood,
    huber,
    l2,
    min_snr,
    prior_term,
    space_factor,
    variational_term,
)
from noisette.diffusion.samplers import posterior, reverse_log_variance

NORMAL = NormalDist()
GAUSS = {}  # nodes and weights for the expectation over N(0, 1)
for size in (3, 40):
    nodes, weights = np.polynomial.hermite_e.hermegauss(size)
    GAUSS[size] = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def noised(schedule, x0, noise, t):
    a, s = schedule.level(t)
    return expand(a, x0) * x0 + expand(s, x0) * noise


# --- distances ------------------------------------------------------------------------------------------------------

FORMULAS = {
    "l1": lambda d: abs(d),
    "l2": lambda d: d * d,
    "huber": lambda d: 0.5 * d * d if abs(d) <= 1 else abs(d) - 0.5,
    "charbonnier": lambda d: math.sqrt(d * d + 1e-6),
}


@pytest.mark.parametrize("name", DISTANCES)
def test_distances(name):
    x, y = 2 * randn(3, 4), randn(3, 4, seed=1)
    expected = [FORMULAS[name](float(d)) for d in (x - y).flatten()]
    torch.testing.assert_close(DISTANCES[name](x, y).flatten(), torch.tensor(expected, dtype=F64), rtol=1e-12, atol=0)
    assert DISTANCES[name](x, x).abs().max() <= 1.0001e-3


def test_huber_delta():
    x, y = torch.tensor([3.0], dtype=F64), torch.tensor([0.0], dtype=F64)
    assert float(huber(x, y, delta=0.5)) == pytest.approx(0.5 * (3 - 0.25))


# --- weights --------------------------------------------------------------------------------------------------------

# What the papers print for a variance-preserving schedule, by the space that the loss is taken in.
CLOSED = {
    ("uniform", "eps"): lambda s: 1,
    ("uniform", "v"): lambda s: 1,
    ("snr", "x0"): lambda s: s,
    ("snr", "eps"): lambda s: 1,
    ("snr", "v"): lambda s: s / (s + 1),
    ("truncated_snr", "x0"): lambda s: max(s, 1),
    ("truncated_snr", "eps"): lambda s: max(1, 1 / s),
    ("min_snr", "x0"): lambda s: min(s, 5),  # Hang et al. 2023, sec. 3.4
    ("min_snr", "eps"): lambda s: min(s, 5) / s,
    ("min_snr", "v"): lambda s: min(s, 5) / (s + 1),
    # Karras et al. 2022, table 1: lambda(sigma) = (sigma^2 + sd^2) / (sigma sd)^2 with 1/sigma^2 the SNR
    ("edm", "x0"): lambda s: (1 / s + 0.25) / (1 / s * 0.25),
}


@pytest.mark.parametrize(("weight", "space"), CLOSED)
def test_weights_are_the_papers(weight, space):
    schedule = quiet("cosine")
    t = torch.linspace(0.05, 0.95, 19, dtype=F64)
    level = schedule.level(t)
    snr = schedule.snr(t)
    got = WEIGHTS[weight](snr, space_factor(level, space))
    expected = torch.tensor([CLOSED[weight, space](float(s)) for s in snr], dtype=F64)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=0)
    assert {name for name, _ in CLOSED} == set(WEIGHTS)


def test_min_snr_gamma():
    assert float(min_snr(torch.tensor(4.0), torch.tensor(1.0), gamma=2.0)) == 2


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_an_x0_error_seen_in_every_space(name, zero):
    """space_factor, and that one weight means one loss whatever the space of an l2 objective."""
    schedule = quiet(name, 1000, zero)
    t = torch.linspace(schedule.t_min, 0.9, 6, dtype=F64)
    x0, noise = randn(6, 2, 3), randn(6, 2, 3, seed=1)

    class Off:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x_t, t, cond=None):
            return Prediction(x_t, x0 + 0.1 * randn(6, 2, 3, seed=2), *schedule.level(t))

    in_x0 = (0.1 * randn(6, 2, 3, seed=2)).square().flatten(1).mean(1)
    for space in SPACES:
        losses = Objective(space)(Off(), x0, t, noise)
        expected = in_x0 * space_factor(schedule.level(t), space)
        torch.testing.assert_close(losses.simple, expected, rtol=1e-7, atol=1e-9)
        assert losses.vlb is None and torch.equal(losses.t, t) and torch.equal(losses.total, losses.simple)
    for weight in WEIGHTS:
        if weight != "uniform":
            totals = [Objective(space, weight=WEIGHTS[weight])(Off(), x0, t, noise).total for space in SPACES]
            for total in totals:
                torch.testing.assert_close(total, totals[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", ("cosine", "flow", "edm"))
def test_losses_and_gradients_are_finite_at_both_ends(weight, space, name):
    schedule = quiet(name, 1000, True)
    shift = torch.zeros(1, requires_grad=True)
    t = torch.tensor([schedule.t_min, 0.5, 1.0], dtype=F64)
    model = two_bumps(schedule)

    def moved(x_t, t, cond=None):
        prediction = model(x_t, t)
        return prediction.with_x0(prediction.x0 + shift)

    moved.schedule = schedule
    losses = Objective(space, weight=WEIGHTS[weight])(moved, randn(3, 2).float(), t, randn(3, 2, seed=1).float())
    losses.total.sum().backward()
    assert losses.total.isfinite().all() and shift.grad.isfinite().all()
    assert losses.total.dtype == torch.float32


def test_user_distance_and_wrong_shape():
    schedule = quiet("cosine")
    model = two_bumps(schedule)
    x0, noise = randn(4, 2), randn(4, 2, seed=1)
    cubed = Objective("x0", lambda x, y: (x - y).abs() ** 3)(model, x0, 0.5, noise)
    x_t = noised(schedule, x0, noise, torch.tensor(0.5))
    torch.testing.assert_close(cubed.simple, ((model(x_t, 0.5).x0 - x0).abs() ** 3).mean(1))
    with pytest.raises(ValueError, match=r"expected shape \(4, 2\), got \(\)"):
        Objective("x0", torch.nn.functional.mse_loss)(model, x0, 0.5, noise)
    with pytest.raises(ValueError, match=r"got \(4,\)"):
        Objective("x0", lambda x, y: (x - y).square().mean(1))(model, x0, 0.5, noise)
    with pytest.raises(ValueError, match="unknown space"):
        Objective("score")


@pytest.fixture(scope="module")
def mixture_batch():
    schedule = quiet("cosine")
    model = two_bumps(schedule)
    n = 5000
    g = generator(3)
    k = torch.multinomial(model.weights, n, replacement=True, generator=g)
    x0 = model.means[k] + model.stds[k, None] * torch.randn(n, 2, generator=g, dtype=F64)
    noise, t = torch.randn(n, 2, generator=g, dtype=F64), 0.1 + 0.85 * torch.rand(n, generator=g, dtype=F64)
    return schedule, x0, noise, t, model(noised(schedule, x0, noise, t), t)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_exact_denoiser_is_the_minimiser_of_every_l2_objective(space, weight, mixture_batch):
    """Moving x0 in any direction: the loss has zero slope, within its sampling error, and rises both ways."""
    schedule, x0, noise, t, exact = mixture_batch
    directions = {
        "shift": torch.ones_like(x0),
        "shrink": exact.x0,
        "lean on x_t": exact.x_t,
        "bend": torch.sin(3 * exact.x_t),
    }

    def loss(change):
        def perturbed(x_t, t, cond=None):
            return exact.with_x0(exact.x0 + change)

        perturbed.schedule = schedule
        return Objective(space, l2, WEIGHTS[weight])(perturbed, x0, t, noise).total

    best = loss(0.0)
    for name, direction in directions.items():
        slope = loss(0.01 * direction) - loss(-0.01 * direction)
        assert abs(float(slope.mean())) < 4 * float(slope.std()) / math.sqrt(len(t)), name
        rise = loss(0.3 * direction) - best
        assert float(rise.mean()) > 4 * float(rise.std()) / math.sqrt(len(t)), name


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("T", (2, 10, 300, 1000))
def test_times_lie_where_the_schedule_trains(kind, name, zero, T):
    schedule = quiet(name, T, zero)
    times = TIMES[kind]()
    t, weight = times.draw(500, schedule, generator(1))
    assert t.shape == weight.shape == (500,) and t.dtype == weight.dtype == F64
    assert (t >= schedule.t_min).all() and (t <= 1).all()
    assert torch.equal(schedule.snap(t), t)
    again, _ = TIMES[kind]().draw(500, schedule, generator(1))
    assert torch.equal(again, t), "a function of the generator alone"


@pytest.mark.parametrize("T", (2, 7, 1000))
def test_every_table_point_is_equally_likely(T):
    n = 200_000
    for kind in ("uniform", "stratified", "importance"):
        t, _ = TIMES[kind]().draw(n, quiet("cosine", T), generator(2))
        counts = torch.bincount((t * T).round().long(), minlength=T + 1)
        assert counts[0] == 0
        expected = n / T
        assert (counts[1:] - expected).abs().max() < 5 * math.sqrt(expected), kind


@pytest.mark.parametrize("n", (1, 4, 37, 128))
def test_stratified_times_have_one_in_each_slice(n):
    for schedule in (quiet("flow"), quiet("cosine", 10_000)):
        t, weight = StratifiedTimes().draw(n, schedule, generator(n))
        u = (t - schedule.t_min) / (1 - schedule.t_min) if schedule.steps is None else t - 0.5 / schedule.steps
        slices = (u * n).floor().long()
        if schedule.steps is None or 10_000 % n == 0:
            assert torch.equal(slices.sort().values, torch.arange(n))
        assert (t.sort().values - (torch.arange(n) + 0.5) / n).abs().max() <= 0.5 / n + 1.1e-3
        assert (weight == 1).all()
    order = StratifiedTimes().draw(64, quiet("flow"), generator(0))[0]
    assert not torch.equal(order, order.sort().values), "shuffled, so that no sample always gets the same slice"


def test_logit_normal_moments_and_slices():
    t, _ = LogitNormalTimes(0.5, 0.8).draw(100_000, quiet("flow"), generator(4))
    z = torch.logit(t)
    assert z.mean() == pytest.approx(0.5, abs=0.02) and z.std() == pytest.approx(0.8, abs=0.02)
    t, _ = LogitNormalTimes().draw(32, quiet("flow"), generator(0))
    slices = (torch.special.ndtr(torch.logit(t)) * 32).floor().long()
    assert torch.equal(slices.sort().values, torch.arange(32))
    assert not torch.equal(slices, torch.arange(32)), "shuffled"


def filled(schedule, loss, bins=20, history=10):
    times = ImportanceTimes(bins, history)
    g = generator(5)
    for _ in range(60):
        t, _ = times.draw(64, schedule, g)
        times.update(t, loss(t))
    return times


def peaked(t):
    return 0.2 + 3 * torch.exp(-(((t - 0.3) / 0.1) ** 2))


@pytest.mark.parametrize("name", ("cosine", "flow"))
def test_importance_sampling_is_unbiased_and_prefers_high_losses(name):
    schedule = quiet(name)
    times = filled(schedule, peaked)
    p = times.probabilities()
    assert p.sum() == pytest.approx(1) and p.max() > 4 * p.min() and int(p.argmax()) in (5, 6)
    # the paper's eq. 18, with the losses that each bin remembers
    root = times.losses.square().mean(1).sqrt()
    torch.testing.assert_close(p, 0.999 * root / root.sum() + 0.001 / 20)
    n = 100_000
    t, weight = times.draw(n, schedule, generator(6))
    values = peaked(t)
    every = peaked(torch.arange(1, 100_001, dtype=F64) / 100_000 if schedule.steps is None else _points(schedule))
    estimate, plain = weight * values, peaked(TIMES["uniform"]().draw(n, schedule, generator(7))[0])
    assert float(estimate.mean()) == pytest.approx(float(every.mean()), abs=4 * float(estimate.std()) / n**0.5 + 5e-4)
    assert estimate.var() < plain.var() / 3, "and that is what it is for"
    assert float(weight.mean()) == pytest.approx(1, abs=0.02)


def _points(schedule):
    return torch.arange(1, schedule.steps + 1, dtype=F64) / schedule.steps


@pytest.mark.parametrize("T", (2, 3, 10, 49, 50, 51, 75, 107, 1000))
def test_importance_sampling_starts_to_prefer_on_every_table(T):
    """Each drawn t counts for a bin that can be drawn, so that the history fills whatever T is."""
    schedule = quiet("cosine", T)
    times = filled(schedule, lambda t: torch.where(t > 0.5, 2.0, 1.0), bins=50, history=2)
    p = times.probabilities()
    assert (times.seen >= 2).all() and len(p) == min(T, 50)
    assert p[-1] > 1.8 * p[0]
    n = 100_000
    t, weight = times.draw(n, schedule, generator(8))
    estimate = float((weight * t).mean())
    assert estimate == pytest.approx(float(_points(schedule).mean()), abs=4 * float((weight * t).std()) / n**0.5)


@pytest.mark.parametrize("T", (50, 100, 300, 1000, 4000))
def test_table_points_count_for_the_bin_they_were_drawn_from(T):
    times = ImportanceTimes(50, 1)
    times.update(_points(quiet("cosine", T)), torch.ones(T))
    assert torch.equal(times.seen, torch.full((50,), T // 50))


def test_importance_state_round_trip(tmp_path):
    schedule = quiet("cosine")
    times = filled(schedule, peaked)
    torch.save(times.state_dict(), tmp_path / "state.pt")
    saved = times.state_dict()
    t, weight = times.draw(100, schedule, generator(9))
    times.update(t, 100 * peaked(t))
    other = ImportanceTimes()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    t2, weight2 = other.draw(100, schedule, generator(9))
    assert torch.equal(t, t2) and torch.equal(weight, weight2)
    other.update(t2, 100 * peaked(t2))
    assert torch.equal(times.losses, other.losses) and torch.equal(times.seen, other.seen)
    assert not torch.equal(saved["seen"], times.seen), "a saved state does not move on with the sampler"


def test_zero_losses_stay_uniform():
    times = filled(quiet("cosine"), torch.zeros_like)
    torch.testing.assert_close(times.probabilities(), torch.full((20,), 0.05, dtype=F64))


# --- the variational bound --------------------------------------------------------------------------------------------


def brute_force_kl(mean_q, var_q, mean_p, var_p):
    """KL(N_q || N_p) in nats by the integral itself."""
    z = torch.linspace(-12, 12, 24_001, dtype=F64)
    x = mean_q + math.sqrt(var_q) * z
    log_q = -0.5 * z**2 - 0.5 * math.log(2 * math.pi * var_q)
    log_p = -0.5 * (x - mean_p) ** 2 / var_p - 0.5 * math.log(2 * math.pi * var_p)
    return float((torch.exp(log_q) * (log_q - log_p)).sum() * (z[1] - z[0]) * math.sqrt(var_q))


@pytest.mark.parametrize("variance", ("small", "large", "learned"))
@pytest.mark.parametrize(("name", "zero", "T"), [("linear", False, 10), ("cosine", True, 7), ("cosine", False, 1000)])
def test_variational_terms_by_brute_force(variance, name, zero, T):
    """Everything is derived anew from the betas: means, variances and the divergence."""
    schedule = quiet(name, T, zero)
    betas = schedule.betas.tolist()
    alpha_bar = [1.0]
    for beta in betas:
        alpha_bar.append(alpha_bar[-1] * (1 - beta))
    for i in sorted({2, 3, T // 2 + 1, T - 1, T}):
        beta, a_t, a_s = betas[i - 1], alpha_bar[i], alpha_bar[i - 1]
        posterior_beta = (1 - a_s) / (1 - a_t) * beta
        x0, x0_hat, x_t, share = 0.4, 0.1, -0.7, 0.3
        c0, ct = math.sqrt(a_s) * beta / (1 - a_t), math.sqrt(1 - beta) * (1 - a_s) / (1 - a_t)
        var_p = {
            "small": posterior_beta,
            "large": beta,
            "learned": math.exp(share * math.log(beta) + (1 - share) * math.log(posterior_beta)),
        }[variance]
        expected = brute_force_kl(c0 * x0 + ct * x_t, posterior_beta, c0 * x0_hat + ct * x_t, var_p) / math.log(2)
        one = torch.ones(1, 1, 1, dtype=F64)
        t = torch.tensor([i / T], dtype=F64)
        prediction = Prediction(x_t * one, x0_hat * one, *schedule.level(t), variance=share * one)
        got = float(variational_term(schedule, prediction, x0 * one, t, variance))
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-9), i


def test_learned_variance_lies_between_the_betas_in_log_space():
    schedule = quiet("cosine", 100)
    t = torch.tensor([2, 10, 50, 100], dtype=F64) / 100
    s = t - 1 / 100
    ones = torch.ones(4, 1, 2, dtype=F64)

    def log_variance(share):
        prediction = Prediction(ones, ones, *schedule.level(t), variance=share * ones)
        return reverse_log_variance(schedule, prediction, t, s, "learned")

    q = posterior(schedule, t, s)
    index = (t * 100).round().long() - 1
    torch.testing.assert_close(q.large, schedule.betas[index], rtol=1e-9, atol=0)
    bar = schedule.alpha_bar(s), schedule.alpha_bar(t)
    torch.testing.assert_close(q.small, (1 - bar[0]) / (1 - bar[1]) * q.large, rtol=1e-9, atol=0)
    torch.testing.assert_close(log_variance(1.0)[:, 0, 0], schedule.betas[index].log(), rtol=1e-9, atol=0)
    torch.testing.assert_close(log_variance(0.0)[:, 0, 0], q.small.log(), rtol=1e-12, atol=0)
    middle = 0.5 * (q.small.log() + q.large.log())
    torch.testing.assert_close(log_variance(0.5)[:, 0, 1], middle, rtol=1e-12, atol=0)


def test_the_first_step_uses_the_second_posterior_variance():
    """Nichol & Dhariwal 2021: beta~_1 = 0 has no log, so beta~_2 stands in."""
    schedule = quiet("linear", 100)
    one = torch.ones(1, 1, dtype=F64)
    prediction = Prediction(one, one, *schedule.level(0.01))
    got = reverse_log_variance(schedule, prediction, 0.01, 0.0, "small")
    betas = schedule.betas
    bar1, bar2 = 1 - betas[0], (1 - betas[0]) * (1 - betas[1])
    assert float(got) == pytest.approx(math.log((1 - bar1) / (1 - bar2) * betas[1]), rel=1e-9)
    with pytest.raises(ValueError, match="has not learned"):
        reverse_log_variance(schedule, prediction, 0.02, 0.01, "learned")
    with pytest.raises(ValueError, match="unknown variance"):
        reverse_log_variance(schedule, prediction, 0.02, 0.01, "medium")


def test_the_variational_term_teaches_the_variance_only():
    schedule = quiet("cosine", 20)

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mean, self.spread = torch.nn.Parameter(torch.tensor(0.1)), torch.nn.Parameter(torch.tensor(0.2))

        def forward(self, x, c_noise, cond):
            return torch.cat([self.mean * x, self.spread * torch.ones_like(x)], 1)

    net = Two()
    denoiser = NetDenoiser(net, schedule, "v", learn_variance=True)
    x0, noise, t = randn(20, 1, 3).float().clamp(-1, 1), randn(20, 1, 3, seed=1).float(), _points(schedule)
    losses = Objective("v", vlb=0.5)(denoiser, x0, t, noise)
    mean, spread = torch.autograd.grad(losses.vlb.sum(), (net.mean, net.spread), allow_unused=True, retain_graph=True)
    assert (mean is None or mean == 0) and spread != 0
    mean, spread = torch.autograd.grad(
        losses.simple.sum(), (net.mean, net.spread), allow_unused=True, retain_graph=True
    )
    assert mean != 0 and (spread is None or spread == 0)
    torch.testing.assert_close(losses.total, losses.simple + 0.5 * 20 * losses.vlb)
    assert losses.total.isfinite().all()


def test_discretised_likelihood_sums_to_one():
    levels = torch.linspace(-1, 1, 256, dtype=F64)
    for mean in (-1.4, -1.0, -0.3, 0.0, 0.77, 1.0, 2.0):
        for std in (1e-3, 0.01, 0.3, 2.0):
            log_p = discretised_gaussian_log_likelihood(levels, torch.tensor(mean), torch.tensor(math.log(std)))
            assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-9), (mean, std)
            assert float(log_p.float().exp().sum()) == pytest.approx(1, abs=1e-5)


def test_discretised_likelihood_of_a_level_is_the_integral_over_it():
    mean, std = 0.1, 0.05
    for level in (0, 100, 140, 141, 255):
        x = -1 + 2 * level / 255
        low = -math.inf if level == 0 else x - 1 / 255
        high = math.inf if level == 255 else x + 1 / 255
        expected = NORMAL.cdf((high - mean) / std) - NORMAL.cdf((low - mean) / std)
        got = discretised_gaussian_log_likelihood(
            torch.tensor(x, dtype=F64), torch.tensor(mean), torch.tensor(math.log(std))
        )
        assert float(got.exp()) == pytest.approx(max(expected, 1e-12), rel=1e-6)


def test_both_tails_are_alike_in_float32():
    x = torch.tensor([-5.0, 5.0]) * 0.02
    log_p = discretised_gaussian_log_likelihood(x, torch.zeros(2), torch.full((2,), math.log(0.02)))
    exact = discretised_gaussian_log_likelihood(x.double(), torch.zeros(2).double(), torch.full((2,), math.log(0.02)))
    assert float(log_p[0]) == pytest.approx(float(log_p[1]), abs=1e-3)
    torch.testing.assert_close(log_p.double(), exact, rtol=0, atol=0.02)


def test_prior_term():
    schedule = quiet("linear", 300, scaled=False)
    x0 = randn(5, 1, 4)
    a, s = (float(v) for v in schedule.level(1.0))
    expected = [
        sum(brute_force_kl(a * float(v), s**2, 0.0, 1.0) for v in row.flatten()) / 4 / math.log(2) for row in x0
    ]
    torch.testing.assert_close(prior_term(schedule, x0), torch.tensor(expected, dtype=F64), rtol=1e-6, atol=1e-9)
    assert (prior_term(quiet("cosine", 1000, True), x0) == 0).all()


@pytest.mark.parametrize("variance", ("learned", "large", "small"))
def test_the_bound_against_the_bits_of_gaussian_data(variance):
    """Sum of all terms + prior = entropy of 8-bit Gaussian data + what a wrong reverse variance costs.

    To 0.04 bits/dim, which is what the 8-bit grid does to the last step, whose noise is hardly wider than a level.
    With the reverse chain's own variance (a "learned" one that is perfect) the exact denoiser's bound is tight. A fixed
    variance w costs (log(w/v) + v/w - 1)/2 nats a step where v is the right one: `small` is right for data that are
    one point, and loses more than half a bit in the first steps, where these data look wide (Nichol & Dhariwal 2021,
    fig. 2). Nothing is drawn at random: data over all 256 levels, noise by Gauss-Hermite nodes, which are exact for
    the quadratic terms.
    """
    T, std = 300, 0.25
    schedule = quiet("cosine", T)
    model = Gaussian(torch.zeros(1, dtype=F64), torch.tensor([[std**2]], dtype=F64), schedule)
    levels = torch.linspace(-1, 1, 256, dtype=F64)
    log_p = discretised_gaussian_log_likelihood(levels, torch.tensor(0.0), torch.tensor(math.log(std)))
    entropy = -float((log_p.exp() * log_p).sum()) / math.log(2)
    bits = float((log_p.exp() * prior_term(schedule, levels[:, None])).sum())
    cost = 0.0
    for i in range(1, T + 1):
        nodes, weights = GAUSS[40 if i == 1 else 3]
        x0 = levels.repeat_interleave(len(nodes))[:, None]
        t = torch.full((len(x0),), i / T, dtype=F64)
        x_t = noised(schedule, x0, nodes.repeat(256)[:, None], t)
        prediction = model(x_t, t)
        a, s = schedule.level(i / T)
        q = posterior(schedule, i / T, (i - 1) / T)
        right = (q.small + q.of_x0**2 * (std**2 * s**2 / (a**2 * std**2 + s**2))).log()
        low, high = (
            reverse_log_variance(schedule, prediction, i / T, (i - 1) / T, kind) for kind in ("small", "large")
        )
        if variance == "learned":
            share = ((right - low) / (high - low)).expand_as(x0)
            prediction = replace(prediction, variance=share)
        else:
            log_ratio = float((low if variance == "small" else high) - right)
            cost += 0.5 * (log_ratio + math.exp(-log_ratio) - 1) / math.log(2)
        terms = variational_term(schedule, prediction, x0, t, variance)
        bits += float((log_p.exp() * (terms.reshape(256, -1) @ weights)).sum())
    assert bits - entropy == pytest.approx(cost, abs=0.04)
    assert cost > 0.5 if variance == "small" else cost < 0.1


def test_the_bound_needs_a_table():
    one = torch.ones(1, 1, dtype=F64)
    schedule = quiet("flow")
    with pytest.raises(ValueError, match="discrete"):
        variational_term(schedule, Prediction(one, one, *schedule.level(0.5)), one, torch.tensor([0.5]))


@pytest.mark.parametrize("T", T_VALUES)
def test_terms_are_finite_at_every_table_point_in_float32(T):
    schedule = quiet("cosine", T, True)
    t = _points(schedule)[:: max(T // 500, 1)]
    x0 = randn(len(t), 1, 3).float().clamp(-1, 1)
    x_t = noised(schedule, x0, randn(len(t), 1, 3, seed=1).float(), t)
    prediction = correlated_gaussian(schedule)(x_t, t)
    for variance in ("small", "large"):
        term = variational_term(schedule, prediction, x0, t, variance)
        assert term.isfinite().all() and (term >= -1e-5).all()

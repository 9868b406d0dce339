"""The exact models against brute-force integration in one dimension, and at the ends of time."""

import math

import pytest
import torch
from diffusion_toys import EVERY, F64, correlated_gaussian, covariance, quiet, randn

from noisette.diffusion.exact import Empirical, Gaussian, Mixture, PointMass

GRID = torch.linspace(-8, 8, 40_001, dtype=F64)


def by_integration(log_density, x, alpha, sigma):
    """E[x0 | x_t = x] = integral of x0 p(x0) N(x; alpha x0, sigma^2) over x0, divided by its mass."""
    log_w = log_density - (x - alpha * GRID) ** 2 / (2 * sigma**2)
    w = torch.exp(log_w - log_w.max())
    return float((GRID * w).sum() / w.sum())


def normal(x, mean, std):
    return -((x - mean) ** 2) / (2 * std**2) - math.log(std)


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_posterior_means_by_integration(name, zero):
    schedule = quiet(name, 1000, zero)
    gaussian = Gaussian(torch.tensor([0.3], dtype=F64), torch.tensor([[0.49]], dtype=F64), schedule)
    means, stds, weights = (torch.tensor(v, dtype=F64) for v in ([-1.0, 0.4, 1.1], [0.2, 0.5, 0.1], [0.2, 0.5, 0.3]))
    mixture = Mixture(means[:, None], stds, schedule, weights)
    log_mixture = torch.logsumexp(
        torch.stack([math.log(w) + normal(GRID, m, s) for w, m, s in zip(weights, means, stds, strict=True)]), 0
    )
    for t in (0.05, 0.3, 0.5, 0.8, 1.0):
        alpha, sigma = (float(v) for v in schedule.level(t))
        if sigma < 3e-3:
            continue  # narrower than the grid can integrate
        for x in (-1.3 * (alpha + sigma), 0.2, 0.9 * (alpha + sigma)):
            x_t = torch.tensor([[x]], dtype=F64)
            expected = by_integration(normal(GRID, 0.3, 0.7), x, alpha, sigma)
            assert float(gaussian(x_t, t).x0) == pytest.approx(expected, abs=1e-7)
            expected = by_integration(log_mixture, x, alpha, sigma)
            assert float(mixture(x_t, t).x0) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("name", ("cosine", "edm", "flow"))
def test_empirical_by_its_sum(name):
    schedule = quiet(name)
    data = randn(7, 2, 3)
    model = Empirical(data, schedule)
    x = randn(5, 2, 3, seed=1)
    for t in (0.2, 0.6, 1.0):
        alpha, sigma = schedule.level(t)
        log_w = -(x[:, None] - alpha * data).square().sum((2, 3)) / (2 * sigma**2)
        expected = torch.einsum("nk,kcd->ncd", torch.softmax(log_w, 1), data)
        torch.testing.assert_close(model(x, t).x0, expected, rtol=1e-9, atol=1e-9)


def test_a_gaussian_is_a_mixture_of_one():
    schedule = quiet("cosine")
    mean = torch.tensor([[0.5, -0.3]], dtype=F64)
    one = Mixture(mean[None], torch.tensor([0.4], dtype=F64), schedule)
    gaussian = Gaussian(mean, 0.16 * torch.eye(2, dtype=F64), schedule)
    x = randn(4, 1, 2)
    torch.testing.assert_close(one(x, 0.4).x0, gaussian(x, 0.4).x0, rtol=1e-12, atol=1e-12)


def test_gaussian_posterior_by_the_matrix_formula():
    """mean + alpha C (alpha^2 C + sigma^2 I)^-1 (x - alpha mean), with a full covariance and per-sample times."""
    schedule = quiet("linear")
    model = correlated_gaussian(schedule)
    C, mean = covariance(model), model.mean
    x, t = randn(5, 1, 3), torch.tensor([0.01, 0.2, 0.5, 0.9, 1.0], dtype=F64)
    got = model(x, t).x0
    for k in range(5):
        a, s = schedule.level(t[k])
        gain = a * C @ torch.linalg.inv(a**2 * C + s**2 * torch.eye(3, dtype=F64))
        expected = mean[0] + gain @ (x[k, 0] - a * mean[0])
        torch.testing.assert_close(got[k, 0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_gaussian_flow_solves_the_ode(name, zero):
    """d(x/alpha)/d(sigma/alpha) = eps along the solution, by a central difference; and it is a flow."""
    schedule = quiet(name, 1000, zero)
    model = correlated_gaussian(schedule)
    x = randn(4, 1, 3)
    for t in (0.15, 0.5, 0.85):
        h = 1e-5
        near, far = model.flow(x, t, t - h), model.flow(x, t, t + h)
        (a0, s0), (a1, s1) = schedule.level(t - h), schedule.level(t + h)
        slope = (far / a1 - near / a0) / (s1 / a1 - s0 / a0)
        # table levels are linear between points, so a kink at t is straddled: still the same path over sigma/alpha
        torch.testing.assert_close(slope, model(x, t).eps, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(model.flow(model.flow(x, 1.0, 0.4), 0.4, 0.0), model.flow(x, 1.0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.flow(model.flow(x, 0.3, 0.0), 0.0, 0.3), x, rtol=1e-9, atol=1e-9)
    each = model.flow(x, torch.tensor([0.2, 0.4, 0.6, 1.0], dtype=F64), 0.1)
    torch.testing.assert_close(each[2:3], model.flow(x[2:3], 0.6, 0.1), rtol=1e-12, atol=1e-12)


def test_gaussian_flow_maps_noise_onto_the_data_distribution():
    schedule = quiet("cosine", 1000, True)
    model = correlated_gaussian(schedule)
    basis = torch.cat([torch.zeros(1, 3, dtype=F64), torch.eye(3, dtype=F64)]).reshape(4, 1, 3)
    out = model.flow(basis, 1.0).flatten(1)
    linear = (out[1:] - out[0]).T  # the map is affine: x -> out[0] + linear x
    torch.testing.assert_close(out[0], model.mean[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(linear @ linear.T, covariance(model), rtol=0, atol=1e-12)


MODELS = {
    "point": lambda schedule, dtype: PointMass(torch.tensor([[0.3, -0.2, 0.9]], dtype=dtype), schedule),
    "gaussian": lambda schedule, dtype: Gaussian(
        torch.tensor([[0.3, -0.2, 0.9]], dtype=dtype), torch.diag(torch.tensor([0.5, 0.1, 0.0], dtype=dtype)), schedule
    ),
    "mixture": lambda schedule, dtype: Mixture(
        randn(4, 1, 3).to(dtype), torch.tensor([0.0, 0.1, 0.2, 0.5], dtype=dtype), schedule
    ),
    "zero weight": lambda schedule, dtype: Mixture(
        randn(3, 1, 3).to(dtype), torch.zeros(3), schedule, torch.tensor([0.0, 0.5, 0.5])
    ),
    "empirical": lambda schedule, dtype: Empirical(randn(50, 1, 3).to(dtype), schedule),
}


@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", (torch.float32, F64))
def test_finite_at_both_ends_of_time(kind, name, zero, dtype):
    schedule = quiet(name, 10_000, zero)
    model = MODELS[kind](schedule, dtype)
    for t in (schedule.t_min, 1e-2, 0.5, 1.0):
        a, s = schedule.level(t)
        for x in (
            (3 * randn(6, 1, 3) * (a + s)).to(dtype),
            1e3 * torch.ones(2, 1, 3, dtype=dtype),
            torch.zeros(2, 1, 3, dtype=dtype),
        ):
            prediction = model(x, t)
            assert prediction.x0.dtype == dtype
            for space in ("x0", "eps", "v", "flow"):
                assert prediction.view(space).isfinite().all(), (t, space)


@pytest.mark.parametrize("kind", MODELS)
def test_without_signal_the_mean_of_the_data_is_all_one_can_say(kind):
    model = MODELS[kind](quiet("cosine", 1000, True), F64)
    means = {
        "point": lambda: model.point,
        "gaussian": lambda: model.mean,
    }.get(kind, lambda: torch.einsum("k,kcd->cd", model.weights.double(), model.means))()
    out = model(randn(3, 1, 3, seed=9), 1.0).x0
    torch.testing.assert_close(out, means.expand(3, 1, 3), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ("linear", "cosine", "edm", "flow"))
def test_almost_clean_data_are_left_as_they_are(name):
    schedule = quiet(name)
    data = randn(20, 1, 8)
    noise = randn(20, 1, 8, seed=3)
    t = schedule.t_min
    a, s = schedule.level(t)
    x = a * data + s * noise
    torch.testing.assert_close(Empirical(data, schedule)(x, t).x0, data, rtol=0, atol=1e-12)
    model = correlated_gaussian(schedule)
    x = randn(5, 1, 3)
    assert (model(a * x + s * randn(5, 1, 3, seed=1), t).x0 - x).abs().max() < 10 * float(s / a)


@pytest.mark.parametrize("name", ("linear", "cosine", "edm", "flow"))
@pytest.mark.parametrize("offset", (0.0, 1.0))
def test_empirical_in_float32_tells_near_duplicates_apart(name, offset):
    """At sigma = 0.002 two pictures may differ by a few grey levels and still be told apart with certainty."""
    schedule = quiet(name)
    base = offset + randn(1, 1, 28, 28).clamp(-1, 1)
    data = (base + 0.01 * randn(40, 1, 28, 28, seed=1)).float()
    t = max(schedule.t_min, float(schedule.t_of_log_snr(-2 * math.log(0.003))))
    a, s = (float(v) for v in schedule.level(t))
    x = a * data + s * randn(40, 1, 28, 28, seed=2).float()
    exact = Empirical(data.double(), schedule)(x.double(), t).x0
    got = Empirical(data, schedule)(x, t).x0
    assert (got - exact).abs().max() < 1e-3


def test_refusals():
    schedule = quiet("cosine")
    with pytest.raises(ValueError, match="3 x 3"):
        Gaussian(torch.zeros(3), torch.eye(2), schedule)
    with pytest.raises(ValueError, match="one std a mean"):
        Mixture(torch.zeros(3, 1), torch.zeros(2), schedule)


def test_a_gaussian_fitted_to_samples_has_their_moments():
    model = correlated_gaussian(quiet("cosine"))
    data = randn(500, model.mean.numel()) @ torch.linalg.cholesky(covariance(model)).T + model.mean
    fitted = Gaussian.fitted(data, model.schedule, components=data.shape[1])
    torch.testing.assert_close(fitted.mean, data.mean(0))
    torch.testing.assert_close(covariance(fitted), torch.cov(data.T, correction=0))


def test_few_components_are_exact_where_the_rest_is_even():
    """Data that vary in three directions of their own and evenly in all others: three components say it all."""
    schedule, size = quiet("cosine"), 12
    axes = torch.linalg.qr(randn(size, size, seed=3)).Q
    spread = torch.tensor([9.0, 4.0, 2.0] + [0.25] * (size - 3), dtype=F64)
    flat = torch.linalg.qr(randn(400, size, seed=4) - randn(400, size, seed=4).mean(0)).Q  # orthonormal columns
    data = (400**0.5 * flat * spread.sqrt() @ axes.T + 0.3).reshape(400, 1, 3, 4)
    few = Gaussian.fitted(data, schedule, 3, torch.Generator().manual_seed(0))
    all_of_them = Gaussian.fitted(data, schedule, size)
    x = randn(6, 1, 3, 4, seed=5)
    for t in (0.1, 0.5, 0.9):
        torch.testing.assert_close(few(x, t).x0, all_of_them(x, t).x0, rtol=0, atol=2e-3)
        torch.testing.assert_close(few.flow(x, t, 0.05), all_of_them.flow(x, t, 0.05), rtol=0, atol=2e-3)

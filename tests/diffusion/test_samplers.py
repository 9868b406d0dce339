"""Every sampler on every grid and schedule, against problems that are solved on paper."""

import itertools
import math

import pytest
import torch
from diffusion_toys import (
    EVERY,
    F64,
    T_VALUES,
    Counted,
    Elementwise,
    correlated_gaussian,
    covariance,
    noise_for,
    quiet,
    randn,
    run,
    two_bumps,
)

from noisette.diffusion.denoisers import clip, guide
from noisette.diffusion.exact import PointMass
from noisette.diffusion.samplers import (
    GRIDS,
    SAMPLERS,
    VARIANCES,
    SampleNoise,
    adds_noise,
    ddim,
    ddpm,
    network_calls,
    posterior,
    start,
    time_grid,
)
from noisette.diffusion.schedules import TableSchedule

OPTIONS = {
    "ddpm": [{}, {"variance": "large"}],
    "ddim": [{}, {"eta": 0.5}, {"eta": 1.0}],
    "heun": [{}, {"churn": 3.0}],
    "euler": [{}, {"churn": 3.0}],
    "dpmpp_2m": [{}],
    "dpmpp_2m_sde": [{}],
}
EVERY_SAMPLER = [(name, options) for name in SAMPLERS for options in OPTIONS[name]]


# --- grids ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("T", T_VALUES)
def test_grids_fall_to_zero(kind, name, zero, T):
    schedule = quiet(name, T, zero)
    for steps in (1, 2, 3, 7, 10, 50, 299, T):
        if schedule.steps and steps > T and kind not in ("log_snr", "karras"):
            with pytest.raises(ValueError, match=f"at most {T}"):
                time_grid(schedule, steps, kind)
            continue
        ts = time_grid(schedule, steps, kind)
        assert len(ts) == steps + 1 and all(type(t) is float for t in ts)
        assert ts[-1] == 0 and ts[0] <= 1 and ts[-2] >= schedule.t_min * (1 - 1e-9)
        assert all(t > s for t, s in itertools.pairwise(ts)), "every step goes down"
        if kind != "leading":
            assert ts[0] == 1
        if kind in ("linspace", "log_snr", "karras") and steps > 1:
            assert ts[-2] == pytest.approx(schedule.t_min, rel=1e-6)
        if schedule.steps and kind in ("trailing", "leading", "linspace"):
            assert torch.equal(schedule.snap(torch.tensor(ts[:-1], dtype=F64)), torch.tensor(ts[:-1], dtype=F64))
            if steps == T:
                assert ts == [i / T for i in range(T, -1, -1)]


def test_grids_by_their_formulas():
    edm = quiet("edm")
    sigmas = edm.sigma(torch.tensor(time_grid(edm, 18, "karras"), dtype=F64))
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    expected = [(high + k / 17 * (low - high)) ** 7 for k in range(18)]  # Karras et al. 2022, eq. 5
    torch.testing.assert_close(sigmas, torch.tensor([*expected, 0], dtype=F64), rtol=1e-9, atol=0)
    torch.testing.assert_close(  # with their rho, their grid is a straight line in this t
        torch.tensor(time_grid(edm, 18, "karras")), torch.tensor(time_grid(edm, 18, "linspace")), rtol=1e-9, atol=0
    )
    schedule = quiet("linear")
    log_snr = schedule.log_snr(torch.tensor(time_grid(schedule, 20, "log_snr")[1:-1], dtype=F64))
    torch.testing.assert_close(log_snr.diff(), log_snr.diff().mean().expand(18), rtol=1e-6, atol=0)
    index = [round(t * 1000) for t in time_grid(schedule, 10, "trailing")]
    assert index == [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert [round(t * 1000) for t in time_grid(schedule, 10, "leading")] == [*range(901, 0, -100), 0]
    assert [round(t * 1000) for t in time_grid(schedule, 4, "linspace")] == [1000, 667, 334, 1, 0]


def test_grid_refusals():
    with pytest.raises(ValueError, match="known: trailing"):
        time_grid(quiet("linear"), 10, "even")
    with pytest.raises(ValueError, match="at least 1"):
        time_grid(quiet("linear"), 0)


# --- what every sampler promises --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "options"), EVERY_SAMPLER)
@pytest.mark.parametrize("grid", GRIDS)
def test_point_mass_is_found(sampler, options, grid):
    """One point of data: the last step gives that point exactly, and every trajectory stays on its line to it."""
    point = torch.tensor([[0.3, -0.9], [1.0, 0.0]], dtype=F64)
    for name, zero in EVERY:
        for T, steps in ((2, 2), (1000, 9)):
            schedule = quiet(name, T, zero)
            model = PointMass(point, schedule)
            ts = time_grid(schedule, steps, grid)
            x = start(schedule, noise_for(randn(2, 2, 2)), ts[0])
            trail = run(sampler, model, x, ts, **options)
            assert [step.i for step in trail] == [*range(steps)] and [step.t for step in trail] == ts[1:]
            torch.testing.assert_close(trail[-1].x, point.expand(2, 2, 2), rtol=0, atol=1e-9)


@pytest.mark.parametrize("sampler", ("ddim", "euler", "heun", "dpmpp_2m"))
@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_point_mass_keeps_its_noise_on_the_way(sampler, name, zero):
    """x_t = alpha point + sigma eps with one and the same eps all along, for a deterministic sampler."""
    schedule = quiet(name, 1000, zero)
    point = torch.tensor([0.3, -0.9], dtype=F64)
    eps = randn(3, 2)
    a, s = schedule.level(1.0)
    for step in run(sampler, PointMass(point, schedule), a * point + s * eps, time_grid(schedule, 15)):
        a, s = schedule.level(step.t)
        torch.testing.assert_close(step.x, a * point + s * eps, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("sampler", "options"), EVERY_SAMPLER)
@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_every_sampler_ends_clean(sampler, options, name, zero):
    """The last x is the model's last x0, without a trace of noise."""
    schedule = quiet(name, 1000, zero)
    model = two_bumps(schedule)
    x = start(schedule, noise_for(randn(4, 2)))
    last = run(sampler, model, x, time_grid(schedule, 12), **options)[-1]
    assert last.t == 0 and last.x.isfinite().all()
    torch.testing.assert_close(last.x, last.prediction.x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", (1, 2, 9))
def test_network_calls_are_as_promised(sampler, steps):
    schedule = quiet("cosine")
    model = Counted(two_bumps(schedule))
    ts = time_grid(schedule, steps)
    run(sampler, model, randn(2, 2), ts)
    assert len(model.times) == network_calls(sampler, steps)
    assert all(0 < t <= 1 for t in model.times), "nobody asks a model about t = 0"


@pytest.mark.parametrize(("sampler", "options"), EVERY_SAMPLER)
def test_sample_k_depends_on_seed_k_alone(sampler, options):
    schedule = quiet("cosine")
    ts = time_grid(schedule, 8)

    def sample(seeds):
        noise = SampleNoise(seeds, (1, 3, 3))
        *_, last = SAMPLERS[sampler](Elementwise(schedule), start(schedule, noise), ts, noise=noise, **options)
        return last.x

    whole = sample(range(36))
    assert whole.dtype == torch.float32 and torch.equal(sample(range(4)), whole[:4])
    assert torch.equal(sample([7, 3, 3, 30]), whole[[7, 3, 3, 30]])
    assert len({tuple(row.flatten().tolist()) for row in whole}) == 36


def test_noise_is_drawn_in_float32_whatever_is_asked_for():
    single, double = SampleNoise([5, 6], (2, 3)), SampleNoise([5, 6], (2, 3), dtype=F64)
    for _ in range(3):
        a, b = single(), double()
        assert b.dtype == F64 and torch.equal(a.double(), b)
    many = torch.cat([SampleNoise(range(2000), (8,))() for _ in range(1)])
    assert abs(float(many.mean())) < 4 / 16_000**0.5 and float(many.var()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_caller_keeps_its_grad_mode(sampler):
    schedule = quiet("cosine")
    weight = torch.ones(1, dtype=F64, requires_grad=True)
    seen = []

    def model(x_t, t, cond=None):
        seen.append(torch.is_grad_enabled())
        prediction = two_bumps(schedule)(x_t, t)
        return prediction.with_x0(prediction.x0 * weight)

    model.schedule = schedule
    x = randn(2, 2)
    for step in SAMPLERS[sampler](model, x, time_grid(schedule, 3), noise=noise_for(x)):
        assert torch.is_grad_enabled() and not step.x.requires_grad
        (weight * 2).sum().backward()
    assert torch.is_grad_enabled() and not any(seen)
    with torch.no_grad():
        for _ in SAMPLERS[sampler](model, x, time_grid(schedule, 3), noise=noise_for(x)):
            assert not torch.is_grad_enabled()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_early_stop_and_own_start(sampler):
    """The first steps do not know how many will be taken; and any falling list of times will do."""
    schedule = quiet("cosine")
    model = Counted(two_bumps(schedule))
    x = randn(3, 2)
    ts = time_grid(schedule, 10)
    full = run(sampler, model, x, ts)
    model.times.clear()
    some = list(itertools.islice(SAMPLERS[sampler](model, x, ts, noise=noise_for(x)), 4))
    assert len(model.times) == network_calls(sampler, 4) + (sampler == "heun")
    for a, b in zip(some, full, strict=False):
        assert torch.equal(a.x, b.x) and a.t == b.t and a.i == b.i
    assert torch.equal(x, randn(3, 2)), "the start is left as it was"
    assert run(sampler, model, x, [0.5, 0.2])[-1].t == 0.2


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("ts", ([1.0], [0.5, 0.5], [0.2, 0.4], [1.1, 0.0], [0.5, -0.1], []))
def test_times_must_fall(sampler, ts):
    with pytest.raises(ValueError, match="must fall"):
        run(sampler, two_bumps(quiet("cosine")), randn(1, 2), ts)


def test_option_refusals():
    model, x = two_bumps(quiet("cosine")), randn(1, 2)
    for sampler, options in (
        ("ddim", {"eta": -0.1}),
        ("heun", {"churn": -1.0}),
        ("euler", {"churn": -1.0}),
        ("ddpm", {"variance": "none"}),
        ("ddpm", {"variance": "learned"}),
    ):
        with pytest.raises(ValueError, match=r"must be 0 or more|unknown variance|has not learned"):
            run(sampler, model, x, [1.0, 0.0], **options)


def test_wrappers_work_in_every_sampler():
    class Two:
        schedule = quiet("cosine")

        def __call__(self, x_t, t, cond=None):
            return PointMass(torch.tensor(0.4, dtype=F64), self.schedule)(x_t + 0 * cond[:, None], t)

    x = randn(3, 2)
    model = clip(guide(Two(), torch.tensor([0, 1, 2]), 3, 2.0, interval=(0.2, 0.8)), -0.3, 0.3)
    for sampler in SAMPLERS:
        torch.testing.assert_close(
            run(sampler, model, x, time_grid(model.schedule, 6))[-1].x, torch.full_like(x, 0.3), rtol=0, atol=1e-9
        )


# --- against closed forms ---------------------------------------------------------------------------------------------


def affine(sampler, model, ts, **options):
    """Mean map and linear map of a deterministic sampler on Gaussian data, by what it does to a basis."""
    basis = torch.cat([torch.zeros(1, 3, dtype=F64), torch.eye(3, dtype=F64)]).reshape(4, 1, 3)
    out = run(sampler, model, basis, ts, **options)[-1].x.flatten(1)
    return out[0], (out[1:] - out[0]).T


@pytest.mark.parametrize(
    ("sampler", "steps", "tolerance"),
    [("ddim", 1000, 5e-3), ("euler", 1000, 5e-3), ("heun", 400, 5e-4), ("dpmpp_2m", 400, 5e-4)],
)
@pytest.mark.parametrize(("name", "zero"), [("cosine", True), ("linear", False), ("flow", False), ("edm", False)])
def test_gaussian_data_get_their_mean_and_covariance(sampler, steps, tolerance, name, zero):
    """x ~ N(0, sigma_T^2 I) through an affine map: mean and covariance follow without sampling a single number.

    The solution itself is compared with the closed form, and then its moments with the data's. A schedule that keeps
    signal at T starts from the wrong place by that signal, so its moments are those of the closed form alone.
    """
    schedule = quiet(name, 1000, zero)
    model = correlated_gaussian(schedule)
    grid = "karras" if name == "edm" else "log_snr"
    ts = time_grid(schedule, steps, grid)
    shift, linear = affine(sampler, model, ts)
    basis = torch.cat([torch.zeros(1, 3, dtype=F64), torch.eye(3, dtype=F64)]).reshape(4, 1, 3)
    exact = model.flow(basis, 1.0).flatten(1)
    s = float(schedule.sigma(1.0))
    torch.testing.assert_close(shift, exact[0], rtol=0, atol=tolerance)
    torch.testing.assert_close(s * linear, s * (exact[1:] - exact[0]).T, rtol=0, atol=tolerance)
    left = schedule.terminal_signal
    torch.testing.assert_close(shift, model.mean[0], rtol=0, atol=tolerance + left)
    torch.testing.assert_close(s**2 * linear @ linear.T, covariance(model), rtol=0, atol=2 * tolerance + 2 * left)


@pytest.mark.parametrize(
    ("sampler", "options", "name"),
    [
        ("ddpm", {}, "cosine"),
        ("ddpm", {"variance": "large"}, "cosine"),
        ("ddim", {"eta": 0.5}, "linear"),
        ("ddim", {"eta": 1.0}, "flow"),
        ("ddpm", {}, "edm"),
        ("heun", {"churn": 30.0}, "edm"),
        ("heun", {"churn": 30.0}, "cosine"),
    ],
)
def test_stochastic_samplers_give_the_data_covariance(sampler, options, name):
    """Without sampling error: the covariance of x is carried along exactly, with the sampler itself as the map.

    A step is affine in (x, fresh noise), so its matrices are read off by feeding basis vectors; what remains is the
    discretisation, which must vanish: at 500 steps it is below 2 %.
    """
    schedule = quiet(name, 1000, zero_terminal_snr=name == "cosine")
    model = correlated_gaussian(schedule)
    ts = time_grid(schedule, 500, "karras" if name == "edm" else "trailing")
    draws = []

    def probe():
        """Row 0 is zero noise; fresh noise number j gets its own 3 rows with a unit vector."""
        return draws.pop(0)

    zero = torch.zeros(7, 1, 3, dtype=F64)
    unit = zero.clone()
    unit[4:, 0] = torch.eye(3, dtype=F64)
    mean, cov = torch.zeros(3, dtype=F64), float(schedule.sigma(1.0)) ** 2 * torch.eye(3, dtype=F64)
    churn = options.get("churn", 0.0) / (len(ts) - 1)
    for t, s in itertools.pairwise(ts):
        x = zero.clone()
        x[1:4, 0] = torch.eye(3, dtype=F64)
        draws[:] = [unit]
        step_options = {"churn": churn} if churn else options
        (step,) = SAMPLERS[sampler](model, x, [t, s], noise=probe, **step_options)
        out = step.x[:, 0]
        A, B = (out[1:4] - out[0]).T, (out[4:] - out[0]).T
        mean, cov = A @ mean + out[0], A @ cov @ A.T + B @ B.T
    torch.testing.assert_close(mean, model.mean[0], rtol=0, atol=0.01)
    torch.testing.assert_close(cov, covariance(model), rtol=0, atol=0.02 * float(model.variances.max()))


def test_ancestral_samples_by_drawing_them():
    """4,000 real draws: every entry of mean and covariance within 5 of its own standard errors."""
    schedule = quiet("cosine", 250, True)
    model = correlated_gaussian(schedule)
    n = 4000
    g = torch.Generator().manual_seed(1)

    def noise():
        return torch.randn(n, 1, 3, generator=g, dtype=F64)

    *_, last = ddpm(model, noise(), time_grid(schedule, 250), noise=noise)
    x, C = last.x[:, 0], covariance(model)
    assert ((x.mean(0) - model.mean[0]).abs() < 5 * (C.diag() / n).sqrt()).all()
    error = ((C.diag()[:, None] * C.diag() + C**2) / n).sqrt()
    assert ((torch.cov(x.T) - C).abs() < 5 * error + 0.01 * C.diag().max()).all()


def drawn_covariance(sampler, schedule, ts, **options):
    """The covariance of what a sampler makes of the correlated Gaussian, without drawing: it is affine in its noises.

    Row 0 is no noise at all, and each number of the start and of every step's noise has a row of its own.
    """
    rows = 1 + 3 * len(ts)
    unit = torch.zeros(rows, 1, 3, dtype=F64)
    count = itertools.count()

    def noise():
        z = torch.zeros_like(unit)
        first = 1 + 3 * next(count)
        z[first : first + 3, 0] = torch.eye(3, dtype=F64)
        return z

    x = start(schedule, noise)
    out = list(SAMPLERS[sampler](correlated_gaussian(schedule), x, ts, noise=noise, **options))[-1].x[:, 0]
    return (out - out[0]).T @ (out - out[0])


@pytest.mark.parametrize(
    ("sampler", "name", "expected"),
    [("ddpm", "cosine", 1), ("ddpm", "flow", 1), ("dpmpp_2m_sde", "cosine", 2), ("dpmpp_2m_sde", "flow", 2)],
)
def test_order_of_the_covariance(sampler, name, expected):
    """Two samplers of one process: in log-SNR the multistep rule is of second order, the ancestral step of first."""
    schedule = quiet(name, 1000, name == "cosine")
    target = covariance(correlated_gaussian(schedule))
    errors = []
    for steps in (20, 40, 80):
        ts = time_grid(schedule, steps, "log_snr")
        errors.append(float((drawn_covariance(sampler, schedule, ts) - target).norm()))
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes[-1] > expected - 0.35, errors


def test_sde_solver_is_the_ancestral_process():
    """Where x0 does not change along the way the two take the same steps; at twenty it is ten times nearer the data."""
    schedule = quiet("cosine")
    point = PointMass(torch.tensor([0.3, -0.9], dtype=F64), schedule)
    x, ts = randn(3, 2), time_grid(schedule, 20)
    for a, b in zip(run("dpmpp_2m_sde", point, x, ts), run("ddpm", point, x, ts), strict=True):
        torch.testing.assert_close(a.x, b.x, rtol=1e-9, atol=1e-9)
    target = covariance(correlated_gaussian(schedule))
    ancestral, multistep = (
        float((drawn_covariance(sampler, schedule, ts) - target).norm()) for sampler in ("ddpm", "dpmpp_2m_sde")
    )
    assert multistep < ancestral / 3


ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "dpmpp_2m": 2}


def interior(schedule, steps):
    """From t = 0.95 to 0.05, evenly in log-SNR: smooth, and away from both singular ends."""
    ends = schedule.log_snr(torch.tensor([0.95, 0.05], dtype=F64))
    share = torch.linspace(0, 1, steps + 1, dtype=F64)
    return schedule.t_of_log_snr(ends[0] + share * (ends[1] - ends[0])).tolist()


def order(sampler, model, x, exact, counts):
    errors = [float((run(sampler, model, x, interior(model.schedule, n))[-1].x - exact).norm()) for n in counts]
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    return slopes[-1], errors


@pytest.mark.parametrize("sampler", ORDERS)
@pytest.mark.parametrize(
    ("name", "zero"),
    [("cosine", False), ("linear", False), ("continuous_cosine", False), ("flow", False), ("edm", False)],
)
def test_order_of_convergence_on_a_gaussian(sampler, name, zero):
    schedule = quiet(name, 1000, zero)
    model = correlated_gaussian(schedule)
    ends = interior(schedule, 1)
    a, s = schedule.level(ends[0])
    x = a * model.mean + s * randn(5, 1, 3)
    slope, errors = order(sampler, model, x, model.flow(x, *ends), (80, 160, 320))
    assert slope == pytest.approx(ORDERS[sampler], abs=0.15), errors


@pytest.fixture(scope="module", params=("cosine", "flow"))
def solved_mixture(request):
    schedule = quiet(request.param)
    model = two_bumps(schedule)
    x = randn(6, 2)
    return model, x, run("heun", model, x, interior(schedule, 1000))[-1].x


@pytest.mark.parametrize("sampler", ORDERS)
def test_order_of_convergence_on_a_mixture(sampler, solved_mixture):
    slope, errors = order(sampler, *solved_mixture, (50, 100, 200))
    assert slope == pytest.approx(ORDERS[sampler], abs=0.15), errors


# --- identities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "zero", "T"),
    [*((*case, T) for case in EVERY for T in (2, 60)), ("linear", False, 1000), ("cosine", True, 300)],
)
def test_ddim_at_eta_1_is_ddpm_with_the_small_variance(name, zero, T):
    schedule = quiet(name, T, zero)
    model = two_bumps(schedule)
    ts = time_grid(schedule, T)
    x = start(schedule, noise_for(randn(3, 2)))
    for a, b in zip(run("ddim", model, x, ts, eta=1.0), run("ddpm", model, x, ts), strict=True):
        torch.testing.assert_close(a.x, b.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("grid", GRIDS)
def test_ddim_at_eta_0_is_euler(name, zero, grid):
    schedule = quiet(name, 1000, zero)
    model = two_bumps(schedule)
    ts = time_grid(schedule, 20, grid)
    x = start(schedule, noise_for(randn(3, 2)))
    ours = run("ddim", model, x, ts)
    for a, b in zip(ours, run("euler", model, x, ts), strict=True):
        torch.testing.assert_close(a.x, b.x, rtol=1e-9, atol=1e-9)
    # and Euler's method itself, written out where alpha is not 0: d(x/alpha) = eps d(sigma/alpha)
    a, s = schedule.level(torch.tensor(ts, dtype=F64))
    for k in range(1, len(ours)):
        before = ours[k - 1].x
        slope = model(before, ts[k]).eps
        expected = a[k + 1] * (before / a[k] + (s[k + 1] / a[k + 1] - s[k] / a[k]) * slope)
        torch.testing.assert_close(ours[k].x, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "zero"), [case for case in EVERY if case[0] not in ("edm", "flow", "continuous_cosine")]
)
@pytest.mark.parametrize("steps", (2, 10, 100))
def test_a_coarse_grid_is_the_chain_of_respaced_betas(name, zero, steps):
    """Nichol & Dhariwal 2021, sec. 4: beta_k = 1 - alpha_bar_k / alpha_bar_{k-1} over the kept points."""
    schedule = quiet(name, 1000, zero)
    ts = time_grid(schedule, steps)
    kept = schedule.alpha_bar(torch.tensor(ts[::-1], dtype=F64))
    short = TableSchedule(1 - kept[1:] / kept[:-1])
    for k in range(steps, 0, -1):
        here, there = (
            posterior(schedule, ts[steps - k], ts[steps - k + 1]),
            posterior(short, k / steps, (k - 1) / steps),
        )
        for a, b in zip(here, there, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-12)
    x = randn(3, 2)
    long_way = run("ddpm", two_bumps(schedule), x, ts)[-1].x
    torch.testing.assert_close(
        long_way, run("ddpm", two_bumps(short), x, time_grid(short, steps))[-1].x, rtol=0, atol=1e-7
    )


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_posterior_is_bayes_rule(name, zero):
    """The product of q(x_t | x_s) and q(x_s | x0); and composed with q(x_t | x0) it gives q(x_s | x0)."""
    schedule = quiet(name, 1000, zero)
    for t, s in ((0.9, 0.4), (0.5, 0.499), (0.99, 0.001), (1.0, 0.7)):
        (a_t, s_t), (a_s, s_s) = schedule.level(t), schedule.level(s)
        q = posterior(schedule, t, s)
        ratio = a_t / a_s
        assert q.large == pytest.approx(float(s_t**2 - ratio**2 * s_s**2), rel=1e-6)
        precision = 1 / s_s**2 + ratio**2 / q.large
        assert q.small == pytest.approx(float(1 / precision), rel=1e-6)
        assert q.of_x_t == pytest.approx(float(ratio / q.large / precision), rel=1e-6)
        assert q.of_x0 == pytest.approx(float(a_s / s_s**2 / precision), rel=1e-6)
        assert q.of_x_t * a_t + q.of_x0 == pytest.approx(float(a_s), rel=1e-9)
        assert q.of_x_t**2 * s_t**2 + q.small == pytest.approx(float(s_s**2), rel=1e-9)


def test_heun_is_the_papers_where_signal_dominates():
    """Algorithm 2 of Karras et al. 2022 written out, on their own schedule and grid, below sigma = 1."""
    schedule = quiet("edm")
    model = two_bumps(schedule)
    ts = [t for t in time_grid(schedule, 30, "karras") if float(schedule.sigma(t)) < 1]
    sigmas = schedule.sigma(torch.tensor(ts, dtype=F64)).tolist()
    x = randn(4, 2)
    trail = run("heun", model, x, ts)
    for k, (here, there) in enumerate(itertools.pairwise(sigmas)):
        d = (x - model(x, ts[k]).x0) / here
        end = x + (there - here) * d
        if there > 0:
            d2 = (end - model(end, ts[k + 1]).x0) / there
            end = x + (there - here) * (d + d2) / 2
        torch.testing.assert_close(trail[k].x, end, rtol=1e-9, atol=1e-9)
        x = end


def test_learned_variance_in_ddpm_spans_small_to_large():
    schedule = quiet("cosine", 20)
    model = two_bumps(schedule)
    ts = time_grid(schedule, 20)
    x = randn(3, 2)

    def learned(share):
        def denoiser(x_t, t, cond=None):
            prediction = model(x_t, t)
            return type(prediction)(x_t, prediction.x0, prediction.alpha, prediction.sigma, torch.full_like(x_t, share))

        denoiser.schedule = schedule
        return run("ddpm", denoiser, x, ts, variance="learned")[-1].x

    torch.testing.assert_close(learned(0.0), run("ddpm", model, x, ts, variance="small")[-1].x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(learned(1.0), run("ddpm", model, x, ts, variance="large")[-1].x, rtol=1e-9, atol=1e-9)
    assert set(VARIANCES) == {"small", "large", "learned"}


@pytest.mark.parametrize(("sampler", "options"), EVERY_SAMPLER)
def test_adds_noise_says_who_asks_for_noise(sampler, options):
    schedule, x, asked = quiet("cosine"), randn(2, 2), []

    def noise():
        asked.append(1)
        return torch.zeros_like(x)

    list(SAMPLERS[sampler](two_bumps(schedule), x, time_grid(schedule, 5), noise=noise, **options))
    if "churn" not in options:
        assert bool(asked) == adds_noise(sampler, options.get("eta", 0.0))


def test_ddim_draws_nothing_when_deterministic():
    def no_noise():
        raise AssertionError("a deterministic sampler asked for noise")

    schedule = quiet("cosine")
    x = randn(2, 2)
    for sampler in ("ddim", "euler", "heun", "dpmpp_2m"):
        list(SAMPLERS[sampler](two_bumps(schedule), x, time_grid(schedule, 5), noise=no_noise))
    list(ddim(two_bumps(schedule), x, [0.5, 0.0], noise=no_noise, eta=1.0))

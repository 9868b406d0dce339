"""A net as a denoiser, the views of a prediction, and the wrappers."""

import pytest
import torch
from diffusion_toys import EVERY, F64, Counted, correlated_gaussian, quiet, randn, two_bumps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from noisette.diffusion.denoisers import (
    PREDICTS,
    SPACES,
    NetDenoiser,
    Prediction,
    clip,
    condition,
    expand,
    guide,
    threshold,
)
from noisette.diffusion.schedules import EDM, make_schedule


class Truth(nn.Module):
    """A backbone that knows x0 and eps and gives the target it would be trained on, in float64 or below."""

    def __init__(self, predicts, x0, eps, level, sigma_data=0.5):
        super().__init__()
        self.predicts, self.x0, self.eps, self.level, self.sigma_data = predicts, x0, eps, level, sigma_data
        self.heard = []

    def forward(self, x, c_noise, cond):
        self.heard.append((x, c_noise, cond))
        a, s = (expand(part, self.x0) for part in self.level)
        d = self.sigma_data
        return {
            "eps": self.eps,
            "x0": self.x0,
            "v": a * self.eps - s * self.x0,
            "flow": self.eps - self.x0,
            # the F_theta target of Karras et al. 2022, eq. 8, with y + n = x_t / alpha and sigma = s / a
            "edm": (self.x0 - d**2 / ((s / a) ** 2 + d**2) * (a * self.x0 + s * self.eps) / a)
            / ((s / a) * d / ((s / a) ** 2 + d**2).sqrt()),
        }[self.predicts]


def off_terminal(schedule, n):
    """Times up to a signal of about 1 %, where every target still determines x0."""
    last = float(schedule.t_of_log_snr(-8.0)) if schedule.zero_terminal_snr else 1.0
    return torch.linspace(schedule.t_min, last, n, dtype=F64)


@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("predicts", PREDICTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-9), (torch.float32, 1e-4)])
def test_the_true_target_gives_the_true_x0(name, zero, predicts, dtype, tolerance):
    schedule = quiet(name, 1000, zero)
    x0, eps = randn(9, 2, 5).to(dtype), randn(9, 2, 5, seed=1).to(dtype)
    t = off_terminal(schedule, 9)
    level = schedule.level(t)
    x_t = expand(level.alpha, x0) * x0 + expand(level.sigma, x0) * eps
    if predicts == "eps" and schedule.zero_terminal_snr:
        with pytest.raises(ValueError, match=r"zero terminal SNR.*predict v, x0 or flow"):
            NetDenoiser(nn.Identity(), schedule, predicts)
        return
    backbone = Truth(predicts, x0, eps, level)
    prediction = NetDenoiser(backbone, schedule, predicts)(x_t, t)
    # dividing by alpha magnifies the input's rounding by sigma/alpha
    worst = 1 + float((level.sigma / level.alpha).max()) * (predicts == "eps" or name == "edm")
    limit = tolerance if dtype == F64 else (1e-5 if worst < 3 else 1e-6 * worst)
    torch.testing.assert_close(prediction.x0, x0, rtol=0, atol=limit)
    assert prediction.x0.dtype == dtype and prediction.variance is None
    _, c_noise, cond = backbone.heard[0]
    assert cond is None and c_noise.dtype == torch.float32
    torch.testing.assert_close(c_noise.double(), schedule.c_noise(t), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("predicts", ("x0", "v", "flow", "edm"))
@pytest.mark.parametrize("name", ("cosine", "flow", "continuous_cosine"))
def test_pure_noise_is_finite_where_snr_is_zero(predicts, name):
    schedule = quiet(name, 1000, True)
    x, out = randn(3, 1, 4), randn(3, 1, 4, seed=2)
    prediction = NetDenoiser(Given(out), schedule, predicts)(x, 1.0)
    meaning = {"x0": out, "v": -out, "flow": x - out, "edm": 0.5 * out}[predicts]
    torch.testing.assert_close(prediction.x0, meaning, rtol=1e-12, atol=1e-12)
    for space in SPACES:
        assert prediction.view(space).isfinite().all()
    torch.testing.assert_close(prediction.eps, x)


class Given(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.out = out

    def forward(self, x, c_noise, cond):
        self.x = x
        return self.out


@pytest.mark.parametrize("sigma_data", (0.5, 1.3))
def test_edm_preconditioning_is_table_1(sigma_data):
    """c_skip, c_out and c_in of Karras et al. 2022, table 1, as printed there."""
    schedule = EDM()
    t = torch.linspace(schedule.t_min, 1, 7, dtype=F64)
    sigma, d = schedule.sigma(t).reshape(-1, 1), sigma_data
    x, out = randn(7, 4) * sigma, randn(7, 4, seed=1)
    backbone = Given(out)
    prediction = NetDenoiser(backbone, schedule, "edm", sigma_data=sigma_data)(x, t)
    c_skip = d**2 / (sigma**2 + d**2)
    c_out = sigma * d / (d**2 + sigma**2).sqrt()
    c_in = 1 / (sigma**2 + d**2).sqrt()
    torch.testing.assert_close(prediction.x0, c_skip * x + c_out * out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(backbone.x, c_in * x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("predicts", PREDICTS)
def test_the_net_sees_unit_scale_input_where_variance_explodes(predicts):
    schedule = EDM()
    x0, noise = 0.5 * randn(4000, 1, 1), randn(4000, 1, 1, seed=1)
    for t in (schedule.t_min, 0.3, 1.0):
        backbone = Given(noise)
        NetDenoiser(backbone, schedule, predicts)(x0 + schedule.sigma(t) * noise, t)
        assert backbone.x.std() == pytest.approx(1, abs=0.05)
    backbone = Given(noise)
    NetDenoiser(backbone, quiet("cosine"), "v")(noise, 0.5)
    assert torch.equal(backbone.x, noise), "variance-preserving input is left alone"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(case=st.sampled_from(EVERY), u=st.floats(0.002, 1), seed=st.integers(0, 1000))
def test_views_of_one_prediction_agree(case, u, seed):
    schedule = quiet(case[0], 1000, case[1])
    t = max(u, schedule.t_min)
    a, s = schedule.level(t)
    x_t, x0 = randn(2, 3, seed=seed), randn(2, 3, seed=seed + 1)
    p = Prediction(x_t, x0, a, s)
    size = 1 + float((x_t.abs().max() + x0.abs().max()) / s)
    close = {"rtol": 0, "atol": 1e-13 * size * (1 + float(a + s) ** 2)}
    torch.testing.assert_close(a * p.x0 + s * p.eps, x_t, **close)
    torch.testing.assert_close((a * x_t - s * p.v) / (a**2 + s**2), x0, **close)
    torch.testing.assert_close((x_t - s * p.flow) / (a + s), x0, **close)
    torch.testing.assert_close(-s * p.score, p.eps, **close)
    torch.testing.assert_close(p.v, a * p.eps - s * x0, **close)
    for space in SPACES:
        assert torch.equal(p.view(space), getattr(p, space))
    assert torch.equal(p.with_x0(x_t).x0, x_t) and torch.equal(p.x0, x0)


def test_a_view_that_is_none_is_refused():
    with pytest.raises(ValueError, match="eps, x0, v, flow"):
        Prediction(randn(1, 1), randn(1, 1), torch.tensor(1.0), torch.tensor(1.0)).view("score")


@pytest.mark.parametrize("name", ("cosine", "edm", "flow"))
def test_score_is_the_gradient_of_log_density(name):
    schedule = quiet(name)
    model = two_bumps(schedule)
    x = randn(6, 2).requires_grad_()
    t = 0.4
    a, s = schedule.level(t)
    variance = a**2 * model.stds**2 + s**2
    distance = (x[:, None] - a * model.means).square().sum(-1)
    log_p = torch.logsumexp(model.weights.log() - distance / (2 * variance) - variance.log(), 1)
    (gradient,) = torch.autograd.grad(log_p.sum(), x)
    torch.testing.assert_close(model(x.detach(), t).score, gradient, rtol=1e-9, atol=1e-9)


def test_learned_variance_splits_the_channels():
    schedule = quiet("cosine")
    out = randn(3, 4, 5)
    prediction = NetDenoiser(Given(out), schedule, "v", learn_variance=True)(randn(3, 2, 5, seed=1), 0.3)
    assert torch.equal(prediction.v.round(decimals=9), out[:, :2].round(decimals=9))
    assert torch.equal(prediction.variance, (out[:, 2:] + 1) / 2)


def test_refusals():
    with pytest.raises(ValueError, match="known: eps, x0, v, flow, edm"):
        NetDenoiser(nn.Identity(), quiet("cosine"), "noise")
    with pytest.raises(ValueError, match="flow is continuous"):
        NetDenoiser(nn.Identity(), make_schedule("flow"), "v", learn_variance=True)


def test_a_backbone_in_bf16_is_given_bf16_and_the_result_is_float32():
    class Linear(nn.Linear):
        def forward(self, x, c_noise, cond):
            out = super().forward(x)
            self.seen = out.dtype
            return out

    backbone = Linear(4, 4).bfloat16()
    prediction = NetDenoiser(backbone, quiet("cosine"), "v", dtype=torch.bfloat16)(torch.randn(2, 4), 0.5)
    assert backbone.seen == torch.bfloat16 and prediction.x0.dtype == torch.float32


class Labelled:
    """x0 is the label's own picture, times (1 - t); the null label 9 is the zero picture."""

    def __init__(self):
        self.schedule = quiet("cosine")
        self.calls = []

    def __call__(self, x_t, t, cond=None):
        self.calls.append(len(x_t))
        level = self.schedule.level(t)
        pictures = torch.where(cond == 9, 0.0, cond.double() + 1)
        x0 = expand(pictures, x_t) * torch.ones_like(x_t) + 0.1 * x_t
        return Prediction(x_t, x0, *level, variance=expand(pictures, x_t).expand_as(x_t))


LABELS = torch.tensor([0, 3, 5])


def test_guidance_scales():
    x = randn(3, 1, 2)
    inner = Labelled()
    plain, none = inner(x, 0.5, LABELS).x0, inner(x, 0.5, torch.full((3,), 9)).x0
    for scale, expected in ((0, none), (1, plain), (2, plain + (plain - none)), (0.5, (plain + none) / 2)):
        torch.testing.assert_close(guide(inner, LABELS, 9, scale)(x, 0.5).x0, expected, rtol=1e-12, atol=1e-12)
    guided = guide(inner, LABELS, 9, 3.0)(x, 0.5)
    assert torch.equal(guided.variance, inner(x, 0.5, LABELS).variance)
    assert guided.x_t is x and guided.eps.shape == x.shape


def test_guidance_costs_only_what_it_needs():
    x = randn(3, 1, 2)
    for scale, t, cost in ((0, 0.5, [3]), (1, 0.5, [3]), (2, 0.5, [6]), (2, 0.1, [3]), (2, 0.3, [6]), (2, 0.81, [3])):
        inner = Labelled()
        guide(inner, LABELS, 9, scale, interval=(0.3, 0.8))(x, t)
        assert inner.calls == cost, (scale, t)


@pytest.mark.parametrize("scale", (0, 1.3, 2.5))
def test_guidance_outside_its_interval_is_the_plain_model_for_each_sample(scale):
    x = randn(3, 1, 2)
    inner = Labelled()
    t = torch.tensor([0.1, 0.5, 0.9], dtype=F64)
    mixed = guide(inner, LABELS, 9, scale, interval=(0.3, 0.8))(x, t).x0
    plain = inner(x, t, LABELS).x0
    always = guide(inner, LABELS, 9, scale)(x, t).x0
    torch.testing.assert_close(mixed, torch.stack([plain[0], always[1], plain[2]]), rtol=1e-12, atol=1e-12)


def test_guidance_refusals():
    with pytest.raises(ValueError, match="scale"):
        guide(Labelled(), LABELS, 9, -1)
    with pytest.raises(ValueError, match="interval"):
        guide(Labelled(), LABELS, 9, 2, interval=(0.8, 0.3))


def test_condition_tells_its_labels():
    inner = Labelled()
    x = randn(3, 1, 2)
    assert torch.equal(condition(inner, LABELS)(x, 0.5, None).x0, inner(x, 0.5, LABELS).x0)


def test_clip_bounds_x0_and_eps_follows():
    model = correlated_gaussian(quiet("cosine"))
    x = 5 * randn(8, 1, 3)
    raw, clipped = model(x, 0.3), clip(model, -0.5, 0.7)(x, 0.3)
    assert torch.equal(clipped.x0, raw.x0.clamp(-0.5, 0.7)) and (clipped.x0 != raw.x0).any()
    torch.testing.assert_close(clipped.alpha[0] * clipped.x0 + clipped.sigma[0] * clipped.eps, x)
    with pytest.raises(ValueError, match="low < high"):
        clip(model, 1, -1)


def test_dynamic_threshold_is_per_sample():
    class Fixed:
        schedule = quiet("cosine")

        def __call__(self, x_t, t, cond=None):
            return Prediction(x_t, x_t, *self.schedule.level(t))

    x = torch.stack([torch.linspace(-0.9, 0.9, 101, dtype=F64), torch.linspace(-4, 4, 101, dtype=F64)])
    x = x.reshape(2, 1, 101)
    out = threshold(Fixed(), 0.9)(x, 0.5).x0
    assert torch.equal(out[0], x[0]), "s below 1 changes nothing"
    s = torch.quantile(x[1].abs(), 0.9)
    torch.testing.assert_close(out[1], x[1].clamp(-s, s) / s)
    assert out.abs().max() == 1
    with pytest.raises(ValueError, match="percentile"):
        threshold(Fixed(), 0.0)


def test_wrappers_nest_and_keep_the_schedule():
    inner = Counted(Labelled())
    outer = clip(guide(inner, LABELS, 9, 2.0))
    assert outer.schedule is inner.schedule
    assert outer(randn(3, 1, 2), 0.5).x0.abs().max() <= 1 and len(inner.times) == 1


def test_expand_shapes():
    x = torch.zeros(3, 2, 4, dtype=torch.float32)
    assert expand(torch.ones(3, dtype=F64), x).shape == (3, 1, 1)
    assert expand(torch.tensor(2.0, dtype=F64), x).shape == () and expand(torch.ones(3, dtype=F64), x).dtype == x.dtype

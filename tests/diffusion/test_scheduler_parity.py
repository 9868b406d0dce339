"""Step by step against diffusers' schedulers, with clipping off: same toy net, same noise, same times.

Their alpha_bar is float32 and ours float64. So each comparison is made twice: with their scheduler as it is, where
their rounding is left (1e-5 of the state's size; up to 5e-5 on the cosine table, whose last step divides by 5e-5 and
subtracts nearly equal numbers), and with its table lifted to float64, where nothing but the algorithm can differ.
"""

import itertools

import pytest
import torch
from diffusion_toys import F64, quiet, randn
from torch import nn

from noisette.diffusion.denoisers import NetDenoiser
from noisette.diffusion.samplers import ddim, ddpm, dpmpp_2m, dpmpp_2m_sde, time_grid

pytest.importorskip("diffusers")
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

T = 1000
BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
PREDICTS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
SPACINGS = ("leading", "trailing", "linspace")


class Toy(nn.Module):
    """A smooth function of x and the time index; with `spread` it also gives a variance in [-1, 1]."""

    def __init__(self, spread=False):
        super().__init__()
        self.spread = spread

    def forward(self, x, c_noise, cond=None):
        c = c_noise.to(x.dtype).reshape(-1, 1, 1) / T
        out = torch.tanh(x * (0.3 + 0.6 * c)) + 0.2 * torch.sin(3 * x + 5 * c)
        return torch.cat([out, torch.cos(x + c)], 1) if self.spread else out


def theirs(kind, betas, predicts, spacing, lifted=False, **options):
    if kind is not DPMSolverMultistepScheduler:
        options["clip_sample"] = False
    scheduler = kind(
        num_train_timesteps=T,
        beta_schedule=BETAS[betas],
        prediction_type=PREDICTS[predicts],
        timestep_spacing=spacing,
        **options,
    )
    if lifted:
        scheduler.alphas_cumprod = quiet(betas).alpha_bar(torch.arange(1, T + 1, dtype=F64) / T)
        scheduler.one = scheduler.final_alpha_cumprod = torch.ones((), dtype=F64)
    return scheduler


def tell(net, x, timestep):
    return net(x, torch.full((len(x),), float(timestep)))


def close(ours, other, betas="linear", lifted=False):
    limit = 1e-6 if lifted else {"linear": 1e-5, "cosine": 5e-5}[betas]
    assert float((ours - other).abs().max()) <= limit * max(1.0, float(other.abs().max()))


CASES = [
    pytest.param(betas, predicts, spacing, id=f"{betas}-{predicts}-{spacing}")
    for betas, predicts, spacing in itertools.product(BETAS, PREDICTS, SPACINGS)
]


@pytest.mark.parametrize(("betas", "predicts", "spacing"), CASES)
@pytest.mark.parametrize("steps", (10, 50))
def test_the_grids_are_theirs(betas, predicts, spacing, steps):
    scheduler = theirs(DDIMScheduler, betas, predicts, spacing)
    scheduler.set_timesteps(steps)
    schedule = quiet(betas)
    ours = [float(schedule.c_noise(t)) for t in time_grid(schedule, steps, spacing)[:-1]]
    assert ours == scheduler.timesteps.tolist()


@pytest.mark.parametrize("betas", BETAS)
def test_the_tables_are_theirs(betas):
    alpha_bar = theirs(DDPMScheduler, betas, "eps", "leading").alphas_cumprod.double()
    ours = quiet(betas).alpha_bar(torch.arange(1, T + 1, dtype=F64) / T)
    torch.testing.assert_close(ours, alpha_bar, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("betas", "predicts", "spacing"), CASES)
@pytest.mark.parametrize(
    ("variance_type", "variance"), [("fixed_small", "small"), ("fixed_large", "large"), ("learned_range", "learned")]
)
@pytest.mark.parametrize("lifted", (False, True))
def test_ddpm(betas, predicts, spacing, variance_type, variance, lifted):
    net = Toy(spread=variance == "learned")
    scheduler = theirs(DDPMScheduler, betas, predicts, spacing, lifted, variance_type=variance_type)
    schedule = quiet(betas)
    denoiser = NetDenoiser(net, schedule, predicts, learn_variance=variance == "learned")
    steps = 10
    scheduler.set_timesteps(steps)
    x = randn(3, 1, 4)
    g = torch.Generator().manual_seed(4)
    noises = [torch.randn(3, 1, 4, generator=g, dtype=F64) for _ in range(steps)]
    g.manual_seed(4)
    for k, timestep in enumerate(scheduler.timesteps.tolist()):
        # their own idea of the next index, which for linspace is not the grid's next point
        before = int(scheduler.previous_timestep(torch.tensor(timestep)))
        ts = [(timestep + 1) / T, max(before + 1, 0) / T]
        (step,) = ddpm(denoiser, x, ts, noise=lambda k=k: noises[k], variance=variance)
        out = scheduler.step(tell(net, x, timestep), timestep, x, generator=g)
        if timestep == 0 or before >= 0:
            close(step.x, out.prev_sample, betas, lifted)
        else:  # their last step goes to clean data and adds noise all the same where its index is not 0; ours does not
            close(step.x, out.pred_original_sample, betas, lifted)
        close(step.prediction.x0, out.pred_original_sample, betas, lifted)
        x = out.prev_sample


@pytest.mark.parametrize(("betas", "predicts", "spacing"), CASES)
@pytest.mark.parametrize("eta", (0.0, 0.5, 1.0))
@pytest.mark.parametrize("lifted", (False, True))
def test_ddim(betas, predicts, spacing, eta, lifted):
    net = Toy()
    scheduler = theirs(DDIMScheduler, betas, predicts, spacing, lifted)
    schedule = quiet(betas)
    denoiser = NetDenoiser(net, schedule, predicts)
    steps = 20
    scheduler.set_timesteps(steps)
    x = randn(3, 1, 4)
    for k, timestep in enumerate(scheduler.timesteps.tolist()):
        s = max(timestep - T // steps + 1, 0)  # theirs goes down by T // steps, on every grid
        noise = randn(3, 1, 4, seed=100 + k)
        (step,) = ddim(denoiser, x, [(timestep + 1) / T, s / T], noise=lambda noise=noise: noise, eta=eta)
        out = scheduler.step(tell(net, x, timestep), timestep, x, eta=eta, variance_noise=noise if eta else None)
        close(step.x, out.prev_sample, betas, lifted)
        close(step.prediction.x0, out.pred_original_sample, betas, lifted)
        x = out.prev_sample
    assert s == 0


@pytest.mark.parametrize(("betas", "predicts", "spacing"), CASES)
@pytest.mark.parametrize("lifted", (False, True))
@pytest.mark.parametrize(("algorithm", "sampler"), [("dpmsolver++", dpmpp_2m), ("sde-dpmsolver++", dpmpp_2m_sde)])
def test_dpm_solver_multistep(betas, predicts, spacing, lifted, algorithm, sampler):
    """Midpoint, order 2, last sigma zero: the whole trajectory, since it has a memory."""
    net = Toy()
    scheduler = theirs(
        DPMSolverMultistepScheduler,
        betas,
        predicts,
        spacing,
        lifted,
        algorithm_type=algorithm,
        solver_type="midpoint",
        solver_order=2,
        final_sigmas_type="zero",
    )
    schedule = quiet(betas)
    denoiser = NetDenoiser(net, schedule, predicts)
    scheduler.set_timesteps(20)
    timesteps = scheduler.timesteps.tolist()
    x = start = randn(3, 1, 4)
    noises = {timestep: randn(3, 1, 4, seed=k) for k, timestep in enumerate(timesteps)}
    order = iter(timesteps)
    trail = sampler(denoiser, start, [*((i + 1) / T for i in timesteps), 0.0], noise=lambda: noises[next(order)])
    for timestep, step in zip(timesteps, trail, strict=True):
        x = scheduler.step(tell(net, x, timestep), timestep, x, variance_noise=noises[timestep]).prev_sample
        close(step.x, x, betas, lifted)


def test_add_noise_is_theirs():
    scheduler = theirs(DDPMScheduler, "linear", "eps", "leading")
    x0, noise = randn(5, 1, 4), randn(5, 1, 4, seed=1)
    index = torch.tensor([0, 9, 499, 998, 999])
    a, s = quiet("linear").level((index.double() + 1) / T)
    close(a.reshape(-1, 1, 1) * x0 + s.reshape(-1, 1, 1) * noise, scheduler.add_noise(x0, noise, index))

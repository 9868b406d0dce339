"""How many bits a model needs to write an image down: the variational bound of a table, and the flow's own density.

Both are in bits/dim of 256-level data in [-1, 1] (levels 2/255 apart), one estimate an image, so that an interval over
images is an interval of the mean. 8 bits/dim is what a model that knows nothing of the levels would need.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from noisette.diffusion.denoisers import Denoiser, expand
from noisette.diffusion.objectives import prior_term, variational_term
from noisette.diffusion.samplers import time_grid
from noisette.diffusion.schedules import NoiseSchedule

BINS = 20  # of t
LEVEL = 2 / 255  # between neighbouring levels of 8-bit data in [-1, 1]

Progress = Callable[[int, int], None]
"""Called with (images x times done, in all) as the work goes on."""


@dataclass(frozen=True)
class Bits:
    """The variational bound on -log2 p(x0), term by term (Ho et al. 2020, eq. 5), float64 on the CPU.

    total = prior + decoder + what lies between, for every image; `by_time` is the mean of the latter over images.

    Attributes:
        total, prior, decoder: (N,) bits/dim; prior is L_T, decoder is L_0.
        by_time: (BINS,) bits/dim: the sum of L_{t-1} in equal bins of t, so that the bins add up to their whole.
        counts: (BINS,) int64: how many terms were computed in each bin.
        variance: small | large | learned: the reverse variance that the terms belong to.
        times: terms computed for each image, L_T and L_0 not counted.
    """

    total: Tensor
    prior: Tensor
    decoder: Tensor
    by_time: Tensor
    counts: Tensor
    variance: str
    times: int


@dataclass(frozen=True)
class FlowBits:
    """-log2 p(x0) under the probability-flow ODE, float64 on the CPU.

    Attributes:
        total: (N,) bits/dim, = prior + volume.
        prior: (N,) bits/dim of the noise that the image comes from.
        volume: (N,) bits/dim: how much the flow expands on its way from the image to that noise.
        t_min: the time at which the flow ends, see ode_bits.
        calls: network calls for each image, each with a pass backward.
    """

    total: Tensor
    prior: Tensor
    volume: Tensor
    t_min: float
    calls: int


# --- the variational bound ----------------------------------------------------------------------------------------


@torch.no_grad()
def variational_bits(
    denoiser: Denoiser,
    x0: Tensor,
    times: int | None = 32,
    *,
    generator: torch.Generator,
    cond: Tensor | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    steps: int | None = None,
    variance: str | None = None,
) -> Bits:
    """The variational bound of a discrete schedule on each image, unbiased whatever the number of times.

    L_0 and L_T are computed for every image. The T - 1 terms between are cut into `times` runs of neighbours that
    are expected to weigh the same; of each, one is drawn for every image and counts for the whole run.

    The reverse variance, where none is named, is the learned one where there is one, else the better of small and large
    on these images. A clipped x0 is as good a model as any, so the denoiser may be wrapped in clip.

    Args:
        denoiser: of a discrete schedule.
        x0: (N, C, ...) on the denoiser's device, 8-bit levels in [-1, 1].
        times: terms drawn for each image; None, or T - 1 and more, for all of them.
        generator: on the CPU, for the times and the noise.
        cond: (N,) labels, or None.
        batch: images in a call, all by default; a wrapper with labels of its own needs them all.
        steps: the bound of ancestral sampling in so many steps, on the trailing grid, not in all T
            (Nichol & Dhariwal 2021, sec. 4).
        variance: small | large | learned.

    Raises:
        ValueError: a continuous schedule; times < 1; more steps than T; a variance that the denoiser has not learned.
    """
    schedule = denoiser.schedule
    if schedule.steps is None:
        raise ValueError(f"the variational bound needs a discrete schedule, {schedule.name} is continuous")
    if times is not None and times < 1:
        raise ValueError(f"the variational bound needs at least 1 time an image, got {times}")
    T = schedule.steps
    chain = torch.tensor(time_grid(schedule, steps or T)[::-1], dtype=torch.float64)  # 0 = t_0 < t_1 < ... < t_K = 1
    first, size = _runs(schedule, chain, len(chain) - 2 if times is None else times)
    n, runs = len(x0), len(first)
    share = torch.rand(n, runs, generator=generator, dtype=torch.float64)
    index = torch.cat([torch.ones(n, 1, dtype=torch.int64), first + (share * size).long()], 1)  # L_0 is at i = 1
    weight = torch.cat([torch.ones(1, dtype=torch.float64), size.double()])
    terms: dict[str, Tensor] = {}  # variance -> (N, 1 + runs)
    for k in range(runs + 1):
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        for part in _slices(n, batch):
            t = chain[index[part, k]]
            alpha, sigma = schedule.level(t)
            clean = x0[part]
            x_t = expand(alpha, clean) * clean + expand(sigma, clean) * noise[part].to(clean.device)
            prediction = denoiser(x_t, t, None if cond is None else cond[part])
            known = ("small", "large") if prediction.variance is None else ("learned",)
            for kind in known if variance is None else (variance,):
                kept = terms.setdefault(kind, torch.empty(n, runs + 1, dtype=torch.float64))
                term = variational_term(schedule, prediction, clean, t, kind, chain if steps else None)
                kept[part, k] = weight[k] * term.double().cpu()
            if progress:
                progress(k * n + part.stop, (runs + 1) * n)
    best = min(terms, key=lambda kind: float(terms[kind].sum()))
    prior, found = prior_term(schedule, x0).double().cpu(), terms[best]
    place = (chain * T).round().long()
    bins = ((place[index[:, 1:]] * BINS + T - 1) // T - 1).flatten()  # ceil(t * BINS) - 1
    return Bits(
        total=prior + found.sum(1),
        prior=prior,
        decoder=found[:, 0].clone(),
        by_time=torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, found[:, 1:].flatten() / n),
        counts=torch.bincount(bins, minlength=BINS),
        variance=best,
        times=runs,
    )


def _runs(schedule: NoiseSchedule, chain: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(first index, length) of at most `count` runs that cover i = 2..K of the times t_0 .. t_K, (R,) int64 each.

    Each has about the same part of the sum for Gaussian data of standard deviation 0.5, whose terms are what
    log(1 + SNR/4)/2 gains in a step (Kingma et al. 2021, eq. 18): that leaves little variance for images too.
    """
    K = len(chain) - 1
    count = min(count, K - 1)
    if not count:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    gain = -torch.log1p(schedule.snr(chain[1:]) / 4).diff()
    gain = gain + gain.sum() / K  # no run may get too long
    position = gain.cumsum(0) / gain.sum() * count
    # a run takes at least one index, and leaves at least one to each run that follows
    at_least = torch.arange(1, count + 1)
    ends = torch.searchsorted(position, at_least.double() - 1e-9) + 1
    ends = torch.maximum((ends - at_least).cummax(0).values + at_least, at_least)
    ends = torch.minimum(ends, K - 1 - count + at_least)
    ends[-1] = K - 1
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1]])
    return starts + 2, ends - starts


def _slices(n: int, batch: int | None) -> Iterator[slice]:
    size = n if batch is None else batch
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))


# --- the probability flow -----------------------------------------------------------------------------------------


def ode_bits(
    denoiser: Denoiser,
    x0: Tensor,
    steps: int = 20,
    *,
    generator: torch.Generator,
    cond: Tensor | None = None,
    probes: int = 1,
    dequantise: bool = True,
    batch: int | None = None,
    progress: Progress | None = None,
) -> FlowBits:
    """-log2 p(x0) of the model whose samples are the probability-flow ODE's, for any schedule.

    log p(x0) = log p(x_1) + integral of the divergence of the flow (Song et al. 2021 (SDE), eq. 39), with
    p(x_1) = N(0, sigma(1)^2), which is what samplers start from. The divergence is estimated by Hutchinson's trick
    with Rademacher probes (their eq. 40), unbiased; the steps lie evenly in log-SNR.

    Between 0 and t_min no net is trained, so the flow ends at t_min and x/alpha there is the sample: the density is
    that of data with noise of sigma(t_min)/alpha(t_min), which matters where sigma is not small against the data's
    own detail. Give a denoiser without clipping: a clipped one has no density where it clips.

    Args:
        denoiser: of any schedule, differentiable.
        x0: (N, C, ...) on the denoiser's device, in [-1, 1].
        steps: of the classical Runge-Kutta method, four network calls each.
        generator: on the CPU, for the probes and the dequantisation.
        cond: (N,) labels, or None.
        probes: of Hutchinson's trick for each image; the passes forward are shared.
        dequantise: spread each 8-bit level evenly over its width, which makes the density an upper bound on the bits
            of the level (Theis et al. 2016, eq. 5-8); without it x0 is taken to be continuous.
        batch: images in a call, all by default; a wrapper with labels of its own needs them all.

    Raises:
        ValueError: steps or probes < 1.
    """
    if steps < 1 or probes < 1:
        raise ValueError(f"the flow needs at least 1 step and 1 probe, got {steps} and {probes}")
    x = x0.detach()
    if dequantise:
        x = x + LEVEL * (torch.rand(x0.shape, generator=generator, dtype=x0.dtype) - 0.5).to(x0.device)
    shape = (probes, *x0.shape)
    signs = (torch.randint(0, 2, shape, generator=generator, dtype=torch.int8) * 2 - 1).to(x0)
    schedule = denoiser.schedule
    ts = time_grid(schedule, steps + 1, "log_snr")[-2::-1]  # t_min up to 1
    prior, volume = (torch.empty(len(x0), dtype=torch.float64) for _ in range(2))
    dims, done = x0[0].numel(), 0
    for part in _slices(len(x0), batch):
        told = None if cond is None else cond[part]
        end = math.cos(_angle(schedule, ts[0])) * x[part]
        grown = torch.zeros(len(end), dtype=torch.float64)
        for t, s in itertools.pairwise(ts):
            end, more = _step(denoiser, end, t, s, signs[:, part], told)
            grown += more
            done += len(end)
            if progress:
                progress(done, len(x0) * steps)
        variance = math.sin(_angle(schedule, 1.0)) ** 2
        squares = end.double().square().flatten(1).mean(1).cpu()
        prior[part] = 0.5 * (squares / variance + math.log(2 * math.pi * variance)) / math.log(2)
        volume[part] = -grown / dims / math.log(2)
    # z = cos(angle) x/alpha at t_min, and a density over x becomes a probability over a level
    volume = volume - math.log2(math.cos(_angle(schedule, ts[0]))) - math.log2(LEVEL)
    return FlowBits(prior + volume, prior, volume, ts[0], 4 * steps)


def _angle(schedule: NoiseSchedule, t: float) -> float:
    """atan(sigma/alpha) at t: 0 is clean, pi/2 pure noise."""
    alpha, sigma = schedule.level(t)
    return math.atan2(float(sigma), float(alpha))


def _step(
    denoiser: Denoiser, z: Tensor, t: float, s: float, signs: Tensor, cond: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(z at s, the divergence's integral from t to s) by one step of the classical Runge-Kutta method in the angle."""
    schedule = denoiser.schedule
    start, end = _angle(schedule, t), _angle(schedule, s)
    h = end - start
    middle = float(schedule.t_of_log_snr(-2 * math.log(math.tan(start + h / 2))))
    v1, growth1 = _velocity(denoiser, z, t, signs, cond)
    v2, growth2 = _velocity(denoiser, z + h / 2 * v1, middle, signs, cond)
    v3, growth3 = _velocity(denoiser, z + h / 2 * v2, middle, signs, cond)
    v4, growth4 = _velocity(denoiser, z + h * v3, s, signs, cond)
    return z + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), h / 6 * (growth1 + 2 * growth2 + 2 * growth3 + growth4)


def _velocity(denoiser: Denoiser, z: Tensor, t: float, signs: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    """(dz/dangle, its divergence (N,) float64 on the CPU) for z = x_t / sqrt(alpha^2 + sigma^2).

    z = cos x0 + sin eps, so that along the angle it moves by v = cos eps - sin x0 (Salimans & Ho 2022, app. D), which
    is bounded from clean data to pure noise on any schedule.
    """
    alpha, sigma = (float(value) for value in denoiser.schedule.level(t))
    scale = math.hypot(alpha, sigma)
    with torch.inference_mode(False), torch.enable_grad():
        z = z.detach().clone().requires_grad_()
        v = (alpha / scale * z - denoiser(scale * z, t, cond).x0) / (sigma / scale)
        growth = torch.zeros(len(z), dtype=torch.float64)
        for k, probe in enumerate(signs):
            (pulled,) = torch.autograd.grad(v, z, probe, retain_graph=k + 1 < len(signs))
            growth += (pulled * probe).flatten(1).sum(1).double().cpu() / len(signs)
    return v.detach(), growth

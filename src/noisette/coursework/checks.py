"""Is an implementation of DDPM right? Its shapes and types first, then its mathematics, each mistake in a sentence.

Both checks take a class, print one line and give True or False; nothing is raised.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from noisette.coursework.lessons import check_training, expect
from noisette.diffusion.schedules import TableSchedule
from noisette.errors import UserError

SIZE, CHANNELS, T = 28, 1, 1000  # what the classes are built for, and how many steps they have
SEEN = (0, 1, 100, 250, 500, 750, T - 2, T - 1)  # the steps that are looked at
EACH = 8  # pictures a step
EXACT = 2e-3  # of a coefficient in [0, 1]
NEAR = 1e-4  # of a coefficient and its own table; a step further the tables differ by ten times that
FADES = 3e-7  # from one step that is looked at to the next, relative: float32 tables tell no less apart near 1
GONE = 1e-3  # a share of the picture too small to ask whether it still fades: betas up to 0.05 leave 3e-6 of it
MOST_SIGNAL = 0.1  # of the last step, as an amplitude: the betas of Stable Diffusion leave 0.07

TABLES = ("alpha_bar", "alpha_bars", "alphas_bar", "alphas_cumprod", "alpha_hat", "alphas_hat", "alpha_cumprod")
BETAS = ("betas", "beta")


def check_diffusion_model(model_class: Callable[..., Any]) -> bool:
    """Whether model_class(image_size=28, channels=1) is a net (x, t) -> noise that hears t and learns.

    x and the noise are (N, 1, 28, 28), t is (N,) int64 in 0..999. Prints what is wrong, or that all is well.
    """
    return _told("DiffusionModel", lambda: _check_model(model_class))


def check_diffusion_process(diffusion_class: Callable[..., Any]) -> bool:
    """Whether diffusion_class(image_size=28, channels=1) noises as Ho et al. 2020, eq. 4, says, and learns.

    It needs add_noise(x, t) -> (noisy_x, noise) and train_step(x) -> float, with T = 1000 and t in 0..999. Where it
    holds a table under one of the names in TABLES, that is what its noise is compared with. Any schedule will do that
    fades the picture from step to step and leaves at most a tenth of it at the last one: more, and the noise that
    sampling starts from is nothing that training has seen. train_step must be algorithm 1, as
    noisette.coursework.lessons asks: its net, a torch module called with (x_t, t), learns the noise in x_t. Prints
    what is wrong, or that all is well.
    """
    return _told("DiffusionProcess", lambda: _check_process(diffusion_class))


def _told(name: str, check: Callable[[], None]) -> bool:
    try:
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(0)
            check()
    except Exception as error:  # the code under test may raise anything
        kind = "" if isinstance(error, (UserError, AssertionError)) else f"{type(error).__name__}: "
        print(f"{name} check failed: {kind}{error}")
        return False
    print(f"{name} implementation is correct!")
    return True


# --- the model ----------------------------------------------------------------------------------------------------


def _check_model(model_class: Callable[..., Any]) -> None:
    model = model_class(image_size=SIZE, channels=CHANNELS)
    x, t = torch.randn(4, CHANNELS, SIZE, SIZE), torch.randint(0, T, (4,))
    output = model(x, t)
    expect(isinstance(output, Tensor), f"Expected a tensor but got {type(output).__name__}")
    expect(output.shape == x.shape, f"Expected output shape {tuple(x.shape)} but got {tuple(output.shape)}")
    expect(bool(output.isfinite().all()), "its output is not finite")
    expect(isinstance(model, nn.Module), "it must be a torch.nn.Module, or no optimiser finds its weights")
    expect(any(p.requires_grad for p in model.parameters()), "it has no weights that can learn")
    _wake(model, x)
    model.eval()
    with torch.no_grad():
        one = x[:1]
        first, last = torch.tensor([0]), torch.tensor([T - 1])
        clean, noisy = model(one, first), model(one, last)
        expect(
            not torch.equal(clean, noisy),
            f"it ignores t: the output is the same for t=0 and t={T - 1}, even after training; "
            "does the time embedding reach the features?",
        )
        both = model(one.repeat(2, 1, 1, 1), torch.cat([first, last]))
        apart = (both - torch.cat([clean, noisy])).abs().max()
        expect(
            float(apart) < 0.5 * float((clean - noisy).abs().max()),
            "each picture must be told its own t: two pictures with different t give other outputs together than alone",
        )
        expect(not torch.equal(model(x[1:2], first), clean), "it ignores x: two pictures give the same output")


def _wake(model: nn.Module, x: Tensor) -> None:
    """A few steps towards a target that depends on x and t: many nets begin with a last layer of zeros."""
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    t = torch.linspace(0, T - 1, len(x)).long()
    target = x * torch.cos(t * (math.pi / T))[:, None, None, None]
    for _ in range(6):
        loss = (model(x, t) - target).square().mean()
        expect(bool(loss.isfinite()), "its loss is not finite within a few steps of training")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


# --- the process --------------------------------------------------------------------------------------------------


def _check_process(diffusion_class: Callable[..., Any]) -> None:
    process = diffusion_class(image_size=SIZE, channels=CHANNELS)
    x = torch.randn(EACH * len(SEEN), CHANNELS, SIZE, SIZE)
    t = torch.tensor(SEEN).repeat_interleave(EACH)
    noisy, noise = _noised(process, x, t)
    _check_noise(process, noise, x, t)
    signal, amount = _coefficients(x, noisy, noise)
    _check_table(process, signal)
    _check_levels(signal, amount)
    check_training(process, _pictures(), T, lambda clean, t: _noised(process, clean, t)[0])


def _noised(process: Any, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    try:
        found = process.add_noise(x, t)
    except IndexError as error:
        raise UserError(f"add_noise must take every t of 0..{T - 1}: {error}") from None
    good = isinstance(found, (tuple, list)) and len(found) == 2
    expect(good, f"add_noise must return the pair (noisy_x, noise), it returns a {type(found).__name__}")
    noisy, noise = found
    for name, value in (("noisy_x", noisy), ("noise", noise)):
        expect(isinstance(value, Tensor), f"Expected {name} to be a tensor, got {type(value).__name__}")
        expect(value.shape == x.shape, f"Expected {name} shape {tuple(x.shape)}, got {tuple(value.shape)}")
        expect(bool(value.isfinite().all()), f"{name} is not finite")
    return noisy.detach().cpu(), noise.detach().cpu()


def _check_noise(process: Any, noise: Tensor, x: Tensor, t: Tensor) -> None:
    """The noise is N(0, I), for every step, every picture and every call anew."""
    _, again = _noised(process, x, t)
    expect(not torch.equal(noise, again), "add_noise gives the same noise at every call")
    expect(not torch.equal(noise[0], noise[1]), "add_noise gives every picture of a batch the same noise")
    for step, part in zip(SEEN, noise.double().chunk(len(SEEN)), strict=True):
        mean, std = float(part.mean()), float(part.std())
        beyond = float((part.abs() > 2).double().mean())
        expect(
            abs(mean) < 0.08 and abs(std - 1) < 0.08 and 0.03 < beyond < 0.06,
            f"the noise returned is not N(0, 1): at t={step} its mean is {mean:.2f}, its standard deviation {std:.2f}, "
            f"and {beyond:.1%} of it lies beyond 2 (expected 0, 1 and 4.6 %)",
        )


def _coefficients(x: Tensor, noisy: Tensor, noise: Tensor) -> tuple[list[float], list[float]]:
    """(a, b) of noisy_x = a x + b noise at the steps SEEN, by least squares over the pictures of each step."""
    signal, amount = [], []
    parts = zip(*(part.double().chunk(len(SEEN)) for part in (x, noisy, noise)), strict=True)
    for step, (clean, mixed, eps) in zip(SEEN, parts, strict=True):
        known = torch.stack([clean.flatten(), eps.flatten()], dim=1)
        fit = torch.linalg.lstsq(known, mixed.flatten()[:, None]).solution
        miss = float((known @ fit - mixed.flatten()[:, None]).square().mean().sqrt())
        expect(
            miss < EXACT,
            f"at t={step} noisy_x is not a * x + b * noise for the noise that is returned, with an a and b for each t; "
            "is it the very noise that was added, each picture's level its own, and nothing clipped?",
        )
        signal.append(float(fit[0]))
        amount.append(float(fit[1]))
    return signal, amount


def _table(process: Any, names: tuple[str, ...]) -> Tensor | None:
    """The first of these attributes that holds T numbers, or T + 1 with clean data first, (T,) float64."""
    for name in names:
        value = getattr(process, name, None)
        if value is None or callable(value):
            continue
        try:
            table = torch.as_tensor(value).detach().double().cpu().flatten()
        except (TypeError, ValueError, RuntimeError):
            continue
        if len(table) == T + 1:
            table = table[1:]
        if len(table) == T:
            return table
    return None


def _check_table(process: Any, signal: list[float]) -> None:
    """alpha_bar is the running product of 1 - beta, and a^2 is alpha_bar[t], where the class holds these tables."""
    alpha_bar, betas = _table(process, TABLES), _table(process, BETAS)
    if betas is not None:
        expect(bool(((betas > 0) & (betas <= 1)).all()), "a beta lies outside (0, 1]")
        times = torch.arange(1, T + 1, dtype=torch.float64) / T
        product = TableSchedule(betas).alpha_bar(times)
        if alpha_bar is None:
            alpha_bar = product
        wrong = (alpha_bar - product).abs() > EXACT
        at = int(wrong.double().argmax())
        expect(
            not bool(wrong.any()),
            f"alpha_bar must be the running product of 1 - beta: at t={at} that is {float(product[at]):.4f}, "
            f"the table has {float(alpha_bar[at]):.4f}",
        )
    if alpha_bar is None:
        return
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    beta = 1 - alpha_bar / before.clamp(min=1e-300)
    steps = torch.tensor(SEEN)
    found = torch.tensor(signal, dtype=torch.float64)
    if _agree(found, alpha_bar[steps].sqrt()):
        return
    inner = slice(1, -1)  # where both neighbours exist
    for what, table in (
        ("alpha_bar[t] itself: the square root is missing", alpha_bar**2),
        ("the square root of alpha_bar[t - 1]: t is one step off", alpha_bar.roll(1)),
        ("the square root of alpha_bar[t + 1]: t is one step off", alpha_bar.roll(-1)),
        ("the square root of beta[t]: alpha_bar, the running product of 1 - beta, belongs there", beta),
        ("beta[t]: the square root of alpha_bar[t] belongs there", beta**2),
        ("the square root of 1 - beta[t]: its running product, alpha_bar, belongs there", 1 - beta),
        ("1 - beta[t]: the square root of its running product, alpha_bar, belongs there", (1 - beta) ** 2),
        ("the square root of 1 - alpha_bar[t]: signal and noise have changed places", 1 - alpha_bar),
    ):
        if _agree(found[inner], table[steps].sqrt()[inner]):
            raise UserError(f"noisy_x = a * x + b * noise with a = {what}")
    worst = int((found - alpha_bar[steps].sqrt()).abs().argmax())
    raise UserError(
        f"noisy_x = a * x + b * noise must have a = sqrt(alpha_bar[t]): at t={SEEN[worst]} a is {signal[worst]:.4f}, "
        f"sqrt(alpha_bar[t]) is {float(alpha_bar[SEEN[worst]].sqrt()):.4f}"
    )


def _agree(found: Tensor, expected: Tensor) -> bool:
    return bool(((found - expected).abs() < NEAR).all())


def _check_levels(signal: list[float], amount: list[float]) -> None:
    """What holds for any schedule, whether the class shows its tables or not."""
    for step, a, b in zip(SEEN, signal, amount, strict=True):
        said = f"at t={step} noisy_x = {a:.3f} x + {b:.3f} noise"
        if abs(a * a + b * b - 1) > EXACT:
            roots = "the square roots are missing: " if abs(a + b - 1) < EXACT else ""
            raise UserError(f"{said}: {roots}it must be sqrt(alpha_bar) x + sqrt(1 - alpha_bar) noise")
        expect(a > -EXACT, f"{said}: the share of the picture must not be negative")
        expect(b > 1e-5, f"{said}: the share of noise must be above 0 at every t of 0..{T - 1}, t=0 too")
    for (s, a), (t, c) in itertools.pairwise(zip(SEEN, signal, strict=True)):
        expect(
            c < a * (1 - FADES) or max(a, c) < GONE,
            f"the picture must fade as t grows, but {a:.4f} of it is left at t={s} and {c:.4f} at t={t}: "
            "is alpha_bar the running product of 1 - beta, and read at t?",
        )
    expect(
        signal[-1] < MOST_SIGNAL,
        f"at the last step, t={T - 1}, {signal[-1]:.0%} of the picture is left: x_T must be noise; "
        "is alpha_bar the running product of 1 - beta, and are the betas large enough for T?",
    )


def _pictures() -> Tensor:
    """(16, 1, 28, 28): a bright square on black, in sixteen places."""
    x = torch.full((16, CHANNELS, SIZE, SIZE), -1.0)
    for k, picture in enumerate(x):
        top, left = 2 + 6 * (k // 4), 2 + 6 * (k % 4)
        picture[:, top : top + 6, left : left + 6] = 1.0
    return x

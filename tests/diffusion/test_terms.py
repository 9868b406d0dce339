"""The terms for motion, by hand, by gradient, and at the noise levels where they must not lead astray."""

import math
from dataclasses import replace

import pytest
import torch
from diffusion_toys import F64, generator, quiet, randn

from noisette.diffusion.exact import Gaussian
from noisette.diffusion.objectives import Objective
from noisette.diffusion.terms import MOTION, Body, Term, bone_length, foot_contact, motion_terms, trust, velocity


def legs(unit: float = 1.0) -> Body:
    """Hip, knee and foot over one another, 0.5 each, in 2-D with y up; (1, 0, 0) in the net's numbers is one scale."""
    mean = torch.tensor([[0.0, 1.0], [0.0, 0.5], [0.0, 0.0]], dtype=F64) * unit
    scale = torch.tensor([0.1, 0.2, 0.4], dtype=F64) * unit
    return Body(mean, scale, torch.tensor([[0, 1], [1, 2]]), torch.tensor([2]), up=1)


def seen(body: Body, clip: torch.Tensor) -> torch.Tensor:
    """Positions (N, F, J, D) as the net sees them."""
    return ((clip - body.mean) / body.scale[:, None]).permute(0, 2, 3, 1).flatten(1, 2)


def still(frames: int, n: int = 1) -> torch.Tensor:
    return legs().mean.expand(n, frames, 3, 2).clone()


SPREAD = (0.1**2 + 0.2**2 + 0.4**2) / 3


def test_positions_are_the_data_and_back():
    body, clip = legs(), randn(2, 5, 3, 2)
    torch.testing.assert_close(body.positions(seen(body, clip)), clip)
    x = torch.zeros(1, 6, 1, dtype=F64)
    x[0, 3] = 1.0  # channel joint*D + dim: the knee's y, one scale up
    assert body.positions(x)[0, 0].tolist() == [[0, 1], [0, 0.7], [0, 0]]
    assert float(body.spread()) == pytest.approx(SPREAD) and float(body.tall()) == 1


def test_velocity_by_hand():
    body, true, guess = legs(), still(3), still(3)
    true[0, :, 0, 0] = torch.tensor([0.0, 0.1, 0.3])  # the hip goes 0.1, then 0.2
    guess[0, :, 0, 0] = torch.tensor([5.0, 5.0, 5.3])  # elsewhere, 0.0, then 0.3: wrong by 0.1 twice, of 12 numbers
    expected = 2 * 0.1**2 / 12 / SPREAD
    assert float(velocity(seen(body, guess), seen(body, true), body)) == pytest.approx(expected, rel=1e-5)


def test_bone_length_by_hand():
    body, true, guess = legs(), still(2), still(2)
    true[0, 1, 0, 1] = 1.2  # thigh 0.5, then 0.7: 0.6 in the mean; shank 0.5
    guess[0, :, :2, 0] += 4.0  # hip and knee aside: the thigh stays 0.5, the shank is sqrt(16.25)
    shank = math.sqrt(4**2 + 0.5**2)
    expected = (2 * (0.5 - 0.6) ** 2 + 2 * (shank - 0.5) ** 2) / 4 / SPREAD
    assert float(bone_length(seen(body, guess), seen(body, true), body)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("down", (False, True))
def test_foot_contact_by_hand(down):
    """Frames: stands, stands, starts to move, is high. y may point down, as in images."""
    body, true = legs(), still(4)
    true[0, :, 2, 0] = torch.tensor([0.0, 0.005, 0.01, 0.5])
    true[0, :, 2, 1] = torch.tensor([0.0, 0.0, 0.0, 0.3])
    guess = true.clone()
    guess[0, :, 2, 0] = torch.tensor([0.0, 0.3, 0.1, 9.0])  # slides 0.3, then 0.2 back; the third step is a stride
    if down:
        flip = torch.tensor([1.0, -1.0], dtype=F64)
        body, true, guess = replace(body, mean=body.mean * flip), true * flip, guess * flip
    expected = (0.3**2 + 0.2**2) / (3 * 1 * 2) / SPREAD
    found = foot_contact(seen(body, guess), seen(body, true), body)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    lifted = true.clone()
    lifted[0, :2, 2, 1] += 0.2 * (-1 if down else 1)  # a foot held still in the air does not stand
    assert float(foot_contact(seen(body, guess), seen(body, lifted), body)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", MOTION)
def test_each_sample_has_its_own_loss_in_any_unit(name):
    clip, guess = still(6, 3) + 0.002 * randn(3, 6, 3, 2), still(6, 3) + 0.1 * randn(3, 6, 3, 2, seed=1)
    metres = MOTION[name](seen(legs(), guess), seen(legs(), clip), legs())
    millimetres = MOTION[name](seen(legs(1000), 1000 * guess), seen(legs(1000), 1000 * clip), legs(1000))
    assert metres.shape == (3,) and (metres > 0).all() and len(metres.unique()) == 3
    torch.testing.assert_close(metres, millimetres)
    alone = MOTION[name](seen(legs(), guess[1:2]), seen(legs(), clip[1:2]), legs())
    torch.testing.assert_close(metres[1:2], alone)


@pytest.mark.parametrize("name", MOTION)
def test_gradients(name):
    body = legs()
    true = seen(body, still(4) + 0.002 * randn(1, 4, 3, 2))
    guess = seen(body, still(4) + 0.1 * randn(1, 4, 3, 2, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: MOTION[name](x, true, body), guess)
    folded = seen(body, torch.zeros(1, 4, 3, 2, dtype=F64)).requires_grad_()  # bones of length 0 point nowhere
    (gradient,) = torch.autograd.grad(bone_length(folded, true, body).sum(), folded)
    assert gradient.isfinite().all()


def test_a_single_frame_has_no_velocity():
    body, x = legs(), randn(2, 6, 1)
    assert velocity(x, 2 * x, body).tolist() == [0, 0] == foot_contact(x, 2 * x, body).tolist()


# --- in an objective ------------------------------------------------------------------------------------------------


def arms(frames: int = 8):
    """Clips of a shoulder that stays and a hand that circles it at 0.5, (200, 4, F), with their body."""
    angle = math.tau * torch.rand(200, 1, generator=generator(), dtype=F64) + 0.3 * torch.arange(frames)
    hand = 0.5 * torch.stack([angle.cos(), angle.sin()], -1)
    clips = torch.stack([0.02 * randn(200, frames, 2), hand], 2)
    mean = clips.mean((0, 1))
    scale = (clips - mean).square().mean((0, 1, 3)).sqrt()
    body = Body(mean, scale, torch.tensor([[0, 1]]), torch.tensor([1]), up=1)
    return body, seen(body, clips)


@pytest.mark.parametrize("name", MOTION)
@pytest.mark.parametrize("weight", (0.5, 2.0))
def test_an_objective_adds_its_terms(name, weight):
    body, x0 = arms()
    model = Gaussian.fitted(x0, quiet("cosine"), 99)
    t, noise = torch.linspace(0.05, 1, 200, dtype=F64), randn(*x0.shape, seed=3)
    plain, added = Objective("v"), Objective("v", terms=motion_terms(body, **{name: weight}))
    before, after = plain(model, x0, t, noise), added(model, x0, t, noise)
    alpha, sigma = model.schedule.level(t)
    x_t = alpha[:, None, None] * x0 + sigma[:, None, None] * noise
    measured = MOTION[name](model(x_t, t).x0, x0, body)
    assert before.terms == {} and torch.equal(after.simple, before.simple)
    torch.testing.assert_close(after.terms[name], measured)
    expected = before.total + weight * ((alpha / sigma) ** 2).clamp(max=5) * measured
    torch.testing.assert_close(after.total, expected, rtol=1e-9, atol=1e-12)


def test_levels_of_noise_do_not_lead_though_their_estimates_are_worst():
    """Of the best linear model's bone term is mostly of SNR below 0.1 by itself, and hardly as it is weighted."""
    body, x0 = arms()
    model = Gaussian.fitted(x0, quiet("cosine"), 99)
    t = torch.linspace(0.01, 1, 200, dtype=F64)
    losses = Objective("v", terms=motion_terms(body, bones=1.0))(model, x0, t, randn(*x0.shape, seed=3))
    snr = model.schedule.snr(t)
    noisy, itself = snr < 0.1, losses.terms["bones"]
    weighted = trust(snr) * itself
    assert noisy.double().mean() < 0.3
    assert itself[noisy].sum() > 0.5 * itself.sum()
    assert weighted[noisy].sum() < 0.1 * weighted.sum()
    assert trust(torch.tensor([0.0, 0.5, 5.0, 1e9])).tolist() == [0, 0.5, 5, 5]


def test_terms_mend_what_they_measure():
    """Gradient steps on the estimate alone: each term falls to a fifth."""
    body, x0 = arms()
    for name, measure in MOTION.items():
        guess = (x0 + 0.3 * randn(*x0.shape, seed=4)).requires_grad_()
        x0_still = x0.clone()
        if name == "contact":
            x0_still[..., 1:] = x0[..., :1]
        start = float(measure(guess.detach(), x0_still, body).mean())
        optimizer = torch.optim.Adam([guess], lr=0.05)
        for _ in range(30):
            optimizer.zero_grad()
            measure(guess, x0_still, body).sum().backward()
            optimizer.step()
        assert float(measure(guess.detach(), x0_still, body).mean()) < 0.2 * start, name


def test_only_what_is_asked_for():
    body = legs()
    assert motion_terms(body) == ()
    assert [(t.name, t.weight) for t in motion_terms(body, velocity=1.0, contact=0.5)] == [
        ("velocity", 1.0),
        ("contact", 0.5),
    ]


def test_refusals():
    body = legs()
    none = torch.zeros(0, 2, dtype=torch.int64)
    for wrong, says in (
        ({"scale": body.scale[:2]}, r"mean \(J, D\) and scale \(J,\)"),
        ({"scale": body.scale * 0}, "above 0"),
        ({"edges": torch.tensor([[0, 3]])}, "edges name joints 0 to 2, got 0..3"),
        ({"edges": torch.tensor([0, 1])}, r"shape \(E, 2\)"),
        ({"feet": torch.tensor([-1])}, "feet name joints 0 to 2"),
        ({"up": 2}, "an axis 0 to 1, got 2"),
    ):
        with pytest.raises(ValueError, match=says):
            replace(body, **wrong)
    with pytest.raises(ValueError, match="with edges"):
        motion_terms(replace(body, edges=none), bones=1.0)
    with pytest.raises(ValueError, match="names its feet"):
        motion_terms(replace(body, feet=none[:, 0]), contact=1.0)
    with pytest.raises(ValueError, match="weight of velocity must be 0 or more"):
        motion_terms(body, velocity=-1.0)
    with pytest.raises(ValueError, match="weight of odd"):
        Term("odd", velocity, math.nan)

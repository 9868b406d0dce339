"""Muon in batches is torch's Muon, one matrix at a time."""

import pytest
import torch

from noisette.tasks.muon import COEFFICIENTS, ITERATIONS, Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6)])
def test_the_singular_values_follow_the_polynomial_and_the_vectors_stay(shape):
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 7
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    a, b, c = COEFFICIENTS
    s = s / s.square().sum(1, keepdim=True).sqrt()  # their matrix has norm 1
    for _ in range(ITERATIONS):
        s = a * s + b * s**3 + c * s**5
    found = orthogonalised([*x, torch.zeros(5, 5, dtype=x.dtype)])
    torch.testing.assert_close(torch.stack(found[:3]), u * s[:, None, :] @ vt, rtol=1e-9, atol=1e-9)
    assert not found[3].any()
    for single, double in zip(orthogonalised(list(x.float())), found[:3], strict=True):
        torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("allowed", ["high", "medium"])
def test_faster_products_elsewhere_do_not_reach_the_gram_matrices(allowed):
    """bf16 products here and TF32 on a GPU make negative eigenvalues of a matrix of rank one, and those grow."""
    x = torch.outer(torch.linspace(-1, 1, 64), torch.linspace(0.1, 1, 96))
    before = torch.get_float32_matmul_precision()
    (exact,) = orthogonalised([x])
    torch.set_float32_matmul_precision(allowed)
    try:
        (found,) = orthogonalised([x])
        assert torch.get_float32_matmul_precision() == allowed
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found, exact)


def weights(seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g) for shape in ((4, 9), (12, 5), (4, 9), (7, 7))]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_torch(decay):
    """torch rounds to bf16 within an update, ours does not: the two differ by that alone."""
    ours, theirs = ([w.clone().requires_grad_() for w in weights(0)] for _ in range(2))
    mine = Muon(ours, lr=0.05, weight_decay=decay)
    other = torch.optim.Muon(theirs, lr=0.05, weight_decay=decay, adjust_lr_fn="original")
    for step in range(4):
        for pair in zip(ours, theirs, weights(1 + step), strict=True):
            pair[0].grad, pair[1].grad = pair[2].clone(), pair[2].clone()
        mine.step()
        other.step()
    for mine_w, other_w, first in zip(ours, theirs, weights(0), strict=True):
        moved, difference = (other_w - first).norm(), (mine_w - other_w).norm()
        assert difference < 0.03 * moved


def test_a_weight_without_a_gradient_stays_and_the_others_do_not_mind():
    a, b = (w.requires_grad_() for w in weights(0)[::2])
    before = a.detach().clone()
    b.grad = torch.ones_like(b)
    optimiser = Muon([a, b], lr=0.1)
    optimiser.step()
    assert torch.equal(a, before) and not torch.equal(b, weights(0)[2])


def test_no_gradient_at_all_moves_nothing():
    (w,) = [w.requires_grad_() for w in weights(0)[:1]]
    w.grad = torch.zeros_like(w)
    Muon([w], lr=0.1).step()
    assert torch.equal(w, weights(0)[0])


def test_its_state_is_saved_and_goes_on():
    straight, resumed = ([w.clone().requires_grad_() for w in weights(0)] for _ in range(2))
    first, second = Muon(straight, lr=0.05), Muon(resumed, lr=0.05)
    for step in range(4):
        for p, q, g in zip(straight, resumed, weights(1 + step), strict=True):
            p.grad, q.grad = g.clone(), g.clone()
        first.step()
        second.step()
        state, second = second.state_dict(), Muon(resumed, lr=0.05)
        second.load_state_dict(state)
    for p, q in zip(straight, resumed, strict=True):
        assert torch.equal(p, q)

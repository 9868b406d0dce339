"""Both ways of attending give what the formula says."""

import pytest
import torch

from noisette.nets import layers


def formula(q, k, v):
    """Vaswani et al. 2017, eq. 1, in float64."""
    q, k, v = (x.double() for x in (q, k, v))
    weights = torch.exp(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5)
    return weights / weights.sum(-1, keepdim=True) @ v


@pytest.mark.parametrize("plain", (True, False))
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
@pytest.mark.parametrize("length", (1, 7, 49, 300))
def test_attend_is_the_formula_whatever_the_way(monkeypatch, plain, dtype, length):
    monkeypatch.setattr(layers, "PLAIN_UP_TO", {dtype: 1000 if plain else 0})
    g = torch.Generator().manual_seed(length)
    q, k, v = (torch.randn(2, 3, length, 16, generator=g, dtype=torch.float32).to(dtype) for _ in range(3))
    ours, true = [x.clone().requires_grad_() for x in (q, k, v)], [x.clone().requires_grad_() for x in (q, k, v)]
    out, expected = layers.attend(*ours), formula(*true)
    near = 1e-5 if dtype == torch.float32 else 0.02
    assert out.dtype == dtype and (out.double() - expected).norm() < near * expected.norm()
    weight = torch.randn(out.shape, generator=g)
    (out.float() * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip(ours, true, strict=True):
        assert (a.grad.double() - b.grad).norm() < 2 * near * max(b.grad.double().norm(), 1.0)


def test_the_way_is_chosen_by_dtype_and_length(monkeypatch):
    called = []
    monkeypatch.setattr(layers.F, "scaled_dot_product_attention", lambda q, k, v: called.append(q.shape[-2]) or v)
    for length in (64, 65):
        layers.attend(*(torch.zeros(1, 1, length, 4) for _ in range(3)))
    layers.attend(*(torch.zeros(1, 1, 257, 4, dtype=torch.bfloat16) for _ in range(3)))
    assert called == [65, 257]

"""The transformer: any size, every weight counted, conditioning, and its arithmetic against the formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisette.nets import BACKBONES, Transformer
from noisette.nets.transformer import Block, places

SMALL = {"channels": 16, "blocks": 2, "head_dim": 8}
CHOICES = [{}, {"patch": 2}, {"patch": 4}, {"classes": 3}, {"expand": 1}, {"activation": "relu"}, {"head_dim": 16}]
SIZES = {1: [(28,), (37,), (1,)], 2: [(8, 8), (3, 10), (1, 1)]}


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """The net with every parameter drawn at random, so that nothing hides behind a zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return net


def batch(net: Transformer, size: tuple[int, ...], n: int = 3) -> tuple[Tensor, Tensor, Tensor | None]:
    x = torch.randn(n, net.in_channels, *size, generator=torch.Generator().manual_seed(1))
    return x, torch.linspace(10.5, 900.0, n), torch.arange(n) % net.classes if net.classes else None


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_any_size_gives_finite_output_of_that_size(choice: dict, dims: int) -> None:
    net = awake(Transformer(2, 3, dims=dims, **SMALL | choice))
    for size in SIZES[dims]:
        with torch.no_grad():
            out = net(*batch(net, size))
        assert out.shape == (3, 3, *size) and out.isfinite().all()


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_gradients_reach_every_parameter_and_every_input(choice: dict, dims: int) -> None:
    net = awake(Transformer(2, dims=dims, **SMALL | choice))
    x, t, cond = batch(net, (16,) * dims)
    x.requires_grad_()
    net(x, t, cond).square().mean().backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # A key bias moves every score of a row alike, which the softmax takes out again: only rounding is left there.
    assert [n for n in dead if not n.endswith("to_k.bias")] == []
    assert (x.grad != 0).all()


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("dims", [1, 2])
def test_all_backbones_have_one_face(name: str, dims: int) -> None:
    """What a denoiser asks of a net: any size, labels with a null, a zero start, a twin from its arguments."""
    net = BACKBONES[name](3, 6, dims=dims, channels=16, blocks=1, head_dim=8, classes=2, patch=2, dropout=0.1).eval()
    x, t = torch.randn(2, 3, *(11, 6)[:dims]), torch.tensor([3.0, 700.5])
    assert not net(x, t, torch.tensor([0, 1])).any()
    awake(net)
    with torch.no_grad():
        none, null, labelled = net(x, t), net(x, t, torch.tensor([2, 2])), net(x, t, torch.tensor([0, 1]))
        later, alone = net(x, t + 1), net(x[1:], t[1:])
    assert none.shape == (2, 6, *x.shape[2:])
    assert torch.equal(none, null)
    assert (none - labelled).abs().max() > 1e-4 and (none - later).abs().max() > 1e-4
    torch.testing.assert_close(alone, none[1:], rtol=1e-4, atol=1e-5)
    twin = BACKBONES[name](**net.arguments)
    twin.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(twin.eval()(x, t), none)
    with pytest.raises(ValueError, match="x of shape"):
        net(x[:, :2], t)


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize(("dims", "out"), [(1, 3), (1, 6), (2, 3), (2, 7)])
def test_with_a_skip_the_output_has_the_input_in_it_by_noise_level_and_channel(name: str, dims: int, out: int) -> None:
    arguments = {"dims": dims, "channels": 16, "blocks": 1, "head_dim": 8, "classes": 2, "patch": 2}
    net = BACKBONES[name](3, out, **arguments, skip=True).eval()
    x, t = torch.randn(2, 3, *(11, 6)[:dims]), torch.tensor([3.0, 700.5])
    plain = BACKBONES[name](3, out, **arguments).eval()
    assert not net(x, t).any()
    awake(net)
    plain.load_state_dict({n: w for n, w in net.state_dict().items() if not n.startswith("input_gate")})
    with torch.no_grad():
        more = net(x, t) - plain(x, t)
        other = net(x, t + 200) - plain(x, t + 200)
    gate, later = (part[:, :3] / x for part in (more, other))
    assert not more[:, 3:].any() and (gate - later).abs().max() > 1e-3
    torch.testing.assert_close(
        gate, gate.flatten(2)[:, :, :1].unflatten(2, [1] * dims).expand_as(gate), rtol=1e-2, atol=1e-3
    )
    assert gate.flatten(2)[:, :, 0].std() > 1e-3


def test_fresh_blocks_are_the_identity() -> None:
    block = Block(16, 8, 4, dropout=0.0, act="gelu")
    tokens = torch.randn(2, 5, 16)
    assert torch.equal(block(tokens, torch.randn(2, 16)), tokens)


def test_a_block_is_the_formula() -> None:
    """Peebles & Xie 2023, fig. 3 ("DiT Block with adaLN-Zero"), written out in float64."""
    block = awake(Block(8, 4, 2, dropout=0.0, act="relu")).double()
    tokens, emb = torch.randn(1, 5, 8).double(), torch.randn(1, 8).double()
    a1, b1, g1, a2, b2, g2 = (block.time_emb_proj.weight @ emb[0] + block.time_emb_proj.bias).split(8)

    def normed(x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()

    x = tokens[0]
    h = normed(x) * (1 + a1) + b1
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        q, k, v = ((h @ to.weight.T + to.bias)[:, part] for to in (block.to_q, block.to_k, block.to_v))
        heads.append(torch.softmax(q @ k.T / math.sqrt(4), dim=1) @ v)
    x = x + g1 * (torch.cat(heads, 1) @ block.to_out.weight.T + block.to_out.bias)
    h = normed(x) * (1 + a2) + b2
    h = torch.relu(h @ block.linear_1.weight.T + block.linear_1.bias)
    x = x + g2 * (h @ block.linear_2.weight.T + block.linear_2.bias)
    torch.testing.assert_close(block(tokens, emb)[0], x, rtol=1e-10, atol=1e-10)


def test_every_place_is_told_apart_and_keeps_its_name_at_other_sizes() -> None:
    short, long = (places((n,), 16, torch.device("cpu")) for n in (10, 200))
    assert torch.equal(short, long[:10])
    assert torch.cdist(long, long).fill_diagonal_(1).min() > 0.1
    grid = places((4, 6), 16, torch.device("cpu"))
    assert grid.shape == (24, 16)
    assert torch.cdist(grid, grid).fill_diagonal_(1).min() > 0.1
    assert torch.equal(grid[7][:8], places((4,), 8, torch.device("cpu"))[1])  # token 7 of rows of 6: row 1, column 1
    assert torch.equal(grid[7][8:], places((6,), 8, torch.device("cpu"))[1])


def test_order_matters() -> None:
    """Without places a transformer would not know which frame comes first."""
    net = awake(Transformer(2, dims=1, **SMALL)).eval()
    x, t, _ = batch(net, (12,))
    with torch.no_grad():
        assert (net(x.flip(2), t) - net(x, t).flip(2)).abs().max() > 1e-2


def test_runs_in_bfloat16() -> None:
    net = awake(Transformer(2, dims=1, **SMALL)).eval()
    x, t, _ = batch(net, (24,))
    with torch.no_grad():
        exact = net(x, t)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net(x, t)
        low = net.bfloat16()(x.bfloat16(), t)
    assert low.dtype == torch.bfloat16
    for out in (mixed, low):
        assert (out - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(
    "wrong",
    [
        {"dims": 3},
        {"channels": 12},
        {"channels": 0},
        {"blocks": 0},
        {"head_dim": 5},
        {"expand": 0},
        {"dropout": 1.0},
        {"activation": "sliu"},
        {"classes": -1},
        {"patch": 0},
        {"in_channels": 0},
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_in_one_line(wrong: dict) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError) as caught:
        Transformer(**{"in_channels": 2, **SMALL, **wrong})
    assert name in str(caught.value) and str(value) in str(caught.value) and "\n" not in str(caught.value)


def test_labels_for_a_net_without_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="classes=0"):
        Transformer(2, dims=1, **SMALL)(torch.zeros(1, 2, 8), torch.zeros(1), torch.zeros(1, dtype=torch.long))

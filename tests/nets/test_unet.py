"""One suite for every choice that the U-Net offers: sizes, gradients, conditioning, and diffusers' outputs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from noisette.nets import ACTIVATIONS, NORMS, PADDINGS, RESAMPLES, TIMES, UNet, to_diffusers_config, to_diffusers_state
from noisette.nets.layers import crop, depth_to_space, halve, pad, sinusoid, space_to_depth

SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "groups": 4, "head_dim": 4}
CHOICES = (
    [{"activation": name} for name in ACTIVATIONS]
    + [{"norm": name} for name in NORMS]
    + [{"time": name} for name in TIMES]
    + [{"patch": patch} for patch in (1, 2, 4)]
    + [{"padding_mode": name} for name in PADDINGS]
    + [{"padding_mode": name, "patch": 4} for name in PADDINGS]
    + [{"resample": name} for name in RESAMPLES]
    + [{"skip": True}, {"skip": True, "patch": 2}]
    + [
        {"heads": 2, "attention": (0, 1)},
        {"attention": (0, 1)},
        {"middle_attention": False},
        {"classes": 3},
        {"blocks": 2},
        {"multipliers": (1, 1, 3)},
    ]
)
SIZES = {1: [(28,), (37,), (1,)], 2: [(28, 28), (30, 45), (1, 64), (3, 2)]}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Nets this small gain nothing from threads, and beside other work they spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def awake(net: UNet) -> UNet:
    """The net with every parameter drawn at random, so that nothing hides behind a zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return net


def batch(net: UNet, size: tuple[int, ...], n: int = 3) -> tuple[Tensor, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, net.in_channels, *size, generator=generator)
    return x, torch.linspace(10.5, 900.0, n), torch.arange(n) % net.classes if net.classes else None


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_any_size_gives_finite_output_of_that_size(choice: dict, dims: int) -> None:
    net = awake(UNet(2, 3, dims=dims, **SMALL | choice))
    for size in SIZES[dims]:
        with torch.no_grad():
            out = net(*batch(net, size))
        assert out.shape == (3, 3, *size)
        assert out.isfinite().all()


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_gradients_reach_every_parameter(choice: dict, dims: int) -> None:
    net = awake(UNet(2, dims=dims, **SMALL | choice))
    net(*batch(net, (16,) * dims)).square().mean().backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # A key bias moves every score of a row alike, which the softmax takes out again: only rounding is left there.
    assert [n for n in dead if not n.endswith("to_k.bias")] == []


@pytest.mark.parametrize("choice", [{"time": t, "norm": n} for t in TIMES for n in NORMS], ids=str)
def test_noise_and_label_change_the_output(choice: dict) -> None:
    net = awake(UNet(1, classes=3, **SMALL | choice)).eval()
    x = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outs = [net(x, torch.tensor([t]), torch.tensor([c])) for t, c in [(5.0, 0), (5.5, 0), (800.0, 0), (5.0, 1)]]
    for i, a in enumerate(outs):
        for b in outs[:i]:
            assert (a - b).abs().max() > 1e-4


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_samples_of_a_batch_do_not_see_each_other(choice: dict) -> None:
    net = awake(UNet(2, **SMALL | choice)).eval()
    x, t, cond = batch(net, (10, 12), n=4)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        straight, shuffled = net(x, t, cond), net(x[order], t[order], None if cond is None else cond[order])
        alone = net(x[:1], t[:1], None if cond is None else cond[:1])
    torch.testing.assert_close(shuffled, straight[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone, straight[:1], rtol=1e-4, atol=1e-5)


def test_no_label_is_the_null_label() -> None:
    net = awake(UNet(1, classes=3, **SMALL)).eval()
    x, t, cond = batch(net, (8, 8))
    with torch.no_grad():
        none, null, labelled = net(x, t), net(x, t, torch.full((3,), 3)), net(x, t, cond)
    assert torch.equal(none, null)
    assert not torch.allclose(none, labelled)


def test_starts_at_zero_and_rebuilds_from_its_arguments() -> None:
    net = UNet(1, out_channels=2, classes=2, **SMALL)
    x, t, cond = batch(net, (8, 8))
    assert not net(x, t, cond).any()
    twin = UNet(**net.arguments)
    assert {n: p.shape for n, p in twin.named_parameters()} == {n: p.shape for n, p in net.named_parameters()}


def test_runs_in_bfloat16_and_channels_last() -> None:
    for name in NORMS:
        net = awake(UNet(1, norm=name, attention=(1,), **SMALL)).eval()
        x, t, _ = batch(net, (12, 12))
        with torch.no_grad():
            exact = net(x, t)
            last = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), t)
            with torch.autocast("cpu", torch.bfloat16):
                mixed = net(x, t)
            low = net.bfloat16()(x.bfloat16(), t)
        torch.testing.assert_close(last, exact, rtol=1e-4, atol=1e-5)
        scale = exact.abs().max()
        assert (mixed - exact).abs().max() < 0.1 * scale
        assert (low - exact).abs().max() < 0.1 * scale


@pytest.mark.parametrize("size", [(7,), (8, 8), (5, 9)])
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_space_to_depth_is_undone(size: tuple[int, ...], patch: int) -> None:
    x = torch.arange(2 * 3 * torch.Size(size).numel(), dtype=torch.float32).reshape(2, 3, *size)
    folded = space_to_depth(x, patch)
    assert folded.shape == (2, 3 * patch ** len(size), *(-(-s // patch) for s in size))
    assert torch.equal(crop(depth_to_space(folded, patch), size), x)
    if size == (8, 8):
        assert torch.equal(folded, torch.nn.functional.pixel_unshuffle(x, patch))


@pytest.mark.parametrize("mode", PADDINGS)
@pytest.mark.parametrize("size", [(7,), (5, 4)])
def test_pad_is_torchs_own_where_that_can(mode: str, size: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *size)
    theirs = torch.nn.functional.pad(x, [2, 1] * len(size), mode="constant" if mode == "zeros" else mode)
    assert torch.equal(pad(x, [(2, 1)] * len(size), mode), theirs)


def test_pad_goes_on_where_an_axis_is_short() -> None:
    x = torch.tensor([[[1.0, 2.0]]])
    assert pad(x, [(3, 2)], "circular").flatten().tolist() == [2, 1, 2, 1, 2, 1, 2]
    assert pad(x, [(3, 2)], "reflect").flatten().tolist() == [2, 1, 2, 1, 2, 1, 2]
    assert pad(x[..., :1], [(1, 3)], "reflect").flatten().tolist() == [1] * 5
    x = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert pad(x, [(1, 4)], "reflect").flatten().tolist() == [2, 1, 2, 3, 2, 1, 2, 3]
    assert pad(x, [(1, 4)], "circular").flatten().tolist() == [3, 1, 2, 3, 1, 2, 3, 1]


RINGS = [{}, {"resample": "pool"}, {"resample": "block"}, {"patch": 2}, {"norm": "rms"}, {"attention": (0, 1)}]


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("choice", RINGS, ids=str)
def test_a_ring_turned_gives_the_output_turned(choice: dict, dims: int) -> None:
    """Exactly for turns by the stride; with zeros beyond the edge it is not so, which shows that the test can fail."""
    size, turns = (32, 16)[:dims], (8, 4)[:dims]
    axes = tuple(range(2, 2 + dims))
    differ = {}
    for mode in ("circular", "zeros", "reflect"):
        net = awake(UNet(2, dims=dims, padding_mode=mode, **SMALL | choice)).double().eval()
        assert all(turn % net.stride == 0 for turn in turns)
        x, t, _ = batch(net, size)
        x = x.double()
        with torch.no_grad():
            out, turned = net(x, t), net(x.roll(turns, axes), t)
        differ[mode] = float((turned - out.roll(turns, axes)).abs().max() / out.abs().max())
    assert differ["circular"] < 1e-12
    assert differ["zeros"] > 1e-3 and differ["reflect"] > 1e-3


def test_padding_has_no_weights_of_its_own() -> None:
    """Nets that differ in it alone take each other's weights, and agree away from the edges."""
    nets = [awake(UNet(1, dims=1, padding_mode=m, norm="rms", middle_attention=False, **SMALL)) for m in PADDINGS]
    x = torch.randn(1, 1, 64)
    with torch.no_grad():
        zeros, *others = (net(x, torch.tensor([3.0])) for net in nets)
    for out in others:
        torch.testing.assert_close(out[..., 24:40], zeros[..., 24:40], rtol=1e-5, atol=1e-6)
        assert (out[..., :2] - zeros[..., :2]).abs().max() > 1e-3


def test_halve_is_the_mean_of_two_or_of_one() -> None:
    x = torch.arange(5.0).reshape(1, 1, 5)
    assert halve(x).flatten().tolist() == [0.5, 2.5, 4.0]
    assert halve(x[..., :1]).flatten().tolist() == [0.0]
    assert halve(torch.arange(6.0).reshape(1, 1, 2, 3)).flatten().tolist() == [2.0, 3.5]


def test_heads_are_as_many_at_every_level() -> None:
    net = UNet(1, dims=1, channels=8, groups=4, attention=(0, 1), heads=4)
    assert {m.head_dim for m in net.modules() if hasattr(m, "head_dim")} == {2, 4}


def test_sinusoid_is_that_of_diffusers() -> None:
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.tensor([0.0, 0.5, 17.0, 999.0])
    theirs = get_timestep_embedding(t, 32, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(sinusoid(t, 32), theirs, rtol=0, atol=1e-6)


PRESETS = [
    {},
    {"attention": (1,)},
    {"attention": (0, 2), "time": "scale_shift", "out_channels": 6},
    {"classes": 4, "attention": (2,), "head_dim": 16},
    {"middle_attention": False, "multipliers": (1, 2, 2, 4), "blocks": 1},
]


@pytest.mark.parametrize("preset", PRESETS, ids=str)
def test_diffusers_gives_the_same_output(preset: dict) -> None:
    from diffusers import UNet2DModel

    net = awake(UNet.diffusers(3, **{"channels": 32, **preset})).eval()
    theirs = UNet2DModel(**to_diffusers_config(net, sample_size=16)).eval()
    state = to_diffusers_state(net)
    assert set(state) == set(theirs.state_dict())
    theirs.load_state_dict(state)
    x, t, cond = batch(net, (16, 16))
    t = t.round()
    with torch.no_grad():
        ours, other = net(x, t, cond), theirs(x, t, class_labels=cond).sample
    assert other.abs().max() > 0.1
    assert (ours - other).abs().max() < 1e-6


@pytest.mark.parametrize(
    "choice",
    [
        {"patch": 2},
        {"dims": 1},
        {"norm": "rms"},
        {"time": "concat"},
        {"activation": "elu"},
        {"heads": 4},
        {"padding_mode": "reflect"},
        {"skip": True},
        {"resample": "pool"},
    ],
)
def test_what_diffusers_cannot_express_is_refused(choice: dict) -> None:
    ((name, value),) = choice.items()
    with pytest.raises(ValueError, match=f"{name}={value!r} is not one of"):
        UNet.diffusers(1, channels=32, **choice)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dims": 3},
        {"channels": 9},
        {"channels": 0},
        {"multipliers": ()},
        {"multipliers": (1, 0)},
        {"blocks": 0},
        {"attention": (2,)},
        {"head_dim": 0},
        {"head_dim": 5},
        {"dropout": 1.0},
        {"activation": "sliu"},
        {"norm": "batch"},
        {"groups": 3},
        {"groups": 0},
        {"time": "film"},
        {"classes": -1},
        {"patch": 3},
        {"heads": -1},
        {"heads": 3},
        {"resample": "stride"},
        {"padding_mode": "wrap"},
        {"in_channels": 0},
        {"out_channels": 0},
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_in_one_line(wrong: dict) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError) as caught:
        UNet(**{"in_channels": 2, **SMALL, **wrong})
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    assert str(value if not isinstance(value, tuple) or not value else value[-1]) in message


def test_a_wrong_input_is_refused() -> None:
    net = UNet(2, **SMALL)
    t = torch.zeros(1)
    for shape in [(1, 2, 8), (1, 3, 8, 8)]:
        with pytest.raises(ValueError, match="x of shape"):
            net(torch.zeros(shape), t)
    with pytest.raises(ValueError, match="classes=0"):
        net(torch.zeros(1, 2, 8, 8), t, torch.zeros(1, dtype=torch.long))

"""MDM_UNetModel: shapes, what each argument builds, and training by DenoiseDiffusion, as the transformer does it."""

from __future__ import annotations

import math

import pytest
import torch
from coursework_toys import generator
from torch import Tensor, nn

from noisette import UserError
from noisette.coursework import DenoiseDiffusion, MDM_UNetModel
from noisette.nets import Transformer, UNet
from noisette.nets.layers import Attention, Downsample, ResBlock

SMALL = {"model_channels": 8, "num_res_blocks": 1, "channel_mult": (1, 2)}


def awake(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator(len(parameter))) * 0.2)
    return net.eval()


def model(in_channels: int = 6, **arguments: object) -> MDM_UNetModel:
    return awake(MDM_UNetModel(16, in_channels=in_channels, out_channels=in_channels, **SMALL | arguments))


def clips(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


T = torch.tensor([0, 700])


@pytest.mark.parametrize("frames", (1, 16, 37))
def test_it_takes_clips_with_key_points_apart_or_not(frames):
    net, x = model(), clips(2, 2, 3, frames)
    with torch.no_grad():
        apart, flat = net(x, T), net(x.reshape(2, 6, frames), T)
        image = model(2, dims=2)(x, T)
    assert apart.shape == image.shape == x.shape and flat.shape == (2, 6, frames)
    assert torch.equal(apart.reshape(2, 6, frames), flat)


def test_it_is_the_cores_unet():
    net = model(attention_resolutions=(2,), num_heads=2, use_scale_shift_norm=True, padding_mode="circular")
    core = UNet(
        6, dims=1, channels=8, multipliers=(1, 2), blocks=1, attention=(1,), head_dim=8, groups=8, time="scale_shift"
    )
    core.load_state_dict(net.state_dict())
    ring = UNet(**net.arguments).eval()
    ring.load_state_dict(net.state_dict())
    x = clips(2, 6, 16)
    with torch.no_grad():
        assert torch.equal(net(x, T), ring(x, T))
        assert not torch.allclose(net(x, T), core.eval()(x, T), atol=1e-3), "other edges"
    assert isinstance(net.time_embedding.act, nn.SiLU) and net.conv_in.kernel_size == net.conv_out.kernel_size == (3,)


def test_each_argument_builds_what_it_says():
    def found(kind, **arguments):
        return [m for m in model(**arguments).modules() if isinstance(m, kind)]

    assert len(found(Attention)) == 1 and len(found(Attention, attention_resolutions=(1,))) == 1 + 1 + 2
    assert [m.head_dim for m in found(Attention, num_heads=4, attention_resolutions=(1, 2))] == [2, 4, 4, 4, 4, 2, 2]
    assert len(found(ResBlock, num_res_blocks=2)) == 2 * 2 + 2 + 2 * 3
    (conv,), (plain,) = found(Downsample), found(Downsample, conv_resample=False)
    (block,) = found(Downsample, resblock_updown=True, conv_resample=False)
    assert conv.conv is not None and plain.conv is plain.block is None and isinstance(block.block, ResBlock)
    assert {m.p for m in found(nn.Dropout, dropout=0.3)} == {0.3}
    assert len(model(channel_mult=(1, 2, 2)).down_blocks) == 3
    learned = MDM_UNetModel(16, 6, out_channels=12, **SMALL)
    assert learned(clips(2, 2, 3, 16), T).shape == (2, 4, 3, 16) and learned.image_size == 16


def test_a_vector_conditions_it():
    net, x, vector = model(clip_dim=5), clips(2, 6, 16), clips(2, 5, seed=1)
    with torch.no_grad():
        none, told, other = net(x, T), net(x, T, vector), net(x, T, vector.flip(0))
    assert min(float((a - b).abs().max()) for a, b in ((none, told), (told, other), (none, other))) > 1e-3
    with pytest.raises(UserError, match=r"cond of shape \(2, 4\) must be \(B, 5\)"):
        net(x, T, vector[:, :4])
    with pytest.raises(UserError, match="clip_dim was not given"):
        model()(x, T, vector)


def test_a_loop_turned_gives_its_noise_turned():
    net, x = model(padding_mode="circular", attention_resolutions=(2,)).double(), clips(2, 6, 24).double()
    with torch.no_grad():
        torch.testing.assert_close(net(x.roll(4, 2), T), net(x, T).roll(4, 2), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"attention_resolutions": (3,)}, r"attention_resolutions: 3 is none of this net's levels, \[1, 2\]"),
        ({"num_heads": 3}, "heads=3"),
        ({"model_channels": 7}, "channels=7"),
        ({"padding_mode": "wrap"}, "padding_mode='wrap'"),
        ({"dims": 3}, "dims=3"),
        ({"channel_mult": ()}, "multipliers"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told(wrong, says):
    with pytest.raises(UserError, match=says) as caught:
        model(**wrong)
    assert "\n" not in str(caught.value)


def test_other_shapes_are_refused():
    for shape in ((2, 6), (2, 5, 16), (2, 2, 4, 16)):
        with pytest.raises(UserError, match="x of shape"):
            model()(torch.zeros(shape), T)


class Waves:
    """Clips in which every key point swings at a pace and a phase of its own: (N, 6, 16), in [-1, 1]."""

    def __init__(self):
        self.generator = generator(5)

    def __call__(self, n: int) -> Tensor:
        pace = 0.5 + torch.rand(n, 6, 1, generator=self.generator)
        phase = math.tau * torch.rand(n, 6, 1, generator=self.generator)
        return torch.sin(math.tau * pace * torch.arange(16) / 16 + phase)


NETS = {
    "unet": lambda: MDM_UNetModel(
        16, 6, 16, 6, 1, attention_resolutions=(2,), channel_mult=(1, 2), use_scale_shift_norm=True
    ),
    "transformer": lambda: Transformer(6, dims=1, channels=32, blocks=2, head_dim=16),
}


@pytest.mark.parametrize("name", NETS)
def test_denoise_diffusion_trains_either_net(name):
    """A few steps in, the loss of new clips lies well below the 1 of a net that has learned nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = NETS[name]()
    diffusion, data, draws = DenoiseDiffusion(net, 1000, "cpu"), Waves(), generator(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    held_out = data(128)
    before = float(diffusion.loss(held_out, generator=generator(2)).detach())
    for _ in range(40):
        optimizer.zero_grad()
        diffusion.loss(data(32), generator=draws).backward()
        optimizer.step()
    after = float(diffusion.loss(held_out, generator=generator(2)).detach())
    assert before == pytest.approx(1, abs=0.05), "the output starts at zero, and noise has variance 1"
    assert after < 0.7
    x = diffusion.p_sample(torch.randn(3, 6, 16, generator=draws), torch.full((3,), 999), generator=draws)
    assert x.shape == (3, 6, 16) and x.isfinite().all()

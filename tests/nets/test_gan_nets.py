"""Generator and critic: any size, any number of classes, every weight and every pixel counted, matched in size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from noisette.experiment import build, recipes
from noisette.experiment.runs import Shape
from noisette.nets.gan import Critic, Gan, Generator, matching, sizes

SIDES = [(8, 8), (16, 16), (28, 28), (32, 32), (45, 45), (64, 64), (100, 100), (128, 128), (3, 3), (1, 1), (5, 40)]


def noise(n: int, z: int) -> Tensor:
    return torch.randn(n, z, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", SIDES, ids=str)
def test_any_size_becomes_an_image_and_a_logit(side: tuple[int, int], channels: int) -> None:
    image = (channels, *side)
    for classes in (0, 3):
        nets = Gan(6, image, channels=2, classes=classes)
        told = torch.tensor([0, 2]) if classes else None
        x = nets.generator(noise(2, 6), told)
        assert x.shape == (2, *image) and x.isfinite().all() and x.abs().max() <= 1
        logits = nets.critic(x, told)
        assert logits.shape == (2,) and logits.isfinite().all()


def test_sides_are_halved_rounding_up_until_they_are_small() -> None:
    assert sizes(28, 28) == [(28, 28), (14, 14), (7, 7), (4, 4)]
    assert sizes(5, 40) == [(5, 40), (3, 20), (2, 10), (1, 5), (1, 3)]
    assert sizes(4, 4) == [(4, 4)]


@pytest.mark.parametrize("side", [28, 45, 3])
def test_every_pixel_and_every_weight_counts(side: int) -> None:
    """A critic that does not see an edge would let the generator draw anything there."""
    nets = Gan(6, (1, side, side), channels=4, classes=2)
    told = torch.tensor([0, 1, 1, 0])
    drawn = nets.generator(noise(4, 6), told)
    drawn.retain_grad()
    nets.critic(drawn, told).sum().backward()
    assert (drawn.grad != 0).any(0).all()
    for name, weight in nets.named_parameters():
        assert weight.grad is not None and (weight.grad != 0).any(), name


def test_the_first_numbers_of_noise_in_the_shape_of_an_image_are_z() -> None:
    net = Generator(6, (1, 8, 8), channels=2)
    image = noise(3, 64).reshape(3, 1, 8, 8)
    assert torch.equal(net(image), net(image.flatten(1)[:, :6]))
    with pytest.raises(ValueError, match="5 numbers of noise are too few"):
        net(noise(3, 5))


def test_an_image_depends_on_its_own_noise_and_label_alone() -> None:
    nets = Gan(6, (1, 12, 12), channels=4, classes=2)
    z, told = noise(4, 6), torch.tensor([0, 1, 0, 1])
    with torch.no_grad():
        all_of_them = nets.generator(z, told)
        assert torch.allclose(nets.generator(z[1:2], told[1:2]), all_of_them[1:2], atol=1e-6)
        assert not torch.allclose(nets.generator(z, 1 - told), all_of_them, atol=1e-3)
        assert not torch.allclose(nets.critic(all_of_them, told), nets.critic(all_of_them, 1 - told), atol=1e-4)


def test_fresh_nets_neither_saturate_nor_vanish() -> None:
    """The size of what passes through is kept: tanh is not at its ends, and logits are of the order of one."""
    torch.manual_seed(0)
    for side in (8, 32, 128):
        nets = Gan(64, (3, side, side), channels=16)
        with torch.no_grad():
            x = nets.generator(noise(16, 64))
            logits = nets.critic(torch.randn(16, 3, side, side).clamp(-1, 1))
        assert 0.2 < x.std() < 0.9, side
        assert 0.02 < logits.abs().mean() < 5, side


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Generator(0, (1, 8, 8)), "z=0"),
        (lambda: Critic((1, 8, 8), channels=0), "channels=0"),
        (lambda: Generator(4, (1, 0, 8)), "image=0"),
        (lambda: Generator(4, (1, 8, 8), classes=-1), "classes=-1"),
        (lambda: Generator(4, (1, 8, 8), classes=2)(noise(1, 4)), "needs a label"),
        (lambda: Critic((1, 8, 8))(torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.long)), "classes=0"),
        (lambda: Critic((1, 8, 8))(torch.zeros(1, 3, 8, 8)), r"must be \(N, 1, 8, 8\)"),
    ],
)
def test_what_does_not_fit_is_told(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("recipe", sorted(n for n, t in recipes.known().items() if "medium" not in t.get("fits", {})))
@pytest.mark.parametrize("labels", [(), tuple("abcdefghij")], ids=["plain", "labels"])
def test_a_gan_has_as_many_weights_as_the_unet_of_its_recipe(recipe: str, labels: tuple[str, ...]) -> None:
    """Within ten percent, generator and critic together, at every size that the recipe is for."""
    fits = recipes.known()[recipe].get("fits", {"max_side": 32, "channels": [3]})
    for side in {28 if fits["max_side"] == 32 else fits["max_side"] // 2, fits["max_side"]}:
        for channels in fits["channels"]:
            shape = Shape.images(channels, side, side, labels)
            unet = build.learning(build.resolve(shape, recipe, {}), shape)
            config = build.resolve(shape, recipe, {"kind": "gan"})
            nets = build.learning(config, shape)
            wanted, found = (sum(p.numel() for p in net.parameters()) for net in (unet, nets))
            assert abs(found / wanted - 1) < 0.1, (side, channels, wanted, found)
            assert config.gan.channels and isinstance(nets, Gan)


def test_matching_is_the_nearest_of_all() -> None:
    def count(channels: int) -> int:
        return sum(p.numel() for p in Gan(8, (1, 8, 8), channels=channels).parameters())

    for weights in (1, 5_000, 70_000):
        found = matching(weights, 8, (1, 8, 8))
        assert found == min(range(1, 60), key=lambda channels: abs(count(channels) - weights))

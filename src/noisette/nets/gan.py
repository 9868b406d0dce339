"""A generator and a critic for images of any size, sized after DCGAN, for adversarial training. Plain torch.

Shapes: N batch, C channels of an image, H and W its height and width. The nets halve (the critic) and double (the
generator) an image's sides by convolutions of stride 2 (Radford et al. 2015, sec. 3). There are no batch statistics,
in which each image would depend on its neighbours: the generator normalises every position by itself, as Karras et al.
2018 do (sec. 4.2), the critic normalises nothing, so that its gradient at an image means something.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisette.nets.layers import ChannelNorm, at_least, crop

SLOPE = 0.2  # of the leaky ReLU below zero
COARSEST = 4  # pixels: sides are halved until none is longer
WIDEST = 8  # times `channels`, at most, on the way to the coarsest level
EMBEDDING = 32  # numbers that a class label becomes beside z


def sizes(height: int, width: int) -> list[tuple[int, int]]:
    """The image's size and its halves, rounded up, down to the first with no side longer than COARSEST."""
    found = [(height, width)]
    while max(found[-1]) > COARSEST:
        found.append((-(-found[-1][0] // 2), -(-found[-1][1] // 2)))
    return found


def widths(channels: int, levels: int) -> list[int]:
    """Channels of the feature maps, finest first: they double from level to level, up to WIDEST times the first."""
    return [channels * min(2**level, WIDEST) for level in range(max(levels, 1))]


class Generator(nn.Module):
    """Noise -> an image (Goodfellow et al. 2014, sec. 3).

    Args:
        z: how many numbers an image is made from.
        image: (C, H, W) of it.
        channels: of the finest feature map, which has half the image's size.
        classes: number of class labels, 0 for none; a label is embedded and stands beside z (Mirza & Osindero 2014).
    """

    def __init__(self, z: int, image: tuple[int, int, int], *, channels: int = 32, classes: int = 0) -> None:
        super().__init__()
        _check(z, image, channels, classes)
        self.z, self.classes = z, classes
        self.sizes = sizes(*image[1:])
        levels = len(self.sizes) - 1
        ins = widths(channels, levels)[::-1]
        self.label = nn.Embedding(classes, EMBEDDING) if classes else None
        self.coarsest = (ins[0], *self.sizes[-1])
        given = z + (EMBEDDING if classes else 0)
        self.linear = _he(nn.Linear(given, ins[0] * self.sizes[-1][0] * self.sizes[-1][1]), given)
        self.norms = nn.ModuleList(ChannelNorm(width, centre=False) for width in ins)
        outs = [*ins[1:], image[0]]
        if levels:  # each number of a doubled map comes from 2 x 2 positions of the smaller one
            pairs = zip(ins, outs, strict=True)
            self.ups = nn.ModuleList(_he(nn.ConvTranspose2d(a, b, 4, 2, 1), 4 * a) for a, b in pairs)
        else:
            self.ups = nn.ModuleList([_he(nn.Conv2d(ins[0], image[0], 3, padding=1), 9 * ins[0])])

    @property
    def dtype(self) -> torch.dtype:
        return self.linear.weight.dtype

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W) in [-1, 1].

        Args:
            noise: (N, ...) standard normal; the first `z` numbers of each row count, so that noise in the shape of an
                image will do.
            cond: (N,) class labels 0..classes - 1; None for a net without classes.

        Raises:
            ValueError: too few numbers, or labels that do not fit the net.
        """
        z = noise.flatten(1)[:, : self.z]
        if z.shape[1] < self.z:
            raise ValueError(f"{z.shape[1]} numbers of noise are too few for z={self.z}")
        _check_labels(cond, self.classes)
        if self.label is not None:
            z = torch.cat([z, self.label(cond)], dim=1)
        h = self.linear(z).unflatten(1, self.coarsest)
        targets = self.sizes[-2::-1] or self.sizes
        for norm, up, size in zip(self.norms, self.ups, targets, strict=True):
            h = crop(up(F.leaky_relu(norm(h), SLOPE)), size)
        return torch.tanh(h)


class Critic(nn.Module):
    """An image -> how real it looks, as a logit (Goodfellow et al. 2014's discriminator).

    A label is heard by projection: its embedding times the features adds to the logit (Miyato & Koyama 2018, eq. 3).
    `image`, `channels` and `classes` are as for Generator.
    """

    def __init__(self, image: tuple[int, int, int], *, channels: int = 32, classes: int = 0) -> None:
        super().__init__()
        _check(1, image, channels, classes)
        self.image, self.classes = image, classes
        found = sizes(*image[1:])
        outs = widths(channels, len(found) - 1)
        ins = [image[0], *outs[:-1]]
        kernel = {"kernel_size": 4, "stride": 2, "padding": 1} if len(found) > 1 else {"kernel_size": 3, "padding": 1}
        area = kernel["kernel_size"] ** 2
        self.downs = nn.ModuleList(_he(nn.Conv2d(a, b, **kernel), area * a) for a, b in zip(ins, outs, strict=True))
        flat, features = outs[-1] * found[-1][0] * found[-1][1], 2 * channels
        self.hidden = _he(nn.Linear(flat, features), flat)
        self.logit = _he(nn.Linear(features, 1), features)
        self.label = nn.Embedding(classes, features) if classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=features**-0.5)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Logits (N,) of images x (N, C, H, W) in [-1, 1]; cond as for Generator. Raises ValueError."""
        if tuple(x.shape[1:]) != self.image:
            raise ValueError(f"x of shape {tuple(x.shape)} must be (N, {', '.join(map(str, self.image))})")
        _check_labels(cond, self.classes)
        h = x
        for down in self.downs:
            if down.stride[0] == 2:  # an odd side is made even, so that it is halved rounding up
                h = F.pad(h, (0, h.shape[3] % 2, 0, h.shape[2] % 2))
            h = F.leaky_relu(down(h), SLOPE)
        h = F.leaky_relu(self.hidden(h.flatten(1)), SLOPE)
        logit = self.logit(h).squeeze(1)
        return logit if self.label is None else logit + (self.label(cond) * h).sum(1)


class Gan(nn.Module):
    """A generator and its critic, with one `channels` for both; the arguments are those of Generator."""

    def __init__(self, z: int, image: tuple[int, int, int], *, channels: int = 32, classes: int = 0) -> None:
        super().__init__()
        self.generator = Generator(z, image, channels=channels, classes=classes)
        self.critic = Critic(image, channels=channels, classes=classes)


def matching(weights: int, z: int, image: tuple[int, int, int], classes: int = 0) -> int:
    """The `channels` at which generator and critic together have most nearly this many weights, at least 1.

    Together, because both of them learn from the data and share the time that training has; a model without a critic
    that is matched so has as much to learn with, and costs about as much memory.
    """

    def count(channels: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in Gan(z, image, channels=channels, classes=classes).parameters())

    low, high = 1, 2
    while count(high) < weights:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < weights else (low, middle)
    return min(low, high, key=lambda channels: abs(count(channels) - weights))


def _he(layer: Any, fan_in: int) -> Any:
    """The layer with fresh weights that keep the size of what comes through a leaky ReLU (He et al. 2015, eq. 15)."""
    nn.init.normal_(layer.weight, std=(2 / ((1 + SLOPE**2) * fan_in)) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


def _check(z: int, image: tuple[int, int, int], channels: int, classes: int) -> None:
    at_least("z", z, 1)
    at_least("channels", channels, 1)
    at_least("classes", classes, 0)
    for side in image:
        at_least("image", side, 1)


def _check_labels(cond: Tensor | None, classes: int) -> None:
    if cond is None and classes:
        raise ValueError(f"this net has classes={classes}: it needs a label for each image")
    if cond is not None and not classes:
        raise ValueError("cond was given, but this net has classes=0; build it with classes >= 1")

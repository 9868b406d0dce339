"""A small net that reads the data's own classes: the extractor for data that no published network knows.

It is trained once, in well under a minute for small images, and says how often it is right on images that it never saw.
Its 128 features measure distances, its probabilities say which samples are clearly of one class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from noisette.metrics import weights
from noisette.metrics.features import Features, Images, checked, on

DIM = 128
SIDE = 64
"""Images with a longer side are averaged down to it first."""

CONFIDENT = 0.9
"""Probability above which an image is clearly of one class."""

ENOUGH = 100
"""Held-out images from which on the temperature is fitted to them."""

_SMOOTHING = 0.02
"""Share of every label given to the other classes: a little more often right, and distances that see more."""

_FORMAT = 1
_BATCH = 64
_WORK = 4.7e11
"""Multiplications of a whole training, forwards: 12 passes over 4,500 digits, some 40 s on two cores."""


class Net(nn.Module):
    """(N, C, H, W) -> logits (N, K); features(x) -> (N, 128). One convolution a resolution, down to 3 to 5 pixels.

    The features are the last hidden layer after its batch norm and before its ReLU: each has a mean of about 0 and a
    variance of about 1 on the training data, none is dead, and nothing of an odd image is cut off at zero: distances
    between them tell damage from chance better than after it.
    """

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size, before, after = [height, width], channels, 32
        self.work = 0.0  # multiplications an image
        # where images are large, a first stride keeps what averaging would lose, at the cost of images half as large
        kernel, stride = (5, 2) if max(size) > SIDE // 2 else (3, 1)
        while True:
            size = [-(-side // stride) for side in size]
            convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
            self.work += float(convolution.weight.numel() * math.prod(size))
            pool = (2 if size[0] >= 6 else 1, 2 if size[1] >= 6 else 1)
            if pool == (1, 1):
                break
            layers.append(nn.MaxPool2d(pool))
            size = [side // factor for side, factor in zip(size, pool, strict=True)]
            before, after, kernel, stride = after, min(2 * after, 128), 3, 1
        self.stages = nn.Sequential(*layers)
        self.hidden = nn.Linear(after * math.prod(size), DIM, bias=False)
        self.norm = nn.BatchNorm1d(DIM, affine=False)
        self.out = nn.Linear(DIM, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster by a fifth or more on a CPU

    def features(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.norm(self.hidden(self.stages(x).flatten(1)))
        return hidden

    def read(self, features: Tensor) -> Tensor:
        logits: Tensor = self.out(F.relu(features))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.features(x))


class Classifier:
    """The trained net as an Extractor.

    accuracy     share of the held-out images that it reads right; None where none were held out
    calibration  what confidence means, measured on them; None where none were held out:
                 n, how many; temperature, that the logits are divided by (fitted from 100 images on, else 1);
                 confident, the share read with a probability above 0.9; confident_right, the share of those that are
                 right; ece, the expected calibration error in 10 bins (Guo et al. 2017)
    """

    name = "classifier"
    dim = DIM

    def __init__(self, net: Net, about: dict[str, Any], device: torch.device) -> None:
        """`about`: shape (H, W, C) of its images, mean and spread of their channels in bytes, classes, temperature,
        accuracy, calibration: all that is kept beside the weights."""
        self.net, self.about, self.device = net.to(device).eval(), about, device
        self._state = weights.state_of(net)
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.accuracy: float | None = about["accuracy"]
        self.calibration: dict[str, float | None] | None = about["calibration"]
        told = [_FORMAT, *(about[k] for k in ("shape", "mean", "spread", "temperature"))]
        self.hash = weights.hashed(self._state, told)

    def __call__(self, x: Images) -> Features:
        """Raises ValueError for images of another shape than it was trained on."""
        return self._run(x)[0]

    def probabilities(self, x: Images) -> Features | None:
        """Raises ValueError for images of another shape than it was trained on."""
        return self._run(x)[1]

    @torch.inference_mode()
    def _run(self, x: Images) -> tuple[Features, Features]:
        if list(checked(x).shape[1:]) != self.about["shape"]:
            raise ValueError(f"images of {x.shape[1:]}, but the classifier was trained on {self.about['shape']}")
        features, probabilities = np.empty((len(x), DIM)), np.empty((len(x), len(self.classes)))
        with exactly():
            for start in range(0, len(x), 256):
                found = self.net.features(prepare(x[start : start + 256], self.about, self.device))
                logits = self.net.read(found).double() / self.about["temperature"]
                features[start : start + len(found)] = found.double().cpu().numpy()
                probabilities[start : start + len(found)] = logits.softmax(1).cpu().numpy()
        return features, probabilities

    def save(self, path: Path) -> None:
        """Writes one safetensors file, the settings in its header, atomically."""
        weights.save(path, self._state, {"format": _FORMAT, **self.about})

    @classmethod
    def load(cls, path: Path, device: torch.device | str | None = None) -> Classifier:
        """Reads what `save` wrote. Raises UserError when it is missing, damaged or of another format."""
        with weights.reading(path, "a classifier"):
            state, about = weights.load(path, _FORMAT)
            height, width, channels = about["shape"]
            net = Net(channels, *shrunk(height, width), len(about["classes"]))
            net.load_state_dict(state)
            return cls(net, about, on(device))


def train(
    x: Images,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    held_out_x: Images | None = None,
    held_out_labels: NDArray[np.int64] | None = None,
    *,
    flip: bool = False,
    seed: int = 0,
    epochs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str | None = None,
) -> Classifier:
    """Trains a classifier on (N, H, W, C) images; the same on one machine for the same seed.

    Images are turned, scaled and shifted a little, and mirrored with `flip`. `epochs` counts passes over them: without
    it, up to 60, within a fixed amount of work. `progress` is called with (steps done, steps in all).

    Raises ValueError for fewer than two images or classes, and for labels that name no class.
    """
    labels = np.asarray(labels, np.int64)
    if len(checked(x)) != len(labels) or len(x) < 2:
        raise ValueError(f"{len(x)} images and {len(labels)} labels: a classifier needs at least two, one label each")
    if len(classes) < 2 or labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels from {labels.min()} to {labels.max()} for {len(classes)} classes")
    device = on(device)
    some = x[:: math.ceil(len(x) / 2000)].reshape(-1, x.shape[3])
    about: dict[str, Any] = {
        "shape": list(x.shape[1:]),
        "mean": some.mean(0).tolist(),
        "spread": some.std(0).clip(1.0).tolist(),
        "classes": list(classes),
        "temperature": 1.0,
        "accuracy": None,
        "calibration": None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net(x.shape[3], *shrunk(*x.shape[1:3]), len(classes)).to(device)
    batch = min(_BATCH, len(x))
    images = epochs * len(x) if epochs else min(max(60 * len(x), 50 * batch), _WORK / net.work)
    _fit(net, x, labels, about, batch, max(1, round(images / batch)), flip, seed, progress, device)
    if held_out_x is not None and held_out_labels is not None and len(held_out_x):
        about |= _measure(net, held_out_x, np.asarray(held_out_labels, np.int64), about, device)
    return Classifier(net, about, device)


def _fit(
    net: Net,
    x: Images,
    labels: NDArray[np.int64],
    about: dict[str, Any],
    batch: int,
    steps: int,
    flip: bool,
    seed: int,
    progress: Callable[[int, int], None] | None,
    device: torch.device,
) -> None:
    """AdamW under a one-cycle rate; every image once before any comes again."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=max(2, steps))
    order = torch.empty(0, dtype=torch.int64)
    with exactly():
        for step in range(steps):
            if len(order) < batch:
                order = torch.randperm(len(x), generator=generator)
            rows, order = order[:batch].sort().values.numpy(), order[batch:]
            ready = moved(prepare(x[rows], about, device), flip, generator)
            loss = F.cross_entropy(net(ready), torch.from_numpy(labels[rows]).to(device), label_smoothing=_SMOOTHING)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
            if progress:
                progress(step + 1, steps)


def moved(x: Tensor, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image turned by up to 10 degrees, scaled by up to 10 %, shifted by up to 7 % of its side, and mirrored."""
    n = len(x)
    angle, size, across, down = (2 * torch.rand(4, n, generator=generator) - 1) * torch.tensor(
        [[math.radians(10)], [0.1], [0.14], [0.14]]  # a side is 2 long in these coordinates
    )
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0) if flip else torch.ones(n)
    c, s = (1 + size) * angle.cos(), (1 + size) * angle.sin()
    matrix = torch.stack([torch.stack([c * mirror, -s * mirror, across], 1), torch.stack([s, c, down], 1)], 1)
    grid = F.affine_grid(matrix.to(x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def prepare(x: Images, about: dict[str, Any], device: torch.device) -> Tensor:
    """(N, H, W, C) uint8 -> (N, C, h, w) float32 of mean 0 and variance 1 a channel, sides at most SIDE."""
    planes = torch.from_numpy(x.copy()).to(device).permute(0, 3, 1, 2).float()
    if (small := shrunk(*planes.shape[2:])) != tuple(planes.shape[2:]):
        planes = F.adaptive_avg_pool2d(planes, small)
    mean, spread = (torch.tensor(about[name], device=device)[:, None, None] for name in ("mean", "spread"))
    return ((planes - mean) / spread).contiguous(memory_format=torch.channels_last)


def shrunk(height: int, width: int) -> tuple[int, int]:
    """The size at which images of this size are read."""
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


@torch.inference_mode()
def _measure(
    net: Net, x: Images, labels: NDArray[np.int64], about: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """Temperature, accuracy and calibration on held-out images."""
    net.eval()
    with exactly():
        parts = [net(prepare(x[i : i + 256], about, device)).double().cpu() for i in range(0, len(x), 256)]
    return calibrated(torch.cat(parts), torch.from_numpy(labels))


def calibrated(logits: Tensor, y: Tensor) -> dict[str, Any]:
    """Temperature, accuracy and calibration, see Classifier, of float64 logits (N, K) where y (N,) is true."""
    temperature = 1.0
    if len(y) >= ENOUGH:  # the most likely one (Guo et al. 2017); a few images would make it 0 or endless
        options = np.geomspace(0.25, 4, 81).tolist()
        temperature = min(options, key=lambda t: F.cross_entropy(logits / t, y).item())
    best, read = (logits / temperature).softmax(1).max(1)
    right = (read == y).double()
    sure = best > CONFIDENT
    bins = (best * 10).long().clamp(max=9)
    gaps = torch.zeros(10, dtype=torch.float64).index_add_(0, bins, right - best).abs()
    calibration = {
        "n": len(y),
        "temperature": temperature,
        "confident": sure.double().mean().item(),
        "confident_right": right[sure].mean().item() if sure.any() else None,
        "ece": (gaps.sum() / len(y)).item(),
    }
    return {"temperature": temperature, "accuracy": right.mean().item(), "calibration": calibration}


def exactly() -> Any:
    """On a GPU: no TF32, and kernels that give the same twice."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)

"""Small nets that see motion: the extractors for clips of key points, trained once on the data themselves.

`train_classifier` where the clips have labels: it reads them, and says how often it is right on clips that it never
saw. `train_autoencoder` where they have none. Both see, frame by frame, the joints from the root, their velocities, and
the velocity of the root. So a clip has the same features wherever in the world it is, but not when it faces another
way, runs backwards, is larger, slower, stiffer or shaky.

Features compare within one data set and one shape of clips; an extractor tells its numbers by its hash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from noisette.metrics import weights
from noisette.metrics.classifier import calibrated, exactly
from noisette.metrics.features import Features, on
from noisette.metrics.motion import Clips, checked, place

DIM = 32
"""Few, as clips are: a Fréchet distance of some hundred clips is mostly guessed in many more dimensions."""

WIDTH = 96
SHORTEST = 8
"""Frames below which a net halves them no more."""

_SMOOTHING = 0.02
_FORMAT = 1
_BATCH = 64
_PASSES = 60
_WORK = 2e11
"""Multiplications of a whole training, forwards: some 50 s on one core, 60 passes over 2,000 clips of 48 x 20 x 3."""

FLOOR = 0.05
"""Least spread of a joint over that of the most moving one, so that a joint that hardly moves is not blown up."""

Varied = Callable[[NDArray[np.int64], np.random.Generator], Clips]
"""Rows (B,) of the training clips -> these clips, as a model of them is taught to vary them."""


class Encoder(nn.Module):
    """(B, C, frames) -> features (B, DIM): convolutions over time, then the mean and the largest value over it.

    The features are a hidden layer after its batch norm and before any ReLU: of mean 0 and variance 1 on the training
    data, and nothing of an odd clip is cut off.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, after = channels, WIDTH * 2 // 3
        self.sizes = [frames]
        while True:
            layers += [nn.Conv1d(before, after, 3, padding=1, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
            if self.sizes[-1] < SHORTEST:
                break
            layers.append(nn.MaxPool1d(2))
            self.sizes.append(self.sizes[-1] // 2)
            before, after = after, WIDTH
        self.stages = nn.Sequential(*layers)
        self.hidden = nn.Linear(2 * after, DIM, bias=False)
        self.norm = nn.BatchNorm1d(DIM, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        found = self.stages(x)
        out: Tensor = self.norm(self.hidden(torch.cat([found.mean(2), found.amax(2)], 1)))
        return out


class Reader(nn.Module):
    """(B, C, frames) -> logits (B, K)."""

    def __init__(self, channels: int, frames: int, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, frames)
        self.out = nn.Linear(DIM, classes)

    def read(self, features: Tensor) -> Tensor:
        logits: Tensor = self.out(F.relu(features))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.encoder(x))


class Mirror(nn.Module):
    """(B, C, frames) -> the same again, by way of DIM features."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, frames)
        *self.sizes, self.first = self.encoder.sizes
        self.start = nn.Linear(DIM, WIDTH * self.first)
        self.stages = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 3, padding=1) for _ in self.sizes)
        self.out = nn.Conv1d(WIDTH, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        grown = F.relu(self.start(self.encoder(x))).view(len(x), WIDTH, self.first)
        for stage, size in zip(self.stages, reversed(self.sizes), strict=True):
            grown = F.relu(stage(F.interpolate(grown, size)))
        out: Tensor = self.out(grown)
        return out


# --- what the nets see --------------------------------------------------------------------------------------------


def views(x: Clips, root: int | None) -> Features:
    """(N, frames, joints, dims) -> (N, 2 joints dims + dims, frames - 1): joints from the root, then their steps from
    the frame before, then the root's steps; the channel of a joint's coordinate is joint * dims + dim in each part."""
    x = checked(x)
    where = place(x, root)
    body = x - where if x.shape[2] > 1 else 0 * x
    parts = (body[:, 1:], np.diff(body, axis=1), np.diff(where, axis=1))
    return np.concatenate([part.reshape(len(x), x.shape[1] - 1, -1) for part in parts], 2).transpose(0, 2, 1)


def scales(x: Clips, root: int | None) -> tuple[list[float], list[float]]:
    """Mean and spread of each channel of the views of clips; one spread for all coordinates of a joint, none below
    FLOOR of the largest. Steps have no mean taken off: none is the same in every frame."""
    joints, dims = x.shape[2:]
    seen = views(x, root)
    mean = seen.mean((0, 2))
    mean[joints * dims :] = 0
    spread = np.sqrt(((seen - mean[:, None]) ** 2).mean((0, 2)).reshape(-1, dims).mean(1))
    for part in (slice(0, joints), slice(joints, None)):
        spread[part] = np.maximum(spread[part], FLOOR * spread[part].max() or 1.0)
    return mean.tolist(), spread.repeat(dims).tolist()


def prepare(x: Clips, about: dict[str, Any], device: torch.device) -> Tensor:
    """Clips as a net sees them, (N, C, frames - 1) float32 of mean 0 and variance 1."""
    mean, spread = (np.asarray(about[name])[:, None] for name in ("mean", "spread"))
    return torch.from_numpy(((views(x, about["root"]) - mean) / spread).astype(np.float32)).to(device)


# --- the extractors -----------------------------------------------------------------------------------------------


class _Extractor:
    """A trained net as an Extractor of clips, (N, frames, joints, dims) -> (N, DIM)."""

    name: ClassVar[str]
    dim = DIM

    def __init__(self, net: Any, about: dict[str, Any], device: torch.device) -> None:
        """`about`: shape (frames, joints, dims) of its clips, root, mean and spread of what it sees, classes, and what
        was measured: all that is kept beside the weights."""
        self.net, self.about, self.device = net.to(device).eval(), about, device
        self._state = weights.state_of(net)
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.accuracy: float | None = about["accuracy"]
        self.calibration: dict[str, float | None] | None = about["calibration"]
        self.unexplained: float | None = about["unexplained"]
        told = [self.name, _FORMAT, *(about[k] for k in ("shape", "root", "mean", "spread", "temperature"))]
        self.hash = weights.hashed(self._state, told)

    def __call__(self, x: Clips) -> Features:
        """Raises ValueError for clips of another shape than it was trained on."""
        return self._run(x, self.net.encoder, DIM)

    @torch.inference_mode()
    def _run(self, x: Clips, part: Callable[[Tensor], Tensor], size: int) -> Features:
        if list(np.shape(x)[1:]) != self.about["shape"]:
            raise ValueError(f"clips of {np.shape(x)[1:]}, but the {self.name} was trained on {self.about['shape']}")
        out = np.empty((len(x), size))
        with exactly():
            for start in range(0, len(x), 256):
                found = part(prepare(x[start : start + 256], self.about, self.device))
                out[start : start + len(found)] = found.double().cpu().numpy()
        return out

    def save(self, path: Path) -> None:
        """Writes one safetensors file, the settings in its header, atomically."""
        weights.save(path, self._state, {"format": _FORMAT, "name": self.name, **self.about})

    @classmethod
    def load(cls, path: Path, device: torch.device | str | None = None) -> Self:
        """Reads what `save` wrote. Raises UserError when it is missing, damaged or of another format."""
        with weights.reading(path, f"the {cls.name} of motion"):
            state, about = weights.load(path, _FORMAT)
            if about.pop("name") != cls.name:
                raise ValueError("another net")
            net = cls.build(about)
            net.load_state_dict(state)
            return cls(net, about, on(device))

    @classmethod
    def build(cls, about: dict[str, Any]) -> nn.Module:
        """The net for what `about` says, untrained."""
        raise NotImplementedError


class MotionClassifier(_Extractor):
    """Reads the data's own classes.

    accuracy     share of the held-out clips that it reads right; None where none were held out
    calibration  what confidence means, measured on them; see noisette.metrics.classifier.Classifier
    """

    name = "classifier"

    def probabilities(self, x: Clips) -> Features:
        """(N, K), rows summing to one. Raises ValueError for clips of another shape than it was trained on."""
        logits = self._run(x, self.net, len(self.classes)) / self.about["temperature"]
        return np.asarray(torch.from_numpy(logits).softmax(1).numpy())

    @classmethod
    def build(cls, about: dict[str, Any]) -> nn.Module:
        return Reader(len(about["mean"]), about["shape"][0] - 1, len(about["classes"]))


class Autoencoder(_Extractor):
    """Squeezes a clip into its features and draws it again from them; it reads no classes.

    unexplained  share of the variance of held-out clips, as it sees them, that is lost; None where none were held out
    """

    name = "autoencoder"

    def probabilities(self, x: Clips) -> None:
        return None

    @classmethod
    def build(cls, about: dict[str, Any]) -> nn.Module:
        return Mirror(len(about["mean"]), about["shape"][0] - 1)


# --- training -----------------------------------------------------------------------------------------------------


def train_classifier(
    x: Clips,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    held_out_x: Clips | None = None,
    held_out_labels: NDArray[np.int64] | None = None,
    *,
    root: int | None = None,
    varied: Varied | None = None,
    seed: int = 0,
    epochs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str | None = None,
) -> MotionClassifier:
    """Trains a classifier on clips (N, frames, joints, dims); the same on one machine for the same seed.

    Args:
        root: the joint that says where the body is; None for the middle of all.
        varied: draws the training clips as a model of them sees them, so that mirrored ones, say, are no news here.
        epochs: passes over the clips; without it up to 60, within a fixed amount of work.
        progress: called with (steps done, steps in all).

    Raises:
        ValueError: fewer than two clips, frames or classes, or labels that name no class.
    """
    labels = np.asarray(labels, np.int64)
    if len(x) != len(labels) or len(x) < 2:
        raise ValueError(f"{len(x)} clips and {len(labels)} labels: a classifier needs at least two, one label each")
    if len(classes) < 2 or labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels from {labels.min()} to {labels.max()} for {len(classes)} classes")
    device, about = on(device), _about(x, root, classes)
    truth = torch.from_numpy(labels).to(device)

    def loss(net: nn.Module, ready: Tensor, rows: Tensor) -> Tensor:
        return F.cross_entropy(net(ready), truth[rows.to(device)], label_smoothing=_SMOOTHING)

    net = _fit(MotionClassifier.build, x, about, loss, 4e-3, varied, seed, epochs, progress, device)
    made = MotionClassifier(net, about, device)
    if held_out_x is None or held_out_labels is None or not len(held_out_x):
        return made
    logits = torch.from_numpy(made._run(held_out_x, made.net, len(classes)))
    about |= calibrated(logits, torch.from_numpy(np.asarray(held_out_labels, np.int64)))
    return MotionClassifier(net, about, device)


def train_autoencoder(
    x: Clips,
    held_out_x: Clips | None = None,
    *,
    root: int | None = None,
    varied: Varied | None = None,
    seed: int = 0,
    epochs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str | None = None,
) -> Autoencoder:
    """Trains an autoencoder on clips (N, frames, joints, dims); the same on one machine for the same seed.

    See train_classifier for the rest. Raises ValueError for fewer than two clips or frames.
    """
    if len(x) < 2:
        raise ValueError(f"{len(x)} clips: an autoencoder needs at least two")
    device, about = on(device), _about(x, root, ())

    def loss(net: nn.Module, ready: Tensor, rows: Tensor) -> Tensor:
        return F.mse_loss(net(ready), ready)

    net = _fit(Autoencoder.build, x, about, loss, 2e-3, varied, seed, epochs, progress, device)
    if held_out_x is not None and len(held_out_x):
        about["unexplained"] = _lost(net.eval(), held_out_x, about, device)
    return Autoencoder(net, about, device)


@torch.inference_mode()
def _lost(net: nn.Module, x: Clips, about: dict[str, Any], device: torch.device) -> float:
    lost = whole = 0.0
    with exactly():
        for start in range(0, len(x), 256):
            ready = prepare(x[start : start + 256], about, device)
            lost += float((net(ready) - ready).double().square().sum())
            whole += float(ready.double().square().sum())
    return lost / whole


def _about(x: Clips, root: int | None, classes: Sequence[str]) -> dict[str, Any]:
    if checked(x[:1]).shape[1] < 2:
        raise ValueError("clips of one frame have no motion")
    mean, spread = scales(x[:: math.ceil(len(x) / 2000)], root)
    measured = {"temperature": 1.0, "accuracy": None, "calibration": None, "unexplained": None}
    return {
        "shape": list(x.shape[1:]),
        "root": root,
        "mean": mean,
        "spread": spread,
        "classes": list(classes),
    } | measured


def _fit(
    build: Callable[[dict[str, Any]], nn.Module],
    x: Clips,
    about: dict[str, Any],
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    rate: float,
    varied: Varied | None,
    seed: int,
    epochs: int | None,
    progress: Callable[[int, int], None] | None,
    device: torch.device,
) -> nn.Module:
    """AdamW under a one-cycle rate; every clip once before any comes again."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(about).to(device)
    batch = min(_BATCH, len(x))
    seen = epochs * len(x) if epochs else min(max(_PASSES * len(x), 50 * batch), _WORK / _work(net, about))
    steps = max(1, round(seen / batch))
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(2, steps))
    order = torch.empty(0, dtype=torch.int64)
    with exactly():
        for step in range(steps):
            if len(order) < batch:
                order = torch.randperm(len(x), generator=generator)
            rows, order = order[:batch].sort().values, order[batch:]
            drawn = varied(rows.numpy(), rng) if varied else x[rows.numpy()]
            found = loss(net, prepare(drawn, about, device), rows)
            optimiser.zero_grad()
            found.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if progress:
                progress(step + 1, steps)
    return net


def _work(net: nn.Module, about: dict[str, Any]) -> float:
    """Multiplications of the convolutions for one clip."""
    counted = [0.0]

    def count(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(layer, nn.Conv1d)
        counted[0] += float(layer.weight.numel() * out.shape[2])

    handles = [layer.register_forward_hook(count) for layer in net.modules() if isinstance(layer, nn.Conv1d)]
    device = next(net.parameters()).device
    net.eval()(torch.zeros(1, len(about["mean"]), about["shape"][0] - 1, device=device))
    net.train()
    for handle in handles:
        handle.remove()
    return counted[0]

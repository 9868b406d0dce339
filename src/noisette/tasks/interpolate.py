"""From one noise to another: pictures on the way between two of them, under a sampler without chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisette.data.medium import Stored
from noisette.diffusion import samplers
from noisette.errors import UserError, nearest
from noisette.experiment import build
from noisette.experiment.config import SampleConfig
from noisette.experiment.runs import Shape
from noisette.tasks.generate import draw

FINER = 8
"""Where a path seems to jump it is seen this many times as finely."""

Features = Callable[[Stored], NDArray[np.float64]]
"""Samples as they are kept -> (N, D): where distances mean something."""


@dataclass(frozen=True)
class Path:
    """Pictures from one noise to another.

    label: what the net is told all the way, None where it is told nothing; share (N,) of the way, from 0 to 1;
    x as samples are kept; norm (N,) of the noises, as a share of that of pure noise.
    """

    kind: str
    between: tuple[int, int]
    label: int | None
    share: NDArray[np.float64]
    x: Stored
    norm: NDArray[np.float64]


@dataclass(frozen=True)
class Smoothness:
    """Distances between neighbours on a path, (N - 1,), and from its first picture to its last, in some features."""

    steps: NDArray[np.float64]
    ends: float

    @property
    def unevenness(self) -> float:
        """The largest step over the mean step: 1 where the path moves evenly, N - 1 where it is a single jump."""
        mean = float(self.steps.mean())
        return float(self.steps.max()) / mean if mean > 0 else 1.0

    @property
    def detour(self) -> float:
        """How long the path is, in straight lines from its start to its end."""
        return float(self.steps.sum()) / self.ends if self.ends > 0 else 1.0


def lerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The straight line. Between two independent noises its length falls to 1/sqrt(2) half way: no longer noise."""
    return (1 - share) * a + share * b


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The great circle (Shoemake 1985): every point on it is as long as pure noise is, as DDIM's appendix D.5 does."""
    cosine = torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0)
    angle = math.acos(max(-1.0, min(1.0, float(cosine))))
    if math.sin(angle) < 1e-6:
        return lerp(a, b, share)
    return (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)


WAYS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"slerp": slerp, "lerp": lerp}


def without_chance(settings: SampleConfig) -> SampleConfig:
    """These settings with a deterministic sampler: their own where it is one, or none, else ddim without noise."""
    name = "ddim" if samplers.adds_noise(settings.sampler) else settings.sampler
    return settings.model_copy(update=settings.filled({"sampler": name, "eta": 0.0}))


def interpolate(
    model: build.Model,
    settings: SampleConfig,
    shape: Shape,
    between: tuple[int, int] = (0, 1),
    count: int = 9,
    *,
    kind: str = "slerp",
    label: int | None = None,
) -> Path:
    """`count` pictures from the noise of one seed to that of another, both of them included.

    Args:
        settings: made deterministic by `without_chance`, so that nothing but the noise changes.
        shape: of one picture.
        between: two different seeds: the ends are the samples that these seeds give.
        kind: slerp or lerp.
        label: the class asked for, the same all the way; len(shape.classes) for none, where the net is told labels.

    Raises:
        UserError: an unknown kind, fewer than 3 pictures, the same seed twice, a seed out of range.
    """
    if kind not in WAYS:
        raise UserError(f'no way of interpolation "{kind}"{nearest(kind, WAYS)}')
    first, last = between
    if first == last:
        raise UserError(f"--between needs two different seeds, got {first} twice")
    if not 0 <= min(between) <= max(between) < 2**32:
        raise UserError(f"seeds lie in 0..{2**32 - 1:,}, got {first} and {last}")
    if count < 3:
        raise UserError(f"an interpolation needs at least 3 pictures, got {count}")
    return _drawn(model, settings, shape, between, np.linspace(0, 1, count), kind, label)


def _drawn(
    model: build.Model,
    settings: SampleConfig,
    shape: Shape,
    between: tuple[int, int],
    share: NDArray[np.float64],
    kind: str,
    label: int | None,
) -> Path:
    """The pictures at these shares of the way."""
    a, b = samplers.SampleNoise(between, shape.x)()
    noises = torch.stack([WAYS[kind](a, b, float(s)) for s in share])
    chosen = without_chance(settings)
    if label == len(shape.classes):
        chosen = chosen.model_copy(update={"guidance": 1.0})  # there is no class to be guided to
    labels = None if label is None else np.full(len(share), label, np.int64)
    x, _ = draw(model, chosen, shape, [between[0]] * len(share), labels, chunk=len(share), noise=noises)
    norm = noises.flatten(1).double().norm(dim=1).numpy() / math.prod(shape.x) ** 0.5
    return Path(kind, between, label, share, x, norm)


def smoothness(path: Path, features: Features) -> Smoothness:
    """How evenly the pictures of a path change."""
    found = features(path.x)
    steps = np.linalg.norm(np.diff(found, axis=0), axis=1)
    return Smoothness(steps, float(np.linalg.norm(found[-1] - found[0])))


def sharpest(model: build.Model, settings: SampleConfig, shape: Shape, path: Path, features: Features) -> float:
    """How much of the largest step of a path is left in one step when that place is seen FINER times as finely.

    1 / FINER where the path is even there, near 1 where it jumps.
    """
    at = int(smoothness(path, features).steps.argmax())
    share = np.linspace(path.share[at], path.share[at + 1], FINER + 1)
    found = smoothness(_drawn(model, settings, shape, path.between, share, path.kind, path.label), features)
    return float(found.steps.max()) / found.ends if found.ends > 0 else 1.0

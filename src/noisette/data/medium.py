"""What a sample is, an image or a clip of motion: how it lies in an array, and how a net sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from noisette.data.motion.clips import normalise
from noisette.data.motion.skeleton import Skeleton
from noisette.data.motion.spec import MotionData
from noisette.data.spec import NORMALISER, ImageData

if TYPE_CHECKING:
    from torch import Tensor

Data = ImageData | MotionData
"""What is learned from: both have x, labels, classes, fingerprint, info, train and held_out."""

Stored = NDArray[Any]
"""Samples as they are kept and measured: images uint8 (N, H, W, C), clips float32 (N, F, J, D) in the data's units."""


@dataclass(frozen=True)
class Images:
    """Images of one shape (H, W, C): uint8, which a net sees as (C, H, W) in [-1, 1]."""

    stored: tuple[int, ...]
    name: ClassVar[str] = "images"
    one: ClassVar[str] = "image"
    many: ClassVar[str] = "images"
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.uint8)

    @property
    def x(self) -> tuple[int, ...]:
        """The shape that a net sees."""
        height, width, channels = self.stored
        return (channels, height, width)

    def decode(self, x: Tensor) -> Stored:
        """(N, C, H, W) -> uint8 (N, H, W, C); what lies outside [-1, 1] is clipped."""
        from noisette.data.stream import images

        return images(x)

    def encode(self, stored: Stored) -> Tensor:
        """uint8 (N, H, W, C) -> float32 (N, C, H, W) in [-1, 1]."""
        import torch

        from noisette.data.stream import to_model

        return to_model(torch.from_numpy(np.array(stored)).permute(0, 3, 1, 2))


@dataclass(frozen=True, eq=False)
class Motion:
    """Clips of one shape (F, J, D): float32 in the data's units, which a net sees as (J * D, F), normalised."""

    stored: tuple[int, ...]
    normaliser: dict[str, Any] = field(repr=False)
    skeleton: Skeleton = field(repr=False)
    name: ClassVar[str] = "motion"
    one: ClassVar[str] = "clip"
    many: ClassVar[str] = "clips"
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)

    @property
    def x(self) -> tuple[int, ...]:
        """The shape that a net sees."""
        frames, joints, dims = self.stored
        return (joints * dims, frames)

    @property
    def fps(self) -> float | None:
        """Frames a second; None where nobody says."""
        return self.skeleton.fps

    def decode(self, x: Tensor) -> Stored:
        """(N, J * D, F) of any number of frames -> float32 (N, F, J, D) in the data's units."""
        from noisette.data.motion.stream import to_clips

        return np.ascontiguousarray(to_clips(x, self.normaliser).cpu().numpy())

    def encode(self, stored: Stored) -> Tensor:
        """(N, F, J, D) in the data's units -> float32 (N, J * D, F), as a net sees them."""
        import torch

        return torch.from_numpy(normalise(np.asarray(stored, np.float32), self.normaliser))


Medium = Images | Motion


def facts(data: Data) -> dict[str, Any]:
    """What a run keeps of its data, JSON-able: where they came from, their shape, split, classes and normaliser."""
    return {
        **data.info,
        "fingerprint": data.fingerprint,
        "shape": list(data.x.shape[1:]),
        "train": len(data.train),
        "held_out": len(data.held_out),
        "classes": list(data.classes) if data.labels is not None else [],
        "normaliser": dict(data.normaliser if isinstance(data, MotionData) else NORMALISER),
    }


def of(facts: Mapping[str, Any]) -> Medium:
    """The medium of data by their facts. Raises KeyError, TypeError, ValueError or UserError where they are damaged."""
    first, second, third = map(int, facts["shape"])
    if facts.get("kind") == Motion.name:
        skeleton = Skeleton.from_json(facts["skeleton"])
        return Motion((first, second, third), dict(facts["normaliser"]), skeleton)
    return Images((first, second, third))

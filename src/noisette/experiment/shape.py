"""What a net is built for: one sample's medium, and the labels it may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noisette.data import medium
from noisette.data.medium import Images, Medium, Motion


@dataclass(frozen=True)
class Shape:
    """What one sample is and the labels it may have: what a net is built for."""

    medium: Medium
    classes: tuple[str, ...] = ()

    @classmethod
    def images(cls, channels: int, height: int, width: int, classes: tuple[str, ...] = ()) -> Shape:
        return cls(Images((height, width, channels)), classes)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Shape:
        """That of data by their facts, see noisette.data.medium.facts. Raises as noisette.data.medium.of."""
        return cls(medium.of(facts), tuple(facts.get("classes") or ()))

    @property
    def x(self) -> tuple[int, ...]:
        """What a net sees: (C, H, W) of an image, (J * D, F) of a clip."""
        return self.medium.x

    @property
    def channels(self) -> int:
        return self.x[0]

    @property
    def moves(self) -> bool:
        """Whether a sample is a clip of motion."""
        return isinstance(self.medium, Motion)

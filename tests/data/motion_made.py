"""Made-up motion for the tests: a body of seven joints that walks and turns, and its skeleton."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from noisette.data.motion import read
from noisette.data.motion.skeleton import Skeleton
from noisette.data.motion.takes import Recording
from noisette.errors import UserError

NAMES = ("hips", "head", "l_hip", "r_hip", "l_knee", "r_knee", "l_foot", "r_foot")
PARENTS = (-1, 0, 0, 0, 2, 3, 4, 5)
PAIRS = ((2, 3), (4, 5), (6, 7))
SKELETON = Skeleton(NAMES, PARENTS, PAIRS, "m", 30.0, 1)


def body(frames: int, seed: int = 0, yaw: float = 0.0, dims: int = 3) -> NDArray[np.float32]:
    """(frames, 8, dims) metres: bones of fixed length, bent by slow random angles; looks along +z where yaw is 0, and
    is turned by yaw towards +x (its left)."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / 30
    rest = np.array(
        [[0, 0.9, 0], [0, 1.6, 0], [0.1, 0.9, 0], [-0.1, 0.9, 0], [0.1, 0.5, 0], [-0.1, 0.5, 0], [0.1, 0.1, 0.15],
         [-0.1, 0.1, 0.15]]
    )  # fmt: skip
    x = np.repeat(rest[None], frames, 0)
    for knee, foot in ((4, 6), (5, 7)):
        angle = 0.4 * np.sin(2 * np.pi * (rng.uniform(0.5, 1) * t + rng.random()))
        x[:, knee, 1] = 0.9 - 0.4 * np.cos(angle)
        x[:, knee, 2] = 0.4 * np.sin(angle)
        x[:, foot] = x[:, knee] + [0, -0.4, 0.15]
    x[:, :, 2] += (rng.uniform(0.5, 1) * t)[:, None]
    x[:, :, 0] += 0.05 * np.sin(rng.uniform(1, 3) * t)[:, None]
    cos, sin = np.cos(yaw), np.sin(yaw)
    out = x.copy()
    out[..., 0], out[..., 2] = cos * x[..., 0] + sin * x[..., 2], cos * x[..., 2] - sin * x[..., 0]
    return np.ascontiguousarray(out[..., :dims], dtype=np.float32)


def takes(lengths: list[int], yaw: float = 0.0) -> list[NDArray[np.float32]]:
    return [body(n, seed=k, yaw=yaw) for k, n in enumerate(lengths)]


def npz(path: Any, lengths: list[int], yaw: float = 0.0, skeleton: bool = True, **beside: Any) -> str:
    """Writes takes to one .npz; the path as a text."""
    told: dict[str, Any] = {"names": np.array(NAMES), "parents": np.array(PARENTS), "unit": "m", "fps": 30.0}
    arrays = {"x": np.concatenate(takes(lengths, yaw)), "length": np.array(lengths), **(told if skeleton else {})}
    np.savez(path, **(arrays | {k: np.asarray(v) for k, v in beside.items()}))
    return str(path)


def refused(words: str, *args: Any, **more: Any) -> None:
    """To read this is told in one line, with these words."""
    with pytest.raises(UserError, match=words) as caught:
        read(*args, **more)
    assert "\n" not in str(caught.value)


def same(found: Recording, expected: list[np.ndarray]) -> None:
    """What was read is these takes, bit for bit."""
    assert [t.x.shape for t in found.takes] == [x.shape for x in expected]
    for take, x in zip(found.takes, expected, strict=True):
        assert take.x.dtype == np.float32
        np.testing.assert_array_equal(take.x, x)

"""The training stream of motion: batch k, its order and its augmentation are pure functions of (seed, step)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisette.data.motion.clips import normalise, pivot, rotated
from noisette.data.motion.skeleton import Skeleton
from noisette.data.motion.spec import Augment, MotionData
from noisette.data.spec import random_bits
from noisette.data.stream import Batch, Stream
from noisette.errors import UserError

_VARY = 0xA06  # sets this use of the seed apart


class MotionStream(Stream):
    """Endless batches of clips, as a net sees them: the face of Stream, for MotionData.

    Batch.x is (B, joints * dims, frames) float32, normalised, channel = joint * dims + dim. The frames are kept in main
    memory, where a clip is cut, placed and varied; a batch goes to `device` whole.

    augment  None takes the data's own; `take` never augments unless it is told how
    Raises UserError when there is nothing to train on or `world` does not divide `batch`.
    """

    def __init__(
        self,
        data: MotionData,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        augment: Augment | None = None,
        *,
        index: NDArray[np.int64] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not len(data.train if index is None else index):
            raise UserError("no clip to train on")
        if batch < 1 or batch % world:
            raise UserError(f"the batch of {batch} clips cannot be shared equally by {world} workers")
        super().__init__(data, batch, seed, rank, world, index=index)  # type: ignore[arg-type]
        self.device = torch.device(device)
        self.data = data
        self.augment = data.augment if augment is None else augment

    def batch(self, step: int) -> Batch:
        """This rank's part of the batch of a step (from 0)."""
        if not self.augment:
            return self.take(self.rows(step))
        part = self.count // self.world
        bits = random_bits(3 * self.count, self.seed, _VARY, step).reshape(self.count, 3)[self.rank * part :][:part]
        return self.take(self.rows(step), (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def take(self, rows: NDArray[np.int64], drawn: NDArray[np.float64] | None = None) -> Batch:  # type: ignore[override]
        """The clips of any rows of the data, held-out ones included; drawn (B, 3) in [0, 1) varies them: the speed,
        the direction, and below a half the mirror."""
        rows = np.asarray(rows, dtype=np.int64)
        index = torch.from_numpy(rows.copy())
        x = self.data.x.cut(rows) if drawn is None else varied(self.data, rows, drawn, self.augment)
        out = torch.from_numpy(normalise(x, self.data.normaliser))
        labels = None if self._labels is None else self._labels[index]
        if self.device.type != "cpu":
            gpu = self.device.type == "cuda"
            out = (out.pin_memory() if gpu else out).to(self.device, non_blocking=gpu)
            labels = None if labels is None else labels.to(self.device, non_blocking=gpu)
        return Batch(out, labels, index)


def to_clips(y: Tensor, normaliser: dict[str, Any]) -> Tensor:
    """What a net made (B, J * D, F) -> clips (B, F, J, D) in the data's units, on y's device; gradients pass.

    The same numbers as `denormalise` gives.
    """
    mean, scale = (torch.tensor(normaliser[k], dtype=torch.float32, device=y.device) for k in ("mean", "scale"))
    x = y.float().transpose(1, 2).reshape(y.shape[0], y.shape[2], *mean.shape) * scale[:, None] + mean
    root = normaliser.get("root")
    if root is None:
        return x
    base = x[:, :, root : root + 1]
    return torch.cat((x[:, :, :root] + base, base, x[:, :, root + 1 :] + base), dim=2)


def varied(
    data: MotionData, rows: NDArray[np.int64], drawn: NDArray[np.float64], augment: Augment
) -> NDArray[np.float32]:
    """Augmented clips (B, F, J, D) of rows, by numbers drawn (B, 3) in [0, 1)."""
    speed = 1 + augment.speed * (2 * drawn[:, 0] - 1) if augment.speed else None
    x = data.x.cut(rows, speed)
    if augment.rotate:
        x = rotated(x, np.radians(augment.rotate) * (2 * drawn[:, 1] - 1), data.skeleton)
    if augment.mirror:
        flip = drawn[:, 2] < 0.5
        x[flip] = mirrored(x[flip], data.skeleton, data.lateral)
    return x


def mirrored(x: NDArray[np.float32], skeleton: Skeleton, lateral: int) -> NDArray[np.float32]:
    """Clips (B, F, J, D) with left and right exchanged: along the axis `lateral`, about the root of the first pose, and
    every joint in the place of its twin."""
    centre = pivot(x, skeleton)[..., lateral]
    out = x[:, :, skeleton.left_right]
    out[..., lateral] = 2 * centre - out[..., lateral]
    return out

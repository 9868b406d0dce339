"""The training stream: batch k, its order and its mirroring are pure functions of (seed, step), and of nothing else."""

from __future__ import annotations

import hashlib
import mmap
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisette.data.spec import NORMALISER, ImageData, normalise, permutation, random_bits
from noisette.errors import UserError

_ORDER, _FLIP = 0x0DE, 0xF11  # set the uses of the seed apart
_KEPT = 2  # permutations at hand: a batch may straddle two epochs
_GPU_SHARE = 0.25  # of a GPU's free memory, for data: the rest is for the net and its activations
_PART = 4096  # images copied at once


@dataclass(frozen=True, eq=False)
class Batch:
    """x (B, C, H, W) float32 in [-1, 1]; labels (B,) int64 or None; index (B,) int64 on the CPU: rows of the data."""

    x: Tensor
    labels: Tensor | None
    index: Tensor


class Stream:
    """Endless batches of the training rows, random access by step.

    `batch` counts the images of one step over all ranks: rank r of `world` gets the r-th of `world` equal parts, so
    that the images of a step, and which of them are mirrored, do not depend on how many workers share it. The images
    of an epoch come in an order drawn from (seed, epoch), each exactly once; a batch may straddle two epochs.

    data    rows `data.train` are streamed (or `index`, where given)
    device  where the batch is wanted; all bytes are kept there where they fit, else the data is read where it lies
    Raises UserError when there is nothing to train on or `world` does not divide `batch`.
    """

    def __init__(
        self,
        data: ImageData,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        flip: bool = False,
        *,
        index: NDArray[np.int64] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.index = data.train if index is None else np.asarray(index, dtype=np.int64)
        if not len(self.index):
            raise UserError("no image to train on")
        if batch < 1 or batch % world:
            raise UserError(f"the batch of {batch} images cannot be shared equally by {world} workers")
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}")
        self.count, self.seed, self.rank, self.world, self.flip = batch, seed, rank, world, flip
        self.device = torch.device(device)
        self._x: NDArray[np.uint8] | Tensor = data.x
        if self.device.type != "cpu" and fits(data.x, self.device):
            self._x = on_device(data.x, self.device)
        self._labels = None if data.labels is None else torch.from_numpy(np.array(data.labels))
        self._orders: OrderedDict[int, NDArray[np.int64]] = OrderedDict()

    def __len__(self) -> int:
        """Images in an epoch."""
        return len(self.index)

    def epoch(self, step: int) -> float:
        """Epochs done before this step."""
        return step * self.count / len(self.index)

    def rows(self, step: int) -> NDArray[np.int64]:
        """(batch / world,) rows of ImageData.x that this rank gets at a step (from 0)."""
        part = self.count // self.world
        first = step * self.count + self.rank * part
        epoch, place = np.divmod(np.arange(first, first + part, dtype=np.int64), len(self.index))
        out = np.empty(part, np.int64)
        for e in range(int(epoch[0]), int(epoch[-1]) + 1):
            here = epoch == e
            out[here] = self._order(e)[place[here]]
        return self.index[out]

    def batch(self, step: int) -> Batch:
        """This rank's part of the batch of a step (from 0)."""
        mirrored = None
        if self.flip:
            part = self.count // self.world
            bits = random_bits(self.count, self.seed, _FLIP, step)[self.rank * part :][:part]
            mirrored = (bits >> np.uint64(63)).astype(bool)
        return self.take(self.rows(step), mirrored)

    def take(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_] | None = None) -> Batch:
        """The images of any rows of the data, held-out ones included; `mirrored` (B,) bool flips some left to right."""
        index = torch.from_numpy(np.array(rows, dtype=np.int64))
        # Without non_blocking a copy to a GPU waits until all that the GPU was given before is done.
        gpu = self.device.type == "cuda"
        labels = None if self._labels is None else self._labels[index].to(self.device, non_blocking=gpu)
        if isinstance(self._x, Tensor):  # bytes on the device
            x = self._x.index_select(0, index.to(self.device, non_blocking=gpu))
            if mirrored is not None:
                flip = torch.from_numpy(mirrored).to(self.device, non_blocking=gpu)
                x = torch.where(flip[:, None, None, None], x.flip(2), x)
            return Batch(to_model(x.permute(0, 3, 1, 2)), labels, index)
        part = np.asarray(self._x[rows])
        _let_go(self._x)
        if mirrored is not None:
            part[mirrored] = part[mirrored, :, ::-1]
        part = np.ascontiguousarray(part.transpose(0, 3, 1, 2))
        if self.device.type != "cpu":
            cut = torch.from_numpy(part)
            cut = cut.pin_memory() if gpu else cut
            return Batch(to_model(cut.to(self.device, non_blocking=gpu)), labels, index)
        # numpy, not torch: at these sizes waking torch's threads costs more than the work, by far on a busy machine
        return Batch(torch.from_numpy(normalise(part)), labels, index)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders[epoch] = permutation(len(self.index), self.seed, _ORDER, epoch)
            while len(self._orders) > _KEPT:
                self._orders.popitem(last=False)
        return self._orders[epoch]


def _let_go(x: NDArray[np.uint8]) -> None:
    """Gives the system back the pages of a memory-mapped file: else what was ever read counts as this process's own
    until that is the whole file. Reading a page again costs little while the system still has it."""
    pages: Any = x
    while isinstance(pages, np.ndarray):
        pages = pages.base
    if isinstance(pages, mmap.mmap) and not x.flags.writeable and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def fits(x: NDArray[np.uint8], device: torch.device) -> bool:
    """Whether a device keeps all bytes: a GPU within a share of its free memory, others if not memory-mapped."""
    if device.type == "cuda":
        return x.nbytes <= _GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    return not isinstance(x, np.memmap)


def on_device(x: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """A copy of the bytes on a device, part by part, so that a memory-mapped array is never whole in main memory."""
    kept = torch.empty(x.shape, dtype=torch.uint8, device=device)
    for first in range(0, len(x), _PART):
        kept[first : first + _PART] = torch.from_numpy(np.array(x[first : first + _PART]))
    return kept


def to_model(x: Tensor, normaliser: dict[str, Any] = NORMALISER) -> Tensor:
    """Bytes -> contiguous float32 in [-1, 1], the shape kept; the same numbers as `normalise` gives."""
    scale, shift = float(normaliser["scale"]), float(normaliser["shift"])
    return x.to(torch.float32, memory_format=torch.contiguous_format) / scale + shift


def to_bytes(x: Tensor, normaliser: dict[str, Any] = NORMALISER) -> Tensor:
    """Floats -> nearest uint8, the shape kept; what lies outside [-1, 1] is clipped."""
    scale, shift = float(normaliser["scale"]), float(normaliser["shift"])
    return ((x.float() - shift) * scale).round().clamp(0, 255).to(torch.uint8)


def images(x: Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) in [-1, 1] -> uint8 (N, H, W, C); what lies outside is clipped."""
    return np.ascontiguousarray(to_bytes(x).permute(0, 2, 3, 1).cpu().numpy())


def generator(
    seed: int, step: int, rank: int = 0, purpose: str = "", device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator of its own for every (seed, step, rank, purpose), for t, noise, dropout and the like.

    Each kind of device draws numbers of its own, always the same. torch seeds its CPU generator with 32 bits only. So
    (seed, rank, purpose) is hashed with BLAKE2b to two 32-bit keys, and the step goes through MurmurHash3's finaliser
    between them. The finaliser is a bijection: of one (seed, rank, purpose), no two of the first 2^32 steps share a
    generator.
    """
    text = f"{seed}/{rank}/{purpose}".encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    before, after = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
    h = (step ^ before) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    h ^= h >> 16
    return torch.Generator(device).manual_seed(h ^ after)

"""A classifier of MNIST's digits, trained once and kept: what digits_quality.py reads drawn digits with."""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from kept import code
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from noisette.errors import UserError
from noisette.experiment.files import atomic

SIDE, BATCH = 28, 256


class Reader(nn.Module):
    """(N, 1, 28, 28) in [0, 1] -> logits (N, 10); features(x) -> (N, 128), its last hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 128)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
                for a, b in pairwise(widths)
            )
        )
        self.hidden = nn.Linear(128 * 9, 128)
        self.out = nn.Linear(128, 10)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.hidden(F.dropout(self.stages(x).flatten(1), 0.3, self.training)))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


def idx(path: Path) -> NDArray[np.uint8]:
    """The array in a gzipped idx file (uint8). Raises UserError for any other file."""
    try:
        raw = gzip.decompress(path.read_bytes())
        dims = raw[3]
        shape = np.frombuffer(raw, ">i4", dims, offset=4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError):
        raise UserError(f"{path}: it cannot be read as a gzipped idx file") from None


def files(folder: Path, part: str) -> tuple[Path, Path]:
    """("train" | "t10k") -> the files of images and labels. Raises UserError where they are not there."""
    kinds = [sorted(folder.glob(f"{part}-{kind}*.gz")) for kind in ("images", "labels")]
    if not all(kinds):
        raise UserError(f"no {part}-images*.gz and {part}-labels*.gz in {folder}")
    return kinds[0][0], kinds[1][0]


def hashed(folder: Path, *parts: str) -> str:
    """Of the bytes of these parts' files."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        for file in files(folder, part):
            state.update(file.read_bytes())
    return state.hexdigest()


def mnist(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """("train" | "t10k") -> images (N, 1, 28, 28) in [0, 1] and labels (N,). Raises UserError for files that are not
    there or are others."""
    x, y = (idx(path) for path in files(folder, part))
    if x.shape != (len(y), SIDE, SIDE):
        raise UserError(f"{folder}: {part} holds images {x.shape} and labels {y.shape}, not MNIST's")
    return images(x), torch.from_numpy(y.astype(np.int64))


def images(x: NDArray[np.uint8]) -> Tensor:
    """uint8 digits of any layout that holds 28x28 -> (N, 1, 28, 28) in [0, 1]."""
    return torch.from_numpy(x.astype(np.float32)).reshape(len(x), 1, SIDE, SIDE) / 255


def train(folder: Path, epochs: int, most: int | None = None, seed: int = 0) -> Reader:
    """Adam with a one-cycle rate on the training images, or the first `most`, each shifted by up to 2 pixels."""
    x, y = (part[:most] for part in mnist(folder, "train"))
    if len(x) < BATCH:
        raise UserError(f"{folder}: {len(x)} training images, but a reader needs {BATCH} or more")
    torch.manual_seed(seed)
    net, size = Reader(), BATCH
    steps = epochs * (len(x) // size)
    opt = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=4e-3, total_steps=steps)
    for step in range(steps):
        if step % (steps // epochs) == 0:
            order = torch.randperm(len(x))
        pick = order[torch.arange(size) + size * (step % (steps // epochs))]
        down, right = torch.randint(-2, 3, (2,)).tolist()
        loss = F.cross_entropy(net(x[pick].roll((down, right), (2, 3))), y[pick])
        opt.zero_grad()
        loss.backward()
        opt.step()
        rate.step()
        if step % 100 == 0:
            print(f"reader: step {step} of {steps}, loss {loss.item():.3f}", file=sys.stderr, flush=True)
    return net.eval()


def trained(folder: Path, cache: Path, epochs: int, most: int | None = None) -> Reader:
    """The reader that `train` gives: kept in the cache under a name with a hash of the training files and of this code,
    trained where none is there that can be read."""
    of = f"{epochs}" if most is None else f"{epochs}-{most}"
    kept = cache / f"digit-reader-{of}-{hashed(folder, 'train')}-{code(Path(__file__))}.safetensors"
    try:
        net = Reader()
        net.load_state_dict(load(kept.read_bytes()))
        return net.eval()
    except (FileNotFoundError, SafetensorError, RuntimeError):  # absent, cut short, or of another net
        net = train(folder, epochs, most)
    try:
        with atomic(kept) as file:
            file.write(save(net.state_dict()))
    except OSError as error:
        print(f"reader: not kept, the next call trains it again ({error})", file=sys.stderr)
    return net

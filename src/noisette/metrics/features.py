"""Extractors: images -> feature vectors, between which distances are measured.

Values compare only within one extractor, so each carries a hash of whatever decides its numbers.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from noisette.errors import UserError

Images = NDArray[np.uint8]
"""uint8 (N, H, W, C), C = 1 (grey) or 3."""

Features = NDArray[np.float64]
"""float64 (N, D), a row for every image."""


class Extractor(Protocol):
    """What every distance is measured with.

    name      "inception", "classifier" or "pixels"
    hash      16 hex digits of what decides its numbers: weights, axes, preprocessing
    dim       D, the length of a feature vector
    accuracy  share of held-out images that it reads right; None where it reads no classes or none were held out
    classes   names of the classes of `probabilities`, () where it gives none
    """

    @property
    def name(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def accuracy(self) -> float | None: ...
    @property
    def classes(self) -> tuple[str, ...]: ...

    def __call__(self, x: NDArray[Any]) -> Features:
        """Images (N, H, W, C) uint8, or clips (N, F, J, D), -> (N, D) float64."""
        ...

    def probabilities(self, x: NDArray[Any]) -> Features | None:
        """The same -> (N, K) float64, rows summing to one; None where it reads no classes."""
        ...


def checked(x: Images) -> Images:
    """x itself. Raises ValueError when it is not uint8 (N, H, W, 1 or 3)."""
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] not in (1, 3):
        raise ValueError(f"images are uint8 (N, H, W, 1 or 3), not {x.dtype} {x.shape}")
    return x


def on(device: torch.device | str | None) -> torch.device:
    """The device asked for; the first GPU, else the CPU, for None."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


class Inception:
    """The network that the Fréchet Inception distance is defined on (Heusel et al. 2017): Inception-v3 of 2015-12-05.

    Preprocessing follows Parmar et al. 2022: grey repeated to RGB, resized to 299x299 with an antialiased bicubic
    filter (a = -1/2, as Pillow's) in floating point, neither rounded nor clipped; then (x - 128) / 128, as in the
    network's first TensorFlow graph. The features are the 2048 averages that its last layer reads. That layer is not in
    the file, so there are no class probabilities and no Inception Score from it.
    """

    SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
    SIDE = 299

    name = "inception"
    dim = 2048
    accuracy: float | None = None
    classes: tuple[str, ...] = ()

    def __init__(self, path: Path, device: torch.device | str | None = None, batch: int | None = None) -> None:
        """`path`: the TorchScript file; `batch`: images at once, 8 on a CPU and 64 on a GPU unless given.

        Raises UserError when the file is not that network, to the byte: TorchScript can run code.
        """
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}; it should be the Inception network's file") from None
        if found != self.SHA256:
            raise UserError(f"{path} is not the Inception network of 2015-12-05 in TorchScript (wrong sha256 {found})")
        self.device = on(device)
        self.batch = batch or (64 if self.device.type == "cuda" else 8)
        self.hash = hashlib.sha256(f"{found} bicubic-antialias (x-128)/128".encode()).hexdigest()[:16]
        with warnings.catch_warnings():
            # torch would rather have its newer format, but the published network is a TorchScript file
            warnings.simplefilter("ignore", DeprecationWarning)
            read: Any = torch.jit.load
            self._net = read(str(path), map_location=self.device).eval()

    @torch.inference_mode()
    def __call__(self, x: Images) -> Features:
        out = np.empty((len(checked(x)), self.dim))
        # TF32 would round the convolutions to ten bits, which moves the distances
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for start in range(0, len(x), self.batch):
                pixels = torch.from_numpy(x[start : start + self.batch].copy()).to(self.device)
                ready = self.prepare(pixels).contiguous(memory_format=torch.channels_last)  # a fifth faster on a CPU
                out[start : start + len(ready)] = self._net(ready).double().cpu().numpy()
        return out

    def probabilities(self, x: Images) -> Features | None:
        return None

    @classmethod
    def prepare(cls, pixels: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> (N, 3, 299, 299) float32, what the network takes."""
        planes = pixels.permute(0, 3, 1, 2).double()  # in float32 the filter's weights are off by up to 1e-4
        size = (cls.SIDE, cls.SIDE)
        large = F.interpolate(planes, size, mode="bicubic", antialias=True, align_corners=False)
        return ((large - 128) / 128).float().expand(-1, 3, -1, -1)


def principal(x: Features, components: int) -> tuple[Features, Features]:
    """(mean (D,), axes (K, D)) of rows (N, D): at most `components` directions, those of the largest variance, without
    such as have none."""
    mean = x.mean(0)
    _, strength, axes = np.linalg.svd(x - mean, full_matrices=False)
    kept = strength[:components] > 1e-6 * max(strength[0], 1e-6)
    return mean, axes[:components][kept] if kept.any() else axes[:1]


class Pixels:
    """Principal components of the pixels of reference images: no network, any data; sees colour and layout only.

    Images above 32x32 are averaged down to it first. Pixels count from 0 to 1.
    """

    SIDE = 32
    FITTED = 1024
    """Most images that the axes are fitted on, evenly spaced over the reference."""

    name = "pixels"
    accuracy: float | None = None
    classes: tuple[str, ...] = ()

    def __init__(self, reference: Images, components: int = 64) -> None:
        """Raises ValueError for fewer than two images."""
        if len(checked(reference)) < 2:
            raise ValueError(f"axes cannot be fitted on {len(reference)} images")
        rows = np.unique(np.linspace(0, len(reference) - 1, self.FITTED).round().astype(int))
        self.shape = reference.shape[1:]
        self.mean, self.axes = principal(self._flat(reference[rows]), components)
        self.dim = len(self.axes)
        # of the images, not of the axes: those differ in their last digits from machine to machine
        state = hashlib.sha256(f"pixels {components} {self.SIDE} {reference[rows].shape}".encode())
        state.update(np.ascontiguousarray(reference[rows]).tobytes())
        self.hash = state.hexdigest()[:16]

    def __call__(self, x: Images) -> Features:
        """Raises ValueError for images of another shape than the reference's."""
        if checked(x).shape[1:] != self.shape:
            raise ValueError(f"images of {x.shape[1:]}, but the axes were fitted on {self.shape}")
        parts = [(self._flat(x[i : i + 1024]) - self.mean) @ self.axes.T for i in range(0, len(x), 1024)]
        return np.concatenate(parts) if parts else np.empty((0, self.dim))

    def probabilities(self, x: Images) -> Features | None:
        return None

    @classmethod
    def _flat(cls, x: Images) -> Features:
        planes = torch.from_numpy(x.copy()).permute(0, 3, 1, 2).double() / 255
        height, width = (min(side, cls.SIDE) for side in planes.shape[2:])
        return np.asarray(F.adaptive_avg_pool2d(planes, (height, width)).flatten(1).numpy())

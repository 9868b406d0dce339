"""Features of clips of key points that nothing is trained for."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from noisette.metrics.features import Features, principal
from noisette.metrics.motion import Clips, checked
from noisette.metrics.motion_features import prepare, scales


class Poses:
    """Principal components of reference clips: of the joints from the root, of their steps and of the root's, each
    coordinate in units of its joint's spread, so that quick moves count beside large ones."""

    FITTED = 1024
    """Most clips that the axes are fitted on, evenly spaced over the reference."""

    name = "poses"
    accuracy: float | None = None
    classes: tuple[str, ...] = ()

    def __init__(self, reference: Clips, root: int | None = None, components: int = 64) -> None:
        """root: the joint that says where the body is; None for the middle of all.

        Raises ValueError for fewer than two clips, or frames.
        """
        if len(reference) < 2 or checked(reference[:1]).shape[1] < 2:
            raise ValueError(f"axes cannot be fitted on {len(reference)} clips of {reference.shape[1]} frames")
        rows = np.unique(np.linspace(0, len(reference) - 1, self.FITTED).round().astype(int))
        self.shape = reference.shape[1:]
        mean, spread = scales(reference[rows], root)
        self.about = {"root": root, "mean": mean, "spread": spread}
        self.mean, self.axes = principal(self._flat(reference[rows]), components)
        self.dim = len(self.axes)
        # of the clips, not of the axes: those differ in their last digits from machine to machine
        state = hashlib.sha256(f"poses {components} {root} {reference[rows].shape}".encode())
        state.update(np.ascontiguousarray(reference[rows]).tobytes())
        self.hash = state.hexdigest()[:16]

    def __call__(self, x: Clips) -> Features:
        """(N, frames, joints, dims) -> (N, D). Raises ValueError for clips of another shape than the reference's."""
        if checked(x).shape[1:] != self.shape:
            raise ValueError(f"clips of {x.shape[1:]}, but the axes were fitted on {self.shape}")
        parts = [(self._flat(x[i : i + 256]) - self.mean) @ self.axes.T for i in range(0, len(x), 256)]
        return np.concatenate(parts) if parts else np.empty((0, self.dim))

    def probabilities(self, x: Clips) -> None:
        return None

    def _flat(self, x: Clips) -> Features:
        return np.asarray(prepare(x, self.about, torch.device("cpu")).flatten(1).double().numpy())

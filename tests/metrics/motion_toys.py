"""A stick figure with stiff bones that waves or walks, and ways to spoil its clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

EDGES = np.array([(0, 1), (1, 2), (1, 3), (3, 4), (1, 5), (5, 6), (0, 7), (0, 8)])
LENGTHS = np.array([0.5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.9, 0.9])
ROOT, FEET, UP, FPS = 0, (7, 8), 1, 20.0


def figures(n: int, seed: int = 0, frames: int = 24) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(n, frames, 9, 3) clips in metres, y up, and labels: 0 waves its right arm, 1 walks along x."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    time = np.arange(frames) / FPS
    beat = np.sin(2 * np.pi * (rng.uniform(0.6, 1.2, (n, 1)) * time + rng.random((n, 1))))
    walks = labels[:, None] == 1
    swing = rng.uniform(0.3, 0.5, (n, 1)) * beat * walks
    wave = np.where(walks, -1.4 + 0.3 * beat, 0.5 + rng.uniform(0.4, 0.8, (n, 1)) * beat)
    hang = np.full_like(beat, -1.4) + rng.normal(0, 0.1, (n, 1))

    def bone(length: float, forward: NDArray[np.float64], side: NDArray[np.float64] | float, up: NDArray[np.float64]):
        towards = np.stack(np.broadcast_arrays(forward, up, side), -1)
        return length * towards / np.linalg.norm(towards, axis=-1, keepdims=True)

    one, none = np.ones_like(beat), np.zeros_like(beat)
    root = rng.normal(0, 1, (n, 1, 3)) * (1, 0, 1) + np.array([0, 0.9, 0])
    root = root + np.stack([walks * rng.uniform(0.6, 1.0, (n, 1)) * time, none, none], -1)
    chest = root + bone(0.5, none, 0.0, one)
    right = chest + bone(0.3, none, 0.5, np.sin(wave))
    left = chest + bone(0.3, none, -0.5, np.sin(hang))
    joints = [
        root,
        chest,
        chest + bone(0.3, none, 0.0, one),
        right,
        right + bone(0.3, np.cos(wave), 0.2, np.sin(wave)),
        left,
        left + bone(0.3, np.cos(hang), -0.2, np.sin(hang)),
        root + bone(0.9, np.sin(swing), 0.1, -np.cos(swing)),
        root + bone(0.9, -np.sin(swing), -0.1, -np.cos(swing)),
    ]
    return np.stack(joints, 2).astype(np.float32), labels


def spoilt(x: NDArray[np.floating], root: int, seed: int = 0) -> dict[str, NDArray[np.floating]]:
    """Clips made worse, by what was done to them."""
    rng = np.random.default_rng(seed)
    centre, frames = x[:, :, root, None], x.shape[1]
    size = float((x.max(2) - x.min(2)).max(-1).mean())
    away = np.linspace(0, 1.5 * size, frames)[:, None] * np.eye(x.shape[3])[0]
    return {
        "noise": x + rng.normal(0, 0.02 * size, x.shape),
        "shuffled": np.stack([clip[rng.permutation(frames)] for clip in x]),
        "frozen": np.repeat(x[:, frames // 2, None], frames, 1),
        "long bones": centre + 1.3 * (x - centre),
        "loose bones": centre + (x - centre) * (1 + 0.15 * np.sin(np.arange(frames) / 3))[:, None, None],
        "drifting": x + away[:, None],
    }


def windows(frames: int = 32, stride: int = 8) -> dict[str, NDArray]:
    """Clips of real recordings with their labels, subjects and sequences; skips the test where there are none."""
    here = Path(__file__).resolve()
    found = [p for p in (up / "shared/data/msr_action3d/msr_action3d_real3d.npz" for up in here.parents) if p.exists()]
    if not found:
        pytest.skip("no folder of real test data beside the repository")
    with np.load(found[0]) as file:
        x, length, edges = file["x"], file["length"], file["edges"].astype(np.int64)
        action, subject = file["action"].astype(np.int64) - 1, file["subject"]
    ends = np.cumsum(length)
    cuts = [
        (start, sequence)
        for sequence, (end, n) in enumerate(zip(ends, length, strict=True))
        for start in range(end - n, end - frames + 1, stride)
    ]
    first, sequence = np.array(cuts).T
    return {
        "x": x[first[:, None] + np.arange(frames)],
        "labels": action[sequence],
        "subject": subject[sequence],
        "sequence": sequence,
        "edges": edges,
    }

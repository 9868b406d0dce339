"""Turns in space, for all who need them here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rotation(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3, 3) matrices that turn by angles (...) in radians about the axis x, y or z, anticlockwise seen from its
    tip."""
    angle = np.asarray(angle, dtype=np.float64)
    out = np.zeros((*angle.shape, 3, 3))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    cos, sin = np.cos(angle), np.sin(angle)
    out[..., axis, axis] = 1
    out[..., a, a] = out[..., b, b] = cos
    out[..., a, b], out[..., b, a] = -sin, sin
    return out


def euler(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles (..., 3) in radians about z, y and x with turn = Rz Ry Rx, of matrices (..., 3, 3).

    Where y is a quarter turn only the sum of the others counts: x is 0 there.
    """
    y = np.arcsin(np.clip(-turn[..., 2, 0], -1, 1))
    locked = np.abs(turn[..., 2, 0]) > 1 - 1e-12
    z = np.where(locked, np.arctan2(-turn[..., 0, 1], turn[..., 1, 1]), np.arctan2(turn[..., 1, 0], turn[..., 0, 0]))
    x = np.where(locked, 0.0, np.arctan2(turn[..., 2, 1], turn[..., 2, 2]))
    return np.stack((z, y, x), axis=-1)


def fit_rotation(vectors: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotations (F, 3, 3) that bring vectors (k, 3) nearest to wanted (F, k, 3), by least squares.

    For k > 1 Kabsch's (A solution for the best rotation to relate two sets of vectors, 1976); for k = 1 the shortest
    one, Rodrigues' with v = a x b: I + [v] + [v]^2 / (1 + a.b).
    """
    if len(vectors) > 1:
        u, _, vt = np.linalg.svd(np.einsum("fki,kj->fij", wanted, vectors))
        sign = np.ones((len(wanted), 3))
        sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
        return np.asarray((u * sign[:, None, :]) @ vt)
    a, b = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-300) for v in (vectors[0], wanted[:, 0]))
    cos, cross = (b @ a)[:, None, None], np.cross(a, b)
    skew = np.zeros((len(b), 3, 3))
    for i, j, k, s in ((0, 1, 2, -1), (0, 2, 1, 1), (1, 2, 0, -1)):
        skew[:, i, j], skew[:, j, i] = s * cross[:, k], -s * cross[:, k]
    out: NDArray[np.float64] = np.eye(3) + skew + skew @ skew / np.maximum(1 + cos, 1e-12)
    opposite = cos[:, 0, 0] < -1 + 1e-9
    if opposite.any():  # half a turn, about anything across
        across = np.cross(a, np.eye(3)[int(np.argmin(np.abs(a)))])
        across /= np.linalg.norm(across)
        out[opposite] = 2 * np.outer(across, across) - np.eye(3)
    return out

"""How far samples lie from a reference set, from feature vectors of any extractor: all in float64.

    frechet            Fréchet distance of Gaussians fitted to both sets (Dowson and Landau 1982; Heusel et al. 2017)
    kid                squared maximum mean discrepancy, unbiased (Bińkowski et al. 2018)
    prdc               precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)
    inception_score    exp of the mean information in class probabilities (Salimans et al. 2016)
    diversity          mean distance between two samples, multimodality the same in a class (Guo et al. 2020)

Features are float64 (N, D), a row for every sample. Every result is an `Estimate` with a 95 % interval over the
samples, the reference held fixed: what other seeds of the same model would give. A Fréchet distance falls with the
number of samples, and its interval is for this number. Resampled rows are no way to that interval: a bootstrap repeats
rows, so its distances are all too high; the intervals here come from what each sample adds to the value (Efron 1982).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEWEST = 100
"""Fewest rows on each side of any measure that holds samples against a reference."""

PAIRED = 5
"""Fewest rows, of a class as well, of any mean distance between samples."""

Z = 1.959963984540054  # standard errors to either side of a 95 % interval
_BLOCK = 1024


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, and how that was made."""

    value: float
    low: float
    high: float
    interval: str


@dataclass(frozen=True)
class Moments:
    """What a Fréchet distance needs of a set: n rows, their mean (D,) and covariance (D, D), with n - 1."""

    n: int
    mean: Array
    cov: Array


@dataclass(frozen=True)
class Prdc:
    """Shares in [0, 1], but for density, which is about 1 where the samples are as dense as the reference.

    precision  of the samples that lie among the reference: fidelity
    recall     of the reference that lies among the samples: variety
    density    mean number of reference neighbourhoods that a sample lies in, over k: fidelity, less swayed by outliers
    coverage   of the reference that has a sample in its neighbourhood: variety, less swayed by outliers
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def smallest(dim: int) -> int:
    """Fewest rows on each side of a Fréchet distance of `dim` features: below, the covariances are mostly guessed."""
    return max(FEWEST, dim // 4)


def moments(x: Array) -> Moments:
    """Mean and covariance of the rows."""
    x = np.asarray(x, np.float64)
    mean = x.mean(0)
    centred = x - mean
    return Moments(len(x), mean, centred.T @ centred / (len(x) - 1))


def frechet_of_moments(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A) + tr(B) - 2 tr((A^1/2 B A^1/2)^1/2), by the symmetric D x D route."""
    cross = np.linalg.svd(_root(a.cov) @ _root(b.cov).T, compute_uv=False).sum()
    return float(((a.mean - b.mean) ** 2).sum() + np.trace(a.cov) + np.trace(b.cov) - 2 * cross)


def _root(cov: Array) -> Array:
    """R with R^T R = cov; directions that are rounding alone become zero."""
    values, vectors = np.linalg.eigh(cov)
    floor = len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return np.asarray(np.sqrt(np.where(values > floor, values, 0.0))[:, None] * vectors.T)


def frechet(reference: Array, samples: Array) -> Estimate:
    """Fréchet distance of (N, D) reference and (M, D) sample features.

    With Xc = Q_x R_x the centred rows, the trace term is the nuclear norm of R_x R_y^T / sqrt((N-1)(M-1)): at most
    min(N, D) x min(M, D), and nothing is squared, so that constant or dependent features cost no digits.

    Raises ValueError below `smallest(D)` rows, on different D, and where a feature is not finite.
    """
    reference, samples = _pair(reference, samples, smallest(np.shape(reference)[-1]))
    gap = samples.mean(0) - reference.mean(0)
    x, y = reference - reference.mean(0), samples - samples.mean(0)
    n, m = len(x), len(y)
    q, r = np.linalg.qr(y)
    cross = np.linalg.qr(x, mode="r") @ r.T / math.sqrt((n - 1) * (m - 1))
    _, strength, directions = np.linalg.svd(cross, full_matrices=False)
    value = float((gap**2).sum() + (x**2).sum() / (n - 1) + (y**2).sum() / (m - 1) - 2 * strength.sum())
    # How the value changes with one row's weight: 2 gap.y + y^T (1 - T) y, where T is the optimal map from the samples'
    # Gaussian to the reference's. With the decomposition above y^T T y needs no inverse.
    carried = (m - 1) * ((q @ directions.T) ** 2 @ strength)
    return _around(max(0.0, value), 2 * y @ gap + (y**2).sum(1) - carried)


def _around(value: float, influence: Array, what: str = "influence of each sample; reference fixed") -> Estimate:
    """value +- 1.96 standard errors, from the first-order influence of each sample (the infinitesimal jackknife).

    For values that cannot be negative.
    """
    half = Z * float(influence.std(ddof=1)) / math.sqrt(len(influence))
    return Estimate(value, max(0.0, value - half), value + half, f"1.96 standard errors, {what}")


def kid(reference: Array, samples: Array) -> Estimate:
    """Unbiased squared MMD under the kernel (x.y / D + 1)^3, of all rows at once; about 0 for equal distributions.

    It may be negative, and does not fall with the number of samples. The interval is a delete-one jackknife.

    Raises ValueError below FEWEST rows, on different D, and where a feature is not finite.
    """
    x, y = _pair(reference, samples, FEWEST)
    n, m, dim = len(x), len(y), x.shape[1]
    among_x = sum(_kernel(block, x, dim).sum() - _kernel_self(block, dim).sum() for _, block in _blocks(x))
    among_y = np.concatenate([_kernel(block, y, dim).sum(1) - _kernel_self(block, dim) for _, block in _blocks(y)])
    across = np.concatenate([_kernel(block, x, dim).sum(1) for _, block in _blocks(y)])
    fixed = among_x / (n * (n - 1))
    value = fixed + among_y.sum() / (m * (m - 1)) - 2 * across.sum() / (n * m)
    among_rest = (among_y.sum() - 2 * among_y) / ((m - 1) * (m - 2))
    return _jackknife(float(value), fixed + among_rest - 2 * (across.sum() - across) / (n * (m - 1)))


def _jackknife(value: float, without: Array, least: float = -math.inf, most: float = math.inf) -> Estimate:
    """value +- 1.96 standard errors, from the value without each one of the samples."""
    half = Z * float(without.std()) * math.sqrt(len(without) - 1)
    how = "1.96 standard errors, jackknife over samples; reference fixed"
    return Estimate(value, max(least, value - half), min(most, value + half), how)


def _kernel(a: Array, b: Array, dim: int) -> Array:
    return np.asarray((a @ b.T / dim + 1) ** 3)


def _kernel_self(a: Array, dim: int) -> Array:
    return np.asarray(((a**2).sum(1) / dim + 1) ** 3)


def prdc(reference: Array, samples: Array, k: int = 5) -> Prdc:
    """Precision, recall, density and coverage; a neighbourhood is the ball up to the k-th nearest neighbour in its set.

    Raises ValueError below FEWEST rows, on different D, where a feature is not finite, and for a k that is too large.
    """
    x, y = _pair(reference, samples, FEWEST)
    if not 1 <= k <= FEWEST - 2:
        raise ValueError(f"k must be from 1 to {FEWEST - 2}, not {k}")
    centre = x.mean(0)  # squared distances are differences of numbers that are large far from the origin
    x, y = x - centre, y - centre
    around_x, around_y = _neighbourhoods(x, k), _neighbourhoods(y, k)
    among = np.zeros(len(y))  # neighbourhoods of the reference that each sample lies in
    covered = recalled = 0
    covered_without, recalled_without = np.zeros(len(y)), np.zeros(len(y))  # the same counts, but for one sample
    for start, block in _blocks(x):
        squares = _squares(block, y)
        inside = squares <= around_x.radius[start : start + len(block), None]
        holders = inside.sum(1, keepdims=True)
        among += inside.sum(0)
        covered += int((holders > 0).sum())
        covered_without += (holders > inside).sum(0)

        hit = squares <= around_y.radius
        left = hit.sum(1, keepdims=True) - hit
        # without a sample, those that had it among their k nearest reach as far as the next one
        row, sample = np.nonzero((squares <= around_y.wider) & ~hit)
        np.add.at(left, (row[:, None], around_y.nearest[sample]), 1)
        recalled += int(hit.any(1).sum())
        recalled_without += (left > 0).sum(0)
    return Prdc(
        precision=wilson(among > 0),
        recall=_jackknife(recalled / len(x), recalled_without / len(x), 0.0, 1.0),
        density=_around(float(among.mean()) / k, among / k),
        coverage=_jackknife(covered / len(x), covered_without / len(x), 0.0, 1.0),
    )


class _Neighbourhoods(NamedTuple):
    """Squared distance of every row to its k-th and its (k+1)-th nearest other row, and which the k are: (N, k)."""

    radius: Array
    wider: Array
    nearest: NDArray[np.int64]


def _neighbourhoods(x: Array, k: int) -> _Neighbourhoods:
    radii, nearest = [], []
    for start, block in _blocks(x):
        squares = _squares(block, x)
        rows = np.arange(len(block))
        squares[rows, start + rows] = np.inf
        order = np.argpartition(squares, (k - 1, k), axis=1)[:, : k + 1]
        radii.append(np.take_along_axis(squares, order[:, -2:], 1))
        nearest.append(order[:, :k])
    # a hair more: a copy of the k-th neighbour is exactly on the border, and stays inside whatever the rounding
    wide = np.concatenate(radii) * (1 + 1e-9) + 1e-12 * (x**2).sum(1).mean()
    return _Neighbourhoods(wide[:, 0], wide[:, 1], np.concatenate(nearest))


def _squares(a: Array, b: Array) -> Array:
    """(N, D), (M, D) -> (N, M) squared distances."""
    return np.asarray((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T)


def wilson(hits: NDArray[np.bool_]) -> Estimate:
    """A share of independent samples with Wilson's interval, which also holds at 0 and 1."""
    n, p = len(hits), float(hits.mean())
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    low, high = max(0.0, middle - half) if p > 0 else 0.0, min(1.0, middle + half) if p < 1 else 1.0
    return Estimate(p, low, high, "Wilson, over samples; reference fixed")


def inception_score(probabilities: Array, splits: int = 10) -> Estimate:
    """exp(mean KL(p(y|x) || p(y))) of (N, K) class probabilities, averaged over `splits` equal parts in order.

    1 where every sample reads alike; K where each reads as one class for sure and all classes come equally often.

    Raises ValueError below FEWEST rows, for more splits than rows, and where rows do not sum to one.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(1), 1, atol=1e-4)):
        raise ValueError("class probabilities must be (N, K), at least 0, and sum to one in every row")
    _enough(len(p), FEWEST, "probabilities")
    if not 1 <= splits <= len(p):
        raise ValueError(f"splits must be from 1 to {len(p)}, not {splits}")
    scores, influences = [], []
    for part in np.array_split(p, splits):
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = part * (np.log(part) - np.log(part.mean(0)))
        information = np.where(part > 0, terms, 0.0).sum(1)
        scores.append(math.exp(information.mean()))
        influences.append(scores[-1] * (information - information.mean()))
    return _around(float(np.mean(scores)), np.concatenate(influences))


def diversity(samples: Array, labels: NDArray[np.int64] | None = None) -> Estimate:
    """Mean Euclidean distance of two different rows of (N, D) features.

    That is what the diversity of Guo et al. 2020 (Action2Motion, evaluation metrics) estimates from S_d = 200 random
    pairs; here all pairs count, so that chance in the draw is no part of it.

    labels: (N,) classes, of which each counts the same then, alone and with each other one, whatever its number of
    rows. Those of a single row are left out, as nothing is known of two of them.

    Raises ValueError below PAIRED rows, and where a feature is not finite.
    """
    x = _rows(samples, "sample", PAIRED)
    labels = np.zeros(len(x), np.int64) if labels is None else np.asarray(labels)
    names, counts = np.unique(labels, return_counts=True)
    kept = np.isin(labels, names[counts > 1])
    x = _rows(x[kept], "sample", PAIRED)
    _, of, counts = np.unique(labels[kept], return_inverse=True, return_counts=True)
    x = x - x.mean(0)
    weight = 1 / (len(counts) * counts)  # of a row, by its class
    own = counts / (counts - 1)  # rows of its own class are one fewer, as none is paired with itself
    to_others = np.zeros(len(x))
    for start, block in _blocks(x):
        squares = _squares(block, x)
        squares[np.arange(len(block)), start + np.arange(len(block))] = 0
        classes = of[start : start + len(block), None]
        weights = weight[of] * np.where(classes == of, own[classes], 1.0)
        to_others[start : start + len(block)] = (np.sqrt(np.maximum(squares, 0)) * weights).sum(1)
    value = float(weight[of] @ to_others)
    influence = 2 * len(x) * weight[of] * (to_others - value)
    return _around(value, influence, "influence of each sample")


@dataclass(frozen=True)
class Multimodality:
    """The mean distance of two samples of one class: `value` in the mean over classes, `classes` each class's own."""

    value: Estimate
    classes: dict[int, Estimate]


def multimodality(samples: Array, labels: NDArray[np.int64]) -> Multimodality:
    """Diversity within classes, in the mean over classes, of (N, D) features with labels (N,).

    That is what the multimodality of Guo et al. 2020 estimates from S_l = 20 random pairs a class. Classes of fewer
    than PAIRED rows are left out.

    Raises ValueError where no class is left, and where a feature is not finite.
    """
    x, labels = _rows(samples, "sample", PAIRED), np.asarray(labels)
    names, counts = np.unique(labels, return_counts=True)
    found = {int(name): diversity(x[labels == name]) for name in names[counts >= PAIRED]}
    if not found:
        raise ValueError(f"no class has {PAIRED} samples")
    value = float(np.mean([one.value for one in found.values()]))
    half = math.sqrt(sum((one.high - one.value) ** 2 for one in found.values())) / len(found)
    how = "1.96 standard errors, influence of each sample within its class"
    return Multimodality(Estimate(value, max(0.0, value - half), value + half, how), found)


def _blocks(x: Array) -> Iterator[tuple[int, Array]]:
    """Rows in parts, each with the number of its first, so that no N x N matrix is held."""
    return ((start, x[start : start + _BLOCK]) for start in range(0, len(x), _BLOCK))


def _pair(reference: Array, samples: Array, fewest: int) -> tuple[Array, Array]:
    """Both as float64. Raises ValueError, saying why, when they cannot be compared."""
    pair = _rows(reference, "reference", fewest), _rows(samples, "sample", fewest)
    if pair[0].shape[1] != pair[1].shape[1]:
        sizes = f"{pair[0].shape[1]} and {pair[1].shape[1]} numbers a row"
        raise ValueError(f"features of different extractors: {sizes}")
    return pair


def _rows(x: Array, name: str, fewest: int) -> Array:
    x = np.asarray(x, np.float64)
    if x.ndim != 2:
        raise ValueError(f"{name} features must be (N, D), not {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} features that are not finite")
    _enough(len(x), fewest, "samples" if name == "sample" else f"of the {name}")
    return x


def _enough(n: int, fewest: int, what: str) -> None:
    if n < fewest:
        raise ValueError(f"{n} {what}, and below {fewest} the measure says more about their number than about quality")

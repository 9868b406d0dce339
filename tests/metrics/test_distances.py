"""Distances against closed forms, torchmetrics and brute force; their intervals against what repetition gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from noisette.metrics import distances
from noisette.metrics.distances import (
    Array,
    Estimate,
    diversity,
    frechet,
    frechet_of_moments,
    inception_score,
    kid,
    moments,
    multimodality,
    prdc,
    smallest,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torchmetrics.utilities.prints")


class AsTheyAre(torch.nn.Module):
    """Stands in for a network: its input is the features already."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, : self.num_features] if x.dim() == 4 else x


def features(n: int, dim: int, seed: int, shift: float = 0.0, dead: int = 0) -> Array:
    """Like those of a net: correlated, not negative, some of them always zero."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((dim, dim)) / math.sqrt(dim)
    x = (rng.standard_normal((n, dim)) @ mixing + 0.3 + shift).clip(0)
    x[:, :dead] = 0
    return x


def padded(x: Array) -> torch.Tensor:
    """(N, D) -> (N, 1, 1, D), the nearest thing to an image that holds these features and nothing else."""
    return torch.from_numpy(x)[:, None, None, :]


@pytest.mark.parametrize(("n", "m", "dim"), [(500, 500, 32), (300, 700, 64)])
def test_frechet_equals_torchmetrics(n: int, m: int, dim: int) -> None:
    a, b = features(n, dim, 0), features(m, dim, 1, shift=0.1)
    net = AsTheyAre(dim)
    theirs = FrechetInceptionDistance(net, input_img_size=(1, 1, dim), normalize=True).set_dtype(torch.float64)
    theirs.update(padded(a), real=True)
    theirs.update(padded(b), real=False)
    assert frechet(a, b).value == pytest.approx(theirs.compute().item(), rel=1e-6)


@pytest.mark.parametrize(("n", "m", "dim", "dead"), [(500, 400, 48, 0), (500, 400, 48, 20), (150, 200, 256, 9)])
def test_both_routes_of_frechet_agree(n: int, m: int, dim: int, dead: int) -> None:
    a, b = features(n, dim, 0, dead=dead), features(m, dim, 1, shift=0.05, dead=dead // 2)
    assert frechet(a, b).value == pytest.approx(frechet_of_moments(moments(a), moments(b)), rel=1e-9)


def test_frechet_of_gaussians_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    scale, shift = rng.uniform(0.5, 2, 6), rng.standard_normal(6)
    turn, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    a = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6))
    centred = a - a.mean(0)
    white = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(a, rowvar=False))).T @ turn
    # with covariances I and diag(scale^2) in one basis the distance is |shift|^2 + sum (scale - 1)^2
    expected = (shift**2).sum() + ((scale - 1) ** 2).sum()
    assert frechet(white, white * scale + shift).value == pytest.approx(expected, rel=1e-10)
    assert frechet(a, a[::-1]).value == pytest.approx(0, abs=1e-10)
    assert frechet(a, a + 2).value == pytest.approx(6 * 4, rel=1e-10)


def test_frechet_is_refused_below_a_sensible_number_of_rows() -> None:
    assert (smallest(128), smallest(2048)) == (100, 512)
    with pytest.raises(ValueError, match="99 of the reference, and below 100"):
        frechet(features(99, 8, 0), features(100, 8, 1))
    with pytest.raises(ValueError, match="511 samples, and below 512"):
        frechet(np.zeros((512, 2048)), np.zeros((511, 2048)))


def test_what_cannot_be_compared_is_refused() -> None:
    a = features(120, 8, 0)
    for measure in (frechet, kid, prdc):
        with pytest.raises(ValueError, match="different extractors: 8 and 7"):
            measure(a, a[:, 1:])
        with pytest.raises(ValueError, match="sample features that are not finite"):
            measure(a, np.where(a == a[0, 0], np.nan, a))
        with pytest.raises(ValueError, match="below 100"):
            measure(a, a[:99])


def kernel(x: Array, y: Array) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def test_kid_against_its_definition() -> None:
    x, y = features(101, 5, 0), features(100, 5, 1, shift=0.2)

    def brute(x: Array, y: Array) -> float:
        among = [np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
        return float(sum(among) - 2 * np.mean([kernel(a, b) for a in x for b in y]))

    found = kid(x, y)
    assert found.value == pytest.approx(brute(x, y), rel=1e-10)
    # one in ten left out gives the jackknife's standard error up to chance
    rest = [brute(x, np.delete(y, i, 0)) for i in range(0, 100, 10)]
    assert (found.high - found.value) / 1.96 == pytest.approx(np.std(rest, ddof=1) * 99 / 10, rel=0.5)


def test_kid_agrees_with_torchmetrics_within_its_spread() -> None:
    a, b = features(600, 16, 0), features(500, 16, 1, shift=0.1)
    torch.manual_seed(0)
    net = AsTheyAre(16)
    theirs = KernelInceptionDistance(net, subsets=100, subset_size=200, normalize=True).set_dtype(torch.float64)
    theirs.update(padded(a), real=True)
    theirs.update(padded(b), real=False)
    mean, spread = (float(v) for v in theirs.compute())
    found = kid(a, b)
    assert abs(found.value - mean) < 3 * spread / math.sqrt(100)
    assert found.low < mean < found.high


def test_kid_does_not_fall_with_the_number_of_samples() -> None:
    same = [kid(features(200, 8, i), features(150, 8, 1000 + i)).value for i in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / math.sqrt(200)


def brute_prdc(x: Array, y: Array, k: int) -> tuple[float, float, float, float]:
    """By the definitions, with direct differences."""
    x, y = x.astype(np.float64), y.astype(np.float64)

    def apart(a: Array, b: Array) -> Array:
        return np.asarray(((a[:, None, :] - b[None, :, :]) ** 2).sum(-1))

    around_x, around_y = (np.sort(apart(z, z), axis=1)[:, k] for z in (x, y))
    inside = apart(x, y) <= around_x[:, None]
    hit = apart(x, y) <= around_y
    return inside.any(0).mean(), hit.any(1).mean(), inside.sum() / (k * len(y)), inside.any(1).mean()


@pytest.mark.parametrize(("k", "shift", "far"), [(5, 0.05, 0), (1, 0.2, 0), (3, 0.0, 1e4)])
def test_prdc_equals_brute_force(k: int, shift: float, far: float) -> None:
    x, y = features(130, 6, 0) + far, features(110, 6, 1, shift=shift) + far
    found = prdc(x, y, k)
    values = [found.precision.value, found.recall.value, found.density.value, found.coverage.value]
    assert values == pytest.approx(brute_prdc(x, y, k), abs=1e-12)
    assert min(values) > 0.2 and found.recall.value < 1

    rest = np.array([brute_prdc(x, np.delete(y, i, 0), k) for i in range(len(y))])
    for i, estimate in ((1, found.recall), (3, found.coverage)):
        error = math.sqrt((len(y) - 1) / len(y) * ((rest[:, i] - rest[:, i].mean()) ** 2).sum())
        assert estimate.low == pytest.approx(max(0, estimate.value - 1.96 * error), abs=1e-5)
        assert estimate.high == pytest.approx(min(1, estimate.value + 1.96 * error), abs=1e-5)


def test_prdc_in_blocks_and_on_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(220, 6, 0), features(210, 6, 1)
    whole = prdc(x, y)
    monkeypatch.setattr("noisette.metrics.distances._BLOCK", 64)
    assert prdc(x, y) == whole
    copies = prdc(x, np.concatenate([x, x])[::3][:140])
    assert copies.precision.value == 1.0 and copies.precision.low < 1.0 and copies.density.value > 0.9
    same = prdc(x, x)
    assert same.recall.value == same.coverage.value == 1.0
    assert same.density.value == pytest.approx(6 / 5)  # itself and five others, over five
    far = prdc(x, y + 100)
    assert (far.precision.value, far.recall.value, far.density.value, far.coverage.value) == (0, 0, 0, 0)


def shares(n: int, classes: int, seed: int) -> Array:
    p = np.exp(2 * np.random.default_rng(seed).standard_normal((n, classes)))
    return p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("splits", [2, 7])
def test_inception_score_equals_torchmetrics(splits: int) -> None:
    p = shares(504, 9, 0)
    theirs = InceptionScore(AsTheyAre(9), splits=splits)
    theirs.features.append(torch.from_numpy(p).log())
    torch.manual_seed(3)
    mean, _ = theirs.compute()
    torch.manual_seed(3)
    order = torch.randperm(504).numpy()  # torchmetrics shuffles
    assert inception_score(p[order], splits).value == pytest.approx(mean.item(), rel=1e-10)


def test_inception_score_in_closed_form() -> None:
    sure = np.eye(5)[np.arange(200) % 5]
    assert inception_score(sure, 4).value == pytest.approx(5.0)
    assert inception_score(np.full((150, 7), 1 / 7)).value == pytest.approx(1.0)
    half = 0.75 * np.eye(2)[np.arange(120) % 2] + 0.25 * np.eye(2)[(np.arange(120) + 1) % 2]
    expected = 2 * 0.75**0.75 * 0.25**0.25  # exp of the entropy of the mean less the mean entropy
    assert inception_score(half, 10).value == pytest.approx(expected)
    for bad in (half + 0.1, -half, half[:99], half[0]):
        with pytest.raises(ValueError):
            inception_score(bad)


def test_diversity_is_the_mean_distance_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """By brute force, far from the origin and in any blocks; of normals in three dimensions 4 / sqrt(pi)."""
    x = features(60, 7, 0) + 1e4
    pairs = [np.linalg.norm(x[i] - x[j]) for i in range(60) for j in range(60) if i != j]
    assert diversity(x).value == pytest.approx(np.mean(pairs), rel=1e-9)
    monkeypatch.setattr(distances, "_BLOCK", 13)
    assert diversity(x).value == pytest.approx(np.mean(pairs), rel=1e-9)
    found = [diversity(np.random.default_rng(seed).normal(size=(80, 3))) for seed in range(300)]
    assert np.mean([e.value for e in found]) == pytest.approx(4 / math.sqrt(math.pi), rel=0.01)
    assert 0.91 <= np.mean([e.low <= 4 / math.sqrt(math.pi) <= e.high for e in found]) <= 0.98
    assert diversity(np.ones((9, 4))).value == diversity(np.ones((9, 4))).high == 0
    with pytest.raises(ValueError, match="4 samples, and below 5"):
        diversity(x[:4])


def test_diversity_of_classes_that_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with itself and with the other one, by brute force; a class of one row has no two of it."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(6, 3)), 5 + rng.normal(size=(40, 3)), np.full((1, 3), 1e3)])
    labels = np.repeat([4, 2, 9], [6, 40, 1])
    apart = np.linalg.norm(x[:, None] - x, axis=-1)
    within = [apart[k][:, k].sum() / (len(k) * (len(k) - 1)) for k in (np.arange(6), np.arange(6, 46))]
    for block in (1024, 13):
        monkeypatch.setattr(distances, "_BLOCK", block)
        wanted = (within[0] + within[1]) / 4 + apart[:6, 6:46].mean() / 2
        assert diversity(x, labels).value == pytest.approx(wanted, rel=1e-9)
    assert diversity(x[:46], np.zeros(46, int)) == diversity(x[:46])

    def drawn(seed: int, *counts: int) -> Estimate:
        rng = np.random.default_rng(seed)
        parts = [np.append(3.0 * k, [0, 0]) + (k + 1) * rng.normal(size=(n, 3)) for k, n in enumerate(counts)]
        return diversity(np.concatenate(parts), np.repeat(np.arange(len(counts)), counts))

    true = drawn(0, 1000, 1000).value
    assert np.mean([e.low <= true <= e.high for e in (drawn(seed, 30, 120) for seed in range(200))]) >= 0.91
    with pytest.raises(ValueError, match="0 samples, and below 5"):
        diversity(x, np.arange(47))


def test_multimodality_is_the_diversity_within_classes() -> None:
    """Two classes far apart, one of them twice as wide, and one of too few: what is between them does not count."""
    x = np.random.default_rng(0).normal(size=(204, 3))
    labels = np.repeat([0, 5, 7], [100, 100, 4])
    x[100:200] = 2 * x[100:200] + 50
    found = multimodality(x, labels)
    assert list(found.classes) == [0, 5] and found.classes[5] == diversity(x[100:200])
    assert found.value.value == pytest.approx((diversity(x[:100]).value + diversity(x[100:200]).value) / 2)
    halves = [e.high - e.value for e in found.classes.values()]
    assert found.value.high - found.value.value == pytest.approx(math.hypot(*halves) / 2)
    assert multimodality(x, np.random.default_rng(1).permutation(labels)).value.low > found.value.high
    with pytest.raises(ValueError, match="no class has 5 samples"):
        multimodality(x, np.arange(204))


def every(reference: Array, samples: Array) -> dict[str, Estimate]:
    positive = samples[:, :8] + 0.01
    found = {"frechet": frechet(reference, samples), "kid": kid(reference, samples)}
    found |= {name: getattr(p, name) for p in (prdc(reference, samples),) for name in p.__dataclass_fields__}
    return found | {"inception_score": inception_score(positive / positive.sum(1, keepdims=True), 1)}


def test_intervals_hold_what_repetition_gives() -> None:
    """About 95 % of them hold the mean over other samples; those of recall are on the careful side."""
    reference = features(400, 24, 10_000)
    found = [every(reference, features(200, 24, seed, shift=0.05)) for seed in range(120)]
    for name in found[0]:
        values = np.array([e[name].value for e in found])
        inside = np.mean([e[name].low <= values.mean() <= e[name].high for e in found])
        length = np.mean([e[name].high - e[name].low for e in found]) / (2 * 1.96 * values.std(ddof=1))
        assert inside >= 0.87, name
        assert 0.8 <= length <= 2.0, (name, length)

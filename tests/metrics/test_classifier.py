"""The small classifier: right, honest about how right, the same twice, and at home in any shape."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from noisette.errors import UserError
from noisette.metrics import classifier
from noisette.metrics.classifier import Classifier, moved, train
from noisette.metrics.features import Images


def corners(n: int, seed: int, side: int = 8) -> tuple[Images, NDArray[np.int64]]:
    """Grey noise with a bright square in one of two corners, and which one."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 120, (n, side, side, 1), dtype=np.uint8)
    y = rng.integers(0, 2, n)
    half = side // 2
    for image, label in zip(x, y, strict=True):
        image[half * label : half * (label + 1), half * label : half * (label + 1)] += 60
    return x, y


@pytest.fixture(scope="module")
def small() -> Classifier:
    return train(*corners(120, 0), ("top left", "bottom right"), *corners(400, 1), epochs=30)


def test_it_reads_what_it_was_taught(small: Classifier) -> None:
    assert small.accuracy is not None and small.accuracy > 0.97
    x, y = corners(300, 2)
    probabilities = small.probabilities(x)
    assert probabilities is not None and np.allclose(probabilities.sum(1), 1)
    assert (probabilities.argmax(1) == y).mean() > 0.97
    features = small(x)
    assert features.shape == (300, small.dim) == (300, 128) and features.dtype == np.float64
    assert 0.3 < np.median(features.std(0)) < 3 and features.min() < -0.5  # before the ReLU
    assert (small.name, small.classes, len(small.hash)) == ("classifier", ("top left", "bottom right"), 16)
    assert np.array_equal(small(x[:0]), np.empty((0, 128)))


def test_the_same_twice_and_after_saving(small: Classifier, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    again = train(*corners(120, 0), ("top left", "bottom right"), *corners(400, 1), epochs=30)
    other = train(*corners(120, 0), ("top left", "bottom right"), epochs=30, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.hash == small.hash != other.hash
    small.save(tmp_path / "below" / "c.safetensors")
    assert [p.name for p in (tmp_path / "below").iterdir()] == ["c.safetensors"]
    loaded = Classifier.load(tmp_path / "below" / "c.safetensors")
    x, _ = corners(50, 3)
    assert (loaded.hash, loaded.classes, loaded.about) == (small.hash, small.classes, small.about)
    assert loaded.calibration == small.calibration and np.array_equal(loaded(x), small(x))


def test_a_damaged_file_is_refused(small: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    small.save(path)
    whole = path.read_bytes()
    for content in (
        whole[:-8],
        b"",
        whole.replace(b'"format\\":', b'"tamrof\\":'),
        whole.replace(b"hidden.", b"hiddex."),
    ):
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is not a classifier that can be read \(.*\); delete it"):
            Classifier.load(path)
    with pytest.raises(UserError, match="No such file"):
        Classifier.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("shape", "classes"),
    [((8, 8, 1), 2), ((28, 28, 1), 10), ((47, 33, 3), 3), ((96, 128, 3), 200), ((8, 64, 3), 2), ((3, 3, 1), 2)],
)
def test_any_shape_and_few_images(shape: tuple[int, int, int], classes: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, *shape), dtype=np.uint8)
    x.flags.writeable = False
    seen: list[tuple[int, int]] = []
    found = train(
        x,
        rng.integers(0, classes, 20),
        [str(i) for i in range(classes)],
        epochs=2,
        flip=True,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 2), (2, 2)]
    assert found.accuracy is None and found.calibration is None
    probabilities = found.probabilities(x)
    assert probabilities is not None and probabilities.shape == (20, classes) and np.isfinite(found(x)).all()
    with pytest.raises(ValueError, match="but the classifier was trained on"):
        found(x[:, 1:])


def test_few_images_are_learnt_too() -> None:
    found = train(*corners(18, 0), ("a", "b"), *corners(12, 1))
    assert found.calibration is not None and (found.calibration["n"], found.calibration["temperature"]) == (12, 1.0)
    x, y = corners(300, 2)
    probabilities = found.probabilities(x)
    assert probabilities is not None and (probabilities.argmax(1) == y).mean() > 0.8


def test_confidence_means_something() -> None:
    """A quarter of the labels is wrong: a probability of 1 would be wrong a quarter of the time."""

    def blurred(n: int, seed: int) -> tuple[Images, NDArray[np.int64]]:
        x, y = corners(n, seed)
        wrong = np.random.default_rng(seed + 50).random(n) < 0.25
        return x, np.where(wrong, 1 - y, y)

    found = train(*blurred(300, 0), ("a", "b"), *blurred(400, 1), epochs=40)
    x, y = blurred(2000, 2)
    probabilities = found.probabilities(x)
    assert probabilities is not None and found.calibration is not None
    right = (probabilities.argmax(1) == y).mean()
    assert found.calibration["temperature"] > 1
    assert abs(probabilities.max(1).mean() - right) < 0.08
    assert found.calibration["ece"] < 0.12


def test_what_calibration_counts() -> None:
    x, y = corners(120, 0)
    found = train(x, y, ("a", "b"), *corners(150, 1), epochs=5)
    held, truth = corners(150, 1)
    probabilities = found.probabilities(held)
    assert probabilities is not None and found.calibration is not None
    sure, right = probabilities.max(1) > 0.9, probabilities.argmax(1) == truth
    assert found.accuracy == pytest.approx(right.mean())
    assert found.calibration["confident"] == pytest.approx(sure.mean())
    assert found.calibration["confident_right"] == pytest.approx(right[sure].mean())
    bins = np.minimum((probabilities.max(1) * 10).astype(int), 9)
    gaps = [abs((right[bins == b] - probabilities.max(1)[bins == b]).sum()) for b in range(10)]
    assert found.calibration["ece"] == pytest.approx(sum(gaps) / 150)


def test_images_move_a_little_and_are_mirrored_only_if_asked() -> None:
    x = torch.zeros(400, 1, 40, 40)
    x[:, :, 10:14, 18:22] = 1  # right of nothing, above the middle
    x[:, :, 18:22, 28:32] = 1
    places = torch.arange(40) - 19.5
    for flip in (False, True):
        y = moved(x, flip, torch.Generator().manual_seed(0))
        across = (y.sum(2) * places).sum((1, 2)) / y.sum((1, 2, 3))
        down = (y.sum(3) * places).sum((1, 2)) / y.sum((1, 2, 3))
        assert (down < 0).float().mean() > 0.85 and down.std() > 1
        mirrored = (across < 0).float().mean().item()
        assert (0.35 < mirrored < 0.65) if flip else mirrored < 0.1
        assert abs(across.abs().mean() - 5) < 1


def test_what_cannot_be_learnt_is_refused() -> None:
    x, y = corners(10, 0)
    for args in ((x[:1], y[:1], ("a", "b")), (x, y[:9], ("a", "b"))):
        with pytest.raises(ValueError, match="needs at least two, one label each"):
            train(*args)
    for labels, classes in ((y * 0, ("a",)), (y + 1, ("a", "b")), (y - 1, ("a", "b"))):
        with pytest.raises(ValueError, match=r"labels from -?\d to \d for \d classes"):
            train(x, labels, classes)


def test_digits() -> None:
    """2,000 real digits for ten seconds are enough to read 96 % of others; the whole budget is measured in LOG.md."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip("no folder of real test data beside the repository")

    def part(name: str, n: int) -> tuple[Images, NDArray[np.int64]]:
        raw = [gzip.decompress(next(folder.glob(f"{name}-{kind}*.gz")).read_bytes()) for kind in ("images", "labels")]
        x = np.frombuffer(raw[0], np.uint8, n * 784, 16).reshape(n, 28, 28, 1)
        return x, np.frombuffer(raw[1], np.uint8, n, 8).astype(np.int64)

    found = train(*part("train", 2000), [str(i) for i in range(10)], *part("t10k", 1000), epochs=4)
    assert found.accuracy is not None and found.accuracy > 0.96
    assert found.calibration is not None and found.calibration["confident_right"] > 0.98


def test_the_work_is_bounded() -> None:
    """Large images cost about what small ones do: fewer of them are seen."""
    for side, channels in ((28, 1), (32, 3), (64, 3), (128, 3)):
        size = classifier.shrunk(side, side)
        assert max(size) <= 64 and math.prod(size) <= 64 * 64
        assert classifier.Net(channels, *size, 10).work < 1.5e7

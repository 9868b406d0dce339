"""The extractors of motion: right, the same twice, blind to the place of a clip and to nothing else, at any shape."""

from __future__ import annotations

import math
from pathlib import Path

import motion_toys as toys
import numpy as np
import pytest
import torch

from noisette.errors import UserError
from noisette.metrics import motion_features
from noisette.metrics.distances import frechet
from noisette.metrics.motion_features import (
    DIM,
    Autoencoder,
    MotionClassifier,
    scales,
    train_autoencoder,
    train_classifier,
    views,
)

NAMES = ("waves", "walks")


@pytest.fixture(scope="module")
def reader() -> MotionClassifier:
    return train_classifier(*toys.figures(160, 0), NAMES, *toys.figures(150, 1), root=0, epochs=12)


@pytest.fixture(scope="module")
def mirror() -> Autoencoder:
    return train_autoencoder(toys.figures(160, 0)[0], toys.figures(100, 1)[0], root=0, epochs=25)


def test_it_reads_what_it_was_taught(reader: MotionClassifier) -> None:
    x, y = toys.figures(200, 2)
    probabilities = reader.probabilities(x)
    assert np.allclose(probabilities.sum(1), 1) and (probabilities.argmax(1) == y).mean() > 0.97
    assert reader.accuracy is not None and reader.accuracy > 0.97
    assert reader.calibration is not None and reader.calibration["n"] == 150
    features = reader(x)
    assert features.shape == (200, DIM) == (200, reader.dim) and features.dtype == np.float64
    assert 0.3 < np.median(features.std(0)) < 3 and features.min() < -0.5
    assert (reader.name, reader.classes, len(reader.hash)) == ("classifier", NAMES, 16)
    assert reader(x[:0]).shape == (0, DIM)


def test_it_draws_again_what_it_squeezed(mirror: Autoencoder) -> None:
    assert mirror.unexplained is not None and mirror.unexplained < 0.3
    x, _ = toys.figures(50, 2)
    assert (mirror.name, mirror.classes, mirror.accuracy, mirror.probabilities(x)) == ("autoencoder", (), None, None)
    assert mirror(x).shape == (50, DIM) and np.isfinite(mirror(x)).all()


def test_views_by_hand() -> None:
    """Two joints in the plane: the second is (1, 2) from the root in the second frame, and stepped (1, 1) relative to
    it, which itself stepped (3, 0)."""
    x = np.array([[[[0, 0], [0, 1]], [[3, 0], [4, 2]]]], float)
    assert views(x, 0)[0, :, 0].tolist() == [0, 0, 1, 2, 0, 0, 1, 1, 3, 0]
    assert views(x, None)[0, :, 0].tolist() == [-0.5, -1, 0.5, 1, -0.5, -0.5, 0.5, 0.5, 3.5, 0.5]
    assert views(x[:, :, :1], None)[0, :, 0].tolist() == [0, 0, 0, 0, 3, 0]


def test_a_joint_that_never_moves_is_not_blown_up() -> None:
    x = np.zeros((5, 6, 3, 2))
    x[:, :, 1] = np.random.default_rng(0).normal(size=(5, 6, 2))
    x[:, :, 2] = [1, 1]
    mean, spread = (np.array(v).reshape(-1, 2) for v in scales(x, 0))
    np.testing.assert_allclose(mean[2], [1, 1])
    np.testing.assert_allclose(spread[2], 0.05 * spread[1])
    assert (spread[6] == spread[3]).all() and (mean[3:] == 0).all()
    assert np.array(scales(np.zeros((3, 4, 2, 2)), None)[1]).tolist() == [1.0] * 10


@pytest.mark.parametrize("kind", ["reader", "mirror"])
def test_the_place_does_not_count_and_the_rest_does(kind: str, request: pytest.FixtureRequest) -> None:
    extractor = request.getfixturevalue(kind)
    x, _ = toys.figures(240, 3)
    real, other = extractor(x[:120]), x[120:]
    np.testing.assert_allclose(extractor(x[:120] + np.array([5.0, -1.0, 3.0])), real, atol=1e-3)
    floor = frechet(real, extractor(other)).value
    worse = {name: frechet(real, extractor(y)).value for name, y in toys.spoilt(other, 0).items()}
    worse["backwards"] = frechet(real, extractor(other[..., [2, 1, 0]])).value
    assert min(worse.values()) > 2 * floor, (floor, worse)


@pytest.mark.parametrize("kind", ["reader", "mirror"])
def test_the_same_twice_and_after_saving(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    x, y = toys.figures(40, 0)

    def made(seed: int) -> MotionClassifier | Autoencoder:
        if kind == "reader":
            return train_classifier(x, y, NAMES, root=0, epochs=2, seed=seed)
        return train_autoencoder(x, root=0, epochs=2, seed=seed)

    before = torch.random.get_rng_state()
    once, again, other = made(0), made(0), made(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert once.hash == again.hash != other.hash
    kept = request.getfixturevalue(kind)
    path = tmp_path / "below" / "it.safetensors"
    kept.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["it.safetensors"]
    loaded = type(kept).load(path)
    assert (loaded.hash, loaded.about, loaded.classes) == (kept.hash, kept.about, kept.classes)
    assert np.array_equal(loaded(x), kept(x))
    another = Autoencoder if kind == "reader" else MotionClassifier
    with pytest.raises(UserError, match=r"is not the .* of motion that can be read \(another net\); delete it"):
        another.load(path)


def test_a_damaged_file_is_refused(reader: MotionClassifier, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    reader.save(path)
    whole = path.read_bytes()
    for content in (
        whole[:-8],
        b"",
        whole.replace(b'"format\\":', b'"tamrof\\":'),
        whole.replace(b"hidden.", b"hiddex."),
    ):
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(UserError, match="is not the classifier of motion that can be read"):
            MotionClassifier.load(path)


@pytest.mark.parametrize("shape", [(2, 1, 2), (5, 3, 2), (48, 20, 3), (100, 2, 3), (17, 60, 3)])
def test_any_shape_and_few_clips(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, *shape)).astype(np.float32)
    x.flags.writeable = False
    seen: list[tuple[int, int]] = []
    found = train_classifier(x, rng.integers(0, 3, 7), "abc", epochs=2, progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)] and found.accuracy is None and found.calibration is None
    assert found.probabilities(x).shape == (7, 3) and np.isfinite(found(x)).all()
    drawn = train_autoencoder(x, x, epochs=2)
    assert np.isfinite(drawn(x)).all() and drawn.unexplained is not None and drawn.unexplained < 2
    with pytest.raises(ValueError, match="but the classifier was trained on"):
        found(x[:, 1:])


def test_clips_may_be_varied() -> None:
    """Turned by half about the vertical: a reader that saw both ways knows both."""
    x, y = toys.figures(160, 0)
    other, truth = toys.figures(150, 1)

    def either(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random((len(rows), 1, 1, 1)) < 0.5, x[rows], x[rows] * (-1, 1, -1))

    found = train_classifier(x, y, NAMES, root=0, epochs=10, varied=either)
    assert (found.probabilities(other * (-1, 1, -1)).argmax(1) == truth).mean() > 0.95


def test_what_cannot_be_learnt_is_refused() -> None:
    x, y = toys.figures(10, 0)
    for args in ((x[:1], y[:1], NAMES), (x, y[:9], NAMES)):
        with pytest.raises(ValueError, match="needs at least two, one label each"):
            train_classifier(*args)
    for labels, classes in ((y * 0, ("a",)), (y + 1, NAMES), (y - 1, NAMES)):
        with pytest.raises(ValueError, match=r"labels from -?\d to \d for \d classes"):
            train_classifier(x, labels, classes)
    with pytest.raises(ValueError, match="needs at least two"):
        train_autoencoder(x[:1])
    with pytest.raises(ValueError, match="one frame have no motion"):
        train_autoencoder(x[:, :1])


def test_the_work_is_counted_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first convolution alone: 2 x 9 x 3 + 3 channels to 64, kernel 3, over 23 steps."""
    x, y = toys.figures(20)
    about = motion_features._about(x, 0, NAMES)
    stages = [(57, 64, 23), (64, 96, 11), (96, 96, 5)]
    net = MotionClassifier.build(about)
    work = motion_features._work(net, about)
    assert work == sum(3 * a * b * n for a, b, n in stages) and net.training
    seen: list[int] = []
    monkeypatch.setattr(motion_features, "_WORK", 100 * work)
    train_classifier(x, y, NAMES, root=0, progress=lambda done, total: seen.append(total))
    assert seen[-1] == math.floor(100 / 20)

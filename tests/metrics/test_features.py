"""Extractors: preprocessing against Pillow's, the network only to the byte, and what each says of itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noisette.data import fetch
from noisette.errors import UserError
from noisette.metrics.distances import frechet
from noisette.metrics.features import Images, Inception, Pixels


def images(n: int, height: int, width: int, channels: int, seed: int = 0) -> Images:
    x = np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    x.flags.writeable = False  # as a memory-mapped data set is
    return x


@pytest.mark.parametrize(("height", "width", "channels"), [(32, 32, 3), (28, 28, 1), (96, 128, 3), (400, 320, 3)])
def test_inception_sees_what_pillow_resizes(height: int, width: int, channels: int) -> None:
    x = images(2, height, width, channels)
    found = Inception.prepare(torch.from_numpy(x.copy())).numpy()
    assert found.shape == (2, 3, 299, 299) and found.dtype == np.float32
    for image, seen in zip(x, found, strict=True):
        for c in range(3):
            plane = Image.fromarray(image[:, :, c % channels].astype(np.float32))
            large = np.asarray(plane.resize((299, 299), Image.Resampling.BICUBIC))
            assert np.abs(seen[c] - (large - 128) / 128).max() < 1e-6
    assert found.max() > 1  # overshoots stay


class Averages(torch.nn.Module):
    """Has the network's form of input and output: the means of 2048 patches of the first plane."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x[:, :1], (64, 32)).flatten(1)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "inception.pt"
    torch.jit.save(torch.jit.script(Averages()), str(path))
    monkeypatch.setattr(Inception, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit")
def test_inception_gives_the_networks_output_whatever_the_batch(network: Path) -> None:
    x = images(7, 20, 24, 3)
    extractor = Inception(network, batch=3)
    features = extractor(x)
    assert features.shape == (7, 2048) and features.dtype == np.float64
    with torch.inference_mode():
        expected = Averages()(Inception.prepare(torch.from_numpy(x.copy()))).double().numpy()
    assert np.abs(features - expected).max() < 1e-6
    assert extractor(x[:0]).shape == (0, 2048)
    assert extractor.probabilities(x) is None and extractor.classes == () and extractor.accuracy is None
    assert len(extractor.hash) == 16 and extractor.hash == Inception(network, batch=9).hash


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit")
def test_images_of_another_form_are_refused(network: Path) -> None:
    extractor = Inception(network)
    for x in (images(2, 8, 8, 2), images(2, 8, 8, 3).astype(np.float32), images(2, 8, 8, 3)[0]):
        with pytest.raises(ValueError, match=r"uint8 \(N, H, W, 1 or 3\)"):
            extractor(x)


def test_only_the_very_network_is_loaded(tmp_path: Path) -> None:
    assert fetch.INCEPTION.sha256 == Inception.SHA256
    with pytest.raises(UserError, match="No such file"):
        Inception(tmp_path / "inception.pt")
    (tmp_path / "inception.pt").write_bytes(b"something that would run")
    with pytest.raises(UserError, match="is not the Inception network of 2015-12-05"):
        Inception(tmp_path / "inception.pt")


def test_the_published_network() -> None:
    """What the very file gives, where it is at hand: in the folder NOISETTE_DATA, or in an installed package."""
    path = fetch.inception_at_hand()
    if path is None:
        pytest.skip("the Inception network is not at hand")
    ramp = np.arange(32, dtype=np.uint8)
    x = np.stack([np.broadcast_to(8 * ramp[:, None, None], (32, 32, 3)), np.full((32, 32, 3), 128, np.uint8)])
    features = Inception(path)(x)
    assert (features >= 0).all()
    assert features.mean(1) == pytest.approx([0.126796, 0.098334], abs=2e-5)  # as on one CPU; kernels differ in less


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (12, 3), (40, 1)])
def test_pixels_keep_what_varies(side: int, channels: int) -> None:
    x = images(300, side, side, channels)
    extractor = Pixels(x)
    features = extractor(x)
    assert features.shape == (300, 64) == (300, extractor.dim)
    small = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(x.copy()).permute(0, 3, 1, 2).double() / 255, min(side, 32)
    )
    flat = small.flatten(1).numpy()
    values = np.linalg.eigvalsh(np.cov(flat, rowvar=False))[::-1]
    assert np.allclose(features.var(0, ddof=1), values[:64], rtol=1e-6)
    assert np.allclose(extractor(x[5:6]), features[5:6])
    assert extractor.probabilities(x) is None


def test_pixels_of_few_or_equal_images() -> None:
    assert Pixels(images(5, 8, 8, 1)).dim == 4
    assert Pixels(np.zeros((5, 8, 8, 1), np.uint8)).dim == 1
    with pytest.raises(ValueError, match="on 1 images"):
        Pixels(images(1, 8, 8, 1))
    with pytest.raises(ValueError, match="fitted on"):
        Pixels(images(9, 8, 8, 1))(images(9, 9, 8, 1))


def test_pixels_are_known_by_their_reference() -> None:
    x = images(2000, 8, 8, 1)
    assert Pixels(x).hash == Pixels(x.copy()).hash
    assert len({Pixels(x).hash, Pixels(x[:1500]).hash, Pixels(x, 32).hash}) == 3
    other = images(2000, 8, 8, 1, seed=1)
    extractor = Pixels(x)
    dark = (other // 2).astype(np.uint8)
    assert frechet(extractor(x), extractor(dark)).low > 10 * frechet(extractor(x), extractor(other)).high

"""The suffix chooses; a wrong one is told before any work; files appear whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisette.errors import UserError
from noisette.tasks.generate import Frame, Samples
from noisette.views import export

MakeFrames = Callable[..., list[Frame]]
MakeSamples = Callable[..., Samples]


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("a.png", "samples", ".png"),
        ("a.NPZ", "samples", ".npz"),
        ("deep/er/a.npz", "samples", ".npz"),
        ("folder/", "samples", "/"),
        ("a.gif", "trajectory", ".gif"),
        ("a.webp", "trajectory", ".webp"),
        ("a.png", "forward", ".png"),
        ("a.npz", "forward", ".npz"),
    ],
)
def test_suffixes(tmp_path: Path, name: str, kind: export.Kind, found: str) -> None:
    assert export.check_suffix(f"{tmp_path}/{name}", kind) == found
    assert not list(tmp_path.iterdir())  # asking leaves nothing behind


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jpg", "samples"), ("a", "samples"), ("a.gif", "samples"), ("a/", "trajectory"), ("", "samples")],
)
def test_wrong_suffixes_name_the_right_ones(tmp_path: Path, name: str, kind: export.Kind) -> None:
    (tmp_path / "full").mkdir()
    with pytest.raises(UserError) as error:
        export.check_suffix(f"{tmp_path}/full/{name}" if name else "nothing", kind)
    assert "\n" not in str(error.value)
    for suffix in export.SUFFIXES[kind]:
        assert suffix in str(error.value)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    (tmp_path / "taken.png").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old.png").write_text("old")
    for name, kind, said in (
        ("file/a.png", "samples", "is a file, not a folder"),
        ("taken.png", "trajectory", "a folder is in the way"),
        ("full/", "samples", "not empty"),
        ("file/", "samples", "a file is in the way"),
    ):
        with pytest.raises(UserError, match=said):
            export.check_suffix(f"{tmp_path}/{name}", kind)  # type: ignore[arg-type]


def test_a_forbidden_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(UserError, match="cannot be written"):
        export.check_suffix(tmp_path / "a.png", "samples")


def test_samples_as_arrays(tmp_path: Path, make_samples: MakeSamples) -> None:
    samples = make_samples(5)
    with np.load(export.save_samples(samples, tmp_path / "s.npz")) as found:
        assert set(found) == {"x", "seeds", "labels", "classes"}
        assert found["x"].dtype == np.uint8 and np.array_equal(found["x"], samples.x)
        assert found["seeds"].tolist() == samples.seeds
        assert found["labels"].dtype == np.int64 and found["labels"].tolist() == [0, 1, 0, 1, 0]
        assert found["classes"].tolist() == ["cat", "dog"]
    with np.load(export.save_samples(make_samples(labelled=False), tmp_path / "u.npz")) as found:
        assert set(found) == {"x", "seeds"}


def test_samples_as_a_folder(tmp_path: Path, make_samples: MakeSamples) -> None:
    samples = make_samples(4, channels=3)
    folder = export.save_samples(samples, f"{tmp_path}/out/")
    assert sorted(p.name for p in folder.iterdir()) == [
        "000000-seed7-label0.png",
        "000001-seed8-label1.png",
        "000002-seed9-label0.png",
        "000003-seed10-label1.png",
    ]
    with Image.open(folder / "000003-seed10-label1.png") as image:
        assert np.array_equal(np.asarray(image), samples.x[3])
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    with pytest.raises(UserError, match="not empty"):
        export.save_samples(samples, f"{tmp_path}/out/")


def test_a_folder_that_fails_half_way_does_not_appear(
    tmp_path: Path, make_samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def full(picture: Image.Image) -> bytes:
        nonlocal written
        written += 1
        if written == 3:
            raise OSError(28, "No space left on device")
        return b"png"

    monkeypatch.setattr(export, "png", full)
    with pytest.raises(UserError, match="No space left"):
        export.save_samples(make_samples(), f"{tmp_path}/out/")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_leaves_the_old_one(
    tmp_path: Path, make_samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export.save_samples(make_samples(), tmp_path / "s.png")
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(UserError, match="No space left"):
        export.save_samples(make_samples(2), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.png"]


def test_a_grid_shows_class_names(tmp_path: Path, make_samples: MakeSamples) -> None:
    one = export.save_samples(make_samples(4), tmp_path / "a.png")
    two = export.save_samples(make_samples(4, labelled=False), tmp_path / "b.png")
    with Image.open(one) as labelled, Image.open(two) as plain:
        assert labelled.height > plain.height and labelled.mode == "L"


def test_class_names(make_samples: MakeSamples) -> None:
    samples = make_samples(3)
    samples.labels = np.array([1, -1, 9])
    assert export.class_names(samples) == ["dog", "any", "9"]
    assert export.class_names(make_samples(labelled=False)) is None


def test_a_trajectory_as_arrays_has_every_step(tmp_path: Path, make_frames: MakeFrames) -> None:
    frames = make_frames(steps=25, n=2)
    with np.load(export.save_trajectory(frames, tmp_path / "t.npz")) as found:
        assert found["x"].shape == (26, 2, 8, 8, 1) and found["x"].dtype == np.uint8
        assert np.array_equal(found["x"][13], frames[13].x)
        assert found["t"][0] == 1 and found["t"][-1] == 0
        assert found["labels"][0] == "t=25" and found["labels"][-1] == "t=0"
        assert np.array_equal(found["x0"][12], frames[13].x0)  # what was made of state 12 came with step 13
        assert found["signal"][-1] == 1


@pytest.mark.parametrize("suffix", ["png", "gif", "webp"])
def test_trajectories_as_pictures(tmp_path: Path, make_frames: MakeFrames, suffix: str) -> None:
    path = export.save_trajectory(make_frames(steps=30), tmp_path / "new" / f"t.{suffix}")
    with Image.open(path) as image:
        assert image.format == suffix.upper()
        assert getattr(image, "n_frames", 1) == (1 if suffix == "png" else 31)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_same_samples_give_the_same_bytes(tmp_path: Path, make_samples: MakeSamples) -> None:
    for suffix in ("png", "npz"):
        one, two = (export.save_samples(make_samples(), tmp_path / f"{k}.{suffix}") for k in "ab")
        assert one.read_bytes() == two.read_bytes()

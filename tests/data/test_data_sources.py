"""Sources: one suite for all that are registered, then what is particular to each."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import sys
import tarfile
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noisette.data import SOURCES, DataSpec, fetch, load, sources
from noisette.errors import UserError

N = 20


def pixels(channels: int = 1, side: int = 8, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (N, side, side, channels), dtype=np.uint8)


LABELS = np.arange(N) % 2 * 3  # 0, 3, 0, 3, ...


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(place: Path) -> Path:
    place.mkdir(parents=True)
    (place / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels()[..., 0])))
    (place / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    return place


def write_cifar(place: Path) -> Path:
    place.mkdir(parents=True)
    for k, half in enumerate((slice(0, 10), slice(10, 20)), start=1):
        rows = pixels(3, 32)[half].transpose(0, 3, 1, 2).reshape(10, 3072)
        batch = {b"data": rows, b"labels": LABELS[half].tolist(), b"batch_label": b"one", b"filenames": [b"a.png"] * 10}
        (place / f"data_batch_{k}").write_bytes(pickle.dumps(batch, protocol=2))
    return place


def make_digits(root: Path, patch: pytest.MonkeyPatch) -> str:
    table = np.concatenate([pixels(1, 28).reshape(N, 784), LABELS[:, None]], 1)
    text = "".join(",".join(map(str, row)) + "\n" for row in table.tolist())
    root.mkdir()
    path = root / fetch.DIGITS.name
    path.write_bytes(gzip.compress(text.encode()))
    patch.setattr(fetch, "DIGITS", replace(fetch.DIGITS, sha256=fetch.checksum(path, "sha256")[7:]))
    patch.setenv("NOISETTE_DATA", str(root))
    return "digits"


def make_mnist(root: Path, patch: pytest.MonkeyPatch) -> str:
    write_idx(root / "mnist")
    patch.setenv("NOISETTE_DATA", str(root))
    return "mnist"


def make_fashion(root: Path, patch: pytest.MonkeyPatch) -> str:
    write_idx(root / "fashion")
    patch.setenv("NOISETTE_DATA", str(root))
    return "Fashion_MNIST"


def make_cifar10(root: Path, patch: pytest.MonkeyPatch) -> str:
    root.mkdir()
    np.savez(root / "cifar10.npz", x_train=pixels(3, 32), y_train=LABELS % 10, x_test=pixels(3, 32), y_test=LABELS)
    patch.setenv("NOISETTE_DATA", str(root))
    return "cifar10"


class FakeTable:
    _fingerprint = "abc"

    def __init__(self) -> None:
        names = type("ClassLabel", (), {"names": ["ant", "bee"]})()
        self.features = {"picture": type("Image", (), {})(), "kind": names}

    def __len__(self) -> int:
        return N

    def __getitem__(self, at: Any) -> Any:
        if at == "kind":
            return [int(v > 0) for v in LABELS]
        return {"picture": Image.fromarray(pixels(3)[at])}


def make_hf(_: Path, patch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("datasets")
    module.load_dataset = lambda name: {"test": None, "train": FakeTable()}  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "datasets", module)
    return "hf:someone/insects"


def make_npy(root: Path, _: pytest.MonkeyPatch) -> str:
    root.mkdir()
    np.save(root / "x.npy", pixels(3))
    return str(root / "x.npy")


def make_npz(root: Path, _: pytest.MonkeyPatch) -> str:
    root.mkdir()
    np.savez(root / "x.npz", images=pixels()[..., 0], labels=LABELS)
    return str(root / "x.npz")


def make_idx(root: Path, _: pytest.MonkeyPatch) -> str:
    return str(write_idx(root) / "train-images-idx3-ubyte.gz")


def make_cifar_tar(root: Path, _: pytest.MonkeyPatch) -> str:
    write_cifar(root / "cifar-10-batches-py")
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(root / "cifar-10-batches-py", "cifar-10-batches-py")
    return str(root / "cifar-10-python.tar.gz")


def make_folder(root: Path, _: pytest.MonkeyPatch) -> str:
    for i, x in enumerate(pixels(3)):
        place = root / ("even", "odd")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(place / f"{i}.png")
    return str(root)


MAKE: dict[str, Callable[[Path, pytest.MonkeyPatch], str]] = {
    "digits": make_digits,
    "mnist": make_mnist,
    "fashion-mnist": make_fashion,
    "cifar10": make_cifar10,
    "hf": make_hf,
    "npy": make_npy,
    "npz": make_npz,
    "idx": make_idx,
    "cifar-tar": make_cifar_tar,
    "cifar-folder": lambda root, _: str(write_cifar(root)),
    "idx-folder": lambda root, _: str(write_idx(root)),
    "folder": make_folder,
}


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "image"])
def test_conformance(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = MAKE[name](tmp_path / "source", monkeypatch)
    assert sources.find(text).name == name
    seen: list[tuple[int, int]] = []
    data = load(DataSpec(text, held_out=0.2), progress=lambda done, total: seen.append((done, total)))
    n, height, width, channels = data.x.shape
    assert n == N == data.info["count"] and data.x.dtype == np.uint8 and data.x.flags.c_contiguous
    assert [width, height] == data.info["size"] and channels == data.info["channels"] and channels in (1, 3)
    expected = {tuple(p.reshape(-1)) for p in pixels(channels, height)}
    assert {tuple(x.reshape(-1)) for x in data.x} == expected
    if name == "npy":
        assert data.labels is None and data.classes == ()
    else:
        assert data.labels is not None and data.labels.dtype == np.int64
        assert sorted(np.bincount(data.labels)[np.unique(data.labels)]) == [10, 10]
        assert sum(data.info["per_class"].values()) == N and set(data.info["per_class"]) == set(data.classes)
        by_image = {tuple(p.reshape(-1)): v for p, v in zip(pixels(channels, height), LABELS, strict=True)}
        pairs = {(by_image[tuple(x.reshape(-1))], k) for x, k in zip(data.x, data.labels.tolist(), strict=True)}
        assert len(pairs) == 2  # labels may be renumbered, but each is of one class
    assert sorted([*data.train, *data.held_out]) == list(range(N)) and len(data.held_out) == 4
    assert data.info["skipped"] == [] and seen[-1] == (N, N)
    json.dumps(data.info)
    again = load(DataSpec(text, held_out=0.2))
    assert again.fingerprint == data.fingerprint and (again.x == data.x).all() and again.info == data.info
    small = load(DataSpec(text, image_size=5, limit=7, color="rgb"))
    assert small.x.shape == (7, 5, 5, 3) and small.fingerprint != data.fingerprint


def test_one_image_file(tmp_path: Path) -> None:
    Image.fromarray(pixels(3)[0]).save(tmp_path / "one.png")
    assert sources.find(str(tmp_path / "one.png")).name == "image"
    data = load(DataSpec(str(tmp_path / "one.png")))
    assert (data.x == pixels(3)[:1]).all() and data.labels is None and list(data.train) == [0]
    (tmp_path / "broken.jpg").write_text("not a picture")
    with pytest.raises(UserError, match=r"broken\.jpg"):
        load(DataSpec(str(tmp_path / "broken.jpg")))


def test_folder_labels_options_and_order(folder: Path) -> None:
    data = load(DataSpec(str(folder), classes=("dog", "cat"), per_class=4, seed=3))
    assert data.classes == ("dog", "cat") and data.info["per_class"] == {"dog": 4, "cat": 4}
    assert (load(DataSpec(str(folder), classes=("dog", "cat"), per_class=4, seed=3)).x == data.x).all()
    assert not (load(DataSpec(str(folder), classes=("dog", "cat"), per_class=4, seed=4)).x == data.x).all()
    only = load(DataSpec(str(folder), classes=("cat",)))
    assert len(only) == 6 and only.classes == ("cat",) and (only.labels == 0).all()


def test_folder_with_everything_wrong_in_it(folder: Path, picture: Callable[..., Image.Image]) -> None:
    (folder / "cat" / "empty.png").touch()
    (folder / "cat" / "text.jpg").write_text("not a picture")
    cut = (folder / "dog" / "dog0.png").read_bytes()
    (folder / "dog" / "cut.png").write_bytes(cut[: len(cut) // 2])
    (folder / "dog" / "nowhere.png").symlink_to(folder / "gone.png")
    (folder / "dog" / "loop").symlink_to(folder)
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.png").write_text("x")
    picture(seed=99).save(folder / "dog" / "no_ending", "PNG")
    data = load(DataSpec(str(folder)))
    assert len(data) == 13 and data.info["ignored"] == 1
    assert {s["file"] for s in data.info["skipped"]} == {
        "cat/empty.png",
        "cat/text.jpg",
        "dog/cut.png",
        "dog/nowhere.png",
    }
    assert all(s["reason"] and "\n" not in s["reason"] for s in data.info["skipped"])
    assert data.labels is not None and len(data.labels) == 13


def test_an_image_bomb_is_skipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (400, 400)).save(folder / "cat" / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    data = load(DataSpec(str(folder)))
    assert [s["file"] for s in data.info["skipped"]] == ["cat/bomb.png"] and len(data) == 12


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(UserError, match=r"none of its 1 images can be read"):
        load(DataSpec(str(tmp_path)))


def test_images_beside_class_folders(folder: Path, picture: Callable[..., Image.Image]) -> None:
    picture(seed=50).save(folder / "loose.png")
    data = load(DataSpec(str(folder)))
    assert len(data) == 13 and data.labels is None and "no class" in data.info["notes"][0]
    assert len(load(DataSpec(str(folder), classes=("cat", "dog")))) == 12


def test_a_train_folder_is_not_a_class(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    folder.rename(tmp_path / "set" / "train")
    (tmp_path / "set" / "test").mkdir()
    assert load(DataSpec(str(tmp_path / "set"))).classes == ("cat", "dog")


def test_mixed_sizes_get_a_sensible_one(folder: Path, picture: Callable[..., Image.Image]) -> None:
    for i in range(8):
        picture((90 + i, 50), seed=70 + i).save(folder / "cat" / f"wide{i}.png")
    data = load(DataSpec(str(folder)))
    assert data.x.shape[1:] == (8, 8, 3)  # the median short side is 10
    assert "8x8" in data.info["notes"][0] and data.info["original"]["landscape"] == 20


def test_grey_is_read_from_the_data(tmp_path: Path, picture: Callable[..., Image.Image]) -> None:
    for i in range(4):
        picture((16, 16), "L", seed=i).convert("RGB").save(tmp_path / f"{i}.jpg")
    grey = load(DataSpec(str(tmp_path)))
    assert grey.x.shape == (4, 16, 16, 1) and "grey" in grey.info["notes"][0]
    assert load(DataSpec(str(tmp_path), color="rgb")).x.shape[3] == 3
    picture((16, 16), seed=9).save(tmp_path / "colour.png")
    assert load(DataSpec(str(tmp_path))).x.shape == (5, 16, 16, 3)
    assert load(DataSpec(str(tmp_path), color="grayscale")).x.shape[3] == 1


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pixels() / 255.0, pixels()),
        ((pixels(3) / 127.5 - 1).astype(np.float32), pixels(3)),
        (pixels(3).transpose(0, 3, 1, 2), pixels(3)),
        (pixels()[..., 0].astype(np.int64), pixels()),
        (pixels()[..., 0] > 127, (pixels() > 127) * 255),
    ],
    ids=["unit", "signed", "channels first", "integers", "bool"],
)
def test_arrays_of_every_range(array: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    assert (load(DataSpec(str(tmp_path / "x.npy"))).x == expected).all()


def test_class_names_in_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=pixels(3), y=LABELS // 3, classes=["no", "yes"])
    assert load(DataSpec(str(tmp_path / "x.npz"), classes=("yes",))).info["per_class"] == {"yes": 10}
    np.savez(tmp_path / "t.npz", x=pixels(3), y=np.where(LABELS, "yes", "no"))
    assert load(DataSpec(str(tmp_path / "t.npz"))).classes == ("no", "yes")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((30, 20, 3))}, "is not images.*--data.medium motion"),
        ({"x": np.zeros((30, 20, 3)), "length": np.ones(3)}, "motion"),
        ({"x": np.full((3, 8, 8), np.nan)}, "finite"),
        ({"x": np.full((3, 8, 8), 1000.0)}, "values from 1000"),
        ({"x": np.zeros((0, 8, 8))}, "no image"),
        ({"x": pixels(), "y": np.zeros(3)}, "3 labels for 20"),
        ({"pictures": pixels()}, "it holds pictures"),
        ({"x": np.array([{}, []], dtype=object)}, "not a readable"),
    ],
)
def test_arrays_that_are_not_images(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message):
        load(DataSpec(str(tmp_path / "x.npz")))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x-images-idx3-ubyte.gz", "x.tar.gz", "x-idx3-ubyte"])
def test_garbage_in_every_container(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8bgarbage")
    with pytest.raises(UserError) as caught:
        load(DataSpec(str(tmp_path / name)))
    assert "\n" not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("minst", 'no data set named "minst".*did you mean "mnist"'),
        ("qqqq", "known: cifar10, digits"),
        ("{folder}/catt", r'no such file or folder; did you mean ".*cat"'),
        ("{folder}/notes.txt", "not a kind of file"),
        ("{folder}/void", "no image in it"),
    ],
)
def test_what_is_not_there(text: str, message: str, folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / "void").mkdir()
    with pytest.raises(UserError, match=message):
        load(DataSpec(text.format(folder=folder)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("cats",)}, r'no class "cats"; did you mean "cat"\? \(available: cat, dog\)'),
        ({"classes": ("zebra",)}, r'no class "zebra"; known: cat, dog$'),
        ({"classes": ("cat", "cat")}, "named twice"),
        ({"image_size": 0}, "image_size must be"),
        ({"held_out": 1.0}, "held_out"),
        ({"color": "gray"}, 'did you mean "grayscale"'),
        ({"per_class": 0}, "per_class"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(UserError, match=message):
        load(DataSpec(str(folder), **options))


def test_classes_without_labels(folder: Path) -> None:
    with pytest.raises(UserError, match="no classes"):
        load(DataSpec(str(folder / "cat"), per_class=2))


def test_the_hub_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r'pip install "noisette\[hf\]"'):
        load(DataSpec("hf:someone/something"))


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('it ran')",))


@pytest.mark.parametrize(
    "content",
    [
        {b"data": Evil(), b"labels": [1]},
        {b"data": np.array([Evil()], dtype=object), b"labels": [1]},
        {b"data": np.zeros((2, 3), np.uint8), b"labels": [1]},
        [1, 2],
    ],
    ids=["call", "call inside an array", "wrong shape", "no dictionary"],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_is_never_run(content: Any, protocol: int, tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(UserError, match="data_batch_1"):
        load(DataSpec(str(tmp_path)))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_honest_pickles_of_every_protocol(protocol: int) -> None:
    from noisette.data.pickles import load_arrays

    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for given in (array, np.asfortranarray(array)):
        out = load_arrays(pickle.dumps({"data": given, "labels": [1, 2, 3], "n": b"x"}, protocol=protocol), "t")
        assert (out["data"] == array).all() and out["labels"] == [1, 2, 3] and out["n"] == b"x"


def test_a_pickle_from_python_2() -> None:
    from noisette.data.pickles import load_arrays

    buffer = io.BytesIO()
    buffer.write(
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x02K\x02"
    )
    buffer.write(
        b"\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04abcdtbs."
    )
    assert load_arrays(buffer.getvalue(), "t")["data"].tolist() == [[97, 98], [99, 100]]


def test_one_file_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The named set knows what its classes are called, the path does not, and neither hides the other in the cache."""
    make_fashion(tmp_path, monkeypatch)
    by_path, by_name = load(DataSpec(str(tmp_path / "fashion"))), load(DataSpec("fashion-mnist"))
    assert set(by_path.classes) == {"0", "3"} or set(by_path.classes) >= {"0"}
    assert set(by_name.classes) <= set(sources.FASHION_CLASSES) and (by_path.x == by_name.x).all()

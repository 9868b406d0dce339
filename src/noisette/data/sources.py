"""Where data comes from: a registry of sources, each recognised by its name or by the shape of its path."""

from __future__ import annotations

import difflib
import gzip
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data import arrays, fetch, images
from noisette.errors import UserError, nearest


@dataclass
class Content:
    """A source's images before decoding.

    images   (N, H, W, C) uint8 array, or a sequence of paths or of opened images
    labels   (N,) int64 into `classes`; -1 where an image has none; or None
    names    what to call each image in messages
    version  hash of content, where it is not to be had from the files
    threads  whether `images` may be read by several threads
    """

    images: NDArray[np.uint8] | Sequence[Any]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    names: Sequence[str] | None = None
    version: str | None = None
    ignored: int = 0
    notes: list[str] = field(default_factory=list)
    threads: bool = True


@dataclass
class Opened:
    """A source that was found. `files` are the containers that hold all of it (empty for a folder of images)."""

    files: list[Path]
    read: Callable[[], Content]


@dataclass(frozen=True)
class Source:
    """One kind of source. `matches` is cheap and takes what the user typed; `open` raises UserError."""

    name: str
    summary: str
    matches: Callable[[str], bool]
    open: Callable[[str], Opened]
    named: bool = False


SOURCES: dict[str, Source] = {}
"""Every source, in the order in which they are tried."""


def register(source: Source) -> Source:
    """Adds a source to the registry; the first one that matches is taken."""
    SOURCES[source.name] = source
    return source


def find(text: str) -> Source:
    """The source that `text` means. Raises UserError, naming the nearest name or path, when there is none."""
    if not text.strip():
        raise UserError("no data given: name a folder, a file, or digits, mnist, fashion-mnist, cifar10")
    for source in SOURCES.values():
        if source.matches(text):
            return source
    path = Path(text).expanduser()
    names = [s.name for s in SOURCES.values() if s.named]
    if path.exists():
        known = "an image, .npy, .npz, idx .gz, cifar-10 .tar.gz, or a folder"
        raise UserError(f"{text}: not a kind of file that is read as images; known: {known}")
    if os.sep not in text and not path.suffix:
        raise UserError(f'no data set named "{text}" and no such folder{nearest(text, names)}')
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.6)
    raise UserError(
        f"{text}: no such file or folder" + (f'; did you mean "{path.with_name(close[0])}"?' if close else "")
    )


def _called(*names: str) -> Callable[[str], bool]:
    return lambda text: re.sub(r"[\s_-]", "", text.lower()) in names


def _array(read: Callable[[], arrays.Labelled]) -> Callable[[], Content]:
    return lambda: Content(*read())


def _file(text: str, *endings: str) -> bool:
    return text.lower().endswith(endings) and Path(text).expanduser().is_file()


# --- by name ---------------------------------------------------------------------------------------------------------

FASHION_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def _read_digits(path: Path) -> arrays.Labelled:
    with gzip.open(path, "rt") as file:
        table = np.fromstring(file.read().replace("\n", ","), dtype=np.int64, sep=",").reshape(-1, 785)
    x = table[:, :784].astype(np.uint8).reshape(-1, 28, 28, 1)
    return x, table[:, 784].copy(), tuple("0123456789")


def _open_digits(_: str) -> Opened:
    path = fetch.digits_file()
    return Opened([path], _array(partial(_read_digits, path)))


def _open_named(name: str, classes: tuple[str, ...]) -> Opened:
    path = fetch.named_set(name)
    if path.is_dir() and name != "cifar10":
        return _open_idx_folder(path, classes)
    return _open_cifar(str(path)) if path.suffix != ".npz" else _open_npz(path, classes)


def _open_npz(path: Path, classes: tuple[str, ...] = ()) -> Opened:
    def read() -> Content:
        x, labels, own = arrays.read_npz(path)
        if labels is not None and classes and own == tuple(str(k) for k in range(len(classes))):
            own = classes
        return Content(x, labels, own)

    return Opened([path], read)


register(Source("digits", "5,000 handwritten digits, 28x28, grey", _called("digits"), _open_digits, named=True))
register(
    Source(
        "mnist",
        "60,000 handwritten digits, 28x28, grey; downloaded",
        _called("mnist"),
        lambda _: _open_named("mnist", tuple("0123456789")),
        named=True,
    )
)
register(
    Source(
        "fashion-mnist",
        "60,000 pieces of clothing, 28x28, grey; downloaded",
        _called("fashionmnist", "fashion"),
        lambda _: _open_named("fashion-mnist", FASHION_CLASSES),
        named=True,
    )
)
register(
    Source(
        "cifar10",
        "50,000 photos of 10 kinds of things, 32x32, colour; downloaded",
        _called("cifar10", "cifar"),
        lambda _: _open_named("cifar10", arrays.CIFAR10_CLASSES),
        named=True,
    )
)


# --- from a hub, behind an extra -------------------------------------------------------------------------------------


class _HubImages(Sequence[Any]):
    def __init__(self, table: Any, column: str) -> None:
        self.table, self.column = table, column

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, at: Any) -> Any:
        return self.table[int(at)][self.column]


def _open_hub(text: str) -> Opened:
    try:
        import datasets  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise UserError(f'{text} needs the "datasets" package: pip install "noisette[hf]"') from None
    name = text.removeprefix("hf:")

    def read() -> Content:
        try:
            splits = datasets.load_dataset(name)
        except Exception as error:  # network, name and format errors are of many classes there
            raise UserError(f"{text}: {arrays.first_line(error)}") from None
        split = "train" if "train" in splits else next(iter(splits))
        table = splits[split]
        kinds = {column: type(feature).__name__ for column, feature in table.features.items()}
        column = next((c for c, kind in kinds.items() if kind == "Image"), None)
        if column is None:
            raise UserError(f"{text}: no column of images; it has {', '.join(kinds)}")
        label = next((c for c, kind in kinds.items() if kind == "ClassLabel"), None)
        labels = None if label is None else np.asarray(table[label], dtype=np.int64)
        classes = () if label is None else tuple(table.features[label].names)
        notes = [] if split == "train" else [f"there is no split called train: {split} was taken"]
        version = f"{name}/{split}/{table._fingerprint}"
        return Content(_HubImages(table, column), labels, classes, None, version, notes=notes, threads=False)

    return Opened([], read)


register(Source("hf", "hf:owner/name, from the Hugging Face hub", lambda text: text.startswith("hf:"), _open_hub))


# --- by the shape of the path ----------------------------------------------------------------------------------------


def _idx_images_in(path: Path) -> Path | None:
    for name in ("train-images-idx3-ubyte", "train-images.idx3-ubyte"):
        for file in (path / f"{name}.gz", path / name):
            if file.is_file():
                return file
    return None


def _open_idx(images_file: Path, classes: tuple[str, ...] = ()) -> Opened:
    beside = arrays.idx_labels_of(images_file)
    files = [images_file] if beside is None else [images_file, beside]
    return Opened(files, _array(lambda: arrays.read_idx_pair(images_file, classes)))


def _open_idx_folder(path: Path, classes: tuple[str, ...] = ()) -> Opened:
    file = _idx_images_in(path)
    if file is None:
        raise UserError(f"{path}: no train-images-idx3-ubyte.gz in it")
    return _open_idx(file, classes)


def _cifar_folder(text: str) -> Path | None:
    path = Path(text).expanduser()
    return next((p for p in (path, path / "cifar-10-batches-py") if (p / "data_batch_1").is_file()), None)


def _open_cifar(text: str) -> Opened:
    folder, path = _cifar_folder(text), Path(text).expanduser()
    if folder is None:
        return Opened([path], _array(lambda: arrays.read_cifar(path)))
    files = [f for n in arrays.CIFAR_BATCHES if (f := folder / n).is_file()]
    return Opened(files, _array(lambda: arrays.read_cifar(folder)))


def _is_idx(text: str) -> bool:
    return bool(re.search(r"idx\d-ubyte(\.gz)?$", text)) and Path(text).expanduser().is_file()


def _path(text: str) -> Path:
    return Path(text).expanduser()


register(Source("npy", "an array of images in a .npy file", lambda t: _file(t, ".npy"), lambda t: _open_npy(_path(t))))
register(
    Source("npz", "arrays of images and labels in a .npz", lambda t: _file(t, ".npz"), lambda t: _open_npz(_path(t)))
)
register(Source("idx", "idx images, labels beside them", _is_idx, lambda t: _open_idx(_path(t))))
register(Source("cifar-tar", "CIFAR-10 as published", lambda t: _file(t, ".tar.gz", ".tgz", ".tar"), _open_cifar))
register(Source("cifar-folder", "CIFAR-10, unpacked", lambda t: _cifar_folder(t) is not None, _open_cifar))
register(
    Source(
        "idx-folder",
        "a folder with the idx files of a train split",
        lambda t: _idx_images_in(_path(t)) is not None,
        lambda t: _open_idx_folder(_path(t)),
    )
)


def _open_npy(path: Path) -> Opened:
    return Opened([path], _array(lambda: arrays.read_npy(path)))


_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


register(
    Source(
        "image",
        "one image file",
        lambda t: _file(t, *images.extensions()),
        lambda t: Opened([], lambda: Content([_path(t)], names=[_path(t).name])),
    )
)


def _open_folder(text: str) -> Opened:
    return Opened([], lambda: _list_folder(_path(text)))


def _list_folder(root: Path) -> Content:
    """The images under a folder; the folders on its first level are the classes, where every image lies in one."""
    notes = []
    try:
        inside = {p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")}
    except OSError as error:
        raise UserError(f"{root}: the folder cannot be read ({error.strerror})") from None
    train = next((n for n in ("train", "training") if n in inside), None)
    if train is not None and inside <= _SPLITS:
        root, notes = root / train, [f"only the folder {train} was read"]
    files, ignored = _walk(root)
    if not files:
        raise UserError(f"{root}: no image in it" + (f" ({ignored} other files)" if ignored else ""))
    relative = [p.relative_to(root) for p in files]
    first = [p.parts[0] if len(p.parts) > 1 else None for p in relative]
    classes = tuple(sorted({c for c in first if c is not None}, key=_natural))
    labels = np.array([-1 if c is None else classes.index(c) for c in first], dtype=np.int64)
    return Content(files, labels, classes, [p.as_posix() for p in relative], ignored=ignored, notes=notes)


def _walk(root: Path) -> tuple[list[Path], int]:
    """Image files under root in a fixed order, and the number of other files; links are followed, loops are not."""
    endings, files, ignored = images.extensions(), [], 0
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted((f for f in folders if not f.startswith((".", "__MACOSX"))), key=_natural)
        for name in sorted((n for n in names if not n.startswith(".")), key=_natural):
            path = Path(place, name)
            if path.suffix.lower() in endings or (not path.suffix and _looks_like_image(path)):
                files.append(path)
            else:
                ignored += 1
    return files, ignored


def _looks_like_image(path: Path) -> bool:
    try:
        images.header(path)
    except Exception:  # whatever a file that is no image raises
        return False
    return True


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts img2 before img10."""
    return [(0, int(t), "") if t.isdecimal() else (1, 0, t) for t in re.split(r"(\d+)", text)]


register(Source("folder", "a folder of images; its folders are classes", lambda t: _path(t).is_dir(), _open_folder))

"""The folder of decoded data: $NOISETTE_CACHE, or ~/.cache/noisette. Everything in it can be deleted at any time.

    images/<key>/x.npy  labels.npy  digests.npy  meta.json     decoded images
    downloads/<name>/...                                       files fetched by name

An entry is built under a temporary name and renamed when it is whole. One that does not read back is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE = 256 * 2**20
"""Bytes of pixels above which an array lives in a file and is memory-mapped."""

FORMAT = 1
"""Part of every key: raised when decoding changes, so that older entries are no longer found."""


@dataclass
class Entry:
    """What is cached: x (N, H, W, C) uint8, labels (N,) int64 or None, digests (N, 16) uint8, meta (JSON)."""

    x: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    digests: NDArray[np.uint8]
    meta: dict[str, Any]


def folder() -> Path | None:
    """The cache folder, made if need be; None where there is none to be had (no home, no right to read)."""
    try:
        named = os.environ.get("NOISETTE_CACHE")
        path = Path(named).expanduser() if named else Path.home() / ".cache" / "noisette"
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return path if os.access(path, os.R_OK | os.X_OK) else None


def writable() -> Path | None:
    """The cache folder where something can be put into it: a shared one may be there to be read alone."""
    path = folder()
    return path if path is not None and os.access(path, os.W_OK) else None


def key(*parts: Any) -> str:
    """Name of an entry: a hash of what its pixels depend on."""
    return hashlib.blake2b(json.dumps([FORMAT, *parts]).encode(), digest_size=16).hexdigest()


def relative(name: str) -> str:
    """An entry's path inside the cache folder."""
    return f"images/{name}"


def digest_rows(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, ...) uint8 -> (N, 16) uint8: one hash per image."""
    out = bytearray()
    for row in x:
        out += hashlib.blake2b(row.tobytes(), digest_size=16).digest()
    return np.frombuffer(out, np.uint8).reshape(len(x), 16)


def fingerprint(entry: Entry) -> str:
    """Hash of shape, pixels, labels and class names, 32 hex digits."""
    state = hashlib.blake2b(digest_size=16)
    state.update(json.dumps([list(entry.x.shape), entry.meta["classes"]]).encode())
    state.update(np.ascontiguousarray(entry.digests))
    if entry.labels is not None:
        state.update(np.ascontiguousarray(entry.labels, dtype="<i8"))
    return state.hexdigest()


def digest_files(paths: list[Path], names: list[str]) -> str:
    """Hash of names and bytes of files, read by several threads.

    Above LARGE bytes in all, the result is remembered under the files' paths, sizes and times of change, so that a
    large set that did not change is not read again at every start.
    """
    stats = [_stat(p) for p in paths]
    memo = None
    if sum(s[0] for s in stats) > LARGE and (home := folder()):
        listing = [[n, str(p.resolve()), *s] for n, p, s in zip(names, paths, stats, strict=True)]
        memo = home / "digests" / key(listing)
        with contextlib.suppress(OSError):
            known = memo.read_text()
            if len(known) == 32:
                return known
    state = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for name, content in zip(names, pool.map(_digest_file, paths), strict=True):
            state.update(json.dumps([name, content]).encode())
    result = state.hexdigest()
    if memo:
        with contextlib.suppress(OSError):
            write(memo, result.encode())
    return result


def _stat(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # a link to nowhere: decoding will say so
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _digest_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        return f"unreadable: {type(error).__name__}"


def part(path: Path) -> Path:
    """A name beside `path` that nothing else uses, to write to before renaming."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def write(path: Path, content: bytes) -> None:
    """Writes a file atomically: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = part(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(name: str) -> Entry | None:
    """The entry, or None where it is absent or damaged.

    Below LARGE every pixel is checked against its hash; a memory-mapped entry is checked for form and size only.
    """
    home = folder()
    if home is None or not (place := home / relative(name)).is_dir():
        return None
    try:
        meta = json.loads((place / "meta.json").read_text())
        x = _open(place / "x.npy")
        mapped = isinstance(x, np.memmap)
        digests = np.load(place / "digests.npy", mmap_mode="r" if mapped else None, allow_pickle=False)
        labels = np.load(place / "labels.npy", allow_pickle=False) if meta["labelled"] else None
        entry = Entry(x, labels, digests, meta)
        whole = x.dtype == np.uint8 and x.ndim == 4 and digests.shape == (len(x), 16)
        whole = whole and (labels is None or labels.shape == (len(x),)) and fingerprint(entry) == meta["fingerprint"]
        if whole and not mapped:
            whole = np.array_equal(digest_rows(x), digests)
        return entry if whole else None
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _open(path: Path) -> NDArray[np.uint8]:
    large = path.stat().st_size > LARGE
    x: NDArray[np.uint8] = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    return x


@contextlib.contextmanager
def workspace(name: str) -> Iterator[Path | None]:
    """A temporary folder inside the cache to build an entry in, gone afterwards; None where there is no cache.

    What a killed process left behind more than a day ago is swept out.
    """
    home = writable()
    made: Path | None = None
    if home is not None:
        with contextlib.suppress(OSError):
            (home / "images").mkdir(exist_ok=True)
            for old in (home / "images").glob(".*.part"):
                if time.time() - old.stat().st_mtime > 86400:
                    shutil.rmtree(old, ignore_errors=True)
            made = part(home / "images" / name)
            made.mkdir()
    try:
        yield made
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def allocate(shape: tuple[int, ...], place: Path | None, name: str) -> NDArray[np.uint8]:
    """An empty uint8 array: in memory, or in the file place/name when it is large, and there is a place with room."""
    if place is not None and int(np.prod(shape)) > LARGE:
        with contextlib.suppress(OSError):
            return _mapped(place / name, shape)
        (place / name).unlink(missing_ok=True)
    return np.empty(shape, np.uint8)


def _mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A new file for an array. Raises OSError where the disk has no room: a file with holes would kill the process at
    the first page that does not fit."""
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return x


def commit(place: Path, name: str, entry: Entry) -> Entry:
    """Makes the entry in the workspace `place` permanent and opens it. Raises OSError where the disk refuses."""
    if not isinstance(entry.x, np.memmap):
        np.save(place / "x.npy", entry.x)
    else:
        entry.x.flush()
        if (current := Path(str(entry.x.filename))).name != "x.npy":
            current.replace(place / "x.npy")
    np.save(place / "digests.npy", entry.digests)
    if entry.labels is not None:
        np.save(place / "labels.npy", entry.labels)
    (place / "meta.json").write_text(json.dumps(entry.meta))
    for file in place.iterdir():
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
    target = place.parent / name
    if target.exists():
        if (other := read(name)) is not None:  # another process was faster
            return other
        shutil.rmtree(target, ignore_errors=True)
    place.rename(target)
    x, digests = _open(target / "x.npy"), entry.digests
    if isinstance(x, np.memmap):
        digests = np.load(target / "digests.npy", mmap_mode="r", allow_pickle=False)
    return Entry(x, entry.labels, digests, entry.meta)

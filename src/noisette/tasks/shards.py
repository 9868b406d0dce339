"""Samples that are drawn to be measured: in shards on disk, so that a broken-off evaluation goes on where it stopped,
a larger one keeps what is there, and a second extractor costs no sampling."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Stored
from noisette.diffusion import samplers
from noisette.experiment import build
from noisette.experiment.config import SECTIONS, Config, SampleConfig
from noisette.experiment.runs import Run, atomic
from noisette.tasks.generate import draw, labels_for

SHARD = 72
"""Samples in a shard, and in a batch of the net: on two cores larger batches gain little, smaller ones lose a third."""

FORMAT = 2
"""Part of every key: raised when the same settings no longer give the same samples."""


@dataclass(frozen=True)
class Model:
    """A run's weights, ready to sample: which they are, and a hash of them. (A GAN's "denoiser" is its generator.)

    Never compiled: a compiled net rounds differently, and samples that are kept must not depend on how long a job
    seemed to be.
    """

    run: Run
    denoiser: build.Model
    weights: str
    step: int
    hash: str

    @classmethod
    def open(cls, run: Run, weights: str = "ema", at: int | None = None) -> Model:
        """Raises UserError for a checkpoint or kind of weights that is not there, or is damaged."""
        denoiser, step = build.trained(run, weights, at)
        return cls(run, denoiser, weights, step, run.checkpoint(step).digest(weights))

    @property
    def labelled(self) -> bool:
        return build.conditional(self.run.config, self.run.shape)


@dataclass
class Drawn:
    """Samples of seeds seed, seed + 1, ...: x as samples are kept, labels (N,) or None, seconds of drawing them all,
    and the files that they lie in, `SHARD` samples each."""

    x: Stored
    labels: NDArray[np.int64] | None
    seed: int
    seconds: float
    files: list[Path]

    def __len__(self) -> int:
        return len(self.x)

    def measured(self, name: str, measure: Callable[[Stored], NDArray[np.float64]]) -> NDArray[np.float64]:
        """measure(x) of every sample, (N, D), kept beside the samples under this name."""
        parts = []
        for k, file in enumerate(self.files):
            place, part = file.with_suffix(f".{name}.npy"), self.x[k * SHARD : (k + 1) * SHARD]
            found = _array(place)
            if found is None or len(found) < len(part):
                found = measure(part)
                with atomic(place) as out:
                    np.save(out, found, allow_pickle=False)
            parts.append(found[: len(part)])
        return np.concatenate(parts)


def calls(settings: SampleConfig, labelled: bool) -> int:
    """Images that go through the net for one sample: guidance doubles them."""
    doubled = labelled and settings.guidance not in (0, 1)
    return samplers.network_calls(settings.sampler, settings.steps) * (2 if doubled else 1)


def drawn(
    model: Model, settings: SampleConfig, n: int, seed: int = 0, progress: Callable[[int], None] = lambda done: None
) -> Drawn:
    """n samples with these settings, from the run folder as far as they are there, else drawn now.

    Args:
        progress: called with the number of samples that are ready.
    """
    run, shape = model.run, model.run.shape
    key = _key(model, settings)
    xs, labels, files, seconds = [], [], [], 0.0
    for first in range(seed, seed + n, SHARD):
        seeds = list(range(first, first + SHARD))
        told = labels_for(run, seeds, None)
        file = run.eval_shards / key / f"seed-{first:010d}.npz"
        kept = _kept(file, (SHARD, *shape.medium.stored), shape.medium.dtype)
        if kept is None:
            begun = time.perf_counter()
            x, _ = draw(model.denoiser, settings, shape, seeds, told, chunk=SHARD)
            kept = x, time.perf_counter() - begun
            _keep(file, *kept)
        xs.append(kept[0])
        seconds += kept[1]
        files.append(file)
        if told is not None:
            labels.append(told)
        progress(min(n, first + SHARD - seed))
    return Drawn(np.concatenate(xs)[:n], np.concatenate(labels)[:n] if labels else None, seed, seconds, files)


def missing(model: Model, settings: SampleConfig, n: int, seed: int = 0) -> int:
    """How many samples `drawn` would have to draw, in whole shards."""
    folder = model.run.eval_shards / _key(model, settings)
    return sum(SHARD for first in range(seed, seed + n, SHARD) if not (folder / f"seed-{first:010d}.npz").exists())


def _key(model: Model, settings: SampleConfig) -> str:
    """Names a folder after everything that the samples depend on except their seeds."""
    said = json.dumps(
        [
            FORMAT,
            SHARD,
            model.hash,
            _mattering(model.run.config),
            settings.model_dump(mode="json"),
            str(model.denoiser.dtype),
            model.run.config.train.layout,
        ],
        sort_keys=True,
    )
    name = settings.label.replace(":", "-").replace(" ", "-")
    return f"{name}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def _mattering(config: Config) -> dict[str, Any]:
    """The settings that decide what weights draw. Those that came later count where they are not as usual, so that
    what was drawn before there were any is found again."""
    tree = config.model_dump(mode="json", include={"schedule", *LATER})
    for section, keys in LATER.items():
        usual = SECTIONS[section]().model_dump(mode="json", include=set(keys))
        tree[section] = {key: value for key, value in tree[section].items() if key not in keys or value != usual[key]}
    return tree


LATER = {
    "net": ("backbone", "resample", "padding_mode", "expand", "skip"),
    "objective": ("velocity", "bones", "contact"),
}
"""Settings that are younger than the keys of shards."""


def _kept(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Stored, float] | None:
    """What a shard holds; None where it is absent or damaged."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            x, seconds = found["x"], float(found["seconds"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return (x, seconds) if x.shape == shape and x.dtype == dtype else None


def _keep(file: Path, x: Stored, seconds: float) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, x=x, seconds=np.float64(seconds))
    with atomic(file) as out:
        out.write(packed.getvalue())


def _array(file: Path) -> NDArray[np.float64] | None:
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 else None

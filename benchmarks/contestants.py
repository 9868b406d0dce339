"""Who runs the race to quality on handwritten digits without labels, and how each trains and samples.

Ours is `noisette train DATA --net.conditional false --minutes M`, every other setting the product's own; its learning
rate follows the budget, so it is trained anew for each. A peer (see peers.py) trains once for the longest budget, and
its weights are kept as each shorter one ends; its rate is its own example's, over as many steps as a short trial says
that the longest budget holds. Where its example offers an average of the weights, that is made too, off the clock.

Only training is on the clock: of a peer its steps alone, the batches lying ready in memory; of ours the whole of
training, with the trials, looks at samples, held-out losses and checkpoints that come with it.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from peers import Diffusers, Peer, Plain
from torch import Tensor

from noisette.data import DataSpec, load
from noisette.data.stream import to_bytes
from noisette.experiment.config import merge
from noisette.experiment.runs import Run
from noisette.tasks import train
from noisette.tasks.generate import generate

Images = NDArray[np.uint8]

OURS = "noisette"
CHUNK = 64
"""Images of a peer that are drawn together."""

TABLES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
"""What diffusers' schedulers call the betas of the peers."""


@dataclass(frozen=True)
class Contestant:
    """A peer at one size: arguments of its `build` and of itself, images in a batch, whether its example averages."""

    peer: type[Peer]
    net: Mapping[str, Any]
    batch: int
    note: str
    averages: bool = False
    betas: str = "linear"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """All that its training depends on, as JSON."""
        settings = {key: value for key, value in vars(self).items() if key not in ("peer", "note")}
        return {"peer": self.peer.__name__, "version": self.peer.version(), **settings}

    def make(self, steps: int) -> Peer:
        """A fresh one, about to train for so many steps; always with the same weights."""
        torch.manual_seed(0)
        return self.peer(self.peer.build(1, 28, **self.net), steps, **self.arguments)


CONTESTANTS = {
    "diffusers": Contestant(
        Diffusers,
        {"widths": (64, 64, 128), "attention": (2,)},
        batch=16,
        note="train_unconditional.py with its default options and --use_ema; the U-Net's first three levels that "
        "28x28 can be halved for, attention at 7x7",
        averages=True,
    ),
    "diffusers, small": Contestant(
        Diffusers,
        {"widths": (32, 64, 64), "attention": (1, 2)},
        batch=16,
        note="the same script with the U-Net that the Hugging Face course uses for 28x28",
        averages=True,
    ),
    "plain script": Contestant(
        Plain,
        {"widths": (48, 96, 192)},
        batch=128,
        note="a DDPM in one page: cosine betas, Adam 1e-3, float32",
        betas="cosine",
        arguments={"schedule": "cosine"},
    ),
}


def tiny() -> dict[str, Contestant]:
    """Nets that cost nothing."""
    return {
        name: Contestant(c.peer, c.peer.smallest, 8, c.note, c.averages, c.betas, c.arguments)
        for name, c in CONTESTANTS.items()
    }


# --- peers --------------------------------------------------------------------------------------------------------


def batches(x: Tensor, size: int, seed: int = 0) -> Iterator[Tensor]:
    """Endlessly: every image once an epoch in a new order, whole batches only."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(x), generator=generator)
        for rows in order.split(min(size, len(x)))[: max(1, len(x) // size)]:
            yield x[rows]


def pace(contestant: Contestant, x: Tensor, seconds: float = 5.0) -> float:
    """Steps a second: the first three do not count."""
    peer, stream = contestant.make(1000), batches(x, contestant.batch)
    for batch in itertools.islice(stream, 3):
        peer.step(batch)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        peer.step(next(stream))
        count += 1
    return count / (time.perf_counter() - begun)


def train_peer(contestant: Contestant, x: Tensor, minutes: Sequence[float], files: Sequence[Path]) -> None:
    """Trains for the longest of `minutes` (rising), and writes weights and counters to `files` as each one ends.

    x: (N, 1, 28, 28) in [-1, 1].
    """
    steps = math.ceil(pace(contestant, x, min(5.0, 60 * minutes[-1])) * 60 * minutes[-1])
    peer = contestant.make(steps)
    average = _average(peer) if contestant.averages else None
    busy, done, stream = 0.0, 0, batches(x, contestant.batch)
    for budget, file in zip(minutes, files, strict=True):
        while busy < 60 * budget:
            batch = next(stream)
            begun = time.perf_counter()
            peer.step(batch)
            busy += time.perf_counter() - begun
            done += 1
            if average:
                average.step(peer.net.parameters())
        kept: dict[str, Any] = {"raw": _state(peer), "planned": steps}
        kept |= {"steps": done, "images": done * contestant.batch, "seconds": busy}
        if average:
            average.store(peer.net.parameters())
            average.copy_to(peer.net.parameters())
            kept["ema"] = _state(peer)
            average.restore(peer.net.parameters())
        part = file.with_suffix(".part")
        torch.save(kept, part)
        part.replace(file)


def _state(peer: Peer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in peer.net.state_dict().items()}


def _average(peer: Peer) -> Any:
    """The averaged weights that the unconditional example keeps with --use_ema and its other defaults."""
    from diffusers.training_utils import EMAModel

    return EMAModel(peer.net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75, min_decay=0.0)


@torch.no_grad()
def sample_peer(
    contestant: Contestant, weights: Mapping[str, Tensor], first: int, n: int, steps: int, ancestral: bool = False
) -> Images:
    """n images, uint8 (n, 28, 28, 1), by diffusers' own DDIM, or by its DDPM, as its pipelines call them; `first` is a
    multiple of CHUNK.

    Every CHUNK of images has its own seed, so that image k is the same however many are drawn.
    """
    from diffusers import DDIMScheduler, DDPMScheduler

    peer = contestant.make(1)
    peer.net.load_state_dict(weights)
    kind = DDPMScheduler if ancestral else DDIMScheduler
    scheduler = kind(1000, beta_start=1e-4, beta_end=0.02, beta_schedule=TABLES[contestant.betas])
    scheduler.set_timesteps(steps)
    drawn = []
    for start in range(first, first + n, CHUNK):
        generator = torch.Generator().manual_seed(start)
        x = torch.randn(CHUNK, 1, 28, 28, generator=generator)
        for t in scheduler.timesteps:
            x = scheduler.step(peer.eps(x, t.expand(CHUNK)), t, x, generator=generator).prev_sample
        drawn.append(to_bytes(x).permute(0, 2, 3, 1).numpy())
    return np.concatenate(drawn)[:n]


# --- ours ---------------------------------------------------------------------------------------------------------


def train_ours(data: str, minutes: float, out: Path, settings: Mapping[str, Any]) -> float:
    """Trains into the run folder `out`; seconds on the clock. An unfinished run there is begun anew."""
    if out.exists():
        out.rename(out.with_name(f"{out.name}-broken-off-{time.time_ns()}"))
    wanted = merge(settings, {"net.conditional": False, "train.minutes": minutes})
    run, images = train.start(data, wanted, None, out)
    with tempfile.TemporaryDirectory() as empty, mock.patch.dict(os.environ, NOISETTE_CACHE=empty):
        begun = time.perf_counter()  # nothing is known of this machine yet: trials are on the clock
        for _ in train.train(run, images):
            pass
        return time.perf_counter() - begun


def sample_ours(out: Path, n: int, **settings: Any) -> tuple[Images, dict[str, Any]]:
    """n images and how they were drawn: as the run's settings say, but for those given."""
    made, _ = generate(Run.open(out), n, **settings)
    return made.x, made.settings


def floats(data: str) -> Tensor:
    """All images of a data set as a script has them: (N, 1, 28, 28) float32 in [-1, 1]; ours holds a tenth back."""
    x = load(DataSpec(source=data)).x.astype(np.float32)
    return torch.from_numpy(x / 127.5 - 1).permute(0, 3, 1, 2).contiguous()

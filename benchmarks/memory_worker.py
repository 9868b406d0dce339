"""The processes that memory.py starts, each told what to do by a JSON argument; each prints lines of JSON.

A peer's process imports nothing of Noisette: what it holds is its own.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Any


def used() -> dict[str, int]:
    """Memory of this process in bytes: peak and resident (VmHWM, VmRSS), anonymous and of files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"peak": "VmHWM", "resident": "VmRSS", "anonymous": "RssAnon", "file": "RssFile"}
    return {name: int(status[key].split()[0]) * 1024 for name, key in names.items()}


def say(**found: Any) -> None:
    now = used()
    print(json.dumps({**now, **found, "peak": max(now["peak"], found.get("before", 0))}), flush=True)


def peer(told: dict[str, Any]) -> None:
    """Training steps of one peer on bytes that lie in memory; a batch at a time becomes float32."""
    import numpy as np
    import torch
    from peers import PEERS

    kind, (channels, side) = PEERS[told["name"]], told["image"]
    assert not kind.missing()  # imports what the package imports late
    data = np.load(told["images"])
    imported = used()["resident"]
    torch.manual_seed(0)
    net = {key: tuple(value) if isinstance(value, list) else value for key, value in told["net"].items()}  # JSON's
    project = kind(kind.build(channels, side, **net), 1000, **told["options"])
    order = np.random.default_rng(0).permutation(len(data))
    for step in range(told["steps"]):
        rows = order[np.arange(step * told["batch"], (step + 1) * told["batch"]) % len(data)]
        project.step(torch.from_numpy(data[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert "noisette" not in sys.modules
    say(imported=imported)


def steps(told: dict[str, Any]) -> None:
    """Noisette's Trainer alone."""
    from ours import Noisette

    import noisette.tasks.train  # noqa: F401 - as much as the product has imported
    from noisette.data import DataSpec, load

    imported = used()["resident"]
    project = Noisette.on(load(DataSpec(told["images"])), told["batch"], 1000, told["net"])
    for _ in range(told["steps"]):
        project.trainer.advance(0.5)
    say(imported=imported)


def product(told: dict[str, Any]) -> None:
    """`noisette train`: reads and decodes the images, tries ways to compute, trains, looks at samples and held-out
    losses, writes checkpoints; all as its settings are when nothing is said, but the net and the batch."""
    import noisette.cli.training  # noqa: F401 - what the command has imported
    from noisette.experiment.config import NetConfig
    from noisette.tasks import train

    imported = used()["resident"]
    net = NetConfig(conditional=False, **told["net"]).model_dump(mode="json")
    settings = {"net": net, "train": {"batch": told["batch"], "steps": told["steps"]}}
    run, data = train.start(told["images"], settings, None, told["run"])
    before = used()["peak"]  # training begins to count anew
    for _ in train.train(run, data):
        pass
    say(imported=imported, before=before)


def turns(told: dict[str, Any]) -> None:
    """Loads images and then, for each number of steps read from stdin, trains and says the seconds."""
    import numpy as np
    from ours import Noisette

    from noisette.data import DataSpec, load

    begun = time.perf_counter()
    data = load(DataSpec(told["images"]))
    opened = time.perf_counter() - begun
    mapped = isinstance(data.x, np.memmap)
    project = Noisette.on(data, told["batch"], 1_000_000, told["net"])
    say(images=len(data), mapped=mapped, open=opened)
    for line in sys.stdin:
        if isinstance(data.x, np.memmap):
            forget(data.x)
        begun = time.perf_counter()
        for _ in range(int(line)):
            project.trainer.advance(0.5)
        say(seconds=time.perf_counter() - begun)


def forget(x: Any) -> None:
    """Asks the system to drop a memory-mapped file's pages, of this process and of its cache: the next look at them
    goes to the disk. A file system in memory keeps them."""
    pages = x.base
    while not isinstance(pages, mmap.mmap):
        pages = pages.base
    with contextlib.suppress(OSError, ValueError):
        pages.madvise(mmap.MADV_DONTNEED)
    file = os.open(x.filename, os.O_RDONLY)
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


if __name__ == "__main__":
    said = json.loads(sys.argv[1])
    {"peer": peer, "steps": steps, "product": product, "turns": turns}[said["kind"]](said)

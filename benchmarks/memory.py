"""Memory of training: every project in a process of its own, and Noisette on a million images.

    python benchmarks/memory.py [--sizes 28,32] [--steps 30] [--million 1000000] [--rounds 5]

Two parts, written to results/memory.json:

peers    a process for each project, which imports it, trains --steps steps on the same data and says how much memory it
         has used: `peak` is the most that was resident (VmHWM), `imported` what it was before the net was made
million  Noisette on --million images of 28x28, an array in a file of 784 MB which is written to a temporary folder,
         beside 5,000 of them: a process each, which train in turn. `anonymous` is the memory that belongs to the
         process; the pages of a memory-mapped file count as resident too, but they are the system's cache and are
         given back when somebody needs them. `anonymous_peak` is the most that a look after each turn saw.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, median, save

FEW = 5000


def used() -> dict[str, int]:
    """Memory of this process in bytes: peak and resident (VmHWM, VmRSS), anonymous and of files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"peak": "VmHWM", "resident": "VmRSS", "anonymous": "RssAnon", "file": "RssFile"}
    return {name: int(status[key].split()[0]) * 1024 for name, key in names.items()}


# --- in a process of its own --------------------------------------------------------------------------------------


def train_peer(name: str, size_name: str, steps: int) -> None:
    """Trains one project and prints its memory as JSON."""
    import importlib

    from peers import PEERS
    from sizes import PROJECTS, SIZES, TINY, data_for, made

    from noisette.data.stream import Stream

    size = {**SIZES, "tiny": TINY}[size_name]
    kind = PROJECTS[name]
    if name in PEERS and kind.package:
        kind.build(size.channels, size.side, **kind.smallest)  # what the package imports late
    else:
        importlib.import_module("noisette.tasks.train")
    data, _ = data_for(size)
    imported = used()["resident"]
    project = made(kind, size, 1000, data)
    stream = Stream(data, size.batch, 0)
    for step in range(steps):
        project.step(stream.batch(step).x)
    print(json.dumps({"imported": imported, **used()}))


def train_million(path: str, net: str, batch: int) -> None:
    """Loads the images and then, for each number of steps read from stdin, trains and prints seconds and memory."""
    from ours import Noisette

    from noisette.data import load
    from noisette.data.spec import DataSpec

    begun = time.perf_counter()
    data = load(DataSpec(path))
    opened = time.perf_counter() - begun
    project = Noisette.on(data, batch, 1_000_000, json.loads(net))
    print(
        json.dumps({"images": len(data), "mapped": isinstance(data.x, np.memmap), "open": opened, **used()}), flush=True
    )
    for line in sys.stdin:
        begun = time.perf_counter()
        for _ in range(int(line)):
            project.trainer.advance(0.5)
        print(json.dumps({"seconds": time.perf_counter() - begun, **used()}), flush=True)


# --- the two parts ------------------------------------------------------------------------------------------------


def _run(*arguments: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}, **options)


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON that a process prints. Raises RuntimeError when it ended instead."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"{' '.join(process.args[2:4])}: ended with code {process.wait()}")  # type: ignore[index]


def peers_part(size_name: str, names: list[str], steps: int) -> dict[str, Any]:
    """Memory of each project in training, its own process, one after the other."""
    found = {}
    for name in names:
        process = _run("--one", name, "--sizes", size_name, "--steps", str(steps))
        found[name] = _told(process)
        process.wait()
        row = {key: f"{value / 2**20:.0f}" for key, value in found[name].items()}
        print(f"  {size_name}  {name:30s} peak {row['peak']} MiB, of which {row['imported']} after imports", flush=True)
    peers = {name: row["peak"] for name, row in found.items() if name != "noisette"}
    leanest = min(peers, key=lambda name: peers[name])
    ratio = found["noisette"]["peak"] / peers[leanest]
    print(f"  ours over the leanest peer ({leanest}): {ratio:.2f}")
    return {"projects": found, "leanest_peer": leanest, "ratio": round(ratio, 3)}


def write_images(path: Path, n: int, side: int = 28, chunk: int = 50_000) -> None:
    """n different images (n, side, side, 1) uint8 as a .npy file, a chunk at a time: dim noise with a bright square."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, side, side, 1))
    rng = np.random.default_rng(0)
    for first in range(0, n, chunk):
        part = rng.integers(0, 60, (min(chunk, n - first), side, side, 1), dtype=np.uint8)
        part[:, side // 4 : side // 2, side // 4 : side // 2] += 180
        out[first : first + len(part)] = part
    out.flush()


def million_part(n: int, few: int, rounds: int, steps: int, net: dict[str, Any], batch: int) -> dict[str, Any]:
    """Noisette on n images and on few, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        env = {"NOISETTE_CACHE": str(place / "cache")}
        sets = {"many": n, "few": few}
        for name, count in sets.items():
            write_images(place / f"{name}.npy", count)
        told: dict[str, list[dict[str, Any]]] = {}
        first: dict[str, float] = {}
        processes = {}
        for name in sets:
            arguments = ("--million-worker", str(place / f"{name}.npy"), json.dumps(net), str(batch))
            decode = _run(*arguments, env=env, stdin=subprocess.DEVNULL)  # into the cache, as a first start does
            first[name] = _told(decode)["open"]
            decode.wait()
            processes[name] = _run(*arguments, env=env, stdin=subprocess.PIPE)
            told[name] = [_told(processes[name])]
        for k in range(rounds + 1):  # the first turn warms up
            for name in sorted(processes, reverse=bool(k % 2)):
                process = processes[name]
                assert process.stdin
                process.stdin.write(f"{steps}\n")
                process.stdin.flush()
                told[name].append(_told(process))
        for process in processes.values():
            assert process.stdin
            process.stdin.close()
            process.wait()
    rows = {}
    for name, (start, _, *turns) in told.items():
        rows[name] = {
            "images": start["images"],
            "memory_mapped": start["mapped"],
            "seconds_first_start": round(first[name], 2),
            "seconds_start": round(start["open"], 2),
            "images_per_second": [round(steps * batch / turn["seconds"], 1) for turn in turns],
            "anonymous_peak": max(turn["anonymous"] for turn in turns),
            "file_peak": max(turn["file"] for turn in turns),
            "peak": turns[-1]["peak"],
        }
    many, least = rows["many"], rows["few"]
    speeds = zip(many["images_per_second"], least["images_per_second"], strict=True)
    result = {
        **rows,
        "speed_ratio": round(median([a / b for a, b in speeds]), 4),
        "anonymous_ratio": round(many["anonymous_peak"] / least["anonymous_peak"], 4),
        "steps_a_turn": steps,
        "batch": batch,
    }
    for row in (many, least):
        print(
            f"  {row['images']:8d} images: anonymous {row['anonymous_peak'] / 2**20:.0f} MiB, of files "
            f"{row['file_peak'] / 2**20:.0f} MiB, peak {row['peak'] / 2**20:.0f} MiB; "
            f"{median(row['images_per_second']):.0f} img/s; start {row['seconds_start']} s "
            f"(the first time {row['seconds_first_start']} s)"
        )
    print(f"  many over few: speed {result['speed_ratio']:.3f}, anonymous memory {result['anonymous_ratio']:.3f}")
    return result


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="28,32", help="which of 28, 32, 64")
    parser.add_argument("--steps", type=int, default=30, help="training steps of each project, and of each turn")
    parser.add_argument("--million", type=int, default=1_000_000, help="how many images are many; 0 for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for memory.json")
    parser.add_argument("--tiny", action="store_true", help="very small nets and few images, to see that it works")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--million-worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.one:
        return train_peer(args.one, args.sizes, args.steps)
    if args.million_worker:
        path, net, batch = args.million_worker
        return train_million(path, net, int(batch))

    from sizes import SIZES, TINY, present

    kinds, left_out = present()
    names, steps = list(kinds), 2 if args.tiny else args.steps
    many, few, rounds = (2000, 100, 2) if args.tiny else (args.million, FEW, args.rounds)
    size = TINY if args.tiny else SIZES["28"]
    result: dict[str, Any] = {"settings": {"steps": steps, "rounds": rounds}, "left_out": left_out, "peers": {}}
    for name in ["tiny"] if args.tiny else args.sizes.split(","):
        result["peers"][name] = peers_part(name, names, steps)
        save("memory", result, args.out)
    if many:
        result["million"] = million_part(many, few, rounds, steps, size.nets["noisette"], size.batch)
        save("memory", result, args.out)


if __name__ == "__main__":
    main()

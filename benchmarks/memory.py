"""Memory of training: every project in a process of its own, and Noisette on a million images.

    python benchmarks/memory.py [--sizes 28,32] [--steps 30] [--million 1000000] [--rounds 5] [--data32 PATH]

Two parts, written to results/memory.json:

peers    A process for each project trains --steps steps on the same images, at most 5,000, which lie in a .npy file:
         `peak` is the most that was resident (VmHWM), `imported` what it was before there was a net. A peer's process
         imports nothing of Noisette, and holds the images as bytes. Ours is there twice: "noisette" does all that
         `noisette train` does where nothing is known of the machine yet (decoding, the trial of ways to compute, looks
         at samples, held-out losses, checkpoints), and "noisette, steps alone" its Trainer.steps. `ratio` is the
         first's over the leanest peer's.
million  Noisette on --million images of 28x28, a file of 784 MB in a temporary folder (`file_system` says on what),
         beside 5,000 of them: a process each, which train in turn. Before each turn of the many the system is asked to
         forget the file's pages, so that images come from the disk. `anonymous_peak` is the memory that is the
         process's own at its most, looked at a hundred times a second while it trains; `peak` is VmHWM from its start,
         in which the pages of the file that were read count too, though they are the system's to take back.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from command import add_data, add_results, add_sizes, ends_in_one_line, parser, positive, results, whole
from machine import Watch, median, save
from sizes import SIZES, TINY, Size, data_for, present

FEW = 5000
LOOK = 0.01
"""Seconds between two looks at a process's memory."""

ALONE = "noisette, steps alone"


def start(env: dict[str, str], told: dict[str, Any], **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("memory_worker.py")), json.dumps(told)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}, **options)


def told_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON that a process prints. Raises RuntimeError when it ended instead."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise RuntimeError(f"memory_worker.py ended with code {process.wait()}")


# --- beside the peers ---------------------------------------------------------------------------------------------


def peers_part(size: Size, names: list[str], steps: int, source: str | None) -> dict[str, Any]:
    """Memory of each project in training, its own process, one after the other."""
    data, what = data_for(size, source)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "images.npy", data.x[data.train[:FEW]])
        usual = {"images": str(place / "images.npy"), "batch": size.batch, "steps": steps}
        for name in [*names, ALONE]:
            project = "noisette" if name == ALONE else name
            told = {**usual, "net": size.nets[project], "kind": "steps" if name == ALONE else "product"}
            if project != "noisette":
                told |= {"kind": "peer", "name": name, "image": [size.channels, size.side]}
                told |= {"options": size.options.get(name, {})}
            cache = {"NOISETTE_CACHE": str(place / f"cache-{told['kind']}")}
            process = start(cache, {**told, "run": str(place / "run")})
            found[name] = told_by(process)
            process.wait()
            row = {key: f"{value / 2**20:.0f}" for key, value in found[name].items()}
            print(f"  {size.name}  {name:30s} peak {row['peak']} MiB, {row['imported']} after imports", flush=True)
    peers = {name: row["peak"] for name, row in found.items() if name not in ("noisette", ALONE)}
    leanest = min(peers, key=lambda name: peers[name])
    ratios = {name: round(found[name]["peak"] / peers[leanest], 3) for name in ("noisette", ALONE)}
    print(f"  ours over the leanest peer ({leanest}): {ratios['noisette']:.2f}, steps alone {ratios[ALONE]:.2f}")
    ratio = {"ratio": ratios["noisette"], "ratio_steps_alone": ratios[ALONE]}
    return {"data": what, "projects": found, "leanest_peer": leanest, **ratio}


# --- a million images ---------------------------------------------------------------------------------------------


def write_images(path: Path, n: int, side: int = 28, chunk: int = 50_000) -> None:
    """n different images (n, side, side, 1) uint8 as a .npy file, a chunk at a time: dim noise with a bright square."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, side, side, 1))
    rng = np.random.default_rng(0)
    for first in range(0, n, chunk):
        part = rng.integers(0, 60, (min(chunk, n - first), side, side, 1), dtype=np.uint8)
        part[:, side // 4 : side // 2, side // 4 : side // 2] += 180
        out[first : first + len(part)] = part
    out.flush()


def file_system(path: Path) -> str:
    """The kind of file system that a path lies on, as the system calls it."""
    best = ("", "unknown")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, place, kind, *_ = line.split()
            if path.resolve().is_relative_to(place) and len(place) >= len(best[0]):
                best = place, kind
    return best[1]


@contextlib.contextmanager
def watching(process: subprocess.Popen[str]) -> Iterator[dict[str, int]]:
    """The most of each kind of memory that a process holds meanwhile, in bytes: looked at from outside, so that its
    own work goes on as ever."""
    most, done, status = {"RssAnon": 0, "RssFile": 0}, threading.Event(), Path(f"/proc/{process.pid}/status")

    def look() -> None:
        while True:
            for line in status.read_text().splitlines():
                name, _, value = line.partition(":")
                if name in most:
                    most[name] = max(most[name], int(value.split()[0]) * 1024)
            if done.wait(LOOK):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def million_part(n: int, few: int, rounds: int, steps: int, net: dict[str, Any], batch: int) -> dict[str, Any]:
    """Noisette on n images and on few, in turn."""
    sets = {"many": n, "few": few}
    starts: dict[str, list[dict[str, Any]]] = {name: [] for name in sets}
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in sets}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        lies_on = file_system(place)
        env = {"NOISETTE_CACHE": str(place / "cache")}
        processes = {}
        for name, count in sets.items():
            write_images(place / f"{name}.npy", count)
            told = {"kind": "turns", "images": str(place / f"{name}.npy"), "net": net, "batch": batch}
            decoding = start(env, told, stdin=subprocess.DEVNULL)  # into the cache, as a first start does
            starts[name].append(told_by(decoding))
            decoding.wait()
            processes[name] = start(env, told, stdin=subprocess.PIPE)
            starts[name].append(told_by(processes[name]))
        for k in range(rounds + 1):
            for name in sorted(processes, reverse=bool(k % 2)):
                process = processes[name]
                assert process.stdin
                with watching(process) as most:
                    process.stdin.write(f"{steps}\n")
                    process.stdin.flush()
                    turn = told_by(process)
                turns[name].append({**turn, **most})
        for process in processes.values():
            process.communicate()
    rows: dict[str, dict[str, Any]] = {}
    for name in sets:
        first, second = starts[name]
        measured = turns[name][1:]  # the first turn warms up
        rows[name] = {
            "images": second["images"],
            "memory_mapped": second["mapped"],
            "seconds_first_start": round(first["open"], 2),
            "seconds_start": round(second["open"], 2),
            "images_per_second": [round(steps * batch / turn["seconds"], 1) for turn in measured],
            "anonymous_peak": max(turn["RssAnon"] for turn in turns[name]),
            "file_peak": max(turn["RssFile"] for turn in turns[name]),
            "peak": measured[-1]["peak"],
            "peak_first_start": first["peak"],
        }
    many, least = rows["many"], rows["few"]
    speeds = zip(many["images_per_second"], least["images_per_second"], strict=True)
    result = {
        **rows,
        "file_system": lies_on,
        "page_cache": "the system was asked to forget the file of the many before each of their turns",
        "speed_ratio": round(median([a / b for a, b in speeds]), 4),
        "anonymous_ratio": round(many["anonymous_peak"] / least["anonymous_peak"], 4),
        "peak_ratio": round(many["peak"] / least["peak"], 4),
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
    print(
        f"  many over few, on {lies_on}: speed {result['speed_ratio']:.3f}, anonymous memory "
        f"{result['anonymous_ratio']:.3f}, peak with pages of files {result['peak_ratio']:.3f}"
    )
    return result


@ends_in_one_line
def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    add_sizes(options, ("28", "32"))
    options.add_argument("--steps", type=positive, default=30, help="training steps of each project, and of each turn")
    options.add_argument("--million", type=whole, default=1_000_000, help="how many images are many; 0 for none")
    options.add_argument("--rounds", type=positive, default=5)
    add_data(options)
    add_results(options, "folder for memory.json", "very small nets and few images: shows that it works")
    args = options.parse_args(arguments)
    if 0 < args.million <= FEW:
        options.error(f"--million {args.million}: more than the {FEW:,} that they are set beside, or 0 for none")
    out, watch = results(args), Watch()
    kinds, left_out = present()
    steps, many, few, rounds = (2, 2000, 100, 2) if args.tiny else (args.steps, args.million, FEW, args.rounds)
    result: dict[str, Any] = {"settings": {"steps": steps, "rounds": rounds}, "left_out": left_out, "peers": {}}
    for size in [TINY] if args.tiny else [SIZES[name] for name in args.sizes]:
        source = getattr(args, f"data{size.side}", None)
        result["peers"][size.name] = peers_part(size, list(kinds), steps, source)
        save("memory", result, out, watch)
    if many:
        size = TINY if args.tiny else SIZES["28"]
        result["million"] = million_part(many, few, rounds, steps, size.nets["noisette"], size.batch)
        save("memory", result, out, watch)


if __name__ == "__main__":
    main()

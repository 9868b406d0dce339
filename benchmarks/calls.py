"""Calls of the net in sampling: every project as its own pipeline makes them, nets of equal size, in turn.

    python benchmarks/calls.py [--sizes 28,32,64] [--rounds 7] [--seconds 3] [--no-compile]

Batches of 64 images at one time, in evaluation mode, without gradients. Peers compute in float32, as their pipelines
do; ours as the product samples (bf16 weights, channels_last; the arithmetic of the denoiser included), and once more
compiled. For that one the seconds until it is compiled are printed, and after how many calls they are won back. Written
to results/calls.json.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import RESULTS, median, save
from ours import Noisette
from peers import T
from sizes import SIZES, TINY, Size, data_for, facts, made, present
from torch import Tensor

OURS, COMPILED = Noisette.name, f"{Noisette.name}, compiled"
BATCH = 64

Call = Callable[[Tensor, int], Tensor]


def compiled_call(project: Noisette, x: Tensor) -> tuple[Call, float]:
    """(a call of the compiled net, the seconds that the first two took)."""
    denoiser = project.sampler(compiled=True)

    @torch.no_grad()
    def call(x: Tensor, i: int) -> Tensor:
        return denoiser(x, (i + 1) / T).x0

    begun = time.perf_counter()
    for i in (T - 1, T // 2):
        call(x, i)
    return call, time.perf_counter() - begun


def turn(call: Call, x: Tensor, calls: int) -> float:
    """Seconds of so many calls, down the times as a sampler goes."""
    begun = time.perf_counter()
    for k in range(calls):
        call(x, T - 1 - k * T // calls)
    return time.perf_counter() - begun


def measure(size: Size, rounds: int, spell: float, compile: bool, batch: int = BATCH) -> dict[str, Any]:
    data, _ = data_for(size)
    kinds, left_out = present()
    table: dict[str, dict[str, Any]] = {name: facts(kind, size) for name, kind in kinds.items()}
    projects = {name: made(kind, size, 10, data) for name, kind in kinds.items()}
    x = torch.randn(batch, size.channels, size.side, size.side, generator=torch.Generator().manual_seed(0))
    calls: dict[str, Call] = {}
    for name, project in projects.items():
        project.net.eval()
        calls[name] = project.call
    ours = projects[OURS]
    assert isinstance(ours, Noisette)
    warmup = None
    if compile:
        try:
            calls[COMPILED], warmup = compiled_call(ours, x)
            table[COMPILED] = dict(table[OURS])
        except RuntimeError as error:  # no compiler on this machine
            left_out = [*left_out, f"{COMPILED}: {str(error).splitlines()[0]}"]
    counts = {}
    for name, call in calls.items():
        turn(call, x, 2)
        counts[name] = max(1, math.ceil(spell / turn(call, x, 1)))
    speeds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            speeds[name].append(counts[name] * batch / turn(calls[name], x, counts[name]))
    for name, row in table.items():
        speed = median(speeds[name])
        row["rounds"] = [round(v, 2) for v in speeds[name]]
        row["images_per_second"] = round(speed, 2)
        row["gflops"] = round(speed * row["flops_a_call"] / 1e9, 1)
    peers = [name for name in speeds if name not in (OURS, COMPILED)]
    best = [max(speeds[name][k] for name in peers) for k in range(rounds)]
    result = {
        "image": [size.channels, size.side, size.side],
        "batch": batch,
        "rounds": rounds,
        "projects": table,
        "left_out": left_out,
        "fastest_peer": max(peers, key=lambda name: median(speeds[name])),
        "ratio": round(median([speeds[OURS][k] / best[k] for k in range(rounds)]), 3),
    }
    if warmup is not None:
        won = 1 / median(speeds[OURS]) - 1 / median(speeds[COMPILED])  # seconds an image
        result |= {
            "ratio_compiled": round(median([speeds[COMPILED][k] / best[k] for k in range(rounds)]), 3),
            "compile_seconds": round(warmup, 1),
            "repaid_after_calls": math.ceil(warmup / won / batch) if won > 0 else None,
        }
    return result


def show(result: dict[str, Any]) -> None:
    channels, side, _ = result["image"]
    print(f"\n{channels}x{side}x{side}, batch {result['batch']}, {result['rounds']} rounds")
    for project, row in sorted(result["projects"].items(), key=lambda item: -item[1]["images_per_second"]):
        print(f"  {project:30s} {row['images_per_second']:9.1f} images a second, {row['gflops']:6.0f} GFLOP/s")
    print(f"  ours over the fastest peer ({result['fastest_peer']}): {result['ratio']:.2f}")
    if "ratio_compiled" in result:
        after = result["repaid_after_calls"]
        repaid = f"won back after {after} calls of {result['batch']}" if after else "never won back"
        print(f"  compiled: {result['ratio_compiled']:.2f}; {result['compile_seconds']} s of compiling, {repaid}")
    for reason in result["left_out"]:
        print(f"  left out: {reason}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default=",".join(SIZES), help="which of 28, 32, 64")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one project's turn")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for calls.json")
    parser.add_argument("--tiny", action="store_true", help="very small nets, not compiled, to see that it works")
    args = parser.parse_args(arguments)
    sizes = [TINY] if args.tiny else [SIZES[name] for name in args.sizes.split(",")]
    rounds, spell, batch = (2, 0.01, 4) if args.tiny else (args.rounds, args.seconds, BATCH)
    found = {}
    for size in sizes:
        found[size.name] = measure(size, rounds, spell, not (args.no_compile or args.tiny), batch)
        show(found[size.name])
        settings = {"rounds": rounds, "seconds": spell, "threads": torch.get_num_threads()}
        save("calls", {"settings": settings, "sizes": found}, args.out)


if __name__ == "__main__":
    main()

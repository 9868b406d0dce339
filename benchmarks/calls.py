"""Calls of the net in sampling: every project as its own pipeline makes them, nets of equal size, in turn.

    python benchmarks/calls.py [--sizes 28,32,64] [--batches 64,36,72] [--rounds 7] [--seconds 2] [--no-compile]

Batches at one time, in evaluation mode, without gradients: 64, as peers are often measured, and the 36 that the product
draws together, 72 where guidance doubles them. Peers compute in float32, as their pipelines do, and only their net is
called; ours is the product's denoiser: bf16 weights, channels_last, and the arithmetic that makes x0 of what the net
says. What a sampler does between calls is nobody's.

Then ours once more, compiled, with nothing kept from earlier compilations: `compile_seconds` are those of its first two
calls, less those of two calls later on; `repaid_after_calls` is how many calls of this batch win them back. Written to
results/calls.json.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from command import add_results, add_sizes, amount, ends_in_one_line, parser, positive, results
from machine import Watch, median, save
from ours import Noisette
from peers import T
from sizes import SIZES, TINY, Size, data_for, facts, made, present
from torch import Tensor

OURS, COMPILED = Noisette.name, f"{Noisette.name}, compiled"
BATCHES = (64, 36, 72)

Call = Callable[[Tensor, int], Tensor]


def compiled_call(project: Noisette, x: Tensor) -> tuple[Call, float]:
    """(a call of the compiled net, the seconds that compiling it for this batch took)."""
    torch.compiler.reset()
    denoiser = project.sampler(compiled=True)

    @torch.no_grad()
    def call(x: Tensor, i: int) -> Tensor:
        return denoiser(x, (i + 1) / T).x0

    return call, turn(call, x, 2) - turn(call, x, 2)


def turn(call: Call, x: Tensor, calls: int) -> float:
    """Seconds of so many calls, down the times as a sampler goes."""
    begun = time.perf_counter()
    for k in range(calls):
        call(x, T - 1 - k * T // calls)
    return time.perf_counter() - begun


def measure(size: Size, rounds: int, spell: float, compile: bool, batch: int) -> dict[str, Any]:
    data, _ = data_for(size)  # whatever it is: ours asks for data to be made of
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


@ends_in_one_line
def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    add_sizes(options)
    options.add_argument("--batches", type=lambda text: [positive(part) for part in text.split(",")], default=BATCHES)
    options.add_argument("--rounds", type=positive, default=7)
    options.add_argument("--seconds", type=amount, default=2.0, help="of one project's turn")
    options.add_argument("--no-compile", action="store_true")
    add_results(options, "folder for calls.json", "very small nets, not compiled: shows that it works")
    args = options.parse_args(arguments)
    out, watch = results(args), Watch()
    sizes = [TINY] if args.tiny else [SIZES[name] for name in args.sizes]
    rounds, spell, batches = (2, 0.01, [4]) if args.tiny else (args.rounds, args.seconds, args.batches)
    found: dict[str, dict[str, Any]] = {size.name: {} for size in sizes}
    with tempfile.TemporaryDirectory() as empty, mock.patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=empty):
        for size, batch in itertools.product(sizes, batches):
            result = measure(size, rounds, spell, not (args.no_compile or args.tiny), batch)
            found[size.name][str(batch)] = result
            show(result)
            save("calls", {"settings": {"rounds": rounds, "seconds": spell}, "sizes": found}, out, watch)


if __name__ == "__main__":
    main()

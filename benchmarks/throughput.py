"""Images a second in training, every project's own step, nets of equal size, in turn on one machine.

    python benchmarks/throughput.py [--sizes 28,32,64] [--rounds 7] [--seconds 4] [--data32 PATH] [--data64 PATH]

In every round each project trains for about --seconds in its turn, and another one begins; so a machine that slows
down slows all of them. Printed and written to results/throughput.json: the median over the rounds of images a second
and of GFLOP/s (three times the operations of a call for each image, as a backward pass is two forward ones), and of
our images a second over the fastest peer's in the same round. Projects that are not installed are named and left out.
diffusers runs once more with its example's own flag for bf16, which nobody gets who does not ask for it: `ratio_bf16`
is to that one alone, and `ratio` without it.
"""

from __future__ import annotations

import math
import time
from typing import Any

from command import add_data, add_results, add_sizes, amount, ends_in_one_line, parser, positive, results
from machine import Watch, median, save
from ours import Noisette
from peers import DiffusersBf16, Peer
from sizes import SIZES, TINY, Size, data_for, facts, made, present
from torch import Tensor

from noisette.data.stream import Stream

OURS, ASIDE = Noisette.name, DiffusersBf16.name
READY = 8  # batches that lie ready for the peers


def turn(project: Peer, batches: list[Tensor], steps: int) -> float:
    """Seconds of so many training steps."""
    begun = time.perf_counter()
    for k in range(steps):
        project.step(batches[k % len(batches)])
    return time.perf_counter() - begun


def measure(size: Size, rounds: int, spell: float, source: str | None) -> dict[str, Any]:
    """All projects at one size: facts and images a second of every round."""
    data, what = data_for(size, source)
    stream = Stream(data, size.batch, 0)
    batches = [stream.batch(k).x for k in range(READY)]
    kinds, left_out = present()
    if "diffusers" in kinds:
        kinds = {**kinds, ASIDE: DiffusersBf16}
    table = {name: facts(kind, size) for name, kind in kinds.items()}
    planned = 100_000  # the learning rates are to move little while speed is measured
    projects = {name: made(kind, size, planned, data) for name, kind in kinds.items()}
    counts = {}
    for name, project in projects.items():
        turn(project, batches, 2)  # kernels are chosen at the first calls
        counts[name] = max(1, math.ceil(spell / turn(project, batches, 1)))
    speeds: dict[str, list[float]] = {name: [] for name in projects}
    names = list(projects)
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            passed = turn(projects[name], batches, counts[name])
            speeds[name].append(counts[name] * size.batch / passed)
    for name, row in table.items():
        row["steps_a_turn"] = counts[name]
        row["rounds"] = [round(v, 2) for v in speeds[name]]
        row["images_per_second"] = round(median(speeds[name]), 2)
        row["gflops"] = round(median(speeds[name]) * 3 * row["flops_a_call"] / 1e9, 1)
    peers = [name for name in speeds if name not in (OURS, ASIDE)]
    ratios = [speeds[OURS][k] / max(speeds[name][k] for name in peers) for k in range(rounds)]
    aside = [speeds[OURS][k] / v for k, v in enumerate(speeds.get(ASIDE, []))]
    return {
        "image": [size.channels, size.side, size.side],
        "batch": size.batch,
        "data": what,
        "rounds": rounds,
        "projects": table,
        "left_out": left_out,
        "fastest_peer": max(peers, key=lambda name: median(speeds[name])),
        "ratio_rounds": [round(r, 3) for r in ratios],
        "ratio": round(median(ratios), 3),
        "ratio_bf16": round(median(aside), 3) if aside else None,
    }


def show(name: str, result: dict[str, Any]) -> None:
    channels, side, _ = result["image"]
    print(f"\n{channels}x{side}x{side}, batch {result['batch']}, {result['data']}, {result['rounds']} rounds")
    for project, row in sorted(result["projects"].items(), key=lambda item: -item[1]["images_per_second"]):
        print(
            f"  {project:30s} {row['version']:>8s} {row['parameters'] / 1e6:7.2f} M"
            f" {row['flops_a_call'] / 1e9:7.3f} GFLOP"
            f" {row['images_per_second']:8.1f} img/s {row['gflops']:6.0f} GFLOP/s"
        )
    print(f"  ours over the fastest peer ({result['fastest_peer']}): {result['ratio']:.2f}")
    if result["ratio_bf16"]:
        print(f"  ours over {ASIDE}: {result['ratio_bf16']:.2f}")
    for reason in result["left_out"]:
        print(f"  left out: {reason}")


@ends_in_one_line
def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    add_sizes(options)
    options.add_argument("--rounds", type=positive, default=7)
    options.add_argument("--seconds", type=amount, default=4.0, help="of one project's turn")
    add_data(options)
    add_results(options, "folder for throughput.json")
    args = options.parse_args(arguments)
    out, watch = results(args), Watch()
    sizes = [TINY] if args.tiny else [SIZES[name] for name in args.sizes]
    rounds, spell = (2, 0.01) if args.tiny else (args.rounds, args.seconds)
    found = {}
    for size in sizes:
        found[size.name] = measure(size, rounds, spell, getattr(args, f"data{size.side}", None))
        show(size.name, found[size.name])
        settings = {"rounds": rounds, "seconds": spell}
        save("throughput", {"settings": settings, "sizes": found}, out, watch)


if __name__ == "__main__":
    main()

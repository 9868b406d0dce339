"""Where the time of a training step and of a sampling call goes, and what share of the machine's peak that leaves.

    python benchmarks/breakdown.py [--sizes 28,32,64] [--steps 5] [--peer diffusers] [--data32 PATH] [--data64 PATH]

torch.profiler's own time of each operation, in groups, for Noisette and for one peer beside it (with --peer ""
none). The peak is measured in the same run: a 2048^3 bf16 matrix product, and the best bare 3x3 convolution in bf16
and channels_last, forward and with its backward pass. Written to results/breakdown.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from command import add_data, add_results, add_sizes, ends_in_one_line, parser, positive, results
from machine import Watch, peaks, save
from peers import PEERS
from sizes import PROJECTS, SIZES, TINY, Size, count, data_for, made
from torch.profiler import ProfilerActivity, profile, record_function

from noisette.data import ImageData
from noisette.data.stream import Stream

GROUPS = {
    "random numbers": ("normal_", "randn", "randint", "random_", "randperm", "uniform_"),
    "optimiser": ("optimizer.step", "_fused_adam", "_foreach_", "vector_norm", "aten::lerp", "aten::addcdiv"),
    "convolutions": ("conv",),
    "matrix products": ("addmm", "bmm", "aten::mm", "linear", "scaled_dot_product", "flash_attention"),
    "norms": ("norm",),
    "activations": ("silu", "relu", "gelu", "softmax", "sigmoid"),
    "copies and casts": ("copy", "cat", "contiguous", "clone", "upsample", "pad", "fill", "zero_", "empty"),
    "sums and products": ("aten::add", "aten::mul", "aten::sum", "aten::sub", "aten::div", "aten::mean", "mse_loss"),
}
"""Operations by a part of their name in small letters; the first group that fits has them. Muon's matrix products count
as such: an operation does not know that it is inside an optimiser."""


def group_of(name: str) -> str:
    return next((group for group, parts in GROUPS.items() if any(part in name.lower() for part in parts)), "other")


def profiled(work: Callable[[], Any], steps: int) -> dict[str, Any]:
    """Milliseconds a step of each group and of the dearest operations; wall-clock is measured without the profiler."""
    for _ in range(2):
        work()
    begun = time.perf_counter()
    for _ in range(steps):
        work()
    wall = (time.perf_counter() - begun) / steps
    with profile(activities=[ProfilerActivity.CPU]) as seen, record_function("all"):
        for _ in range(steps):
            work()
    groups: dict[str, float] = {}
    operations: dict[str, float] = {}
    for event in seen.key_averages():
        own = event.self_cpu_time_total / 1e3 / steps
        name = "Python and waiting" if event.key == "all" else group_of(event.key)
        groups[name] = groups.get(name, 0.0) + own
        operations[event.key] = own
    dearest = sorted(operations.items(), key=lambda item: -item[1])[:15]
    return {
        "milliseconds": round(1e3 * wall, 2),
        "groups": {name: round(ms, 3) for name, ms in sorted(groups.items(), key=lambda item: -item[1])},
        "dearest": {name: round(ms, 3) for name, ms in dearest},
    }


def measure(name: str, size: Size, data: ImageData, steps: int, best: dict[str, float]) -> dict[str, Any]:
    """Training and sampling of one project, each with its GFLOP/s and shares of the peaks."""
    project = made(PROJECTS[name], size, 1000, data)
    x = Stream(data, size.batch, 0).batch(0).x
    _, flops = count(PROJECTS[name], size)
    sampled = torch.randn(64 if size is not TINY else 4, *x.shape[1:])
    training = profiled(lambda: project.step(x), steps)
    project.net.eval()
    sampling = profiled(lambda: project.call(sampled, 500), steps)
    for row, work, conv in (
        (training, 3 * flops * size.batch, "conv_bf16_training"),
        (sampling, flops * len(sampled), "conv_bf16_forward"),
    ):
        row["gflops"] = round(work / row["milliseconds"] / 1e6, 1)
        row["share_of_matmul_bf16"] = round(row["gflops"] / best["matmul_bf16"], 3)
        row[f"share_of_{conv}"] = round(row["gflops"] / best[conv], 3)
    return {"training": training, "sampling": sampling}


def show(name: str, size: Size, result: dict[str, Any]) -> None:
    for kind, row in result.items():
        total = sum(row["groups"].values())
        print(
            f"\n{name}, {size.channels}x{size.side}x{size.side}, {kind}: {row['milliseconds']:.1f} ms, "
            f"{row['gflops']:.0f} GFLOP/s, {row['share_of_matmul_bf16']:.0%} of the bf16 matrix peak"
        )
        for group, ms in row["groups"].items():
            print(f"  {group:22s} {ms:8.2f} ms  {ms / total:5.1%}")


@ends_in_one_line
def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    add_sizes(options)
    options.add_argument("--steps", type=positive, default=5)
    options.add_argument("--peer", choices=[*PEERS, ""], default="diffusers", help="one to set beside; empty for none")
    add_data(options)
    add_results(options, "folder for breakdown.json")
    args = options.parse_args(arguments)
    out, watch = results(args), Watch()
    sizes, steps = ([TINY], 2) if args.tiny else ([SIZES[name] for name in args.sizes], args.steps)
    names = ["noisette"]
    if args.peer:
        missing = PROJECTS[args.peer].missing()
        print(f"left out: {missing}" if missing else f"beside {args.peer}")
        names += [] if missing else [args.peer]
    best = peaks(64, [(2, 8, 8)], 0.01) if args.tiny else peaks()
    print("peaks in GFLOP/s: " + ", ".join(f"{name} {value:.0f}" for name, value in best.items()))
    found: dict[str, Any] = {}
    for size in sizes:
        data, what = data_for(size, getattr(args, f"data{size.side}", None))
        found[size.name] = {name: measure(name, size, data, steps, best) for name in names}
        for name in names:
            show(name, size, found[size.name][name])
        found[size.name]["data"] = what
        save("breakdown", {"settings": {"steps": steps}, "peaks_gflops": best, "sizes": found}, out, watch)


if __name__ == "__main__":
    main()

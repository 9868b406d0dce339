"""What a result was measured on: the machine, versions, and how many operations a second it can do at best.

python benchmarks/machine.py            prints it
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from command import parser
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import noisette
from noisette.experiment.environment import commit, cores, cpu
from noisette.experiment.files import write_json
from noisette.tasks.machine import Others, watched

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")

ConvShape = tuple[int, int, int]
"""(batch, channels, side) of a 3x3 convolution."""


def about() -> dict[str, Any]:
    """The machine, versions and the date. Needs no installed package, only its sources."""
    return {
        "noisette": noisette.__version__,
        "commit": commit(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(terse=True),
        "cpu": cpu(),
        "flags": [flag for flag in FLAGS if flag in _flags()],
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        **_card(),
    }


def _card() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"gpu": None}
    return {
        "gpu": torch.cuda.get_device_name(),
        "gpu_memory": torch.cuda.get_device_properties(0).total_memory,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


class Watch:
    """How busy others keep the machine: before the work, which is when this is made, and while it goes on.

    Processes that this one started and waited for are not others.
    """

    def __init__(self, look: float = 1.0) -> None:
        self.load = [round(x, 2) for x in os.getloadavg()]
        self.before = watched(look)
        self.others = Others(mine=lambda: sum(os.times()[:4]))

    def told(self) -> dict[str, Any]:
        """load_before: the system's averages of 1, 5 and 15 minutes; others_*: cores that others kept busy."""
        return {
            "load_before": self.load,
            "others_before": round(self.before, 2),
            "others_meanwhile": round(self.others.cores(), 2),
        }


def _flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return set(next(line for line in lines if line.startswith("flags")).split())
    except (OSError, StopIteration):
        return set()


def save(name: str, result: dict[str, Any], folder: Path, watch: Watch) -> Path:
    """Writes a result with the machine above it to folder/NAME.json."""
    path = folder / f"{name}.json"
    write_json(path, {"machine": {**about(), **watch.told()}, "command": " ".join(map(_short, sys.argv)), **result})
    print(f"written: {path}")
    return path


def _short(argument: str) -> str:
    """A path in the command without where it lies on this machine."""
    return Path(argument).name if os.sep in argument else argument


def seconds(work: Callable[[], Any], least: float = 0.5) -> float:
    """The least seconds of one call, tried for about that long after a first one."""
    work()
    best, spent = float("inf"), 0.0
    while spent < least:
        begun = time.perf_counter()
        work()
        passed = time.perf_counter() - begun
        best, spent = min(best, passed), spent + passed
    return best


def matmul_peak(dtype: torch.dtype, n: int = 2048, least: float = 0.5) -> float:
    """GFLOP/s of an n x n matrix product."""
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    return 2 * n**3 / seconds(lambda: a @ b, least) / 1e9


def conv_peak(shape: ConvShape, backward: bool, least: float = 0.5) -> float:
    """GFLOP/s of a bare bf16 channels_last 3x3 convolution; with its backward pass, three times the operations."""
    batch, channels, side = shape
    x = torch.randn(batch, channels, side, side).bfloat16().to(memory_format=torch.channels_last)
    w = torch.randn(channels, channels, 3, 3).bfloat16().to(memory_format=torch.channels_last)
    flops = 2 * 9 * channels**2 * side**2 * batch

    def forward() -> Tensor:
        return F.conv2d(x, w, padding=1)

    if not backward:
        with torch.no_grad():
            return flops / seconds(forward, least) / 1e9
    x.requires_grad_()
    w.requires_grad_()
    grad = torch.randn(batch, channels, side, side).bfloat16().to(memory_format=torch.channels_last)

    def both() -> None:
        x.grad = w.grad = None
        forward().backward(grad)

    return 3 * flops / seconds(both, least) / 1e9


CONVS: Sequence[ConvShape] = ((128, 96, 14), (64, 128, 16), (64, 256, 8), (16, 128, 32))


def peaks(n: int = 2048, convs: Sequence[ConvShape] = CONVS, least: float = 0.5) -> dict[str, Any]:
    """GFLOP/s that are to be had: matrix products, and the best of a few bare convolutions."""
    return {
        "matmul_fp32": round(matmul_peak(torch.float32, n, least), 3),
        "matmul_bf16": round(matmul_peak(torch.bfloat16, n, least), 3),
        "conv_bf16_forward": round(max(conv_peak(shape, False, least) for shape in convs), 3),
        "conv_bf16_training": round(max(conv_peak(shape, True, least) for shape in convs), 3),
    }


def operations(call: Callable[[], Any]) -> int:
    """Of a call of a net, a multiply-add as two, by torch's FlopCounterMode."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def main() -> None:
    parser(__doc__).parse_args()
    watch = Watch()
    found = peaks()
    print(json.dumps({**about(), **watch.told(), "peaks_gflops": found}, indent=2))


if __name__ == "__main__":
    main()

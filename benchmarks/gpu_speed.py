"""The speed of training steps and of calls of the net, in several ways to compute: see gpu.py."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept import PRODUCT, code, key, rows_of
from machine import about, operations

from noisette.data import ImageData
from noisette.experiment import build
from noisette.experiment.config import Config, merge
from noisette.experiment.files import write_json
from noisette.experiment.runs import Shape
from noisette.tasks.trainer import Trainer

CIFAR = Shape.images(3, 32, 32, tuple("abcdefghij"))

NETS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar10, RMS norm": {"net.norm": "rms"},
    "DDPM's, 35.7 M": {  # Ho et al. 2020, appendix B
        "net.multipliers": [1, 2, 2, 2],
        "net.attention": [1],
        "net.time": "add",
        "net.head_dim": 256,
        "net.conditional": False,
    },
}

Way = Mapping[str, Any]
"""tf32: whether float32 products may be rounded to TF32, which the product leaves to its user; compile: None, or
torch.compile's mode."""

BF16: Way = {"precision": "bf16", "layout": "channels_first", "tf32": False, "compile": None}
WAYS: dict[str, Way] = {
    "fp32": {**BF16, "precision": "fp32"},
    "tf32": {**BF16, "precision": "fp32", "tf32": True},
    "bf16": BF16,
    "bf16 last": {**BF16, "layout": "channels_last"},
    "compiled": {**BF16, "layout": "channels_last", "compile": "default"},
    "graphs": {**BF16, "layout": "channels_last", "compile": "reduce-overhead"},
}
"""graphs: torch.compile with CUDA graphs. Rows with a compiled net cost a minute or more before the first step."""

TRAINING = (
    ("cifar10", 256, "bf16 last"),
    ("cifar10", 256, "compiled"),
    ("cifar10", 256, "bf16"),
    ("cifar10", 256, "tf32"),
    ("cifar10, RMS norm", 256, "bf16 last"),
    ("DDPM's, 35.7 M", 128, "bf16 last"),
    ("cifar10", 1024, "bf16 last"),
    ("cifar10", 256, "graphs"),
    ("cifar10", 1024, "compiled"),
    ("DDPM's, 35.7 M", 128, "compiled"),
    ("cifar10, RMS norm", 256, "compiled"),
    ("cifar10", 256, "fp32"),
)
SAMPLING = (
    ("cifar10", 512, "bf16 last"),
    ("cifar10", 512, "bf16"),
    ("cifar10", 512, "tf32"),
    ("cifar10", 512, "compiled"),
    ("cifar10", 512, "graphs"),
    ("cifar10", 64, "graphs"),
    ("cifar10", 512, "fp32"),
)
SMALL: dict[str, Any] = {
    "net.channels": 16,
    "net.multipliers": [1],
    "net.attention": [],
    "net.blocks": 1,
    "net.patch": 4,
    "net.groups": 8,
    "net.head_dim": 16,
}


class Results:
    """FOLDER/gpu.json, written after each change; `left` is the number of seconds until the limit.

    Every row says what it was measured on, `machine`, and has a `key` of that, of its settings and of the code: what
    is there under the same key is not measured again. Raises UserError for a file that is damaged.
    """

    def __init__(self, folder: Path, limit: float, tiny: bool):
        self.path, self.deadline = folder / "gpu.json", time.monotonic() + limit
        row = ("net", "batch", "way")
        self.rows = rows_of(self.path, {"training": row, "sampling": row}, {"peak": ("tflops",), "curve": ()})
        self.machine = about()
        on = {name: self.machine[name] for name in ("gpu", "cpu", "threads", "torch")}
        self.depends = [on, tiny, code(*PRODUCT, Path(__file__))]

    def key(self, *parts: Any) -> str:
        return key(*self.depends, *parts)

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def put(self, part: str, row: Mapping[str, Any]) -> None:
        self.rows[part] = {**row, "machine": self.machine}
        write_json(self.path, self.rows)

    def good(self, part: str) -> list[dict[str, Any]]:
        """The rows of a table that are measured, and not with other code or elsewhere."""
        rows = self.rows.get(part, [])
        return [r for r in rows if "error" not in r and r.get("key") == self.key(r["net"], r["batch"], r["way"])]

    def add(self, part: str, row: Mapping[str, Any]) -> None:
        """Adds a row to a table, in the place of one that failed under its key."""
        others = [r for r in self.rows.get(part, []) if r.get("key") != row["key"]]
        self.rows[part] = [*others, {**row, "machine": self.machine}]
        write_json(self.path, self.rows)
        print(part, json.dumps(row), flush=True)


def wait() -> None:
    """Until the GPU has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(call: Callable[[], Any]) -> float:
    wait()
    begun = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - begun


def rounds(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds a call in rounds of about a fifth of `seconds`, at least three; the call was warmed up before."""
    each = max(1, round(seconds / 5 / max(timed(call), 1e-6)))

    def some() -> None:
        for _ in range(each):
            call()

    begun, found = time.perf_counter(), []
    while len(found) < 3 or time.perf_counter() - begun < seconds:
        found.append(timed(some) / each)
    return found


def settings(net: str, batch: int, way: Way, small: bool) -> Config:
    computing = {
        "train.batch": batch,
        "train.micro_batch": batch,
        "train.precision": way["precision"],
        "train.layout": way["layout"],
        "train.compile": "off",  # the mode is chosen here, see `use`
    }
    return build.resolve(CIFAR, "cifar10", merge(merge(NETS[net], SMALL if small else {}), computing))


def use(way: Way) -> None:
    """Sets what is set for the whole process, and forgets what was compiled before, for other shapes."""
    torch.compiler.reset()
    gc.collect()  # a compiled net of the row before holds itself
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    torch.backends.cudnn.allow_tf32 = way["tf32"]
    torch.set_float32_matmul_precision("high" if way["tf32"] else "highest")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def made_up(n: int) -> ImageData:
    """Random images of CIFAR-10's shape."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, *CIFAR.medium.stored), dtype=np.uint8)
    rows = np.arange(n, dtype=np.int64)
    return ImageData(x, rows % 10, CIFAR.classes, "", {}, rows, rows[:0], np.zeros((n, 16), np.uint8))


def flops(config: Config) -> int:
    """FLOPs of one call of the net for one image."""
    with torch.device("meta"):
        net = build.backbone(config.net, CIFAR)
        return operations(lambda: net(torch.zeros(1, *CIFAR.x), torch.zeros(1)))


def speed(seconds: Sequence[float], images: int, work: float, peak: float) -> dict[str, Any]:
    """What it comes to: `images` of `work` FLOPs each in every one of these times."""
    middle = statistics.median(seconds)
    rate = work * images / middle / 1e12
    return {
        "images_per_second": round(images / middle, 1),
        "spread": [round(images / max(seconds), 1), round(images / min(seconds), 1)],
        "tflops": round(rate, 3),
        "share_of_peak": round(rate / peak, 4),
        "memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }


# --- what is measured -----------------------------------------------------------------------------------------------


def peak(results: Results, tiny: bool) -> None:
    side = 512 if tiny else 8192
    device = build.device("auto")
    a, b = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    timed(lambda: a @ b)
    found = rounds(lambda: a @ b, 0.2 if tiny else 2)
    results.put(
        "peak",
        {"key": results.key("peak"), "side": side, "tflops": round(2 * side**3 / statistics.median(found) / 1e12, 3)},
    )


def training(results: Results, net: str, batch: int, way: str, tiny: bool) -> dict[str, Any]:
    use(WAYS[way])
    config = settings(net, batch, WAYS[way], tiny)
    trainer = Trainer(config, CIFAR, made_up(64 if tiny else 8192))
    if mode := WAYS[way]["compile"]:
        trainer.worker.denoiser.backbone.compile(mode=mode)
    first = timed(lambda: trainer.advance(0.5))
    for _ in range(3):
        trainer.advance(0.5)
    wait()
    found = rounds(lambda: trainer.advance(0.5), 0.2 if tiny else 6)
    work = flops(config)
    return {
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "gflops_a_call": round(work / 1e9, 3),
        "first_step_seconds": round(first, 2),
        **speed(found, batch, 3 * work, results.rows["peak"]["tflops"]),
        "stages": stages(trainer),
    }


def stages(trainer: Trainer) -> dict[str, float]:
    """Milliseconds of each stage of a step, waited for; noise is drawn on the CPU and, to compare, on the device."""
    batch = trainer.stream.batch(0)
    n, device = len(batch.x), trainer.device
    t, _ = trainer.times.draw(n, trainer.model.schedule, torch.Generator().manual_seed(0))
    cpu_noise = torch.Generator().manual_seed(0)
    device_noise = torch.Generator(device).manual_seed(0)
    noise = torch.randn_like(batch.x)
    told = batch.labels if trainer.conditional else None

    def passes() -> None:
        losses = trainer.objective(trainer.worker.denoiser, batch.x, t, noise, told)
        trainer.worker.backward(losses.total.mean())

    calls: dict[str, Callable[[], Any]] = {
        "batch": lambda: trainer.stream.batch(1),
        "noise": lambda: torch.randn(batch.x.shape, generator=cpu_noise).to(device),
        "noise_on_device": lambda: torch.randn(batch.x.shape, generator=device_noise, device=device),
        "passes": passes,
        "clip": lambda: torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0),
        "optimiser": lambda: trainer.optimiser.step(0.0),
        "refresh": trainer.worker.refresh,
    }
    trainer.worker.begin()
    return {
        name: round(1e3 * statistics.median([timed(call) for _ in range(6)][1:]), 3) for name, call in calls.items()
    }


def sampling(results: Results, net: str, batch: int, way: str, tiny: bool) -> dict[str, Any]:
    use(WAYS[way])
    config = settings(net, batch, WAYS[way], tiny)
    model = build.denoiser(config, CIFAR).to(build.device("auto")).eval().requires_grad_(False)
    model = build.computing(model, config.train)
    if mode := WAYS[way]["compile"]:
        model.backbone.compile(mode=mode)
    device = next(model.parameters()).device
    x = torch.randn(batch, *CIFAR.x, device=device)
    labels = torch.arange(batch, device=device) % 10 if config.net.conditional else None

    def call() -> None:
        with torch.no_grad():
            model(x, 0.5, labels)

    first = timed(call)
    for _ in range(3):
        call()
    found = rounds(call, 0.2 if tiny else 3)
    return {"first_call_seconds": round(first, 2), **speed(found, batch, flops(config), results.rows["peak"]["tflops"])}


def table(results: Results, part: str, rows: Sequence[tuple[str, int, str]], tiny: bool) -> None:
    """Measures what is not measured yet and fits in the time; a row that fails is told and left behind."""
    measure = {"training": training, "sampling": sampling}[part]
    done = {row["key"] for row in results.good(part)}
    cost = {True: 90.0, False: 15.0}  # of a row with a compiled net and of any other
    for net, batch, way in rows:
        compiled = WAYS[way]["compile"] is not None
        batch = min(batch, 4) if tiny else batch
        name = results.key(net, batch, way)
        if name in done or (tiny and compiled) or cost[compiled] > results.left():
            continue
        begun = time.monotonic()
        try:
            found = measure(results, net, batch, way, tiny)
        except Exception as error:  # out of memory, or a net that cannot be compiled here: the other rows still count
            found = {"error": f"{type(error).__name__}: {error}"[:300]}
        cost[compiled] = max(cost[compiled], time.monotonic() - begun) if compiled else time.monotonic() - begun
        results.add(part, {"key": name, "net": net, "batch": batch, "way": way, **found})
        done.add(name)

"""What this machine is and what it has to spare: memory, threads, other busy processes, and what is known of it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from noisette.data import cache
from noisette.experiment.environment import cores, cpu

BUSY, BUSY_SHARE = 0.5, 0.1  # cores, and share of all, that others keep busy: above both the machine is shared
NAMED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What a user sets to say how many threads torch may have."""

FORMAT = 2
"""Part of every key: raised when kernels change, or what is measured, so that older figures are not taken for new."""

Clock = Callable[[], float]


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with Path("/proc/meminfo").open() as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def resident(device: torch.device) -> int:
    """Bytes of memory that this process holds now, on a GPU those of tensors; 0 where nobody says."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


_AT_FIRST: dict[str, int] = {}
"""What a process held when it first forgot its peak: a fact of the process, as its peak is."""


def forget_peak(device: torch.device) -> int:
    """Lets `peak_memory` count from now on, and says how many bytes earlier work of this process has left: what earlier
    runs of a study hold, of kernels, readers and other data, is no part of the next one.

    Where the system does not allow that, the peak counts from the process's start.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    _give_back()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: what is held now is the new high-water mark
    now = resident(device)
    return max(0, now - _AT_FIRST.setdefault(device.type, now))


def _give_back() -> None:
    """Gives the system back what was held before and is free: what a run needs must not hang on what came before it."""
    gc.collect()
    # glibc keeps freed memory for itself unless it is asked; other systems have no such call
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def let_go(device: torch.device) -> None:
    """Gives a GPU's memory back that nobody needs any more, and lets `peak_memory` count from now on there."""
    if device.type == "cuda":
        gc.collect()  # compiled nets hold themselves
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that this process has held since `forget_peak`, on a GPU those of tensors; None: nobody says."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, ValueError, StopIteration), Path("/proc/self/status").open() as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return None


class Others:
    """What other processes use of our cores, from now on.

    ticks: gives the seconds that our cores have been busy; mine: those that were this process's; clock: those that
    went by.
    """

    def __init__(
        self,
        ticks: Clock | None = None,
        mine: Clock = time.process_time,
        clock: Clock = time.perf_counter,
    ):
        self._clocks = (ticks or _busy, mine, clock)
        self._begun = self._now()

    def cores(self) -> float:
        """How many cores they kept busy, on average; 0 where the system does not say."""
        busy, mine, passed = (now - then for now, then in zip(self._now(), self._begun, strict=True))
        return max(0.0, (busy - mine) / passed) if busy and passed else 0.0

    def _now(self) -> tuple[float, float, float]:
        ticks, mine, clock = self._clocks
        return ticks(), mine(), clock()


def shared(busy: float) -> bool:
    """Whether so many cores that others keep busy disturb us."""
    return busy > max(BUSY, BUSY_SHARE * cores())


def watched(seconds: float = 0.3) -> float:
    """How many of our cores other processes keep busy just now."""
    others = Others()
    time.sleep(seconds)
    return others.cores()


def _busy() -> float:
    """Seconds that the cores we may use have been busy since the machine started, by whomever; 0: unknown."""
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else None
    total = 0
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/stat").read_text().splitlines():
            name, *values = line.split()
            if name in ours if ours else name == "cpu":
                user, nice, system, _idle, _waiting, irq, softirq, *_ = map(int, values)
                total += user + nice + system + irq + softirq
    return total / os.sysconf("SC_CLK_TCK")


def threads_are_free() -> bool:
    """Whether the number of torch's threads is its own choice, one or two for each two cores, and not the user's."""
    return not any(os.environ.get(name) for name in NAMED) and torch.get_num_threads() in (cores(), cores() // 2)


def threads_then(meta: Mapping[str, Any]) -> int | None:
    """The threads that a run had, by its meta.json, if that was on a machine like this one."""
    threads, alike = meta.get("threads"), (meta.get("cpu"), meta.get("cores")) == (cpu(), cores())
    return threads if alike and isinstance(threads, int) and 1 <= threads <= cores() else None


@contextlib.contextmanager
def same_threads() -> Iterator[None]:
    """Gives torch back the number of threads that it had: a trial may choose fewer."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# --- what is known of it ------------------------------------------------------------------------------------------


def identity(device: torch.device) -> dict[str, Any]:
    """All that a time measured here depends on, the net apart."""
    return {
        "format": FORMAT,
        "device": device.type,
        "cpu": cpu(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "noisette": importlib.metadata.version("noisette"),
    }


def place(kind: str, device: torch.device, about: Any) -> Path | None:
    """The file for what is measured here and now, with this number of threads, about something (JSON); None without a
    cache folder."""
    home = cache.folder()
    return home / "trials" / f"{kind}-{cache.key(identity(device), about)}.json" if home else None


def recall(place: Path | None) -> Any:
    """What `remember` kept there; None where there is nothing or it is damaged."""
    if place:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return json.loads(place.read_text(encoding="utf-8"))
    return None


def remember(place: Path | None, found: Any) -> bool:
    """Keeps something (JSON) for runs to come on this machine; whether that could be done."""
    if place:
        with contextlib.suppress(OSError):
            cache.write(place, json.dumps(found).encode())
            return True
    return False

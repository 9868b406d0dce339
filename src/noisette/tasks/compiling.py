"""Whether compiling a net repays its warm-up: by what was measured, and tried only where the job is long enough."""

from __future__ import annotations

import contextlib
import copy
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noisette.diffusion.denoisers import NetDenoiser
from noisette.errors import UserError
from noisette.tasks import machine
from noisette.tasks.race import RESTLESS, ROUNDS, spread

TRAINING = {"cpu": 1800.0, "cuda": 180.0}
SAMPLING = {"cpu": 300.0, "cuda": 60.0}
"""Seconds of work, by kind of device, from which on compiling is tried: its warm-up of 20 to 80 s may be in vain."""

FROZEN = {"freezing": True}
"""Options of torch.compile for a net that no longer learns: its weights become constants, packed once."""

FEW = 100
"""Calls of a net of which two are not spent on finding out how long all will take."""


class Figures(BaseModel):
    """What compiling did: seconds of warm-up; how many times faster the work was then, and how far rounds disagreed
    (see Race); or why it failed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    warm_up: float = Field(ge=0)
    gain: float = Field(gt=0)
    spread: float = Field(1.0, ge=1)
    failed: str = ""

    @property
    def certain(self) -> bool:
        """Whether they are worth keeping: a compiler may be there tomorrow, and a restless machine at rest."""
        return not self.failed and self.spread <= RESTLESS

    def repaid_by(self, seconds: float) -> bool:
        """Whether work that takes so long uncompiled is done sooner with a warm-up and compiled."""
        return not self.failed and self.warm_up + seconds / self.gain < seconds


@dataclass(frozen=True)
class Decision:
    on: bool
    why: str
    figures: Figures | None = None

    def told(self) -> dict[str, Any]:
        """For meta.json."""
        figures = self.figures.model_dump(exclude_defaults=True) if self.figures else {}
        return {"on": self.on, "why": self.why, **{k: v if k == "failed" else round(v, 2) for k, v in figures.items()}}


def decide(
    asked: Literal["auto", "on", "off"],
    kind: str,
    seconds: float,
    long_enough: dict[str, float],
    known: Figures | None,
    measure: Callable[[], Figures] | None,
    spent: bool = False,
) -> Decision:
    """Whether to compile for work of so many seconds on this kind of device.

    Args:
        asked: auto leaves it open.
        long_enough: TRAINING or SAMPLING.
        known: from an earlier trial.
        measure: a trial; None where there is no time for one.
        spent: whether a trial leaves a compiled net that is ready, so that its warm-up is over whatever is decided.
    """
    if asked != "auto":
        return Decision(asked == "on", "as the settings say", known)
    ready = False
    if known is None:
        least = long_enough.get(kind)
        if least is None:
            return Decision(False, f"not tried on {kind}")
        if seconds < least:
            return Decision(False, f"not tried: {seconds:,.0f} s of work, and less than {least:,.0f} s rarely repay it")
        if measure is None:
            return Decision(False, "not tried: that takes a minute or more")
        known, ready = measure(), spent
    if known.failed:
        return Decision(False, f"it failed: {known.failed}", known)
    figures = f"{known.warm_up:.0f} s of warm-up, then {known.gain:.2f} times as fast"
    if ready:
        return Decision(known.gain > 1, f"{figures}: measured just now, so the warm-up is over", known)
    on = known.repaid_by(seconds)
    return Decision(on, f"{figures}: {'' if on else 'not '}repaid within {seconds:,.0f} s", known)


def measured(compiled: Callable[[], float], plain: Callable[[], float], patience: float = 3.0) -> Figures:
    """What compiling costs and gains, from functions that do a piece of work either way and give its seconds.

    Both do it once to prepare, then in turn; after two rounds and `patience` seconds what is known by then decides.
    """
    begun = time.perf_counter()
    try:
        compiled()
    except Exception as error:  # no C++ compiler, or a net that torch cannot compile
        return Figures(warm_up=time.perf_counter() - begun, gain=1.0, spread=1.0, failed=_reason(error))
    warm_up = time.perf_counter() - begun
    plain()
    begun, times = time.perf_counter(), {"compiled": [compiled()], "plain": [plain()]}
    for _ in range(1, ROUNDS):
        times["compiled"].append(compiled())
        times["plain"].append(plain())
        if time.perf_counter() - begun > patience:
            break
    fast, slow = (max(statistics.median(seen), 1e-9) for seen in times.values())
    return Figures(warm_up=max(warm_up - fast, 0.0), gain=slow / fast, spread=spread(times))


@contextlib.contextmanager
def or_told(instead: str) -> Iterator[None]:
    """An error of torch's compiler told as the user's, with what to do instead."""
    try:
        yield
    except Exception as error:
        # by the module's name, since importing it takes a second or two
        if not any(kind.__module__.startswith(("torch._dynamo", "torch._inductor")) for kind in type(error).__mro__):
            raise
        raise UserError(f"the net could not be compiled here ({_reason(error)}): {instead}") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).strip().split("\n\n")[0].split())[:120]


def worth_compiling(
    model: NetDenoiser,
    call: Callable[[NetDenoiser], object],
    calls: int,
    about: Sequence[Any],
    asked: Literal["auto", "on", "off"] = "auto",
    prepare: Callable[[NetDenoiser], object] = lambda of: None,
) -> tuple[NetDenoiser, Decision]:
    """(the denoiser to sample with, compiled or not; why), after a look at how long the job is.

    A compiled net rounds differently, so which it was belongs to all that is kept of the samples.

    Args:
        model: the denoiser that computes.
        call: calls a denoiser once at the size that the job does, and waits until the result is there.
        calls: how many calls the job makes.
        about: what the figures depend on besides the machine (JSON): the net's settings, its precision, the shape.
        asked: auto decides by the figures.
        prepare: calls a denoiser once at every size that the job has: each is compiled on its own.
    """

    def seconds(of: NetDenoiser) -> float:
        begun = time.perf_counter()
        call(of)
        return time.perf_counter() - begun

    def tried() -> Figures:
        found = measured(lambda: seconds(compiled()), lambda: seconds(model))
        if found.certain:
            machine.remember(place, found.model_dump())
        return found

    @functools.cache
    def compiled() -> NetDenoiser:
        faster = copy.deepcopy(model)
        faster.backbone.compile(options=FROZEN)
        prepare(faster)
        return faster

    if asked == "auto" and calls < FEW:
        return model, Decision(False, "not tried: a short job")
    device = next(model.parameters()).device
    place = machine.place("sample", device, about)
    if asked == "auto":
        seconds(model)  # the first call prepares kernels
    job = calls * seconds(model) if asked == "auto" else 0.0
    decision = decide(asked, device.type, job, SAMPLING, _known(place), tried, spent=True)
    return (compiled() if decision.on else model), decision


def _known(place: Path | None) -> Figures | None:
    try:
        return Figures.model_validate(machine.recall(place))
    except ValidationError:
        return None

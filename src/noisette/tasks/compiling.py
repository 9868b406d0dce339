"""Whether compiling a net repays its warm-up: by what was measured, and tried only where the job is long enough."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noisette.diffusion.denoisers import NetDenoiser
from noisette.tasks import machine
from noisette.tasks.race import RESTLESS, race

TRAINING = {"cpu": 1800.0, "cuda": 180.0}
SAMPLING = {"cpu": 300.0, "cuda": 60.0}
"""Seconds of work, by kind of device, from which on compiling is tried: its warm-up of 20 to 80 s may be in vain."""


class Figures(BaseModel):
    """What compiling did: seconds of warm-up; how many times faster the work was then, and how far rounds disagreed
    (see Race); or why it failed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    warm_up: float = Field(ge=0)
    gain: float = Field(gt=0)
    spread: float = Field(1.0, ge=1)
    failed: str = ""

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
) -> Decision:
    """Whether to compile for work of so many seconds on this kind of device.

    Args:
        asked: auto leaves it open.
        long_enough: TRAINING or SAMPLING.
        known: from an earlier trial.
        measure: a trial; None where there is no time for one.
    """
    if asked != "auto":
        return Decision(asked == "on", "as the settings say", known)
    if known is None:
        least = long_enough.get(kind)
        if least is None:
            return Decision(False, f"not tried on {kind}")
        if seconds < least:
            return Decision(False, f"not tried: {seconds:,.0f} s of work, and less than {least:,.0f} s rarely repay it")
        if measure is None:
            return Decision(False, "not tried: that takes a minute or more")
        known = measure()
    if known.failed:
        return Decision(False, f"it failed: {known.failed}", known)
    on = known.repaid_by(seconds)
    figures = f"{known.warm_up:.0f} s of warm-up, then {known.gain:.2f} times as fast"
    return Decision(on, f"{figures}: {'' if on else 'not '}repaid within {seconds:,.0f} s", known)


def measured(compiled: Callable[[], float], plain: Callable[[], float]) -> Figures:
    """What compiling costs and gains, from functions that do a piece of work either way and give its seconds."""
    begun = time.perf_counter()
    try:
        compiled()
    except Exception as error:  # no C++ compiler, or a net that torch cannot compile
        return Figures(warm_up=time.perf_counter() - begun, gain=1.0, failed=" ".join(str(error).split())[:120])
    warm_up = time.perf_counter() - begun
    run = race(["compiled", "plain"], lambda way, _: compiled() if way == "compiled" else plain(), 1)
    fast, slow = run.seconds["compiled"], run.seconds["plain"]
    return Figures(warm_up=max(warm_up - fast, 0.0), gain=slow / max(fast, 1e-9), spread=run.spread)


def worth_compiling(
    model: NetDenoiser,
    call: Callable[[NetDenoiser], object],
    calls: int,
    about: Sequence[Any],
    asked: Literal["auto", "on", "off"] = "auto",
) -> tuple[NetDenoiser, Decision]:
    """(the denoiser to sample with, compiled or not; why), after a look at how long the job is.

    Args:
        model: the denoiser that computes.
        call: calls a denoiser once at the size that the job does, and waits until the result is there.
        calls: how many calls the job makes.
        about: what the figures depend on besides the machine (JSON): the net's settings, its precision, the shape.
        asked: auto decides by the figures.
    """

    def seconds(of: NetDenoiser) -> float:
        begun = time.perf_counter()
        call(of)
        return time.perf_counter() - begun

    def tried() -> Figures:
        found = measured(lambda: seconds(compiled()), lambda: seconds(model))
        if found.spread <= RESTLESS:
            machine.remember("sample", device, about, found.model_dump())
        return found

    @functools.cache
    def compiled() -> NetDenoiser:
        faster = copy.deepcopy(model)
        faster.backbone.compile()
        return faster

    device = next(model.parameters()).device
    if asked == "auto":
        seconds(model)  # the first call prepares kernels
    job = calls * seconds(model) if asked == "auto" else 0.0
    decision = decide(asked, device.type, job, SAMPLING, _known(device, about), tried)
    return (compiled() if decision.on else model), decision


def _known(device: torch.device, about: Sequence[Any]) -> Figures | None:
    try:
        return Figures.model_validate(machine.recall("sample", device, about))
    except ValidationError:
        return None

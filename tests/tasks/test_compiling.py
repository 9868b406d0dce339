"""Whether compiling repays its warm-up: when it is tried, and what is made of the figures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trials import ALL, GIB, SHAPE, Timed, config_of

from noisette.experiment import build
from noisette.tasks import compiling, machine
from noisette.tasks.measure import settle

pytestmark = pytest.mark.usefixtures("quiet")


def figures(warm_up: float = 60.0, gain: float = 1.2, **more: Any) -> compiling.Figures:
    return compiling.Figures(warm_up=warm_up, gain=gain, **more)


@pytest.mark.parametrize(
    ("asked", "seconds", "known", "on", "why"),
    [
        ("on", 1.0, None, True, "settings"),
        ("off", 1e9, figures(), False, "settings"),
        ("auto", 1799.0, None, False, "rarely"),
        ("auto", 361.0, figures(), True, "repaid"),  # 60 + 361 / 1.2 < 361
        ("auto", 359.0, figures(), False, "not repaid"),
        ("auto", 1e9, figures(gain=0.98), False, "not repaid"),
        ("auto", 1e9, figures(failed="no compiler"), False, "no compiler"),
    ],
)
def test_compiling_is_decided_by_what_repays_it(
    asked: Any, seconds: float, known: compiling.Figures | None, on: bool, why: str
) -> None:
    def never() -> compiling.Figures:
        raise AssertionError("measured for nothing")

    found = compiling.decide(asked, "cpu", seconds, compiling.TRAINING, known, never)
    assert found.on is on and why in found.why and found.told()["on"] is on


def test_compiling_is_tried_in_place_of_a_guess_where_the_work_is_long_enough() -> None:
    tried = compiling.decide("auto", "cuda", 200.0, compiling.TRAINING, None, lambda: figures(20.0, 1.5))
    assert tried.on and tried.figures == figures(20.0, 1.5)
    assert not compiling.decide("auto", "cuda", 200.0, compiling.TRAINING, None, None).on
    assert not compiling.decide("auto", "mps", 1e9, compiling.TRAINING, None, lambda: figures()).on


class Compiled(Timed):
    def seconds(self, way: str, batch: int, compile: str = "off") -> float:
        return super().seconds(way, batch) / (2.0 if compile == "on" else 1.0)


def test_a_long_run_compiles_if_the_trial_says_so_and_the_next_one_knows() -> None:
    config = config_of(train__minutes=60)
    trial = Compiled(config, ALL)
    result = settle(config, trial, free=lambda device: 8 * GIB)
    assert result.config.train.compile == "on" and result.found["compile"]["gain"] == pytest.approx(2)
    assert result.an_image == pytest.approx(5e-4)
    again = Compiled(config, ALL)
    assert settle(config, again, free=lambda device: 8 * GIB).config.train.compile == "on" and not again.passes
    hurried = Compiled(config, ALL)
    assert settle(config_of(train__minutes=2), hurried, free=lambda device: 8 * GIB).config.train.compile == "on"
    impatient = settle(config_of(train__minutes=60, net__channels=16), Compiled(config, ALL), patient=False)
    assert impatient.config.train.compile == "off"


def test_what_cannot_be_compiled_is_not_and_says_why() -> None:
    def fails() -> float:
        raise RuntimeError("no C++ compiler\nwas found")

    found = compiling.measured(fails, lambda: 1.0)
    assert found.failed == "no C++ compiler was found" and not found.repaid_by(1e9)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # torch's own, in torch.compile
def test_sampling_compiles_a_copy_for_a_long_job_only() -> None:
    model = build.denoiser(config_of(), SHAPE).eval()
    called: list[bool] = []

    def call(of: Any) -> None:
        called.append(of is model)

    same, decision = compiling.worth_compiling(model, call, 100, ["tiny"])
    assert same is model and not decision.on and called == [True, True]
    machine.remember("sample", torch.device("cpu"), ["tiny"], figures(0.0, 3.0).model_dump())
    faster, decision = compiling.worth_compiling(model, lambda of: None, 10**9, ["tiny"])
    assert faster is not model and decision.on
    assert torch.equal(next(faster.parameters()), next(model.parameters()))
    assert compiling.worth_compiling(model, call, 10**9, ["tiny"], "off")[0] is model

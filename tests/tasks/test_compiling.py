"""Whether compiling repays its warm-up: when it is tried, and what is made of the figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trials import ALL, GIB, SHAPE, Timed, config_of, kept

from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.tasks import compiling, machine
from noisette.tasks.generate import CHUNK, generate
from noisette.tasks.measure import settle

pytestmark = [
    pytest.mark.usefixtures("quiet"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning"),  # of torch's compiler itself
]


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
    """Compiled passes take half the time; it notes their batches."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.batches: set[int] = set()

    def seconds(self, way: str, batch: int, compile: str = "off") -> float:
        self.batches |= {batch} if compile == "on" else set()
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


class Broken(Timed):
    """There is no compiler; how often that was found."""

    found = 0

    def seconds(self, way: str, batch: int, compile: str = "off") -> float:
        if compile == "on":
            self.found += 1
            raise RuntimeError("no C++ compiler")
        return super().seconds(way, batch)


def test_a_failure_is_not_kept_a_compiler_may_be_there_the_next_time() -> None:
    config = config_of(train__minutes=60)
    for _ in range(2):
        trial = Broken(config, ALL)
        result = settle(config, trial, free=lambda device: 8 * GIB)
        assert result.config.train.compile == "off" and "no C++ compiler" in result.found["compile"]["why"]
        assert trial.found == 1 and result.found["trial"]["kept"]
        assert json.loads(kept()[0].read_text())["compiled"] is None
    again = Compiled(config, ALL)
    assert settle(config, again, free=lambda device: 8 * GIB).config.train.compile == "on"


def test_one_disturbed_pass_does_not_decide() -> None:
    """Neither way is given up: what a compiled pass takes is known from several."""
    compiled, plain = iter([20.0, 1.0, 0.1, 0.1]), iter([0.3, 0.2, 0.2, 0.2])
    found = compiling.measured(lambda: next(compiled), lambda: next(plain))
    assert found.gain == pytest.approx(2) and found.spread == pytest.approx(10) and not found.certain
    compiled, plain = iter([20.0, 0.1, 0.1, 0.1]), iter([3.0, 2.0, 0.2, 0.2])
    assert compiling.measured(lambda: next(compiled), lambda: next(plain)).gain == pytest.approx(2)
    steady = compiling.measured(lambda: 0.1, lambda: 0.9)
    assert steady.certain and steady.gain == pytest.approx(9)


def test_the_passes_that_compare_are_no_more_than_patience_allows() -> None:
    asked: list[str] = []

    def takes(way: str, seconds: float) -> float:
        asked.append(way)
        return seconds

    found = compiling.measured(lambda: takes("compiled", 0.1), lambda: takes("plain", 0.2), patience=0.0)
    assert found.gain == pytest.approx(2) and asked.count("compiled") == asked.count("plain") == 3
    config = config_of(train__minutes=60, train__batch=512)
    trial = Compiled(config, ALL)
    result = settle(config, trial, free=lambda device: 80 * GIB)
    assert trial.batches == {result.found["trial"]["batch"]} and result.config.train.micro_batch == 512
    assert max(trial.batches) < 512


def test_who_asked_to_stop_does_not_wait_for_a_compiler() -> None:
    config = config_of(train__minutes=60)
    trial = Compiled(config, ALL)
    result = settle(config, trial, free=lambda device: 8 * GIB, stopped=lambda: 15)
    assert result.config.train.compile == "off" and not trial.batches


def test_an_error_of_the_compiler_is_told_as_the_users_and_no_other() -> None:
    from torch._inductor.exc import InvalidCxxCompiler

    with (
        pytest.raises(UserError, match=r"could not be compiled here \(No working C\+\+ .*: leave it") as error,
        compiling.or_told("leave it"),
    ):
        raise InvalidCxxCompiler
    assert "\n" not in str(error.value)
    with pytest.raises(ZeroDivisionError), compiling.or_told("leave it"):
        _ = 1 / 0


def test_without_a_cpp_compiler_a_run_ends_in_one_line(squares: Path, tmp_path: Path) -> None:
    settings = ["--train.steps", "2", "--train.compile", "on", "--net.channels", "8", "--net.groups", "4"]
    words = ["train", str(squares), "--out", str(tmp_path / "run"), *settings, "--net.head_dim", "8"]
    bare = {k: v for k, v in os.environ.items() if k not in ("CXX", "CC")}
    bare |= {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kernels")}
    done = subprocess.run([sys.executable, "-m", "noisette.cli", *words], env=bare, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "--train.compile off" in done.stderr.splitlines()[-1]
    assert Run.open(tmp_path / "run").meta["state"] == "failed"


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # torch's own, in torch.compile
def test_sampling_compiles_a_copy_for_a_long_job_only() -> None:
    model = build.denoiser(config_of(), SHAPE).eval()
    called: list[bool] = []

    def call(of: Any) -> None:
        called.append(of is model)

    same, decision = compiling.worth_compiling(model, call, 100, ["tiny"])
    assert same is model and not decision.on and called == [True, True]
    machine.remember(machine.place("sample", torch.device("cpu"), ["tiny"]), figures(0.0, 3.0).model_dump())
    faster, decision = compiling.worth_compiling(model, lambda of: None, 10**9, ["tiny"])
    assert faster is not model and decision.on
    assert torch.equal(next(faster.parameters()), next(model.parameters()))
    assert compiling.worth_compiling(model, call, 10**9, ["tiny"], "off")[0] is model
    assert compiling.worth_compiling(model, call, compiling.FEW - 1, ["tiny"])[0] is model


def test_sampling_that_cannot_compile_goes_on_without_and_forgets_it() -> None:
    model = build.denoiser(config_of(), SHAPE).eval()

    def call(of: Any) -> None:
        if of is not model:
            raise RuntimeError("no C++ compiler")

    same, decision = compiling.worth_compiling(model, call, 10**15, ["tiny"])
    assert same is model and "no C++ compiler" in decision.why and not kept()


def test_compiled_samples_say_so_and_depend_on_their_seeds_alone(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.nn.Module.compile  # without kernels of its own, which would take half a minute
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: whole(self, backend="eager"))
    plain, _ = generate(trained, CHUNK + 2, steps=2)
    many, _ = generate(trained, CHUNK + 2, steps=2, compile="on")
    few, _ = generate(trained, 2, steps=2, compile="on")
    assert many.settings["compiled"] and not plain.settings["compiled"]
    assert np.array_equal(many.x[:2], few.x)
    assert np.abs(many.x.astype(int) - plain.x).max() <= 1

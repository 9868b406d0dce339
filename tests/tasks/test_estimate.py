"""What a run says to expect, and how near it comes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY, tiny
from trials import SHAPE, config_of

from noisette.data import DataSpec, load
from noisette.data.medium import facts
from noisette.experiment import build
from noisette.experiment.config import Config
from noisette.experiment.shape import Shape
from noisette.tasks import machine, measure, train
from noisette.tasks.estimate import COPIES, estimate
from noisette.tasks.measure import Settled, Trial, settle
from noisette.tasks.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quiet")


def sure(config: Config, an_image: float = 1e-3, forward: float = 2e-4, update: float = 2e-3) -> Settled:
    chosen = {
        "train.precision": "fp32",
        "train.layout": "channels_first",
        "train.micro_batch": 4,
        "train.compile": "off",
    }
    return Settled(config.changed(chosen), an_image, forward, update, 1000, {})


def test_an_estimate_is_the_arithmetic_of_a_budget() -> None:
    by_steps = estimate(sure(config_of(train__steps=50)), SHAPE, 100, resident=10_000_000)
    assert by_steps.images_per_second == pytest.approx(8 / 0.010)
    assert (by_steps.steps, by_steps.images, by_steps.epochs) == (50, 400, 4.0)
    assert by_steps.seconds == pytest.approx(0.5)
    by_images = estimate(sure(config_of(train__images=401)), SHAPE, 100)
    assert by_images.steps == 51
    by_minutes = estimate(sure(config_of(train__minutes=1)), SHAPE, 100, looks=50_000)
    assert by_minutes.steps == 5_000 and by_minutes.seconds == pytest.approx(60)  # ten seconds are for looks
    late = estimate(sure(config_of(train__minutes=1)), SHAPE, 100, done=(1000, 40.0))
    assert late.steps == 3_000
    looking = estimate(sure(config_of(train__steps=50)), SHAPE, 100, looks_a_step=50)
    assert looking.seconds == pytest.approx(1.0) and looking.images_per_second == by_steps.images_per_second


def test_an_estimate_of_memory_counts_weights_optimiser_average_and_activations() -> None:
    config = config_of(optim__name="adamw")
    weights = sum(p.numel() for p in build.denoiser(config, SHAPE).parameters())
    found = estimate(sure(config), SHAPE, 100, resident=10_000_000)
    batch = COPIES * 4 * math.prod(SHAPE.x) * config.train.batch
    assert found.memory == 10_000_000 + 4 * 5 * weights + 4 * 1000 + batch
    muon = estimate(sure(config_of()), SHAPE, 100, resident=10_000_000)
    assert found.memory - 4 * weights < muon.memory < found.memory


def test_an_estimate_comes_near_what_a_tiny_run_does(squares: Path, tmp_path: Path) -> None:
    """Memory and looks by count; speed within the factor by which two measurements of a busy machine differ."""
    data = load(DataSpec(str(squares)))
    shape = Shape.of(facts(data))
    config = build.resolve(shape, "small-grey", TINY | {"train": {**TINY["train"], "steps": 40}})
    result = settle(config, Trial(config, shape))
    found = estimate(result, shape, len(data.train))
    trainer = Trainer(result.config, shape, data)
    for _ in range(40):
        trainer.advance(0.1)
    assert (found.steps, found.images) == (trainer.step, trainer.images)
    assert 0.1 < found.images_per_second / (trainer.images / trainer.window.busy) < 10


def test_a_run_tells_what_to_expect_and_keeps_it(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "RESTLESS", float("inf"))  # other tests run beside this one
    run = tiny(squares, tmp_path / "run", train__steps=6)
    meta = run.meta
    assert meta["estimate"]["steps"] == meta["steps"] == 6
    assert meta["estimate"]["epochs"] == pytest.approx(48 / 54, abs=0.01)
    assert meta["trial"]["chosen"] == "fp32 channels_first" and meta["compile"] == {
        "on": False,
        "why": "as the settings say",
    }
    told: list[train.Ready] = []
    extended = train.continued(run, {"steps": 4})
    for _ in train.train(extended, ready=told.append):
        assert told
    assert told[0].estimate.steps == 10 and told[0].found["trial"]["cached"] and told[0].free > 0
    assert measure.budget_seconds(told[0].config.train, 0.5) == 5.0


def test_a_budget_that_the_start_uses_up_still_makes_a_model(squares: Path, tmp_path: Path) -> None:
    run = tiny(squares, tmp_path / "run", train__steps=None, train__minutes=1e-5)
    assert run.finished and run.checkpoint().step == run.meta["steps"] == 1


def test_a_peak_of_memory_is_that_since_the_last_was_forgotten() -> None:
    device = torch.device("cpu")
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not forget a peak")
    held = np.ones(200 * 2**20, np.uint8)
    most = machine.peak_memory(device)
    del held
    machine.forget_peak(device)
    after = machine.peak_memory(device)
    assert most is not None and after is not None and most - after > 150 * 2**20
    assert abs(after - machine.resident(device)) < 20 * 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not say what a process holds")
def test_what_a_process_freed_before_does_not_count() -> None:
    device = torch.device("cpu")
    held = [bytearray(2000) for _ in range(100_000)]
    last, before = held[-1], machine.resident(device)
    del held  # the C library keeps what lies below the last one
    machine.forget_peak(device)
    assert before - machine.resident(device) > 100 * 2**20 and len(last) == 2000


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not forget a peak")
def test_what_earlier_work_of_the_process_holds_is_no_part_of_a_run(squares: Path, tmp_path: Path) -> None:
    first = tiny(squares, tmp_path / "first").meta["memory"]
    held = np.ones(300 * 2**20, np.uint8)
    second = tiny(squares, tmp_path / "second").meta["memory"]
    assert abs(second - first) < 100 * 2**20 < len(held)

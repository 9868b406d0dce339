from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from alike import assert_same_run
from tiny import TINY, tiny

from noisette.data import DataSpec, load
from noisette.data.medium import facts
from noisette.data.stream import Stream
from noisette.diffusion.objectives import ImportanceTimes
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import OptimConfig, merge, parse
from noisette.experiment.runs import Run
from noisette.experiment.shape import Shape
from noisette.nets.unet import UNet
from noisette.tasks import train
from noisette.tasks.optimisers import Optimiser, is_hidden
from noisette.tasks.trainer import Trainer, rate_curve

SETTINGS = {
    "dropout": {"net__dropout": 0.2, "data__flip": True},
    "importance": {"objective__times": "importance", "objective__distance": "huber"},
    "adamw-accumulated": {"optim__name": "adamw", "train__micro_batch": 3},
    "learned-variance": {"objective__learn_variance": True, "objective__predicts": "eps"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_interrupted_and_resumed_equals_straight(squares: Path, tmp_path: Path, name: str) -> None:
    settings = SETTINGS[name]
    straight = tiny(squares, tmp_path / "straight", train__steps=25, **settings)
    wanted = merge(TINY, {"train.steps": 25, **{k.replace("__", "."): v for k, v in settings.items()}})
    run, data = train.start(str(squares), wanted, "small-grey", tmp_path / "broken")
    for stop_at in (7, 16):
        counter = iter(range(stop_at - (run.checkpoints()[-1].step if run.checkpoints() else 0)))
        with pytest.raises(train.Interrupted):
            for _ in train.train(run, data, lambda c=counter: 0 if next(c, None) is not None else signal.SIGTERM):
                pass
        assert run.meta["state"] == "interrupted"
    for _ in train.train(Run.open(run.path)):
        pass
    assert_same_run(straight, Run.open(run.path))


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "noisette.cli", *map(str, words)]


def flat(settings: dict) -> list[str]:
    pairs = [(f"--{section}.{k}", json.dumps(v)) for section, values in settings.items() for k, v in values.items()]
    return [word.strip('"') for pair in pairs for word in pair]


@pytest.mark.parametrize("moment", ["before a checkpoint", "any"])
def test_kill_9_and_resume_equals_straight(squares: Path, tmp_path: Path, moment: str) -> None:
    """What users fear: the process gone at a random moment, once before any checkpoint was written."""
    steps, share = 60, 0.0 if moment != "any" else float(np.random.default_rng().uniform(0.1, 0.7))
    settings = merge(TINY, {"train.steps": steps, "train.checkpoints": 10, "train.precision": "bf16"})
    straight = tmp_path / "straight"
    subprocess.run(command("train", squares, "--out", straight, *flat(settings)), check=True, capture_output=True)
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command("train", squares, "--out", killed, *flat(settings)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        lines = (killed / "metrics.jsonl").read_text().count("\n") if (killed / "metrics.jsonl").exists() else 0
        if lines >= share * steps / settings["train"]["log_every"] and (killed / "config.toml").exists():
            break
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert Run.open(killed).meta["state"] != "finished"
    subprocess.run(command("resume", killed), check=True, capture_output=True)
    assert_same_run(Run.open(straight), Run.open(killed))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_first(squares: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "run"
    settings = merge(TINY, {"train.steps": 100_000})
    process = subprocess.Popen(
        command("train", squares, "--out", out, *flat(settings)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    for _ in range(600):
        if (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"noisette resume" in err.splitlines()[-1] and b"Traceback" not in err
    run = Run.open(out)
    assert run.meta["state"] == "interrupted" and run.checkpoint().step > 0


def test_a_finished_run_is_extended(squares: Path, tmp_path: Path) -> None:
    run = tiny(squares, tmp_path / "run", train__steps=6)
    with pytest.raises(UserError, match="finished"):
        train.continued(run, {})
    run.update_meta(state="interrupted")
    with pytest.raises(UserError, match="not finished yet"):
        train.continued(run, {"steps": 1})
    assert train.continued(run, {}) is run
    run.update_meta(state="finished")
    for more, says in (({"steps": 1, "minutes": 1}, "one budget"), ({"steps": 0}, "more than 0")):
        with pytest.raises(UserError, match=says):
            train.continued(run, more)
    for _ in train.train(train.continued(run, {"steps": 4})):
        pass
    again = Run.open(run.path)
    assert again.checkpoint().step == 10 and again.finished and again.config.train.steps == 10
    steps = [row["step"] for row in again.metrics() if "loss" in row]
    assert steps == sorted(set(steps)) and steps[-1] == 10


def test_it_learns(squares: Path, tmp_path: Path) -> None:
    """Two classes of bright squares: after a few hundred steps each sample has its square in its class's corner."""
    run = tiny(squares, tmp_path / "run", train__steps=250, sample__steps=12)
    from noisette.tasks.generate import generate

    samples, _ = generate(run, 16)
    corners = samples.x[:, :4, :4].mean((1, 2, 3)), samples.x[:, 4:, 4:].mean((1, 2, 3))
    assert samples.labels is not None
    right = np.where(samples.labels == 0, corners[0] - corners[1], corners[1] - corners[0])
    assert (right > 60).mean() >= 0.9
    rows = run.metrics()
    losses = [row["val_loss"] for row in rows if "val_loss" in row]
    assert losses[-1] < 0.5 * rows[0]["loss"]


def test_budget_in_images_and_minutes() -> None:
    config = parse({"train": {"images": 1000}}, "x").train
    assert train.used(config, 3, 250, 1e9) == 0.25 and train.used(config, 3, 5000, 0) == 1.0
    config = parse({"train": {"minutes": 0.5}}, "x").train
    assert train.used(config, 3, 250, 15.0) == 0.5
    assert train.used(config, 3, 250, 15.0, lead=10.0) == 0.25
    assert train.used(config, 3, 250, 5.0, lead=10.0) == 0.0 and train.used(config, 3, 250, 41.0, lead=40.0) == 1.0


def test_getting_ready_is_no_part_of_the_curve_of_the_rate(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that goes half a second a look, and ten seconds in every trial, of a budget of sixty."""
    now, seen = [0.0], []

    def tick(seconds: float = 0.5) -> float:
        now[0] += seconds
        return now[0]

    settle, advance = train.settle, Trainer.advance
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=tick))
    monkeypatch.setattr(train, "settle", lambda *args, **more: (tick(10.0), settle(*args, **more))[1])
    monkeypatch.setattr(Trainer, "advance", lambda self, share: (seen.append(share), advance(self, share))[1])
    wanted = merge(TINY, {"train.minutes": 1, "train.checks": 0, "train.previews": 0})
    run, data = train.start(str(squares), wanted, "small-grey", tmp_path / "run")
    with pytest.raises(train.Interrupted):
        for _ in train.train(run, data, lambda: signal.SIGTERM if len(seen) == 8 else 0):
            pass
    assert seen[0] < 0.05 and len(seen) == 8
    for _ in train.train(Run.open(run.path), data):
        pass
    assert 0 < seen[8] - seen[7] < 0.2 and seen == sorted(seen) and seen[-1] > 0.9
    assert now[0] < 75  # the trials of both sessions are part of the budget


def test_rate_rises_and_falls() -> None:
    optim = OptimConfig(warmup=0.1, decay="cosine")
    curve = [rate_curve(optim, p / 100) for p in range(101)]
    assert curve[0] < 0.05 and max(curve) > 0.95 and curve[-1] <= 0.001
    assert max(range(101), key=lambda k: curve[k]) in range(8, 13)
    assert rate_curve(OptimConfig(warmup=0, decay="constant"), 0.7) == 1.0


def test_accumulation_is_the_whole_batch(squares: Path) -> None:
    """Micro-batches of 3 of 8 give the gradient of the batch of 8."""
    data = load(DataSpec(str(squares)))
    grads = []
    for size in (8, 3):
        config = build.resolve(Shape.of(facts(data)), "small-grey", merge(TINY, {"train.micro_batch": size}))
        trainer = Trainer(config, Shape.of(facts(data)), data)
        torch.nn.init.normal_(trainer.model.backbone.conv_out.weight, generator=torch.Generator().manual_seed(0))
        trainer.advance(0.5)
        grads.append([p.grad.clone() for p in trainer.model.parameters()])
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_the_run(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = merge(TINY, {"train.steps": 20, "train.checkpoints": 10})
    run, data = train.start(str(squares), wanted, "small-grey", tmp_path / "run")
    advance = Trainer.advance

    def poisoned(self: Trainer, progress: float) -> float:
        if self.step == 9:
            torch.nn.init.constant_(self.model.backbone.conv_in.weight, float("nan"))
        return advance(self, progress)

    monkeypatch.setattr(Trainer, "advance", poisoned)
    with pytest.raises(UserError, match=r"step 9 is nan \(batch: data rows .*last good checkpoint is step 8") as error:
        for _ in train.train(run, data):
            pass
    assert "\n" not in str(error.value) and run.meta["state"] == "failed"
    monkeypatch.undo()
    for _ in train.train(Run.open(run.path)):  # and goes on from the last good checkpoint
        pass
    assert Run.open(run.path).finished


def test_other_data_under_the_same_name_is_refused(squares: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.npz"
    copy.write_bytes(squares.read_bytes())
    run = tiny(copy, tmp_path / "run", train__steps=4)
    np.savez(copy, x=np.zeros((60, 8, 8, 1), np.uint8), y=np.arange(60) % 2)
    with pytest.raises(UserError, match="no longer the images"):
        for _ in train.train(train.continued(run, {"steps": 2})):
            pass


def test_ema_follows_its_formula(squares: Path) -> None:
    data = load(DataSpec(str(squares)))
    config = build.resolve(Shape.of(facts(data)), "small-grey", merge(TINY, {"optim.ema": 0.5}))
    trainer = Trainer(config, Shape.of(facts(data)), data)
    expected = [p.detach().clone() for p in trainer.model.parameters()]
    for step in range(8):
        trainer.advance(0.5)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = [
            decay * e + (1 - decay) * p.detach() for e, p in zip(expected, trainer.model.parameters(), strict=True)
        ]
    for e, p in zip(expected, trainer.ema.parameters(), strict=True):
        assert torch.allclose(e, p, atol=1e-6)


def test_validation_is_fixed_and_on_held_out_images(trained: Run, squares: Path) -> None:
    data = build.loaded(trained.config)
    trainer = Trainer(trained.config, trained.shape, data)
    trainer.load(trained.checkpoint())
    assert trainer.validate() == trainer.validate()
    before = trainer.validate()
    data.x.setflags(write=True)
    data.x[data.train] = 0
    trainer.stream = Stream(data, 8, 0)
    assert trainer.validate() == before
    data.x[data.held_out] = 0
    trainer.stream = Stream(data, 8, 0)
    assert trainer.validate() != before


def test_muon_gets_the_hidden_weights_only() -> None:
    net = UNet(1, channels=8, multipliers=(1, 2), blocks=1, groups=4, head_dim=8, classes=3)
    hidden = [name for name, p in net.named_parameters() if is_hidden(name, p)]
    assert hidden and all(name.endswith("weight") for name in hidden)
    assert not any(word in name for name in hidden for word in ("conv_in", "conv_out", "embedding", "time_emb", "norm"))
    optimiser = Optimiser(net, OptimConfig(weight_decay=0.0))
    torch.manual_seed(0)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.randn_like(p)
    optimiser.step(1.0)
    for name, p in net.named_parameters():
        update = (p.detach() - before[name]).flatten(1) if p.ndim > 1 else None
        assert not torch.equal(p, before[name]), name
        if name in hidden:
            assert update is not None
            scale = 0.02 * max(1, update.shape[0] / update.shape[1]) ** 0.5
            values = torch.linalg.svdvals(update / scale)
            assert (values > 0.4).double().mean() > 0.85 and values.max() < 1.4, name  # a tiny one stays behind


def test_importance_times_have_their_memory_saved() -> None:
    times = ImportanceTimes()
    times.update(torch.rand(500, dtype=torch.float64).clamp(min=1e-3), torch.rand(500))
    other = ImportanceTimes()
    other.load_state_dict(times.state_dict())
    assert torch.equal(times.probabilities(), other.probabilities())


def test_the_environment_names_no_user() -> None:
    from noisette.experiment.environment import environment

    text = json.dumps(environment())
    assert str(Path.home()) not in text and os.uname().nodename not in text


def test_tensorboard_extra(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"noisette\[tensorboard\]"):
        tiny(squares, tmp_path / "none", train__steps=4, train__tensorboard=True)
    assert not (tmp_path / "none").exists()
    monkeypatch.undo()
    pytest.importorskip("tensorboard", reason="the tensorboard extra is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tiny(squares, tmp_path / "run", train__steps=6, train__tensorboard=True)
    events = EventAccumulator(str(run.board_path)).Reload()
    assert [e.step for e in events.Scalars("loss")] == [row["step"] for row in run.metrics() if "loss" in row]


def test_a_gradient_that_is_not_finite_never_reaches_a_checkpoint(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finite loss with a NaN gradient: sqrt at zero, the classic."""
    wanted = merge(TINY, {"train.steps": 20, "train.checkpoints": 20})
    run, data = train.start(str(squares), wanted, "small-grey", tmp_path / "run")
    whole = Trainer._labels

    def poisoned(self: Trainer, labels: torch.Tensor | None, n: int) -> torch.Tensor | None:
        if self.step == 5:
            weight = self.model.backbone.conv_out.weight
            weight.register_hook(lambda gradient: gradient * float("nan"))
        return whole(self, labels, n)

    monkeypatch.setattr(Trainer, "_labels", poisoned)
    with pytest.raises(UserError, match=r"gradient of step 5 is nan .*last good checkpoint is step 5"):
        for _ in train.train(run, data):
            pass
    for kind in ("raw", "ema"):
        assert all(bool(w.isfinite().all()) for w in run.checkpoint().weights(kind).values())


@pytest.mark.parametrize("T", [2, 8])
@pytest.mark.filterwarnings("ignore::noisette.diffusion.schedules.TerminalSignalWarning")
def test_the_shortest_schedules_train(squares: Path, tmp_path: Path, T: int) -> None:
    run = tiny(squares, tmp_path / "run", train__steps=4, schedule__T=T, sample__steps=2)
    assert run.finished and run.previews()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"objective__distance": "torch.nn.functional:mse_loss"}, "one loss for every element"),
        ({"objective__distance": "math:sqrt"}, "fails for two tensors"),
        ({"sample__interval": [0.8, 0.3]}, "low <= high"),
        ({"sample__sampler": "ddpm", "sample__variance": "learned"}, "learn_variance"),
        ({"train__seed": -1}, "train.seed"),
        ({"optim__betas": [1.0, 1.0]}, "optim.betas"),
        ({"optim__lr": float("inf")}, "optim.lr"),
        ({"schedule__name": "edm"}, "use edm"),
        ({"train__device": "meta"}, "no device"),
        ({"data__image_size": 2000}, "at most 1024"),
        ({"net__head_dim": 7}, "head_dim"),
        ({"net__multipliers": []}, "multipliers"),
        ({"objective__predicts": "eps", "schedule__name": "flow"}, "zero terminal SNR"),
        ({"objective__learn_variance": True, "schedule__name": "flow"}, "discrete schedule"),
    ],
)
def test_wrong_settings_are_told_before_a_run_exists(squares: Path, tmp_path: Path, settings: dict, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        tiny(squares, tmp_path / "run", **settings)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_training_leaves_the_callers_random_numbers_alone(squares: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    tiny(squares, tmp_path / "run", train__steps=4, net__dropout=0.1)
    assert torch.equal(torch.rand(4), expected)


def test_a_full_disk_is_told_and_keeps_what_there_is(squares: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the checkpoint does not fit, all the rest does."""
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from noisette.cli import main; main(sys.argv[1:])"
    )
    words = ["train", squares, "--out", tmp_path / "run", *flat(merge(TINY, {"train.steps": 4}))]
    done = subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "could not be written" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_one_process_a_run(squares: Path, tmp_path: Path) -> None:
    wanted = merge(TINY, {"train.steps": 6})
    run, data = train.start(str(squares), wanted, "small-grey", tmp_path / "run")
    first = train.train(run, data)
    next(first)
    with pytest.raises(UserError, match="another process"):
        next(train.train(Run.open(run.path), data))
    for _ in first:
        pass
    assert Run.open(run.path).finished


def test_a_run_inside_its_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="inside the data"):
        train.start(str(tmp_path), {}, None, tmp_path / "run")


def test_edm_trains_and_samples(squares: Path, tmp_path: Path) -> None:
    run = tiny(squares, tmp_path / "run", schedule__name="edm", objective__predicts="edm", sample__sampler="heun")
    assert 0.1 < run.metrics()[0]["loss"] < 10
    from noisette.tasks.generate import generate

    samples, frames = generate(run, 2, frames=True)
    assert samples.settings["nfe"] == 7 and frames[0].label == "t=1.00"

"""The doctor on runs that are well, and on runs that were broken on purpose."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny import tiny
from torch import Tensor

from noisette.cli import app, main
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import Config
from noisette.experiment.runs import Run
from noisette.tasks import remedies
from noisette.tasks.doctor import diagnose, examine, walk
from noisette.tasks.generate import Samples, settings_of
from noisette.views.health import WELL, lines


def edited(run: Run, place: Path, change: Callable[[dict[str, Tensor]], None], **settings: Any) -> Run:
    """A copy of a run whose weights, or settings, were changed after training."""
    shutil.copytree(run.path, place)
    for folder in place.glob("checkpoints/step-*"):
        sums = json.loads((folder / "checksums.json").read_text())
        for name in ("model.safetensors", "ema.safetensors"):
            weights = load_file(folder / name)
            change(weights)
            save_file(weights, folder / name)
            sums[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        (folder / "checksums.json").write_text(json.dumps(sums))
    copy = Run.open(place)
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    return copy.reconfigured(copy.config.changed(changes)) if settings else copy


def scaled(factor: float) -> Callable[[dict[str, Tensor]], None]:
    def change(weights: dict[str, Tensor]) -> None:
        for name in weights:
            weights[name] *= factor

    return change


def output(bias: float) -> Callable[[dict[str, Tensor]], None]:
    """The net gives one number, whatever it sees."""

    def change(weights: dict[str, Tensor]) -> None:
        weights["conv_out.weight"].zero_()
        weights["conv_out.bias"].fill_(bias)

    return change


def keep(weights: dict[str, Tensor]) -> None: ...


def drawn(run: Run, x: np.ndarray, labels: np.ndarray | None = None) -> Samples:
    """Pictures passed off as samples of a run."""
    made = {**settings_of(run).model_dump(mode="json"), "weights": "ema", "checkpoint": run.checkpoint().step}
    return Samples(x, list(range(len(x))), labels, run.shape.classes, made)


def squares_like(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fresh draws of what the fixture `squares` holds."""
    x = np.random.default_rng(seed).integers(0, 40, (n, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(n) % 2
    for image, label in zip(x, labels, strict=True):
        image[4 * label : 4 * label + 4, 4 * label : 4 * label + 4] += 180
    return x, labels


def keys(found: Any) -> list[str]:
    assert all(f.causes and len(f.causes) == len(f.tries) and f.words.endswith(".") for f in found.findings)
    return [finding.key for finding in found.findings]


def test_fresh_pictures_are_well(trained: Run) -> None:
    found = diagnose(trained, drawn(trained, *squares_like(40, 5)), build.data(trained))
    assert keys(found) == [] and lines(found)[-1] == WELL
    assert {s.key for s in found.symptoms} == {
        "exploding", "black", "constant", "saturated", "noisy", "collapsed", "copied"
    }  # fmt: skip


def test_training_pictures_are_copies(trained: Run) -> None:
    data = build.data(trained)
    rows = data.train[:40]
    assert data.labels is not None
    found = diagnose(trained, drawn(trained, data.x[rows], data.labels[rows]), data)
    assert keys(found) == ["copied"]
    (finding,) = found.findings
    assert finding.severity == "serious" and finding.measured == 1 > finding.expected[1]
    assert "54 pictures" in finding.causes[0]


def test_weights_that_overflow(trained: Run, tmp_path: Path) -> None:
    """No number at all is drawn as black."""
    found = examine(edited(trained, tmp_path / "run", scaled(1e25)), 16)
    assert keys(found) == ["exploding", "black"]
    assert [f.severity for f in found.findings] == ["serious", "serious"]
    assert "no number" in found.findings[0].words and "16 of 16" in found.findings[1].words


def test_weights_that_are_too_large(trained: Run, tmp_path: Path) -> None:
    found = examine(edited(trained, tmp_path / "run", scaled(10.0)), 16)
    assert "exploding" in keys(found)
    assert found.findings[0].measured > found.findings[0].expected[1]


@pytest.mark.parametrize(("bias", "key"), [(-1.0, "black"), (0.0, "constant")])
def test_a_net_that_says_one_thing(squares: Path, tmp_path: Path, bias: float, key: str) -> None:
    """It predicts x0 and gives one value."""
    plain = tiny(squares, tmp_path / "plain", objective__predicts="x0", train__steps=2)
    found = examine(edited(plain, tmp_path / "run", output(bias)), 16)
    assert keys(found) == [key]


def test_a_net_that_has_learned_nothing_leaves_noise(squares: Path, tmp_path: Path) -> None:
    run = tiny(squares, tmp_path / "run", optim__lr=1e-9, optim__muon_lr=1e-9, train__steps=2)
    found = examine(run, 32)
    (noise,) = [f for f in found.findings if f.key == "noisy"]
    advice = dict(zip(noise.causes, noise.tries, strict=True))
    (low,) = [cause for cause in advice if "so low" in cause]
    assert "--optim.lr 0.003" in advice[low] and not any("was short" in cause for cause in advice)


def test_strong_guidance_without_clipping_saturates(trained: Run) -> None:
    data = build.data(trained)
    x, labels = squares_like(40, 5)
    hard = np.clip(6 * (x.astype(float) - 60), 0, 255).astype(np.uint8)
    found = diagnose(trained, drawn(trained, hard, labels), data)
    assert "saturated" in keys(found)
    settings = settings_of(trained, guidance=200.0, clip="none")
    model, _ = build.trained(trained)
    assert walk(trained, model, settings, [0, 1]).swell > walk(trained, model, settings_of(trained), [0, 1]).swell


@pytest.fixture
def many(tmp_path: Path) -> Run:
    """A tiny run with enough held-out pictures to know how well classes can be read."""
    x, labels = squares_like(200, 0)
    np.savez(tmp_path / "many.npz", x=x, y=labels)
    return tiny(tmp_path / "many.npz", tmp_path / "many", data__held_out=0.3, net__conditional=False)


def test_missing_classes(many: Run) -> None:
    x, labels = squares_like(120, 5)
    data = build.data(many)
    whole = diagnose(many, drawn(many, x[:40]), data)
    assert keys(whole) == []
    found = diagnose(many, drawn(many, x[labels == 1][:40]), data)
    assert keys(found) == ["collapsed"] and "No sample reads as 0" in found.findings[0].words


def test_wrong_questions(trained: Run) -> None:
    with pytest.raises(UserError, match="fewer than 16"):
        examine(trained, 15)
    with pytest.raises(UserError, match="unknown sampler"):
        examine(trained, 16, sampler="dppm")


def test_two_pictures_cannot_be_judged(tmp_path: Path) -> None:
    x, labels = squares_like(2, 0)
    np.savez(tmp_path / "two.npz", x=x, y=labels)
    run = tiny(tmp_path / "two.npz", tmp_path / "run", data__held_out=0.0)
    with pytest.raises(UserError, match="distinct training images"):
        examine(run, 16)


# --- remedies -----------------------------------------------------------------------------------------------------


def case(
    run: Run, weights: str = "ema", step: int = 5000, terminal: float = 0.0, train: int = 60, **sample: Any
) -> Any:
    return remedies.Case(run, settings_of(run, **sample), weights, step, terminal, train)


def with_settings(run: Run, **changes: Any) -> Run:
    return Run(run.path, run.config.changed({key.replace("__", "."): value for key, value in changes.items()}))


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str, str]] = {
    "high rates": ("noisy", {"optim__lr": 1.0}, {}, "learning rate is high", "--optim.lr 0.003"),
    "low rates": ("constant", {"optim__lr": 1e-8, "optim__muon_lr": 1e-8}, {}, "hardly moved", "--optim.muon_lr 0.02"),
    "short": ("noisy", {}, {"step": 5}, "training was short", "resume"),
    "signal left": ("noisy", {"schedule__scaled": False}, {"terminal": 0.28}, "28%", "--schedule.name cosine"),
    "one step": ("collapsed", {}, {"steps": 1}, "1 sampler step is few", "--steps 50"),
    "fresh noise": ("noisy", {}, {"sampler": "ddpm", "variance": "large", "steps": 20}, "fresh noise", "--eta 0"),
    "eta": ("noisy", {}, {"eta": 1.0, "steps": 10}, "ddim, eta 1", "--eta 0"),
    "guidance": ("saturated", {}, {"guidance": 9.0}, "guidance 9 pushes", "--guidance 1.5"),
    "unclipped": ("exploding", {}, {"clip": "none"}, "clip none", "--clip static"),
    "eps": ("exploding", {"objective__predicts": "eps"}, {}, "predicts eps", "--objective.predicts v"),
    "l1": (
        "black",
        {"objective__space": "x0", "objective__distance": "l1"},
        {},
        "commonest",
        "--objective.distance l2",
    ),
    "raw": ("noisy", {}, {"weights": "raw"}, "raw weights jitter", "--weights ema"),
    "few": ("copied", {}, {}, "learned from 60 pictures", "--net.dropout 0.1"),
    "often": ("copied", {}, {"train": 2000, "step": 100_000}, "shown about 400 times", "--at"),
    "nothing": ("saturated", {}, {}, "no setting stands out", "explain"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_cause_is_named_with_a_command_that_parses(trained: Run, name: str) -> None:
    key, settings, known, cause, command = CASES[name]
    causes, tries = remedies.remedies(key, case(with_settings(trained, **settings), **known))
    found = [words for why, words in zip(causes, tries, strict=True) if cause in why]
    assert len(found) == 1 and command in found[0], (causes, tries)
    for words in tries:
        app.parse_args(tokens(words), exit_on_error=False, print_error=False)


def tokens(command: str) -> list[str]:
    from noisette.cli import dotted

    program, *rest = shlex.split(command)
    assert program == "noisette"
    return dotted(rest)


def test_every_rule_has_a_case_and_is_silent_on_the_usual_settings(trained: Run) -> None:
    run = Run(trained.path, Config().changed({"data.source": trained.config.data.source}))
    for key in ("exploding", "black", "constant", "saturated", "noisy", "collapsed", "copied"):
        causes, _ = remedies.remedies(key, case(run, train=10_000))
        assert "no setting stands out" in causes[0], key
    assert len(CASES) >= len({rule for _, rule in remedies.RULES})


def test_a_failed_training_is_told(trained: Run, tmp_path: Path) -> None:
    run = edited(trained, tmp_path / "run", keep)
    run.update_meta(state="failed")
    (cause,), (command,) = remedies.remedies("noisy", case(run, steps=50))
    assert "no longer a number" in cause and "--optim.lr 0.0003" in command


def test_the_commands_do_what_they_say(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run's own settings serve as a recipe for the next one, with one of them changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("noisette.views.report.report", lambda run, *_: run.report_path)  # which takes its time
    main(tokens(case(trained).again("--schedule.name", "linear")))
    (again,) = (tmp_path / "runs").iterdir()
    before, after = trained.config, Run.open(again).config
    assert after.schedule.name == "linear" and after.net == before.net and after.train.steps == before.train.steps
    main(tokens(case(Run.open(again)).sample("--clip", "none")))
    assert list(Run.open(again).samples.glob("*.png"))
    capsys.readouterr()


def test_the_verb(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ill = edited(trained, tmp_path / "run", scaled(1e25))
    main(["doctor", str(ill.path), "-n", "16"])
    out = capsys.readouterr().out
    assert "EXPLODING (serious). " in out and "BLACK (serious). " in out and "    noisette " in out
    with pytest.raises(SystemExit) as stop:
        main(["doctor", str(ill.path), "-n", "3"])
    assert stop.value.code == 2 and "fewer than 16" in capsys.readouterr().err


def test_a_walk_is_of_the_size_it_should_be(trained: Run) -> None:
    model, _ = build.trained(trained)
    found = walk(trained, model, settings_of(trained, steps=20), [0, 1, 2, 3])
    assert found.finite and 0.2 < found.reach < 5 and 0.8 < found.swell < 2


@pytest.mark.parametrize(("schedule", "predicts"), [("edm", "edm"), ("flow", "flow"), ("linear", "eps")])
def test_a_walk_on_other_schedules(squares: Path, tmp_path: Path, schedule: str, predicts: str) -> None:
    """Noise that grows far beyond the data, and an x0 that is a large number times a small error, are no explosions."""
    run = tiny(squares, tmp_path / "run", schedule__name=schedule, objective__predicts=predicts, train__steps=40)
    model, _ = build.trained(run)
    found = walk(run, model, settings_of(run, steps=10), [0, 1, 2, 3])
    assert found.finite and found.reach < 3 and 0.7 < found.swell < 2, found

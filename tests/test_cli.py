"""The command line as a user meets it: what is printed, where, and with which exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import flags, refused, run
from PIL import Image

from noisette import __version__
from noisette.cli import dotted
from noisette.errors import UserError
from noisette.experiment.runs import Run


def test_help_does_not_import_torch() -> None:
    script = "import sys, noisette.cli as c\ntry: c.main(sys.argv[1:])\nfinally: print('torch' in sys.modules)"
    for words in (["--help"], ["train", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
        assert done.stdout.strip().endswith("False"), words


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    return tmp_path / "empty"


def test_bad_input_is_one_line_and_exit_2(
    trained: Run, squares: Path, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(trained.path, damaged)
    weights = Run.open(damaged).checkpoint().path / "ema.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 0x10
    weights.write_bytes(content)
    newer = tmp_path / "newer"
    shutil.copytree(trained.path, newer)
    text = (newer / "config.toml").read_text().replace("version = 1", "version = 2")
    (newer / "config.toml").write_text(text)
    out = ["--out", tmp_path / "never"]
    cases: list[tuple[list[object], str]] = [
        (["train", tmp_path / "nowhere", *out], "no such file or folder"),
        (["train", empty, *out], "no image in it"),
        (["train", "digitz", *out], 'did you mean "digits"'),
        (["train", squares, "--steps", "0", *out], "train.steps"),
        (["train", squares, "--steps", "x", *out], "--steps"),
        (["train", squares, "--steps", "1.5", *out], "--steps: 1.5 is no whole number"),
        (["sample", trained.path, "-n", "2.0"], "-n: 2.0 is no whole number"),
        (["study", "schedules", "--seeds=1.5", *out], "--seeds: 1.5 is no whole number"),
        (["train", squares, "--minutes", "-1", *out], "train.minutes"),
        (["train", squares, "--minutes", "1", "--steps", "5", *out], "one budget"),
        (["train", squares, "--steps", "5", "--train.images", "3", *out], "one budget, not images and steps"),
        (["train", squares, "--train.device", "hpu", *out], 'no device "hpu"'),
        (["check", squares, "--minutes", "1e307"], "train.minutes"),
        (["train", squares, "--optim.lrr", "1", *out], 'did you mean "optim.lr"'),
        (["train", squares, "--optm.lr", "1", *out], "optim.lr"),
        (["train", squares, "--stepz", "1", *out], "--steps"),
        (["train", squares, "--optim.lr"], "a value is missing"),
        (["train", squares, "--net.activation", "sulu", *out], "silu"),
        (["train", squares, "--classes", "0,7", *out], 'no class "7"'),
        (["train", squares, "--recipe", "small-gray", *out], 'did you mean "small-grey"'),
        (["train", squares, "--recipe", tmp_path / "none.toml", *out], "no such file"),
        (["train", squares, "--train.device", "cuda:9", *out], "no device"),
        (["train", squares, "--out", trained.path], "never overwritten"),
        (["train", squares, "--out", squares], "in the way"),
        (["train", ""], "no data given"),
        (["train", squares, "--seed", "-1", *out], "train.seed"),
        (["check", squares, "--minutes", "nan"], "--minutes"),
        (["forward", squares, "--seed", "99999999999999", "--out", tmp_path / "f.png"], "--seed"),
        (["sample", trained.path, "--out", tmp_path / "s.png", "--trajectory", tmp_path / "s.png"], "same file"),
        (["sample", trained.path, "--eta", "inf"], "sample.eta"),
        (["train"], "DATA"),
        (["sampel", trained.path], 'Did you mean "sample"'),
        (["sample", tmp_path], "not a run folder"),
        (["sample", tmp_path / "nowhere"], "no such run folder"),
        (["sample", damaged], "damaged"),
        (["sample", newer], "upgrade noisette"),
        (["sample", trained.path, "--interval", "0.9", "0.1"], "low <= high"),
        (["sample", trained.path, "--out", tmp_path / "x.jpg"], ".png"),
        (["sample", trained.path, "--trajectory", tmp_path / "x.mp4"], ".gif"),
        (["sample", trained.path, "--classes", "9"], 'no class "9"'),
        (["sample", trained.path, "--steps", "5000"], "at most 1000"),
        (["sample", trained.path, "-n", "0"], "at least one"),
        (["resume", trained.path, "--minutes", "-1"], "more than 0"),
        (["report", tmp_path], "not a run folder"),
        (["forward", squares, "--schedule", "cosin", "--out", tmp_path / "f.png"], 'did you mean "cosine"'),
        (["forward", squares, "--T", "1", "--out", tmp_path / "f.png"], "schedule.T"),
        (["check", empty], "no image in it"),
        (["check", squares, "--minutes", "0"], "--minutes"),
    ]
    refused(cases, capsys)
    assert not (tmp_path / "never").exists()


def test_train_sample_report_and_all_the_rest(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("train", squares, "--steps", 6, "--recipe", "small-grey", *flags())
    place = Path("runs/squares-1")
    assert (place / "report.html").is_file() and Run.open(place).finished
    said = capsys.readouterr().out
    assert "runs/squares-1" in said
    assert re.search(
        r"Expects about [\d,]+ images/s in fp32: 48 images, 0\.9 looks at each\n +6 steps of 8 in 0:0\d", said
    )
    run("sample", place, "-n", 4, "--steps", 3, "--out", "four.npz", "--trajectory", "way.gif")
    run("sample", place, "-n", 9, "--steps", 3, "--out", "nine.npz")
    with np.load("four.npz") as four, np.load("nine.npz") as nine:
        assert (four["x"] == nine["x"][:4]).all() and four["seeds"].tolist() == [0, 1, 2, 3]
        assert four["labels"].tolist() == [0, 1, 0, 1] and four["x"].dtype == np.uint8
    with Image.open("way.gif") as gif:
        assert gif.n_frames == 4
    for name in ("way.png", "way.webp", "way.npz"):
        run("sample", place, "-n", 2, "--steps", 3, "--out", "two.png", "--trajectory", name)
    run("sample", place, "-n", 3, "--out", "single/")
    assert len(list(Path("single").glob("*.png"))) == 3
    run("sample", place, "-n", 2, "--classes", "1", "--guidance", 2, "--weights", "raw", "--sampler", "heun")
    assert (place / "samples" / "samples-seed0.png").is_file()
    run("forward", squares, "--schedule", "linear", "-n", 2, "--out", "forward.png")
    run("resume", place, "--steps", 2)
    assert Run.open(place).checkpoint().step == 8
    run("resume", place, code=2)
    assert "finished" in capsys.readouterr().err
    (place / "report.html").unlink()  # as an interrupt in the last moments leaves it
    run("resume", place)
    assert (place / "report.html").is_file()
    run("report", place, "--out", "elsewhere.html")
    assert Path("elsewhere.html").is_file()
    capsys.readouterr()
    run("check", squares, "--minutes", 1, *flags())
    said = capsys.readouterr().out
    assert re.search(r"speed +about [\d,]+ images/s in fp32 on this machine", said)
    assert re.search(r"1 minutes +[\d,]+ images, [\d.]+ looks at each, [\d,]+ steps", said) and "MiB of memory" in said
    assert "60 grey images, 8x8" in said and "Warning: Only 60 images" in said


def test_raw_linear_schedule_warns_with_number_and_mend(squares: Path, tmp_path: Path) -> None:
    words = ["forward", squares, "--schedule", "linear", "--T", 300, "--no-scaled", "--out", tmp_path / "f.png"]
    done = subprocess.run(
        [sys.executable, "-m", "noisette.cli", *map(str, words)], capture_output=True, text=True, check=True
    )
    assert "21.9%" in done.stderr and "scaled=True" in done.stderr and done.stderr.count("\n") == 1


def test_demo_shows_a_finished_one_and_resumes_an_interrupted_one(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noisette.data.sources.SOURCES", _squares_as_digits(squares))
    monkeypatch.chdir(tmp_path)
    run("demo", "--train.steps", 4, *flags())
    first = Run.open("runs/demo")
    stamp = (first.path / "report.html").stat().st_mtime_ns
    assert first.finished and "report.html" in capsys.readouterr().out
    run("demo")
    assert (first.path / "report.html").stat().st_mtime_ns == stamp
    run("demo", "--fresh", "--train.steps", 4, *flags())
    assert Path("runs/demo-old-1/report.html").is_file() and Run.open("runs/demo").finished
    capsys.readouterr()
    refused([(["demo", "--fresh", "--optim.lr", "-1"], "optim.lr")], capsys)
    assert not Path("runs/demo-old-2").exists() and Run.open("runs/demo").finished
    again = Run.open("runs/demo")
    again.update_meta(state="training")  # as a kill -9 leaves it
    for checkpoint in again.checkpoints()[1:]:
        shutil.rmtree(checkpoint.path)
    run("demo")
    assert Run.open("runs/demo").finished and Run.open("runs/demo").checkpoint().step == 4


def _squares_as_digits(squares: Path) -> dict:
    from dataclasses import replace

    from noisette.data.sources import SOURCES

    npz = SOURCES["npz"]
    digits = replace(SOURCES["digits"], open=lambda _: npz.open(str(squares)))
    return {**SOURCES, "digits": digits}


def test_dotted_settings() -> None:
    assert dotted(["train", "x", "--optim.lr", "3", "--net.attention=[1]", "--steps", "5"]) == [
        *["train", "x", "--set", "optim.lr=3", "--set", "net.attention=[1]", "--steps", "5"]
    ]
    assert dotted(["sample", "runs/x", "--optim.lr", "3"]) == ["sample", "runs/x", "--optim.lr", "3"]
    with pytest.raises(UserError):
        dotted(["train", "x", "--optim.lr"])


@pytest.mark.parametrize("module", ["noisette", "noisette.cli"])
def test_python_runs_it_as_a_module(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(__version__) and not done.stderr


def test_a_closed_pipe_is_not_a_traceback() -> None:
    """The reader of standard output is gone before the first word."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "noisette.cli", "--help"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode in (1, 141) and not done.stderr  # 1 is rich's own answer to a closed pipe

"""The verb study as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import run
from study_maker import study_of

from noisette.experiment import studies


@pytest.fixture
def mine(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study in a file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text(study_of(source, seeds=0).to_toml())
    return path


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    run("study", "list")
    said = capsys.readouterr().out
    for name, found in studies.known().items():
        assert name in said and found.question in said
    assert "12 runs" in said


def test_a_study_from_its_file_to_its_report(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("study", mine, "--seeds", 1, "--train.steps", 4, "--values", "activation=silu,gelu")
    said = capsys.readouterr().out
    folder = Path("runs/study-tiny")
    assert "2 runs, 1 of each setting, into runs/study-tiny" in said and "2/2  gelu-seed-0: " in said
    assert "Fréchet distance" in said
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "Does the activation matter?" in report
    assert (folder / "results.csv").read_text().count("\n") == 3
    run("study", folder, "--seeds", 2)
    said = capsys.readouterr().out
    assert "4 runs, 2 of each setting, 2 of them done" in said and "silu-seed-0" not in said
    run("study", mine, "--seeds", 2, code=2)
    assert "another study lies there" in capsys.readouterr().err


def test_a_search_from_its_file_to_its_report(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("study", mine, "--train.steps", 4, "--search", "--minutes", 0.0001)
    said = capsys.readouterr().out
    folder = Path("runs/study-tiny")
    assert "a search of 0.0001 minutes in 2 settings" in said and ", seed 0: " in said and ", 1 run\n" in said
    assert "1 of 1" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "results.csv").read_text().count("\n") == 2


def test_bad_input_is_one_line_and_exit_2(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases: list[tuple[list[object], str]] = [
        (["study", "schedule"], 'did you mean "schedules"'),
        (["study", "none.toml"], "no such file"),
        (["study", mine, "--budget", "long"], 'no budget "long"'),
        (["study", mine, "--budget", "huge"], "--budget"),
        (["study", mine, "--seeds", 0], "--seeds"),
        (["study", mine, "--workers", 0], "--workers"),
        (["study", mine, "--minutes", 3], "--search"),
        (["study", mine, "--data", "digitz"], 'did you mean "digits"'),
        (["study", mine, "--data", "a", "--data", "b"], "given once"),
        (["study", mine, "--optim.lrr", 1], 'did you mean "optim.lr"'),
        (["study", mine, "--values", "activations=relu"], "FACTOR is one of activation"),
        (["study", mine, "--of", tmp_path], "--of is for"),
        (["study", mine, "--net.activation", "relu"], "it varies: choose by --values activation="),
        (["study", mine, "--train.seed", 3], "seeds are counted from 0"),
        (["study", mine, "--sample.steps", 5], "it samples by ddim:2"),
        (["study", "samplers", "--values", "steps=5,abc"], '"ddpm:abc": a way is written sampler:steps'),
        (["study", "best-of"], "--of runs/study-NAME"),
        (["study", "best-of", "--of", tmp_path / "nowhere"], "not the folder of a study"),
        (["study"], "WHAT"),
    ]
    for words, says in cases:
        run(*words, code=2)
        _, stderr = capsys.readouterr()
        assert stderr.count("\n") == 1 and stderr.startswith("noisette: ") and says in stderr, (words, stderr)
    assert not (tmp_path / "runs").exists()  # and a mended command does not find the remains of a mistake
    run("study", mine, "--storage", "nonsense", code=2)
    assert capsys.readouterr().err.startswith("noisette: --storage: ")

"""`noisette explain` as a user meets it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import run
from tiny import tiny

import noisette as nt
from noisette.experiment.runs import Run


def test_it_prints_a_finding_and_every_file(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", trained.path, "interpolation", "weights", "--between", "3,7", "--count", 3, "--steps", 2]
    run(*words, "--classes", "1", "--out", tmp_path / "figures")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert not err and sum(line.startswith("Between two noises. The transition") for line in lines) == 1
    files = [Path(line.strip()) for line in lines if line.startswith("  ")]
    assert {f.name for f in files} == {f.name for f in (tmp_path / "figures").iterdir()}
    assert {"interpolation.png", "interpolation-steps.svg", "weights.png"} <= {f.name for f in files}


def test_files_go_into_the_run(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    run("explain", tmp_path / "run", "checkpoints", "--count", 2)
    assert (tmp_path / "run" / "figures" / "checkpoints.png").is_file()


def test_what_does_not_concern_a_run_is_an_error_only_where_it_was_asked_for(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny(squares, tmp_path / "plain", net__conditional=False, train__steps=2)
    run("explain", made.path, "guidance", code=2)
    assert "nothing to guide by" in capsys.readouterr().err
    from noisette.views import explained

    some = {key: explained.EXPLANATIONS[key] for key in ("guidance", "checkpoints")}
    monkeypatch.setattr(explained, "EXPLANATIONS", some)
    run("explain", made.path, "--count", 2)
    out, err = capsys.readouterr()
    assert "note: guidance" in err and "checkpoints.png" in out


def test_mistakes_are_one_line_and_exit_2(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for words, says in (
        (["los"], 'did you mean "loss"'),
        (["interpolation", "--between", "3"], "needs two seeds"),
        (["interpolation", "--between", "3,x"], "needs two seeds"),
        (["weights", "--classes", "9"], 'no class "9"'),
        (["schedule", "--out", tmp_path / "file"], "in the way"),
    ):
        run("explain", trained.path, *words, code=2)
        out, err = capsys.readouterr()
        assert err.count("\n") == 1 and err.startswith("noisette: ") and says in err, (words, err)
        assert not out
    run("explain", tmp_path, code=2)
    assert "not a run folder" in capsys.readouterr().err


def test_the_same_from_python(trained: Run, tmp_path: Path) -> None:
    made = nt.open(trained.path)
    finding, files = made.explain("weights", tmp_path / "figures", count=2)
    assert finding.endswith(".") and [f.name for f in files] == ["weights.png"] and files[0].is_file()
    answer, files = made.explain("loss", tmp_path / "figures")
    found, *reasons = answer.split("\n\n")
    assert found.startswith("It struggles most") and reasons[0].startswith("Why ") and len(reasons) == 2
    assert any(file.suffix == ".png" for file in files)
    path = made.interpolate((3, 7), 5, cls="1", steps=3)
    assert path.x.shape == (5, 8, 8, 1) and path.labels.tolist() == [1] * 5
    ends = [made.sample(1, seed=seed, classes=["1"], steps=3, sampler="ddim", eta=0.0).x[0] for seed in (3, 7)]
    for end, found in zip(ends, path.x[[0, -1]], strict=True):
        assert abs(end.astype(int) - found).max() <= 1
    assert path.save(tmp_path / "way.png").is_file()
    for words, says in (({"kind": "slurp"}, 'did you mean "slerp"'), ({"cls": "9"}, 'no class "9"')):
        with pytest.raises(nt.UserError, match=says):
            made.interpolate((3, 7), 5, **words)

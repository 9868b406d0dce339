"""noisette.train where the folder holds a run already, as when a notebook is run a second time."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import bright
import pytest
from tiny import TINY

import noisette as nt
from noisette.tasks.train import Interrupted


def train(source: Path, out: Path, **changed: object) -> nt.Run:
    wanted = {"steps": 6, "recipe": "small-grey", "settings": TINY, **changed}
    return nt.train(source, out=out, **wanted)  # type: ignore[arg-type]


def test_the_same_again_is_the_run_that_is_there(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(nt.UserError, match="no such run"):
        nt.open(tmp_path / "run")
    made = train(squares, tmp_path / "run", reopen=True)
    written = (made.path / "metrics.jsonl").read_bytes()
    watched: list[object] = []
    again = train(squares, tmp_path / "run", reopen=True, watch=watched.append)
    assert not watched and again.path == made.path and again.metrics == made.metrics
    assert (made.path / "metrics.jsonl").read_bytes() == written


def test_an_interrupted_run_is_trained_to_its_end(squares: Path, tmp_path: Path) -> None:
    whole = train(squares, tmp_path / "whole")

    def stop(step: object) -> None:
        if step.step == 3:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        train(squares, tmp_path / "run", watch=stop)
    assert not nt.open(tmp_path / "run")._run.finished
    made = train(squares, tmp_path / "run", reopen=True)
    assert made._run.finished
    assert [row["loss"] for row in made.metrics if "loss" in row] == [
        row["loss"] for row in whole.metrics if "loss" in row
    ]


def test_another_run_is_not_taken_for_this_one(squares: Path, tmp_path: Path) -> None:
    train(squares, tmp_path / "run")
    with pytest.raises(nt.UserError, match="already there"):
        train(squares, tmp_path / "run")
    for changed in ({"steps": 7}, {"settings": {**TINY, "optim.lr": 0.1}}, {"recipe": "medium"}):
        with pytest.raises(nt.UserError, match="other settings"):
            train(squares, tmp_path / "run", reopen=True, **changed)
    shutil.copy(squares, tmp_path / "own.npz")
    with pytest.raises(nt.UserError, match="other settings"):
        train(tmp_path / "own.npz", tmp_path / "run", reopen=True)
    train(tmp_path / "own.npz", tmp_path / "other")
    bright.squares(tmp_path / "own.npz", 40)
    with pytest.raises(nt.UserError, match="no longer the images"):
        train(tmp_path / "own.npz", tmp_path / "other", reopen=True)

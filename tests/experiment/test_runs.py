from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from noisette.errors import UserError
from noisette.experiment.config import parse
from noisette.experiment.runs import Run, atomic, fresh_path, move_aside


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = parse({"train": {"steps": 100, "keep": 4}}, "test")
    return Run.create(tmp_path / "run", config, {"shape": [8, 6, 3], "classes": ["a"]}, {"state": "new"})


def save(run: Run, step: int) -> None:
    weights = {"w": torch.full((3,), float(step))}
    run.save_checkpoint(step, weights, weights, {"step": step})


def test_what_is_written_is_read(run: Run) -> None:
    again = Run.open(run.path)
    assert again.config == run.config and again.shape.x == (3, 8, 6) and again.shape.classes == ("a",)
    save(run, 7)
    assert again.checkpoint().step == 7
    assert torch.equal(again.checkpoint(7).weights("raw")["w"], torch.full((3,), 7.0))
    assert again.checkpoint().state() == {"step": 7}


def test_a_run_is_never_overwritten(run: Run) -> None:
    before = (run.path / "config.toml").read_bytes()
    with pytest.raises(UserError, match="never overwritten"):
        Run.create(run.path, run.config, {}, {})
    assert (run.path / "config.toml").read_bytes() == before


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "train_state.pt"])
def test_one_flipped_bit_is_noticed(run: Run, name: str) -> None:
    save(run, 1)
    file = run.checkpoint().path / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    read = {"model.safetensors": lambda c: c.weights("raw"), "ema.safetensors": lambda c: c.weights("ema")}
    with pytest.raises(UserError, match=f"{name} is damaged"):
        read.get(name, lambda c: c.state())(run.checkpoint())


def test_missing_parts_are_told(run: Run, tmp_path: Path) -> None:
    for wrong in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError):
            Run.open(wrong)
    with pytest.raises(UserError, match="no checkpoint yet"):
        run.checkpoint()
    save(run, 5)
    with pytest.raises(UserError, match="there are: 5"):
        run.checkpoint(6)
    (run.path / "data.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        _ = run.shape
    (run.path / "config.toml").write_text("version = 99\n")
    with pytest.raises(UserError, match="upgrade noisette"):
        Run.open(run.path)


def test_state_with_code_in_it_is_not_run(run: Run) -> None:
    import pickle

    save(run, 1)
    evil = run.checkpoint().path / "train_state.pt"
    torch.save({"f": print}, evil)
    sums = run.checkpoint().path / "checksums.json"
    from noisette.experiment.runs import _sha256

    sums.write_text(json.dumps({**json.loads(sums.read_text()), "train_state.pt": _sha256(evil)}))
    with pytest.raises(pickle.UnpicklingError):
        run.checkpoint().state()


def test_checkpoints_are_thinned_evenly(run: Run) -> None:
    for step in range(10, 101, 10):
        save(run, step)
    steps = [c.step for c in run.checkpoints()]
    assert len(steps) == 4 and steps[0] == 10 and steps[-1] == 100
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert max(gaps) <= 50


def test_rewind_forgets_what_came_later(run: Run) -> None:
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 1 / step})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('null\n{"loss": 1}\nrubbish\n')
        file.write('{"step": 4, "lo')  # cut short by a crash
    (run.path / "checkpoints" / ".tmp-x").mkdir(parents=True)
    run.rewind(2)
    assert [row["step"] for row in run.metrics()] == [1, 2]
    assert not list(run.path.glob("checkpoints/.tmp-*"))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_fresh_names(tmp_path: Path) -> None:
    assert fresh_path("my data/cats & dogs/", tmp_path) == tmp_path / "cats-dogs-1"
    (tmp_path / "digits-1").mkdir()
    assert fresh_path("digits", tmp_path) == tmp_path / "digits-2"
    assert move_aside(tmp_path / "digits-1") == tmp_path / "digits-1-old-1"

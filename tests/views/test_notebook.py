from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from tiny import tiny

import noisette as nt
from noisette.cli import main
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.tasks import explain
from noisette.views import notebook


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy of the trained run to write into."""
    return Run.open(shutil.copytree(trained.path, tmp_path / "squares-1"))


def outputs(path: Path) -> list[dict[str, Any]]:
    return [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", ())]


def test_it_is_a_valid_notebook_with_the_runs_facts(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    main(["notebook", str(run.path)])
    path = run.path / "test_diffusion.ipynb"
    assert capsys.readouterr().out == f"{path}\n"
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    assert not outputs(path) and content.metadata.kernelspec.name == "python3"
    text = "\n".join(cell.source for cell in content.cells)
    assert "squares-1" in text and "12 steps of 8" in text and "4 steps of ddim" in text and "cosine, T = 1,000" in text
    assert str(run.path) not in text


def test_what_was_changed_by_hand_is_not_overwritten(run: Run) -> None:
    path = notebook.notebook(run)
    assert notebook.notebook(run) == path  # as it was written: replaced
    content = json.loads(path.read_text())
    content["cells"][2]["source"].append("print('mine')\n")
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="changed by hand"):
        notebook.notebook(run)
    path.write_text("not a notebook")
    with pytest.raises(UserError, match="changed by hand"):
        notebook.notebook(run)


@pytest.mark.parametrize("ready", [True, False])
def test_without_what_runs_it(run: Run, monkeypatch: pytest.MonkeyPatch, ready: bool) -> None:
    monkeypatch.setitem(sys.modules, "nbclient", None)
    if ready:
        assert notebook.notebook(run).is_file()
        return
    with pytest.raises(UserError, match=r'pip install "noisette\[notebook\]"'):
        notebook.notebook(run, executed=True)
    assert not run.notebook_path.exists()


def test_a_run_without_a_checkpoint(run: Run) -> None:
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint"):
        notebook.notebook(run)
    assert not run.notebook_path.exists()


def test_it_runs_top_to_bottom_and_stores_what_it_shows(run: Run) -> None:
    path = nt.open(run.path).notebook(execute=True)
    found = outputs(path)
    pictures = [o for o in found if "image/png" in o.get("data", ())]
    said = "".join(o["text"] for o in found if o.output_type == "stream")
    assert len(pictures) == 6 and not any("image/jpeg" in o["data"] for o in pictures)
    assert "Largest difference between the two: 0 of 255" in said and "The data are not here" not in said
    assert all(o.output_type != "error" and o.get("name") != "stderr" for o in found)
    assert notebook.notebook(run) == path and not outputs(path)  # outputs alone are no change by hand
    content = json.loads(path.read_text())
    content["cells"][2]["source"] = ["raise RuntimeError('two\\nlines')"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="a cell failed: RuntimeError"):
        notebook.execute(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"net__conditional": False, "sample__sampler": "ddpm"},
        {"schedule__name": "flow", "objective__predicts": "flow", "sample__sampler": "heun", "train__checks": 0},
    ],
    ids=["without kinds, stochastic", "continuous, nothing held out"],
)
def test_its_cells_suit_other_runs(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """The code cells in this process, in the run folder: each runs, and the noise makes its image again."""
    import matplotlib.pyplot as plt

    run = tiny(squares, tmp_path / 'it"s', **settings)
    path = notebook.notebook(run)
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(plt, "show", plt.close)
    known: dict[str, Any] = {}
    for source in code:
        exec(compile(source, "a cell", "exec"), known)
    assert known["difference"] == 0 and known["samples"].x.shape == (36, 8, 8, 1)
    assert len(known["way"]) == 11 and Path.cwd() == path.parent
    data = build.data(run)
    np.testing.assert_array_equal(known["way"][0].x, data.x[explain.rows(data, 3)])

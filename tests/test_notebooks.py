"""Every notebook runs top to bottom at its tiny setting, and its .ipynb is what its .py makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jupytext
import pytest
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
HEAVY = pytest.mark.slow
KERNEL = "ignore:.*:DeprecationWarning"


def test_there_is_one_for_each_subject() -> None:
    assert {path.stem for path in SOURCES} >= {"1_animals", "2_cars", "3_mnist", "4_motion", "5_from_scratch"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_is_made_from_its_source(source: Path) -> None:
    made, kept = jupytext.read(source), jupytext.read(source.with_suffix(".ipynb"))
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [(c.cell_type, c.source) for c in made.cells]
    assert not any(cell.get("outputs") for cell in kept.cells), "notebooks are kept without outputs: make notebooks"


def test_animals_of_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first five subfolders, whatever they are called, up to the cell that shows the images."""
    for name in ("newt", "ape", "zebu", "gnu", "eel", "yak", ".hidden"):
        (tmp_path / name).mkdir()
        for k in range(3):
            Image.new("RGB", (20, 14), (80 * k, 90, ord(name[0]))).save(tmp_path / name / f"{k}.png")
    (tmp_path / "list.txt").write_text("animals")
    monkeypatch.setenv("ANIMALS", str(tmp_path))
    monkeypatch.setenv("NOISETTE_NOTEBOOK", "tiny")
    cells = [cell.source for cell in jupytext.read(FOLDER / "1_animals.py").cells if cell.cell_type == "code"]
    told: dict[str, Any] = {}
    for source in cells[:2]:
        exec(source, told)
    assert told["CLASSES"] == ["ape", "eel", "gnu", "newt", "yak"] == list(told["data"].classes)
    assert len(told["data"]) == 15 and told["x"].shape == (15, 3, 16, 16)


@HEAVY
@pytest.mark.filterwarnings(KERNEL)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_top_to_bottom(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without images of one's own: the bundled sets stand in."""
    for name in ("ANIMALS", "CARS", "CIFAR", "MOTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NOISETTE_NOTEBOOK", "tiny")
    monkeypatch.setenv("NOISETTE_OUT", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")])))
    notebook = jupytext.read(source)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    said = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert len(said) > 4

"""Studies of tiny nets, whole in a few seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bright
from tiny import TINY

from noisette.experiment import studies
from noisette.experiment.jobs import Folder
from noisette.experiment.studies import Study

ACTIVATION = {"label": "activation", "key": "net.activation", "values": ["silu", "relu"]}


def many(path: Path) -> Path:
    """300 bright squares: enough to measure distances."""
    return bright.squares(path, 300)


def study_of(source: Path, **changes: Any) -> Study:
    """Two activations with two seeds, trained for a few steps."""
    tree: dict[str, Any] = {
        "name": "tiny",
        "title": "Tiny nets",
        "question": "Does the activation matter?",
        "data": {"source": str(source)},
        "recipe": "small-grey",
        "base": TINY,
        "factors": [ACTIVATION],
        "budgets": {"quick": {"train": {"steps": 6}, "samples": 100, "seeds": 2}},
        "measure": ["fid"],
        "features": "pixels",
        "ways": ["ddim:2"],
        "answers": ["fid"],
    }
    return studies.chosen(studies.parse({**tree, **changes}, "tiny"))


def folder_of(path: Path, source: Path, **changes: Any) -> Folder:
    """The folder of such a study, with nothing done yet."""
    place = Folder(path)
    place.settle(study_of(source, **changes))
    return place


def unseen(what: str, share: float) -> None:
    """Progress that nobody sees."""
    assert 0 <= share <= 1

"""Studies of tiny nets, whole in a few seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny import TINY

from noisette.experiment import studies
from noisette.experiment.jobs import Folder
from noisette.experiment.studies import Study

ACTIVATION = {"label": "activation", "key": "net.activation", "values": ["silu", "relu"]}


def many(path: Path) -> Path:
    """300 grey 8x8 images in two classes, a bright square top left or bottom right: enough to measure distances."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 40, (300, 8, 8, 1), dtype=np.uint8)
    y = np.arange(300) % 2
    for image, label in zip(x, y, strict=True):
        image[4 * label : 4 * label + 4, 4 * label : 4 * label + 4] += 180
    np.savez(path, x=x, y=y)
    return path


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

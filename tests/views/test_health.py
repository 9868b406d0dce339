"""The report's word on the samples' health: a sentence when all is well, else what is wrong and what to try."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisette.experiment.runs import Run
from noisette.tasks.generate import Samples, settings_of
from noisette.views.health import WELL, health
from noisette.views.material import Material
from noisette.views.sections import MAKERS


def shown(run: Run, x: np.ndarray) -> Any:
    """The section for these pictures, passed off as the run's samples."""
    material = Material(run)
    made = {**settings_of(run).model_dump(mode="json"), "weights": "ema", "checkpoint": run.checkpoint().step}
    material.__dict__["drawn"] = (Samples(x, list(range(len(x))), None, run.shape.classes, made), [])
    return health(material)


def test_samples_that_are_well_take_a_sentence(trained: Run) -> None:
    x = np.random.default_rng(5).integers(0, 40, (36, 8, 8, 1), dtype=np.uint8)
    x[::2, :4, :4] += 180
    x[1::2, 4:, 4:] += 180
    section = shown(trained, x)
    assert section.text[0].startswith(WELL) and f"noisette doctor {trained.path} -n 36" in section.text[0]
    assert not section.tables and health in MAKERS


def test_samples_that_are_ill_take_a_table(trained: Run) -> None:
    section = shown(trained, np.zeros((36, 8, 8, 1), np.uint8))
    assert section.text[0].startswith("Black (serious). 36 of 36 samples are black")
    (table,) = section.tables
    assert table.head == ["Likely cause", "What to try"]
    assert all(cause and command.startswith("noisette ") for cause, command in table.rows)
    assert len({tuple(row) for row in table.rows}) == len(table.rows)

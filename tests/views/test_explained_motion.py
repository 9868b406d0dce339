"""Explanations of a run of motion: clips as pictures, distances in their unit, and no word of images."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_motion import tiny_motion, walks

from noisette.experiment.runs import Run
from noisette.tasks.interpolate import Path as Way
from noisette.tasks.interpolate import Smoothness
from noisette.views import explained
from noisette.views.explained import between
from noisette.views.material import Material

IMAGES = re.compile(r"picture|pixel|grey|image|blur", re.IGNORECASE)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Run:
    source = walks(tmp_path_factory.mktemp("walks") / "walks.npz")
    few = {"motion__stride": 16, "sample__steps": 3}
    return tiny_motion(source, tmp_path_factory.mktemp("runs") / "moving", train__steps=8, **few)


def test_every_explanation(moving: Run, tmp_path: Path) -> None:
    bench = explained.Bench(Material(moving), explained.Asked(count=3, steps=3))
    for key, make in explained.EXPLANATIONS.items():
        found = make(bench)
        title = explained.title(key, moving.config)
        section = explained.exhibit.section(found, key, title, f"noisette explain run {key}")
        told = [found.finding, *found.text, found.caption, found.missing, title, section.title]
        told += [c.alt + c.title for c in found.charts]
        told += [word for b in found.boards for word in (b.what, b.caption, *b.labels, *(row.name for row in b.rows))]
        assert not IMAGES.search(" ".join(told)), key
        assert found.finding.endswith(".") and "nan" not in found.finding and not found.missing, key
        assert found.charts or found.boards
        for row in (row for board in found.boards for row in board.rows):
            assert row.x.dtype == np.uint8 and row.x.ndim == 4 and row.x.shape[3] == 3
        if key in ("checkpoints", "weights", "samplers", "guidance", "reverse"):
            assert re.search(r"\d m( |,|\))", found.finding), found.finding
        if key in ("reverse", "weights", "neighbours"):
            files = explained.save(found, key, tmp_path)
            assert all(file.stat().st_size for file in files) and {f.suffix for f in files} >= {".png"}
    assert {"reverse.gif", "reverse.webp", "reverse-estimate.gif"} <= {f.name for f in tmp_path.iterdir()}


def test_titles(moving: Run) -> None:
    assert explained.title("reverse") == "From noise to picture"
    assert explained.title("reverse", moving.config) == "From noise to clip"


def test_a_clip_half_way_is_held_against_how_fast_the_ends_move() -> None:
    """Opposite swings: their mean stands still."""
    swing = np.sin(np.arange(16) / 3)[:, None, None] * np.ones((1, 4, 3))
    x = np.stack([swing, 2 * swing, -swing]).astype(np.float32)
    path = Way("slerp", (0, 1), None, np.linspace(0, 1, 3), x, np.ones(3))
    said = between._meaning(between._Way("slerp", path, Smoothness(np.ones(2), 1.0), None), moves=True)
    assert "moves 2.00 times as fast as the two ends" in said and "would move 0.00 times as fast" in said
    straight = replace(path, x=0.5 * x)
    assert "moves 0.50 times as fast as that on the great circle" in between._why_not(path, straight, moves=True)

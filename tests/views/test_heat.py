"""The map of the loss: right cells, few elements, nothing where nothing was logged."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from noisette.views import curves, heat

ROWS: list[dict[str, Any]] = [
    {"step": step, "loss_t": [1 / step, 0.5, None], "count_t": [4, 2 * step, 0]} for step in range(10, 101, 10)
]


def test_every_row_is_a_column_where_there_are_few() -> None:
    edges, values = heat.over_training(ROWS)
    np.testing.assert_allclose(edges, np.arange(0, 101, 10))
    np.testing.assert_allclose(values[0], [1 / step for step in range(10, 101, 10)])
    np.testing.assert_allclose(values[1], 0.5)
    assert np.isnan(values[2]).all()


def test_rows_are_put_together_by_their_counts() -> None:
    rows = [
        {"step": 10, "loss_t": [1.0], "count_t": [30]},
        {"step": 20, "loss_t": [3.0], "count_t": [10]},
        {"step": 40, "loss_t": [5.0], "count_t": [10]},
        {"step": 60, "loss_t": [None], "count_t": [0]},
    ]
    edges, values = heat.over_training(rows, columns=2)
    assert edges.tolist() == [0, 30, 60]
    # half of the third row's steps lie before step 30
    np.testing.assert_allclose(values, [[(30 * 1 + 10 * 3 + 5 * 5) / 45, 5]])


def test_a_row_reaches_back_to_the_one_before_it() -> None:
    edges, values = heat.over_training([{"step": 1, "loss_t": [8.0]}, {"step": 100, "loss_t": [2.0]}], columns=4)
    assert len(edges) == 3  # no more columns than rows
    assert values[0, 1] == 2 and 2 < values[0, 0] < 8


def test_a_long_run_is_a_few_shapes() -> None:
    rng = np.random.default_rng(0)
    rows = [{"step": 10 * k, "loss_t": (10 ** rng.normal(-1, 0.5, 20)).tolist()} for k in range(1, 3001)]
    figure = heat.by_time_over_training(rows, {"linear": np.linspace(0.1, 1, 20)})
    assert figure is not None
    text = curves.svg(figure, "heat")
    root = ElementTree.fromstring(text)
    assert len(list(root.iter())) < 600 and len(text) < 200_000
    assert "<image" not in text and not re.search(r"(?:href|src)=\"(?!#)", text.replace("xmlns:xlink", ""))
    assert text == curves.svg(heat.by_time_over_training(rows, {"linear": np.linspace(0.1, 1, 20)}), "heat")


def test_the_shapes_are_the_cells() -> None:
    """Every colour covers just the cells whose loss reaches it."""
    from matplotlib.patches import PathPatch

    values = np.array([[1.0, 0.1, 0.01], [0.5, 0.05, np.nan]])
    rows = [{"step": k + 1, "loss_t": [None if np.isnan(v) else v for v in values[:, k]]} for k in range(3)]
    figure = heat.by_time_over_training(rows)
    assert figure is not None
    patches = [p for p in figure.axes[0].patches if isinstance(p, PathPatch)]
    levels = np.geomspace(0.01, 1, heat.SHADES + 1)[:-1]
    for at, t in ((0, 0.25), (1, 0.75)):
        for step in range(3):
            value = values[at, step]
            covering = sum(p.get_path().contains_point((step + 0.5, t)) for p in patches)
            assert covering == (0 if np.isnan(value) else (value >= levels * (1 - 1e-9)).sum() or 1)


@pytest.mark.parametrize("rows", [[], [{}], [{"step": 3}], [{"step": 3, "loss_t": [None, math.nan]}]])
def test_nothing_logged_is_nothing_drawn(rows: list[dict[str, Any]]) -> None:
    assert heat.by_time_over_training(rows) is None


@pytest.mark.parametrize("losses", [[0.2, 0.2], [1e-30, 1.0], [3.0, 2.9]])
def test_any_losses_have_a_map(losses: list[float]) -> None:
    figure = heat.by_time_over_training([{"step": 1, "loss_t": losses}])
    assert figure is not None and "nan" not in curves.svg(figure, "x").lower()


def test_colours_go_from_dark_to_light() -> None:
    light = [sum(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in heat.colours()]
    assert light == sorted(light) and len(set(heat.colours())) == heat.SHADES

"""Curves: right numbers, the same bytes every time, nothing to fetch, and nothing where nothing was logged."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from noisette.diffusion.schedules import make_schedule
from noisette.views import curves
from noisette.views.study import charts

ROWS: list[dict[str, Any]] = [
    {
        "step": step,
        "loss": 2 / step,
        "lr": 1e-3,
        "grad_norm": 1 + 10 / step,
        "images_per_second": 1000.0,
        "loss_t": [0.1 * step, None, 3.0],
        "count_t": [step, 0, 2],
    }
    for step in range(10, 510, 10)
]
ROWS += [{"step": 500, "val_loss": 0.01, "val_loss_t": [0.5, None, 0.25]}]
DRAWN = (curves.loss, curves.loss_by_time, curves.speed, curves.learning_rate, curves.gradient)


@pytest.mark.parametrize("name", ["$x", "a$b$c", "$\\x$ <b>", "_hidden", "线性", "a\x07b\n"])
def test_a_name_is_drawn_as_it_is_written(name: str) -> None:
    x = np.arange(5.0)
    found = [charts.band(name, 0, [(x, x + 1)]), charts.band("other", 1, [(x, x + 1)])]
    drawn = curves.svg(charts.bands(found, "x", "y"), "a")  # type: ignore[arg-type]
    said = [text.text for text in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert name.replace("\x07", " ").strip() in [text.strip() for text in said if text] and "other" in said


@pytest.mark.parametrize("draw", DRAWN)
def test_the_same_numbers_give_the_same_svg(draw: Any) -> None:
    one, two = curves.svg(draw(ROWS), "a"), curves.svg(draw(ROWS), "a")
    assert one == two
    ElementTree.fromstring(one)
    assert not re.search(r"(?:href|src)=\"(?!#)", one.replace("xmlns:xlink", ""))
    assert "<style" not in one and "<text" in one and "@font-face" not in one and "<metadata" not in one


@pytest.mark.parametrize("name", ["cosine", "linear", "flow", "edm", "continuous_cosine"])
def test_every_schedule_can_be_drawn(name: str) -> None:
    schedule = make_schedule(name)
    for curve in (curves.schedule_signal(schedule), curves.schedule_log_snr(schedule)):
        assert "nan" not in curves.svg(curve, "s").lower()


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("rows", [[], [{}], [{"step": 1, "loss": None}], [{"step": 1, "loss": math.nan, "loss_t": []}]])
def test_nothing_logged_is_nothing_drawn(draw: Any, rows: list[dict[str, Any]]) -> None:
    assert draw(rows) is None


@pytest.mark.parametrize("draw", DRAWN)
def test_one_row_is_enough(draw: Any) -> None:
    assert curves.svg(draw(ROWS[:1]), "one")


def test_loss_by_time_weighs_bins_by_their_images() -> None:
    t, values = curves.final_by_time(ROWS)
    last = np.arange(410, 510, 10)  # the last fifth of 500 steps
    np.testing.assert_allclose(t, [1 / 6, 5 / 6])
    np.testing.assert_allclose(values, [0.1 * (last**2).sum() / last.sum(), 3.0])
    t, values = curves.last_held_out_by_time(ROWS)
    np.testing.assert_allclose(values, [0.5, 0.25])


def test_smoothing_keeps_a_line_and_takes_noise_away() -> None:
    line = np.linspace(3, 5, 101)
    np.testing.assert_allclose(curves.smooth(line, 0.1), line)
    noise = np.random.default_rng(0).standard_normal(1000)
    assert curves.smooth(noise, 0.05)[100:-100].std() < 0.2
    assert curves.smooth(np.array([1.0])).tolist() == [1.0]


def test_long_runs_are_thinned() -> None:
    x, y = curves.thin(np.arange(1e5), np.arange(1e5))
    assert len(x) == curves.POINTS and x[0] == 0 and y[-1] == 1e5 - 1


def test_themed_colours_are_variables() -> None:
    text = curves.themed(curves.svg(curves.loss(ROWS), "a"))
    assert "var(--accent)" in text and not re.search("|".join(curves.PALETTE.values()), text)


def test_matplotlib_is_lazy_and_pyplot_never() -> None:
    code = (
        "import sys; from noisette.views import curves, figures, export, report;"
        "assert not {'matplotlib', 'torch'} & set(sys.modules);"
        "curves.svg(curves.speed([{'step': 1, 'images_per_second': 2}]), 'x');"
        "assert 'matplotlib.pyplot' not in sys.modules; import matplotlib;"
        "assert matplotlib.rcParams['svg.fonttype'] == 'path'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

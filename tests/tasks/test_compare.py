"""The same noise through different settings: what is compared is what was asked for, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import tiny

from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.tasks import compare
from noisette.tasks.generate import generate, labels_for

SEEDS = [4, 5, 6]


@pytest.fixture
def noises(trained: Run) -> compare.Noises:
    return compare.Noises(trained, SEEDS, labels_for(trained, SEEDS, None), trained.config.sample)


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to what another batch size rounds differently."""
    return int(np.abs(a.astype(int) - b).max()) <= 1


def test_rms_is_the_root_of_the_mean_square() -> None:
    a, b = np.zeros((2, 2, 1, 1), np.uint8), np.zeros((2, 2, 1, 1), np.uint8)
    b[0], b[1, 0] = 255, 10
    assert compare.rms(a, b).tolist() == pytest.approx([255, 50**0.5])


def test_checkpoints(noises: compare.Noises, trained: Run) -> None:
    steps = [c.step for c in trained.checkpoints()]
    assert len(steps) > 2
    rows = compare.checkpoints(noises, steps)
    assert [row.label for row in rows] == [f"step {step}" for step in steps]
    for row, step in zip(rows, steps, strict=True):
        assert near(row.x, generate(trained, 3, seed=4, at=step)[0].x)
    assert rows[0].off is None
    np.testing.assert_array_equal(rows[1].off, compare.rms(rows[0].x, rows[1].x))
    given = compare.checkpoints(noises, steps, newest=rows[-1].x)
    assert np.array_equal(given[-1].x, rows[-1].x) and np.array_equal(given[-1].off, rows[-1].off)


def test_weights(noises: compare.Noises, trained: Run) -> None:
    ema, raw = compare.weights(noises)
    for row, kind in ((ema, "ema"), (raw, "raw")):
        assert near(row.x, generate(trained, 3, seed=4, weights=kind)[0].x)
    np.testing.assert_array_equal(raw.off, compare.rms(ema.x, raw.x))


@pytest.mark.parametrize("calls", [9, 8])
def test_samplers_have_equal_calls(noises: compare.Noises, trained: Run, calls: int) -> None:
    model, _ = build.trained(trained)
    rows, solved = compare.samplers(noises, model, calls)
    assert {row.label: row.calls for row in rows} == {
        **{"ddpm": calls, "ddim, euler": calls, "dpmpp_2m": calls, "dpmpp_2m_sde": calls},
        "heun": calls if calls % 2 else calls - 1,
    }
    assert solved.calls == 3 * calls
    for row in rows:
        name = row.settings.sampler
        own = {"eta": 0.0} if name == "ddim" else {}
        assert near(row.x, generate(trained, 3, seed=4, sampler=name, steps=row.settings.steps, **own)[0].x)
        assert (row.off is None) == (name in ("ddpm", "dpmpp_2m_sde"))


def test_the_solution_of_a_short_table_is_heuns(squares: Path, tmp_path: Path) -> None:
    run = tiny(squares, tmp_path / "short", train__steps=2, schedule__T=12)
    noises = compare.Noises(run, SEEDS, labels_for(run, SEEDS, None), run.config.sample)
    rows, solved = compare.samplers(noises, build.trained(run)[0], 11)
    assert (solved.settings.sampler, solved.calls) == ("heun", 23)
    assert all(row.off.max() > 0 for row in rows if row.off is not None)


def test_euler_is_ddim_without_noise(noises: compare.Noises, trained: Run) -> None:
    """Why the two are drawn once."""
    model, _ = build.trained(trained)
    one, two = (noises.row(name, model, sampler=name, steps=7, eta=0.0).x for name in ("ddim", "euler"))
    assert near(one, two)


def test_guidance_at_0_knows_no_class(trained: Run) -> None:
    model, _ = build.trained(trained)
    noises = compare.Noises(trained, [3, 3], np.array([0, 1]), trained.config.sample)
    rows = {row.label: row.x for row in compare.guidance(noises, model)}
    assert list(rows) == ["0", "1", "2", "4"]
    assert np.array_equal(rows["0"][0], rows["0"][1]) and not np.array_equal(rows["4"][0], rows["4"][1])
    for strength in (0, 4):
        for k, name in enumerate(trained.shape.classes):
            alone = generate(trained, 1, seed=3, classes=[name], guidance=float(strength))[0].x[0]
            assert near(alone, rows[str(strength)][k])

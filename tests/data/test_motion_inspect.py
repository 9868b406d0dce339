"""The preflight of motion: figures worked out by hand, and warnings where they are due."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motion_made import NAMES, PARENTS, body, npz

from noisette.data.motion import MotionSpec, load
from noisette.data.motion.inspect import statistics, warnings


def test_figures_of_a_body_that_glides(tmp_path: Path) -> None:
    """A rigid body, 1.5 m tall, that goes 0.1 m a frame: all that is measured is known."""
    pose = body(1)[0].astype(np.float64)
    x = (pose + 0.1 * np.arange(40)[:, None, None] * [0, 0, 1]).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=np.concatenate((x, x)), length=[40, 40], names=NAMES, parents=PARENTS, fps=30)
    stats = statistics(load(MotionSpec(str(tmp_path / "a.npz"), frames=20, stride=20, heading=False)))
    assert json.loads(json.dumps(stats)) == stats
    assert (stats["count"], stats["takes"], stats["seconds"], stats["exact_duplicates"]) == (4, 2, 2.7, 1)
    assert stats["speed"] == pytest.approx(3.0) and stats["reach"] == pytest.approx(1.9)
    assert stats["size"] == pytest.approx(1.5) and stats["jitter"] < 1e-4 and stats["still"] == 0


def test_shaky_and_still(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    still = np.repeat(body(1), 40, 0)
    shaky = (body(40) + rng.normal(0, 0.03, (40, 8, 3))).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=still, names=NAMES, parents=PARENTS)
    np.savez(tmp_path / "b.npz", x=shaky, names=NAMES, parents=PARENTS)
    a, b = (statistics(load(MotionSpec(str(tmp_path / f"{n}.npz"), frames=16))) for n in "ab")
    assert a["still"] == a["count"] and a["jitter"] == 0 and a["seconds"] is None
    assert b["still"] == 0 and b["jitter"] > 0.05
    assert any("hardly anything moves" in w for w in warnings(a)) and any("shaky" in w for w in warnings(b))


def test_warnings(tmp_path: Path) -> None:
    few = statistics(load(MotionSpec(npz(tmp_path / "a.npz", [30] * 4), frames=16)))
    assert warnings(few)[0].startswith("Only 4 takes")
    fine: dict[str, Any] = {**few, "takes": 500, "count": 2000, "train": 1800, "still": 0, "jitter": 0.01}
    assert warnings(fine) == []
    for change, words in (
        ({"takes": 120}, "120 takes are few"),
        ({"per_class": {"a": 1900, "b": 100}}, '95% of the clips are of one class, "a"'),
        ({"per_class": {"a": 1000, "b": 995, "c": 5}}, "Fewer than 10 clips of c"),
        ({"short": {"held": 300, "dropped": 0}}, "300 of 500 takes are shorter than 16 frames"),
        ({"short": {"held": 0, "dropped": 300}}, "300 takes are much shorter"),
        ({"cleaning": {**few["cleaning"], "missing": 9, "takes": 2, "filled": 4, "dropped_frames": 3}}, "missing in 2"),
        ({"exact_duplicates": 3}, "3 takes are exact copies"),
        ({"unreadable": 2}, "2 files or takes could not be used"),
    ):
        (warning,) = warnings({**fine, **change})
        assert words in warning
    (warning,) = warnings({**fine, "takes": 120, "pairs": 0})
    assert "--mirror" not in warning
    assert warnings({**fine, "jitter": None}) == []

"""The way from picture to noise, and the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from noisette.views import export, figures
from noisette.views.explained.exhibit import Bench, Board, Course, Explanation, Row
from noisette.views.figures import percent
from noisette.views.material import SHOWN_WAYS

if TYPE_CHECKING:
    from noisette.tasks.generate import Frame

MOVING = 60
"""Frames of the way to noise in an animation."""

SETTLED = (0.5, 0.1)


def forward(bench: Bench) -> Explanation:
    """From picture to noise. What the model was taught to undo."""
    from noisette.tasks import explain

    data, schedule, seed = bench.material.images, bench.material.schedule, bench.asked.seed
    rows = explain.rows(data, SHOWN_WAYS, bench.asked.classes)
    frames = explain.forward(data.x[rows], bench.medium, schedule, figures.COLUMNS - 1, seed)
    many = explain.forward(data.x[rows], bench.medium, schedule, MOVING, seed)
    look = export.look_of(frames, bench.medium)
    shown = [look(frame.x) for frame in frames]
    names = ["" if data.labels is None else f"Training picture: {data.classes[int(data.labels[row])]}" for row in rows]
    board = Board(
        "",
        "A training picture on its way to noise",
        [_label(frame) for frame in frames],
        [Row(name or f"Training picture {k + 1}", np.stack([x[k] for x in shown])) for k, name in enumerate(names)],
        "The remaining signal is √α̅, the share of the amplitude that is still the picture.",
        wraps=True,
    )
    drowned = next((frame for frame in many if (frame.signal or 0.0) < 0.5), many[-1])
    finding = (
        f"Half of the amplitude is gone at {drowned.label}, and {percent(frames[-1].signal or 0.0)} of it is left at "
        f"{frames[-1].label}."
    )
    text = [
        "Pictures from the training data, with more and more of the same noise: the way that the model walks back. "
        "Under them, the step and the remaining signal."
    ]
    return Explanation(finding, text, boards=[board], courses=[Course("", many, look)])


def reverse(bench: Bench) -> Explanation:
    """From noise to picture. Some of the samples on their way."""
    frames = figures.paired(bench.ways)
    chosen = [frames[i] for i in figures.evenly(len(frames), figures.COLUMNS)]
    look = export.look_of(frames, bench.medium)
    states, guesses = [look(f.x) for f in chosen], [look(f.x0) for f in chosen if f.x0 is not None]
    x = [np.stack([shown[k] for shown in states]) for k in range(len(chosen[0].x))]
    x0 = [np.stack([shown[k] for shown in guesses]) for k in range(len(x))]
    names = [f"Seed {bench.asked.seed + k}" for k in range(len(x))]
    board = Board(
        "",
        "A sample on its way from noise",
        [_label(frame) for frame in chosen],
        [Row(name, a, b) for name, a, b in zip(names, x, x0, strict=True)],
        "The command also writes both ways as animations.",
        wraps=True,
    )
    first = "a rough mean" if bench.moves else "a blurred guess"
    text = [
        "Above, the state x at each step, from pure noise to the sample. Below it, what the model takes the clean "
        f"picture to be at that moment (its estimate of x0): {first} at first, then more and more certain. "
        "Under them, the step and the share of the amplitude that is signal."
    ]
    estimates = [replace(frame, x=frame.x0) for frame in frames if frame.x0 is not None]
    courses = [Course("", frames, look), Course("estimate", estimates, look)]
    return Explanation(_settled(frames, bench), text, boards=[board], courses=courses)


def _settled(frames: list[Frame], bench: Bench) -> str:
    """From which step on the estimate of x0 is near the sample that it becomes."""
    estimates = np.stack([frame.x0 for frame in frames if frame.x0 is not None]).astype(np.float64)
    off = np.sqrt(((estimates - estimates[-1]) ** 2).reshape(len(estimates), -1).mean(1))
    if off[0] == 0:
        return ""
    half, near = (frames[int(np.flatnonzero(off > share * off[0])[-1]) + 1].label for share in SETTLED)
    return (
        f"The model's guess of the picture is half way to the sample at {half}, and within a tenth of the way at "
        f"{near} (its first guess, from noise alone, is {bench.away(float(off[0]))} away)."
    )


def _label(frame: Frame) -> str:
    """The step and, where it is known, the remaining signal, short enough to stand under a small picture."""
    return frame.label if frame.signal is None else f"{frame.label}\n{percent(frame.signal)}"

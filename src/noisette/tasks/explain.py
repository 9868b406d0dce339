"""What happens to a sample on its way to noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Data, Medium, Stored
from noisette.diffusion.samplers import SampleNoise
from noisette.diffusion.schedules import NoiseSchedule
from noisette.errors import UserError, nearest
from noisette.tasks.generate import Frame, time_label


def forward(x: Stored, medium: Medium, schedule: NoiseSchedule, count: int = 10, seed: int = 0) -> list[Frame]:
    """Samples (N, *medium.stored) at `count` + 1 times from clean (t = 0) to the last step (t = 1), evenly spaced.

    The noise is the same at every time, so that only its share changes (Ho et al. 2020, eq. 4); sample k has seed + k.
    A schedule that grows past unit scale is shown divided by it.
    """
    clean = medium.encode(x)
    noise = SampleNoise(range(seed, seed + len(x)), clean.shape[1:])()
    frames = []
    for k in range(count + 1):
        t = float(schedule.snap(k / count)) if k else 0.0
        alpha, sigma = (float(value) for value in schedule.level(t))
        scale = max(1.0, (alpha**2 + sigma**2) ** 0.5)
        x_t = (alpha * clean + sigma * noise) / scale
        frames.append(Frame(t, time_label(schedule, t), medium.decode(x_t), None, float(schedule.alpha_bar(t).sqrt())))
    return frames


def spread(labels: NDArray[np.int64] | None, rows: NDArray[np.int64], count: int) -> list[int]:
    """`count` of these rows (fewer where there are fewer): the first of each class, then the second of each, ..."""
    if labels is None:
        return [int(r) for r in rows[:count]]
    turn: dict[int, int] = {}
    keyed = []
    for row in rows:
        label = int(labels[row])
        turn[label] = turn.get(label, -1) + 1
        if turn[label] < count:
            keyed.append((turn[label], label, int(row)))
    return [row for _, _, row in sorted(keyed)[:count]]


def rows(data: Data, count: int, classes: Sequence[str] = ()) -> list[int]:
    """The training pictures that stand for a data set, or for some of its classes: the first of each class in turn.

    Raises UserError for a class that is not there.
    """
    found = data.train if len(data.train) else data.held_out
    for name in classes:
        if name not in data.classes or data.labels is None:
            raise UserError(f'the data have no class "{name}"{nearest(name, data.classes)}')
    if classes and data.labels is not None:
        found = found[np.isin(data.labels[found], [data.classes.index(name) for name in classes])]
    return spread(data.labels, found, count)

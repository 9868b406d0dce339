"""A cheap look at how good the samples are, while a model trains."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisette.data.medium import Data
from noisette.data.spec import permutation
from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.metrics import distances
from noisette.metrics.features import Pixels
from noisette.tasks.generate import draw, labels_for, quick

SAMPLES, STEPS, REAL = 256, 12, 2048
_CHOOSE = 0x9207  # sets this use of the seed apart from the others


class Proxy:
    """The Fréchet distance of a few quick samples to training images, in the principal components of the pixels.

    It says whether things get better, not how good they are: few samples, few steps, plain features. `floor` is what
    as many real images give against the others.
    """

    def __init__(self, run: Run, data: Data):
        self.run, self.shape = run, run.shape
        rows = data.train[permutation(len(data.train), run.config.data.seed, _CHOOSE)[: REAL + SAMPLES]]
        n = min(SAMPLES, len(rows) // 2)
        self.extractor = Pixels(data.x[np.sort(rows[n:])])
        self.reference = distances.moments(self.extractor(data.x[np.sort(rows[n:])]))
        real = distances.moments(self.extractor(data.x[np.sort(rows[:n])]))
        self.floor = distances.frechet_of_moments(self.reference, real)
        self.n = n

    def measure(self, ema: build.Model) -> dict[str, Any]:
        """proxy_fd of the averaged weights, always from the same noise, with proxy_floor and proxy_n."""
        run = self.run
        settings = quick(ema, run.config.sample, STEPS)
        seeds = list(range(self.n))
        labels = labels_for(run, seeds, None)
        x, _ = draw(ema, settings, self.shape, seeds, labels, chunk=min(self.n, 64))
        found = distances.frechet_of_moments(self.reference, distances.moments(self.extractor(x)))
        return {"proxy_fd": round(found, 6), "proxy_floor": round(self.floor, 6), "proxy_n": self.n}

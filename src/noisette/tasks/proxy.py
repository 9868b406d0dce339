"""A cheap look at how good the samples are, while a model trains."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisette.data.medium import Data
from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.metrics import distances
from noisette.tasks.generate import draw, labels_for, quick
from noisette.tasks.judge import Judge

SAMPLES, STEPS, REAL = 256, 12, 2048
_CHOOSE = 0x9207  # sets this use of the seed apart from the others


class Proxy:
    """The Fréchet distance of a few quick samples to training ones, in principal components of the pixels or poses.

    It says whether things get better, not how good they are: few samples, few steps, plain features. `floor` is what
    as many real ones give against the others; None for clips of so few takes that they cannot be told apart.
    """

    def __init__(self, run: Run, data: Data):
        self.run, self.shape = run, run.shape
        judge, self.n = Judge.of(data, run.config.data), min(SAMPLES, len(data.train) // 2)
        instead, rest = judge.apart(data.train, self.n, False, run.config.data.seed, _CHOOSE)
        reference = data.x[np.sort(data.train[rest[: REAL + SAMPLES - self.n]])]
        self.extractor = judge.plain(reference)
        self.reference = distances.moments(self.extractor(reference))
        real = distances.moments(self.extractor(data.x[np.sort(data.train[instead])])) if len(instead) > 1 else None
        self.floor = None if real is None else distances.frechet_of_moments(self.reference, real)

    def measure(self, ema: build.Model) -> dict[str, Any]:
        """proxy_fd of the averaged weights, always from the same noise, with proxy_n, and proxy_floor where known."""
        run = self.run
        settings = quick(ema, run.config.sample, STEPS)
        seeds = list(range(self.n))
        labels = labels_for(run, seeds, None)
        x, _ = draw(ema, settings, self.shape, seeds, labels, chunk=min(self.n, 64))
        found = distances.frechet_of_moments(self.reference, distances.moments(self.extractor(x)))
        floor = {} if self.floor is None else {"proxy_floor": round(self.floor, 6)}
        return {"proxy_fd": round(found, 6), **floor, "proxy_n": self.n}

"""What a training will come to, before it starts: images a second, steps, looks at each image, memory."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from noisette.experiment import build
from noisette.experiment.config import Config
from noisette.experiment.runs import Shape
from noisette.tasks.measure import Settled
from noisette.tasks.optimisers import is_hidden

COPIES = 3
"""Of a whole batch in float32, whatever its micro-batches: images, noise, and what it takes to make them."""


@dataclass(frozen=True)
class Estimate:
    """images_per_second: while it learns; steps, images, seconds: of the whole budget, with what is done already;
    epochs: how often each training image is seen; memory: bytes of the process at its peak, on a GPU of its tensors."""

    images_per_second: float
    steps: int
    images: int
    epochs: float
    seconds: float
    memory: int

    def told(self) -> dict[str, Any]:
        """For meta.json."""
        return {key: round(value, 2) for key, value in asdict(self).items()}


def estimate(
    settled: Settled,
    shape: Shape,
    rows: int,
    resident: int = 0,
    looks: float = 0,
    looks_a_step: float = 0,
    done: tuple[int, float] = (0, 0.0),
) -> Estimate:
    """The estimate for a budget.

    Args:
        settled: settings, and what an image and an update take.
        rows: training images.
        resident: bytes that are held before the training, see noisette.tasks.machine.resident.
        looks: images that the net is shown without learning, for previews and validation losses; looks_a_step: the
            same, spread over all steps.
        done: (steps, seconds) that are over already.
    """
    train = settled.config.train
    learning = train.batch * settled.an_image + settled.update
    step = learning + looks_a_step * settled.forward
    aside = looks * settled.forward
    steps, seconds = done
    if train.minutes is not None:
        more = max(1, math.ceil((train.minutes * 60 - seconds - aside) / step))
    else:
        more = (train.steps or math.ceil((train.images or 0) / train.batch)) - steps
    more = max(more, 0)
    images = (steps + more) * train.batch
    seconds = max(seconds + more * step + aside, (train.minutes or 0.0) * 60)
    memory = resident + _weights(settled.config, shape) + COPIES * 4 * math.prod(shape.x) * train.batch
    memory += settled.memory_a_sample * (train.micro_batch or train.batch)
    return Estimate(train.batch / learning, steps + more, images, images / max(rows, 1), seconds, memory)


def _weights(config: Config, shape: Shape) -> int:
    """Bytes of weights, gradients, optimiser state, average, and of the copy that computes."""
    named = dict(build.learning(config, shape).named_parameters())
    total = sum(p.numel() for p in named.values())
    hidden = sum(p.numel() for name, p in named.items() if config.optim.name == "muon" and is_hidden(name, p))
    kept = 4 * (3 * total + 2 * (total - hidden) + hidden)  # AdamW keeps two moments, Muon one
    apart = {"bf16": 2}.get(config.train.precision, 4 if config.train.layout == "channels_last" else 0)
    return kept + 3 * apart * total  # the worker's weights and gradients, and its averaged twin when it is looked at

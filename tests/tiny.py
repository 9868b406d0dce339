"""A net so small that a whole run takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisette.experiment.runs import Run

TINY: dict[str, Any] = {
    "net": {"channels": 8, "multipliers": [1], "groups": 4, "head_dim": 8, "patch": 1},
    "train": {
        **{"batch": 8, "precision": "fp32", "layout": "channels_first", "compile": "off", "micro_batch": 8},
        **{"log_every": 2, "checks": 2, "previews": 1},
    },
    "sample": {"sampler": "ddim", "steps": 4, "grid": "trailing", "guidance": 1.0, "interval": [0.0, 1.0]},
}
"""Settings of a run that trains at a hundred steps a second."""

TINY_GAN: dict[str, Any] = {"kind": "gan", "gan": {"z": 16, "channels": 4}, "train": TINY["train"]}
"""The same of a GAN."""


def tiny(squares: Path, out: Path, base: dict[str, Any] = TINY, **settings: Any) -> Run:
    """A trained tiny run; settings are dotted with __ for the dot."""
    from noisette.experiment.config import merge
    from noisette.tasks import train

    wanted = merge(base, {"train.steps": 12, **{k.replace("__", "."): v for k, v in settings.items()}})
    run, data = train.start(str(squares), wanted, "small-grey", out)
    for _ in train.train(run, data):
        pass
    return Run.open(out)

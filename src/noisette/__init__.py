"""Noisette: train, sample, measure and explain small denoising diffusion models.

import noisette as nt
run = nt.train("digits", minutes=2)
run.sample(36, sampler="ddim", steps=50, seed=0).save("digits.png")
run.report()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noisette.errors import UserError

if TYPE_CHECKING:
    from noisette.api import DataSpec, Run, Samples, Study, Trajectory, check, compare, load, open, study, train

__version__ = "0.1.0"
__all__ = [
    "DataSpec",
    "Run",
    "Samples",
    "Study",
    "Trajectory",
    "UserError",
    "check",
    "compare",
    "load",
    "open",
    "study",
    "train",
]


def __getattr__(name: str) -> Any:
    """torch takes seconds to import: it is loaded when a verb is first used, not with the package."""
    if name in __all__:
        from noisette import api

        return getattr(api, name)
    raise AttributeError(f"module 'noisette' has no attribute {name!r}")

"""How errors are counted: a distance by its name, or a user's own function, whose mistakes are told in one line."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisette.diffusion import objectives
from noisette.errors import UserError, nearest


class DistanceError(UserError):
    """A user's own distance does not do what a distance has to."""


def distance(name: str) -> objectives.Distance:
    """One of DISTANCES, or module:function for a user's own, whose mistakes are DistanceErrors. Raises UserError."""
    module, colon, function = name.partition(":")
    if not colon:
        if name not in objectives.DISTANCES:
            known = nearest(name, objectives.DISTANCES)
            raise UserError(f'unknown distance "{name}"{known} (or your own function as module:name)')
        return objectives.DISTANCES[name]
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a console script does not look beside the user's own files
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # a user's module may raise anything, and end as a script does
        raise DistanceError(f'objective.distance "{name}": {_said(error)}') from None
    return partial(own, name, found)


def own(name: str, function: Callable[..., Any], prediction: Tensor, target: Tensor) -> Tensor:
    """What a user's distance gives for two tensors. Raises DistanceError where a net cannot learn from that."""
    who, shape = f'objective.distance "{name}"', tuple(prediction.shape)
    learning = prediction.requires_grad and torch.is_grad_enabled()
    try:
        found = function(prediction, target)
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
            raise
        raise DistanceError(f"{who} fails for two tensors of shape {shape}: {_said(error)}") from None
    if not isinstance(found, Tensor) or tuple(found.shape) != shape:
        gave = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise DistanceError(
            f"{who} must give one loss for every element: for two tensors of shape {shape} it gave {gave}"
        )
    if not found.is_floating_point():
        kind = str(found.dtype).removeprefix("torch.")
        raise DistanceError(f"{who} must give real numbers, not {kind}")
    if learning and not found.requires_grad:
        raise DistanceError(f"{who} gives losses that no net can learn from: they do not hang on the prediction")
    return found


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def try_distance(name: str, function: objectives.Distance, *shapes: tuple[int, ...]) -> None:
    """Calls a distance on tensors as they come in training, and back again. Raises UserError where it fails."""
    for shape in ((2, 1, 2, 3), *shapes):
        x = torch.linspace(-1, 1, math.prod(shape)).reshape(shape)
        weights = x.clone().requires_grad_()  # a net's output is no leaf, and may be changed in place
        try:
            function(weights * 1.0, x.flip(0)).mean().backward()
        except UserError:
            raise
        except Exception as error:  # a user's own graph may raise anything on the way back
            raise DistanceError(f'objective.distance "{name}" has no gradient: {_said(error)}') from None

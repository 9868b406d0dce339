"""The pieces of a first diffusion model: a data set, the forward process, losses, and an image from noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from noisette.coursework.chain import normal_like, schedule_of, whole
from noisette.coursework.scratch import DiffusionProcess
from noisette.data import DataSpec, load, normalise
from noisette.diffusion import objectives
from noisette.diffusion.schedules import NoiseSchedule
from noisette.errors import UserError, nearest
from noisette.experiment.runs import Run
from noisette.tasks.generate import generate


class DiffusionDataset(Dataset[tuple[Tensor, int]]):
    """Images as (float32 (C, H, W) in [-1, 1], the index of their class), from whatever noisette.data.load reads.

    Args:
        source: a folder whose subfolders are the classes, a file, or a name: digits, mnist, cifar10, ...
        image_size: side of the square that the middle of each image is resized to; None keeps the images' own size.
        classes: the class to keep, or some, by name, in this order: "cat", ["cat", "dog"], 1, ["1", "7"]; all when left
            out.
        per_class: at most so many images of each class.
        held_out: False for the rows to train on, True for the others.
        share: the share of the images that is held out, 0 for none.
        settings: anything else of noisette.data.DataSpec: color, limit, seed.

    Attributes:
        classes: names, by label.
        data: the ImageData behind it: all pixels as bytes, what was skipped and why.

    Raises:
        UserError: no such data, class or setting; held_out where share leaves nothing out.
    """

    def __init__(
        self,
        source: str | Path,
        image_size: int | None = None,
        classes: str | int | Iterable[str | int] = (),
        per_class: int | None = None,
        *,
        held_out: bool = False,
        share: float = 0.1,
        **settings: Any,
    ):
        names = tuple(str(name) for name in ([classes] if isinstance(classes, (str, int)) else classes))
        for what, value in (("image_size", image_size), ("per_class", per_class)):
            if value is not None:
                whole(what, value)
        for name in settings:
            if name not in (known := [field.name for field in fields(DataSpec)]):
                raise UserError(f'DiffusionDataset: no setting "{name}"{nearest(name, known)}')
        self.data = load(DataSpec(str(source), image_size, names, per_class, held_out=share, **settings))
        self.rows = self.data.held_out if held_out else self.data.train
        if not len(self.rows):
            kind = "held out" if held_out else "left to train on"
            raise UserError(f"{source}: no image is {kind} with share={share}: give another share, or more images")
        self.classes = self.data.classes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """(image, label); the label is 0 where the images have no classes."""
        row = self.rows[index]
        image = torch.from_numpy(np.ascontiguousarray(normalise(self.data.x[row]).transpose(2, 0, 1)))
        return image, 0 if self.data.labels is None else int(self.data.labels[row])

    def loader(self, batch_size: int = 64, *, shuffle: bool = True, seed: int = 0) -> DataLoader[tuple[Tensor, int]]:
        """Batches of (images (B, C, H, W), labels (B,)); each pass over it has its own order, from the seed."""
        whole("batch_size", batch_size, 1)
        return DataLoader(self, batch_size, shuffle, generator=torch.Generator().manual_seed(seed))


def forward_process(
    x0: Tensor,
    T: int = 1000,
    *,
    schedule: str | NoiseSchedule = "linear",
    scaled: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """x_0, x_1, ..., x_T: noise added T times, x_t ~ N(sqrt(1 - beta_t) x_{t-1}, beta_t I) (Ho et al. 2020, eq. 2).

    It shows schedules.TableSchedule.walk.

    Args:
        x0: (N, C, H, W) in [-1, 1].
        T: how many times, 2 to 10,000.
        schedule: a discrete schedule by name, or one of T steps.
        scaled: the betas of a named schedule times 1000/T, so that x_T is noise for any T; False: as they are.
        generator: of the noise, on the CPU; torch's own when None.

    Returns:
        (T + 1, N, C, H, W).

    Raises:
        UserError: an unknown schedule, or T out of range.
    """
    steps = schedule_of(schedule, T, scaled).walk(x0, lambda x_t: normal_like(x_t, generator))
    way = torch.empty(T + 1, *x0.shape, dtype=x0.dtype, device=x0.device)
    way[0] = x0
    for t, x_t in enumerate(steps, 1):
        way[t] = x_t
    return way


class HasPath(Protocol):
    """A run: an object with a folder."""

    @property
    def path(self) -> Path: ...


def test_function(noise: Tensor, model: DiffusionProcess | HasPath | str | Path, **settings: Any) -> Tensor:
    """Noise in, an image out, of the same shape and in [-1, 1]; the same noise gives the same image.

    It shows noisette.tasks.generate.generate, or DiffusionProcess.sample.

    Args:
        noise: N(0, I), (C, H, W) or (N, C, H, W).
        model: a run, the path of its folder, or a DiffusionProcess.
        settings: of the sampler: sampler="ddim", steps=50, eta, guidance, ...; the run's own by default.

    Raises:
        UserError: no such run, noise of another shape, a setting that does not exist.
    """
    if noise.ndim == 3:
        return test_function(noise[None], model, **settings)[0]
    if isinstance(model, DiffusionProcess):
        return model.sample(len(noise), seed=0, noise=noise, **settings)
    made, _ = generate(Run.open(getattr(model, "path", model)), noise=noise, **settings)
    return torch.from_numpy(normalise(made.x)).permute(0, 3, 1, 2)


test_function.__test__ = False  # type: ignore[attr-defined]  # its name is the course's: no test for pytest


# --- losses -------------------------------------------------------------------------------------------------------


def l1_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """The mean of |predicted - target|, a scalar: objectives.l1."""
    return objectives.l1(predicted, target).mean()


def l2_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """The mean of (predicted - target)^2, a scalar: objectives.l2; of noise L_simple of Ho et al. 2020, eq. 14."""
    return objectives.l2(predicted, target).mean()


def huber_loss(predicted: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """The mean of half the squared error below delta, linear above, a scalar: objectives.huber (Huber 1964)."""
    return objectives.huber(predicted, target, delta).mean()


def charbonnier_loss(predicted: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """The mean of sqrt((predicted - target)^2 + epsilon^2), a scalar: objectives.charbonnier."""
    return objectives.charbonnier(predicted, target, epsilon).mean()

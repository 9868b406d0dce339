"""How well a net does at each noise level, beside what exact models of the same pictures do there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisette.data import medium
from noisette.data.medium import Data
from noisette.data.stream import generator
from noisette.diffusion.denoisers import Denoiser, NetDenoiser, Prediction, expand
from noisette.diffusion.exact import Empirical, Gaussian
from noisette.diffusion.objectives import Objective, StratifiedTimes
from noisette.diffusion.schedules import NoiseSchedule, Time
from noisette.tasks.trainer import BINS

A_BIN = 32
"""Pictures in each bin of t: the mean loss there is then known to a few percent."""

PIXELS = 2**23
"""Numbers that the exact models may hold: 4,096 colour pictures of 26 x 26, or 341 of 90 x 90."""

MOST, COMPONENTS, DENSE = 4096, 256, 1024
BATCH = 64

Floats = NDArray[np.float64]
THIRDS = ("early", "middle", "late")


@dataclass(frozen=True)
class Losses:
    """Losses of pictures at times: t (N,), and for each space the losses (N,) of each model.

    space: the one that the net was trained in. Models: "training" and "held_out", the net on pictures that it learned
    from and on others (left out where there are none); "linear", the best linear denoiser of the training pictures;
    "memory", the exact denoiser of the training pictures, which knows them all by heart. pictures: how many it knows;
    components: how many axes the linear one knows, None for all.
    """

    space: str
    t: Floats
    losses: Mapping[str, Mapping[str, Floats]]
    schedule: NoiseSchedule
    pictures: int
    components: int | None

    def by_level(self, space: str, model: str) -> tuple[Floats, Floats, Floats]:
        """(middle of each bin of t, mean loss there, its standard error); bins without a t are left out."""
        where = np.clip(np.ceil(self.t * BINS).astype(int) - 1, 0, BINS - 1)
        found = [(b, self.losses[space][model][where == b]) for b in range(BINS) if (where == b).sum() > 1]
        middle = np.array([(b + 0.5) / BINS for b, _ in found])
        mean = np.array([values.mean() for _, values in found])
        return middle, mean, np.array([values.std(ddof=1) / len(values) ** 0.5 for _, values in found])

    def third(self) -> NDArray[np.int64]:
        """0 early, 1 middle or 2 late, (N,): which third of the times that are trained on."""
        low = self.schedule.t_min
        return np.asarray(np.clip(3 * (self.t - low) / (1 - low), 0, 2), np.int64)

    def shares(self, space: str, model: str) -> Floats:
        """The share of the whole loss, t drawn evenly, that comes from each third, (3,)."""
        sums = np.bincount(self.third(), self.losses[space][model], minlength=3)
        return np.asarray(sums / max(sums.sum(), 1e-300), np.float64)

    def mean(self, space: str, model: str, third: int | None = None) -> float:
        """The mean loss, of one third of the times or of all."""
        values = self.losses[space][model]
        return float(values.mean() if third is None else values[self.third() == third].mean())

    def snr(self, third: int) -> tuple[float, float]:
        """Signal-to-noise ratio (of power) at the clean and at the noisy end of a third."""
        low = self.schedule.t_min
        ends = (low + (1 - low) * (third + k) / 3 for k in range(2))
        first, last = (float(self.schedule.snr(self.schedule.snap(min(1.0, t)))) for t in ends)
        return first, last


class _Said:
    """A denoiser that repeats one prediction, so that several objectives can judge the same answer."""

    def __init__(self, prediction: Prediction, schedule: NoiseSchedule):
        self.prediction, self.schedule = prediction, schedule

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        return self.prediction


class _Trials:
    """n times and noises, the same for everyone that is judged."""

    def __init__(self, data: Data, schedule: NoiseSchedule, device: torch.device, n: int, seed: int):
        self.data, self.schedule, self.device, self.n, self.seed = data, schedule, device, n, seed
        self.t, _ = StratifiedTimes().draw(n, schedule, generator(seed, 0, purpose="levels-t"))
        self.medium = medium.of(medium.facts(data))
        self.noise = torch.randn((n, *self.medium.x), generator=generator(seed, 0, purpose="levels-noise"))

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """n of these rows in a random order, again and again where there are fewer."""
        order = torch.randperm(len(rows), generator=generator(self.seed, len(rows), purpose="levels-pictures"))
        return np.resize(rows[order.numpy()], self.n)

    def pictures(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """Rows of the data as a net wants them, and their labels."""
        data = self.data
        x = self.medium.encode(data.x[rows]).to(self.device)
        return x, None if data.labels is None else torch.from_numpy(data.labels[rows]).to(self.device)

    @torch.no_grad()
    def losses(
        self, denoiser: Denoiser, objectives: Mapping[str, Objective], rows: NDArray[np.int64], told: bool, batch: int
    ) -> dict[str, Floats]:
        """By each objective, the loss on each of these n rows, (n,)."""
        found: dict[str, list[Tensor]] = {space: [] for space in objectives}
        for first in range(0, self.n, batch):
            part = slice(first, first + batch)
            x0, labels = self.pictures(rows[part])
            t, noise = self.t[part], self.noise[part].to(self.device)
            alpha, sigma = self.schedule.level(t)
            x_t = expand(alpha, x0) * x0 + expand(sigma, x0) * noise
            said = _Said(denoiser(x_t, t, labels if told else None), self.schedule)
            for space, objective in objectives.items():
                found[space].append(objective(said, x0, t, noise).simple.double().cpu())
        return {space: torch.cat(parts).numpy() for space, parts in found.items()}


def measure(
    model: NetDenoiser, objective: Objective, data: Data, *, told: bool = False, a_bin: int = A_BIN, seed: int = 0
) -> Losses:
    """Losses of a net and of the exact models, all on pictures that meet the same times and the same noise.

    They are measured in the objective's own space and in eps, by its distance and without its weight.

    Args:
        model: the net as a denoiser.
        objective: how it was trained.
        data: what it was trained on.
        told: whether the net is told class labels. Then the exact model of the pictures is told them too.
        a_bin: pictures in each twentieth of [0, 1].
    """
    schedule, size = model.schedule, int(np.prod(data.x.shape[1:]))
    trials = _Trials(data, schedule, next(model.parameters()).device, a_bin * BINS, seed)
    few = max(2, min(MOST, PIXELS // size, len(data.train)))
    known = data.train[np.linspace(0, len(data.train) - 1, few).round().astype(np.int64)]
    pictures, labels = trials.pictures(known)
    components = size if size <= DENSE else min(COMPONENTS, max(1, len(known) // 4))
    linear = Gaussian.fitted(pictures, schedule, components, generator(seed, 0, purpose="levels-axes"))
    memory = Memory(pictures, labels if told else None, schedule)

    judges = {space: Objective(space, objective.distance) for space in dict.fromkeys((objective.space, "eps"))}
    rows = trials.of(known)
    found = {"training": trials.losses(model, judges, rows, told, BATCH)}
    if len(data.held_out):
        found["held_out"] = trials.losses(model, judges, trials.of(data.held_out), told, BATCH)
    found["linear"] = trials.losses(linear, judges, rows, False, trials.n)
    found["memory"] = trials.losses(memory, judges, rows, told, trials.n)
    losses = {space: {name: values[space] for name, values in found.items()} for space in judges}
    return Losses(
        objective.space, trials.t.numpy(), losses, schedule, len(known), None if linear.rest is None else components
    )


def pictures_losses(
    models: Sequence[NetDenoiser], objective: Objective, data: Data, *, told: bool, n: int = 256, seed: int = 0
) -> list[Floats]:
    """The losses (n,) of several nets of one schedule on the same held-out pictures, times and noise.

    On training pictures where none were held out.
    """
    trials = _Trials(data, models[0].schedule, next(models[0].parameters()).device, n, seed)
    rows = trials.of(data.held_out if len(data.held_out) else data.train)
    judged = {"loss": Objective(objective.space, objective.distance)}
    return [trials.losses(model, judged, rows, told, BATCH)["loss"] for model in models]


class Memory:
    """The exact denoiser of these pictures; with labels (N,), one that knows of which class the picture is."""

    def __init__(self, pictures: Tensor, labels: Tensor | None, schedule: NoiseSchedule):
        self.schedule = schedule
        self.whole = Empirical(pictures, schedule)
        kinds = [] if labels is None else sorted(set(labels.tolist()))
        self.of = {kind: Empirical(pictures[labels == kind], schedule) for kind in kinds}

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        if cond is None:
            return self.whole(x_t, t)
        t = torch.as_tensor(t, dtype=torch.float64).expand(len(x_t))
        x0 = torch.empty_like(x_t)
        for label, model in self.of.items():
            mine = cond == label
            if bool(mine.any()):
                x0[mine] = model(x_t[mine], t[mine.cpu()]).x0
        return Prediction(x_t, x0, *self.schedule.level(t))

"""Noisette from Python: the verbs of the command line as functions and methods of a run.

import noisette as nt
run = nt.train("digits", minutes=2)
run.sample(36, sampler="ddim", steps=50, seed=0).save("digits.png")
run.report()
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image
from torch import Tensor

from noisette.data import DataSpec, load
from noisette.data.medium import Medium, Stored
from noisette.diffusion.denoisers import NetDenoiser
from noisette.errors import UserError
from noisette.experiment import build, runs
from noisette.experiment import jobs as _jobs
from noisette.experiment.config import Config, merge
from noisette.tasks import check as _check
from noisette.tasks import doctor as _doctor
from noisette.tasks import evaluate as _evaluate
from noisette.tasks import explain
from noisette.tasks import generate as _generate
from noisette.tasks import interpolate as _interpolate
from noisette.tasks import study as _study
from noisette.tasks import train as _train
from noisette.tasks.generate import Frame
from noisette.views import bundle as _bundle
from noisette.views import comparison as _comparison
from noisette.views import explained as _explained
from noisette.views import export, figures
from noisette.views import notebook as _notebook
from noisette.views import pdf as _pdf
from noisette.views import report as _report
from noisette.views import study as _study_views
from noisette.views.material import Material

Watcher = Callable[[_train.TrainStep], None]


@dataclass
class Samples(_generate.Samples):
    """Samples that can be written: see noisette.tasks.generate.Samples; medium: what they are, images where None."""

    medium: Medium | None = None

    def save(self, path: str | Path) -> Path:
        """Writes what the path's ending says, see noisette.views.export.save_samples. Raises UserError."""
        return export.save_samples(self, str(path), self.medium)

    def picture(self) -> Image:
        """All samples on one sheet, with class names where there are any; a notebook shows it as it is."""
        return export.picture(self, self.medium)


class Trajectory(list[Frame]):
    """The frames from noise to sample, one a step; medium: what they are of, images where None."""

    def __init__(self, frames: Iterable[Frame] = (), medium: Medium | None = None):
        super().__init__(frames)
        self.medium = medium

    def save(self, path: str | Path) -> Path:
        """Writes a labelled strip (.png), an animation (.gif, .webp) or all steps (.npz). Raises UserError."""
        return export.save_trajectory(self, str(path), medium=self.medium)

    def picture(self, samples: int = export.ROWS, estimates: bool = False) -> Image:
        """A strip with labelled steps, one row for each of the first `samples`; estimates: of x0, under each."""
        return figures.strip(self, samples=samples, estimates=estimates, look=export.look_of(self, self.medium))


class Run:
    """A run folder: `path`, its `config`, its `metrics`, and what can be done with it."""

    def __init__(self, run: runs.Run):
        self._run = run

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        return self._run.path

    @property
    def config(self) -> Config:
        return self._run.config

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return self._run.metrics()

    def sample(self, n: int = 36, **settings: Any) -> Samples:
        """n samples; settings as in noisette.tasks.generate.generate (seed, sampler, steps, eta, guidance, ...)."""
        made, _ = _generate.generate(self._run, n, **settings)
        return Samples(**vars(made), medium=self._run.shape.medium)

    def trajectory(self, n: int = 1, **settings: Any) -> Trajectory:
        """Every step of n samples from noise to data."""
        _, frames = _generate.generate(self._run, n, frames=True, **settings)
        return Trajectory(frames, self._run.shape.medium)

    def noise(self, n: int = 36, seed: int = 0) -> Tensor:
        """The noise that `sample` starts from, (n, C, H, W) or (n, J * D, F) float32; sample(noise=...) takes it."""
        return _generate.noise_of(self._run, n, seed)

    def forward(self, images: Stored | None = None, n: int = 1, count: int = 10, seed: int = 0) -> Trajectory:
        """Samples, as they are kept, on their way to noise in `count` steps; by default n of the run's own data.

        Raises:
            UserError: the data are gone or have changed.
        """
        if images is None:
            data = build.data(self._run)
            images = data.x[explain.rows(data, n)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # every frame says how much signal is left
            schedule = build.schedule(self.config.schedule)
        medium = self._run.shape.medium
        return Trajectory(explain.forward(images, medium, schedule, count, seed), medium)

    def interpolate(
        self,
        between: tuple[int, int] = (0, 1),
        count: int = 9,
        kind: str = "slerp",
        cls: str | None = None,
        **settings: Any,
    ) -> Samples:
        """Samples on the way from the noise of one seed to that of another, under a sampler without chance.

        Args:
            between: the two seeds.
            kind: slerp, or lerp.
            cls: the class of all of them; the run's first one by default, where its net is told classes.
            settings: as for sample.

        Raises:
            UserError: an unknown kind, class or setting; the same seed twice; fewer than 3 samples.
        """
        shape, chosen = self._run.shape, _generate.settings_of(self._run, **settings)
        labels = _generate.labels_for(self._run, [0] * count, [cls] if cls else None)
        label = None if labels is None else int(labels[0])
        path = _interpolate.interpolate(
            build.trained(self._run)[0], chosen, shape, between, count, kind=kind, label=label
        )
        used = _interpolate.without_chance(chosen).model_dump(mode="json")
        used |= {"between": between, "kind": kind}
        return Samples(path.x, [between[0]] * count, labels, shape.classes, used, shape.medium)

    def explain(self, what: str, out: str | Path | None = None, **asked: Any) -> tuple[str, list[Path]]:
        """Explains one thing: (the answer in words, its figures, written into the run folder or into `out`).

        The answer is what was found, then a paragraph for each reason that the numbers give. what: as for `noisette
        explain`; asked: seed, steps, count, classes, between, as there.
        """
        (key,) = _explained.chosen([what])
        found = _explained.EXPLANATIONS[key](_explained.Bench(Material(self._run), _explained.Asked(**asked)))
        answer = "\n\n".join(part for part in (found.finding, *found.text, found.missing) if part)
        return answer, _explained.save(found, key, Path(out) if out else self._run.figures)

    def denoiser(self, weights: str = "ema", at: int | None = None) -> NetDenoiser:
        """The trained model as a denoiser, (x_t, t, cond) -> Prediction, for your own sampler.

        Raises:
            UserError: the run is a GAN.
        """
        model = build.trained(self._run, weights, at)[0]
        if not isinstance(model, NetDenoiser):
            raise UserError(f"{self.path}: a GAN has no denoiser: sample() draws with its generator")
        return model

    def evaluate(self, samples: int = 2048, **settings: Any) -> list[dict[str, Any]]:
        """Measures the run against real samples; settings as in noisette.tasks.evaluate.evaluate. The rows found."""
        return _evaluate.evaluate(self._run, samples, **settings)

    def doctor(self, n: int = 64, **settings: Any) -> _doctor.Diagnosis:
        """What is wrong with n samples, by measurement; settings as in noisette.tasks.doctor.examine."""
        return _doctor.examine(self._run, n, **settings)

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The rows of all evaluations so far."""
        return [row for evaluation in self._run.evaluations() for row in evaluation["rows"]]

    def resume(self, watch: Watcher | None = None, **more: float) -> Run:
        """Continues an interrupted run; `minutes`, `steps` or `images` extend it by that much."""
        self._run = _follow(_train.continued(self._run, more), None, watch)
        return self

    def report(self, out: str | Path | None = None, *, pdf: bool = False) -> Path:
        """Writes the report, report.html in the run folder by default; pdf: prints it beside it too.

        Returns where it is, the PDF if there is one. Raises UserError."""
        return _printed(_report.report(self._run, out), pdf)

    def notebook(self, execute: bool = False) -> Path:
        """Writes test_diffusion.ipynb into the run folder; execute: with its outputs. Raises UserError."""
        return _notebook.notebook(self._run, execute)

    def bundle(
        self, out: str | Path | None = None, *, name: str | None = None, number: str | None = None, suffix: str = "07"
    ) -> Path:
        """Packs the run to hand it on, see noisette.views.bundle.bundle; the zip. Raises UserError."""
        return _bundle.bundle(self._run, out, name, number, suffix)


def train(
    data: str | Path,
    *,
    out: str | Path | None = None,
    kind: str | None = None,
    recipe: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    images: int | None = None,
    settings: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
    reopen: bool = False,
) -> Run:
    """Trains a model and gives the run.

    Args:
        data: a data set's name, a folder, a file, of images or of key-point motion.
        out: the run folder; runs/<data>-<number> when None.
        kind: diffusion, the default, or gan.
        recipe: a recipe's name or file; chosen by the data's shape when None.
        minutes, steps, images: the budget, one of them; 2 minutes when none is given.
        settings: anything else, {"optim.lr": 1e-3, "data": {"classes": ["cat", "dog"]}}.
        watch: called after every step.
        reopen: where `out` holds a run of the same data and settings already, that one is given, and trained to its
            end first if it was interrupted: so a notebook can be run again. Otherwise a folder in use is an error.

    Raises:
        UserError: in one line, whatever the caller can mend.
    """
    budget = {"minutes": minutes, "steps": steps, "images": images}
    given: dict[str, Any] = {f"train.{name}": value for name, value in budget.items() if value is not None}
    given |= {"kind": kind} if kind else {}
    wanted = merge(settings or {}, given)
    if reopen and out and (made := _study.opened(Path(out))):
        same = merge(wanted, {"data.source": str(data), **({"recipe": recipe} if recipe else {})})
        if made.config.changed(same) != made.config:
            raise UserError(f"{out}: holds a run with other settings: choose another out, or remove it")
        loaded = build.data(made)  # it says so if they have changed
        return Run(made if made.finished else _follow(made, loaded, watch))
    run, loaded = _train.start(str(data), wanted, recipe, out)
    return Run(_follow(run, loaded, watch))


def _follow(run: runs.Run, data: Any, watch: Watcher | None) -> runs.Run:
    """Trains to the end of the budget; the run as it then is. Ctrl-C writes a checkpoint first."""
    with _train.stop_on_signals() as stopped:
        for step in _train.train(run, data, stopped):
            if watch:
                watch(step)
    return runs.Run.open(run.path)


def open(path: str | Path) -> Run:
    """An existing run. Raises UserError when the folder is not one."""
    return Run(runs.Run.open(path))


def compare(*given: Run | str | Path, out: str | Path | None = None, pdf: bool = False) -> Path:
    """Writes a page that compares runs, comparison.html beside them by default; pdf: prints it beside it too.

    Returns where it is, the PDF if there is one. Raises UserError: fewer than two runs, one twice, a bad place.
    """
    opened = [one._run if isinstance(one, Run) else runs.Run.open(one) for one in given]
    return _printed(_comparison.compare(opened, out), pdf)


class Study:
    """A study's folder: `path`, what was found, and its pages. print() gives the findings."""

    def __init__(self, folder: str | Path | _jobs.Folder):
        self._folder = folder if isinstance(folder, _jobs.Folder) else _jobs.Folder(Path(folder))
        self._folder.read()  # raises UserError where there is none

    def __repr__(self) -> str:
        return f"Study({str(self.path)!r})"

    def __str__(self) -> str:
        return "\n\n".join(textwrap.fill(line, 110) for line in self.findings)

    @property
    def path(self) -> Path:
        return self._folder.path

    @property
    def report(self) -> Path:
        """The page with the table, the pictures and the figures."""
        return self._folder.report_path

    @property
    def results(self) -> list[_study.Result]:
        """One for each setting, seed and way of sampling."""
        return _study.results(self.path)

    @property
    def findings(self) -> list[str]:
        """The answer to the study's question in sentences that the numbers bear."""
        return list(self._told().found.answer)

    def table(self, *numbers: str) -> str:
        """A line for each setting, to be printed: means over its seeds, each with its 95 % interval.

        numbers: keys of noisette.tasks.study.NUMBERS; the times to train and to sample, and what the study's findings
        are made of, where none are given. What nobody measured has no column.
        """
        told = self._told()
        wanted = numbers or dict.fromkeys(("seconds_train", "seconds_sample", *told.study.answers))
        return _study_views.plain(told.units, tuple(wanted))

    def picture(self) -> Image:
        """The same seeds drawn by every setting, a row each; a notebook shows it as it is. Raises UserError."""
        return _study_views.sheet(self._told().units)

    def _told(self) -> _study_views.Told:
        return _study_views.Told(self._folder, self._folder.read(), self.results)


def study(
    what: str | Path,
    *,
    data: str | Path | Sequence[str | Path] = (),
    budget: str | None = None,
    seeds: int | None = None,
    samples: int | None = None,
    features: str | None = None,
    values: Sequence[str] = (),
    of: str | Path | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Study:
    """Answers a question by trying, as `noisette study` does; what was interrupted goes on with the same call.

    Args:
        what: the name of a study, a .toml file, or the folder of a study that was begun.
        data: other data than the study's own; several for a study that compares data.
        budget: quick | standard | long.
        seeds, samples: runs of each setting, and how many samples of each are measured; as the budget says when None.
        features: what samples are compared by; as the study says when None.
        values: other values of factors, as "T=100,200".
        of: for best-of, the folder of an earlier study.
        out: the folder; runs/study-NAME when None.
        settings: of a run, on top of the study's own.

    Raises:
        UserError: no such study, choice or setting; data that cannot be read.
    """
    from noisette.tasks import study_queue, study_start  # Optuna takes half a second to import

    sources = [data] if isinstance(data, str | Path) else list(data)
    folder, wanted = study_start.asked(
        str(what),
        data=[str(source) for source in sources],
        budget=budget,
        seeds=seeds,
        samples=samples,
        features=features,
        values=values,
        of=Path(of) if of else None,
        out=Path(out) if out else None,
        given=merge({}, settings or {}),
    )
    study_start.begin(folder, wanted)
    with _train.stop_on_signals() as stopped:
        study_queue.work(folder, study_queue.database(folder, None), stopped, lambda *doing: None, lambda job: None)
    _study_views.report(folder.path)
    return Study(folder)


def _printed(page: Path, pdf: bool) -> Path:
    return _pdf.write(page)[0] if pdf else page


def check(data: str | Path, **settings: Any) -> _check.Preflight:
    """A look at the data before training; see noisette.tasks.check.check."""
    return _check.check(str(data), settings.pop("settings", {}), **settings)


__all__ = [
    "DataSpec", "Run", "Samples", "Study", "Trajectory", "UserError", "check", "compare",
    "explain", "load", "open", "study", "train",
]  # fmt: skip

"""A study's factors as a space to search: Optuna's sampler looks for the best setting while there is time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from noisette.errors import UserError
from noisette.experiment import ways
from noisette.experiment.files import write_text
from noisette.experiment.jobs import Folder, Setting, jobs, settings
from noisette.experiment.runs import Run
from noisette.experiment.studies import Study
from noisette.tasks.study import NUMBERS
from noisette.tasks.study_queue import SEARCH, Ended, Stop, connect, done, once, quiet
from noisette.tasks.study_run import Stopped, Watch

FIRST = 6
"""Settings that are drawn at random before the sampler has an opinion."""


@dataclass(frozen=True)
class Tried:
    """A setting that a search tried: its answers, one for each seed."""

    setting: Setting
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))


def search(folder: Folder, url: str, minutes: float, stopped: Stopped, watch: Watch, ended: Ended) -> None:
    """Tries settings for so many minutes; a run that has begun is finished. The same again searches on.

    A setting that is tried again gets another seed, so that luck does not win.

    Raises:
        Interrupted, Stop: `stopped` said so.
        UserError: see noisette.tasks.study_queue.work.
    """
    study = folder.read()
    by_values = {frozenset(setting.values.items()): setting for setting in settings(study)}
    until = time.monotonic() + 60 * minutes
    with quiet():
        sampler = optuna.samplers.TPESampler(n_startup_trials=FIRST, constant_liar=True)
        queue = connect(url, study, SEARCH, sampler)

        def objective(trial: optuna.Trial) -> float:
            chosen = {f.label: trial.suggest_categorical(f.label, [v.label for v in f.values]) for f in study.factors}
            setting = by_values.get(frozenset(chosen.items()))
            if setting is None:  # the budget has no time for it
                raise optuna.TrialPruned
            (job,) = jobs(study, [setting], [_before(queue, trial.number, chosen)])
            return done(folder, study, job, stopped, watch, ended)

        while time.monotonic() < until:
            if number := stopped():
                raise Stop(number)
            once(queue, objective)


def _before(queue: optuna.Study, number: int, chosen: Mapping[str, Any]) -> int:
    """How many earlier trials of the same values count, which is the seed of the next one."""
    states = (TrialState.COMPLETE, TrialState.RUNNING)
    earlier = queue.get_trials(deepcopy=False, states=states)
    return sum(trial.number < number and trial.params == chosen for trial in earlier)


def best(folder: Folder, url: str) -> list[Tried]:
    """All settings that a search has answers of, the best first; best.toml in the folder holds the first one's recipe.

    Raises UserError where there is none.
    """
    study = folder.read()
    trials = connect(url, study, SEARCH).get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    answers: dict[frozenset[tuple[str, str]], list[float]] = {}
    for trial in trials:
        if trial.value is not None:
            answers.setdefault(frozenset(trial.params.items()), []).append(trial.value)
    found = [Tried(s, tuple(answers[key])) for s in settings(study) if (key := frozenset(s.values.items())) in answers]
    if not found:
        raise UserError(f"{folder.path}: no run of the search was finished: give it more --minutes")
    sign = -1 if NUMBERS[study.answers[0]][2] == "higher" else 1
    found.sort(key=lambda one: sign * one.mean)
    write_text(folder.best_path, _recipe(folder, study, found[0].setting))
    return found


def _recipe(folder: Folder, study: Study, setting: Setting) -> str:
    """The settings of a run, with its way to sample, as another training can take them."""
    (job,) = jobs(study, [setting], [0])
    config = Run.open(folder.run(job)).config
    way = setting.ways[0]
    if way and not ways.is_path(way):
        config = config.changed({"sample": ways.settings_of(way)})
    return config.to_toml()

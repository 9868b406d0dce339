"""A study's factors as a space to search: Optuna's sampler looks for the best setting while there is time."""

from __future__ import annotations

import itertools
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
from noisette.tasks.study import NUMBERS, opened, results
from noisette.tasks.study_queue import SEARCH, Ended, Stop, done, once, queue_of, quiet
from noisette.tasks.study_run import Stopped, Watch
from noisette.tasks.train import Interrupted

SEED = "seed"
"""An attribute of a trial: the seed of its run."""

FIRST = 6
"""Settings that are drawn at random before the sampler has an opinion."""


@dataclass(frozen=True)
class Tried:
    """A setting that a search tried: its answers, by seed."""

    setting: Setting
    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        return float(np.mean([*self.values.values()]))


def search(folder: Folder, url: str, minutes: float, stopped: Stopped, watch: Watch, ended: Ended) -> None:
    """Tries settings for so many minutes; a run that has begun is finished. The same again searches on.

    A setting that is tried again gets another seed, so that luck does not win. What was interrupted comes first. It
    ends before its time where every setting was tried and none gave an answer.

    Raises:
        Interrupted, Stop: `stopped` said so.
        UserError: see noisette.tasks.study_queue.work.
    """
    study = folder.read()
    by_values = {frozenset(setting.values.items()): setting for setting in settings(study)}
    folder.mark(searched=True)
    with quiet():
        sampler = optuna.samplers.TPESampler(n_startup_trials=FIRST, constant_liar=True)
        queue = queue_of(folder, url, study, SEARCH, sampler)
        tried, hopeful = set[str](), set[str]()
        until = time.monotonic() + 60 * minutes

        def objective(trial: optuna.Trial) -> float:
            chosen = {f.label: trial.suggest_categorical(f.label, [v.label for v in f.values]) for f in study.factors}
            setting = by_values.get(frozenset(chosen.items()))
            if setting is None:  # the budget has no time for it
                raise optuna.TrialPruned
            if SEED not in trial.user_attrs:
                trial.set_user_attr(SEED, _next_seed(queue, chosen))
            (job,) = jobs(study, [setting], [trial.user_attrs[SEED]])
            tried.add(setting.label)
            try:
                value = done(folder, study, job, stopped, watch, ended)
            except Interrupted:
                queue.add_trial(_again(trial))
                raise
            hopeful.add(setting.label)
            return value

        every = {setting.label for setting in by_values.values()}
        while time.monotonic() < until and (hopeful or tried != every):
            if number := stopped():
                raise Stop(number)
            once(queue, objective)


def _next_seed(queue: optuna.Study, chosen: Mapping[str, Any]) -> int:
    """The first seed that no trial of the same values has: one that gave an answer, is at work, or will go on."""
    states = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
    mine = [trial for trial in queue.get_trials(deepcopy=False, states=states) if trial.params == chosen]
    taken = {trial.user_attrs.get(SEED) for trial in mine}
    return next(seed for seed in itertools.count() if seed not in taken)


def _again(trial: optuna.Trial) -> optuna.trial.FrozenTrial:
    """The same trial, to be taken up by whoever comes next."""
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
    )


def best(folder: Folder, url: str) -> list[Tried]:
    """All settings that a search has answers of, the best first; best.toml in the folder holds the first one's recipe.

    Raises UserError where there is none.
    """
    study = folder.read()
    with quiet():
        trials = queue_of(folder, url, study, SEARCH).get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    answers: dict[frozenset[tuple[str, str]], dict[int, float]] = {}
    for trial in trials:
        if trial.value is not None:
            answers.setdefault(frozenset(trial.params.items()), {})[trial.user_attrs[SEED]] = trial.value
    found = [Tried(s, answers[key]) for s in settings(study) if (key := frozenset(s.values.items())) in answers]
    if not found:
        failed = [result for result in results(folder.path) if result.state == "failed"]
        if not failed:
            raise UserError(f"{folder.path}: no run of the search was finished: give it more --minutes")
        count = len({result.run for result in failed})
        raise UserError(f"{folder.path}: all that was tried failed, {count} runs: {failed[0].reason}")
    sign = -1 if NUMBERS[study.answers[0]][2] == "higher" else 1
    found.sort(key=lambda one: sign * one.mean)
    write_text(folder.best_path, _recipe(folder, study, found[0]))
    return found


def _recipe(folder: Folder, study: Study, best: Tried) -> str:
    """The settings of a run, with its way to sample, as another training can take them."""
    places = [folder.run(job) for job in jobs(study, [best.setting], sorted(best.values))]
    config = Run.open(next(filter(opened, places), places[0])).config
    way = best.setting.ways[0]
    if way and not ways.is_path(way):
        config = config.changed({"sample": config.sample.filled(ways.settings_of(way))})
    return config.to_toml()

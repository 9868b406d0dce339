"""From what a user asks for to a study in its folder, ready to be worked on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from noisette.errors import UserError, nearest
from noisette.experiment import studies
from noisette.experiment.jobs import Folder, going_on, named, settings
from noisette.experiment.studies import Study
from noisette.tasks import study_run
from noisette.tasks.study import fastest


def loaded(what: str) -> Study:
    """A study by its name or .toml file, that means something. Raises UserError.

    It is looked at as it is written: what of it a user's --values leave out need not be there any more.
    """
    study = studies.load(what)
    if not study.factors:
        return study
    if study.ways and any(factor.kind == "sample" for factor in study.factors):
        raise UserError(
            f'{what}: ways say nothing beside a factor of kind = "sample", which says how to sample: drop them'
        )
    whole = study.chosen.model_copy(update={"leave_out": ()})
    every = settings(study.model_copy(update={"budgets": {study.budget: whole}}))
    labels = dict.fromkeys(setting.label for setting in every)
    values = [label for f in study.factors for v in f.values for label in (v.label, named(f, v))]
    for label in study.baseline:
        if label not in {*labels, *values}:
            raise UserError(f'{what}: baseline: no value or setting "{label}"{nearest(label, {*labels, *values})}')
    for name, budget in study.budgets.items():
        for pattern in budget.leave_out:
            if not any(fnmatchcase(label, pattern) for label in labels):
                hint = nearest(pattern, labels)
                raise UserError(f'{what}: budgets.{name}.leave_out: no setting is called like "{pattern}"{hint}')
    return study


def asked(
    what: str,
    *,
    data: Sequence[str] = (),
    budget: str | None = None,
    seeds: int | None = None,
    samples: int | None = None,
    features: str | None = None,
    values: Sequence[str] = (),
    of: Path | None = None,
    out: Path | None = None,
    given: Mapping[str, Any] | None = None,
) -> tuple[Folder, Study]:
    """(the folder, the study as it is asked for); nothing is written.

    Args:
        what: the name of a study, a .toml file, or the folder of a study that was begun.
        data, budget, seeds, samples, features, values, given: see noisette.experiment.studies.chosen.
        of: for best-of, the folder of the study whose fastest settings are trained on.
        out: the folder; runs/study-NAME when None.

    Raises:
        UserError: no such study, choice or setting.
    """
    begun = Folder(Path(what))
    again = out is not None and out.resolve() == begun.path.resolve()  # the name, and a folder that is called like it
    if begun.exists and not again:
        if any((data, budget, samples, features, values, of, out, given)):
            raise UserError(f"{what}: its settings stand: give its name instead, with another --out, to change them")
        return begun, studies.chosen(begun.read(), seeds=seeds)
    chosen = studies.chosen(
        loaded(what),
        data=data,
        budget=budget,
        seeds=seeds,
        samples=samples,
        features=features,
        values=values,
        given=given,
    )
    if bool(chosen.takes) != (of is not None):
        raise UserError(
            f"{what}: it trains on what an earlier study found: --of runs/study-NAME"
            if chosen.takes
            else f"{what}: --of is for studies that train on the fastest settings of another, best-of"
        )
    if of is not None:
        chosen = going_on(chosen, of, Folder(of).read(), fastest(of, chosen.takes))
    return Folder(out or Path("runs") / f"study-{chosen.name}"), chosen


def begin(folder: Folder, study: Study) -> Study:
    """Looks at a study before anything is written, and settles it in its folder. Raises UserError."""
    study_run.check(study)
    return folder.settle(study)

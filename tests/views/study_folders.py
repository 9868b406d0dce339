"""A study whose trainings are done and measured, made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import evaluations
from run_maker import SMALL, maker

from noisette.experiment.config import merge
from noisette.experiment.jobs import Folder, jobs
from noisette.experiment.runs import Run
from noisette.experiment.studies import parse
from noisette.tasks import study as engine

STUDY: dict[str, Any] = {
    **{"name": "schedules", "title": "Noise schedules", "question": "Which noise schedule gives the better samples?"},
    **{"about": ["A schedule says how fast noise grows."], "base": SMALL, "seeds": 3},
    "factors": [{"label": "schedule", "key": "schedule.name", "values": ["cosine", "linear"]}],
    "budgets": {"quick": {"train": {"images": 2560}, "samples": 2048}},
    **{"measure": ["fid", "bits"], "ways": ["ddim:20"], "answers": ["fid", "bits"]},
    "figures": ["curves", "samples", "dots", "tradeoff", "loss_by_t", "grad_norm", "paths"],
}
FID = {"cosine": (0.0, 0.4, -0.4), "linear": (8.0, 8.6, 7.4)}
"""What moves each seed's distances, in standard errors of its samples."""


def study_folder(place: Path, **changes: Any) -> Folder:
    """A study whose six trainings are done and measured."""
    make, folder = maker(place), Folder(place)
    study = parse({**STUDY, **changes}, "test")
    place.mkdir(parents=True, exist_ok=True)
    folder.study_path.write_text(study.to_toml())
    for job in jobs(study):
        setting = job.name.rsplit("-seed-", 1)[0]
        run = make(job.name, settings=merge({"schedule.name": setting}, {"train.seed": job.seed}), shift=None)
        rows = evaluations.drawn("ddim:20", FID[setting][job.seed], step=20, seeds=[job.sampling_seed])
        rows += evaluations.bits(20)
        run.save_evaluation("all", {"version": 1, "rows": [*evaluations.real(), *rows]})
        measured(run, study, job)
    return folder


def measured(run: Run, study: Any, job: Any) -> None:
    levels = [0.5 / (k + 1 + job.seed / 10) for k in range(20)]
    whole = {"numbers": {}, "series": {"loss_t": levels, "eps_t": levels[::-1]}}
    kept = {
        "protocol": engine.protocol(study, job),
        "ways": engine.evaluated(run, job.ways, engine.protocol(study, job)),
        "seconds": 30.0,
        "whole": whole,
    }
    run.update_meta(**{engine.MEASURED: kept})

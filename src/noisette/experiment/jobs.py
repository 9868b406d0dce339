"""What a study comes to: its settings, a job for each setting and seed, and the folder that they lie in.

    study.toml           the study with all choices         study.db        the queue, where no --storage is given
    runs/SETTING-seed-K/ ordinary run folders               locks/          who is at work on which
    results.csv  report.html  best.toml                     searched        a mark, while it is searched

Settings that differ only in how to sample share their trained runs.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from noisette.errors import UserError
from noisette.experiment import ways
from noisette.experiment.config import BUDGETS, ScheduleConfig, merge, read_toml
from noisette.experiment.files import write_text
from noisette.experiment.studies import Factor, Study, Value, differences, flat, parse

SEEDS_APART = 1_000_000
"""Between the sampling seeds of two training seeds: what is measured of one run must say nothing of the next."""

LONGEST = 100
"""Letters of a label in a folder's name."""


@dataclass(frozen=True)
class Setting:
    """A combination of values.

    label "T=300, raw"; values by factor; trained: what names its runs; settings: nested, the budget included; ways:
    names of ways to sample, "" for the run's own.
    """

    label: str
    values: dict[str, str]
    trained: str
    settings: dict[str, Any]
    ways: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A run that a study needs, and all the ways in which it is sampled."""

    trained: str
    seed: int
    settings: dict[str, Any]
    ways: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{self.trained}-seed-{self.seed}"

    @property
    def sampling_seed(self) -> int:
        return SEEDS_APART * self.seed


def settings(study: Study) -> list[Setting]:
    """Every setting of a study, those left out by the budget apart. Raises UserError where none is left."""
    found = [_setting(study, values) for values in _combinations(study)]
    kept = [s for s in found if not any(fnmatchcase(s.label, pattern) for pattern in study.chosen.leave_out)]
    if not kept:
        raise UserError(f"{study.name}: the budget {study.budget} leaves out every setting: use a larger one")
    return kept


def jobs(study: Study, of: Sequence[Setting] | None = None, seeds: Sequence[int] | None = None) -> list[Job]:
    """The runs that settings need (all of them by default), seed by seed, so that a broken-off study compares."""
    made: dict[tuple[int, str], Job] = {}
    for seed in range(study.seeds or study.chosen.seeds) if seeds is None else seeds:
        for setting in settings(study) if of is None else of:
            key, tree = (seed, setting.trained), merge(setting.settings, {"train.seed": seed})
            if key in made and made[key].settings != tree:
                raise UserError(f"{study.name}: two settings would share the folder {setting.trained}: rename a value")
            before = made[key].ways if key in made else ()
            made[key] = Job(setting.trained, seed, tree, tuple(dict.fromkeys((*before, *setting.ways))))
    return list(made.values())


def _combinations(study: Study) -> Iterator[tuple[Value, ...]]:
    lists = [factor.values for factor in study.factors]
    if study.combine == "grid":
        yield from itertools.product(*lists)
        return
    first = tuple(values[0] for values in lists)
    yield first
    for k, values in enumerate(lists):
        for value in values[1:]:
            yield (*first[:k], value, *first[k + 1 :])


def _setting(study: Study, chosen: Sequence[Value]) -> Setting:
    pairs = list(zip(study.factors, chosen, strict=True))
    kinds = [value.budget for value in chosen if value.budget] or list(study.chosen.train)
    tree = merge(study.base, {"train": {kinds[0]: study.chosen.train[kinds[0]]}})
    tree = merge({"data": study.data}, tree)
    tree = merge(tree, _without_other_budgets(study.given, kinds[0] if len(study.chosen.train) > 1 else ""))
    sampling: dict[str, Any] = {}
    trains: list[str] = []
    for factor, value in pairs:
        training, drawing = _halves(study, factor, value)
        tree = merge(tree, training)
        sampling |= drawing
        if factor.kind == "train" and (training or not drawing):
            trains.append(value.folder or named(factor, value))
    label = ", ".join(named(factor, value) for factor, value in pairs)
    trained = slug("-".join(trains)) or "run"
    return Setting(label, {f.label: v.label for f, v in pairs}, trained, tree, _ways(study, label, tree, sampling))


def _halves(study: Study, factor: Factor, value: Value) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what a value changes in the training, what it changes in a way to sample).

    Where factors say how to sample, a value that changes nothing else needs no training of its own.
    """
    given = flat(value.settings)
    if factor.kind == "train" and all(f.kind == "train" for f in study.factors):
        return given, {}
    drawing = {k.removeprefix("sample."): v for k, v in given.items() if factor.kind == "sample" or k[:7] == "sample."}
    return {k: v for k, v in given.items() if k.removeprefix("sample.") not in drawing}, drawing


def _without_other_budgets(given: dict[str, Any], kind: str) -> dict[str, Any]:
    """A user's settings, without budgets of another kind than the one that a factor chose."""
    if not kind or "train" not in given:
        return given
    return {**given, "train": {k: v for k, v in given["train"].items() if k not in BUDGETS or k == kind}}


def _ways(study: Study, label: str, tree: dict[str, Any], sampling: dict[str, Any]) -> tuple[str, ...]:
    found = study.ways or ("",)
    if sampling:
        own = {k: v for k, v in tree.get("sample", {}).items() if k in ("sampler", "steps")}
        found = (ways.named({**own, **sampling}, f"{study.name}: {label}"),)
    steps = tree.get("schedule", {}).get("T", ScheduleConfig().T)
    return tuple(re.sub(r":T(?=:|$)", f":{steps}", way) for way in found)


def named(factor: Factor, value: Value) -> str:
    """A value as part of a setting's label; a bare number says of what."""
    return f"{factor.label}={value.label}" if re.match(r"[-+.\d]", value.label) else value.label


def slug(label: str) -> str:
    """A label as part of a folder's name: with a hash where letters are lost, by which alone labels may differ."""
    found = re.sub(r"[^A-Za-z0-9_.]+", "-", label).strip("-.")
    lost = any(letter.isalnum() and not letter.isascii() for letter in label) or (label and not found)
    if not lost and len(found) <= LONGEST:
        return found
    return "-".join([*filter(None, [found[:LONGEST].strip("-.")]), hashlib.sha256(label.encode()).hexdigest()[:6]])


# --- the folder ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """A study on disk."""

    path: Path

    @property
    def study_path(self) -> Path:
        return self.path / "study.toml"

    @property
    def database(self) -> Path:
        return self.path / "study.db"

    @property
    def results_path(self) -> Path:
        return self.path / "results.csv"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def best_path(self) -> Path:
        """The recipe that a search found best."""
        return self.path / "best.toml"

    @property
    def searched(self) -> bool:
        """Whether it is searched: not every setting is tried, and good ones with more seeds than others."""
        return self._mark.is_file()

    def mark(self, searched: bool) -> None:
        """Says how the study is worked on from now on."""
        if searched:
            self._mark.touch()
        else:
            self._mark.unlink(missing_ok=True)

    @property
    def _mark(self) -> Path:
        return self.path / "searched"

    def seeds(self, trained: str) -> list[int]:
        """The seeds of the run folders that are there of a setting."""
        ends = (path.name.removeprefix(f"{trained}-seed-") for path in (self.path / "runs").glob(f"{trained}-seed-*"))
        return sorted(int(end) for end in ends if end.isdecimal())

    def run(self, job: Job) -> Path:
        return self.path / "runs" / job.name

    def lock(self, job: Job) -> Path:
        return self.path / "locks" / job.name

    @property
    def exists(self) -> bool:
        return self.study_path.is_file()

    def read(self) -> Study:
        """The study of this folder. Raises UserError."""
        if not self.exists:
            raise UserError(f"{self.path}: not the folder of a study (it has no study.toml)")
        return parse(read_toml(self.study_path), str(self.study_path))

    def settle(self, study: Study) -> Study:
        """Makes the folder, or goes on with the study in it, which may get more seeds; the study as it is then.

        Where no run has begun yet, the study in it may change, so that a mistake can be mended.

        Raises:
            UserError: another study lies there, or something else does.
        """
        if not self.exists:
            if self.path.is_file() or (self.path.is_dir() and any(f.name[0] != "." for f in self.path.iterdir())):
                raise UserError(f"{self.path}: already there, and not a study: choose another --out")
            write_text(self.study_path, study.to_toml())
            return self.read()
        before = self.read()
        new = parse({**study.model_dump(), "seeds": max(study.seeds, before.seeds)}, study.name)
        if not any((self.path / "runs").glob("*")):
            new = parse(study.model_dump(), study.name)
        elif changed := differences(before, new):
            said = "; ".join(changed[:3])
            raise UserError(
                f"{self.path}: another study lies there ({said}): choose another --out, or go on with it: "
                f"noisette study {self.path}"
            )
        if new != before:
            write_text(self.study_path, new.to_toml())
        return new


def going_on(study: Study, folder: Path, earlier: Study, found: Sequence[Setting]) -> Study:
    """A study that `takes` some, as one that trains these settings of an earlier study on, from its runs.

    Raises:
        UserError: settings on top of it other than how long: those of the earlier runs stand.
    """
    if first := next((key for key in flat(study.given) if key.removeprefix("train.") not in BUDGETS), None):
        raise UserError(f"{study.name}: the settings of the earlier runs stand: leave out {first}")
    values = []
    for setting in found:
        train = {k: v for k, v in setting.settings.get("train", {}).items() if k not in BUDGETS}
        whole = {**setting.settings, "train": train}
        values.append({"label": setting.label, "folder": setting.trained, "settings": whole})
    tree: dict[str, Any] = {
        **study.model_dump(),
        "factors": [{"label": "setting", "values": values}],
        "continues": str(folder.resolve()),
        "recipe": earlier.recipe,
        "seeds": min(study.seeds or earlier.seeds, earlier.seeds),
    }
    return parse(tree, study.name)

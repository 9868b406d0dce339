"""A study is data: a base recipe, factors with their values, seeds, budgets, what to measure, what to show.

It is read from TOML as settings are: an unknown key is refused with the nearest one that exists. What a study comes to,
its settings and its runs, is in noisette.experiment.jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from noisette.errors import UserError, nearest
from noisette.experiment import ways
from noisette.experiment.config import VERSION, Section, keys, merge, read_toml, readable, value_of

BudgetName = Literal["quick", "standard", "long"]
Kind = Literal["minutes", "steps", "images"]
Figure = Literal["curves", "quality", "samples", "dots", "tradeoff", "loss_by_t", "grad_norm", "paths"]


class Value(Section):
    """One value of a factor.

    budget names the kind of budget that it is trained for, where there are several; folder is what it gives to the
    names of its runs where that is not its label.
    """

    label: str
    folder: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    budget: Literal["", "minutes", "steps", "images"] = ""


class Factor(Section):
    """What is varied. With `key`, values may be written as they are: key = "schedule.T", values = [250, 300].

    kind train: each value is trained. kind sample: the values are ways to sample from one trained run, as settings of
    [sample] or as way = "ddim:50:eta=1"; "slerp:17" is a path of 17 pictures between two noises.
    """

    label: str
    key: str = ""
    kind: Literal["train", "sample"] = "train"
    values: tuple[Value, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("values"), list | tuple):
            return given
        key = given.get("key", "")
        return {**given, "values": [v if isinstance(v, Mapping | Value) else _value(key, v) for v in given["values"]]}

    @model_validator(mode="after")
    def _apart(self) -> Factor:
        if len({value.label for value in self.values}) < len(self.values):
            raise ValueError(f'two values of "{self.label}" have one label')
        for value in self.values:
            self._fits(value)
        return self

    def _fits(self, value: Value) -> None:
        for key in flat(value.settings):
            sampling = key == ways.WAY or key.startswith("sample.")
            if self.kind == "sample" and not sampling:
                raise ValueError(f'a factor of kind "sample" changes sample.* or way, not "{key}"')
            if self.kind == "train" and key == ways.WAY:
                raise ValueError('a way is for a factor of kind = "sample"')
            if key == ways.WAY:
                ways.settings_of(str(value.settings[key]))
            else:
                _known(key)


class Budget(Section):
    """What each run may take, and how it is measured.

    train: minutes, steps or images; several where the values of a factor choose. samples: how many are drawn to be
    measured. seeds: runs of each setting. leave_out: patterns of the labels of settings that there is no time for.
    search: minutes that a search goes on. took: minutes that the whole study was measured to take on two cores.
    """

    train: dict[Kind, int | float] = Field(min_length=1)
    samples: int = Field(504, ge=1)
    seeds: int = Field(3, ge=1)
    leave_out: tuple[str, ...] = ()
    search: float = Field(15.0, gt=0)
    took: float | None = None


class Study(Section):
    """A study; `budget` and `seeds` are those chosen, `given` a user's settings on top of base and budget.

    combine grid: every combination of values; one-at-a-time: the first value of each factor, and each other value
    with the first ones of all other factors.
    measure: metrics of `noisette evaluate`, and forward, loss_by_t, chain_bits (see noisette.tasks.study_measures).
    ways: how to sample where no factor says it, the run's own way where there is none; in "ddpm:T", T stands for all
    steps of the schedule.
    answers: the numbers on which findings are made. baseline: labels of values or settings, that others which differ
    in one factor are compared with; none for every pair.
    takes: how many settings of an earlier study, its fastest ones, are trained on; continues: the folder of that study.
    """

    version: int = VERSION
    name: str = ""
    title: str
    question: str
    about: tuple[str, ...] = ()
    data: dict[str, Any] = Field(default_factory=lambda: {"source": "digits"})
    recipe: str = ""
    base: dict[str, Any] = Field(default_factory=dict)
    given: dict[str, Any] = Field(default_factory=dict)
    factors: tuple[Factor, ...] = ()
    combine: Literal["one-at-a-time", "grid"] = "grid"
    budgets: dict[BudgetName, Budget] = Field(min_length=1)
    budget: BudgetName = "quick"
    seeds: int = Field(0, ge=0)
    measure: tuple[str, ...] = ("fid",)
    features: str = "auto"
    ways: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    answers: tuple[str, ...] = Field(min_length=1)
    baseline: tuple[str, ...] = ()
    takes: int = Field(0, ge=0)
    continues: str = ""

    @field_validator("baseline", mode="before")
    @classmethod
    def _one_or_more(cls, given: Any) -> Any:
        return ((given,) if given else ()) if isinstance(given, str) else given

    @property
    def chosen(self) -> Budget:
        """The budget that was chosen."""
        return self.budgets[self.budget]

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    @model_validator(mode="after")
    def _whole(self) -> Study:
        if not self.factors and not self.takes:
            raise ValueError("a study needs [[factors]], with a label and values")
        if self.budget not in self.budgets:
            raise ValueError(f'no budget "{self.budget}" here; known: {", ".join(self.budgets)}')
        if len({factor.label for factor in self.factors}) < len(self.factors):
            raise ValueError("two factors have one label")
        for key in (*(f"data.{key}" for key in self.data), *flat(self.base), *flat(self.given)):
            _known(key)
        for name, budget in self.budgets.items():
            self._one_kind(name, budget)
        for way in self.ways:
            ways.settings_of(way)
        return self

    def _one_kind(self, name: str, budget: Budget) -> None:
        """Where a budget is of several kinds, one factor chooses, for every setting."""
        asked = [{value.budget for value in factor.values} for factor in self.factors]
        choosing = [kinds for kinds in asked if kinds != {""}]
        if len(choosing) > 1 or any("" in kinds for kinds in choosing):
            raise ValueError("budget = is for all values of one factor, or for none")
        missing = [kind for kinds in choosing for kind in kinds if kind not in budget.train]
        if missing:
            raise ValueError(f"budgets.{name}.train has no {missing[0]}, which a value asks for")
        if len(budget.train) > 1 and not choosing:
            raise ValueError(f"budgets.{name}.train: give one of {', '.join(budget.train)}, or a factor that chooses")


def _value(key: str, value: Any) -> Any:
    """A value that is written as it is."""
    if not key:
        raise ValueError("values without a label need the factor's key")
    return {"label": _text(value), "settings": {key: value}}


def _text(value: Any) -> str:
    """A value as a label: 300, 0.001, true, "1, 2"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of settings with dotted keys."""
    found: dict[str, Any] = {}
    for section, values in tree.items():
        inner = {f"{section}.{key}": value for key, value in values.items()} if isinstance(values, Mapping) else None
        found |= {section: values} if inner is None else inner
    return found


def _known(key: str) -> None:
    if key not in keys():
        raise ValueError(f'unknown setting "{key}"{nearest(key, keys())}')


# --- reading ------------------------------------------------------------------------------------------------------

_PARTS: dict[str, type[BaseModel]] = {"factors": Factor, "values": Value, "budgets": Budget}


def parse(tree: Mapping[str, Any], where: str) -> Study:
    """The study of a nested mapping; `where` names its origin. Raises UserError."""
    readable(tree, where)
    try:
        return Study.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        parts = [str(part) for part in first["loc"]]
        place = ".".join(parts)
        if first["type"] == "extra_forbidden":
            model = next((_PARTS[part] for part in reversed(parts[:-1]) if part in _PARTS), Study)
            raise UserError(f'{where}: unknown key "{place}"{nearest(parts[-1], model.model_fields)}') from None
        said = first["msg"].removeprefix("Value error, ")
        got = "" if first["type"] in ("value_error", "missing") else f", got {first['input']!r}"
        raise UserError(f"{where}: {place + ': ' if place else ''}{said[0].lower()}{said[1:]}{got}") from None


def known() -> dict[str, Study]:
    """The built-in studies by name."""
    folder = resources.files("noisette.experiment") / "studies"
    paths = sorted(Path(str(file)) for file in folder.iterdir() if file.name.endswith(".toml"))
    return {path.stem: parse({"name": path.stem, **read_toml(path)}, path.name) for path in paths}


def load(what: str) -> Study:
    """A study by its name or .toml file. Raises UserError."""
    if what.endswith(".toml"):
        path = Path(what)
        return parse({"name": path.stem, **read_toml(path)}, what)
    if what not in (studies := known()):
        raise UserError(f'unknown study "{what}"{nearest(what, studies)} (or a .toml file, or the folder of a study)')
    return studies[what]


# --- as a user wants it -------------------------------------------------------------------------------------------


def chosen(
    study: Study,
    *,
    data: Sequence[str] = (),
    budget: str | None = None,
    seeds: int | None = None,
    samples: int | None = None,
    features: str | None = None,
    values: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
) -> Study:
    """The study with these choices.

    Args:
        data: another source; where a factor compares data, one for each of its values.
        budget: quick | standard | long.
        seeds: runs of each setting; as the budget says when None.
        samples: how many are measured of each; as the budget says when None.
        features: what they are compared by, see noisette.tasks.judge.Judge.
        values: other values of factors that have a key, as "T=100,200", or which of a factor's own values to keep,
            by their labels, as "table=scaled".
        given: settings, nested, on top of the study's own.

    Raises:
        UserError: no such budget, factor or setting; a number of sources that does not fit.
    """
    tree: dict[str, Any] = study.model_dump()
    if budget is not None:
        if budget not in study.budgets:
            raise UserError(f'{study.name}: no budget "{budget}"{nearest(budget, study.budgets)}')
        tree["budget"] = budget
    if seeds is not None and seeds < 1:
        raise UserError(f"--seeds must be 1 or more, not {seeds}")
    tree["seeds"] = seeds or study.seeds or study.budgets[tree["budget"]].seeds
    if samples is not None:
        if samples < 1:
            raise UserError(f"--samples must be 1 or more, not {samples}")
        tree["budgets"][tree["budget"]]["samples"] = samples
    if features is not None:
        tree["features"] = features
    tree["given"] = merge(study.given, given or {})
    _not_varied(study, flat(given or {}))
    for text in values:
        tree["factors"] = _with_values(tree["factors"], text)
    return parse(_with_data(study, tree, data) if data else tree, study.name)


def _not_varied(study: Study, given: Mapping[str, Any]) -> None:
    """Raises UserError for a setting that would change nothing, as the study itself says what it is."""
    for factor in study.factors:
        varied = [{factor.key} if factor.key else set(flat(value.settings)) for value in factor.values]
        for key in given:
            if any(key in keys for keys in varied):
                raise UserError(f"{study.name}: {key} is what it varies: choose by --values {factor.label}=...")
    for key in given:
        if key == "train.seed" or (study.ways and key in ("sample.sampler", "sample.steps")):
            says = "seeds are counted from 0" if key == "train.seed" else f"it samples by {', '.join(study.ways)}"
            raise UserError(f"{study.name}: {key} would change nothing here: {says}")


def _with_values(factors: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    label, equals, listed = (part.strip() for part in text.partition("="))
    labels = [factor["label"] for factor in factors]
    if not equals or label not in labels:
        raise UserError(f'"{text}": values are written FACTOR=VALUE,VALUE, where FACTOR is one of {", ".join(labels)}')
    asked = [value.strip() for value in listed.split(",")]
    return [{**factor, "values": _values(factor, asked)} if factor["label"] == label else factor for factor in factors]


def _values(factor: dict[str, Any], asked: Sequence[str]) -> list[Any]:
    """A factor's own values by their labels; where it has a key, new ones too."""
    own = {value["label"]: value for value in factor["values"]}
    unknown = [text for text in asked if text not in own]
    if unknown and not factor["key"]:
        raise UserError(f'{factor["label"]}: no value "{unknown[0]}" here; one of {", ".join(own)}')
    return [own[text] if text in own else value_of(text) for text in asked]


def _with_data(study: Study, tree: dict[str, Any], data: Sequence[str]) -> dict[str, Any]:
    comparing = [f.label for f in study.factors if all("data.source" in flat(v.settings) for v in f.values)]
    if not comparing:
        if len(data) > 1:
            raise UserError(f"{study.name}: it compares no data, so --data is given once")
        return {**tree, "data": {**tree["data"], "source": data[0]}}
    if len(data) < 2:
        raise UserError(f"{study.name}: it compares data, so --data is given twice or more, once for each")
    labels = zip(_apart(data), data, strict=True)
    values = [{"label": label, "settings": {"data.source": source}} for label, source in labels]
    factors = [{**f, "values": values} if f["label"] in comparing else f for f in tree["factors"]]
    return {**tree, "factors": factors}


def _apart(sources: Sequence[str]) -> list[str]:
    """Names of sources: the last part of each path, and as many before it as tell them apart."""
    parts = [(Path(source).resolve() if source.strip("./") == "" else Path(source)).parts for source in sources]
    for count in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part.strip("/") for part in mine[-count:]) for mine in parts]
        if len({*labels}) == len(labels):
            break
    return labels


def differences(one: Study, other: Study) -> list[str]:
    """What two studies do differently, more seeds and other words apart, as "budget: quick there, long here"."""
    before, after = matters(one), matters(other)
    found = []
    for key in dict.fromkeys((*before, *after)):
        pair = [values.get(key, "nothing") for values in (before, after)]
        if pair[0] != pair[1]:
            short = all(isinstance(value, str | int | float) for value in pair)
            found.append(f"{key}: {pair[0]} there, {pair[1]} here" if short else f"{key} differs")
    return found


def matters(study: Study) -> dict[str, Any]:
    """All that decides what is trained and measured."""
    tree = study.model_dump(mode="json")
    same = ("recipe", "combine", "budget", "measure", "features", "ways", "continues")
    if study.continues:
        tree["continues"] = str(Path(study.continues).resolve())
    found = {key: tree[key] for key in same} | flat({key: tree[key] for key in ("data", "base", "given")})
    found |= {f"budget.{key}": tree["budgets"][study.budget][key] for key in ("train", "samples", "leave_out")}
    for factor in tree["factors"]:
        found[factor["label"]] = ", ".join(value["label"] for value in factor["values"])
        found[f"settings of {factor['label']}"] = [factor["kind"], *factor["values"]]
    return found

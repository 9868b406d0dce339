"""The settings of a run: one frozen, typed tree, read from and written to TOML.

A run's settings are made in layers: the defaults below, a recipe, then what the user says. A key that does not exist
is refused with the nearest one that does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import ValidationError

from noisette.errors import UserError, nearest
from noisette.experiment.sections import (
    ONE_CALL,
    DataConfig,
    GanConfig,
    MotionConfig,
    NetConfig,
    ObjectiveConfig,
    OptimConfig,
    SampleConfig,
    ScheduleConfig,
    Section,
    TrainConfig,
)

VERSION = 1


class Config(Section):
    """All settings of a run; kind is what is trained, and decides which sections concern it (see CONCERNS)."""

    version: int = VERSION
    recipe: str = ""
    kind: Literal["diffusion", "gan"] = "diffusion"
    data: DataConfig = DataConfig()
    motion: MotionConfig = MotionConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    net: NetConfig = NetConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    sample: SampleConfig = SampleConfig()
    gan: GanConfig = GanConfig()

    @property
    def sections(self) -> tuple[str, ...]:
        """The names of the sections that concern this kind of model and of data."""
        told = CONCERNS[self.kind]
        return told if self.data.medium == "motion" else tuple(name for name in told if name != "motion")

    def to_toml(self) -> str:
        """All that concerns the run; a key whose value is None is left out."""
        tree = self.model_dump(mode="json", include={"version", "recipe", "kind", *self.sections})
        for section, key in self.unconcerned():
            tree.get(section, {}).pop(key, None)
        return tomli_w.dumps(_drop_none(tree))

    def unconcerned(self) -> list[tuple[str, str]]:
        """(section, key) of settings that concern another backbone or another medium."""
        other = {"unet": "transformer", "transformer": "unet"}[self.net.backbone]
        found = [("net", key) for key in OF_BACKBONE[other]]
        for section, keys in (OF_IMAGES if self.data.medium == "motion" else OF_MOTION).items():
            found += [(section, key) for key in keys]
        return found

    def changed(self, tree: Mapping[str, Any], where: str = "settings") -> Config:
        """A copy with these values, given as a nested mapping or with dotted keys. Raises UserError."""
        return parse(merge(self.model_dump(exclude_none=True), tree), where)


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
BUDGETS = ("minutes", "steps", "images")

CONCERNS: dict[str, tuple[str, ...]] = {
    "diffusion": ("data", "motion", "schedule", "net", "objective", "optim", "train", "sample"),
    "gan": ("data", "net", "gan", "train"),
}
"""Sections that concern each kind of model. In a GAN's [net] that is whether labels are told, and the size to match."""

FIXED: dict[str, dict[str, Section]] = {
    "diffusion": {"gan": GanConfig()},
    "gan": {
        "schedule": ScheduleConfig(),
        "objective": ObjectiveConfig(),
        "optim": OptimConfig(name="adamw"),
        "sample": SampleConfig(sampler=ONE_CALL, steps=1, clip="none"),
    },
}
"""What the other sections hold, whatever is said."""

ALONE = {"precision": "fp32", "layout": "channels_first", "compile": "off"}
"""How a GAN trains: the only choice where others may be measured."""

APART = (*ALONE, "micro_batch", "label_dropout")
"""Keys of [train] that the kinds of model do not share."""

OF_BACKBONE = {
    "unet": (*("multipliers", "attention", "middle_attention", "norm", "groups", "time", "resample", "padding_mode"),),
    "transformer": ("expand",),
}
"""Keys of [net] that one backbone alone takes."""

OF_IMAGES = {"data": ("image_size", "per_class", "color", "flip"), "train": ("layout",)}
OF_MOTION = {"motion": tuple(MotionConfig.model_fields), "objective": ("velocity", "bones", "contact")}
"""Keys that concern one medium alone; what clips are made of has no bounds to be clipped at either."""

INSTEAD = {("data", "flip"): "use --mirror (motion.mirror)", ("motion", "mirror"): "use --flip (data.flip)"}
"""What the other medium has for some of them."""


def keys() -> list[str]:
    """Every settable key, dotted: "optim.lr"."""
    return ["kind", *(f"{section}.{key}" for section, model in SECTIONS.items() for key in model.model_fields)]


def _drop_none(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: _drop_none(v) if isinstance(v, dict) else v for k, v in tree.items() if v is not None}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """base with over's values on top, section by section; dotted keys in `over` are taken apart.

    A budget in `over` replaces the one in `base`, of whatever kind.
    """
    nested: dict[str, Any] = {}
    for key, value in over.items():
        section, _, name = key.partition(".")
        if name:
            nested[section] = {**nested.get(section, {}), name: value}
        else:
            nested[section] = {**nested.get(section, {}), **value} if isinstance(value, Mapping) else value
    out = {k: dict(v) if isinstance(v, Mapping) else v for k, v in base.items()}
    for section, values in nested.items():
        if not isinstance(values, Mapping):
            out[section] = values
            continue
        before = out.get(section, {})
        if section == "train" and any(values.get(budget) is not None for budget in BUDGETS):
            before = {k: v for k, v in before.items() if k not in BUDGETS}
        out[section] = {**before, **values}
    return out


def readable(tree: Mapping[str, Any], where: str) -> None:
    """Raises UserError for a version that this package does not read."""
    version = tree.get("version", VERSION)
    if version != VERSION or isinstance(version, bool):
        mend = "upgrade noisette" if isinstance(version, int) and version > VERSION else "restore the file"
        raise UserError(f"{where}: its format has version {version!r}, this noisette reads {VERSION}: {mend}")


def parse(tree: Mapping[str, Any], where: str) -> Config:
    """The settings of a nested mapping. `where` names its origin in errors.

    Raises:
        UserError: an unknown key, a wrong type or range, or a version newer than this package.
    """
    readable(tree, where)
    for section, values in tree.items():
        if section not in Config.model_fields:
            raise UserError(f'{where}: unknown section "{section}"{nearest(section, SECTIONS)}')
        if section in SECTIONS:
            if not isinstance(values, Mapping):
                raise UserError(f"{where}: [{section}] must be a section of keys, got {values!r}")
            for key in values:
                if key not in SECTIONS[section].model_fields:
                    raise UserError(f'{where}: unknown key "{section}.{key}"{_nearest_key(section, key)}')
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        got = "" if first["type"] == "value_error" else f", got {first['input']!r}"
        raise UserError(f"{where}: {key}: {said[0].lower()}{said[1:]}{got}") from None
    config = config.model_copy(update=_of_kind(config, tree, where))
    return config.model_copy(update=_of_medium(config, where))


def _of_medium(config: Config, where: str) -> dict[str, Section]:
    """The sections as this backbone and this medium have them, once that is known. Raises UserError for settings that
    do not concern them."""
    motion = config.data.medium == "motion"
    if config.kind == "gan" and motion:
        raise UserError(f'{where}: kind: a GAN draws images alone: leave "gan" out for motion')
    if config.kind == "gan" and config.net.backbone != "unet":
        raise UserError(f"{where}: net.backbone: the size of a GAN is matched to a U-Net's alone: leave it out")
    told = {"net": f"does not concern a {config.net.backbone}", "motion": "concerns motion alone"}
    why = "concerns images alone" if motion else "concerns motion alone"
    for section, key in config.unconcerned():
        known, free = config.data.medium != "auto" or section == "net", ("auto", "channels_first")
        given, usual = getattr(getattr(config, section), key), SECTIONS[section].model_fields[key].default
        if known and given != usual and not (key == "layout" and given in free):
            mend = INSTEAD.get((section, key), "leave it out")
            raise UserError(f"{where}: {section}.{key} {told.get(section, why)}: {mend}")
    if not motion:
        return {}
    if "clip" in config.sample.model_fields_set and config.sample.clip != "none":
        raise UserError(f"{where}: sample.clip concerns images alone, whose numbers have bounds: leave it out")
    train = config.train.model_copy(update={"layout": "channels_first"})
    return {"sample": config.sample.model_copy(update={"clip": "none"}), "train": train}


def _of_kind(config: Config, tree: Mapping[str, Any], where: str) -> dict[str, Section]:
    """The sections as this kind of model has them. Raises UserError for settings that do not concern it."""
    gan = config.kind == "gan"
    for section, fixed in FIXED[config.kind].items():
        given = getattr(config, section)
        for key in tree.get(section, {}):
            if getattr(given, key) != getattr(fixed, key):
                why = "does not concern a GAN" if gan else 'concerns a GAN alone, which needs kind = "gan"'
                why += ", which draws in one call" if section == "sample" else ""
                raise UserError(f"{where}: {section}.{key} {why}: leave it out")
    if not gan:
        return FIXED[config.kind]
    train = config.train
    for key, only in ALONE.items():
        if getattr(train, key) not in ("auto", only):
            raise UserError(f"{where}: train.{key}: a GAN trains with {only} alone, got {getattr(train, key)!r}")
    if (train.micro_batch or train.batch) < train.batch:
        raise UserError(f"{where}: train.micro_batch: a GAN's batches are never taken apart: leave it out")
    return {**FIXED["gan"], "train": train.model_copy(update={**ALONE, "micro_batch": None, "label_dropout": 0.0})}


def _nearest_key(section: str, key: str) -> str:
    """The nearest key of that section; failing that, of any section."""
    for other, model in SECTIONS.items():
        if key in model.model_fields:
            return f'; did you mean "{other}.{key}"?'
    return nearest(f"{section}.{key}", [f"{section}.{name}" for name in SECTIONS[section].model_fields])


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a tree. Raises UserError when it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: not a readable TOML file ({error})") from None


def value_of(text: str) -> Any:
    """What a command-line value means: TOML where it parses (0.2, true, [1, 2]), comma lists, otherwise a string."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return [value_of(part) for part in text.split(",")] if "," in text else text


def overrides(pairs: list[str]) -> dict[str, Any]:
    """ "optim.lr=0.2" strings as a nested tree, each key checked.

    Raises:
        UserError: no "=", an unknown section or key.
    """
    tree: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        section, dot, name = key.partition(".")
        if equals and key == "kind":
            tree[key] = text
            continue
        if not equals or not dot:
            raise UserError(f'"{pair}": settings are written section.key=value, for example optim.lr=0.001')
        if section not in SECTIONS:
            raise UserError(f'unknown key "{key}"{nearest(key, keys())}')
        if name not in SECTIONS[section].model_fields:
            raise UserError(f'unknown key "{key}"{_nearest_key(section, name)}')
        value = value_of(text)
        annotation = str(SECTIONS[section].model_fields[name].annotation)
        if annotation.startswith("tuple") and not isinstance(value, list):
            value = [value]  # --net.attention 1 means the list of one
        if annotation.startswith("tuple[str") or annotation == str(str):
            value = [str(v) for v in value] if isinstance(value, list) else text
        tree.setdefault(section, {})[name] = value
    return tree

"""Ways to sample, by name: "ddim:50:eta=1" for a sampler, "slerp:17" for a path of 17 pictures between two noises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisette.errors import UserError, nearest
from noisette.experiment.config import value_of

WAY = "way"
"""The key of a setting whose value is a way by its name."""

PATHS = ("slerp", "lerp")
OPTIONS = ("eta", "variance", "grid", "guidance", "clip")


def is_path(way: str) -> bool:
    return way.partition(":")[0] in PATHS


def pictures(way: str) -> int:
    """How many pictures a path has. Raises ValueError for one without a number, or with fewer than 3."""
    count = way.partition(":")[2]
    if not count.isdigit() or int(count) < 3:
        raise ValueError(f'"{way}": a path is written slerp:17, with at least 3 pictures')
    return int(count)


def settings_of(way: str) -> dict[str, Any]:
    """The settings of a way, as keys of [sample]. Raises ValueError where it is not written as one."""
    if is_path(way):
        pictures(way)
        return {}
    name, *rest = way.split(":")
    if not name or not rest or not (rest[0].isdigit() or rest[0] == "T"):
        raise ValueError(f'"{way}": a way is written sampler:steps, "ddim:50" or "ddim:50:eta=1"')
    found: dict[str, Any] = {"sampler": name, "steps": rest[0] if rest[0] == "T" else int(rest[0])}
    for pair in rest[1:]:
        key, equals, value = pair.partition("=")
        if not equals or key not in OPTIONS:
            raise ValueError(f'"{way}": no sampler setting "{key}"{nearest(key, OPTIONS)}')
        found[key] = value_of(value)
    return found


def named(changes: Mapping[str, Any], whose: str) -> str:
    """The name of a way from its settings, which must have a sampler and its steps; `whose` is for the error.

    Raises:
        UserError: one of both is missing, a setting that a way has no name for, or a value that is none.
    """
    if WAY in changes:
        return str(changes[WAY])
    missing = [key for key in ("sampler", "steps") if key not in changes]
    strange = [key for key in changes if key not in ("sampler", "steps", *OPTIONS)]
    if missing:
        raise UserError(f"{whose}: a way to sample needs sample.{missing[0]}: give it in [base.sample] or in a factor")
    if strange:
        raise UserError(f"{whose}: sample.{strange[0]} cannot differ between ways: put it into [base.sample]")
    more = [f"{key}={_text(changes[key])}" for key in OPTIONS if key in changes]
    way = ":".join([str(changes["sampler"]), str(changes["steps"]), *more])
    try:
        settings_of(way)
    except ValueError as error:
        raise UserError(f"{whose}: {error}") from None
    return way


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

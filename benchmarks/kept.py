"""What is kept between calls of a benchmark is named after all that it depends on, so that nothing stale is taken, and
a file of results that a call adds to is looked at first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import noisette
from noisette.errors import UserError

HERE = Path(__file__).parent
PACKAGE = Path(noisette.__file__).parent

PRODUCT = tuple(PACKAGE / part for part in ("data", "diffusion", "nets", "metrics", "experiment", "tasks"))
"""The code that a training and its samples depend on."""


def code(*places: Path) -> str:
    """Hash of the .py and .toml files at these places, files or folders: stricter than a commit, which does not say
    what was changed since."""
    state = hashlib.blake2b(digest_size=8)
    for place in places:
        for file in sorted(_files(place)):
            state.update(f"{file.relative_to(place.parent)}\n".encode() + file.read_bytes())
    return state.hexdigest()


def _files(place: Path) -> Iterable[Path]:
    return [place] if place.is_file() else [p for p in place.rglob("*") if p.suffix in (".py", ".toml")]


def key(*parts: Any) -> str:
    """Eight hex digits of what can be said as JSON."""
    said = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(said.encode(), digest_size=4).hexdigest()


def rows_of(
    path: Path, tables: Mapping[str, Collection[str]], objects: Mapping[str, Collection[str]] | None = None
) -> dict[str, Any]:
    """The results in a file that is about to be added to, empty where there is none yet.

    tables, objects: the lists of rows and the single rows that may be in it, and what each row has to say.

    Raises UserError for a file in which they are not so.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    sound = isinstance(found, dict)
    for part, names in tables.items():
        rows = found.get(part, []) if sound else None
        sound = isinstance(rows, list) and all(_says(row, names) for row in rows)
    for part, names in (objects or {}).items():
        sound = sound and (part not in found or _says(found[part], names))
    if not sound:
        raise UserError(f"{path} is damaged: move it away")
    return dict(found)


def _says(row: Any, names: Collection[str]) -> bool:
    return isinstance(row, dict) and row.keys() >= set(names)

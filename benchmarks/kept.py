"""What is kept between calls of a benchmark is named after all that it depends on, so that nothing stale is taken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import noisette

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

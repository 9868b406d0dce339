"""A run's facts without what tells of the machine it was trained on: paths, and the name of a device."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from markupsafe import escape

from noisette.data import sources
from noisette.data.motion import procedural
from noisette.errors import UserError
from noisette.experiment.config import Config
from noisette.experiment.runs import Run


def last(path: str) -> str:
    """The last name of a path; hf:owner/name is no path and stays whole."""
    return path if path.startswith("hf:") else re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def config(run: Run) -> Config:
    """The settings with the last names of paths, for whatever device there is."""
    settings = run.config
    changes = {"recipe": last(settings.recipe), "data.source": last(settings.data.source), "train.device": "auto"}
    if settings.motion.skeleton:
        changes["motion.skeleton"] = last(settings.motion.skeleton)
    return settings.changed(changes)


def data(run: Run) -> dict[str, Any]:
    """data.json with the source's last name."""
    return {**run.data, "source": last(str(run.data.get("source", run.config.data.source)))}


def meta(run: Run) -> dict[str, Any]:
    """meta.json, its command with the last names of paths."""
    return {**run.meta, "command": _command(str(run.meta.get("command", "")))}


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    return shlex.join(re.sub(r"^(--[^=]+=)?(.*)$", lambda m: (m[1] or "") + last(m[2]), word) for word in words)


def places(run: Run, *more: Path) -> re.Pattern[str]:
    """What finds, in any text, the folders of the run and its data, the home folder and those in `more`."""
    source = Path(run.config.data.source).expanduser()
    known = {run.path.parent, source.parent, Path.cwd(), *more}
    with suppress(RuntimeError):  # a user without a home
        known.add(Path.home())
    found = {p for place in known for p in (place.absolute(), place.resolve()) if len(p.parts) > 1}
    names = [[part.strip("\\/") for part in p.parts] for p in sorted(found, key=lambda p: -len(str(p)))]
    either = "|".join(r"[\\/]+".join(map(_written, parts)) for parts in names)
    # Not after a letter or a slash: in the middle of a longer path, or of a picture's base64, it is not this folder.
    return re.compile(rf"(?<![\w+/.\\-])(?:file://)?(?:{either})(?:[\\/]+|(?![\w.-]))")


def _written(name: str) -> str:
    """A pattern for a name as a text, a page or JSON may have it."""
    ways = {name, str(escape(name)), json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}
    return f"(?:{'|'.join(map(re.escape, sorted(ways)))})"


@contextmanager
def data_at_hand(run: Run, folder: Path) -> Iterator[None]:
    """While it lasts, the data lie in `folder` under the name that `config` gives them, as links, where they can."""
    made: list[Path] = []
    for file in _files(run.config):
        with suppress(OSError):  # the name is taken, or the system has no links
            link = folder / file.name
            link.symlink_to(file.resolve())
            made.append(link)
    try:
        yield
    finally:
        for link in made:
            link.unlink(missing_ok=True)


def _files(config: Config) -> Iterable[Path]:
    """The file or folder that a source is, and files that belong to it; nothing for one known by name."""
    source = config.data.source
    if config.data.medium == "motion":
        given = [name for name in (source, config.motion.skeleton) if name and name != procedural.NAME]
        found = (Path(name).expanduser().absolute() for name in given)
        return [path for path in found if path.exists()]
    try:
        kind = sources.find(source)
        if kind.named or source.startswith("hf:"):
            return []
        path = Path(source).expanduser().absolute()
        return {path, *(f.absolute() for f in kind.open(source).files if f.absolute().parent == path.parent)}
    except (UserError, OSError):
        return []

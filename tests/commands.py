"""Commands in this process, as a user types them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from tiny import TINY

from noisette.cli import main


def run(*words: object, code: int = 0) -> None:
    """A command, which must exit with this code."""
    try:
        main([str(word) for word in words])
        found = 0
    except SystemExit as stop:
        found = stop.code or 0
    assert found == code


def flags(tree: Mapping[str, Any] = TINY) -> list[str]:
    """Settings as options; what is not in a section is left out."""
    sections = {name: values for name, values in tree.items() if isinstance(values, dict)}
    return [w for s, values in sections.items() for k, v in values.items() for w in (f"--{s}.{k}", str(v))]


def refused(cases: Iterable[tuple[Sequence[object], str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Each of these (words, what is said) ends in one line and code 2."""
    for words, says in cases:
        run(*words, code=2)
        stdout, stderr = capsys.readouterr()
        assert stderr.count("\n") == 1 and stderr.startswith("noisette: ") and says in stderr, (words, stderr)
        assert not stdout, words

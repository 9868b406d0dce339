"""The examples of docs/coursework.md run as they stand, and its table names all there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from noisette import coursework

PAGE = (Path(__file__).parents[2] / "docs" / "coursework.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_name_is_in_the_table():
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    assert [name for name in coursework.__all__ if f"`{name}`" not in table] == []


@pytest.mark.slow
def test_the_examples(tmp_path):
    from noisette.data import fetch
    from noisette.errors import UserError

    try:
        fetch.digits_file()
    except UserError as error:
        pytest.skip(f"the digits cannot be had: {error}")
    assert len(EXAMPLES) == 5
    command = [sys.executable, "-W", "error", "-c", "\n".join(EXAMPLES)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ}, timeout=600)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "DiffusionModel implementation is correct!\nDiffusionProcess implementation is correct!\n" in said
    for shape in ("(101, 8, 1, 28, 28)", "(2, 1, 28, 28)", "(5, 1, 28, 28)", "(5, 4, 1, 28, 28)", "(4, 60, 32)"):
        assert shape in said

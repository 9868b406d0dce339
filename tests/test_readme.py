"""What the README tells a newcomer to type is run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> list[str]:
    """The lines of the one fenced block in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return found.strip().splitlines()


@pytest.fixture
def digits() -> None:
    from noisette.data import fetch
    from noisette.errors import UserError

    try:
        fetch.digits_file()
    except UserError as error:
        pytest.skip(f"the digits cannot be had: {error}")


def run(words: list[str], where: Path, **more: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        words, cwd=where, capture_output=True, text=True, env={**os.environ, "PATH": path, **more}, timeout=600
    )


@pytest.mark.slow
def test_the_commands(digits: None, tmp_path: Path) -> None:
    lines = block("sh")
    assert len(lines) == 7 and all(line.startswith("noisette ") for line in lines)
    for line in lines:
        done = run(["sh", "-c", line], tmp_path)
        assert done.returncode == 0, (line, done.stderr)
    made = ("digits.png", "way.gif", "forward.png", "runs/first/report.html", "runs/first/figures/interpolation.png")
    for name in made:
        assert (tmp_path / name).stat().st_size > 1000, name


@pytest.mark.slow
def test_the_five_lines_of_python(digits: None, tmp_path: Path) -> None:
    lines = block("python")
    assert len(lines) == 5
    done = run([sys.executable, "-W", "error", "-c", "\n".join(lines)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.strip().splitlines()[-1]).is_file()
    assert (tmp_path / "unconditional.png").is_file() and (tmp_path / "way.png").is_file()


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    typed = re.findall(r"^    make (\w+)$", README, re.MULTILINE)
    assert typed == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in typed)


def test_files_that_the_readme_points_at_are_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links and all((ROOT / link).is_file() for link in links)

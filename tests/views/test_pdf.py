"""A page on paper: by a browser, by the library, or a word about what to install."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from noisette.errors import UserError
from noisette.views import page, pdf

BROWSER = next(pdf._browsers(), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return page.write(page.render("small", "Noisette", ["One paragraph."], [], [], "noisette"), tmp_path / "p & q.html")


def without_browsers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pdf.BROWSER, raising=False)
    monkeypatch.setattr(pdf, "COMMANDS", ())
    monkeypatch.setattr(pdf, "PLACES", ())


def browser(path: Path, script: str) -> str:
    """A program that stands in for a browser."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@needs_browser
def test_a_browser_prints(small: Path) -> None:
    out, by = pdf.write(small)
    assert out == small.with_suffix(".pdf") and out.read_bytes().startswith(b"%PDF-")
    assert BROWSER is not None and by == f"printed by {Path(BROWSER).name}"
    assert sorted(p.name for p in small.parent.iterdir()) == ["p & q.html", "p & q.pdf"]


def test_the_library_prints_where_there_is_no_browser(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plutoprint")
    without_browsers(monkeypatch)
    out, by = pdf.write(small, small.parent / "deep" / "paper.pdf")
    assert out.read_bytes().startswith(b"%PDF-") and by == "printed by PlutoPrint"


def test_where_neither_is_there_it_says_what_to_install(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_browsers(monkeypatch)
    monkeypatch.setitem(__import__("sys").modules, "plutoprint", None)
    with pytest.raises(UserError, match=r"install Chromium or Chrome .*pip install 'noisette\[pdf\]'") as caught:
        pdf.write(small)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in small.parent.iterdir()) == ["p & q.html"]


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for a browser is a shell script")
def test_a_named_browser_is_the_only_one_that_is_tried(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pdf.BROWSER, str(small.parent / "none"))
    with pytest.raises(UserError, match="no such program"):
        pdf.write(small)
    monkeypatch.setenv(pdf.BROWSER, browser(small.parent / "broken", "echo it hurts >&2; exit 3"))
    with pytest.raises(UserError, match=r"cannot print the page: it ended with code 3 \(it hurts\)"):
        pdf.write(small)
    monkeypatch.setenv(pdf.BROWSER, browser(small.parent / "idle", "exit 0"))
    with pytest.raises(UserError, match="it wrote no PDF"):
        pdf.write(small)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for a browser is a shell script")
def test_a_browser_that_hangs_is_ended_with_its_children(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "SECONDS", 0.3)
    alive = small.parent / "alive"
    hanging = browser(small.parent / "hang", f"(sleep 2; touch {alive}) & sleep 60")
    monkeypatch.setenv(pdf.BROWSER, hanging)
    begun = time.monotonic()
    with pytest.raises(UserError, match="did not end within"):
        pdf.write(small)
    assert time.monotonic() - begun < 5
    time.sleep(2)
    assert not alive.exists()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for a browser is a shell script")
def test_where_a_browser_fails_the_library_takes_over(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plutoprint")
    without_browsers(monkeypatch)
    monkeypatch.setattr(pdf, "COMMANDS", (browser(small.parent / "broken", "exit 1"),))
    assert pdf.write(small)[1] == "printed by PlutoPrint"


def test_a_place_that_cannot_be_written_is_told(small: Path) -> None:
    (small.parent / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        pdf.write(small, small.parent / "file" / "p.pdf")


def test_a_page_is_not_written_where_its_pdf_would_go(small: Path) -> None:
    with pytest.raises(UserError, match=r"name it \.html"):
        page.write("a page", small.with_suffix(".PDF"))

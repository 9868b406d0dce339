"""Pages in a real browser: on a desk, a phone and paper."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from run_maker import maker
from study_folders import study_folder

from noisette.views import pdf
from noisette.views import study as studies
from noisette.views.comparison import compare
from noisette.views.report import report

BROWSER = next(pdf._browsers(), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The report of a run, a comparison of two with long names, and the report of a study."""
    folder = tmp_path_factory.mktemp("pages")
    make = maker(folder)
    one, two = (
        make("one", size=32),
        make("a-name-of-a-run-that-is-rather-long-and-has-no-spaces-in-it", size=32, shift=5.0),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOISETTE_CACHE", str(folder / "cache"))
        study = study_folder(folder / "study")
        return [report(one), compare([one, two]), studies.report(study.path)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_desk_and_on_a_phone(pages: list[Path], scheme: str) -> None:
    """No request to anywhere, no complaint, nothing wider than the screen, every picture loaded, sections reachable."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    assert BROWSER is not None
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        for page in pages:
            for width in (1280, 390):
                sheet = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                requests, said = [], []
                sheet.on("request", lambda r, found=requests: found.append(r.url))
                sheet.on("console", lambda m, found=said: found.append(m.text))
                sheet.on("pageerror", lambda m, found=said: found.append(str(m)))
                sheet.goto(page.as_uri())
                assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
                assert said == []
                assert sheet.evaluate("document.documentElement.scrollWidth") == width
                assert sheet.evaluate("[...document.images].filter(i => !i.naturalWidth).length") == 0
                for link in sheet.query_selector_all("nav a"):
                    assert sheet.query_selector(str(link.get_attribute("href"))) is not None
                dark = sheet.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
                sheet.close()
        browser.close()


def cut(path: Path) -> list[str]:
    """Pictures, lines and words of a PDF that do not lie wholly on their page."""
    pdfium = pytest.importorskip("pypdfium2")
    raw = pdfium.raw
    found, pictures = [], 0
    document = pdfium.PdfDocument(path)
    for k, sheet in enumerate(document):
        width, height = sheet.get_size()
        for thing in sheet.get_objects(max_depth=20):
            if thing.type not in (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_TEXT, raw.FPDF_PAGEOBJ_PATH):
                continue
            pictures += thing.type == raw.FPDF_PAGEOBJ_IMAGE
            left, bottom, right, top = thing.get_bounds()
            if left < -1 or bottom < -1 or right > width + 1 or top > height + 1:
                found.append(f"page {k + 1}: {left:.0f} {bottom:.0f} {right:.0f} {top:.0f}")
        sheet.close()
    document.close()
    assert pictures >= 20
    return found


def test_nothing_is_cut_on_paper(pages: list[Path]) -> None:
    for page in pages:
        assert cut(pdf.write(page)[0]) == []


BROWSERS_OWN = r"(?!fonts|ajax|www)[\w.-]+\.(google|googleapis|gvt1)\.com"
"""Hosts of the browser's own updates, which no switch turns off altogether."""


def test_a_browser_asks_for_nothing_and_complains_of_nothing(pages: list[Path], tmp_path: Path) -> None:
    assert BROWSER is not None
    path, log = pages[0], tmp_path / "net.json"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=2000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--dump-dom", path.as_uri()]
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=home)
    assert "</html>" in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr
    hosts = set(re.findall(r'"url":"(?:https?|wss?)://([^/"]+)', log.read_text()))
    assert not {host for host in hosts if not re.fullmatch(BROWSERS_OWN, host)}

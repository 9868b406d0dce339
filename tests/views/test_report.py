"""The report: whole for any run, self-contained, honest about what is missing, safe against hostile names."""

from __future__ import annotations

import base64
import io
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noisette.errors import UserError
from noisette.experiment.config import Config
from noisette.experiment.runs import Run
from noisette.views import parts, words
from noisette.views.report import report

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """A parsed page: (tag, attributes) in order, its text by tag, and whether every tag was closed."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        for tag in self.open[-1:]:
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def commands(self) -> list[str]:
        blocks = re.findall(r'<pre class="command"><code>(.*?)</code>', self.source, re.DOTALL)
        return [re.sub("<[^>]+>", "", block).replace("&#39;", "'") for block in blocks]


def self_contained(page: Page) -> None:
    allowed = {"src": "data:", "href": "#", "xlink:href": "#", "srcset": "data:", "action": "never"}
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio"}
        for name, value in attributes.items():
            assert name not in allowed or str(value).startswith(allowed[name]), f"<{tag} {name}={value!r}>"
            assert not name.startswith("on")
            if name == "style":
                assert not re.search(r"url\((?!#)", str(value))
    style = "".join(page.texts["style"])
    assert "url(" not in style and "@import" not in style
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'") and "script-src" not in policy
    assert page.open == []


@pytest.fixture
def page(make_run: Callable[..., Run]) -> Page:
    return Page(report(make_run()))


def test_it_is_self_contained(page: Page) -> None:
    self_contained(page)


def test_it_has_every_section(page: Page) -> None:
    known = ["samples", "measured", "training", "previews", "reverse", "forward"]
    known += ["schedule", "data", "timing", "settings", "environment"]
    assert [a["id"] for a in page.all("section") if a["id"] in known] == known
    assert 'class="missing"' not in page.source
    links = [a["href"] for a in page.all("a")]
    assert links == [f"#{a['id']}" for a in page.all("section")]


def test_every_picture_says_what_it_shows(page: Page) -> None:
    pictures = page.all("img")
    assert len(pictures) > 36 + 2 * 5 * 3
    assert all(len(str(p.get("alt"))) > 10 for p in pictures)
    assert sum("Sample with seed" in str(p["alt"]) for p in pictures) == 36
    drawings = [a for tag, a in page.tags if a.get("role") == "img"]
    assert len(drawings) >= 11 and all(len(str(a.get("aria-label"))) > 10 for a in drawings)


def test_pictures_are_the_samples_pixel_by_pixel(make_run: Callable[..., Run]) -> None:
    from noisette.tasks.generate import generate

    run = make_run()
    page = Page(report(run))
    expected = generate(run, 36)[0]
    shown = [p for p in page.all("img") if "Sample with seed" in str(p["alt"])]
    for k, found in enumerate(shown):
        data = base64.b64decode(str(found["src"]).partition(",")[2])
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.asarray(image), expected.x[k])
        assert found["alt"] == f"Sample with seed {k}, class {('cat', 'dog')[k % 2]}"


def test_it_says_what_happened(page: Page) -> None:
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.source)).replace("&#39;", "'")
    for said in (
        "8 × 8 colour pictures of 2 kinds (cat, dog)",
        "1 min 28 s on 2 cores of Abacus",
        "2,560 pictures in 20 steps of 128",
        "29 a second",
        "optim.lr",
        "it ends too early",
        "two sizes",
        "fingerprint",
    ):
        assert said in text, said


def test_commands_are_those_of_the_command_line(page: Page) -> None:
    """Every command of the page is understood by the command line (which does not run it here)."""
    cli = pytest.importorskip("noisette.cli")
    assert len(page.commands) >= 8
    verbs = set()
    for line in page.commands:
        name, *tokens = shlex.split(line)
        assert name == "noisette"
        command, _, _ = cli.app.parse_args(cli.dotted(tokens), exit_on_error=False, print_error=False)
        verbs.add(command.__name__)
    assert verbs >= {"sample", "evaluate", "forward", "train", "check", "report"}


def test_hostile_names_stay_text(make_run: Callable[..., Run]) -> None:
    evil = "<img src=x onerror=alert(1)>&\"'"
    run = make_run(name="a&b<i>", classes=("<script>x<", "dog&<b>"))
    run.update_meta(cpu=evil, command=f"noisette {evil}", platform="</style><script>")
    page = Page(report(run))
    self_contained(page)
    assert "<script" not in page.source and "<i>" not in page.source and "onerror=alert(1)>" not in page.source
    assert page.texts["h1"] == ["a&b<i>"]
    assert any("<script>x<" in str(p["alt"]) for p in page.all("img"))


def test_an_empty_run_has_a_report_that_says_so(empty_run: Run) -> None:
    page = Page(report(empty_run))
    self_contained(page)
    assert "no checkpoint yet" in page.source
    assert "nothing has been logged yet" in page.source
    assert "no previews were saved" in page.source
    assert {"samples", "forward", "schedule", "settings"} <= {str(a["id"]) for a in page.all("section")}


@pytest.mark.parametrize("lost", ["checkpoints", "samples", "metrics.jsonl", "meta.json", "data.json"])
def test_what_is_lost_is_told(make_run: Callable[..., Run], lost: str) -> None:
    run = make_run()
    shutil.rmtree(run.path / lost) if (run.path / lost).is_dir() else (run.path / lost).unlink()
    page = Page(report(run))
    self_contained(page)
    assert 'class="missing"' in page.source


@pytest.mark.parametrize("name", ["meta.json", "data.json"])
@pytest.mark.parametrize("content", ["{}", "[]", "torn {"])
def test_half_a_run_has_a_report(make_run: Callable[..., Run], name: str, content: str) -> None:
    run = make_run()
    (run.path / name).write_text(content)
    self_contained(Page(report(run)))


def test_damaged_files_are_told(make_run: Callable[..., Run]) -> None:
    run = make_run()
    (run.path / "checkpoints" / "step-20" / "ema.safetensors").write_bytes(b"torn")
    for _, path in run.previews():
        path.write_bytes(b"torn")
    page = Page(report(run))
    assert "checksum differs" in page.source and "cannot be read" in page.source


def test_lost_data_is_told(make_run: Callable[..., Run]) -> None:
    run = make_run()
    shutil.rmtree(run.config.data.source)
    page = Page(report(run))
    assert page.source.count('class="missing"') == 2  # the forward strip, and the real pictures
    run = make_run("changed")
    values = {**run.data, "fingerprint": "another"}
    (run.path / "data.json").write_text(__import__("json").dumps(values))
    assert "no longer the images" in report(run).read_text()


def test_the_place(make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    assert report(run) == run.report_path
    assert report(run, tmp_path / "deep" / "r.html") == tmp_path / "deep" / "r.html"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        report(run, tmp_path / "file" / "r.html")


def test_large_pictures_stay_small_files(noise: Callable[..., np.ndarray]) -> None:
    """36 samples, 3 ways and 3 strips of 256 x 256 noise, the worst there is, fit in 8 MB."""
    x = noise(256, 256, 3)
    large, small = parts.picture(x, "large"), parts.picture(x, "small", most=128)
    assert (large.width, small.width) == (256, 128)
    assert 36 * len(large.src) + 100 * len(small.src) + 12 * len(large.src) < 8e6


def test_sizes_on_the_page_are_whole_enlargements() -> None:
    def cell(size: int) -> parts.Cell:
        return parts.Cell([parts.Picture("data:", "x", size, size)])

    for size in (8, 28, 32, 45, 64):
        shown = parts.cells([cell(size)], 112, 64, 90)
        assert shown.screen == int(shown.screen) >= 1 and shown.screen * size <= 112
    assert 0 < parts.cells([cell(256)], 112, 64, 90).screen < 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (45, "45 s"), (59.6, "1 min"), (88.4, "1 min 28 s"), (120, "2 min"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds).replace("\u00a0", " ") == text


def test_words_know_when_a_model_begins_to_copy() -> None:
    rows: list[dict[str, Any]] = [{"step": k, "loss": 1 / k} for k in range(1, 30)]
    held_out = [{"step": k, "val_loss": abs(k - 10) / 100 + 0.1} for k in range(1, 30)]
    text = " ".join(words.summary("r", Config(), {}, {}, [*rows, *held_out]))
    assert "lowest of 0.1 at step 10" in text and "by heart" in text
    # t drawn unevenly: the plain mean is 0.0158, the mean over noise levels, which a held-out loss is, 0.035
    drawn = [{**row, "loss": 0.0158, "loss_t": [0.06, None, 0.01], "count_t": [1, 0, 7]} for row in rows]
    drawn[-1] |= {"loss_t": [0.06, 0.035, 0.01], "count_t": [1, 1, 7]}
    text = " ".join(words.summary("r", Config(), {}, {}, [*drawn, {"step": 29, "val_loss": 0.036}]))
    assert "by heart" not in text and "within 2.9 % of that in training at the same noise levels" in text
    text = " ".join(words.summary("r", Config(), {}, {}, [*drawn[:-1], {"step": 29, "val_loss": 0.036}]))
    assert "held" not in text and "ends at 0.036." in text  # a level that was never seen: nothing to compare with


BROWSER = next((b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None)


BROWSERS_OWN = r"(?!fonts|ajax|www)[\w.-]+\.(google|googleapis|gvt1)\.com"
"""Hosts of the browser's own updates, which no switch turns off altogether."""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_asks_for_nothing_and_complains_of_nothing(make_run: Callable[..., Run], tmp_path: Path) -> None:
    assert BROWSER is not None
    path, log = report(make_run()), tmp_path / "net.json"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=2000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--dump-dom", path.as_uri()]
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=home)
    assert "</html>" in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr
    hosts = set(re.findall(r'"url":"(?:https?|wss?)://([^/"]+)', log.read_text()))
    assert not {host for host in hosts if not re.fullmatch(BROWSERS_OWN, host)}

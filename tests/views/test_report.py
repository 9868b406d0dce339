"""The report: whole for any run, self-contained, honest about what is missing, safe against hostile names."""

from __future__ import annotations

import base64
import html
import io
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluations
import numpy as np
import pytest
from pages import Page, self_contained
from PIL import Image
from run_maker import maker

from noisette.errors import UserError
from noisette.experiment.config import Config
from noisette.experiment.runs import Run
from noisette.views import cards, parts, words
from noisette.views import report as reporting
from noisette.views.material import Material
from noisette.views.report import report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Page]:
    """A run and its report, shared: do not write into it."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOISETTE_CACHE", str(folder / "cache"))
        run = maker(folder)()
        return run, Page(report(run))


@pytest.fixture
def page(whole: tuple[Run, Page]) -> Page:
    return whole[1]


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the sections that calculate much; they have tests of their own."""
    quick = [maker for maker in reporting.MAKERS if not maker.__module__.startswith("noisette.views.explained")]
    monkeypatch.setattr(reporting, "MAKERS", quick)


def text_of(page: Page) -> str:
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.source)).replace("&#39;", "'")
    return text.replace("\u00a0", " ")


def test_it_is_self_contained(page: Page) -> None:
    self_contained(page)


def test_it_has_every_section(page: Page) -> None:
    known = ["samples", "measured", "training", "previews", "reverse", "forward"]
    known += ["schedule", "data", "timing", "settings", "environment"]
    assert [a["id"] for a in page.all("section") if a["id"] in known] == known
    assert 'class="missing"' not in page.source
    links = [a["href"] for a in page.all("a")]
    assert links == [f"#{a['id']}" for a in page.all("section")]


def test_what_was_expected_stands_beside_what_happened(whole: tuple[Run, Page], page: Page) -> None:
    (table, *_) = cards.timing(Material(whole[0])).tables
    assert table.head[1:] == ["what it took", "expected before"]
    assert ["steps", "20", "22"] in table.rows and ["images a second", "29", "31"] in table.rows
    assert ["memory", "310\u00a0MiB", "250\u00a0MiB"] in table.rows
    assert "expected before" in text_of(page)


def test_every_picture_says_what_it_shows(page: Page) -> None:
    pictures = page.all("img")
    assert len(pictures) > 36 + 2 * 5 * 3
    assert all(len(str(p.get("alt"))) > 10 for p in pictures)
    assert sum("Sample with seed" in str(p["alt"]) for p in pictures) == 36
    drawings = [a for tag, a in page.tags if a.get("role") == "img"]
    assert len(drawings) >= 11 and all(len(str(a.get("aria-label"))) > 10 for a in drawings)


def test_pictures_are_the_samples_pixel_by_pixel(whole: tuple[Run, Page]) -> None:
    from noisette.tasks.generate import generate

    run, page = whole
    expected = generate(run, 36)[0]
    shown = [p for p in page.all("img") if "Sample with seed" in str(p["alt"])]
    for k, found in enumerate(shown):
        data = base64.b64decode(str(found["src"]).partition(",")[2])
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.asarray(image), expected.x[k])
        assert found["alt"] == f"Sample with seed {k}, class {('cat', 'dog')[k % 2]}"


def test_it_says_what_happened(page: Page) -> None:
    text = text_of(page)
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
    assert verbs >= {"sample", "evaluate", "train", "check", "report"}


def test_it_says_what_was_measured(page: Page) -> None:
    text = text_of(page)
    for said in (
        "Fréchet distance of 9.1 [8.4, 9.8] from the training pictures",
        "2,048 samples with each sampler, seeds 0 to 2047, from the averaged (EMA) weights of step 20",
        "hash a1b2c3d4e5f60718",
        "Values compare only within one extractor",
        "Against 4,500 training pictures",
        "training pictures against each other 2,048 against 2,452",
        "Inception Score ddim:20 the network has no classes",
        "in the noise 0.001; the steps 1.08; the last step to whole colour values 0.31",
        "ddpm:1000, compared pixel by pixel: 0 of 2048 are: these are not copies.",
        "How far the samples as a whole are from the real pictures",
    ):
        assert said in text, said
    rows = re.findall(r"<tr.*?</tr>", page.source, re.DOTALL)
    table = [re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", row)).replace("\u00a0", " ") for row in rows]
    first = next(row for row in table if "ddim:20" in row and "20 network calls" in row)
    assert "11.2 [10.5, 11.9]" in first and "2,048 samples" in first
    chart = next(a for _, a in page.tags if "Clear samples of ddpm:1000 by class" in str(a.get("aria-label")))
    assert "0 190, 1 193" in str(chart["aria-label"]) and "The fewest are of 0." in str(chart["aria-label"])
    assert ("9.1", "Fréchet distance (real pictures: 1.90)") in list(
        zip(page.texts["dd"], page.texts["dt"], strict=True)
    )


@pytest.mark.usefixtures("light")
def test_what_was_not_measured_is_not_claimed(make_run: Callable[..., Run]) -> None:
    run = make_run(shift=None)
    page = Page(report(run))
    text = text_of(page)
    assert "Nothing has been measured yet" in text and "has not been measured yet" in text
    assert f"noisette evaluate {run.path}" in page.commands
    assert "Fréchet distance" not in text


@pytest.mark.usefixtures("light")
def test_an_evaluation_of_an_older_checkpoint_is_told(make_run: Callable[..., Run]) -> None:
    run = make_run(shift=None)
    run.save_evaluation("all", evaluations.whole(step=10))
    text = text_of(Page(report(run)))
    assert text.count("measured at step 10; the newest checkpoint") == 2


@pytest.mark.usefixtures("light")
def test_any_rows_have_a_page(make_run: Callable[..., Run]) -> None:
    """Damaged and foreign rows, and an evaluation where everything was refused."""
    run = make_run(shift=None)
    (run.path / "eval").mkdir()
    (run.path / "eval" / "torn.json").write_text('{"rows": [')
    odd = {"metric": "<b>odd</b>", "value": "x", "label": "ddim:50", "checkpoint": 20, "detail": {"by_class": {"a": 1}}}
    refused = [{**row, "value": None, "reason": "too few & too <bad>"} for row in evaluations.drawn("ddim:50", step=20)]
    run.save_evaluation("odd", {"rows": [odd, *refused, 3, {"metric": "clear", "checkpoint": 20, "value": 0.5}]})
    page = Page(report(run))
    self_contained(page)
    assert "too few & too <bad>" in html.unescape(page.source) and "<bad>" not in page.source


@pytest.mark.usefixtures("light")
def test_the_quick_distance_of_a_training_is_drawn(make_run: Callable[..., Run]) -> None:
    run = make_run(shift=None)
    for step, value in ((5, 40.0), (10, 12.0), (20, 15.0)):
        run.log({"step": step, "proxy_fd": value, "proxy_n": 256, "proxy_floor": 3.0})
    page = Page(report(run))
    alt = next(str(a["aria-label"]) for _, a in page.tags if "quick" in str(a.get("aria-label")))
    assert "from 256 samples" in alt and "from 40 to 15" in alt and "real pictures come to 3" in alt
    assert "its lowest was 12 at step 10" in alt and "Quality on the way" in page.source


def test_hostile_names_stay_text(make_run: Callable[..., Run]) -> None:
    evil = "<img src=x onerror=alert(1)>&\"'"
    run = make_run(name="a&b<i>", classes=("<script>x<", "dog&<b>"))
    run.update_meta(cpu=evil, command=f"noisette {evil}", platform="</style><script>")
    page = Page(report(run))
    self_contained(page)
    assert "<script" not in page.source and "<i>" not in page.source and "onerror=alert(1)>" not in page.source
    assert page.texts["h1"] == ["a&b<i>"]
    assert any("<script>x<" in str(p["alt"]) for p in page.all("img"))


@pytest.mark.usefixtures("light")
def test_an_empty_run_has_a_report_that_says_so(empty_run: Run) -> None:
    page = Page(report(empty_run))
    self_contained(page)
    assert "no checkpoint yet" in page.source
    assert "nothing has been logged yet" in page.source
    assert "no previews were saved" in page.source
    assert {"samples", "measured", "settings"} <= {str(a["id"]) for a in page.all("section")}


@pytest.mark.parametrize("lost", ["checkpoints", "samples", "metrics.jsonl", "meta.json", "data.json"])
def test_what_is_lost_is_told(make_run: Callable[..., Run], lost: str) -> None:
    run = make_run()
    shutil.rmtree(run.path / lost) if (run.path / lost).is_dir() else (run.path / lost).unlink()
    page = Page(report(run))
    self_contained(page)
    assert 'class="missing"' in page.source


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("name", ["meta.json", "data.json"])
@pytest.mark.parametrize("content", ["{}", "[]", "torn {"])
def test_half_a_run_has_a_report(make_run: Callable[..., Run], name: str, content: str) -> None:
    run = make_run()
    (run.path / name).write_text(content)
    self_contained(Page(report(run)))


@pytest.mark.usefixtures("light")
def test_damaged_files_are_told(make_run: Callable[..., Run]) -> None:
    run = make_run()
    (run.path / "checkpoints" / "step-20" / "ema.safetensors").write_bytes(b"torn")
    for _, path in run.previews():
        path.write_bytes(b"torn")
    page = Page(report(run))
    assert "checksum differs" in page.source and "cannot be read" in page.source


@pytest.mark.usefixtures("light")
def test_lost_data_is_told(make_run: Callable[..., Run]) -> None:
    run = make_run()
    shutil.rmtree(run.config.data.source)
    page = Page(report(run))
    assert page.source.count('class="missing"') >= 1  # the real pictures
    run = make_run("changed")
    values = {**run.data, "fingerprint": "another"}
    (run.path / "data.json").write_text(__import__("json").dumps(values))
    assert "no longer the images" in report(run).read_text()


def test_the_place(make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    monkeypatch.setattr(reporting, "render", lambda run: "a page")
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

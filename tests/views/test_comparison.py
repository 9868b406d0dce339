"""Several runs on one page: what differs, the same seeds, numbers that compare, curves that compare."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluations
import pytest
from pages import Page, self_contained

from noisette.errors import UserError
from noisette.experiment.config import Config
from noisette.experiment.runs import Run
from noisette.views import comparison
from noisette.views.comparison import compare
from noisette.views.comparison_curves import loss_kind
from noisette.views.material import Material


@pytest.fixture
def three(make_run: Callable[..., Run]) -> list[Run]:
    """Two runs that compare, one of them clearly better, and one with another loss and another number of samples."""
    runs = [
        make_run("first"),
        make_run("second", settings={"optim.lr": 0.001}, shift=9.0),
        make_run("third", settings={"objective.predicts": "eps", "net.conditional": False}, shift=None),
    ]
    runs[2].save_evaluation("all", {"rows": evaluations.drawn("ddim:50", n=512, step=20)})
    return runs


def text_of(page: Page) -> str:
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.source[page.source.index("<body>") :]))
    return text.replace("&#39;", "'").replace("\u00a0", " ")


def test_a_comparison_is_whole_and_self_contained(three: list[Run]) -> None:
    page = Page(compare(three))
    self_contained(page)
    assert [a["id"] for a in page.all("section")] == ["settings", "seeds", "numbers", "curves"]
    assert page.texts["h1"] == ["first, second, third"]
    assert 'class="missing"' not in page.source
    assert all(len(str(p.get("alt"))) > 10 for p in page.all("img"))
    assert sum("drawn by second" in str(p["alt"]) for p in page.all("img")) == comparison.SEEDS
    cli = pytest.importorskip("noisette.cli")
    for line in page.commands:
        cli.app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def test_it_names_the_settings_that_differ_and_no_others(three: list[Run]) -> None:
    found = comparison.settings_that_differ([Material(run) for run in three])
    assert found == {
        "net.conditional": [True, True, False],
        "objective.predicts": ["v", "v", "eps"],
        "optim.lr": [0.003, 0.001, 0.003],
    }
    text = text_of(Page(compare(three)))
    assert "They differ in 3 settings: net.conditional, objective.predicts and optim.lr" in text
    assert "All learned from the same data, pets" in text


def test_the_verdict_is_said_in_words(three: list[Run]) -> None:
    text = text_of(Page(compare(three)))
    assert "first is better than second by 3.1 ± 1.0" in text
    assert re.search(r"\d+ differences were looked at", text) and "Holm" in text and "each run is one training" in text
    assert "Fréchet distance 9.1 [8.4, 9.8]" in text and "from 512 pictures, not 2,048" in text


def test_losses_in_other_units_are_not_overlaid(three: list[Run]) -> None:
    page = Page(compare(three))
    alts = [str(a["aria-label"]) for _, a in page.tags if a.get("role") == "img"]
    losses = [alt for alt in alts if "loss" in alt]
    assert len(losses) == 3 and all("first" in alt and "second" in alt and "third" not in alt for alt in losses)
    assert "do not all measure it alike (their objective.space differ)" in text_of(page)
    speed = next(alt for alt in alts if alt.startswith("Speed"))
    assert "third" in speed


def test_what_makes_losses_comparable(make_run: Callable[..., Run]) -> None:
    def kind(name: str, training: bool = True, **settings: Any) -> object:
        given = {key.replace("__", "."): value for key, value in settings.items()}
        return loss_kind(Material(make_run(name, settings=given)), training)

    plain = kind("plain")
    assert kind("a", net__channels=16, optim__lr=0.1, objective__weight="snr", objective__predicts="v") == plain
    assert kind("b", objective__predicts="eps", objective__space="v") == plain
    for k, other in enumerate(
        ({"objective__space": "x0"}, {"objective__distance": "l1"}, {"schedule__T": 500}, {"data__held_out": 0.3})
    ):
        assert kind(f"c{k}", **other) != plain
    assert kind("d", objective__times="uniform") != plain
    assert kind("e", False, objective__times="uniform") == kind("f", False)


def test_runs_that_are_no_further_are_told_not_refused(make_run: Callable[..., Run], empty_run: Run) -> None:
    whole, bare = make_run("whole"), make_run("bare", shift=None)
    shutil.rmtree(bare.path / "checkpoints")
    (bare.path / "metrics.jsonl").unlink()
    page = Page(compare([whole, bare, empty_run]))
    self_contained(page)
    text = text_of(page)
    assert "Not measured yet: bare, empty." in text and "no checkpoint yet" in text
    assert "Nothing has been logged yet by bare, empty" in text
    assert "They did not learn from the same data" in text


def test_nothing_at_all_is_a_page_too(empty_run: Run, tmp_path: Path) -> None:
    other = Run.create(tmp_path / "runs" / "other", Config(), {}, {})
    page = Page(compare([empty_run, other]))
    self_contained(page)
    assert "No setting differs" in text_of(page)


def test_many_runs_of_one_name(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """More runs than colours, with clashing names: every run has a name and a look of its own."""
    run = make_run("same")
    runs = [run]
    for k in range(1, 13):
        shutil.copytree(run.path, tmp_path / f"folder-{k}" / "same")
        runs.append(Run.open(tmp_path / f"folder-{k}" / "same"))
        runs[-1].save_evaluation("all", evaluations.whole(k, step=20))
    named = comparison.names([*runs, Run(tmp_path / "runs" / "alone", run.config)])
    assert named == ["runs/same", *[f"folder-{k}/same" for k in range(1, 13)], "alone"]
    page = Page(compare(runs, tmp_path / "out.html"))
    self_contained(page)
    text = text_of(page)
    assert page.texts["h1"] == ["13 runs compared"] and "runs/same comes first, better than" in text
    assert "No setting differs: what differs between them is luck" in text
    assert "All 702 differences" in text  # 78 pairs x 9 metrics
    from noisette.views.charts import colour, dash

    assert len({(colour(k), dash(k)) for k in range(13)}) == 13


def test_seeds_alone_are_called_luck(make_run: Callable[..., Run]) -> None:
    runs = [make_run("one"), make_run("two", settings={"train.seed": 1})]
    assert "differ in nothing but the seed" in text_of(Page(compare(runs)))


def test_hostile_names_stay_text(make_run: Callable[..., Run]) -> None:
    runs = [make_run("a&b<i>"), make_run("<script>x<", shift=3.0)]
    page = Page(compare(runs))
    self_contained(page)
    assert "<script" not in page.source and "<i>" not in page.source


def test_the_place(make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = make_run("one"), make_run("two")
    monkeypatch.setattr(comparison, "render", lambda runs: "a page")
    assert compare([one, two]) == tmp_path / "runs" / "comparison.html"
    shutil.copytree(two.path, tmp_path / "elsewhere" / "two")
    monkeypatch.chdir(tmp_path)
    apart = Run.open(Path("elsewhere/two"))
    assert compare([one, apart]).resolve() == tmp_path / "comparison.html"
    with pytest.raises(UserError, match="given twice"):
        compare([one, Run.open(one.path / ".." / "one")])
    with pytest.raises(UserError, match="2 to 24 runs, got 1"):
        compare([one])


def test_on_the_command_line(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from noisette import cli
    from noisette.views import pdf, report

    one, two = make_run("one"), make_run("two")
    monkeypatch.setattr(comparison, "render", lambda runs: " and ".join(run.name for run in runs))
    monkeypatch.setattr(report, "render", lambda run: run.name)
    monkeypatch.setattr(pdf, "write", lambda page: (page.with_suffix(".pdf"), "printed by hand"))
    cli.main(["report", str(one.path), str(two.path), "--pdf"])
    place = one.path.parent / "comparison.html"
    assert place.read_text() == "one and two"
    assert capsys.readouterr().out == f"{place}\n{place.with_suffix('.pdf')} (printed by hand)\n"
    cli.main(["report", str(one.path)])
    assert capsys.readouterr().out == f"{one.report_path}\n"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["report"])
    assert stopped.value.code == 2 and "which run?" in capsys.readouterr().err


def test_from_python(make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import noisette as nt

    one, two = make_run("one"), make_run("two")
    monkeypatch.setattr(comparison, "render", lambda runs: " and ".join(run.name for run in runs))
    assert nt.compare(nt.open(one.path), two.path, out=tmp_path / "c.html").read_text() == "one and two"

"""A whole small study, made up: its page answers, asks nothing of anywhere, and its numbers are in a file."""

from __future__ import annotations

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pages import Page, self_contained
from study_folders import STUDY, study_folder
from study_results import made as several
from study_results import result as made

import noisette
from noisette.errors import UserError
from noisette.experiment.jobs import Folder
from noisette.experiment.runs import Run
from noisette.experiment.studies import parse
from noisette.tasks import study as engine
from noisette.views import study as view
from noisette.views import words
from noisette.views.study import curves
from noisette.views.study.claims import claims
from noisette.views.study.report import render
from noisette.views.study.table import lines
from noisette.views.study.units import units


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOISETTE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        folder = study_folder(tmp_path_factory.mktemp("study") / "schedules")
        view.report(folder.path)
    return folder


def text_of(page: Page) -> str:
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.source[page.source.index("<body>") :]))
    return text.replace("&#39;", "'").replace("\u00a0", " ")


def test_the_page_is_whole_and_self_contained(whole: Folder) -> None:
    page = Page(whole.report_path)
    self_contained(page)
    assert not re.search(r"https?://", re.sub(r'xmlns(:xlink)?="[^"]*"', "", page.source))
    assert [a["id"] for a in page.all("section")] == [
        *("findings", "numbers", "samples", "curves", "levels", "paths", "how")
    ]
    assert page.texts["h1"] == ["Noise schedules"] and 'class="missing"' not in page.source
    assert all(len(str(p.get("alt"))) > 10 for p in page.all("img"))


def test_it_answers_the_question_from_the_numbers(whole: Folder) -> None:
    text = text_of(Page(whole.report_path))
    assert text.index("Which noise schedule gives the better samples?") < text.index("cosine beat linear by 2.8")
    better = r"over 3 seeds \(Fréchet distance; lower is better\)"
    assert re.search(rf"cosine beat linear by 2\.8 (± 0\.\d|\[.*?\]) {better}", text)
    assert re.search(r"No difference beyond the noise between \w+ and \w+ \(bits/dim of held-out images", text)
    assert "2 differences" in text or "3 differences" in text
    assert "6 of 6" in text and "2 cores of Abacus" in text and "a classifier trained on the data's own labels" in text
    assert "2,048 drawn to be measured" in text and "noisette study" in text


def test_every_setting_draws_the_same_seeds(whole: Folder) -> None:
    alts = [str(p["alt"]) for p in Page(whole.report_path).all("img")]
    for setting in ("cosine", "linear"):
        assert sum(alt.startswith(f"{setting}, picture") for alt in alts) == 8 + 9  # samples, and a path


def test_the_table_has_what_was_measured_and_no_more(whole: Folder) -> None:
    source = Page(whole.report_path).source
    heads = re.findall(r'<th scope="col">(.*?)</th>', source, re.DOTALL)
    said = " ".join(heads)
    names = ("Fréchet distance", "time to train", "training speed", "time to draw 36 samples", "bits/dim of held-out")
    for name in names:
        assert name in said
    assert "smoothness" not in said and "length of a path" not in said
    assert "3 seeds" in text_of(Page(whole.report_path))


def test_the_table_as_plain_text(whole: Folder) -> None:
    lines = view.plain(view.Told(whole, whole.read(), engine.results(whole.path)).units, ("fid", "smoothness", "bits"))
    *head, rule, cosine, linear = lines.splitlines()
    assert set(rule) == {"-"} and "Fréchet distance" in lines and "smoothness" not in lines and "path" not in lines
    assert {row.count("[") for row in (cosine, linear)} == {2} and len(head) == 2
    columns = [re.split(r"\s{2,}", line) for line in (cosine, linear)]
    assert [row[0] for row in columns] == ["cosine (3 seeds)", "linear (3 seeds)"]
    for row, name in zip(columns, ("cosine", "linear"), strict=True):
        found = [r.numbers["fid"] for r in engine.results(whole.path) if r.setting == name]
        assert abs(float(row[1].split()[0]) - sum(found) / 3) < 0.1 and row[1].endswith("]") and len(row) == 3


def test_a_study_of_motion_speaks_of_clips(whole: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "moves", lambda config: True)
    told = view.Told(whole, whole.read(), engine.results(whole.path))
    page = render(told)
    body = re.sub("<[^>]+>", " ", page[page.index("<body>") :])
    assert not re.findall(r"[^.]*(?<![\w.])(?:picture|image)s?\b(?!/)[^.]*", body) and "clips shown" in body
    quick = [replace(r, series={"proxy_fd": [[1, 8, 1.0, 2.0], [2, 16, 2.0, 1.0]]}) for r in told.results]
    (figure,) = curves.training(units(quick), ["proxy_fd"], "")
    assert "in poses" in str(figure.parts[0].title)
    assert "bits/dim of held-out clips" in re.sub(r"\s+", " ", view.plain(told.units, ("bits",)))


def test_the_curves_have_both_settings(whole: Folder) -> None:
    page = Page(whole.report_path)
    alts = [str(a["aria-label"]) for _, a in page.tags if a.get("role") == "img"]
    for title in ("Training loss", "Held-out loss", "Norm of the gradient", "Loss by noise level", "Fréchet distance"):
        assert any(alt.startswith(title) and "cosine" in alt and "linear" in alt for alt in alts), title


def test_the_numbers_are_in_a_file(whole: Folder) -> None:
    with whole.results_path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["setting"], r["schedule"], r["seed"], r["way"], r["state"]) for r in rows] == [
        (setting, setting, str(seed), "ddim:20", "finished") for setting in ("cosine", "linear") for seed in range(3)
    ]
    for row, result in zip(rows, engine.results(whole.path), strict=True):
        assert float(row["fid"]) == result.numbers["fid"] and float(row["fid_error"]) == result.errors["fid"]
        assert row["run"] == result.run.name and "smoothness" not in row


def test_the_same_runs_give_the_same_page(whole: Folder) -> None:
    before = whole.report_path.read_text(encoding="utf-8")
    view.report(whole.path)
    assert whole.report_path.read_text(encoding="utf-8") == before


def test_failed_and_missing_trainings_are_told(whole: Folder, tmp_path: Path) -> None:
    place = Folder(tmp_path / "study")
    shutil.copytree(whole.path, place.path)
    run = Run.open(place.path / "runs" / "linear-seed-1")
    run.update_meta(state="failed", reason="the loss is not a number at step 9")
    shutil.rmtree(place.path / "runs" / "linear-seed-2")
    page = Page(view.report(place.path))
    self_contained(page)
    text = text_of(page)
    assert "1 of 3 seeds of linear diverged." in text and "1 of 6 trainings are not finished yet." in text
    assert "Of linear only 1 seed finished" in text and "beat" not in text
    assert "the loss is not a number at step 9" in text and "1 of 3 seeds" in text


def test_a_study_of_which_nothing_is_done_says_so(tmp_path: Path) -> None:
    place = Folder(tmp_path / "study")
    place.path.mkdir()
    place.study_path.write_text(parse(STUDY, "test").to_toml())
    text = text_of(Page(view.report(place.path)))
    assert "Nothing that the question asks for has been measured yet." in text and "0 of 6" in text
    assert len(lines(engine.results(place.path)).splitlines()) == 1 + 6


def test_best_of_says_all_that_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {"name": "best-of", "continues": str(tmp_path / "runs" / "a"), "features": "pixels", "seeds": 5}
    place = Folder(Path("again"))
    place.path.mkdir()
    place.study_path.write_text(parse({**STUDY, **changes, "given": {"train": {"steps": 2}}}, "test").to_toml())
    said = "--of runs/a --budget quick --samples 2048 --seeds 5 --features pixels --train.steps 2 --out again-again"
    assert f"noisette study best-of {said}" in text_of(Page(view.report(place.path)))


def test_a_column_of_the_results_has_one_name(tmp_path: Path) -> None:
    found = [made("a", 0, {"steps": 4.0}, values={"seed": "x", "steps": "5", "T": "9"})]
    head = lines(found).splitlines()[0].split(",")
    assert head[:5] == ["setting", "seed (factor)", "steps (factor)", "T", "seed"] and len({*head}) == len(head)


def test_a_study_is_opened_by_its_path_in_any_form(whole: Folder, tmp_path: Path) -> None:
    for place in (str(whole.path), whole.path, whole):
        assert noisette.Study(place).path == whole.path
    with pytest.raises(UserError, match="not the folder of a study"):
        noisette.Study(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        noisette.study(tmp_path / "none.toml")


def test_another_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the folder of a study"):
        view.report(tmp_path)


def test_memory_is_drawn_in_mebibytes() -> None:
    found = units(several({"a": [600 * 2**20, 640 * 2**20], "b": [300 * 2**20, 310 * 2**20]}, "memory"))
    (figure,) = curves.dots(found, claims(found, ("memory",)), ("memory",), "")
    assert "memory at the peak in MiB" in str(figure.parts[0]) and "00,000" not in str(figure.parts[0])

"""The report of a run of motion: clips that move, real ones beside them, what was measured of them."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from motion_maker import made, rows
from pages import Page

from noisette.cli.frame import Clips
from noisette.data import medium
from noisette.data.motion import MotionSpec, load
from noisette.data.motion.inspect import FEW_TAKES, statistics, warnings
from noisette.data.motion.stream import mirrored
from noisette.experiment.config import MotionConfig
from noisette.experiment.runs import Run
from noisette.tasks import remedies, train
from noisette.views import (
    beside,
    cards,
    commands,
    looks,
    moved,
    notebook,
    parts,
    scores,
    sections,
    table,
    terminal,
    verdicts,
    words,
)
from noisette.views import report as reporting
from noisette.views.comparison import compare
from noisette.views.differences import differences, questions
from noisette.views.material import Material


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Shared: do not write into it."""
    return made(tmp_path_factory.mktemp("motion"))


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Its report, without the explanations, which have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        quick = [m for m in reporting.MAKERS if not m.__module__.startswith("noisette.views.explained")]
        patch.setattr(reporting, "MAKERS", quick)
        return Page(reporting.report(run, tmp_path_factory.mktemp("page") / "report.html"))


def text_of(page: Page) -> str:
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", page.source, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]+>", " ", text))).replace("\u00a0", " ")


def test_nothing_is_missing_and_nothing_is_asked_of_anywhere(page: Page) -> None:
    assert 'class="missing"' not in page.source and page.open == []
    known = ["samples", "health", "measured", "training", "previews", "data", "timing", "settings", "environment"]
    assert [a["id"] for a in page.all("section")] == known
    assert all(u.startswith("http://www.w3.org/") for u in re.findall(r"\bhttps?:[^\s\"']+", page.source))
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy
    assert len(page.all("script")) == 1 + page.source.count('type="application/json"')


def test_it_speaks_of_clips(page: Page) -> None:
    text = text_of(page).replace("train.images", "")
    assert not re.findall(r"[^.]*\b(?:picture|image)s?\b[^.]*", text)
    for said in (
        "clips of 16 frames of 20 joints in 3 dimensions, 7 kinds (jump, kick",
        "They are cut from 60 sequences",
        "clips a second",
        "36 clips, seeds 0 to 35",
        "Generated beside real",
        "motion.frames",
        "frames a second 30",
        "of them filled on a straight line",
        "every joint from the root",
    ):
        assert said in text, said
    assert "data.image_size" not in text and "too little data" not in text


def test_samples_and_real_clips_move(page: Page, run: Run) -> None:
    scenes = [json.loads(t) for t in page.texts["script"] if t.lstrip().startswith("{")]
    assert [len(scene["clips"]) for scene in scenes] == [looks.MOVING, 8, cards.REAL]
    assert all(clip["frames"] == 16 for scene in scenes for clip in scene["clips"])
    captions = [t for t in page.texts["p"] if re.fullmatch(r"\w+, (seed \d+|real)", t)]
    assert captions[:2] == ["jump, seed 0", "jump, real"] and len(captions) == 8
    assert sum("step 3" in t for t in page.texts["text"]) == 1  # the way from noise ends at its last step


def test_speeds_of_samples_stand_over_those_of_real_clips(page: Page) -> None:
    assert "The 36 samples and as many held-out clips: the line is the median" in text_of(page)
    alts = [str(a["aria-label"]) for _, a in page.tags if a.get("role") == "img"]
    charted = [alt for alt in alts if re.fullmatch(r"Speed of [\w ]+ over time: real clips, and generated ones.", alt)]
    assert len(set(charted)) == 4


def test_how_they_move_stands_beside_real_clips(page: Page) -> None:
    text = text_of(page)
    for said in (
        "Bones change their lengths by 3.20 % over time (real clips: 0.40 %; up to 2.6 % a body holds together)",
        "speed is 0.90 times that of real clips",
        "jerk is 1.50 times that of real clips",
        "jerk, m/s³",
        "as in real clips is best",
        "Fréchet distance of 8.0",
        "an autoencoder trained on these clips",
        "seed 5",
        "compared pose by pose: 0 of 64 samples are copies.",
    ):
        assert said in text, said
    names = {p.split(", frames")[0] for p in page.texts["td"] if ", frames" in p}
    assert len(names) == 1  # the training clip that sample 5 is most like, by its take


def test_too_little_data_is_said_and_the_nearest_training_clip_is_shown(tmp_path: Path) -> None:
    run = made(tmp_path, limit=20, measured=False)
    material = Material(run)
    said = words.too_little(material.data)
    assert said.startswith("This is too little data to judge by: 20 sequences")
    assert said in reporting.summary(material, run.path) and said in cards.data(material).text
    figure = sections.samples(material).figures[1]
    assert figure.title == "Generated beside the nearest training clips"
    (stage,) = figure.parts
    assert isinstance(stage, parts.Moving)
    captions = [player.caption for player in stage.players]
    assert all(c.endswith(" m away") for c in captions[1::2])
    away = [float(c.split()[-3]) for c in captions[1::2]]
    assert away == sorted(away) and away[0] > 0


def test_a_mirrored_training_clip_is_a_copy_where_training_showed_it() -> None:
    data = load(MotionSpec("motion", frames=16, limit=7, mirror=True))
    x = mirrored(data.x[data.train[:9]], data.skeleton, data.lateral)
    drawn: Any = SimpleNamespace(x=x, labels=None, seeds=list(range(9)))
    (stage,) = beside._nearest(drawn, data, "").parts
    assert isinstance(stage, parts.Moving)
    assert all(player.caption.endswith(" 0 m away") for player in stage.players[1::2])


def test_few_takes_are_few_for_the_report_the_doctor_and_the_preflight(run: Run) -> None:
    stats = statistics(load(MotionSpec("motion", frames=16, limit=7)))
    for takes, few in ((FEW_TAKES - 1, True), (FEW_TAKES, False)):
        case = remedies.Case(run, run.config.sample, "ema", 20, 0.0, 9000, "clip", takes)
        assert case.few is few and bool(words.too_little({"takes": takes})) is few
        assert warnings({**stats, "takes": takes})[0].startswith("Only") is few


def test_what_is_kept_apart_is_said_once_and_only_where_something_is(run: Run) -> None:
    material = Material(run)

    def told() -> list[list[str]]:
        return [row for table in cards.data(material).tables for row in table.rows if row[0] == "kept apart"]

    subjects = ", ".join(map(str, material.data["split"]["subjects"]))
    assert told() == [["kept apart", f"{material.data['held_out']:,}: whole subjects ({subjects})"]]
    material.data = {**material.data, "held_out": 0, "split": {"by": "take", "subjects": []}}
    assert told() == [["kept apart", "0"]]


def test_commands_ask_for_the_same_clips(run: Run) -> None:
    known = {field.name for field in dataclasses.fields(Clips)}
    assert known.isdisjoint(commands.BY_KEY) and known.union(commands.BY_KEY) == set(MotionConfig.model_fields)
    assert commands.check(run.config) == "noisette check motion --frames 16"
    more = {"fps": 15.0, "skeleton": "my bones.json", "columns": ["a_x", "a_y"], "heading": False, "mirror": True}
    config = run.config.changed({f"motion.{key}": value for key, value in {**more, "rotate": 180.0}.items()})
    assert commands.train(config).endswith(
        " --steps 20 --frames 16 --fps 15 --skeleton 'my bones.json' --columns a_x,a_y --motion.heading false --mirror "
        "--rotate 180"
    )


def test_a_terminal_reads_of_clips(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    text = table.evaluation(rows(10, 0), run.config)
    assert "real clips: train against train" in text and not re.findall(r"\b(?:picture|image)s?\b", text)
    step = train.TrainStep(step=1, images=8, progress=0.5, seconds=1.0, loss=1.0, images_per_second=7.0)
    terminal.watch(iter([step]), run.shape.medium.many)
    assert "7 clips/s" in capsys.readouterr().err


def test_clips_as_pictures_have_one_scale() -> None:
    data = load(MotionSpec("motion", frames=16, limit=7))
    kind = medium.of(medium.facts(data))
    x = data.x[data.train[:2]]
    found = looks.pictures(x, kind)
    assert found.shape == (2, looks.HIGH, looks.WIDE, 3) and found.dtype == np.uint8
    inked = [(255 - picture.astype(int)).sum() for picture in looks.pictures(np.stack([x[0], 0.5 * x[0]]), kind)]
    assert inked[1] < 0.8 * inked[0]  # half as tall, and thinner
    alone = looks.pictures(0.5 * x[:1], kind, like=x[:1])[0]
    assert (255 - alone.astype(int)).sum() < 0.8 * (255 - found[0].astype(int)).sum()
    noise = np.random.default_rng(0).normal(size=x.shape)
    for size in (1, 100):  # of which nothing is cut off, and nothing is drawn out along the edge
        wild = 255 - looks.pictures(x + size * noise, kind, like=x).astype(int)
        wild[:, looks.HIGH - 3 * looks.EDGE :] = 0  # the floor, which goes from edge to edge
        assert not wild[:, 0].any() and not wild[:, :, [0, -1]].any()
        assert (wild.any(-1).sum((1, 2)) > 0.05 * looks.WIDE * looks.HIGH).all()
    grey = np.zeros((2, 4, 4, 1), np.uint8)
    assert looks.pictures(grey, medium.Images((4, 4, 1))) is grey


def test_damaged_previews_are_left_out(tmp_path: Path) -> None:
    run = made(tmp_path, measured=False)
    run.preview_path(10, ".npz").write_bytes(b"PK\x03\x04 torn")
    (figure,) = sections.previews(Material(run)).figures
    (shown,) = figure.parts
    assert isinstance(shown, parts.Cells) and [cell.label for cell in shown.cells] == [["step 0"], ["step 20"]]


def test_the_number_nearest_to_the_real_one_is_the_best() -> None:
    def score(value: float) -> scores.Score:
        (row,) = [r for r in rows(10, 0) if r["metric"] == "speed"]
        row |= {"value": value, "low": value - 0.01, "high": value + 0.01, "label": f"ddim:{value:g}"}
        return scores.read([{"rows": [row]}])[0]

    low, near, high = score(0.5), score(0.95), score(1.2)
    assert scores.best_first([high, low, near]) == [near, high, low]
    (found,) = differences(questions([[score(0.7)], [score(0.7)]], ["a", "a"]))
    assert found.by == 0 and not found.real
    asked = questions(
        [[low], [scores.read([{"rows": [{**_row(low), "label": low.label, "value": 1.1}]}])[0]]], ["a", "a"]
    )
    (found,) = differences(asked)
    assert (found.a, found.b) == (1, 0) and found.by == pytest.approx(0.4) and found.real


def _row(score: scores.Score) -> dict[str, object]:
    (row,) = [r for r in rows(10, 0) if r["metric"] == "speed"]
    return {**row, "low": 1.09, "high": 1.11}


def test_percent_and_shares_are_written_as_such() -> None:
    assert scores.number(3.2, unit="%") == "3.2\u00a0%" and scores.number(0.032, unit="share") == "3.2\u00a0%"
    assert scores.bounds(1.0, 2.0, "%") == "[1.0, 2.0]"


def test_words_of_clips_spare_names_and_paths(run: Run) -> None:
    said = words.spoken("An image, two pictures. Images of pictures/cat, /a/image.png --image_size", run.config)
    assert said == "A clip, two clips. Clips of pictures/cat, /a/image.png --image_size"


def test_two_runs_of_motion_compare(run: Run, tmp_path: Path) -> None:
    other = made(tmp_path, optim__lr=1e-4)
    page = Page(compare([run, other], tmp_path / "both.html"))
    text = text_of(page)
    assert 'class="missing"' not in page.source and "real clips against each other" in text
    assert not re.findall(r"[^.]*\b(?:picture|image)s?\b[^.]*", text)
    assert sum("Seed 0 drawn by" in str(p["alt"]) for p in page.all("img")) == 2


@pytest.mark.parametrize("backbone", ["unet", "transformer"])
def test_the_notebook_is_of_clips(tmp_path: Path, backbone: str) -> None:
    more = {"net__backbone": backbone, "net__attention": []} if backbone == "transformer" else {}
    run = made(tmp_path, measured=False, **more)
    cells = notebook.cells(run, ".")
    text = "\n".join(source for _, source in cells)
    assert "moving(samples)" in text and "imshow" not in text and "trajectory(3" in text
    assert not re.findall(r"\b(?:picture|image)s?\b(?!\()", "\n".join(s for kind, s in cells if kind == "text"))
    widths = ", ".join(map(str, run.config.net.multipliers))
    size = "transformer, " if backbone == "transformer" else f"U-Net, 16 channels x {widths}"
    assert size in text
    for kind, source in cells:
        if kind == "code":
            compile(source, "cell", "exec")


def test_what_is_rounding_in_real_clips_is_no_number_and_has_no_ratio() -> None:
    (row,) = [r for r in rows(10, 0) if r["metric"] == "bone_jitter"]
    (score,) = scores.read([{"rows": [{**row, "detail": {"real": [2e-5, 1e-5, 3e-5], "ratio": None}}]}])
    assert "(real clips: <0.001\u00a0%; up to 2\u00a0% a body holds together)" in moved.sentence([score])
    (figure,) = moved.moved([score], "noisette evaluate x")
    (table_,) = figure.parts
    assert isinstance(table_, parts.Table) and table_.rows[0][2:] == ["<0.001\u00a0%\n[<0.001, <0.001]", "–"]


def test_a_ratio_whose_interval_is_wide_keeps_its_digits() -> None:
    (row,) = [r for r in rows(10, 0) if r["metric"] == "speed"]
    detail = {"real": [1.0, 0.0, 8.0], "ratio": [0.5, 0.02, 3e40], "classes": ["jump"]}
    (figure,) = moved.moved(scores.read([{"rows": [{**row, "detail": detail}]}]), "noisette evaluate x")
    (table_,) = figure.parts
    assert isinstance(table_, parts.Table) and table_.rows[0][3] == "0.5\n[0.02, 3e+40]"
    assert "Each class counts the same" in figure.caption


def test_the_bones_of_the_median_person_are_not_the_best() -> None:
    """It is body size: samples that are all of one size have less of it than people have."""
    (row,) = [r for r in rows(10, 0) if r["metric"] == "bone_error"]
    made = [{**row, "label": f"ddim:{v}", "value": v, "better": ""} for v in (1.0, 6.5)]
    assert [s.value for s in scores.best_first(scores.read([{"rows": made}]))] == [6.5, 1.0]


def test_a_sentence_needs_numbers() -> None:
    assert moved.sentence([]) == "" and moved.moved([], "noisette evaluate x") == []
    assert "have not been" not in " ".join(verdicts.quality(scores.read([{"rows": rows(10, 0)}]), Path("r"), 20))

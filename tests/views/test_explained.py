"""Explanations: words that follow from the numbers, files and sections for every kind of run."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny

from noisette.diffusion.schedules import make_schedule
from noisette.errors import UserError
from noisette.experiment.runs import Run
from noisette.tasks.interpolate import Path as Way
from noisette.tasks.interpolate import Smoothness
from noisette.tasks.levels import Losses
from noisette.views import explained
from noisette.views.explained import between, compared, levels
from noisette.views.material import Material


def explain(run: Run, key: str, **asked: object) -> explained.Explanation:
    return explained.EXPLANATIONS[key](explained.Bench(Material(run), explained.Asked(**asked)))


# --- words --------------------------------------------------------------------------------------------------------


def losses(thirds: Mapping[str, Mapping[str, tuple[float, float, float]]], space: str = "v") -> Losses:
    """Losses that are the same all over each third."""
    t = (np.arange(300) + 1) / 300
    third = np.minimum((3 * (t - 1 / 300) / (1 - 1 / 300)).astype(int), 2)
    found = {s: {m: np.array(v)[third] for m, v in by_model.items()} for s, by_model in thirds.items()}
    return Losses(space, t, found, make_schedule("cosine", 300), 100, None)


def models(net: tuple, linear: tuple = (9, 9, 9), memory: tuple = (0, 0, 0)) -> dict[str, tuple]:
    return {"training": net, "held_out": net, "linear": linear, "memory": memory}


def test_where_it_struggles() -> None:
    found = losses({"v": models((1, 1, 2)), "eps": models((7, 2, 1))})
    said = levels._struggle(found)
    assert "the noise in the early third of t, the least noisy: 70 %" in said
    assert "In v" in said and "however in the late third of t, the noisiest: 50 %" in said
    alone = levels._struggle(losses({"eps": models((1, 4, 1))}, "eps"))
    assert "middle third of t: 67 %" in alone and "trained in" not in alone


def test_why_follows_from_what_perfect_memory_would_have() -> None:
    hard = levels._why(losses({"v": models((1, 1, 2), memory=(0, 0, 1.9)), "eps": models((1, 0, 0))}))
    assert "Why early" in hard and "would have none of this loss" in hard
    assert "nobody can say which it was" in hard and "still have 95 % of this loss" in hard
    lazy = levels._why(losses({"v": models((1, 1, 2), memory=(0, 0, 0.2)), "eps": models((0, 0, 1))}))
    assert "Why early" not in lazy and lazy.count("Why late") == 1  # the same third in both spaces, told once
    even = levels._why(losses({"eps": models((1, 4, 1), memory=(0, 1, 0))}, "eps"))
    assert "Why in the middle" in even and "still have 25 % of this loss" in even


@pytest.mark.parametrize(
    ("net", "linear", "says"),
    [
        ((1, 1, 1), (2, 2, 2), "At every level it beats"),
        ((3, 3, 1), (2, 2, 2), "hardly begun"),
        ((1, 1, 3), (2, 2, 2), "worse than that one at 7 of 20 levels, t = 0.68 to 0.97"),
    ],
)
def test_against_the_linear_denoiser(net: tuple, linear: tuple, says: str) -> None:
    assert says in levels._against_linear(losses({"v": models(net, linear)}))


@pytest.mark.parametrize(
    ("steps", "sharpest", "says"),
    [
        ([1] * 8, None, "is smooth:"),
        ([1, 1, 1, 1, 1, 9, 1, 1], 0.2, "smooth but uneven: the largest step, between 0.62 and 0.75"),
        ([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 9], 0.9, "has a jump: the largest step, between 0.88 and 1.00 of the way"),
    ],
)
def test_smooth_or_with_jumps(steps: list[float], sharpest: float | None, says: str) -> None:
    x = np.zeros((9, 4, 4, 1), np.uint8)
    x[0, ::2], x[4, ::2], x[8, :, ::2] = 255, 255, 255
    path = Way("slerp", (0, 1), None, np.linspace(0, 1, 9), x, np.ones(9))
    way = between._Way("way", path, Smoothness(np.array(steps, float), 1.0), sharpest)
    assert says in between._verdict(way)
    meaning = between._meaning(way)
    assert ("no true break" in meaning) == ("jump" in says)
    assert "jump" in says or "1.00 times the detail of the two ends; these laid over each other would have 1.00" in (
        meaning.replace(", and", ";")
    )


def test_averaged_or_raw() -> None:
    rng = np.random.default_rng(0)
    raw = 1 + 0.3 * rng.standard_normal(200)
    assert "averaged weights is 20 % lower" in compared._better(0.8 * raw, raw)
    assert "raw weights is" in compared._better(1.3 * raw, raw)
    assert "to within 0.2 %" in compared._better(0.998 * raw, raw)
    assert "as far as it can be told" in compared._better(raw + 0.3 * rng.standard_normal(200), raw)


def test_a_rate_that_came_to_rest_is_told() -> None:
    assert "ended at 1 %" in compared._stood_still([{"step": 1, "lr": 1.0}, {"step": 2, "lr": 0.01}])
    assert compared._stood_still([{"step": 1, "lr": 1.0}, {"step": 2, "lr": 0.5}]) == ""


def test_schedules_that_leave_too_much_signal_are_named(trained: Run, tmp_path: Path) -> None:
    """With the raw table of betas, 300 steps leave a fifth of the signal."""
    config = trained.config.changed({"schedule": {"name": "linear", "T": 300, "scaled": False}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = explain(Run.create(tmp_path / "raw", config, trained.data, {}), "schedule")
    assert "22 % of the signal is left: x is not pure noise" in found.finding
    rows = {row[0]: row[1:] for row in found.tables[0].rows}
    assert rows["linear: this run's"][0] == "22 %" and rows["cosine"][0] == "0.016 %" and rows["flow"][0] == "0 %"
    assert rows["linear, betas not scaled"] == rows["linear: this run's"]
    assert "scaled_linear" in found.text[-1]


# --- for every kind of run ----------------------------------------------------------------------------------------

KINDS = {
    "edm": {"schedule__name": "edm", "objective__predicts": "edm", "sample__sampler": "heun"},
    "flow": {"schedule__name": "flow", "objective__predicts": "flow", "net__conditional": False},
    "learned": {"objective__learn_variance": True, "sample__sampler": "ddpm", "sample__variance": "learned"},
    "short": {"schedule__T": 12, "objective__predicts": "eps", "train__label_dropout": 0.0},
}


@pytest.fixture(scope="module", params=["conditional", *KINDS])
def run(request: pytest.FixtureRequest, squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    if request.param == "conditional":
        found: Run = request.getfixturevalue("trained")
        return found
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOISETTE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return tiny(squares, tmp_path_factory.mktemp("kinds") / request.param, **KINDS[request.param])


def test_every_explanation_of_every_run(run: Run) -> None:
    bench = explained.Bench(Material(run))
    for key, make in explained.EXPLANATIONS.items():
        try:
            found = make(bench)
        except explained.NotConcerned:
            assert key == "guidance" and (not bench.told or run.config.train.label_dropout == 0)
            continue
        assert found.finding.endswith(".") and "nan" not in found.finding and not found.missing
        assert found.charts or found.boards


def test_files(trained: Run, tmp_path: Path) -> None:
    for key in ("schedule", "forward", "reverse", "interpolation"):
        found = explain(trained, key)
        files = explained.save(found, key, tmp_path)
        assert len({f.name for f in files}) == len(files) and all(f.name.startswith(key) for f in files)
        assert sum(f.suffix == ".svg" for f in files) == len(found.charts)
        assert sum(f.suffix == ".png" for f in files) == len(found.charts) + len(found.boards)
        for file in files:
            if file.suffix == ".svg":
                ElementTree.fromstring(file.read_text(encoding="utf-8"))
            else:
                with Image.open(file) as image:
                    assert (getattr(image, "n_frames", 1) > 1) == (file.suffix in (".gif", ".webp"))
        section = exhibit_section(found, key)
        assert section.text[0].replace("\u00a0", " ") == found.finding and len(section.figures) == 1
    assert len(list(tmp_path.glob("*.gif"))) == len(list(tmp_path.glob("*.webp"))) == 3


def exhibit_section(found: explained.Explanation, key: str) -> explained.exhibit.Section:
    return explained.exhibit.section(found, key, explained.title(key), f"noisette explain run {key}")


def test_pictures_of_a_section_and_a_file_are_the_same(trained: Run, tmp_path: Path) -> None:
    found = explain(trained, "interpolation", between=(3, 7), count=4, classes=("1",))
    rows = found.boards[0].rows
    assert [row.name for row in rows] == ["slerp, class 1", "lerp, class 1", "slerp, no class"]
    matrix = exhibit_section(found, "interpolation").figures[0].parts[-1]
    assert matrix.names == [row.name for row in rows] and matrix.head == ["0", "0.33", "0.67", "1"]
    for shown, row in zip(matrix.rows, rows, strict=True):
        for k, picture in enumerate(shown):
            assert np.array_equal(pixels(picture.src), row.x[k, ..., 0])
            assert "seeds 3 and 7" in picture.alt and row.name in picture.alt
    explained.save(found, "interpolation", tmp_path)
    sheet = np.asarray(Image.open(tmp_path / "interpolation.png"))
    first = np.kron(rows[0].x[0, ..., 0], np.ones((8, 8), np.uint8))  # 8 x 8 pixels, eight times as large
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (64, 64))[:, :40]
    assert (windows == first).all((2, 3)).any()


def pixels(src: str) -> np.ndarray:
    import base64

    with Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))) as image:
        return np.asarray(image)


def test_what_is_asked_for_is_drawn(trained: Run) -> None:
    board = explain(trained, "samplers", steps=5, count=3, seed=2, classes=("1",)).boards[0]
    assert board.rows[0].x.shape == (3, 8, 8, 1) and list(board.labels) == ["1", "1", "1"]
    assert [row.name for row in board.rows][-1] == "solved\n15 calls"
    ways = explain(trained, "reverse", seed=5, steps=3).boards[0]
    assert [row.name for row in ways.rows] == ["Seed 5", "Seed 6", "Seed 7"] and len(ways.labels) == 4
    some = explain(trained, "forward", classes=("1",)).boards[0]
    assert all(row.name == "Training picture: 1" for row in some.rows)


def test_a_section_of_lost_data_says_so(trained: Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(trained.path, tmp_path / "lost")
    config = trained.config.changed({"data.source": str(tmp_path / "gone.npz")})
    run = Run.open(tmp_path / "lost").reconfigured(config)
    found = explain(run, "loss")
    assert "was not measured" in found.missing and found.charts[-1].curve is not None
    assert "not measured" in explain(run, "weights").missing
    assert explain(run, "interpolation").boards[0].caption.endswith("measured in pixels.")
    with pytest.raises(UserError, match=r"gone\.npz"):
        explain(run, "neighbours")


def test_mistakes_are_the_users(trained: Run) -> None:
    with pytest.raises(UserError, match='did you mean "loss"'):
        explained.chosen(["los"])
    assert explained.chosen(["loss", "loss"]) == ["loss"] and len(explained.chosen([])) == len(explained.EXPLANATIONS)
    for key, asked, says in (
        ("samplers", {"classes": ("9",)}, 'no class "9"'),
        ("guidance", {"classes": ("9",)}, 'no class "9"'),
        ("forward", {"classes": ("9",)}, 'no class "9"'),
        ("reverse", {"steps": 5000}, "at most 1000"),
        ("interpolation", {"between": (3, 3)}, "two different seeds"),
        ("weights", {"count": 1}, "--count"),
        ("checkpoints", {"seed": -1}, "seeds lie in"),
        ("interpolation", {"between": (3, -3)}, "seeds lie in"),
    ):
        with pytest.raises(UserError, match=re.escape(says)):
            explain(trained, key, **asked)


def test_titles_come_from_the_makers() -> None:
    titles = [explained.title(key) for key in explained.EXPLANATIONS]
    assert len(set(titles)) == len(titles) and "Loss by noise level" in titles

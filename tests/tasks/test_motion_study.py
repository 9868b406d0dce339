"""Studies of motion: what they measure, and what is refused before anything is trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from study_maker import study_of
from tiny_motion import TINY_MOTION, clips, walks

from noisette.errors import UserError
from noisette.experiment import build, studies
from noisette.experiment.config import OF_BACKBONE, merge, parse
from noisette.experiment.jobs import Folder, jobs
from noisette.metrics import motion_features
from noisette.metrics.distances import Z
from noisette.tasks import measure, study, study_rows, study_run

NET = {
    "label": "net",
    "values": [
        {"label": "U-Net", "settings": {"net.backbone": "unet"}},
        {"label": "transformer", "settings": {"net.backbone": "transformer"}},
    ],
}
KEPT = {key: value for key, value in TINY_MOTION["net"].items() if key not in OF_BACKBONE["unet"]}
BASE = {**TINY_MOTION, "net": {**KEPT, "head_dim": 8}}


@pytest.fixture(autouse=True)
def short_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion_features, "_PASSES", 4)


def of_motion(source: Path, **changes: Any) -> studies.Study:
    more = {"recipe": "", "base": BASE, "factors": [NET], "features": "auto", "answers": ["speed_off"]}
    budgets = {"quick": {"train": {"steps": 2}, "samples": 100, "seeds": 1}}
    return study_of(source, **{**more, "measure": ["fid", "motion"], "budgets": budgets, **changes})


def test_either_net_is_trained_and_measured_on_clips(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "study")
    made = folder.settle(of_motion(walks(tmp_path / "walks.npz", 40)))
    study_run.check(made)
    for job in jobs(made):
        assert study_run.carry_out(folder, made, job, lambda: 0, lambda what, share: None)
    found = study.results(folder.path)
    assert [(r.setting, r.state) for r in found] == [("U-Net", "finished"), ("transformer", "finished")]
    for result in found:
        numbers = result.numbers
        assert {*numbers} <= {*study.NUMBERS} and not result.reason
        for key in ("fid", "bone_error", "bone_error_ratio", "speed_ratio", "jerk_ratio", "bent", "diversity"):
            value = numbers[key]
            assert value is not None and math.isfinite(value), key
        assert numbers["speed_off"] == pytest.approx(abs((numbers["speed_ratio"] or 0) - 1))
        assert result.errors["speed_ratio"] > 0


def test_how_many_times_the_real_one_a_measure_is() -> None:
    row = {
        **{"metric": "speed", "value": 3.0, "label": "x", "checkpoint": 1, "weights": "ema", "n": 200},
        "seeds": [5, 204],
        **{"low": 2.8, "high": 3.2},
        **{"reference": "held_out", "detail": {"real": [2.0, 0.2, 3.8], "ratio": [1.5, 0.3, 7.5]}},
    }
    numbers, errors, _, _ = study_rows.drawn([row], 1, "x", {"samples": 200, "seed": 5}, study.NUMBERS)
    assert (numbers["speed_ratio"], numbers["speed_off"]) == (1.5, 0.5) and "speed" not in numbers
    assert {*numbers} == {"speed_ratio", "speed_off"}
    assert errors["speed_ratio"] == pytest.approx(0.1 / Z)  # of the samples: all settings have the same real clips
    rigid = {**row, "detail": {"real": [0.0, 0.0, 0.0], "ratio": None}}
    numbers, errors, _, _ = study_rows.drawn([rigid], 1, "x", {"samples": 200, "seed": 5}, study.NUMBERS)
    assert numbers == {"speed_ratio": None, "speed_off": None} and not errors
    bones = {**row, "metric": "bone_error"}
    numbers, errors, _, _ = study_rows.drawn([bones], 1, "x", {"samples": 200, "seed": 5}, study.NUMBERS)
    assert numbers["bone_error"] == 3.0 and errors["bone_error"] == pytest.approx(0.2 / Z)
    assert numbers["bone_error_ratio"] == 1.5 and "bone_error_off" not in numbers


def test_bones_are_judged_by_what_people_do_not_differ_in() -> None:
    assert "bone_jitter" in (answers := studies.known()["backbones"].answers) and "bone_error" not in answers
    better = {key: study.NUMBERS[key][2] for key in ("bone_error", "bone_error_ratio", "bone_jitter")}
    assert better == {"bone_error": "", "bone_error_ratio": "", "bone_jitter": "lower"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gan", "a GAN draws images alone"),
        ("image-size", "concerns images alone"),
        ("learned-variance", "chain_bits counts bits of pixels"),
    ],
)
def test_studies_of_images_refuse_motion_in_one_line(name: str, says: str, tmp_path: Path) -> None:
    source = walks(tmp_path / "walks.npz", 20)
    chosen = studies.chosen(studies.known()[name], data=[str(source)], given={"motion.frames": 16})
    with pytest.raises(UserError, match=says) as error:
        study_run.check(chosen)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["activations", "backbones", "losses", "samplers", "schedules", "timesteps"])
def test_other_studies_take_motion(name: str, tmp_path: Path) -> None:
    source = walks(tmp_path / "walks.npz", 20)
    given = merge({"motion.frames": 16}, {"train.previews": 0})
    study_run.check(studies.chosen(studies.known()[name], data=[str(source)], given=given))


def test_features_of_images_are_refused_for_clips(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not see clips"):
        study_run.check(of_motion(walks(tmp_path / "walks.npz", 20), features="pixels"))


def test_clips_are_tried_in_one_layout_alone() -> None:
    config = build.resolve(clips(), None, merge(TINY_MOTION, {"train.precision": "auto", "train.steps": 5}))
    assert measure.ways(config.train) == ["fp32 channels_first", "bf16 channels_first"]
    assert len(measure.ways(parse({}, "here").train)) == 4

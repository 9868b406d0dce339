"""Rows of motion: which real clips samples are held against, and how much each of those counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_motion import FRAMES, NAMES, PARENTS, take

from noisette.data.motion import MotionData, MotionSpec, load
from noisette.experiment.config import DataConfig
from noisette.metrics import distances
from noisette.tasks import motion_rows
from noisette.tasks.motion import MotionJudge, alike
from noisette.tasks.rows import Row


def people(path: Path, quick: int = 3, count: int = 20) -> MotionData:
    """Walks of ten people, of which one in `quick` is quick; a fifth of the people is held out."""
    made = [take(48, k, k % quick == 0) * (0.8 + 0.04 * (k % 10)) for k in range(count)]
    labels = np.array([("slow", "quick")[k % quick == 0] for k in range(count)])
    subjects = np.array([f"person {k % 10}" for k in range(count)])
    arrays = {"x": np.concatenate(made), "length": np.full(count, 48), "fps": 20.0, "unit": "m"}
    np.savez(path, names=np.array(NAMES), parents=np.array(PARENTS), label=labels, subject=subjects, **arrays)
    return load(MotionSpec(str(path), frames=FRAMES, stride=4, held_out=0.4))


class Told(MotionJudge):
    """A judge whose features are made up: a spread for each class."""

    def real(self, which: str) -> NDArray[np.float64]:
        rows = self.rows(which)
        assert self.data.labels is not None
        return features(self.data.labels[rows])


def features(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    spread = np.array([1.0, 4.0, 30.0])[labels]
    return np.asarray(np.random.default_rng(0).normal(size=(len(labels), 3)) * spread[:, None])


def judge_of(data: MotionData, kind: type[MotionJudge] = MotionJudge) -> MotionJudge:
    return kind(data, DataConfig(source="walks"), "autoencoder")


def named(found: list[Row]) -> dict[str, Row]:
    return {row["metric"]: row for row in found if row["value"] is not None}


def test_people_are_what_counts_where_people_are_held_out(tmp_path: Path) -> None:
    data = people(tmp_path / "people.npz", count=60)
    takes = data.take[data.held_out]
    groups = alike(data, data.held_out)
    assert len(np.unique(groups)) == 4 < len(np.unique(takes))
    assert all(len({data.subjects[t] for t in takes[groups == g]}) == 1 for g in np.unique(groups))
    judge = judge_of(data)
    by_people = named(motion_rows.moves(judge, data.x[data.train], {}))["bone_error"]["detail"]["real"]
    data.info["split"]["by"] = "take"
    assert np.array_equal(alike(data, data.held_out), takes)
    by_takes = named(motion_rows.moves(judge, data.x[data.train], {}))["bone_error"]["detail"]["real"]
    assert by_people[0] == by_takes[0] and by_people[2] - by_people[0] > 2 * (by_takes[2] - by_takes[0])


def test_a_single_person_counts_by_takes(tmp_path: Path) -> None:
    data = people(tmp_path / "people.npz", count=60)
    mine = data.held_out[alike(data, data.held_out) == 0]
    assert np.array_equal(alike(data, mine), data.take[mine]) and len(np.unique(data.take[mine])) > 1


def test_samples_of_even_classes_are_held_against_real_clips_of_even_classes(tmp_path: Path) -> None:
    data = people(tmp_path / "people.npz", quick=6, count=120)
    assert data.labels is not None
    judge, rng = judge_of(data), np.random.default_rng(0)
    of_each = [rng.choice(data.held_out[data.labels[data.held_out] == label], 40) for label in (0, 1)]
    rows = np.stack(of_each, 1).ravel()  # a perfect model, asked for its classes in turn
    even = named(motion_rows.moves(judge, data.x[rows], {}, data.labels[rows]))["speed"]
    plain = named(motion_rows.moves(judge, data.x[rows], {}))["speed"]
    assert plain["detail"]["ratio"][0] > 1.2 and "classes" not in plain["detail"]
    assert even["detail"]["ratio"][0] == pytest.approx(1, abs=0.1) and even["detail"]["classes"] == list(data.classes)
    assert even["n"] == 80 and even["reference_n"] == len(data.held_out)


def test_variety_is_of_the_classes_that_both_have(tmp_path: Path) -> None:
    data = people(tmp_path / "people.npz", quick=12, count=60)
    labels = data.labels
    assert labels is not None
    judge = judge_of(data, Told)
    rows = judge.rows("held_out")
    alone = rows[judge.middles(rows)]
    slow, quick = data.classes.index("slow"), data.classes.index("quick")
    counts = np.bincount(labels[alone])
    assert 2 <= counts[quick] < distances.PAIRED <= counts[slow]
    asked = np.arange(120) % 2
    drawn = features(asked)
    found = named(motion_rows.variety(judge, drawn, asked, {}))
    within, spread = found["multimodality"], found["diversity"]
    assert within["detail"]["classes"] == ["slow"] and within["reference_n"] == counts[slow] and within["n"] == 120
    assert within["value"] == pytest.approx(distances.diversity(drawn[asked == slow]).value)
    assert spread["detail"]["classes"] == list(data.classes) and spread["reference_n"] == len(alone)
    real = judge.real("held_out")[judge.middles(rows)]
    wanted = distances.diversity(real, labels[alone]).value
    assert spread["detail"]["real"][0] == pytest.approx(wanted) != distances.diversity(real).value
    untold = named(motion_rows.variety(judge, drawn, None, {}))
    assert [*untold] == ["diversity"] and untold["diversity"]["detail"]["real"][0] == distances.diversity(real).value
    other = np.full(120, 2)  # a class of which no real clip is held out
    data.classes = (*data.classes, "jump")
    lone = named(motion_rows.variety(judge, features(other), other, {}))
    assert "classes" not in lone["multimodality"]["detail"]

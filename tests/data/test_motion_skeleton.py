"""Skeletons: what they say of themselves, what they refuse, and what positions tell where nobody does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_made import NAMES, PAIRS, PARENTS, SKELETON, body

from noisette.data.motion import infer
from noisette.data.motion.skeleton import Skeleton, load_skeleton, pairs_by_name
from noisette.errors import UserError


def test_what_a_skeleton_says() -> None:
    assert SKELETON.edges == ((0, 1), (0, 2), (0, 3), (2, 4), (3, 5), (4, 6), (5, 7))
    assert SKELETON.edge_array.tolist() == [list(e) for e in SKELETON.edges]
    assert SKELETON.root == 0 and SKELETON.feet == (6, 7)
    assert SKELETON.left_right.tolist() == [0, 1, 3, 2, 5, 4, 7, 6]
    assert SKELETON.path(6) == [6, 4, 2, 0]
    assert SKELETON.children()[0] == [1, 2, 3]
    bare = replace(SKELETON, parents=(), links=SKELETON.edges)
    assert bare.edges == SKELETON.edges and bare.feet == (6, 7)  # by name
    assert replace(SKELETON, names=tuple("abcdefgh")).feet == (6, 7)  # by structure


def test_the_root_is_the_hips_where_one_is_called_so() -> None:
    assert Skeleton(("world", "Hips", "leg"), (-1, 0, 1)).root == 1
    assert Skeleton(("mixamorig:Hips", "left_hip"), (-1, 0)).root == 0
    assert Skeleton(tuple("abcd"), (-1, -1, 1, 1)).root == 1  # the larger of two trees


def test_order_puts_parents_first() -> None:
    backwards = Skeleton(("foot", "knee", "hip"), (1, 2, -1))
    assert backwards.order() == [2, 1, 0]


@pytest.mark.parametrize(
    ("left", "right"),
    [("LeftKnee", "RightKnee"), ("knee_l", "knee_r"), ("L.toe", "R.toe"), ("lhip", "rhip"), ("LElbow", "RElbow"),
     ("ShoulderL", "ShoulderR"), ("left hand 2", "right hand 2"), ("mixamorig:LeftArm", "mixamorig:RightArm")],
)  # fmt: skip
def test_pairs_by_name(left: str, right: str) -> None:
    assert pairs_by_name(["lower", right, "hill", left, "shell"]) == ((3, 1),)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"parents": (-1, 0, 3, 2, 2, 3, 4, 5)}, "run in a circle: l_hip -> r_hip -> l_hip"),
        ({"parents": (0, 0, 0, 0, 2, 3, 4, 5)}, "run in a circle: hips -> hips"),
        ({"parents": (-1, 0, 0, 0, 2, 3, 4, 25)}, '"r_foot" is number 25'),
        ({"parents": (-1, 0)}, "8 joints but 2 parents"),
        ({"parents": (), "links": ((0, 1), (2, 20))}, "names joint 20"),
        ({"parents": (), "links": ((0, 0),)}, 'joins "hips" to itself'),
        ({"names": ("hips",) * 8}, 'names a joint twice: "hips"'),
        ({"pairs": ((2, 3), (3, 4))}, "in two left/right pairs"),
        ({"unit": "metres"}, 'no unit "metres"'),
        ({"fps": 0.0}, "frames a second"),
        ({"up": 3}, "vertical axis"),
    ],
)
def test_refusals(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words.replace("(", r"\(")) as caught:
        replace(SKELETON, **wrong)
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-1, 9), min_size=1, max_size=10))
def test_any_parents_are_a_tree_or_refused(parents: list[int]) -> None:
    names = tuple(f"j{k}" for k in range(len(parents)))
    try:
        skeleton = Skeleton(names, tuple(parents))
    except UserError:
        return
    order = skeleton.order()
    assert all(p < 0 or order.index(p) < order.index(j) for j, p in enumerate(parents))
    back = replace(skeleton, parents=(), links=skeleton.edges).rooted(skeleton.root)
    if skeleton.links or skeleton.edges:
        assert {frozenset(e) for e in back.edges} == {frozenset(e) for e in skeleton.edges}


def test_json_there_and_back(tmp_path: Path) -> None:
    for skeleton in (
        SKELETON,
        replace(SKELETON, up=2, down=True, unit="mm", fps=None),
        replace(SKELETON, parents=(), links=SKELETON.edges, pairs=()),
    ):
        assert Skeleton.from_json(json.loads(json.dumps(skeleton.to_json()))) == skeleton
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"names": NAMES, "parents": PARENTS, "up": "y"}))
    read, fields = load_skeleton(file)
    assert read == replace(SKELETON, fps=None) and "unit" not in fields and "up" in fields
    assert read.pairs == PAIRS  # by their names, as none are given


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "a JSON object"),
        ({"names": ["a"], "bones": []}, 'no field "bones"'),
        ({"names": ["knee", "hip"], "edges": [["hip", "kne"]]}, 'edge names a joint "kne".*did you mean "knee"'),
        ({"names": ["a", "b"], "edges": [[0, 7]]}, "edge names joint 7"),
        ({"names": ["a", "b"], "edges": [[0]]}, "two joints each"),
        ({"names": ["a", "b"], "parents": [-1, "x"]}, 'parent names a joint "x"'),
        ({"names": ["a", "b"], "parents": [1, 0]}, "circle"),
        ({"parents": 3}, '"names" is missing'),
        ({"names": ["a"], "parents": 5}, '"parents" must be a list'),
        ({"edges": [[0, 10**12]]}, "a skeleton of 1000000000001 joints; at most 10000"),
        ({"edges": [[0, float("inf")]]}, '"names" is missing'),
        ({"parents": [-1] * 10_001}, "a skeleton of 10001 joints; at most 10000"),
        ({"names": ["a"], "up": "w"}, '"up" must be an axis'),
        ({"names": ["a"], "fps": "30"}, '"fps" must be a number'),
    ],
)
def test_bad_json(content: Any, words: str, tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"s.json: .*{words}") as caught:
        load_skeleton(file)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such skeleton file"):
        load_skeleton(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="not a readable JSON file"):
        load_skeleton(tmp_path / "broken.json")


# --- what positions tell ---


@pytest.fixture(scope="module")
def poses() -> np.ndarray:
    return infer.sample([body(90, seed=k) for k in range(5)])


@pytest.mark.parametrize("up", [0, 1, 2])
@pytest.mark.parametrize("down", [False, True])
def test_vertical_root_pairs_and_feet_of_unnamed_links(poses: np.ndarray, up: int, down: bool) -> None:
    x = np.roll(poses, up - 1, axis=2)
    x = x * np.where(np.arange(3) == up, -1 if down else 1, 1)
    unnamed = Skeleton(tuple("abcdefgh"), links=SKELETON.edges, unit="")
    found, _ = infer.complete(unnamed, x)
    assert (found.up, found.down, found.root, found.unit) == (up, down, 0, "m")
    assert found.parents == PARENTS and set(found.pairs) == set(PAIRS) and found.feet == (6, 7)


def test_what_is_stated_is_kept(poses: np.ndarray) -> None:
    lying = np.roll(poses, 1, axis=2)
    found, _ = infer.complete(SKELETON, lying, frozenset({"up", "unit"}))
    assert found == SKELETON
    assert infer.complete(SKELETON, lying)[0].up == 2


@pytest.mark.parametrize(("unit", "factor"), [("m", 1), ("cm", 100), ("mm", 1000)])
def test_units(poses: np.ndarray, unit: str, factor: float) -> None:
    found, notes = infer.complete(replace(SKELETON, unit=""), poses * factor)
    assert found.unit == unit and (unit == "m" or any(f"taken to be in {unit}" in n for n in notes))
    for other in ("m", "cm", "mm"):
        kept, notes = infer.complete(replace(SKELETON, unit=other), poses * factor, frozenset({"unit"}))
        assert kept.unit == other
        assert bool(notes) == (other != unit)
        if notes:
            assert "no body has" in notes[0] and f"look like {unit}" in notes[0]


def test_a_size_that_no_body_has(poses: np.ndarray) -> None:
    found, notes = infer.complete(replace(SKELETON, unit=""), poses * 50_000)
    assert found.unit == "" and "no body has" in notes[0]


def test_without_a_skeleton(poses: np.ndarray) -> None:
    found, notes = infer.complete(None, poses)
    assert len(found) == 8 and found.edges == () and found.unit == "m" and "drawn as points" in notes[0]


def test_the_skeletons_of_the_manual() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "motion.md").read_text()
    parents, edges = (Skeleton.from_json(json.loads(b.split("```")[0])) for b in page.split("```json")[1:])
    assert parents.feet == (4, 5) and parents.root == 0 and parents.fps == 30
    assert edges.rooted(edges.root).parents == (-1, 0, 0, 0) and len(edges.pairs) == 1

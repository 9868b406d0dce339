"""Several files as one source, and a skeleton that is given for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motion_made import NAMES, PAIRS, PARENTS, SKELETON, body, refused, same

from noisette.data.motion import MotionSpec, load, read, write


def skeleton_file(path: Path, bom: bool = False, **other: Any) -> str:
    path.write_text(json.dumps({**SKELETON.to_json(), **other}), encoding="utf-8-sig" if bom else "utf-8")
    return str(path)


# --- a skeleton that is given ---


@pytest.mark.parametrize("beside", [False, True])
def test_a_given_skeleton_goes_by_the_names_of_the_file(tmp_path: Path, beside: bool) -> None:
    """BVH lists joints depth first: in another order than the skeleton that they were written with."""
    x = [body(20, k) for k in range(3)]
    write(tmp_path / "clips" / "a.bvh", x, SKELETON)
    assert (plain := read(str(tmp_path / "clips")).skeleton) is not None and plain.names != NAMES
    file = skeleton_file(tmp_path / "clips" / "skeleton.json" if beside else tmp_path / "s.json")
    found = read(str(tmp_path / "clips"), None if beside else file)
    assert found.skeleton == SKELETON and found.notes == []
    for take, clip in zip(found.takes, x, strict=True):
        np.testing.assert_allclose(take.x, clip, atol=1e-4)
        assert take.fps == 30


def test_other_names_are_taken_in_their_order_and_noted(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=body(4), names=[n.upper() for n in NAMES])
    np.savez(tmp_path / "b.npz", x=body(4), parents=PARENTS)
    file = skeleton_file(tmp_path / "s.json")
    found = read(str(tmp_path / "a.npz"), file)
    same(found, [body(4)])
    (note,) = found.notes
    assert '"hips" for "HIPS"' in note and "in the same order" in note
    assert read(str(tmp_path / "b.npz"), file).notes == []  # a file without names has none to differ


def test_a_rate_that_the_given_skeleton_does_not_say(tmp_path: Path) -> None:
    content = {"skeleton": {**SKELETON.to_json(), "fps": 25}, "frames": body(4).tolist()}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read(str(tmp_path / "a.json"), skeleton_file(tmp_path / "s.json", fps=None)).takes[0].fps == 25
    assert read(str(tmp_path / "a.json"), skeleton_file(tmp_path / "s.json", fps=50)).takes[0].fps == 50


def test_a_skeleton_beside_the_files_that_does_not_fit_is_noted(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", body(20))
    few = {"names": list(NAMES[:7]), "parents": list(PARENTS[:7]), "pairs": PAIRS[:2]}
    skeleton_file(tmp_path / "skeleton.json", **few)
    notes = load(MotionSpec(str(tmp_path), frames=16)).info["notes"]
    assert "skeleton.json is a skeleton of 7 joints, but the takes have 8: not used" in notes


def test_a_skeleton_with_a_mark_in_front(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", body(4))
    file = skeleton_file(tmp_path / "skeleton.json", bom=True)
    assert read(str(tmp_path)).skeleton == SKELETON and read(str(tmp_path)).skipped == []
    assert read(str(tmp_path / "a.npy"), file).skeleton == SKELETON


def test_a_skeleton_of_nothing_but_brackets(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", body(4))
    (tmp_path / "s.json").write_text("[" * 100_000)
    refused("s.json: not a readable JSON file", str(tmp_path / "a.npy"), str(tmp_path / "s.json"))
    assert [s["file"] for s in read(str(tmp_path)).skipped] == ["s.json"]

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


# --- files that differ ---


def folder(path: Path, x: list[np.ndarray], **told: list[Any]) -> str:
    """A folder of a JSON file for each take, with fields of its skeleton; None leaves the field out."""
    path.mkdir(exist_ok=True)
    for k, clip in enumerate(x):
        fields: dict[str, Any] = {"names": NAMES, "parents": PARENTS}
        fields |= {key: values[k] for key, values in told.items() if values[k] is not None}
        (path / f"{k}.json").write_text(json.dumps({"skeleton": fields, "frames": clip.tolist()}))
    return str(path)


def test_files_in_different_units_are_scaled(tmp_path: Path) -> None:
    x = [body(20, k) for k in range(3)]
    units = ["cm", "m", "px"]
    found = read(folder(tmp_path, [x[0] * 100, x[1], x[2]], unit=units))
    assert found.skeleton is not None and found.skeleton.unit == "cm" and "unit" in found.stated
    assert len(found.takes) == 2
    for take, clip in zip(found.takes, x, strict=False):
        np.testing.assert_allclose(take.x, clip * 100, rtol=1e-6)
    assert found.notes == ["1 of 3 files are in another unit than cm: scaled to cm"]
    assert found.skipped == [{"file": "2", "reason": "it is in px, where others are in cm"}]


def test_bodies_of_different_sizes_are_noted_where_no_unit_is_stated(tmp_path: Path) -> None:
    x = [body(20), body(20, 1) * 100]
    (note,) = read(folder(tmp_path / "a", x, unit=[None, None])).notes
    assert "a body measures" in note and " in 0 and " in note and " in 1, " in note
    assert read(folder(tmp_path / "b", x, unit=["m", "cm"])).notes == [
        "1 of 2 files are in another unit than m: scaled to m"
    ]
    assert read(folder(tmp_path / "c", [x[0], x[1] / 50], unit=[None, None])).notes == []


def test_files_on_different_vertical_axes_are_turned(tmp_path: Path) -> None:
    x = body(20)
    views = {"-z": x[..., [0, 2, 1]], "y": x, "z": x[..., [2, 0, 1]], "x": x[..., [1, 2, 0]], "-y": x * [1, -1, -1]}
    views["-z"][..., 2] *= -1
    found = read(folder(tmp_path, list(views.values()), up=list(views)))
    assert found.skeleton is not None and (found.skeleton.up, found.skeleton.down) == (2, True)
    for take in found.takes[1:]:  # as the first one stands, but for a turn about the vertical
        assert np.linalg.det(np.linalg.lstsq(found.takes[0].x.reshape(-1, 3), take.x.reshape(-1, 3), rcond=None)[0]) > 0
        np.testing.assert_array_equal(take.x[..., 2], found.takes[0].x[..., 2])
        own, first = (np.linalg.norm(np.diff(t.x, axis=0), axis=-1) for t in (take, found.takes[0]))
        np.testing.assert_allclose(own, first, atol=1e-6)
    assert found.notes == ["4 of 5 files have another vertical axis than the first: turned to its"]


def test_flat_files_whose_vertical_axis_points_down(tmp_path: Path) -> None:
    x = body(20)[..., :2]
    found = read(folder(tmp_path, [x, x * [1, -1]], up=["y", "-y"]))
    same(found, [x, x])


def test_every_file_keeps_the_rate_that_its_skeleton_states(tmp_path: Path) -> None:
    source = folder(tmp_path, [body(61), body(31), body(31)], fps=[60, 30, None])
    found = read(source)
    assert [t.fps for t in found.takes] == [60, 30, None]
    data = load(MotionSpec(source, frames=16, stride=15, centre="world", held_out=0))
    assert data.info["fps_before"] == [30, 45, 60] and data.fps == 45
    assert any("1 of 3 takes do not say" in n for n in data.info["notes"])

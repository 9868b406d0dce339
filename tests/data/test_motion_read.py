"""Every form in which motion is read, and every form in which it cannot be."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motion_made import NAMES, PAIRS, PARENTS, SKELETON, body, npz, takes

from noisette.data.motion import is_motion, read, write
from noisette.data.motion.takes import Recording
from noisette.errors import UserError


def refused(words: str, *args: Any, **more: Any) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read(*args, **more)
    assert "\n" not in str(caught.value)


def same(found: Recording, expected: list[np.ndarray]) -> None:
    assert [t.x.shape for t in found.takes] == [x.shape for x in expected]
    for take, x in zip(found.takes, expected, strict=True):
        assert take.x.dtype == np.float32
        np.testing.assert_array_equal(take.x, x)


# --- npz and npy ---


def test_npz_with_lengths_and_all_that_stands_beside(tmp_path: Path) -> None:
    path = npz(
        tmp_path / "a.npz", [9, 5, 7], action=[3, 1, 3], subject=[1, 2, 2], clip=["u", "v", "w"], pairs=PAIRS, up=1
    )
    found = read(path)
    same(found, takes([9, 5, 7]))
    assert [t.name for t in found.takes] == ["u", "v", "w"]
    assert [t.label for t in found.takes] == ["3", "1", "3"] and [t.subject for t in found.takes] == ["1", "2", "2"]
    assert found.skeleton is not None and found.skeleton.parents == PARENTS and found.skeleton.pairs == PAIRS
    assert found.stated == {"unit", "up"} and found.takes[0].fps == 30


def test_class_names_and_a_rate_for_each(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [9, 5], label=[1, 0], classes=["walk", "run"], fps=[30.0, 60.0])
    assert [(t.label, t.fps) for t in read(path).takes] == [("run", 30), ("walk", 60)]
    path = npz(tmp_path / "b.npz", [9, 5], skeleton=False, dt=np.float32([0.016666, 1 / 30]))
    assert [t.fps for t in read(path).takes] == [60, 30]


def test_edges_without_an_order(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [9], skeleton=False, edges=np.uint8(SKELETON.edge_array))
    skeleton = read(path).skeleton
    assert skeleton is not None and not skeleton.parents and skeleton.edges == SKELETON.edges


def test_one_array_a_take(tmp_path: Path) -> None:
    a, b = takes([9, 5])
    np.savez(tmp_path / "a.npz", jump_1=a, jump_2=b, fps=20)
    found = read(str(tmp_path / "a.npz"))
    same(found, [a, b])
    assert [(t.name, t.fps) for t in found.takes] == [("jump_1", 20), ("jump_2", 20)]


def test_one_array_a_take_and_what_stands_beside(tmp_path: Path) -> None:
    a, b = takes([9, 5])
    np.savez(tmp_path / "a.npz", action=a, jump_2=b, **{"class": ["run", "jump"]}, subject=[7, 8], dt=[0.05, 0.1])
    u, v = read(str(tmp_path / "a.npz")).takes
    assert (u.name, u.label, u.subject, u.fps) == ("action", "run", "7", 20)
    assert (v.name, v.label, v.subject, v.fps) == ("jump_2", "jump", "8", 10)
    np.savez(tmp_path / "b.npz", u=a, v=b, label=["walk"] * 3)
    refused("3 values of `label` for 2 takes", str(tmp_path / "b.npz"))


@pytest.mark.parametrize("label", ["label", "action", "class", "activity"])
@pytest.mark.parametrize(("key", "value"), [("fps", 50), ("rate", 50), ("dt", 0.02), ("frame_time", 0.02)])
def test_every_reader_knows_the_same_names(tmp_path: Path, label: str, key: str, value: float) -> None:
    rows: list[dict[str, Any]] = [{"a_x": k, "a_y": 1, label: "walk", "person": "s", key: value} for k in range(3)]
    points, facts = [[[k, 1]] for k in range(3)], {label: "walk", "person": "s", key: value}
    np.savez(tmp_path / "a.npz", x=np.array(points, float), **{k: np.array(v) for k, v in facts.items()})
    lines = [",".join(rows[0]), *(",".join(map(str, r.values())) for r in rows)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    for name, content in (
        ("rows", rows),
        ("frames", {"frames": points, **facts}),
        ("inner", {"clips": [{"rows": rows}]}),
        ("clips", {"clips": [{"frames": points, label: "walk"}], "person": "s", key: value}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    for name in ("a.npz", "a.csv", "rows.json", "frames.json", "inner.json", "clips.json"):
        (take,) = read(str(tmp_path / name)).takes
        assert (take.label, take.subject, take.fps) == ("walk", "s", 50), name
        assert take.x[:, 0].tolist() == [[0, 1], [1, 1], [2, 1]], name


def test_four_dimensions(tmp_path: Path) -> None:
    x = np.stack(takes([6, 6, 6]))
    np.savez(tmp_path / "a.npz", clips=x)
    same(read(str(tmp_path / "a.npz")), list(x))
    np.savez(tmp_path / "b.npz", clips=x, length=[6, 2, 4])
    same(read(str(tmp_path / "b.npz")), [x[0], x[1][:2], x[2][:4]])
    np.save(tmp_path / "a.npy", x)
    same(read(str(tmp_path / "a.npy")), list(x))
    np.save(tmp_path / "b.npy", x[0, :, :, :2].astype(np.float64))
    same(read(str(tmp_path / "b.npy")), [x[0, :, :, :2]])


def test_flat_frames_with_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=body(6).reshape(6, 24), names=NAMES)
    same(read(str(tmp_path / "a.npz")), [body(6)])
    np.savez(tmp_path / "b.npz", x=body(6).reshape(6, 24))
    refused("does not say what is a joint", str(tmp_path / "b.npz"))


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ({"length": [9, 6]}, "adds up to 15 frames, but there are 14"),
        ({"length": [14, 0]}, "whole numbers from 1"),
        ({"names": ["a", "b"]}, "2 names for 8 joints"),
        ({"parents": [1, 0, 0, 0, 2, 3, 4, 5]}, "circle"),
        ({"parents": [-1, 0, 0, 0, 2, 3, 4, 9]}, "names joint 9"),
        ({"subject": [1, 2, 3]}, "3 values of `subject` for 2 takes"),
        ({"label": [0, 5], "classes": ["a", "b"]}, "do not fit 2 class names"),
        ({"fps": -1}, "above 0"),
        ({"fps": "fast"}, "must be numbers"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, beside: dict[str, Any], words: str) -> None:
    refused(words, npz(tmp_path / "a.npz", [9, 5], **beside))


def test_missing_joints_of_edges(tmp_path: Path) -> None:
    refused("edge names joint 20", npz(tmp_path / "a.npz", [9], skeleton=False, edges=[[0, 20]]))


def test_arrays_that_are_not_motion(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", other=np.zeros(3))
    refused(r"no motion under .*it holds other \(3,\)", str(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", a=body(4), b=body(4)[:, :5])
    refused("b has 5 joints of 3 coordinates, a has 8 of 3", str(tmp_path / "b.npz"))
    ragged = np.array([body(3), body(4)], dtype=object)
    np.savez(tmp_path / "c.npz", x=ragged)
    refused("Python objects", str(tmp_path / "c.npz"))
    np.save(tmp_path / "c.npy", ragged)
    refused("Python objects", str(tmp_path / "c.npy"))
    np.save(tmp_path / "d.npy", np.zeros((5, 4, 4, 7)))
    refused("is not motion", str(tmp_path / "d.npy"))
    np.save(tmp_path / "e.npy", np.zeros((0, 4, 3)))
    refused("no frame in it", str(tmp_path / "e.npy"))
    for name in ("f.npz", "f.npy"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not one")
        refused("not a readable", str(tmp_path / name))


# --- tables ---


@pytest.mark.parametrize("form", ["{}_{}", "{}.{}", "{} {}", "{}:{}", "{}({})"])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_by_their_endings(tmp_path: Path, form: str, upper: bool, delimiter: str) -> None:
    x = body(5)
    axes = "XYZ" if upper else "xyz"
    head = delimiter.join(["frame", *(form.format(n, a) for n in NAMES for a in axes)])
    rows = [delimiter.join([str(k), *(repr(float(v)) for v in f.reshape(-1))]) for k, f in enumerate(x)]
    (tmp_path / "a.csv").write_text("\n".join([head, *rows]))
    found = read(str(tmp_path / "a.csv"))
    same(found, [x])
    assert found.skeleton is not None and found.skeleton.names == NAMES and found.skeleton.pairs == PAIRS


def test_clips_labels_and_times_in_a_table(tmp_path: Path) -> None:
    lines = ["clip,label,subject,time,a_x,a_y,b_x,b_y"]
    for k, (clip, label) in enumerate([("u", "walk"), ("u", "walk"), ("v", "run"), ("v", "run"), ("v", "run")]):
        lines.append(f"{clip},{label},s{clip},{k / 50},{k},1,{k}.5,")
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n\n")
    u, v = read(str(tmp_path / "a.csv")).takes
    assert (u.name, u.label, u.subject, u.fps, u.x.shape) == ("u", "walk", "su", 50, (2, 2, 2))
    assert v.x[:, 0, 0].tolist() == [2, 3, 4] and np.isnan(v.x[:, 1, 1]).all()


def test_words_that_end_like_a_coordinate(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("index,activity,BODY,a_x,a_y\n0,walk,9,1,2\n1,walk,9,3,4\n")
    found = read(str(tmp_path / "a.csv"))
    assert found.skeleton is not None and found.skeleton.names == ("a",) and found.takes[0].label == "walk"


def test_columns_that_are_listed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,p,q,r,s,t,u\n0,1,2,3,4,5,6\n1,7,8,9,10,11,12\n")
    refused("no columns such as hip_x", str(tmp_path / "a.csv"))
    x = read(str(tmp_path / "a.csv"), columns=("s", "t", "u", "p", "q", "r")).takes[0].x
    assert x.tolist() == [[[4, 5, 6], [1, 2, 3]], [[10, 11, 12], [7, 8, 9]]]
    assert read(str(tmp_path / "a.csv"), columns=("p", "q", "r", "s")).takes[0].x.shape == (2, 2, 2)
    refused('no column "w"', str(tmp_path / "a.csv"), columns=("w",))
    refused("5 columns listed", str(tmp_path / "a.csv"), columns=tuple("pqrst"))


def test_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a_x;a_y\n0,5;1\n-1,25;2,5\n")
    assert read(str(tmp_path / "a.csv")).takes[0].x.tolist() == [[[0.5, 1]], [[-1.25, 2.5]]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a_x,a_y\n1,2\n3\n", "line 3: 1 cells, but 2 columns"),
        ("a_x,a_y\n1,2\n3,four\n", 'line 3: "four" under a_y'),
        ("a_x,a_y,a_x\n1,2,3\n", 'two columns are called "a_x"'),
        ("a_x,a_y,b_x,b_y,b_z\n1,2,3,4,5\n", '"a" has x, y only'),
        ("a_x,a_z\n1,2\n", '"a" has x, z only'),
        ("a_x,a_y,knee_x\n1,2,3\n", '"knee" has x only'),
        ("aX,aY,kneeY\n1,2,3\n", '"knee" has y only'),
        ("a_x,a_y,fps\n1,2,-3\n", '"fps" must be above 0'),
        ("a_x,a_y,dt\n1,2,0\n", '"dt" must be above 0'),
        ("a_x,a_y\n", "no frame in it"),
        ("", "must name the columns"),
        ("\x00\xff", "table|columns"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    refused(words, str(tmp_path / "a.csv"))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x81")
    refused("not a text file", str(tmp_path / "a.csv"))


# --- JSON ---


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x.tolist(),
        lambda x: {"frames": x.tolist()},
        lambda x: {"clips": [{"frames": x.tolist()}]},
        lambda x: [x.tolist()],
        lambda x: [dict(zip(NAMES, f, strict=True)) for f in x.tolist()],
        lambda x: [{f"{n}_{a}": f[j][k] for j, n in enumerate(NAMES) for k, a in enumerate("xyz")} for f in x.tolist()],
        lambda x: {
            "columns": [f"{n}.{a}" for n in NAMES for a in "xyz"],
            "rows": x.reshape(len(x), -1).tolist(),
        },
    ],
)
def test_every_form_of_json(tmp_path: Path, wrap: Any) -> None:
    x = body(6)
    (tmp_path / "a.json").write_text(json.dumps(wrap(x)))
    same(read(str(tmp_path / "a.json")), [x])


def test_json_with_gaps_facts_and_a_skeleton(tmp_path: Path) -> None:
    x = body(3).tolist()
    x[1][4] = None
    x[2][0] = [None, 1.0, 2.0]
    content = {"skeleton": SKELETON.to_json(), "fps": 25, "clips": [{"frames": x, "label": "walk", "name": "u"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = read(str(tmp_path / "a.json"))
    (take,) = found.takes
    assert found.skeleton == SKELETON and "unit" in found.stated
    assert (take.label, take.name, take.fps) == ("walk", "u", 25)
    assert np.isnan(take.x).sum() == 4 and np.isnan(take.x[1, 4]).all()


def test_json_rows_are_cut_like_a_table(tmp_path: Path) -> None:
    rows = [
        {"clip": c, "label": n, "time": k / 50, "hip": [k, 1], "knee": None if k == 0 else [k, 0]}
        for k, (c, n) in enumerate([("u", "walk"), ("u", "walk"), ("v", 7), ("v", 7), ("v", 7)])
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    u, v = read(str(tmp_path / "a.json")).takes
    assert (u.name, u.label, u.fps, u.x.shape) == ("u", "walk", 50, (2, 2, 2)) and np.isnan(u.x[0, 1]).all()
    assert (v.name, v.label, v.fps) == ("v", "7", 50) and v.x[:, 0, 0].tolist() == [2, 3, 4]
    (tmp_path / "b.json").write_text(
        json.dumps({"clips": [{"rows": rows[:2], "label": "run", "fps": 20, "subject": 3}]})
    )
    (take,) = read(str(tmp_path / "b.json")).takes
    assert (take.label, take.fps, take.subject) == (
        "walk",
        50,
        "3",
    )  # the rows first, the clip for what they do not say


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a readable JSON"),
        ("[]", "no frame in it"),
        ('{"a": 1}', 'has no "frames"'),
        ('{"clips": []}', "at least one clip"),
        ('{"names": ["a"], "parents": [-1]}', "a skeleton and no motion"),
        ("[[[1,2,3],[1,2,3]],[[1,2,3]]]", "1 to 2 joints"),
        ("[[[1,2,3],[1,2]]]", "2 or 3 numbers"),
        ('[[["a",2,3]]]', "2 or 3 numbers"),
        ("[[[1,2,3,4]]]", "is not motion"),
        ("[1, 2]", "is not motion"),
        ('{"frames": [[[1,2,3]]], "fps": "x"}', '"fps" must be a number'),
        ('{"frames": [[[1,2,3]]], "rate": 0}', '"fps" must be above 0'),
        ('{"frames": [[[1,2,3]]], "fps": 1' + "0" * 400 + "}", '"fps" must be above 0'),
        ('{"frames": [[[1,2,1' + "0" * 400 + "]]]}", "2 or 3 numbers"),
        ('{"frames": [[[1,2,3]]], "label": ["a"]}', '"label" must be a text or a number'),
        ('[{"a_x": 1, "a_y": 2, "time": "noon"}]', '"time" must be a number'),
        ('[{"a_x": 1, "a_y": 2, "b_x": 1}]', '"b" has x only'),
        ('{"columns": 5, "rows": [[1, 2]]}', '"columns" must be a list of texts'),
        ('{"columns": ["a_x", 5], "rows": [[1, 2]]}', '"columns" must be a list of texts'),
        ('{"columns": ["a_x", "a_y"], "rows": [[1]]}', "1 numbers a row, but 2 columns"),
        ('{"clips": [{"frames": [[[1,2,3]]]}, {"frames": [[[1,2,3],[1,2,3]]]}]}', "2 joints of 3 .*1 of 3"),
        ('{"skeleton": {"names": ["a", "b"]}, "frames": [[[1,2,3]]]}', "skeleton has 2 joints, its frames 1"),
        ("[" * 100_000, "not a readable JSON"),
    ],
)
def test_bad_json(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.json").write_text(content)
    refused(words, str(tmp_path / "a.json"))


# --- folders and sources ---


def test_a_folder_with_classes_and_bad_files_among_good_ones(tmp_path: Path) -> None:
    for k, (label, name) in enumerate([("walk", "w2"), ("walk", "w10"), ("run", "r")]):
        (tmp_path / label).mkdir(exist_ok=True)
        np.save(tmp_path / label / f"{name}.npy", body(5, k))
    np.save(tmp_path / "run" / "seven.npy", body(5)[:, :7])
    (tmp_path / "run" / "broken.bvh").write_text("HIERARCHY\nnonsense")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "skeleton.json").write_text(json.dumps(SKELETON.to_json()))
    found = read(str(tmp_path))
    assert [(t.name, t.label) for t in found.takes] == [("run/r", "run"), ("walk/w2", "walk"), ("walk/w10", "walk")]
    assert {s["file"]: s["reason"] for s in found.skipped} == {
        "run/broken.bvh": 'line 2: ROOT should stand where "nonsense" does',
        "run/seven": "7 joints of 3 coordinates, where most have 8 of 3",
    }
    assert found.ignored == 1 and found.skeleton == SKELETON and "unit" in found.stated


def test_joints_in_another_order_are_put_in_order(tmp_path: Path) -> None:
    x, order = body(4), [3, 0, 1, 2, 7, 6, 5, 4]
    np.savez(tmp_path / "a.npz", x=x, names=NAMES)
    np.savez(tmp_path / "b.npz", x=x[:, order], names=[NAMES[k] for k in order])
    np.savez(tmp_path / "c.npz", x=x, names=[n + "_" for n in NAMES])
    found = read(str(tmp_path))
    same(found, [x, x])
    assert found.skipped == [{"file": "c", "reason": "its joints have other names than those of most files"}]


def test_sources_that_are_none(tmp_path: Path) -> None:
    refused("no such file or folder", str(tmp_path / "none.npz"))
    refused("no motion in it", str(tmp_path))
    (tmp_path / "a.txt").write_text("x")
    refused(r"no motion in it \(1 other files\)", str(tmp_path))
    refused("not a kind of file", str(tmp_path / "a.txt"))
    (tmp_path / "a.bvh").write_text("x")
    refused("1 files and none can be read", str(tmp_path))


def test_a_skeleton_of_the_callers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", body(4))
    (tmp_path / "s.json").write_text(json.dumps(SKELETON.to_json()))
    assert read(str(tmp_path / "a.npy"), str(tmp_path / "s.json")).skeleton == SKELETON
    (tmp_path / "t.json").write_text(json.dumps({"names": ["a", "b"]}))
    refused("a skeleton of 2 joints, but .* has 8", str(tmp_path / "a.npy"), str(tmp_path / "t.json"))


def test_what_is_motion_and_what_is_not(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", body(4))
    np.save(tmp_path / "i.npy", np.zeros((4, 8, 8, 3), np.uint8))
    npz(tmp_path / "m.npz", [4])
    np.savez(tmp_path / "i.npz", x=np.zeros((4, 8, 8), np.uint8))
    (tmp_path / "a.bvh").write_text("x")
    (tmp_path / "a.png").write_text("x")
    (tmp_path / "bad.npz").write_text("x")
    told = {n: is_motion(str(tmp_path / n)) for n in ("m.npy", "i.npy", "m.npz", "i.npz", "a.bvh", "a.png", "bad.npz")}
    assert told == {"m.npy": 1, "i.npy": 0, "m.npz": 1, "i.npz": 0, "a.bvh": 1, "a.png": 0, "bad.npz": 0}
    for name, x, motion in (
        ("square", np.random.default_rng(0).normal(size=(9, 8, 8, 3)), False),
        ("wide", np.random.default_rng(0).random((9, 8, 12, 3)), False),
        ("clips", np.stack(takes([12, 12])), True),
        ("flat", np.stack(takes([8, 8]))[..., :2], True),
        ("grey", np.random.default_rng(0).random((9, 8, 12)), False),
    ):
        np.save(tmp_path / f"{name}.npy", x)
        assert is_motion(str(tmp_path / f"{name}.npy")) == motion, name
    np.savez(tmp_path / "each.npz", walk=body(4), run=body(5))  # one array a take, called as each likes
    assert is_motion(str(tmp_path / "each.npz"))
    assert is_motion("motion") and not is_motion("digits")
    assert not is_motion(str(tmp_path))  # a.png
    (tmp_path / "a.png").unlink()
    assert is_motion(str(tmp_path))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    assert not is_motion(str(pictures))
    (pictures / "labels.csv").write_text("file,label\n1.jpg,cat\n")
    (pictures / "1.jpg").write_text("x")
    assert not is_motion(str(pictures))


def test_what_a_file_is_costs_its_head_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 8, 8, 3), np.uint8))
    np.savez_compressed(tmp_path / "b.npz", x=np.random.default_rng(0).normal(size=(1000, 8, 9, 3)))
    unpacked = 0
    read_some = zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        nonlocal unpacked
        content = read_some(self, n)
        unpacked += len(content)
        return content

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    assert not is_motion(str(tmp_path / "a.npz")) and 0 < unpacked < 1000
    assert is_motion(str(tmp_path / "b.npz")) and unpacked < 100 * 8 * 9 * 3 * 8 + 2000


# --- whatever happens to a file ---


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".json", ".csv", ".bvh"])
def test_a_damaged_file_is_one_line_or_still_motion(tmp_path: Path, suffix: str) -> None:
    (whole,) = write(tmp_path / f"whole{suffix}", [body(12)], SKELETON)
    good, damaged, rng, told = whole.read_bytes(), tmp_path / f"a{suffix}", np.random.default_rng(1), 0
    for _ in range(60):
        content = bytearray(good)
        for _ in range(int(rng.integers(1, 6))):
            at = int(rng.integers(len(content)))
            if rng.random() < 0.5:
                content[at] = int(rng.integers(256))
            elif rng.random() < 0.5:
                del content[at : at + int(rng.integers(1, 200))]
            else:
                content[at:at] = [b"NaN", b"null", b"1e999", b"{", b"\xff", b"-"][int(rng.integers(6))]
        damaged.write_bytes(content)
        is_motion(str(damaged))
        try:
            assert all(np.isfinite(t.x).all() or np.isnan(t.x).any() for t in read(str(damaged)).takes)
        except UserError as error:
            told += 1
            assert "\n" not in str(error) and "a" + suffix in str(error)
    assert told > 5


# --- there and back ---


@pytest.mark.parametrize("suffix", [".npz", ".json", ".csv"])
@pytest.mark.parametrize("dims", [2, 3])
def test_written_files_read_back_bit_for_bit(tmp_path: Path, suffix: str, dims: int) -> None:
    x = [body(n, k, dims=dims) * np.float32(np.pi) for k, n in enumerate((5, 9))]
    paths = write(tmp_path / f"out/a{suffix}", x, SKELETON, labels=["walk", "run"], names=["u", "v"])
    found = read(str(paths[0]))
    same(found, x)
    assert [(t.name, t.label, t.fps) for t in found.takes] == [("u", "walk", 30), ("v", "run", 30)]
    assert found.skeleton is not None and found.skeleton.names == NAMES and found.skeleton.pairs == PAIRS
    if suffix != ".csv":
        assert found.skeleton.parents == PARENTS and found.skeleton.unit == "m" and found.stated >= {"unit", "up"}


def test_writing_npy_and_what_cannot_be_written(tmp_path: Path) -> None:
    x = np.stack(takes([5, 5]))
    write(tmp_path / "a.npy", x, SKELETON)
    same(read(str(tmp_path / "a.npy")), list(x))
    with pytest.raises(UserError, match="clips of one length"):
        write(tmp_path / "b.npy", takes([5, 6]), SKELETON)
    with pytest.raises(UserError, match="written as"):
        write(tmp_path / "b.fbx", x, SKELETON)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "file" / "b.npz", x, SKELETON)
    with pytest.raises(ValueError, match="as many joints"):
        write(tmp_path / "b.npz", x[:, :, :3], SKELETON)

"""Motion in tables and in JSON, in every form in which it is read and every form in which it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motion_made import NAMES, PAIRS, SKELETON, body, refused, same

from noisette.data.motion import read

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


@pytest.mark.parametrize("kind", ["label", "person", "time"])
def test_rows_without_a_clip_are_cut_where_something_else_changes(tmp_path: Path, kind: str) -> None:
    values: list[Any] = [0, 0.02, 0.04, 0, 0.02] if kind == "time" else ["u", "u", "u", "v", "v"]
    rows = [{kind: value, "a_x": k, "a_y": 1} for k, value in enumerate(values)]
    (tmp_path / "a.csv").write_text("\n".join([f"{kind},a_x,a_y", *(f"{r[kind]},{r['a_x']},1" for r in rows)]))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    for name in ("a.csv", "a.json"):
        u, v = read(str(tmp_path / name)).takes
        assert u.x[:, 0, 0].tolist() == [0, 1, 2] and v.x[:, 0, 0].tolist() == [3, 4]
        assert (u.name, v.name) == ("a #0", "a #1")
        told = {"label": u.label, "person": u.subject, "time": u.fps}
        assert told == {"label": None, "person": None, "time": None} | {kind: 50 if kind == "time" else "u"}


def test_words_that_end_like_a_coordinate(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("index,activity,BODY,a_x,a_y\n0,walk,9,1,2\n1,walk,9,3,4\n")
    found = read(str(tmp_path / "a.csv"))
    assert found.skeleton is not None and found.skeleton.names == ("a",) and found.takes[0].label == "walk"


def test_columns_that_are_listed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,p,q,r,s,v,u,w\n0,1,2,3,4,5,6,0\n1,7,8,9,10,11,12,0\n")
    refused("no columns such as hip_x", str(tmp_path / "a.csv"))
    x = read(str(tmp_path / "a.csv"), columns=("s", "v", "u")).takes[0].x
    assert x.tolist() == [[[4, 5, 6]], [[10, 11, 12]]]
    assert read(str(tmp_path / "a.csv"), columns=("p", "q", "r", "s")).takes[0].x.shape == (2, 2, 2)
    refused('no column "z"', str(tmp_path / "a.csv"), columns=("z",))
    refused("5 columns listed", str(tmp_path / "a.csv"), columns=tuple("pqrsv"))
    refused(
        "6 columns .* 3 joints of 2 .* 2 of 3; names such as hip_x", str(tmp_path / "a.csv"), columns=tuple("pqrsvu")
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_listed_columns_whose_names_begin_with_their_axis(tmp_path: Path, dims: int) -> None:
    """Six columns are two joints or three: the names say which."""
    joints = NAMES[: 6 // dims]
    columns = [f"{axis}_{joint}" for axis in "XYZ"[:dims] for joint in joints]
    (tmp_path / "a.csv").write_text(",".join(["n", *columns]) + "\n0,1,2,3,4,5,6\n")
    found = read(str(tmp_path / "a.csv"), columns=columns)
    assert found.skeleton is not None and found.skeleton.names == joints
    assert found.takes[0].x[0].tolist() == np.arange(1, 7).reshape(dims, -1).T.tolist()
    refused('"hips" has y', str(tmp_path / "a.csv"), columns=columns[1:])


def test_times_in_milliseconds_are_no_seconds(tmp_path: Path) -> None:
    rows = [{"timestamp": round(k * 33.333), "a_x": k, "a_y": 1} for k in range(5)]
    (tmp_path / "a.csv").write_text("\n".join(["timestamp,a_x,a_y", *(f"{r['timestamp']},0,1" for r in rows)]))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.csv").write_text("dt,a_x,a_y\n33.3,0,1\n33.3,0,2\n")
    np.savez(tmp_path / "a.npz", x=body(5), dt=[33.3])
    for name in ("a.csv", "a.json", "b.csv", "a.npz"):
        refused("seconds from one frame to the next; are they milliseconds", str(tmp_path / name))
    (tmp_path / "c.csv").write_text("time,a_x,a_y\n0,0,1\n1,0,2\n")
    assert read(str(tmp_path / "c.csv")).takes[0].fps == 1


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

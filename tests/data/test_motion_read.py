"""Every form of arrays and folders in which motion is read, and every form in which it cannot be."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motion_made import NAMES, PAIRS, PARENTS, SKELETON, body, npz, refused, same, takes

from noisette.data.motion import is_motion, read, write
from noisette.errors import UserError

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


@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_class_names_of_whole_numbers_of_any_type(tmp_path: Path, kind: Any) -> None:
    path = npz(tmp_path / "a.npz", [9, 5], label=np.array([1, 0], kind), classes=["walk", "run"])
    assert [t.label for t in read(path).takes] == ["run", "walk"]


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
        ({"up": []}, "a.npz: `up` is empty"),
        ({"unit": np.array([], str)}, "a.npz: `unit` is empty"),
        ({"up": b"w"}, '"up" must be an axis .* not "w"'),
        ({"parents": np.array([b"hips"] * 8)}, "joint's name or number"),
        ({"fps": 1e5}, "a.npz: 100000 frames a second, more than 10000"),
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
    np.save(tmp_path / "many.npy", np.zeros((2, 20_000, 3)))
    refused("20000 joints; at most 10000", str(tmp_path / "many.npy"))
    np.save(tmp_path / "e.npy", np.zeros((0, 4, 3)))
    refused("no frame in it", str(tmp_path / "e.npy"))
    for name in ("f.npz", "f.npy"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not one")
        refused("not a readable", str(tmp_path / name))


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
    for name, shape, dtype, motion in (
        ("points", (30, 17, 2), np.int64, True), ("takes", (4, 30, 17, 2), np.uint16, True),
        ("rgb", (4, 30, 17, 3), np.uint8, False), ("grey", (30, 17, 28), np.uint8, False),
    ):  # fmt: skip
        x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        np.save(tmp_path / f"{name}.npy", x)
        np.savez(tmp_path / f"{name}.npz", x=x)
        np.savez(tmp_path / f"{name}-beside.npz", images=np.zeros((4, 8, 8), np.uint8), landmarks=x)
        assert is_motion(str(tmp_path / f"{name}.npy")) == is_motion(str(tmp_path / f"{name}.npz")) == motion, name
        assert not is_motion(str(tmp_path / f"{name}-beside.npz")), name
    assert read(str(tmp_path / "points.npy")).takes[0].x[0, :2].tolist() == [[0, 1], [2, 3]]
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


@pytest.mark.parametrize(("up", "down"), [(2, False), (1, True), (0, False)])
def test_a_table_says_which_axis_is_vertical_where_it_is_not_y(tmp_path: Path, up: int, down: bool) -> None:
    write(tmp_path / "a.csv", [body(5)], replace(SKELETON, up=up, down=down))
    found = read(str(tmp_path / "a.csv"))
    same(found, [body(5)])
    assert found.skeleton is not None and (found.skeleton.up, found.skeleton.down) == (up, down)
    assert found.stated == {"up"}
    (tmp_path / "b.csv").write_text("up,a_x,a_y\n0,1,2\n1,3,4\n")  # whatever that is
    assert read(str(tmp_path / "b.csv")).stated == frozenset()


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

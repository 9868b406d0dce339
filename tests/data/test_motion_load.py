"""From a source to clips: what is asked for, what comes, what never leaks, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from motion_made import NAMES, PAIRS, PARENTS, SKELETON, body, npz, takes

from noisette.data.motion import MotionData, MotionSpec, load
from noisette.errors import UserError


def refused(words: str, **spec: Any) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load(MotionSpec(**spec))
    assert "\n" not in str(caught.value)


# --- the specification ---


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"frames": 3}, "frames must be from 4 to 4096"),
        ({"frames": 5000}, "frames must be from 4 to 4096"),
        ({"stride": 0}, "stride must be from 1"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"fps": 0.5}, "fps must be from 1 to 1000"),
        ({"centre": "rot"}, 'no centre "rot".*did you mean "root"'),
        ({"short": "hld"}, 'did you mean "hold"'),
        ({"held_out": 1.0}, "held_out is a share"),
        ({"seed": -1}, "seed must not be negative"),
        ({"rotate": 200}, "rotate is in degrees"),
        ({"rotate": 20, "heading": True}, "heading turns all clips to look one way"),
        ({"speed": 0.9}, "speed is a share"),
        ({"classes": ("a", "a")}, "named twice"),
    ],
)
def test_values_out_of_range(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MotionSpec("x", **wrong)


def test_defaults() -> None:
    spec = MotionSpec("motion", rotate=True, classes=["a"])  # type: ignore[arg-type]
    assert spec.step == 8 and spec.rotate == 180 and spec.classes == ("a",) and spec.augment
    assert not MotionSpec("motion").augment and MotionSpec("motion", frames=4).step == 1
    assert hash(spec) == hash(replace(spec))


# --- what comes ---


def test_clips_are_the_frames_of_the_file(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [40, 22, 16], label=["b", "a", "b"])
    data = load(MotionSpec(path, frames=16, stride=8, centre="world", held_out=0))
    assert data.x.shape == (6, 16, 8, 3) and data.classes == ("a", "b") and data.labels is not None
    assert data.labels.tolist() == [1, 1, 1, 1, 0, 1] and data.take.tolist() == [0, 0, 0, 0, 1, 2]
    for row, (take, first) in enumerate([(0, 0), (0, 8), (0, 16), (0, 24), (1, 0), (2, 0)]):
        np.testing.assert_array_equal(data.x[row], takes([40, 22, 16])[take][first : first + 16])
    assert data.name(2) == "a #0, frames 16 to 31"
    assert data.skeleton == SKELETON and data.fps == 30
    info = json.loads(json.dumps(data.info))
    assert (info["kind"], info["count"], info["takes"], info["frames"]) == ("motion", 6, 3, 16)
    assert info["per_class"] == {"a": 1, "b": 5} and info["notes"] == [] and info["skipped"] == []
    assert json.loads(json.dumps(data.normaliser)) == data.normaliser


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [61, 31, 31], fps=[60.0, 30.0, 30.0])
    data = load(MotionSpec(path, frames=16, stride=15, centre="world", held_out=0))
    assert data.fps == 30 and data.take.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(data.x[1], body(61)[::2][15:31])
    assert "30 to 60 frames a second: resampled to 30" in data.info["notes"][0]
    assert data.info["fps_before"] == [30, 30, 60]
    slow = load(MotionSpec(path, frames=8, fps=15, centre="world", held_out=0))
    assert slow.fps == slow.skeleton.fps == 15
    np.testing.assert_array_equal(slow.x[0], body(61)[::4][:8])


def test_a_rate_that_nobody_knows(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [30, 30], skeleton=False)
    data = load(MotionSpec(path, frames=16))
    assert data.fps is None and any("does not say how many frames a second" in n for n in data.info["notes"])
    told = load(MotionSpec(path, frames=16, fps=20))
    assert told.fps == 20 and any("taken as 20" in n for n in told.info["notes"])
    np.testing.assert_array_equal(told.x[:], data.x[:])


def test_windows_never_cross_a_cut(tmp_path: Path) -> None:
    x = body(60)
    x[30:40, 3] = np.nan
    np.savez(tmp_path / "a.npz", x=np.concatenate((x, body(30, 1))), length=[60, 30], names=NAMES, fps=30, unit="m")
    data = load(MotionSpec(str(tmp_path / "a.npz"), frames=16, stride=1, centre="world", held_out=0))
    whole = [x[a : a + 16] for a in (*range(15), *range(40, 45))]
    np.testing.assert_array_equal(data.x[:20], whole)
    assert (data.take[:20] == 0).all() and len(data) == 35
    cleaning = data.info["cleaning"]
    assert (cleaning["missing"], cleaning["dropped_frames"], cleaning["cuts"], cleaning["takes"]) == (10, 10, 1, 1)


def test_short_takes_are_held_or_dropped(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [20, 12, 9, 7])
    data = load(MotionSpec(path, frames=16, stride=16, centre="world", held_out=0))
    assert data.info["short"] == {"held": 2, "dropped": 1} and len(data) == 3
    np.testing.assert_array_equal(data.x[1][:12], body(12, 1))
    assert (data.x[1][12:] == body(12, 1)[-1]).all()
    assert any("2 of 4 takes have fewer than 16 frames" in n for n in data.info["notes"])
    dropped = load(MotionSpec(path, frames=16, stride=16, short="drop", held_out=0))
    assert len(dropped) == 1 and dropped.info["short"] == {"held": 0, "dropped": 3}


def test_takes_are_counted_and_not_their_parts(tmp_path: Path) -> None:
    x = [body(80), body(20, 1), body(40, 2)]
    for a in (10, 30, 50):  # parts of 10, 10, 10 and 20 frames
        x[0][a : a + 10] = np.nan
    x[2][7:33] = np.nan  # two of 7: nothing is left of this take
    np.savez(tmp_path / "a.npz", x=np.concatenate(x), length=[80, 20, 40], names=NAMES, fps=30, unit="m")
    data = load(MotionSpec(str(tmp_path / "a.npz"), frames=16, held_out=0))
    assert data.info["short"] == {"held": 1, "dropped": 1} and data.info["takes"] == 2
    notes = data.info["notes"]
    assert any("1 of 3 takes are too short" in n for n in notes) and any("1 of 3 takes have fewer" in n for n in notes)
    parts = load(MotionSpec(str(tmp_path / "a.npz"), frames=16, held_out=0, short="drop"))
    assert any("3 parts of takes, cut off by gaps, are too short for 16 frames" in n for n in parts.info["notes"])


def test_classes_and_limit(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [20] * 9, label=["10", "2", "x"] * 3)
    assert load(MotionSpec(path, frames=16)).classes == ("2", "10", "x")
    some = load(MotionSpec(path, frames=16, classes=("x", "10")))
    assert some.classes == ("x", "10") and some.info["per_class"] == {"x": 9, "10": 9} and len(set(some.takes)) == 6
    few = load(MotionSpec(path, frames=16, limit=4))
    assert len(few.takes) == 4 and few.takes == load(MotionSpec(path, frames=16, limit=4)).takes
    refused('no class "y"', source=path, frames=16, classes=("y",))
    refused("has no class|have no classes", source=npz(tmp_path / "b.npz", [20]), frames=16, classes=("y",))


def test_some_labels_are_none(tmp_path: Path) -> None:
    (tmp_path / "walk").mkdir()
    np.save(tmp_path / "walk" / "a.npy", body(20))
    np.save(tmp_path / "b.npy", body(20, 1))
    data = load(MotionSpec(str(tmp_path), frames=16))
    assert data.labels is None and data.classes == () and data.info["per_class"] == {}
    assert sum("1 of 2 takes have no class" in n for n in data.info["notes"]) == 1
    (tmp_path / "walk" / "a.npy").unlink()
    np.save(tmp_path / "c.npy", body(20))
    assert not any("class" in n for n in load(MotionSpec(str(tmp_path), frames=16)).info["notes"])


def clips(path: Path, beside: list[dict[str, Any]]) -> str:
    told = [{"frames": body(20, k).tolist(), **facts} for k, facts in enumerate(beside)]
    path.write_text(json.dumps({"skeleton": {**SKELETON.to_json(), "fps": None}, "clips": told}))
    return str(path)


def test_some_subjects_are_none(tmp_path: Path) -> None:
    people: list[dict[str, Any]] = [{"subject": k, "fps": 30} for k in range(6)]
    data = load(MotionSpec(clips(tmp_path / "a.json", [*people, {"fps": 30}]), frames=16))
    assert data.info["split"]["by"] == "take"
    assert data.info["notes"] == ["1 of 7 takes have no subject: takes are held out, not whole subjects"]
    for known in (people, [{"fps": 30}] * 6):
        assert load(MotionSpec(clips(tmp_path / "b.json", known), frames=16)).info["notes"] == []


def test_some_rates_are_none(tmp_path: Path) -> None:
    data = load(MotionSpec(clips(tmp_path / "a.json", [{"fps": 30}, {}, {"fps": 30}]), frames=16))
    (note,) = data.info["notes"]
    assert note == "1 of 3 takes do not say how many frames a second they have: taken to have 30"


def test_fingerprints(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [30, 20, 25])
    base = load(MotionSpec(path, frames=16))
    assert load(MotionSpec(path, frames=16, held_out=0.4, mirror=True)).fingerprint == base.fingerprint
    other = npz(tmp_path / "b.npz", [30, 20, 25], label=["a", "a", "b"])
    for spec in (MotionSpec(other, frames=16), MotionSpec(path, frames=15), MotionSpec(path, frames=16, centre="root"),
                 MotionSpec(path, frames=16, heading=False), MotionSpec(path, frames=16, stride=3)):  # fmt: skip
        assert load(spec).fingerprint != base.fingerprint
    assert base.digests.shape == (len(base), 16) and len({d.tobytes() for d in base.digests}) == len(base)


def test_a_fingerprint_holds_what_the_split_hangs_on(tmp_path: Path) -> None:
    """The same frames of other people are split otherwise: what was learned from one must not pass for the other's."""
    one, other = ([k // 2 for k in range(12)], [k % 6 for k in range(12)])
    paths = [npz(tmp_path / f"{n}.npz", [20] * 12, subject=s) for n, s in (("a", one), ("b", other))]
    a, b, none = (load(MotionSpec(p, frames=16)) for p in (*paths, npz(tmp_path / "c.npz", [20] * 12)))
    assert (a.digests == b.digests).all() and a.held_out.tolist() != b.held_out.tolist()
    assert len({a.fingerprint, b.fingerprint, none.fingerprint}) == 3


# --- the split ---


def sides(data: MotionData) -> tuple[set[Any], set[Any]]:
    return tuple({data.takes[data.take[r]] for r in rows} for rows in (data.train, data.held_out))  # type: ignore[return-value]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held_out=st.floats(0, 0.9), seed=st.integers(0, 99), subjects=st.booleans())
def test_overlapping_windows_never_leak(tmp_path: Path, held_out: float, seed: int, subjects: bool) -> None:
    path = tmp_path / f"{subjects}.npz"
    if not path.exists():
        npz(path, [40, 30, 20, 45, 33, 28, 20, 24], **({"subject": [1, 1, 2, 3, 3, 4, 5, 5]} if subjects else {}))
    data = load(MotionSpec(str(path), frames=16, stride=2, held_out=held_out, seed=seed, centre="world"))
    assert sorted([*data.train, *data.held_out]) == list(range(len(data)))
    assert len(data.train) and (len(data.held_out) > 0) == (held_out > 0)
    one, other = sides(data)
    assert not one & other
    seen = {frame.tobytes() for clip in data.x[data.train] for frame in clip}
    assert not any(frame.tobytes() in seen for clip in data.x[data.held_out] for frame in clip)
    assert data.info["split"]["by"] == ("subject" if subjects and held_out else "take")
    if subjects:
        who = dict(zip(data.takes, data.subjects, strict=True))
        if held_out:
            assert not {who[t] for t in one} & {who[t] for t in other}
            assert {who[t] for t in other} == set(data.info["split"]["subjects"])
    again = load(MotionSpec(str(path), frames=16, stride=2, held_out=held_out, seed=seed, centre="world"))
    assert (again.held_out == data.held_out).all()


def test_few_subjects_are_not_held_out_whole(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [20] * 8, subject=[1, 1, 2, 2, 3, 3, 4, 4])
    assert load(MotionSpec(path, frames=16, held_out=0.25)).info["split"] == {"by": "take", "subjects": []}


def test_equal_takes_stay_on_one_side(tmp_path: Path) -> None:
    x = [body(20, k // 2) for k in range(8)]
    np.savez(tmp_path / "a.npz", x=np.concatenate(x), length=[20] * 8, fps=30)
    for seed in range(6):
        data = load(MotionSpec(str(tmp_path / "a.npz"), frames=16, held_out=0.25, seed=seed))
        assert not {d.tobytes() for d in data.digests[data.train]} & {d.tobytes() for d in data.digests[data.held_out]}


def test_the_normaliser_knows_training_rows_alone(tmp_path: Path) -> None:
    x = takes([20] * 6)
    np.savez(tmp_path / "a.npz", x=np.concatenate(x), length=[20] * 6, fps=30)
    base = load(MotionSpec(str(tmp_path / "a.npz"), frames=16, held_out=0.3, centre="world"))
    held = {int(base.takes[base.take[r]].split("#")[1]) for r in base.held_out}
    changed = [v * (1.5 if k in held else 1) for k, v in enumerate(x)]
    np.savez(tmp_path / "a.npz", x=np.concatenate(changed), length=[20] * 6, fps=30)
    other = load(MotionSpec(str(tmp_path / "a.npz"), frames=16, held_out=0.3, centre="world"))
    if (other.held_out == base.held_out).all():  # the split goes by content
        assert other.normaliser == base.normaliser
    else:
        assert other.normaliser != base.normaliser


# --- what is refused, or noted ---


def test_clips_longer_than_every_take(tmp_path: Path) -> None:
    refused(
        "clips of 64 frames, but its longest take has 40: a smaller --frames",
        source=npz(tmp_path / "a.npz", [40, 30]), frames=64,
    )  # fmt: skip


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_takes_without_a_frame(tmp_path: Path, value: float) -> None:
    empty = np.full((20, 8, 3), value, np.float32)
    np.savez(tmp_path / "a.npz", x=np.concatenate((body(30), empty)), length=[30, 20], clip=["good", "bad"], fps=30)
    data = load(MotionSpec(str(tmp_path / "a.npz"), frames=16))
    assert data.info["skipped"] == [{"file": "bad", "reason": "all frames are empty"}]
    assert data.info["cleaning"]["empty_frames"] == 20
    np.save(tmp_path / "b.npy", empty)
    refused(r"no usable frame in its 1 take \(all frames are empty\)", source=str(tmp_path / "b.npy"), frames=16)


@pytest.mark.parametrize(("value", "how"), [(np.nan, r"\)"), (0.0, ": it is 0 in every frame")])
def test_a_joint_that_is_never_seen(tmp_path: Path, value: float, how: str) -> None:
    x = body(30)
    x[:, 5] = value
    np.savez(tmp_path / "a.npz", x=x, names=NAMES)
    refused(f'joint "r_knee" is never seen{how}', source=str(tmp_path / "a.npz"), frames=16)


def test_a_joint_that_is_often_missing_does_not_hide_the_skeleton(tmp_path: Path) -> None:
    """No frame has all joints, yet all gaps are short: root, pairs and unit are told from the mended frames."""
    x = [body(30, k) for k in range(3)]
    for clip in x:
        for f in range(1, 29):
            clip[f, f % 8 if f % 4 else 0] = np.nan
    np.savez(tmp_path / "a.npz", x=np.concatenate(x), length=[30] * 3, edges=SKELETON.edge_array, fps=30)
    data = load(MotionSpec(str(tmp_path / "a.npz"), frames=16))
    assert data.skeleton.root == 0 and len(data.skeleton.pairs) == 3 and data.skeleton.unit == "m"
    assert data.info["cleaning"]["filled"] == data.info["cleaning"]["missing"] == 84


def test_wrong_units_are_noted(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [30, 30], unit="mm")
    data = load(MotionSpec(path, frames=16))
    assert data.skeleton.unit == "mm" and any("no body has; the numbers look like m" in n for n in data.info["notes"])
    (tmp_path / "s.json").write_text(json.dumps({**SKELETON.to_json(), "unit": "m"}))
    assert load(MotionSpec(path, frames=16, skeleton=str(tmp_path / "s.json"))).info["notes"] == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"names": list(NAMES), "edges": [["hips", "haed"]]}, 'names a joint "haed".*did you mean "head"'),
        ({"names": list(NAMES), "parents": [1, 0, 0, 0, 2, 3, 4, 5]}, "run in a circle: hips -> head -> hips"),
        ({"names": list(NAMES[:5])}, "a skeleton of 5 joints, but .* has 8"),
    ],
)
def test_bad_skeletons(tmp_path: Path, content: Any, words: str) -> None:
    (tmp_path / "s.json").write_text(json.dumps(content))
    refused(words, source=npz(tmp_path / "a.npz", [30]), frames=16, skeleton=str(tmp_path / "s.json"))


def test_without_left_and_right_there_is_no_heading(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack(takes([30] * 4)))
    data = load(MotionSpec(str(tmp_path / "a.npy"), frames=16))
    assert not data.info["heading"] and any("which joints are left and right" in n for n in data.info["notes"])
    assert not any(
        "left and right" in n for n in load(MotionSpec(str(tmp_path / "a.npy"), heading=False, frames=16)).info["notes"]
    )


def test_a_mirror_needs_left_and_right(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack(takes([30] * 4)))
    refused("which they are is not known.*--skeleton", source=str(tmp_path / "a.npy"), frames=16, mirror=True)
    (tmp_path / "s.json").write_text(json.dumps(SKELETON.to_json()))
    assert load(MotionSpec(str(tmp_path / "a.npy"), frames=16, mirror=True, skeleton=str(tmp_path / "s.json"))).augment


def test_two_dimensions_do_not_rotate(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack(takes([30] * 4))[..., :2])
    refused("not in two dimensions", source=str(tmp_path / "a.npy"), frames=16, rotate=90)


def test_what_may_be_pictures_is_told(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).uniform(-1, 1, (6, 20, 30, 3))
    np.save(tmp_path / "a.npy", pictures)
    np.savez(tmp_path / "a.npz", x=pictures)
    np.save(tmp_path / "b.npy", np.stack(takes([30] * 4)))
    for name, told in (("a.npy", 1), ("a.npz", 1), ("b.npy", 0)):
        notes = load(MotionSpec(str(tmp_path / name), frames=16)).info["notes"]
        assert sum("--data.medium images" in n for n in notes) == told


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [30])
    assert len(load(MotionSpec(path, frames=16, held_out=0.5)).train)  # a single take is not held out


def test_two_dimensions_in_pixels(tmp_path: Path) -> None:
    flat = [x[..., :2] * np.float32([200, -200]) + np.float32([300, 400]) for x in takes([30] * 4)]
    np.savez(tmp_path / "a.npz", x=np.concatenate(flat), length=[30] * 4, names=NAMES, parents=PARENTS)
    data = load(MotionSpec(str(tmp_path / "a.npz"), frames=16))
    assert data.x.shape[3] == 2 and data.skeleton.unit == "px" and data.skeleton.down and data.skeleton.pairs == PAIRS
    assert any("y axis points down" in n for n in data.info["notes"]) and not data.info["heading"]
    assert np.abs(data.x[:][:, 0, 0, 0]).max() == 0


# --- real data, where it lies beside the repository, and the bundled set ---


def test_msr_action(shared: Path) -> None:
    data = load(MotionSpec(str(shared / "msr_action3d" / "msr_action3d_real3d.npz"), frames=48))
    assert data.x.shape[1:] == (48, 20, 3) and len(data.classes) == 20
    assert data.info["takes"] == 535 and data.info["short"] == {"held": 420, "dropped": 31}
    assert data.info["split"]["by"] == "subject" and len(data.info["split"]["subjects"]) == 1
    skeleton = data.skeleton
    assert (skeleton.root, skeleton.feet, skeleton.up, skeleton.unit) == (6, (17, 18), 1, "m")
    assert set(skeleton.broad) == {(4, 5), (0, 1)} and len(skeleton.pairs) == 8
    first = data.x[:][:, 0]
    toes = (first[:, [17, 18]] - first[:, [15, 16]]).mean(1)
    assert (toes[:, 2] > 0).mean() > 0.98  # they all look along +z
    assert np.abs(first[:, 6, [0, 2]]).max() < 1e-6


def test_twenty_clips_of_motion_capture(shared: Path) -> None:
    data = load(MotionSpec(str(shared / "motion20" / "motion20.npz"), frames=32))
    assert data.fps == 30 and data.info["fps_before"] == [16, 30, 60] and data.labels is None
    assert data.skeleton.names[data.skeleton.root] == "root" and data.info["split"]["by"] == "take"
    assert {data.skeleton.names[j] for j in data.skeleton.feet} == {"ltoe", "rtoe"}
    walk = [r for r in range(len(data)) if data.takes[data.take[r]] == "humanoid3d_walk"]
    way = data.x[walk][:, -1, 0] - data.x[walk][:, 0, 0]
    assert (way[:, 2] > 0.5).all() and (np.abs(way[:, 0]) < 0.3).all()  # forwards


def test_the_bundled_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisette.data.motion.procedural.PEOPLE", 6)
    data = load(MotionSpec("motion"))
    assert data.classes == ("jump", "kick", "run", "squat", "turn", "walk", "wave") and len(data.takes) == 126
    assert data.fps == 30 and data.skeleton.unit == "m" and data.info["notes"] == []
    assert data.info["split"]["by"] == "subject" and data.info["skipped"] == []
    runs = data.x[np.flatnonzero(data.labels == 2)]  # type: ignore[arg-type]
    way = runs[:, 12, 0] - runs[:, 0, 0]
    assert (way[:, 2] > 0.3).all()
    again = load(MotionSpec("motion"))
    assert again.fingerprint == data.fingerprint

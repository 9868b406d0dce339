"""BVH typed by hand, with positions worked out by hand; and files of our own read back."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_made import SKELETON, body

from noisette.data.motion import MotionSpec, bvh, load, read, write
from noisette.data.motion.geometry import euler, fit_rotation, rotation
from noisette.data.motion.skeleton import Skeleton
from noisette.errors import UserError

ARM = """HIERARCHY
ROOT Pelvis
{
  OFFSET 0.0 0.0 0.0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Upper Arm
  {
    OFFSET 0 2 0
    CHANNELS 3 Yrotation Xrotation Zrotation
    JOINT Hand
    {
      OFFSET 0 1 0
      CHANNELS 3 Xrotation Yrotation Zrotation
      End Site
      {
        OFFSET 0 0 0.5
      }
    }
  }
}
MOTION
Frames: 4
Frame Time: 0.04
0 0 0   0 0 0    0 0 0   0 0 0
1 2 3   90 0 0   0 0 0   0 0 0
0 0 0   0 0 0    90 90 0   0 0 0
0 0 0   0 90 0   0 0 90  0 90 0
"""


def test_positions_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "arm.bvh"
    file.write_text(ARM)
    found = read(str(file))
    (take,) = found.takes
    assert found.skeleton is not None
    assert found.skeleton.names == ("Pelvis", "Upper Arm", "Hand", "Hand_end")
    assert found.skeleton.parents == (-1, 0, 1, 2) and found.skeleton.fps == take.fps == 25
    expected = [
        [[0, 0, 0], [0, 2, 0], [0, 3, 0], [0, 3, 0.5]],
        # the root is moved, and turned a quarter about z: up becomes -x
        [[1, 2, 3], [-1, 2, 3], [-2, 2, 3], [-2, 2, 3.5]],
        # the arm turns about y, then (listed second, so the inner one) about x: up -> +z -> +x; +z -> -y -> -y
        [[0, 0, 0], [0, 2, 0], [1, 2, 0], [1, 1.5, 0]],
        # the root tips about x: up -> +z; the arm about z: up -> -x, which stays; the hand about y: +z -> +x, which
        # the arm makes +y, and the root +z
        [[0, 0, 0], [0, 0, 2], [-1, 0, 2], [-1, 0, 2.5]],
    ]
    np.testing.assert_allclose(take.x, expected, atol=1e-6)


@pytest.mark.parametrize("order", ["".join(p) for p in permutations("XYZ")])
def test_every_order_of_channels(order: str) -> None:
    """The root's rotation is the product of the three, as they are listed, each by its own formula."""
    angles = np.array([23.0, -71.0, 158.0])
    text = ARM.replace("Zrotation Xrotation Yrotation", " ".join(f"{c}rotation" for c in order), 1)
    head, _ = text.split("Frames:")
    row = " ".join(map(str, [0, 0, 0, *angles, *[0] * 6]))
    joints, table, _ = bvh.parse(f"{head}Frames: 1\nFrame Time: 1\n{row}\n")
    c, s = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    turned = np.eye(3)
    for k, axis in enumerate(order):
        plain = {
            "X": [[1, 0, 0], [0, c[k], -s[k]], [0, s[k], c[k]]],
            "Y": [[c[k], 0, s[k]], [0, 1, 0], [-s[k], 0, c[k]]],
            "Z": [[c[k], -s[k], 0], [s[k], c[k], 0], [0, 0, 1]],
        }[axis]
        turned = turned @ np.array(plain)
    np.testing.assert_allclose(bvh.positions(joints, table)[0, 2], turned @ [0, 3, 0], atol=1e-12)


def test_position_channels_stand_in_for_the_offset(tmp_path: Path) -> None:
    text = ARM.replace("CHANNELS 3 Yrotation", "CHANNELS 4 Xposition Yrotation").replace(
        "0 0 0   0 0 0\n", "7 0 0 0  0 0 0\n"
    )
    text = text.replace("90 90 0   0 0 0", "0 0 0 0 0 0 0").replace("0 0 90  0 90 0", "0 0 0 0 0 0 0")
    (tmp_path / "a.bvh").write_text(text)
    x = read(str(tmp_path / "a.bvh")).takes[0].x
    np.testing.assert_allclose(x[0, 1], [7, 2, 0], atol=1e-6)  # x from the channel, y from the offset


@pytest.mark.parametrize(
    ("old", "new"), [("HIERARCHY", "\ufeffHIERARCHY"), ("Frames: 4", "Frames:4"), ("Frame Time: 0", "Frame Time :0")]
)
def test_what_other_programs_write_otherwise(tmp_path: Path, old: str, new: str) -> None:
    (tmp_path / "a.bvh").write_text(ARM)
    (tmp_path / "b.bvh").write_text(ARM.replace(old, new, 1), encoding="utf-8")
    a, b = (read(str(tmp_path / name)).takes[0] for name in ("a.bvh", "b.bvh"))
    np.testing.assert_array_equal(a.x, b.x)
    assert b.fps == 25


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("HIERARCHY", "HIER", "line 1: HIERARCHY should stand"),
        ("OFFSET 0 2 0", "OFFSET 0 two 0", 'line 8: an offset is "two"'),
        ("CHANNELS 3 Yrotation", "CHANNELS 3 Wrotation", '"Wrotation" is no channel'),
        ("Frames: 4", "Frames: 5", "48 numbers under MOTION, but 5 frames of 12"),
        ("Frame Time: 0.04", "Frame Time: 0", "frame time of 0"),
        ("Frame Time: 0.04", "Frame Time: 40", "line 23: a frame time of 40 seconds; is it in milliseconds"),
        ("1 2 3   90", "1 2 3   9O", 'line 25: a channel is "9O"'),
        (ARM[ARM.index("MOTION") :], "", "the file ends where MOTION"),
        (ARM[ARM.index("0 0 0   0 0 0    0") :], "", "no frame in it"),
        ("JOINT Hand", "JOIN Hand", '"JOIN" is not understood'),
        (ARM, "", "the file ends"),
    ],
)
def test_damaged_files(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path / "a.bvh").write_text(ARM.replace(old, new, 1))
    with pytest.raises(UserError, match=words) as caught:
        read(str(tmp_path / "a.bvh"))
    assert "\n" not in str(caught.value)


def test_a_chain_deeper_than_the_stack(tmp_path: Path) -> None:
    deep = 3000
    opened = "".join(f"JOINT j{k} {{ OFFSET 0 1 0 CHANNELS 0\n" for k in range(deep))
    text = f"HIERARCHY ROOT r {{ OFFSET 0 0 0 CHANNELS 1 Xposition\n{opened}{'}' * (deep + 1)}\n"
    joints, table, _ = bvh.parse(text + "MOTION Frames: 1 Frame Time: 1\n5\n")
    assert bvh.positions(joints, table)[0, -1].tolist() == [5, deep, 0]


# --- written by us ---


def noisy(x: np.ndarray) -> np.ndarray:
    return (x + np.random.default_rng(0).normal(0, 0.02, x.shape)).astype(np.float32)


@pytest.mark.parametrize("jitter", [False, True])
@pytest.mark.parametrize("parents", [True, False])
def test_there_and_back(tmp_path: Path, jitter: bool, parents: bool) -> None:
    x = body(40, seed=3, yaw=1.0)
    x = noisy(x) if jitter else x
    skeleton = SKELETON if parents else replace(SKELETON, parents=())
    (path,) = write(tmp_path / "a.bvh", [x], skeleton)
    found = read(str(path))
    assert found.skeleton is not None and found.takes[0].fps == 30
    order = [found.skeleton.names.index(n) for n in SKELETON.names]
    assert len(found.skeleton) == 8
    np.testing.assert_allclose(found.takes[0].x[:, order], x, atol=2e-5)
    again = [found.skeleton.names[p] if p >= 0 else "" for p in found.skeleton.parents]
    if parents:
        assert [again[k] for k in order] == [SKELETON.names[p] if p >= 0 else "" for p in SKELETON.parents]
    text = path.read_text()
    # bones that keep their length are written as rotations alone, but for the root
    assert text.count("Xposition") == (8 if jitter or not parents else 1)


def test_several_clips_are_several_files(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.bvh", [body(5, k) for k in range(11)], SKELETON)
    assert [p.name for p in paths][:2] == ["a-00.bvh", "a-01.bvh"] and len(paths) == 11
    assert len(read(str(tmp_path)).takes) == 11


def test_two_dimensions_have_z_zero(tmp_path: Path) -> None:
    x = body(6, dims=2)
    (path,) = write(tmp_path / "a.bvh", [x], SKELETON)
    found = read(str(path)).takes[0].x
    assert np.abs(found[..., 2]).max() < 1e-6
    np.testing.assert_allclose(np.sort(found[..., :2].sum((0, 2))), np.sort(x.sum((0, 2))), atol=1e-3)


@settings(max_examples=150, deadline=None)
@given(st.tuples(*[st.floats(-180, 180)] * 3))
def test_euler_angles_give_the_rotation_back(angles: tuple[float, float, float]) -> None:
    z, y, x = np.radians(angles)
    turned = rotation(2, np.array(z)) @ rotation(1, np.array(y)) @ rotation(0, np.array(x))
    z, y, x = euler(turned)
    np.testing.assert_allclose(rotation(2, z) @ rotation(1, y) @ rotation(0, x), turned, atol=1e-7)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 4))
def test_rotations_that_fit(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 3))
    turned = np.linalg.qr(rng.normal(size=(5, 3, 3)))[0]
    turned *= np.sign(np.linalg.det(turned))[:, None, None]
    wanted = np.einsum("fij,kj->fki", turned, vectors)
    found = fit_rotation(vectors, wanted)
    np.testing.assert_allclose(np.einsum("fij,kj->fki", found, vectors), wanted, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(found), 1, atol=1e-9)


def test_half_a_turn() -> None:
    found = fit_rotation(np.array([[0.0, 2.0, 0.0]]), np.array([[[0.0, -1.0, 0.0]]]))
    np.testing.assert_allclose(found[0] @ [0, 1, 0], [0, -1, 0], atol=1e-12)
    assert np.linalg.det(found[0]) == pytest.approx(1)


def test_a_joint_named_twice_gets_a_number(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_text(ARM.replace("JOINT Hand", "JOINT Pelvis"))
    skeleton = read(str(tmp_path / "a.bvh")).skeleton
    assert isinstance(skeleton, Skeleton) and skeleton.names[2] == "Pelvis_2"


@pytest.mark.parametrize(("seconds", "rate"), [("0.033333", 30), ("0.0083333", 120), ("0.033367", 30)])
def test_a_frame_time_with_few_digits_is_not_resampled(tmp_path: Path, seconds: str, rate: int) -> None:
    (path,) = write(tmp_path / "a.bvh", [body(24)], SKELETON)
    path.write_text(path.read_text().replace("0.03333333", seconds))
    (take,) = read(str(path)).takes
    data = load(MotionSpec(str(path), frames=24, centre="world", held_out=0))
    assert data.fps == rate and data.info["short"] == {"held": 0, "dropped": 0}
    np.testing.assert_array_equal(data.x[0], take.x)

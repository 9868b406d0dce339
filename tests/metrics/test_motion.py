"""Measures of motion against clips for which the answer is known."""

from __future__ import annotations

import dataclasses

import motion_toys as toys
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisette.metrics import motion
from noisette.metrics.motion import Body, measures
from noisette.metrics.ratios import beside
from noisette.views.scores import METRICS

CHAIN = np.array([(0, 1), (1, 2)])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def figure_body(x: np.ndarray, **more: object) -> Body:
    known = {"root": toys.ROOT, "feet": toys.FEET, "up": toys.UP, "fps": toys.FPS, **more}
    return Body.of(x, toys.EDGES, **known)  # type: ignore[arg-type]


# --- bones --------------------------------------------------------------------------------------------------------


def test_bones_that_change_and_bones_that_are_wrong() -> None:
    """One bone of 1 that is 10 % longer and shorter in turn, one of 2 that is stiff."""
    x = np.zeros((1, 8, 3, 2))
    x[0, :, 1, 0] = 1 + 0.1 * (-1.0) ** np.arange(8)
    x[0, :, 2, 0] = x[0, :, 1, 0] + 2
    np.testing.assert_allclose(motion.bone_lengths(x, CHAIN)[0, :2], [[1.1, 2], [0.9, 2]])
    np.testing.assert_allclose(motion.bone_jitter(x, CHAIN), [[10, 0]], atol=1e-12)
    np.testing.assert_allclose(motion.bone_error(x, CHAIN), [[10, 0]], atol=1e-12)
    np.testing.assert_allclose(motion.bone_error(x, CHAIN, np.array([2.0, 2.5])), [[50, 20]])
    gone = motion.bone_error(x, CHAIN, np.array([0.0, 2.0]))
    assert np.isnan(gone[0, 0]) and gone[0, 1] == 0
    assert (motion.bone_error(0 * x, CHAIN) == 0).all() and (motion.bone_jitter(0 * x, CHAIN) == 0).all()
    np.testing.assert_allclose(motion.bone_error(0 * x, CHAIN, np.array([1.0, 2.0])), 100)  # shrunk to a point


def test_a_stiff_figure_is_stiff() -> None:
    x, _ = toys.figures(20)
    body = figure_body(x)
    np.testing.assert_allclose(body.lengths, toys.LENGTHS, rtol=1e-5)
    found = measures(x, body)
    assert found["bone_error"].max() < 1e-3 and found["bone_jitter"].max() < 1e-3 and (found["bent"] == 0).all()
    assert measures(1.2 * x, body)["bone_error"] == pytest.approx(20, rel=1e-4)


# --- speed --------------------------------------------------------------------------------------------------------


def test_speed_acceleration_and_jerk_of_polynomials() -> None:
    """x = 3 t, 3 t^2, 3 t^3 along a diagonal: 3, 6 and 18 units, whatever the frames a second."""
    for fps in (1.0, 20.0):
        t = np.arange(12)[:, None, None] / fps
        towards = np.array([0.6, 0.0, 0.8])
        for order, wanted in ((1, 3), (2, 6), (3, 18)):
            x = (3 * t**order * towards)[None]
            for measure in (motion.mean_change, motion.rms_change):
                np.testing.assert_allclose(measure(x, order, fps), wanted, rtol=1e-9)
            if order < 3:
                assert motion.mean_change(x, order + 1, fps) == pytest.approx(0, abs=1e-7)
        assert motion.change(x, 2, fps).shape == (1, 10, 1)
    with pytest.raises(ValueError, match="4 frames are needed, clips have 3"):
        motion.change(x[:, :3], 3)


def test_jitter_shows_in_the_jerk() -> None:
    """White noise of sigma differenced three times: variance 1 + 9 + 9 + 1 = 20 in every direction."""
    x = 0.01 * rng().normal(size=(50, 40, 5, 3))
    assert motion.rms_change(x, 3, 10.0).mean() == pytest.approx(0.01 * np.sqrt(60) * 1000, rel=0.02)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 1000), st.floats(1, 120), st.integers(2, 3))
def test_units_follow_the_scale(scale: float, fps: float, dims: int) -> None:
    x = rng(1).normal(size=(3, 9, 4, dims))
    for order in (1, 2, 3):
        once = motion.mean_change(x, order, None)
        np.testing.assert_allclose(motion.mean_change(scale * x, order, fps), once * scale * fps**order, rtol=1e-9)
    star = np.array([(0, 1), (0, 2), (0, 3)])
    np.testing.assert_allclose(motion.bone_jitter(scale * x, star), motion.bone_jitter(x, star), rtol=1e-9)
    np.testing.assert_allclose(motion.angles(scale * x, star), motion.angles(x, star), atol=1e-6)


def test_movement_sees_the_pose_and_drift_the_body() -> None:
    t = np.arange(200) / 200
    x = np.zeros((1, 200, 2, 3))
    x[0, :, 1, 1] = np.sin(2 * np.pi * t)
    np.testing.assert_allclose(motion.movement(x, 0), 0.5, rtol=1e-9)  # sqrt of (0 + 1/2) / 2
    gone = x + np.minimum(3 * t, 1.5)[:, None, None] * np.array([0.6, 0.8, 0])
    np.testing.assert_allclose(motion.movement(gone, 0), motion.movement(x, 0), rtol=1e-9)
    np.testing.assert_allclose((motion.drift(gone, 0), motion.drift(x, 0)), ([1.5], [0]), atol=1e-12)
    alone = gone[:, :, :1]
    assert motion.movement(alone, None) > 0.3  # a single joint has no pose: its own way counts


# --- joints -------------------------------------------------------------------------------------------------------


def test_angles_by_hand_and_turned() -> None:
    """A chain that is straight, at right angles, folded, and without a bone; the same from wherever it is looked at."""
    x = np.zeros((4, 1, 3, 3))
    x[:, 0, 1] = [1, 0, 0]
    x[:, 0, 2] = [[3, 0, 0], [1, 2, 0], [0.5, 0, 0], [1, 0, 0]]
    assert motion.corners(CHAIN).tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(motion.angles(x, CHAIN)[:, 0, 0], [180, 90, 0, np.nan], atol=1e-9)
    y, turn = rng().normal(size=(5, 6, 9, 3)), np.linalg.qr(rng(1).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(motion.angles(y @ turn + 7, toys.EDGES), motion.angles(y, toys.EDGES), atol=1e-6)
    a, b = (y[:, :, j] - y[:, :, 1] for j in motion.corners(toys.EDGES)[1, ::2])
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    np.testing.assert_allclose(np.cos(np.radians(motion.angles(y, toys.EDGES)[..., 1])), cosine, atol=1e-9)


def test_every_two_bones_that_meet_make_a_corner() -> None:
    assert len(motion.corners(np.array([(0, 1), (0, 2), (0, 3), (4, 5)]))) == 3
    found = motion.corners(toys.EDGES)
    assert len(found) == 3 + 6 + 1 + 1 and len({frozenset(c) for c in found.tolist()}) == len(found)


def test_an_elbow_that_bends_too_far() -> None:
    """Real elbows go from 60 to 180 degrees; one that goes down to 30 is beyond in the frames below 50."""

    def elbow(degrees: np.ndarray) -> np.ndarray:
        x = np.zeros((1, len(degrees), 3, 2))
        x[0, :, 0] = [1, 0]
        x[0, :, 2] = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)
        return x

    bounds = motion.limits(elbow(np.linspace(60, 180, 1001)), CHAIN)
    np.testing.assert_allclose(bounds[:, 0], [60.12, 179.88], atol=0.01)
    assert motion.bent(elbow(np.linspace(55, 180, 50)), CHAIN, bounds) == 0
    assert motion.bent(elbow(np.linspace(30, 179, 150)), CHAIN, bounds) == pytest.approx(21 / 150)  # 30, 31 .. 50
    nowhere = motion.limits(np.zeros((1, 4, 3, 2)), CHAIN)
    assert np.isinf(nowhere).all() and motion.bent(elbow(np.array([10.0, 20])), CHAIN, nowhere) == 0


# --- feet ---------------------------------------------------------------------------------------------------------


def stander(pace: float, height: float = 0.0, fps: float = 20.0, down: bool = False) -> np.ndarray:
    """(1, 41, 4, 3): a body of size 1 whose right foot (2) stands still for 20 frames, then slides along x at `pace`;
    its left (3), an ankle 0.08 above the ground, is lifted all the time but for the first 20 frames."""
    x = np.zeros((1, 41, 4, 3))
    x[0, :, 1, 1] = 1
    x[0, 20:, 2, 0] = pace * np.arange(21) / fps
    x[0, :, 0, 0] = np.linspace(0, 0.5, 41)
    x[0, :, 3, 1] = 0.08
    x[0, 20:, 3, 1] += np.minimum(np.arange(21) / 10, 1) * 0.4
    x[..., 1] += height
    return x * (1, -1, 1) if down else x


@pytest.mark.parametrize("down", [False, True])
def test_a_foot_that_slides(down: bool) -> None:
    still, moving = stander(0.0, down=down), stander(0.6, height=5.0, down=down)  # the ground may lie anywhere
    body = Body.of(still, root=0, feet=(2, 3), up=1, fps=20.0, down=down)
    np.testing.assert_allclose(body.rest, (0, 0.08), atol=1e-12)
    held = motion.standing(moving, body)[0]
    assert held.shape == (40, 2) and held[:, 0].all() and held[:20, 1].all() and not held[21:, 1].any()
    assert motion.contact(moving, body) == 1
    assert motion.sliding(still, body) == 0
    # the right foot stands in all 40 steps and slides in 20, the left one stands still in 20
    assert motion.sliding(moving, body) == pytest.approx(0.6 * 20 / held.sum())


def test_feet_in_the_air_neither_stand_nor_slide() -> None:
    x = stander(0.0)
    body = Body.of(x, root=0, feet=(2, 3), up=1, fps=20.0)
    x[0, :, 2:, 1] += np.where(np.arange(41) % 2, 0.5, 0.0)[:, None]  # jumps at every frame
    assert motion.contact(x, body) == 0 and np.isnan(motion.sliding(x, body)).all()


def test_what_is_bent_is_a_share_of_angles_and_frames() -> None:
    """One of the two angles that three bones make, in half of the frames: a quarter, not a half."""
    edges, folded = np.array([(0, 1), (1, 2), (2, 3)]), np.array([[0.0, 0], [1, 0], [0, 0], [-1, 0]])
    straight = np.stack([np.arange(4.0), np.zeros(4)], 1)
    x = np.stack([straight, straight, folded, folded])[None]
    assert motion.bent(x, edges, np.full((2, 2), 180.0)) == pytest.approx(0.25)
    assert METRICS["bent"].meaning.startswith("The share of angles between two bones, over all frames")


def test_what_clips_cannot_tell_of_feet() -> None:
    x, _ = toys.figures(5)
    held = motion.pose(x, toys.ROOT)
    assert figure_body(x).feet == toys.FEET
    assert figure_body(held).feet == () and "sliding" not in measures(held, figure_body(held))
    assert figure_body(x, up=None).feet == ()


# --- samples beside real ------------------------------------------------------------------------------------------


def test_all_measures_and_their_units() -> None:
    x, _ = toys.figures(30)
    found = measures(x, figure_body(x))
    moved = [f"{name}{kind}" for name in ("speed", "acceleration", "jerk") for kind in ("", "_rms")]
    assert list(found) == ["bone_error", "bone_jitter", *moved, "contact", "sliding", "bent"]
    assert all(v.shape == (30,) and v.dtype == np.float64 for v in found.values())
    assert [motion.unit(k, "m", 20.0) for k in found] == [
        *("%", "%", "m/s", "m/s", "m/s^2", "m/s^2", "m/s^3", "m/s^3", "share", "m/s", "share")
    ]
    assert motion.unit("jerk", "px", None) == "px/frame^3"
    bare = measures(x, Body.of(x))  # nothing is known but the points
    assert list(bare) == moved
    np.testing.assert_allclose(bare["jerk"] * toys.FPS**3, found["jerk"])
    assert list(measures(x[:, :2], Body.of(x))) == moved[:2]


def test_bones_that_are_off_by_rounding_alone_have_nothing_to_be_compared_with() -> None:
    x, _ = toys.figures(30)
    body = figure_body(x)
    rigid = measures((x + 10 / np.sqrt(3)).astype(np.float32), body)  # ten metres from the origin
    for name in ("bone_jitter", "bone_error"):
        assert 0 < np.mean(rigid[name]) < motion.nothing(name) == motion.ROUNDING
    assert motion.nothing("speed") == 0


def test_samples_in_other_conditions_are_told_apart() -> None:
    x, _ = toys.figures(200)
    body = figure_body(x)
    real = measures(x[:100], body)
    found = {name: measures(y, body) for name, y in {"same": x[100:], **toys.spoilt(x[100:], 0)}.items()}
    ratio = {
        name: {m: r.value for m, v in them.items() if (r := beside(v, real[m]).ratio)} for name, them in found.items()
    }
    for measure in ("speed", "acceleration", "jerk", "jerk_rms", "contact"):
        assert ratio["same"][measure] == pytest.approx(1, abs=0.15)
    assert ratio["noise"]["jerk"] > 3 and ratio["shuffled"]["jerk"] > 3 and ratio["frozen"]["jerk"] == 0
    assert ratio["long bones"]["speed"] == pytest.approx(ratio["same"]["speed"], rel=0.25)
    assert found["long bones"]["bone_error"].mean() == pytest.approx(30, rel=0.01)
    assert found["loose bones"]["bone_jitter"].mean() > 5 and found["noise"]["bone_jitter"].mean() > 5
    assert ratio["drifting"]["sliding"] > 2 and ratio["drifting"]["jerk"] == pytest.approx(ratio["same"]["jerk"])
    assert found["noise"]["bent"].mean() > 0.01 > found["same"]["bent"].mean()


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "edges", "known", "says"),
    [
        (np.zeros((2, 4, 3)), None, {}, r"clips are \(N, frames, joints, 2 or 3\), not \(2, 4, 3\)"),
        (np.zeros((2, 4, 3, 4)), None, {}, "2 or 3"),
        (np.full((2, 4, 3, 3), np.nan), None, {}, "not finite"),
        (np.zeros((0, 4, 3, 3)), None, {}, "at least one clip"),
        (np.zeros((2, 4, 3, 3)), np.array([(0, 3)]), {}, "joints 0 to 3 of clips that have 3"),
        (np.zeros((2, 4, 3, 3)), None, {"root": -1}, "joints -1 to -1"),
        (np.zeros((2, 4, 3, 3)), None, {"feet": (5,)}, "joints 5 to 5"),
        (np.zeros((2, 4, 3, 2)), None, {"up": 2}, "vertical axis 2 of clips that have 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(x: np.ndarray, edges: object, known: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Body.of(x, edges, **known)  # type: ignore[arg-type]


def test_a_body_of_given_lengths_and_of_one_point() -> None:
    x, _ = toys.figures(10)
    body = figure_body(x, lengths=2 * toys.LENGTHS)
    assert measures(x, body)["bone_error"] == pytest.approx(50, rel=1e-4)
    assert dataclasses.replace(body, fps=None).fps is None
    point = Body.of(x[:, :, :1])
    assert point.size > 0 and list(measures(x[:, :, :1], point))[:1] == ["speed"]
    assert Body.of(np.zeros((2, 4, 1, 2))).size == 1

"""The bundled set: bodies that hold together, move smoothly, and stand on the ground."""

from __future__ import annotations

import numpy as np
import pytest

from noisette.data.motion import procedural
from noisette.data.motion.actions import ACTIONS
from noisette.data.motion.body import NAMES, PARENTS, Body
from noisette.data.motion.curves import Draw, bump, quintic, rise, through
from noisette.data.motion.infer import LONGEST

PEOPLE = (0, 7, 13)
LEGS = [(NAMES.index(f"{s}_ankle"), NAMES.index(f"{s}_toe")) for s in ("left", "right")]


def at(name: str) -> int:
    return NAMES.index(name)


@pytest.fixture(scope="module")
def made() -> dict[str, list[np.ndarray]]:
    return {a: [procedural.clip(a, p, n).astype(np.float64) for p in PEOPLE for n in (0, 1)] for a in ACTIONS}


def test_twenty_joints_in_one_tree() -> None:
    skeleton = procedural.skeleton()
    assert len(NAMES) == 20 and PARENTS.count(-1) == 1 and len(skeleton.edges) == 19
    assert len(skeleton.pairs) == 8 and [NAMES[j] for j in skeleton.feet] == ["left_toe", "right_toe"]
    assert skeleton.root == at("hips") and NAMES[PARENTS[at("left_shoulder")]] == "chest"


@pytest.mark.parametrize("action", ACTIONS)
def test_bones_keep_their_length(made: dict[str, list[np.ndarray]], action: str) -> None:
    edges = procedural.skeleton().edge_array
    for k, x in enumerate(made[action]):
        length = np.linalg.norm(x[:, edges[:, 0]] - x[:, edges[:, 1]], axis=-1)
        reach = max(1.0, float(np.abs(x).max()))  # float32 has 24 bits of how far from the origin one is
        assert np.ptp(length, axis=0).max() < 4e-7 * reach
        body = procedural.body(PEOPLE[k // 2])
        assert length[0, list(map(tuple, edges)).index((at("left_hip"), at("left_knee")))] == pytest.approx(body.thigh)
        left = [list(map(tuple, edges)).index((PARENTS[j], j)) for j in range(20) if NAMES[j].startswith("left")]
        right = [list(map(tuple, edges)).index((PARENTS[j], j)) for j in range(20) if NAMES[j].startswith("right")]
        np.testing.assert_allclose(length[0, left], length[0, right], rtol=1e-5)
        assert LONGEST[0] < length.max() < LONGEST[1]


@pytest.mark.parametrize("action", ACTIONS)
def test_nobody_sinks_into_the_ground_or_floats(made: dict[str, list[np.ndarray]], action: str) -> None:
    for x in made[action]:
        low = x[:, [toe for _, toe in LEGS], 1].min(1)
        assert x[..., 1].min() > -1e-5
        in_air = {"run": 0.7, "jump": 0.5}.get(action, 0.0)
        assert (low > 0.03).mean() <= in_air
        assert x[:, at("head"), 1].min() > 0.5 and x[:, at("head"), 1].max() < 2.6


@pytest.mark.parametrize("action", ACTIONS)
def test_feet_that_stand_do_not_slide(made: dict[str, list[np.ndarray]], action: str) -> None:
    """A toe that lies on the ground, at rest, is at rest: less than a millimetre a frame, half of the time at least."""
    for x in made[action]:
        toes = x[:, [toe for _, toe in LEGS]]
        down = (toes[1:, :, 1] < 1e-4) & (toes[:-1, :, 1] < 1e-4)
        step = np.linalg.norm(np.diff(toes, axis=0), axis=-1)
        assert down.any()
        assert np.median(step[down]) < 1e-5
        assert (step[down] < 1e-3).mean() > 0.9


@pytest.mark.parametrize("action", ACTIONS)
def test_motion_is_smooth(made: dict[str, list[np.ndarray]], action: str) -> None:
    """No joint is accelerated as by a blow: at most 25 g, that of a runner's foot."""
    for x in made[action]:
        assert np.linalg.norm(np.diff(x, 2, axis=0), axis=-1).max() * procedural.FPS**2 < 25 * 9.81


def test_knees_and_elbows_bend_one_way_only(made: dict[str, list[np.ndarray]]) -> None:
    for clips in made.values():
        for x in clips:
            for side, sign in (("left", 1), ("right", 1)):
                hip, knee, ankle = (x[:, at(f"{side}_{j}")] for j in ("hip", "knee", "ankle"))
                across = x[:, at("left_hip")] - x[:, at("right_hip")]
                bend = np.cross(knee - hip, ankle - knee)
                assert ((bend * across).sum(1) * sign > -1e-9).mean() > 0.98


def test_each_action_is_what_it_is_called(made: dict[str, list[np.ndarray]]) -> None:
    def travel(x: np.ndarray) -> float:
        return float(np.linalg.norm((x[-1, 0] - x[0, 0])[[0, 2]])) / (len(x) / 30)

    def yaw(x: np.ndarray) -> np.ndarray:
        side = x[:, at("left_hip")] - x[:, at("right_hip")]
        return np.unwrap(np.arctan2(-side[:, 2], side[:, 0]))

    for x in made["walk"]:
        assert 0.6 < travel(x) < 2.0
    for x in made["run"]:
        assert 1.8 < travel(x) < 4.5
        assert (x[:, [toe for _, toe in LEGS], 1].min(1) > 0.01).mean() > 0.1  # a time in the air
    for name in ("wave", "jump", "kick", "squat", "turn"):
        assert all(travel(x) < 0.7 for x in made[name])
    for x in made["wave"]:
        hands = x[:, [at("left_hand"), at("right_hand")], 1]
        assert (hands.max(1) > x[:, at("neck"), 1]).mean() > 0.4 and (hands.min(1) < x[:, at("chest"), 1]).all()
    for x in made["jump"]:
        air = x[:, [toe for _, toe in LEGS], 1].min(1)
        assert 0.1 < air.max() < 0.7
        up = np.flatnonzero(air > 0.05)
        first = up[: np.argmax(np.r_[np.diff(up), 9] > 1) + 1]
        fall = np.diff(x[first, 0, 1], 2) * 30**2
        np.testing.assert_allclose(np.median(fall), -9.81, rtol=0.02)  # a body in the air falls freely
    for x in made["kick"]:
        feet = x[:, [at("left_ankle"), at("right_ankle")], 1].max(0)
        assert feet.max() > 0.3 and feet.min() < 0.15
    for x in made["squat"]:
        assert np.ptp(x[:, 0, 1]) > 0.18
    for x in made["turn"]:
        assert abs(yaw(x)[-1] - yaw(x)[0]) > 0.8
    for name in ("wave", "jump", "kick", "squat"):
        assert all(np.abs(yaw(x) - yaw(x)[0]).max() < 0.8 for x in made[name])


def test_a_clip_is_a_pure_function_of_its_number() -> None:
    x = procedural.clip("kick", 3, 1)
    np.testing.assert_array_equal(procedural.clip("kick", 3, 1), x)
    assert x.dtype == np.float32 and 72 <= len(x) <= 144
    assert procedural.clip("kick", 3, 2).shape != x.shape or (procedural.clip("kick", 3, 2) != x).any()
    heights = [procedural.body(p).height for p in range(procedural.PEOPLE)]
    assert min(heights) > 1.5 and max(heights) < 1.95 and len(set(heights)) == procedural.PEOPLE


def test_the_whole_set() -> None:
    found = procedural.recording()
    assert len(found.takes) == 420 and {t.label for t in found.takes} == set(ACTIONS)
    assert len({t.subject for t in found.takes}) == 20 and len({t.name for t in found.takes}) == 420
    assert all(np.isfinite(t.x).all() for t in found.takes)
    assert len({len(t) for t in found.takes}) > 40


def test_proportions() -> None:
    body = Body.of(2.0, np.ones(12))
    assert body.leg == pytest.approx(0.982) and body.upper_arm == pytest.approx(0.372)


# --- the curves ---


def test_curves_join_smoothly() -> None:
    t = np.linspace(-1, 6, 70_001)
    h = t[1] - t[0]
    for y in (
        rise(t, 0, 2),
        bump(t, 0, 1, 3),
        bump(t, 0, 1, 4, until=2),
        through(t, [(0, 0), (1, 2), (2.5, -1), (4, 0)]),
    ):
        assert np.abs(np.diff(y)).max() / h < 6  # continuous, with a bounded slope ...
        assert np.abs(np.diff(y, 2)).max() / h**2 < 40  # ... that is continuous ...
        assert np.abs(np.diff(y, 3)).max() / h**3 < 500  # ... and so is the bend
        assert y[0] == y[5000] and y[-1] == y[-5000]
    knots = [(0.0, 0.0), (1.0, 2.0), (2.5, -1.0), (4.0, 0.0)]
    np.testing.assert_allclose(through(np.array([k[0] for k in knots]), knots), [k[1] for k in knots], atol=1e-12)


def test_a_quintic_meets_what_it_is_given() -> None:
    times, values, slopes, bends = (
        np.array([0.0, 1.5]),
        np.array([1.0, -2.0]),
        np.array([3.0, 0.5]),
        np.array([-9.81, 2]),
    )
    h = 1e-4
    for k, (t0, sign) in enumerate(((0.0, 1), (1.5, -1))):
        y = quintic(t0 + sign * h * np.arange(3), times, values, slopes, bends)
        assert y[0] == pytest.approx(values[k])
        assert sign * (y[1] - y[0]) / h == pytest.approx(slopes[k], abs=2e-3)
        assert (y[2] - 2 * y[1] + y[0]) / h**2 == pytest.approx(bends[k], abs=0.05)


def test_draws() -> None:
    draw = Draw(1, 2)
    values = [draw.unit() for _ in range(200)]
    assert min(values) >= 0 and max(values) < 1 and len(set(values)) == 200 and abs(np.mean(values) - 0.5) < 0.1
    assert [Draw(1, 2).unit()] == values[:1]
    assert {Draw(3, k).whole(2, 4) for k in range(60)} == {2, 3, 4} and {Draw(3, k).sign() for k in range(60)} == {
        1,
        -1,
    }

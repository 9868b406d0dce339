"""Resampling, windows, where clips stand and look, and the normaliser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_made import SKELETON, body

from noisette.data.motion.clips import (
    SAME_RATE,
    Clips,
    Placing,
    denormalise,
    facing,
    fit_normaliser,
    interpolate,
    normalise,
    resample,
    rotated,
    sense,
    starts,
    turn,
)

STILL = Placing(SKELETON, "world", False)


def clips(lengths: tuple[int, ...] = (40, 25), length: int = 16, stride: int = 4, placing: Placing = STILL) -> Clips:
    frames, start, low, high, at = [], [], [], [], 0
    for k, n in enumerate(lengths):
        frames.append(body(n, k))
        first = starts(n, length, stride) + at
        start += first.tolist()
        low += [at] * len(first)
        high += [at + n] * len(first)
        at += n
    return Clips(np.concatenate(frames), *(np.array(v) for v in (start, low, high)), length, placing)


# --- time ---


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_whole_times_give_the_frames_themselves(kind: str) -> None:
    x = body(20)
    np.testing.assert_array_equal(interpolate(x, np.arange(20.0), kind=kind), x)  # type: ignore[arg-type]
    np.testing.assert_array_equal(resample(x, 60, 30, kind), x[::2])  # type: ignore[arg-type]
    assert resample(x, 30, 30) is x


def polynomial(t: np.ndarray, degree: int) -> np.ndarray:
    return np.float32(((t / 10) ** degree)[:, None, None] * np.arange(1, 7).reshape(2, 3))


@pytest.mark.parametrize(("kind", "degree"), [("linear", 1), ("cubic", 1), ("cubic", 2)])
def test_polynomials_are_met_exactly(kind: str, degree: int) -> None:
    """A line by both, to its ends; a parabola by the cubic one, away from the ends."""
    x = polynomial(np.arange(20.0), degree)
    times = np.linspace(0, 19, 77) if degree == 1 else np.linspace(1, 18, 77)
    np.testing.assert_allclose(interpolate(x, times, kind=kind), polynomial(times, degree), atol=2e-5)  # type: ignore[arg-type]


def test_the_order_of_the_error() -> None:
    """Halving the step divides the error of a sine by 4 (linear) and by 8 (the cubic one, away from its ends)."""
    errors: dict[str, list[float]] = {"linear": [], "cubic": []}
    for n in (40, 80):
        t = np.linspace(0, 2 * np.pi, n + 1)
        x = np.sin(t)[:, None, None].astype(np.float32) * np.ones((1, 3), np.float32)
        times = np.linspace(n / 4, 3 * n / 4, 501)
        for kind in errors:
            miss = interpolate(x, times, kind=kind)[:, 0, 0] - np.sin(times * 2 * np.pi / n)  # type: ignore[arg-type]
            errors[kind].append(float(np.abs(miss).max()))
    assert errors["linear"][0] / errors["linear"][1] == pytest.approx(4, rel=0.1)
    assert errors["cubic"][0] / errors["cubic"][1] > 7


@settings(max_examples=80, deadline=None)
@given(n=st.integers(2, 90), fps=st.floats(5, 120), to=st.floats(5, 120))
def test_resampling_keeps_the_duration(n: int, fps: float, to: float) -> None:
    t = np.arange(n, dtype=np.float32)
    x = np.broadcast_to((t / np.float32(fps))[:, None, None], (n, 2, 3)).copy()  # every value is its time in seconds
    y = resample(x, fps, to)
    if abs(fps / to - 1) < SAME_RATE:
        assert y is x
        return
    assert (len(y) - 1) / to <= (n - 1) / fps + 1e-5 and len(y) / to > (n - 1) / fps - 1e-5
    np.testing.assert_allclose(y[:, 0, 0], np.arange(len(y)) / to, atol=1e-4)


def test_bounds_are_not_looked_across() -> None:
    x = np.concatenate((np.zeros((5, 1, 3)), np.full((5, 1, 3), 9))).astype(np.float32)
    times = np.linspace(0, 4, 33)
    assert (interpolate(x, times, 0, 5) == 0).all() and (interpolate(x, times + 5, 5, 10) == 9).all()


# --- windows ---


def test_starts() -> None:
    assert starts(10, 4, 3).tolist() == [0, 3, 6]
    assert starts(4, 4, 3).tolist() == [0] and starts(3, 4, 3).tolist() == []


def test_clips_are_cut_like_an_array() -> None:
    x = clips()
    assert x.shape == (10, 16, 8, 3) and len(x) == 10 and x.nbytes == 65 * 8 * 3 * 4
    whole = x[:]
    assert whole.shape == x.shape and whole.dtype == np.float32
    np.testing.assert_array_equal(x[3], whole[3])
    np.testing.assert_array_equal(x[[7, 0]], whole[[7, 0]])
    np.testing.assert_array_equal(x[2:5], whole[2:5])
    np.testing.assert_array_equal(x[np.arange(10) > 6], whole[7:])
    np.testing.assert_array_equal(np.asarray(x), whole)
    np.testing.assert_array_equal(whole[9], body(25, 1)[8:24])
    whole += 1
    assert (x[:] != whole).any()  # what is handed out is a copy
    with pytest.raises(IndexError):
        x[10]


def test_a_speed_of_one_changes_nothing() -> None:
    x = clips()
    rows = np.arange(10)
    np.testing.assert_array_equal(x.cut(rows, np.ones(10)), x[:])


@settings(max_examples=60, deadline=None)
@given(speed=st.floats(0.5, 1.5), row=st.integers(0, 9))
def test_a_clip_played_faster_stays_inside_its_take(speed: float, row: int) -> None:
    x = clips()
    t = np.arange(len(x.frames), dtype=np.float32)
    x.frames = np.broadcast_to(t[:, None, None], x.frames.shape).copy()  # every value is its frame's number
    times = x.cut(np.array([row]), np.array([speed]))[0, :, 0, 0]
    low, high = x.low[row], x.high[row]
    assert times.min() >= low - 1e-3 and times.max() <= high - 1 + 1e-3
    got = np.diff(times)
    expected = min(speed, max((high - low - 1) / 15, 1.0))
    np.testing.assert_allclose(got, expected, atol=1e-3)


# --- where a clip stands ---


@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5, np.pi / 2])
def test_the_first_pose_looks_along_z(yaw: float) -> None:
    x = np.stack([body(20, k, yaw) for k in range(3)]) + np.float32([3, 0, -2])
    assert sense(x[:, 0], SKELETON) == 1
    np.testing.assert_allclose(facing(x[:, 0], SKELETON, 1), yaw, atol=1e-5)
    placed = Placing(SKELETON, "start", True)(x)
    np.testing.assert_allclose(placed[:, 0, 0, [0, 2]], 0, atol=1e-5)
    np.testing.assert_allclose(facing(placed[:, 0], SKELETON, 1), 0, atol=1e-5)
    straight = np.stack([body(20, k) for k in range(3)])
    straight = straight - straight[:, :1, :1] * np.float32([1, 0, 1])
    np.testing.assert_allclose(placed, straight, atol=1e-5)  # the same, however the body was turned and moved


@pytest.mark.parametrize("up", [0, 1, 2])
@pytest.mark.parametrize("handed", [1, -1])
def test_forward_is_where_the_feet_point(up: int, handed: int) -> None:
    """Whatever axis is vertical, and in left-handed axes too: the body walks forwards."""
    x = np.stack([body(40, k, 0.7) for k in range(3)])
    x = np.roll(x * np.float32([handed, 1, 1]), up - 1, axis=-1)
    skeleton = replace(SKELETON, up=up)
    placing = Placing(skeleton, "start", True, sense(x[:, 0], skeleton))
    placed = placing(x)
    way = placed[:, -1, 0] - placed[:, 0, 0]
    ahead = {0: 2, 1: 2, 2: 1}[up]
    assert (way[:, ahead] > 0.5).all()
    flat = Placing(replace(skeleton, names=tuple("abcdefgh"), parents=()), "start", True, 1)
    assert flat(x).shape == x.shape


def test_without_feet_a_right_handed_frame_is_taken() -> None:
    x = np.stack([body(5, k, 0.7) for k in range(3)])[:, 0]
    bare = replace(SKELETON, names=tuple("abcdefgh"), parents=())
    assert not bare.feet and sense(x, bare) == 1
    for up in (0, 2):
        rolled = np.roll(x, up - 1, axis=-1)
        assert sense(rolled, replace(bare, up=up)) == sense(rolled, replace(SKELETON, up=up))


def test_centres() -> None:
    x = np.stack([body(20, k) for k in range(3)]) + np.float32([3, 0, -2])
    assert np.abs(Placing(SKELETON, "root", False)(x)[:, :, 0]).max() == 0
    np.testing.assert_array_equal(Placing(SKELETON, "world", False)(x), x)
    start = Placing(SKELETON, "start", False)(x)
    np.testing.assert_array_equal(start[..., 1], x[..., 1])  # heights are kept
    np.testing.assert_allclose(np.diff(start, axis=1), np.diff(x, axis=1), atol=1e-6)
    flat = Placing(SKELETON, "start", False)(x[..., :2].copy())
    np.testing.assert_array_equal(flat[..., 1], x[..., 1])
    assert np.abs(flat[:, 0, 0, 0]).max() == 0


def test_what_is_turned_in_training_is_normalised_as_it_is_turned() -> None:
    x = clips(placing=Placing(SKELETON, "start", True))
    rows = np.arange(8)
    normaliser = fit_normaliser(x, rows, True, rotate=180)
    angles = np.linspace(-np.pi, np.pi, 60, endpoint=False)
    turned = np.concatenate([rotated(x[rows], np.full(8, angle), SKELETON) for angle in angles])
    each = normalise(turned, normaliser).reshape(480, 8, 3, 16)
    moves = np.array(normaliser["scale"]) > 1.01 * min(normaliser["scale"])
    size = np.sqrt((each.astype(np.float64) ** 2).mean((0, 2, 3)))
    np.testing.assert_allclose(size[moves], 1, atol=0.1)
    ahead = np.sqrt((normalise(turned, fit_normaliser(x, rows, True)).reshape(each.shape) ** 2).mean((0, 2, 3)))
    assert ahead[moves].max() > 1.3


@pytest.mark.parametrize("centre", ["start", "root", "world"])
@pytest.mark.parametrize("heading", [False, True])
def test_placed_and_put_back(centre: str, heading: bool) -> None:
    x = np.stack([body(20, k, 0.4 * k) for k in range(4)]) + np.float32([3, 0.5, -2])
    placing = Placing(SKELETON, centre, heading)  # type: ignore[arg-type]
    where = placing.where(x)
    np.testing.assert_array_equal(placing.put(x, where), placing(x))
    np.testing.assert_allclose(placing.back(placing(x), where), x, atol=2e-6)
    info = {"skeleton": SKELETON.to_json(), "centre": centre, "heading": heading, "sense": 1}
    assert Placing.of(info) == placing


@settings(max_examples=40, deadline=None)
@given(angle=st.floats(-7, 7), up=st.integers(0, 2))
def test_turning_keeps_distances_and_heights(angle: float, up: int) -> None:
    x = np.stack([body(4, k) for k in range(2)])
    y = turn(x, np.full(2, angle), up)
    np.testing.assert_array_equal(y[..., up], x[..., up])
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(turn(y, np.full(2, -angle), up), x, atol=1e-5)


# --- what a net sees ---


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("centre", ["start", "root"])
def test_normalised_and_back(relative: bool, centre: str) -> None:
    x = clips(placing=Placing(SKELETON, centre, False))  # type: ignore[arg-type]
    rows = np.arange(8)
    normaliser = fit_normaliser(x, rows, relative)
    y = normalise(x[rows], normaliser)
    assert y.shape == (8, 24, 16) and y.dtype == np.float32 and y.flags.c_contiguous
    np.testing.assert_allclose(denormalise(y, normaliser), x[rows], atol=1e-5)
    each = y.reshape(8, 8, 3, 16).astype(np.float64)
    np.testing.assert_allclose(each.mean((0, 3)), 0, atol=1e-4)
    size = np.sqrt((each**2).mean((0, 2, 3)))
    moves = np.array(normaliser["scale"]) > 1.01 * min(normaliser["scale"])  # the others are at the floor
    np.testing.assert_allclose(size[moves], 1, atol=1e-4)
    assert moves.sum() >= 4 and (size < 1 + 1e-4).all()


def test_the_channel_of_a_joint() -> None:
    x = clips()
    normaliser = fit_normaliser(x, np.arange(10), relative=False)
    y = normalise(x[:], normaliser)
    j, d = 5, 1
    expected = (x[:][:, :, j, d] - normaliser["mean"][j][d]) / normaliser["scale"][j]
    np.testing.assert_allclose(y[:, 3 * j + d], expected, atol=1e-5)
    assert "root" in normaliser and normaliser["root"] is None


def test_a_joint_that_never_moves_is_not_blown_up() -> None:
    x = clips(placing=Placing(SKELETON, "root", False))
    scale = np.array(fit_normaliser(x, np.arange(10), relative=False)["scale"])
    assert scale[0] == pytest.approx(0.05 * np.median(np.r_[0, scale[1:]]), rel=0.3) and scale[0] > 0
    x.frames[:] = 1
    assert fit_normaliser(x, np.arange(10), relative=False)["scale"] == [1.0] * 8

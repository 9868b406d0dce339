"""Gaps: found, filled where short, cut out where long, and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_made import NAMES, body, takes

from noisette.data.motion import MotionSpec, load
from noisette.data.motion.clean import Origin, at_origin, clean, runs

NONE = Origin()


def test_whole_takes_are_left_alone() -> None:
    x = body(30)
    done = clean(x, 30, NONE)
    assert len(done.pieces) == 1 and done.pieces[0] is x and done.missing == done.filled == done.dropped == 0


@pytest.mark.parametrize("gone", [np.nan, 0.0, np.inf])
def test_a_short_gap_is_filled_on_a_straight_line(gone: float) -> None:
    x = body(30)
    x[10, 4], x[14, 4] = [1, 2, 3], [5, 2, -1]
    x[11:14, 4] = gone
    before = x.copy()
    done = clean(x, 30, NONE)
    np.testing.assert_allclose(done.pieces[0][11:14, 4], [[2, 2, 2], [3, 2, 1], [4, 2, 0]], atol=1e-6)
    np.testing.assert_array_equal(x, before)  # the caller's array is its own
    others = np.delete(done.pieces[0], 4, axis=1)
    np.testing.assert_array_equal(others, np.delete(x, 4, axis=1))
    assert (done.missing, done.filled, done.dropped, done.empty) == (3, 3, 0, 0)


@pytest.mark.parametrize(("fps", "longest"), [(30, 6), (60, 12), (5, 1), (2, 1), (None, 4)])
def test_how_long_a_gap_may_be(fps: float | None, longest: int) -> None:
    x = body(60)
    x[20 : 20 + longest, 2] = np.nan
    assert len(clean(x, fps, NONE).pieces) == 1
    x[20 + longest, 2] = np.nan
    done = clean(x, fps, NONE)
    assert [len(p) for p in done.pieces] == [20, 60 - 20 - longest - 1]
    np.testing.assert_array_equal(done.pieces[1], x[21 + longest :])
    assert (done.missing, done.filled, done.dropped) == (longest + 1, 0, longest + 1)


def test_what_is_missing_at_an_end_cannot_be_filled() -> None:
    x = body(30)
    x[:2, 1] = np.nan
    x[-1, 3] = 0
    done = clean(x, 30, NONE)
    assert len(done.pieces) == 1 and done.dropped == 3
    np.testing.assert_array_equal(done.pieces[0], x[2:-1])


def test_one_coordinate_makes_a_joint_missing_one_zero_does_not() -> None:
    x = body(20)
    x[5, 2, 1] = np.nan
    x[8, 2, 0] = 0
    assert clean(x, 30, NONE).missing == 1


def test_empty_frames() -> None:
    x = body(40)
    x[3] = 0
    x[9] = np.nan
    done = clean(x, 30, NONE)
    assert (done.empty, done.missing, done.filled, len(done.pieces)) == (2, 16, 16, 1)
    x[20:30] = 0
    done = clean(x, 30, NONE)
    assert [len(p) for p in done.pieces] == [20, 10] and done.empty == 12
    assert clean(np.zeros((9, 8, 3), np.float32), 30, NONE).pieces == []


def test_a_joint_at_the_origin_is_not_missing() -> None:
    centred = [x - x[:, :1] for x in (body(30), body(30, 1))]
    origin = at_origin(centred)
    assert origin == Origin(0, always=True) == at_origin(centred, root=0)
    assert clean(centred[0], 30, origin).missing == 0
    centred[1][4] = 0  # a frame in which nothing was seen
    assert at_origin(centred) == origin and clean(centred[1], 30, origin).empty == 1
    assert at_origin([body(30)]) == Origin()


def test_data_are_centred_on_one_joint_and_on_the_root_where_it_is_named() -> None:
    x = [v - v[:, :1] for v in (body(30), body(30, 1))]
    for v in x:
        v[:, [3, 5]] = 0  # never seen
    assert at_origin(x) == at_origin(x, root=0) == Origin(0, always=True)
    assert clean(x[0], 30, at_origin(x)).pieces == []
    assert at_origin(x, root=2) == Origin()


def test_takes_that_begin_with_their_root_at_the_origin() -> None:
    x = [v - v[0, 0] for v in (body(30, k) for k in range(4))]
    origin = at_origin(x)
    assert origin == at_origin(x, root=0) == Origin(0, always=False)
    assert clean(x[0], 30, origin).missing == 0
    x[0][7, 0] = 0  # it is not seen in another frame
    assert clean(x[0], 30, origin).filled == 1
    assert at_origin(x, root=1) == Origin()
    assert at_origin([*x, body(30, 5)]) == Origin()  # not in nearly all
    for v in x:
        v[0, 3] = 0
    assert at_origin(x) == Origin() and at_origin(x, root=0) == origin  # two of them: which is it?
    for v in x:
        v[0] = 0
    assert at_origin(x) == Origin()  # nothing was seen


def test_takes_that_begin_at_the_origin_lose_no_frame(tmp_path: Path) -> None:
    x = [v - v[0, 0] for v in takes([16] * 4)]
    np.savez(tmp_path / "a.npz", x=np.stack(x), names=NAMES, fps=30)
    data = load(MotionSpec(str(tmp_path / "a.npz"), frames=16, held_out=0, centre="world"))
    np.testing.assert_array_equal(data.x[:], x)
    assert data.info["cleaning"]["missing"] == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 0.3))
def test_nothing_missing_is_left_and_nothing_seen_is_changed(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(40, 5, 3)) + 10).astype(np.float32)
    gone = rng.random((40, 5)) < share
    dirty = x.copy()
    dirty[gone] = np.nan if seed % 2 else 0
    done = clean(dirty, 30, NONE)
    assert done.missing == gone.sum() and sum(map(len, done.pieces)) == 40 - done.dropped
    assert all(np.isfinite(p).all() and p.all() for p in done.pieces)
    seen = {row.tobytes() for row in x[~gone]}
    kept = sum(row.tobytes() in seen for p in done.pieces for row in p.reshape(-1, 3))
    assert kept == sum(map(len, done.pieces)) * 5 - done.filled


def test_runs() -> None:
    assert runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 2), (3, 4), (6, 7)]
    assert runs(np.zeros(3, bool)) == []

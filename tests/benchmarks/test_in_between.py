"""The benchmark of joins: where they lie, how a ratio is reckoned, and that a run is measured from end to end."""

import json

import digit_toys  # noqa: F401 - says where the benchmarks lie
import numpy as np
import pytest
from moving import moving

import in_between  # isort: skip
from noisette.data.motion import MotionSpec, load


def test_a_join_is_three_frames_either_side():
    kept = np.array([True] * 5 + [False] * 12 + [True] * 5)
    found = in_between.places(kept)
    assert found["join"].tolist() == [2, 3, 4, 5, 6, 7, 14, 15, 16, 17, 18, 19]
    assert found["touching"].tolist() == [4, 5, 16, 17] and found["inside"].tolist() == list(range(8, 14))
    short = in_between.places(np.array([True, True, False, False, False]))
    assert short["join"].tolist() == [1, 2, 3] and not len(short["inside"])


def test_acceleration_is_the_second_difference():
    t = np.arange(6, dtype=np.float32)
    x = np.zeros((2, 6, 4, 3), np.float32)
    x[0, :, :, 1], x[1, :, 0, 2] = t[:, None] ** 2, 3 * t**2  # all four joints by 2, one of four by 6
    found = in_between.accelerations(x)
    assert np.isnan(found[:, [0, -1]]).all()
    assert found[:, 1:-1].tolist() == [[2.0] * 4, [1.5] * 4]


def test_a_ratio_of_means_lies_within_its_interval():
    rng = np.random.default_rng(0)
    real = rng.uniform(1, 2, 200)
    found = in_between.ratio(1.3 * real * rng.normal(1, 0.1, 200), real)
    assert found["low"] < found["ratio"] < found["high"] and found["ratio"] == pytest.approx(1.3, rel=0.05)
    assert found["high"] / found["low"] == pytest.approx(np.exp(2 * 1.96 * 0.1 / np.sqrt(200)), rel=0.3)
    same = in_between.ratio(2 * real, real)
    assert (same["low"], same["ratio"], same["high"]) == pytest.approx((2, 2, 2))


def test_clips_that_stand_still_at_their_end_are_left_out(tmp_path):
    from data.motion_made import npz

    data = load(MotionSpec(npz(tmp_path / "walks.npz", [24, 12] * 8), frames=16, held_out=0.5))
    rows = in_between.chosen(data, 100)
    assert len(rows) == len({data.take[row] for row in rows}) >= 2
    assert {len(data.x.frames[data.x.start[row] :][:16]) for row in rows} == {16}
    assert all((np.diff(data.x[row], axis=0) != 0).any((1, 2)).all() for row in rows)
    assert len(in_between.chosen(data, 2)) == 2


def test_a_run_is_measured(tmp_path, capsys):
    run = moving(tmp_path, data__held_out=0.4)
    words = [str(run.path), "--clips", "3", "--keep", "0:4,-4:", "--rounds", "0,1", "--smooth", "0,3"]
    in_between.main([*words, "--ways", "ddim:3:1;dpmpp_2m:3", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "in_between.json").read_text())
    assert [(row["sampler"], row["rounds"], row["smooth"]) for row in found["rows"]] == [
        (name, rounds, smooth) for name in ("ddim:3:1", "dpmpp_2m:3") for rounds in (0, 1) for smooth in (0, 3)
    ]
    for row in found["rows"]:
        assert row["kept"] == 0 and row["unpasted"] < 2e-5 and row["far"] > 0
        for name in ("join", "touching", "inside"):
            assert 0 < row[name]["low"] <= row[name]["ratio"] <= row[name]["high"]
    assert found["clips"] == 3 and capsys.readouterr().out.count("\n| ddim:3:1 |") == 4

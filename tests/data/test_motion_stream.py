"""The stream of motion: a pure function of (seed, step), with augmentation that does what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from motion_made import SKELETON, body, npz

from noisette.data.motion import Augment, MotionData, MotionSpec, denormalise, load, normalise
from noisette.data.motion.clips import rotated
from noisette.data.motion.stream import MotionStream, mirrored, to_clips, varied
from noisette.errors import UserError

ALL = Augment(mirror=True, rotate=180, speed=0.2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MotionData:
    path = npz(tmp_path_factory.mktemp("m") / "a.npz", [40, 30, 25, 50], label=["a", "b", "a", "b"])
    return load(MotionSpec(path, frames=16, stride=2, held_out=0.3))


def same(a: object, b: object) -> bool:
    return all(torch.equal(getattr(a, k), getattr(b, k)) for k in ("x", "labels", "index"))


@pytest.mark.parametrize("augment", [Augment(), ALL])
def test_a_batch_depends_on_nothing_but_its_step(data: MotionData, augment: Augment) -> None:
    walked = MotionStream(data, 8, 5, augment=augment)
    batches = [walked.batch(k) for k in range(12)]
    for k in (11, 0, 7):
        assert same(MotionStream(data, 8, 5, augment=augment).batch(k), batches[k])
        assert same(walked.batch(k), batches[k])
    assert not same(MotionStream(data, 8, 6, augment=augment).batch(0), batches[0])


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_out_the_same_batch(data: MotionData, world: int) -> None:
    whole = MotionStream(data, 12, 1, augment=ALL)
    parts = [MotionStream(data, 12, 1, rank=r, world=world, augment=ALL) for r in range(world)]
    for k in (0, 3):
        assert torch.equal(torch.cat([p.batch(k).x for p in parts]), whole.batch(k).x)


def test_values_labels_and_layout(data: MotionData) -> None:
    batch = MotionStream(data, 5, 0).batch(2)
    rows = batch.index.numpy()
    assert batch.x.shape == (5, 24, 16) and batch.x.dtype == torch.float32 and batch.x.is_contiguous()
    assert (batch.x.numpy() == normalise(data.x[rows], data.normaliser)).all()
    assert batch.labels is not None and data.labels is not None and batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == data.labels[rows].tolist()


def test_held_out_rows_never_come_and_an_epoch_holds_every_clip_once(data: MotionData) -> None:
    stream = MotionStream(data, 7, 0)
    rows = np.concatenate([stream.rows(k) for k in range(30)])
    assert sorted(rows[: len(stream)]) == data.train.tolist() and not set(rows) & set(data.held_out.tolist())
    assert stream.epoch(1) == 7 / len(data.train)
    held = stream.take(data.held_out)
    np.testing.assert_allclose(denormalise(held.x.numpy(), data.normaliser), data.x[data.held_out], atol=1e-5)
    assert set(MotionStream(data, 2, 0, index=data.held_out).rows(0)) <= set(data.held_out.tolist())


def test_taking_rows_is_never_augmented(data: MotionData) -> None:
    plain, varying = (MotionStream(data, 4, 0, augment=a).take(data.train[:4]) for a in (Augment(), ALL))
    assert same(plain, varying)


def test_the_augmentation_of_the_spec_is_the_default(data: MotionData, tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [40, 30])
    told = load(MotionSpec(path, frames=16, mirror=True, rotate=True, speed=0.2))
    assert told.augment == ALL and MotionStream(told, 4, 0).augment == ALL
    assert not data.augment and not MotionStream(data, 4, 0).augment


def test_the_global_generators_are_left_alone(data: MotionData) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    MotionStream(data, 8, 1, augment=ALL).batch(3)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_refusals(data: MotionData) -> None:
    with pytest.raises(UserError, match="no clip to train on"):
        MotionStream(data, 4, 0, index=np.array([], np.int64))
    with pytest.raises(UserError, match="4 clips cannot be shared equally by 3 workers"):
        MotionStream(data, 4, 0, world=3)


@pytest.mark.parametrize("relative", [False, True])
def test_torch_and_numpy_undo_the_normaliser_alike(tmp_path: Path, relative: bool) -> None:
    data = load(MotionSpec(npz(tmp_path / "a.npz", [40, 30]), frames=16, relative=relative))
    y = torch.randn(3, 24, 16, requires_grad=True)
    x = to_clips(y, data.normaliser)
    np.testing.assert_allclose(x.detach().numpy(), denormalise(y.detach().numpy(), data.normaliser), atol=1e-6)
    x.square().sum().backward()
    assert y.grad is not None and (y.grad.abs() > 0).all()


# --- what the augmentation does ---


def lengths(x: np.ndarray) -> np.ndarray:
    e = SKELETON.edge_array
    return np.linalg.norm(x[..., e[:, 0], :] - x[..., e[:, 1], :], axis=-1)


def test_a_mirror_image_is_one() -> None:
    x = np.stack([body(12, k) for k in range(2)])
    x = x - x[:, :1, :1] * np.float32([1, 0, 1])
    y = mirrored(x, SKELETON, 0)
    left, right = np.array(SKELETON.pairs).T
    np.testing.assert_allclose(y[:, :, left], x[:, :, right] * np.float32([-1, 1, 1]), atol=1e-6)
    np.testing.assert_allclose(y[:, :, 0], x[:, :, 0] * np.float32([-1, 1, 1]), atol=1e-6)
    np.testing.assert_allclose(mirrored(y, SKELETON, 0), x, atol=1e-6)
    assert (y[:, 0, 2, 0] > y[:, 0, 3, 0]).all()  # the left hip is still on the left
    flat = mirrored(x[..., :2].copy(), SKELETON, 0)
    np.testing.assert_allclose(flat, y[..., :2], atol=1e-6)


def test_turned_clips_stay_where_they_begin() -> None:
    x = np.stack([body(12, k) for k in range(3)]) + np.float32([4, 0, 2])
    y = rotated(x, np.array([0.5, 2.0, -1.0]), SKELETON)
    np.testing.assert_allclose(y[:, 0, 0], x[:, 0, 0], atol=1e-5)
    np.testing.assert_allclose(lengths(y), lengths(x), atol=1e-5)
    assert np.abs(y - x).max() > 0.1


def test_half_are_mirrored_and_directions_are_spread(data: MotionData) -> None:
    rows = np.repeat(data.train[:1], 400)
    drawn = np.random.default_rng(0).random((400, 3))
    plain = data.x[rows]
    flipped = varied(data, rows, drawn, Augment(mirror=True))
    changed = np.abs(flipped - plain).max((1, 2, 3)) > 1e-6
    assert (changed == (drawn[:, 2] < 0.5)).all() and 160 < changed.sum() < 240
    turned = varied(data, rows, drawn, Augment(rotate=90))
    left, right = np.array(SKELETON.broad).T
    side = (turned[:, 0][:, left] - turned[:, 0][:, right]).mean(1)
    angle = np.degrees(np.arctan2(-side[:, 2], side[:, 0]))
    np.testing.assert_allclose(angle, 90 * (2 * drawn[:, 1] - 1), atol=1e-3)


def test_speed_changes_how_far_a_clip_goes(data: MotionData) -> None:
    row = int(np.argmax((data.x.high - data.x.low) * (data.x.start == data.x.low)))  # a long take, from its beginning
    rows, drawn = np.repeat(row, 3), np.array([[0.0, 0.5, 0.9], [0.5, 0.5, 0.9], [1.0, 0.5, 0.9]])
    x = varied(data, rows, drawn, Augment(speed=0.2))
    far = np.linalg.norm((x[:, -1, 0] - x[:, 0, 0])[:, [0, 2]], axis=1)
    np.testing.assert_allclose(far / far[1], [0.8, 1.0, 1.2], atol=0.03)
    np.testing.assert_array_equal(x[1], data.x[row])


def test_augmented_bodies_keep_their_bones(data: MotionData) -> None:
    stream = MotionStream(data, 32, 0, augment=ALL)
    x = denormalise(stream.batch(0).x.numpy(), data.normaliser)
    bones = lengths(data.x[data.train])
    assert np.abs(lengths(x) - bones.mean((0, 1))).max() < 0.01


def test_a_mirror_goes_along_the_axis_that_bodies_are_broad(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", [30, 30], yaw=np.pi / 2)
    assert load(MotionSpec(path, frames=16, heading=False)).lateral == 2
    assert load(MotionSpec(path, frames=16)).lateral == 0
    assert replace(load(MotionSpec(path, frames=16)), lateral=1).lateral == 1

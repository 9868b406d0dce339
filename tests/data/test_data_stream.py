"""The stream is a pure function of (seed, step), shared out to ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisette.data import ImageData, denormalise, normalise
from noisette.data.stream import Stream, fits, generator, on_device, to_bytes, to_model
from noisette.errors import UserError

Make = Callable[..., ImageData]


def same(a: object, b: object) -> bool:
    return all(torch.equal(getattr(a, k), getattr(b, k)) for k in ("x", "labels", "index"))


def test_a_batch_depends_on_nothing_but_its_step(image_data: Make) -> None:
    data = image_data()
    walked = Stream(data, 8, seed=5, flip=True)
    batches = [walked.batch(k) for k in range(12)]
    for k in (11, 0, 7):
        assert same(Stream(data, 8, seed=5, flip=True).batch(k), batches[k])
        assert same(walked.batch(k), batches[k])
    assert not same(Stream(data, 8, seed=6, flip=True).batch(0), batches[0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 2**63))
def test_an_epoch_holds_every_image_once(image_data: Make, n: int, batch: int, seed: int) -> None:
    data = image_data(n + 2, held_out=2)
    stream = Stream(data, batch, seed)
    rows = np.concatenate([stream.rows(k) for k in range(-(-3 * n // batch))])[: 3 * n]
    for epoch in rows.reshape(3, n):
        assert sorted(epoch) == list(range(n))


@pytest.mark.parametrize("world", [2, 3, 6])
def test_ranks_share_out_the_same_batch(image_data: Make, world: int) -> None:
    data = image_data(50)
    whole = Stream(data, 12, seed=1, flip=True)
    parts = [Stream(data, 12, seed=1, rank=r, world=world, flip=True) for r in range(world)]
    for k in (0, 3, 9):
        mine = [p.batch(k) for p in parts]
        assert torch.equal(torch.cat([b.x for b in mine]), whole.batch(k).x)
        assert torch.equal(torch.cat([b.index for b in mine]), whole.batch(k).index)
    first = [set(p.rows(0).tolist()) for p in parts]
    assert sum(map(len, first)) == len(set.union(*first)) == 12


def test_values_labels_and_layout(image_data: Make) -> None:
    data = image_data(channels=3)
    batch = Stream(data, 5, seed=0).batch(2)
    rows = batch.index.numpy()
    assert batch.x.shape == (5, 3, 6, 6) and batch.x.dtype == torch.float32 and batch.x.is_contiguous()
    assert (batch.x.numpy() == normalise(data.x[rows]).transpose(0, 3, 1, 2)).all()
    assert batch.labels is not None and batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == (rows % 3).tolist()
    assert Stream(image_data(labelled=False), 5, seed=0).batch(0).labels is None


def test_held_out_rows_never_come(image_data: Make) -> None:
    data = image_data(20, held_out=5)
    stream = Stream(data, 7, seed=0)
    seen = {int(i) for k in range(30) for i in stream.rows(k)}
    assert seen == set(data.train.tolist()) and not seen & set(data.held_out.tolist())
    assert stream.take(data.held_out).index.tolist() == data.held_out.tolist()
    assert set(Stream(data, 2, 0, index=data.held_out).rows(0)) <= set(data.held_out.tolist())


def test_half_of_the_images_are_mirrored(image_data: Make) -> None:
    data = image_data(200, held_out=0)
    kinds = Counter[str]()
    for k in range(4):
        plain, flipped = (Stream(data, 100, seed=3, flip=f).batch(k) for f in (False, True))
        for a, b in zip(plain.x, flipped.x, strict=True):
            kinds["same" if torch.equal(a, b) else "mirrored" if torch.equal(a.flip(-1), b) else "other"] += 1
    assert kinds["other"] == 0 and 140 < kinds["mirrored"] < 260


def test_memory_mapped_data_gives_the_same(image_data: Make, tmp_path: Path) -> None:
    data = image_data(channels=3)
    np.save(tmp_path / "x.npy", data.x)
    mapped = image_data(channels=3)
    mapped.x = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert same(Stream(mapped, 8, 1, flip=True).batch(3), Stream(data, 8, 1, flip=True).batch(3))
    data.x.flags.writeable = False
    assert same(Stream(mapped, 8, 1, flip=True).batch(3), Stream(data, 8, 1, flip=True).batch(3))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="what is resident of a file is read from Linux")
def test_of_a_memory_mapped_file_a_batch_alone_is_resident(image_data: Make, tmp_path: Path) -> None:
    path, data = tmp_path / "x.npy", image_data()
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(100_000, 8, 8, 1)).flush()
    data.x, data.labels = np.load(path, mmap_mode="r"), None
    stream = Stream(data, 8, 0, index=np.arange(len(data.x)))

    def resident() -> int:  # KiB
        lines = iter(Path("/proc/self/smaps").read_text().splitlines())
        ours = [next(x for x in lines if x.startswith("Rss:")) for line in lines if str(path) in line]
        return sum(int(line.split()[1]) for line in ours)

    assert data.x.max() == 0
    assert resident() > 5_000
    for step in range(100):
        stream.batch(step)
    assert resident() < 1_000


def test_the_global_generator_is_left_alone(image_data: Make) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    Stream(image_data(), 8, 1, flip=True).batch(3)
    generator(0, 0)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_refusals(image_data: Make) -> None:
    with pytest.raises(UserError, match="no image to train on"):
        Stream(image_data(3, held_out=3), 4, 0)
    with pytest.raises(UserError, match="3 workers"):
        Stream(image_data(), 4, 0, world=3)


def test_generators_are_independent_and_repeat() -> None:
    def draw(*key: object) -> tuple[float, ...]:
        return tuple(torch.randn(3, generator=generator(*key)).tolist())  # type: ignore[arg-type]

    keys = [(s, k, r, p) for s in (0, 1) for k in (0, 1, 2**31) for r in (0, 1) for p in ("t", "noise")]
    assert len({draw(*k) for k in keys}) == len(keys)
    assert draw(3, 4, 1, "t") == draw(3, 4, 1, "t")
    seeds = {generator(7, k, 0, "noise").initial_seed() for k in range(20_000)}
    assert len(seeds) == 20_000 and max(seeds) < 2**32


def test_torch_and_numpy_agree() -> None:
    b = np.arange(256, dtype=np.uint8)
    x = to_model(torch.from_numpy(b))
    assert (x.numpy() == normalise(b)).all() and (to_bytes(x).numpy() == b).all()
    wild = torch.linspace(-1.5, 1.5, 1001)
    assert (to_bytes(wild).numpy() == denormalise(wild.numpy())).all()


def test_data_kept_on_a_device_gives_the_same(image_data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisette.data.stream._PART", 7)
    data = image_data(channels=3)
    kept = Stream(data, 8, 1, flip=True)
    kept._x = on_device(data.x, "cpu")  # what an accelerator would hold
    assert torch.equal(kept._x, torch.from_numpy(data.x))
    assert same(kept.batch(3), Stream(data, 8, 1, flip=True).batch(3))


def test_a_gpu_keeps_what_fits_a_share_of_its_free_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((10, 8, 8, 1), np.uint8)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    gpu, other = torch.device("cuda"), torch.device("mps")
    for free, kept in ((4 * x.nbytes, True), (4 * x.nbytes - 1, False)):
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda device, free=free: (free, free))
        assert fits(x, gpu) is kept and fits(mapped, gpu) is kept
    assert fits(x, other) and not fits(mapped, other)

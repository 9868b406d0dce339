"""The data set, the forward process, noise to image, and the losses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from coursework_toys import Small, generator, linear_betas, randn

import noisette as nt
from noisette import UserError, coursework
from noisette.coursework import DiffusionDataset, DiffusionProcess, forward_process
from noisette.data import DataSpec, load
from noisette.data.stream import Stream, images
from noisette.diffusion.schedules import Flow, TerminalSignalWarning, cosine
from noisette.experiment.runs import Run
from noisette.tasks.generate import generate, noise_of

# --- the data set ---------------------------------------------------------------------------------------------------


def test_images_are_those_of_the_stream(squares):
    data = DiffusionDataset(squares)
    core = load(DataSpec(str(squares)))
    batch = Stream(core, 8, 0).take(core.train)
    assert len(data) == len(core.train) == 54 and data.classes == ("0", "1")
    pairs = [data[k] for k in range(len(data))]
    assert torch.equal(torch.stack([x for x, _ in pairs]), batch.x)
    assert [label for _, label in pairs] == batch.labels.tolist()
    assert len(list(data)) == 54, "it ends"


def test_held_out_images_are_the_others(squares):
    train, held = DiffusionDataset(squares), DiffusionDataset(squares, held_out=True)
    assert len(held) == 6 and not set(train.rows) & set(held.rows)
    assert len(DiffusionDataset(squares, share=0)) == 60


def test_some_classes_and_sizes(squares):
    ones = DiffusionDataset(squares, classes=[1], share=0)
    assert len(ones) == 30 and ones.classes == ("1",) and {label for _, label in ones} == {0}
    x = torch.stack([image for image, _ in ones])
    assert float(x[:, :, 4:, 4:].mean()) > float(x[:, :, :4, :4].mean()) + 1, "their square is at the bottom right"
    few = DiffusionDataset(squares, 12, ["1", "0"], per_class=3, share=0)
    assert few.classes == ("1", "0") and few[0][0].shape == (1, 12, 12)
    assert sorted(label for _, label in few) == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UserError, match='no class "2"'):
        DiffusionDataset(squares, classes=[2])
    with pytest.raises(UserError, match='no setting "colour"; did you mean "color"'):
        DiffusionDataset(squares, colour="rgb")


@pytest.mark.parametrize(("classes", "names"), [("1", ("1",)), (1, ("1",)), ([1, "0"], ("1", "0")), ((), ("0", "1"))])
def test_one_class_needs_no_list(squares, classes, names):
    assert DiffusionDataset(squares, classes=classes).classes == names


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"classes": "10"}, 'no class "10"'),  # not the classes 1 and 0
        ({"held_out": True, "share": 0}, "no image is held out with share=0: give another share"),
        ({"per_class": 1.5}, "per_class must be a whole number, not 1.5"),
        ({"image_size": "28"}, "image_size must be a whole number, not '28'"),
    ],
)
def test_settings_of_the_data_that_cannot_be(squares, settings, words):
    with pytest.raises(UserError, match=re.escape(words)):
        DiffusionDataset(squares, **settings)


def test_a_batch_has_at_least_one_image(squares):
    with pytest.raises(UserError, match="batch_size must be at least 1, not 0"):
        DiffusionDataset(squares).loader(0)


def test_one_digit_and_two_of_real_ones():
    place = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"
    if not place.is_dir():
        pytest.skip("no folder of real test data beside the repository")
    ones = DiffusionDataset(place, classes=["1"])
    two = DiffusionDataset(place, classes=["1", "7"], share=0)
    assert abs(len(ones) - 0.9 * 6742) < 3 and ones[0][0].shape == (1, 28, 28)
    assert len(two) == 6742 + 6265
    ink = torch.stack([two[k][0] for k in range(200)]).add(1).mean()
    assert 0.05 < float(ink) < 0.4


def test_batches(squares):
    data = DiffusionDataset(squares)
    x, labels = next(iter(data.loader(20)))
    assert x.shape == (20, 1, 8, 8) and x.dtype == torch.float32 and labels.shape == (20,)
    assert -1 <= float(x.min()) < float(x.max()) <= 1
    first, second = ([row for _, batch in data.loader(7, seed=seed) for row in batch.tolist()] for seed in (0, 1))
    assert sorted(first) == sorted(second) and first != second
    state = torch.get_rng_state()
    again, other = data.loader(54, seed=0), data.loader(54, seed=0)
    assert torch.equal(next(iter(again))[0], next(iter(other))[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(next(iter(again))[0], next(iter(data.loader(54, seed=0)))[0]), "each pass has its own order"
    plain = next(iter(data.loader(4, shuffle=False)))[0]
    assert torch.equal(plain, torch.stack([data[k][0] for k in range(4)]))


def test_images_without_classes(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8))
    data = DiffusionDataset(tmp_path / "x.npy")
    assert data.classes == () and data[0][0].shape == (3, 8, 8) and data[0][1] == 0


# --- forwards -------------------------------------------------------------------------------------------------------


def test_noise_is_added_step_by_step():
    x0 = randn(2, 1, 4, 4)
    way = forward_process(x0, 50, generator=generator(1))
    assert way.shape == (51, 2, 1, 4, 4) and torch.equal(way[0], x0)
    draws, x = generator(1), x0
    for step, beta in enumerate(linear_betas(50, 20.0)):
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * torch.randn(x.shape, generator=draws, dtype=x.dtype)
        torch.testing.assert_close(way[step + 1], x, rtol=1e-9, atol=1e-9)


def test_its_end_is_the_marginal_of_the_core():
    x0 = torch.full((4000, 1, 1, 1), 0.8, dtype=torch.float64)
    way = forward_process(x0, 20, schedule="cosine", generator=generator())
    schedule = cosine(20)
    for step in (1, 10, 20):
        alpha, sigma = (float(v) for v in schedule.level(step / 20))
        assert float(way[step].mean()) == pytest.approx(0.8 * alpha, abs=4 * sigma / 4000**0.5)
        assert float(way[step].var()) == pytest.approx(sigma**2, rel=0.1)


def test_schedules_of_the_forward_process():
    x0 = torch.zeros(1, 1, 2, 2)
    with pytest.warns(TerminalSignalWarning):
        forward_process(x0, 100, scaled=False)
    assert forward_process(x0, 30, schedule=cosine(30)).shape[0] == 31
    for settings, words in (
        ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ({"T": 1}, "T must lie in"),
        ({"T": -5}, "T must lie in"),
        ({"schedule": cosine(30)}, "has 30 steps, not 1000"),
        ({"schedule": Flow()}, "flow schedule has no steps to count"),
    ):
        with pytest.raises(UserError, match=words):
            forward_process(x0, **settings)


# --- noise to image -------------------------------------------------------------------------------------------------


def test_an_image_from_noise_is_that_of_the_run(trained: Run):
    noise = noise_of(trained, 3, seed=5)
    made = coursework.test_function(noise, trained)
    assert made.shape == noise.shape and made.dtype == torch.float32
    core, _ = generate(trained, noise=noise)
    np.testing.assert_array_equal(images(made), core.x)
    for same in (trained.path, str(trained.path), nt.open(trained.path)):
        assert torch.equal(coursework.test_function(noise, same), made)
    assert torch.equal(coursework.test_function(noise[0], trained), made[0]), "one noise, one image"
    assert not torch.equal(coursework.test_function(noise, trained, steps=2), made)
    with pytest.raises(UserError, match="the noise must have shape"):
        coursework.test_function(noise[..., :4], trained)


def test_an_image_from_noise_by_a_process():
    process = DiffusionProcess(8, noise_steps=10, model=Small(), device="cpu")
    noise = randn(2, 1, 8, 8, dtype=torch.float32)
    made = coursework.test_function(noise, process, sampler="ddim", steps=5)
    assert torch.equal(made, process.sample(2, noise=noise, sampler="ddim", steps=5))
    assert torch.equal(coursework.test_function(noise, process), coursework.test_function(noise, process))


# --- losses ---------------------------------------------------------------------------------------------------------


def test_losses():
    x, y = 3 * randn(4, 5), randn(4, 5, seed=1)
    d = (x - y).abs().numpy()
    for loss, expected in (
        (coursework.l1_loss, d),
        (coursework.l2_loss, d**2),
        (coursework.huber_loss, np.where(d <= 1, d**2 / 2, d - 0.5)),
        (coursework.charbonnier_loss, np.sqrt(d**2 + 1e-6)),
    ):
        found = loss(x.requires_grad_(), y)
        assert found.shape == () and found.requires_grad
        assert float(found.detach()) == pytest.approx(expected.mean(), rel=1e-12)
    assert float(coursework.huber_loss(torch.tensor([3.0]), torch.tensor([0.0]), delta=0.5)) == pytest.approx(1.375)

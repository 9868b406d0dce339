"""From one noise to another: the right noises, the right ends, and what counts as smooth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.tasks import interpolate as between
from noisette.tasks.generate import generate


def two(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 32, 32, generator=generator), torch.randn(3, 32, 32, generator=generator)


def test_slerp_turns_at_an_even_angle_and_keeps_its_length() -> None:
    a, b = two()
    a, b = a / a.norm(), b / b.norm()
    points = [between.slerp(a, b, k / 4) for k in range(5)]
    angles = [float(torch.acos((p * q).sum())) for p, q in itertools.pairwise(points)]
    assert angles == pytest.approx([math.acos(float((a * b).sum())) / 4] * 4, abs=1e-5)
    assert [float(p.norm()) for p in points] == pytest.approx([1] * 5, abs=1e-6)
    torch.testing.assert_close(points[0], a)
    torch.testing.assert_close(points[4], b)


def test_lerp_shrinks_by_a_root_of_two_half_way() -> None:
    a, b = two()
    length = math.sqrt(a.numel())
    assert float(between.lerp(a, b, 0.5).norm()) / length == pytest.approx(0.5**0.5, abs=0.02)
    assert float(between.slerp(a, b, 0.5).norm()) / length == pytest.approx(1, abs=0.02)


def test_slerp_of_one_direction_is_a_straight_line() -> None:
    a, _ = two()
    torch.testing.assert_close(between.slerp(a, 2 * a, 0.25), 1.25 * a)


def test_the_ends_are_the_samples_of_the_two_seeds(trained: Run) -> None:
    model, _ = build.trained(trained)
    settings = trained.config.sample.model_copy(update={"sampler": "ddpm", "guidance": 2.0})
    path = between.interpolate(model, settings, trained.shape, (3, 8), 5, label=1)
    assert path.x.shape == (5, 8, 8, 1) and path.label == 1 and path.between == (3, 8)
    name = trained.shape.classes[1]
    for at, seed in ((0, 3), (4, 8)):
        sample, _ = generate(trained, 1, seed=seed, classes=[name], sampler="ddim", eta=0.0, guidance=2.0)
        assert np.abs(sample.x[0].astype(int) - path.x[at]).max() <= 1  # of another batch size
    assert not np.array_equal(path.x[0], path.x[2])


def test_another_sampler_than_the_runs_walks_the_usual_grid(trained: Run) -> None:
    own = trained.config.sample.model_copy(update={"sampler": "dpmpp_2m_sde", "grid": "karras"})
    assert between.without_chance(own).grid == "trailing"
    assert between.without_chance(own.model_copy(update={"sampler": "heun"})).grid == "karras"


def test_without_a_class_nothing_is_guided(trained: Run) -> None:
    model, _ = build.trained(trained)
    settings = trained.config.sample.model_copy(update={"guidance": 3.0})
    path = between.interpolate(model, settings, trained.shape, (0, 1), 3, label=2)
    sample, _ = generate(trained, 1, guidance=0.0)
    assert path.label == 2
    assert np.abs(sample.x[0].astype(int) - path.x[0]).max() <= 1


def test_chance_is_taken_out_of_a_sampler(trained: Run) -> None:
    settings = trained.config.sample
    for name, eta, expected in (("ddpm", 0.5, "ddim"), ("ddim", 1.0, "ddim"), ("heun", 0.0, "heun")):
        used = between.without_chance(settings.model_copy(update={"sampler": name, "eta": eta}))
        assert (used.sampler, used.eta) == (expected, 0.0)


def test_mistakes_are_the_users(trained: Run) -> None:
    model, _ = build.trained(trained)
    for seeds, count, says in (((1, 1), 9, "two different seeds"), ((0, 1), 2, "at least 3")):
        with pytest.raises(UserError, match=says):
            between.interpolate(model, trained.config.sample, trained.shape, seeds, count)


@pytest.mark.parametrize(
    ("places", "unevenness", "detour"), [([0, 1, 2, 3], 1, 1), ([0, 0, 3, 3], 3, 1), ([0, 2, 1, 3], 6 / 5, 5 / 3)]
)
def test_smoothness_of_ways_along_a_line(places: list[int], unevenness: float, detour: float) -> None:
    x = np.array(places, np.uint8).reshape(-1, 1, 1, 1)
    path = between.Path("slerp", (0, 1), None, np.linspace(0, 1, 4), x, np.ones(4))
    found = between.smoothness(path, lambda images: images.reshape(len(images), -1).astype(np.float64))
    assert (found.unevenness, found.detour) == pytest.approx((unevenness, detour))


def test_a_closer_look_tells_a_jump_from_a_quick_place(trained: Run) -> None:
    """In features that are a smooth function of the pictures nothing jumps; in a yes or no of them everything does."""
    model, _ = build.trained(trained)
    settings, shape = trained.config.sample, trained.shape
    path = between.interpolate(model, settings, shape, (0, 1), 5, label=0)

    def flat(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1).astype(np.float64)

    limit = (flat(path.x[:1]).mean() + flat(path.x[-1:]).mean()) / 2
    smooth = between.sharpest(model, settings, shape, path, flat)
    sharp = between.sharpest(model, settings, shape, path, lambda x: (flat(x).mean(1, keepdims=True) > limit) * 1.0)
    assert 1 / 8 < smooth < 0.5 and sharp == 1

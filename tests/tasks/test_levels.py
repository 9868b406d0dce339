"""Losses by noise level: of nets, and of the exact models that bound them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny

from noisette.data import ImageData
from noisette.diffusion.denoisers import NetDenoiser, Prediction
from noisette.diffusion.exact import Empirical
from noisette.diffusion.objectives import Objective
from noisette.diffusion.schedules import make_schedule
from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.tasks import levels


class Zero(torch.nn.Module):
    """A net that always gives nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: torch.Tensor | None) -> torch.Tensor:
        return 0 * x


def images(n: int = 40, side: int = 4, classes: int = 2, held_out: int = 8) -> ImageData:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, side, side, 1), dtype=np.uint8)
    labels = (np.arange(n) % classes).astype(np.int64)
    train, rest = np.arange(n - held_out), np.arange(n - held_out, n)
    names = tuple(str(k) for k in range(classes))
    return ImageData(x, labels, names, "none", {}, train, rest, np.zeros((n, 16), np.uint8))


@pytest.fixture(scope="module")
def found() -> levels.Losses:
    model = NetDenoiser(Zero(), make_schedule("cosine"), "v")
    return levels.measure(model, Objective("v"), images(), a_bin=64)


def test_a_net_that_says_nothing_has_the_loss_of_its_target(found: levels.Losses) -> None:
    """v = 0 misses all of v = alpha eps - sigma x0, whose mean square is alpha^2 + sigma^2 E[x0^2]."""
    power = float(((images().x[:32] / 127.5 - 1.0) ** 2).mean())
    schedule = make_schedule("cosine")
    t, mean, error = found.by_level("v", "training")
    alpha, sigma = (v.numpy() for v in schedule.level(torch.as_tensor(t)))
    assert np.abs((mean - alpha**2 - sigma**2 * power) / error).max() < 5
    assert len(t) == 20 and t[0] == 0.025


def test_spaces_agree_through_their_factor(found: levels.Losses) -> None:
    """The same miss seen in eps is that in v times alpha^2 (with alpha^2 + sigma^2 = 1)."""
    alpha = make_schedule("cosine").alpha(torch.as_tensor(found.t)).numpy()
    for model in ("training", "held_out", "linear", "memory"):
        expected = alpha**2 * found.losses["v"][model]
        np.testing.assert_allclose(found.losses["eps"][model], expected, rtol=1e-2, atol=1e-6)


def test_memory_is_below_the_linear_denoiser_and_both_below_a_net_that_says_nothing(found: levels.Losses) -> None:
    for space in ("v", "eps"):
        means = [found.mean(space, model) for model in ("memory", "linear", "training")]
        assert means == sorted(means) and means[0] < 0.5 * means[2]


def test_the_linear_loss_is_what_its_eigenvalues_say() -> None:
    """The best linear denoiser leaves, of each principal component c, the share sigma^2 / (alpha^2 c + sigma^2)."""
    data = images(400, 3, held_out=0)
    schedule = make_schedule("cosine")
    found = levels.measure(NetDenoiser(Zero(), schedule, "x0"), Objective("x0"), data, a_bin=64)
    x = data.x.reshape(400, -1) / 127.5 - 1.0
    c = np.linalg.eigvalsh(np.cov(x.T, bias=True))
    alpha, sigma = (v.numpy() for v in schedule.level(torch.as_tensor(found.t)))
    per_t = (c * sigma[:, None] ** 2 / (alpha[:, None] ** 2 * c + sigma[:, None] ** 2)).mean(1)
    third = found.third()
    for k in range(3):
        values = found.losses["x0"]["linear"][third == k]
        error = values.std() / len(values) ** 0.5
        assert abs(values.mean() - per_t[third == k].mean()) < 4 * error
    assert "held_out" not in found.losses["x0"]


def test_thirds_share_out_the_whole_loss(found: levels.Losses) -> None:
    shares = found.shares("v", "training")
    assert shares.sum() == pytest.approx(1)
    assert np.bincount(found.third()).tolist() == pytest.approx([len(found.t) / 3] * 3, abs=2)
    whole = sum(found.mean("v", "training", k) for k in range(3)) / 3
    assert found.mean("v", "training") == pytest.approx(whole, rel=0.01)
    (first, second), (third, last) = found.snr(0), found.snr(2)
    assert first > second > third > last
    assert second == pytest.approx(float(make_schedule("cosine").snr(0.334)), rel=1e-6)


def test_memory_that_is_told_the_class_looks_among_its_pictures_alone() -> None:
    schedule = make_schedule("cosine")
    pictures = torch.randn(12, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    memory = levels.Memory(pictures, labels, schedule)
    x, t = torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(1)), torch.linspace(0.2, 0.9, 5)
    said = memory(x, t, torch.tensor([2, 0, 1, 1, 2]))
    for k, label in enumerate([2, 0, 1, 1, 2]):
        alone = Empirical(pictures[labels == label], schedule)(x[k : k + 1], t[k : k + 1])
        torch.testing.assert_close(said.x0[k : k + 1], alone.x0)
    torch.testing.assert_close(memory(x, t).x0, Empirical(pictures, schedule)(x, t).x0)
    assert isinstance(said, Prediction)


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule__name": "edm", "objective__predicts": "edm"},
        {"schedule__name": "flow", "objective__predicts": "flow", "net__conditional": False},
        {"objective__predicts": "eps", "objective__distance": "l1", "schedule__T": 10, "sample__steps": 4},
    ],
)
def test_every_kind_of_run(squares, tmp_path, settings: dict) -> None:  # type: ignore[no-untyped-def]
    run: Run = tiny(squares, tmp_path / "run", train__steps=2, **settings)
    model, data = build.trained(run)[0], build.data(run)
    told = build.conditional(run.config, run.shape)
    found = levels.measure(model, build.objective(run.config, run.shape), data, told=told, a_bin=8)
    for space, by_model in found.losses.items():
        for model_name, losses in by_model.items():
            assert np.isfinite(losses).all(), (space, model_name)
    assert found.mean(found.space, "memory") < found.mean(found.space, "linear")
    if run.config.schedule.name == "edm":
        assert found.by_level("eps", "training")[0].min() > 0.2  # its times begin there


def test_two_nets_are_judged_on_the_same(trained: Run) -> None:
    models = [build.trained(trained, kind)[0] for kind in ("ema", "raw", "ema")]
    objective, data = build.objective(trained.config, trained.shape), build.data(trained)
    first, second, third = levels.pictures_losses(models, objective, data, told=True, n=32)
    np.testing.assert_array_equal(first, third)
    assert first.shape == (32,) and not np.array_equal(first, second)

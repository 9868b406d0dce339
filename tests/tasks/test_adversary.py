"""Adversarial training: the two losses and the penalty by hand, who moves when, exact resume, and that it learns."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from alike import assert_same_run
from tiny import TINY_GAN, tiny
from torch import Tensor, nn

from noisette.data import DataSpec, ImageData, load
from noisette.data.stream import Batch
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.config import Config, merge
from noisette.experiment.runs import Run, Shape
from noisette.metrics import distances
from noisette.tasks import train
from noisette.tasks.adversary import LOSSES, MEANS, Adversary, Duel, settle, steepness
from noisette.tasks.generate import draw, generate

SHAPE = Shape.images(1, 8, 8, ("left", "right"))


def config_of(**settings: object) -> Config:
    wanted = merge(TINY_GAN, {"train.steps": 12, **{k.replace("__", "."): v for k, v in settings.items()}})
    return build.resolve(SHAPE, "small-grey", wanted)


class Linear(nn.Module):
    """D(x) = <w, x>, whose gradient at any x is w."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x.flatten(1) @ self.weight


def batch_of(n: int = 4) -> Batch:
    x = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    return Batch(x, torch.arange(n) % 2, torch.arange(n))


# --- the arithmetic -----------------------------------------------------------------------------------------------


def test_the_steepness_of_a_linear_critic_is_its_weights() -> None:
    """|grad D|^2 = |w|^2 at every x, so that R1's own gradient is gamma w: both in closed form."""
    weight = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    critic, x = Linear(weight.clone()), batch_of().x.double()
    logits, squares = steepness(critic, x, None)
    assert torch.equal(logits, x.flatten(1) @ weight)
    assert torch.allclose(squares, weight.square().sum().expand(4), rtol=1e-12)
    gamma = 3.0
    (gamma / 2 * squares.mean()).backward()
    assert torch.allclose(critic.weight.grad, gamma * weight, rtol=1e-12)


def test_the_steepness_of_a_bent_critic_is_that_of_autograd_and_of_differences() -> None:
    class Bent(Linear):
        def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
            return torch.tanh(super().forward(x))

    critic, x = Bent(torch.full((64,), 0.1, dtype=torch.float64)), batch_of().x.double()
    logits, squares = steepness(critic, x, None)
    slope = 1 - torch.tanh(x.flatten(1).sum(1) * 0.1) ** 2  # of tanh
    assert torch.allclose(squares, slope**2 * 64 * 0.01, rtol=1e-10)
    h = 1e-5
    up, down = (critic(x + side * h / 8) for side in (1, -1))  # along the gradient, which is the same everywhere
    assert torch.allclose(((up - down) / (2 * h)) ** 2, squares, rtol=1e-6) and torch.equal(logits, critic(x))


def test_losses_by_hand() -> None:
    real, fake = torch.tensor([2.0, -0.5]), torch.tensor([0.0, 1.5])
    logistic, hinge = LOSSES["logistic"], LOSSES["hinge"]
    wanted = []
    for r, f in ((2, 0), (-0.5, 1.5)):
        real_is, fake_is = (1 / (1 + math.exp(-logit)) for logit in (r, f))
        wanted.append(-math.log(real_is) - math.log(1 - fake_is))
    assert logistic.critic(real, fake).tolist() == pytest.approx(wanted, rel=1e-5)
    assert logistic.generator(fake).tolist() == pytest.approx([math.log(2), math.log(1 + math.exp(-1.5))], rel=1e-5)
    assert hinge.critic(real, fake).tolist() == [1.0, 4.0] and hinge.generator(fake).tolist() == [0.0, -1.5]
    # far behind, the generator's loss still has a slope of one: it does not saturate
    lost = torch.tensor([-50.0], requires_grad=True)
    logistic.generator(lost).sum().backward()
    assert lost.grad.item() == pytest.approx(-1.0)


def test_each_net_takes_its_own_step_by_adam() -> None:
    """Both nets move at the rate of the first step of Adam, |lr|, in the direction that lowers their own loss."""
    config = config_of(gan__lr=1e-4)
    duel = Duel(config, SHAPE)
    before = {name: weight.detach().clone() for name, weight in duel.nets.named_parameters()}
    batch, z = batch_of(8), torch.randn(8, 16, generator=torch.Generator().manual_seed(2))

    def losses() -> tuple[float, float]:
        with torch.no_grad():
            fake = duel.nets.critic(duel.nets.generator(z, batch.labels), batch.labels)
            real = duel.nets.critic(batch.x, batch.labels)
        loss = LOSSES["logistic"]
        return float(loss.critic(real, fake).mean()), float(loss.generator(fake).mean())

    critic_before, _ = losses()
    means, squares = duel.update(batch, z, 1)  # a step without the penalty
    assert squares is None and float(means[MEANS.index("loss_critic")]) == pytest.approx(critic_before)
    for name, weight in duel.nets.named_parameters():
        moved = (weight.detach() - before[name]).abs()
        assert float(moved.max()) == pytest.approx(1e-4, rel=0.02), name
    drawn = duel.nets.generator
    _, after = losses()
    with torch.no_grad():  # the generator of before, judged by the critic of now, is the worse one
        for name, weight in drawn.named_parameters():
            weight.copy_(before[f"generator.{name}"])
    _, as_it_was = losses()
    assert after < as_it_was


def test_the_penalty_is_lazy_and_as_strong_as_if_it_were_not() -> None:
    """Taken at each k-th step, k times as strong: such a step has the gradient of the loss + k gamma/2 |grad|^2."""
    every, gamma = 5, 2.0
    config = config_of(gan__r1=gamma, gan__r1_every=every)
    z = torch.zeros(4, 16)
    taken = [Duel(config, SHAPE).update(batch_of(), z, step)[1] is not None for step in range(11)]
    assert [step for step, yes in enumerate(taken) if yes] == [0, 5, 10]
    assert Duel(config_of(gan__r1=0.0), SHAPE).update(batch_of(), z, 0)[1] is None
    duel, twin, batch = Duel(config, SHAPE), Duel(config, SHAPE), batch_of()
    means, squares = duel.update(batch, z, 0)
    critic, labels = twin.nets.critic, batch.labels
    real, length = steepness(critic, batch.x, labels)
    fake = critic(twin.nets.generator(z, labels).detach(), labels)
    loss = LOSSES["logistic"].critic(real, fake).mean() + every * gamma / 2 * length.mean()
    gradients = torch.autograd.grad(loss, list(critic.parameters()))
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    assert means[MEANS.index("grad_norm_critic")] == pytest.approx(float(norm), rel=1e-5)
    assert float(squares) == pytest.approx(float(length.detach().mean()), rel=1e-6)


# --- a run --------------------------------------------------------------------------------------------------------

SETTINGS = {
    "logistic": {"data__flip": True},
    "hinge": {"gan__loss": "hinge", "gan__r1_every": 3, "net__conditional": False, "train__log_every": 4},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_interrupted_and_resumed_equals_straight(squares: Path, tmp_path: Path, name: str) -> None:
    settings = SETTINGS[name]
    straight = tiny(squares, tmp_path / "straight", TINY_GAN, train__steps=25, **settings)
    wanted = merge(TINY_GAN, {"train.steps": 25, **{k.replace("__", "."): v for k, v in settings.items()}})
    run, data = train.start(str(squares), wanted, "small-grey", tmp_path / "broken")
    for stop_at in (7, 16):
        counter = iter(range(stop_at - (run.checkpoints()[-1].step if run.checkpoints() else 0)))
        with pytest.raises(train.Interrupted):
            for _ in train.train(run, data, lambda c=counter: 0 if next(c, None) is not None else signal.SIGTERM):
                pass
    for _ in train.train(Run.open(run.path)):
        pass
    assert_same_run(straight, Run.open(run.path))
    more = train.continued(Run.open(run.path), {"steps": 5})
    for _ in train.train(more):
        pass
    assert Run.open(run.path).checkpoint().step == 30


def test_a_line_of_metrics_and_the_facts(squares: Path, tmp_path: Path) -> None:
    run = tiny(squares, tmp_path / "run", TINY_GAN)
    rows = [row for row in run.metrics() if "loss" in row]
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12] and rows[-1]["images"] == 96
    assert all({*MEANS, "images_per_second", "seconds"} <= row.keys() for row in rows)
    assert [row["step"] for row in rows if "r1" in row] == [2, 6, 10]  # steps 0, 4 and 8 took it
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert not any("val_loss" in row for row in run.metrics())
    rates = [row["lr"] / run.config.gan.lr for row in rows]
    assert rates == pytest.approx([1, 1, 1, 5 / 6, 1 / 2, 1 / 6])  # of steps 1, 3, 5, 7, 9 and 11, counted from 0
    both = sum(weight.numel() for weight in run.checkpoint().weights("raw").values())
    own = sum(weight.numel() for weight in run.checkpoint().weights("ema").values())
    assert (run.meta["parameters"], run.meta["parameters_generator"]) == (both, own) and own < both
    assert run.meta["estimate"]["steps"] == 12 and run.meta["estimate"]["memory"] > 0 and len(run.previews()) == 2


def test_a_quick_look_at_quality_while_it_trains(squares: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (250, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "many.npz", x=x, y=np.arange(250) % 2)
    run = tiny(tmp_path / "many.npz", tmp_path / "run", TINY_GAN, train__eval_every=6)
    found = [row for row in run.metrics() if "proxy_fd" in row]
    assert [row["step"] for row in found] == [6, 12] and all(row["proxy_fd"] > row["proxy_floor"] for row in found)


def test_the_average_follows_its_formula(squares: Path) -> None:
    data = load(DataSpec(str(squares)))
    trainer = Adversary(config_of(gan__ema=0.5), SHAPE, data)
    expected = [p.detach().clone() for p in trainer.model.generator.parameters()]
    for step in range(12):
        trainer.advance(0.0)
        decay = min(0.5, (1 + step) / (10 + step))
        now = trainer.model.generator.parameters()
        expected = [decay * e + (1 - decay) * p.detach() for e, p in zip(expected, now, strict=True)]
    for e, p in zip(expected, trainer.ema.parameters(), strict=True):
        assert torch.allclose(e, p, atol=1e-6)


def test_a_gradient_that_is_not_finite_stops_the_run(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = merge(TINY_GAN, {"train.steps": 20, "train.checkpoints": 10})
    run, data = train.start(str(squares), wanted, "small-grey", tmp_path / "run")
    advance = Adversary.advance

    def poisoned(self: Adversary, progress: float) -> float:
        if self.step == 9:
            torch.nn.init.constant_(self.model.generator.linear.weight, float("nan"))
        return advance(self, progress)

    monkeypatch.setattr(Adversary, "advance", poisoned)
    with pytest.raises(UserError, match=r"critic's gradient of step 9 is nan .*is step 8.*--gan.lr") as error:
        for _ in train.train(run, data):
            pass
    assert "\n" not in str(error.value) and run.meta["state"] == "failed"
    monkeypatch.undo()
    for _ in train.train(Run.open(run.path)):
        pass
    assert Run.open(run.path).finished


def test_a_trial_says_what_a_step_takes_and_leaves_the_settings(squares: Path) -> None:
    config = config_of()
    found = settle(config, SHAPE)
    assert found.config == config and found.memory_a_sample > 64 * 4
    trainer = Adversary(config, SHAPE, load(DataSpec(str(squares))))
    for _ in range(40):
        trainer.advance(0.0)
    assert 0.1 < found.an_image / (trainer.window.busy / trainer.images) < 10 and 0 < found.forward < found.an_image


# --- that it learns -----------------------------------------------------------------------------------------------


def quarters(x: np.ndarray) -> np.ndarray:
    """(N, 8, 8, 1) -> (N, 4): the mean of each quarter, 0 to 1."""
    return np.asarray(x.reshape(-1, 2, 4, 2, 4).mean((2, 4)).reshape(-1, 4) / 255)


def away(trainer: Adversary, data: ImageData) -> float:
    """The Fréchet distance of samples of the average to the data, in the brightness of their quarters."""
    seeds = list(range(200))
    x, _ = draw(trainer.averaged(), trainer.config.sample, SHAPE, seeds, np.arange(200) % 2)
    pair = [distances.moments(quarters(images)) for images in (x, data.x[data.train])]
    return distances.frechet_of_moments(*pair)


BATCH = {"train__batch": 16, "train__micro_batch": 16}


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_samples_move_to_the_data(squares: Path, loss: str) -> None:
    data = load(DataSpec(str(squares)))
    trainer = Adversary(config_of(gan__loss=loss, gan__channels=8, gan__ema=0.98, **BATCH), SHAPE, data)
    before = away(trainer, data)
    for _ in range(300):
        trainer.advance(0.0)
    assert away(trainer, data) < before / 10
    x, _ = draw(trainer.averaged(), trainer.config.sample, SHAPE, list(range(64)), np.arange(64) % 2)
    brightest = quarters(x).argmax(1)
    assert (brightest == np.where(np.arange(64) % 2, 3, 0)).mean() > 0.95  # the class that was asked for
    assert x.std(0).mean() > 5  # and not one picture again and again


def test_samples_depend_on_their_seeds_alone_and_start_from_the_noise_of_all_models(
    squares: Path, tmp_path: Path, trained: Run
) -> None:
    run = tiny(squares, tmp_path / "run", TINY_GAN)
    many, none = generate(run, 40)
    few, _ = generate(run, 3, seed=35)
    assert (many.x[35:38] == few.x).all() and not none and not (many.x[0] == many.x[2]).all()
    from noisette.tasks.generate import noise_of

    again, _ = generate(run, noise=noise_of(trained, 40))
    assert (again.x == many.x).all()
    raw, _ = generate(run, 3, weights="raw")
    assert not (raw.x == many.x[:3]).all()
    assert many.settings["nfe"] == 1 and many.settings["sampler"] == "one call"

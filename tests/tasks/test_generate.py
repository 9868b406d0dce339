from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny

from noisette.data.medium import Images
from noisette.diffusion.exact import Gaussian
from noisette.diffusion.samplers import SAMPLERS
from noisette.diffusion.schedules import SCHEDULES, make_schedule
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.runs import Run, Shape
from noisette.tasks import compiling
from noisette.tasks.explain import forward
from noisette.tasks.generate import CHUNK, generate, noise_of, tile


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sample_k_depends_on_its_seed_alone(trained: Run, sampler: str) -> None:
    """The first of many are the few, bit for bit, within a chunk, across chunks and from another first seed."""
    settings = {"sampler": sampler, "steps": 3}
    many, _ = generate(trained, CHUNK + 5, **settings)
    few, _ = generate(trained, 4, **settings)
    later, _ = generate(trained, 3, seed=CHUNK - 1, **settings)  # another place in the chunk, other neighbours
    assert (many.x[:4] == few.x).all() and (many.x[CHUNK - 1 : CHUNK + 2] == later.x).all()
    assert many.seeds == list(range(CHUNK + 5)) and later.seeds == [CHUNK - 1, CHUNK, CHUNK + 1]
    assert not (many.x[0] == many.x[2]).all()


def test_frames_go_from_noise_to_the_sample(trained: Run) -> None:
    samples, frames = generate(trained, CHUNK + 1, steps=4, frames=True)
    assert len(frames) == 5 and frames[0].t == 1.0 and frames[-1].t == 0.0
    assert [f.label for f in frames] == ["t=1000", "t=750", "t=500", "t=250", "t=0"]
    assert (frames[-1].x == samples.x).all() and frames[0].x0 is None and frames[1].x0 is not None
    assert frames[0].signal is not None and frames[0].signal < 0.01 and frames[-1].signal == 1.0
    assert all(len(f.x) == CHUNK + 1 for f in frames)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_given_by_hand_is_where_samples_start(trained: Run, sampler: str) -> None:
    """The noise of the seeds, given back, makes their samples again, what ddpm adds on its way included."""
    settings = {"sampler": sampler, "steps": 3}
    many, _ = generate(trained, CHUNK + 2, **settings)
    noise = noise_of(trained, CHUNK + 2)
    again, frames = generate(trained, noise=noise, frames=True, **settings)
    assert (again.x == many.x).all() and again.seeds == many.seeds and len(frames[0].x) == CHUNK + 2
    alone, _ = generate(trained, noise=noise[5:6].numpy(), seed=5, **settings)
    assert (alone.x[0] == many.x[5]).all()
    other, _ = generate(trained, noise=-noise[5:6], seed=5, **settings)
    assert not (other.x == alone.x).all()


def test_noise_that_cannot_be_is_refused(trained: Run) -> None:
    bad = [torch.zeros(1, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(0, 1, 8, 8), torch.full((1, 1, 8, 8), torch.nan)]
    for noise in [*bad, np.array([["a"]]), np.zeros((1, 1, 8, 8), complex)]:
        with pytest.raises(UserError, match="the noise"):
            generate(trained, noise=noise)
    with pytest.raises(UserError, match="at least one"):
        noise_of(trained, 0)


def test_classes_by_name(trained: Run) -> None:
    samples, _ = generate(trained, 5, classes=["1"])
    assert samples.labels is not None and samples.labels.tolist() == [1] * 5
    both, _ = generate(trained, 4)
    assert both.labels is not None and both.labels.tolist() == [0, 1, 0, 1]
    assert (both.x[1] == samples.x[1]).all()  # one seed, one class: one picture
    with pytest.raises(UserError, match='no class "7"'):
        generate(trained, 1, classes=["7"])


def test_settings_change_what_they_say(trained: Run) -> None:
    plain, _ = generate(trained, 3)
    for settings in (
        {"guidance": 3.0},
        {"eta": 1.0},
        {"steps": 7},
        {"weights": "raw"},
        {"at": trained.checkpoints()[0].step},
        {"seed": 5},
        {"sampler": "ddpm", "variance": "large"},
        {"grid": "leading"},
        {"clip": "none"},
        {"clip": "dynamic"},
    ):
        other, _ = generate(trained, 3, **settings)
        assert not (other.x == plain.x).all(), settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"n": 0}, "at least one sample"),
        ({"seed": -1}, "seeds lie in"),
        ({"sampler": "ddmp"}, 'did you mean "ddpm"'),
        ({"steps": 1001}, "at most 1000"),
        ({"steps": 0}, "sample.steps"),
        ({"eta": -1.0}, "sample.eta"),
        ({"guidance": -1.0}, "sample.guidance"),
        ({"sampler": "ddpm", "variance": "huge"}, "unknown variance"),
        ({"variance": "large"}, "ddim has no variance: leave it out"),
        ({"sampler": "dpmpp_2m", "eta": 1.0}, "dpmpp_2m has no eta: leave it out"),
        ({"sampler": "heun", "grid": "karras", "steps": 2 * 10**9}, "sample.steps"),
        ({"eta": 1e200}, "sample.eta"),
        ({"sampler": "ddpm", "variance": "learned"}, "not learned a variance"),
        ({"grid": "middle"}, "unknown time grid"),
        ({"weights": "best"}, "unknown weights"),
        ({"at": 5}, "there are"),
    ],
)
def test_wrong_settings_are_told(trained: Run, settings: dict, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        generate(trained, **{"n": 2, **settings})
    assert "\n" not in str(error.value)


def test_what_is_wrong_is_told_before_the_net_is_compiled(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "worth_compiling", lambda *args: pytest.fail("compiled"))
    for settings, says in (({"sampler": "ddmp"}, "unknown sampler"), ({"steps": 1001}, "at most 1000")):
        with pytest.raises(UserError, match=says):
            generate(trained, 2, **settings)


def test_a_compiler_that_fails_is_told_in_one_line(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.exc import InvalidCxxCompiler

    def fails(*args: object) -> None:
        raise InvalidCxxCompiler

    monkeypatch.setattr(compiling, "worth_compiling", fails)
    with pytest.raises(UserError, match=r"could not be compiled here .*: use --compile off"):
        generate(trained, 2, compile="on")


def test_without_labels_there_is_no_interval_of_guidance(squares: Path, tmp_path: Path) -> None:
    run = tiny(squares, tmp_path / "run", **{"net.conditional": False})
    with pytest.raises(UserError, match="nothing to guide by"):
        generate(run, 2, interval=(0.2, 0.4))


def test_progress_counts_to_all(trained: Run) -> None:
    seen: list[tuple[int, int]] = []
    generate(trained, CHUNK + 3, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (CHUNK + 3, CHUNK + 3) and [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_a_sampler_of_your_own_can_use_the_denoiser(trained: Run) -> None:
    model, step = build.trained(trained)
    assert step == trained.checkpoint().step
    prediction = model(torch.randn(2, 1, 8, 8), 0.5, torch.tensor([0, 1]))
    assert prediction.x0.shape == (2, 1, 8, 8) and not prediction.x0.requires_grad


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore::noisette.diffusion.schedules.TerminalSignalWarning")
def test_forward_ends_in_noise(name: str) -> None:
    """The last frame of a smooth image has the statistics of noise clipped to [-1, 1], and says how much is left."""
    schedule = make_schedule(name, zero_terminal_snr=name in ("scaled_linear", "quadratic"))
    x = np.tile(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], (2, 32, 1, 1))
    frames = forward(x, Images((32, 32, 1)), schedule, 10)
    assert len(frames) == 11 and (frames[0].x == x).all() and frames[0].signal == 1.0
    signals = [f.signal for f in frames]
    assert signals == sorted(signals, reverse=True) and signals[-1] is not None and signals[-1] < 0.013
    last = frames[-1].x[0, ..., 0].astype(float) / 127.5 - 1
    columns = np.linspace(-1, 1, 32)
    assert abs(np.corrcoef(last.ravel(), np.tile(columns, 32))[0, 1]) < 0.1
    assert 0.25 < (np.abs(last) > 0.99).mean() < 0.40  # 32 % of N(0, 1) lies beyond 1


def test_tile_places_every_pixel() -> None:
    x = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2, 1)
    sheet = tile(x, columns=2, pad=1, background=99)
    assert sheet.shape == (7, 7, 1)
    assert (sheet[1:3, 1:3] == x[0]).all() and (sheet[1:3, 4:6] == x[1]).all() and (sheet[4:6, 1:3] == x[2]).all()
    assert (sheet[3] == 99).all() and (sheet[4:6, 4:6] == 99).all()
    assert tile(x, scale=3, pad=0).shape == (12, 12, 1)


def test_gaussian_model_through_the_frames() -> None:
    """draw() knows nothing of nets: any denoiser module will do, here an exact one, and it gives the exact answer."""
    from noisette.experiment.config import SampleConfig
    from noisette.tasks.generate import draw

    schedule = make_schedule("flow")

    class Exact(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.marker = torch.nn.Parameter(torch.zeros(()))
            self.exact = Gaussian(torch.full((1, 2, 2), 0.3), torch.eye(4) * 1e-6, schedule)
            self.schedule = schedule

        def forward(self, *args: object) -> object:
            return self.exact(*args)  # type: ignore[arg-type]

    x, _ = draw(Exact(), SampleConfig(sampler="heun", steps=8), Shape.images(1, 2, 2), [0, 1])  # type: ignore[arg-type]
    assert np.abs(x.astype(float) - (0.3 + 1) * 127.5).max() <= 1

"""The trial at the start of a run: what it chooses, what it keeps for later runs, and what it says to expect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TINY, tiny

from noisette.data import DataSpec, load
from noisette.data.cache import folder
from noisette.experiment import build
from noisette.experiment.config import Config, merge
from noisette.experiment.runs import Shape
from noisette.tasks import compiling, machine, measure, train
from noisette.tasks.estimate import estimate
from noisette.tasks.measure import Settled, Trial, micro_batch, settle, ways
from noisette.tasks.race import race
from noisette.tasks.trainer import Trainer

SHAPE = Shape(1, 8, 8, ("left", "right"))
OPEN: dict[str, Any] = {"precision": "auto", "layout": "auto", "compile": "auto"}
GIB = 2**30
CORES = machine.Others.cores


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of its own for each test, on a machine with nothing else to do."""
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine.Others, "cores", lambda self: 0.0)


def config_of(**settings: Any) -> Config:
    tree = merge(TINY, {"train": {"micro_batch": None, **OPEN, "steps": 50}})
    return build.resolve(SHAPE, "small-grey", merge(tree, {k.replace("__", "."): v for k, v in settings.items()}))


class Timed(Trial):
    """A trial whose passes take the seconds that a test says, an image; it counts them."""

    def __init__(self, config: Config, an_image: dict[str, float], jitter: Callable[[int], float] = lambda k: 1.0):
        super().__init__(config, SHAPE)
        self.an_image, self.jitter, self.passes = an_image, jitter, 0

    def seconds(self, way: str, batch: int, compile: str = "off") -> float:
        self.passes += 1
        return self.an_image[way] * batch * self.jitter(self.passes)


FAST_BF16 = {"fp32 channels_first": 3e-3, "fp32 channels_last": 4e-3, "bf16 channels_first": 1e-3}
ALL = {**FAST_BF16, "bf16 channels_last": 1.1e-3}


def settled(an_image: dict[str, float], config: Config | None = None, **more: Any) -> tuple[Settled, Timed]:
    config = config or config_of()
    jitter = more.pop("jitter", lambda k: 1.0)
    trial = Timed(config, an_image, jitter)
    return settle(config, trial, **{"free": lambda device: 8 * GIB, "others": lambda: 0.0, **more}), trial


# --- the race -----------------------------------------------------------------------------------------------------


def test_a_race_drops_what_is_hopeless_after_a_few_images_and_losers_after_one_round() -> None:
    pace = {"slow": 0.010, "fast": 0.001, "near": 0.0011, "behind": 0.002}
    asked: list[tuple[str, int]] = []

    def seconds(way: str, batch: int) -> float:
        asked.append((way, batch))
        return pace[way] * batch

    found = race(list(pace), seconds, 64)
    assert found.best == "fast" and found.batch == 64 and found.spread == pytest.approx(1)
    assert {batch for way, batch in asked if way == "slow"} == {4} and "slow" not in found.seconds
    whole = [way for way, batch in asked if batch == 64]
    assert whole.count("behind") == 2 and whole.count("fast") == whole.count("near") == 4
    assert found.seconds["near"] == pytest.approx(0.0011 * 64)


@pytest.mark.parametrize(("pace", "fixed", "size"), [(1e-3, 0, 128), (0.01, 0, 16), (0.5, 0, 2), (1e-5, 0.02, 128)])
def test_a_race_takes_no_larger_a_batch_than_passes_in_a_quarter_of_a_second(
    pace: float, fixed: float, size: int
) -> None:
    def seconds(way: str, batch: int) -> float:
        return pace * batch + fixed

    assert race(["only"], seconds, 128).batch == max(size, 4)


def test_a_race_takes_medians_and_says_how_far_rounds_disagree() -> None:
    kept = iter([1.0] * 3 + [0.10, 0.40, 0.12])  # three passes to prepare, one round that was disturbed
    found = race(["only"], lambda way, batch: next(kept), 4)
    assert found.seconds["only"] == pytest.approx(0.12)
    assert found.spread == pytest.approx(4)


def test_a_race_out_of_time_goes_by_what_it_knows() -> None:
    now = [0.0]

    def seconds(way: str, batch: int) -> float:
        now[0] += 1.0
        return {"slow": 0.02, "fast": 0.01}.get(way, 0.001) * batch

    found = race(["slow", "fast", "unseen"], seconds, 64, patience=3.5, clock=lambda: now[0])
    assert found.hurried and found.best == "fast" and set(found.seconds) == {"slow", "fast"}
    now[0] = 0.0
    found = race(["slow", "fast"], seconds, 64, patience=7.5, clock=lambda: now[0])
    assert found.hurried and found.best == "fast" and now[0] < 12
    assert not race(["slow", "fast"], seconds, 64, patience=100, clock=lambda: now[0]).hurried


# --- what is chosen -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fastest", sorted(ALL))
def test_the_fastest_that_was_measured_is_chosen(fastest: str) -> None:
    result, _ = settled({way: 1e-3 if way == fastest else 1.2e-3 for way in ALL})
    chosen = result.config.train
    assert f"{chosen.precision} {chosen.layout}" == fastest and chosen.compile == "off"
    assert chosen.micro_batch == chosen.batch == 8
    told = result.found["trial"]
    assert set(told["seconds"]) == set(ALL) and told["seconds"][fastest] == min(told["seconds"].values())
    assert result.an_image == pytest.approx(1e-3)
    json.dumps(result.found)


def test_only_what_is_open_is_tried() -> None:
    config = config_of(train__precision="fp32")
    assert ways(config.train) == ["fp32 channels_first", "fp32 channels_last"]
    result, _ = settled(ALL, config)
    assert result.config.train.precision == "fp32" and result.config.train.layout == "channels_first"
    decided, _ = settled(ALL, config_of(train__precision="bf16", train__layout="channels_last", train__compile="on"))
    assert decided.config.train.compile == "on" and set(decided.found["trial"]["seconds"]) == {"bf16 channels_last"}


def test_a_real_trial_is_quick_and_gives_real_figures() -> None:
    config = config_of()
    trial = Trial(config, SHAPE)
    memory = trial.memory_a_sample("fp32 channels_first")
    assert 1_000 < memory < 1_000_000
    assert trial.memory_a_sample("bf16 channels_first") < 0.8 * memory
    result = settle(config, trial)
    assert min(result.an_image, result.forward, result.update) > 0 and result.forward < 2 * result.an_image
    chosen = result.config.train
    assert result.found["trial"]["chosen"] == f"{chosen.precision} {chosen.layout}"


def test_the_micro_batch_is_the_largest_part_that_fits() -> None:
    assert micro_batch(1000, 128, 10**12) == 128
    assert micro_batch(1000, 128, 1000 * 2 * 40) == 32  # the largest 128 / k that is at most 40
    assert micro_batch(1000, 128, 1) == 1
    result, _ = settled(ALL, free=lambda device: 2 * 5 * trial_memory())
    assert result.config.train.micro_batch == 4


def trial_memory() -> int:
    return Trial(config_of(), SHAPE).memory_a_sample("fp32 channels_first")


# --- what is kept -------------------------------------------------------------------------------------------------


def kept() -> list[Path]:
    home = folder()
    assert home
    return sorted(home.glob("trials/*.json"))


def test_a_second_run_with_the_same_net_measures_nothing() -> None:
    first, before = settled(ALL)
    assert before.passes and first.found["trial"]["kept"] and not first.found["trial"]["cached"]
    again, after = settled(dict.fromkeys(ALL, 9.0))  # would choose otherwise, if it were asked
    assert not after.passes and again.found["trial"]["cached"] and again.found["trial"]["kept"]
    assert again.config == first.config and again.an_image == pytest.approx(first.an_image)
    assert "model" not in vars(after)  # not even a net was made


@pytest.mark.parametrize(
    "settings",
    [{"net__channels": 16}, {"objective__learn_variance": True}, {"train__batch": 16}, {"optim__name": "adamw"}],
)
def test_another_net_objective_batch_or_optimiser_is_measured_anew(settings: dict[str, Any]) -> None:
    settled(ALL)
    _, other = settled(ALL, config_of(**settings))
    assert other.passes and len(kept()) == 2


@pytest.mark.parametrize("fact", ["cpu", "gpu", "cores", "threads", "torch", "noisette"])
def test_another_machine_or_version_is_measured_anew(fact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(ALL)
    here = machine.identity(torch.device("cpu"))
    monkeypatch.setattr(machine, "identity", lambda device: {**here, fact: "another"})
    _, other = settled(ALL)
    assert other.passes and len(kept()) == 2


def test_less_free_memory_than_then_is_measured_anew() -> None:
    settled(ALL)
    result, other = settled(ALL, free=lambda device: 2 * 5 * trial_memory())
    assert other.passes and result.config.train.micro_batch == 4


DAMAGE: list[Callable[[str], str]] = [
    lambda text: text[: len(text) // 2],
    lambda text: "",
    lambda text: "[1, 2]",
    lambda text: text.replace('"batch": 8', '"batch": 0'),
    lambda text: text.replace('"chosen": "bf16 channels_first"', '"chosen": "fp8"'),
    lambda text: text.replace('"spread": 1.0', '"spread": NaN'),
    lambda text: json.dumps({**json.loads(text), "seconds": {"bf16 channels_first": -1.0}}),
    lambda text: json.dumps({**json.loads(text), "seconds": {}}),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_ignored_and_written_anew(damage: Callable[[str], str]) -> None:
    settled(ALL)
    (place,) = kept()
    whole = place.read_text()
    place.write_text(damage(whole))
    assert place.read_text() != whole
    result, trial = settled(ALL)
    assert trial.passes and not result.found["trial"]["cached"]
    assert json.loads(place.read_text())["seconds"] == json.loads(whole)["seconds"]


def test_without_a_cache_folder_it_is_measured_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path / "file" / "cache"))
    assert not settled(ALL)[0].found["trial"]["kept"]
    assert settled(ALL)[1].passes


def test_restless_figures_are_used_but_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    disturbed = dict.fromkeys(range(0, 1000, 3), 1.6)
    result, _ = settled(ALL, jitter=lambda k: disturbed.get(k, 1.0))
    assert "disagreed" in result.found["trial"]["doubt"] and not result.found["trial"]["kept"] and not kept()
    monkeypatch.setattr(machine.Others, "cores", lambda self: 0.9)
    result, _ = settled(ALL)
    assert "0.9 cores busy" in result.found["trial"]["doubt"] and not kept()
    assert result.config.train.precision == "bf16"


# --- busy machines ------------------------------------------------------------------------------------------------


def test_others_are_what_is_busy_and_not_ours() -> None:
    ticks, mine, clock = iter([100.0, 101.5]), iter([7.0, 7.5]), iter([50.0, 52.0])
    others = machine.Others(lambda: next(ticks), lambda: next(mine), lambda: next(clock))
    assert CORES(others) == pytest.approx((1.5 - 0.5) / 2.0)
    silent = machine.Others(lambda: 0.0, lambda: 1.0, iter([1.0, 2.0]).__next__)
    assert CORES(silent) == 0.0


class Crowded(Timed):
    """Passes on a machine where another process is busy: torch's threads wait for each other."""

    def seconds(self, way: str, batch: int, compile: str = "off") -> float:
        return super().seconds(way, batch) * {4: 10.0, 2: 1.5, 1: 2.0}[torch.get_num_threads()]


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Four threads, torch's own choice; what they are set to, without setting them."""
    count = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[-1])
    monkeypatch.setattr(torch, "set_num_threads", count.append)
    monkeypatch.setattr(machine, "cores", lambda: 4)
    for name in machine.NAMED:
        monkeypatch.delenv(name, raising=False)
    return count


def crowded(busy: float) -> Settled:
    config = config_of()
    return settle(config, Crowded(config, ALL), free=lambda device: 8 * GIB, others=lambda: busy)


def test_beside_a_busy_process_the_number_of_threads_is_raced(four: list[int]) -> None:
    result = crowded(0.9)
    assert four[-1] == 2 and result.found["threads"] == 2
    times = result.found["threads_trial"]
    assert times["2"] == min(times.values()) and "1" in times
    assert not kept() and "busy" in result.found["trial"]["doubt"]
    assert result.an_image == pytest.approx(1.5e-3)


def test_what_is_known_of_the_net_is_used_beside_a_busy_process_too(four: list[int]) -> None:
    settled(ALL)  # four threads, alone
    result = crowded(0.9)
    assert result.found["trial"]["cached"] and result.config.train.precision == "bf16"
    assert result.an_image == pytest.approx(1.5e-3) and four[-1] == 2


def test_threads_stay_as_they_are_alone_or_where_the_user_has_set_them(
    four: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "threads_trial" not in crowded(0.2).found
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert "threads_trial" not in crowded(0.9).found
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(machine, "cores", lambda: 16)  # four of sixteen are nobody's default
    assert "threads_trial" not in crowded(0.9).found
    assert four == [4]


# --- compiling ----------------------------------------------------------------------------------------------------


def figures(warm_up: float = 60.0, gain: float = 1.2, **more: Any) -> compiling.Figures:
    return compiling.Figures(warm_up=warm_up, gain=gain, **more)


@pytest.mark.parametrize(
    ("asked", "seconds", "known", "on", "why"),
    [
        ("on", 1.0, None, True, "settings"),
        ("off", 1e9, figures(), False, "settings"),
        ("auto", 1799.0, None, False, "rarely"),
        ("auto", 361.0, figures(), True, "repaid"),  # 60 + 361 / 1.2 < 361
        ("auto", 359.0, figures(), False, "not repaid"),
        ("auto", 1e9, figures(gain=0.98), False, "not repaid"),
        ("auto", 1e9, figures(failed="no compiler"), False, "no compiler"),
    ],
)
def test_compiling_is_decided_by_what_repays_it(
    asked: Any, seconds: float, known: compiling.Figures | None, on: bool, why: str
) -> None:
    def never() -> compiling.Figures:
        raise AssertionError("measured for nothing")

    found = compiling.decide(asked, "cpu", seconds, compiling.TRAINING, known, never)
    assert found.on is on and why in found.why and found.told()["on"] is on


def test_compiling_is_tried_in_place_of_a_guess_where_the_work_is_long_enough() -> None:
    tried = compiling.decide("auto", "cuda", 200.0, compiling.TRAINING, None, lambda: figures(20.0, 1.5))
    assert tried.on and tried.figures == figures(20.0, 1.5)
    assert not compiling.decide("auto", "cuda", 200.0, compiling.TRAINING, None, None).on
    assert not compiling.decide("auto", "mps", 1e9, compiling.TRAINING, None, lambda: figures()).on


class Compiled(Timed):
    def seconds(self, way: str, batch: int, compile: str = "off") -> float:
        return super().seconds(way, batch) / (2.0 if compile == "on" else 1.0)


def test_a_long_run_compiles_if_the_trial_says_so_and_the_next_one_knows() -> None:
    config = config_of(train__minutes=60)
    trial = Compiled(config, ALL)
    result = settle(config, trial, free=lambda device: 8 * GIB)
    assert result.config.train.compile == "on" and result.found["compile"]["gain"] == pytest.approx(2)
    assert result.an_image == pytest.approx(5e-4)
    again = Compiled(config, ALL)
    assert settle(config, again, free=lambda device: 8 * GIB).config.train.compile == "on" and not again.passes
    hurried = Compiled(config, ALL)
    assert settle(config_of(train__minutes=2), hurried, free=lambda device: 8 * GIB).config.train.compile == "on"
    impatient = settle(config_of(train__minutes=60, net__channels=16), Compiled(config, ALL), patient=False)
    assert impatient.config.train.compile == "off"


def test_what_cannot_be_compiled_is_not_and_says_why() -> None:
    def fails() -> float:
        raise RuntimeError("no C++ compiler\nwas found")

    found = compiling.measured(fails, lambda: 1.0)
    assert found.failed == "no C++ compiler was found" and not found.repaid_by(1e9)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # torch's own, in torch.compile
def test_sampling_compiles_a_copy_for_a_long_job_only() -> None:
    model = build.denoiser(config_of(), SHAPE).eval()
    called: list[bool] = []

    def call(of: Any) -> None:
        called.append(of is model)

    same, decision = compiling.worth_compiling(model, call, 100, ["tiny"])
    assert same is model and not decision.on and called == [True, True]
    machine.remember("sample", torch.device("cpu"), ["tiny"], figures(0.0, 3.0).model_dump())
    faster, decision = compiling.worth_compiling(model, lambda of: None, 10**9, ["tiny"])
    assert faster is not model and decision.on
    assert torch.equal(next(faster.parameters()), next(model.parameters()))
    assert compiling.worth_compiling(model, call, 10**9, ["tiny"], "off")[0] is model


# --- the estimate -------------------------------------------------------------------------------------------------


def sure(config: Config, an_image: float = 1e-3, forward: float = 2e-4, update: float = 2e-3) -> Settled:
    chosen = {
        "train.precision": "fp32",
        "train.layout": "channels_first",
        "train.micro_batch": 4,
        "train.compile": "off",
    }
    return Settled(config.changed(chosen), an_image, forward, update, 1000, {})


def test_an_estimate_is_the_arithmetic_of_a_budget() -> None:
    by_steps = estimate(sure(config_of(train__steps=50)), SHAPE, 100, resident=10_000_000)
    assert by_steps.images_per_second == pytest.approx(8 / 0.010)
    assert (by_steps.steps, by_steps.images, by_steps.epochs) == (50, 400, 4.0)
    assert by_steps.seconds == pytest.approx(0.5)
    by_images = estimate(sure(config_of(train__images=401)), SHAPE, 100)
    assert by_images.steps == 51
    by_minutes = estimate(sure(config_of(train__minutes=1)), SHAPE, 100, looks=50_000)
    assert by_minutes.steps == 5_000 and by_minutes.seconds == pytest.approx(60)  # ten seconds are for looks
    late = estimate(sure(config_of(train__minutes=1)), SHAPE, 100, done=(1000, 40.0))
    assert late.steps == 3_000
    looking = estimate(sure(config_of(train__steps=50)), SHAPE, 100, looks_a_step=50)
    assert looking.seconds == pytest.approx(1.0) and looking.images_per_second == by_steps.images_per_second


def test_an_estimate_of_memory_counts_weights_optimiser_average_and_activations() -> None:
    config = config_of(optim__name="adamw")
    weights = sum(p.numel() for p in build.denoiser(config, SHAPE).parameters())
    found = estimate(sure(config), SHAPE, 100, resident=10_000_000)
    assert found.memory == 10_000_000 + 4 * 5 * weights + 4 * 1000
    muon = estimate(sure(config_of()), SHAPE, 100, resident=10_000_000)
    assert found.memory - 4 * weights < muon.memory < found.memory


def test_an_estimate_comes_near_what_a_tiny_run_does(squares: Path, tmp_path: Path) -> None:
    """Memory and looks by count; speed within the factor by which two measurements of a busy machine differ."""
    data = load(DataSpec(str(squares)))
    shape = train.shape_of(data)
    config = build.resolve(shape, "small-grey", TINY | {"train": {**TINY["train"], "steps": 40}})
    result = settle(config, Trial(config, shape))
    found = estimate(result, shape, len(data.train))
    trainer = Trainer(result.config, shape, data)
    for _ in range(40):
        trainer.advance(0.1)
    assert (found.steps, found.images) == (trainer.step, trainer.images)
    assert 0.1 < found.images_per_second / (trainer.images / trainer.window.busy) < 10


def test_a_run_tells_what_to_expect_and_keeps_it(squares: Path, tmp_path: Path) -> None:
    run = tiny(squares, tmp_path / "run", train__steps=6)
    meta = run.meta
    assert meta["estimate"]["steps"] == meta["steps"] == 6
    assert meta["estimate"]["epochs"] == pytest.approx(48 / 54, abs=0.01)
    assert meta["trial"]["chosen"] == "fp32 channels_first" and meta["compile"] == {
        "on": False,
        "why": "as the settings say",
    }
    told: list[train.Ready] = []
    extended = train.continued(run, {"steps": 4})
    for _ in train.train(extended, ready=told.append):
        assert told
    assert told[0].estimate.steps == 10 and told[0].found["trial"]["cached"] and told[0].free > 0
    assert measure.budget_seconds(told[0].config.train, 0.5) == 5.0


def test_a_budget_that_the_start_uses_up_still_makes_a_model(squares: Path, tmp_path: Path) -> None:
    run = tiny(squares, tmp_path / "run", train__steps=None, train__minutes=1e-5)
    assert run.finished and run.checkpoint().step == run.meta["steps"] == 1


def test_threads_are_given_back_and_kept_for_a_resume_by_steps(
    squares: Path, tmp_path: Path, four: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "watched", lambda: 0.9)
    run = tiny(squares, tmp_path / "run", train__steps=2)
    assert four[-1] == 4
    run.update_meta(threads=2)
    four.clear()
    four.append(4)
    for _ in train.train(train.continued(run, {"steps": 1})):
        assert torch.get_num_threads() == 2
    assert four == [4, 2, 4]

"""The trial at the start of a run: what it chooses, and what it keeps for later runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trials import ALL, SHAPE, config_of, kept, settled

from noisette.tasks import machine
from noisette.tasks.measure import Trial, micro_batch, settle, ways

pytestmark = pytest.mark.usefixtures("quiet")


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
    assert micro_batch(10**9, 10**15, 10**6) == 1  # at once, however large
    result, _ = settled(ALL, free=lambda device: 2 * 5 * trial_memory())
    assert result.config.train.micro_batch == 4


def trial_memory() -> int:
    return Trial(config_of(), SHAPE).memory_a_sample("fp32 channels_first")


# --- what is kept -------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("fact", ["format", "device", "cpu", "gpu", "cores", "threads", "torch", "noisette"])
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

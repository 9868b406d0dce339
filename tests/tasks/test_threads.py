"""How many threads a run takes: its own choice beside busy processes, given back when it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TINY, tiny
from trials import ALL, GIB, Timed, config_of, kept, settled

from noisette.tasks import machine, train
from noisette.tasks.check import check
from noisette.tasks.measure import Settled, settle

CORES = machine.Others.cores
pytestmark = pytest.mark.usefixtures("quiet")


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


def test_beside_a_busy_process_nothing_new_is_kept_of_a_net_that_is_known(four: list[int]) -> None:
    settled(ALL)
    (place,) = kept()
    whole = place.read_text()
    config = config_of(train__minutes=60)
    result = settle(config, Crowded(config, ALL), free=lambda device: 8 * GIB, others=lambda: 0.9)
    assert result.found["trial"]["cached"] and "gain" in result.found["compile"]  # measured, in the crowd
    assert kept() == [place] and place.read_text() == whole
    assert result.found["trial"]["doubt"] and not result.found["trial"]["kept"]


HERE = {"cpu": machine.cpu(), "cores": machine.cores(), "threads": 1}


@pytest.mark.parametrize(
    ("meta", "threads"),
    [
        (HERE, 1),
        ({**HERE, "cpu": "another"}, None),
        ({**HERE, "cores": machine.cores() + 2}, None),
        ({**HERE, "threads": machine.cores() + 1}, None),
        ({**HERE, "threads": 0}, None),
        ({**HERE, "threads": "2"}, None),
        ({"threads": 1}, None),
        ({}, None),
    ],
)
def test_the_threads_of_a_run_are_taken_again_on_a_machine_like_its_own_only(meta: Any, threads: int | None) -> None:
    assert machine.threads_then(meta) == threads


def test_a_check_gives_threads_back(squares: Path, four: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "watched", lambda: 0.9)
    check(str(squares), TINY, "small-grey")
    assert len(four) > 1 and four[-1] == 4


def test_threads_are_given_back_and_kept_for_a_resume_by_steps(
    squares: Path, tmp_path: Path, four: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "watched", lambda: 0.9)
    run = tiny(squares, tmp_path / "run", train__steps=2)
    assert four[-1] == 4
    run.update_meta(threads=2, cores=4)
    four.clear()
    four.append(4)
    for _ in train.train(train.continued(run, {"steps": 1})):
        assert torch.get_num_threads() == 2
    assert four == [4, 2, 4]

"""A race between ways to do the same thing: who is dropped when, how large its batches are, and when it ends."""

from __future__ import annotations

import pytest

from noisette.tasks.race import race


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


def test_two_ways_are_looked_at_however_long_they_take() -> None:
    now = [0.0]

    def seconds(way: str, batch: int) -> float:
        now[0] += 60.0
        return {"fp32": 0.02, "bf16": 0.01}[way] * batch

    found = race(["fp32", "bf16"], seconds, 64, patience=1.0, clock=lambda: now[0])
    assert found.hurried and found.best == "bf16"


def test_little_patience_means_smaller_batches_and_not_a_race_cut_short() -> None:
    """The trial of a budget of 45 seconds, on a machine where whole batches would take most of its time."""
    now = [0.0]
    pace = {"a": 2e-3, "b": 2.1e-3, "c": 2.2e-3, "d": 2.3e-3}

    def seconds(way: str, batch: int) -> float:
        now[0] += pace[way] * batch
        return pace[way] * batch

    found = race(list(pace), seconds, 128, patience=2.25, clock=lambda: now[0])
    assert not found.hurried and found.batch == 32 and set(found.seconds) == set(pace) and now[0] < 2.25

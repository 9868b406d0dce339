"""Whether two runs are one and the same, bit for bit."""

from __future__ import annotations

import torch

from noisette.experiment.runs import Run

TIMING = ("seconds", "images_per_second")


def same(a: object, b: object) -> bool:
    """Equal bit for bit, through dicts and lists."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same_run(one: Run, other: Run) -> None:
    """Weights, EMA, optimiser state, counters and metrics; wall-clock aside."""
    a, b = one.checkpoint(), other.checkpoint()
    assert a.step == b.step
    for kind in ("raw", "ema"):
        assert same(a.weights(kind), b.weights(kind)), kind
    states = []
    for checkpoint in (a, b):
        state = checkpoint.state()
        del state["seconds"], state["lead"], state["window"]["busy"]
        states.append(state)
    assert same(*states)
    rows = [[{k: v for k, v in row.items() if k not in TIMING} for row in run.metrics()] for run in (one, other)]
    assert rows[0] == rows[1]

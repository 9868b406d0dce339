from __future__ import annotations

from pathlib import Path

import pytest
import torch

from noisette.tasks import machine


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of its own for each test, on a machine with nothing else to do."""
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine.Others, "cores", lambda self: 0.0)


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

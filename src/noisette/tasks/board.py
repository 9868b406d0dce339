"""Metrics for TensorBoard, behind the extra of that name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from noisette.errors import UserError

SCALARS = ("loss", "val_loss", "grad_norm", "lr", "images_per_second", "loss_critic", "real_logit", "fake_logit", "r1")


def need() -> None:
    """Raises UserError when the extra is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise UserError('--tensorboard needs another package: pip install "noisette[tensorboard]"') from None


def writer(folder: Path, step: int) -> Callable[[Mapping[str, Any]], None]:
    """A function that takes lines of metrics; what was written after `step`, before a resume, is hidden.

    Raises:
        UserError: the extra is not installed.
    """
    need()
    from torch.utils.tensorboard import SummaryWriter

    board = SummaryWriter(str(folder), purge_step=step + 1)

    def write(row: Mapping[str, Any]) -> None:
        for name in SCALARS:
            if row.get(name) is not None:
                board.add_scalar(name, row[name], row["step"])
        board.flush()

    return write

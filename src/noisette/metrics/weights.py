"""Small trained nets in a file and by a hash: safetensors, with what is known of the net in its header."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from noisette.errors import UserError

State = dict[str, Tensor]


def state_of(net: nn.Module) -> State:
    """Its weights, on the CPU."""
    return {name: value.cpu().contiguous() for name, value in net.state_dict().items()}


def hashed(state: State, told: list[Any]) -> str:
    """16 hex digits of the weights, and of what else decides what the net says."""
    return hashlib.sha256(json.dumps(told).encode() + to_bytes(state)).hexdigest()[:16]


def save(path: Path, state: State, about: dict[str, Any]) -> None:
    """Writes one file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(to_bytes(state, {"noisette": json.dumps(about)}))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load(path: Path, form: int) -> tuple[State, dict[str, Any]]:
    """What `save` wrote, where about["format"], taken out of it, is `form`. Use it within `reading`."""
    with safe_open(str(path), "pt") as file:
        about = json.loads(file.metadata()["noisette"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if about.pop("format") != form:
        raise ValueError("another format")
    return state, about


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Makes a UserError of whatever a missing or damaged file, or one of another format, leads to."""
    try:
        yield
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is not {what} that can be read ({reason}); delete it") from None

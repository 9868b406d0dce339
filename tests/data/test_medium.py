"""What a sample is: there and back again, and by the facts that a run keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_motion import FRAMES, NAMES, clips, take, walks

from noisette.data import ImageData, medium
from noisette.data.medium import Images, Motion
from noisette.data.motion import MotionSpec, load
from noisette.data.motion.stream import MotionStream
from noisette.data.stream import Stream
from noisette.errors import UserError


@pytest.fixture
def walking(tmp_path: Path) -> Callable[..., medium.MotionData]:
    def make(**asked: object) -> medium.MotionData:
        source = walks(tmp_path / "walks.npz", 6)
        return load(MotionSpec(str(source), frames=FRAMES, stride=4, held_out=0.3, **asked))  # type: ignore[arg-type]

    return make


def test_every_grey_level_comes_back() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(1, 8, 32, 1)
    kind = Images((8, 32, 1))
    seen = kind.encode(x)
    assert kind.x == tuple(seen.shape[1:]) == (1, 8, 32) and seen.dtype == torch.float32
    assert float(seen.min()) == -1 and float(seen.max()) == 1
    back = kind.decode(seen)
    assert back.dtype == kind.dtype and np.array_equal(back, x)
    assert kind.decode(3 * seen).min() == 0 and kind.decode(3 * seen).max() == 255  # clipped


@pytest.mark.parametrize("root", [0, 2, None])
def test_clips_come_back_in_their_units(root: int | None) -> None:
    kind = clips(root=root).medium
    x = np.stack([take(FRAMES, k, False) for k in range(3)]) * 1000 + [0, 0, 2e4]  # millimetres, far away
    seen = kind.encode(x)
    assert kind.x == tuple(seen.shape[1:]) == (18, FRAMES)
    back = kind.decode(seen)
    assert back.dtype == kind.dtype == np.float32 and np.abs(back - x).max() < 0.02  # of 20 m in float32
    longer = kind.decode(torch.cat([seen, seen], 2))
    assert longer.shape == (3, 2 * FRAMES, 6, 3) and np.array_equal(longer[:, FRAMES:], back)


def test_a_stream_shows_what_encode_gives(walking: Callable[..., medium.MotionData]) -> None:
    for asked in ({}, {"relative": False}, {"centre": "world"}):
        data = walking(**asked)
        kind = medium.of(medium.facts(data))
        batch = MotionStream(data, 4, 0).take(data.train[:4])
        assert torch.equal(batch.x, kind.encode(data.x[data.train[:4]]))
        assert np.allclose(kind.decode(batch.x), data.x[data.train[:4]], atol=1e-5)


def test_an_image_stream_shows_what_encode_gives(image_data: Callable[..., ImageData]) -> None:
    data = image_data()
    kind = medium.of(medium.facts(data))
    assert isinstance(kind, Images) and kind.name == "images"
    assert torch.equal(Stream(data, 4, 0).take(data.train[:4]).x, kind.encode(data.x[data.train[:4]]))


def test_facts_survive_a_file(walking: Callable[..., medium.MotionData], image_data: Callable[..., ImageData]) -> None:
    data = walking()
    told = json.loads(json.dumps(medium.facts(data)))
    kind = medium.of(told)
    assert isinstance(kind, Motion) and kind.name == told["kind"] == "motion"
    assert kind.skeleton.names == NAMES and kind.skeleton.edges == data.skeleton.edges and kind.fps == 20
    assert kind.stored == data.x.shape[1:] and kind.normaliser == data.normaliser
    assert (told["train"], told["held_out"]) == (len(data.train), len(data.held_out))
    assert told["classes"] == ["quick", "slow"] or told["classes"] == ["slow", "quick"]
    pictures = json.loads(json.dumps(medium.facts(image_data(labelled=False))))
    assert pictures["classes"] == [] and medium.of(pictures) == Images((6, 6, 1))


def test_facts_that_are_damaged(walking: Callable[..., medium.MotionData]) -> None:
    told = medium.facts(walking())
    for damage in ({"shape": [1, 2]}, {"shape": "x"}, {"skeleton": None}):
        with pytest.raises((KeyError, TypeError, ValueError, UserError)):
            medium.of({**told, **damage})
    with pytest.raises(KeyError):
        medium.of({key: value for key, value in told.items() if key != "normaliser"})

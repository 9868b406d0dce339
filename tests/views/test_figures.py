"""Pictures hold the very pixels that they show, and the words under them."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFont

from noisette.tasks import explain
from noisette.tasks.generate import Frame
from noisette.views import figures


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_every_cell_of_a_grid_is_its_image_enlarged_exactly(
    noise: Callable[..., np.ndarray], channels: int, scale: int
) -> None:
    x = noise(5, 6, 9, channels)
    sheet = np.asarray(figures.grid(x, columns=2, scale=scale, pad=4)).reshape(-1, 2 * (9 * scale + 4) + 4, channels)
    assert sheet.shape[0] == 3 * (6 * scale + 4) + 4
    for k in range(5):
        top, left = 4 + k // 2 * (6 * scale + 4), 4 + k % 2 * (9 * scale + 4)
        cell = sheet[top : top + 6 * scale, left : left + 9 * scale]
        assert np.array_equal(cell, x[k].repeat(scale, 0).repeat(scale, 1))
    gaps = np.ones(sheet.shape[:2], bool)
    for k in range(5):
        top, left = 4 + k // 2 * (6 * scale + 4), 4 + k % 2 * (9 * scale + 4)
        gaps[top : top + 6 * scale, left : left + 9 * scale] = False
    assert (sheet[gaps] == 255).all()


def test_small_images_are_enlarged_and_large_ones_kept() -> None:
    assert [figures.fit(s, s) for s in (28, 32, 64, 200)] == [3, 2, 1, 1]


def test_a_caption_stands_under_its_image_and_only_there(noise: Callable[..., np.ndarray]) -> None:
    x = noise(2, 64, 64, 1)
    sheet = np.asarray(figures.grid(x, ["t=500\nsignal 3 %", ""], pad=4))
    below = sheet[4 + 64 + 1 : -4]
    left, right = below[:, : 4 + 64], below[:, 4 + 64 + 4 :]
    assert (left < 128).sum() > 50  # ink
    assert (right == 255).all()


def test_a_caption_is_what_the_font_draws(noise: Callable[..., np.ndarray]) -> None:
    """Two different steps give different ink; the same step the same."""
    x = np.full((3, 64, 64, 1), 255, np.uint8)
    sheet = np.asarray(figures.grid(x, ["t=10", "t=10", "t=11"], columns=3, pad=4))
    cells = [sheet[68:, 4 + k * 68 : 68 + k * 68] for k in range(3)]
    assert np.array_equal(cells[0], cells[1])
    assert not np.array_equal(cells[0], cells[2])
    assert isinstance(figures._font(), ImageFont.FreeTypeFont)


def test_a_very_long_class_name_is_cut(noise: Callable[..., np.ndarray]) -> None:
    assert figures.grid(noise(1, 8, 8, 1), ["very long " * 50]).width < 200
    assert figures.shorten("abc", 100) == "abc"
    assert figures.shorten("abc" * 100, 60).endswith("…")


def test_captions_must_match(noise: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ValueError, match="2 captions for 3 images"):
        figures.grid(noise(3, 4, 4, 1), ["a", "b"])


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 4, 4, 2), (0, 4, 4, 1)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected uint8 images"):
        figures.grid(np.zeros(shape, np.uint8))


def test_evenly_keeps_both_ends() -> None:
    assert figures.evenly(51, 11) == list(range(0, 51, 5))
    assert figures.evenly(4, 11) == [0, 1, 2, 3]
    for n in range(2, 60):
        chosen = figures.evenly(n, 10)
        assert chosen[0] == 0 and chosen[-1] == n - 1 and len(set(chosen)) == min(n, 10)


def test_spread_takes_the_first_of_each_class_first() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    rows = np.arange(6)
    assert explain.spread(labels, rows, 4) == [0, 3, 5, 1]
    assert explain.spread(None, rows, 2) == [0, 1]


@pytest.mark.parametrize(
    ("share", "text"),
    [(1, "100 %"), (0.314, "31 %"), (0.0316, "3.2 %"), (0.0016, "0.16 %"), (1e-6, "<0.01 %"), (0, "0 %")],
)
def test_percent(share: float, text: str) -> None:
    assert figures.percent(share) == text


def test_a_strip_runs_from_noise_to_sample(make_frames: Callable[..., list[Frame]]) -> None:
    frames = make_frames(steps=50, n=3, size=96)
    sheet = np.asarray(figures.strip(frames, samples=2))
    assert np.array_equal(sheet[4:100, 4:100], frames[0].x[0, ..., 0])  # captions are narrower than 96 pixels
    assert np.array_equal(sheet[4:100, -100:-4], frames[-1].x[0, ..., 0])


def test_estimates_stand_beside_the_state_that_they_were_made_of(make_frames: Callable[..., list[Frame]]) -> None:
    frames = make_frames(steps=3)
    paired = figures.paired(frames)
    assert np.array_equal(paired[0].x0, frames[1].x0)
    assert np.array_equal(paired[-1].x0, frames[-1].x)
    assert np.array_equal(paired[1].x, frames[1].x)
    assert figures.strip(frames, estimates=True).height > figures.strip(frames).height


@pytest.mark.parametrize("kind", ["gif", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_animations_hold_both_ends(make_frames: Callable[..., list[Frame]], kind: str, channels: int) -> None:
    frames = make_frames(steps=20, channels=channels)
    with Image.open(io.BytesIO(figures.animation(frames, kind))) as film:
        assert film.n_frames == 21
        assert film.info["loop"] == 0
        durations = []
        for k in range(film.n_frames):
            film.seek(k)
            film.load()
            durations.append(film.info["duration"])
    assert durations[-1] == 1500 and durations[0] > durations[1]


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_grey_animations_are_exact(make_frames: Callable[..., list[Frame]], kind: str) -> None:
    frames = make_frames(steps=4, n=1)
    with Image.open(io.BytesIO(figures.animation(frames, kind, labelled=False, scale=2))) as film:
        for k, frame in enumerate(frames):
            film.seek(k)
            shown = np.asarray(film.convert("L"))[4:-4, 4:-4]
            assert np.array_equal(shown, frame.x[0, ..., 0].repeat(2, 0).repeat(2, 1))


def test_a_long_way_becomes_a_short_film(make_frames: Callable[..., list[Frame]]) -> None:
    with Image.open(io.BytesIO(figures.animation(make_frames(steps=400, n=1), "gif"))) as film:
        assert film.n_frames == figures.MOST_FRAMES

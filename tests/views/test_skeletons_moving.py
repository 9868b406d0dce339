"""Clips that move: as films, and on a page that asks nothing of anywhere."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from walker import BODY, BONES, NAMES, PAIRS, walker

from noisette.data.motion import Skeleton, read, write
from noisette.data.motion.skeleton import FPS
from noisette.views import page, pdf, skeletons
from noisette.views.parts import Figure, Section
from noisette.views.skeletons import Body, body, films

BROWSER = next(pdf._browsers(), None)


def opened(content: bytes) -> Any:
    return Image.open(io.BytesIO(content))


def shown(picture: Any, frame: int) -> np.ndarray:
    picture.seek(frame)
    return np.asarray(picture.convert("RGB"))


def lengths(picture: Any) -> list[int]:
    found = []
    for k in range(picture.n_frames):
        picture.seek(k)
        picture.load()
        found.append(picture.info["duration"])
    return found


# --- films ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_film_moves_at_its_own_speed(kind: str) -> None:
    with opened(skeletons.film([walker(16, phase=k) for k in range(3)], BODY, kind, fps=15, cyclic=True)) as picture:
        assert picture.n_frames == 16 and picture.info["loop"] == 0
        assert sum(lengths(picture)) == pytest.approx(16 * 1000 / 15, abs=10)
        frames = [shown(picture, k) for k in (0, 4, 8)]
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
    assert (frames[0][[0, -1]] == 255).all() and (frames[0][:, [0, -1]] == 255).all()


def test_a_film_may_be_shown_once_and_rests_at_its_end() -> None:
    with opened(skeletons.film([walker(5)], BODY, "gif", fps=20, repeat=False)) as picture:
        assert "loop" not in picture.info and lengths(picture) == [50] * 4 + [films.REST_MS]
    with opened(skeletons.film([walker(5)], BODY, "webp", fps=20, repeat=False)) as picture:
        assert picture.info["loop"] == 1


def test_one_clip_without_a_rate_is_shown_and_written_at_one_speed(tmp_path: Path) -> None:
    (path,) = write(tmp_path / "clip.bvh", [walker(30)], Skeleton(NAMES))
    rate = read(str(path)).takes[0].fps
    assert rate == FPS
    with opened(skeletons.film([walker(30)], BODY, "gif", cyclic=True)) as picture:
        assert sum(lengths(picture)) == pytest.approx(30 * 1000 / rate, abs=10)


def test_a_fast_film_leaves_frames_out() -> None:
    with opened(skeletons.film([walker(60)], BODY, "gif", fps=120, cyclic=True)) as picture:
        assert picture.n_frames == 20 and sum(lengths(picture)) == pytest.approx(500, abs=10)
        assert min(lengths(picture)) >= films.FASTEST


def test_a_webp_has_the_very_pixels_and_a_gif_nearly() -> None:
    drawn = np.asarray(films._Cells([walker(3)], BODY, ["a"], None).scene(1).image(1)).astype(int)
    with opened(skeletons.film([walker(3)], BODY, "webp", captions=["a"])) as picture:
        assert np.array_equal(shown(picture, 1), drawn)
    with opened(skeletons.film([walker(3)], BODY, "gif", captions=["a"])) as picture:
        away = np.abs(shown(picture, 1) - drawn)
    assert away.max() <= 24 and away.mean() < 0.5


def test_a_short_clip_keeps_its_last_pose_beside_a_long_one() -> None:
    with opened(skeletons.film([walker(3), walker(9)], BODY, "webp", columns=2)) as picture:
        early, late = shown(picture, 3), shown(picture, 8)
    half = early.shape[1] // 2
    assert np.array_equal(early[:, :half], late[:, :half]) and (early[:, half:] != late[:, half:]).any()


def test_the_floor_stays_where_it_is_while_the_camera_follows() -> None:
    """The marks on the floor move backwards by as much as the body goes on."""
    spot = films.Spot(100, 100, 50, 80)
    marks = [films.floor(np.array([x, 0.0]), spot, 1.0, 0.5, flat=True)[0].ends for x in (0.0, 0.1)]
    assert marks[0].shape == (6, 4)  # the ground and five ticks
    assert marks[0][2:, 0] - marks[1][1:, 0] == pytest.approx([5] * 4)
    dots = films.floor(np.zeros(2), spot, 1.0, 0.5, flat=False)[0].at
    assert len(dots) == 13 and np.abs(dots[:, 0] - 100).max() == 50


def test_a_film_of_points_or_of_two_dimensions() -> None:
    for clip, kind in ((walker(4), Body(14)), (walker(4)[..., [2, 1]], BODY)):
        with opened(skeletons.film([clip], kind, "gif")) as picture:
            assert (shown(picture, 0) != shown(picture, 1)).any()


def test_what_cannot_be_filmed() -> None:
    with pytest.raises(ValueError, match='"gif" or "webp"'):
        skeletons.film([walker(3)], BODY, "mp4")
    with pytest.raises(ValueError, match="2 captions for 1 clips"):
        skeletons.film([walker(3)], BODY, "gif", captions=["a", "b"])
    with pytest.raises(ValueError, match="0 clips"):
        skeletons.film([], BODY, "gif")


# --- on a page ------------------------------------------------------------------------------------------------------


def summed(changes: list[int | None], frames: int) -> np.ndarray:
    """What stage.js does with them: (channels, frames)."""
    found, last = np.full(len(changes), np.nan), 0
    for k, change in enumerate(changes):
        last = 0 if k % frames == 0 else last
        if change is not None:
            last += change
            found[k] = last
    return found.reshape(-1, frames)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_page_has_every_joint_to_a_thousandth(dims: int) -> None:
    clips = [walker(12, travel=3)[..., :dims], walker(7, phase=1)[..., :dims]]
    clips[0][3:5, 7] = np.nan
    data = json.loads(skeletons.stage(clips, BODY, fps=10).data)
    placed = [body.place(clip, BODY) for clip in clips]
    half, tall = body.extent(placed, turning=True)
    unit = max(2 * half, tall) / 1000
    assert data["flat"] == (dims == 2) and data["fps"] == 10 and data["tall"] == round(tall / unit)
    for clip, told in zip(placed, data["clips"], strict=True):
        joints = summed(told["joints"], told["frames"]).reshape(14, dims, -1)
        wanted = np.moveaxis(clip[..., :dims], 0, -1) / unit
        assert np.array_equal(np.isnan(joints), np.isnan(wanted))
        assert np.nanmax(np.abs(joints - wanted)) <= 0.5 + 1e-6
    path = summed(data["clips"][0]["path"], 12)
    assert len(path) == dims - 1 and np.linalg.norm(np.ptp(path, axis=1)) * unit > (2.5 if dims == 3 else -1)


def test_twelve_clips_are_small() -> None:
    """12 clips of 64 frames and 20 joints that shake as much as a depth camera's, with their strips."""
    noise = np.random.default_rng(0)
    more = np.concatenate([BONES, [[7, 14], [8, 15], [11, 16], [12, 17], [0, 18], [18, 19]]])
    kind = Body(20, tuple(map(tuple, more.tolist())), (*PAIRS, (14, 15), (16, 17)))
    clips = []
    for k in range(12):
        base = walker(64, phase=k)
        clip = np.concatenate([base, base[:, [7, 8, 11, 12, 0, 0]] + noise.normal(size=(6, 3)) * 0.1], 1)
        clips.append(clip + noise.normal(size=clip.shape) * 0.005)
    made = skeletons.stage(clips, kind, [f"clip {k}" for k in range(12)], fps=20)
    assert len(rendered(made)) < 300_000


def rendered(*parts: Any) -> str:
    sections = [Section("samples", "Samples", [], [Figure(parts, "", "noisette report x")])]
    return page.render("motion", "brand", [], [], sections, "noisette report x")


def test_a_page_runs_its_own_script_and_no_other() -> None:
    name = '</script><img src="x" onerror="y">'
    text = rendered(skeletons.stage([walker(4)], BODY, [name], title="<b>"), skeletons.stage([walker(4)], BODY))
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1 and "querySelectorAll" in scripts[0]
    seal = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None and policy[1].split("; ")[0] == "default-src 'none'"
    assert [p for p in policy[1].split("; ") if p.startswith("script-src")] == [f"script-src 'sha256-{seal}'"]
    assert text.count("<script") == 3 and "<img" not in text and "<b>" not in text
    assert set(re.findall(r"\bhttps?:[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import|eval)\b", scripts[0])


def test_a_page_without_clips_has_no_script() -> None:
    text = rendered(*map(skeletons.drawing, skeletons.strips([walker(4)], BODY)))
    assert "script" not in text and 'class="skeleton"' in text


LOOK = "document.querySelector('canvas').toDataURL()"


def until(told: Callable[[], bool]) -> None:
    """Waits for it; a page with our policy evaluates nothing by itself."""
    end = time.monotonic() + 20
    while not told():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def browser() -> Any:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    clips = [walker(24, phase=k) for k in range(3)]
    clips[0][5, 7] = np.nan
    path.write_text(rendered(skeletons.stage(clips, BODY, ["a", "b", "c"], fps=24)), encoding="utf-8")
    return Path(path).as_uri()


@pytest.mark.slow
def test_a_clip_moves_and_stops_when_it_is_told(browser: Any, place: str) -> None:
    sheet = browser.new_page(viewport={"width": 800, "height": 1200})
    requests, said = [], []
    sheet.on("request", lambda r: requests.append(r.url))
    sheet.on("console", lambda m: said.append(m.text))
    sheet.on("pageerror", lambda m: said.append(str(m)))
    sheet.goto(place)
    first = sheet.evaluate(LOOK)
    until(lambda: sheet.evaluate(LOOK) != first)
    sheet.click("button")
    assert sheet.inner_text("button") == "Play"
    paused = sheet.evaluate(LOOK)
    sheet.wait_for_timeout(300)
    assert sheet.evaluate(LOOK) == paused

    def scrub(name: str, value: int) -> str:
        code = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }"
        sheet.eval_on_selector(name, code, value)
        return str(sheet.evaluate(LOOK))

    start = scrub(".time", 0)
    assert sheet.inner_text("output") == "0.00 s" and scrub(".time", 6) != start
    assert sheet.inner_text("output") == "0.25 s" and scrub(".time", 0) == start
    assert scrub(".turn", 60) != start and scrub(".turn", 0) == start
    box = sheet.query_selector("canvas").bounding_box()
    sheet.mouse.move(box["x"] + 30, box["y"] + 30)
    sheet.mouse.down()
    sheet.mouse.move(box["x"] + 80, box["y"] + 50, steps=3)
    sheet.mouse.up()
    assert sheet.evaluate(LOOK) != start and float(sheet.input_value(".turn")) == pytest.approx(30, abs=2)
    sheet.click("button")
    until(lambda: float(sheet.inner_text("output").split()[0]) > 0.2)
    assert requests == [place] and said == []
    sheet.close()


@pytest.mark.slow
def test_paper_and_a_page_without_scripts_have_the_strips(browser: Any, place: str) -> None:
    seen = "[...document.querySelectorAll('canvas, .player svg, .controls')].map(e => e.getClientRects().length > 0)"
    sheet = browser.new_page()
    sheet.goto(place)
    assert sheet.evaluate(seen) == [True, False] * 3 + [True]
    sheet.emulate_media(media="print")
    assert sheet.evaluate(seen) == [False, True] * 3 + [False]
    sheet.close()
    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.goto(place)
    assert bare.is_visible(".player svg") and not bare.is_visible("canvas") and not bare.is_visible("button")
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_where_motion_is_not_wanted_it_starts_still_in_the_colours_of_the_page(
    browser: Any, place: str, scheme: str
) -> None:
    """A phone of fine pixels: both sides are there in the page's colours, and nothing is wider than the screen."""
    sheet = browser.new_page(
        viewport={"width": 390, "height": 800}, color_scheme=scheme, device_scale_factor=2, reduced_motion="reduce"
    )
    sheet.goto(place)
    before = sheet.evaluate(LOOK)
    assert sheet.evaluate("document.documentElement.scrollWidth") == 390
    colours = {rgb[:3] for _, rgb in opened(base64.b64decode(before.split(",")[1])).convert("RGBA").getcolors(2**20)}
    for name in ("--accent", "--second", "--ink"):
        text = sheet.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{name}')").strip()
        assert tuple(bytes.fromhex(text[1:])) in colours, name
    sheet.wait_for_timeout(200)
    assert sheet.evaluate(LOOK) == before and sheet.inner_text("button") == "Play"
    sheet.click("button")
    until(lambda: sheet.evaluate(LOOK) != before)
    sheet.close()

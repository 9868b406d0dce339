"""Skeletons are seen from the side of where they face, wherever that is, and drawn where they are."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walker import BODY, BONES, LEFT, NAMES, PAIRS, RIGHT, walker

from noisette.data.motion.skeleton import Skeleton
from noisette.views import skeletons
from noisette.views.curves import PALETTE
from noisette.views.skeletons import Body, body, scene
from noisette.views.skeletons.scene import Dots, Group, Lines, Scene, Words


def parsed(svg: str) -> ElementTree.Element:
    assert "nan" not in svg and "inf" not in svg
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [t.text or "" for t in parsed(svg).iter("{http://www.w3.org/2000/svg}text")]


# --- the body and the camera ----------------------------------------------------------------------------------------


def test_sides_and_ends() -> None:
    assert [BODY.sides[j] for j in (0, 3, 4)] == ["middle", "left", "right"]
    assert BODY.bone_sides[BONES.index((1, 3))] == "left" and BODY.bone_sides[0] == "middle"
    assert Body(2, ((0, 1),), ((0, 1),)).bone_sides == ("middle",)
    assert BODY.ends == (2, 7, 8, 11, 12)
    assert BODY.head == (1, 2)
    assert Body(14, BONES).head is None
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        Body(3, ((0, 3),))


def test_a_skeleton_is_a_body() -> None:
    skeleton = Skeleton(NAMES, links=BONES, pairs=PAIRS, unit="cm", up=2, down=True)
    assert Body.of(skeleton) == Body(14, BONES, PAIRS, 2, True, NAMES, "cm")


@given(turned=st.floats(-math.pi, math.pi), travel=st.floats(0, 4), up=st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_it_faces_right_and_towards_us_wherever_it_faces(turned: float, travel: float, up: int) -> None:
    """The picture does not depend on where the body looks, nor on which axis is up."""
    clip = np.roll(walker(turned=turned, travel=travel), up - 1, axis=-1)
    seen = body.place(clip, Body(14, BONES, PAIRS, up))
    assert np.allclose(seen, body.place(walker(travel=travel), BODY), atol=2e-5)
    way = seen[:, 13] - seen[:, 2]  # head to nose
    assert (way[:, 0] > 0).all() and (way[:, 2] > 0).all()
    assert (seen[:, list(RIGHT[:2]), 2] > seen[:, list(LEFT[:2]), 2]).all()  # right limbs are the nearer ones


def test_a_camera_turns_and_does_not_stretch() -> None:
    clip = walker(turned=0.7)
    seen = body.tilted(body.place(clip, BODY))
    for a, b in BONES:
        real, drawn = (np.linalg.norm(x[:, a] - x[:, b], axis=-1) for x in (clip, seen))
        assert np.allclose(real, drawn, atol=1e-6)
    assert np.allclose(seen[..., 1], body.tilted(body.place(clip, BODY), 0)[..., 1], atol=0.2)


def test_the_camera_stands_still_or_follows() -> None:
    assert len(np.unique(body.look(walker(), BODY).path, axis=0)) == 1
    for travel in (1.5, 20.0):
        view = body.look(walker(48, travel=travel), BODY)
        assert np.hypot(*(view.path[-1] - view.path[0])) == pytest.approx(47 / 48 * travel, rel=0.02)
        assert np.abs(body.place(walker(48, travel=travel), BODY)[..., 0]).max() < 0.6


def test_the_floor_is_under_the_feet_but_not_under_a_slip() -> None:
    clip = walker(20) + np.array([0, 3, 0])
    jump, slip = clip.copy(), clip.copy()
    jump[6:14, :, 1] += 0.5
    slip[3:5, 11, 1] -= 0.4
    for x in (clip, jump, slip):
        assert body.look(x, BODY).floor == pytest.approx(3, abs=1e-5)


def test_two_dimensions_are_drawn_as_they_are() -> None:
    clip = walker()[..., :2]
    seen = body.place(clip, BODY)
    assert np.allclose(seen[..., 0] - seen[:, :1, 0], clip[..., 0] - clip[:, :1, 0], atol=1e-6)
    assert np.allclose(seen[..., 1], clip[..., 1], atol=1e-6) and (seen[..., 2] == 0).all()
    pixels = [100, 300] + clip * [50, -50]
    down = body.place(pixels, Body(14, BONES, PAIRS, 1, down=True))
    assert np.allclose(down, 50 * seen, atol=1e-3)


def test_without_pairs_it_is_seen_where_it_is_broad() -> None:
    """The axes of the camera come from the shape alone, and make a rotation."""
    view = body.look(walker(turned=0.4), Body(14))
    assert np.allclose(view.axes @ view.axes.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(view.axes) == pytest.approx(1)
    thin = math.atan2(view.axes[2][0], view.axes[2][2])  # the camera, from z to x
    away = min(abs(math.remainder(thin - k, math.tau)) for k in (0.4, 0.4 + math.pi))
    assert away == pytest.approx(body.ASIDE, abs=0.15) or away == pytest.approx(math.pi - body.ASIDE, abs=0.15)


@pytest.mark.parametrize("shape", [(5, 14), (0, 14, 3), (5, 13, 3), (5, 14, 4), (5, 14, 1)])
def test_what_is_no_clip_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a clip"):
        body.look(np.zeros(shape), BODY)


@given(missing=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 13)), max_size=112), all_of=st.integers(-1, 13))
@settings(max_examples=30, deadline=None)
def test_missing_joints_are_left_out(missing: list[tuple[int, int]], all_of: int) -> None:
    """Whatever is missing, nothing that is not a number is drawn, and what is there stays."""
    clip = walker(8)
    for frame, joint in missing:
        clip[frame, joint] = np.nan
    if all_of >= 0:
        clip[:, all_of] = np.inf
    seen = body.place(clip, BODY)
    assert (np.isnan(seen).any(-1) == ~np.isfinite(clip).all(-1)).all()
    for kind in (BODY, Body(14)):
        parsed(skeletons.strips([clip], kind)[0].svg())


def test_a_clip_of_nothing_is_drawn_empty() -> None:
    clip = np.full((4, 14, 3), np.nan)
    strip = skeletons.strips([clip], BODY, fps=10)[0]
    assert texts(strip.svg()) == ["0 s", "0.3 s"]
    assert skeletons.film([clip], BODY, "gif")
    assert skeletons.stage([clip], BODY).data.count("null") == 4 * 14 * 3


# --- a sheet --------------------------------------------------------------------------------------------------------


def test_marks_are_where_they_are_said_to_be() -> None:
    marks = [Lines(np.array([[5.0, 20, 35, 20]]), "accent", 4), Dots(np.array([[20.0, 8]]), "second", 3)]
    drawn = np.asarray(Scene(40, 30, [Group(marks)]).image(1))
    assert drawn.shape == (30, 40, 3)
    assert drawn[20, 20].tolist() == [0x2A, 0x6F, 0xB0] and drawn[8, 20].tolist() == [0xC4, 0x57, 0x1B]
    ink = (drawn < 250).any(-1)
    assert not ink[:4].any() and not ink[12:17].any() and not ink[24:].any()
    assert 5 <= (ink.sum(0)[10:15]).mean() <= 6  # four pixels of ink and a smooth rim
    faded = np.asarray(Scene(40, 30, [Group(marks, 0.5)]).image(1))
    assert np.abs(faded[20, 20].astype(int) - (np.array([0x2A, 0x6F, 0xB0]) + 255) / 2).max() <= 1


def test_an_svg_has_the_lines_of_the_scene() -> None:
    ends = np.array([[1.0, 2, 3.5, 4], [3.5, 4, 10, -0.5], [0, 0, 1.26, 0.04]])
    path = re.search(r'd="([^"]+)"', Scene(9, 9, [Group([Lines(ends, "ink", 2)])]).svg())
    assert path is not None and path[1] == "M1 2l2.5 2l6.5-4.5M0 0l1.3 0"


def test_words_are_escaped() -> None:
    made = Scene(60, 9, [Group([Words(1, 1, "<b>&\"'")])], title="<i>")
    assert texts(made.svg()) == ["<b>&\"'"] and "<b>" not in made.svg()
    assert texts(skeletons.sheet([made]).svg()) == ["<i>", "<b>&\"'"]


# --- strips ---------------------------------------------------------------------------------------------------------


def test_a_strip_fades_from_the_first_pose_to_the_last() -> None:
    strip = skeletons.strips([walker(31)], BODY, ["walk"], poses=4, fps=10)[0]
    assert (strip.title, strip.alt) == ("walk", "walk: 4 poses from 0 s to 3 s.")
    assert texts(strip.svg()) == ["0 s", "3 s"]
    fades = [g.opacity for g in strip.groups if any(isinstance(m, Dots) for m in g.marks)]  # those with a head
    assert fades == pytest.approx([0.3, 0.3 + 0.7 / 3, 0.3 + 1.4 / 3, 1])
    heads = [m.at[0] for g in strip.groups for m in g.marks if isinstance(m, Dots)]
    assert np.diff([x for x, _ in heads]) == pytest.approx([110] * 3)
    for mark in (m for g in strip.groups for m in g.marks if isinstance(m, Lines)):
        assert mark.ends.min() > -1 and mark.ends[:, ::2].max() <= 441 and mark.ends[:, 1::2].max() < strip.height


def test_bones_have_the_colour_of_their_side_and_near_ones_are_thicker() -> None:
    strip = skeletons.strips([walker(1)], BODY)[0]
    lines = [m for g in strip.groups for m in g.marks if isinstance(m, Lines) and m.round and m.width > 1]
    count = {c: sum(len(m.ends) for m in lines if m.colour == c) for c in ("accent", "second", "ink")}
    assert count == {"accent": 5, "second": 5, "ink": 2}
    width = {c: np.average([m.width for m in lines if m.colour == c]) for c in count}
    assert width["second"] > width["accent"]  # its right side is turned to us


def test_strips_share_a_scale() -> None:
    """A body of half the size is drawn at half the size, and is not blown up."""
    made = skeletons.strips([walker(6), walker(6) / 2], BODY, ["a", "b"])
    floors = [strip.groups[0].marks[0].ends[0, 1] for strip in made]
    heads = [next(m.at[0, 1] for g in strip.groups for m in g.marks if isinstance(m, Dots)) for strip in made]
    assert (floors[0] - heads[0]) / (floors[1] - heads[1]) == pytest.approx(2, abs=1e-5)


def test_fewer_frames_than_poses() -> None:
    for n in (1, 2, 5):
        strip = skeletons.strips([walker(n)], BODY, poses=6)[0]
        assert sum(isinstance(m, Dots) for g in strip.groups for m in g.marks) == n
        assert texts(strip.svg()) == ["frame 0", f"frame {n - 1}"][:n]


def test_points_alone_without_bones() -> None:
    strip = skeletons.strips([walker(5)], Body(14), poses=5)[0]
    dots = [m for g in strip.groups for m in g.marks if isinstance(m, Dots) and m.colour == "accent"]
    assert [len(m.at) for m in dots] == [14] * 5
    assert [m for g in strip.groups for m in g.marks if isinstance(m, Lines)][1:] == []  # the ground


def test_strips_on_a_sheet_and_captions_that_do_not_match() -> None:
    made = skeletons.strips([walker(8), walker(8, phase=1)], BODY, ["walk", "run"])
    sheet = skeletons.sheet(made, columns=2)
    assert sheet.width == pytest.approx(2 * (440 + 16)) and sheet.image(1).width == 912
    with pytest.raises(ValueError, match="1 captions for 2 clips"):
        skeletons.strips([walker(8), walker(8)], BODY, ["a"])


def test_denoising_is_labelled_and_ends_in_the_clip() -> None:
    clip = walker(9).astype(float)
    noise = np.random.default_rng(0).normal(size=clip.shape)
    t = np.linspace(1, 0, 9)
    states = np.stack([clip + v * noise for v in t])
    made = skeletons.denoising(states, range(8, -1, -1), t.tolist(), BODY, columns=3, title="x")
    assert texts(made.svg()) == ["step 8", "t = 1.00", "step 4", "t = 0.50", "step 0", "t = 0.00"]
    bones = [g for g in made.groups if g.opacity == 1 and any(isinstance(m, Dots) for m in g.marks)]
    assert len(bones) == 3 and sum(g.opacity == 0.2 for g in made.groups) == 3 * 9
    last = np.concatenate([m.ends for m in bones[-1].marks if isinstance(m, Lines) and m.round])
    lone = skeletons.denoising(clip[None], ["end"], [0.0], BODY)
    same = next(g for g in lone.groups if g.opacity == 1 and any(isinstance(m, Dots) for m in g.marks))
    ends = np.concatenate([m.ends for m in same.marks if isinstance(m, Lines) and m.round])
    lengths = [np.sort(np.hypot(e[:, 2] - e[:, 0], e[:, 3] - e[:, 1])) for e in (last, ends)]
    assert lengths[0] / lengths[0].sum() == pytest.approx(lengths[1] / lengths[1].sum(), abs=1e-9)
    for mark in (m for g in made.groups for m in g.marks if isinstance(m, Lines)):  # nothing leaves its place
        third = np.floor(mark.ends[:, ::2] / (440 / 3))
        assert (third == third[0, 0]).all()
    with pytest.raises(ValueError, match="2 steps and 9 times"):
        skeletons.denoising(states, [1, 0], t.tolist(), BODY)


def test_a_strip_on_a_page_has_the_colours_of_the_page() -> None:
    made = skeletons.strips([walker(6)], BODY, ["walk"])[0]
    part = skeletons.drawing(made)
    assert (part.title, part.alt) == (made.title, made.alt)
    assert "var(--accent)" in part.svg and not any(colour in part.svg for colour in PALETTE.values())
    assert any(colour in made.svg() for colour in PALETTE.values())
    assert set(re.findall(r"https?://[^\"]+", part.svg)) == {"http://www.w3.org/2000/svg"}
    assert scene.PAPER in part.svg  # of the rims, where a viewer knows no --paper


# --- charts ---------------------------------------------------------------------------------------------------------


def test_a_chart_shows_the_median_speed() -> None:
    real = [walker(10) * s for s in (1, 2, 3)]
    axes = skeletons.over_time(real, [walker(10)], BODY, 7, fps=5).axes[0]
    lines = {str(line.get_label()): line for line in axes.lines}
    way = np.abs(np.diff(walker(10)[:, 7, 2])) * 5
    assert np.allclose(lines["real"].get_ydata(), 2 * way, atol=1e-5)
    assert np.allclose(lines["generated"].get_ydata(), way, atol=1e-5)
    assert np.allclose(lines["real"].get_xdata(), (np.arange(9) + 0.5) / 5)
    assert axes.get_ylabel() == "m a second" and axes.get_xlabel() == "seconds"


def test_a_chart_ends_where_clips_get_few_and_skips_what_is_missing() -> None:
    real = [walker(n) for n in (4, 6, 8, 12)]
    real[0][0, 7] = np.nan
    axes = skeletons.over_time(real, [], BODY, 7).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [0.5, 1.5, 2.5, 3.5, 4.5] and len(axes.lines) == 1


def test_the_joints_that_move_most_are_charted() -> None:
    assert skeletons.telling([walker()], BODY) == [7, 8, 11, 12]
    x = np.zeros((5, 3, 2))
    x[:, 1, 0] = np.arange(5)
    assert skeletons.telling([x], Body(3))[:2] == [0, 1]

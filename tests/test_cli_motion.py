"""Motion through the command line: what the verbs take, what they write, and how bad input ends."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import flags, refused, run
from PIL import Image
from tiny_motion import NAMES, PARENTS, SKELETON, TINY_MOTION, take, tiny_motion, walks

import noisette as nt
from noisette.cli.frame import Clips, as_settings
from noisette.data.motion import read
from noisette.experiment.runs import Run
from noisette.views.skeletons.films import REST_MS

FEW = ["-n", 3, "--steps", 2]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 takes of a body of six joints in two classes."""
    return walks(tmp_path_factory.mktemp("walks") / "walks.npz")


@pytest.fixture(scope="module")
def moving(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished tiny run of motion, shared: do not write into it."""
    return tiny_motion(source, tmp_path_factory.mktemp("runs") / "moving", train__steps=4)


# --- what is taken ------------------------------------------------------------------------------------------------


def test_options_are_settings() -> None:
    clips = Clips(frames=8, fps=15.0, skeleton="s.json", columns="a, b", centre="root", mirror=False, rotate=90.0)
    told = {"frames": 8, "fps": 15.0, "skeleton": "s.json", "columns": ["a", "b"], "centre": "root", "mirror": False}
    assert as_settings(["motion.heading=false"], clips=clips) == {"motion": {"heading": False, **told, "rotate": 90.0}}
    assert as_settings(None) == as_settings(None, clips=Clips()) == {}


def test_a_check_tells_what_is_in_motion(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("check", source, "--minutes", 1, *flags(TINY_MOTION), "--frames", 12, "--stride", 6, "--speed", 0.1)
    said = capsys.readouterr().out
    assert "210 clips of 12 frames (0.6 s at 20 a second) from 30 takes, 6 joints in 3 dimensions" in said
    assert re.search(r"train on +168, hold out 42 \(whole takes\)", said) and "quick 105, slow 105" in said
    moves = r"1:12 of motion; a body is 1\.\d+ m, a joint moves [\d.]+ m a second on average; bones vary by 0\.0%"
    assert re.search(moves, said)
    assert re.search(r"speed +about [\d,]+ clips/s in fp32", said) and "Recipe motion: a U-Net of" in said
    assert re.search(r"1 minutes +[\d,]+ clips, [\d.]+ looks at each", said) and "Only 30 takes" in said
    assert "image" not in said and "None" not in said


def test_options_of_the_other_medium(
    source: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", tmp_path / "never"]
    cases: list[tuple[Sequence[object], str]] = [
        (["train", squares, "--frames", 8, *out], "motion.frames concerns motion alone: leave it out"),
        (["check", squares, "--mirror"], "motion.mirror concerns motion alone: use --flip"),
        (["train", source, "--flip", *out], "data.flip concerns images alone: use --mirror"),
        (["check", source, "--image-size", 32], "data.image_size concerns images alone"),
        (["train", source, "--kind", "gan", *out], "a GAN draws images alone"),
        (["train", source, "--frames", 2, *out], "frames must be from 4 to 4096, not 2"),
        (["train", source, "--frames", "8.5", *out], "--frames: 8.5 is no whole number"),
        (["train", source, "--centre", "middle", *out], "--centre"),
        (["train", source, "--motion.centre", "rot", *out], 'did you mean "root"'),
        (["train", source, "--fps", 0, *out], "fps must be"),
        (["train", source, "--speed", 5, *out], "speed"),
        (["train", source, "--frames", 64, *out], "clips of 64 frames, but its longest take has 48"),
        (["train", source, "--skeleton", tmp_path / "none.json", *out], "no such skeleton file"),
    ]
    refused(cases, capsys)
    assert not (tmp_path / "never").exists()


def test_bad_motion_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = take(30, 0, False)

    def text(name: str, content: Any) -> Path:
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path / name

    def array(name: str, x: np.ndarray) -> Path:
        np.save(tmp_path / name, x)
        return tmp_path / name

    def body(name: str, **more: Any) -> Path:
        return text(name, {"names": list(NAMES), **more})

    frames = x.tolist()
    good = array("good.npy", x)
    ragged = text("ragged.json", {"frames": [*frames[:10], frames[10][:5], *frames[11:]]})
    unlike = text("unlike.json", {"clips": [{"frames": frames}, {"frames": x[:, :5].tolist()}]})
    circle = body("circle.json", parents=["head", "hips", "hips", "hips", "l_hip", "r_hip"])
    lost = body("lost.json", edges=[["hips", "haed"]])
    cases: list[tuple[Sequence[object], str]] = [
        (["check", ragged], "its frames have 5 to 6 joints; each must have the same"),
        (["check", unlike], "every clip must have the same"),
        (["check", array("zero.npy", 0 * x)], "no usable frame in its 1 take (all frames are empty)"),
        (["check", array("nan.npy", np.nan * x)], "all frames are empty"),
        (["check", good, "--skeleton", lost], 'names a joint "haed" that is not in the skeleton; did you mean "head"'),
        (["check", good, "--skeleton", circle], "run in a circle: hips -> head -> hips"),
        (["check", good, "--skeleton", text("two.json", {"names": ["a", "b"]})], "2 joints, but"),
        (["check", good], "clips of 64 frames, but its longest take has 30: a smaller --frames"),
        (["check", text("skeleton.json", SKELETON.to_json())], "holds a skeleton and no motion: give it with --skel"),
    ]
    refused(cases, capsys)


def test_bad_takes_among_good_ones_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a unit in which nobody has such limbs is told."""
    folder = tmp_path / "takes"
    folder.mkdir()
    good = [take(48, k, False) for k in range(8)]
    np.savez(folder / "good.npz", x=np.concatenate(good), length=[48] * 8, fps=20.0)
    (folder / "broken.bvh").write_text("HIERARCHY\nROOT\n")
    np.save(folder / "five.npy", take(48, 0, False)[:, :5])
    np.save(folder / "empty.npy", np.zeros((48, 6, 3), np.float32))
    gaps = take(48, 9, True)
    gaps[5:7, 2] = np.nan
    gaps[20:40, 3] = np.nan
    np.save(folder / "gaps.npy", gaps)
    told = {"names": list(NAMES), "parents": [p if p >= 0 else None for p in PARENTS], "unit": "mm", "fps": 20}
    (tmp_path / "mm.json").write_text(json.dumps(told))
    words = [*flags(TINY_MOTION), "--skeleton", tmp_path / "mm.json", "--minutes", 1]
    run("check", folder, *words)
    said = capsys.readouterr().out
    for name, why in (("broken.bvh", ""), ("five", "5 joints of 3 coordinates"), ("empty", "all frames are empty")):
        assert re.search(rf"skipped +{name}.*: .*{why}", said), name
    assert "missing    310 joints, 2 of them filled (gaps of up to 0.2 s); 68 frames dropped" in said
    assert re.search(r"Note: the unit is given as mm, but the longest limb measures .* mm, which no body has", said)
    assert "files or takes could not be used" in said


def test_training_says_its_notes_and_what_to_do_next(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "report.html"
    monkeypatch.setattr("noisette.views.report.report", lambda run: page)  # tested where reports are
    small = {**TINY_MOTION, "train": {**TINY_MOTION["train"], "checks": 0, "previews": 0}}
    words = [*flags(small), "--frames", 10, "--fps", 10, "--mirror", "--centre", "root", "--steps", 2]
    run("train", source, *words, "--out", tmp_path / "run")
    said = capsys.readouterr().out
    assert re.search(r"Expects about [\d,]+ clips/s in fp32: 32 clips", said)
    assert re.search(r"2 steps, 32 clips in \d+ s", said) and "--out samples.gif" in said
    made = Run.open(tmp_path / "run")
    motion = made.config.motion
    assert (motion.frames, motion.fps, motion.mirror, motion.centre) == (10, 10.0, True, "root")
    assert made.shape.medium.stored == (10, 6, 3)


# --- what is written ----------------------------------------------------------------------------------------------


def test_samples_in_every_format(moving: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = nt.open(moving.path).sample(3, steps=2).x
    assert expected.shape == (3, 16, 6, 3) and expected.dtype == np.float32
    for suffix in ("npz", "json", "csv"):
        run("sample", moving.path, *FEW, "--out", f"clips.{suffix}")
        found = read(f"clips.{suffix}")
        assert np.array_equal([t.x for t in found.takes], expected), suffix
        assert [t.name for t in found.takes] == ["seed 0", "seed 1", "seed 2"]
        assert [t.label for t in found.takes] == ["quick", "slow", "quick"] and found.takes[0].fps == 20
        assert found.skeleton is not None and found.skeleton.names == NAMES
    assert found.skeleton.pairs == SKELETON.pairs
    for place in ("clips.bvh", "single/"):
        run("sample", moving.path, *FEW, "--out", place)
    for k, name in enumerate(("000000-seed0-label0", "000001-seed1-label1", "000002-seed2-label0")):
        for path in (f"clips-{k}.bvh", f"single/{name}.bvh"):
            found = read(path)
            assert found.skeleton is not None
            order = [found.skeleton.names.index(joint) for joint in NAMES]
            assert abs(found.takes[0].x[:, order] - expected[k]).max() < 1e-4, path
    found = read("single")  # with its skeleton.json
    assert abs(np.array([t.x for t in found.takes]) - expected).max() < 1e-4 and found.stated >= {"unit", "up"}
    for suffix in ("gif", "webp", "png"):
        run("sample", moving.path, *FEW, "--out", f"clips.{suffix}")
        with Image.open(f"clips.{suffix}") as image:
            assert getattr(image, "n_frames", 1) == (1 if suffix == "png" else 16)
    for loop, rests in (((), True), (("--loop",), False)):
        run("sample", moving.path, *FEW, *loop, "--out", "clips.gif")
        with Image.open("clips.gif") as image:
            image.seek(15)
            image.load()
            assert (image.info["duration"] == REST_MS) == rests, "what leads back to its start does not stop there"


def test_written_clips_train_again(moving: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("sample", moving.path, "-n", 8, "--steps", 2, "--out", tmp_path / "clips.npz")
    run("check", tmp_path / "clips.npz", "--minutes", 1, *flags(TINY_MOTION))
    said = capsys.readouterr().out
    assert "8 clips of 16 frames (0.8 s at 20 a second) from 8 takes, 6 joints in 3 dimensions" in said


def test_ways_from_and_to_noise(
    moving: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("way.png", "way.gif", "way.npz"):
        run("sample", moving.path, *FEW, "--out", "clips.npz", "--trajectory", name)
    with np.load("way.npz") as way, np.load("clips.npz") as clips:
        assert way["x"].shape == (3, 3, 16, 6, 3) and way["x"].dtype == np.float32 and way["t"].tolist()[-1] == 0
        assert np.array_equal(way["x"][-1].reshape(clips["x"].shape), clips["x"])
    with Image.open("way.gif") as film, Image.open("way.png") as strip:
        assert film.n_frames == 3
        width, height = strip.size
    run("forward", moving.path, "--columns", 4, "-n", 2, "--out", "to.png")
    run("forward", source, "--columns", 4, "-n", 2, "--out", "to.npz", "--T", 50, "--frames", 12)
    np.savez(
        "uneven.npz", x=np.concatenate([take(8 if k else 40, k, False) for k in range(20)]), length=[40] + [8] * 19
    )
    run("forward", "uneven.npz", "--columns", 2, "-n", 2, "--out", "long.npz", "--frames", 16)
    with np.load("long.npz") as way:
        assert way["x"].shape[1:3] == (2, 16), "the short takes are no reason to refuse"
        assert not np.array_equal(way["x"][0, 0], way["x"][0, 1])
    with Image.open("to.png") as strip:
        assert strip.width > 1.5 * width and strip.height < height
    with np.load("to.npz") as way:
        assert way["x"].shape == (5, 2, 12, 6, 3) and way["signal"][0] == 1
    assert "of the signal is left at the end" in capsys.readouterr().out


def test_wrong_endings_are_told_before_the_work(
    moving: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noisette.tasks.generate.generate", None)  # it would be no user's error
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old.bvh").write_text("")
    cases: list[tuple[Sequence[object], str]] = [
        (["sample", moving.path, "--out", tmp_path / "x.mp4"], ".bvh (a file a clip)"),
        (["sample", moving.path, "--out", tmp_path / "x"], ".gif (moving)"),
        (["sample", moving.path, "--out", f"{tmp_path}/full/"], "not empty"),
        (["sample", moving.path, "--trajectory", tmp_path / "x.bvh"], ".npz (every step)"),
        (["forward", moving.path, "--out", tmp_path / "x.json"], ".webp (animation)"),
        (["forward", moving.path, "--out", tmp_path / "x.png", "--frames", 8], "leave out --frames"),
        (["forward", moving.path, "--out", tmp_path / "x.png", "--image-size", 8], "leave out --image-size"),
    ]
    refused(cases, capsys)


def test_the_same_from_python(moving: Run, tmp_path: Path) -> None:
    made = nt.open(moving.path)
    clips = made.sample(2, steps=2, classes=["slow"])
    assert clips.save(tmp_path / "clips.bvh") == tmp_path / "clips-*.bvh"
    assert len(list(tmp_path.glob("clips-*.bvh"))) == 2
    assert clips.picture().size[1] > clips.picture().size[0] / 2
    way = made.trajectory(2, steps=2)
    assert way.save(tmp_path / "way.png").is_file()
    assert way.picture(estimates=True).height > 1.8 * way.picture().height
    assert len(made.forward(n=2, count=3)) == 4
    between = made.interpolate((3, 7), 3, cls="slow", steps=2)
    assert between.x.shape == (3, 16, 6, 3) and read(str(between.save(tmp_path / "between.json"))).takes[1].label
    again = made.sample(2, steps=2, classes=["slow"], noise=made.noise(2))
    assert np.allclose(again.x, clips.x, atol=1e-5)

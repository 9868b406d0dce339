"""Editing: what is kept of a given clip, loops and other lengths, through whole runs of a tiny net."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import refused
from data.motion_made import NAMES, PARENTS, SKELETON, body, npz
from moving import FRAMES, moving
from tiny import tiny

from noisette.data.motion.clips import Placing, resample
from noisette.data.motion.write import write
from noisette.diffusion import editing
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.runs import Run
from noisette.tasks.edit import Edit, Edited, Plan, frames_of, placed, planned
from noisette.tasks.generate import CHUNK, generate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Shared: not to be written into."""
    return moving(tmp_path_factory.mktemp("moving"))


def held_out(run: Run, number: int = 0) -> np.ndarray:
    data = build.data(run)
    return data.x[data.held_out[number]]


# --- what is kept ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", (0, 2))
def test_kept_frames_are_those_of_the_given_clip(run: Run, rounds: int) -> None:
    samples, steps = generate(run, 3, edit=Edit("0:4,10:16", rounds=rounds), frames=True)
    given, kept = held_out(run), [*range(4), *range(10, 16)]
    assert samples.x.dtype == np.float32 and (samples.x[:, kept] == given[kept]).all()
    rest = samples.x[:, 4:10]
    assert np.isfinite(rest).all() and np.abs(rest - given[4:10]).max() > 1e-3
    assert np.abs(rest[0] - rest[1]).max() > 1e-3
    assert np.abs(steps[-1].x - samples.x).max() < 1e-5, "what is pasted in was there already"
    assert samples.settings["edit"]["keep_frames"] == "0:4,10:16"


def test_kept_joints_are_those_of_the_given_clip_in_all_frames(run: Run) -> None:
    samples, _ = generate(run, 2, edit=Edit(keep_joints="left_leg", given="held-out:1"))
    given, leg = held_out(run, 1), [k for k, name in enumerate(NAMES) if name[:2] == "l_" or name == "hips"]
    assert (samples.x[:, :, leg] == given[:, leg]).all(), "the root too, from which the net sees the joints"
    other = [NAMES.index("r_knee"), NAMES.index("r_foot")]
    assert (np.abs(samples.x[:, :, other] - given[:, other]).max((0, 1, 3)) > 1e-3).all()


def test_frames_and_joints_are_kept_together(run: Run) -> None:
    samples, _ = generate(run, 1, edit=Edit("0:2", "l_foot"))
    given, foot, hips = held_out(run), NAMES.index("l_foot"), NAMES.index("hips")
    same = (samples.x[0] == given).all(2)
    assert same[:2].all() and same[:, [foot, hips]].all()
    assert not same[2:, [NAMES.index(name) for name in ("l_knee", "r_knee", "r_foot")]].any()


@pytest.mark.parametrize(
    "settings",
    (
        {"motion__relative": False, "motion__centre": "world", "motion__heading": False},
        {"motion__centre": "root"},
        {"net__conditional": False, "objective__predicts": "v", "net__padding_mode": "circular"},
    ),
)
def test_wherever_clips_stand_what_is_kept_stands_where_it_was(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The clip given stands elsewhere than the run's, looks another way and has twice the rate."""
    run = moving(tmp_path, **settings)
    x = body(40, seed=9, yaw=2.0) + np.float32([3, 0, -5])
    np.savez(tmp_path / "other.npz", x=x, names=np.array(NAMES), parents=np.array(PARENTS), fps=60.0, label="fast")
    samples, steps = generate(run, 2, edit=Edit("0:4,-4:", given=str(tmp_path / "other.npz")), frames=True)
    at_rate = resample(x, 60.0, 30.0)[:FRAMES]
    kept = [0, 1, 2, 3, 12, 13, 14, 15]
    assert (samples.x[:, kept] == at_rate[kept]).all()
    assert np.abs(steps[-1].x - samples.x).max() < 2e-5
    if samples.labels is not None:
        assert samples.labels.tolist() == [run.shape.classes.index("fast")] * 2


def test_what_the_net_is_held_to_is_the_clip_as_the_run_places_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(editing, "hold", lambda inner, known, mask, *_: seen.extend((known, mask)) or inner)
    way = planned(run, Edit("0:3", "head"))
    way.held(None)  # type: ignore[arg-type]
    known, mask = seen[-2:]
    assert known.shape == (1, *way.x) and mask.shape == way.x
    placed = Placing.of(run.data)(held_out(run)[None])
    torch.testing.assert_close(known, run.shape.medium.encode(placed), rtol=0, atol=1e-5)
    per_joint = mask.reshape(len(NAMES), 3, FRAMES)
    whole = [k for k, name in enumerate(NAMES) if name in ("hips", "head")]
    assert per_joint[:, :, :3].all() and per_joint[whole].all()
    assert int(per_joint.sum()) == 3 * (3 * len(NAMES) + 2 * (FRAMES - 3))


def test_a_given_clip_may_end_where_nothing_of_it_is_kept(run: Run, tmp_path: Path) -> None:
    """Going on from eight frames; and the class of all samples is that of the clip."""
    source = npz(tmp_path / "start.npz", [8, 9], label=np.array(["fast", "slow"]))
    samples, _ = generate(run, 3, edit=Edit(":8", given=f"{source}:0"))
    assert (samples.x[:, :8] == body(8, seed=0)).all() and samples.x.shape[1] == FRAMES
    assert samples.labels is not None and {samples.classes[k] for k in samples.labels} == {"fast"}
    other, _ = generate(run, 3, edit=Edit(":9", given=f"{source}:1"), classes=["fast"])
    assert (other.x[:, :9] == body(9, seed=1)).all() and other.labels.tolist() == samples.labels.tolist()
    with pytest.raises(UserError, match="it has 8 frames at 30 frames a second, and what is kept of it ends at frame"):
        generate(run, 1, edit=Edit("0:2,12:14", given=source))


@pytest.mark.parametrize("edit", (Edit("0:4,12:16"), Edit(keep_joints="legs", rounds=2), Edit(loop=True, length=21)))
def test_an_edited_sample_depends_on_its_seed_alone(run: Run, edit: Edit) -> None:
    many, _ = generate(run, CHUNK + 2, steps=2, edit=edit, classes=["slow"])
    few, _ = generate(run, 3, steps=2, edit=edit, classes=["slow"])
    last, _ = generate(run, 2, steps=2, seed=CHUNK, edit=edit, classes=["slow"])
    assert (many.x[:3] == few.x).all() and (many.x[CHUNK:] == last.x).all()
    assert not (few.x[0] == few.x[1]).all()


def test_joints_go_by_name_and_without_names_in_the_order_of_the_run(tmp_path: Path) -> None:
    """Of a run whose skeleton was given in a file that is no longer there."""
    skeleton = tmp_path / "skeleton.json"
    skeleton.write_text(json.dumps(SKELETON.to_json()))
    run = moving(tmp_path, motion__skeleton=str(skeleton))
    skeleton.unlink()
    x, order = body(20, seed=7), [3, 1, 0, 2, 7, 6, 5, 4]
    np.save(tmp_path / "plain.npy", x)
    np.savez(tmp_path / "order.npz", x=x[:, order], names=np.array(NAMES)[order], unit="m", up="y", fps=30.0)
    lying = x[..., [0, 2, 1]]
    np.savez(tmp_path / "among.npz", x=np.stack([x, x, x, lying]))
    for name, given in (("plain.npy", x), ("order.npz", x), ("among.npz:3", lying)):
        samples, _ = generate(run, 1, steps=2, edit=Edit("0:4", given=str(tmp_path / name)))
        assert (samples.x[0, :4] == given[:4]).all(), name


# --- loops and lengths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", (10, 16, 40))
@pytest.mark.parametrize("loop", (False, True))
def test_clips_have_the_length_that_is_asked_for(run: Run, length: int, loop: bool) -> None:
    samples, _ = generate(run, 2, steps=2, edit=Edit(length=length, loop=loop))
    assert samples.x.shape == (2, length, len(NAMES), 3) and np.isfinite(samples.x).all()
    way = planned(run, Edit(length=length, loop=loop))
    seen = way.seen(build.trained(run)[0])
    starts = seen.starts(length)[1] if isinstance(seen, editing.windows) else [0]
    assert way.calls == len(starts) and samples.settings["nfe"] == 2 * len(starts)
    assert isinstance(seen, editing.loop) == loop and isinstance(seen, editing.windows) == (loop or length > FRAMES)


def test_nothing_asked_is_the_run_as_it_is(run: Run) -> None:
    plain, _ = generate(run, 2)
    same, _ = generate(run, 2, edit=Edit())
    assert (plain.x == same.x).all() and type(planned(run, Edit())) is Plan and "edit" not in same.settings
    length, _ = generate(run, 2, edit=Edit(length=FRAMES))
    assert (plain.x == length.x).all()


def test_a_net_that_pads_circularly_takes_any_length_at_once_and_is_looped_as_others(tmp_path: Path) -> None:
    run = moving(tmp_path, net__padding_mode="circular", optim__lr=0.01)
    model = build.trained(run)[0]
    for length in (FRAMES, 40):
        plain, looped = (planned(run, Edit(length=length, loop=loop)) for loop in (False, True))
        assert isinstance(plain, Edited) and plain.seen(model) is model and plain.calls == 1
        assert isinstance(looped.seen(model), editing.loop) and looped.calls == 2
        one, two = (generate(run, 1, steps=2, edit=Edit(length=length, loop=loop))[0].x for loop in (False, True))
        assert one.shape == two.shape == (1, length, len(NAMES), 3)
        assert np.abs(one - two).max() > 1e-3, "it does not know where its clips begin: the ring has to tell it"


# --- what cannot be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "found"),
    (("0:2,5:7", [0, 1, 5, 6]), (":2, -2:", [0, 1, 8, 9]), ("3:5,4:6", [3, 4, 5]), ("0:10", list(range(10)))),
)
def test_ranges_are_those_of_python(asked: str, found: list[int]) -> None:
    assert frames_of(asked, 10).tolist() == found


def test_a_range_of_thousands_of_digits_is_none() -> None:
    with pytest.raises(UserError, match="is no range"):
        frames_of("9" * 5000 + ":2", 10)


def test_what_cannot_be_edited_is_told_in_one_line(
    run: Run, trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = npz(tmp_path / "other.npz", [8], unit="mm")
    np.savez(tmp_path / "few.npz", x=body(20)[:, :4])
    np.save(tmp_path / "zero.npy", 0 * body(20))
    np.savez(tmp_path / "names.npz", x=body(20), names=np.array(["nose", *NAMES[1:]]), parents=np.array(PARENTS))
    for name, x in (("cm", 100 * body(20)), ("lying", body(20)[..., [0, 2, 1]]), ("down", body(20) * [1, -1, 1])):
        write(tmp_path / f"{name}.bvh", [np.float32(x)], SKELETON)
    out = ("--out", tmp_path / "x.npz")
    cases = [
        (["--keep-frames", "0:80"], "goes beyond a clip of 16 frames"),
        (["--keep-frames", "0:8,8:8"], '"8:8" has no frame in it'),
        (["--keep-frames", "first"], '"first" is no range: write FIRST:END'),
        (["--keep-frames", "0:16"], "nothing is left to be drawn"),
        (["--keep-joints", ",".join(NAMES)], "nothing is left to be drawn"),
        (["--keep-joints", "legs,tail"], 'no joints "tail" here: there are legs, head, left, right'),
        (["--from", "held-out:0"], "nothing of it is kept"),
        (["--keep-frames", "0:8", "--from", "held-out:999"], "are numbered 0 to"),
        (["--keep-frames", "0:8", "--from", tmp_path / "none.npz"], "no such file"),
        (["--keep-frames", "0:8", "--from", f"{run.config.data.source}:99"], 'no take "99" in it'),
        (["--keep-frames", "0:8", "--from", other], 'its unit is "mm"'),
        (["--keep-frames", "-4:", "--from", tmp_path / "cm.bvh"], 'its unit is "cm" by its positions'),
        (["--keep-frames", "0:8", "--from", tmp_path / "lying.bvh"], 'its vertical axis is "z" by its positions'),
        (["--keep-frames", "0:8", "--from", tmp_path / "down.bvh"], 'its vertical axis is "-y" by its positions'),
        (["--keep-frames", "0:8", "--from", tmp_path / "zero.npy"], "no frame of zero has all joints"),
        (["--keep-frames", "0:8", "--from", tmp_path / "few.npz"], "4 joints of 3 coordinates"),
        (["--keep-frames", "0:8", "--from", tmp_path / "names.npz"], 'it has a joint "nose"'),
        (["--length", "2"], "a clip has 4 to 4096 frames, not 2"),
        (["--loop", "--compile", "on"], "leave out --compile on"),
    ]
    refused([(["sample", run.path, *out, *words], says) for words, says in cases], capsys)
    for words in (["--loop"], ["--length", "20"], ["--keep-frames", "0:8"], ["--from", other]):
        refused([(["sample", trained.path, *out, *words], "concern motion alone")], capsys)
    assert not (tmp_path / "x.npz").exists()


def test_a_gan_is_not_edited(squares: Path, tmp_path: Path) -> None:
    from tiny import TINY_GAN

    gan = tiny(squares, tmp_path / "gan", TINY_GAN, **{"train.steps": 1})
    with pytest.raises(UserError, match=r"a GAN draws images: .* concern motion alone"):
        generate(gan, 1, edit=Edit(loop=True))


# --- how windows are seen -------------------------------------------------------------------------------------------


def test_a_window_is_seen_as_a_clip_that_begins_there_is_placed(run: Run) -> None:
    medium, placing = run.shape.medium, Placing.of(run.data)
    x = np.stack([body(20, seed=k, yaw=k - 1.0) + np.float32([k, 0, 1]) for k in range(3)])
    whole = medium.encode(x)
    turn, shift = placed(medium, placing)(whole[..., 4])  # type: ignore[arg-type]
    seen = medium.decode(turn @ whole[..., 4:] + shift[..., None])
    assert np.abs(seen - placing(x[:, 4:])).max() < 1e-5
    torch.testing.assert_close(turn @ turn.mT, torch.eye(len(turn[0])).expand_as(turn), rtol=0, atol=1e-5)

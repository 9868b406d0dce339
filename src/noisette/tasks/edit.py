"""What is asked of a drawing beyond the run's own clips: a part that is given, a loop, another length."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisette.data.medium import Medium, Motion, Stored
from noisette.data.motion import MotionData, infer, parts, read
from noisette.data.motion.clean import at_origin, clean
from noisette.data.motion.clips import Placing, Where, resample, turn
from noisette.data.motion.skeleton import numbered
from noisette.data.motion.takes import Recording, Take
from noisette.diffusion import editing
from noisette.diffusion.denoisers import Denoiser
from noisette.errors import UserError
from noisette.experiment import build
from noisette.experiment.runs import Run

RANGE = re.compile(r"(-?\d{1,9})?:(-?\d{1,9})?")
NUMBER = re.compile(r"\d{1,9}")
HELD_OUT = "held-out"
FEWEST, MOST = 4, 4096
"""Frames that a clip may be asked to have."""

ROUNDS, SMOOTH = 0, 3.0
"""What `diffusion.editing.hold` is told unless an Edit says otherwise, see benchmarks/in_between.py."""


@dataclass(frozen=True)
class Edit:
    """What is asked for; nothing by default. Only clips of motion can be edited.

    keep_frames  ranges of the given clip that are kept, as Python slices them: "0:8,56:64", ":8,-8:"
    keep_joints  names of joints and of parts of the body ("legs,left_arm"), kept in all frames; see data.motion.parts
    given        the clip: a motion file (its first take), FILE:TAKE (a name, or a number from 0), or held-out:ROW of
                 the run's own data; held-out:0 by default
    loop         the last frame leads into the first one
    length       frames; by default those of the run's clips
    rounds, smooth   of `diffusion.editing.hold`
    """

    keep_frames: str | None = None
    keep_joints: str | None = None
    given: str | None = None
    loop: bool = False
    length: int | None = None
    rounds: int = ROUNDS
    smooth: float = SMOOTH

    def __bool__(self) -> bool:
        return self != Edit(rounds=self.rounds, smooth=self.smooth)

    @property
    def keeps(self) -> bool:
        return self.keep_frames is not None or self.keep_joints is not None


@dataclass(frozen=True)
class Plan:
    """How samples of a medium are drawn. This one draws them as the net learned them; `Edited` does more."""

    medium: Medium

    @property
    def x(self) -> tuple[int, ...]:
        """The shape of one sample's noise."""
        return self.medium.x

    @property
    def calls(self) -> int:
        """How often the net is called where a sampler asks once."""
        return 1

    def seen(self, model: Denoiser) -> Denoiser:
        """The model, made fit for this shape."""
        return model

    def held(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser with guidance and all, held to what is given."""
        return denoiser

    def decode(self, x: Tensor) -> Stored:
        """States on the way as samples are kept."""
        return self.medium.decode(x)

    def finished(self, x: Tensor) -> Stored:
        """Samples as they are kept."""
        return self.decode(x)


@dataclass(frozen=True, eq=False)
class Kept:
    """What is given, where it stands, and what of it is kept.

    x      (B, F, J, D) float32 in the data's units, one clip for all samples or one for each; any number where not kept
    mask   (F, J) bool, True where it is kept
    where  where it stands, told by its first frame
    """

    x: NDArray[np.float32]
    mask: NDArray[np.bool_]
    placing: Placing
    where: Where
    label: str | None = None


@dataclass(frozen=True)
class Edited(Plan):
    """Clips of another length, in a loop, or held to a part that is given; these then stand where the given one does.

    length   frames;  window: frames that the net sees at once, None where it sees them all
    ring     windows lie across the end too
    placing  how the run's clips are placed, so that windows are; None where they stand as they were
    kept     what is given, None for nothing;  rounds, smooth: of `diffusion.editing.hold`
    """

    medium: Motion
    length: int
    window: int | None = None
    ring: bool = False
    placing: Placing | None = None
    kept: Kept | None = None
    rounds: int = ROUNDS
    smooth: float = SMOOTH
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def x(self) -> tuple[int, ...]:
        return (self.medium.x[0], self.length)

    @property
    def calls(self) -> int:
        if self.window is None and not self.ring:
            return 1
        share = (self.window or self.length) - (self.window or self.length) // 2
        return -(-self.length // share) if self.ring else 1 + -(-(self.length - (self.window or 0)) // share)

    def seen(self, model: Denoiser) -> Denoiser:
        place = None if self.placing is None else placed(self.medium, self.placing)
        if self.ring:
            return editing.loop(model, self.window, place)
        return model if self.window is None else editing.windows(model, self.window, place=place)

    def held(self, denoiser: Denoiser) -> Denoiser:
        if self.kept is None:
            return denoiser
        kept = self.kept
        known = self.medium.encode(kept.placing.put(kept.x, kept.where))
        mask = torch.from_numpy(np.repeat(kept.mask.T, self.medium.stored[2], axis=0))
        return editing.hold(denoiser, known, mask, self.rounds, self.smooth)

    def decode(self, x: Tensor) -> Stored:
        made = self.medium.decode(x)
        return made if self.kept is None else self.kept.placing.back(made, self.kept.where)

    def finished(self, x: Tensor) -> Stored:
        """The kept part bit for bit: on the way through the net's units it is rounded."""
        made = self.decode(x)
        return made if self.kept is None else np.where(self.kept.mask[..., None], self.kept.x, made)


def planned(run: Run, edit: Edit | None = None) -> Plan:
    """How a run draws what is asked for.

    Raises:
        UserError: an edit of images; a clip, a range, a joint or a length that cannot be.
    """
    medium = run.shape.medium
    if not edit:
        return Plan(medium)
    if not isinstance(medium, Motion):
        what = "a GAN draws images" if run.config.kind == "gan" else "its samples are images"
        raise UserError(
            f"{run.path}: {what}: what is kept (--keep-frames, --keep-joints, --from), --loop and --length concern "
            "motion alone"
        )
    frames = medium.stored[0]
    length = frames if edit.length is None else edit.length
    if not FEWEST <= length <= MOST:
        raise UserError(f"--length: a clip has {FEWEST} to {MOST} frames, not {length}")
    if edit.given is not None and not edit.keeps:
        raise UserError("--from gives a clip, but nothing of it is kept: add --keep-frames or --keep-joints")
    if edit.rounds < 0 or not edit.smooth >= 0:
        raise UserError(f"rounds and smooth are 0 or more, not {edit.rounds} and {edit.smooth:g}")
    kept = _kept(run, medium, edit, length) if edit.keeps else None
    circular = run.config.net.backbone == "unet" and run.config.net.padding_mode == "circular"
    window = frames if length > frames and not circular else None
    said = ("keep_frames", "keep_joints", "given", "loop", "length", *(("rounds", "smooth") if kept else ()))
    facts = {key: value for key in said if (value := getattr(edit, key)) not in (None, False)}
    placing = Placing.of(run.data)
    moved = placing if placing.heading or placing.centre == "start" else None
    return Edited(medium, length, window, edit.loop, moved, kept, edit.rounds, edit.smooth, facts)


def placed(medium: Motion, placing: Placing) -> editing.Place:
    """How a clip that begins with a pose is placed, as a map of what the net sees.

    A joint is seen as z = (x - mean) / scale, with x from the root where the net sees it so: turned by R about the
    vertical it is R z + (R mean - mean) / scale, and what is seen from no root is moved besides.
    """
    mean, scale = (np.asarray(medium.normaliser[key], np.float64) for key in ("mean", "scale"))
    root, (joints, dims) = medium.normaliser.get("root"), mean.shape
    moves = np.ones((joints, 1)) if root is None else (np.arange(joints) == root)[:, None] * 1.0

    def place(pose: Tensor) -> tuple[Tensor, Tensor]:
        n = len(pose)
        where = placing.where(medium.decode(pose[..., None]))
        axes = np.tile(np.eye(dims, dtype=np.float32), (n, 1, 1, 1))
        turned = axes if where.angle is None else turn(axes, -where.angle, placing.skeleton.up)
        way = turned[:, 0].astype(np.float64)  # x @ way is x turned, for rows x
        shift = (mean @ way - mean - moves * (where.offset[:, 0].astype(np.float64) @ way)) / scale[:, None]
        matrix = np.einsum("jk,nde->njekd", np.eye(joints), way).reshape(n, joints * dims, joints * dims)
        return torch.from_numpy(matrix).to(pose), torch.from_numpy(shift.reshape(n, -1)).to(pose)

    return place


def frames_of(asked: str, length: int) -> NDArray[np.int64]:
    """The frames of "0:8,56:64", sorted: ranges as Python slices a clip of so many frames, each with at least one in
    it. Raises UserError for a range that is none, is empty, or goes beyond the clip."""
    found: set[int] = set()
    for text in (part.strip() for part in asked.split(",")):
        match = RANGE.fullmatch(text)
        if match is None:
            raise UserError(f'--keep-frames: "{text[:30]}" is no range: write FIRST:END, with commas between several')
        first, end = 0 if match[1] is None else int(match[1]), length if match[2] is None else int(match[2])
        first, end = (at + length if at < 0 else at for at in (first, end))
        if not 0 <= first < end <= length:
            what = "has no frame in it" if 0 <= end <= first <= length else f"goes beyond a clip of {length} frames"
            raise UserError(f'--keep-frames: "{text}" {what}: FIRST:END begins with frame FIRST and ends before END')
        found |= set(range(first, end))
    return np.array(sorted(found), np.int64)


def keeping(run: Run, x: NDArray[np.float32], mask: NDArray[np.bool_], label: str | None = None) -> Kept:
    """Clips (B, F, J, D) in the data's units, of which `mask` (F, J) is kept; the root too, wherever it is what the
    net sees the other joints from. Raises UserError where nothing is left to be drawn."""
    root = run.shape.medium.normaliser.get("root") if isinstance(run.shape.medium, Motion) else None
    mask = mask.copy()
    if root is not None:
        mask[:, root] |= mask.any(1)
    if mask.all():
        raise UserError(f"all joints of all {len(mask)} frames are kept: nothing is left to be drawn")
    placing = Placing.of(run.data)
    return Kept(x, mask, placing, placing.where(x), label)


def _kept(run: Run, medium: Motion, edit: Edit, length: int) -> Kept:
    mask = np.zeros((length, medium.stored[1]), bool)
    if edit.keep_frames is not None:
        mask[frames_of(edit.keep_frames, length)] = True
    if edit.keep_joints is not None:
        try:
            mask[:, parts.joints(medium.skeleton, edit.keep_joints)] = True
        except UserError as error:
            raise UserError(f"--keep-joints: {error}") from None
    source = edit.given or f"{HELD_OUT}:0"
    x, label = _held_out(run, source) if source.split(":")[0] == HELD_OUT else _from_file(run, medium, source)
    needed = 1 + int(np.flatnonzero(mask.any(1))[-1])
    if len(x) < needed:
        rate = f" at {medium.fps:g} frames a second" if medium.fps else ""
        raise UserError(f"{source}: it has {len(x)} frames{rate}, and what is kept of it ends at frame {needed}")
    x = np.concatenate((x[:length], np.repeat(x[-1:], max(0, length - len(x)), axis=0)))
    return keeping(run, x[None], mask, label)


def _held_out(run: Run, source: str) -> tuple[NDArray[np.float32], str | None]:
    """(the frames of a held-out clip, and those of its take that follow; its label)."""
    data = build.data(run)
    assert isinstance(data, MotionData)
    many, text = len(data.held_out), source.partition(":")[2] or "0"
    if not many:
        raise UserError(f"{run.path}: no clip of its data was held out: give a file (--from FILE)")
    if not NUMBER.fullmatch(text) or int(text) >= many:
        raise UserError(f"{source[:60]}: the held-out clips of {run.path} are numbered 0 to {many - 1}")
    row = int(data.held_out[int(text)])
    x = data.x.placing(data.x.frames[data.x.start[row] : data.x.high[row]][None])[0]
    return x, None if data.labels is None else data.classes[data.labels[row]]


def _from_file(run: Run, medium: Motion, source: str) -> tuple[NDArray[np.float32], str | None]:
    """(the frames of a take at the run's rate, its joints in the run's order; its label)."""
    path, number = source, ""
    if not Path(source).expanduser().exists() and ":" in source:
        path, number = source.rsplit(":", 1)
    found = read(path, columns=run.config.motion.columns)
    order, own = _order(found, medium, path), found.skeleton.fps if found.skeleton else None
    takes = [replace(t, x=t.x[:, order], fps=t.fps or own) for t in found.takes]
    chosen, origin = _take(found.takes, path, number), at_origin([t.x for t in takes], medium.skeleton.named_root)
    pieces = [clean(t.x, t.fps, origin).pieces for t in takes]
    take, rate = takes[chosen], takes[chosen].fps
    if not pieces[chosen]:
        raise UserError(f"{source}: no frame of {take.name} has all joints")
    _comparable(found, [piece for of_take in pieces for piece in of_take], medium, path)
    x = max(pieces[chosen], key=len)
    if rate and medium.fps:
        x = resample(x, rate, medium.fps)
    return x, take.label


def _order(found: Recording, medium: Motion, source: str) -> list[int]:
    """Where in the file's takes each joint of the run's clips is: by name, or as they come where the file has no names.

    Raises UserError for takes of other joints."""
    _, joints, dims = medium.stored
    _, theirs, dimensions = found.takes[0].x.shape
    if (theirs, dimensions) != (joints, dims):
        raise UserError(
            f"{source}: {theirs} joints of {dimensions} coordinates, and the run's clips have {joints} of {dims}"
        )
    ours = medium.skeleton.names
    names = tuple(numbered(joints)) if found.skeleton is None else found.skeleton.names
    if names == tuple(numbered(joints)):
        return list(range(joints))
    other, missing = (sorted(set(one) - set(two)) for one, two in ((names, ours), (ours, names)))
    if other:
        raise UserError(
            f'{source}: it has a joint "{other[0]}", the run\'s clips have "{missing[0]}": name its joints as theirs'
        )
    return [names.index(name) for name in ours]


def _comparable(found: Recording, pieces: list[NDArray[np.float32]], medium: Motion, source: str) -> None:
    """Raises UserError for stretches of a file's takes, joints in the run's order, in another unit than the run's clips
    or on another axis. What the file does not state is told from the positions, as it is of what is trained on."""
    ours, own, stated = medium.skeleton, found.skeleton or medium.skeleton, found.stated
    down = own.down if "up" in stated else ours.down
    theirs, _ = infer.complete(replace(ours, unit=own.unit, up=own.up, down=down), infer.sample(pieces), stated)
    told = ("px", "") if medium.stored[2] == 2 else ("m", "cm", "mm", "")  # of a run in feet nothing is told
    for key, what in (("unit", "unit"), ("up", "vertical axis")):
        one, two = (skeleton.to_json()[key] for skeleton in (theirs, ours))
        if one != two and (key in stated or key == "up" or two in told):
            one, two = (f'"{text}"' if text else "unknown" for text in (one, two))
            how = "" if key in stated else " by its positions (a .npz or a .json file can state it)"
            raise UserError(f"{source}: its {what} is {one}{how}, and the run's is {two}")


def _take(takes: list[Take], source: str, asked: str) -> int:
    """Which take has this name or number; the first one for ""."""
    names = [take.name for take in takes]
    if not asked:
        return 0
    if asked in names:
        return names.index(asked)
    if NUMBER.fullmatch(asked) and int(asked) < len(takes):
        return int(asked)
    raise UserError(f'{source}: no take "{asked[:30]}" in it; they are numbered 0 to {len(takes) - 1}')

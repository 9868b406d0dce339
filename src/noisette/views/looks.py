"""Samples as they are kept -> what a page shows of them: pictures of images; of clips, strips and stages on which they
move."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from noisette.data.medium import Medium, Motion, Stored
from noisette.views import skeletons
from noisette.views.figures import evenly
from noisette.views.parts import Cell, Cells, Moving, Picture, cells, picture
from noisette.views.skeletons.body import Array, View, extent, look, place
from noisette.views.skeletons.pose import Spot, pose
from noisette.views.skeletons.scene import Group, Lines, Scene

WIDE, HIGH = 128, 80
"""Pixels of a clip as a picture."""

POSES, OLDEST = 4, 0.25
"""Poses in it, and how opaque the first one is; the last one has 1."""

EDGE = 4
"""Pixels around them."""

MOVING = 12
"""Clips that move beside each other; more of them make a page heavy."""

LOOKED = 4
"""Clips of a preview that are shown, in two columns."""

PREVIEW = 360
"""Pixels of a preview, at most."""


def pictures(x: Stored, medium: Medium, like: Stored | None = None) -> NDArray[np.uint8]:
    """Samples as pictures of one size, uint8 (N, H, W, C): images as they are, a clip as a few poses that fade into the
    past, all clips at one scale.

    Args:
        like: clips (M, F, J, D) that decide scale and cameras, such as what noise becomes; in turn where x has more.
            A pose that would reach beyond the picture, as those of noise do, is moved into it, or made smaller.
    """
    if not isinstance(medium, Motion):
        return x
    body = skeletons.Body.of(medium.skeleton)
    models = x if like is None else like
    views = [look(clip, body) for clip in models]
    half, tall = extent([place(clip, body, view) for clip, view in zip(models, views, strict=True)])
    slot = (WIDE - 2 * EDGE) / POSES
    scale = min((HIGH - 3 * EDGE) / tall, slot / half)
    drawn = [_poses(clip, body, views[k % len(views)], scale, tall, slot) for k, clip in enumerate(x)]
    return np.stack([np.asarray(scene.image(1)) for scene in drawn])


def _poses(clip: Array, body: skeletons.Body, view: View, scale: float, tall: float, slot: float) -> Scene:
    floor = HIGH - 2 * EDGE
    points = place(clip, body, view)
    groups = [Group([Lines(np.array([[0, floor, WIDE, floor]]), "line", 1)])]
    chosen = evenly(len(points), POSES)
    for i, f in enumerate(chosen):
        spot = Spot(EDGE + (i + 0.5) * slot, floor, scale, scale * tall)
        fade = OLDEST + (1 - OLDEST) * i / max(1, len(chosen) - 1)
        groups.append(Group(pose(points[f], body, _within(spot, points[f])), fade))
    return Scene(WIDE, HIGH, groups)


def _within(spot: Spot, points: Array) -> Spot:
    """Where a pose stands that lies within the picture: as near to this spot, and as large, as it can."""
    seen = spot.pixels(points)[:, :2]
    seen = seen[np.isfinite(seen).all(1)]
    if not len(seen):
        return spot
    at, low, high = np.array([spot.x, spot.y]), seen.min(0), seen.max(0)
    room = np.array([WIDE, HIGH]) - 2 * EDGE
    shrink = min(1.0, float((room / np.maximum(high - low, 1e-9)).min()))
    low, high = at + shrink * (low - at), at + shrink * (high - at)
    x, y = at + np.maximum(EDGE - low, 0) - np.maximum(high - EDGE - room, 0)
    return Spot(x, y, shrink * spot.scale, shrink * spot.tall)


def shown(
    x: Stored, medium: Medium, labels: Sequence[str], alts: Sequence[str], sizes: tuple[int, int, int], title: str = ""
) -> Cells | Moving:
    """Samples on a page, each over its label ("" for none): images as cells, the first MOVING clips on a stage.

    Args:
        alts: what each shows; sizes: of an image in CSS pixels on a desk, a phone and paper.
    """
    if isinstance(medium, Motion):
        body = skeletons.Body.of(medium.skeleton)
        return skeletons.stage(x[:MOVING], body, labels[:MOVING], fps=medium.fps, title=title)
    each = zip(x, labels, alts, strict=True)
    found = [Cell([picture(image, alt)], [label] if label else []) for image, label, alt in each]
    return cells(found, *sizes, title)


def previews(found: Sequence[tuple[int, Path]], medium: Medium) -> list[tuple[int, Picture]]:
    """(step, a picture) of each look that was saved in training, in this order; without those that cannot be read."""
    if isinstance(medium, Motion):
        return _clips(found, medium)
    made = []
    for step, path in found:
        try:
            with Image.open(path) as image:
                x = np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
        except (OSError, ValueError):
            continue
        made.append((step, picture(x[..., None] if x.ndim == 2 else x, _alt(step, medium), most=PREVIEW)))
    return made


def _clips(found: Sequence[tuple[int, Path]], medium: Motion) -> list[tuple[int, Picture]]:
    """All at the scale and by the cameras of the last one."""
    read = []
    for step, path in found:
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                x = np.asarray(file["x"][:LOOKED], np.float32)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            continue
        if len(x) and x.shape[1:] == medium.stored:
            read.append((step, x))
    made = []
    for step, x in read:
        each = pictures(x, medium, read[-1][1])
        rows = [np.concatenate(list(each[k : k + 2]), 1) for k in range(0, len(each) - len(each) % 2, 2)]
        made.append((step, picture(np.concatenate(rows or [each[0]]), _alt(step, medium), most=PREVIEW)))
    return made


def _alt(step: int, medium: Medium) -> str:
    return f"{'Clips' if isinstance(medium, Motion) else 'Samples'} after {step:,} steps of training"

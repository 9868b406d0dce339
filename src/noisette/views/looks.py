"""Samples as they are kept -> what a page shows of them: pictures of images; of clips, strips and stages on which they
move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Medium, Motion, Stored
from noisette.views import skeletons
from noisette.views.figures import evenly
from noisette.views.skeletons.body import Array, View, extent, look, place
from noisette.views.skeletons.pose import Spot, pose
from noisette.views.skeletons.scene import Group, Lines, Scene

WIDE, HIGH = 128, 80
"""Pixels of a clip as a picture."""

POSES, OLDEST = 4, 0.25
"""Poses in it, and how opaque the first one is; the last one has 1."""

EDGE = 4
"""Pixels around them."""


def pictures(x: Stored, medium: Medium, like: Stored | None = None) -> NDArray[np.uint8]:
    """Samples as pictures of one size, uint8 (N, H, W, C): images as they are, a clip as a few poses that fade into the
    past, all clips at one scale.

    Args:
        like: clips (M, F, J, D) that decide scale and cameras, such as what noise becomes; in turn where x has more.
            What reaches beyond the picture lies on its edge.
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
    reach = np.array([1.5 * slot, floor - EDGE]) / scale
    points[..., :2] = points[..., :2].clip(-reach, reach)
    points[..., 1] = points[..., 1].clip(-EDGE / scale, None)
    groups = [Group([Lines(np.array([[0, floor, WIDE, floor]]), "line", 1)])]
    chosen = evenly(len(points), POSES)
    for i, f in enumerate(chosen):
        spot = Spot(EDGE + (i + 0.5) * slot, floor, scale, scale * tall)
        fade = OLDEST + (1 - OLDEST) * i / max(1, len(chosen) - 1)
        groups.append(Group(pose(points[f], body, spot), fade))
    return Scene(WIDE, HIGH, groups)

"""Terms that an objective may add for clips of key points: velocity, bone length, foot contact.

Each looks at the estimate of x0 as positions in the data's units, as the geometric losses of MDM do (Tevet et al. 2022,
eq. 3 to 5), and is divided by the data's own variance, so that its weight means the same in metres and millimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

Measure = Callable[[Tensor, Tensor], Tensor]
"""(estimate, x0), each (N, C, ...) as the net sees them -> (N,) a loss for every sample."""


@dataclass(frozen=True)
class Term:
    """An addition to an objective: `weight` times `measure` of the estimate of x0, times `trust` in the estimate.

    Raises:
        ValueError: a negative weight.
    """

    name: str
    measure: Measure
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"the weight of {self.name} must be 0 or more, got {self.weight:g}")


def trust(snr: Tensor, most: float = 5.0) -> Tensor:
    """How much an estimate of x0 at this SNR counts in a term: min(SNR, 5), (N,) float64.

    Where noise dominates, the best estimate is the mean of many clips: its bones are short and its feet float, and to
    punish that would turn it away from the mean, which is what a sampler needs of it. Its error there is that of the
    data themselves, about 1/(1 + SNR) of their variance, so unweighted these levels would make up nearly all of a
    term. min(SNR, 5) (Hang et al. 2023, sec. 3.4) lets them count as much as they know, and bounds the other end,
    where errors are small and a net that predicts x0 cannot make them smaller.
    """
    return snr.clamp(max=most)


@dataclass(frozen=True)
class Body:
    """What turns the net's numbers into positions, and what is known of the skeleton.

    Attributes:
        mean: (J, D) and
        scale: (J,): x * scale + mean is a clip in the data's units, with x (N, J*D, F), channel = joint*D + dim,
        root: where a joint is given here, all others are seen from it there.
        edges: (E, 2) int64, the joints of each bone; none where the skeleton is not known.
        feet: (K,) int64, the joints that touch the ground; none where they are not known.
        up: the axis 0..D-1 that is vertical.

    Raises:
        ValueError: shapes that do not fit, a joint or an axis that there is not, a scale that is not positive.
    """

    mean: Tensor
    scale: Tensor
    edges: Tensor
    feet: Tensor
    up: int
    root: int | None = None

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.scale.shape != self.mean.shape[:1]:
            raise ValueError(
                f"a body needs mean (J, D) and scale (J,), got {tuple(self.mean.shape)} and {tuple(self.scale.shape)}"
            )
        if not bool((self.scale > 0).all()):
            raise ValueError("the scale of every joint must be above 0")
        if self.edges.numel() and (self.edges.ndim != 2 or self.edges.shape[1] != 2):
            raise ValueError(f"edges must have shape (E, 2), got {tuple(self.edges.shape)}")
        joints, dims = self.mean.shape
        for name, numbers in (("edges", self.edges), ("feet", self.feet)):
            if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < joints:
                raise ValueError(
                    f"{name} name joints 0 to {joints - 1}, got {int(numbers.min())}..{int(numbers.max())}"
                )
        if self.root is not None and not 0 <= self.root < joints:
            raise ValueError(f"the root must be a joint 0 to {joints - 1}, got {self.root}")
        if not 0 <= self.up < dims:
            raise ValueError(f"the vertical must be an axis 0 to {dims - 1}, got {self.up}")

    def positions(self, x: Tensor) -> Tensor:
        """(N, J*D, F) as the net sees it -> (N, F, J, D) in the data's units."""
        joints, dims = self.mean.shape
        clip = x.reshape(len(x), joints, dims, -1).permute(0, 3, 1, 2)
        return self._from_root(clip * self.scale.to(x)[:, None] + self.mean.to(x))

    def _from_root(self, seen: Tensor) -> Tensor:
        """(..., J, D) with every joint but the root seen from the root -> where all joints are."""
        if self.root is None:
            return seen
        base = seen[..., self.root : self.root + 1, :]
        return torch.cat((seen[..., : self.root, :] + base, base, seen[..., self.root + 1 :, :] + base), dim=-2)

    def mean_pose(self) -> Tensor:
        """(J, D) where the joints are on average, in the data's units."""
        return self._from_root(self.mean)

    def spread(self) -> Tensor:
        """The mean variance of a coordinate, in the data's units squared: what a term of this body is divided by."""
        return self.scale.square().mean()

    def tall(self) -> Tensor:
        """The height of the mean pose, in the data's units."""
        vertical = self.mean_pose()[:, self.up]
        return vertical.max() - vertical.min()

    def heights(self, clip: Tensor) -> Tensor:
        """(N, F, J, D) -> (N, F, K): each foot's height over the lowest place of any foot in its clip, in its units.

        Up is where the mean pose lies from its feet: in images, whose y points down, that is towards smaller y.
        """
        vertical = self.mean_pose()[:, self.up]
        sign = 1.0 if bool(vertical[self.feet].mean() <= vertical.mean()) else -1.0
        height = sign * clip[:, :, self.feet.to(clip.device), self.up]
        return height - height.amin(dim=(1, 2), keepdim=True)


def velocity(estimate: Tensor, x0: Tensor, body: Body) -> Tensor:
    """Mean squared difference of the changes from frame to frame (Tevet et al. 2022, eq. 5), over the spread, (N,)."""
    missed = _steps(body.positions(estimate)) - _steps(body.positions(x0))
    return _mean(missed.square()) / body.spread().to(x0)


def bone_length(estimate: Tensor, x0: Tensor, body: Body) -> Tensor:
    """Mean squared difference of each bone's length from its mean over the true clip, over the spread, (N,).

    Bones do not change: a frame is judged by the mean, so that the jitter of a recording is not learned. MDM has no
    such term, since it learns angles.
    """
    true = _lengths(body.positions(x0), body.edges).mean(1, keepdim=True)
    return _mean((_lengths(body.positions(estimate), body.edges) - true).square()) / body.spread().to(x0)


def foot_contact(estimate: Tensor, x0: Tensor, body: Body, near: float = 0.05, slow: float = 0.01) -> Tensor:
    """Mean squared change, from frame to frame, of feet that stand in the true clip (Tevet et al. 2022, eq. 4), (N,).

    A foot stands where it is lower than `near` over the lowest place of any foot in its clip and moves by less than
    `slow` to the next frame, both in heights of the mean pose. In clips whose root is held in place a standing foot
    moves, and few are found. Over the spread.
    """
    clip, feet = body.positions(x0), body.feet.to(x0.device)
    tall = body.tall().to(x0)
    slides = torch.linalg.vector_norm(_steps(clip[:, :, feet]), dim=3) >= slow * tall
    stands = (body.heights(clip)[:, :-1] < near * tall) & ~slides
    moved = _steps(body.positions(estimate)[:, :, feet])
    return _mean(moved.square() * stands[..., None]) / body.spread().to(x0)


MOTION: dict[str, Callable[..., Tensor]] = {"velocity": velocity, "bones": bone_length, "contact": foot_contact}
"""The terms for motion by name: (estimate, x0, body) -> (N,)."""


def motion_terms(body: Body, velocity: float = 0.0, bones: float = 0.0, contact: float = 0.0) -> tuple[Term, ...]:
    """The terms with a weight above 0, for Objective(terms=...).

    Raises:
        ValueError: a negative weight; bones without edges, contact without feet.
    """
    if bones and not body.edges.numel():
        raise ValueError("the term of bone lengths needs a skeleton with edges")
    if contact and not body.feet.numel():
        raise ValueError("the term of foot contact needs a skeleton that names its feet")
    weights = (velocity, bones, contact)
    terms = [Term(name, partial(m, body=body), w) for (name, m), w in zip(MOTION.items(), weights, strict=True)]
    return tuple(term for term in terms if term.weight)


def _mean(values: Tensor) -> Tensor:
    """(N, ...) -> (N,); 0 of none, as the changes of a single frame."""
    return values.flatten(1).sum(1) / max(values[0].numel(), 1)


def _steps(clip: Tensor) -> Tensor:
    """(N, F, ...) -> (N, F - 1, ...): what changes from a frame to the next."""
    return clip[:, 1:] - clip[:, :-1]


def _lengths(clip: Tensor, edges: Tensor) -> Tensor:
    """(N, F, J, D) -> (N, F, E): how long each bone is."""
    edges = edges.to(clip.device)
    lengths: Tensor = torch.linalg.vector_norm(clip[:, :, edges[:, 0]] - clip[:, :, edges[:, 1]], dim=3)
    return lengths

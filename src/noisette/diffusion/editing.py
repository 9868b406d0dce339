"""Wrappers that say what is to be drawn: a part that is given, a loop, a longer clip than the net knows.

Each is a Denoiser made from another, so that every sampler draws with it. Where what they assume is true they are
exact: `hold` for Gaussian data, `windows` for frames that do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisette.diffusion.denoisers import Denoiser, Prediction, Wrapper, expand
from noisette.diffusion.schedules import Time


class hold(Wrapper):
    """A part of x0 is known: in-betweening, completion, inpainting. The result has it exactly.

    There x0 is what is known, so x_t walks to it as its noised self would: replacement as in RePaint (Lugmayr et al.
    2022) and MDM (Tevet et al. 2022, sec. 3). That alone tears at the join, because the estimate of the rest hears of
    the known part through noise. So the rest is moved by what the known part says beyond x_t,

        E[x0 | x_t, known] = x0_hat + C[:, k] C[k, k]^-1 (known - x0_hat[k]),   C = Cov[x0 | x_t] = sigma^2/alpha J,

    with J the derivative of x0_hat by x_t (Rozet et al. 2024, sec. 4): exact where p(x0 | x_t) is Gaussian. The system
    is solved in the Krylov space of C[k, k] (GMRES, Saad & Schultz 1986), a backward pass through the net a dimension;
    its few dimensions are what the net says surely. What is still missed then is the net's own error; it is taken to be
    smooth along the last axis, a Gaussian process that is seen where frames are known, and fades into the rest. The
    known part has to be told in units that the net sees.

    Args:
        denoiser: one that can be differentiated, unless rounds is 0.
        known: (C, ...) or (N, C, ...); anything, NaN too, where it is not known.
        mask: bool, True where it is known; broadcast against `known`.
        rounds: dimensions of the Krylov space; 0 for none.
        smooth: frames, the standard deviation by which the net's error fades (3 suits motion); 0 leaves it.

    Raises:
        ValueError: a mask that is no bool or does not fit, a known number that is not finite, rounds or smooth < 0.
    """

    def __init__(self, denoiser: Denoiser, known: Tensor, mask: Tensor, rounds: int = 5, smooth: float = 0.0):
        super().__init__(denoiser)
        if mask.dtype != torch.bool:
            raise ValueError(f"the mask of what is known must be bool, got {mask.dtype}")
        fits = mask.ndim <= known.ndim and all(
            m in (1, k) for m, k in zip(reversed(mask.shape), reversed(known.shape), strict=False)
        )
        if not fits:
            raise ValueError(f"a mask of shape {tuple(mask.shape)} does not fit {tuple(known.shape)}, what is known")
        if rounds < 0:
            raise ValueError(f"hold needs 0 rounds or more, got {rounds}")
        if not smooth >= 0:
            raise ValueError(f"hold is smooth over 0 frames or more, got {smooth:g}")
        mask = mask.expand(known.shape)
        if not bool(known[mask].isfinite().all()):
            raise ValueError("what is known must be finite where the mask is True")
        self.known, self.mask, self.rounds = torch.where(mask, known, 0.0), mask, rounds
        self.fade = _Fade(mask, smooth) if smooth else None

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        known, mask = self.known.to(x_t), self.mask.to(x_t.device)
        prediction = self._moved(x_t, t, cond, known, mask) if self.rounds else self.denoiser(x_t, t, cond)
        x0 = prediction.x0
        if self.fade is not None:
            x0 = x0 + self.fade(torch.where(mask, known - x0, 0.0))
        return prediction.with_x0(torch.where(mask, known, x0))

    def _moved(self, x_t: Tensor, t: Time, cond: Tensor | None, known: Tensor, mask: Tensor) -> Prediction:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            prediction = self.denoiser(x, t, cond)
            if not prediction.x0.requires_grad:  # an estimate that no x_t moves: nothing is learned of the rest
                return prediction
            x0 = prediction.x0.detach()
            gap = torch.where(mask, known - x0, 0.0).flatten(1)
            directions: list[Tensor] = []
            moves: list[Tensor] = []
            direction = gap
            for _ in range(self.rounds):
                for other in directions:
                    direction = direction - (direction * other).sum(1, keepdim=True) * other
                direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-20)
                directions.append(direction)
                (move,) = torch.autograd.grad(prediction.x0, x, direction.reshape(x0.shape), retain_graph=True)
                moves.append(move.flatten(1))
                direction = torch.where(mask, move, 0.0).flatten(1)
        moved = torch.stack(moves, 1).double()  # N, rounds, D
        seen = torch.where(mask.flatten(-x0.ndim + 1)[..., None, :], moved, 0.0)
        normal = seen @ seen.transpose(1, 2)
        floor = 1e-9 * normal.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-30)
        normal = normal + floor[:, None, None] * torch.eye(self.rounds).to(normal)
        share = torch.linalg.solve(normal, seen @ gap.double()[:, :, None])
        step = (moved * share).sum(1).to(x0).reshape(x0.shape)
        return Prediction(x_t, x0 + step, prediction.alpha, prediction.sigma, _detached(prediction.variance))


class _Fade:
    """What is missed at known frames, carried on: the mean of a Gaussian process given them, a row of frames alone.

    Its covariance is exp(-(i - j)^2 / 2 width^2), and of what is missed a share JITTER does not belong to it.
    """

    JITTER = 0.01

    def __init__(self, mask: Tensor, width: float):
        frames = mask.shape[-1]
        place = torch.arange(frames, dtype=torch.float64)
        kernel = torch.exp(-(place[:, None] - place).square() / (2 * width**2))
        patterns, which = torch.unique(mask.reshape(-1, frames).cpu(), dim=0, return_inverse=True)
        self.which = which.reshape(mask.shape[:-1])
        self.gains = []
        for pattern in patterns:
            seen = kernel[pattern][:, pattern] + self.JITTER * torch.eye(int(pattern.sum()), dtype=torch.float64)
            gain = torch.zeros(frames, frames, dtype=torch.float64)
            gain[:, pattern] = torch.linalg.solve(seen, kernel[pattern]).T
            self.gains.append(gain)

    def __call__(self, missed: Tensor) -> Tensor:
        """(N, ..., F), zero where nothing is known -> the same shape."""
        which = self.which.expand(missed.shape[:-1]).to(missed.device)
        carried = torch.zeros_like(missed)
        for i, gain in enumerate(self.gains):
            carried[which == i] = missed[which == i] @ gain.T.to(missed)
        return carried


Place = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A frame of x0 (N, C) -> how a clip that begins with it is seen: x0 -> A x0 + b, A (N, C, C) orthogonal, b (N, C)."""


class windows(Wrapper):
    """A clip of any length seen through overlapping windows, blended at each step (Bar-Tal et al. 2023, eq. 5).

    The estimate of a frame is the mean of those of all windows that see it, weighted by how far it lies from their
    ends, so that no window's end shows. Every window costs a call.

    Args:
        denoiser: of clips of `length`; the last axis of x holds the frames.
        length: frames of a window, at least 1; None: as many as x has.
        overlap: frames that a window shares with the next, 0..length - 1; None: half of it.
        ring: after the last frame comes the first, and windows lie across that seam too: the motion loops.
        place: where every clip that the net knows begins alike (at the origin, say), how a window has to be seen so
            that it does too; told by the estimate that the window before it has of its first frame. x is (N, C, F).

    Raises:
        ValueError: a length or an overlap out of range.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        length: int | None,
        overlap: int | None = None,
        ring: bool = False,
        place: Place | None = None,
    ):
        super().__init__(denoiser)
        if length is not None and length < 1:
            raise ValueError(f"a window needs at least 1 frame, got {length}")
        if overlap is not None and not 0 <= overlap < (length or overlap + 1):
            raise ValueError(f"windows of {length} frames can share 0 to {(length or 1) - 1} of them, got {overlap}")
        self.length, self.overlap, self.ring, self.place = length, overlap, ring, place

    def starts(self, frames: int) -> tuple[int, list[int]]:
        """(frames of a window, where each begins) for a clip of so many frames."""
        length = min(self.length or frames, frames)
        overlap = length // 2 if self.overlap is None else min(self.overlap, length - 1)
        if self.ring:
            return length, list(range(0, frames, length - overlap))
        return length, [*range(0, frames - length, length - overlap), frames - length]

    def __call__(self, x_t: Tensor, t: Time, cond: Tensor | None = None) -> Prediction:
        frames = x_t.shape[-1]
        length, starts = self.starts(frames)
        index = torch.arange(length, device=x_t.device)
        weight = (torch.minimum(index, length - 1 - index) + 1).to(x_t.dtype)
        total = x_t.new_zeros(frames)
        for start in starts:
            total = total.index_add(0, (index + start) % frames, weight)
        x0, variance = torch.zeros_like(x_t), None
        begun, before = 0, x_t  # the window before, and its estimate
        for start in starts:
            seen = (index + start) % frames
            share = weight / total[seen]
            if self.place is None or start == 0:
                prediction = self.denoiser(x_t[..., seen], t, cond)
                found = prediction.x0
            else:
                turn, shift = self.place(before[..., min(start - begun, length - 1)].detach())
                there = turn @ x_t[..., seen] + expand(self.schedule.level(t)[0], x_t) * shift[..., None]
                prediction = self.denoiser(there, t, cond)
                found = turn.mT @ (prediction.x0 - shift[..., None])
            begun, before = start, found
            x0 = x0.index_add(-1, seen, share * found)
            if prediction.variance is not None:
                so_far = torch.zeros_like(x_t) if variance is None else variance
                variance = so_far.index_add(-1, seen, share * prediction.variance)
        return Prediction(x_t, x0, prediction.alpha, prediction.sigma, variance)


class loop(windows):
    """Motion that goes round: windows on a ring, of `length` frames or of the whole clip, twice over every frame.

    A net that pads circularly needs no help where its data loop; of other data it has learned the jump from their end
    to their start too, and puts it anywhere.
    """

    def __init__(self, denoiser: Denoiser, length: int | None = None, place: Place | None = None):
        super().__init__(denoiser, length, ring=True, place=place)


def _detached(variance: Tensor | None) -> Tensor | None:
    return None if variance is None else variance.detach()

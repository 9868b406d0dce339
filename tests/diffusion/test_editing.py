"""hold, windows and loop, against what Gaussian data must give."""

import math

import pytest
import torch
from diffusion_toys import F64, Counted, correlated_gaussian, quiet, randn, run
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from noisette.diffusion.denoisers import NetDenoiser, Prediction, clip, guide
from noisette.diffusion.editing import hold, loop, windows
from noisette.diffusion.exact import Gaussian, PointMass
from noisette.diffusion.samplers import SAMPLERS, start, time_grid

COSINE = quiet("cosine")


def stationary(frames: int) -> torch.Tensor:
    """The covariance of a smooth motion, alike at all times: slow, faster and a little quick."""
    place = torch.arange(frames, dtype=F64)
    apart = (place[:, None] - place).square()
    parts = ((0.45, 25.0), (0.5, 6.0), (0.02, 2.0))
    return sum(share * torch.exp(-apart / (2 * width**2)) for share, width in parts) + 1e-5 * torch.eye(frames)


def smooth(frames: int, schedule=COSINE) -> Gaussian:
    return Gaussian(torch.zeros(1, frames, dtype=F64), stationary(frames), schedule)


def clips(n: int, frames: int) -> torch.Tensor:
    return randn(n, 1, frames) @ torch.linalg.cholesky(stationary(frames)).T


def roughness(x: torch.Tensor) -> torch.Tensor:
    """(frames - 2,): root mean square of the second difference of (N, 1, frames), around each inner frame."""
    return (x[..., 2:] - 2 * x[..., 1:-1] + x[..., :-2]).square().mean((0, 1)).sqrt()


def drawn(sampler, denoiser, shape, steps=20, **options):
    noise = randn(*shape, seed=7)
    ts = time_grid(denoiser.schedule, steps)
    return run(sampler, denoiser, start(denoiser.schedule, lambda: noise, ts[0]), ts, **options)[-1].x


# --- hold -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", (0, 2))
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_known_part_comes_out_as_it_went_in(sampler, rounds):
    known, mask = randn(4, 1, 3, seed=3), torch.tensor([True, False, True])
    for schedule in (COSINE, quiet("flow"), quiet("edm")):
        held = hold(correlated_gaussian(schedule), known, mask, rounds)
        x = drawn(sampler, held, (4, 1, 3), steps=5)
        assert torch.equal(x[..., mask], known[..., mask])
        assert x.isfinite().all() and x[..., 1].std() > 0


@pytest.mark.parametrize("t", (0.05, 0.5, 0.9, 1.0))
@pytest.mark.parametrize("name", ("cosine", "edm"))
def test_for_gaussian_data_it_is_the_conditional_mean(name, t):
    """E[x0 | x_t, known], from the Gaussian of the rest given the known part: another way than the wrapper's."""
    schedule, frames = quiet(name), 7
    mask = torch.tensor([True, True, False, False, False, True, False])
    covariance = stationary(frames)
    known = clips(5, frames)
    alpha, sigma = (float(part) for part in schedule.level(t))
    x_t = alpha * clips(5, frames) + sigma * randn(5, 1, frames, seed=2)
    rest = ~mask
    gain = covariance[rest][:, mask] @ torch.linalg.inv(covariance[mask][:, mask])
    prior = known[..., mask] @ gain.T
    spread = covariance[rest][:, rest] - gain @ covariance[mask][:, rest]
    filtered = alpha * spread @ torch.linalg.inv(alpha**2 * spread + sigma**2 * torch.eye(4))
    expected = prior + (x_t[..., rest] - alpha * prior) @ filtered.T
    found = hold(smooth(frames, schedule), known, mask, rounds=3)(x_t, t).x0
    torch.testing.assert_close(found[..., rest], expected, rtol=0, atol=2e-4)
    assert torch.equal(found[..., mask], known[..., mask])


@pytest.mark.parametrize("sampler", ("ddpm", "ddim", "dpmpp_2m"))
def test_the_join_is_as_smooth_as_the_motion_and_by_replacement_alone_is_not(sampler):
    frames, ends = 32, torch.arange(32)
    mask = (ends < 6) | (ends >= 26)
    known = clips(64, frames)
    real, joins = roughness(clips(2000, frames)).mean(), [4, 5, 24, 25]  # around the last and the first known frames
    plain, held = (
        roughness(drawn(sampler, hold(smooth(frames), known, mask, rounds), known.shape))[joins].max() / real
        for rounds in (0, 5)
    )
    assert plain > 2.5
    assert held < 1.4


def test_samples_have_the_conditional_mean_and_spread():
    frames, n = 6, 1500
    mask = torch.tensor([True, False, False, False, False, True])
    known = torch.tensor([[0.8, 0, 0, 0, 0, -0.3]], dtype=F64)
    covariance, rest = stationary(frames), ~mask
    gain = covariance[rest][:, mask] @ torch.linalg.inv(covariance[mask][:, mask])
    spread = covariance[rest][:, rest] - gain @ covariance[mask][:, rest]
    x = drawn("ddpm", hold(smooth(frames), known, mask, rounds=2), (n, 1, frames), steps=40)[:, 0, rest]
    std = spread.diagonal().sqrt()
    error = (x.mean(0) - known[0, mask] @ gain.T) / std
    assert error.abs().max() < 5 / math.sqrt(n) + 0.02
    assert ((x.std(0) / std - 1).abs() < 0.2).all()


class Crooked:
    """A net that is wrong by 0.4 everywhere, always; its estimate can be moved all the same."""

    def __init__(self, denoiser):
        self.denoiser, self.schedule = denoiser, denoiser.schedule

    def __call__(self, x_t, t, cond=None):
        prediction = self.denoiser(x_t, t, cond)
        return prediction.with_x0(prediction.x0 + 0.4)


@pytest.mark.parametrize("rounds", (0, 3))
def test_the_join_is_smoother_where_the_net_is_wrong(rounds):
    frames = 32
    mask = (torch.arange(frames) < 6) | (torch.arange(frames) >= 26)
    known = clips(64, frames)
    real, joins = roughness(clips(2000, frames)).mean(), [4, 5, 24, 25]
    torn, smoothed = (
        roughness(drawn("dpmpp_2m", hold(Crooked(smooth(frames)), known, mask, rounds, width), known.shape))[joins]
        for width in (0, 3)
    )
    assert torn.max() > 4 * real
    assert smoothed.max() < 0.8 * torn.max()


def test_what_is_missed_fades_as_a_gaussian_process_says():
    """One known frame, missed by r: r exp(-d^2 / 2 w^2) / 1.01 at a distance of d. A row without any is left alone."""
    model = PointMass(torch.zeros(2, 7, dtype=F64), COSINE)
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[0, 2] = True
    known = torch.full((3, 2, 7), 2.02, dtype=F64)
    x0 = hold(model, known, mask, rounds=0, smooth=1.5)(randn(3, 2, 7), 0.5).x0
    expected = 2.0 * torch.exp(-(torch.arange(7, dtype=F64) - 2).square() / (2 * 1.5**2))
    expected[2] = 2.02
    torch.testing.assert_close(x0[:, 0], expected.expand(3, 7))
    assert not x0[:, 1].any()


def test_a_sample_is_held_by_its_own_known_part_alone():
    known, mask, x = randn(4, 1, 3), torch.tensor([True, False, False]), randn(4, 1, 3, seed=1)
    t = torch.tensor([0.1, 0.4, 0.7, 1.0], dtype=F64)
    model = correlated_gaussian(COSINE)
    together = hold(model, known, mask, smooth=1.0)(x, t).x0
    for k in range(4):
        alone = hold(model, known[k], mask, smooth=1.0)(x[k : k + 1], t[k : k + 1]).x0
        torch.testing.assert_close(alone, together[k : k + 1])


def test_a_mask_of_whole_channels_or_of_each_sample():
    model = Gaussian(torch.zeros(2, 3, dtype=F64), 0.5 * torch.eye(6, dtype=F64) + 0.5, COSINE)
    known, x = randn(2, 2, 3), randn(2, 2, 3, seed=1)
    for mask in (
        torch.tensor([[True], [False]]),
        torch.tensor([[[True], [False]], [[False], [False]]]),
        torch.zeros(1, dtype=torch.bool),
    ):
        x0, wide = hold(model, known, mask)(x, 0.4).x0, mask.expand(2, 2, 3)
        assert torch.equal(x0[wide], known[wide])
        assert not torch.isclose(x0[~wide], known[~wide]).any()
    torch.testing.assert_close(x0, model(x, 0.4).x0), "nothing is known"


class Net(torch.nn.Module):
    """A small smooth net with labels; as many channels again say a variance."""

    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Conv1d(2, 4, 3, padding=1)
        self.labels = torch.nn.Embedding(3, 4)

    def forward(self, x, c_noise, cond=None):
        out = torch.tanh(self.mix(x)) * (1 + c_noise / 1000)[:, None, None]
        return out if cond is None else out + self.labels(cond)[..., None]


def test_a_net_is_only_looked_at_and_other_wrappers_stay_inside():
    torch.manual_seed(0)
    net = Net()
    model = NetDenoiser(net, COSINE, "v", learn_variance=True)
    known = torch.where(torch.arange(8) < 3, torch.randn(2, 2, 8), torch.nan)
    mask = ~known.isnan()
    held = hold(clip(guide(model, torch.tensor([0, 1]), 2, 2.0), -3, 3), known, mask)
    x = torch.randn(2, 2, 8)
    with torch.no_grad():
        prediction = held(x, 0.5)
    assert prediction.x_t is x and not x.requires_grad
    assert not prediction.x0.requires_grad and not prediction.variance.requires_grad
    assert prediction.x0.dtype == torch.float32 and prediction.x0.isfinite().all()
    assert torch.equal(prediction.x0[mask], known[mask])
    assert all(p.grad is None for p in net.parameters())
    frozen = hold(NetDenoiser(net.requires_grad_(False), COSINE, "v", learn_variance=True), known, mask)
    assert frozen(x, 0.5).x0.isfinite().all()


def test_what_nothing_can_move_is_left_alone():
    point = torch.tensor([[0.2, 0.4, 0.6]], dtype=F64)
    x0 = hold(PointMass(point, COSINE), torch.ones(1, 3, dtype=F64), torch.tensor([True, False, False]))(
        randn(2, 1, 3), 0.5
    ).x0
    assert x0[:, 0].tolist() == [[1, 0.4, 0.6]] * 2
    exactly = hold(correlated_gaussian(COSINE), torch.zeros(1, 3, dtype=F64), torch.tensor([True, False, False]))
    x = torch.zeros(1, 1, 3, dtype=F64)  # the estimate may lie on what is known already: no gap, no way to go
    centred = Gaussian(torch.zeros(1, 3, dtype=F64), torch.eye(3, dtype=F64), COSINE)
    assert not hold(centred, torch.zeros(1, 3, dtype=F64), exactly.mask[0])(x, 0.5).x0.any()


def test_hold_refusals():
    model, known = correlated_gaussian(COSINE), randn(1, 3)
    for wrong, says in (
        ({"mask": torch.tensor([1.0, 0, 0])}, "must be bool"),
        ({"mask": torch.tensor([True, False])}, r"shape \(2,\) does not fit \(1, 3\)"),
        ({"mask": torch.ones(2, 1, 3, dtype=torch.bool)}, "does not fit"),
        ({"mask": torch.tensor([True, False, False]), "rounds": -1}, "0 rounds or more"),
        ({"mask": torch.tensor([True, False, False]), "smooth": -1.0}, "0 frames or more"),
        ({"mask": torch.tensor([True, False, False]), "known": known * torch.nan}, "finite"),
    ):
        with pytest.raises(ValueError, match=says):
            hold(model, **{"known": known, **wrong})


# --- windows and loops ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ring", (False, True))
@pytest.mark.parametrize(("length", "overlap"), ((8, None), (8, 0), (8, 7), (5, 2), (30, None), (None, None)))
def test_exact_where_frames_are_independent(length, overlap, ring):
    frames = 21
    per_frame = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=F64)  # of two channels

    def model(size):
        return Gaussian(torch.zeros(2, size, dtype=F64), torch.kron(per_frame, torch.eye(size, dtype=F64)), COSINE)

    class Any:
        schedule = COSINE

        def __call__(self, x_t, t, cond=None):
            return model(x_t.shape[-1])(x_t, t, cond)

    x, t = randn(3, 2, frames), torch.tensor([0.1, 0.5, 1.0], dtype=F64)
    seen = windows(Any(), length, overlap, ring)(x, t)
    torch.testing.assert_close(seen.x0, model(frames)(x, t).x0, rtol=0, atol=1e-12)
    torch.testing.assert_close(seen.eps, model(frames)(x, t).eps, rtol=0, atol=1e-9)


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 19), st.booleans())
def test_windows_cover_every_frame_and_weigh_one_together(frames, length, overlap, ring):
    class One:
        schedule = COSINE

        def __call__(self, x_t, t, cond=None):
            assert x_t.shape[-1] == min(length, frames)
            return Prediction(x_t, torch.ones_like(x_t), *COSINE.level(t), variance=torch.full_like(x_t, 0.25))

    counted = Counted(One())
    prediction = windows(counted, length, min(overlap, length - 1), ring)(randn(2, 1, frames), 0.5)
    torch.testing.assert_close(prediction.x0, torch.ones(2, 1, frames, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(prediction.variance, torch.full((2, 1, frames), 0.25, dtype=F64), rtol=0, atol=1e-12)
    if frames <= length and not ring:
        assert len(counted.times) == 1


def test_the_middle_of_a_window_counts_most():
    """Two windows of 4 frames that share 2: their weights there are 2 to 1 and 1 to 2."""

    class Begin:
        """x0 is the first number that the window sees."""

        schedule = COSINE

        def __call__(self, x_t, t, cond=None):
            return Prediction(x_t, x_t[..., :1].expand_as(x_t), *COSINE.level(t))

    x = torch.tensor([[[0.0, 9, 3, 9, 9, 9]]], dtype=F64)
    assert windows(Begin(), 4)(x, 0.5).x0.flatten().tolist() == pytest.approx([0, 0, 1, 2, 3, 3])
    ring = windows(Begin(), 4, ring=True)(x[..., [0, 1, 2, 3, 2, 5]], 0.5).x0  # windows begin at 0, 2 and 4: 0, 3, 3
    assert ring.flatten().tolist() == pytest.approx([2, 1, 1, 2, 3, 3])


@pytest.mark.parametrize("sampler", ("ddpm", "dpmpp_2m"))
def test_long_clips_are_as_smooth_as_short_ones_and_as_wide(sampler):
    real = roughness(clips(2000, 32)).mean()
    x = drawn(sampler, windows(smooth(32), 32), (64, 1, 88), steps=40)
    assert roughness(x).max() < 1.3 * real and roughness(x).min() > 0.5 * real
    assert x.std() == pytest.approx(stationary(1).sqrt().item(), rel=0.15)


@pytest.mark.parametrize(("length", "frames"), ((None, 32), (32, 80)))
def test_a_loop_has_no_seam(length, frames):
    inner = smooth(32)
    x = drawn("dpmpp_2m", loop(inner, length), (64, 1, frames))
    real = roughness(clips(2000, 32)).mean()
    assert roughness(torch.cat([x, x[..., :2]], -1)).max() < 1.3 * real
    if length is None:
        plain = drawn("dpmpp_2m", inner, (64, 1, frames))
        assert roughness(torch.cat([plain, plain[..., :2]], -1))[-2:].min() > 8 * real


def test_hold_goes_with_long_clips():
    known = clips(2, 48)
    mask = torch.arange(48) < 5
    x = drawn("dpmpp_2m", hold(windows(smooth(32), 32), known, mask), known.shape)
    assert torch.equal(x[..., :5], known[..., :5]) and x.isfinite().all()


def test_windows_refusals():
    with pytest.raises(ValueError, match="at least 1 frame"):
        windows(smooth(4), 0)
    for overlap in (4, -1):
        with pytest.raises(ValueError, match=f"windows of 4 frames can share 0 to 3 of them, got {overlap}"):
            windows(smooth(4), 4, overlap)


def travelling(frames: int) -> torch.Tensor:
    """The covariance of a way that begins at 0, at a speed that changes smoothly."""
    steps = torch.tril(torch.ones(frames - 1, frames - 1, dtype=F64))
    way = torch.zeros(frames, frames, dtype=F64)
    way[1:, 1:] = 0.01 * steps @ stationary(frames - 1) @ steps.T
    return way + 1e-6 * torch.eye(frames, dtype=F64)


def test_a_long_way_goes_on_where_windows_are_seen_from_where_they_begin():
    """Every clip begins at 0, and so a window that is not moved there is drawn back to 0: slow, and torn."""
    short, frames = 32, 88
    model = Gaussian(torch.zeros(1, short, dtype=F64), travelling(short), COSINE)

    def place(pose):
        return torch.ones(len(pose), 1, 1, dtype=F64), -pose

    def seen(at, size):
        """(how rough, the least speed over the real one) of clips of a size."""
        x = drawn("dpmpp_2m", windows(model, short, place=at), (128, 1, size), steps=40)
        return roughness(x).max(), (x[..., 1:] - x[..., :-1]).std(0).min() / 0.0985

    whole, (torn, slow), (rough, speed) = seen(None, short), seen(None, frames), seen(place, frames)
    assert torn > 2.5 * whole[0] and slow < 0.55
    assert rough < 1.6 * whole[0] and speed > 0.65


@pytest.mark.parametrize("ring", (False, True))
def test_turned_windows_of_what_looks_alike_from_everywhere_change_nothing(ring):
    """An isotropic model of independent frames, seen turned and moved: what it says is turned and moved back."""
    turn = torch.linalg.qr(randn(5, 3, 3, seed=4)).Q
    seen = []

    def place(pose):
        seen.append(pose)
        return turn, torch.zeros(5, 3, dtype=F64)

    class Any:
        schedule = COSINE

        def __call__(self, x_t, t, cond=None):
            size = x_t.shape[-1]
            return Gaussian(torch.zeros(3, size, dtype=F64), torch.eye(3 * size, dtype=F64), COSINE)(x_t, t, cond)

    x, t = randn(5, 3, 21), torch.tensor([0.1, 0.4, 0.5, 0.7, 1.0], dtype=F64)
    plain = windows(Any(), 8, ring=ring)(x, t)
    torch.testing.assert_close(windows(Any(), 8, ring=ring, place=place)(x, t).x0, plain.x0)
    assert len(seen) == len(windows(Any(), 8, ring=ring).starts(21)[1]) - 1
    torch.testing.assert_close(seen[0], plain.x0[..., 4])

"""Every schedule against its definition, and against what all schedules promise."""

import math
import warnings

import pytest
import torch
from diffusion_toys import EVERY, F64, T_VALUES, TABLES, quiet
from hypothesis import given, settings
from hypothesis import strategies as st

from noisette.diffusion.schedules import (
    CONTINUOUS,
    DISCRETE,
    EDM,
    MAX_TERMINAL_SIGNAL,
    Flow,
    TableSchedule,
    TerminalSignalWarning,
    make_schedule,
)

VARIANCE_PRESERVING = [case for case in EVERY if case[0] not in ("edm", "flow")]


def points(schedule):
    """All table points, or a fine grid."""
    n = schedule.steps or 1000
    return torch.arange(n + 1, dtype=F64) / n


@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("T", T_VALUES)
def test_every_schedule_keeps_its_promises(name, zero, T):
    schedule = quiet(name, T, zero)
    t = points(schedule)
    alpha, sigma = schedule.level(t)
    assert alpha.dtype == sigma.dtype == F64 and alpha.shape == t.shape
    assert alpha[0] == 1 and sigma[0] == 0, "t = 0 is clean, exactly"
    assert schedule.snr(0.0) == math.inf and schedule.log_snr(0.0) == math.inf
    assert (alpha >= 0).all() and (sigma[1:] > 0).all()
    assert (schedule.log_snr(t).diff() < 0).all(), "more noise with every step"
    off = torch.rand(500, generator=torch.Generator().manual_seed(T), dtype=F64).sort().values
    assert (schedule.log_snr(off).diff() < 0).all(), "between the table's points too"


@pytest.mark.parametrize(("name", "zero"), VARIANCE_PRESERVING)
@pytest.mark.parametrize("T", T_VALUES)
def test_variance_is_preserved(name, zero, T):
    schedule = quiet(name, T, zero)
    for t in (points(schedule), torch.linspace(0, 1, 777, dtype=F64)):
        alpha, sigma = schedule.level(t)
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t), rtol=0, atol=1e-14)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    case=st.sampled_from(EVERY),
    T=st.one_of(st.sampled_from(T_VALUES), st.integers(2, 2000)),
    t=st.floats(0, 1, allow_subnormal=False),
)
def test_any_time_is_a_valid_time(case, T, t):
    schedule = quiet(case[0], T, case[1])
    alpha, sigma = schedule.level(t)
    assert 0 <= alpha <= 1 and 0 <= sigma < math.inf
    if schedule.steps:  # between its two table neighbours
        low, high = max(math.floor(t * T - 1e-8), 0) / T, min(math.ceil(t * T + 1e-8) / T, 1)
        assert schedule.alpha(high) - 1e-12 <= alpha <= schedule.alpha(low) + 1e-12
        assert schedule.sigma(low) - 1e-12 <= sigma <= schedule.sigma(high) + 1e-12
    snapped = float(schedule.snap(t))
    assert schedule.t_min <= snapped <= 1 and snapped >= t - 1e-9
    assert snapped - t <= (1 / T + 1e-12 if schedule.steps else schedule.t_min)
    assert float(schedule.snap(snapped)) == snapped


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    case=st.sampled_from(EVERY), T=st.one_of(st.sampled_from(T_VALUES), st.integers(2, 2000)), u=st.floats(0.0005, 1)
)
def test_log_snr_round_trip(case, T, u):
    schedule = quiet(case[0], T, case[1])
    t = min(max(u, schedule.t_min / 7), 1)
    assert float(schedule.t_of_log_snr(schedule.log_snr(t))) == pytest.approx(t, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("T", T_VALUES)
def test_log_snr_round_trip_on_every_table_point(name, zero, T):
    schedule = quiet(name, T, zero)
    t = points(schedule)
    torch.testing.assert_close(schedule.t_of_log_snr(schedule.log_snr(t)), t, rtol=1e-9, atol=1e-12)
    ends = schedule.t_of_log_snr(torch.tensor([math.inf, -math.inf, 1e4, -1e4], dtype=F64))
    torch.testing.assert_close(ends, torch.tensor([0, 1, 0, 1], dtype=F64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("T", [*T_VALUES, 49, 107, 999, 3333, 9999])
def test_c_noise_is_the_index_that_nets_are_trained_with(T):
    schedule = quiet("cosine", T)
    i = torch.arange(1, T + 1, dtype=F64)
    assert torch.equal(schedule.c_noise(i / T), i - 1)
    assert [float(schedule.c_noise(k / T)) for k in range(1, min(T, 200) + 1)] == [*range(min(T, 200))]
    assert torch.equal(schedule.snap(i / T), i / T)
    assert torch.equal(schedule.snap((i - 0.5) / T), i / T)
    assert schedule.snap(0.0) == 1 / T


@pytest.mark.parametrize("T", T_VALUES)
def test_float32_times_still_mean_their_table_point(T):
    schedule = quiet("linear", T)
    i = torch.arange(1, T + 1)
    t32 = i.float() / T
    assert torch.equal(schedule.c_noise(t32), i.double() - 1)
    assert torch.equal(schedule.snap(t32), i.double() / T)
    assert torch.equal(schedule.sigma(t32), schedule.sigma(i.double() / T))


def test_c_noise_and_snap_of_continuous_schedules():
    for name in CONTINUOUS:
        schedule = make_schedule(name)
        assert schedule.c_noise(0.25) == 250
        assert schedule.snap(0.25) == 0.25 and schedule.snap(0.0) == schedule.t_min > 0


@pytest.mark.parametrize(("name", "zero"), TABLES)
@pytest.mark.parametrize("T", T_VALUES)
def test_betas_give_back_the_table(name, zero, T):
    schedule = quiet(name, T, zero)
    assert ((schedule.betas > 0) & (schedule.betas <= 1)).all()
    alpha_bar = schedule.alpha_bar(points(schedule)[1:])
    torch.testing.assert_close((1 - schedule.betas).cumprod(0), alpha_bar, rtol=1e-10, atol=0)


def test_tables_follow_their_papers():
    torch.testing.assert_close(quiet("linear").betas, torch.linspace(1e-4, 0.02, 1000, dtype=F64), rtol=1e-9, atol=0)
    latent = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=F64) ** 2
    torch.testing.assert_close(quiet("scaled_linear").betas, latent, rtol=1e-9, atol=0)
    quad = torch.linspace(1e-4**0.5, 0.02**0.5, 1000, dtype=F64) ** 2
    torch.testing.assert_close(quiet("quadratic").betas, quad, rtol=1e-9, atol=0)
    assert quiet("sigmoid").betas[500] == pytest.approx(0.01005, rel=1e-2)
    f = [math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(1001)]
    expected = torch.tensor([value / f[0] for value in f[:-1]], dtype=F64)
    torch.testing.assert_close(
        quiet("cosine").alpha_bar(torch.arange(1000, dtype=F64) / 1000), expected, rtol=1e-9, atol=0
    )
    assert quiet("cosine").betas[-1] == pytest.approx(0.999)


@pytest.mark.parametrize("name", [name for name in DISCRETE if name != "cosine"])
@pytest.mark.parametrize("T", (300, 4000))
def test_scaling_keeps_the_total_noise(name, T):
    """betas times 1000/T: the terminal signal hardly depends on T; raw, it goes as its T-th power."""
    at_1000, scaled, raw = quiet(name).terminal_signal, quiet(name, T).terminal_signal, quiet(name, T, scaled=False)
    assert math.log(scaled) == pytest.approx(math.log(at_1000), rel=0.06)
    assert math.log(raw.terminal_signal) == pytest.approx(math.log(at_1000) * T / 1000, rel=0.06)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("T", T_VALUES)
def test_zero_terminal_snr_keeps_the_first_level(name, T):
    plain, zero = quiet(name, T), quiet(name, T, zero_terminal_snr=True)
    assert zero.alpha(1.0) == 0 and zero.sigma(1.0) == 1
    assert zero.log_snr(1.0) == -math.inf and zero.zero_terminal_snr and not plain.zero_terminal_snr
    assert zero.alpha(1 / T) == pytest.approx(float(plain.alpha(1 / T)), rel=1e-14)
    assert zero.sigma(1 / T) == pytest.approx(float(plain.sigma(1 / T)), rel=1e-14)
    # algorithm 1 of Lin et al. 2023, as it stands there
    root = plain.alpha(torch.arange(1, T + 1, dtype=F64) / T)
    expected = (root - root[-1]) * root[0] / (root[0] - root[-1])
    torch.testing.assert_close(zero.alpha(torch.arange(1, T + 1, dtype=F64) / T), expected, rtol=1e-7, atol=1e-12)


def test_the_warning_says_how_much_signal_is_left():
    with pytest.warns(TerminalSignalWarning, match=r"T=300 still holds 21\.9% signal .* scaled=True"):
        schedule = make_schedule("linear", 300, scaled=False)
    assert 0.215 < schedule.terminal_signal < 0.225


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("scaled", (True, False))
@pytest.mark.parametrize("T", T_VALUES)
def test_a_warning_when_and_only_when_signal_is_left(name, scaled, T):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        schedule = make_schedule(name, T, scaled=scaled)
    if schedule.terminal_signal > MAX_TERMINAL_SIGNAL:
        assert len(caught) == 1 and issubclass(caught[0].category, TerminalSignalWarning)
        text = str(caught[0].message)
        assert f"{schedule.terminal_signal:.1%}" in text and f"T={T}" in text
        assert name != "cosine" or "or the cosine" not in text, "the mend must not be what one already has"
    else:
        assert not caught
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_schedule(name, T, scaled=scaled, zero_terminal_snr=True)


def test_defaults_at_1000_that_end_in_noise_are_silent():
    for name in ("linear", "cosine", "sigmoid", *CONTINUOUS):
        make_schedule(name)  # warnings are errors here
    assert make_schedule("linear").terminal_signal == pytest.approx(0.00635, abs=2e-5)  # sqrt(4.04e-5)


def test_continuous_formulas():
    assert [float(v) for v in Flow().level(0.25)] == [0.75, 0.25]
    edm = EDM()
    assert float(edm.sigma(1.0)) == 80 and float(edm.alpha(0.3)) == 1
    assert float(edm.sigma(edm.t_min)) == pytest.approx(0.002, rel=1e-12)
    assert edm.terminal_signal == pytest.approx(0.5 / math.hypot(0.5, 80))
    assert not edm.zero_terminal_snr and Flow().zero_terminal_snr
    cosine = make_schedule("continuous_cosine")
    assert cosine.alpha(1.0) == 0 and cosine.zero_terminal_snr
    assert float(cosine.log_snr(0.5)) == pytest.approx(0, abs=1e-15)


def test_refusals():
    for T in (0, 1, 10_001):
        with pytest.raises(ValueError, match=r"2\.\.10,000"):
            make_schedule("linear", T)
    with pytest.raises(ValueError, match="known: linear"):
        make_schedule("lineal")
    for t in (-0.1, 1.1, math.nan):
        for name, _ in EVERY:
            with pytest.raises(ValueError, match=r"\[0, 1\]"):
                quiet(name).level(t)
    with pytest.raises(ValueError, match="every beta"):
        TableSchedule(torch.tensor([0.1, 0.0]))
    with pytest.raises(ValueError, match="sigma_min"):
        EDM(sigma_max=0.001)

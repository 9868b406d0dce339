"""What happens at each noise level: the loss there, and the schedule that decides how much noise there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noisette.errors import UserError
from noisette.views import curves, heat
from noisette.views.explained import charts
from noisette.views.explained.exhibit import Bench, Chart, Explanation
from noisette.views.figures import percent
from noisette.views.parts import Table

if TYPE_CHECKING:
    from noisette.diffusion.schedules import NoiseSchedule
    from noisette.tasks.levels import Losses

ENDS = ("the least noisy", "in between", "the noisiest")
NOISE = 0.01
"""A schedule that ends with more of the amplitude than this is not noise at t = 1."""


def loss(bench: Bench) -> Explanation:
    """Loss by noise level. Where the model struggles, and why."""
    rows = bench.material.rows
    try:
        found = _measured(bench)
    except UserError as error:
        found, why = None, str(error)
    if found is None:
        shown = [
            Chart("levels", curves.loss_by_time(rows), "Curve of the logged loss by noise level.", "As it was logged"),
            _map(rows, None),
        ]
        if not any(chart.curve for chart in shown):
            raise UserError("nothing has been logged by noise level yet")
        return Explanation(
            "", charts=shown, missing=f"How well the model does at each noise level was not measured: {why}."
        )
    shown = [_curve(found, space) for space in found.losses]
    caption = (
        f"Measured now, with the averaged weights: {len(found.t):,} pictures, each with its own t and noise, the same "
        "for all curves. Perfect memory is the exact denoiser of "
        f"{found.pictures:,} training pictures{', told their class' if bench.told else ''}: no model can do better on "
        "them, and one that comes near it has learned them by heart. The best linear denoiser knows only their mean "
        f"and covariance{_axes_words(found)}: a net above it has learned less than that."
    )
    text = [_why(found), _against_linear(found)]
    return Explanation(_struggle(found), text, [*shown, _map(rows, found)], tables=[_thirds(found)], caption=caption)


def _measured(bench: Bench) -> Losses:
    from noisette.experiment import build
    from noisette.tasks import levels

    model, data = bench.material.model, bench.material.images
    if not len(data.train):
        raise UserError("there are no training pictures to measure it on")
    return levels.measure(model, build.objective(bench.run.config, bench.run.shape), data, told=bench.told)


def _axes_words(found: Losses) -> str:
    return "" if found.components is None else f" (the {found.components} principal axes of it)"


def _curve(found: Losses, space: str) -> Chart:
    worst = int(np.argmax(found.shares(space, "training")))
    alt = (
        f"Curves of the loss in {space} by noise level: the net on training and on held-out pictures, the best linear "
        f"denoiser and perfect memory. The largest share of the net's loss lies in the {_third(worst)}."
    )
    trained = "as it was trained" if space == found.space else "how well it predicts the noise"
    return Chart(f"levels-{space}", charts.by_level(found, space), alt, f"In {space}: {trained}")


def _map(rows: curves.Rows, found: Losses | None) -> Chart:
    bins = next((len(row["loss_t"]) for row in reversed(rows) if row.get("loss_t")), 0)
    beside = {}
    for name in ("linear", "memory"):
        if found is None or not bins:
            continue
        t, mean, _ = found.by_level(found.space, name)
        beside[name] = np.full(bins, np.nan)
        beside[name][np.clip((t * bins).astype(int), 0, bins - 1)] = mean
    alt = "Map of the loss by noise level and step of training: the brighter, the larger the loss."
    return Chart("training", heat.by_time_over_training(rows, beside), alt, "While it trained")


def _struggle(found: Losses) -> str:
    """Where most of the loss is: in the noise, as courses ask, and in the space of training."""
    own, eps = (found.shares(space, "training") for space in (found.space, "eps"))
    noise, trained = int(eps.argmax()), int(own.argmax())
    text = (
        f"It struggles most to predict the noise in the {_third(noise)}: {percent(eps[noise])} of that loss is there."
    )
    if found.space != "eps":
        also = "also" if noise == trained else "however"
        text += (
            f" In {found.space}, the space that it was trained in, the largest part is {also} in the "
            f"{_third(trained)}: {percent(own[trained])}."
        )
    return text


def _third(third: int) -> str:
    from noisette.tasks.levels import THIRDS

    return f"{THIRDS[third]} third of t, {ENDS[third]}" if third != 1 else "middle third of t"


def _why(found: Losses) -> str:
    """One reason for each third that is the worst in some space, chosen by the numbers there."""
    spaces = dict.fromkeys(("eps", found.space))
    worst = dict.fromkeys((int(found.shares(space, "training").argmax()), space) for space in spaces)
    told, text = set(), []
    for third, space in worst:
        if third not in told:
            told.add(third)
            text.append(_reason(found, space, third))
    return " ".join(text)


def _reason(found: Losses, space: str, third: int) -> str:
    high, low = found.snr(third)
    known = found.mean(space, "memory", third) / max(found.mean(space, "training", third), 1e-300)
    ratio = f"signal-to-noise ratio {_short(high)} down to {_short(low)}"
    unavoidable = (
        f"perfect memory of the training pictures would still have {percent(min(known, 1))} of this loss"
        if known > 0.005
        else "perfect memory of the training pictures would have none of this loss"
    )
    if third == 0:
        return (
            f"Why early: there is little noise in the picture ({ratio}), so it must be told from the finest detail, "
            f"and whatever the net does not know of that detail counts as noise; {unavoidable}."
        )
    if third == 2 and known >= 0.5:
        return (
            f"Why late: hardly any picture is left ({ratio}), many pictures fit the same noise, and nobody can say "
            f"which it was: {unavoidable}."
        )
    if third == 2:
        return (
            f"Why late: hardly any picture is left ({ratio}), so that the net must make up the whole from little; "
            f"{unavoidable}: the rest is what it has not learned of how pictures are composed."
        )
    return (
        f"Why in the middle: picture and noise are about as strong ({ratio}), and it is decided there what the "
        f"picture shows; {unavoidable}."
    )


def _against_linear(found: Losses) -> str:
    t, net, _ = found.by_level(found.space, "training")
    _, linear, _ = found.by_level(found.space, "linear")
    ratio = found.mean(found.space, "training") / max(found.mean(found.space, "linear"), 1e-300)
    above = int((net > linear).sum())
    if above == 0:
        return (
            f"At every level it beats the best linear denoiser; over all, its loss is {percent(ratio)} of that one's."
        )
    said = f"Over all, its loss is {percent(ratio)} of the best linear denoiser's"
    if above > len(t) / 2:
        return (
            f"{said}, and at {above} of {len(t)} levels it does worse than that one: it has hardly begun to learn what "
            "pictures are, and longer training is what helps most."
        )
    worse = t[net > linear]
    return f"{said}; it does worse than that one at {above} of {len(t)} levels, t = {worse[0]:.2f} to {worse[-1]:.2f}."


def _thirds(found: Losses) -> Table:
    from noisette.tasks.levels import THIRDS

    head = ["third of t", "signal-to-noise"]
    for space in found.losses:
        head += [f"loss in {space}", f"share of it, {space}", f"best linear, {space}", f"memory, {space}"]
    rows = []
    for k, name in enumerate(THIRDS):
        high, low = found.snr(k)
        row = [f"{name}\n{ENDS[k]}", f"{_short(high)} to {_short(low)}"]
        for space in found.losses:
            means = {model: found.mean(space, model, k) for model in ("training", "linear", "memory")}
            row += [_short(means["training"]), percent(float(found.shares(space, "training")[k]))]
            row += [_short(means["linear"]), _short(means["memory"])]
        rows.append(row)
    return Table(rows, "Early, middle and late", head, wide=True)


def _short(value: float) -> str:
    """A number with two or three digits, never 1e-05."""
    if value == 0 or value < 0.0005:
        return "0" if value == 0 else "<0.001"
    if value >= 100:
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2g}"


def schedule(bench: Bench) -> Explanation:
    """The noise schedule. How fast the picture drowns, under this schedule and the others."""
    found = bench.material.schedule
    steps = found.steps or bench.run.config.schedule.T
    left = percent(found.terminal_signal)
    kind = f"a table of {found.steps:,} steps" if found.steps else "a formula, for any t"
    finding = f"{found.name}: {kind}. At t = 1, {left} of the signal is left: "
    if found.terminal_signal > NOISE:
        finding += "x is not pure noise there, though sampling begins as if it were."
    else:
        finding += "that is noise."
    half = _equal(found)
    table, weak = _compared(found, steps)
    text = [f"Signal and noise are equally strong at t = {half:.2f}."] if half is not None else []
    if weak:
        those = "this one ends" if weak == [found.name] else f"{len(weak)} end"
        text.append(f"Of the schedules at T = {steps:,}, {those} with too much signal: {', '.join(weak)}.")
    alpha_bar, log_snr = charts.every_schedule(found, steps)
    named = ", ".join(charts.schedules(steps))
    shown = [
        Chart(
            "signal", curves.schedule_signal(found), f"Signal falls from 100 % at t = 0 to {left} at t = 1.", "Signal"
        ),
        Chart("log-snr", curves.schedule_log_snr(found), "The log signal-to-noise ratio falls with t.", "Log-SNR"),
        Chart("all-signal", alpha_bar, f"α̅ over t for {named}, each beside this run's.", "α̅ of every schedule"),
        Chart(
            "all-log-snr", log_snr, f"Log-SNR over t for {named}, each beside this run's.", "Log-SNR of every schedule"
        ),
    ]
    caption = "In the small charts, this run's own schedule is the broad pale line."
    return Explanation(finding, text, shown, tables=[table], caption=caption)


def _equal(schedule: NoiseSchedule) -> float | None:
    """The time at which signal and noise have the same power; None where there is none."""
    t = float(schedule.t_of_log_snr(0.0))
    return t if abs(float(schedule.log_snr(max(t, schedule.t_min)))) < 0.1 else None


def _compared(own: NoiseSchedule, steps: int) -> tuple[Table, list[str]]:
    """(every schedule at this T, and those that leave too much signal at the end)."""
    every = dict(charts.schedules(steps))
    if steps != 1000:
        for name in ("linear", "sigmoid"):
            every[f"{name}, betas not scaled"] = charts.quiet(name, steps, scaled=False)
    if own.name in every:
        every[own.name] = own
    rows, weak = [], []
    for name, found in every.items():
        half, left = _equal(found), found.terminal_signal
        if left > NOISE:
            weak.append(name)
        verdict = "no: too much signal" if left > NOISE else "yes, exactly" if left == 0 else "yes"
        shown = f"{name}: this run's" if found is own else name
        rows.append([shown, percent(left), "–" if half is None else f"{half:.2f}", verdict])
    head = ["schedule", "signal left at t = 1", "as much noise as signal at t", "is x noise at the end?"]
    return Table(rows, f"Every schedule at T = {steps:,}", head, wide=True), weak

"""Curves of a study: loss, gradient, loss by noise level, means with every seed, quality over what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from noisette.views import words
from noisette.views.comparison_curves import loss_kind
from noisette.views.curves import finite
from noisette.views.figures import percent
from noisette.views.parts import Drawing, Figure, drawing
from noisette.views.study import charts
from noisette.views.study import units as of
from noisette.views.study.charts import Band, Curve, Point, Row, band
from noisette.views.study.claims import Claims, cost, means
from noisette.views.study.sentences import capital
from noisette.views.study.units import Unit

AXES = {1: "images shown", 2: "minutes"}
LONGER = 1.05
"""Trainings whose times differ by more than this factor are shown over time as well."""

TITLES = {
    "loss": "Training loss",
    "loss_critic": "Loss of the critic",
    "val_loss": "Held-out loss",
    "grad_norm": "Norm of the gradient",
    "proxy_fd": "Fréchet distance of a few quick samples, in pixels",
}
HEIGHTS = {"grad_norm": "norm of the gradient", "proxy_fd": "Fréchet distance, quick"}
"""What stands beside the axis, where it is not "loss"."""

LOSSES = ("loss", "val_loss")
"""What is only alike where it is measured alike."""

LOOKS = ("val_loss", "proxy_fd")
"""Series of a few looks, which are no averages of many steps."""


# --- over training --------------------------------------------------------------------------------------------------


def training(found: Sequence[Unit], keys: Sequence[str], command: str) -> list[Figure]:
    """Series of these keys over images, a line and a band over its seeds for each setting; over minutes as well where
    trainings took unlike times on one machine. Losses that are not measured alike are shares of their own start."""
    runs = _trained(found)
    drawings: list[Drawing] = []
    shared = []
    for key in keys:
        alike = key not in LOSSES or _alike(runs, key)
        if not alike and key not in shared:
            shared.append(key)
        for column in (1, 2) if key != "grad_norm" and _took_unlike_times(runs) else (1,):
            drawings += _over(runs, key, column, not alike)
    if not drawings:
        return []
    text = [
        "Each line is the mean over a setting's seeds, each band goes from the lowest of them to the highest. Training "
        "losses and gradients are smoothed."
    ]
    if shared:
        text.append(
            f"These settings do not all measure their {' and '.join(TITLES[key].lower() for key in shared)} alike, so "
            "each curve is a share of its own start. How fast it falls compares; how high it lies does not."
        )
    return [Figure(drawings, "", command, text=text)]


def _trained(found: Sequence[Unit]) -> dict[str, Unit]:
    """Name -> a unit of each trained run: ways to draw from it have no curves of their own."""
    together: dict[str, list[Unit]] = {}
    for unit in found:
        together.setdefault(str(unit.runs), []).append(unit)
    return {_name(units): units[0] for units in together.values()}


def _name(units: Sequence[Unit]) -> str:
    """What units that share their runs have in common."""
    if len(units) == 1:
        return units[0].name
    values = [(f, v) for f, v in units[0].values.items() if all(unit.values.get(f) == v for unit in units)]
    return ", ".join(f"{f}={v}" if v[:1].isdigit() else v for f, v in values) or "training"


def _alike(runs: Mapping[str, Unit], key: str) -> bool:
    kinds = {loss_kind(u.material, training=key == "loss") for u in runs.values() if u.material is not None}
    return len(kinds) < 2


def _took_unlike_times(runs: Mapping[str, Unit]) -> bool:
    seconds = [
        float(np.mean([m.value for m in found])) for u in runs.values() if (found := u.measured("seconds_train"))
    ]
    machines = {words.machine_name(u.material.meta) for u in runs.values() if u.material is not None}
    return len(machines) == 1 and len(seconds) > 1 and max(seconds) > LONGER * min(seconds)


def _over(runs: Mapping[str, Unit], key: str, column: int, shares: bool) -> list[Drawing]:
    made: list[Band] = []
    for which, (name, unit) in enumerate(runs.items()):
        seeds = [_series(r.series.get(key) or (), column) for r in unit.finished]
        if shares:
            seeds = [(x, y / y[0]) for x, y in seeds if len(y) and y[0] > 0]
        one = band(name, which, seeds, noisy=key not in LOOKS)
        made += [] if one is None else [one]
    y = "share of its start" if shares else HEIGHTS.get(key, "loss")
    chart = charts.bands(made, AXES[column], y, dotted=key in LOOKS)
    said = "; ".join(f"{b.name} ends at {b.mean[-1]:.3g}" for b in made)
    title = TITLES[key] + (", by time" if column == 2 else "")
    title = title.replace("pixels", "poses") if of.moves(list(runs.values())) else title
    return drawing(chart, f"{key}-{column}", f"{title} over {AXES[column]}: {said}.", title)


def _series(rows: Sequence[Sequence[float | None]], column: int) -> Curve:
    pairs = [(row[column], row[3]) for row in rows if finite(row[column]) and finite(row[3])]
    points = np.array(pairs, np.float64).reshape(-1, 2)
    return points[:, 0] / (60 if column == 2 else 1), points[:, 1]


# --- by noise level -------------------------------------------------------------------------------------------------


def by_level(found: Sequence[Unit], command: str) -> list[Figure]:
    """Loss by noise level, in the space of training and in that of the noise, and in words what lies in which third."""
    runs = _trained(found)
    drawings: list[Drawing] = []
    text = []
    spaces = (("loss_t", "as it was trained"), ("eps_t", "in the noise, for all alike"))
    if not any(r.series.get("loss_t") for u in runs.values() for r in u.finished):
        spaces = (("val_loss_t", "as it was trained"),)
    for key, what in spaces:
        shares = key != "eps_t" and not _alike(runs, "val_loss")
        made = []
        for which, (name, unit) in enumerate(runs.items()):
            seeds = [_bins(r.series[key]) for r in unit.finished if r.series.get(key)]
            seeds = [(t, y / y.mean() if shares else y) for t, y in seeds if len(y) and y.mean() > 0]
            one = band(name, which, seeds)
            made += [] if one is None else [one]
        y = "loss over its mean" if shares else "loss"
        alt = f"Loss by noise level, {what}: " + "; ".join(_where(b) for b in made) + "."
        chart = charts.bands(made, "t  (0 clean, 1 noise)", y, dotted=True)
        drawings += drawing(chart, key, alt, f"Loss by noise level, {what}")
        if made:
            text.append(f"Where the loss lies, {what}: {'; '.join(_where(b) for b in made)}.")
    caption = "Early is the third of t with the least noise, late the one with the most."
    return [Figure(drawings, caption, command, text=text)] if drawings else []


def _bins(values: Sequence[float | None]) -> Curve:
    pairs = [((k + 0.5) / len(values), v) for k, v in enumerate(values) if finite(v)]
    points = np.array(pairs, np.float64).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def _where(b: Band) -> str:
    """ "cosine 12 % early, 17 % in the middle, 71 % late": of the sum over evenly spaced t."""
    third = np.minimum((3 * b.x).astype(int), 2)
    parts = [float(b.mean[third == k].sum()) / max(float(b.mean.sum()), 1e-300) for k in range(3)]
    told = f"{percent(parts[0])} early, {percent(parts[1])} in the middle, {percent(parts[2])} late"
    return f"{b.name} {told}".replace(" %", "\u00a0%")


# --- numbers --------------------------------------------------------------------------------------------------------


def dots(found: Sequence[Unit], made: Claims, keys: Sequence[str], command: str) -> list[Figure]:
    """Each of these numbers: every setting's mean with its interval, and every seed."""
    drawings: list[Drawing] = []
    for key in keys:
        rows = [
            Row(unit.name, mean.value, *of.within(key, mean.low, mean.high), [m.value for m in unit.measured(key)], k)
            for k, (unit, mean) in enumerate(made.means.get(key, ()))
        ]
        if len(rows) < 2 or key in made.apart:
            continue
        (name, unit, _), way = of.about(key), of.better(key)
        size, axis = (2**20, f"{name} in MiB") if unit == "bytes" else (1, name)
        chart = charts.rows([r.over(size) for r in rows], f"{axis}, {way}" if way else axis, of.is_share(key))
        said = "; ".join(f"{r.name} {of.text(key, r.value, r.low, r.high)}" for r in rows)
        drawings += drawing(chart, f"dots-{key}", f"{capital(name)}: {said}.", capital(name))
    caption = "Large dots are means over seeds, lines their 95 % intervals; each small dot is one training."
    return [Figure(drawings, caption + _shared(found), command)] if drawings else []


def tradeoff(found: Sequence[Unit], keys: Sequence[str], command: str) -> list[Figure]:
    """The first of these numbers that was measured, over what it costs: network calls and seconds of drawing where all
    are drawn from the same runs, else the time of training."""
    drawn = of.one_training(found)
    costs = ("nfe", "seconds_sample") if drawn else (cost(found),)
    known = [key for key in keys if key not in costs and sum(bool(u.measured(key)) for u in found) > 1]
    drawings: list[Drawing] = []
    for x in costs if known else ():
        here = [unit for unit in found if unit.measured(known[0]) and unit.measured(x)]
        kinds = {(of.kind(u, known[0]), of.kind(u, x)) for u in here}
        if len(here) < 2 or len(kinds) > 1:
            continue
        pairs = zip(here, means(here, x), means(here, known[0]), strict=True)
        points = [
            Point(u.name, _sampler(u) if drawn else u.name, at.value, y.value, y.low, y.high) for u, at, y in pairs
        ]
        names = [of.about(key)[0] for key in (x, known[0])]
        said = "; ".join(f"{p.name} {of.text(known[0], p.y, p.low, p.high)} at {of.text(x, p.x)}" for p in points)
        unit_name = of.about(x)[1]
        chart = charts.tradeoff(points, f"{names[0]} ({unit_name})" if unit_name else names[0], names[1])
        title = f"{capital(names[1])} over {names[0]}"
        drawings += drawing(chart, f"tradeoff-{x}", f"{title}: {said}.", title)
    return [Figure(drawings, "Lines are 95 % intervals over seeds." + _shared(found), command)] if drawings else []


def _shared(found: Sequence[Unit]) -> str:
    if not of.one_training(found):
        return ""
    return (
        " All were drawn from the same trainings, whose luck moves all of them together: two of them may differ for "
        "sure by less than these intervals."
    )


def _sampler(unit: Unit) -> str:
    """What stays as the number of steps changes: the values that are names, or the way without its steps."""
    name, _, rest = unit.way.partition(":")
    names = [value for factor, value in unit.values.items() if of.numeric(value) is None and factor != "way"]
    return ", ".join(names) or ":".join([name, *rest.split(":")[1:]])

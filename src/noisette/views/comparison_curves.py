"""Curves of several runs over each other; losses only where they measure the same thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisette.views import charts, commands, curves, words
from noisette.views.charts import Line
from noisette.views.material import Material
from noisette.views.parts import Drawing, Figure, Section, drawing

Kind = tuple[tuple[str, str], ...]
"""What a loss is of, as (what, value) pairs: two losses with the same kind may be drawn over each other."""


def loss_kind(material: Material, training: bool) -> Kind:
    """What decides how large a loss is, apart from how good the model is.

    metrics.jsonl keeps the loss without its weights, so they do not count; how t is drawn matters in training alone,
    since a held-out loss always has t evenly spread.
    """
    config = material.config
    schedule, objective = config.schedule, config.objective
    kind = [
        ("kind", config.kind),
        ("data", words.data_key(config, material.data)),
        ("objective.space", objective.space or objective.predicts),
        ("objective.distance", objective.distance),
        ("schedule", f"{schedule.name} {schedule.T} {schedule.scaled} {schedule.zero_terminal_snr}"),
    ]
    return tuple([*kind, ("objective.times", objective.times)] if training else kind)


def curves_section(materials: Sequence[Material], named: Sequence[str]) -> Section:
    """The curves. Each run in its own colour, in all of them."""
    seen, a_second = (_said(text, materials) for text in ("images seen", "images a second"))
    drawings: list[Drawing] = []
    apart: dict[str, list[str]] = {}
    for title, key, training in (("Training loss", "loss", True), ("Held-out loss", "val_loss", False)):
        lines = _lines(materials, named, key)
        groups: dict[Kind, list[Line]] = {}
        for line in lines:
            groups.setdefault(loss_kind(materials[line.which], training), []).append(line)
        if len(groups) > 1:
            apart.setdefault(_why_apart(groups), []).append(title)
        for k, (kind, group) in enumerate(groups.items()):
            if len(group) > 1:
                told = f"{title}, {_kind_name(kind, list(groups))}" if len(groups) > 1 else title
                drawings += _overlaid(group, seen, "loss", f"{key}-{k}", told, dotted=not training)
                drawings += [] if training else _by_time(materials, group, f"time-{k}", told)
    text = [f"{' and '.join(titles).capitalize()}: {why}" for why, titles in apart.items()]
    proxy = _lines(materials, named, "proxy_fd")
    if len({words.data_key(materials[line.which].config, materials[line.which].data) for line in proxy}) == 1:
        drawings += _overlaid(proxy, seen, "Fréchet distance, quick", "proxy", "Quality on the way", dotted=True)
    speed = _lines(materials, named, "images_per_second")
    drawings += _overlaid(speed, seen, a_second, "speed", "Speed", from_zero=True)
    silent = [name for k, name in enumerate(named) if not materials[k].rows]
    if silent:
        text.append(f"Nothing has been logged yet by {', '.join(silent)}.")
    command = commands.report(*(m.run.path for m in materials))
    missing = "" if drawings else "Nothing has been logged yet."
    return Section("curves", "The curves", text, [Figure(drawings, "", command)] if drawings else [], missing=missing)


def _said(text: str, materials: Sequence[Material]) -> str:
    """Of clips where all runs are of motion."""
    moving = all(words.moves(material.config) for material in materials)
    return words.spoken(text, materials[0].config) if moving else text


def _lines(materials: Sequence[Material], named: Sequence[str], key: str, x: str = "images") -> list[Line]:
    """A line for each run that has logged this, smoothed where it is noisy."""
    made = []
    for which, material in enumerate(materials):
        at, values = curves.series(material.rows, key, x)
        if len(at):
            noisy = key in ("loss", "images_per_second")
            made.append(Line(named[which], at, curves.smooth(values) if noisy else values, which))
    return made


def _overlaid(
    lines: Sequence[Line], x: str, y: str, name: str, title: str, *, dotted: bool = False, from_zero: bool = False
) -> list[Drawing]:
    chart = charts.overlaid(lines, x, y, dotted=dotted, from_zero=from_zero)
    said = "; ".join(f"{line.name} ends at {_last(line.y):.3g}" for line in lines)
    return drawing(chart, name, f"{title} over {x}: {said}.", title)


def _last(values: np.ndarray) -> float:
    return float(values[-1])


def _differing(kinds: Sequence[Kind]) -> list[str]:
    """What the kinds differ in."""
    return [pairs[0][0] for pairs in zip(*kinds, strict=True) if len(set(pairs)) > 1]


def _kind_name(kind: Kind, kinds: Sequence[Kind]) -> str:
    """What sets one kind apart from the others: "space eps"."""
    apart = _differing(kinds)
    said = [f"{what.removeprefix('objective.')} {value.split()[0]}" for what, value in kind if what in apart]
    return ", ".join(said)


def _by_time(materials: Sequence[Material], group: Sequence[Line], name: str, title: str) -> list[Drawing]:
    """Held-out losses over minutes, where one machine did all of the training."""
    if len({words.machine_name(materials[line.which].meta) for line in group}) > 1:
        return []
    lines = []
    for line in group:
        seconds, values = curves.series(materials[line.which].rows, "val_loss", "seconds")
        lines.append(Line(line.name, seconds / 60, values, line.which))
    return _overlaid(lines, "minutes", "loss", name, f"{title}, by time", dotted=True)


def _why_apart(groups: dict[Kind, list[Line]]) -> str:
    """What the groups differ in, and who is in which."""
    what = {"kind": "kinds of model", "data": "data", "schedule": "noise schedules"}
    reasons = " and ".join(what.get(name, name) for name in _differing(list(groups)))
    text = (
        f"these runs do not all measure it alike (their {reasons} differ), so how high one lies against another of "
        "another kind says nothing about which is better."
    )
    together = [", ".join(line.name for line in lines) for lines in groups.values() if len(lines) > 1]
    alone = [line.name for lines in groups.values() if len(lines) == 1 for line in lines]
    if together:
        text += f" Drawn together: {'; '.join(together)}."
    if alone:
        text += f" Each on its own, so only in its own report: {', '.join(alone)}."
    return text

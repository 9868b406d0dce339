"""The sections of a report: each is made by one function of Material, in the order of MAKERS.

A maker returns None where its section does not concern the run, and raises UserError where something that it needs is
missing: the page then shows the first sentence of the maker's docstring as the title, and the reason.
"""

from __future__ import annotations

from collections.abc import Callable

from noisette.errors import UserError
from noisette.experiment.config import OF_MOTION
from noisette.views import adversarial, commands, curves, explained, figures, looks, words
from noisette.views.beside import beside, denoised
from noisette.views.cards import data, environment, settings, timing
from noisette.views.export import class_names
from noisette.views.health import health
from noisette.views.material import Material
from noisette.views.measured import measured
from noisette.views.parts import Cell, Figure, Moving, Section, cells, curve_figure, drawing

MOST_PREVIEWS = 12


def samples(material: Material) -> Section:
    """Samples. Drawn now, from the averaged weights."""
    drawn, _ = material.drawn
    made = drawn.settings
    how = words.way(made)
    if not material.config.sample.at_once:
        how += f" ({made.get('nfe', '?')} network calls)"
        how += f", guidance {made.get('guidance', 1):g}" if drawn.labels is not None else ""
    text = [
        f"{len(drawn.x)} pictures, seeds {drawn.seeds[0]} to {drawn.seeds[-1]}, none of them chosen by hand. Drawn "
        f"with {how} from the {'averaged (EMA)' if made.get('weights', 'ema') == 'ema' else 'raw'} weights of step "
        f"{made.get('checkpoint', '?')}, in {words.duration(made.get('seconds') or 0)}."
    ]
    medium, names = material.run.shape.medium, class_names(drawn) or [""] * len(drawn.x)
    alts = [
        f"Sample with seed {seed}" + (f", class {name}" if name else "")
        for seed, name in zip(drawn.seeds, names, strict=True)
    ]
    part = looks.shown(drawn.x, medium, names, alts, (112, 64, 90))
    if isinstance(part, Moving) and len(part.players) < len(drawn.x):
        text.append(f"The first {len(part.players)} of them are shown.")
    caption = "Under each picture, the class that was asked for." if drawn.labels is not None else ""
    file = "samples.gif" if words.moves(material.config) else "samples.png"
    here = material.run.path
    command = commands.sample(here, len(drawn.x), drawn.seeds[0], "--out", file)
    shown = [Figure([part], caption, command), *beside(material, drawn, command)]
    return Section("samples", "Samples", text, [*shown, *denoised(material, commands.explain(here, "reverse"))])


def training(material: Material) -> Section:
    """Training. The loss, step by step."""
    rows, found = material.rows, words.losses(material.rows)
    if not rows:
        raise UserError("nothing has been logged yet")
    proxy = _proxy_words(rows, words.moves(material.config))
    quality = drawing(curves.proxy(rows), "proxy", proxy, "Quality on the way")
    if material.config.kind == "gan":
        return adversarial.training(material, quality, proxy)
    said = "; ".join(
        f"{what} {found[key]:.3g}"
        for key, what in (("first", "first"), ("last", "at the end"), ("held_out", "held out at the end"))
        if key in found
    )
    objective = material.config.objective
    drawings = [
        *drawing(curves.loss(rows), "loss", f"Curve of the loss over steps: {said}.", "Loss"),
        *quality,
        *drawing(curves.gradient(rows), "gradient", "Curve of the gradient's norm over steps.", "Gradient"),
        *drawing(curves.learning_rate(rows), "lr", "Curve of the learning rate over steps.", "Learning rate"),
    ]
    text = [
        f"The net predicts {objective.predicts}; its error is measured in {objective.space or objective.predicts} as "
        f"{objective.distance}, with {objective.weight} weights. The thin line is what was logged, the thick one a "
        "moving average. The held-out loss is that of the averaged weights, always with the same pictures, times and "
        "noise."
    ]
    if terms := [
        f"{name} ({getattr(objective, name):g})" for name in OF_MOTION["objective"] if getattr(objective, name)
    ]:
        text.append(f"Terms that are added to it with these weights: {', '.join(terms)}.")
    if proxy:
        text.append(proxy)
    return Section("training", "Training", text, [curve_figure(drawings, commands.report(material.run.path))])


def _proxy_words(rows: curves.Rows, moves: bool) -> str:
    """What the quick distance says, which was measured as it trained; "" where it was not."""
    steps, values = curves.series(rows, "proxy_fd")
    if not len(values):
        return ""
    best, (_, counts), (_, floor) = (
        int(values.argmin()),
        curves.series(rows, "proxy_n"),
        curves.series(rows, "proxy_floor"),
    )
    text = (
        f"The quick Fréchet distance, from few samples in few steps and in the {'poses' if moves else 'pixels'} alone, "
        f"went from {values[0]:.3g} to {values[-1]:.3g}"
    )
    if len(counts):
        text = text.replace("few samples", f"{counts[-1]:.0f} samples")
    if len(floor):
        text += f", where as many real pictures come to {floor[-1]:.3g}"
    if best < len(values) - 1:
        text += f"; its lowest was {values[best]:.3g} at step {steps[best]:,.0f}"
    return text + ". It says whether the samples get better, not how good they are."


def previews(material: Material) -> Section:
    """Learning to draw. The same noise at every look."""
    saved = material.run.previews()
    if not saved:
        raise UserError("no previews were saved while it trained (train.previews)")
    chosen = [saved[i] for i in figures.evenly(len(saved), MOST_PREVIEWS)]
    medium = material.run.shape.medium if material.data.get("shape") else None
    found = [Cell([shown], [f"step {step:,}"]) for step, shown in looks.previews(chosen, medium)]
    if not found:
        raise UserError("the previews that were saved cannot be read")
    command = str(material.meta.get("command") or commands.train(material.config))
    return Section(
        "previews",
        "Learning to draw",
        ["Every look starts from the same noise, so that only the model changes."],
        [Figure([cells(found, 250, 172, 170)], "", command)],
    )


MAKERS: tuple[Callable[[Material], Section | None], ...] = (
    samples,
    health,
    measured,
    explained.section("neighbours"),
    training,
    explained.section("loss"),
    previews,
    explained.section("checkpoints"),
    explained.section("weights"),
    explained.section("reverse"),
    explained.section("forward"),
    explained.section("schedule"),
    explained.section("guidance"),
    explained.section("interpolation"),
    explained.section("samplers"),
    data,
    timing,
    settings,
    environment,
)

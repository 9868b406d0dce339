"""What a report says of the training of a GAN: two losses that no one curve sums up, and what the critic made of both
kinds of pictures."""

from __future__ import annotations

from noisette.views import charts, commands, curves, words
from noisette.views.charts import Line
from noisette.views.material import Material
from noisette.views.parts import Drawing, Section, curve_figure, drawing


def training(material: Material, more: list[Drawing], said: str) -> Section:
    """The section of a GAN's training; more, said: the curve of its quality and what it says, where there is one."""
    rows, gan = material.rows, material.config.gan
    own, whole = (words.number(material.meta, key) for key in ("parameters_generator", "parameters"))
    penalty = f"a penalty (R1, weight {gan.r1:g}) on its slope at real pictures keeps the critic from running away"
    text = [
        "Two nets learn at the same time, each against the other: the critic tells real pictures from the generator's, "
        f"the generator draws such as the critic takes for real. The loss is {gan.loss}"
        + (f"; {penalty}." if gan.r1 else ", without a penalty on the critic."),
        "Unlike the loss of a diffusion model, these do not fall as the pictures get better: they say who is ahead. "
        "Steady curves are a good sign; a critic whose logits run apart has won, and its opponent learns no more.",
    ]
    if own and whole:
        text[0] += f" The generator has {words.many(own)} weights, the critic {words.many(whole - own)}."
    if said:
        text.append(said)
    both = (("loss", "generator"), ("loss_critic", "critic"))
    logits = (("real_logit", "of real pictures"), ("fake_logit", "of the generator's"))
    norms = (("grad_norm", "generator"), ("grad_norm_critic", "critic"))
    drawings = [
        *_drawing(rows, both, "loss", "losses", "Both losses"),
        *_drawing(rows, logits, "mean logit", "logits", "What the critic thinks"),
        *more,
        *_drawing(rows, norms, "norm of the gradient", "gradients", "Gradients"),
        *_drawing(rows, (("r1", "at real pictures"),), "squared gradient", "steepness", "How steep the critic is"),
    ]
    return Section("training", "Training", text, [curve_figure(drawings, commands.report(material.run.path))])


def _drawing(rows: curves.Rows, keys: tuple[tuple[str, str], ...], y: str, name: str, title: str) -> list[Drawing]:
    lines = []
    for which, (key, label) in enumerate(keys):
        steps, values = curves.series(rows, key)
        if len(values):
            lines.append(Line(label, steps, curves.smooth(values), which))
    curve = charts.overlaid(lines, "step", y)
    said = "; ".join(f"{line.name} ends at {float(line.y[-1]):.3g}" for line in lines)
    return drawing(curve, name, f"{title} over steps: {said}.", title)

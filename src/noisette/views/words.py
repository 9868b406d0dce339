"""Numbers in plain words: what a run was, how long it took and how it ended, for the top of a report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noisette.data.medium import Motion
from noisette.data.motion.inspect import FEW_TAKES
from noisette.experiment.config import ONE_CALL, Config
from noisette.views import curves
from noisette.views.figures import percent

WORSE = 1.1
"""A held-out loss this many times its own minimum, or the training loss, is worth a word."""


def number(tree: Mapping[str, Any], key: str) -> float | None:
    """A finite number from a JSON tree, or None."""
    value = tree.get(key)
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain else None  # type: ignore[arg-type]


def many(value: float) -> str:
    """A count for people: 4,500; 1.2 million."""
    if value >= 999_500:
        return f"{value / 1e6:.3g} million"
    return f"{value:,.0f}"


def plain(value: float) -> str:
    """30; 29.97."""
    return f"{value:.4g}"


def size(count: float) -> str:
    """Bytes for people: 310 MiB; 2.4 GiB."""
    return f"{count / 2**20:,.0f}\u00a0MiB" if count < 2**30 else f"{count / 2**30:.1f}\u00a0GiB"


def duration(seconds: float) -> str:
    """0.4 s; 45 s; 1 min 28 s; 2 h 5 min."""
    text = _duration(seconds)
    return text.replace(" ", "\u00a0")  # never broken at the end of a line


def _duration(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {left} s" if left else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def moves(config: Config) -> bool:
    """Whether the run is one of motion."""
    return config.data.medium == Motion.name


def spoken(text: str, config: Config) -> str:
    """What is written of pictures, said of clips where the run is one of motion; names and paths stay as they are."""
    return of_clips(text) if moves(config) else text


def of_clips(text: str) -> str:
    """What is written of pictures, said of clips."""
    return _THING.sub(_clip, text)


_THING = re.compile(r"(?<![\w/.-])(an? )?(picture|image)(s?)(?![\w/=-])", re.IGNORECASE)


def _clip(found: re.Match[str]) -> str:
    article = f"{found[1][0]} " if found[1] else ""  # an image, a clip
    return article + ("Clip" if found[2][0].isupper() else "clip") + found[3]


def size_name(data: Mapping[str, Any]) -> str:
    """Of one sample, by the facts of the data: "28 × 28 grey"; "64 frames of 20 joints in 3 dimensions"."""
    height, width, channels = data["shape"]
    if data.get("kind") == Motion.name:
        return f"{height} frames of {width} joints in {channels} dimensions"
    return f"{width} × {height} {'grey' if channels == 1 else 'colour'}"


def source_name(config: Config) -> str:
    """The data's name, or the last part of its path that says something."""
    parts = [part for part in config.data.source.split("/") if part]
    said = [part for part in parts if part not in ("images", "data", "train", "pictures")]
    return (said or parts or ["its data"])[-1]


def data_key(config: Config, data: Mapping[str, Any]) -> str:
    """What tells a run's data, and which of them it learned from, from other data."""
    found = str(data.get("fingerprint") or f"{config.data.source} {config.data.image_size} {config.data.classes}")
    return f"{found} {config.data.held_out:g} {config.data.seed}"


def losses(rows: curves.Rows) -> dict[str, float]:
    """first, last (training, mean of the last tenth), even, held_out, best and best_step, as far as there are any.

    even is the last tenth's mean over evenly spread t, which is what a held-out loss is, however t was drawn.
    """
    found: dict[str, float] = {}
    _, values = curves.series(rows, "loss")
    if len(values):
        tenth = max(1, len(values) // 10)
        found |= {"first": float(values[0]), "last": float(values[-tenth:].mean())}
        if (even := _evenly([row for row in rows if "loss" in row][-tenth:])) is not None:
            found["even"] = even
    steps, checked = curves.series(rows, "val_loss")
    if len(checked):
        best = int(checked.argmin())
        found |= {"held_out": float(checked[-1]), "best": float(checked[best]), "best_step": float(steps[best])}
    return found


def _evenly(rows: curves.Rows) -> float | None:
    """The mean over bins of t of the mean loss in each; None where a bin was not seen."""
    pairs = [(row["loss_t"], row["count_t"]) for row in rows if "loss_t" in row and "count_t" in row]
    if not pairs:
        return None
    counts = np.array([count for _, count in pairs], dtype=np.float64)
    sums = np.array([[value or 0.0 for value in loss] for loss, _ in pairs]) * counts
    seen = counts.sum(0)
    return float((sums.sum(0) / seen).mean()) if seen.all() else None


def summary(
    name: str,
    config: Config,
    meta: Mapping[str, Any],
    data: Mapping[str, Any],
    rows: curves.Rows,
    quality: Sequence[str] = (),
) -> list[str]:
    """What was trained, on what, for how long, how it ended, and what is known of its quality: a paragraph each."""
    how_well = _balance(rows) if config.kind == "gan" else _how_well(rows)
    after = [_how_long(config, meta, data), how_well, *quality, _state(meta)]
    told = [_what(name, config, data), too_little(data), *(spoken(paragraph, config) for paragraph in after)]
    return [paragraph for paragraph in told if paragraph]


def too_little(data: Mapping[str, Any]) -> str:
    """What to say of clips that are cut from few sequences; "" of enough of them, and of pictures."""
    takes = number(data, "takes")
    if takes is None or takes >= FEW_TAKES:
        return ""
    return (
        f"This is too little data to judge by: {many(takes)} sequence{'s' if takes != 1 else ''}, where a model that "
        f"makes new motion needs {FEW_TAKES} at the very least. So few can be learned by heart, and a distance from so "
        "few says little. Where the data are at hand, the report shows the samples that are nearest to a training "
        "clip, each before that clip."
    )


def _apart(data: Mapping[str, Any]) -> str:
    """How sequences were held out: ", two subjects kept apart as a whole"."""
    by = data.get("split") if isinstance(data.get("split"), dict) else {}
    people = len(by.get("subjects") or ())  # type: ignore[union-attr]
    if not number(data, "held_out"):
        return ""
    if people:
        return f"; those of {people} subject{'s' if people > 1 else ''} are the ones kept apart"
    return ", each of them on one side alone"


def _what(name: str, config: Config, data: Mapping[str, Any]) -> str:
    motion, things = moves(config), "clips" if moves(config) else "pictures"
    pictures = things
    if data.get("shape"):
        pictures = f"{things} of {size_name(data)}" if motion else f"{size_name(data)} {things}"
    classes = [str(c) for c in data.get("classes") or ()]
    if classes and config.net.conditional:
        listed = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
        kinds = f"{len(classes)} kinds ({listed}), each on demand"
        pictures += f", {kinds}" if motion else f" of {kinds}"
    kind = "a diffusion model"
    how = f"it starts from pure noise and takes the noise away in {config.sample.steps} steps"
    if config.kind == "gan":
        kind = "a GAN"
        how = "its generator makes each of them of noise in one call, and learned to from a critic of its pictures"
    text = f"{name} is {kind}. It draws {pictures}: {how}."
    train, held_out = number(data, "train"), number(data, "held_out")
    if train:
        takes = number(data, "takes")
        text += f" It learned this from {many(train)} {things} from {source_name(config)}"
        text += (
            f"; {many(held_out)} more were kept apart to check it."
            if held_out
            else "; none was kept apart to check it."
        )
        if takes:
            text += f" They are cut from {many(takes)} sequences{_apart(data)}."
    return text


def _how_long(config: Config, meta: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    seconds, images, steps = (number(meta, key) for key in ("seconds", "images", "steps"))
    if not seconds or not images:
        return ""
    text = f"Training took {duration(seconds)}"
    if machine := machine_name(meta):
        text += f" on {machine}"
    text += f": it saw {many(images)} pictures"
    if steps:
        text += f" in {many(steps)} steps of {config.train.batch}"
    if train := number(data, "train"):
        times = images / train
        text += f", each of them about {many(times)} times" if times >= 1.5 else ", most of them at most once"
    speed = number(meta, "images_per_second") or images / seconds
    return f"{text}, {many(speed)} a second."


def machine_name(meta: Mapping[str, Any]) -> str:
    """The device that did the work: "2 cores of AMD EPYC", or the GPU's name."""
    if str(meta.get("device", "")).startswith("cuda"):
        return str(meta.get("gpu") or "a GPU")
    threads = meta.get("threads") or meta.get("cores")
    cpu = str(meta.get("cpu") or "a CPU")
    return f"{threads} core{'s' if threads != 1 else ''} of {cpu}" if threads else (cpu if meta.get("cpu") else "")


def _how_well(rows: curves.Rows) -> str:
    found = losses(rows)
    if not found:
        return ""
    text = ""
    if "last" in found:
        verb = "fell" if found["last"] < found["first"] else "went"
        text = f"The training loss {verb} from {found['first']:.3g} to {found['last']:.3g}."
    if "held_out" in found:
        text += f" On pictures it never trained on the loss ends at {found['held_out']:.3g}"
        if found["held_out"] > WORSE * found["best"]:
            text += (
                f", after a lowest of {found['best']:.3g} at step {found['best_step']:,.0f}: "
                "a sign that it began to learn its pictures by heart."
            )
        elif found.get("even", 0) > 0:
            gap = found["held_out"] / found["even"] - 1
            that = "that in training at the same noise levels"
            close = f"within {percent(max(abs(gap), 0.01))} of {that}"
            text += f", {percent(gap)} above {that}." if gap > WORSE - 1 else f", {close}."
        else:
            text += "."
    return text.strip()


def _balance(rows: curves.Rows) -> str:
    """How the two nets of a GAN stood to each other at the end of training."""
    logits = []
    for key in ("real_logit", "fake_logit"):
        _, values = curves.series(rows, key)
        if not len(values):
            return ""
        logits.append(float(values[-max(1, len(values) // 10) :].mean()))
    real, fake = (f"{value:+.2f}".replace("-", "−") for value in logits)
    return (
        f"When training ended, the critic gave real pictures {real} and the generator's {fake} (mean logits; where the "
        "two are equal it cannot tell them apart). The losses of a GAN do not say how good its pictures are."
    )


def way(made: Mapping[str, Any]) -> str:
    """How samples were drawn, from their settings: "ddim, 20 steps"."""
    if made.get("sampler") == ONE_CALL:
        return "one call of the generator"
    return f"{made.get('sampler', 'the sampler')}, {made.get('steps', '?')} steps"


def _state(meta: Mapping[str, Any]) -> str:
    return {
        "new": "Training has not begun.",
        "training": "This run was still in training, or was broken off, when the report was written.",
        "interrupted": "Training was interrupted: noisette resume goes on from where it stopped.",
        "failed": "Training ended early because the loss was no longer a number.",
    }.get(str(meta.get("state", "")), "")

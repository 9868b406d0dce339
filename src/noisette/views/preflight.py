"""What is known before a training starts, in plain words, for a terminal."""

from __future__ import annotations

from noisette.experiment.config import Config
from noisette.tasks.check import Preflight
from noisette.tasks.estimate import Estimate
from noisette.tasks.train import Ready
from noisette.views.terminal import clock

LISTED = 5


def expected(ready: Ready) -> str:
    """Lines of text: how far the budget goes, how much memory it takes, and what was done about busy neighbours."""
    estimate, train = ready.estimate, ready.config.train
    steps = f"{estimate.steps:,} steps of {train.batch} in {clock(estimate.seconds)}"
    lines = [
        f"Expects {_speed(estimate, ready.config)}: {_seen(estimate)}",
        f"        {steps}, {_memory(estimate, ready.free)}",
    ]
    if counts := ready.found.get("threads_trial"):
        threads = ready.found["threads"]
        lines.append(f"Other processes are busy here: of {' or '.join(counts)} threads, {threads} was fastest")
    return "\n".join(lines)


def _speed(estimate: Estimate, config: Config) -> str:
    compiled = ", compiled" if config.train.compile == "on" else ""
    return f"about {estimate.images_per_second:,.0f} images/s in {config.train.precision}{compiled}"


def _seen(estimate: Estimate) -> str:
    return f"{estimate.images:,} images, {estimate.epochs:.1f} looks at each"


def _memory(estimate: Estimate, free: int) -> str:
    return f"about {estimate.memory / 2**20:,.0f} MiB of memory ({free / 2**30:.1f} GiB free)"


def describe(found: Preflight, source: str, minutes: float) -> str:
    """Lines of text: the data, the recipe, the time, then the warnings."""
    stats, config, shape = found.statistics, found.config, found.shape
    colours = "grey" if shape.channels == 1 else "colour"
    lines = [f"{source}: {stats['count']:,} {colours} images, {shape.width}x{shape.height}"]
    lines.append(f"  train on   {stats['train']:,}, hold out {stats['held_out']:,}")
    if shape.classes:
        per = ", ".join(f"{name} {count:,}" for name, count in list(stats["per_class"].items())[:12])
        more = " ..." if len(stats["per_class"]) > 12 else ""
        lines.append(f"  classes    {len(shape.classes)}: {per}{more}")
    original = stats["original"]
    if original.get("distinct", 1) > 1:
        (low_w, _, high_w), (low_h, _, high_h) = original["width"], original["height"]
        lines.append(f"  originals  {low_w:.0f} to {high_w:.0f} pixels wide, {low_h:.0f} to {high_h:.0f} high")
    lines.append(
        f"  copies     {stats['exact_duplicates']:,} exact, {stats['near_duplicates']:,} near; "
        f"{stats['near_constant']:,} nearly flat; {stats['unreadable']:,} unreadable"
    )
    lines += [f"    skipped  {item['file']}: {item['reason']}" for item in found.skipped[:LISTED]]
    told = "told the classes" if config.net.conditional and shape.classes else "not told any classes"
    what = "a GAN, its critic included," if config.kind == "gan" else "a U-Net"
    lines += [
        "",
        f"Recipe {config.recipe}: {what} of {found.parameters / 1e6:.2f} million parameters, {told}",
        f"  memory     {_memory(found.estimate, found.free)} in batches of {config.train.batch} "
        f"(micro-batch {config.train.micro_batch or config.train.batch})",
        f"  speed      {_speed(found.estimate, config)} on this machine",
        f"  {minutes:g} minutes  {_seen(found.estimate)}, {found.estimate.steps:,} steps",
    ]
    lines += ["", *(f"Note: {note}" for note in found.notes)] if found.notes else []
    lines += ["", *(f"Warning: {warning}" for warning in found.warnings)] if found.warnings else []
    return "\n".join(lines)

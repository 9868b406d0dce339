"""What is known before a training starts, in plain words, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noisette.data.medium import Images, Motion
from noisette.experiment.config import Config
from noisette.tasks.check import Preflight
from noisette.tasks.estimate import Estimate
from noisette.tasks.train import Ready
from noisette.views.terminal import clock

if TYPE_CHECKING:
    from noisette.experiment.runs import Shape

LISTED = 5
NETS = {"unet": "a U-Net", "transformer": "a transformer"}


def expected(ready: Ready) -> str:
    """Lines of text: how far the budget goes, how much memory it takes, and what was done about busy neighbours."""
    estimate, train = ready.estimate, ready.config.train
    steps = f"{estimate.steps:,} steps of {train.batch} in {clock(estimate.seconds)}"
    lines = [
        f"Expects {_speed(estimate, ready.config)}: {_seen(estimate, ready.config)}",
        f"        {steps}, {_memory(estimate, ready.free)}",
    ]
    if counts := ready.found.get("threads_trial"):
        threads = ready.found["threads"]
        lines.append(f"Other processes are busy here: of {' or '.join(counts)} threads, {threads} was fastest")
    return "\n".join(lines)


def _speed(estimate: Estimate, config: Config) -> str:
    compiled = ", compiled" if config.train.compile == "on" else ""
    return f"about {estimate.images_per_second:,.0f} {_many(config)}/s in {config.train.precision}{compiled}"


def _many(config: Config) -> str:
    return Motion.many if config.data.medium == Motion.name else Images.many


def _seen(estimate: Estimate, config: Config) -> str:
    return f"{estimate.images:,} {_many(config)}, {estimate.epochs:.1f} looks at each"


def _memory(estimate: Estimate, free: int) -> str:
    return f"about {estimate.memory / 2**20:,.0f} MiB of memory ({free / 2**30:.1f} GiB free)"


def describe(found: Preflight, source: str, minutes: float) -> str:
    """Lines of text: the data, the recipe, the time, then the warnings."""
    stats, config, shape = found.statistics, found.config, found.shape
    first, last = _motion(stats) if shape.moves else _images(stats, shape)
    lines = [f"{source}: {first}"]
    lines.append(f"  train on   {stats['train']:,}, hold out {stats['held_out']:,}{_apart(stats)}")
    if shape.classes:
        per = ", ".join(f"{name} {count:,}" for name, count in list(stats["per_class"].items())[:12])
        more = " ..." if len(stats["per_class"]) > 12 else ""
        lines.append(f"  classes    {len(shape.classes)}: {per}{more}")
    lines += last
    lines += [f"    skipped  {item['file']}: {item['reason']}" for item in found.skipped[:LISTED]]
    told = "told the classes" if config.net.conditional and shape.classes else "not told any classes"
    what = "a GAN, its critic included," if config.kind == "gan" else NETS[config.net.backbone]
    lines += [
        "",
        f"Recipe {config.recipe}: {what} of {found.parameters / 1e6:.2f} million parameters, {told}",
        f"  memory     {_memory(found.estimate, found.free)} in batches of {config.train.batch} "
        f"(micro-batch {config.train.micro_batch or config.train.batch})",
        f"  speed      {_speed(found.estimate, config)} on this machine",
        f"  {minutes:g} minutes  {_seen(found.estimate, config)}, {found.estimate.steps:,} steps",
    ]
    lines += ["", *(f"Note: {note}" for note in found.notes)] if found.notes else []
    lines += ["", *(f"Warning: {warning}" for warning in found.warnings)] if found.warnings else []
    return "\n".join(lines)


def _images(stats: dict[str, Any], shape: Shape) -> tuple[str, list[str]]:
    """(what the data are, in a line; what else was found in them, a line each)."""
    height, width, channels = shape.medium.stored
    lines = []
    original = stats["original"]
    if original.get("distinct", 1) > 1:
        (low_w, _, high_w), (low_h, _, high_h) = original["width"], original["height"]
        lines.append(f"  originals  {low_w:.0f} to {high_w:.0f} pixels wide, {low_h:.0f} to {high_h:.0f} high")
    lines.append(
        f"  copies     {stats['exact_duplicates']:,} exact, {stats['near_duplicates']:,} near; "
        f"{stats['near_constant']:,} nearly flat; {stats['unreadable']:,} unreadable"
    )
    return f"{stats['count']:,} {'grey' if channels == 1 else 'colour'} images, {width}x{height}", lines


def _motion(stats: dict[str, Any]) -> tuple[str, list[str]]:
    """The same of motion."""
    fps, unit = stats["fps"], stats["unit"]
    lasts = "" if fps is None else f" ({stats['frames'] / fps:.2g} s at {fps:g} a second)"
    first = (
        f"{stats['count']:,} clips of {stats['frames']} frames{lasts} from {stats['takes']:,} takes, "
        f"{stats['joints']} joints in {stats['dims']} dimensions"
    )
    whole = "" if stats["seconds"] is None else f"{clock(stats['seconds'])} of motion; "
    moves = f"{stats['speed']:g} {unit or 'units'} a {'frame' if fps is None else 'second'}"
    bones = "no bones are known" if stats["jitter"] is None else f"bones vary by {stats['jitter']:.1%} of their length"
    cleaning = stats["cleaning"]
    lines = [
        f"  motion     {whole}a body is {stats['size']:g} {unit or 'units'}, a joint moves {moves} on average; {bones}",
        f"  missing    {cleaning['missing']:,} joints, {cleaning['filled']:,} of them filled "
        f"(gaps of up to {cleaning['longest_gap_filled']}); {cleaning['dropped_frames']:,} frames dropped",
        f"  copies     {stats['exact_duplicates']:,} exact; {stats['still']:,} hardly move; "
        f"{stats['unreadable']:,} unreadable",
    ]
    return first, lines


def _apart(stats: dict[str, Any]) -> str:
    """What was kept whole when some was held out; nothing of images."""
    by, subjects = stats.get("split", {}).get("by"), stats.get("split", {}).get("subjects", [])
    if not stats["held_out"] or by is None:
        return ""
    if by != "subject":
        return " (whole takes)"
    return f" (all of subject{'s' if len(subjects) > 1 else ''} {', '.join(subjects)})"

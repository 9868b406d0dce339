"""The preflight in plain words, for a terminal."""

from __future__ import annotations

from noisette.tasks.check import Preflight

LISTED = 5


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
    net = config.net
    told = "told the classes" if net.conditional and shape.classes else "not told any classes"
    lines += [
        "",
        f"Recipe {config.recipe}: a U-Net of {found.parameters / 1e6:.2f} million parameters, {told}",
        f"  memory     about {found.memory / 2**20:,.0f} MiB in batches of {config.train.batch} "
        f"(micro-batch {config.train.micro_batch}), {found.free / 2**30:.1f} GiB free",
        f"  speed      {found.images_per_second:,.0f} images/s on this machine in {config.train.precision}",
        f"  {minutes:g} minutes  {found.images_in(minutes):,} images, {found.epochs_in(minutes):.1f} looks at each",
    ]
    lines += ["", *(f"Note: {note}" for note in found.notes)] if found.notes else []
    lines += ["", *(f"Warning: {warning}" for warning in found.warnings)] if found.warnings else []
    return "\n".join(lines)

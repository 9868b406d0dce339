"""What quality.py makes of its rows: a table, a verdict, curves and sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from contestants import OURS

from noisette.tasks.generate import tile

Row = dict[str, Any]


def table(rows: list[Row], real: float) -> str:
    lines = [
        "| contestant | minutes | images | sampling | weights | Fréchet distance "
        f"| of real ({real:.1f}) | clear | rarest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours = row["contestant"] == OURS and row["sampling"] == "its own"
        way = f"{row['settings']['sampler']}, {row['nfe']} calls" if ours else f"{row['sampling']}, {row['nfe']} calls"
        said = f"{row['frechet']:.1f} ({row['frechet_low']:.1f} to {row['frechet_high']:.1f})"
        lines.append(
            f"| {row['contestant']} | {row['minutes']:g} | {row['images']:,} | {way} | {row['weights']} | {said} "
            f"| {row['frechet'] / real:.2f} | {row['confident']:.1%} | {row['least_digit']:.1%} |"
        )
    return "\n".join(lines)


def verdict(rows: list[Row]) -> str:
    """Ours as the product samples, after each budget, against the best peer after the longest.

    Reached is what lies below by more than both 95 % intervals (over the samples; other seeds of training are not in
    them). A peer that ancestral sampling serves better is taken at that, and all by the first as many samples.
    """
    peers = [row for row in rows if row["contestant"] != OURS]
    ours = sorted((r for r in rows if r["contestant"] == OURS and r["sampling"] == "its own"), key=_minutes)
    if not peers or not ours:
        return "ours and at least one peer are needed for a verdict"
    longest = max(map(_minutes, peers))
    last = [row for row in peers if row["minutes"] == longest]
    there = min(last, key=lambda row: row["first"]["frechet"])
    few = there["sampling"] == "ddpm"
    if not few:
        there = min((row for row in last if row["sampling"] != "ddpm"), key=lambda row: row["frechet"])
    value, low, high = _distance(there, few)
    budgets: dict[str, list[float]] = {"reached": [], "not told apart": [], "not reached": []}
    for row in ours:
        _, mine_low, mine_high = _distance(row, few)
        said = "reached" if mine_high < low else "not reached" if mine_low > high else "not told apart"
        budgets[said].append(row["minutes"])
    told = "; ".join(f"{said} at {', '.join(f'{m:g}' for m in when)} min" for said, when in budgets.items() if when)
    samples = f", {there['first']['n']} samples" if few else ""
    return (
        f"{there['contestant']} by {there['sampling']} is at {value:.1f} ({low:.1f} to {high:.1f}{samples}) after "
        f"{longest:g} min, the best of the peers; ours: {told}"
    )


def _minutes(row: Row) -> float:
    return float(row["minutes"])


def _distance(row: Row, few: bool) -> tuple[float, float, float]:
    """(value, low, high), of all samples or of the first few."""
    if few:
        return row["first"]["frechet"], row["first"]["low"], row["first"]["high"]
    return row["frechet"], row["frechet_low"], row["frechet_high"]


def curves(rows: list[Row], real: float, out: Path) -> None:
    """Distance against minutes, both logarithmic."""
    figure, ax = plt.subplots(figsize=(6.4, 4.2))
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if row["sampling"] == "ddpm":  # of fewer samples
            continue
        name = row["contestant"] if row["sampling"] != "ddim" or row["contestant"] != OURS else f"{OURS}, by ddim"
        lines.setdefault(name, []).append(row)
    for name, mine in lines.items():
        mine.sort(key=lambda row: row["minutes"])
        style: Mapping[str, Any] = {"lw": 2.4, "color": "black"} if name == OURS else {}
        ax.plot([r["minutes"] for r in mine], [r["frechet"] for r in mine], "o-", ms=4, label=name, **style)
    ax.axhline(real, color="grey", ls=":", label="real digits")
    minutes = sorted({row["minutes"] for row in rows})
    ax.set(xscale="log", yscale="log", xlabel="minutes of training", ylabel="Fréchet distance, digit reader")
    ax.set_xticks(minutes, [f"{m:g}" for m in minutes])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)
    ax.set_title("ours: a training for each budget; others: one for the longest, looked at on its way", fontsize=7)
    figure.savefig(out, dpi=150, bbox_inches="tight")
    plt.close(figure)


def sheets(drawn: Mapping[str, Sequence[Path]], minutes: Sequence[float], out: Path) -> None:
    """Samples of every contestant, a column a budget, as far as the files (.npy) are there."""
    there = {name: files for name, files in drawn.items() if any(file.exists() for file in files)}
    columns = len(minutes)
    figure, axes = plt.subplots(len(there), columns, figsize=(2.4 * columns, 2.6 * len(there)), squeeze=False)
    for (name, files), line in zip(there.items(), axes, strict=True):
        for file, budget, ax in zip(files, minutes, line, strict=True):
            ax.axis("off")
            if file.exists():
                ax.imshow(tile(np.load(file)), cmap="gray", vmin=0, vmax=255)
                ax.set_title(f"{name}, {budget:g} min", fontsize=8)
    figure.savefig(out, dpi=150, bbox_inches="tight")
    plt.close(figure)

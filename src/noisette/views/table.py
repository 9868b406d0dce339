"""Rows of an evaluation as a table of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noisette.experiment.config import Config
from noisette.views import words

Row = dict[str, Any]


def evaluation(rows: Sequence[Row], config: Config) -> str:
    """A block for each sampler and each pair of real sets, a line for each number with its interval.

    config: of the run, which may be one of motion.
    """
    lines: list[str] = []
    blocks: dict[str, list[Row]] = {}
    for row in rows:
        blocks.setdefault(_title(row), []).append(row)
    for title, found in blocks.items():
        lines += [title, *(_line(row) for row in found), ""]
    return words.spoken("\n".join(lines[:-1]), config)


def number(value: float) -> str:
    """About four digits; very small numbers in powers of ten."""
    return f"{value:.3e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"


def _title(row: Row) -> str:
    if row.get("real"):
        return f"real images: {str(row['real']).replace('_', '-')}"
    if row.get("label") is None:
        return f"the model, {row.get('weights')} weights of step {row.get('checkpoint')}"
    seconds = f", {row['seconds']:,.0f} s" if row.get("seconds") is not None else ""
    guidance = f", guidance {row['guidance']:g}" if row.get("guidance") is not None else ""
    calls = "1 network call" if row.get("nfe") == 1 else f"{row.get('nfe')} network calls"
    return f"{row['label']}: {calls} a sample{guidance}{seconds}"


def _line(row: Row) -> str:
    name = f"  {row['metric'].replace('_', ' ')}{' (' + row['space'] + ')' if row.get('space') else ''}"
    against = ""
    if row.get("reference"):
        against = f"against {row['reference']}" if row["metric"] != "bits" else f"of {row['reference']} images"
        against = f"  {against.replace('_', '-')}"
    if row["value"] is None:
        return f"{name:<22}  none: {row.get('reason', '')}{against}"
    value = number(row["value"])
    reach = f"[{number(row['low'])}, {number(row['high'])}]" if row.get("low") is not None else ""
    by = f", {row['extractor']}" if row.get("extractor") else ""
    return f"{name:<22}  {value:>10}  {reach:<22}  n={row['n']:,}{by}{against}"

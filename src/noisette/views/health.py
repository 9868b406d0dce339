"""What is wrong with samples, in words: for the terminal, and as a section of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisette.views import commands, words
from noisette.views.material import Material
from noisette.views.parts import Section, Table

if TYPE_CHECKING:
    from noisette.tasks.doctor import Diagnosis

WELL = (
    "Nothing wrong was found: the samples are not black, flat, saturated, noisy, alike or copies, and no value "
    "exploded on the way."
)

WELL_CLIPS = (
    "Nothing wrong was found: the samples do not fall apart, tremble, freeze or drift away, they are not "
    "alike{copies}, and no value exploded on the way."
)
TOO_FEW = " Copies were not looked for: the training clips are cut from too few sequences to tell one."


def well(found: Diagnosis) -> str:
    """That nothing is wrong, in words, by what was looked for."""
    looked_at = {symptom.key for symptom in found.symptoms}
    if "jittery" not in looked_at:
        return WELL
    return WELL_CLIPS.format(copies=" or copies") if "copied" in looked_at else WELL_CLIPS.format(copies="") + TOO_FEW


def _how(found: Diagnosis) -> str:
    made = found.settings
    return f"{found.n} samples, {words.way(made)}, {made['weights']} weights of step {made['checkpoint']}"


def _advice(found: Diagnosis) -> list[tuple[str, str]]:
    """(likely cause, what to try), each once, the first finding's first."""
    pairs = (zip(finding.causes, finding.tries, strict=True) for finding in found.findings)
    return list(dict.fromkeys(pair for each in pairs for pair in each))


def lines(found: Diagnosis) -> list[str]:
    """For a terminal: a line for each finding, then what may be behind them and what to try."""
    out = [f"{_how(found)}.", ""]
    if not found.findings:
        return [*out, well(found)]
    out += [f"{finding.key.upper()} ({finding.severity}). {finding.words}" for finding in found.findings]
    out += ["", "Likely causes, and what to try:"]
    for cause, command in _advice(found):
        out += [f"* {cause}", f"    {command}"]
    return out


def health(material: Material) -> Section:
    """Health. What is wrong with the samples, by measurement."""
    from noisette.tasks.doctor import diagnose

    found = diagnose(material.run, material.drawn[0], material.images)
    how = f"Measured on {_how(found)}, against the run's own data ({commands.doctor(material.run.path, found.n)})."
    if not found.findings:
        return Section("health", "Health", [f"{well(found)} {how}"])
    said = [f"{finding.key.capitalize()} ({finding.severity}). {finding.words}" for finding in found.findings]
    table = Table([[cause, command] for cause, command in _advice(found)], "", ["Likely cause", "What to try"])
    return Section("health", "Health", [*said, how], [], [table])

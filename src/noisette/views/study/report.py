"""A study's folder -> one page that answers its question from the numbers, and the numbers as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from noisette.errors import UserError
from noisette.experiment.files import write_text
from noisette.experiment.jobs import Folder, jobs
from noisette.experiment.studies import Study, flat
from noisette.tasks.study import Result, kept, results
from noisette.views import commands, page, verdicts, words
from noisette.views.cards import as_text
from noisette.views.comparison import listed
from noisette.views.parts import Figure, Section, Table, reworded
from noisette.views.study import curves, pictures, units
from noisette.views.study.claims import Claim
from noisette.views.study.findings import Findings, findings, noise
from noisette.views.study.sentences import capital, difference
from noisette.views.study.table import lines, table
from noisette.views.study.units import Unit


def report(folder: str | Path) -> Path:
    """Writes results.csv and report.html into a study's folder, from its run folders as they are now, and returns where
    the page is.

    Raises:
        UserError: the folder holds no study, or cannot be written.
    """
    place = Folder(Path(folder))
    told = Told(place, place.read(), results(place.path))
    try:
        write_text(place.results_path, lines(told.results))
    except OSError as error:
        raise UserError(f"{place.results_path}: cannot be written ({error.strerror}): choose another --out") from None
    return page.write(render(told), place.report_path)


@dataclass(frozen=True)
class Told:
    """A study with its results, and what they say."""

    place: Folder
    study: Study
    results: list[Result]

    @cached_property
    def units(self) -> list[Unit]:
        return units.units(self.results)

    @cached_property
    def compared(self) -> list[Unit]:
        return units.compared(self.units)

    @cached_property
    def found(self) -> Findings:
        return findings(self.units, self.study.answers, self.study.baseline)

    @property
    def command(self) -> str:
        return commands.study(self.place.path, *self.how)

    @property
    def how(self) -> list[str]:
        return ["--search"] if self.place.searched else []


def render(told: Told) -> str:
    """The page itself."""
    made = [_findings(told), _numbers(told), *_samples(told), *_curves(told), *_paths(told), _how(told), *_failed(told)]
    summary = [told.study.question, *told.found.answer]
    if units.moves(told.units):
        made, summary = [reworded(section, words.of_clips) for section in made], [*map(words.of_clips, summary)]
    return page.render(told.study.title, "Noisette study", summary, _facts(told), made, told.command)


def _facts(told: Told) -> list[tuple[str, str]]:
    finished = {r.run: r for r in told.results if r.state == "finished"}
    runs = {r.run for r in told.results}
    shown = [(str(len({r.setting for r in told.results})), "settings")]
    shown.append((str(len({r.seed for r in told.results})), "seeds at most" if told.how else "seeds of each"))
    shown.append((f"{len(finished)} of {len(runs)}", "trainings finished"))
    if seconds := sum(r.numbers.get("seconds_total") or 0.0 for r in finished.values()):
        shown.append((words.duration(seconds), "of training and measuring"))
    return shown


# --- sections, in the order of the page -----------------------------------------------------------------------------


def _findings(told: Told) -> Section:
    """What was found beyond the answer, and every difference that was looked at."""
    made = told.found.claims
    text = [*told.found.more, *([said] if (said := noise(made)) else [])]
    section = Section("findings", "What was found", text)
    if made.found:
        rows = [
            [*_names(c), difference(c.key, c.effect), _p(c.effect.p), "yes" if c.real else "no"] for c in made.found
        ]
        head = ["", "the better one first", "difference", "p", "larger than the noise"]
        section.tables = [Table(rows, f"All differences that were looked at ({len(rows)})", head, folded=True)]
    elif not text:
        section.missing = "No two settings have been measured alike yet, so nothing is held against anything."
        section.command = told.command
    return section


def _names(claim: Claim) -> list[str]:
    return [capital(units.about(claim.key)[0]), f"{claim.a.name} and {claim.b.name}"]


def _p(p: float) -> str:
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"


def _numbers(told: Told) -> Section:
    """The table of every number, each answer as dots, and quality over its cost."""
    section = Section("numbers", "The numbers")
    main, rest = table(told.units, told.study.answers)
    if len(main.head) == 1:
        section.missing, section.command = "Nothing has been measured yet.", told.command
        return section
    section.text = [
        "Each number is the mean over a setting's seeds. In brackets, its 95 % interval: where another set of seeds "
        "would put the mean; with one seed, where other samples of the same training would."
    ]
    section.figures = [Figure([main], "", told.command)]
    section.tables = [rest] if len(rest.head) > 1 else []
    if "dots" in told.study.figures:
        section.figures += curves.dots(told.compared, told.found.claims, told.study.answers, told.command)
    if "tradeoff" in told.study.figures:
        section.figures += curves.tradeoff(told.compared, told.study.answers, told.command)
    return section


def _samples(told: Told) -> list[Section]:
    if "samples" not in told.study.figures:
        return []
    shown, missing = pictures.samples(told.units, told.command)
    return [Section("samples", "The same seeds", [], shown, missing=_missing(shown, missing))]


def _paths(told: Told) -> list[Section]:
    if "paths" not in told.study.figures:
        return []
    shown, missing = pictures.paths(told.units, told.command)
    return [Section("paths", "From one noise to another", [], shown, missing=_missing(shown, missing))]


def _missing(shown: Sequence[Figure], reasons: Sequence[str]) -> str:
    return " ".join(reasons) or ("" if shown else "No training has finished yet.")


def _curves(told: Told) -> list[Section]:
    wanted = [key for figure, keys in _SERIES.items() if figure in told.study.figures for key in keys]
    shown = curves.training(told.compared, wanted, told.command) if wanted else []
    sections = [Section("curves", "While they trained", [], shown)] if shown else []
    levels = curves.by_level(told.compared, told.command) if "loss_by_t" in told.study.figures else []
    return [*sections, *([Section("levels", "At each noise level", [], levels)] if levels else [])]


_SERIES = {"curves": ("loss", "loss_critic", "val_loss"), "quality": ("proxy_fd",), "grad_norm": ("grad_norm",)}


def _how(told: Told) -> Section:
    """Budget, seeds, samples, machine: what the numbers are of."""
    study, budget = told.study, told.study.chosen
    each = {"minutes": "{:g} minutes", "steps": "{:,.0f} steps", "images": "{:,.0f} images"}
    seeds = len({r.seed for r in told.results})
    made = [job.settings for job in jobs(study, seeds=[0])] if study.factors else []
    trained = [each[kind].format(s["train"][kind]) for s in made for kind in each if s["train"].get(kind)]
    drawn = f"{budget.samples:,} drawn"
    sources = [as_text(s["data"]["source"]) for s in made]
    rows = [
        ["what differs", "; ".join(f"{f.label}: {', '.join(v.label for v in f.values)}" for f in study.factors)],
        ["data", ", ".join(dict.fromkeys(sources))],
        ["budget", f"{study.budget}: {' or '.join(dict.fromkeys(trained))} for each training"],
        ["seeds", f"{seeds}: each a training of its own, with its own noise and order of the data"],
        ["samples", f"{drawn} to be measured, other noises for each seed of training" if study.measure else ""],
        ["measured", as_text(list(study.measure))],
        *_read(told.compared),
    ]
    text = list(study.about)
    if study.continues:
        text.append(f"It trained on from the runs of {_here(study.continues)}.")
    base = [[key, as_text(value)] for tree in (study.base, study.given) for key, value in _flat(tree)]
    tables = [Table([row for row in rows if row[1]])]
    tables += [Table(base, "Settings that are the same in all of them", folded=True)] if base else []
    text.append("This does all of it anew, in another folder:")
    what = [study.name, *_choices(study)] if study.continues else [told.place.study_path]
    again = commands.study(*what, *told.how, "--out", f"{told.place.path}-again")
    return Section("how", "How it was measured", text, tables=tables, command=again)


def _choices(study: Study) -> list[object]:
    """The options that make the same of best-of: what is in its file says nothing of them."""
    chosen = study.chosen
    words: list[object] = ["--of", _here(study.continues), "--budget", study.budget, "--samples", chosen.samples]
    words += ["--seeds", study.seeds or chosen.seeds]
    words += [] if study.features == "auto" else ["--features", study.features]
    for key, value in flat(study.given).items():
        words += [f"--{key}", value]
    return words


def _here(path: str) -> Path:
    """A path as one would type it."""
    here = Path.cwd()
    return Path(path).relative_to(here) if Path(path).is_relative_to(here) else Path(path)


def _flat(tree: dict[str, object]) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for section, values in tree.items():
        found += [(f"{section}.{k}", v) for k, v in values.items()] if isinstance(values, dict) else [(section, values)]
    return found


def _read(found: Sequence[Unit]) -> list[list[str]]:
    """Machines and extractors, as the runs say."""
    materials = [unit.material for unit in found if unit.material is not None]
    machines = list(dict.fromkeys(name for m in materials if (name := words.machine_name(m.meta))))
    judged = [s for m in materials for s in m.scores if s.metric in units.DISTANCES and s.hash]
    features = list(dict.fromkeys(verdicts.extractor(s) for s in judged))
    why = list(dict.fromkeys(said for m in materials if (said := str(kept(m.meta).get("features") or ""))))
    return [
        ["machine", listed(machines) if machines else ""],
        ["features", ": ".join([listed(features), *why]) if features else ""],
    ]


def _failed(told: Told) -> list[Section]:
    rows = [[r.setting, str(r.seed), r.state, r.reason] for r in told.results if r.state != "finished"]
    rows = list(dict.fromkeys(map(tuple, rows)))
    if not rows:
        return []
    missing = any(row[2] != "failed" for row in rows)
    text = ["What is not finished is in none of the numbers.", *(["The command goes on with it."] if missing else [])]
    made = Table([list(row) for row in rows], head=["setting", "seed", "state", "why"])
    return [Section("failed", "What failed or is not there yet", text, tables=[made], command=told.command)]

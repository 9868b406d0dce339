"""A run -> a zip of one folder that stands alone: the model, a program and a notebook to use it, the report, a Readme.

The folder is put together in a temporary place, where the report and the notebook are made as its receiver would make
them, and where nothing tells of this machine.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisette.errors import UserError
from noisette.experiment.runs import Run, atomic, write_text
from noisette.views import commands, export, notebook, redact, report, words
from noisette.views.material import Material

MODELS, NOTEBOOK, PAGE, PAPER, README = "models", "test_diffusion.ipynb", "report.html", "Report.pdf", "Readme.txt"
BINARY = (".safetensors", ".pdf")
FORMATS = {
    "images": ".png a grid, .npz arrays, a name that ends in / a folder of single pictures",
    "motion": ".gif or .webp that moves, .png strips of poses, .npz, .json, .csv or .bvh for other programs",
}
"""What the program writes."""


@dataclass(frozen=True)
class Names:
    """The folder inside the zip, the Python file in it, the path of the model's folder in it, and the zip itself."""

    root: str
    script: str
    model: str
    out: Path


def bundle(
    run: Run,
    out: str | Path | None = None,
    name: str | None = None,
    number: str | None = None,
    suffix: str = "07",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Writes the zip and returns where it is. What cannot be made is left out, with a warning that says why.

    Args:
        run: a run with a checkpoint.
        out: the zip; NAME_NUMBER_SUFFIX.zip, or the run's name, when None.
        name, number: of whoever hands it in: folder and files are then called as courses want it.
        suffix: of those names.
        progress: called with (parts done, all).

    Raises:
        UserError: see `names`; no checkpoint, or a damaged one; a zip that cannot be written; a GAN.
    """
    called = names(run, out, name, number, suffix)
    if run.config.kind == "gan":
        raise UserError(f"{run.path}: a bundle shows how a diffusion model draws; of a GAN, hand on its report")
    run.checkpoint().digest("ema")
    facts = redact.config(run), redact.data(run), redact.meta(run)
    with tempfile.TemporaryDirectory(prefix="noisette-") as temporary:
        work = Path(temporary).resolve()
        whole, folder = work / "whole", work / called.root
        places = redact.places(run, work)
        run.linked(whole / called.model, *facts, whole=True)
        with redact.data_at_hand(run, whole):
            page = _page(whole, called.model)
        progress(1, 3)
        write_text(folder / PAGE, places.sub("", page.read_text(encoding="utf-8")))
        model = run.linked(folder / called.model, *facts, whole=False)
        with redact.data_at_hand(run, folder):
            notebook.write(model, folder / NOTEBOOK, called.model)
            notes = _executed(folder)
        progress(2, 3)
        notes = [places.sub("", note) for note in (*notes, *_paper(folder))]
        write_text(folder / called.script, _text("sample_script.j2", model, called))
        write_text(folder / README, _text("readme.j2", model, called, **_readme(model, folder, called, notes)))
        _pack(folder, called, places)
        progress(3, 3)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return called.out


def names(run: Run, out: str | Path | None, name: str | None, number: str | None, suffix: str) -> Names:
    """What a bundle and its files are called; NAME_NUMBER_SUFFIX where a name and a number are given.

    Raises:
        UserError: a name without a number, letters that such a name should not have, a zip that is there already.
    """
    if (name is None) != (number is None):
        raise UserError("--name and --number belong together: give both, or none")
    for option, value in (("--name", name), ("--number", number), ("--suffix", suffix)):
        if value is not None and not re.fullmatch(r"[\w-]+", value):
            raise UserError(f'{option} "{value}": only letters, digits, _ and - can be in it')
    model = _plain(run.path.resolve().name)
    root = f"{name}_{number}_{suffix}" if name else _plain(Path(out).stem) if out else model
    path = Path(out) if out else Path(f"{root}.zip")
    export.check_suffix(path, "bundle")
    if path.exists():
        raise UserError(f"{path}: already there and never overwritten: choose another --out, or remove it")
    return Names(root, f"{number}_{suffix}.py" if number else "sample.py", f"{MODELS}/{model}", path)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


# --- its parts ----------------------------------------------------------------------------------------------------


def _page(folder: Path, model: str) -> Path:
    """The report, made by a process in this folder, so that its commands are those to type there."""
    page = folder / PAGE
    command = [sys.executable, "-P", "-m", "noisette.cli", "report", model, "--out", str(page)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise UserError(f"the report could not be written: {said[-1].removeprefix('noisette: ')}")
    return page


def _paper(folder: Path) -> list[str]:
    """Prints the report; what to say where that cannot be."""
    from noisette.views import pdf

    try:
        pdf.write(folder / PAGE, folder / PAPER)
    except UserError as error:
        return [f"{PAPER} is not in the bundle: {error}"]
    return []


def _executed(folder: Path) -> list[str]:
    """Runs the notebook; what to say where that cannot be."""
    if not notebook.can_execute():
        return [f'{NOTEBOOK} has no outputs yet: running it needs pip install "noisette[notebook]"']
    notebook.execute(folder / NOTEBOOK)
    return []


def _text(template: str, model: Run, called: Names, **more: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    moves = model.shape.moves
    environment = Environment(
        loader=PackageLoader("noisette", "views"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template(template).render(
        script=called.script,
        model=called.model,
        parts=[json.dumps(part, ensure_ascii=False) for part in called.model.split("/")],
        shape=model.shape.x,
        steps=model.config.sample.steps,
        thing="clip" if moves else "picture",
        things="clips" if moves else "pictures",
        ending=export.usual(model.shape.medium),
        formats=FORMATS[model.shape.medium.name],
        moves=moves,
        **more,
    )
    return words.spoken(text, model.config)


def _readme(model: Run, folder: Path, called: Names, notes: Sequence[str]) -> dict[str, Any]:
    """What the Readme says of this run and this folder."""
    import noisette

    things, a_sample = ("clips", "a clip") if model.shape.moves else ("pictures", "an image")
    checkpoint = f"{called.model}/{model.checkpoint().path.relative_to(model.path).as_posix()}"
    files = [
        (called.script, f"draws {things} with the model, from the command line"),
        (NOTEBOOK, f"loads the model, turns a given noise into {a_sample}, shows samples, the way there, losses"),
        (PAPER, "the report, to print"),
        (PAGE, "the same report, to open in a browser; it needs no network"),
        (f"{checkpoint}/", "the saved model: the averaged weights, and their checksums"),
        (f"{called.model}/config.toml", "every setting of the training"),
        (f"{called.model}/data.json", "what the data were: how many, how large, which classes"),
        (f"{called.model}/meta.json", "versions, machine, time that it took"),
        (f"{called.model}/metrics.jsonl", "losses while training, one line every few steps"),
        (f"{called.model}/eval/", "measurements of how good the samples are"),
    ]
    there = [(file, what) for file, what in files if (folder / file).exists()]
    title = f"{model.name}: a diffusion model, trained with Noisette {noisette.__version__}"
    told = report.summary(Material(model), Path(called.model))
    return {
        "title": title,
        "summary": [paragraph.replace("\u00a0", " ") for paragraph in told],
        "files": there,
        "notes": notes,
        "version": noisette.__version__,
        "train": commands.train(model.config),
    }


def _pack(folder: Path, called: Names, places: re.Pattern[str]) -> None:
    """The folder as a zip, in alphabetical order; what is no part of a bundle, a cache for one, is left behind."""
    parts = [folder / name for name in (called.script, NOTEBOOK, PAGE, PAPER, README)]
    files = sorted(f for f in (*parts, *(folder / MODELS).rglob("*")) if f.is_file())
    try:
        with atomic(called.out) as file, zipfile.ZipFile(file, "w") as archive:
            for path in files:
                info = zipfile.ZipInfo(f"{called.root}/{path.relative_to(folder).as_posix()}", time.localtime()[:6])
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                info.file_size = path.stat().st_size
                if path.suffix in BINARY:
                    with path.open("rb") as source, archive.open(info, "w") as packed:
                        shutil.copyfileobj(source, packed)
                else:
                    archive.writestr(info, places.sub("", path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{called.out}: cannot be written ({error.strerror}): choose another --out") from None

"""A run -> test_diffusion.ipynb: loads the model, makes an image of a given noise, shows samples, the way and losses.

The file is written with json alone; only running it (`execute`) needs a Jupyter kernel.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from noisette.data.medium import Motion
from noisette.errors import UserError
from noisette.experiment.runs import Run, write_text
from noisette.views import report, words
from noisette.views.material import Material

TIMEOUT = 3600
"""Seconds that one cell may take."""


def notebook(run: Run, executed: bool = False) -> Path:
    """Writes the notebook into the run folder, and runs it there if its outputs are to be stored too.

    Raises:
        UserError: no checkpoint; a notebook that was changed by hand is there; it cannot be run; a GAN.
    """
    path = run.notebook_path
    if run.config.kind == "gan":
        raise UserError(f"{run.path}: the notebook shows a diffusion model's way from noise, and a GAN has none")
    if path.exists() and not _untouched(path):
        raise UserError(f"{path}: it was changed by hand and is not overwritten: rename it to have a fresh one")
    if executed:
        _jupyter()
    write(run, path, ".")
    return execute(path) if executed else path


def write(run: Run, path: Path, place: str) -> Path:
    """Writes the notebook of a run to a path. `place` is the run folder as seen from there.

    Raises:
        UserError: no checkpoint, or the place cannot be written.
    """
    content = document(cells(run, place))
    try:
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    return path


# --- what is in it ------------------------------------------------------------------------------------------------


def cells(run: Run, place: str) -> list[tuple[str, str]]:
    """("text" or "code", source) of each cell. Raises UserError without a checkpoint."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    import noisette
    from noisette.diffusion.samplers import adds_noise
    from noisette.experiment import build

    run.checkpoint()
    material, config, shape = Material(run), run.config, run.shape
    sample, found = config.sample, words.losses(material.rows)
    stochastic = adds_noise(sample.sampler, sample.eta)
    told = build.conditional(config, shape)
    environment = Environment(
        loader=PackageLoader("noisette", "views"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("notebook.j2").render(
        name=run.path.resolve().name,
        summary=report.summary(material, Path(place)),
        facts=_facts(material),
        version=noisette.__version__,
        place=json.dumps(place, ensure_ascii=False),
        medium=shape.medium.name,
        things=words.spoken("pictures", config),
        shape=list(shape.x),
        stored=list(shape.medium.stored),
        unit=shape.medium.skeleton.unit if isinstance(shape.medium, Motion) else "",
        kind=json.dumps(shape.classes[0], ensure_ascii=False) if told else "",
        stochastic=stochastic,
        sampler=sample.sampler,
        walk=f"The model takes the noise away in {sample.steps} steps of {sample.sampler}.",
        T=material.schedule.steps,
        held_out="held_out" in found,
        losses=f"It went from {found['first']:.3g} to {found['last']:.3g}." if "last" in found else "",
    )
    parts = re.split(r"^%% (text|code)\n", text, flags=re.MULTILINE)[1:]
    made = [(kind, source.strip()) for kind, source in zip(parts[::2], parts[1::2], strict=True)]
    return [(kind, words.spoken(source, config) if kind == "text" else source) for kind, source in made]


def _facts(material: Material) -> list[tuple[str, str]]:
    """(what, how) for the table on top: the settings that people ask about first."""
    config, meta = material.config, material.meta
    net, optim, objective, sample = config.net, config.optim, config.objective, config.sample
    counted = words.number(meta, "parameters")
    size = f"U-Net, {net.channels} channels x {', '.join(map(str, net.multipliers))}"
    if net.backbone == "transformer":
        size = f"transformer, {net.blocks} blocks of {net.channels} channels"
    T = material.schedule.steps
    rows = [
        ("data", words.source_name(config)),
        ("noise schedule", config.schedule.name + (f", T = {T:,}" if T else "")),
        ("net", f"{size}, {words.many(counted)} weights" if counted else size),
        ("activation", net.activation),
        ("the net predicts", objective.predicts),
        ("loss", f"{objective.distance} in {objective.space or objective.predicts}"),
        ("optimiser", f"{optim.name}, learning rate {optim.lr:g}, batches of {config.train.batch}"),
        ("sampler", f"{sample.sampler}, {sample.steps} steps, guidance {sample.guidance:g}"),
    ]
    return [(what, how.replace("|", r"\|")) for what, how in rows]


def document(cells: list[tuple[str, str]]) -> dict[str, Any]:
    """Cells as a notebook of format 4.5."""
    made: list[dict[str, Any]] = []
    for k, (kind, source) in enumerate(cells):
        cell: dict[str, Any] = {"id": f"cell-{k:02d}", "metadata": {}, "source": source.splitlines(keepends=True)}
        if kind == "code":
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        else:
            cell |= {"cell_type": "markdown"}
        made.append(cell)
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "noisette": {"written": _hash(made)},
    }
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _hash(cells: list[dict[str, Any]]) -> str:
    sources = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def _untouched(path: Path) -> bool:
    """Whether the cells of a notebook are as they were written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return bool(content["metadata"]["noisette"]["written"] == _hash(content["cells"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


# --- running it ---------------------------------------------------------------------------------------------------


def can_execute() -> bool:
    """Whether the packages that run a notebook are there."""
    try:
        _jupyter()
    except UserError:
        return False
    return True


def _jupyter() -> tuple[Any, Any]:
    """(nbclient, nbformat). Raises UserError when they, or a kernel, are not installed."""
    try:
        import ipykernel  # noqa: F401
        import nbclient
        import nbformat
    except ImportError:
        raise UserError('running a notebook needs more packages: pip install "noisette[notebook]"') from None
    return nbclient, nbformat


def execute(path: Path) -> Path:
    """Runs a notebook in its own folder with this Python, from top to bottom, and stores its outputs in it.

    Raises:
        UserError: nbclient or ipykernel is missing, or a cell fails.
    """
    nbclient, nbformat = _jupyter()
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    content = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    with tempfile.TemporaryDirectory(prefix="noisette-") as sockets:
        kernel = AsyncKernelManager(
            kernel_name="python3",
            # With no folder to look in it is the interpreter that runs now, whatever kernels the user has installed.
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            connection_file=str(Path(sockets) / "kernel.json"),
            transport="ipc"
            if os.name == "posix"
            else "tcp",  # files that only this user can open, where there are such
        )
        place = {"metadata": {"path": str(path.parent)}}
        client = nbclient.NotebookClient(content, km=kernel, resources=place, timeout=TIMEOUT, record_timing=False)
        try:
            client.execute(cleanup_kc=True)  # the kernel is ended, though it was started here
        except nbclient.exceptions.CellExecutionError as error:
            raise UserError(f"{path}: a cell failed: {error.ename}: {error.evalue}") from None
        except (nbclient.exceptions.DeadKernelError, nbclient.exceptions.CellTimeoutError, RuntimeError) as error:
            raise UserError(f"{path}: it could not be run to its end ({error})") from None
    for output in (o for cell in content.cells for o in cell.get("outputs", ())):
        if "image/png" in output.get("data", ()):
            output["data"].pop("image/jpeg", None)  # the same picture again, larger and less exact
    write_text(path, nbformat.writes(content) + "\n")
    return path

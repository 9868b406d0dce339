from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest

import noisette as nt
from noisette.cli import main
from noisette.errors import UserError
from noisette.experiment.runs import Run
from noisette.views import bundle, notebook, pdf, redact

PRIVATE = "someone's private place"


@pytest.fixture(scope="module")
def run(trained: Run, squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in a folder whose name nobody shall read, trained on data there, and that says so wherever it can."""
    home = tmp_path_factory.mktemp("home") / PRIVATE
    made = Run.open(shutil.copytree(trained.path, home / "runs" / "squares 1"))
    data = shutil.copy(squares, home / "squares.npz")
    made = made.reconfigured(made.config.changed({"data.source": str(data), "recipe": f"{home}/own.toml"}))
    typed = ["noisette", "train", str(data), f"--recipe={home}/own.toml", "--out", f"../../{home.name}/runs"]
    made.update_meta(command=shlex.join(typed))
    info = {**made.data, "source": str(data), "notes": [f"{home}/a.png was odd"]}
    (made.path / "data.json").write_text(json.dumps(info))
    made.save_evaluation("first", {"rows": [], "note": f"of {home}/runs/squares 1/eval"})
    return made


@pytest.fixture(scope="module")
def packed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of that run, with everything that this machine can make."""
    patch = pytest.MonkeyPatch()
    patch.setenv("NOISETTE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    folder = tmp_path_factory.mktemp("out")
    with patch.context() as here, warnings.catch_warnings():
        here.chdir(folder)
        warnings.simplefilter("ignore")  # a machine without a browser, and Jupyter's own
        return folder / nt.open(run.path).bundle(name="Ali", number="12-34")


@pytest.fixture
def unpacked(packed: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "elsewhere")
    return tmp_path / "elsewhere" / "Ali_12-34_07"


def test_names_as_courses_want_them(packed: Path) -> None:
    assert packed.name == "Ali_12-34_07.zip"
    with zipfile.ZipFile(packed) as archive:
        found = archive.namelist()
        assert archive.testzip() is None and all(info.external_attr >> 16 == 0o644 for info in archive.infolist())
    assert found == sorted(found) and all(name.startswith("Ali_12-34_07/") for name in found)
    inside = [name.removeprefix("Ali_12-34_07/") for name in found if not name.endswith("Report.pdf")]
    model = "models/squares-1"
    assert inside == [
        "12-34_07.py",
        "Readme.txt",
        f"{model}/checkpoints/step-12/checksums.json",
        f"{model}/checkpoints/step-12/ema.safetensors",
        *(f"{model}/{name}" for name in ("config.toml", "data.json", "eval/first.json", "meta.json", "metrics.jsonl")),
        "report.html",
        "test_diffusion.ipynb",
    ]


def test_nothing_tells_of_this_machine(unpacked: Path, run: Run) -> None:
    words = [PRIVATE, PRIVATE.replace("'", "&#39;"), "private place", str(run.path), "/tmp/", str(Path.home()) + "/"]
    words += [str(run.path.parents[2]), run.path.parents[2].parent.name + "/"]
    for file in unpacked.rglob("*"):
        if file.is_file() and file.suffix not in bundle.BINARY:
            text = re.sub(r"base64,[A-Za-z0-9+/=]+|\"image/png\": \"[^\"]*\"", "", file.read_text(encoding="utf-8"))
            for word in words:
                assert word not in text, (file.name, word)
    kept = Run.open(unpacked / "models" / "squares-1")
    assert kept.config.data.source == "squares.npz" == kept.data["source"] and kept.config.recipe == "own.toml"
    assert kept.meta["command"] == "noisette train squares.npz --recipe=own.toml --out runs"
    assert kept.config.train.device == "auto" and kept.data["notes"] == ["a.png was odd"]


def test_the_report_was_made_with_the_data_and_for_the_reader(unpacked: Path) -> None:
    page = (unpacked / "report.html").read_text(encoding="utf-8")
    assert "<span>models/squares-1</span>" in page and "Training picture" in page and "not shown" not in page


def test_the_program_draws_what_the_run_draws(
    unpacked: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = nt.open(run.path)
    np.save(tmp_path / "noise.npy", here.noise(3, seed=5))
    np.save(tmp_path / "bad.npy", np.zeros((3, 3)))

    program = str(unpacked / "12-34_07.py")
    command = [sys.executable, "-W", "error", program, "-n", "3", "--seed", "5", "--out", "x.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "x.npz\n"), done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["x"], here.sample(3, seed=5).x)

    monkeypatch.chdir(tmp_path)
    model = str(unpacked / "models" / "squares-1")
    monkeypatch.setattr(sys, "argv", [program, model, "--noise", "noise.npy", "--steps", "3", "--out", "y.npz"])
    runpy.run_path(program, run_name="__main__")
    noisy = here.sample(noise=here.noise(3, seed=5), steps=3)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["x"], noisy.x)
    for words, says in (
        (["--noise", "bad.npy"], "shape (N, 1, 8, 8)"),
        (["--noise", "nowhere.npy"], "not a readable .npy"),
        ([str(tmp_path)], "not a run folder"),
        (["--out", "x.jpg"], ".png"),
    ):
        monkeypatch.setattr(sys, "argv", [program, *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(program, run_name="__main__")
        said = capsys.readouterr().err
        assert stop.value.code == 2 and said.count("\n") == 1 and says in said


def test_the_notebook_has_run_and_runs_again_without_the_data(unpacked: Path) -> None:
    path = unpacked / "test_diffusion.ipynb"
    for data, executed in (("with", path), ("without", None)):
        cells = nbformat.read(executed or notebook.execute(path), as_version=4).cells
        found = [o for cell in cells for o in cell.get("outputs", ())]
        said = "".join(o["text"] for o in found if o.output_type == "stream")
        assert sum("image/png" in o.get("data", ()) for o in found) == 6
        assert "0 of 255 grey levels" in said and ("The data are not here" in said) == (data == "without")


def test_what_cannot_be_made_is_left_out_and_said(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> str:
        raise UserError(f"no browser in {run.path.parent}/bin")

    monkeypatch.setattr(pdf, "write", none)
    monkeypatch.setattr(notebook, "can_execute", lambda: False)
    monkeypatch.setattr(bundle, "_page", lambda folder, _: _write(folder / "report.html"))
    with pytest.warns(UserWarning) as said:
        made = bundle.bundle(run, tmp_path / "given.zip")
    told = [str(warning.message) for warning in said]
    assert len(told) == 2 and "test_diffusion.ipynb has no outputs" in told[0] and "no browser in bin" in told[1]
    with zipfile.ZipFile(made) as archive:
        assert "given/Report.pdf" not in archive.namelist() and "given/sample.py" in archive.namelist()
        readme = archive.read("given/Readme.txt").decode()
    assert all(note in readme for note in told) and "Report.pdf  " not in readme


def _write(path: Path) -> Path:
    path.write_text("a page", encoding="utf-8")
    return path


def test_hostile_words(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.zip").write_bytes(b"mine")
    (tmp_path / "Ali_1_07.zip").write_bytes(b"mine")
    for words, says in (
        ({"out": "there.zip"}, "never overwritten"),
        ({"name": "Ali", "number": "1"}, "never overwritten"),
        ({"out": "bundle.tar"}, ".zip"),
        ({"out": "there.zip/x.zip"}, "is a file"),
        ({"name": "Ali"}, "belong together"),
        ({"number": "1"}, "belong together"),
        ({"name": "../Ali", "number": "1"}, "only letters"),
        ({"name": "Ali", "number": "1/2"}, "only letters"),
        ({"name": "", "number": "1"}, "only letters"),
        ({"name": "Ali", "number": "1", "suffix": "0 7"}, "only letters"),
    ):
        with pytest.raises(UserError, match=re.escape(says)):
            bundle.bundle(run, **words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Ali_1_07.zip", "there.zip"]
    assert (tmp_path / "there.zip").read_bytes() == b"mine"


def test_a_run_that_cannot_be_packed(run: Run, tmp_path: Path) -> None:
    broken = Run.open(shutil.copytree(run.path, tmp_path / "broken"))
    weights = broken.checkpoint().path / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="damaged"):
        bundle.bundle(broken, tmp_path / "b.zip")
    shutil.rmtree(broken.path / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint"):
        bundle.bundle(broken, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_from_the_command_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pdf, "write", lambda *_: None)
    monkeypatch.setattr(notebook, "can_execute", lambda: False)
    monkeypatch.setattr(bundle, "_page", lambda folder, _: _write(folder / "report.html"))
    words = ["bundle", str(run.path), "--name", "Ali", "--number", "1", "--suffix", "A3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "showwarning", warnings.showwarning)  # the command line sets its own
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            main(words)
        said = capsys.readouterr()
        assert said.out == "Ali_1_A3.zip\n" and said.err.startswith(
            "noisette: note: test_diffusion.ipynb has no outputs"
        )
        with pytest.raises(SystemExit) as stop:
            main(words)
    said = capsys.readouterr()
    assert stop.value.code == 2 and not said.out and said.err.count("\n") == 1 and "never overwritten" in said.err


def test_names_without_a_name(run: Run) -> None:
    assert bundle.names(run, None, None, None, "07") == bundle.Names(
        "squares-1", "sample.py", "models/squares-1", Path("squares-1.zip")
    )
    given = bundle.names(run, "a b.zip", "José", "42", "A3")
    assert (given.root, given.script, given.out) == ("José_42_A3", "42_A3.py", Path("a b.zip"))


def test_places_are_cut_from_texts_and_nothing_else(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    places = redact.places(run, Path("/srv/data"))
    for text, plain in (
        ("see /srv/data/cats/1.png.", "see cats/1.png."),
        ('"/srv/data"', '""'),
        ("/srv/data2/x and /opt/srv/data/x", "/srv/data2/x and /opt/srv/data/x"),
        ("base64,AAAA/srv/data/AAAA", "base64,AAAA/srv/data/AAAA"),
        ("a / b", "a / b"),
    ):
        assert places.sub("", text) == plain


def test_sources_by_name_keep_it() -> None:
    found = [redact.last(s) for s in ("digits", "hf:owner/name", "/a/b/", "C:\\a\\b.npz", "~/pets")]
    assert found == ["digits", "hf:owner/name", "b", "b.npz", "pets"]

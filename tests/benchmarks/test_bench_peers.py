"""The side-by-side benchmarks: every peer learns, is told the right times, and every script ends in its tiny mode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "benchmarks"


def bench(*arguments: str, timeout: int = 600) -> str:
    """What a Python process in the benchmarks' folder prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=BENCH,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


LEARN = """
import json, torch, warnings
from sizes import PROJECTS, TINY, count, data_for, made
from peers import ALPHA_BAR
from curves import Exam
from noisette.data.stream import Stream

data, _ = data_for(TINY)
stream = Stream(data, TINY.batch, 0)
exam = Exam(data, stream, most=64)
told = {}
for name, kind in PROJECTS.items():
    if reason := kind.missing():
        told[name] = reason
        continue
    options = {"warmup": 1} if name == "diffusers" else {}
    project = made(kind, TINY, 80, data, **options)
    before = exam.of(project)
    losses = [project.step(stream.batch(k).x) for k in range(80)]
    x = exam.x_t[:8]
    same = []
    for i in (10, 500, 990):
        project.net.eval()
        seen = x / ALPHA_BAR[i].sqrt().float() if name == "smalldiffusion" else x
        called = project.call(seen, i)
        if name == "noisette":  # it gives x0, by averaged weights in bf16
            called = (x - ALPHA_BAR[i].sqrt().float() * called) / (1 - ALPHA_BAR[i]).sqrt().float()
            eps = project.eps(x, torch.full((8,), i), averaged=True)
        else:
            eps = project.eps(x, torch.full((8,), i))
        same.append(float((called - eps).abs().max()))
    rows = project.trainer.stream.rows(5).tolist() if name == "noisette" else []
    told[name] = {"before": before, "after": exam.of(project), "steps": len(losses), "same": same, "rows": rows}
told["rows"] = stream.rows(5).tolist()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def learnt() -> dict[str, Any]:
    return json.loads(bench("-c", LEARN).splitlines()[-1])


@pytest.mark.parametrize(
    "name", ["noisette", "diffusers", "smalldiffusion", "denoising-diffusion-pytorch", "plain script"]
)
def test_each_project_learns_and_its_call_is_its_eps(learnt: dict[str, Any], name: str) -> None:
    """A common exam falls, which it only can where x_t, the step's index and eps mean to the project what we think."""
    found = learnt[name]
    if isinstance(found, str):
        pytest.skip(found)
    assert found["after"] < 0.97 * found["before"]
    assert max(found["same"]) < (0.1 if name == "noisette" else 1e-4)


def test_ours_sees_the_batches_that_the_peers_see(learnt: dict[str, Any]) -> None:
    assert learnt["noisette"]["rows"] == learnt["rows"]


def test_equal_nets_are_equal() -> None:
    """Parameters and operations of every net that can be built here within 10 % of the reference's."""
    code = "import json\nfrom sizes import *\nprint(json.dumps({s.name: counted(s) for s in SIZES.values()}))"
    for size, nets in json.loads(bench("-c", code).splitlines()[-1]).items():
        assert {"noisette", "diffusers", "plain script"} <= set(nets)
        for name, got in nets.items():
            for mine, reference in zip(got, nets["diffusers"], strict=True):
                assert abs(mine / reference - 1) <= 0.1, (size, name)


MISTAKES = """
import contextlib, importlib, io, sys
told = [
    ("run", ["--only", "x"]), ("throughput", ["--sizes", "30"]), ("breakdown", ["--peer", "x"]),
    ("throughput", ["--sizes", "32", "--data32", "/none.npz"]), ("curves", ["--only", "x"]),
    ("calls", ["--rounds", "0"]), ("memory", ["--sizes", ""]), ("quality", ["--only", "x"]), ("quality", []),
    ("gpu", ["--parts", "x"]), ("gpu", ["--limit", "0"]), ("gpu", ["--parts", "curve"]),
    ("digits_quality", ["/none", "--mnist", "/none"]), ("samplers", ["/none"]),
    ("throughput", ["--tiny", "--out", "/file"]), ("calls", ["--tiny", "--out", "/file/under"]),
    ("throughput", ["--seconds", "nan"], "--seconds"), ("calls", ["--seconds", "inf"]),
    ("calls", ["--seconds", "-1"]), ("memory", ["--million", "-5"], "--million"),
    ("memory", ["--million", "5"], "--million"), ("gpu", ["--limit", "nan"]), ("gpu", ["--limit", "1e300"]),
    ("gpu", ["--minutes", "0"], "--minutes"), ("quality", ["--minutes", "1,abc"], "--minutes"),
    ("quality", ["--minutes", "-1"], "--minutes"), ("quality", ["--ancestral", "-1"], "--ancestral"),
    ("quality", ["--samples", "20", "--estimate"]), ("digits_quality", ["/file", "--mnist", "/none"]),
    ("digits_quality", ["/file", "--mnist", "/none", "-n", "0"], "-n"),
    ("digits_quality", ["/file", "--mnist", "/none", "--epochs", "0"], "--epochs"),
    ("digits_quality", ["/file", "--mnist", "/none", "--out", "/none/none"], "--out"),
    ("samplers", ["/none", "--mnist", "/none", "--samples", "99"], "99 samples"),
    ("samplers", ["/none", "--grids-up-to", "-1"], "--grids-up-to"),
]
for name, arguments, *word in told:
    sys.argv = [f"{name}.py", *arguments]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            importlib.import_module(name).main()
            code = 0
        except SystemExit as ended:
            code = ended.code
    line = said.getvalue()
    assert code == 2 and line.count("\\n") == 1 and line.startswith(f"{name}: "), (name, arguments, code, line)
    assert all(part in line for part in word), (arguments, line)
"""


def test_mistakes_end_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bench("-c", MISTAKES.replace("/none", str(tmp_path / "none")).replace("/file", str(tmp_path / "file")))


def test_what_the_system_refuses_and_an_interruption_are_one_line() -> None:
    code = (
        "import contextlib, io, command\n"
        "def fails(error):\n"
        "    raise error\n"
        "for error in (FileNotFoundError(2, 'Not there', 'x'), KeyboardInterrupt()):\n"
        "    said = io.StringIO()\n"
        "    try:\n"
        "        with contextlib.redirect_stderr(said):\n"
        "            command.ends_in_one_line(fails)(error)\n"
        "    except SystemExit as ended:\n"
        "        print(ended.code, said.getvalue(), end='')"
    )
    assert bench("-c", code) == "2 -c: x: Not there\n130 -c: interrupted\n"


MEMORY = """
import json
import memory
from sizes import TINY, present
names = list(present()[0])
print(json.dumps(memory.peers_part(TINY, names, 2, None)))
print(json.dumps(memory.million_part(2000, 100, 1, 2, TINY.nets["noisette"], TINY.batch)))
"""


def test_memory_of_each_process() -> None:
    """A peer's process asserts of itself that nothing of Noisette was imported."""
    peers, million = (json.loads(line) for line in bench("-c", MEMORY).splitlines() if line.startswith("{"))
    rows = peers["projects"]
    assert {"noisette", "noisette, steps alone", "plain script"} <= set(rows)
    for row in rows.values():
        assert row["peak"] >= row["imported"] > 50 * 2**20
    leanest = min(row["peak"] for name, row in rows.items() if "noisette" not in name)
    assert peers["ratio"] == pytest.approx(rows["noisette"]["peak"] / leanest, abs=1e-3)
    assert million["many"]["images"] == 2000 and million["few"]["images"] == 100
    assert million["file_system"] != "unknown"
    for row in (million["many"], million["few"]):
        assert row["peak"] > row["anonymous_peak"] > 50 * 2**20
    assert 0.5 < million["anonymous_ratio"] < 2 and 0.5 < million["peak_ratio"] < 2


def test_scripts_end_in_their_tiny_mode(tmp_path: Path) -> None:
    """With the peers that are installed; the plain script always is."""
    for name in ("throughput", "calls", "breakdown"):
        bench(f"{name}.py", "--tiny", "--out", str(tmp_path))
    curves = ["curves.py", "--tiny", "--only", "noisette;plain script", "--work", str(tmp_path / "work")]
    bench(*curves, "--out", str(tmp_path))
    read = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(read) == {"throughput", "calls", "breakdown", "curves"}
    assert (tmp_path / "curves.png").stat().st_size > 1000
    for result in read.values():
        assert result["machine"]["torch"] and result["machine"]["others_meanwhile"] >= 0 and result["settings"]
    tiny = read["throughput"]["sizes"]["tiny"]
    rates = {name: row["rounds"] for name, row in tiny["projects"].items() if name != "diffusers, bf16"}
    ratios = [rates["noisette"][k] / max(v[k] for n, v in rates.items() if n != "noisette") for k in range(2)]
    assert tiny["ratio_rounds"] == pytest.approx(ratios, rel=0.02, abs=1e-3)
    assert (tiny["ratio_bf16"] is not None) == ("diffusers, bf16" in tiny["projects"]) == ("diffusers" in rates)
    groups = read["breakdown"]["sizes"]["tiny"]["noisette"]["training"]["groups"]
    assert groups["convolutions"] > 0 and sum(groups.values()) > 0
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "work").iterdir()}
    assert len(kept) == 2
    bench(*curves, "--out", str(tmp_path))
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "work").iterdir()} == kept, "learned once"


def test_tiny_results_lie_elsewhere(tmp_path: Path) -> None:
    code = (
        "import argparse, command\n"
        "for tiny in (True, False):\n"
        "    print(command.results(argparse.Namespace(out=None, tiny=tiny)))"
    )
    tiny, real = map(Path, bench("-c", code).split())
    assert real == BENCH / "results" and not tiny.is_relative_to(BENCH)
    tiny.rmdir()

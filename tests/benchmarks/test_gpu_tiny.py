"""The GPU benchmark from end to end on a CPU: tiny, with nothing but what a bare machine has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import digit_toys  # noqa: F401 - says where the benchmarks lie
import gpu_speed
import numpy as np
import pytest
from PIL import Image

from noisette.errors import UserError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
ABSENT = ("matplotlib", "rich", "jinja2", "cyclopts", "diffusers", "torchvision")
BARE = f"""
import runpy, sys
from pathlib import Path
for name in {ABSENT}:
    sys.modules[name] = None
sys.path.insert(0, str(Path(sys.argv[1]).parent))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def gpu(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BARE, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of --tiny on 300 made-up photos."""
    folder = tmp_path_factory.mktemp("gpu")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (300, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "cifar.npz", x_train=x, y_train=np.arange(300) % 10)
    ended = gpu("--tiny", "--out", folder / "out", "--cifar", folder / "cifar.npz")
    assert ended.returncode == 0, ended.stderr
    return folder / "out"


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return found


def test_training_and_sampling_are_measured_in_every_way_without_compiling(out: Path) -> None:
    found = read(out)
    assert found["peak"]["machine"]["torch"] and found["peak"]["tflops"] > 0
    for part, ways in (("training", {"fp32", "tf32", "bf16", "bf16 last"}), ("sampling", {"fp32"})):
        rows = found[part]
        assert not [row["error"] for row in rows if "error" in row]
        assert ways <= {row["way"] for row in rows}
        for row in rows:
            low, high = row["spread"]
            assert 0 < low <= row["images_per_second"] <= high
            peak = found["peak"]["tflops"]  # to three digits, as the rows': few on a busy machine
            assert row["share_of_peak"] == pytest.approx(row["tflops"] / peak, abs=0.01 + 0.001 / peak)
    assert all(row["stages"]["passes"] > 0 for row in found["training"])


def test_the_curve_has_a_distance_at_each_moment_and_its_pictures(out: Path) -> None:
    curve = read(out)["curve"]
    rows = curve["rows"]
    assert curve["state"] == "finished" and curve["features"] == "pixels" and curve["nfe"] == 5
    assert len(rows) == 2 and rows[0]["seconds"] < rows[1]["seconds"] and rows[0]["step"] < rows[1]["step"]
    assert all(row["frechet"] > 0 and row["images"] == 16 * row["step"] for row in rows)
    assert rows[-1]["samples"] == 500
    with Image.open(out / "samples-2.png") as sheet:
        assert sheet.mode == "RGB" and sheet.width == 8 * 34 + 2


def test_what_is_there_is_not_measured_again_and_a_limit_ends_it(out: Path, tmp_path: Path) -> None:
    before = read(out)
    before["sampling"][0] = {k: before["sampling"][0][k] for k in ("key", "net", "batch", "way")} | {"error": "Full: x"}
    before["training"][0]["key"] = "of other code"
    (tmp_path / "gpu.json").write_text(json.dumps(before))
    ended = gpu("--tiny", "--out", tmp_path, "--parts", "training,sampling")
    assert ended.returncode == 0 and ended.stdout.count("\n") == 2, ended.stderr
    after = read(tmp_path)
    assert after["training"][:-1] == before["training"], "kept, and measured once more with this code"
    assert after["sampling"][:-1] == before["sampling"][1:] and "error" not in after["sampling"][-1]
    assert after["peak"] == before["peak"]
    curve = ("--tiny", "--out", tmp_path, "--parts", "curve", "--cifar", out.parent / "cifar.npz")
    ended = gpu(*curve)
    assert ended.returncode == 0 and not ended.stdout, "a finished curve stays"
    assert read(tmp_path)["curve"] == before["curve"]
    ended = gpu(*curve, "--points", 1, "--limit", 0.001)
    assert ended.returncode == 0 and "limit of 0.001 s" in ended.stdout, ended.stderr
    assert read(tmp_path)["curve"] == before["curve"], "until there is a row of another"


def test_a_wrong_setting_is_told_before_anything_is_measured(out: Path, tmp_path: Path) -> None:
    ended = gpu("--tiny", "--out", tmp_path, "--cifar", out.parent / "cifar.npz", "--set", "net.nrom=rms")
    assert ended.returncode == 2 and ended.stderr.startswith('gpu: unknown key "net.nrom"'), ended.stderr
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.parametrize(
    "text", ("{", "[]", "null", '{"training": [{"key": 1}]}', '{"sampling": {}}', '{"peak": {}}', '{"curve": []}')
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "gpu.json").write_text(text)
    with pytest.raises(UserError, match=r"gpu\.json is damaged: move it away"):
        gpu_speed.Results(tmp_path, 1.0, True)
    assert (tmp_path / "gpu.json").read_text() == text


def test_a_wrong_file_is_one_line(tmp_path: Path) -> None:
    ended = gpu("--tiny", "--out", tmp_path, "--parts", "curve", "--cifar", tmp_path / "none.npz")
    assert ended.returncode == 2 and ended.stderr.startswith("gpu: ") and ended.stderr.count("\n") == 1

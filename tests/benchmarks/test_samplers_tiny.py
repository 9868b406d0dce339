"""The table of samplers on a tiny run: what is drawn, that nothing is drawn twice, and the shared rows' reasons."""

import json
import shutil
import sys

import digit_toys
import numpy as np
import pytest
from tiny import tiny

import samplers  # isort: skip  (digit_toys says where it lies)
from noisette.errors import UserError
from noisette.experiment.config import SampleConfig
from noisette.tasks import shards


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOISETTE_CACHE", str(folder / "cache"))
        return tiny(digit_toys.write_data(folder / "patterns.npz", 120), folder / "run", schedule__T=6)


def test_every_registered_sampler_has_its_rows(run):
    model = shards.Model.open(run)
    ways = samplers.ways(model, [2, 6], 2, [])
    assert ways[0].name == "ddpm, small" and ways[0].calls == 6
    assert {way.settings.sampler for way in ways} == set(samplers.SAMPLERS) - {"euler"}
    assert {way.name for way in ways if way.settings.sampler in ("ddim", "ddpm")} == {
        "ddim, eta 0", "ddpm, small", "ddpm, large"
    }  # fmt: skip
    assert all(way.settings.grid == "trailing" for way in ways if way.calls > 2)
    assert all(way.calls in (1, 2, 5, 6) for way in ways)
    keys = [
        (way.name, samplers.time_grid(model.denoiser.schedule, way.settings.steps, way.settings.grid)) for way in ways
    ]
    assert all(keys.count(key) == 1 for key in keys), "the same times are drawn once"
    assert {way.settings.sampler for way in samplers.ways(model, [6], 0, ["heun"])} == {"ddpm", "heun"}
    with pytest.raises(UserError, match='no sampler "hein"; did you mean "heun"'):
        samplers.ways(model, [6], 0, ["hein"])


def test_all_are_held_against_as_many_steps_as_the_schedule_has(run):
    """This one has 6; more calls were asked for, as of a run with T=250 when nothing is said."""
    model = shards.Model.open(run)
    first = samplers.ways(model, [2, 20], 0, [])[0]
    assert (first.name, first.calls, first.settings.grid) == ("ddpm, small", 6, "trailing")
    assert first == samplers.chosen(model, "dpmpp_2m, trailing, 2", 20)[0]
    for wrong in ("dpmpp_2m", "", "ddim, eta 0, trailing", "ddim, eta 0, trailing, 20"):
        with pytest.raises(UserError, match="--confirm"):
            samplers.chosen(model, wrong, 20)


@pytest.mark.parametrize("clip", ("static", "none"))
def test_shared_rows_take_the_same_steps(run, clip):
    """Why SAME may speak for another: the very pictures, from the run's own net, but for a grey level of rounding."""
    model = shards.Model.open(run)
    base = SampleConfig(steps=5, clip=clip)
    pairs = [({"sampler": "ddim"}, {"sampler": "euler"}), ({"sampler": "ddpm"}, {"sampler": "ddim", "eta": 1.0})]
    assert len(pairs) == len(samplers.SAME)
    for one, other in pairs:
        a, b = (shards.drawn(model, base.model_copy(update=way), 72).x for way in (one, other))
        assert np.abs(a.astype(int) - b).max() <= 1


def test_the_table_is_written_and_not_drawn_again(run, tmp_path, monkeypatch, capsys):
    mine = shutil.copytree(run.path, tmp_path / "run")
    mnist = digit_toys.write_mnist(tmp_path / "mnist")
    out = tmp_path / "table" / "samplers.json"
    command = [
        "samplers.py",
        str(mine),
        "--tiny",
        "--mnist",
        str(mnist),
        "--cache",
        str(tmp_path),
        "--epochs",
        "1",
        "--only",
        "dpmpp_2m;heun",
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--data", str(run.config.data.source), "--out", str(out.parent)])
    samplers.main()
    first, said = json.loads(out.read_text()), capsys.readouterr().out
    assert " 0 calls" not in said and "| ddpm, small (= ddim, eta 1) | " in said
    rows = first["rows"]
    assert rows[0]["ratio"] == 1 and rows[0]["name"] == "ddpm, small" and rows[0]["calls"] == 3
    assert all(row["ratio"] == pytest.approx(row["frechet"] / rows[0]["frechet"]) for row in rows)
    assert out.with_suffix(".png").stat().st_size > 5000
    samplers.main()
    assert " 0 calls" in capsys.readouterr().out
    again = json.loads(out.read_text())["rows"]
    assert [row["frechet"] for row in again] == [row["frechet"] for row in rows]


def test_a_chosen_way_is_confirmed_on_other_seeds(run, tmp_path, monkeypatch, capsys):
    mine = shutil.copytree(run.path, tmp_path / "run")
    mnist = digit_toys.write_mnist(tmp_path / "mnist")
    command = ["samplers.py", str(mine), "--tiny", "--mnist", str(mnist), "--cache", str(tmp_path), "--epochs", "1"]
    command += ["--data", str(run.config.data.source), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*command, "--confirm", "dpmpp_2m, trailing, 2", "--seed", "5000"])
    samplers.main()
    path = tmp_path / "samplers-confirm.json"
    (found,) = json.loads(path.read_text())["rows"]
    assert found["low"] < found["ratio"] < found["high"] and found["seed"] == 5000
    assert [way["name"] for way in found["ways"]] == ["ddpm, small", "dpmpp_2m"]
    assert f"{found['ratio']:.3f}" in capsys.readouterr().out
    path.write_text(json.dumps(found))  # as it was when it held but one
    for way in ("dpmpp_2m, trailing, 2", "heun, trailing, 3"):
        monkeypatch.setattr(sys, "argv", [*command, "--confirm", way, "--seed", "5000"])
        samplers.main()
    rows = json.loads(path.read_text())["rows"]
    assert [row["ways"][1]["name"] for row in rows] == ["dpmpp_2m", "heun"], "one again, one more"
    assert rows[0]["distances"] == found["distances"]
    for wrong in (["--confirm", "dpmpp_2m, sideways, 2"], ["--confirm", "dpmpp_2m, trailing, 2", "--seed", "7"]):
        monkeypatch.setattr(sys, "argv", [*command, *wrong])
        with pytest.raises(SystemExit, match="2"):
            samplers.main()


def test_paired_intervals_and_bias():
    """Gaussians whose distances are known: 0.25 D of a shift by 0.5, 0.16 D of one by 0.4."""
    rng = np.random.default_rng(0)
    reference, dims = rng.standard_normal((20_000, 8)), 8
    inside, raw, corrected = 0, [], []
    for _ in range(40):
        noise = rng.standard_normal((1024, dims))
        found = samplers.paired(reference, noise + 0.5, noise + 0.4)
        inside += found["low"] <= 0.64 <= found["high"]
        raw.append(found["distances"])
        corrected.append(found["distances_corrected"])
    truth = np.array([0.25, 0.16]) * dims
    bias, left = np.mean(raw, 0) - truth, np.mean(corrected, 0) - truth
    assert (bias > 0.005).all() and (abs(left) < 0.5 * bias).all()
    assert inside >= 30

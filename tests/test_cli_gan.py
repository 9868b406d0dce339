"""A GAN through all verbs, beside a diffusion model of the same data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import bright
import numpy as np
import pytest
from commands import flags, refused, run
from tiny import TINY, TINY_GAN, tiny

from noisette.errors import UserError
from noisette.experiment.runs import Run
from noisette.tasks import train


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 grey 8x8 images in two classes, a bright square top left or bottom right."""
    return bright.squares(tmp_path_factory.mktemp("many") / "many.npz", 400)


@pytest.fixture(scope="module")
def gan(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished GAN, shared: nothing is trained into it."""
    return tiny(many, tmp_path_factory.mktemp("gans") / "gan", TINY_GAN, train__steps=20, data__held_out=0.3)


def test_from_data_to_a_comparison(
    many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    held = ["--data.held_out", 0.3]
    run("check", many, "--kind", "gan", "--minutes", 1, *flags(TINY_GAN))
    said = capsys.readouterr().out
    assert re.search(r"a GAN, its critic included, of [\d.]+ million parameters, told the classes", said)
    assert re.search(r"1 minutes +[\d,]+ images", said) and "None" not in said
    run("train", many, "--kind", "gan", "--steps", 20, "--out", "runs/gan", *flags(TINY_GAN), *held)
    said = capsys.readouterr().out
    assert re.search(r"Expects about [\d,]+ images/s in fp32: 160 images", said)
    text = Path("runs/gan/config.toml").read_text()
    assert 'kind = "gan"' in text and "[gan]" in text and "[sample]" not in text and "[schedule]" not in text
    run("resume", "runs/gan", "--steps", 4)
    assert Run.open("runs/gan").checkpoint().step == 24
    run("sample", "runs/gan", "-n", 4, "--classes", "1", "--out", "four.npz")
    with np.load("four.npz") as four:
        assert four["x"].shape == (4, 8, 8, 1) and four["labels"].tolist() == [1] * 4
    capsys.readouterr()
    run("evaluate", "runs/gan", "--samples", 120, "--features", "pixels")
    said = capsys.readouterr().out
    assert "one call" in said and "a GAN gives no likelihood" in said
    rows = [row for evaluation in Run.open("runs/gan").evaluations() for row in evaluation["rows"]]
    drawn = [row for row in rows if row["label"] == "one call"]
    assert {row["metric"] for row in drawn} >= {"fid", "kid", "precision", "recall", "coverage", "memory_closer"}
    assert all(row["nfe"] == 1 and row["steps"] == 1 and row["grid"] is None and row["eta"] is None for row in drawn)
    assert all(row["value"] is None and row["reason"] for row in rows if row["metric"] == "bits")
    run("evaluate", "runs/gan", "--samples", 120, "--features", "pixels", "--metrics", "kid", "--samplers", "one call")
    run("doctor", "runs/gan")
    assert "one call of the generator" in capsys.readouterr().out
    run("explain", "runs/gan", "interpolation", "checkpoints", "weights")
    assert Path("runs/gan/figures/interpolation.png").is_file()
    run("report", "runs/gan")
    page = page_of(Path("runs/gan/report.html"))
    assert "gan is a GAN. It draws 8 × 8 grey pictures of 2 kinds (0, 1), each on demand: its generator" in page
    assert "drawn with one call of the generator from the averaged" in page.replace("Drawn", "drawn")
    assert "the critic gave real pictures" in page and "What the critic thinks" in page
    ids = re.findall(r'<section id="(\w+)"', Path("runs/gan/report.html").read_text())
    assert ids == [
        *("samples", "health", "measured", "neighbours", "training", "previews", "checkpoints", "weights"),
        *("interpolation", "data", "timing", "settings", "environment"),
    ]
    assert not re.search(r"guidance|schedule\.|noise level|dpmpp|ddim|training loss", page)
    diffusion = tiny(many, Path("runs/diffusion"), TINY, train__steps=20, data__held_out=0.3)
    run("evaluate", diffusion.path, "--samples", 120, "--features", "pixels", "--metrics", "fid,kid,prdc")
    run("report", "runs/gan", "runs/diffusion")
    page = page_of(Path("runs/comparison.html"))
    assert re.search(r"They differ in \d settings?: kind", page) and "schedule." not in page
    assert "gan with one call of the generator" in page and "diffusion with ddim, 4 steps" in page
    assert "those of a GAN in one call of its generator" in page and "Measured otherwise" not in page
    assert re.search(r"Fréchet distance \(ddim:4\): (gan|diffusion)( is better than| and)", page)
    assert "their kinds of model" in page  # the losses are not drawn over each other


def page_of(path: Path) -> str:
    """The words of a page."""
    body = path.read_text()
    body = body[body.index("<body>") :]
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", body)).replace("\u00a0", " ").replace("&#39;", "'")


def test_the_report_prints_commands_that_train_a_gan_again(gan: Run) -> None:
    from noisette.views import commands

    assert "--kind gan" in commands.train(gan.config) and "--kind gan" in commands.check(gan.config)


def test_what_does_not_concern_a_gan_is_one_line_and_exit_2(
    gan: Run, trained: Run, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = gan.path, ["--out", tmp_path / "never"]
    cases: list[tuple[list[object], str]] = [
        (["sample", place, "--steps", 5], "sample.steps does not concern a GAN, which draws in one call"),
        (["sample", place, "--sampler", "ddim"], "sample.sampler"),
        (["sample", place, "--guidance", 2], "sample.guidance"),
        (["sample", place, "--clip", "static"], "sample.clip"),
        (["sample", place, "--trajectory", tmp_path / "way.gif"], "no way from noise to show"),
        (["sample", place, "--compile", "on"], "nothing to compile"),
        (["evaluate", place, "--samplers", "ddim:5"], "does not concern a GAN"),
        (["evaluate", place, "--samplers", "one cal"], "unknown sampler"),
        (["doctor", place, "--eta", 1], "sample.eta"),
        (["explain", place, "loss"], "no noise levels and no steps"),
        (["explain", place, "samplers"], "no noise levels and no steps"),
        (["notebook", place], "a GAN has none"),
        (["bundle", place, "--out", tmp_path / "b.zip"], "hand on its report"),
        (["train", many, "--kind", "gan", "--optim.lr", 1, *out], "optim.lr does not concern a GAN"),
        (["train", many, "--kind", "gan", "--sample.steps", 5, *out], "sample.steps does not concern a GAN"),
        (["train", many, "--kind", "gan", "--precision", "bf16", *out], "fp32 alone"),
        (["train", many, "--kind", "gan", "--train.micro_batch", 3, *out], "never taken apart"),
        (["train", many, "--kind", "gan", "--gan.z", 65, *out], "gan.z: 65 is more than the 64 numbers"),
        (["train", many, "--kind", "gan", "--gan.loss", "wasserstein", *out], "gan.loss"),
        (["train", many, "--kind", "vae", *out], "diffusion"),
        (["train", many, "--set", "kind=vae", *out], "kind: input should be"),
        (["train", many, "--gan.lr", 1, *out], "concerns a GAN alone"),
        (["sample", trained.path, "--sampler", "one call"], "unknown sampler"),
    ]
    refused(cases, capsys)
    assert not (tmp_path / "never").exists()


def test_all_explanations_of_a_gan_are_those_that_concern_it(
    gan: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("explain", gan.path, "--out", tmp_path / "figures")
    out, err = capsys.readouterr()
    assert err.count("no noise levels and no steps") == 6 and err.count("\n") == 6
    made = {path.name.split("-")[0].split(".")[0] for path in (tmp_path / "figures").iterdir()}
    assert made == {"checkpoints", "interpolation", "weights", "neighbours"} and "Traceback" not in out


def test_from_python(gan: Run, many: Path, tmp_path: Path) -> None:
    import noisette as nt

    run = nt.open(gan.path)
    assert run.sample(2).x.shape == (2, 8, 8, 1)
    way = run.interpolate((0, 1), count=5)
    ends = run.sample(2, classes=["0"])
    assert np.abs(way.x[[0, -1]].astype(int) - ends.x).max() <= 1
    for no_way in (run.denoiser, run.trajectory):
        with pytest.raises(UserError, match="a GAN"):
            no_way()
    small = {"gan": TINY_GAN["gan"], "train": TINY["train"]}
    made = nt.train(many, kind="gan", steps=2, out=tmp_path / "made", settings=small)
    assert made.config.kind == "gan" and made.config.sample.at_once


def test_settings_of_one_kind_do_not_follow_into_the_other(gan: Run, trained: Run, many: Path, tmp_path: Path) -> None:
    """A run's settings are a recipe for the other kind too: what does not concern it is left behind."""
    small = {"train": {**TINY["train"], "steps": 1}}
    other, _ = train.start(str(many), {"kind": "gan", **small}, str(trained.config_path), tmp_path / "a")
    assert other.config.kind == "gan" and other.config.net == trained.config.net and other.config.gan.channels
    back, _ = train.start(str(many), {"kind": "diffusion", **small}, str(gan.config_path), tmp_path / "b")
    assert back.config.kind == "diffusion" and back.config.sample.sampler == "ddim"
    same, _ = train.start(str(many), small, str(gan.config_path), tmp_path / "c")
    assert same.config.kind == "gan" and same.config.gan == gan.config.gan
    assert Run.open(tmp_path / "c").config == same.config  # as it was written
    assert json.loads((tmp_path / "c" / "meta.json").read_text())["state"] == "new"

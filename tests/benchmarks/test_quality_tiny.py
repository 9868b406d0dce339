"""The race to quality with nets that cost nothing: its jobs, its files, and the judge's arithmetic."""

import argparse
import json

import digit_toys
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

import contestants  # noqa: E402
import quality  # noqa: E402
from digits_quality import Judge  # noqa: E402

PLAIN, OURS = "plain script", contestants.OURS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("race")
    return folder, digit_toys.write_mnist(folder / "mnist"), digit_toys.write_data(folder / "patterns.npz")


@pytest.fixture(scope="module")
def judge(files):
    folder, mnist, _ = files
    return Judge(mnist, folder / "cache", epochs=8, least=0.9)


def arguments(files, **changes):
    folder, mnist, data = files
    given = {"mnist": mnist, "data": str(data), "cache": folder / "cache", "epochs": 8, "minutes": [0.05, 0.06]}
    given |= {"samples": 100, "steps": 2, "only": [OURS, PLAIN], "work": folder / "work", "tiny": True}
    return argparse.Namespace(**given, out=folder / "quality.json", least_accuracy=0.9, **changes)


def test_the_judge_tells_digits_from_noise(files, judge):
    x, y = digit_toys.patches(200, 9)
    good = judge(x, y.astype(np.int64))
    noise = judge(np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8))
    assert good["obeyed"] > 0.9 and good["least_digit"] == pytest.approx(0.1, abs=0.03)
    assert good["frechet_low"] <= good["frechet"] < 0.2 * noise["frechet"]
    about = judge.about(150, str(files[2]))
    assert about["real"] < 0.2 * noise["frechet"] and about["reader_accuracy"] == judge.accuracy


def test_a_race_from_start_to_finish(files):
    race = quality.Race(arguments(files))
    race.work.mkdir()
    jobs = race.jobs()
    assert [job for job in jobs if job[0] == "train"] == [
        ("train", OURS, 0.05), ("train", OURS, 0.06), ("train", PLAIN, 0.06)
    ]  # fmt: skip
    for kind, name, minutes in jobs:
        getattr(race, kind)(name, minutes)
    assert race.jobs() == [], "what is done is not done again"
    race.write()
    found = json.loads(race.args.out.read_text())
    assert [(row["contestant"], row["minutes"], row["sampling"]) for row in found["rows"]] == [
        *((OURS, minutes, way) for minutes in (0.05, 0.06) for way in ("its own", "ddim")),
        *((PLAIN, minutes, "ddim") for minutes in (0.05, 0.06)),
    ]
    for row in found["rows"]:
        assert row["n"] == 100 and row["frechet"] > 0 and row["images"] > 0
        assert row["seconds"] >= 60 * row["minutes"]
    early, late = (row for row in found["rows"] if row["contestant"] == PLAIN)
    assert early["steps"] < late["steps"] and early["planned"] == late["planned"]
    assert race.args.out.with_suffix(".png").stat().st_size > 5000
    assert race.args.out.with_name("quality-sheets.png").stat().st_size > 5000


def test_verdict_takes_the_best_peer_and_our_own_sampling():
    def row(name, minutes, distance, sampling="ddim"):
        return {"contestant": name, "minutes": minutes, "frechet": distance, "sampling": sampling}

    rows = [row("a", 8, 30.0), row("b", 8, 20.0), row("b", 1, 5.0), row(OURS, 1, 10.0), row(OURS, 4, 19.0, "its own")]
    assert "b is at 20.0 after 8 min" in quality.verdict(rows) and "within 4 min" in quality.verdict(rows)
    assert "not within 4 min" in quality.verdict([*rows[:2], row(OURS, 4, 21.0, "its own")])
    assert "needed" in quality.verdict(rows[:2])


def test_batches_show_every_image_once_an_epoch():
    x = torch.arange(10.0)[:, None]
    stream = contestants.batches(x, 5)
    for _ in range(3):
        epoch = torch.cat([next(stream), next(stream)])
        assert sorted(epoch.flatten().tolist()) == list(range(10))


def test_a_peers_picture_does_not_depend_on_how_many_are_drawn(files):
    contestant = contestants.tiny()[PLAIN]
    weights = contestant.make(1).net.state_dict()
    whole = contestants.sample_peer(contestant, weights, 0, 100, 2)
    assert whole.shape == (100, 28, 28, 1) and whole.dtype == np.uint8
    assert np.array_equal(whole[:64], contestants.sample_peer(contestant, weights, 0, 64, 2))
    assert np.array_equal(whole[64:], contestants.sample_peer(contestant, weights, 64, 36, 2))


def test_diffusers_trains_averages_and_is_drawn_by_its_own_loop(files, tmp_path):
    """Our call of its scheduler against DDIMPipeline itself, from the same noise."""
    contestant = contestants.tiny()["diffusers, small"]
    if why := contestant.peer.missing():
        pytest.skip(why)
    from diffusers import DDIMPipeline, DDIMScheduler

    file = tmp_path / "weights.pt"
    contestants.train_peer(contestant, contestants.floats(str(files[2])), [0.02], [file])
    kept = torch.load(file)
    assert kept["steps"] > 0 and kept["raw"].keys() == kept["ema"].keys()
    assert any(not torch.equal(kept["raw"][name], kept["ema"][name]) for name in kept["raw"])
    ours = contestants.sample_peer(contestant, kept["ema"], 0, 64, 4)
    peer = contestant.make(1)
    peer.net.load_state_dict(kept["ema"])
    scheduler = DDIMScheduler.from_config(peer.scheduler.config)
    pipeline = DDIMPipeline(peer.net, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    theirs = pipeline(batch_size=64, generator=generator, num_inference_steps=4, output_type="np").images
    assert np.abs(ours / 255 - theirs).max() < 1.01 / 255

"""The race to quality with nets that cost nothing: its jobs, its files, and the judge's arithmetic."""

import argparse
import json

import digit_toys
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

import contestants  # noqa: E402
import digits_quality  # noqa: E402
import quality  # noqa: E402
from digit_reader import trained  # noqa: E402
from digits_quality import Judge  # noqa: E402

from noisette.errors import UserError  # noqa: E402

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
    given = {
        "mnist": mnist,
        "data": str(data),
        "cache": folder / "cache",
        "epochs": 8,
        "most": None,
        "minutes": [0.05, 0.06],
    }
    given |= {"samples": 100, "steps": 2, "only": [OURS, PLAIN], "work": folder / "work", "tiny": True}
    given |= {"ancestral": 100, "out": folder / "quality.json", "least_accuracy": 0.9}
    return argparse.Namespace(**{**given, **changes})


def test_the_judge_tells_digits_from_noise(files, judge):
    x, y = digit_toys.patches(200, 9)
    good = judge(x, y.astype(np.int64))
    noise = judge(np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8))
    assert good["obeyed"] > 0.9 and good["least_digit"] == pytest.approx(0.1, abs=0.03)
    assert good["frechet_low"] <= good["frechet"] < 0.2 * noise["frechet"]
    about = judge.about(150, str(files[2]))
    assert about["real"] < 0.2 * noise["frechet"] and about["reader_accuracy"] == judge.accuracy


def test_a_reader_is_of_its_training_files_and_trained_anew_where_it_cannot_be_read(files, tmp_path):
    mnist = digit_toys.write_mnist(tmp_path / "mnist", test=100)
    cache = tmp_path / "cache"
    first = trained(mnist, cache, 1)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000])
    again = trained(mnist, cache, 1)
    assert kept.read_bytes() == whole
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    trained(digit_toys.write_mnist(tmp_path / "other", train=300), cache, 1)
    trained(mnist, cache, 1, most=300)
    assert len(list(cache.iterdir())) == 3, "other images, another reader"
    (mnist / "train-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte\.gz: it cannot be read"):
        trained(mnist, cache, 1)
    (mnist / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="no train-images"):
        Judge(mnist, cache, 1, 0.0)


def test_files_of_samples_that_will_not_do(tmp_path):
    x = np.zeros((120, 28, 28, 1), np.uint8)
    np.savez(tmp_path / "good.npz", x=x, labels=np.zeros(120))
    np.savez(tmp_path / "other.npz", y=x)
    np.savez(tmp_path / "plain.npz", x=x)
    np.savez(tmp_path / "shape.npz", x=x[:, :20], labels=np.zeros(120))
    np.savez(tmp_path / "short.npz", x=x, labels=np.zeros(7))
    np.save(tmp_path / "array.npy", x)
    (tmp_path / "text.npz").write_text("no zip")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:5000])
    assert len(digits_quality.drawn_digits(tmp_path / "good.npz", True)[1]) == 120
    for name, why in (
        ("none.npz", "no such"), ("other.npz", "no `x`"), ("plain.npz", "no `labels`"), ("shape.npz", "not uint8"),
        ("short.npz", "labels are"), ("array.npy", "cannot be read"), ("text.npz", "cannot be read"),
        ("empty.npz", "cannot be read"), ("cut.npz", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=why):
            digits_quality.drawn_digits(tmp_path / name, True)


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
    judged = race.judged(PLAIN, 0.06)
    whole = judged.read_text()
    judged.write_text(whole[:-9])
    assert race.jobs() == [("judge", PLAIN, 0.06)], "a damaged one is"
    judged.write_text(whole)
    race.write()
    found = json.loads(race.args.out.read_text())
    assert [(row["contestant"], row["minutes"], row["sampling"]) for row in found["rows"]] == [
        *((OURS, minutes, way) for minutes in (0.05, 0.06) for way in ("its own", "ddim")),
        (PLAIN, 0.05, "ddim"),
        (PLAIN, 0.06, "ddim"),
        (PLAIN, 0.06, "ddpm"),
    ]
    for row in found["rows"]:
        assert row["n"] == 100 and row["frechet"] > 0 and row["images"] > 0
        assert row["seconds"] >= 60 * row["minutes"] and row["machine"]["torch"]
        assert row["first"]["n"] == 100 and row["first"]["frechet"] == pytest.approx(row["frechet"])
    early, late, _ = (row for row in found["rows"] if row["contestant"] == PLAIN)
    assert early["steps"] < late["steps"] and early["planned"] == late["planned"]
    assert race.args.out.with_suffix(".png").stat().st_size > 5000
    assert race.args.out.with_name("quality-sheets.png").stat().st_size > 5000


def test_other_settings_are_other_jobs(files):
    """Nothing that was made otherwise is taken for what is asked."""
    names = {}
    for change in ({}, {"minutes": [0.05, 0.07]}, {"tiny": False}, {"epochs": 7}, {"samples": 101}):
        race = quality.Race(arguments(files, **change))
        names[str(change)] = [f(n, 0.05) for n in (OURS, PLAIN) for f in (race.trained, race.judged)]
    ours, judged, peers, peers_judged = names.pop("{}")
    longest, real, *reader = names.values()
    assert longest[0] == ours and longest[2] != peers, "a peer's rate knows the longest budget"
    assert real[0] != ours and real[2] != peers
    for other in reader:
        assert other[0] == ours and other[2] == peers and other[1] != judged and other[3] != peers_judged


def test_budgets_that_print_alike_are_two_and_more_samples_than_digits_are_refused(files):
    near = quality.budgets("1,2.0000001,2,1")
    assert near == [1, 2, 2.0000001] and [float(quality.exactly(m)) for m in near] == near
    race = quality.Race(arguments(files, minutes=near))
    assert len({race.trained(PLAIN, m) for m in near}) == 3 and quality.exactly(8.0) == "8"
    with pytest.raises(UserError, match="201 samples, but only 200 real digits"):
        quality.Race(arguments(files, samples=201))


def test_the_verdict_needs_more_than_both_intervals():
    def row(name, minutes, distance, sampling="ddim", few=None):
        first = {"n": 5, "frechet": few or distance + 5, "low": (few or distance) + 4, "high": (few or distance) + 6}
        about = {"contestant": name, "minutes": minutes, "sampling": sampling, "first": first}
        return {**about, "frechet": distance, "frechet_low": distance - 1, "frechet_high": distance + 1}

    peers = [row("a", 8, 30.0), row("b", 8, 20.0), row("b", 1, 5.0)]
    ours = [row(OURS, 1, 22.5, "its own"), row(OURS, 2, 21.0, "its own"), row(OURS, 4, 17.5, "its own")]
    said = quality.verdict([*peers, *ours, row(OURS, 1, 10.0)])
    assert said.startswith("b by ddim is at 20.0 (19.0 to 21.0) after 8 min")
    assert said.endswith("ours: reached at 4 min; not told apart at 2 min; not reached at 1 min")
    said = quality.verdict([*peers, *ours, row("b", 8, 19.0, "ddpm", few=15.0)])
    assert said.startswith("b by ddpm is at 15.0 (19.0 to 21.0, 5 samples)"), "the better way, by as many samples"
    said = quality.verdict([*peers, *ours, row("b", 8, 15.0, "ddpm", few=40.0)])
    assert said.startswith("b by ddim"), "not by a distance of other samples"
    assert "needed" in quality.verdict(peers)


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
    """Our calls of its schedulers against its pipelines themselves, from the same noise."""
    contestant = contestants.tiny()["diffusers, small"]
    if why := contestant.peer.missing():
        pytest.skip(why)
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    file = tmp_path / "weights.pt"
    contestants.train_peer(contestant, contestants.floats(str(files[2])), [0.02], [file])
    kept = torch.load(file)
    assert kept["steps"] > 0 and kept["raw"].keys() == kept["ema"].keys()
    assert any(not torch.equal(kept["raw"][name], kept["ema"][name]) for name in kept["raw"])
    peer = contestant.make(1)
    peer.net.load_state_dict(kept["ema"])
    config = peer.scheduler.config
    for kind, scheduler in ((DDIMPipeline, DDIMScheduler), (DDPMPipeline, DDPMScheduler)):
        ours = contestants.sample_peer(contestant, kept["ema"], 0, 64, 4, ancestral=kind is DDPMPipeline)
        pipeline = kind(peer.net, scheduler.from_config(config))
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        theirs = pipeline(batch_size=64, generator=generator, num_inference_steps=4, output_type="np").images
        assert np.abs(ours / 255 - theirs).max() < 1.01 / 255

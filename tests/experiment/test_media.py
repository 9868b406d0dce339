"""Settings, recipes and objects of runs of images and of motion, with a U-Net and with a transformer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TINY
from tiny_motion import FRAMES, SKELETON, TINY_MOTION, clips, take, walks

from noisette.data import medium
from noisette.data.motion.stream import MotionStream
from noisette.data.stream import Stream
from noisette.errors import UserError
from noisette.experiment import build, recipes
from noisette.experiment.config import OF_BACKBONE, OF_MOTION, Config, merge, parse
from noisette.experiment.runs import Run, Shape

MOTION: dict[str, Any] = {"data": {"medium": "motion"}}
IMAGES: dict[str, Any] = {"data": {"medium": "images"}}


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (merge(MOTION, {"data.image_size": 32}), "data.image_size concerns images alone"),
        (merge(MOTION, {"data.flip": True}), "data.flip concerns images alone"),
        (merge(MOTION, {"train.layout": "channels_last"}), "train.layout concerns images alone"),
        (merge(MOTION, {"sample.clip": "static"}), "sample.clip concerns images alone"),
        (merge(MOTION, {"kind": "gan"}), "a GAN draws images alone"),
        (merge(IMAGES, {"motion.frames": 32}), "motion.frames concerns motion alone"),
        (merge(IMAGES, {"objective.bones": 1.0}), "objective.bones concerns motion alone"),
        ({"net": {"backbone": "transformer", "attention": [1]}}, "net.attention does not concern a transformer"),
        ({"net": {"backbone": "transformer", "norm": "none"}}, "net.norm does not concern a transformer"),
        ({"net": {"expand": 2}}, "net.expand does not concern a unet"),
        ({"kind": "gan", "net": {"backbone": "transformer"}}, "matched to a U-Net's alone"),
    ],
)
def test_what_concerns_another_medium_or_net_is_refused(tree: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        parse(tree, "file.toml")
    assert str(error.value).startswith("file.toml: ") and says in str(error.value) and "\n" not in str(error.value)


def test_clips_have_no_bounds_and_one_layout() -> None:
    config = parse(MOTION, "here")
    assert config.sample.clip == "none" and config.train.layout == "channels_first"
    assert parse(IMAGES, "here").sample.clip == "static" and parse(IMAGES, "here").train.layout == "auto"


@pytest.mark.parametrize("tree", [{}, IMAGES, MOTION, merge(MOTION, {"net.backbone": "transformer", "net.expand": 2})])
def test_a_file_says_what_concerns_the_run(tree: dict[str, Any]) -> None:
    config = parse(tree, "here")
    told = tomllib.loads(config.to_toml())
    motion = config.data.medium == "motion"
    assert ("motion" in told) == motion == ("velocity" in told["objective"]) != ("flip" in told["data"])
    others = OF_BACKBONE["unet" if config.net.backbone == "transformer" else "transformer"]
    assert not {*others} & {*told["net"]} and config.net.backbone == told["net"]["backbone"]
    assert parse(told, "there") == config and config.changed({"optim.lr": 0.5}).optim.lr == 0.5


def test_a_run_from_before_there_was_motion_opens(trained: Run, tmp_path: Path) -> None:
    """Its file has none of the newer keys; what it was is told by its data."""
    told = tomllib.loads(trained.config.to_toml())
    assert told["data"].pop("medium") == "images"
    for key in ("backbone", "resample", "padding_mode", "skip"):
        told["net"].pop(key)
    config = parse(told, "config.toml")
    assert config == trained.config.changed({"data.medium": "auto"})
    old = Run(tmp_path, config)
    old.save_config()
    assert Run.open(tmp_path).config == config
    assert np.array_equal(build.loaded(config).x, build.data(trained).x)


# --- recipes ------------------------------------------------------------------------------------------------------


def test_fewer_levels_take_the_attention_of_those_that_are_left() -> None:
    told = recipes.settings("motion", {"net": {"multipliers": [1]}})["net"]
    assert told["attention"] == [] and told["channels"] == recipes.known()["motion"]["net"]["channels"]
    own = recipes.settings("motion", {"net": {"multipliers": [1], "attention": [1]}})["net"]
    assert own["attention"] == [1]  # a mistake of the user's own is told, not mended


def test_the_source_says_which_recipe_and_that_how_to_load(tmp_path: Path, squares: Path) -> None:
    source = str(walks(tmp_path / "walks.npz", 6))
    told = recipes.about_data(source, None, {})
    whole = build.resolve(clips(), None, {"data.source": source})
    assert told.data == whole.data and told.motion == whole.motion  # else a split would not be the one that was loaded
    assert recipes.known()[whole.recipe]["fits"]["medium"] == told.data.medium == "motion"
    assert recipes.about_data(str(squares), None, {}).data.medium == "images"
    with pytest.raises(UserError, match=r"motion\.frames concerns motion alone"):
        recipes.about_data(str(squares), None, {"motion.frames": 32})
    with pytest.raises(UserError, match="draws images alone"):
        recipes.about_data(source, None, {"kind": "gan"})


@pytest.mark.parametrize("shape", [clips(), Shape.images(1, 8, 8)])
def test_another_net_takes_what_concerns_it_of_a_recipe(shape: Shape) -> None:
    config = build.resolve(shape, None, {"net.backbone": "transformer"})
    assert config.net.backbone == "transformer" and config.recipe in recipes.known()
    build.check(config, shape)
    named = build.resolve(shape, recipes.fitting(shape), {"net.backbone": "transformer"})
    usual = Config().net.model_dump()
    assert all(getattr(named.net, key) == usual[key] or key not in OF_BACKBONE["unet"] for key in usual)


# --- live objects -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["unet", "transformer"])
@pytest.mark.parametrize(("shape", "tiny"), [(clips(), TINY_MOTION), (Shape.images(1, 8, 8, ("a", "b")), TINY)])
def test_either_net_sees_either_medium(backbone: str, shape: Shape, tiny: dict[str, Any]) -> None:
    mine = {key: value for key, value in tiny["net"].items() if key not in OF_BACKBONE["unet"]}
    net = tiny["net"] if backbone == "unet" else {**mine, "blocks": 1, "channels": 16, "head_dim": 8}
    config = build.resolve(shape, None, {**tiny, "net": {**net, "backbone": backbone}})
    model = build.denoiser(config, shape)
    x, labels = torch.randn(3, *shape.x), torch.tensor([0, 1, 2])
    said = model(x, 0.5, labels)
    assert said.x0.shape == x.shape and bool(said.x0.isfinite().all())
    assert type(model.backbone).__name__.lower() == backbone


def test_the_stream_is_that_of_the_medium(tmp_path: Path, squares: Path) -> None:
    for source, kind, given in ((walks(tmp_path / "w.npz", 6), MotionStream, TINY_MOTION), (squares, Stream, TINY)):
        config = recipes.about_data(str(source), None, merge(given, {"train.batch": 5}))
        data = build.loaded(config)
        batch = build.stream(config, data, torch.device("cpu")).batch(0)
        assert type(build.stream(config, data, torch.device("cpu"))) is kind
        assert tuple(batch.x.shape) == (5, *medium.of(medium.facts(data)).x)


@pytest.mark.parametrize("root", [0, None])
def test_the_terms_of_motion_see_positions(root: int | None) -> None:
    """Where the net sees joints from the root as well: a stretched bone costs what its stretch is, a shifted one more
    nothing."""
    shape = clips(root=root)
    assert isinstance(shape.medium, medium.Motion)
    config = parse(merge(MOTION, {"objective.velocity": 1.0, "objective.bones": 2.0, "objective.contact": 0.5}), "here")
    terms = {term.name: term for term in build.objective(config, shape).terms}
    assert [term.weight for term in terms.values()] == [1.0, 2.0, 0.5]
    x = np.stack([take(FRAMES, k, False) for k in range(2)])
    there = shape.medium.encode(x)
    moved = shape.medium.encode(x + np.float32([3, 0, -2]))
    stretched = x.copy()
    stretched[:, :, 1, 1] += 0.1
    for name in ("velocity", "bones"):
        assert float(terms[name].measure(there, there).abs().max()) < 1e-9, name
        assert float(terms[name].measure(moved, there).abs().max()) < 1e-6, name
    contact = terms["contact"]
    assert torch.allclose(contact.measure(moved, there), contact.measure(there, there), atol=1e-5)
    long = terms["bones"].measure(shape.medium.encode(stretched), there)
    spread = np.square(shape.medium.normaliser["scale"]).mean()
    assert np.allclose(long.numpy(), 0.1**2 / len(SKELETON.edges) / spread, rtol=1e-3)


def test_images_have_no_such_terms() -> None:
    assert not build.objective(parse(IMAGES, "here"), Shape.images(1, 8, 8)).terms
    assert {*OF_MOTION["objective"]} == {"velocity", "bones", "contact"}


def test_the_shape_of_a_run() -> None:
    shape = clips()
    assert (shape.x, shape.channels, shape.moves, shape.classes) == ((18, FRAMES), 18, True, ("slow", "quick"))
    pictures = Shape.images(3, 4, 5)
    assert (pictures.x, pictures.channels, pictures.moves) == ((3, 4, 5), 3, False)
    assert pictures == Shape.of({"shape": [4, 5, 3], "classes": []})

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
from tiny_motion import clips

from noisette.errors import UserError
from noisette.experiment import build, losses, recipes
from noisette.experiment.config import Config, merge, overrides, parse, read_toml, value_of
from noisette.experiment.runs import Shape


def test_toml_round_trip_keeps_every_value() -> None:
    config = parse({"net": {"multipliers": [1, 2, 3]}, "data": {"classes": ["a", "b"]}, "train": {"steps": 5}}, "here")
    assert parse(tomllib.loads(config.to_toml()), "there") == config


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"optim": {"lrr": 1}}, 'unknown key "optim.lrr"; did you mean "optim.lr"?'),
        ({"optm": {"lr": 1}}, 'unknown section "optm"; did you mean "optim"?'),
        ({"net": {"lr": 1}}, 'did you mean "optim.lr"?'),
        ({"optim": {"lr": -1}}, "optim.lr: input should be greater than 0, got -1"),
        ({"optim": 3}, "[optim] must be a section of keys"),
        ({"train": {"steps": 1, "minutes": 2}}, "give one budget, not minutes and steps"),
        ({"version": 99}, "version 99"),
        ({"version": -1}, "restore the file"),
        ({"version": "x"}, "restore the file"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(tree: dict, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse(tree, "file.toml")
    assert says in str(error.value) and str(error.value).startswith("file.toml") and "\n" not in str(error.value)


def test_merge_replaces_a_budget_of_another_kind() -> None:
    merged = merge({"train": {"minutes": 2, "batch": 4}}, {"train.steps": 7})
    assert merged == {"train": {"steps": 7, "batch": 4}}
    assert merge({"train": {"minutes": 2}}, {"train.batch": 8}) == {"train": {"minutes": 2, "batch": 8}}


def test_two_budgets_at_once_are_not_merged_away() -> None:
    with pytest.raises(UserError, match="one budget"):
        parse(merge({"train": {"images": 9}}, {"train.steps": 1, "train.minutes": 1.0}), "settings")


def test_command_line_values() -> None:
    assert overrides(["optim.lr=1e-3", "net.multipliers=1,2", "net.attention=1", "data.classes=3,7"]) == {
        "optim": {"lr": 1e-3},
        "net": {"multipliers": [1, 2], "attention": [1]},
        "data": {"classes": ["3", "7"]},
    }
    assert value_of("true") is True and value_of("[1, 2]") == [1, 2] and value_of("silu") == "silu"
    for wrong in ("optim.lr", "lr=3", "optim.=3", "optim.beta=3", "optm.lr=3"):
        with pytest.raises(UserError):
            overrides([wrong])


@pytest.mark.parametrize("name", sorted(recipes.known()))
def test_every_recipe_builds_what_it_says(name: str) -> None:
    fits = recipes.known()[name].get("fits")
    if fits is None:  # taken by name only
        shape = Shape.images(3, 32, 32, ("a", "b"))
        assert recipes.fitting(shape) != name
        build.check(build.resolve(shape, name, {}), shape)
        return
    if "medium" in fits:
        shape = clips()
        assert recipes.fitting(shape, recipes.known()[name]["net"].get("backbone", "unet")) == name
        config = build.resolve(shape, name, {})
        assert config.recipe == name and config.data.medium == fits["medium"]
        build.check(config, shape)
        return
    # A recipe is chosen by the shape of data that are loaded already: it cannot say how to load them.
    assert set(recipes.known()[name].get("data", {})) <= {"flip"}
    for channels in fits["channels"]:
        shape = Shape.images(channels, fits["max_side"], fits["max_side"], ("a", "b"))
        assert recipes.fitting(shape) == name
        config = build.resolve(shape, None, {})
        assert config.recipe == name and config.train.minutes
        build.check(config, shape)


def test_no_recipe_for_a_giant() -> None:
    with pytest.raises(UserError, match="--image-size"):
        recipes.fitting(Shape.images(3, 4096, 4096))


def test_a_recipe_file_and_a_mistake_in_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[optim]\nlr = 0.5\n")
    assert build.resolve(Shape.images(1, 8, 8), str(file), {"optim.ema": 0.9}).optim == Config().optim.model_copy(
        update={"lr": 0.5, "ema": 0.9}
    )
    file.write_text("[optim]\nlearning_rate = 0.5\n")
    with pytest.raises(UserError, match=r"mine.toml.*learning_rate"):
        build.resolve(Shape.images(1, 8, 8), str(file), {})
    file.write_text("[optim\n")
    with pytest.raises(UserError, match="TOML"):
        read_toml(file)


def test_a_recipe_may_differ_without_labels(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[sample]\nsteps = 7\neta = 0.5\n[without_labels.sample]\nsteps = 9\n")
    labelled, bare = Shape.images(1, 8, 8, ("a", "b")), Shape.images(1, 8, 8)
    for shape, settings, steps in (
        (labelled, {}, 7),
        (bare, {}, 9),
        (labelled, {"net.conditional": False, "sample.grid": "karras"}, 9),
        (bare, {"sample.steps": 3}, 3),
    ):
        assert build.resolve(shape, str(file), settings).sample.steps == steps
    assert build.resolve(bare, str(file), {}).sample.eta == 0.5
    for mistake, said in (("[without_labels.sample]\nsteeps = 9\n", "steeps"), ("without_labels = 3\n", "sections")):
        file.write_text(mistake)
        with pytest.raises(UserError, match=said):
            build.resolve(labelled, str(file), {})


def test_your_own_distance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_losses.py").write_text("def quartic(x, y):\n    return (x - y) ** 4\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert float(losses.distance("my_losses:quartic")(torch.tensor(3.0), torch.tensor(1.0))) == 16
    for wrong in ("my_losses:cubic", "no_such_module:f", "l3"):
        with pytest.raises(UserError):
            losses.distance(wrong)
    (tmp_path / "a_script.py").write_text("import sys\nsys.exit()\n")
    with pytest.raises(UserError, match="SystemExit"):
        losses.distance("a_script:main")


BAD = {
    "detached": ("(x - y).square().detach()", "no net can learn from"),
    "constant": ("torch.ones_like(x)", "no net can learn from"),
    "bools": ("(x - y).abs() > 1", "real numbers, not bool"),
    "ints": ("(x - y).round().long()", "real numbers, not int64"),
    "complex": ("torch.complex(x - y, x)", "real numbers, not complex64"),
    "array": ("(x.detach().numpy() - y.numpy()) ** 2", "gave a ndarray"),
    "mean": ("((x - y) ** 2).mean()", "one loss for every element"),
    "shrinks": ("(x - y) ** 2 if x.shape[-1] == 3 else (x - y).mean()", r"one loss .* \(4, 3, 8, 8\)"),
    "only_two": ("(x[:2] - y[:2] + x[2:].sum()) ** 2 if 2 % len(x) else 1 / 0", "fails .* ZeroDivisionError"),
    "script": ("exit()", "fails .* SystemExit"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_distance_that_no_net_can_learn_from(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, says = BAD[name]
    (tmp_path / f"bad_{name}.py").write_text(f"import torch\n\n\ndef f(x, y):\n    return {code}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    where = f"bad_{name}:f"
    with pytest.raises(losses.DistanceError, match=says) as error:
        losses.try_distance(where, losses.distance(where), (4, 3, 8, 8))
    assert where in str(error.value) and "\n" not in str(error.value)


def test_a_net_too_large_for_any_memory() -> None:
    config = parse({"net": {"channels": 10**9}}, "settings")
    with pytest.raises(UserError, match="too large to be built"):
        build.learning(config, Shape.images(1, 8, 8))

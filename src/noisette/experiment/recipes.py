"""Recipes: settings that suit a kind of data, built in or from a file, and what a run takes of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from noisette.data.medium import Motion
from noisette.data.motion import is_motion
from noisette.errors import UserError, nearest
from noisette.experiment.config import APART, CONCERNS, SECTIONS, Config, merge, parse, read_toml
from noisette.experiment.runs import Shape


def known() -> dict[str, dict[str, Any]]:
    """The built-in recipes by name, as settings with two tables more: [fits], and [without_labels].

    [without_labels.SECTION] holds settings that replace the recipe's where the net is not told any labels.
    """
    folder = resources.files("noisette.experiment") / "recipes"
    found = (Path(str(file)) for file in folder.iterdir() if file.name.endswith(".toml"))
    return {path.stem: read_toml(path) for path in sorted(found)}


def fitting(shape: Shape, backbone: str = "unet") -> str:
    """The recipe that fits a shape and a backbone: of images the one with the smallest [fits] max_side that holds them,
    of the right colours; of motion the one whose [fits] name that medium."""
    trees = known().items()
    fitting = [(t["fits"], n) for n, t in trees if "fits" in t and t.get("net", {}).get("backbone", "unet") == backbone]
    if isinstance(shape.medium, Motion):
        return next(name for fits, name in fitting if fits.get("medium") == shape.medium.name)
    height, width, channels = shape.medium.stored
    side = max(height, width)
    found = [
        (fits["max_side"], name)
        for fits, name in fitting
        if side <= fits.get("max_side", 0) and channels in fits["channels"]
    ]
    if not found:
        raise UserError(f"images of {width}x{height} are larger than any recipe: give --image-size 64, say")
    return min(found)[1]


def _tree(recipe: str, labels: bool = True) -> dict[str, Any]:
    """A recipe's settings, with or without labels, by name or by file. Raises UserError."""
    named = known()
    if recipe.endswith(".toml") or "/" in recipe:
        tree = read_toml(Path(recipe))
    elif recipe not in named:
        raise UserError(f'unknown recipe "{recipe}"{nearest(recipe, named)} (or a path to a .toml file)')
    else:
        tree = named[recipe]
    told = {key: value for key, value in tree.items() if key not in ("fits", "without_labels")}
    changes = tree.get("without_labels", {})
    if not isinstance(changes, Mapping):
        raise UserError(f"{recipe}: without_labels must hold sections, as [without_labels.sample]")
    untold = merge(told, changes)
    for each in (told, untold):
        parse(each, recipe)  # so that a mistake in the file is told with the file's name
    return told if labels else untold


def settings(recipe: str | None, given: Mapping[str, Any], labels: bool = True) -> dict[str, Any]:
    """A recipe with the given settings on top; of the recipe, what concerns the kind of model that is asked for."""
    tree = {**_tree(recipe, labels), "recipe": recipe} if recipe else {}
    own = tree.get("kind", "diffusion")
    kind = str(given.get("kind", own))
    told = CONCERNS.get(kind, SECTIONS)
    tree = {key: value for key, value in tree.items() if key in told or key not in SECTIONS}
    if kind != own and "train" in tree:
        tree["train"] = {key: value for key, value in tree["train"].items() if key not in APART}
    return merge(tree, given)


def about_data(source: str, recipe: str | None, given: Mapping[str, Any]) -> Config:
    """Settings of which those of the data hold: they must be known before the data's shape can choose a recipe.

    Raises UserError, also where they do not concern what the source holds.
    """
    tree = merge(settings(recipe, given), {"data.source": source})
    config = parse(tree, "settings")
    if config.data.medium != "auto":
        return config
    return parse(merge(tree, {"data.medium": "motion" if is_motion(source) else "images"}), "settings")

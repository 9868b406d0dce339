"""Recipes: settings that suit a kind of data, built in or from a file, and what a run takes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from noisette.data.medium import Motion
from noisette.data.motion import is_motion
from noisette.errors import UserError, nearest
from noisette.experiment.config import (
    APART,
    CONCERNS,
    OF_BACKBONE,
    SECTIONS,
    Config,
    NetConfig,
    merge,
    parse,
    read_toml,
)
from noisette.experiment.runs import Shape


def known() -> dict[str, dict[str, Any]]:
    """The built-in recipes by name, as settings with two tables more: [fits], and [without_labels].

    [without_labels.SECTION] holds settings that replace the recipe's where the net is not told any labels.
    """
    folder = resources.files("noisette.experiment") / "recipes"
    found = (Path(str(file)) for file in folder.iterdir() if file.name.endswith(".toml"))
    return {path.stem: read_toml(path) for path in sorted(found)}


def fitting(shape: Shape, backbone: str = "unet") -> str:
    """The recipe that fits a shape: of images the one with the smallest [fits] max_side that holds them, of the right
    colours; of motion the one whose [fits] name that medium. One for this backbone where there is any. Raises
    UserError for images that are larger than any recipe."""
    sized = [(_size(tree, shape), name, tree) for name, tree in known().items()]
    found = [(size, name, tree) for size, name, tree in sized if size is not None]
    if not found:
        height, width, _ = shape.medium.stored
        raise UserError(f"images of {width}x{height} are larger than any recipe: give --image-size 64, say")
    return _best(found, backbone)


def _size(tree: Mapping[str, Any], shape: Shape) -> int | None:
    """The largest side that a recipe is for, 0 for motion; None where it does not hold this shape."""
    fits = tree.get("fits")
    if fits is None or shape.moves != _of_motion(tree):
        return None
    if shape.moves:
        return 0
    height, width, channels = shape.medium.stored
    return int(fits["max_side"]) if max(height, width) <= fits["max_side"] and channels in fits["channels"] else None


def _of_motion(tree: Mapping[str, Any]) -> bool:
    return bool(tree.get("fits", {}).get("medium") == Motion.name)


def _best(found: Sequence[tuple[int, str, Mapping[str, Any]]], backbone: str) -> str:
    """Of (size, name, settings) of recipes the smallest one of this backbone; of another where there is none."""
    return min(found, key=lambda each: (backbone_of(each[2]) != backbone, *each[:2]))[1]


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
    """A recipe with the given settings on top; of the recipe, what concerns the model and net that are asked for."""
    tree = {**_tree(recipe, labels), "recipe": recipe} if recipe else {}
    own = tree.get("kind", "diffusion")
    kind = str(given.get("kind", own))
    told = CONCERNS.get(kind, SECTIONS)
    tree = {key: value for key, value in tree.items() if key in told or key not in SECTIONS}
    if kind != own and "train" in tree:
        tree["train"] = {key: value for key, value in tree["train"].items() if key not in APART}
    if (backbone := backbone_of(merge(tree, given))) != backbone_of(tree) and "net" in tree:
        others = {key for name, keys in OF_BACKBONE.items() if name != backbone for key in keys}
        tree["net"] = {key: value for key, value in tree["net"].items() if key not in others}
    levels = given.get("net", {}).get("multipliers") if isinstance(given.get("net"), Mapping) else None
    if isinstance(levels, Sequence) and "attention" in tree.get("net", {}):
        kept = [level for level in tree["net"]["attention"] if level < len(levels)]  # of the levels that there are
        tree["net"] = {**tree["net"], "attention": kept}
    return merge(tree, given)


def backbone_of(tree: Mapping[str, Any]) -> str:
    """The backbone that settings ask for, whether or not they are valid."""
    net = tree.get("net")
    return str(net.get("backbone", USUAL)) if isinstance(net, Mapping) else USUAL


USUAL = NetConfig().backbone


def about_data(source: str, recipe: str | None, given: Mapping[str, Any]) -> Config:
    """Settings of which those of the data hold: they must be known before the data's shape can choose a recipe.

    The recipe of motion is known by the medium alone, so what it says of the data holds already.

    Raises UserError, also where they do not concern what the source holds.
    """
    config = parse(merge(settings(recipe, given), {"data.source": source}), "settings")
    medium = config.data.medium
    if medium == "auto":
        medium = Motion.name if is_motion(source) else "images"
    if recipe is None and medium == Motion.name:
        recipe = _best([(0, name, tree) for name, tree in known().items() if _of_motion(tree)], config.net.backbone)
    return parse(merge(settings(recipe, given), {"data.source": source, "data.medium": medium}), "settings")

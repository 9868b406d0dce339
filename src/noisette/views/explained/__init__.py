"""What a run can be explained by: each explanation is one function of a Bench, in the order of EXPLANATIONS.

A maker raises NotConcerned where it has nothing to say about the run, and UserError where something that it needs is
missing. The first sentence of its docstring is its title, the rest what it answers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from noisette.errors import UserError, nearest
from noisette.experiment.config import Config
from noisette.views import commands, words
from noisette.views.explained import between, compared, exhibit, levels, ways
from noisette.views.explained.exhibit import Asked, Bench, Explanation, NotConcerned, save
from noisette.views.material import Material
from noisette.views.parts import Section

Maker = Callable[[Bench], Explanation]


def _by_steps(maker: Maker) -> Maker:
    """A maker that looks at noise levels or at the steps of a sampler, and has nothing to say about a GAN."""

    @functools.wraps(maker)
    def made(bench: Bench) -> Explanation:
        if bench.run.config.sample.at_once:
            raise NotConcerned(f"{bench.run.path}: a GAN draws in one call: there are no noise levels and no steps")
        return maker(bench)

    return made


def _of_its_medium(maker: Maker) -> Maker:
    """A maker that speaks of clips where the run learned motion."""

    @functools.wraps(maker)
    def made(bench: Bench) -> Explanation:
        return maker(bench).reworded(lambda text: words.spoken(text, bench.run.config))

    return made


EXPLANATIONS: dict[str, Maker] = {
    key: _of_its_medium(maker)
    for key, maker in {
        "loss": _by_steps(levels.loss),
        "schedule": _by_steps(levels.schedule),
        "forward": _by_steps(ways.forward),
        "reverse": _by_steps(ways.reverse),
        "checkpoints": compared.checkpoints,
        "interpolation": between.interpolation,
        "samplers": _by_steps(compared.samplers),
        "weights": compared.weights,
        "guidance": _by_steps(compared.guidance),
        "neighbours": between.neighbours,
    }.items()
}


def chosen(names: Sequence[str]) -> list[str]:
    """These explanations, each once, or all where none is named. Raises UserError for an unknown name."""
    for name in names:
        if name not in EXPLANATIONS:
            raise UserError(f'no explanation "{name}"{nearest(name, EXPLANATIONS)}')
    return list(dict.fromkeys(names)) or list(EXPLANATIONS)


def title(key: str, config: Config | None = None) -> str:
    """What an explanation is called; config: of the run, which may be one of motion."""
    said = (EXPLANATIONS[key].__doc__ or key).split(".")[0]
    return said if config is None else words.spoken(said, config)


def section(key: str) -> Callable[[Material], Section | None]:
    """The maker of a report's section from an explanation; None for a run that it does not concern."""

    def made(material: Material) -> Section | None:
        bench = Bench(material)
        try:
            found = EXPLANATIONS[key](bench)
        except NotConcerned:
            return None
        return exhibit.section(found, key, title(key, bench.run.config), commands.explain(material.run.path, key))

    made.__name__, made.__doc__ = key, EXPLANATIONS[key].__doc__
    return made


__all__ = ["EXPLANATIONS", "Asked", "Bench", "Explanation", "NotConcerned", "chosen", "save", "section", "title"]

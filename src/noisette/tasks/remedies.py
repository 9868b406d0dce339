"""From what is wrong with samples to likely causes and what to try, by the settings of the run that made them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from noisette.data.motion.inspect import FEW_TAKES
from noisette.diffusion.samplers import adds_noise
from noisette.experiment import build
from noisette.experiment.config import GanConfig, OptimConfig, SampleConfig
from noisette.experiment.runs import Run

Advice = tuple[str, str]
"""A likely cause, and a command to try."""

FEW_IMAGES, FEW_STEPS = 30_000, 8
FEW_NOISY_STEPS = {"ddpm": 25, "ddim": 25, "dpmpp_2m_sde": 10}
"""Steps below which a sampler that adds noise leaves some of it; the last one's rule is of second order."""

STRONG_GUIDANCE = 3.0
SMALL_DATA = 1000
USUAL_RATES = {"--optim.lr": OptimConfig().lr, "--optim.muon_lr": OptimConfig().muon_lr}


@dataclass(frozen=True)
class Case:
    """What is known of ill samples: the run, how they were drawn, the share of signal at t = 1, the number of training
    samples, what one is called, and of clips the number of takes that they are cut from."""

    run: Run
    settings: SampleConfig
    weights: str
    step: int
    terminal_signal: float
    train: int
    what: str = "picture"
    takes: int | None = None

    @property
    def images(self) -> int:
        """Samples that training had shown."""
        return self.step * self.run.config.train.batch

    @property
    def few(self) -> bool:
        """Whether the training samples are so few that they can be learned by heart."""
        return self.train <= SMALL_DATA if self.takes is None else self.takes < FEW_TAKES

    def sample(self, *options: object) -> str:
        return _line("sample", self.run.path, *options)

    def resume(self) -> str:
        return _line("resume", self.run.path, "--minutes", 5)

    def again(self, *options: object) -> str:
        """A training with the same settings but for these."""
        return _line("train", self.run.config.data.source, "--recipe", self.run.config_path, *options)


def _line(*words: object) -> str:
    return shlex.join(["noisette", *(f"{w:g}" if isinstance(w, float) else str(w) for w in words)])


def remedies(key: str, case: Case) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(likely causes, commands to try) for a symptom, of one length and in one order; never empty."""
    rules = RULES_OF_A_GAN if case.run.config.kind == "gan" else RULES if case.takes is None else RULES_OF_CLIPS
    found = [advice for keys, rule in rules if key in keys and (advice := rule(case))]
    causes, tries = zip(*(found or _unknown(case)), strict=True)
    return causes, tries


# --- rules: each looks at one thing, and knows what to do about it ------------------------------------------------


def _rates(case: Case) -> Advice | None:
    optim, failed = case.run.config.optim, case.run.meta.get("state") == "failed"
    rates = {"--optim.lr": optim.lr} | ({"--optim.muon_lr": optim.muon_lr} if optim.name == "muon" else {})
    said = ", ".join(f"{name.removeprefix('--')} {rate:g}" for name, rate in rates.items())
    usual = [word for name in rates for word in (name, USUAL_RATES[name])]
    if any(rate > 6 * USUAL_RATES[name] for name, rate in rates.items()):
        end = ", until the loss was no longer a number" if failed else ""
        return f"the learning rate is high ({said}), so that the weights were thrown about{end}", case.again(*usual)
    if failed:
        lower = [word for name, rate in rates.items() for word in (name, rate / 10)]
        return f"training ended when its loss was no longer a number, with {said}", case.again(*lower)
    if all(rate < USUAL_RATES[name] / 200 for name, rate in rates.items()):
        return f"the learning rate is so low ({said}) that the net has hardly moved", case.again(*usual)
    return None


def _short(case: Case) -> Advice | None:
    if case.images >= FEW_IMAGES or _rates(case):
        return None
    seen = f"the net has seen {case.images:,} {case.what}s, a start takes {FEW_IMAGES:,}"
    return f"training was short: {seen}", case.resume()


def _terminal(case: Case) -> Advice | None:
    schedule = case.run.config.schedule
    if case.terminal_signal <= 0.01:
        return None
    table = f"{schedule.name}, T={schedule.T}" + ("" if schedule.scaled else ", betas as they are")
    return (
        f"at its last step the schedule ({table}) still holds {case.terminal_signal:.0%} of the signal, but sampling "
        "starts from pure noise, which the net has never seen there",
        case.again("--schedule.name", "cosine"),
    )


def _few_steps(case: Case) -> Advice | None:
    if case.settings.steps > FEW_STEPS:
        return None
    many = f"{case.settings.steps} sampler step{'s are' if case.settings.steps > 1 else ' is'} few"
    return f"{many}: the {case.what} is a mean of what it could have become", case.sample("--steps", 50)


def _fresh_noise(case: Case) -> Advice | None:
    settings, T = case.settings, case.run.config.schedule.T
    if not adds_noise(settings.sampler, settings.eta):
        return None
    large = settings.sampler == "ddpm" and settings.variance == "large"
    if settings.steps >= (T // 4 if large else FEW_NOISY_STEPS[settings.sampler]):
        return None
    said = {"ddim": f"ddim, eta {settings.eta:g}", "ddpm": f"ddpm, variance {settings.variance}"}
    kind = said.get(settings.sampler, settings.sampler)
    return (
        f"the sampler ({kind}) adds fresh noise at every step, more than {settings.steps} steps can take away",
        case.sample("--sampler", "ddim", "--eta", 0, "--steps", 50),
    )


def _guidance(case: Case) -> Advice | None:
    if not build.conditional(case.run.config, case.run.shape) or case.settings.guidance <= STRONG_GUIDANCE:
        return None
    return (
        f"guidance {case.settings.guidance:g} pushes {case.what}s beyond what was learned",
        case.sample("--guidance", 1.5),
    )


def _unclipped(case: Case) -> Advice | None:
    if case.settings.clip != "none":
        return None
    return "nothing keeps the estimates of x0 in the range of the data (clip none)", case.sample("--clip", "static")


def _eps(case: Case) -> Advice | None:
    if case.run.config.objective.predicts != "eps":
        return None
    return (
        "a net that predicts eps has its x0 divided by alpha, which is next to nothing at the noisiest steps",
        case.again("--objective.predicts", "v", "--objective.space", "v"),
    )


def _commonest(case: Case) -> Advice | None:
    objective = case.run.config.objective
    if (objective.space or objective.predicts) != "x0" or objective.distance not in ("l1", "charbonnier"):
        return None
    return (
        f"{objective.distance} on x0 is smallest at the commonest value of each pixel, which is that of the background",
        case.again("--objective.predicts", "v", "--objective.space", "v", "--objective.distance", "l2"),
    )


def _raw(case: Case) -> Advice | None:
    if case.weights != "raw":
        return None
    return "the raw weights jitter from step to step; the averaged ones do not", case.sample("--weights", "ema")


def _few_images(case: Case) -> Advice | None:
    if not case.few:
        return None
    cut = "" if case.takes is None else f" of {case.takes:,} takes"
    shown = f"{case.train:,} {case.what}s{cut}, each shown about {case.images / max(case.train, 1):,.0f} times"
    more = f"so few can be learned by heart. Add {'takes' if cut else 'pictures'}"
    return f"it learned from {shown}: {more}", case.again("--net.dropout", 0.1)


def _often(case: Case) -> Advice | None:
    times = case.images / max(case.train, 1)
    first = case.run.checkpoints()[0].step
    if times < 100 or first >= case.step:
        return None
    return f"each {case.what} was shown about {times:,.0f} times; earlier, less was known by heart", case.sample(
        "--at", first
    )


def _mirrored(case: Case) -> Advice | None:
    if case.run.config.data.flip or case.train > SMALL_DATA or case.run.shape.channels == 1:
        return None
    return "pictures were never mirrored, which would double them", case.again("--data.flip", "true")


def _both_ways(case: Case) -> Advice | None:
    skeleton = getattr(case.run.shape.medium, "skeleton", None)
    if case.run.config.motion.mirror or not case.few or skeleton is None or not skeleton.pairs:
        return None
    return "clips were never mirrored, which would double them", case.again("--motion.mirror", "true")


def _not_x0(case: Case) -> Advice | None:
    objective = case.run.config.objective
    if objective.predicts == "x0":
        return None
    return (
        f"a net that predicts {objective.predicts} leaves its errors in every frame; one that predicts x0 smooths them",
        case.again("--objective.predicts", "x0", "--objective.space", "x0"),
    )


def _no_bones(case: Case) -> Advice | None:
    if case.run.config.objective.bones:
        return None
    return (
        "nothing asks the net for bones of the right length (objective.bones 0)",
        case.again("--objective.bones", 1.0),
    )


def _no_velocity(case: Case) -> Advice | None:
    if case.run.config.objective.velocity:
        return None
    return "nothing asks the net for the right speed (objective.velocity 0)", case.again("--objective.velocity", 1.0)


def _in_the_world(case: Case) -> Advice | None:
    if case.run.config.motion.centre == "root":
        return None
    return (
        "where a body goes is learned beside how it moves; where only poses matter, leave it out",
        case.again("--motion.centre", "root"),
    )


def _rate_of_a_gan(case: Case) -> Advice | None:
    gan, failed = case.run.config.gan, case.run.meta.get("state") == "failed"
    usual = build.gan_rate(gan.channels or 1)
    rate = gan.lr or usual
    if rate <= 3 * usual and not failed:
        return None
    end = ", until a loss was no longer a number" if failed else ""
    return (
        f"the learning rate (gan.lr {rate:g}) was more than the two nets could follow{end}",
        case.again("--gan.lr", min(rate / 4, usual)),
    )


def _penalty(case: Case) -> Advice | None:
    weight = case.run.config.gan.r1
    return (
        f"the critic may be too sure of itself for the generator to learn from it (gan.r1 {weight:g})",
        case.again("--gan.r1", 10 * weight or GanConfig().r1),
    )


def _unknown(case: Case) -> list[Advice]:
    where, what = "at which noise levels the loss is large", "loss"
    if case.run.config.kind == "gan":
        where, what = "how its pictures changed while it trained", "checkpoints"
    found = [(f"no setting stands out: look {where}", _line("explain", case.run.path, what))]
    earlier = [checkpoint.step for checkpoint in case.run.checkpoints() if checkpoint.step < case.step]
    if earlier:
        found.append(
            ("the weights of this checkpoint may be off: look at an earlier one", case.sample("--at", earlier[-1]))
        )
    return found


_MADE = ("exploding", "black", "constant", "saturated", "noisy", "collapsed")  # all but copied

RULES: tuple[tuple[tuple[str, ...], Callable[[Case], Advice | None]], ...] = (
    (("exploding", "saturated"), _unclipped),
    (("exploding", "saturated", "noisy", "collapsed"), _guidance),
    (("collapsed", "constant", "noisy"), _few_steps),
    (("noisy",), _fresh_noise),
    (("black", "constant", "collapsed"), _commonest),
    (_MADE, _rates),
    (_MADE, _terminal),
    (("copied", "collapsed"), _few_images),
    (("copied",), _often),
    (("copied",), _mirrored),
    (("exploding", "saturated", "noisy"), _eps),
    (_MADE, _short),
    (("noisy",), _raw),
)

_CLIPS = ("exploding", "broken", "jittery", "frozen", "drifting", "collapsed")  # all but copied

RULES_OF_CLIPS: tuple[tuple[tuple[str, ...], Callable[[Case], Advice | None]], ...] = (
    (("exploding", "broken", "drifting", "collapsed"), _guidance),
    (("broken", "frozen", "collapsed"), _few_steps),
    (("broken", "jittery"), _fresh_noise),
    (_CLIPS, _rates),
    (_CLIPS, _terminal),
    (("copied", "collapsed"), _few_images),
    (("copied",), _often),
    (("copied",), _both_ways),
    (("exploding",), _eps),
    (_CLIPS, _short),
    (("broken", "jittery"), _raw),
    (("broken", "jittery"), _not_x0),
    (("broken",), _no_bones),
    (("jittery", "frozen"), _no_velocity),
    (("drifting",), _in_the_world),
)

RULES_OF_A_GAN: tuple[tuple[tuple[str, ...], Callable[[Case], Advice | None]], ...] = (
    (_MADE, _rate_of_a_gan),
    (_MADE, _short),
    ((*_MADE, "copied"), _penalty),
    (("copied",), _often),
    (("copied",), _mirrored),
    (("noisy",), _raw),
)

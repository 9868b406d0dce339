"""From settings to live objects: the only place where data, nets and the diffusion core meet."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from noisette.data import motion
from noisette.data.medium import Data, Motion
from noisette.data.motion import MotionData, MotionSpec
from noisette.data.motion.stream import MotionStream
from noisette.data.pipeline import load
from noisette.data.spec import DataSpec
from noisette.data.stream import Stream
from noisette.diffusion import denoisers, objectives, samplers, schedules, terms
from noisette.errors import UserError, nearest
from noisette.experiment import losses, recipes
from noisette.experiment.config import (
    OF_BACKBONE,
    Config,
    NetConfig,
    SampleConfig,
    ScheduleConfig,
    TrainConfig,
    merge,
    parse,
)
from noisette.experiment.runs import Run, Shape
from noisette.nets import BACKBONES, Backbone
from noisette.nets.gan import Gan, Generator, matching

Model = denoisers.NetDenoiser | Generator
"""What draws: a denoiser, step by step, or the generator of a GAN, in one call."""

GENERATOR = "generator."
"""What the names of a generator's weights begin with, in the checkpoints of a GAN."""


@contextlib.contextmanager
def as_user_errors(where: str) -> Iterator[None]:
    """A ValueError from the floors below, which checked a setting, told as the user's."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


# --- settings -----------------------------------------------------------------------------------------------------


def resolve(shape: Shape, recipe: str | None, settings: Mapping[str, Any]) -> Config:
    """The full settings of a run: defaults, then a recipe (by name, by file, or by the data's shape), then `settings`.

    Raises:
        UserError: an unknown recipe, a setting that is unknown or out of range.
    """
    settings = merge(settings, {"data.medium": shape.medium.name})
    name = recipe or recipes.fitting(shape, recipes.backbone_of(settings))
    config = parse(recipes.settings(name, settings), "settings")
    if not conditional(config, shape):
        config = parse(recipes.settings(name, settings, labels=False), "settings")
    if not any((config.train.minutes, config.train.steps, config.train.images)):
        config = config.changed({"train.minutes": 2.0})
    boneless = isinstance(shape.medium, Motion) and not shape.medium.skeleton.edges
    if boneless and "bones" not in settings.get("objective", {}):  # a recipe's, for bodies whose bones are known
        config = config.changed({"objective.bones": 0.0})
    if config.kind == "gan":
        channels = config.gan.channels or _matched(config, shape)
        return config.changed({"gan.channels": channels, "gan.lr": config.gan.lr or gan_rate(channels)})
    return config.changed({"objective.space": space(config), "objective.weight": weight(config)})


def loaded(config: Config, progress: Callable[[int, int], None] | None = None) -> Data:
    """The data that the settings ask for. Raises UserError."""
    asked = config.data.model_dump(exclude={"medium"})
    if config.data.medium != "motion":
        return load(DataSpec(**asked), progress)
    kept = {key: asked[key] for key in ("source", "classes", "limit", "held_out", "seed")}
    return motion.load(MotionSpec(**kept, **config.motion.model_dump()))


def data(run: Run, progress: Callable[[int, int], None] | None = None) -> Data:
    """The data that a run learned from. Raises UserError when they are gone or have changed."""
    source = run.config.data.source
    try:
        found = loaded(run.config, progress)
    except OSError as error:
        raise UserError(f"{source}: {error.strerror or error}") from None
    if found.fingerprint != run.data.get("fingerprint", found.fingerprint):
        many = run.shape.medium.many
        raise UserError(f"{source}: these are no longer the {many} that {run.path} was trained on: restore them")
    split = {"train": len(found.train), "held_out": len(found.held_out)}
    if split != {key: run.data.get(key, count) for key, count in split.items()}:
        raise UserError(f"{run.path}: its data are no longer split as they were in training: restore config.toml")
    return found


def stream(config: Config, found: Data, device: torch.device) -> Stream:
    """The batches that a run trains on, varied as its settings say."""
    batch, seed = config.train.batch, config.train.seed
    if isinstance(found, MotionData):
        return MotionStream(found, batch, seed, device=device)
    return Stream(found, batch, seed, flip=config.data.flip, device=device)


# --- the model ----------------------------------------------------------------------------------------------------


def device(name: str) -> torch.device:
    """auto is the GPU where there is one. Raises UserError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(name).type == "meta":
            raise RuntimeError
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, ImportError):
        raise UserError(f'no device "{name}" on this machine: use --train.device cpu') from None
    if torch.device(name).type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes stay as they are: worth a search for each one's fastest kernel
    return torch.device(name)


def device_here(name: str) -> torch.device:
    """The device that a run names, or the usual one where this machine has none of that name."""
    try:
        return device(name)
    except UserError:
        return device("auto")


def schedule(config: ScheduleConfig) -> schedules.NoiseSchedule:
    if config.name not in schedules.SCHEDULES:
        raise UserError(f'unknown schedule "{config.name}"{nearest(config.name, schedules.SCHEDULES)}')
    return schedules.make_schedule(
        config.name, config.T, scaled=config.scaled, zero_terminal_snr=config.zero_terminal_snr
    )


def backbone(config: NetConfig, shape: Shape, learn_variance: bool = False) -> Backbone:
    others = {key for name, keys in OF_BACKBONE.items() if name != config.backbone for key in keys}
    arguments = config.model_dump(exclude={"conditional", "backbone", *others})
    classes = len(shape.classes) if config.conditional else 0
    with as_user_errors("net"):
        out = shape.channels * (2 if learn_variance else 1)
        return BACKBONES[config.backbone](shape.channels, out, dims=len(shape.x) - 1, classes=classes, **arguments)


def conditional(config: Config, shape: Shape) -> bool:
    """Whether the net is told class labels: it is meant to be, and the data have some."""
    return config.net.conditional and bool(shape.classes)


def denoiser(config: Config, shape: Shape) -> denoisers.NetDenoiser:
    """A net with fresh weights, seeded by train.seed, as a denoiser, in float32."""
    objective = config.objective
    with torch.random.fork_rng(devices=[]), as_user_errors("objective"):
        torch.random.default_generator.manual_seed(config.train.seed)  # fresh weights are drawn on the CPU
        net = backbone(config.net, shape, objective.learn_variance)
        return denoisers.NetDenoiser(
            net,
            schedule(config.schedule),
            objective.predicts,
            learn_variance=objective.learn_variance,
            sigma_data=objective.sigma_data,
        )


def gan(config: Config, shape: Shape) -> Gan:
    """A generator and its critic with fresh weights, seeded by train.seed, in float32."""
    with torch.random.fork_rng(devices=[]), as_user_errors("gan"):
        torch.random.default_generator.manual_seed(config.train.seed)
        channels = config.gan.channels or _matched(config, shape)
        return Gan(config.gan.z, shape.x, channels=channels, classes=_classes(config, shape))


def _classes(config: Config, shape: Shape) -> int:
    """How many labels the net is told, 0 for none."""
    return len(shape.classes) if conditional(config, shape) else 0


def gan_rate(channels: int) -> float:
    """The learning rate of a GAN of this width: 0.002 at 32 channels; twice that learned digits faster, then diverged.

    It falls with the root of the width, as fresh weights do, so that a step moves weights of any width by one share.
    """
    return float(f"{0.002 * (32 / channels) ** 0.5:.2g}")


def _matched(config: Config, shape: Shape) -> int:
    """The channels at which a GAN has as many weights as the U-Net of the settings."""
    with torch.device("meta"):
        weights = sum(p.numel() for p in backbone(config.net, shape).parameters())
    return matching(weights, config.gan.z, shape.x, _classes(config, shape))


def learning(config: Config, shape: Shape) -> nn.Module:
    """All that learns in a run, as shapes without numbers. Raises UserError for a net that no memory can hold."""
    try:
        with torch.device("meta"):
            if config.kind == "gan":
                return gan(config, shape)
            return backbone(config.net, shape, config.objective.learn_variance)
    except (RuntimeError, OverflowError) as error:  # sizes are multiplied even where nothing is stored
        said = " ".join(str(error).split("\n")[0].split())
        raise UserError(f"net: it is too large to be built ({said}): take fewer channels") from None


def computing(model: denoisers.NetDenoiser, train: TrainConfig, compiled: bool = False) -> denoisers.NetDenoiser:
    """The denoiser that does the work of `model`, which is float32, in the precision and layout of the settings.

    It is `model` itself where there is nothing to change, else a copy with weights of its own: bf16 weights save the
    casts that autocast makes at every layer. What is still "auto" is taken as float32 and channels first.
    """
    half, last = train.precision == "bf16", train.layout == "channels_last"
    if not (half or last or compiled):
        return model
    worker = copy.deepcopy(model)
    if half:
        worker.dtype = torch.bfloat16
        worker.backbone.to(torch.bfloat16)
    if last:
        worker.backbone.to(memory_format=torch.channels_last)
    if compiled:
        worker.backbone.compile()
    return worker


def space(config: Config) -> str:
    return config.objective.space or (config.objective.predicts if config.objective.predicts != "edm" else "x0")


def weight(config: Config) -> str:
    return config.objective.weight or ("edm" if config.objective.predicts == "edm" else "uniform")


def objective(config: Config, shape: Shape) -> objectives.Objective:
    settings, name = config.objective, weight(config)
    if name not in objectives.WEIGHTS:
        raise UserError(f'unknown weight "{name}"{nearest(name, objectives.WEIGHTS)}')
    function = objectives.WEIGHTS[name]
    if name == "edm":
        function = partial(objectives.edm, sigma_data=settings.sigma_data)
    with as_user_errors("objective"):
        more = motion_terms(config, shape.medium) if isinstance(shape.medium, Motion) else ()
        return objectives.Objective(space(config), losses.distance(settings.distance), function, settings.vlb, more)


def motion_terms(config: Config, medium: Motion) -> tuple[terms.Term, ...]:
    """What the objective adds for motion. Raises ValueError where the skeleton does not say enough for it."""
    asked, skeleton, normaliser = config.objective, medium.skeleton, medium.normaliser
    body = terms.Body(
        torch.tensor(normaliser["mean"]),
        torch.tensor(normaliser["scale"]),
        torch.tensor(skeleton.edges, dtype=torch.int64),
        torch.tensor(skeleton.feet, dtype=torch.int64),
        skeleton.up,
        normaliser.get("root"),
    )
    return terms.motion_terms(body, asked.velocity, asked.bones, asked.contact)


def times(config: Config) -> objectives.Times:
    name = config.objective.times
    if name not in objectives.TIMES:
        raise UserError(f'unknown times "{name}"{nearest(name, objectives.TIMES)}')
    return objectives.TIMES[name]()


def check(config: Config, shape: Shape) -> None:
    """Builds everything once, so that a wrong setting is told before a run folder exists. Raises UserError."""
    learning(config, shape)
    device(config.train.device)
    if config.kind == "gan":
        numbers = math.prod(shape.x)
        if config.gan.z > numbers:
            raise UserError(f"gan.z: {config.gan.z} is more than the {numbers} numbers of an image's noise")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", schedules.TerminalSignalWarning)
        denoiser_schedule = schedule(config.schedule)
        with as_user_errors("objective"):
            denoisers.NetDenoiser(
                nn.Identity(), denoiser_schedule, config.objective.predicts, config.objective.learn_variance
            )
    if denoiser_schedule.variance_exploding and config.objective.predicts in ("v", "flow"):
        raise UserError(
            f"objective.predicts: {config.objective.predicts} has no bounds on the {config.schedule.name} schedule, "
            "whose noise grows without them: use edm"
        )
    losses.try_distance(config.objective.distance, objective(config, shape).distance, (4, *shape.x))
    times(config)
    sampler(config.sample)
    if config.sample.variance == "learned" and not config.objective.learn_variance:
        raise UserError("sample.variance: the net does not learn a variance: set objective.learn_variance too")
    with as_user_errors("sample"):
        samplers.time_grid(denoiser_schedule, config.sample.steps, config.sample.grid)


# --- sampling -----------------------------------------------------------------------------------------------------

OPTIONS: dict[str, tuple[str, ...]] = {"ddpm": ("variance",), "ddim": ("eta",)}


def without_effect(name: str) -> list[str]:
    """The options of other samplers, which this one does not have."""
    return sorted({option for options in OPTIONS.values() for option in options} - set(OPTIONS.get(name, ())))


def sampler(config: SampleConfig) -> Callable[..., Iterator[samplers.Step]]:
    """The sampler with the options that it takes. Raises UserError for an unknown name."""
    if config.sampler not in samplers.SAMPLERS:
        raise UserError(f'unknown sampler "{config.sampler}"{nearest(config.sampler, samplers.SAMPLERS)}')
    if config.variance not in samplers.VARIANCES:
        raise UserError(f'unknown variance "{config.variance}"{nearest(config.variance, samplers.VARIANCES)}')
    options = {name: getattr(config, name) for name in OPTIONS.get(config.sampler, ())}
    return partial(samplers.SAMPLERS[config.sampler], **options)


def wrapped(denoiser: denoisers.Denoiser, config: SampleConfig, labels: Tensor | None, null: int) -> denoisers.Denoiser:
    """The denoiser with guidance and clipping as the settings say; labels (N,) or None for no classes."""
    if labels is not None:
        denoiser = denoisers.guide(denoiser, labels, null, config.guidance, config.interval)
    if config.clip == "static":
        return denoisers.clip(denoiser)
    if config.clip == "dynamic":
        return denoisers.threshold(denoiser)
    return denoiser


def trained(run: Run, weights: str = "ema", at: int | None = None) -> tuple[Model, int]:
    """(what draws, on the run's device, or on the usual one where this machine lacks that; the step of its checkpoint).
    Raises UserError."""
    if weights not in ("ema", "raw"):
        raise UserError(f'unknown weights "{weights}"{nearest(weights, ("ema", "raw"))}')
    checkpoint = run.checkpoint(at)
    state = checkpoint.weights(weights)
    model: Model
    if run.config.kind == "gan":
        model = net = gan(run.config, run.shape).generator
        state = {key.removeprefix(GENERATOR): v for key, v in state.items() if key.startswith(GENERATOR)}
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", schedules.TerminalSignalWarning)
            model = denoiser(run.config, run.shape)
        net = model.backbone
    try:
        net.load_state_dict(state)
    except RuntimeError:
        raise UserError(
            f"{checkpoint.path}: its weights do not fit the net of config.toml: restore that file"
        ) from None
    model = model.to(device_here(run.config.train.device)).eval().requires_grad_(False)
    return computing(model, run.config.train), checkpoint.step

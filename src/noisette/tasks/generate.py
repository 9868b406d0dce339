"""Seeds and settings -> samples, and the way there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisette.data.medium import Stored
from noisette.diffusion import samplers
from noisette.diffusion.denoisers import Denoiser
from noisette.diffusion.schedules import NoiseSchedule
from noisette.errors import UserError, nearest
from noisette.experiment import build
from noisette.experiment.config import Config, SampleConfig
from noisette.experiment.runs import Run, Shape
from noisette.nets.gan import Generator
from noisette.tasks import compiling
from noisette.tasks.edit import Edit, Edited, Plan, planned

CHUNK = 36
"""Samples are made in batches of exactly this many, the last one padded: matrix kernels round differently for other
batch sizes, and sample k must not depend on how many are asked for."""


@dataclass
class Samples:
    """x as they are kept: images uint8 (N, H, W, C), clips float32 (N, F, J, D) in the data's units; one seed each;
    labels int64 (N,) into `classes` (names), or None; how they were made."""

    x: Stored
    seeds: list[int]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    settings: dict[str, Any]

    def __len__(self) -> int:
        return len(self.x)


@dataclass
class Frame:
    """One moment of N samples on their way: t in [0, 1], what to print of it, the state x and the estimate x0 (both
    as samples are kept), and sqrt(alpha_bar), the share of signal that is left."""

    t: float
    label: str
    x: Stored
    x0: Stored | None = None
    signal: float | None = None


Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all) as the work goes on."""


def time_label(schedule: NoiseSchedule, t: float) -> str:
    """A time as people write it: the step of a table, else t itself."""
    return f"t={t * schedule.steps:.0f}" if schedule.steps else f"t={t:.2f}"


def settings_of(run: Run, **changes: Any) -> SampleConfig:
    """The run's sample settings with those that are not None changed. Raises UserError for a value out of range."""
    return settings_in(run.config, **changes)


def settings_in(config: Config, **changes: Any) -> SampleConfig:
    """As settings_of, of a config; another sampler walks the usual grid where none is named."""
    given = config.sample.filled({key: value for key, value in changes.items() if value is not None})
    return config.changed({f"sample.{key}": value for key, value in given.items()}, "sample").sample


def labels_for(run: Run, seeds: Sequence[int], classes: Sequence[str] | None) -> NDArray[np.int64] | None:
    """A label for each seed: the seed counts through `classes` (names), all of the run's by default.

    Raises:
        UserError: a class that the run does not know, or classes where the net is not told any.
    """
    known = run.shape.classes
    if not build.conditional(run.config, run.shape):
        if classes:
            raise UserError(f"{run.path}: its net was trained without class labels, so --classes cannot be chosen")
        return None
    for name in classes or ():
        if name not in known:
            raise UserError(f'{run.path}: no class "{name}"{nearest(name, known)}')
    chosen = [known.index(name) for name in classes] if classes else list(range(len(known)))
    return np.array([chosen[seed % len(chosen)] for seed in seeds], dtype=np.int64)


def generate(
    run: Run,
    n: int = 36,
    *,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    weights: str = "ema",
    at: int | None = None,
    noise: Tensor | NDArray[np.floating[Any]] | None = None,
    frames: bool = False,
    progress: Progress | None = None,
    compile: Literal["auto", "on", "off"] = "auto",
    edit: Edit | None = None,
    **settings: Any,
) -> tuple[Samples, list[Frame]]:
    """n samples with seeds seed, seed + 1, ...

    Sample k depends on its seed alone: the first four of 36 are the four of 4, bit for bit on one machine. A compiled
    net rounds differently: there they are the four of 4 that were drawn compiled too.

    Args:
        run: a run with a checkpoint.
        n: how many, at least 1.
        classes: class names to draw from; sample with seed s gets the (s mod count)-th.
        weights: ema or raw.
        at: the step of a checkpoint; the newest by default.
        noise: (N, *run.shape.x), of an edit's length, standard normal, to start from instead of the noise that the
            seeds would give; n is then N. The seeds still decide labels, and the noise that a stochastic sampler adds
            on its way.
        frames: keep every step, from pure noise to the samples.
        compile: auto compiles the net for a job of minutes, where a trial shows that it repays; never for an edit.
        edit: clips that keep a part of a given one, loop, or have another length; where a clip is given and no classes
            are, all have its class.
        settings: keys of SampleConfig (sampler, steps, grid, eta, variance, guidance, interval, clip); what is left
            out or None is as the run's settings say.

    Returns:
        The samples, and the frames (empty unless asked for).

    Raises:
        UserError: a setting, class, checkpoint or weight name that does not exist; noise of another shape; a net that
            was to be compiled and cannot be; an edit that cannot be.
    """
    way = planned(run, edit)
    given = None if noise is None else _checked(noise, way.x)
    n = n if given is None else len(given)
    seeds = _seeds(n, seed)
    chosen = settings_of(run, **settings)
    if chosen.at_once and (frames or compile == "on"):
        what = "no way from noise to show" if frames else "nothing to compile"
        raise UserError(f"{run.path}: a GAN draws in one call, so there is {what}")
    if isinstance(way, Edited):
        if compile == "on":
            raise UserError("a net is not compiled to hold, to loop, or for another length: leave out --compile on")
        compile = "off"
        if way.kept and way.kept.label in run.shape.classes and build.conditional(run.config, run.shape):
            classes = classes or [way.kept.label]
    labels = labels_for(run, seeds, classes)
    everywhere = tuple(settings.get("interval") or (0, 1)) == (0, 1)
    if labels is None and (settings.get("guidance") not in (None, 1) or not everywhere):
        raise UserError(f"{run.path}: its net was trained without class labels, so there is nothing to guide by")
    for option in build.without_effect(chosen.sampler):
        if settings.get(option) is not None and not chosen.at_once:
            raise UserError(f"{chosen.sampler} has no {option}: leave it out")
    model, step = build.trained(run, weights, at)
    if chosen.variance == "learned" and not model.learn_variance:
        raise UserError(f"{run.path}: its net has not learned a variance: use --variance small or large")
    _check(model, chosen)
    begun = time.perf_counter()
    with compiling.or_told("use --compile off"):
        model, compiled = _ready(model, run, chosen, -(-n // CHUNK), labels is not None, compile)
        x, kept = draw(model, chosen, run.shape, seeds, labels, frames, progress, noise=given, plan=way)
    made: dict[str, Any] = {
        **chosen.model_dump(mode="json"),
        **({"edit": way.facts} if isinstance(way, Edited) else {}),
        "nfe": samplers.network_calls(chosen.sampler, chosen.steps) * way.calls,
        "weights": weights,
        "checkpoint": step,
        "compiled": compiled,
        "seconds": round(time.perf_counter() - begun, 3),
    }
    return Samples(x, seeds, labels, run.shape.classes, made), kept


def _ready(
    model: build.Model,
    run: Run,
    settings: SampleConfig,
    chunks: int,
    labelled: bool,
    asked: Literal["auto", "on", "off"],
) -> tuple[build.Model, bool]:
    """(what to draw so many chunks with, whether it is compiled)."""
    if isinstance(model, Generator):
        return model, False
    guided = labelled and settings.guidance not in (0, 1)  # asks both ways at once, within its interval
    sizes = [2 * CHUNK, CHUNK] if guided and settings.interval != (0.0, 1.0) else [CHUNK * (2 if guided else 1)]
    calling = [one_call(run, model, size) for size in sizes]

    def prepare(of: build.Model) -> None:
        for call in calling:
            call(of)

    config = run.config.model_dump(mode="json", include={"schedule", "net", "objective"})
    about = [config, str(model.dtype), run.config.train.layout, list(run.shape.x), sizes]
    calls = chunks * samplers.network_calls(settings.sampler, settings.steps)
    model, decision = compiling.worth_compiling(model, calling[0], calls, about, asked, prepare)
    return model, decision.on


def _check(model: build.Model, settings: SampleConfig) -> None:
    """Raises UserError for a sampler or a list of times that there is not."""
    if not isinstance(model, Generator):
        build.sampler(settings)
        _times(model.schedule, settings)


def _times(schedule: NoiseSchedule, settings: SampleConfig) -> list[float]:
    with build.as_user_errors("sample"):
        return samplers.time_grid(schedule, settings.steps, settings.grid)


def one_call(run: Run, model: build.Model, count: int) -> Callable[[build.Model], None]:
    """A function that calls such a model once with `count` images, and waits until the result is there."""
    device = next(model.parameters()).device
    x = torch.zeros(count, *run.shape.x, device=device)
    told = None
    if build.conditional(run.config, run.shape):
        told = torch.zeros(count, dtype=torch.int64, device=device)

    @torch.no_grad()
    def call(of: build.Model) -> None:
        made = of(x, told) if isinstance(of, Generator) else of(x, 0.5, told).x0
        made.sum().item()  # waits for a GPU

    return call


def noise_of(run: Run, n: int = 36, seed: int = 0) -> Tensor:
    """(n, *shape.x) float32: the noise from which `generate` makes the samples of seeds seed, seed + 1, ..."""
    return samplers.SampleNoise(_seeds(n, seed), run.shape.x)()


def _seeds(n: int, first: int) -> list[int]:
    """first, first + 1, ...: one for each of n samples. Raises UserError for none, or out of range."""
    if n < 1:
        raise UserError(f"at least one sample must be asked for, got {n}")
    if first < 0 or first + n > 2**32:
        raise UserError(f"seeds lie in 0..{2**32 - 1:,}, got {first} to {first + n - 1}")
    return list(range(first, first + n))


def _checked(noise: Tensor | NDArray[np.floating[Any]], shape: tuple[int, ...]) -> Tensor:
    """Noise as float32 (N, *shape). Raises UserError when it has another shape, or is not numbers."""
    try:
        given = torch.as_tensor(noise).detach()
        if given.is_complex():
            raise TypeError
        given = given.to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise UserError("the noise given is not an array of real numbers") from None
    if given.ndim != 1 + len(shape) or tuple(given.shape[1:]) != shape or not len(given):
        wanted = ", ".join(map(str, shape))
        raise UserError(f"the noise must have shape (N, {wanted}), it has {tuple(given.shape)}")
    if not bool(given.isfinite().all()):
        raise UserError("the noise given has values that are not finite")
    return given


def quick(model: build.Model, settings: SampleConfig, steps: int) -> SampleConfig:
    """The settings for a look that must not take long: in so many steps, or as many as a schedule has."""
    if isinstance(model, Generator):
        return settings
    few = min(steps, model.schedule.steps or steps)
    return settings.model_copy(update={"sampler": "dpmpp_2m", "grid": "trailing", "steps": few})


def draw(
    model: build.Model,
    settings: SampleConfig,
    shape: Shape,
    seeds: Sequence[int],
    labels: NDArray[np.int64] | None = None,
    frames: bool = False,
    progress: Progress | None = None,
    chunk: int = CHUNK,
    noise: Tensor | None = None,
    plan: Plan | None = None,
) -> tuple[Stored, list[Frame]]:
    """Samples of one shape from a model, as they are kept, and all frames if they are asked for.

    `plan` is how; as the model learned them by default.
    `noise` (N, *plan.x) float32 is what they start from, instead of the first noise of their seeds. A generator starts
    from the first numbers of it, so that one seed means one noise, whatever draws; it has no frames.
    """
    device = next(model.parameters()).device
    plan = plan or Plan(shape.medium)
    finals: list[Stored] = []
    chunks: list[list[Frame]] = []
    for first in range(0, len(seeds), chunk):
        count = min(chunk, len(seeds) - first)
        padded = [*seeds[first : first + count], *[seeds[first]] * (chunk - count)]
        told = None
        if labels is not None:
            mine = labels[first : first + count]
            told = torch.from_numpy(np.concatenate([mine, np.repeat(mine[:1], chunk - count)])).to(device)
        source = samplers.SampleNoise(padded, plan.x, device=device)
        first_noise = source()  # drawn even where other noise is given, so that what the sampler adds stays the same
        if noise is not None:
            theirs = noise[first : first + count]
            first_noise = torch.cat([theirs, theirs[:1].expand(chunk - count, *plan.x)]).to(device)
        if isinstance(model, Generator):
            with torch.no_grad():
                x, kept = model(first_noise, told), []
        else:

            def going(done: int, total: int, first: int = first, count: int = count) -> None:
                if progress and not frames:
                    progress(first + count * done // total, len(seeds))

            denoise = plan.held(build.wrapped(plan.seen(model), settings, told, len(shape.classes)))
            x, kept = _walk(denoise, settings, first_noise, source, plan, count if frames else 0, going)
        finals.append(plan.finished(x[:count]))
        chunks.append(kept)
        if progress:
            progress(first + count, len(seeds))
    return np.concatenate(finals), [_joined(parts) for parts in zip(*chunks, strict=True)]


def _walk(
    denoise: Denoiser,
    settings: SampleConfig,
    first: Tensor,
    source: samplers.Noise,
    plan: Plan,
    keep: int,
    progress: Progress,
) -> tuple[Tensor, list[Frame]]:
    """(x at the end of the way from the noise `first`, every step of its first `keep` samples)."""
    sampler, schedule = build.sampler(settings), denoise.schedule
    ts = _times(schedule, settings)
    x = samplers.start(schedule, lambda: first, ts[0])
    kept = [_frame(schedule, plan, ts[0], x[:keep])] if keep else []
    for step in sampler(denoise, x, ts, noise=source):
        x = step.x
        if keep:
            kept.append(_frame(schedule, plan, step.t, x[:keep], step.prediction.x0[:keep]))
        progress(step.i + 1, len(ts) - 1)
    return x, kept


def _frame(schedule: NoiseSchedule, plan: Plan, t: float, x: Tensor, x0: Tensor | None = None) -> Frame:
    """The state at t. A variance-exploding x is shown at unit scale, or it would be all black and white."""
    alpha, sigma = (float(value) for value in schedule.level(t))
    scale = 1.0 if alpha**2 + sigma**2 < 1.01 else (alpha**2 + sigma**2) ** -0.5
    return Frame(
        t,
        time_label(schedule, t),
        plan.decode(x * scale),
        None if x0 is None else plan.decode(x0),
        float(schedule.alpha_bar(t).sqrt()),
    )


def _joined(parts: Sequence[Frame]) -> Frame:
    first = parts[0]
    x0 = None if first.x0 is None else np.concatenate([p.x0 for p in parts if p.x0 is not None])
    return Frame(first.t, first.label, np.concatenate([p.x for p in parts]), x0, first.signal)


def tile(
    x: NDArray[np.uint8], columns: int | None = None, pad: int = 2, scale: int = 1, background: int = 255
) -> NDArray[np.uint8]:
    """Images (N, H, W, C) as one sheet (H', W', C), row by row; as square as can be unless `columns` says otherwise."""
    n, height, width, channels = x.shape
    columns = min(columns or int(np.ceil(np.sqrt(n))), n)
    rows = -(-n // columns)
    x = x.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale + pad, width * scale + pad
    sheet = np.full((rows * height + pad, columns * width + pad, channels), background, dtype=np.uint8)
    for k, image in enumerate(x):
        top, left = pad + k // columns * height, pad + k % columns * width
        sheet[top : top + height - pad, left : left + width - pad] = image
    return sheet

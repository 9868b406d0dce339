"""The sections of a run's settings: what there is to choose, with its range and what it is when nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class DataConfig(Section):
    """What to learn from, see noisette.data.spec.DataSpec, which checks the ranges.

    medium is what the source holds; auto looks.
    """

    source: str = ""
    medium: Literal["auto", "images", "motion"] = "auto"
    image_size: int | None = None
    classes: tuple[str, ...] = ()
    per_class: int | None = None
    limit: int | None = None
    color: Literal["auto", "grayscale", "rgb"] = "auto"
    flip: bool = False
    held_out: float = 0.1
    seed: int = Field(0, lt=2**63)


class MotionConfig(Section):
    """How clips are cut from key-point sequences, see noisette.data.motion.spec.MotionSpec, which checks the ranges."""

    frames: int = 64
    fps: float | None = None
    stride: int | None = None
    skeleton: str | None = None
    columns: tuple[str, ...] = ()
    centre: str = "start"
    heading: bool | None = None
    relative: bool = True
    short: str = "hold"
    mirror: bool = False
    rotate: float = 0.0
    speed: float = 0.0


class ScheduleConfig(Section):
    """How noise grows with t; T, scaled and zero_terminal_snr concern the discrete tables."""

    name: str = "cosine"
    T: int = Field(1000, ge=2, le=10_000)
    scaled: bool = True
    zero_terminal_snr: bool = False


class NetConfig(Section):
    """The net: a U-Net, see noisette.nets.unet.UNet, or a transformer, see noisette.nets.transformer.Transformer.

    conditional: whether it is told the class labels. What the other backbone alone takes is left as it is.
    """

    backbone: Literal["unet", "transformer"] = "unet"
    conditional: bool = True
    channels: int = Field(32, ge=2)
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = Field(1, ge=1)
    attention: tuple[int, ...] = ()
    middle_attention: bool = True
    head_dim: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    activation: str = "silu"
    norm: str = "group"
    groups: int = Field(8, ge=1)
    time: str = "add"
    resample: str = "conv"
    padding_mode: str = "zeros"
    expand: int = Field(4, ge=1)
    patch: Literal[1, 2, 4] = 2
    skip: bool = False


class ObjectiveConfig(Section):
    """What the net predicts and how it is judged.

    space None means the space it predicts in (x0 for edm); weight None means uniform, and edm's own for edm.
    velocity, bones and contact are weights of terms for motion, see noisette.diffusion.terms.
    """

    predicts: str = "v"
    space: str | None = None
    distance: str = "l2"
    weight: str | None = None
    times: str = "stratified"
    learn_variance: bool = False
    vlb: float = Field(0.001, ge=0)
    sigma_data: float = Field(0.5, gt=0)
    velocity: float = Field(0.0, ge=0)
    bones: float = Field(0.0, ge=0)
    contact: float = Field(0.0, ge=0)


class OptimConfig(Section):
    """The optimiser. muon is for the hidden weights, with muon_lr; all others have AdamW, with lr.

    warmup is the share of the budget in which the rates rise; decay is what they do after it; ema is the decay of
    the averaged weights.
    """

    name: Literal["adamw", "muon"] = "muon"
    lr: float = Field(3e-3, gt=0)
    muon_lr: float = Field(0.02, gt=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    warmup: float = Field(0.03, ge=0, lt=1)
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    grad_clip: float = Field(1.0, gt=0)
    ema: float = Field(0.995, ge=0, lt=1)


class TrainConfig(Section):
    """The budget (one of minutes, steps, images) and how the time is spent.

    Upper bounds only keep slips of the hand from overflowing.

    checks, previews and checkpoints say how often over the whole budget; keep is how many checkpoints stay on disk.
    eval_every is the number of steps between cheap looks at the quality of the samples, 0 for none.
    precision is that of the weights that compute (the weights that learn are float32), layout how images lie in memory,
    compile whether torch compiles the net; what is "auto" is settled by a measured trial when a run starts.
    """

    minutes: float | None = Field(None, gt=0, le=10_000_000)
    steps: int | None = Field(None, ge=1, le=10**15)
    images: int | None = Field(None, ge=1, le=10**15)
    batch: int = Field(128, ge=1, le=10**9)
    micro_batch: int | None = Field(None, ge=1)
    label_dropout: float = Field(0.1, ge=0, le=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    layout: Literal["auto", "channels_first", "channels_last"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    device: str = "auto"
    seed: int = Field(0, ge=0, lt=2**63)
    log_every: int = Field(10, ge=1)
    checks: int = Field(10, ge=0)
    eval_every: int = Field(0, ge=0)
    previews: int = Field(8, ge=0)
    checkpoints: int = Field(4, ge=1)
    keep: int = Field(6, ge=2)
    tensorboard: bool = False

    @model_validator(mode="after")
    def _one_budget(self) -> TrainConfig:
        given = [name for name in ("minutes", "steps", "images") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one budget, not {' and '.join(given)}")
        return self


ONE_CALL = "one call"
"""What stands for a sampler where there is none: a generator makes an image of noise in one call."""


class SampleConfig(Section):
    """How samples are drawn when nothing else is said."""

    sampler: str = "ddim"
    steps: int = Field(50, ge=1, le=100_000)
    grid: str = "trailing"
    eta: float = Field(0.0, ge=0, le=100)
    variance: str = "small"
    guidance: float = Field(1.0, ge=0)
    interval: tuple[float, float] = (0.0, 1.0)
    clip: Literal["static", "dynamic", "none"] = "static"

    def filled(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """These changes, with the usual grid where another sampler is named without one: the grid of a recipe was
        chosen for its sampler."""
        grid = {"grid": SampleConfig().grid} if changes.get("sampler", self.sampler) != self.sampler else {}
        return {**grid, **changes}

    @property
    def at_once(self) -> bool:
        """Whether there is nothing to choose: no steps, no way from noise."""
        return self.sampler == ONE_CALL

    @property
    def label(self) -> str:
        """Its name in tables: "ddim:50"."""
        return self.sampler if self.at_once else f"{self.sampler}:{self.steps}"

    @model_validator(mode="after")
    def _interval(self) -> SampleConfig:
        if not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ValueError(f"interval must satisfy 0 <= low <= high <= 1, got {self.interval}")
        return self


class GanConfig(Section):
    """The GAN (kind = "gan"), see noisette.nets.gan and noisette.tasks.adversary; both of its nets learn alike.

    z is how many numbers an image is made from; channels those of the finest feature maps, as many as give both nets
    together the number of weights of the U-Net in [net] where none are given. r1 is the weight of the critic's
    penalty, taken at every r1_every-th step; lr and betas are Adam's, lr by the width of the nets where none is given
    (noisette.experiment.build.gan_rate); ema is the decay of the generator's average.
    """

    z: int = Field(64, ge=1)
    channels: int | None = Field(None, ge=1)
    loss: Literal["logistic", "hinge"] = "logistic"
    r1: float = Field(10.0, ge=0)
    r1_every: int = Field(4, ge=1)
    lr: float | None = Field(None, gt=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.0, 0.99)
    ema: float = Field(0.995, ge=0, lt=1)

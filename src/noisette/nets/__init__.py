"""Nets in plain torch. A U-Net and a transformer: forward(x, c_noise, cond) -> out; what x and c_noise mean is the
caller's business. A generator and a critic: forward(noise, cond) -> x, forward(x, cond) -> logit."""

from collections.abc import Callable

from noisette.nets.backbone import Backbone
from noisette.nets.gan import Critic, Gan, Generator
from noisette.nets.layers import ACTIVATIONS, NORMS, PADDINGS, RESAMPLES, TIMES
from noisette.nets.transformer import Transformer
from noisette.nets.unet import UNet, to_diffusers_config, to_diffusers_state

BACKBONES: dict[str, Callable[..., Backbone]] = {"unet": UNet, "transformer": Transformer}
"""The nets that a denoiser is made of, by name; the rebuilding of one is BACKBONES[name](**net.arguments)."""

__all__ = [
    "ACTIVATIONS",
    "BACKBONES",
    "NORMS",
    "PADDINGS",
    "RESAMPLES",
    "TIMES",
    "Backbone",
    "Critic",
    "Gan",
    "Generator",
    "Transformer",
    "UNet",
    "to_diffusers_config",
    "to_diffusers_state",
]

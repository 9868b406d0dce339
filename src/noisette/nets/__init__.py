"""Nets in plain torch. A U-Net: forward(x, c_noise, cond) -> out; what x and c_noise mean is the caller's business. A
generator and a critic: forward(noise, cond) -> x, forward(x, cond) -> logit."""

from noisette.nets.gan import Critic, Gan, Generator
from noisette.nets.layers import ACTIVATIONS, NORMS, TIMES
from noisette.nets.unet import UNet, to_diffusers_config, to_diffusers_state

__all__ = [
    "ACTIVATIONS",
    "NORMS",
    "TIMES",
    "Critic",
    "Gan",
    "Generator",
    "UNet",
    "to_diffusers_config",
    "to_diffusers_state",
]

"""Nets: forward(x, c_noise, cond) -> out, in plain torch. What x and c_noise mean is the caller's business."""

from noisette.nets.layers import ACTIVATIONS, NORMS, TIMES
from noisette.nets.unet import UNet, to_diffusers_config, to_diffusers_state

__all__ = ["ACTIVATIONS", "NORMS", "TIMES", "UNet", "to_diffusers_config", "to_diffusers_state"]

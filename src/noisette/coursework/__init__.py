"""The names that courses use, as thin facades over the core: docs/coursework.md says which piece each of them shows.

from noisette.coursework import DiffusionProcess, check_diffusion_process
"""

from noisette.coursework.basics import (
    DiffusionDataset,
    charbonnier_loss,
    forward_process,
    huber_loss,
    l1_loss,
    l2_loss,
    test_function,
)
from noisette.coursework.checks import check_diffusion_model, check_diffusion_process
from noisette.coursework.denoise import DenoiseDiffusion
from noisette.coursework.mnist import MNISTDiffusion
from noisette.coursework.motion import MDM_UNetModel
from noisette.coursework.scratch import DiffusionModel, DiffusionProcess

__all__ = [
    "DenoiseDiffusion",
    "DiffusionDataset",
    "DiffusionModel",
    "DiffusionProcess",
    "MDM_UNetModel",
    "MNISTDiffusion",
    "charbonnier_loss",
    "check_diffusion_model",
    "check_diffusion_process",
    "forward_process",
    "huber_loss",
    "l1_loss",
    "l2_loss",
    "test_function",
]

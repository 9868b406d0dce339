"""Noisette: train, sample, measure and explain small denoising diffusion models."""

__version__ = "0.1.0"

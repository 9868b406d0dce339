"""Measures of how close two sets of samples are. Pure numpy and torch: knows no runs, no diffusion."""

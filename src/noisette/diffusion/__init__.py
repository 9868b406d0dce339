"""The diffusion core: schedules, denoisers, objectives, samplers and exact models. Pure torch: no files, no nets."""

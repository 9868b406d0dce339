# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Cars: what the knobs of a diffusion model do
#
# What T, the image size and the batch size change, in time and in quality; two more activations, two more losses;
# the two fastest settings trained on; why the cars look poor. Every answer below is made of what the cells
# measure.
#
# `CARS` in the environment is the folder with the photos. Without it, bundled digits stand in, so that the
# notebook runs anywhere. `NOISETTE_NOTEBOOK=tiny` makes everything so small that it only shows that; `standard`
# takes about a quarter of an hour a study.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt

import noisette as nt
from noisette.views import health

SCALE = os.environ.get("NOISETTE_NOTEBOOK", "standard")
TINY = SCALE == "tiny"
BUDGET = {"tiny": "quick", "standard": "quick", "long": "standard"}[SCALE]
CARS = os.environ.get("CARS")
DATA = CARS or "digits"
SIZE = 8 if TINY else 32
OUT = Path(os.environ.get("NOISETTE_OUT", "runs/notebook-2"))
NET = {"net.channels": 8, "net.multipliers": [1], "net.groups": 4, "net.patch": 1, "train.batch": 8} if TINY else {}
BASE = {**NET, "data.image_size": SIZE, "train.images": 32} if TINY else {"data.image_size": SIZE}
SMALL = {"samples": 100, "seeds": 1, "features": "pixels"} if TINY else {}
FEW = {
    "timesteps": ["T=20,40"],
    "image-size": ["size=8,12", "at=equal images"],
    "batch-size": ["at=equal images"],
    "activations": ["activation=relu,silu"],
    "losses": ["loss=l2,l1"],
}


def study(name, but=None):
    """The study of this name on the cars; but: a setting that it tries itself."""
    settings = {key: value for key, value in BASE.items() if key != but}
    values = FEW[name] if TINY else []
    return nt.study(name, data=DATA, budget=BUDGET, out=OUT / name, settings=settings, values=values, **SMALL)


# %% [markdown]
# ## The parameters
#
# * **T** is the number of small steps that take an image to noise, and the number of calls of the net that plain
#   sampling takes back.
# * **IMG_SIZE** is the side of the square that photos are cut and resized to. Twice the side is four times the
#   pixels.
# * **BATCH_SIZE** is how many images one update looks at: more make its direction surer and the update dearer.

# %%
check = nt.check(DATA, settings={"data.image_size": SIZE})
run = nt.train(DATA, out=OUT / "benchmark", settings=BASE, **({} if TINY else {"minutes": 2}))
meta = run._run.meta
print(f"{meta['images']:,} images in {meta['seconds']:.0f} s: the benchmark that the rest is held against")
run.sample(16).picture()

# %% [markdown]
# ## T: 250, 300, 350
#
# With the betas that were made for 1,000 steps, a shorter T stops before the image has become noise, and then
# every sample starts from something that the net never saw. So each T is tried twice: with those raw betas and
# with betas scaled to T.

# %%
t = study("timesteps")
print(t)

# %%
t.picture()

# %% [markdown]
# ## IMG_SIZE: 16, 32, 64, 128

# %%
size = study("image-size", but="data.image_size")
print(size)

# %%
size.picture()

# %% [markdown]
# ## BATCH_SIZE: 64, 128, 256

# %%
batch = study("batch-size", but="train.batch")
print(batch)

# %% [markdown]
# ## The U-Net, in three lines
#
# It is a funnel and its mirror image: on the way down the picture gets smaller and its features more, so that
# each sees more of the whole; on the way up it is put together again. Skip connections carry the detail across,
# which the narrow middle cannot hold. Every block is told the timestep, because the same picture has to be read
# differently at different noise.
#
# ## Activations
#
# SiLU is the usual choice: smooth, and not dead below zero. GELU and Mish are other smooth curves, ReLU and leaky
# ReLU have a corner and cost least.

# %%
activations = study("activations")
print(activations)

# %% [markdown]
# ## Losses
#
# L2 is what the likelihood gives; L1 counts a large error no more than several small ones; Huber and Charbonnier
# are L2 near zero and L1 far from it.

# %%
losses = study("losses")
print(losses)

# %% [markdown]
# ## The two fastest settings, trained on

# %%
more = {"settings": {"train.images": 32}} if TINY else {}
best = nt.study("best-of", of=OUT / "batch-size", out=OUT / "best-of", budget=BUDGET, **more)
print(best)

# %%
best.picture()

# %% [markdown]
# ## The loss, tracked

# %%
rows = [row for row in run.metrics if "loss" in row]
figure, axis = plt.subplots(figsize=(9, 2.5))
axis.semilogy([r["step"] for r in rows], [r["loss"] for r in rows])
axis.set(xlabel="step", ylabel="loss")
plt.show()

# %% [markdown]
# ## Why do the cars look poor?
#
# `doctor` looks at samples and says what is wrong with them by measurement; the report adds how far the numbers
# are from those of real photos. A few minutes on two cores show each photo a few times to a small net: shapes and
# colours come first, edges last. The study of the image size above says how quality changes with it, in numbers.

# %%
print("\n".join(health.lines(run.doctor(36 if TINY else 64))))

# %% [markdown]
# ## Strengths and limits
#
# The findings above, one after the other, are the summary: what made a difference, and what made none beyond
# chance.

# %%
for found in (t, size, batch, activations, losses, best):
    print(found)
    print(found.report, end="\n\n")

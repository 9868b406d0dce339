# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # MNIST from scratch
#
# The U-Net, the diffusion process, training and samples, and then four questions, each answered by an experiment:
# noise schedules, where the model struggles, what lies between two noises, and how it compares with a GAN. Last,
# CIFAR-10 and DDIM.
#
# `NOISETTE_NOTEBOOK=tiny` makes everything so small that it only shows that the notebook runs. Set to `standard`,
# the four experiments take about a quarter of an hour each on two cores, and hours with `long`. Interrupted or run
# again, the notebook goes on where it was; to train anew, remove the folder `runs/notebook-5`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

import noisette as nt
from noisette.coursework import (
    DiffusionDataset,
    DiffusionModel,
    DiffusionProcess,
    check_diffusion_model,
    check_diffusion_process,
)
from noisette.data.stream import images
from noisette.views.explained.between import JUMP, UNEVEN
from noisette.views.figures import grid

SCALE = os.environ.get("NOISETTE_NOTEBOOK", "standard")
TINY = SCALE == "tiny"
BUDGET = {"tiny": "quick", "standard": "quick", "long": "standard"}[SCALE]
OUT = Path(os.environ.get("NOISETTE_OUT", "runs/notebook-5"))
NET = {"net.channels": 8, "net.multipliers": [1], "net.groups": 4, "net.patch": 4, "train.batch": 8} if TINY else {}
if TINY:
    NET |= {"train.precision": "fp32", "train.layout": "channels_first", "train.compile": "off"}
    NET |= {"train.checks": 1, "train.previews": 1}
STUDY = {"settings": {**NET, "train.steps": 4}, "samples": 100, "seeds": 1, "features": "pixels"} if TINY else {}
FEW = {"schedules": ["schedule=linear,cosine"], "interpolation": ["net=unlabelled"], "samplers": ["steps=2,5"]}


def study(name, *numbers, **settings):
    """The study of this name; prints its table, with these numbers or those of its question, and what it found."""
    values = FEW.get(name, []) if TINY else []
    found = nt.study(name, budget=BUDGET, out=OUT / name, values=values, **STUDY, **settings)
    print(found.table(*numbers), found, sep="\n\n")
    return found


# %% [markdown]
# ## Part 1: the U-Net
#
# `DiffusionModel(image_size, channels)` takes noisy images and their timesteps and predicts the noise. The check
# looks at shapes, and then at what shapes do not show: that the timestep matters, and that the net can learn.

# %%
check_diffusion_model(DiffusionModel)

# %% [markdown]
# ## Part 2: the diffusion process
#
# `add_noise`, `train_step` and `sample` around that net. The check measures the mean and the variance of noised
# images at several t against the formula, and whether the loss falls.

# %%
check_diffusion_process(DiffusionProcess)

# %% [markdown]
# ## Part 3: training and samples
#
# First by hand, as the exercise has it: a loop over batches. Then by `nt.train`, which adds what a real run
# needs: a better optimiser, averaged weights, held-out losses, checkpoints, and a budget in minutes.

# %%
torch.manual_seed(0)
data = DiffusionDataset("digits")
small = {"width": 8, "multipliers": [1], "groups": 4, "patch": 4} if TINY else {}
process = DiffusionProcess(
    28, 1, noise_steps=20 if TINY else 1000, model=DiffusionModel(28, 1, seed=0, **small), lr=2e-3
)
losses, most = [], 5 if TINY else 420
while len(losses) < most:
    for x, _ in data.loader(64, seed=len(losses)):
        losses.append(process.train_step(x))
        if len(losses) == most:
            break
figure, axis = plt.subplots(figsize=(9, 2.5))
axis.semilogy(losses)
axis.set(xlabel="step", ylabel="loss, eps")
plt.show()
by_hand = process.sample(10, seed=0, sampler="ddim", steps=20 if TINY else 50)
grid(images(by_hand), columns=10)

# %%
settings = {"net.conditional": False, **NET}
budget = {"steps": 6} if TINY else {"minutes": 4}
run = nt.train("digits", out=OUT / "digits", settings=settings, reopen=True, **budget)
rows = [row for row in run.metrics if "loss" in row]
held = [row for row in run.metrics if "val_loss" in row]
figure, axis = plt.subplots(figsize=(9, 2.5))
axis.semilogy([r["step"] for r in rows], [r["loss"] for r in rows], alpha=0.5, label="training")
axis.semilogy([r["step"] for r in held], [r["val_loss"] for r in held], "o-", label="held out")
axis.set(xlabel="step", ylabel="loss, v")
axis.legend()
plt.show()
run.sample(36).picture()

# %% [markdown]
# The same as a file of its own, `python train_digits.py`; or without any file, by
# `noisette train digits --minutes 4 --net.conditional false`.

# %%
Path("train_digits.py").write_text(
    '''"""Trains a diffusion model on digits for four minutes, draws 36 of them, and writes the report."""

import noisette as nt

run = nt.train("digits", minutes=4, settings={"net.conditional": False})
run.sample(36).save(run.path / "samples.png")
print(run.report())
'''
)

# %%
judged = {"metrics": ("fid",), "features": "pixels"} if TINY else {"metrics": ("fid", "prdc", "clear")}
rows = run.evaluate(100 if TINY else 1000, **judged)
for row in rows:
    if row["real"] is None and row["value"] is not None and row["reference"] in (None, "train"):
        print(f"{row['metric']:10s} {row['value']:.3f}  ({row['low']:.3f} to {row['high']:.3f})")

# %% [markdown]
# ## Part 4: four questions
#
# Each is a study: every setting trained with several seeds, measured on the same footing, with a report that has
# the table, the pictures and the figures. What is printed here are its findings, made of the numbers: a
# difference is called one only where it is larger than what seeds and samples do by chance.
#
# ### 1. How does the noise schedule affect stability and quality?

# %%
schedules = study("schedules", "fid", "grad_norm", "grad_norm_spread", "terminal_signal")

# %%
schedules.picture()

# %% [markdown]
# ### 2. At which timesteps does the model struggle?

# %%
struggle = study("loss-by-timestep", "eps_early", "eps_middle", "eps_late", "fid")

# %% [markdown]
# Of the model of part 3, with the reasons that its numbers give:

# %%
answer, files = run.explain("loss")
print(answer)
Image.open(next(file for file in files if file.name == "loss-levels-eps.png"))

# %% [markdown]
# ### 3. Between two noises

# %%
between = study("interpolation", "smoothness", "jump", "clear_between")

# %%
run.interpolate((0, 1), count=11, steps=20 if TINY else 50).picture()

# %% [markdown]
# Is the transition smooth in itself? On a path that changes evenly the largest step is the mean step (1), and a place
# that is looked at eight times more closely falls into eight equal parts (1/8 each). Clear is what a reader that was
# trained on digits is sure of; it can be sure of what is no digit too, so look at the pictures above as well.

# %%
slerp = [r.numbers for r in between.results if r.values["path"] == "slerp" and r.state == "finished"]
largest, sharpest, clear = (
    np.mean([numbers[key] for numbers in slerp if numbers.get(key) is not None] or [np.nan])
    for key in ("smoothness", "jump", "clear_between")
)
print(f"largest step: {largest:.2f} mean steps; even: 1")
print(f"its sharpest place, eight times closer: {sharpest:.2f} of it in one step; even: {1 / 8:.2f}, a jump: 1")
print(f"clear pictures half-way: {clear:.0%}; at best: 100 %")
if sharpest > JUMP:
    print("The transition jumps: near noises can become quite different digits, at borders between kinds of digit.")
elif largest > UNEVEN:
    print("The transition is continuous but uneven: in some places a small change of the noise changes much.")
else:
    print("The transition is smooth: near noises become near pictures, all along the way.")
if clear > 0.9:
    print("Nearly every picture half-way is read as one digit: the latent space has digits between its digits.")
elif clear <= 0.9:
    print("Between two digits there are pictures that cannot be read: not all of the latent space is digits.")

# %% [markdown]
# ### 4. Against a GAN

# %%
gan = study("gan", "seconds_train", "seconds_sample", "memory", "fid", "coverage", "recall", "classes_reached")

# %%
gan.picture()

# %% [markdown]
# ## CIFAR-10
#
# The same recipe on colour photographs. Set `CIFAR=cifar10` in the environment to download it once (170 MB), or
# `CIFAR` to a file with its images. Without it, this part is left out.

# %%
CIFAR = os.environ.get("CIFAR")
if CIFAR:
    both = study("datasets", data=["digits", CIFAR])
else:
    both = None
    print("Set CIFAR to cifar10, or to an .npz file with its images, to run this part.")

# %%
both.picture() if both else None

# %% [markdown]
# ## DDIM
#
# DDPM walks all T steps and adds noise at each one; DDIM (Song et al. 2021) can skip steps, and adds none. How
# few are enough?

# %%
ddim = study("samplers", "seconds_sample", "nfe", "fid")

# %%
steps = [1, 2, 5, 10, 20] if TINY else [5, 10, 20, 50, 100]
sheets = [run.sample(10, sampler="ddim", steps=count).x for count in steps]
grid(np.concatenate(sheets), [f"{count} calls" for count in steps for _ in range(10)], columns=10)

# %%
for found in (schedules, struggle, between, gan, both, ddim):
    print(found.report if found else "no CIFAR-10")

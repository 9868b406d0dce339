# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Animals from noise
#
# A diffusion model of five classes of animals, 20 photos each: a loader, the forward process, the net, a loss of
# our own, the training, an image from noise, and what the learning rate does.
#
# `ANIMALS` in the environment is the folder with your photos, one subfolder a class; the first five are taken, or
# put others into `CLASSES` below. Without it, bundled handwritten digits stand in, so that the notebook runs
# anywhere. With `NOISETTE_NOTEBOOK=tiny` everything is so small that it only shows that.
#
# The notebook can be run again: what is trained already is opened, and what was interrupted goes on. To train anew,
# remove the folder `runs/notebook-1`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import noisette as nt
from noisette.coursework import DiffusionDataset, DiffusionModel, forward_process, test_function
from noisette.data.stream import images
from noisette.diffusion.schedules import make_schedule
from noisette.views.figures import grid

TINY = os.environ.get("NOISETTE_NOTEBOOK") == "tiny"
FOLDER = os.environ.get("ANIMALS")
SOURCE = FOLDER or "digits"
CLASSES = sorted(place.name for place in Path(FOLDER).glob("[!.]*/"))[:5] if FOLDER else ["0", "1", "2", "3", "4"]
SIZE, PER_CLASS = (16 if TINY else 32), 20
BUDGET = {"steps": 6} if TINY else {"minutes": 5}
OUT = Path(os.environ.get("NOISETTE_OUT", "runs/notebook-1"))
NET = {"multipliers": [1]} if TINY else {}

# %% [markdown]
# ## 1. A loader
#
# Any folder of photos, of any size and shape: the middle square of each is resized, and the pixels become numbers
# in [-1, 1], the range in which noise of variance 1 drowns them at the end of the forward process.

# %%
data = DiffusionDataset(SOURCE, image_size=SIZE, classes=CLASSES, per_class=PER_CLASS, share=0)
x, labels = next(iter(data.loader(20, seed=0)))
print(f"{len(data)} images, {tuple(x.shape[1:])}, from {x.min():.2f} to {x.max():.2f}; {', '.join(data.classes)}")
grid(images(x), [data.classes[k] for k in labels], columns=10)

# %% [markdown]
# ## 2. Forward: noise, step by step
#
# `forward_process(x0, T)` gives x_0, x_1, ..., x_T, each with a little more Gaussian noise. T can be changed, but
# the last picture has to be noise. Whether it is can be measured, or computed: the schedule leaves
# sqrt(alpha_bar_T) of the image.

# %%
T = 1000
generator = torch.Generator().manual_seed(0)
way = forward_process(x[:2], T, generator=generator)
shown = [round(k * T / 9) for k in range(10)]
grid(np.concatenate([images(way[shown, k]) for k in range(2)]), [f"t={t}" for t in shown] * 2, columns=10)

# %%
for steps in (100, 250, 1000):
    for scaled in (False, True):
        last = forward_process(x, steps, scaled=scaled, generator=generator)[-1].flatten(1)
        left = (last * x.flatten(1)).sum(1) / x.flatten(1).square().sum(1)  # how much of each image is in its noise
        error = left.std() / len(left) ** 0.5
        computed = make_schedule("linear", steps, scaled).terminal_signal
        kind = "betas scaled to T" if scaled else "betas 1e-4 to 0.02"
        print(f"T={steps:5d}, {kind}: {computed:6.1%} is left; measured {left.mean():6.1%} +- {error:.1%}")

# %% [markdown]
# ## 3. The net
#
# A U-Net: it looks at the noisy picture at several sizes, and each level down sees more of it at once, while skip
# connections bring the detail back on the way up. SiLU follows each normalisation: it is smooth, so that the
# net's answer changes smoothly with the noise level, and does not die where it is negative, as ReLU does. The
# last layer has no activation: noise is not bounded. The step t is embedded once, and concatenated with the features
# of every block.

# %%
model = DiffusionModel(image_size=SIZE, channels=x.shape[1], seed=0, **NET)
size = sum(p.numel() for p in model.parameters())
print(f"{size:,} parameters")
print(f"in {tuple(x.shape)}, out {tuple(model(x, torch.randint(0, T, (len(x),))).shape)}")

# %% [markdown]
# ## 4. A loss of our own
#
# The Charbonnier loss: like L2 near zero, like L1 far away, so that a few pixels that are far off do not rule a
# step. It is given to Noisette as `module:function`, here from a file beside the notebook; it gets two tensors
# and gives a loss for each element. After a change to this cell restart the kernel, because Python does not read a
# module twice, and remove the runs that were trained with the old one.

# %%
Path("own_loss.py").write_text(
    '''"""The loss of the notebook on animals."""


def charbonnier(predicted, target, width=0.05):
    return ((predicted - target).square() + width**2).sqrt() - width
'''
)

# %% [markdown]
# ## Training
#
# `train` chooses a recipe by the shape of the images, and keeps everything in a run folder. The settings make it the
# net of section 3, which predicts the noise and is not told the class, with the loss of section 4. A hundred images
# are few. Photos are therefore shown mirrored too; digits are not, since a mirrored one is no digit. The report says
# whether the model has learned them by heart.

# %%
settings = {
    "data.classes": CLASSES,
    "data.per_class": PER_CLASS,
    "data.image_size": SIZE,
    "data.flip": bool(FOLDER),
    "data.held_out": 0.1,
    "objective.predicts": "eps",
    "objective.distance": "own_loss:charbonnier",
    "net.time": "concat",
    "net.conditional": False,
    **{f"net.{key}": value for key, value in NET.items()},
    **({"train.batch": 8} if TINY else {}),
}
run = nt.train(SOURCE, out=OUT / "animals", settings=settings, reopen=True, **BUDGET)
trained = sum(p.numel() for p in run.denoiser().parameters())
print(f"{trained:,} parameters: {'the net of section 3' if trained == size else 'another net than that of section 3'}")
rows = [row for row in run.metrics if "loss" in row]
held = [row for row in run.metrics if "val_loss" in row]
figure, axis = plt.subplots(figsize=(9, 2.8))
axis.semilogy([r["step"] for r in rows], [r["loss"] for r in rows], alpha=0.5, label="training")
axis.semilogy([r["step"] for r in held], [r["val_loss"] for r in held], "o-", label="held-out images")
axis.set(xlabel="step", ylabel="Charbonnier loss")
axis.legend()
plt.show()

# %% [markdown]
# ## 5. From noise to an image
#
# A test function: noise in, an image out. The same noise always gives the same image.

# %%
drawn = test_function(run.noise(20, seed=0), run)
grid(images(drawn), columns=10)

# %%
run.trajectory(2, seed=0).picture(samples=2)

# %% [markdown]
# ## 7. In a file of its own
#
# `run.notebook()` writes `test_diffusion.ipynb` into the run folder: it loads the model and shows what it can do.

# %%
print(run.notebook())
print(run.report())

# %% [markdown]
# ## 8. Findings: the learning rate
#
# The same training with other rates, everything else the same: what a rate does is measured, not guessed.

# %%
rates = [0.1, 1.0, 10.0]
found = {}
for factor in rates:
    changed = {**settings, "optim.lr": 3e-3 * factor, "optim.muon_lr": 0.02 * factor, "train.previews": 0}
    budget = {"steps": 6} if TINY else {"minutes": 1}
    try:
        tried = nt.train(SOURCE, out=OUT / f"rate-{factor:g}", settings=changed, reopen=True, **budget)
        found[factor] = [(r["step"], r["val_loss"]) for r in tried.metrics if "val_loss" in r]
    except nt.UserError as error:
        if "is nan" not in str(error) and "is inf" not in str(error):
            raise
        print(f"{factor:g} times the usual rate: it diverged: {error}")  # the loss is no longer a number
figure, axis = plt.subplots(figsize=(9, 2.8))
for factor, points in found.items():
    axis.semilogy(*zip(*points, strict=True), "o-", label=f"{factor:g} x")
axis.set(xlabel="step", ylabel="held-out loss")
axis.legend(title="learning rate")
plt.show()
last = {factor: points[-1][1] for factor, points in found.items() if points}
best = min(last, key=last.get)
for factor, loss in sorted(last.items()):
    print(f"{factor:g} times the usual rate: held-out loss {loss:.4f}, {loss / last[best]:.2f} times the lowest")
print(f"Of these, {best:g} times the usual rate is best. One run each: a difference of a few per cent may be luck.")

# %% [markdown]
# ## To hand in
#
# ```python
# run.report(pdf=True)  # report.html and report.pdf, printed by a Chrome or Edge on this machine
# run.bundle(name="FirstName", number="12345", suffix="07")  # FirstName_12345_07.zip: code, report, notebook, model
# ```

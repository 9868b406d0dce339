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
# takes about a quarter of an hour a study. Run again, the notebook goes on where it was; to train anew, remove the
# folder `runs/notebook-2`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

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
if TINY:
    NET |= {"train.precision": "fp32", "train.layout": "channels_first", "train.compile": "off"}
    NET |= {"train.checks": 1, "train.previews": 1}
BASE = {**NET, "data.image_size": SIZE, "train.images": 32} if TINY else {"data.image_size": SIZE}
SMALL = {"samples": 100, "seeds": 1, "features": "pixels"} if TINY else {}
FEW = {
    "timesteps": ["T=20,25"],
    "image-size": ["size=8,12", "at=equal images"],
    "batch-size": ["batch=8,16", "at=equal images"],
    "activations": ["activation=relu,silu"],
    "losses": ["loss=l2,l1"],
}


QUALITY = {"image-size": "fid_ratio"}  # sizes are compared in multiples of what real photos of that size have


def study(name, *numbers, but=None):
    """The study of this name on the cars, with these numbers in its table; but: a setting that it tries itself."""
    settings = {key: value for key, value in BASE.items() if key != but}
    values = FEW[name] if TINY else []
    found = nt.study(name, data=DATA, budget=BUDGET, out=OUT / name, settings=settings, values=values, **SMALL)
    return show(found, QUALITY.get(name, "fid"), *numbers)


def show(found, *numbers):
    """Prints how long each setting took and how good it is, then what follows from that."""
    print(found.table("seconds_train", "seconds_sample", *numbers), found, sep="\n\n")
    return found


def means(found):
    """Setting -> its numbers, each the mean over the seeds."""
    seeds = {}
    for result in found.results:
        if result.state == "finished":
            numbers = {key: value for key, value in result.numbers.items() if value is not None}
            seeds.setdefault(result.setting, []).append(numbers)
    return {
        setting: {key: float(np.mean([one[key] for one in numbers])) for key in set.intersection(*map(set, numbers))}
        for setting, numbers in seeds.items()
    }


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
run = nt.train(DATA, out=OUT / "benchmark", settings=BASE, reopen=True, **({} if TINY else {"minutes": 2}))
end = run.metrics[-1]
print(f"{end['images']:,} images in {end['seconds']:.0f} s: the benchmark")
run.sample(16).picture()

# %% [markdown]
# ## T: 250, 300, 350
#
# With the betas that were made for 1,000 steps, a shorter T stops before the image has become noise, and then
# every sample starts from something that the net never saw. So these raw betas are tried beside betas that are
# scaled to T: for every T below 1,000, or, where the budget is quick, for T = 300 alone.

# %%
t = study("timesteps", "forward_seconds", "terminal_signal")

# %%
t.picture()

# %% [markdown]
# How T changes the rate and the extent of the diffusion: the rate is what one step takes of the image, the extent is
# what all of them leave of it.

# %%
T = {result.setting: int(result.values["T"]) for result in t.results}
for setting, numbers in means(t).items():
    left, seconds = numbers["terminal_signal"], numbers["forward_seconds"]
    print(
        f"{setting}: a step takes {1 - left ** (1 / T[setting]):.2%} of the image on average, and {left:.1%} is left "
        f"after {T[setting]:,} steps; to noise 64 images takes {seconds:.2g} s"
    )

# %% [markdown]
# ## IMG_SIZE: 16, 32, 64, 128

# %%
size = study("image-size", "memory", but="data.image_size")

# %%
size.picture()

# %% [markdown]
# ## BATCH_SIZE: 64, 128, 256

# %%
batch = study("batch-size", "memory", but="train.batch")

# %%
batch.picture()

# %% [markdown]
# And the rate and the extent of the diffusion?

# %%
left = [numbers["terminal_signal"] for found in (size, batch) for numbers in means(found).values()]
same = max(left) - min(left) < 1e-9
print(f"Over all image sizes and batch sizes, {min(left):.3%} to {max(left):.3%} of the image is left at the end:")
print("they change the training, not the diffusion." if same else "they change the diffusion too.")

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
activations = study("activations", "val_loss")

# %%
activations.picture()

# %% [markdown]
# ## Losses
#
# L2 is what the likelihood gives; L1 counts a large error no more than several small ones; Huber and Charbonnier
# are L2 near zero and L1 far from it.

# %%
losses = study("losses")

# %%
losses.picture()

# %% [markdown]
# ## The two fastest settings, trained on

# %%
more = {"settings": {"train.images": 32}} if TINY else {}
best = show(nt.study("best-of", of=OUT / "batch-size", out=OUT / "best-of", budget=BUDGET, **more), "fid")

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
# Four things can be measured: how often the net saw each photo; whether it was still learning at the end; how far its
# samples are from photos, and in what; and what is wrong with the samples themselves.

# %%
photos = nt.load(nt.DataSpec(DATA, image_size=SIZE))
seen = end["images"] / len(photos.train)
print(f"{len(photos.train):,} photos to learn from, each seen {seen:.2g} times")
held = [row["val_loss"] for row in run.metrics if "val_loss" in row]
fell = 1 - held[-1] / held[len(held) // 2]
print(f"the loss on held-out photos in the second half of the training: {-fell:+.1%}")

rows = run.evaluate(100 if TINY else 512, metrics=("fid", "prdc"), features="pixels" if TINY else "auto")
drawn = {row["metric"]: row["value"] for row in rows if not row["real"] and row["reference"] == "train"}
real = {row["metric"]: row["value"] for row in rows if row["real"] == "train against train"}
for name in ("fid", "precision", "recall", "coverage"):
    print(f"{name:10s} {drawn[name]:8.3f}, of as many real photos {real[name]:8.3f}")

# %%
diagnosis = run.doctor(36 if TINY else 64)
print("\n".join(health.lines(diagnosis)))

# %% [markdown]
# So:

# %%
equal = [r for r in size.results if r.values["at"] == "equal images" and r.state == "finished"]
by_size = {int(r.values["size"]): means(size)[r.setting]["fid_ratio"] for r in equal}
small, large = min(by_size), max(by_size)
lack = min(("precision", "recall"), key=lambda name: drawn[name] / max(real[name], 1e-9))
meaning = {"precision": "too few samples could be photos", "recall": "too many photos have no sample like them"}

far = drawn["fid"] / real["fid"]
print(f"* Their Fréchet distance from the photos is {far:.0f} times that of as many real photos.")
print(f"* What they lack most is {lack}: {meaning[lack]}.")
if fell > 0.01:
    print(f"* Training was short: with each photo seen {seen:.2g} times, the held-out loss was still falling.")
else:
    print(f"* The held-out loss had stopped falling, with each photo seen {seen:.2g} times: longer will help little.")
larger = "worse" if by_size[large] > by_size[small] else "better"
print(
    f"* For as many photos shown, {large} pixels give {by_size[large]:.3g} times the distance of real photos of that "
    f"size, {small} pixels {by_size[small]:.3g} times: larger is {larger}."
)

# %% [markdown]
# ## Strengths and limits
#
# The best and the worst setting of each study, and the fastest and the slowest; then what that says of the model.

# %%
studies = {"T": t, "the image size": size, "the batch size": batch, "the activation": activations, "the loss": losses}
matters, times = [], {}
for name, found in studies.items():
    quality = "fid_ratio" if found is size else "fid"
    table = {setting: numbers for setting, numbers in means(found).items() if quality in numbers}
    seconds = "seconds_sample" if found is t else "seconds_train"  # T is paid for in sampling
    by_quality = sorted(table, key=lambda setting: table[setting][quality])
    by_time = sorted(table, key=lambda setting: table[setting][seconds])
    best_one, worst = (f"{setting} ({table[setting][quality]:.3g})" for setting in (by_quality[0], by_quality[-1]))
    quick, slow = (f"{setting} ({table[setting][seconds]:.2g} s)" for setting in (by_time[0], by_time[-1]))
    print(f"{name}: best {best_one}, worst {worst}; fastest {quick}, slowest {slow}")
    times[name] = table[by_time[-1]][seconds] / table[by_time[0]][seconds]
    if any("Fréchet" in sentence and " beat " in sentence for sentence in found.findings):
        matters.append(name)

# %%
checked = {symptom.key for symptom in diagnosis.symptoms}
wrong = [finding.key for finding in diagnosis.findings]
fine = {"noisy": "free of noise", "collapsed": "different from one another", "copied": "no copies of photos"}
robust = [name for name in studies if name not in matters]
costly = max(times, key=times.get)
print("Strengths:")
praise = [words for key, words in fine.items() if key in checked and key not in wrong]
print(f"* samples are {', '.join(praise) or 'nothing to praise'}")
print(f"* no difference in quality beyond chance was found for {', '.join(robust) or 'nothing: each choice matters'}")
print("Limits:")
print(f"* samples are {far:.0f} times as far from photos as photos are{', and ' + ', '.join(wrong) if wrong else ''}")
print(f"* quality depends on {', '.join(matters) or 'nothing that was tried: the limit lies elsewhere'}")
print(f"* time depends most on {costly}: the slowest setting takes {times[costly]:.1f} times that of the fastest")

# %%
print(run.report())
for found in (*studies.values(), best):
    print(found.report)

# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Handwritten ones, and a second number, from noise
#
# A denoising diffusion model of two of MNIST's digits as one class, `MNISTDiffusion`: a cosine schedule, a net
# that predicts the mean and the variance of each step back, 36 samples, and the way from noise to a digit, every
# picture with its step.
#
# With `NOISETTE_NOTEBOOK=tiny` in the environment everything is so small that it only shows that the notebook
# runs.

# %%
import math
import os
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from noisette.coursework import DiffusionDataset, MNISTDiffusion
from noisette.data import DataSpec, load
from noisette.data.stream import images
from noisette.diffusion.likelihood import variational_bits
from noisette.experiment.config import DataConfig
from noisette.tasks.judge import Judge
from noisette.views.figures import grid

TINY = os.environ.get("NOISETTE_NOTEBOOK") == "tiny"
T, LONG = (50, 100) if TINY else (1000, 10_000)
SECONDS = 3 if TINY else 300
BATCH = 16 if TINY else 64
NET = {"width": 8, "multipliers": [1], "groups": 4, "patch": 4} if TINY else {}
DIGITS = ["1", "7"]

# %% [markdown]
# ## The data
#
# `DiffusionDataset` reads whatever Noisette reads. `digits` is 5,000 images of MNIST's training set that need no
# download; `mnist` fetches all 60,000. `classes=["1"]` gives the ones alone; two numbers are the harder exercise.

# %%
data = DiffusionDataset("digits", classes=DIGITS)
loader = data.loader(BATCH, seed=0)
print(f"{len(data):,} images to learn from; classes: {', '.join(data.classes)}")
some = torch.stack([data[int(k)][0] for k in np.linspace(0, len(data) - 1, 12)])
grid(images(some), columns=12)

# %% [markdown]
# ## a) The model: a schedule and a U-Net
#
# The constructor makes betas from the cosine schedule, alphas from betas, and the U-Net, whose output has two
# channels for each of the image's: one for the noise, one for the variance.

# %%
torch.manual_seed(0)
model = MNISTDiffusion(image_size=28, in_channels=1, timesteps=T, seed=0, **NET)
parameters = sum(p.numel() for p in model.parameters())
betas = model._cosine_variance_schedule(T)
terminal = float(model.alpha_bar[-1].sqrt())
print(f"{parameters:,} parameters; beta from {betas[0]:.2e} to {betas[-1]:.3f}")
print(f"at t = T {terminal:.1e} of the signal is left")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8))
left.semilogy(betas)
left.set(xlabel="t", ylabel="beta")
right.plot(model.alpha_bar.sqrt(), label="signal, sqrt(alpha_bar)")
right.plot((1 - model.alpha_bar).sqrt(), label="noise, sqrt(1 - alpha_bar)")
right.set(xlabel="t")
right.legend()
plt.show()

# %% [markdown]
# ## b) Forward: adding noise
#
# $q(x_t \mid x_0) = \mathcal N(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I)$, in one step for any t:
# `_forward_diffusion`. `forward` draws one t for each sample and returns the noise that the net sees there.

# %%
digit = data[0][0][None]
steps = [round(k * (T - 1) / 9) for k in range(10)]
generator = torch.Generator().manual_seed(0)
noise = torch.randn(digit.shape, generator=generator)
way = torch.cat([model._forward_diffusion(digit, torch.tensor([t]), noise) for t in steps])
grid(images(way), [f"t={t}" for t in steps], columns=10)

# %%
x_T = model._forward_diffusion(some, torch.full((len(some),), T - 1), torch.randn(some.shape, generator=generator))
print(f"at the last step: mean {x_T.mean():+.3f}, variance {x_T.var():.3f}; noise has 0 and 1")

# %% [markdown]
# ## c) Backward, with a learned mean and variance
#
# `_reverse_diffusion(x_t, t, noise)` draws $x_{t-1}$ from $\mathcal N(\mu_\theta(x_t, t), \Sigma_\theta(x_t,
# t))$. The net's second output says where the variance lies between beta~ and beta, in log space (Nichol &
# Dhariwal 2021, eq. 15). The squared error of the noise teaches the mean; a small share of the variational bound
# teaches the variance: `loss`.
#
# ## e) Training
#
# * timesteps: 1,000. With many small steps each step back is nearly Gaussian, as the model takes it to be, and
#   little is left of the image at T; 10,000 is what a course may recommend. Against that, every step is a call of the
#   net: section d measures what either length costs. Training costs the same with both, because each image is taken
#   to one random t; `T` above changes it;
# * optimiser: AdamW, the usual choice where gradients of all layers differ in scale;
# * loss: the squared error of the noise plus 0.001 T times the bound (`L_hybrid`), because the variance is to be
#   learned;
# * schedule of the rate: a short rise, then a cosine down to nothing, so that the last steps settle;
# * EMA: the average of the weights over the last steps is what draws.

# %%
RATE, DECAY = 2e-3, 0.995
optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
average = torch.optim.swa_utils.AveragedModel(
    model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY), use_buffers=False
)
losses, rates, begun, seen = [], [], time.perf_counter(), 0
draw = torch.Generator().manual_seed(1)
while (share := (time.perf_counter() - begun) / SECONDS) < 1:
    for x, _ in loader:
        share = min((time.perf_counter() - begun) / SECONDS, 1.0)
        rate = RATE * min(1.0, (share + 1e-3) / 0.03) * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = model.loss(x, generator=draw)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        losses.append(float(loss.detach()))
        rates.append(rate)
        seen += len(x)
        if share >= 1:
            break
best = average.module
print(f"{len(losses):,} steps, {seen / len(data):.1f} passes over the data, in {time.perf_counter() - begun:.0f} s")
window = max(1, len(losses) // 60)
smooth = np.convolve(losses, np.ones(window) / window, "valid")
figure, axis = plt.subplots(figsize=(9, 2.8))
axis.semilogy(np.arange(len(smooth)) + window, smooth)
axis.set(xlabel="step", ylabel="L_hybrid, smoothed")
plt.show()

# %% [markdown]
# ## d) Sampling: the whole way
#
# `sampling(36)` returns every state from $x_T$ to $x_0$: T + 1 frames. With a T of 10,000 that is a lot of
# memory; `every=100` keeps each hundredth one, the first and the last.

# %%
every = max(1, T // 100)
begun = time.perf_counter()
trajectory = best.sampling(n_samples=36, every=every, seed=0)
taken = time.perf_counter() - begun
print(f"{tuple(trajectory.shape)}: {len(trajectory)} frames of 36 samples in {taken:.1f} s")
samples = images(trajectory[-1])
grid(samples, columns=6)

# %% [markdown]
# The same with the longer T, for one sample: its net need not be trained to tell the time. One sample of the short
# chain is timed beside it.

# %%
seconds = {}
for steps in (T, LONG):
    chain = MNISTDiffusion(image_size=28, in_channels=1, timesteps=steps, seed=0, **NET).eval()
    begun = time.perf_counter()
    chain.sampling(n_samples=1, every=steps, seed=0)
    seconds[steps] = time.perf_counter() - begun
    left = float(chain.alpha_bar[-1].sqrt())
    print(f"T = {steps:6,}: {seconds[steps]:.1f} s for one sample, {left:.1e} of the signal left at T")
print(f"{LONG // T} times as many steps take {seconds[LONG] / seconds[T]:.1f} times as long.")

# %% [markdown]
# How many of the 36 are clear? A reader that was trained on all ten digits says so: clear is what it reads with a
# probability above 0.9 as one of the two digits asked for. Held-out real digits show how strict that is.

# %%
every_digit = load(DataSpec("digits"))
reader = Judge(every_digit, DataConfig(source="digits")).reader
wanted = [reader.classes.index(name) for name in DIGITS]


def clear(x):
    p = reader.probabilities(x)
    return (p.max(1) > 0.9) & np.isin(p.argmax(1), wanted), p.argmax(1)


ok, read = clear(samples)
real = DiffusionDataset("digits", classes=DIGITS, held_out=True)
real_ok, _ = clear(images(torch.stack([real[k][0] for k in range(len(real))])))
counts = ", ".join(f"{(read[ok] == k).sum()} read as {reader.classes[k]}" for k in wanted)
print(f"{ok.sum()} of 36 samples are clear ({counts}); of real held-out ones {real_ok.mean():.0%} are")

# %% [markdown]
# ## f) From noise to a digit
#
# Each picture has its state below it, from $x_T$, which is noise, to $x_0$, the digit. The index t of the code in
# section b counts from 0: it takes an image to the state $x_{t+1}$.

# %%
kept = best.kept_steps(every)
frames = [round(k * (len(kept) - 1) / 11) for k in range(12)]
chosen = np.flatnonzero(ok)[:2] if ok.sum() >= 2 else np.arange(2)
rows = [images(trajectory[f, k][None])[0] for k in chosen for f in frames]
grid(np.stack(rows), [f"x_{kept[f]}" for _ in chosen for f in frames], columns=12)

# %% [markdown]
# ## Is the learned variance worth anything?
#
# The bound on held-out digits, in bits per dimension, lower is better: the same net with the variance it learned
# and with the two fixed ones, over all T steps.

# %%
held = torch.stack([real[k][0] for k in range(min(len(real), 8 if TINY else 64))])
kinds = ["small", "large", "learned"]
found = {}
for kind in kinds:
    bits = variational_bits(
        best.chain.denoiser, held, 8 if TINY else 64, generator=torch.Generator().manual_seed(0), variance=kind
    )
    total = bits.total.numpy()
    found[kind] = (total.mean(), 1.96 * total.std(ddof=1) / len(total) ** 0.5)
for kind, (mean, reach) in found.items():
    print(f"{kind:8s} {mean:.3f} +- {reach:.3f} bits/dim")
lowest = min(found, key=lambda kind: found[kind][0])
print(f"the lowest is that of the {lowest} variance")

# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Human motion from noise
#
# A denoising diffusion model of skeletons that move: clips of N frames of 20 key points, the training algorithm, the
# U-Net of motion diffusion, the sampling algorithm, the class `DenoiseDiffusion`, the loss per epoch, and the results,
# moving. Then the same in one line, measured beside real motion, and clips with a part that is given.
#
# `MOTION` in the environment is your own file or folder (.npy, .npz, .csv, .json, .bvh: docs/motion.md says how they
# are read), of any number of key points in two or three dimensions. Without it, the bundled set is taken: seven
# actions of twenty people, computed. With `NOISETTE_NOTEBOOK=tiny` everything is so small that it only shows that the
# notebook runs; otherwise it takes about ten minutes on two cores.
#
# Run again, the model of the one line is opened instead of trained; remove the folder `runs/notebook-4` to train anew.

# %%
import math
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image
from torch.utils.data import DataLoader, TensorDataset

import noisette as nt
from noisette.coursework import DenoiseDiffusion, MDM_UNetModel
from noisette.data.motion import MotionSpec, denormalise, load, normalise
from noisette.metrics import motion, ratios
from noisette.tasks.edit import Edit
from noisette.tasks.motion import alike, body_of
from noisette.views import skeletons

TINY = os.environ.get("NOISETTE_NOTEBOOK") == "tiny"
MOTION = os.environ.get("MOTION", "motion")
N = 16 if TINY else 48  # frames of a clip
T = 60 if TINY else 1000
SECONDS = 1 if TINY else 210
CLIPS = 4 if TINY else 24  # samples that are measured
OUT = Path(os.environ.get("NOISETTE_OUT", "runs/notebook-4"))
LIMIT = 28 if TINY else None  # takes

# %% [markdown]
# ## The data
#
# The sequences are cut into clips of N frames. Every clip begins at the origin of the ground and looks the same way,
# and every key point is seen from the root of the body, at a scale of its own: `normalise` makes of a clip
# (N, key points, dimensions) what a net sees, (key points x dimensions, N), and `denormalise` takes it back. A fifth
# is held out: other people, or other sequences where nobody says whose they are. What is made is measured beside those.

# %%
data = load(MotionSpec(MOTION, frames=N, held_out=0.2, limit=LIMIT))
if len(np.unique(data.take[data.held_out])) < 2:
    raise nt.UserError(f"{MOTION}: {len(data.takes)} sequences are too few to hold some out: ten or more are needed")
fps, unit, drawn_as = data.fps, data.skeleton.unit, skeletons.Body.of(data.skeleton)
_, frames, points, dims = data.x.shape
print(f"{len(data.takes)} sequences make {len(data):,} clips of {frames} frames, {points} key points x {dims}")
print(f"{len(data.train):,} clips to learn from, {len(data.held_out):,} held out; {fps or '?'} frames a second")
kinds = {} if data.labels is None else {name: int((data.labels == k).sum()) for k, name in enumerate(data.classes)}
print("; ".join(f"{name} {count:,}" for name, count in kinds.items()) or "no classes are known")
if data.labels is None:
    rows = data.train[np.linspace(0, len(data.train) - 1, 7).astype(int)]
    names = [data.name(row) for row in rows]
else:
    known = np.unique(data.labels[data.train])[:12]
    of_each = [data.train[data.labels[data.train] == k] for k in known]
    rows, names = np.array([of_one[len(of_one) // 2] for of_one in of_each]), [data.classes[k] for k in known]
skeletons.sheet(skeletons.strips(data.x[rows], drawn_as, names, fps=fps), columns=2).image()


# %%
def moving(clips, captions=None):
    """Clips (n, frames, points, dims) side by side at their own speed; the notebook holds the animation itself."""
    return Image(data=skeletons.film(clips, drawn_as, "gif", fps=fps, captions=captions), format="gif")


moving(data.x[rows], names)

# %%
REACH = float(np.quantile(np.abs(normalise(data.x[data.train], data.normaliser)), 0.999))


def seen(clips):
    """Clips as the net sees them, (n, points * dims, frames), all but a thousandth of it within [-1, 1]."""
    return torch.from_numpy(normalise(clips, data.normaliser)) / REACH


def clips_of(x):
    """What the net made, in the data's own units."""
    return denormalise((x * REACH).numpy(), data.normaliser)


# %% [markdown]
# ## Training: the algorithm
#
# One line of the algorithm after the other:
#
# 1. repeat, and keep the loss of every pass over the data, an *epoch*;
# 2. $x_0 \sim q(x_0)$: a batch of clips;
# 3. $t \sim$ Uniform: every clip gets a step of its own. The code counts the steps 0, ..., T - 1;
# 4. $\epsilon \sim N(0, I)$: noise in the shape of the clips;
# 5. a gradient step on $\|\epsilon - \epsilon_\theta(\sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon,
#    t)\|^2$: the net is shown the clips with that noise, and is to say which noise it is;
# 6. until the time is up.


# %%
def train(diffusion, loader, held_out, seconds, rate=1e-3):
    """The mean loss of each epoch, and at its end that of held-out clips, always with the same noise and steps."""
    optimizer = torch.optim.Adam(diffusion.eps_model.parameters(), lr=rate)
    losses, unseen, begun, share = [], [], time.perf_counter(), 0.0
    while share < 1:  # 1
        epoch = []
        for (x0,) in loader:  # 2
            t = torch.randint(T, (len(x0),))  # 3
            eps = torch.randn_like(x0)  # 4
            loss = (eps - diffusion.eps_model(diffusion.q_sample(x0, t, eps), t)).square().mean()  # 5
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for group in optimizer.param_groups:  # large steps first, small ones at the end, so that it settles
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * share))
            optimizer.step()
            epoch.append(loss.item())
            share = min(1.0, (time.perf_counter() - begun) / seconds)
            if share == 1:  # 6
                break
        losses.append(np.mean(epoch))
        with torch.no_grad():
            unseen.append(diffusion.loss(held_out, generator=torch.Generator().manual_seed(0)).item())
    return losses, unseen


# %% [markdown]
# ## MDM-UNet
#
# The net says which noise it sees. `MDM_UNetModel` has the parts that the exercise lists:
#
# * **time embedding**: the step t as sines and cosines, then two linear layers with SiLU between them. Every residual
#   block hears it, because how much of a frame is noise decides what to make of it;
# * **input blocks**: a convolution of kernel 3, then `num_res_blocks` residual blocks a level, and a convolution that
#   halves the frames before the next level. `channel_mult` is each level's width: fewer frames, more channels;
# * **attention** of several heads at the levels of `attention_resolutions` and in the middle: a convolution sees
#   neighbouring frames, attention sees all of them, and the beginning of a jump has to fit its end;
# * **output blocks**: the same upwards. Each residual block is also given what the input block of its level had found,
#   so that detail need not pass through the middle;
# * **output**: a norm, SiLU, and a convolution of kernel 3. It has no activation after it: noise has no bounds;
# * `padding_mode` says what lies beyond the first and the last frame, "circular" for motion that loops; `clip_dim` is
#   the size of a vector, of a text say, that the net can be told besides. Nothing is told here.
#
# Convolutions run along the frames, with the coordinates of all key points as channels: key points have no order in
# which neighbours would lie beside each other, frames have.

# %%
torch.manual_seed(0)
net = MDM_UNetModel(
    image_size=N,
    in_channels=points * dims,
    model_channels=16 if TINY else 64,
    out_channels=points * dims,
    num_res_blocks=1,
    attention_resolutions=(2,),
    channel_mult=(1, 2),
    num_heads=2 if TINY else 4,
    dims=1,
)
size = sum(p.numel() for p in net.parameters())
print(f"{size:,} parameters:")
for name, part in net.named_children():
    if share := sum(p.numel() for p in part.parameters()) / size:
        print(f"  {name:15s} {share:6.1%}")
x0 = seen(data.x[rows[:1]])
t = torch.randint(T, (1,))
print(f"a clip {tuple(x0.shape)} -> its noise {tuple(net(x0, t).shape)}")
apart = x0.unflatten(1, (points, dims)).transpose(1, 2)
print(f"or by key point, {tuple(apart.shape)} -> {tuple(net(apart, t).shape)}")

# %% [markdown]
# ## Sampling: the algorithm
#
# 1. $x_T \sim N(0, I)$;
# 2. for t = T, ..., 1:
# 3. $z \sim N(0, I)$, but none at the last step;
# 4. $x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{1 - \alpha_t}{\sqrt{1 - \bar\alpha_t}}\,\epsilon_\theta(x_t,
#    t)\right) + \sigma_t z$;
# 5. end, and 6. the result is $x_0$.
#
# `p_sample` is lines 3 and 4. `clipped=True` keeps what the net takes for $x_0$ within [-1, 1], where clips lie: near
# t = T a small error of the noise is a large one of the clip, and a net that is led astray there does not come back.


# %%
@torch.no_grad()
def sample(diffusion, count, seed=0, shown=()):
    """Clips (count, frames, points, dims) from noise; the first of them at the steps `shown`, from T to 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, points * dims, N, generator=generator)
    way = {T: x[0]}
    for t in reversed(range(T)):
        x = diffusion.p_sample(x, torch.full((count,), t), generator=generator, clipped=True)
        way[t] = x[0]
    states = torch.stack([way[t] for t in shown]) if shown else x[:0]
    return clips_of(x), clips_of(states)


# %% [markdown]
# ## DenoiseDiffusion
#
# The class holds the tables of $\beta_t$, $\alpha_t$, $\bar\alpha_t$ and $\sigma_t^2$, and four methods:
#
# * `q_xt_x0(x0, t)`: mean and variance of $x_t$, given $x_0$;
# * `q_sample(x0, t, eps)`: $x_t$ drawn from there;
# * `p_sample(xt, t)`: $x_{t-1}$, by what the net says;
# * `loss(x0)`: lines 3 to 5 of the training algorithm.
#
# The betas are those of the paper, from 0.0001 to 0.02. They are meant for T = 1000: `scaled=True` makes any T end in
# noise, and leaves T = 1000 as it is. Whether the end is noise is measured here: on its way a clip comes apart.

# %%
diffusion = DenoiseDiffusion(net, n_steps=T, device="cpu", scaled=True)
noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
steps = [round(k * (T - 1) / 5) for k in range(6)]
there = [clips_of(diffusion.q_sample(x0, torch.tensor([t]), noise))[0] for t in steps]
for t in (0, T // 2, T - 1):
    mean, variance = diffusion.q_xt_x0(x0, torch.tensor([t]))
    left = math.sqrt(float(diffusion.alpha_bar[t]))
    print(f"t = {t:4d}: {left:.1%} of the clip is left; the variance of the noise is {float(variance):.4f}")
real = seen(data.x[data.train[:512]])
last = diffusion.q_sample(real, torch.full((len(real),), T - 1), generator=torch.Generator().manual_seed(0))
print(f"{len(real)} clips at the last step: mean {last.mean():+.3f}, variance {last.var():.3f}; noise has 0 and 1")
print(f"loss before training: {diffusion.loss(real[:64]).item():.2f}; it is 1 for who always says 0")
skeletons.denoising(there[::-1], steps[::-1], [(t + 1) / T for t in steps[::-1]], drawn_as).image()

# %% [markdown]
# ## Loss curve per epoch

# %%
clips = seen(data.x[data.train])
loader = DataLoader(TensorDataset(clips), 32, shuffle=True, generator=torch.Generator().manual_seed(0))
some = data.held_out[np.unique(np.linspace(0, len(data.held_out) - 1, 256).astype(int))]
held_out = seen(data.x[some])
losses, unseen = train(diffusion, loader, held_out, SECONDS)
figure, axis = plt.subplots(figsize=(9, 2.8))
axis.semilogy(range(1, len(losses) + 1), losses, "o-", label="training")
axis.semilogy(range(1, len(unseen) + 1), unseen, "o-", label="held out")
axis.set(xlabel="epoch", ylabel="loss, eps")
axis.legend()
plt.show()
print(f"{len(losses)} epochs, each of {len(loader)} steps but for the last: {losses[0]:.3f} -> {losses[-1]:.3f}")

# %% [markdown]
# ## The results, moving
#
# Nothing is chosen by hand: the first nine of all that are measured below. The strip shows the first one on its way
# from noise: the pose in its middle, and behind it, pale, the whole motion.

# %%
shown = [T, *(round(T * share) for share in (0.6, 0.3, 0.15, 0.05)), 0]
begun = time.perf_counter()
by_hand, way = sample(diffusion, CLIPS, shown=shown)
print(f"{CLIPS} clips in {T} steps: {time.perf_counter() - begun:.0f} s")
skeletons.denoising(way, shown, [t / T for t in shown], drawn_as).image()

# %%
moving(by_hand[:9])

# %% [markdown]
# ## The same in a line
#
# `nt.train` has its own recipe for motion: the net predicts the clip instead of the noise, it is told the class where
# there are any, the weights are averaged, the optimiser is another one, and what is held out is measured on the way.
# `noisette train motion --frames 48 --minutes 4` is the same without Python.

# %%
budget = {"steps": 6} if TINY else {"minutes": 4}
settings = {"motion.frames": N, "data.held_out": 0.2}
if TINY:
    settings |= {"data.limit": LIMIT, "net.channels": 16, "train.batch": 8}
    settings |= {"train.precision": "fp32", "train.layout": "channels_first", "train.compile": "off"}
    settings |= {"train.checks": 1, "train.previews": 1}
run = nt.train(MOTION, out=OUT / "motion", settings=settings, reopen=True, **budget)
drawn = run.sample(CLIPS, seed=0, **({"steps": 5} if TINY else {}))
told = None if drawn.labels is None else [drawn.classes[k] for k in drawn.labels]
moving(drawn.x[:9], told and told[:9])

# %%
drawn.picture()

# %% [markdown]
# ## Do they move well?
#
# A picture does not say whether a body holds together. Three numbers a clip do:
#
# * **bone jitter**: how much the bones change their lengths in the course of a clip, in %. Real bones do not, but what
#   records them is not perfect;
# * **speed**: the mean speed of all key points. Too slow is a model that plays safe;
# * **jerk**: how fast the acceleration changes. Trembling shows there first, because each difference over time makes
#   what changes from frame to frame larger.
#
# They are held against the same of real clips that nobody learned from. How many times the real one it is has an
# interval. It counts people, or sequences where nobody says whose they are, for clips of one are alike: with few of
# them it is wide. A ratio whose interval holds 1 is no difference that was found.

# %%
body = body_of(data)
real, groups = motion.measures(data.x[data.held_out], body), alike(data, data.held_out)
models = {"by hand": by_hand, "in a line": drawn.x}
measured = {name: motion.measures(clips, body) for name, clips in models.items()}
asked = [name for name in ("bone_jitter", "speed", "jerk") if name in real]
beside = {
    (name, what): ratios.beside(measured[name][what], real[what], groups, nothing=motion.nothing(what))
    for name in models
    for what in asked
}
print(f"{'':10s} {'':11s} {'samples':>9s} {'real':>9s} {'':6s}  times real")
for (name, what), found in beside.items():
    ratio = found.ratio
    often = "" if ratio is None else f"{ratio.value:8.3g} ({ratio.low:.3g} to {ratio.high:.3g})"
    both = f"{found.samples.value:9.3g} {found.real.value:9.3g} {motion.unit(what, unit, fps):6s}"
    print(f"{name:10s} {what:11s} {both} {often}")

# %%
joint = skeletons.telling(data.x[data.held_out], drawn_as)[-1]
print(f"how fast {data.skeleton.names[joint]} is in the course of a clip: the median, and where eight of ten clips lie")
skeletons.over_time(data.x[data.held_out], drawn.x, drawn_as, joint, fps=fps)

# %% [markdown]
# `run.evaluate` measures more: how far the samples are from real ones in the features of a net that tells actions
# apart (fid), how much of what is real is covered (recall), and how much of what is drawn could be real (precision).
# `run.report()` puts all of it on one page in which the clips move.

# %%
if TINY:
    print("left out in the tiny setting: a net that tells actions apart is trained first")
else:
    for row in run.evaluate(300, metrics=("fid", "prdc", "memory", "motion")):
        if row["metric"] in ("fid", "precision", "recall", "memory_copied") and row["value"] is not None:
            whose = f"real, {row['real']}" if row["real"] else f"samples against {row['reference']}"
            print(f"{row['metric']:14s} {row['value']:8.3f} ({row['low']:.3f} to {row['high']:.3f})  {whose}")
    print(run.report())

# %% [markdown]
# ## Between two poses
#
# The first and the last frames of a real clip that was held out are given, and what lies between is drawn. The kept
# frames come back as they were; the question is whether the join shows. The acceleration across it says so, beside that
# of the real clips in the same frames.

# %%
keep = N // 6
_, firsts = np.unique(data.take[data.held_out], return_index=True)  # a clip of each sequence
moves = [k for k in firsts if motion.mean_change(data.x[data.held_out[k : k + 1]], 1)[0] > 0]
given = [int(moves[k]) for k in np.unique(np.linspace(0, len(moves) - 1, 1 if TINY else 8).astype(int))]
edits = [Edit(keep_frames=f":{keep},-{keep}:", given=f"held-out:{k}") for k in given]
steps = {"steps": 5} if TINY else {}
between = np.concatenate([run.sample(1, seed=seed, edit=edit, **steps).x for seed, edit in enumerate(edits)])
whole = data.x[data.held_out[given]]
off = np.abs(between - whole)[:, np.r_[:keep, N - keep : N]].max()
across = [keep - 2, keep - 1, N - keep - 2, N - keep - 1]  # of the accelerations, those that reach across a join
rough, smooth = (motion.change(clips, 2, fps)[:, across].mean() for clips in (between, whole))
print(f"the kept frames are off by {off:.1g} {unit} at most")
unit_of = motion.unit("acceleration", unit, fps)
print(f"acceleration across the joins: {rough:.3g} {unit_of}, in the real clips {smooth:.3g} {unit_of}")

# %%
names = ["real" if data.labels is None else data.classes[data.labels[data.held_out[k]]] for k in given[:3]]
moving([*whole[:3], *between[:3]], [*names, *["its middle drawn" for _ in names]])

# %% [markdown]
# ## Findings
#
# Made of what was just measured.

# %%
if len(losses) < 3:
    print("The loss: too few epochs to say anything.")
else:
    late = losses[len(losses) * 3 // 4]
    print(f"The loss went from {losses[0]:.3f} in the first epoch to {losses[-1]:.3f} in the last.", end=" ")
    print("It was still falling." if losses[-1] < 0.97 * late else "In the last quarter it hardly fell any more.")
    worse = unseen[-1] > 1.05 * min(unseen)
    print(f"On held-out clips it is {unseen[-1]:.3f}", end=": ")
    print("it had been lower: the net learns clips by heart." if worse else "nothing is learned by heart so far.")
words = {
    "bone_jitter": ("looser in their bones", "firmer in their bones"),
    "speed": ("faster", "slower"),
    "jerk": ("jerkier", "smoother"),
}
for name in models:
    said, same, unsure = [], [], []
    for what in asked:
        found, called = beside[name, what], what.replace("_", " ")
        if found.ratio is None:  # real clips have none of it
            amount = f"{found.samples.value:.3g} {motion.unit(what, unit, fps)}"
            if found.samples.low > motion.nothing(what):
                said.append(f"{words[what][0]} ({called} {amount}, where real clips have none)")
        elif not found.ratio.low <= 1 <= found.ratio.high:
            said.append(f"{words[what][found.ratio.value < 1]} ({found.ratio.value:.3g} times the real {called})")
        else:
            (same if found.ratio.low > 0.5 and found.ratio.high < 2 else unsure).append(called)
    lines = [f"Clips made {name} are {', '.join(said) or 'not told from real ones by these numbers'}."]
    lines += [f"No difference was found in {' and '.join(same)}."] if same else []
    lines += [f"In {' and '.join(unsure)} there are too few real clips to tell."] if unsure else []
    print(*lines)
for what in asked:
    both = [beside[name, what] for name in models]
    gaps = [found.samples.value - found.real.value for found in both]
    unsure = [found.samples.high - found.samples.value for found in both]
    if gaps[0] * gaps[1] < 0:  # one above the real number and one below: that it is itself uncertain counts, twice
        unsure.append(2 * (both[0].real.high - both[0].real.value))
    if abs(abs(gaps[0]) - abs(gaps[1])) > math.hypot(*unsure):
        nearer = list(models)[int(np.argmin(np.abs(gaps)))]
        print(f"In {what.replace('_', ' ')}, what is made {nearer} is nearer to real clips than the other.")
print(f"Across the joins the drawn clips accelerate {rough / smooth:.2f} times as hard as the real ones:", end=" ")
print("the joins show." if rough > 1.5 * smooth else "nothing tears there.")

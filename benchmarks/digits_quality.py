"""How good are drawn digits? An MNIST classifier that never saw them reads them.

    python benchmarks/digits_quality.py SAMPLES.npz --mnist DIR [--labels] [--digits mnist_5k.csv.gz] [--out FILE.json]

SAMPLES.npz holds `x`, uint8 (N, 28, 28, 1), and perhaps `labels` (N,). DIR holds MNIST's four idx files, gzipped. The
classifier is trained once on the 60,000 training images (a few minutes) and kept in --cache. Printed as JSON:

* confident: share of samples read with a probability above 0.9 (that of real test digits stands beside it);
* by_digit, least_digit: share of the samples read as each digit, and the least of them;
* frechet: Frechet distance (Heusel et al. 2017, float64) between the classifier's 128 penultimate features of the
  samples and of MNIST's 10,000 test images; real: the same for as many real training digits (drawn at random from
  --digits, or from MNIST's training images); ratio: frechet / real. The distance falls with the number of samples,
  so both sides use the same number, and values of different N are not to be compared;
* obeyed: with --labels, the share of samples that are read as the label they were asked for.

Confidence alone fools: a collapsed model reads as 100 % of one digit. Look at all of them, and at the pictures.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Reader(nn.Module):
    """(N, 1, 28, 28) in [0, 1] -> logits (N, 10); features(x) -> (N, 128), its last hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 128)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
                for a, b in pairwise(widths)
            )
        )
        self.hidden = nn.Linear(128 * 9, 128)
        self.out = nn.Linear(128, 10)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.hidden(F.dropout(self.stages(x).flatten(1), 0.3, self.training)))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


def idx(path: Path) -> np.ndarray:
    """The array in a gzipped idx file (uint8)."""
    raw = gzip.decompress(path.read_bytes())
    dims = raw[3]
    shape = np.frombuffer(raw, ">i4", dims, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)


def mnist(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """("train" | "t10k") -> images (N, 1, 28, 28) in [0, 1] and labels (N,)."""
    found = [next(folder.glob(f"{part}-{kind}*.gz"), None) for kind in ("images", "labels")]
    if None in found:
        sys.exit(f"digits_quality: no {part}-images*.gz and {part}-labels*.gz in {folder}")
    x, y = (idx(path) for path in found if path)
    return images(x), torch.from_numpy(y.astype(np.int64))


def images(x: np.ndarray) -> Tensor:
    """uint8 digits of any layout that holds 28x28 -> (N, 1, 28, 28) in [0, 1]."""
    return torch.from_numpy(x.astype(np.float32)).reshape(len(x), 1, 28, 28) / 255


def train(folder: Path, epochs: int, seed: int = 0) -> Reader:
    """Adam with a one-cycle rate on the training images, each shifted by up to 2 pixels."""
    torch.manual_seed(seed)
    x, y = mnist(folder, "train")
    net, size = Reader(), 256
    steps = epochs * (len(x) // size)
    opt = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=4e-3, total_steps=steps)
    for step in range(steps):
        if step % (steps // epochs) == 0:
            order = torch.randperm(len(x))
        pick = order[torch.arange(size) + size * (step % (steps // epochs))]
        down, right = torch.randint(-2, 3, (2,)).tolist()
        loss = F.cross_entropy(net(x[pick].roll((down, right), (2, 3))), y[pick])
        opt.zero_grad()
        loss.backward()
        opt.step()
        rate.step()
        if step % 100 == 0:
            print(f"reader: step {step} of {steps}, loss {loss.item():.3f}", file=sys.stderr, flush=True)
    return net.eval()


@torch.no_grad()
def read(net: Reader, x: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (N, 10) and features (N, 128)."""
    features = torch.cat([net.features(part) for part in x.split(500)])
    return net.out(features).softmax(1), features


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), A and B the covariances."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


class Judge:
    """The trained reader with the test set's features: judge(x) -> the numbers as a dictionary."""

    def __init__(self, folder: Path, cache: Path, epochs: int = 6) -> None:
        self.folder = folder
        self.net = Reader()
        kept = cache / f"digit-reader-{epochs}.pt"
        if kept.exists():
            self.net.load_state_dict(torch.load(kept, weights_only=True))
        else:
            self.net = train(folder, epochs)
            cache.mkdir(parents=True, exist_ok=True)
            torch.save(self.net.state_dict(), kept)
        self.net.eval()
        x, y = mnist(folder, "t10k")
        p, features = read(self.net, x)
        self.accuracy = (p.argmax(1) == y).double().mean().item()
        self.test_confident = (p.amax(1) > 0.9).double().mean().item()
        self.test_features = features.numpy()

    def real(self, n: int, digits: Path | None, seed: int = 0) -> float:
        """The Frechet distance of n real training digits."""
        if digits:
            with gzip.open(digits, "rt") as file:
                x = images(np.loadtxt(file, delimiter=",")[:, :784].astype(np.uint8))
        else:
            x, _ = mnist(self.folder, "train")
        if n > len(x):
            sys.exit(f"digits_quality: {n} samples, but only {len(x)} real digits to set beside them")
        pick = torch.from_numpy(np.random.default_rng(seed).permutation(len(x))[:n])
        return frechet(read(self.net, x[pick])[1].numpy(), self.test_features)

    def __call__(self, x: np.ndarray, labels: np.ndarray | None = None) -> dict[str, object]:
        p, features = read(self.net, images(x))
        best, digit = p.max(1)
        share = (torch.bincount(digit, minlength=10).double() / len(x)).tolist()
        result = {
            "n": len(x),
            "confident": (best > 0.9).double().mean().item(),
            "by_digit": [round(s, 4) for s in share],
            "least_digit": min(share),
            "frechet": frechet(features.numpy(), self.test_features),
        }
        if labels is not None:
            result["obeyed"] = (digit.numpy() == labels).mean().item()
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("samples", type=Path, help="an .npz with x, uint8 (N, 28, 28, 1)")
    parser.add_argument("--mnist", type=Path, required=True, help="folder with MNIST's four idx .gz files")
    parser.add_argument("--labels", action="store_true", help="also check `labels` of the .npz")
    parser.add_argument("--digits", type=Path, help="mnist_5k.csv.gz, the bundled digits, to take the real ones from")
    parser.add_argument("--cache", type=Path, default=Path("runs/.cache"), help="where the trained reader is kept")
    parser.add_argument("--epochs", type=int, default=6, help="epochs that the reader is trained for")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    args = parser.parse_args()

    with np.load(args.samples) as file:
        x, labels = file["x"], file["labels"] if args.labels else None
    if x.dtype != np.uint8 or x.size != len(x) * 784:
        parser.error(f"x is {x.dtype} {x.shape}, not uint8 (N, 28, 28, 1)")
    judge = Judge(args.mnist, args.cache, args.epochs)
    if judge.accuracy < 0.985:
        sys.exit(f"digits_quality: the reader is right on {judge.accuracy:.2%} of the test set only; needs 98.5 %")
    real = judge.real(len(x), args.digits)
    result = judge(x, labels)
    result |= {"real": real, "ratio": result["frechet"] / real}
    result |= {"reader_accuracy": judge.accuracy, "test_confident": judge.test_confident}
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

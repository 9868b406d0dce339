"""How good are drawn digits? An MNIST classifier that never saw them reads them.

    python benchmarks/digits_quality.py RUN --mnist DIR [-n 1024]
    python benchmarks/digits_quality.py SAMPLES.npz --mnist DIR [--labels]

RUN is a run folder: n samples are drawn as its own settings say, seeds 0 to n - 1. SAMPLES.npz holds `x`, uint8
(N, 28, 28, 1), and perhaps `labels` (N,). DIR holds MNIST's four idx files, gzipped. The classifier is trained once on
the 60,000 training images (a few minutes) and kept in --cache. Printed as JSON:

* confident: share of samples read with a probability above 0.9 (that of real test digits stands beside it);
* by_digit, least_digit: share of the samples read as each digit, and the least of them;
* frechet: Fréchet distance between the classifier's 128 penultimate features of the samples and of MNIST's 10,000
  test images, with its 95 % interval; real: the same for as many digits of --data, drawn at random; ratio:
  frechet / real. The distance falls with the number of samples, so both sides use the same number, and values of
  different N are not to be compared;
* obeyed: with labels, the share of samples that are read as the label they were asked for.

Confidence alone fools: a collapsed model reads as 100 % of one digit. Look at all of them, and at the pictures.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from command import ends_in_one_line, parser
from numpy.typing import NDArray
from torch import Tensor, nn

from noisette.data import DataSpec, load
from noisette.errors import UserError
from noisette.metrics.distances import Estimate, frechet

LEAST_ACCURACY = 0.985
"""Of a reader on MNIST's test images, below which its numbers are not worth reading."""


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


def idx(path: Path) -> NDArray[np.uint8]:
    """The array in a gzipped idx file (uint8)."""
    raw = gzip.decompress(path.read_bytes())
    dims = raw[3]
    shape = np.frombuffer(raw, ">i4", dims, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)


def mnist(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """("train" | "t10k") -> images (N, 1, 28, 28) in [0, 1] and labels (N,)."""
    found = [next(folder.glob(f"{part}-{kind}*.gz"), None) for kind in ("images", "labels")]
    if None in found:
        raise UserError(f"no {part}-images*.gz and {part}-labels*.gz in {folder}")
    x, y = (idx(path) for path in found if path)
    return images(x), torch.from_numpy(y.astype(np.int64))


def images(x: NDArray[np.uint8]) -> Tensor:
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


class Judge:
    """The trained reader with the features of MNIST's test images: judge(x) -> the numbers as a dictionary.

    Args:
        mnist_folder: with MNIST's four idx files, gzipped.
        cache: where the trained reader is kept.
        epochs: that it is trained for.
        least: accuracy on the test images below which it is refused.

    Raises UserError for files that are not there and for a reader that is too poor.
    """

    def __init__(self, mnist_folder: Path, cache: Path, epochs: int = 6, least: float = LEAST_ACCURACY) -> None:
        self.net = Reader()
        kept = cache / f"digit-reader-{epochs}.pt"
        if kept.exists():
            self.net.load_state_dict(torch.load(kept, weights_only=True))
        else:
            self.net = train(mnist_folder, epochs)
            cache.mkdir(parents=True, exist_ok=True)
            torch.save(self.net.state_dict(), kept)
        self.net.eval()
        x, y = mnist(mnist_folder, "t10k")
        p, self.test_features = self.read(x)
        self.accuracy = float((p.argmax(1) == y.numpy()).mean())
        self.test_confident = float((p.max(1) > 0.9).mean())
        if self.accuracy < least:
            raise UserError(f"the reader is right on {self.accuracy:.2%} of the test set, not on {least:.1%}: --epochs")

    @torch.no_grad()
    def read(self, x: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Images (N, 1, 28, 28) in [0, 1] -> probabilities (N, 10) and features (N, 128)."""
        features = torch.cat([self.net.features(part) for part in x.split(500)])
        return self.net.out(features).softmax(1).double().numpy(), features.double().numpy()

    def distance(self, x: NDArray[np.uint8]) -> Estimate:
        """The Fréchet distance of at least 100 digits (N, 28, 28, 1) to MNIST's test images."""
        return frechet(self.test_features, self.read(images(x))[1])

    def real(self, n: int, source: str, seed: int = 0) -> Estimate:
        """The distance of n digits of a data set, drawn at random without replacement."""
        x = load(DataSpec(source=source)).x
        if n > len(x):
            raise UserError(f"{n} samples, but only {len(x)} real digits to set beside them")
        return self.distance(x[np.random.default_rng(seed).permutation(len(x))[:n]])

    def __call__(self, x: NDArray[np.uint8], labels: NDArray[np.int64] | None = None) -> dict[str, Any]:
        p, features = self.read(images(x))
        digit, found = p.argmax(1), frechet(self.test_features, features)
        share = np.bincount(digit, minlength=10) / len(x)
        result: dict[str, Any] = {
            "n": len(x),
            "confident": float((p.max(1) > 0.9).mean()),
            "by_digit": share.round(4).tolist(),
            "least_digit": float(share.min()),
            "frechet": found.value,
            "frechet_low": found.low,
            "frechet_high": found.high,
        }
        if labels is not None:
            result["obeyed"] = float((digit == labels).mean())
        return result

    def about(self, n: int, source: str) -> dict[str, float]:
        """What stands beside every result of n samples: the same of real digits, and how good the reader is."""
        accuracy = {"reader_accuracy": self.accuracy, "test_confident": self.test_confident}
        return {"real": self.real(n, source).value, **accuracy}


def options(parser: argparse.ArgumentParser) -> None:
    """What every script needs that judges digits."""
    parser.add_argument("--mnist", type=Path, help="folder with MNIST's four idx .gz files")
    parser.add_argument("--data", default="digits", help="the digits that were learned from (default: digits)")
    parser.add_argument("--cache", type=Path, default=Path("runs/.cache"), help="where the trained reader is kept")
    parser.add_argument("--epochs", type=int, default=6, help="epochs that the reader is trained for (default: 6)")


@ends_in_one_line
def main() -> None:
    ask = parser(__doc__)
    ask.add_argument("samples", type=Path, help="a run folder, or an .npz with x, uint8 (N, 28, 28, 1)")
    options(ask)
    ask.add_argument("-n", type=int, default=1024, help="samples to draw from a run (default: 1024)")
    ask.add_argument("--labels", action="store_true", help="also check `labels` of the .npz")
    ask.add_argument("--least-accuracy", type=float, default=LEAST_ACCURACY, help="of the reader (default: 0.985)")
    ask.add_argument("--out", type=Path, help="also write the JSON here")
    args = ask.parse_args()
    if not args.mnist:
        ask.error("--mnist DIR is needed: the folder with MNIST's four idx .gz files")

    settings: dict[str, Any] = {}
    if args.samples.is_dir():
        from noisette.experiment.runs import Run
        from noisette.tasks.generate import generate

        samples, _ = generate(Run.open(args.samples), args.n)
        x, labels, settings = samples.x, samples.labels, {"settings": samples.settings}
    else:
        if not args.samples.is_file():
            raise UserError(f"{args.samples}: no such run folder or .npz file")
        with np.load(args.samples) as file:
            x, labels = file["x"], file["labels"] if args.labels else None
    if x.dtype != np.uint8 or x.size != len(x) * 784:
        ask.error(f"x is {x.dtype} {x.shape}, not uint8 (N, 28, 28, 1)")
    judge = Judge(args.mnist, args.cache, args.epochs, args.least_accuracy)
    result = {**judge(x, labels), **judge.about(len(x), args.data), **settings}
    result["ratio"] = result["frechet"] / result["real"]
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

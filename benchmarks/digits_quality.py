"""How good are drawn digits? An MNIST classifier that never saw them reads them.

    python benchmarks/digits_quality.py RUN --mnist DIR [-n 1024]
    python benchmarks/digits_quality.py SAMPLES.npz --mnist DIR [--labels]

RUN is a run folder: n samples are drawn as its own settings say, seeds 0 to n - 1. SAMPLES.npz holds `x`, uint8
(N, 28, 28, 1), and perhaps `labels` (N,). DIR holds MNIST's four idx files, gzipped. The classifier is trained once on
the 60,000 training images (a few minutes) and kept in --cache, under a name with a hash of those images and of its
code. N is at least 100, and at most the number of digits in --data. Printed as JSON:

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
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import ends_in_one_line, new_file, new_folder, parser, positive
from digit_reader import SIDE, images, mnist, trained
from numpy.typing import NDArray
from torch import Tensor

from noisette.data import DataSpec, ImageData, load
from noisette.errors import UserError
from noisette.experiment.runs import Run
from noisette.metrics.distances import FEWEST, Estimate, frechet
from noisette.tasks.generate import generate

LEAST_ACCURACY = 0.985
"""Of a reader on MNIST's test images, below which its numbers are not worth reading."""

EPOCHS = 6
FEW = 2560
"""Training images of the reader that --tiny takes."""


class Judge:
    """The trained reader with the features of MNIST's test images: judge(x) -> the numbers as a dictionary.

    Args:
        mnist_folder: with MNIST's four idx files, gzipped.
        cache: where the trained reader is kept.
        epochs: that it is trained for.
        most: training images, the first; all where nothing is said.
        least: accuracy on the test images below which it is refused.

    Raises UserError for files that are not there and for a reader that is too poor.
    """

    def __init__(
        self,
        mnist_folder: Path,
        cache: Path,
        epochs: int = EPOCHS,
        least: float = LEAST_ACCURACY,
        most: int | None = None,
    ) -> None:
        x, y = mnist(mnist_folder, "t10k")
        self.net = trained(mnist_folder, cache, epochs, most)
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
        x = real_digits(source, n).x
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


# --- what is asked for --------------------------------------------------------------------------------------------


def options(parser: argparse.ArgumentParser) -> None:
    """What every script needs that judges digits; `settle` is to follow."""
    parser.add_argument("--mnist", type=Path, help="folder with MNIST's four idx .gz files")
    parser.add_argument("--data", default="digits", help="the digits that were learned from (default: digits)")
    parser.add_argument("--cache", type=Path, help="where the trained reader is kept (default: runs/.cache)")
    parser.add_argument("--epochs", type=positive, help=f"that the reader is trained for (default: {EPOCHS})")


def settle(args: argparse.Namespace) -> None:
    """Fills in what was not said. With --tiny any reader will do: it takes seconds, and lies in a new folder."""
    tiny = getattr(args, "tiny", False)
    args.cache = args.cache or (new_folder() if tiny else Path("runs/.cache"))
    args.epochs = args.epochs or (1 if tiny else EPOCHS)
    args.most = FEW if tiny else None
    if tiny or "least_accuracy" not in args:
        args.least_accuracy = 0.0 if tiny else LEAST_ACCURACY


def judge_of(args: argparse.Namespace) -> Judge:
    return Judge(args.mnist, args.cache, args.epochs, args.least_accuracy, args.most)


def enough(n: int) -> None:
    """Raises UserError for fewer samples than a distance needs."""
    if n < FEWEST:
        raise UserError(f"{n} samples: a distance needs {FEWEST} or more")


def real_digits(source: str, n: int) -> ImageData:
    """A data set of digits, n or more. Raises UserError for any other."""
    data = load(DataSpec(source=source))
    if data.x.shape[1:] != (SIDE, SIDE, 1):
        raise UserError(f"--data {source}: these are no grey images of {SIDE}x{SIDE}")
    if n > len(data.x):
        raise UserError(f"{n} samples, but only {len(data.x)} real digits to set beside them")
    return data


def run_of_digits(folder: Path) -> Run:
    """Raises UserError where there is no run, or one that learned something else."""
    run = Run.open(folder)
    if run.shape.x != (1, SIDE, SIDE):
        raise UserError(f"{folder}: this run did not learn grey images of {SIDE}x{SIDE}")
    return run


def drawn_digits(path: Path, labelled: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """(`x`, `labels` where they are asked for) of an .npz file. Raises UserError for one that does not hold them."""
    if not path.is_file():
        raise UserError(f"{path}: no such run folder or .npz file")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {name: file[name] for name in ("x", "labels") if name in file.files}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile):  # TypeError: a .npy file is no archive
        raise UserError(f"{path}: it cannot be read as an .npz file of arrays") from None
    for name in ("x", "labels") if labelled else ("x",):
        if name not in found:
            raise UserError(f"{path}: it holds no `{name}`")
    x, labels = found["x"], found["labels"] if labelled else None
    if x.dtype != np.uint8 or x.ndim < 2 or x.size != len(x) * SIDE**2:
        raise UserError(f"{path}: x is {x.dtype} {x.shape}, not uint8 (N, 28, 28, 1)")
    if labels is not None and labels.shape != (len(x),):
        raise UserError(f"{path}: labels are {labels.shape}, but there are {len(x)} images")
    return x, labels


@ends_in_one_line
def main() -> None:
    ask = parser(__doc__)
    ask.add_argument("samples", type=Path, help="a run folder, or an .npz with x, uint8 (N, 28, 28, 1)")
    options(ask)
    ask.add_argument("-n", type=positive, default=1024, help="samples to draw from a run (default: 1024)")
    ask.add_argument("--labels", action="store_true", help="also check `labels` of the .npz")
    ask.add_argument("--least-accuracy", type=float, default=LEAST_ACCURACY, help="of the reader (default: 0.985)")
    ask.add_argument("--out", type=new_file, help="also write the JSON here")
    args = ask.parse_args()
    settle(args)
    if not args.mnist:
        ask.error("--mnist DIR is needed: the folder with MNIST's four idx .gz files")

    # What was given is looked at first: a reader takes minutes to train, samples to draw.
    run = run_of_digits(args.samples) if args.samples.is_dir() else None
    x, labels = (None, None) if run else drawn_digits(args.samples, args.labels)
    n = args.n if x is None else len(x)
    enough(n)
    real_digits(args.data, n)
    judge = judge_of(args)
    settings: dict[str, Any] = {}
    if run:
        samples, _ = generate(run, n)
        x, labels, settings = samples.x, samples.labels, {"settings": samples.settings}
    assert x is not None
    result = {**judge(x, labels), **judge.about(n, args.data), **settings}
    result["ratio"] = result["frechet"] / result["real"]
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

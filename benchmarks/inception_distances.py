"""What does the Inception distance see? Real CIFAR-10 against real, and against the same damaged in known ways.

    python benchmarks/inception_distances.py cifar10.npz [--inception inception.pt] [--n 2000] [--out FILE.json]

cifar10.npz holds x_train, x_test (uint8, N x 32 x 32 x 3) and y_train. N training images are every row's reference:

* test images, and other training images as they are: the floor, which no generator can beat with N samples;
* those other training images without one class (each of the ten in turn, filled up to N with further images);
* those other training images blurred (Gaussian, s.d. in pixels), with Gaussian noise (s.d. in bytes), and through JPEG.

Every row is a Fréchet distance and a KID of N and N images, with 95 % intervals, as Markdown on stdout. A core takes
six images a second, so the nine sets of 2,000 need most of an hour; the features of each are kept in --cache as soon as
they are there, and a run that was stopped goes on with the next set.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from command import ends_in_one_line, new_file, parser, positive, whole
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from noisette.data.fetch import inception_file
from noisette.errors import UserError
from noisette.metrics.distances import FEWEST, frechet, kid
from noisette.metrics.features import Features, Images, Inception

SPARE = 300
"""Further training images, from which a set without one class is filled up to N again."""


def blurred(x: Images, sigma: float) -> Images:
    """Gaussian blur with a standard deviation in pixels."""
    return np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma))) for image in x])


def noisy(x: Images, sigma: float, seed: int) -> Images:
    """Gaussian noise with a standard deviation in bytes, rounded and clipped."""
    return np.rint(x + sigma * np.random.default_rng(seed).standard_normal(x.shape)).clip(0, 255).astype(np.uint8)


def jpeg(x: Images, quality: int) -> Images:
    """There and back through JPEG, Pillow's other settings as they are."""

    def once(image: Images) -> Images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return np.stack([once(image) for image in x])


class Store:
    """Features by name, computed once and kept as .npy files under the network's hash."""

    def __init__(self, folder: Path, inception: Inception, tag: str) -> None:
        self.folder, self.inception, self.tag = folder, inception, tag
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, images: Callable[[], Images]) -> Features:
        """The features of images(), which is called only when they are not there yet."""
        path = self.folder / f"{name}-{self.tag}-{self.inception.hash}.npy"
        if not path.is_file():
            start = time.monotonic()
            x = images()
            print(f"{name}: features of {len(x)} images ...", end=" ", file=sys.stderr, flush=True)
            part = path.with_suffix(".part.npy")
            np.save(part, self.inception(x).astype(np.float32))  # the network computes in float32
            part.replace(path)
            print(f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        return np.load(path).astype(np.float64)


def without(label: int, x: Features, labels: NDArray[np.int64], n: int) -> Features:
    """The first n rows whose label is another."""
    rows = x[labels != label]
    if len(rows) < n:
        raise UserError(f"only {len(rows)} images are left without class {label}")
    return rows[:n]


@ends_in_one_line
def main() -> None:
    ask = parser(__doc__)
    ask.add_argument("cifar10", type=Path, help="an .npz with x_train, y_train and x_test")
    ask.add_argument("--inception", type=Path, help="the TorchScript file (default: found or downloaded)")
    ask.add_argument("--n", type=positive, default=2000, help="images on each side (default: 2000)")
    ask.add_argument("--seed", type=whole, default=0, help="draws the images and the noise (default: 0)")
    ask.add_argument("--cache", type=Path, default=Path("runs/.cache/inception"), help="where features are kept")
    ask.add_argument("--out", type=new_file, help="also write the rows here, as JSON")
    args = ask.parse_args()
    if args.n < FEWEST:
        ask.error(f"--n {args.n}: a distance needs {FEWEST} or more")

    with np.load(args.cifar10) as file:
        x_train, labels, x_test = file["x_train"], file["y_train"].astype(np.int64), file["x_test"]
    n, rng = args.n, np.random.default_rng(args.seed)
    train = rng.permutation(len(x_train))
    if 2 * n + SPARE > len(train) or n > len(x_test):
        ask.error(f"--n {n} needs {2 * n + SPARE} training and {n} test images")
    other, spare = train[n : 2 * n], train[2 * n : 2 * n + SPARE]
    plain = x_train[other]

    features = Store(args.cache, Inception(inception_file(args.inception)), f"{n}-{args.seed}")
    reference = features("train", lambda: x_train[train[:n]])
    sets = {
        "test images": features("test", lambda: x_test[rng.permutation(len(x_test))[:n]]),
        "other training images": features("other", lambda: plain),
    }
    more = np.concatenate([sets["other training images"], features("spare", lambda: x_train[spare])])
    for label in range(10):
        sets[f"without class {label}"] = without(label, more, labels[np.concatenate([other, spare])], n)
    for sigma in (1.0, 2.0):
        sets[f"blur {sigma:g} px"] = features(f"blur{sigma:g}", lambda s=sigma: blurred(plain, s))
    for sigma in (10.0, 30.0):
        sets[f"noise {sigma:g} bytes"] = features(f"noise{sigma:g}", lambda s=sigma: noisy(plain, s, args.seed))
    for quality in (75, 25):
        sets[f"JPEG quality {quality}"] = features(f"jpeg{quality}", lambda q=quality: jpeg(plain, q))

    rows = []
    print(f"| {n} training images against {n} | Fréchet distance | KID x 1000 |\n|---|---|---|")
    for name, x in sets.items():
        fd, k = frechet(reference, x), kid(reference, x)
        rows.append({"set": name, "fid": [fd.value, fd.low, fd.high], "kid": [k.value, k.low, k.high]})
        thousand = [1000 * v for v in rows[-1]["kid"]]
        print("| {} | {:.2f} ({:.2f} to {:.2f})".format(name, *rows[-1]["fid"]), end=" | ")
        print("{:.2f} ({:.2f} to {:.2f}) |".format(*thousand), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"n": n, "hash": features.inception.hash, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

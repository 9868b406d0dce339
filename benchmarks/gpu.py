"""What this package makes of a GPU: images a second, share of the card's matrix peak, FID against training time.

    python benchmarks/gpu.py [--out FOLDER] [--cifar FILE] [--inception FILE] [--minutes 8] [--limit SECONDS]
                             [--parts peak,training,sampling,curve] [--set net.norm=rms ...] [--tiny]

It needs torch, numpy and this package with what it needs to train; on a machine without a network, copy the package and
set PYTHONPATH=src. Everything goes to FOLDER/gpu.json, after each row. A later call adds to that: what is measured, by
the same code on the same card, stays; what failed or was cut short is tried again.

* peak: a bf16 product of 8192 x 8192 matrices, the ceiling that all shares are of.
* training: whole steps of the product (tasks.trainer) on made-up images, for several nets, batches and ways to compute.
  TFLOP/s count 3 calls of the net an image (2 FLOPs a multiply-add, torch.utils.flop_counter) and nothing else.
  `stages` says where the time of a step goes, in milliseconds, each stage waited for.
* sampling: calls of the net without gradients.
* curve: trains the recipe cifar10 for --minutes on the images in FILE (.npz with x_train and y_train, or any data that
  `noisette train` takes), and at even moments holds samples of the averaged weights, drawn with the recipe's sampler,
  against all training images. Distances are between features of the Inception network where its file is given or at
  hand, else of a classifier of the data's own classes, else of pixels (tasks.judge); only the first is an FID. Only
  training counts as time, with compiling and without the measuring. --set changes settings of the recipe.

--limit ends everything after so many seconds: what would not fit is left out, and what is measured is in the file.
--tiny runs all of it on a CPU in seconds, with nets and numbers that say nothing.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from command import add_results, amount, ends_in_one_line, parser, positive, results, some_of
from gpu_curve import Curve
from gpu_speed import SAMPLING, TRAINING, Results, peak, table

PARTS = ("peak", "training", "sampling", "curve")


class OutOfTime(BaseException):
    """The limit is reached. No Exception, so that nobody on the way catches it."""


@ends_in_one_line
def main() -> None:
    ask = parser(__doc__)
    ask.add_argument("--parts", type=some_of(PARTS), default=list(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    ask.add_argument("--cifar", help="the images for the curve: an .npz file, or cifar10 (none: no curve)")
    ask.add_argument("--inception", type=Path, help="the Inception network's TorchScript file")
    ask.add_argument("--minutes", type=amount, default=8.0, help="of training, for the curve (default: 8)")
    ask.add_argument("--points", type=positive, default=8, help="distances along the curve (default: 8)")
    ask.add_argument("--samples", type=positive, default=10_000, help="samples for each of them (default: 10,000)")
    ask.add_argument("--final", type=positive, default=50_000, help="samples for the last of them (default: 50,000)")
    ask.add_argument("--limit", type=amount, default=3600.0, help="seconds for everything (default: 3600)")
    ask.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for the curve")
    add_results(ask, "the folder for gpu.json and sheets of samples")
    args = ask.parse_args()
    if args.parts == ["curve"] and not args.cifar:
        ask.error("--parts curve needs the images: --cifar FILE, or --cifar cifar10")
    if args.tiny:
        args.minutes, args.points = min(args.minutes, 0.02), min(args.points, 2)
        args.samples, args.final = min(args.samples, 128), min(args.final, 500)
    args.out = results(args)
    found = Results(args.out, args.limit, args.tiny)

    def stop(number: int, frame: Any) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, args.limit)
    try:
        # Made first, so that a mistake in its settings or files is told before the tables, not after them.
        curve = Curve(args, found) if "curve" in args.parts and args.cifar else None
        if found.rows.get("peak", {}).get("key") != found.key("peak"):
            peak(found, args.tiny)
        for part, rows in (("training", TRAINING), ("sampling", SAMPLING)):
            if part in args.parts:
                table(found, part, rows, args.tiny)
        if curve:
            curve.run()
    except OutOfTime:
        print(f"gpu: the limit of {args.limit:g} s is reached; {found.path} has what was measured", flush=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()

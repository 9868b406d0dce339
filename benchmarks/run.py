"""Every comparison with other projects, one after the other, at full size.

    python benchmarks/run.py [--tiny] [--only throughput,calls] [--data32 PATH] [--data64 PATH]

Each is a script of its own and writes its own file; one that fails does not stop the others. Nothing else should run
on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = {
    "throughput": "images a second in training",
    "calls": "calls of the net in sampling",
    "breakdown": "where the time goes, and the share of the machine's peak",
    "memory": "memory of training, and a million images",
    "curves": "loss after the same number of images",
}
WITH_DATA = ("throughput", "curves")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default=",".join(SCRIPTS), help="which of them")
    parser.add_argument("--data32", help="32x32 images: anything that noisette trains on (CIFAR-10's .npz, a folder)")
    parser.add_argument("--data64", help="64x64 images, likewise")
    parser.add_argument("--out", type=Path, help="folder for the results; benchmarks/results by default")
    parser.add_argument("--tiny", action="store_true", help="very small nets, to see that it works")
    args = parser.parse_args()
    chosen = args.only.split(",")
    print("this measures: " + "; ".join(f"{name} ({SCRIPTS[name]})" for name in chosen))
    if not args.tiny:
        print("all of them take two to three hours where peers train at 120 GFLOP/s, and 2 GB of disk for a while")
    failed = []
    for name in chosen:
        options = ["--tiny"] if args.tiny else []
        options += ["--out", str(args.out)] if args.out else []
        for data in ("data32", "data64"):
            if name in WITH_DATA and (path := getattr(args, data)):
                options += [f"--{data}", path]
        print(f"\n== {name}", flush=True)
        begun = time.perf_counter()
        if subprocess.run([sys.executable, str(HERE / f"{name}.py"), *options]).returncode:
            failed.append(name)
        print(f"== {name}: {time.perf_counter() - begun:.0f} s", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

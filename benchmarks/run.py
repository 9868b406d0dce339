"""Every comparison with other projects, one after the other, at full size.

    python benchmarks/run.py [--tiny] [--only throughput,calls] [--data32 PATH] [--data64 PATH]

Each is a script of its own and writes its own file; one that fails does not stop the others. Nothing else should run
on the machine meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from command import add_data, add_results, ends_in_one_line, parser, results, some_of

HERE = Path(__file__).parent
SCRIPTS = {
    "throughput": "images a second in training",
    "calls": "calls of the net in sampling",
    "breakdown": "where the time goes, and the share of the machine's peak",
    "memory": "memory of training, and a million images",
    "curves": "loss after the same number of images",
}
WITH_DATA = ("throughput", "breakdown", "memory", "curves")


@ends_in_one_line
def main() -> None:
    ask = parser(__doc__)
    ask.add_argument("--only", type=some_of(SCRIPTS), default=list(SCRIPTS), help="which of them")
    add_data(ask)
    add_results(ask, "folder for the results")
    args = ask.parse_args()
    out = results(args)
    print("this measures: " + "; ".join(f"{name} ({SCRIPTS[name]})" for name in args.only))
    if not args.tiny:
        print("all of them take about three hours where peers train at 120 GFLOP/s, and 2 GB of disk for a while")
    failed = []
    for name in args.only:
        options = ["--out", str(out), *(["--tiny"] if args.tiny else [])]
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

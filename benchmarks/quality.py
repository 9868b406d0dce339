"""Time to quality: how good are digits after 1, 2, 4 and 8 minutes of training, ours and other people's?

    python benchmarks/quality.py --mnist DIR [--minutes 1,2,4,8] [--only "noisette;diffusers"] [--estimate]

Everyone learns the bundled 5,000 digits without labels (see contestants.py for who and how, and for what is on the
clock). Then each draws --samples digits, and a reader of MNIST judges them (see digits_quality.py): Fréchet distance
to MNIST's 10,000 test images, share of clear digits, share of the rarest. Ours samples as the product does when
nothing is said, and as the peers do; peers by diffusers' DDIM with --steps calls. Where a peer has averaged weights
too, the better of the two at a first look of 128 samples is taken.

Trainings and judgements are jobs, a process each and one at a time. What is done stays done in --work, so this can be
stopped and started again, or run in parts with --only. --estimate says how long the rest takes.
Written: results/quality.json, quality.png (curves) and quality-sheets.png (36 samples of each).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import contestants
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from contestants import CHUNK, OURS
from digits_quality import LEAST_ACCURACY, Judge, options

from noisette.experiment.environment import environment
from noisette.experiment.files import write_json
from noisette.tasks.generate import tile

LOOK = 128
"""Samples by which the better of raw and averaged weights is chosen."""

SHEET = 36

TINY_NET = {
    "net": {"channels": 8, "multipliers": [1], "groups": 4, "head_dim": 8},
    "train": {
        "batch": 8,
        "micro_batch": 8,
        "precision": "fp32",
        "layout": "channels_first",
        "compile": "off",
        "previews": 0,
    },
    "sample": {"steps": 2},
}
"""What --tiny changes of ours, with the smallest nets of the peers."""

Row = dict[str, Any]


class Race:
    """The jobs of a race, and the files in which each leaves what it found."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.work: Path = args.work
        self.peers = contestants.tiny() if args.tiny else contestants.CONTESTANTS
        self.known = [OURS, *self.peers]
        if unknown := set(args.only or self.known) - set(self.known):
            sys.exit(f"quality: no contestant {', '.join(sorted(unknown))}; there are {', '.join(self.known)}")
        self.names = [name for name in self.known if name in (args.only or self.known)]
        self.absent = {n: why for n in self.names if n in self.peers and (why := self.peers[n].peer.missing())}
        self.names = [name for name in self.names if name not in self.absent]

    def trained(self, name: str, minutes: float) -> Path:
        """What a training leaves: ours a run folder, peers a file of weights, whose rate knew the longest budget."""
        return self.work / (f"{OURS}-{minutes:g}" if name == OURS else f"{self._stem(name, minutes)}.pt")

    def judged(self, name: str, minutes: float) -> Path:
        return self.work / f"{self._stem(name, minutes)}-{self.args.samples}-by-{self.args.steps}.json"

    def sheet(self, name: str, minutes: float) -> Path:
        return self.work / f"{self._stem(name, minutes)}.npy"

    def _stem(self, name: str, minutes: float) -> str:
        longest = "" if name == OURS else f"-of-{max(self.args.minutes):g}"
        return f"{name.replace(', ', '-').replace(' ', '-')}-{minutes:g}{longest}"

    def clock(self, minutes: float) -> Path:
        """Seconds that a training of ours took: there only when it ended."""
        return self.work / f"{OURS}-{minutes:g}.seconds.json"

    def jobs(self) -> list[tuple[str, str, float]]:
        """(kind, contestant, minutes) of what is left to do, in order; a peer's training is one job."""
        left: list[tuple[str, str, float]] = []
        for name in self.names:
            if name == OURS:
                left += [("train", name, m) for m in self.args.minutes if not self.clock(m).exists()]
            elif not all(self.trained(name, m).exists() for m in self.args.minutes):
                left.append(("train", name, max(self.args.minutes)))
        left += [("judge", n, m) for n in self.names for m in self.args.minutes if not self.judged(n, m).exists()]
        return left

    # --- what a job does ------------------------------------------------------------------------------------------

    def train(self, name: str, minutes: float) -> None:
        if name == OURS:
            settings = TINY_NET if self.args.tiny else {}
            seconds = contestants.train_ours(self.args.data, minutes, self.trained(name, minutes), settings)
            write_json(self.clock(minutes), seconds)
        else:
            files = [self.trained(name, m) for m in self.args.minutes]
            contestants.train_peer(self.peers[name], contestants.floats(self.args.data), self.args.minutes, files)

    def judge(self, name: str, minutes: float) -> None:
        judge = Judge(self.args.mnist, self.args.cache, self.args.epochs, self.args.least_accuracy)
        rows = self._ours(judge, minutes) if name == OURS else [self._peer(judge, name, minutes)]
        write_json(self.judged(name, minutes), [{"contestant": name, "minutes": minutes, **row} for row in rows])

    def _ours(self, judge: Judge, minutes: float) -> list[Row]:
        """Two rows: as the run's settings say, and by the peers' sampler."""
        from noisette.experiment.runs import Run

        folder = self.trained(OURS, minutes)
        meta, rows = Run.open(folder).meta, []
        trained = {"seconds": json.loads(self.clock(minutes).read_text()), "weights": "ema"}
        trained |= {key: meta.get(key) for key in ("steps", "images", "parameters")}
        ways: dict[str, dict[str, Any]] = {"its own": {}, "ddim": {"sampler": "ddim", "steps": self.args.steps}}
        for label, settings in ways.items():
            x, used = contestants.sample_ours(folder, self.args.samples, **settings)
            rows.append({**trained, "sampling": label, "settings": used, "nfe": used["nfe"], **judge(x)})
            if label == "its own":
                np.save(self.sheet(OURS, minutes), x[:SHEET])
        return rows

    def _peer(self, judge: Judge, name: str, minutes: float) -> Row:
        kept, peer, steps = torch.load(self.trained(name, minutes)), self.peers[name], self.args.steps
        looks, first = {}, -(-min(LOOK, self.args.samples) // CHUNK) * CHUNK
        for kind in ("raw", "ema"):
            if kind in kept:
                looks[kind] = contestants.sample_peer(peer, kept[kind], 0, first, steps)
        distances = {kind: judge.distance(x).value for kind, x in looks.items()}
        best = min(distances, key=lambda kind: distances[kind])
        parts = [looks[best]]
        if (rest := self.args.samples - first) > 0:
            parts.append(contestants.sample_peer(peer, kept[best], first, rest, steps))
        x = np.concatenate(parts)[: self.args.samples]
        np.save(self.sheet(name, minutes), x[:SHEET])
        counted = {key: kept[key] for key in ("seconds", "steps", "images", "planned")}
        parameters = sum(p.numel() for p in peer.make(1).net.parameters())
        looked = {"weights": best, "first_look": distances, "parameters": parameters}
        return {**counted, **looked, "sampling": "ddim", "nfe": steps, **judge(x)}

    # --- all of it ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        for why in self.absent.values():
            print(f"left out: {why}", flush=True)
        jobs = self.jobs()
        for k, (kind, name, minutes) in enumerate(jobs, 1):
            print(f"{k} of {len(jobs)}: {kind} {name}, {minutes:g} min", flush=True)
            job = ["--job", kind, name, f"{minutes:g}"]
            subprocess.run([sys.executable, __file__, *sys.argv[1:], *job], check=True)
            if kind == "judge":
                self.write()
        self.write()

    def rows(self) -> list[Row]:
        files = [self.judged(name, m) for name in self.known for m in self.args.minutes]
        return [row for file in files if file.exists() for row in json.loads(file.read_text())]

    def write(self) -> None:
        if not (rows := self.rows()):
            return
        out: Path = self.args.out
        out.parent.mkdir(parents=True, exist_ok=True)
        judge = Judge(self.args.mnist, self.args.cache, self.args.epochs, self.args.least_accuracy)
        beside = judge.about(self.args.samples, self.args.data)
        about = {name: peer.note for name, peer in self.peers.items()}
        found = {"machine": environment(), "samples": self.args.samples, **beside, "about": about, "rows": rows}
        write_json(out, {**found, "verdict": verdict(rows)})
        curves(rows, beside["real"], out.with_suffix(".png"))
        self._sheets(out.with_name(f"{out.stem}-sheets.png"))
        print(table(rows, beside["real"]))
        print(verdict(rows), flush=True)

    def _sheets(self, out: Path) -> None:
        names = [name for name in self.known if any(self.sheet(name, m).exists() for m in self.args.minutes)]
        columns = len(self.args.minutes)
        figure, axes = plt.subplots(len(names), columns, figsize=(2.4 * columns, 2.6 * len(names)), squeeze=False)
        for name, line in zip(names, axes, strict=True):
            for minutes, ax in zip(self.args.minutes, line, strict=True):
                ax.axis("off")
                if self.sheet(name, minutes).exists():
                    ax.imshow(tile(np.load(self.sheet(name, minutes))), cmap="gray", vmin=0, vmax=255)
                    ax.set_title(f"{name}, {minutes:g} min", fontsize=8)
        figure.savefig(out, dpi=150, bbox_inches="tight")
        plt.close(figure)

    def estimate(self) -> str:
        """Minutes of the jobs that are left: the trainings by their budgets, samples by a timed call of each net."""
        training = drawing = 0.0
        for kind, name, minutes in self.jobs():
            if kind == "train":
                training += minutes
            elif name != OURS:
                peer, looks = self.peers[name], 2 if self.peers[name].averages else 1
                images = self.args.samples + (looks - 1) * min(LOOK, self.args.samples)
                drawing += images * self.args.steps * _seconds_a_call(peer) / 60
        return f"{training:.0f} min of training and {drawing:.0f} min of drawing the peers' samples; ours come on top"


def _seconds_a_call(contestant: contestants.Contestant) -> float:
    """For one image."""
    net, x, i = contestant.make(1), torch.randn(CHUNK, 1, 28, 28), torch.full((CHUNK,), 500)
    net.eps(x, i)
    begun = time.perf_counter()
    net.eps(x, i)
    return (time.perf_counter() - begun) / CHUNK


def table(rows: list[Row], real: float) -> str:
    lines = [
        "| contestant | minutes | images | sampling | weights | Fréchet distance "
        f"| of real ({real:.1f}) | clear | rarest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours = row["contestant"] == OURS and row["sampling"] == "its own"
        way = f"{row['settings']['sampler']}, {row['nfe']} calls" if ours else f"{row['sampling']}, {row['nfe']} calls"
        said = f"{row['frechet']:.1f} ({row['frechet_low']:.1f} to {row['frechet_high']:.1f})"
        lines.append(
            f"| {row['contestant']} | {row['minutes']:g} | {row['images']:,} | {way} | {row['weights']} | {said} "
            f"| {row['frechet'] / real:.2f} | {row['confident']:.1%} | {row['least_digit']:.1%} |"
        )
    return "\n".join(lines)


def verdict(rows: list[Row]) -> str:
    """Ours as the product samples after the shortest budget, against the best peer after the longest."""
    peers = [row for row in rows if row["contestant"] != OURS]
    ours = [row for row in rows if row["contestant"] == OURS and row["sampling"] == "its own"]
    if not peers or not ours:
        return "ours and at least one peer are needed for a verdict"
    longest = max(row["minutes"] for row in peers)
    there = min((row for row in peers if row["minutes"] == longest), key=lambda row: row["frechet"])
    reached = [row["minutes"] for row in ours if row["frechet"] <= there["frechet"]]
    when = f"within {min(reached):g} min" if reached else f"not within {max(row['minutes'] for row in ours):g} min"
    return (
        f"{there['contestant']} is at {there['frechet']:.1f} after {longest:g} min, the best of the peers; ours {when}"
    )


def curves(rows: list[Row], real: float, out: Path) -> None:
    """Distance against minutes, both logarithmic."""
    figure, ax = plt.subplots(figsize=(6.4, 4.2))
    lines: dict[str, list[Row]] = {}
    for row in rows:
        name = row["contestant"] if row["sampling"] != "ddim" or row["contestant"] != OURS else f"{OURS}, by ddim"
        lines.setdefault(name, []).append(row)
    for name, mine in lines.items():
        mine.sort(key=lambda row: row["minutes"])
        style: Mapping[str, Any] = {"lw": 2.4, "color": "black"} if name == OURS else {}
        ax.plot([r["minutes"] for r in mine], [r["frechet"] for r in mine], "o-", ms=4, label=name, **style)
    ax.axhline(real, color="grey", ls=":", label="real digits")
    minutes = sorted({row["minutes"] for row in rows})
    ax.set(xscale="log", yscale="log", xlabel="minutes of training", ylabel="Fréchet distance, digit reader")
    ax.set_xticks(minutes, [f"{m:g}" for m in minutes])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)
    figure.savefig(out, dpi=150, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options(parser)
    numbers = lambda text: sorted(float(part) for part in text.split(","))  # noqa: E731
    parser.add_argument("--minutes", type=numbers, default=[1.0, 2.0, 4.0, 8.0], help="budgets (default: 1,2,4,8)")
    parser.add_argument("--samples", type=int, default=1024, help="drawn by each (default: 1024)")
    parser.add_argument("--steps", type=int, default=50, help="calls of the peers' DDIM (default: 50)")
    parser.add_argument("--only", type=lambda text: [part.strip() for part in text.split(";")], help="names, with ;")
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), help="where jobs leave what they found")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "quality.json")
    parser.add_argument("--estimate", action="store_true", help="only say how long it would take")
    parser.add_argument("--tiny", action="store_true", help="nets that cost nothing: shows that it runs, nothing else")
    parser.add_argument("--job", nargs=3, metavar=("KIND", "NAME", "MINUTES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.least_accuracy = 0.0 if args.tiny else LEAST_ACCURACY
    race = Race(args)
    if args.estimate:
        print(race.estimate())
    elif not args.mnist:
        parser.error("--mnist DIR is needed: the folder with MNIST's four idx .gz files")
    elif args.job:
        kind, name, minutes = args.job
        {"train": race.train, "judge": race.judge}[kind](name, float(minutes))
    else:
        race.run()


if __name__ == "__main__":
    main()

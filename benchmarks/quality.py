"""Time to quality: how good are digits after 1, 2, 4 and 8 minutes of training, ours and other people's?

    python benchmarks/quality.py --mnist DIR [--minutes 1,2,4,8] [--only "noisette;diffusers"] [--estimate]

Everyone learns the bundled 5,000 digits without labels (see contestants.py for who and how, and for what is on the
clock). Then each draws --samples digits, and a reader of MNIST judges them (see digits_quality.py): Fréchet distance
to MNIST's 10,000 test images, share of clear digits, share of the rarest. Ours samples as the product does when
nothing is said, and as the peers do; peers by diffusers' DDIM with --steps calls. Where a peer has averaged weights
too, the better of the two at a first look of 128 samples is taken. After the longest budget peers draw --ancestral
digits once more as the example of diffusers does, by its DDPM in 1,000 calls; `first` in every row is the distance of
as many, the first ones, because distances of different numbers of samples do not compare.

Trainings and judgements are jobs, a process each and one at a time. What is done stays done in --work, under a name
with a hash of all that it depends on (settings, data, code, versions, the reader), so this can be stopped and started
again, or run in parts with --only. --estimate says how long the rest takes. Written: results/quality.json, quality.png
(curves) and quality-sheets.png (36 samples of each); every row says what it was measured on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import contestants
import numpy as np
import torch
from command import add_results, amount, ends_in_one_line, new_folder, parser, positive, results, some_of, whole
from contestants import CHUNK, OURS
from digit_reader import hashed
from digits_quality import Judge, enough, judge_of, options, real_digits, settle
from kept import HERE, PACKAGE, PRODUCT, code, key
from machine import Watch, about
from quality_report import Row, curves, sheets, table, verdict

from noisette.experiment.files import write_json
from noisette.metrics.distances import FEWEST

LOOK = 128
"""Samples by which the better of raw and averaged weights is chosen."""

SHEET = 36
ANCESTRAL = 1000
"""Calls of a peer's ancestral sampling."""

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

TINY_MINUTES = 0.02  # of one budget, with as few samples and calls as there may be


class Race:
    """The jobs of a race, and the files in which each leaves what it found.

    Raises UserError for data or digits of MNIST that will not do, before hours of training.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.work: Path = args.work
        self.peers = contestants.tiny() if args.tiny else contestants.CONTESTANTS
        self.known = [OURS, *self.peers]
        self.names = [name for name in self.known if name in (args.only or self.known)]
        self.absent = {n: why for n in self.names if n in self.peers and (why := self.peers[n].peer.missing())}
        self.names = [name for name in self.names if name not in self.absent]
        self.settings = TINY_NET if args.tiny else {}
        data = real_digits(args.data, args.samples)
        everyone = [data.fingerprint, torch.__version__, np.__version__, torch.get_num_threads()]
        self.keys = {name: key(*everyone, *self._depends(name)) for name in self.known}
        files = [HERE / f"{part}.py" for part in ("digit_reader", "digits_quality", "quality", "contestants")]
        mnist = hashed(args.mnist, "train", "t10k") if args.mnist else None  # none is needed for an estimate
        reader = [args.epochs, args.most, mnist, code(PACKAGE / "metrics", *files)]
        self.judging = [args.samples, args.steps, args.ancestral, *reader]

    def _depends(self, name: str) -> list[Any]:
        """What a training of this contestant depends on beside the data and torch."""
        if name == OURS:
            return [self.settings, code(*PRODUCT)]
        files = [HERE / f"{part}.py" for part in ("contestants", "peers", "plain")]
        return [self.peers[name].told(), max(self.args.minutes), code(*files)]

    def trained(self, name: str, minutes: float) -> Path:
        """What a training leaves: ours a run folder, peers a file of weights, whose rate knew the longest budget."""
        return self.work / (self._stem(name, minutes) + ("" if name == OURS else ".pt"))

    def judged(self, name: str, minutes: float) -> Path:
        return self.work / f"{self._stem(name, minutes)}-judged-{key(*self.judging)}.json"

    def sheet(self, name: str, minutes: float) -> Path:
        return self.judged(name, minutes).with_suffix(".npy")

    def _stem(self, name: str, minutes: float) -> str:
        return f"{name.replace(', ', '-').replace(' ', '-')}-{exactly(minutes)}-{self.keys[name]}"

    def clock(self, name: str, minutes: float) -> Path:
        """Seconds that a training took and what it ran on: there only when it ended."""
        return self.work / f"{self._stem(name, minutes)}.trained.json"

    def jobs(self) -> list[tuple[str, str, float]]:
        """(kind, contestant, minutes) of what is left to do, in order; a peer's training is one job."""
        left: list[tuple[str, str, float]] = []
        for name in self.names:
            todo = [m for m in self.args.minutes if not self.clock(name, m).exists()]
            if name == OURS:
                left += [("train", name, m) for m in todo]
            elif todo:
                left.append(("train", name, max(self.args.minutes)))
        left += [("judge", n, m) for n in self.names for m in self.args.minutes if not self.rows_of(n, m)]
        return left

    # --- what a job does ------------------------------------------------------------------------------------------

    def train(self, name: str, minutes: float) -> None:
        watch, found = Watch(0.3), {}
        if name == OURS:
            found["seconds"] = contestants.train_ours(
                self.args.data, minutes, self.trained(name, minutes), self.settings
            )
        else:
            files = [self.trained(name, m) for m in self.args.minutes]
            contestants.train_peer(self.peers[name], contestants.floats(self.args.data), self.args.minutes, files)
        for m in [minutes] if name == OURS else self.args.minutes:
            write_json(self.clock(name, m), {**found, "machine": {**about(), **watch.told()}})

    def judge(self, name: str, minutes: float) -> None:
        judge = judge_of(self.args)
        rows = self._ours(judge, minutes) if name == OURS else self._peer(judge, name, minutes)
        clock = json.loads(self.clock(name, minutes).read_text())
        said = {"contestant": name, "minutes": minutes, **clock}
        write_json(self.judged(name, minutes), [{**said, **row, "judged": about()["commit"]} for row in rows])

    def _read(self, judge: Judge, x: contestants.Images) -> Row:
        """The judge's numbers, and the distance of the first of the samples."""
        n = min(self.args.ancestral or len(x), len(x))
        few = judge.distance(x[:n])
        return {**judge(x), "first": {"n": n, "frechet": few.value, "low": few.low, "high": few.high}}

    def _ours(self, judge: Judge, minutes: float) -> list[Row]:
        """Two rows: as the run's settings say, and by the peers' sampler."""
        from noisette.experiment.runs import Run

        folder = self.trained(OURS, minutes)
        meta, rows = Run.open(folder).meta, []
        trained = {"weights": "ema", **{key: meta.get(key) for key in ("steps", "images", "parameters")}}
        as_peers = {"sampler": "ddim", "grid": "trailing", "steps": self.args.steps}
        ways: dict[str, dict[str, Any]] = {"its own": {}, "ddim": as_peers}
        for label, settings in ways.items():
            x, used = contestants.sample_ours(folder, self.args.samples, **settings)
            rows.append({**trained, "sampling": label, "settings": used, "nfe": used["nfe"], **self._read(judge, x)})
            if label == "its own":
                np.save(self.sheet(OURS, minutes), x[:SHEET])
        return rows

    def _peer(self, judge: Judge, name: str, minutes: float) -> list[Row]:
        """A row by DDIM and, after the longest budget, one by ancestral sampling of the same weights."""
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
        trained = {**counted, "weights": best, "first_look": distances, "parameters": parameters}
        rows = [{**trained, "sampling": "ddim", "nfe": steps, **self._read(judge, x)}]
        if self.args.ancestral and minutes == max(self.args.minutes):
            calls = min(ANCESTRAL, steps) if self.args.tiny else ANCESTRAL
            y = contestants.sample_peer(peer, kept[best], 0, self.args.ancestral, calls, ancestral=True)
            rows.append({**trained, "sampling": "ddpm", "nfe": calls, **self._read(judge, y)})
        return rows

    # --- all of it ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        for why in self.absent.values():
            print(f"left out: {why}", flush=True)
        judge_of(self.args)  # before hours of training
        jobs = self.jobs()
        for k, (kind, name, minutes) in enumerate(jobs, 1):
            print(f"{k} of {len(jobs)}: {kind} {name}, {minutes:g} min", flush=True)
            job = ["--work", str(self.work), "--cache", str(self.args.cache), "--job", kind, name, exactly(minutes)]
            if code := subprocess.run([sys.executable, __file__, *sys.argv[1:], *job]).returncode:
                sys.exit(code)  # it has said why
            if kind == "judge":
                self.write()
        self.write()

    def rows_of(self, name: str, minutes: float) -> list[Row]:
        """What a judgement left; nothing where there is none, or a damaged one."""
        try:
            rows = json.loads(self.judged(name, minutes).read_bytes())
        except (FileNotFoundError, ValueError):
            return []
        sound = isinstance(rows, list) and all(isinstance(row, dict) and "frechet" in row for row in rows)
        return rows if sound else []

    def rows(self) -> list[Row]:
        return [row for name in self.known for m in self.args.minutes for row in self.rows_of(name, m)]

    def write(self) -> None:
        if not (rows := self.rows()):
            return
        out: Path = self.args.out
        beside = judge_of(self.args).about(self.args.samples, self.args.data)
        notes = {name: peer.note for name, peer in self.peers.items()}
        found = {"written_by": about(), "samples": self.args.samples, **beside, "about": notes, "rows": rows}
        write_json(out, {**found, "verdict": verdict(rows)})
        curves(rows, beside["real"], out.with_suffix(".png"))
        drawn = {name: [self.sheet(name, m) for m in self.args.minutes] for name in self.known}
        sheets(drawn, self.args.minutes, out.with_name(f"{out.stem}-sheets.png"))
        print(table(rows, beside["real"]))
        print(verdict(rows), flush=True)

    def estimate(self) -> str:
        """Minutes of the jobs that are left: the trainings by their budgets, samples by a timed call of each net."""
        training = drawing = 0.0
        for kind, name, minutes in self.jobs():
            if kind == "train":
                training += minutes
            elif name != OURS:
                peer, looks = self.peers[name], 2 if self.peers[name].averages else 1
                images = self.args.samples + (looks - 1) * min(LOOK, self.args.samples)
                calls = images * self.args.steps
                calls += self.args.ancestral * ANCESTRAL if minutes == max(self.args.minutes) else 0
                drawing += calls * _seconds_a_call(peer) / 60
        return f"{training:.0f} min of training and {drawing:.0f} min of drawing the peers' samples; ours come on top"


def exactly(minutes: float) -> str:
    """A name that no other number of minutes has."""
    return f"{minutes:g}" if float(f"{minutes:g}") == minutes else repr(minutes)


def budgets(text: str) -> list[float]:
    """For add_argument(type=...): different numbers above 0, rising."""
    return sorted({amount(part) for part in text.split(",")})


def _seconds_a_call(contestant: contestants.Contestant) -> float:
    """For one image."""
    net, x, i = contestant.make(1), torch.randn(CHUNK, 1, 28, 28), torch.full((CHUNK,), 500)
    net.eps(x, i)
    begun = time.perf_counter()
    net.eps(x, i)
    return (time.perf_counter() - begun) / CHUNK


@ends_in_one_line
def main() -> None:
    ask = parser(__doc__)
    options(ask)
    ask.add_argument("--minutes", type=budgets, default=[1.0, 2.0, 4.0, 8.0], help="budgets (default: 1,2,4,8)")
    ask.add_argument("--samples", type=positive, default=1024, help="drawn by each (default: 1024)")
    ask.add_argument("--steps", type=positive, default=50, help="calls of the peers' DDIM (default: 50)")
    ask.add_argument("--ancestral", type=whole, default=512, help="digits that peers draw in 1,000 calls; 0: none")
    ask.add_argument("--only", type=some_of([OURS, *contestants.CONTESTANTS], ";"), help="names, with ; in between")
    ask.add_argument("--work", type=Path, help="where jobs leave what they found (default: runs/quality)")
    ask.add_argument("--estimate", action="store_true", help="only say how long it would take")
    add_results(ask, "folder for quality.json and pictures", "nets that cost nothing: shows that it runs")
    ask.add_argument("--job", nargs=3, metavar=("KIND", "NAME", "MINUTES"), help=argparse.SUPPRESS)
    args = ask.parse_args()
    settle(args)
    if args.tiny:
        args.minutes, args.samples, args.steps, args.ancestral = [TINY_MINUTES], FEWEST, 2, FEWEST
    if not args.work:
        args.work = new_folder() if args.tiny else Path("runs/quality")
    if not args.mnist and not args.estimate:
        ask.error("--mnist DIR is needed: the folder with MNIST's four idx .gz files")
    for n in (args.samples, args.ancestral or args.samples):
        enough(n)
    if not args.estimate and not args.job:
        args.out = results(args) / "quality.json"
    race = Race(args)
    if args.estimate:
        print(race.estimate())
    elif args.job:
        kind, name, minutes = args.job
        {"train": race.train, "judge": race.judge}[kind](name, float(minutes))
    else:
        race.run()


if __name__ == "__main__":
    main()

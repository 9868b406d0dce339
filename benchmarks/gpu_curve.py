"""The recipe cifar10 over training time, and how far its samples are from the training images: see gpu.py."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_speed import SMALL, WAYS, Results, use, wait
from kept import code
from PIL import Image

from noisette.data import load
from noisette.data.fetch import inception_file
from noisette.data.spec import DataSpec
from noisette.diffusion.denoisers import NetDenoiser
from noisette.diffusion.samplers import network_calls
from noisette.experiment import build
from noisette.experiment.config import Config, merge, overrides
from noisette.experiment.files import atomic
from noisette.experiment.runs import Shape
from noisette.metrics.distances import frechet_of_moments, moments
from noisette.tasks.generate import draw, tile
from noisette.tasks.judge import Judge
from noisette.tasks.trainer import Trainer

FINAL = (50_000, 20_000, 10_000, 5_000, 2_000, 1_000, 500)
"""Numbers of samples for the last distance: the largest that fits in the time is taken."""


def best_way(results: Results, tiny: bool) -> str:
    """The fastest way that training the recipe's net was measured in; compiled where none was and there is a GPU."""
    seen = [row for row in results.good("training") if row["net"] == "cifar10" and "tflops" in row]
    seen = [row for row in seen if row["way"] != "graphs"]  # not what `noisette train` does
    if seen:
        return str(max(seen, key=lambda row: row["tflops"])["way"])
    return "compiled" if torch.cuda.is_available() and not tiny else "bf16 last"


class Curve:
    """One run of the recipe and the distances of its samples over training time.

    Raises UserError for settings or files that are wrong, as soon as it is made.
    """

    def __init__(self, args: argparse.Namespace, results: Results):
        self.args, self.results = args, results
        if args.inception:
            inception_file(args.inception)
        # Without Inception, the classifier must show on held-out images that it can read.
        features = str(args.inception) if args.inception else "pixels" if args.tiny else "auto"
        self.held_out = 0.0 if args.inception else 0.1
        self.data = load(DataSpec(args.cifar, held_out=self.held_out))
        _, height, width, channels = self.data.x.shape
        self.shape = Shape.images(channels, height, width, self.data.classes if self.data.labels is not None else ())
        self.config = self.computing("bf16 last")
        self.judge = Judge(self.data, self.config.data, features)
        self.cost = 0.0  # seconds that measuring one sample took, the last time

    def computing(self, way: str) -> Config:
        """The settings of the run, computing in this way."""
        args = self.args
        computing = {"data.source": args.cifar, "data.held_out": self.held_out, "train.minutes": args.minutes}
        computing |= {f"train.{key}": WAYS[way][key] for key in ("precision", "layout")}
        computing |= {"train.compile": "on" if WAYS[way]["compile"] else "off"}
        small = {**SMALL, "train.batch": 16, "sample.steps": 5} if args.tiny else {}
        config = build.resolve(self.shape, "cifar10", merge(merge(small, computing), overrides(args.set)))
        return config.changed({"train.micro_batch": config.train.batch})

    def run(self) -> None:
        """Measures it, in the fastest way to compute, unless it is there, finished and with the same key.

        The way is no part of the key: which one was fastest may turn on little.
        """
        args, way = self.args, best_way(self.results, self.args.tiny)
        use(WAYS[way])
        extractor = self.judge.extractor
        told = [self.config.model_dump(mode="json"), self.data.fingerprint, extractor.name, extractor.hash]
        name = self.results.key(
            "curve", code(Path(__file__)), told, args.minutes, args.points, args.samples, args.final
        )
        there = self.results.rows.get("curve", {})
        if (there.get("key"), there.get("state")) == (name, "finished"):
            return
        self.config = self.computing(way)
        self.reference = moments(extractor(self.data.x[self.data.train]))
        self.about: dict[str, Any] = {
            "key": name,
            "features": extractor.name,
            "hash": extractor.hash,
            "reference": len(self.data.train),
            "way": way,
            "minutes": args.minutes,
            "sample": {**self.config.sample.model_dump(mode="json")},
            "nfe": network_calls(self.config.sample.sampler, self.config.sample.steps),
            "state": "cut short",
            "rows": [],
        }  # put down with its first row: until then the file keeps the one before
        self.train()

    def train(self) -> None:
        args, budget, points = self.args, 60 * self.args.minutes, self.args.points
        trainer = Trainer(self.config, self.shape, self.data)
        begun, spent, due, whole = time.perf_counter(), 0.0, 1, True
        compiling = 0.0
        while spent < budget:
            # The first step compiles: were it part of the share, the rise of the learning rate would be skipped.
            loss = trainer.advance(max(0.0, spent - compiling) / max(budget - compiling, 1e-9))
            spent = time.perf_counter() - begun
            if trainer.step == 1:
                wait()
                compiling = spent = time.perf_counter() - begun
                self.about["first_step_seconds"] = round(compiling, 2)
            if self.results.left() < 1.2 * self.cost * args.samples:
                break
            if due < points and spent >= budget * due / points:
                wait()
                spent = time.perf_counter() - begun
                if self.results.left() > budget - spent + 2.5 * self.cost * args.samples:
                    self.measure(trainer, spent, loss, args.samples)
                else:
                    whole = False
                due = int(spent / budget * points) + 1
                begun = time.perf_counter() - spent
        wait()
        spent = time.perf_counter() - begun
        fitting = [n for n in FINAL if n <= args.final and 1.2 * self.cost * n < self.results.left()]
        self.measure(trainer, spent, loss, fitting[0] if fitting else args.samples)
        whole = whole and spent >= budget and fitting[:1] == [n for n in FINAL if n <= args.final][:1]
        self.about["state"] = "finished" if whole else "cut short"
        self.results.put("curve", self.about)

    def measure(self, trainer: Trainer, spent: float, loss: float, n: int) -> None:
        """A row: n samples of the averaged weights against all training images."""
        begun = time.perf_counter()
        x = self.samples(trainer.averaged(), n)
        drawn = time.perf_counter() - begun
        distance = frechet_of_moments(self.reference, moments(self.judge.extractor(x)))
        self.cost = (time.perf_counter() - begun) / n
        row = {
            "seconds": round(spent, 2),
            "step": trainer.step,
            "images": trainer.images,
            "epochs": round(trainer.images / len(self.data.train), 3),
            "loss": round(loss, 5),
            "samples": n,
            "frechet": round(distance, 4),
            "drawing_seconds": round(drawn, 2),
            "measuring_seconds": round(self.cost * n, 2),
        }
        self.about["rows"].append(row)
        self.results.put("curve", self.about)
        print("curve", json.dumps(row), flush=True)
        with atomic(self.args.out / f"samples-{len(self.about['rows'])}.png") as file:
            sheet = tile(x[:64])
            Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(file, format="PNG")

    def samples(self, model: NetDenoiser, n: int) -> np.ndarray:
        """n samples of seeds 0, 1, ..., each class in turn."""
        classes = len(self.shape.classes)
        labels = np.arange(n, dtype=np.int64) % classes if build.conditional(self.config, self.shape) else None
        chunk = 512 if torch.cuda.is_available() else 32
        x, _ = draw(model, self.config.sample, self.shape, range(n), labels, chunk=chunk)
        return x

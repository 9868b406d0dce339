"""Clips of motion, judged: the extractors that see them, what copies are looked for in, what a body is."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noisette.data.medium import Stored
from noisette.data.motion import MotionData
from noisette.data.motion.clips import Placing
from noisette.data.motion.stream import mirrored, varied
from noisette.errors import UserError
from noisette.metrics import motion
from noisette.metrics.features import Extractor, Features
from noisette.metrics.motion import Body
from noisette.metrics.motion_features import Autoencoder, MotionClassifier, train_autoencoder, train_classifier
from noisette.metrics.poses import Poses
from noisette.tasks.judge import Judge, Reader


def body_of(data: MotionData) -> Body:
    """What the measures know of the body of these data: drawn from the training clips."""
    skeleton = data.skeleton
    edges = np.array(skeleton.edges, np.int64).reshape(-1, 2)
    x = data.x[data.train[:: max(1, len(data.train) // motion.MOST)]]
    return Body.of(x, edges, root=skeleton.root, feet=skeleton.feet, up=skeleton.up, down=skeleton.down, fps=data.fps)


class Turned:
    """An extractor that sees every clip turned to one heading."""

    def __init__(self, found: Extractor, placing: Placing):
        self.found, self.placing = found, placing
        self.name, self.dim, self.accuracy, self.classes = found.name, found.dim, found.accuracy, found.classes
        self.hash = hashlib.sha256(f"turned {found.hash}".encode()).hexdigest()[:16]

    def __call__(self, x: Stored) -> Features:
        return self.found(self.placing(x))

    def probabilities(self, x: Stored) -> Features | None:
        return self.found.probabilities(self.placing(x))


def alike(data: MotionData, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) which of these rows say less than as many independent ones: those of one person where whole persons were
    held out, for people differ in size and in pace, else those of one take. Of a single person takes have to do."""
    takes = np.asarray(data.take[rows], np.int64)
    if data.info["split"]["by"] == "subject":
        people = np.unique([str(data.subjects[take]) for take in takes], return_inverse=True)[1]
        if people.any():
            return np.asarray(people, np.int64)
    return takes


class MotionJudge(Judge):
    """The judge of clips. features: a classifier trained on the data's own labels where it reads well enough, else an
    autoencoder (auto), or one of the two by name. Copies are also looked for in the poses themselves."""

    raw, what, plainest = "poses", "clip", "autoencoder"
    others = ("inception", "pixels")
    data: MotionData

    @cached_property
    def body(self) -> Body:
        return body_of(self.data)

    @cached_property
    def ahead(self) -> Placing | None:
        """Turns clips to one heading before they are compared, where a model was taught to turn them to every side: the
        real ones were not turned. None where it was not, or where left and right are not known."""
        skeleton = self.data.skeleton
        return Placing(skeleton, "start", True) if self.data.augment.rotate and skeleton.pairs else None

    def _placed(self, x: Stored) -> Stored:
        return x if self.ahead is None else self.ahead(x)

    def _ahead(self, found: Extractor) -> Extractor:
        return found if self.ahead is None else Turned(found, self.ahead)

    @cached_property
    def extractor(self) -> Extractor:
        return self._ahead(self._extractor())

    def _extractor(self) -> Extractor:
        if self.asked == "classifier" and self.reader is None:
            raise UserError(f"{self.settings.source}: no classifier: {self.no_reader}; use --features {self.plainest}")
        if self.reader is not None and (self.asked == "classifier" or (self.asked == "auto" and self.reads_well)):
            return self.reader
        return self.autoencoder

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """Trained once on these data."""
        place = self._place("readers", f"autoencoder-{self._taught}.safetensors")
        if place is not None and place.exists():
            with contextlib.suppress(UserError, OSError, ValueError, KeyError):
                return Autoencoder.load(place)
        data = self.data
        try:
            made = train_autoencoder(
                data.x[data.train],
                data.x[data.held_out],
                root=data.skeleton.root,
                varied=self._varied,
                progress=lambda done, total: self.progress("Training an autoencoder of the clips, once", done, total),
            )
        except ValueError as error:
            raise UserError(f"{self.settings.source}: {error}: too few to measure anything by") from None
        if place is not None:
            with contextlib.suppress(OSError):  # a full disk costs the next evaluation time, not this one its numbers
                made.save(place)
        return made

    def comparable(self, x: Stored) -> Stored:
        return motion.comparable(self._placed(x), self.data.skeleton.root)

    def taught(self, x: Stored) -> Stored:
        data = self.data
        return np.concatenate([x, mirrored(x, data.skeleton, data.lateral)]) if data.augment.mirror else x

    def plain(self, reference: Stored) -> Extractor:
        return self._ahead(Poses(self._placed(reference), self.data.skeleton.root))

    def groups(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        return np.asarray(self.data.take[rows], np.int64)

    def _train(self, progress: Callable[[int, int], None]) -> Reader:
        data, rows, held_out = self.data, self.data.train, self.data.held_out
        assert data.labels is not None
        labels, seen = data.labels[rows], (data.x[held_out], data.labels[held_out])
        root = data.skeleton.root
        return train_classifier(
            data.x[rows], labels, data.classes, *seen, root=root, varied=self._varied, progress=progress
        )

    def _load(self, place: Path) -> Reader:
        return MotionClassifier.load(place)

    @property
    def _reader_place(self) -> Path | None:
        return self._place("readers", f"motion-{self._taught}.safetensors")

    @property
    def _taught(self) -> str:
        augment = self.data.augment
        return f"{int(augment.mirror)}-{augment.rotate:g}-{augment.speed:g}"

    def _varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Stored:
        """Training clips as a model is taught them."""
        data = self.data
        return varied(data, data.train[rows], rng.random((len(rows), 3)), data.augment)

"""What a run's samples are judged by: an extractor of features, the real images, and a reader of their classes.

Everything that takes long and depends on the data alone (a trained reader, the features of the real images) is kept in
the cache folder, by the data's fingerprint.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noisette.data import cache, fetch, medium
from noisette.data.medium import Data, Stored
from noisette.data.motion import MotionData
from noisette.data.spec import permutation
from noisette.errors import UserError, nearest
from noisette.experiment.config import DataConfig
from noisette.metrics.classifier import Classifier, train
from noisette.metrics.features import Extractor, Inception, Pixels
from noisette.metrics.motion_features import MotionClassifier

FEATURES = ("auto", "inception", "classifier", "pixels", "autoencoder")
NETWORK = ".pt"  # how the file of a network ends

READS = 0.8
"""A reader that is right less often on held-out images says nothing about which samples are clear."""

MOST = 10_000
"""Real images that samples are held against: beyond, a Fréchet distance hardly changes and the features take long."""

_CHOOSE = 0x1D6E  # sets this use of the seed apart from the others

Reader = Classifier | MotionClassifier

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, all)."""


def silent(what: str, done: int, total: int) -> None:
    """A Progress that shows nothing."""


def known_features(name: str) -> None:
    """Raises UserError for features that there are none of."""
    if name not in FEATURES and not name.endswith(NETWORK):
        raise UserError(f'unknown features "{name}"{nearest(name, FEATURES)}')


class Judge:
    """The extractor for a run's data, and its features of the real ones.

    Args:
        data: what the run learned from.
        settings: how they were loaded.
        features: auto | inception | classifier | pixels, or the path of the Inception network's file. auto is
            inception for colour images where its file is at hand,
            else a classifier trained on the data's own labels where it reads at least READS of the held-out images
            right, else inception, else the principal components of the pixels.
            For motion: auto | classifier | autoencoder, see noisette.tasks.motion.MotionJudge.
        progress: told of what takes long.

    Raises:
        UserError: an unknown name, or one of the other medium's; a classifier without labels; an Inception file that
            cannot be had.
    """

    raw = "pixels"
    """What copies are looked for in, beside the features."""
    what = "picture"
    """What one sample is called where copies are spoken of."""
    plainest = "pixels"
    """The features that all data of this medium have."""
    others: tuple[str, ...] = ("autoencoder",)
    """Features that are there for another medium alone."""

    def __init__(self, data: Data, settings: DataConfig, features: str = "auto", progress: Progress = silent):
        known_features(features)
        self.data, self.settings, self.progress = data, settings, progress
        self.medium = medium.of(medium.facts(data))
        if features in self.others or (self.medium.name == "motion" and features.endswith(NETWORK)):
            raise UserError(f'features "{features}" do not see {self.medium.many}: use --features auto')
        self.asked = features

    @classmethod
    def of(cls, data: Data, settings: DataConfig, features: str = "auto", progress: Progress = silent) -> Judge:
        """The judge for this medium."""
        from noisette.tasks.motion import MotionJudge

        return (MotionJudge if isinstance(data, MotionData) else cls)(data, settings, features, progress)

    # --- what copies are looked for in ---

    def comparable(self, x: Stored) -> Stored:
        """Samples as the Euclidean distance of two of them is to be taken."""
        return x

    def taught(self, x: Stored) -> Stored:
        """Training samples with what training made of them: mirrored ones, where it mirrored."""
        return np.concatenate([x, x[:, :, ::-1]]) if self.settings.flip else x

    def groups(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Of samples that are cut from one piece: the piece that each comes from; None where there are no such."""
        return None

    def middles(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places in rising `rows`: of each piece its middle one, as those of one are alike; all without any."""
        pieces = self.groups(rows)
        if pieces is None:
            return np.arange(len(rows))
        _, first, sizes = np.unique(pieces, return_index=True, return_counts=True)
        return np.asarray(first + sizes // 2)

    def apart(
        self, rows: NDArray[np.int64], count: int, evenly: bool, *key: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(`count` of these rows at random, the others), as places in `rows`; evenly: see order.

        No piece has rows on both sides, or clips that overlap would make real ones look nearer to each other than they
        are. As many pieces are set aside as rows are wanted, but at most half of all, and the rows come from all of
        these: many clips of few pieces are a narrow lot, which would lie far from the others. Where pieces are so large
        that the others could not be as many, it is fewer than `count`.
        """
        pieces = self.groups(rows)
        if pieces is None:
            order = self.order(rows, evenly, *key)
            return order[:count], order[count:]
        _, first, of, sizes = np.unique(pieces, return_index=True, return_inverse=True, return_counts=True)
        taken, had = np.zeros(len(sizes), bool), 0
        for piece in self.order(rows[first], evenly, *key):
            wanted = had < count or taken.sum() < min(count, len(sizes) // 2)
            if wanted and had + sizes[piece] <= len(rows) - count:
                taken[piece], had = True, had + sizes[piece]
        mine, others = np.flatnonzero(taken[of]), np.flatnonzero(~taken[of])
        return mine[self.order(rows[mine], evenly, *key)][:count], others[permutation(len(others), *key)]

    def order(self, rows: NDArray[np.int64], evenly: bool, *key: int) -> NDArray[np.int64]:
        """Places in `rows` in a random order, of each piece one before any comes again; evenly: the classes in turn,
        as a model that is told them draws them.

        Even classes lie nearer to the whole than classes at random do, so a floor without them would be too high.
        """
        order = permutation(len(rows), *key)
        pieces = self.groups(rows)
        if pieces is not None:
            order = order[np.argsort(_turns(pieces[order]), kind="stable")]
        if evenly and self.data.labels is not None:
            order = order[np.argsort(_turns(self.data.labels[rows][order]), kind="stable")]
        return order

    # --- what it judges with ---

    def plain(self, reference: Stored) -> Extractor:
        """An extractor that nothing is trained for, its axes fitted on `reference`. Raises ValueError for fewer than
        two samples."""
        return Pixels(reference)

    @cached_property
    def extractor(self) -> Extractor:
        if self.asked.endswith(NETWORK):
            return Inception(fetch.inception_file(Path(self.asked)))
        if self.asked == "inception":
            return Inception(fetch.inception_file())
        if self.asked == "pixels":
            return self._pixels()
        if self.asked == "classifier":
            if self.reader is None:
                why = f"no classifier: {self.no_reader}; use --features {self.plainest}"
                raise UserError(f"{self.settings.source}: {why}")
            return self.reader
        at_hand = fetch.inception_at_hand()
        if at_hand is not None and self.data.x.shape[3] == 3:
            return Inception(at_hand)
        if self.reads_well and self.reader is not None:
            return self.reader
        return Inception(at_hand) if at_hand is not None else self._pixels()

    def _pixels(self) -> Extractor:
        try:
            return self.plain(self.data.x[self.rows("train")])
        except ValueError as error:
            raise UserError(f"{self.settings.source}: {error}: too few to measure anything by") from None

    @cached_property
    def no_reader(self) -> str:
        """Why no classifier can be trained on these data; empty where one can."""
        labels = self.data.labels
        if labels is None:
            return f"the {self.medium.many} have no classes"
        if len(np.unique(labels[self.data.train])) < 2:
            return "there is only one class"
        return ""

    @cached_property
    def reader(self) -> Reader | None:
        """A classifier of the data's own classes, trained once; None where there are no classes to tell apart."""
        if self.no_reader:
            return None
        if self.kept is not None:
            return self.kept
        made = self._train(lambda done, total: self.progress("Training a reader of the classes, once", done, total))
        if (place := self._reader_place) is not None:
            with contextlib.suppress(OSError):  # a full disk costs the next evaluation time, not this one its numbers
                made.save(place)
        return made

    @cached_property
    def kept(self) -> Reader | None:
        """The classifier where one was trained before; None otherwise."""
        place = self._reader_place
        if place is not None and place.exists():
            with contextlib.suppress(UserError, OSError, ValueError, KeyError):
                return self._load(place)
        return None

    def _train(self, progress: Callable[[int, int], None]) -> Reader:
        data, rows, held_out = self.data, self.data.train, self.data.held_out
        assert data.labels is not None
        labels, seen = data.labels[rows], (data.x[held_out], data.labels[held_out])
        return train(data.x[rows], labels, data.classes, *seen, flip=self.settings.flip, progress=progress)

    def _load(self, place: Path) -> Reader:
        return Classifier.load(place)

    @property
    def _reader_place(self) -> Path | None:
        return self._place("readers", f"classifier-{int(self.settings.flip)}.safetensors")

    @property
    def reads_well(self) -> bool:
        """Whether the reader can be trusted to say what a picture shows."""
        return self.reader is not None and (self.reader.accuracy or 0) >= READS

    # --- the real images ---

    def rows(self, which: str) -> NDArray[np.int64]:
        """The rows of the training or held-out images, at most MOST of them, always the same."""
        found = self.data.train if which == "train" else self.data.held_out
        return found if len(found) <= MOST else np.sort(found[permutation(len(found), _CHOOSE)[:MOST]])

    def unknown(self) -> int:
        """How many real images have no features in the cache yet."""
        places = {
            which: self._place("features", f"{self.extractor.hash}-{which}.npy") for which in ("train", "held_out")
        }
        return sum(len(self.rows(which)) for which, place in places.items() if place is None or not place.exists())

    def real(self, which: str) -> NDArray[np.float64]:
        """Features of the training ("train") or held-out ("held_out") images of `rows`, (N, D)."""
        rows = self.rows(which)
        place = self._place("features", f"{self.extractor.hash}-{which}.npy")
        if place is not None:
            with contextlib.suppress(OSError, ValueError, EOFError):
                found: NDArray[np.float64] = np.load(place, allow_pickle=False)
                if found.shape == (len(rows), self.extractor.dim):
                    return found
        found = self.features(self.data.x[rows], f"Features of {len(rows):,} real {self.medium.many}, once")
        if place is not None:
            packed = io.BytesIO()
            np.save(packed, found, allow_pickle=False)
            with contextlib.suppress(OSError):  # a full disk costs the next evaluation time, not this one its numbers
                cache.write(place, packed.getvalue())
        return found

    def features(self, x: Stored, what: str = "Features") -> NDArray[np.float64]:
        """Samples as they are kept -> (N, D) in parts, with progress."""
        if not len(x):
            return np.empty((0, self.extractor.dim))
        parts = []
        for first in range(0, len(x), PART):
            parts.append(self.extractor(x[first : first + PART]))
            self.progress(what, min(len(x), first + PART), len(x))
        return np.concatenate(parts)

    def _place(self, kind: str, name: str) -> Path | None:
        """Where something that depends on the data and their split alone is kept; None without a cache folder."""
        home, settings = cache.folder(), self.settings
        key = cache.key(kind, FORMAT, self.data.fingerprint, settings.held_out, settings.seed)
        return None if home is None else home / kind / f"{key}-{name}"


PART = 256
FORMAT = 2
"""Part of every key: raised when a reader is trained differently."""


def _turns(kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,): how many of the same kind come before each."""
    turns = np.zeros(len(kinds), np.int64)
    for kind in np.unique(kinds):
        turns[kinds == kind] = np.arange(int((kinds == kind).sum()))
    return turns

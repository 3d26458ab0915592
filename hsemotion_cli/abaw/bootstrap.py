"""What the scores of the challenges are made of, video by video, in a form that adds up.

Scores are of all valid frames of a part together, never means over its videos. What is kept here of a video (counts,
and moments about its own mean) is enough to score any collection of videos, each taken any number of times: all of
them once is the challenge's score, one of them alone is that of a video, and collections drawn by lot tell how far the
score depends on which videos there happen to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..evaluation.metrics import confusion, ratio

Floats = NDArray[np.float64]
Pair = tuple[ArrayLike, ArrayLike]
"""What is true and what was said of the same rows of one video; both may be empty."""

PERCENTILES = (2.5, 97.5)
"""Ends of an interval."""

_BLOCK = 1 << 21
"""Numbers that are worked on at once where there are many videos and many draws."""


@dataclass(frozen=True, slots=True, eq=False)
class ConfusionCounts:
    """How often each class was taken for each.

    Attributes:
        counts: (m, classes, classes) float64 of whole numbers, rows are the truth.
    """

    counts: Floats

    @classmethod
    def of(cls, videos: Sequence[Pair], classes: int) -> ConfusionCounts:
        """Count the labels of each video.

        Args:
            videos: of each the true and the said labels, (n,) whole numbers in [0, classes).

        Raises:
            ValueError: as ``metrics.confusion``.
        """
        counts = np.zeros((len(videos), classes, classes))
        for k, (truth, said) in enumerate(videos):
            if np.size(truth) or np.size(said):
                counts[k] = confusion(truth, said, classes)
        return cls(counts)

    def pooled(self, times: Floats) -> ConfusionCounts:
        """The counts of some collections.

        Args:
            times: (collections, videos) how often each video is in each collection, whole numbers from 0.
        """
        return ConfusionCounts(_total(times, self.counts))

    @property
    def rows(self) -> Floats:
        """(m,) rows counted."""
        return self.counts.sum(axis=(1, 2))

    @property
    def support(self) -> Floats:
        """(m, classes) rows whose truth is the class."""
        return self.counts.sum(axis=2)

    @property
    def precision(self) -> Floats:
        """(m, classes) of what was said to be the class, the share that is it; 0 if it was never said."""
        return ratio(self._hits, self.counts.sum(axis=1))

    @property
    def recall(self) -> Floats:
        """(m, classes) of what is the class, the share that was found; 0 if it never occurs."""
        return ratio(self._hits, self.support)

    @property
    def f1(self) -> Floats:
        """(m, classes) 2 TP / (2 TP + FP + FN); 0 for a class that neither occurs nor is said, nan without rows."""
        found = ratio(2 * self._hits, self.support + self.counts.sum(axis=1))
        return np.where(self.rows[:, None] > 0, found, np.nan)

    @property
    def macro_f1(self) -> Floats:
        """(m,) plain mean over all classes, the challenges' score; nan without rows."""
        return self.f1.mean(axis=1)

    @property
    def macro_f1_there(self) -> Floats:
        """(m,) mean over the classes that occur or are said, since few videos have them all; nan without rows."""
        there = (self.support + self.counts.sum(axis=1)) > 0
        return ratio(np.where(there, self.f1, 0).sum(axis=1), there.sum(axis=1), np.nan)

    @property
    def accuracy(self) -> Floats:
        """(m,) share of the rows whose class was found; nan without rows."""
        return ratio(self._hits.sum(axis=1), self.rows, np.nan)

    @property
    def _hits(self) -> Floats:
        return np.einsum("mcc->mc", self.counts)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionCounts:
    """How often something was rightly said to be there, wrongly, and wrongly not.

    Attributes:
        rows: (m,) float64 of whole numbers, as the others.
        tp, fp, fn: (m, units).
    """

    rows: Floats
    tp: Floats
    fp: Floats
    fn: Floats

    @classmethod
    def of(cls, videos: Sequence[Pair], units: int) -> DetectionCounts:
        """Count the units of each video.

        Args:
            videos: of each what is true and what was said, (n, units) bool or 0 and 1.

        Raises:
            ValueError: other shapes.
        """
        found = np.zeros((3, len(videos), units))
        rows = np.zeros(len(videos))
        for k, (truth, said) in enumerate(videos):
            x, y = np.asarray(truth).astype(bool), np.asarray(said).astype(bool)
            if x.shape != y.shape or x.shape[1:] != (units,):
                raise ValueError(f"truth and what was said must be (n, {units}), got {x.shape} and {y.shape}")
            rows[k] = len(x)
            found[:, k] = (x & y).sum(axis=0), (~x & y).sum(axis=0), (x & ~y).sum(axis=0)
        return cls(rows, *found)

    def pooled(self, times: Floats) -> DetectionCounts:
        """The counts of some collections, as of ``Classes``."""
        return DetectionCounts(*(_total(times, values) for values in (self.rows, self.tp, self.fp, self.fn)))

    @property
    def support(self) -> Floats:
        """(m, units) rows in which the unit is there."""
        return self.tp + self.fn

    @property
    def precision(self) -> Floats:
        """(m, units) of the rows in which it was said to be there, the share in which it is; 0 if it never was."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Floats:
        """(m, units) of the rows in which it is there, the share in which it was said to be; 0 if it never is."""
        return ratio(self.tp, self.support)

    @property
    def f1(self) -> Floats:
        """(m, units) 2 TP / (2 TP + FP + FN); 0 where it is neither there nor said to be, nan without rows."""
        found = ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)
        return np.where(self.rows[:, None] > 0, found, np.nan)

    @property
    def mean_f1(self) -> Floats:
        """(m,) plain mean over all units, the challenges' score; nan without rows."""
        return self.f1.mean(axis=1)

    @property
    def mean_f1_there(self) -> Floats:
        """(m,) mean over the units that are there or said to be; nan where none is."""
        there = (self.tp + self.fp + self.fn) > 0
        return ratio(np.where(there, self.f1, 0).sum(axis=1), there.sum(axis=1), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Means and squares of what is true and what was said, for concordance and correlation.

    Means are kept relative to a number near them, and squares about each video's own mean, so that nothing cancels
    where values hardly vary; a value that never changes has squares of exactly 0.

    Attributes:
        rows: (m,) float64 of whole numbers.
        near: (2, columns) what the means are relative to: of the truth, and of what was said.
        mean: (m, 2, columns).
        square: (m, 2, columns) sums of squared distances from the mean.
        cross: (m, columns) sum of products of the two distances.
    """

    rows: Floats
    near: Floats
    mean: Floats
    square: Floats
    cross: Floats

    @classmethod
    def of(cls, videos: Sequence[Pair], columns: int) -> Moments:
        """Sum up the values of each video.

        Args:
            videos: of each what is true and what was said, (n, columns), finite.

        Raises:
            ValueError: other shapes, nan or infinity.
        """
        values = [np.stack(_checked(pair, columns), axis=1) for pair in videos]
        near = next((rows[0] for rows in values if len(rows)), np.zeros((2, columns)))
        mean, square = np.zeros((len(values), 2, columns)), np.zeros((len(values), 2, columns))
        cross = np.zeros((len(values), columns))
        for k, rows in enumerate(values):
            if len(rows):
                offset = rows - near
                # The mean of equal numbers may be rounded; then they would seem to vary.
                mean[k] = np.where((offset == offset[0]).all(axis=0), offset[0], offset.mean(axis=0))
                apart = offset - mean[k]
                square[k], cross[k] = (apart**2).sum(axis=0), (apart[:, 0] * apart[:, 1]).sum(axis=0)
        return cls(np.array([len(rows) for rows in values], np.float64), near, mean, square, cross)

    def pooled(self, times: Floats) -> Moments:
        """The moments of some collections, as of ``Classes``: squares within the videos, and those between means."""
        step = max(1, _BLOCK // max(self.mean.size, 1))
        parts = [self._joined(times[k : k + step]) for k in range(0, len(times), step)]
        rows, mean, square, cross = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Moments(rows, self.near, mean, square, cross)

    def _joined(self, times: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        weight = times * self.rows
        rows = weight.sum(axis=1)
        share = ratio(weight, rows[:, None])
        # Relative to the first video of each collection: means that are all equal then have distances of exactly 0.
        first = self.mean[np.argmax(weight > 0, axis=1)]
        apart = self.mean - first[:, None]
        middle = np.einsum("rv,rvtc->rtc", share, apart)
        apart = apart - middle[:, None]
        square = _total(times, self.square) + np.einsum("rv,rvtc->rtc", weight, apart**2)
        cross = _total(times, self.cross) + np.einsum("rv,rvc->rc", weight, apart[:, :, 0] * apart[:, :, 1])
        return rows, first + middle, square, cross

    @property
    def ccc(self) -> Floats:
        """(m, columns) Lin's concordance with moments over N, as ``metrics.ccc``; nan without rows."""
        distance = (self.near[0] - self.near[1]) + (self.mean[:, 0] - self.mean[:, 1])
        below = self.square.sum(axis=1) + self.rows[:, None] * distance**2
        return np.where(self.rows[:, None] > 0, ratio(2 * self.cross, below), np.nan)

    @property
    def pearson(self) -> Floats:
        """(m, columns) correlation, as ``metrics.pearson``: 0 where one of the two is constant; nan without rows."""
        below = np.sqrt(self.square[:, 0]) * np.sqrt(self.square[:, 1])
        found = np.clip(ratio(self.cross, below), -1, 1)
        return np.where(self.rows[:, None] > 0, found, np.nan)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """(m, columns) whether the truth never changes, so that nothing is learned from how it is followed."""
        return self.square[:, 0] == 0


def resample(groups: Sequence[str], count: int, seed: int) -> Floats:
    """How often each video is in each collection drawn by lot: whole groups, with replacement, as many as there are.

    Args:
        groups: (videos,) the recording that each belongs to; those of one recording come together.
        count: collections.
        seed: the same gives the same.

    Returns:
        (count, videos) whole numbers from 0.
    """
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
    return drawn[:, which].astype(np.float64)


def interval(scores: Floats) -> tuple[Floats, Floats]:
    """Ends of the middle 95 % of the scores of collections drawn by lot (percentile bootstrap, Efron 1979).

    Args:
        scores: (count, ...); those that are nan, of collections without a row, do not count.

    Returns:
        the lower and the upper end, (...); nan where all are nan.
    """
    low, high = np.full(scores.shape[1:], np.nan), np.full(scores.shape[1:], np.nan)
    some = ~np.isnan(scores).all(axis=0)
    if some.any():
        low[some], high[some] = np.nanpercentile(scores[:, some], PERCENTILES, axis=0)
    return low, high


def _checked(pair: Pair, columns: int) -> tuple[Floats, Floats]:
    x, y = (np.asarray(values, np.float64) for values in pair)
    if x.shape != y.shape or x.shape[1:] != (columns,):
        raise ValueError(f"truth and what was said must be (n, {columns}), got {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("nan or infinity in truth or what was said; take out the rows without truth first")
    return x, y


def _total(times: Floats, values: Floats) -> Floats:
    """(collections, ...) sums over the videos."""
    return np.tensordot(times, values, axes=1)

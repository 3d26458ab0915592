"""Per-video sufficient statistics of the challenges' scores, which add up in any resample of recordings.

Scores are computed over all valid frames of a part together, never as means over videos. The statistics of a video
(counts, and moments about its own mean) are enough to score any resample of videos, each with any multiplicity: all of
them once gives the challenge's score, one alone gives that video's, and bootstrap resamples give confidence intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..evaluation.metrics import confusion, ratio

Floats = NDArray[np.float64]
Pair = tuple[ArrayLike, ArrayLike]
"""Ground truth and prediction for the same rows of one video; both may be empty."""

_BLOCK = 1 << 21
"""Numbers per block when many videos meet many resamples, which bounds memory."""


@dataclass(frozen=True, slots=True, eq=False)
class ConfusionCounts:
    """Confusion matrices of m videos or resamples.

    Attributes:
        counts: (m, classes, classes) whole numbers as float64; rows are the ground truth.
    """

    counts: Floats

    @classmethod
    def of(cls, videos: Sequence[Pair], classes: int) -> ConfusionCounts:
        """Count the labels of each video.

        Args:
            videos: true and predicted labels of each, (n,) whole numbers in [0, classes).

        Raises:
            ValueError: as ``metrics.confusion``.
        """
        counts = np.zeros((len(videos), classes, classes))
        for k, (truth, predicted) in enumerate(videos):
            if np.size(truth) or np.size(predicted):
                counts[k] = confusion(truth, predicted, classes)
        return cls(counts)

    def pooled(self, multiplicity: Floats) -> ConfusionCounts:
        """The counts of some resamples.

        Args:
            multiplicity: (resamples, videos) how often each video is in each resample, whole numbers from 0.
        """
        return ConfusionCounts(_total(multiplicity, self.counts))

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
        """(m, classes) share of the predictions of a class that are right; 0 if it was never predicted."""
        return ratio(self._hits, self.counts.sum(axis=1))

    @property
    def recall(self) -> Floats:
        """(m, classes) share of a class's rows that were predicted as it; 0 if it never occurs."""
        return ratio(self._hits, self.support)

    @property
    def f1(self) -> Floats:
        """(m, classes) 2 TP / (2 TP + FP + FN); 0 if a class neither occurs nor is predicted, nan without rows."""
        found = ratio(2 * self._hits, self.support + self.counts.sum(axis=1))
        return np.where(self.rows[:, None] > 0, found, np.nan)

    @property
    def macro_f1(self) -> Floats:
        """(m,) unweighted mean over all classes, the challenges' score; nan without rows."""
        return self.f1.mean(axis=1)

    @property
    def macro_f1_present(self) -> Floats:
        """(m,) mean over the classes that occur or are predicted, as few videos have all; nan without rows."""
        present = (self.support + self.counts.sum(axis=1)) > 0
        return ratio(np.where(present, self.f1, 0).sum(axis=1), present.sum(axis=1), np.nan)

    @property
    def accuracy(self) -> Floats:
        """(m,) share of rows with the right class; nan without rows."""
        return ratio(self._hits.sum(axis=1), self.rows, np.nan)

    @property
    def _hits(self) -> Floats:
        return np.einsum("mcc->mc", self.counts)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionCounts:
    """True positives, false positives and false negatives of m videos or resamples, whole numbers as float64.

    Attributes:
        rows: (m,) rows counted.
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
            videos: ground truth and prediction of each, (n, units) bool or 0 and 1.

        Raises:
            ValueError: other shapes.
        """
        found = np.zeros((3, len(videos), units))
        rows = np.zeros(len(videos))
        for k, (truth, predicted) in enumerate(videos):
            x, y = np.asarray(truth).astype(bool), np.asarray(predicted).astype(bool)
            if x.shape != y.shape or x.shape[1:] != (units,):
                raise ValueError(f"truth and prediction must be (n, {units}), got {x.shape} and {y.shape}")
            rows[k] = len(x)
            found[:, k] = (x & y).sum(axis=0), (~x & y).sum(axis=0), (x & ~y).sum(axis=0)
        return cls(rows, *found)

    def pooled(self, multiplicity: Floats) -> DetectionCounts:
        """The counts of some resamples, as ``ConfusionCounts.pooled``."""
        return DetectionCounts(*(_total(multiplicity, values) for values in (self.rows, self.tp, self.fp, self.fn)))

    @property
    def support(self) -> Floats:
        """(m, units) rows in which the unit is present."""
        return self.tp + self.fn

    @property
    def precision(self) -> Floats:
        """(m, units) share of the predicted presences that are right; 0 if there are none."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Floats:
        """(m, units) share of the rows with the unit in which it was predicted; 0 if there are none."""
        return ratio(self.tp, self.support)

    @property
    def f1(self) -> Floats:
        """(m, units) 2 TP / (2 TP + FP + FN); 0 if it is neither present nor predicted, nan without rows."""
        found = ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)
        return np.where(self.rows[:, None] > 0, found, np.nan)

    @property
    def mean_f1(self) -> Floats:
        """(m,) unweighted mean over all units, the challenges' score; nan without rows."""
        return self.f1.mean(axis=1)

    @property
    def mean_f1_present(self) -> Floats:
        """(m,) mean over the units that are present or predicted; nan if none is."""
        present = (self.tp + self.fp + self.fn) > 0
        return ratio(np.where(present, self.f1, 0).sum(axis=1), present.sum(axis=1), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """First and second moments of ground truth and prediction of m videos or resamples, for CCC and correlation.

    Means are relative to a nearby origin, and squares are about each video's own mean, so that nothing cancels if
    values hardly vary; a constant has squares of exactly 0.

    Attributes:
        rows: (m,) rows counted, whole numbers as float64.
        near: (2, columns) the origin of the means, for ground truth and prediction.
        mean: (m, 2, columns).
        square: (m, 2, columns) sums of squared deviations from the mean.
        cross: (m, columns) sums of products of the two deviations.
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
            videos: ground truth and prediction of each, (n, columns), finite.

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
                # The mean of equal numbers may be rounded, and then they would seem to vary.
                mean[k] = np.where((offset == offset[0]).all(axis=0), offset[0], offset.mean(axis=0))
                deviation = offset - mean[k]
                square[k], cross[k] = (deviation**2).sum(axis=0), (deviation[:, 0] * deviation[:, 1]).sum(axis=0)
        return cls(np.array([len(rows) for rows in values], np.float64), near, mean, square, cross)

    def pooled(self, multiplicity: Floats) -> Moments:
        """The moments of some resamples, as ``ConfusionCounts.pooled``: squares within videos and between means."""
        step = max(1, _BLOCK // max(self.mean.size, 1))
        parts = [self._joined(multiplicity[k : k + step]) for k in range(0, len(multiplicity), step)]
        rows, mean, square, cross = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Moments(rows, self.near, mean, square, cross)

    def _joined(self, multiplicity: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        weight = multiplicity * self.rows
        rows = weight.sum(axis=1)
        share = ratio(weight, rows[:, None])
        # Relative to the first video of each resample: if all means are equal, they then deviate by exactly 0.
        first = self.mean[np.argmax(weight > 0, axis=1)]
        deviation = self.mean - first[:, None]
        middle = np.einsum("rv,rvtc->rtc", share, deviation)
        deviation = deviation - middle[:, None]
        square = _total(multiplicity, self.square) + np.einsum("rv,rvtc->rtc", weight, deviation**2)
        cross = _total(multiplicity, self.cross) + np.einsum(
            "rv,rvc->rc", weight, deviation[:, :, 0] * deviation[:, :, 1]
        )
        return rows, first + middle, square, cross

    @property
    def ccc(self) -> Floats:
        """(m, columns) Lin's concordance with moments over N, as ``metrics.ccc``; nan without rows."""
        distance = (self.near[0] - self.near[1]) + (self.mean[:, 0] - self.mean[:, 1])
        denominator = self.square.sum(axis=1) + self.rows[:, None] * distance**2
        return np.where(self.rows[:, None] > 0, ratio(2 * self.cross, denominator), np.nan)

    @property
    def pearson(self) -> Floats:
        """(m, columns) correlation, as ``metrics.pearson``: 0 where one of the two is constant; nan without rows."""
        denominator = np.sqrt(self.square[:, 0]) * np.sqrt(self.square[:, 1])
        found = np.clip(ratio(self.cross, denominator), -1, 1)
        return np.where(self.rows[:, None] > 0, found, np.nan)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """(m, columns) whether the ground truth never changes, so that CCC and correlation mean nothing."""
        return self.square[:, 0] == 0


def _checked(pair: Pair, columns: int) -> tuple[Floats, Floats]:
    x, y = (np.asarray(values, np.float64) for values in pair)
    if x.shape != y.shape or x.shape[1:] != (columns,):
        raise ValueError(f"truth and prediction must be (n, {columns}), got {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("nan or infinity in truth or prediction; remove rows without ground truth first")
    return x, y


def _total(multiplicity: Floats, values: Floats) -> Floats:
    """(resamples, ...) sums over the videos."""
    return np.tensordot(multiplicity, values, axes=1)

"""The objectives of tuning, as per-video sums: they add up to the sums, and so to the score, of any set of videos.

The objective of a task turns model scores and ground truth of some frames into sums for each weight of a blend. From
sums it computes the score; for action units also the best thresholds, at which the sums reduce to smaller ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..evaluation.calibration import THRESHOLDS
from ..evaluation.ground_truth import AFFWILD2_EXPRESSIONS
from ..evaluation.metrics import ratio
from ..tasks import ACTION_UNITS, VALENCE_AROUSAL

Floats = NDArray[np.float64]

LOWER = (0.01, 0.02, 0.05)
UPPER = (0.95, 0.98, 0.99)
"""Thresholds beyond both ends of the papers' grid, for action units whose best threshold is at an end."""

_CLASSES = len(AFFWILD2_EXPRESSIONS)
_BELOW = 1e-9
"""Variances that are only rounding errors: values are in [-1, 1]."""


class Objective(Protocol):
    """The objective of a task.

    Attributes:
        name: of its score.
        shape: of the sums of one setting.
        levels: thresholds that may be chosen; () if it has none.
    """

    name: str
    shape: tuple[int, ...]
    levels: tuple[float, ...]

    def sums(self, first: Floats, second: Floats, weights: Sequence[float], truth: NDArray) -> Floats:
        """Sums over frames, for each weight.

        Args:
            first, second: (columns, n) scores of two models, or the same array twice.
            weights: (w,) of the first model.
            truth: (n,) class numbers, or (columns, n).

        Returns:
            (w, *shape)
        """
        ...

    def thresholds(self, sums: Floats) -> NDArray[np.int64]:
        """(..., units) the best thresholds, as indices into ``levels``; (..., 0) if there are none.

        Args:
            sums: (..., *shape)
        """
        ...

    def at_thresholds(self, sums: Floats, thresholds: NDArray[np.int64]) -> Floats:
        """The sums of a setting reduced to some thresholds; these add up too.

        Args:
            sums: shape
            thresholds: (units,)
        """
        ...

    def score(self, at_thresholds: Floats) -> float:
        """The challenges' score of sums from ``at_thresholds``."""
        ...

    def best(self, sums: Floats) -> Floats:
        """(...,) score of each setting, with its best thresholds.

        Args:
            sums: (..., *shape)
        """
        ...


class _Plain:
    """An objective without thresholds."""

    levels: tuple[float, ...] = ()

    def thresholds(self, sums: Floats) -> NDArray[np.int64]:
        return np.empty((0,), np.int64)

    def at_thresholds(self, sums: Floats, thresholds: NDArray[np.int64]) -> Floats:
        return sums

    def score(self, at_thresholds: Floats) -> float:
        return float(self.best(at_thresholds))

    def best(self, sums: Floats) -> Floats:
        raise NotImplementedError


class ExpressionF1(_Plain):
    """Macro F1 over Aff-Wild2's 8 expressions; the sums are a confusion matrix, ground truth in rows."""

    name = "macro F1"
    shape: tuple[int, ...] = (_CLASSES, _CLASSES)

    def sums(self, first: Floats, second: Floats, weights: Sequence[float], truth: NDArray) -> Floats:
        found = np.empty((len(weights), *self.shape))
        base = truth.astype(np.int64) * _CLASSES
        for k, weight in enumerate(weights):
            predicted = _blended(first, second, weight)
            # The first maximum, like argmax, which is slow along such a short axis.
            highest, label = predicted[0].copy(), base.copy()
            for column in range(1, _CLASSES):
                higher = predicted[column] > highest
                np.copyto(highest, predicted[column], where=higher)
                np.copyto(label, base + column, where=higher)
            found[k] = np.bincount(label, minlength=_CLASSES**2).reshape(self.shape)
        return found

    def best(self, sums: Floats) -> Floats:
        hits = np.einsum("...kk->...k", sums)
        return ratio(2 * hits, sums.sum(axis=-1) + sums.sum(axis=-2)).mean(axis=-1)


class Concordance(_Plain):
    """Mean CCC of valence and arousal.

    The sums are, for each of the two: frames, truth, prediction, truth squared, prediction squared, their product.
    """

    name = "mean CCC"
    shape: tuple[int, ...] = (6, len(VALENCE_AROUSAL))

    def sums(self, first: Floats, second: Floats, weights: Sequence[float], truth: NDArray) -> Floats:
        y, a, b = np.asarray(truth, np.float64), first, second
        w = np.asarray(weights)[:, None]
        v = 1 - w
        found = np.empty((len(weights), *self.shape))
        # The blend is w a + v b, so one pass over the frames gives the sums for all weights.
        found[:, 0], found[:, 1], found[:, 3] = y.shape[1], y.sum(axis=1), (y * y).sum(axis=1)
        found[:, 2] = w * a.sum(axis=1) + v * b.sum(axis=1)
        squares = w * w * (a * a).sum(axis=1), 2 * w * v * (a * b).sum(axis=1), v * v * (b * b).sum(axis=1)
        found[:, 4] = squares[0] + squares[1] + squares[2]
        found[:, 5] = w * (a * y).sum(axis=1) + v * (b * y).sum(axis=1)
        return found

    def best(self, sums: Floats) -> Floats:
        n = np.maximum(sums[..., :1, :], 1)
        means = sums / n
        x, y = means[..., 2, :], means[..., 1, :]
        variance_x, variance_y = means[..., 4, :] - x * x, means[..., 3, :] - y * y
        flat = (variance_x < _BELOW) | (variance_y < _BELOW)
        covariance = np.where(flat, 0.0, means[..., 5, :] - x * y)
        return ratio(2 * covariance, variance_x + variance_y + (x - y) ** 2).mean(axis=-1)


class ActionUnitF1:
    """Mean F1 of the 12 action units.

    The sums are histograms, for each unit and for truth 0 and 1: how many thresholds of the grid a probability reaches.

    Args:
        thresholds: of the grid, increasing.
        extended: whether a unit whose best threshold is the first or last one also tries ``LOWER`` or ``UPPER``.
        both: whether thresholds are chosen by the mean of the F1 of presence and absence, as in the code of DDAMFN's
            entry at ABAW-7; the score is the F1 of presence in any case.

    Attributes:
        levels: all thresholds that may be chosen, increasing; ``thresholds`` returns indices into them.
    """

    name = "mean F1"

    def __init__(self, thresholds: Sequence[float] = THRESHOLDS, *, extended: bool = False, both: bool = False) -> None:
        lower = [level for level in LOWER if extended and level < thresholds[0]]
        upper = [level for level in UPPER if extended and level > thresholds[-1]]
        self.levels: tuple[float, ...] = (*lower, *thresholds, *upper)
        self._first, self._last = len(lower), len(lower) + len(thresholds) - 1
        self._both = both
        self.shape: tuple[int, ...] = (len(ACTION_UNITS), 2, len(self.levels) + 1)

    def sums(self, first: Floats, second: Floats, weights: Sequence[float], truth: NDArray) -> Floats:
        units, _, bins = self.shape
        found = np.empty((len(weights), *self.shape))
        base = ((np.arange(units)[:, None] * 2 + truth) * bins).astype(np.int64)
        for k, weight in enumerate(weights):
            predicted = _blended(first, second, weight)
            reached = np.zeros(predicted.shape, np.int16)
            for threshold in self.levels:
                reached += predicted >= threshold  # nan reaches none: an unknown unit counts as absent
            found[k] = np.bincount((base + reached).ravel(), minlength=units * 2 * bins).reshape(self.shape)
        return found

    def each(self, sums: Floats) -> Floats:
        """(..., units, levels) what thresholds are chosen by: F1 of presence, or its mean with that of absence."""
        hits, predicted, present = self._counts(sums)
        found = _f1(hits, predicted, present)
        if not self._both:
            return found
        frames = sums.sum(axis=(-1, -2))[..., None]
        return (found + _f1(frames - predicted - present + hits, frames - predicted, frames - present)) / 2

    def thresholds(self, sums: Floats) -> NDArray[np.int64]:
        found = self.each(sums)
        first, last = self._first, self._last
        chosen = first + np.argmax(found[..., first : last + 1], axis=-1)  # the first maximum
        for edge, beyond in ((first, np.arange(first)), (last, np.arange(last + 1, len(self.levels)))):
            if len(beyond):
                further = beyond[0] + np.argmax(found[..., beyond], axis=-1)
                better = found[..., beyond].max(axis=-1) > found[..., edge]
                chosen = np.where((chosen == edge) & better, further, chosen)
        return chosen

    def at_thresholds(self, sums: Floats, thresholds: NDArray[np.int64]) -> Floats:
        hits, predicted, present = self._counts(sums)
        at = thresholds[:, None]
        return np.stack(
            [np.take_along_axis(hits, at, 1)[:, 0], np.take_along_axis(predicted, at, 1)[:, 0], present[:, 0]]
        )

    def score(self, at_thresholds: Floats) -> float:
        return float(_f1(*at_thresholds).mean())

    def best(self, sums: Floats) -> Floats:
        f1 = _f1(*self._counts(sums))
        return np.take_along_axis(f1, self.thresholds(sums)[..., None], axis=-1)[..., 0].mean(axis=-1)

    @staticmethod
    def _counts(sums: Floats) -> tuple[Floats, Floats, Floats]:
        """(..., units, thresholds) true positives, and all predicted ones; (..., units, 1) present ones."""
        reaching = np.cumsum(sums[..., ::-1], axis=-1)[..., -2::-1]
        return reaching[..., 1, :], reaching.sum(axis=-2), sums[..., 1, :].sum(axis=-1)[..., None]


OBJECTIVES: Mapping[str, Objective] = {
    "expression": ExpressionF1(),
    "valence_arousal": Concordance(),
    "action_units": ActionUnitF1(),
}
"""Task -> its objective, with the papers' thresholds and no others."""


def objectives(thresholds: Sequence[float], *, extended: bool, both: bool) -> Mapping[str, Objective]:
    """Task -> its objective, with other thresholds of action units; see ``ActionUnitF1``."""
    return {**OBJECTIVES, "action_units": ActionUnitF1(thresholds, extended=extended, both=both)}


def _blended(first: Floats, second: Floats, weight: float) -> Floats:
    return first if first is second else weight * first + (1 - weight) * second


def _f1(hits: Floats, predicted: Floats, present: Floats) -> Floats:
    return ratio(2 * hits, predicted + present)

"""The metrics of the ABAW challenges: CCC for valence and arousal, F1 for classes and action units.

Rows are pooled: every valid frame of all videos counts once, whichever video it is from. Nothing is skipped here:
callers remove frames without ground truth first, and values that are not finite are an error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class PerClass:
    """Scores of each class, all (classes,).

    Attributes:
        precision: share of the predictions of the class that are right; 0 if it was never predicted.
        recall: share of the class's rows that were predicted as it; 0 if it never occurs.
        f1: harmonic mean of the two; 0 if both are.
        support: int64, number of rows of the class.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


def ccc(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Concordance correlation coefficient: 2 cov / (var + var + (mean - mean)^2) with moments over N.

    Lin 1989 (Biometrics 45:255), the challenges' score of valence and of arousal: 1 for equal values and, unlike
    Pearson's r, lower for values that are shifted or scaled. If truth or prediction is constant it is 0, even if both
    are the same constant: such data cannot show agreement, and any other prediction would get 0 as well.

    Args:
        truth, prediction: (n,) or (n, c), n > 0, finite.

    Returns:
        A scalar in [-1, 1], or (c,) of them, column by column.

    Raises:
        ValueError: other shapes, no rows, nan or infinity.
    """
    x, y = _pair(truth, prediction)
    covariance, variance_x, variance_y = _moments(x, y)
    denominator = variance_x + variance_y + (x.mean(axis=0) - y.mean(axis=0)) ** 2
    return ratio(2 * covariance, denominator)


def pearson(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Pearson's correlation, the score of the emotional mimicry challenge; 0 if one of the two is constant.

    Args, returns and raises as ``ccc``.
    """
    covariance, variance_x, variance_y = _moments(*_pair(truth, prediction))
    return np.clip(ratio(covariance, np.sqrt(variance_x) * np.sqrt(variance_y)), -1.0, 1.0)


def f1_binary(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """F1 of the positive class, 2 TP / (2 TP + FP + FN); 0 if nothing is positive in either.

    The challenges' score of action units is the mean of this over the twelve.

    Args:
        truth, prediction: (n,) or (n, c) of 0 and 1, n > 0, after applying thresholds.

    Returns:
        A scalar in [0, 1], or (c,) of them, column by column.

    Raises:
        ValueError: other shapes, no rows, or values other than 0 and 1.
    """
    pair = _pair(truth, prediction)
    if any(((values != 0) & (values != 1)).any() for values in pair):
        raise ValueError("binary F1 takes only 0 and 1; apply thresholds first")
    x, y = (values.astype(bool) for values in pair)
    hits = (x & y).sum(axis=0)
    return ratio(2.0 * hits, (x.sum(axis=0) + y.sum(axis=0)).astype(np.float64))


def f1_macro(truth: ArrayLike, prediction: ArrayLike, classes: int) -> float:
    """Unweighted mean of the F1 of all ``classes``, the challenges' score of expressions (8) and compounds (7).

    A class that neither occurs nor is predicted counts as 0 and lowers the mean, as with scikit-learn's
    ``f1_score(average="macro", labels=range(classes), zero_division=0)``. Args and raises as ``confusion``.
    """
    return float(per_class(truth, prediction, classes).f1.mean())


def per_class(truth: ArrayLike, prediction: ArrayLike, classes: int) -> PerClass:
    """Precision, recall, F1 and support of each class. Args and raises as ``confusion``."""
    table = confusion(truth, prediction, classes)
    hits = np.diag(table).astype(np.float64)
    support, predicted = table.sum(axis=1), table.sum(axis=0)
    return PerClass(
        precision=ratio(hits, predicted.astype(np.float64)),
        recall=ratio(hits, support.astype(np.float64)),
        f1=ratio(2 * hits, (support + predicted).astype(np.float64)),
        support=support,
    )


def confusion(truth: ArrayLike, prediction: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Confusion matrix: how often each class (row) was predicted as each class (column).

    Args:
        truth, prediction: (n,) whole numbers in [0, classes), n > 0.

    Returns:
        (classes, classes) int64, which sums to n.

    Raises:
        ValueError: other shapes, no rows, or a value that is no class.
    """
    x, y = _labels(truth, prediction)
    if min(x.min(), y.min()) < 0 or max(x.max(), y.max()) >= classes:
        raise ValueError(f"classes must be 0 to {classes - 1}; remove rows without ground truth first")
    counts = np.bincount(x * classes + y, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def accuracy(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Share of rows with the right class, in [0, 1].

    Args:
        truth, prediction: (n,) whole numbers, n > 0.

    Raises:
        ValueError: other shapes, no rows, or values that are not whole.
    """
    x, y = _labels(truth, prediction)
    return float((x == y).mean())


def p_mtl(valence_arousal: ArrayLike, expression: float, action_units: ArrayLike) -> float:
    """Score of the multi-task challenge: mean CCC + macro F1 of 8 expressions + mean F1 of 12 units; at most 3.

    Each part is computed on the rows that are valid for its own task.

    Args:
        valence_arousal: (2,) ``ccc`` of valence and of arousal.
        expression: ``f1_macro`` over the 8 expressions of Aff-Wild2.
        action_units: (12,) ``f1_binary`` of each unit.

    Raises:
        ValueError: other shapes, nan or infinity.
    """
    concordance, f1 = np.asarray(valence_arousal, np.float64), np.asarray(action_units, np.float64)
    if concordance.shape != (2,) or f1.shape != (12,):
        raise ValueError(f"expected shapes (2,) and (12,), got {concordance.shape} and {f1.shape}")
    total = float(concordance.mean() + expression + f1.mean())
    if not np.isfinite(total):
        raise ValueError("nan or infinity among the scores")
    return total


def _pair(truth: ArrayLike, prediction: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    if x.shape != y.shape or x.ndim not in (1, 2):
        raise ValueError(f"truth and prediction must both be (n,) or (n, c), got {x.shape} and {y.shape}")
    if not x.size:
        raise ValueError("nothing to score: no rows")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("nan or infinity in truth or prediction; remove rows without ground truth first")
    return x, y


def _labels(truth: ArrayLike, prediction: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    x, y = _pair(truth, prediction)
    if x.ndim != 1:
        raise ValueError(f"classes must be (n,), got {x.shape}")
    if (x != np.rint(x)).any() or (y != np.rint(y)).any():
        raise ValueError("classes must be whole numbers")
    return x.astype(np.int64), y.astype(np.int64)


def _moments(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Covariance and both variances over N; exactly 0 for a constant, despite the rounding of its mean."""
    deviation_x, deviation_y = (np.where((v == v[0]).all(axis=0), 0.0, v - v.mean(axis=0)) for v in (x, y))
    return (deviation_x * deviation_y).mean(axis=0), (deviation_x**2).mean(axis=0), (deviation_y**2).mean(axis=0)


def ratio(numerator: NDArray, denominator: NDArray, empty: float = 0.0) -> NDArray[np.float64]:
    """Element-wise quotients, ``empty`` where the denominator is 0; a scalar for scalars."""
    zero = denominator == 0
    return np.asarray(np.where(zero, empty, numerator / np.where(zero, 1.0, denominator)))[()]

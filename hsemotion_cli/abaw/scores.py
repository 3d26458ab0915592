"""Pooled statistics -> the scores of each task with their confidence intervals, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.resampling import interval
from .bootstrap import ConfusionCounts, DetectionCounts, Floats, Moments

HALF = 0.5
"""Threshold at which the papers compare action units, in addition to tuned ones."""

BINS = 48
"""Bins of a density, along each side."""


@dataclass(frozen=True, slots=True)
class Score:
    """A score over all frames together.

    Attributes:
        value: nan if nothing was scored.
        low, high: its 95 % bootstrap interval over recordings; None if there is none.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"value": plain(self.value), "interval": None if self.low is None else [self.low, self.high]}


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Numbers of labelled frames, by where their predictions come from.

    Attributes:
        valid: all labelled frames.
        scored: those that count.
        seen: with a face in the frame itself. None, like the next two, for a submitted file, which does not say.
        filled: without a face, up to the last analysed frame; their values are interpolated.
        beyond: after the last analysed frame; they have its values.
    """

    valid: int = 0
    scored: int = 0
    seen: int | None = None
    filled: int | None = None
    beyond: int | None = None

    def to_json(self) -> dict[str, int | None]:
        """Plain data."""
        return asdict(self)


def pooled_counts(parts: Iterable[FrameCounts]) -> FrameCounts:
    """The counts of several videos together; None where one of them does not know."""
    parts = list(parts)
    known = ([getattr(part, name) for part in parts] for name in ("seen", "filled", "beyond"))
    kinds = (None if None in column else sum(column) for column in known)
    return FrameCounts(sum(part.valid for part in parts), sum(part.scored for part in parts), *kinds)


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class: precision, recall and F1 in [0, 1], and the number of frames that are labelled with it."""

    precision: float
    recall: float
    f1: Score
    support: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "precision": plain(self.precision),
            "recall": plain(self.recall),
            "f1": self.f1.to_json(),
            "support": self.support,
        }


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of a classification task.

    Attributes:
        score: macro F1 over all classes.
        accuracy: share of frames with the right class.
        without_other: macro F1 over the first 7 classes of Aff-Wild2, on frames not labelled "other", for comparing
            models without that class; None for other tasks.
        classes: by name.
        confusion: counts; rows are the ground truth.
    """

    score: Score
    accuracy: Score
    without_other: Score | None
    classes: Mapping[str, ClassRow]
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = {"macro_f1": self.score.to_json(), "accuracy": self.accuracy.to_json()}
        if self.without_other is not None:
            found["macro_f1_without_other"] = self.without_other.to_json()
        classes = {name: row.to_json() for name, row in self.classes.items()}
        return found | {"classes": classes, "confusion": [list(row) for row in self.confusion]}


@dataclass(frozen=True, slots=True, eq=False)
class RegressionScores:
    """Scores of a regression task.

    Attributes:
        measure: "ccc" or "pearson".
        score: mean over the columns.
        columns: by name.
        density: (columns, ``BINS``, ``BINS``) joint histograms of ground truth (first axis) and prediction over
            [-1, 1]; values outside are in the outermost bins. None for clips.
    """

    measure: str
    score: Score
    columns: Mapping[str, Score]
    density: NDArray[np.int64] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the density."""
        columns = {name: score.to_json() for name, score in self.columns.items()}
        return {self.measure: columns, f"mean_{self.measure}": self.score.to_json()}


@dataclass(frozen=True, slots=True)
class UnitRow:
    """One action unit.

    Attributes:
        f1, precision, recall: at its threshold, in [0, 1].
        half: F1 at ``HALF``; None if predictions are binary.
        support: frames in which it is present.
        threshold: None if the tables have different ones, or predictions are binary.
    """

    f1: Score
    precision: float
    recall: float
    half: Score | None
    support: int
    threshold: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "f1": self.f1.to_json(),
            "f1_at_0.5": None if self.half is None else self.half.to_json(),
            "precision": plain(self.precision),
            "recall": plain(self.recall),
            "support": self.support,
            "threshold": self.threshold,
        }


@dataclass(frozen=True, slots=True)
class UnitScores:
    """Scores of action units.

    Attributes:
        score: mean F1 at the thresholds.
        half: mean F1 with all thresholds at ``HALF``; None if predictions are binary.
        units: by name.
    """

    score: Score
    half: Score | None
    units: Mapping[str, UnitRow]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "mean_f1": self.score.to_json(),
            "mean_f1_at_0.5": None if self.half is None else self.half.to_json(),
            "units": {name: row.to_json() for name, row in self.units.items()},
        }


TaskScores = ClassScores | RegressionScores | UnitScores


def score(values: Floats) -> Score:
    """A score from (1 + resamples,) values: of all videos, then of the bootstrap resamples, if there are any."""
    low, high = interval(values[1:]) if len(values) > 1 else (math.nan, math.nan)
    return Score(float(values[0])) if np.isnan(low) else Score(float(values[0]), float(low), float(high))


def class_scores(pooled: ConfusionCounts, names: Sequence[str], basic: ConfusionCounts | None) -> ClassScores:
    """The scores of a classification task.

    Args:
        pooled: of all videos, then of bootstrap resamples, as in the functions below.
        basic: the same for the 7 classes without "other".
    """
    f1, support = pooled.f1, pooled.support[0]
    rows = {
        name: ClassRow(float(pooled.precision[0, k]), float(pooled.recall[0, k]), score(f1[:, k]), int(support[k]))
        for k, name in enumerate(names)
    }
    return ClassScores(
        score(pooled.macro_f1),
        score(pooled.accuracy),
        None if basic is None else score(basic.macro_f1),
        rows,
        tuple(tuple(int(count) for count in row) for row in pooled.counts[0]),
    )


def agreement(
    pooled: Moments, names: Sequence[str], measure: str, density: NDArray[np.int64] | None = None
) -> RegressionScores:
    """The scores of a regression task.

    Args:
        measure: "ccc" or "pearson".
    """
    values = pooled.ccc if measure == "ccc" else pooled.pearson
    columns = {name: score(values[:, k]) for k, name in enumerate(names)}
    return RegressionScores(measure, score(values.mean(axis=1)), columns, density)


def unit_scores(
    pooled: DetectionCounts, half: DetectionCounts | None, names: Sequence[str], thresholds: Mapping[str, float | None]
) -> UnitScores:
    """The scores of action units, at their thresholds and at ``HALF``."""
    rows = {
        name: UnitRow(
            score(pooled.f1[:, k]),
            float(pooled.precision[0, k]),
            float(pooled.recall[0, k]),
            None if half is None else score(half.f1[:, k]),
            int(pooled.support[0, k]),
            thresholds.get(name),
        )
        for k, name in enumerate(names)
    }
    return UnitScores(score(pooled.mean_f1), None if half is None else score(half.mean_f1), rows)


def density(truth: Floats, prediction: Floats) -> NDArray[np.int64]:
    """(columns, ``BINS``, ``BINS``) counts of (n, columns) values, as in ``RegressionScores``."""
    x, y = (np.clip(((values + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1) for values in (truth, prediction))
    counts = [
        np.bincount(a * BINS + b, minlength=BINS * BINS).reshape(BINS, BINS) for a, b in zip(x.T, y.T, strict=True)
    ]
    return np.array(counts, np.int64)


def plain(value: float) -> float | None:
    """A number as JSON can hold it: nan becomes None."""
    return None if math.isnan(value) else float(value)

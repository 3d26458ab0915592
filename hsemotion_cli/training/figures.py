"""Metrics of a trained network on labelled faces: per task, per class, with the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation import metrics
from ..tasks import ACTION_UNITS, TASKS
from .config import TrainingConfig
from .dataset import Dataset


@dataclass(frozen=True, slots=True)
class EvaluationFigures:
    """Metrics of one set of predictions; a task without labels has none.

    Attributes:
        rows: number of images, per task.
        expression: accuracy, f1 (macro), precision, recall, f1 and support per class, and the confusion matrix.
        valence_arousal: CCC of each.
        action_units: positive-class F1 of each unit, and their mean.
    """

    rows: dict[str, int] = field(default_factory=dict)
    expression: dict[str, Any] = field(default_factory=dict)
    valence_arousal: dict[str, float] = field(default_factory=dict)
    action_units: dict[str, float] = field(default_factory=dict)

    def summary(self) -> dict[str, float]:
        """The main metrics by name."""
        found: dict[str, float] = {}
        if self.expression:
            found |= {"accuracy": self.expression["accuracy"], "f1": self.expression["f1"]}
        found |= {f"ccc_{name}": value for name, value in self.valence_arousal.items()}
        if self.action_units:
            found["au_f1"] = self.action_units["mean"]
        return found

    def score(self) -> float:
        """Mean CCC + macro F1 + mean AU F1, as in the MTL track of ABAW, over the tasks with labels."""
        found = self.expression.get("f1", 0.0) + self.action_units.get("mean", 0.0)
        return found + float(np.mean(list(self.valence_arousal.values()) or [0.0]))


def figures(
    scores: NDArray[np.floating],
    dataset: Dataset,
    rows: NDArray[np.int64],
    config: TrainingConfig,
    thresholds: NDArray[np.floating] | None = None,
) -> EvaluationFigures:
    """Compare raw outputs with the labels.

    Args:
        scores: (n, outputs) raw outputs, in the order of the config's tasks.
        rows: (n,) indices of their samples.
        thresholds: (12,) probabilities from which an action unit counts as present; by default 0.5.
    """
    by_task = columns(scores, config)
    found: dict[str, Any] = {"rows": {}}
    if "expression" in by_task:
        shares = dataset.expression[rows]
        labelled: NDArray[np.bool_] = np.asarray(~np.isnan(shares).any(axis=1) & dataset.clear[rows])
        if labelled.any():
            found["expression"] = expression(
                shares[labelled].argmax(1), by_task["expression"][labelled].argmax(1), config.classes
            )
            found["rows"]["expression"] = int(labelled.sum())
    if "valence_arousal" in by_task:
        truth = dataset.valence_arousal[rows]
        labelled = np.asarray(~np.isnan(truth).any(axis=1))
        if labelled.sum() > 1:
            ccc = metrics.ccc(truth[labelled], np.clip(by_task["valence_arousal"][labelled], -1, 1))
            found["valence_arousal"] = dict(zip(TASKS["valence_arousal"], map(float, ccc), strict=True))
            found["rows"]["valence_arousal"] = int(labelled.sum())
    if "action_units" in by_task:
        truth = dataset.action_units[rows]
        labelled = np.asarray(~np.isnan(truth).any(axis=1))
        if labelled.any():
            limits = np.full(len(ACTION_UNITS), 0.5) if thresholds is None else thresholds
            present = 1 / (1 + np.exp(-by_task["action_units"][labelled].astype(np.float64))) >= limits
            f1 = metrics.f1_binary((truth[labelled] >= 0.5).astype(np.int64), present.astype(np.int64))
            found["action_units"] = dict(zip(ACTION_UNITS, map(float, f1), strict=True)) | {"mean": float(np.mean(f1))}
            found["rows"]["action_units"] = int(labelled.sum())
    return EvaluationFigures(**found)


def expression(truth: NDArray[np.int64], prediction: NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy, macro F1, metrics per class and the confusion matrix (rows are the ground truth)."""
    each = metrics.per_class(truth, prediction, len(classes))
    return {
        "accuracy": float(metrics.accuracy(truth, prediction)),
        "f1": float(metrics.f1_macro(truth, prediction, len(classes))),
        "classes": {
            name: {key: float(getattr(each, key)[k]) for key in ("precision", "recall", "f1", "support")}
            for k, name in enumerate(classes)
        },
        "confusion": np.asarray(metrics.confusion(truth, prediction, len(classes))).tolist(),
    }


def columns(scores: NDArray[np.floating], config: TrainingConfig) -> dict[str, NDArray[np.floating]]:
    """(n, outputs) -> task -> its columns."""
    ends = np.cumsum(list(config.columns.values()))
    return dict(zip(config.columns, np.split(scores, ends[:-1], axis=1), strict=True))

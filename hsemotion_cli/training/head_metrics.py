"""The metrics of a trained head on validation data, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from ..evaluation import metrics
from ..models.heads import CLIP_TASK


def task_metrics(
    task: str, classes: Sequence[str], logits: NDArray[np.float64], labels: NDArray, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Metrics of one task.

    Args:
        classes: names of the columns.
        logits: (n, c) before the activation.
        labels: as ``head_trainer.Examples`` has them.
        facts: with the "temperature" of expressions, or the "thresholds" of action units.
    """
    if task == "expression":
        return _class_metrics(classes, logits, labels, facts["temperature"])
    if task == "action_units":
        thresholds = np.array([facts["thresholds"][name] for name in classes])
        return _unit_metrics(classes, expit(logits), labels, thresholds)
    if task == CLIP_TASK:
        return _regression_metrics("pearson", classes, metrics.pearson(labels, expit(logits)))
    return _regression_metrics("ccc", classes, metrics.ccc(labels, np.tanh(logits)))


def _nll(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of class labels."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def _class_metrics(
    classes: Sequence[str], logits: NDArray[np.float64], labels: NDArray[np.int64], temperature: float
) -> dict[str, Any]:
    predicted = logits.argmax(axis=1)
    each = metrics.per_class(labels, predicted, len(classes))
    return {
        "accuracy": metrics.accuracy(labels, predicted),
        "commonest": float(each.support.max() / len(labels)),
        "f1": float(each.f1.mean()),
        "nll": _nll(logits / temperature, labels),
        "nll_at_temperature_1": _nll(logits, labels),
        "classes": {
            name: {
                "rows": int(each.support[k]),
                "precision": float(each.precision[k]),
                "recall": float(each.recall[k]),
                "f1": float(each.f1[k]),
            }
            for k, name in enumerate(classes)
        },
        "confusion": metrics.confusion(labels, predicted, len(classes)).tolist(),
    }


def _unit_metrics(
    classes: Sequence[str], probabilities: NDArray[np.float64], labels: NDArray, thresholds: NDArray[np.float64]
) -> dict[str, Any]:
    tuned = metrics.f1_binary(labels, (probabilities >= thresholds).astype(float))
    half = metrics.f1_binary(labels, (probabilities >= 0.5).astype(float))
    always = metrics.f1_binary(labels, np.ones_like(labels))
    return {
        "f1": float(tuned.mean()),
        "f1_at_half": float(half.mean()),
        "f1_of_always": float(always.mean()),
        "classes": {
            name: {
                "rows": int(labels[:, k].sum()),
                "threshold": float(thresholds[k]),
                "f1": float(tuned[k]),
                "f1_at_half": float(half[k]),
                "f1_of_always": float(always[k]),
            }
            for k, name in enumerate(classes)
        },
    }


def _regression_metrics(name: str, classes: Sequence[str], values: NDArray[np.float64]) -> dict[str, Any]:
    return {name: float(values.mean()), "classes": {c: {name: float(v)} for c, v in zip(classes, values, strict=True)}}

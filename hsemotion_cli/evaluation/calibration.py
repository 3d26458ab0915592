"""Choosing blend weights, temperatures and thresholds on saved scores; no video is decoded and no model run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..postprocess.refine import weighted_mean
from . import metrics

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Weights of the first of two models (HSEmotion, ABAW-7)."""

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Candidate thresholds of action-unit probabilities (HSEmotion, ABAW-6 and 7)."""


def choose_weight(
    first: NDArray[np.floating], second: NDArray[np.floating], truth: NDArray[np.generic], task: str
) -> float:
    """The best-scoring weight of the first of two models; ties go to the weight nearest to an even blend.

    Args:
        first, second: (n, columns) scores of the task; nan if a model has none.
        truth: (n,) class numbers for "expression", (n, columns) values for "valence_arousal".
        task: "expression" (sum of accuracy and macro F1) or "valence_arousal" (mean CCC).

    Raises:
        ValueError: another task.
    """
    scores = [_score(weighted_mean(first, second, weight), truth, task) for weight in WEIGHTS]
    best = max(scores)
    return min((w for w, score in zip(WEIGHTS, scores, strict=True) if score >= best), key=lambda w: abs(w - 0.5))


def choose_temperature(logits: NDArray[np.float64], shares: NDArray[np.floating]) -> float:
    """The temperature, from 0.05 to 20, that minimises the cross-entropy of logits divided by it (Guo et al. 2017).

    Args:
        logits: (n, c).
        shares: (n, c) shares of the votes; one-hot if there is a single label.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and ``tune`` does not need it
    from scipy.special import log_softmax

    def loss(exponent: float) -> float:
        return -float((shares * log_softmax(logits / np.exp(exponent), axis=1)).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def choose_thresholds(labels: NDArray[np.floating], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """(c,) threshold of each unit with the highest F1 of the positive class; ties go to the lowest of ``THRESHOLDS``.

    A unit that never occurs gets 0.5.

    Args:
        labels: (n, c) of 0 and 1.
        probabilities: (n, c).
    """
    f1 = np.stack([metrics.f1_binary(labels, (probabilities >= threshold).astype(float)) for threshold in THRESHOLDS])
    return np.where(labels.any(axis=0), np.array(THRESHOLDS)[f1.argmax(axis=0)], 0.5)


def _score(scores: NDArray[np.float64], truth: NDArray[np.generic], task: str) -> float:
    known = ~np.isnan(scores).all(axis=1)
    if task == "expression":
        label = np.nan_to_num(scores, nan=-1).argmax(axis=1)
        classes = scores.shape[1]
        return float(
            metrics.accuracy(truth[known], label[known]) + metrics.f1_macro(truth[known], label[known], classes)
        )
    if task == "valence_arousal":
        return float(np.mean(metrics.ccc(truth[known], scores[known])))
    raise ValueError(f"no weight is chosen for {task}")

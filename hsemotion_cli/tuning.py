"""Choosing what a recipe leaves open, from saved scores alone: nothing is decoded, no model is run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import metrics
from .refine import mixed

WEIGHTS = np.round(np.arange(0, 1.01, 0.1), 1)
"""Weights of the first model that are tried: HSEmotion's grid (ABAW-7)."""


def choose_weight(
    first: NDArray[np.floating], second: NDArray[np.floating], truth: NDArray[np.generic], task: str
) -> float:
    """The weight of the first of two models that scores best; of equal ones the one nearest to an even blend.

    Args:
        first, second: (n, columns) scores of the task; nan where a model has none.
        truth: (n,) class numbers for "expression", (n, columns) values for "valence_arousal".
        task: "expression" (accuracy and macro F1, in equal parts) or "valence_arousal" (mean CCC).

    Raises:
        ValueError: another task.
    """
    scores = [_score(mixed(first, second, weight), truth, task) for weight in WEIGHTS]
    best = max(scores)
    return float(
        min((w for w, score in zip(WEIGHTS, scores, strict=True) if score >= best), key=lambda w: abs(w - 0.5))
    )


def _score(said: NDArray[np.float64], truth: NDArray[np.generic], task: str) -> float:
    known = ~np.isnan(said).all(axis=1)
    if task == "expression":
        label = np.nan_to_num(said, nan=-1).argmax(axis=1)
        classes = said.shape[1]
        return float(
            metrics.accuracy(truth[known], label[known]) + metrics.f1_macro(truth[known], label[known], classes)
        )
    if task == "valence_arousal":
        return float(np.mean(metrics.ccc(truth[known], said[known])))
    raise ValueError(f"no weight is chosen for {task}")

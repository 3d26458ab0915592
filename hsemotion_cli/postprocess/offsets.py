"""Offsets of a recipe: a class-prior correction, or a person's own neutral, as ``calibrate`` finds them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..tasks import EXPRESSIONS, TASKS, VALENCE_AROUSAL

Floats = NDArray[np.float64]

NAMES = (*EXPRESSIONS, *VALENCE_AROUSAL)
"""What may have an offset."""


def shifted(values: Floats, task: str, offsets: Mapping[str, float]) -> Floats:
    """Scores of a task with the offsets of a recipe; as they are for a task without any.

    A probability p_c becomes p_c exp(offset_c), divided by the sum over the classes that are known; valence and arousal
    become value + offset, at most 1 in size. Rows and classes of nan stay nan.

    Args:
        values: (n, columns of the task).
        task: of ``tasks.TASKS``.
        offsets: class, "valence" or "arousal" -> offset.
    """
    own = np.array([offsets.get(name, 0.0) for name in TASKS[task]])
    if not own.any():
        return values
    if task == "valence_arousal":
        return np.clip(values + own, -1, 1)
    raised = values * np.exp(own)
    total = np.where(np.isnan(raised), 0.0, raised).sum(axis=1, keepdims=True)
    before = np.where(np.isnan(values), 0.0, values).sum(axis=1, keepdims=True)
    return np.asarray(raised * before / np.where(total > 0, total, 1.0))

"""Probabilities of basic expressions -> compound expressions: scores for the challenge, probabilities for tables.

In the challenge every frame shows one of seven compounds, so scores only rank them: means of the two components each.
HSEmotion used the arithmetic mean in ABAW-6 and compared it with the geometric and the harmonic mean in ABAW-7. If a
frame has several faces, the highest score counts. Elsewhere most frames show none of the seven, see ``probabilities``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..tasks import COMPOUNDS, EXPRESSIONS

Floats = NDArray[np.float64]


def _harmonic(a: Floats, b: Floats) -> Floats:
    total = a + b
    return np.divide(2 * a * b, total, out=np.where(np.isnan(total), np.nan, 0.0), where=total > 0)


MEANS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "arithmetic": lambda a, b: (a + b) / 2,
    "geometric": lambda a, b: np.sqrt(a * b),
    "harmonic": _harmonic,
}
"""Name -> mean of two probabilities; the harmonic mean of two zeros is 0."""

PRIOR = np.array([14445, 24915, 10780, 10637, 10535, 10112, 8878]) / 90302
"""Shares of the seven compounds in C-EXPR-DB, by number of frames (ABAW-6 notebook of HSEmotion)."""


def compounds(expression: Floats, mean: str = "arithmetic") -> Floats:
    """(n, 9) probabilities in the order of ``tasks.EXPRESSIONS`` -> (n, 7) scores in the challenge's order.

    Args:
        mean: of ``MEANS``.
    """
    first, second = ([EXPRESSIONS.index(pair[k]) for pair in COMPOUNDS.values()] for k in (0, 1))
    return MEANS[mean](expression[:, first].astype(np.float64), expression[:, second].astype(np.float64))


def probabilities(expression: Floats) -> tuple[Floats, Floats]:
    """(n, 9) probabilities in the order of ``tasks.EXPRESSIONS`` -> (n, 7) of the compounds, and (n,) of none of them.

    A compound is there as far as both of its components are: twice the smaller one of their probabilities, so 1 where
    each has one half, and 0 where one of them is missing. The largest such value is the probability that there is any
    compound; it is shared out to the seven in proportion. So the eight sum to 1, and on a neutral or a plain happy face
    none of the seven has much. This is a reading of the basic probabilities; no model was trained for it.
    """
    first, second = ([EXPRESSIONS.index(pair[k]) for pair in COMPOUNDS.values()] for k in (0, 1))
    both = 2 * np.minimum(expression[:, first], expression[:, second]).astype(np.float64)
    known = ~np.isnan(both).all(axis=1)
    filled = np.nan_to_num(both)
    any_of_them = np.minimum(filled.max(axis=1), 1.0)
    total = filled.sum(axis=1)
    shares = np.divide(filled, total[:, None], out=np.zeros_like(filled), where=total[:, None] > 0)
    found = np.where(np.isnan(both), np.nan, shares * any_of_them[:, None])
    return found, np.where(known, 1 - any_of_them, np.nan)


def frame_scores(expression: Floats, frame: NDArray[np.int64], frames: int, mean: str = "arithmetic") -> Floats:
    """(frames, 7) highest score of each compound among the faces of each frame; nan without scores.

    Args:
        expression: (n, 9) of n faces.
        frame: (n,) the frame of each, from 0 to frames - 1.
    """
    scores = compounds(expression, mean)
    highest = np.full((frames, len(COMPOUNDS)), -np.inf)
    np.maximum.at(highest, frame, np.where(np.isnan(scores), -np.inf, scores))
    return np.where(np.isneginf(highest), np.nan, highest)


def divergence(labels: NDArray[np.integer], prior: Floats = PRIOR) -> float:
    """KL(prior || shares of predicted labels), HSEmotion's criterion for choosing a model without labels.

    Args:
        labels: (n,) in 0 to 6, n > 0.

    Returns:
        nats, from 0, lower is better; infinite if a class of the prior is never predicted.
    """
    shares = np.bincount(labels, minlength=len(prior)) / len(labels)
    with np.errstate(divide="ignore"):
        return float(np.sum(prior * np.log(prior / shares)))

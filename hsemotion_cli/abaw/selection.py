"""Choosing one of many settings by sums over folds: the best one, or the simplest that is almost as good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..postprocess.recipe import Smoothing
from ..tasks import ACTION_UNITS
from .objectives import ActionUnitF1, Floats, Objective
from .tuning_result import Choice

_TIE = 12
"""Decimals to which scores are compared; the rest is rounding."""

_USUAL_RATE = 25.0
"""Frames per second, by which widths in seconds are compared with widths in frames."""


class Picked(NamedTuple):
    """A chosen setting: place of filter and weight, indices of thresholds, and the scores it was chosen from."""

    place: tuple[int, int]
    thresholds: NDArray[np.int64]
    surface: Floats


def best(measure: Objective, sums: Floats) -> Picked:
    """The setting with the highest score; ties go to the first.

    Args:
        sums: (folds, filters, weights, *shape).
    """
    total = sums.sum(axis=0)
    surface = measure.best(total)
    at = np.unravel_index(int(np.argmax(np.round(surface, _TIE))), surface.shape)
    place = int(at[0]), int(at[1])
    return Picked(place, measure.thresholds(total[place]), surface)


def simplest(
    measure: Objective, sums: Floats, filters: Sequence[Smoothing], weights: Sequence[float], default: Choice
) -> Picked:
    """The one-standard-error rule (Breiman et al. 1984, section 3.4.3).

    Of all settings whose score is within one standard error of the best one's, the one that smooths least, then the
    one with the weight nearest to the default's. The same then holds for the threshold of each action unit: the one
    nearest to the default's. The standard error is that of the mean over folds. With fewer than two folds the best
    setting is taken.

    Args:
        sums: (folds, filters, weights, *shape).
    """
    found = best(measure, sums)
    if len(sums) < 2:
        return found
    there = sums[(slice(None), *found.place)]
    scores = np.array([measure.score(measure.at_thresholds(one, found.thresholds)) for one in there])
    allowed = found.surface[found.place] - scores.std(ddof=1) / math.sqrt(len(scores))
    near = np.argwhere(found.surface >= allowed - 10.0**-_TIE)
    order = [(strength(filters[j]), abs(weights[k] - default.weight), j, k) for j, k in near.tolist()]
    *_, j, k = min(order)
    thresholds = found.thresholds if (j, k) == found.place else measure.thresholds(sums[:, j, k].sum(axis=0))
    if isinstance(measure, ActionUnitF1):
        thresholds = _nearest_thresholds(measure, sums[:, j, k], thresholds, default)
    return Picked((j, k), thresholds, found.surface)


def _nearest_thresholds(
    measure: ActionUnitF1, folds: Floats, chosen: NDArray[np.int64], default: Choice
) -> NDArray[np.int64]:
    """(units,) of the thresholds within one standard error of each unit's best, the one nearest to the default's."""
    total, each = measure.each(folds.sum(axis=0)), measure.each(folds)
    levels = np.array(measure.levels)
    found = chosen.copy()
    for u, unit in enumerate(ACTION_UNITS):
        error = each[:, u, chosen[u]].std(ddof=1) / math.sqrt(len(folds))
        near = np.flatnonzero(total[u] >= total[u, chosen[u]] - error)
        found[u] = near[np.argmin(np.abs(levels[near] - default.thresholds[unit]))]
    return found


def strength(filter_: Smoothing) -> float:
    """How many rows a filter averages: 1 / sum of squared weights, for a face that is seen in every frame."""
    if filter_.kernel == "none":
        return 1.0
    found = filter_.in_frames(_USUAL_RATE)
    if found.kernel == "none":
        return 1.0
    if found.kernel == "box":
        return found.width
    reach = int(found.reach or 4 * found.width)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / found.width) ** 2)
    return float(weights.sum() ** 2 / (weights**2).sum())

"""The moments of a recording that a person should look at first: the longest gap, and where it is least certain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..postprocess.refine import Affect
from ..tasks import UNCERTAINTIES

GAP = 1.0
"""Seconds without a face from which a gap is mentioned."""

WINDOW = 2.0
"""Seconds over which uncertainty is averaged: a single frame is too short to judge by eye."""


@dataclass(frozen=True, slots=True)
class Look:
    """A span of time to look at.

    Attributes:
        start, end: seconds, as in the column ``time``.
        reason: clause for the terminal.
    """

    start: float
    end: float
    reason: str


def first_looks(affect: Affect) -> list[Look]:
    """The longest gap without a face, and the window with the highest mean uncertainty of the expression.

    Nothing is said of a recording shorter than three windows, nor of one without a usual distance between its frames,
    such as a folder of photos.
    """
    time = affect.time
    if len(time) < 2 or time[-1] - time[0] < 3 * WINDOW or (np.diff(time) < 0).any():
        return []
    return [look for look in (_longest_gap(affect), _least_certain(affect)) if look is not None]


def _longest_gap(affect: Affect) -> Look | None:
    time = affect.time
    seen = np.zeros(len(time), bool)
    seen[affect.row[~affect.interpolated]] = True
    # A frame lasts until the next one; the last as long as the one before it.
    ends = np.append(time[1:], 2 * time[-1] - time[-2])
    edges = np.flatnonzero(np.diff(np.concatenate([[1], seen, [1]]).astype(int)))
    if not len(edges):
        return None
    first, last = edges[::2], edges[1::2] - 1
    longest = int(np.argmax(ends[last] - time[first]))
    start, end = float(time[first[longest]]), float(ends[last[longest]])
    return Look(start, end, "no face found") if end - start >= GAP else None


def _least_certain(affect: Affect) -> Look | None:
    values = affect.measures.get(UNCERTAINTIES["expression"])
    if values is None or np.isnan(values).all():
        return None
    known = ~np.isnan(values)
    times, known_values = affect.time[affect.row[known]], values[known]
    means = _means(times, known_values)
    best = int(np.argmax(means))
    whole, start = float(known_values.mean()), float(times[best])
    if means[best] - whole < 0.05:  # it is about the same everywhere
        return None
    reason = f"expression least certain: uncertainty {means[best]:.2f}, {whole:.2f} on average"
    return Look(start, min(start + WINDOW, float(affect.time[-1])), reason)


def _means(times: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) mean of the values in the window that begins with each row; -inf for windows past the end.

    Args:
        times: (n,) seconds, never falling.
    """
    stop = np.searchsorted(times, times + WINDOW, side="left")
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means = (sums[stop] - sums[np.arange(len(times))]) / (stop - np.arange(len(times)))
    means[times > times[-1] - WINDOW] = -np.inf
    # A window that is mostly a gap says little.
    means[stop - np.arange(len(times)) < 0.5 * np.median(stop - np.arange(len(times)))] = -np.inf
    return means

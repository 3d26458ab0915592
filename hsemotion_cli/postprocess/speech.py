"""Gap between the lips over time -> how far the mouth is open, and how likely the person is speaking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..timeline import Timeline
from .smoothing import segments

WIDE_OPEN = 0.6
"""Gap between the lips that counts as 1, in distances of the outer corners of the eyes: 49 mm, about as far as adults
can open their mouths."""

WINDOW = 1.0
"""Seconds, half of them before and half after, in which movement of the mouth is added up: three to five syllables."""

EVEN = 0.35
"""Movement per second, in the same unit, at which speaking and not speaking are equally likely.

Chosen on twelve clips: in nine of an actor who speaks, its median is 0.49 to 0.82; in three of people who smile and
look about, its 95th percentile is 0.29 to 0.37.
"""

STEEPNESS = 4

_LONGEST_STEP = 0.15
"""Seconds from frame to frame above which movement of the mouth is too fast to be followed."""

_SHORTEST = 0.25
"""Seconds of a run that are too few to tell."""


def mouth_open(gap: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) gap between the lips -> 0 for closed lips to 1 for a mouth that is wide open."""
    return np.minimum(gap.astype(np.float64) / WIDE_OPEN, 1.0)


def speaking(timeline: Timeline, gap: NDArray[np.floating], max_gap: float) -> NDArray[np.float64]:
    """(N,) likelihood 1 / (1 + (EVEN / m)^4) of speaking, m being the movement of the lips per second.

    m is the sum of |g(i + 1) - g(i)| over the rows of the same face in the window around a row, divided by the seconds
    between the first and the last of them. It is nan for photos, for fewer than seven frames per second, and where a
    run has less than a quarter of a second.

    Args:
        gap: (N,) rows as in the timeline; nan where it is not known.
        max_gap: seconds, see ``smoothing.segments``.
    """
    found = np.full(len(gap), np.nan)
    if timeline.photos or not 0 < timeline.step <= _LONGEST_STEP:
        return found
    time = timeline.time[timeline.row]
    for run in segments(timeline, max_gap):
        rows = run[~np.isnan(gap[run])]
        if len(rows) < 2:
            continue
        # A nanosecond allows for the rounding of time stamps.
        first = np.searchsorted(time[rows], time[rows] - WINDOW / 2 - 1e-9)
        last = np.searchsorted(time[rows], time[rows] + WINDOW / 2 + 1e-9) - 1
        moved = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(gap[rows].astype(np.float64))))])
        seconds = time[rows][last] - time[rows][first]
        long_enough = seconds >= _SHORTEST
        rate = (moved[last] - moved[first])[long_enough] / seconds[long_enough]
        likely = rate**STEEPNESS
        found[rows[long_enough]] = likely / (likely + EVEN**STEEPNESS)
    return found

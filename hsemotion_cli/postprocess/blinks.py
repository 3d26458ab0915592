"""Opening of the lids over time -> closed eyes, relative to how far the same person's eyes are usually open."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..timeline import Timeline
from .smoothing import segments

CLOSES, OPENS = 0.5, 0.65
"""Shares of the usual opening: eyes are closed from when it falls below the first until it rises above the second.

Chosen by eye on twelve clips of four people: of seven blinks six dip below 0.5, in the seventh the lids meet half-way
only (0.6); narrowed eyes of a sad face, which stay open, reach 0.52.
"""

_USUAL_SHARE = 80
"""Percentile of the openings of a track, or of some seconds of it, that stands for open eyes."""

_AROUND = 2
"""Seconds before and after that count as well: eyes may be wide open for a while."""

_FEW = 25
"""Rows of a track that are too few to know how far a person's eyes are usually open."""

_TYPICAL = 0.4
"""Usual opening that is assumed then, in widths of the iris: less than in open eyes (0.5 to 0.9), so that in single
images only eyes count as closed whose iris is nearly covered."""

_NEVER_OPEN = 0.25
"""Usual opening below which it cannot be known when the eyes are open: sunglasses, or eyes closed throughout."""


def closed_eyes(timeline: Timeline, opening: NDArray[np.floating], max_gap: float) -> NDArray[np.float64]:
    """(N,) 1 where the eyes are closed, 0 where they are open, nan where it is not known.

    Args:
        opening: (N,) mean distance of the lids, rows as in the timeline; nan where it is not known.
        max_gap: seconds without a face after which nothing is known of what was before, see ``smoothing.segments``.
    """
    found = np.full(len(opening), np.nan)
    usual = _usual(timeline, opening)
    for rows in segments(timeline, max_gap):
        closed = False
        for row in rows[~np.isnan(opening[rows])]:
            closed = bool(opening[row] < usual[row] * (OPENS if closed else CLOSES))
            found[row] = closed if usual[row] >= _NEVER_OPEN else np.nan
    return found


def _usual(timeline: Timeline, opening: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) opening of the eyes of each row's person while they are open: on the whole, or around the row if larger."""
    usual = np.full(len(opening), _TYPICAL)
    if timeline.photos:
        return usual
    for face_id in np.unique(timeline.face_id):
        rows = np.flatnonzero((timeline.face_id == face_id) & ~np.isnan(opening))
        if len(rows) <= _FEW:
            continue
        usual[rows] = np.percentile(opening[rows], _USUAL_SHARE)
        seconds = np.floor(timeline.time[timeline.row[rows]])
        for second in np.unique(seconds):
            first, last = np.searchsorted(seconds, (second - _AROUND, second + _AROUND + 1))
            near = np.percentile(opening[rows[first:last]], _USUAL_SHARE)
            now = rows[seconds == second]
            usual[now] = np.maximum(usual[now], near)
    return usual

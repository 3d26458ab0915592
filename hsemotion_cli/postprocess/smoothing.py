"""Smooth the scores of one face over time, by their own time stamps, only where the face was seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..timeline import Timeline
from .recipe import Smoothing

_TRUNCATE = 4.0  # standard deviations at which the Gaussian ends, as in scipy.ndimage


def smooth(
    timeline: Timeline, values: NDArray[np.floating], smoothing: Smoothing, max_gap: float
) -> NDArray[np.float64]:
    """Smooth scores face by face.

    Each row becomes the weighted mean of the rows of the same face within the filter's reach. At both ends, and at
    gaps that are too long, the window is cut off and its weights are normalised anew, so a constant stays constant.
    Rows of nan (seen, but not scored) stay nan and weigh nothing.

    Args:
        values: (N, c), rows as in the timeline.
        max_gap: seconds, see ``segments``.

    Returns:
        (N, c) float64.
    """
    result = values.astype(np.float64)
    if smoothing.kernel == "none":
        return result
    position = positions(timeline, smoothing)
    for rows in segments(timeline, max_gap):
        result[rows] = smooth_run(position[rows], result[rows], smoothing)
    return result


def positions(timeline: Timeline, smoothing: Smoothing) -> NDArray[np.float64]:
    """(N,) where the rows of a timeline lie, in what the filter counts: numbers of frames, or else seconds."""
    position = timeline.index.astype(np.float64) if smoothing.unit == "frames" else timeline.time
    return position[timeline.row]


def segments(timeline: Timeline, max_gap: float) -> list[NDArray[np.intp]]:
    """Runs of rows of one face each, in time order, that neither a gap nor a jump of the source's clock divides.

    A gap is the time between two sightings of the face beyond the usual distance of two analysed frames; a run ends
    where it exceeds ``max_gap`` seconds. Of photos every row is a run of its own.
    """
    if not len(timeline.row):
        return []
    if timeline.photos:
        return np.split(np.arange(len(timeline.row)), np.arange(1, len(timeline.row)))
    order = np.lexsort((timeline.row, timeline.face_id))
    frame = timeline.row[order]
    ids, times, parts = timeline.face_id[order], timeline.time[frame], timeline.segment[frame]
    # A nanosecond forgives the rounding of time stamps.
    new = (np.diff(ids) != 0) | (np.diff(parts) != 0) | (np.diff(times) > max_gap + timeline.step + 1e-9)
    return np.split(order, np.flatnonzero(new) + 1)


def smooth_run(position: NDArray[np.float64], values: NDArray[np.float64], smoothing: Smoothing) -> NDArray[np.float64]:
    """Smooth one run.

    Args:
        position: (n,) increasing seconds or frame numbers; of no importance where the filter counts neighbours.
        values: (n, c).

    Returns:
        (n, c): sum of w_ij x_j / sum of w_ij with w = exp(-d^2 / (2 width^2)) for the Gaussian, up to its reach, or
        else up to 4 widths; and w = 1 up to half a width (of frames: half of width - 1) for the box, or its reach.
    """
    return next(nested(position, values, smoothing, [_rows(smoothing)]))


def nested(
    position: NDArray[np.float64], values: NDArray[np.float64], smoothing: Smoothing, windows: Sequence[float]
) -> Iterator[NDArray[np.float64]]:
    """Smooth one run with windows of several sizes, for little more than the largest of them takes alone.

    Args:
        position, values: as for ``smooth_run``.
        windows: rows to each side, in increasing order, in place of the reach in neighbours that the filter has (or of
            half its width, for a box of neighbours).

    Yields:
        what ``smooth_run`` gives for each window, to the last bit.
    """
    if smoothing.unit == "neighbours":
        position = np.arange(len(values), dtype=np.float64)
    reach = _distance(smoothing)
    # Columns become rows, so that one weight for each row of the run goes along the memory.
    filled = np.ascontiguousarray(values.T, np.float64)
    known = ~np.isnan(filled)
    filled = np.where(known, filled, 0.0)
    total, seen = filled.copy(), known.astype(np.float64)
    if (known == known[:1]).all():  # all columns lack the same rows, so they have the same sums of weights
        seen = seen[:1]
    weight, part = seen.copy(), np.empty_like(filled)
    apart, more = 0, True
    for window in windows:
        # Neighbours are visited distance by distance in rows: as many vector operations as the window is long.
        while more and apart < min(window, len(position) - 1):
            apart += 1
            distance = position[apart:] - position[:-apart]
            w = np.where(distance <= reach, _weights(distance, smoothing), 0.0)
            more = bool(w.any())
            if more:
                _add(total, filled, w, apart, part)
                _add(weight, seen, w, apart, part)
        yield np.where(known, total / np.where(seen > 0, weight, 1.0), np.nan).T


def _add(
    total: NDArray[np.float64],
    values: NDArray[np.float64],
    w: NDArray[np.float64],
    apart: int,
    part: NDArray[np.float64],
) -> None:
    """Add to each row what its two neighbours so many rows apart weigh; ``part`` is room to work in."""
    room = part[: len(values), apart:]
    total[:, apart:] += np.multiply(values[:, :-apart], w, out=room)
    total[:, :-apart] += np.multiply(values[:, apart:], w, out=room)


def _rows(smoothing: Smoothing) -> float:
    """How many rows to each side a filter takes in, if nothing else ends it."""
    limits = [smoothing.reach] if smoothing.reach and smoothing.reach_unit == "neighbours" else []
    if smoothing.kernel == "box" and smoothing.unit == "neighbours":
        limits.append((smoothing.width - 1) / 2)
    return min(limits, default=math.inf)


def _distance(smoothing: Smoothing) -> float:
    """How far away a row may be, in the unit of the width, if its number does not matter."""
    if smoothing.unit == "neighbours" and smoothing.kernel == "box":
        return math.inf
    whole = smoothing.unit != "seconds"
    if smoothing.kernel == "box":
        own = (smoothing.width - 1) / 2 if whole else smoothing.width / 2
    elif smoothing.reach:
        own = math.inf
    else:
        own = _TRUNCATE * smoothing.width
        own = math.floor(own + 0.5) if whole else own
    if smoothing.reach and smoothing.reach_unit == smoothing.unit != "neighbours":
        own = min(own, smoothing.reach)
    # A nanosecond forgives the rounding of time stamps.
    return own if whole else own + 1e-9


def _weights(distance: NDArray[np.float64], smoothing: Smoothing) -> NDArray[np.float64]:
    if smoothing.kernel == "box":
        return np.ones_like(distance)
    return np.exp(-0.5 * (distance / smoothing.width) ** 2)

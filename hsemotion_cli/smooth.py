"""Smooth the scores of one face over time, by their own time stamps, only where the face was seen."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .recipe import Smoothing
from .timeline import Timeline

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
    position = timeline.index.astype(np.float64) if smoothing.unit == "frames" else timeline.time
    for rows in segments(timeline, max_gap):
        result[rows] = smooth_run(position[timeline.row[rows]], result[rows], smoothing)
    return result


def segments(timeline: Timeline, max_gap: float) -> list[NDArray[np.intp]]:
    """Runs of rows of one face each, in time order, that no gap divides.

    A gap is the time between two sightings of the face beyond the usual distance of two analysed frames; a run ends
    where it exceeds ``max_gap`` seconds.
    """
    if not len(timeline.row):
        return []
    order = np.lexsort((timeline.row, timeline.face_id))
    ids, times = timeline.face_id[order], timeline.time[timeline.row[order]]
    # A nanosecond forgives the rounding of time stamps.
    new = (np.diff(ids) != 0) | (np.diff(times) > max_gap + timeline.step + 1e-9)
    return np.split(order, np.flatnonzero(new) + 1)


def smooth_run(position: NDArray[np.float64], values: NDArray[np.float64], smoothing: Smoothing) -> NDArray[np.float64]:
    """Smooth one run.

    Args:
        position: (n,) increasing seconds or frame numbers.
        values: (n, c).

    Returns:
        (n, c): sum of w_ij x_j / sum of w_ij with w = exp(-d^2 / (2 width^2)) up to 4 widths for the Gaussian, and
        w = 1 up to half a width (of frames: half of width - 1) for the box.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    total, weight = filled.copy(), known.astype(np.float64)
    reach = _reach(smoothing)
    # Neighbours are visited distance by distance in rows: as many vector operations as the window is long.
    for apart in range(1, len(position)):
        distance = position[apart:] - position[:-apart]
        w = np.where(distance <= reach, _weights(distance, smoothing), 0.0)[:, None]
        if not w.any():
            break
        total[apart:] += w * filled[:-apart]
        weight[apart:] += w * known[:-apart]
        total[:-apart] += w * filled[apart:]
        weight[:-apart] += w * known[apart:]
    return np.where(known, total / np.where(known, weight, 1.0), np.nan)


def _reach(smoothing: Smoothing) -> float:
    if smoothing.kernel == "gaussian":
        reach = _TRUNCATE * smoothing.width
        return math.floor(reach + 0.5) if smoothing.unit == "frames" else reach + 1e-9
    return (smoothing.width - 1) / 2 if smoothing.unit == "frames" else smoothing.width / 2 + 1e-9


def _weights(distance: NDArray[np.float64], smoothing: Smoothing) -> NDArray[np.float64]:
    if smoothing.kernel == "box":
        return np.ones_like(distance)
    return np.exp(-0.5 * (distance / smoothing.width) ** 2)

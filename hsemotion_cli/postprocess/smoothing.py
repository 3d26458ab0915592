"""Smoothing of the scores of each face over time, by their time stamps, only where the face was detected."""

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
    """Smooth scores face by face, and across face ids where they are of one person.

    Each row becomes the weighted mean of the rows of the same face within the filter's reach. At both ends, and at
    gaps that are too long, the window is truncated and its weights are renormalised, so a constant stays constant.
    Rows of nan (detected, but not scored) stay nan and have no weight.

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
    for rows in segments(timeline, max_gap, timeline.person):
        result[rows] = smooth_run(position[rows], result[rows], smoothing)
    return result


def positions(timeline: Timeline, smoothing: Smoothing) -> NDArray[np.float64]:
    """(N,) positions of the rows of a timeline in the filter's unit: frame numbers, or else seconds."""
    position = timeline.index.astype(np.float64) if smoothing.unit == "frames" else timeline.time
    return position[timeline.row]


def segments(timeline: Timeline, max_gap: float, key: NDArray[np.int64] | None = None) -> list[NDArray[np.intp]]:
    """Runs of rows of one face each, in time order, without long gaps or jumps of the source's clock.

    A gap is the time between two detections of the face beyond the usual distance of two analysed frames; a run ends
    where it exceeds ``max_gap`` seconds. For photos, every row is its own run.

    Args:
        key: (N,) rows of one key are one face; None stands for the face ids.
    """
    if not len(timeline.row):
        return []
    if timeline.photos:
        return np.split(np.arange(len(timeline.row)), np.arange(1, len(timeline.row)))
    face = timeline.face_id if key is None else key
    order = np.lexsort((timeline.row, face))
    frame = timeline.row[order]
    ids, times, parts = face[order], timeline.time[frame], timeline.segment[frame]
    # A nanosecond allows for the rounding of time stamps.
    new = (np.diff(ids) != 0) | (np.diff(parts) != 0) | (np.diff(times) > max_gap + timeline.step + 1e-9)
    return np.split(order, np.flatnonzero(new) + 1)


def smooth_run(position: NDArray[np.float64], values: NDArray[np.float64], smoothing: Smoothing) -> NDArray[np.float64]:
    """Smooth one run.

    Args:
        position: (n,) increasing seconds or frame numbers; ignored if the filter counts neighbours.
        values: (n, c).

    Returns:
        (n, c): sum of w_ij x_j / sum of w_ij, with w = exp(-d^2 / (2 width^2)) for the Gaussian, up to its reach or
        else 4 widths, the same over j <= i only for the causal filter, and w = 1 for the box, up to its reach or else
        half a width (in frames: half of width - 1).
    """
    return next(nested(position, values, smoothing, [_rows(smoothing)]))


def nested(
    position: NDArray[np.float64], values: NDArray[np.float64], smoothing: Smoothing, windows: Sequence[float]
) -> Iterator[NDArray[np.float64]]:
    """Smooth one run with windows of several sizes, in little more time than the largest takes alone.

    Args:
        position, values: as for ``smooth_run``.
        windows: half-widths in rows, increasing, which replace the filter's reach in neighbours (or half its width, for
            a box of neighbours).

    Yields:
        for each window the same values as ``smooth_run``, bit for bit.
    """
    if smoothing.unit == "neighbours":
        position = np.arange(len(values), dtype=np.float64)
    reach = reach_of(smoothing)
    # Transposed, so that the weights of the rows apply along contiguous memory.
    filled = np.ascontiguousarray(values.T, np.float64)
    known = ~np.isnan(filled)
    filled = np.where(known, filled, 0.0)
    total, known_weight = filled.copy(), known.astype(np.float64)
    if (known == known[:1]).all():  # all columns lack the same rows, so they share their sums of weights
        known_weight = known_weight[:1]
    weight, scratch = known_weight.copy(), np.empty_like(filled)
    lag, active = 0, True
    for window in windows:
        # Neighbours are visited lag by lag: as many vector operations as the window has rows.
        while active and lag < min(window, len(position) - 1):
            lag += 1
            distance = position[lag:] - position[:-lag]
            w = np.where(distance <= reach, _weights(distance, smoothing), 0.0)
            active = bool(w.any())
            if active:
                _add(total, filled, w, lag, scratch, smoothing.causal)
                _add(weight, known_weight, w, lag, scratch, smoothing.causal)
        yield np.where(known, total / np.where(known_weight > 0, weight, 1.0), np.nan).T


def _add(
    total: NDArray[np.float64],
    values: NDArray[np.float64],
    w: NDArray[np.float64],
    lag: int,
    scratch: NDArray[np.float64],
    causal: bool,
) -> None:
    """Add to each row its weighted neighbours at distance ``lag``: the earlier, and the later unless ``causal``.

    ``scratch`` is a work array.
    """
    target = scratch[: len(values), lag:]
    total[:, lag:] += np.multiply(values[:, :-lag], w, out=target)
    if not causal:
        total[:, :-lag] += np.multiply(values[:, lag:], w, out=target)


def _rows(smoothing: Smoothing) -> float:
    """The half-width of a filter's window in rows; infinite if only distance limits it."""
    limits = [smoothing.reach] if smoothing.reach and smoothing.reach_unit == "neighbours" else []
    if smoothing.kernel == "box" and smoothing.unit == "neighbours":
        limits.append((smoothing.width - 1) / 2)
    return min(limits, default=math.inf)


def reach_of(smoothing: Smoothing) -> float:
    """The largest distance of a row in the unit of the width; infinite if only the number of rows limits it."""
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
    # A nanosecond allows for the rounding of time stamps.
    return own if whole else own + 1e-9


def _weights(distance: NDArray[np.float64], smoothing: Smoothing) -> NDArray[np.float64]:
    if smoothing.kernel == "box":
        return np.ones_like(distance)
    return np.exp(-0.5 * (distance / smoothing.width) ** 2)

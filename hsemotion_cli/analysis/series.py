"""Frames of a person -> an evenly sampled curve, as windowed correlations need it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .recordings import Recording, Track

Floats = NDArray[np.float64]

LONGEST_GAP = 0.5
"""Seconds without a detected face that are bridged by a straight line."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One curve of one person.

    Attributes:
        recording, person, measure: what it is.
        start: time of the first sample in seconds.
        rate: samples per second.
        values: (n,) nan where the face was away for longer than ``LONGEST_GAP``.
    """

    recording: str
    person: str
    measure: str
    start: float
    rate: float
    values: Floats

    @property
    def coverage(self) -> float:
        """Share of the samples with a value, in [0, 1]."""
        return float((~np.isnan(self.values)).mean()) if len(self.values) else 0.0

    @property
    def movement(self) -> float:
        """Standard deviation of the values; 0 without any."""
        known = self.values[~np.isnan(self.values)]
        return float(known.std()) if len(known) else 0.0


def sample(
    recording: Recording, track: Track, measure: str, rate: float, span: tuple[float, float], shift: float = 0.0
) -> Series:
    """The curve of a measure at start + k / rate.

    A sample is the mean of the detected frames within half a step of it, so that faster movement is not folded into
    slower; a sample without frames is interpolated between its neighbours if the frames around it are at most
    ``LONGEST_GAP`` (and the usual frame distance) apart.

    Args:
        span: start and end in seconds, on the clock that all curves share.
        shift: seconds that are added to the recording's times to give that clock.
    """
    count = max(round((span[1] - span[0]) * rate), 0)
    kept = track.detected & ~np.isnan(track.values.get(measure, np.full(len(track.frame), np.nan)))
    time = recording.time[track.frame[kept]] + shift
    value = track.values[measure][kept] if kept.any() else np.empty(0)
    where = np.floor((time - span[0]) * rate + 0.5).astype(np.int64)
    inside = (where >= 0) & (where < count)
    total = np.bincount(where[inside], value[inside], minlength=count)
    frames = np.bincount(where[inside], minlength=count)
    values = np.where(frames > 0, total / np.maximum(frames, 1), np.nan)
    return Series(recording.name, track.person, measure, span[0], rate, _bridged(values, span, rate, time, recording))


def _bridged(
    values: Floats, span: tuple[float, float], rate: float, time: Floats, recording: Recording
) -> Floats:  # fmt: skip
    empty, known = np.flatnonzero(np.isnan(values)), np.flatnonzero(~np.isnan(values))
    if not len(empty) or len(known) < 2:
        return values
    at = span[0] + empty / rate
    order = np.sort(time)
    after = np.searchsorted(order, at)
    near = (after > 0) & (after < len(order))
    gap = order[np.minimum(after, len(order) - 1)] - order[np.maximum(after - 1, 0)]
    fill = near & (gap <= LONGEST_GAP + recording.step + 1e-9)
    result = values.copy()
    result[empty[fill]] = np.interp(empty[fill], known, values[known])
    return result

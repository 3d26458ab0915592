"""A person's rows at uneven times -> samples at a constant rate, for formats that know only a rate.

Between two frames that follow each other and both show the face, numbers are interpolated linearly, and flags (whole
numbers) are those of the nearer frame. Where a face is missing, samples are missing as well; nothing is filled in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..formats.schema import Column
from .source_table import SourceTable

Floats = NDArray[np.float64]

ON_FRAME = 0.0006
"""Seconds within which a sample is on a frame: some containers round time stamps to milliseconds."""

_EVEN = 0.0021
"""Seconds by which distances of frames may differ at a constant rate, as for videos (``media.source``)."""


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """One person at a constant rate.

    Attributes:
        person: who.
        start: seconds of the first sample on the recording's clock.
        rate: samples per second.
        values: (samples, columns), nan where there is nothing.
        distance: largest distance of a sample from its nearest frame in seconds: 0 for a constant frame rate.
    """

    person: str
    start: float
    rate: float
    values: Floats
    distance: float


def usual_rate(recording: SourceTable) -> float:
    """Samples per second that suit the frames: their own rate if it is constant, else that of the median distance.

    A rate that is a usual one but for the rounding of time stamps (25, 30, 30000/1001) becomes it; others have six
    decimals. 1 for a single frame.
    """
    times = np.array([recording.clock.seconds(time) for time in recording.times.tolist()])
    if len(times) < 2:
        return 1.0
    steps = np.diff(times)
    step = float(steps.mean() if np.ptp(steps) <= _EVEN else np.median(steps))
    if step <= 0:
        return 1.0
    rate = 1 / step
    usual = min((round(rate), round(rate * 1.001) * 1000 / 1001), key=lambda one: abs(one - rate))
    slack = ON_FRAME * rate / float(times[-1] - times[0])
    return round(usual if usual and abs(usual - rate) <= slack else rate, 6)


def resample(recording: SourceTable, columns: list[Column], rate: float | None = None) -> list[Signal]:
    """Everybody in a recording at one constant rate, all from its first to its last frame.

    Args:
        rate: samples per second; None for that of the frames.
    """
    rate = rate or usual_rate(recording)
    clock = recording.clock
    times = np.array([clock.seconds(time) for time in recording.times.tolist()])
    count = round(float(times[-1] - times[0]) * rate) + 1
    grid = times[0] + np.arange(count) / rate
    place = {time: k for k, time in enumerate(recording.times.tolist())}
    table = {person: np.full((len(times), len(columns)), np.nan) for person in recording.people}
    for row in recording.rows():
        if row["face_id"] is not None:
            values = [np.nan if row[c.name] is None else row[c.name] for c in columns]
            table[recording.person(row)][place[row["time"]]] = values
    flags = np.array([column.type == "integer" for column in columns], bool)
    distance = _distance(times, grid)
    return [
        Signal(person, float(times[0]), rate, _on_grid(times, values, grid, flags), distance)
        for person, values in table.items()
    ]


def _on_grid(times: Floats, values: Floats, grid: Floats, flags: NDArray[np.bool_]) -> Floats:
    after = np.clip(np.searchsorted(times, grid), 1, max(len(times) - 1, 1))
    if len(times) == 1:
        return np.repeat(values, len(grid), axis=0)
    before = after - 1
    part = np.clip((grid - times[before]) / np.maximum(times[after] - times[before], 1e-12), 0, 1)[:, None]
    mixed = values[before] * (1 - part) + values[after] * part
    # On a frame the other one does not matter, also where that has no face.
    mixed = np.where((np.abs(grid - times[before]) < ON_FRAME)[:, None], values[before], mixed)
    mixed = np.where((np.abs(grid - times[after]) < ON_FRAME)[:, None], values[after], mixed)
    nearer = np.where(part <= 0.5, values[before], values[after])
    return np.where(flags & np.isfinite(mixed), nearer, mixed)


def _distance(times: Floats, grid: Floats) -> float:
    after = np.clip(np.searchsorted(times, grid), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    return float(np.minimum(np.abs(times[after] - grid), np.abs(times[before] - grid)).max())

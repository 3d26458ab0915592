"""A person's rows at uneven times -> samples at a constant rate, for formats that know only a rate.

Between two frames that follow each other and both show the face, numbers are interpolated linearly, and flags (whole
numbers) are those of the nearer frame. Where a face is missing, samples are missing as well; nothing is filled in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..formats.schema import Column
from .recording import Recording, person_of

Floats = NDArray[np.float64]


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


def usual_rate(recording: Recording) -> float:
    """Frames per second by the median distance of two frames, to six decimals; 1 for a single frame."""
    times = recording.times
    step = float(np.median(np.diff(times))) * recording.clock.rate if len(times) > 1 else 1.0
    return round(1 / step, 6) if step > 0 else 1.0


def resample(recording: Recording, columns: list[Column], rate: float | None = None) -> list[Signal]:
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
            table[person_of(row)][place[row["time"]]] = values
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
    # Exactly on a frame the other one does not matter, also where it has no face.
    mixed = np.where(part < 1e-6, values[before], values[before] * (1 - part) + values[after] * part)
    mixed = np.where(part > 1 - 1e-6, values[after], mixed)
    nearer = np.where(part <= 0.5, values[before], values[after])
    return np.where(flags & np.isfinite(mixed), nearer, mixed)


def _distance(times: Floats, grid: Floats) -> float:
    after = np.clip(np.searchsorted(times, grid), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    return float(np.minimum(np.abs(times[after] - grid), np.abs(times[before] - grid)).max())

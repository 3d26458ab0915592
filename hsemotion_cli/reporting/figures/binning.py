"""Frames -> columns of a figure: each frame its own where there is room, means of equal spans of time where not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...analysis.recordings import Recording

MOST = 1200
"""Columns across a figure: more than a printer resolves on a column of a journal (600 dpi on 85 mm: 2,008 dots)."""

_ROUNDING = 1e-6  # seconds by which time stamps of tables are rounded


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns of a figure.

    Attributes:
        edges: (C + 1,) seconds.
        of_frame: (F,) column of each frame; a column without a frame stands for time that was not recorded.
        seconds: length of a column if it averages frames, else None.
    """

    edges: NDArray[np.float64]
    of_frame: NDArray[np.int64]
    seconds: float | None

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(C,) means of (F,) values of frames; nan where no frame of a column has one."""
        known = ~np.isnan(values)
        count = np.bincount(self.of_frame[known], minlength=len(self.edges) - 1)
        total = np.bincount(self.of_frame[known], weights=values[known], minlength=len(self.edges) - 1)
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def columns_of(recording: Recording) -> Columns:
    """Columns for all frames of a recording."""
    time, length = recording.time, recording.length
    if len(time) <= MOST and (np.diff(time) > 0).all():
        edges, place = [float(time[0])], []
        for begin, lasting in zip(time.tolist(), length.tolist(), strict=True):
            if begin > edges[-1] + _ROUNDING:  # nothing was recorded until this frame
                edges.append(begin)
            place.append(len(edges) - 1)
            edges.append(begin + lasting)
        return Columns(np.array(edges), np.array(place, np.int64), None)
    edges_ = np.linspace(recording.start, recording.end, MOST + 1)
    place_ = np.clip(np.searchsorted(edges_, time + _ROUNDING, side="right") - 1, 0, MOST - 1)
    return Columns(edges_, place_.astype(np.int64), float(edges_[1] - edges_[0]))

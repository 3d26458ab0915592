"""What a summary holds of one person in one window: statistics of measures, and of segments.

Each detected frame with a value counts once. docs/summary.md has the definitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .recordings import Floats
from .segments import Segment
from .windows import Window

STATISTICS = ("mean", "sd", "median", "p95", "maximum", "latency")
"""Of each measure; latency is the time from the window's onset to the first frame with the maximum, in seconds."""

OF_SEGMENTS = ("share", "count", "first")
"""Of each label: share of the person's frames in the window that lie in its segments, number of segments that begin in
the window, and time from the window's onset to the first of these onsets, in seconds."""


def measure_statistics(time: Floats, value: Floats, window: Window) -> tuple[float, ...]:
    """``STATISTICS`` of one measure; nan for each that has no value.

    Args:
        time: (n,) seconds of the frames that count.
        value: (n,) nan where there is none.
    """
    known = ~np.isnan(value)
    if not known.any():
        return (np.nan,) * len(STATISTICS)
    time, value = time[known], value[known]
    return (
        float(value.mean()),
        float(value.std(ddof=1)) if len(value) > 1 else np.nan,
        float(np.median(value)),
        float(np.percentile(value, 95)),  # linear between ranks, as R's default
        float(value.max()),
        float(time[value.argmax()]) - window.onset,
    )


def segment_statistics(time: Floats, segments: Sequence[Segment], window: Window) -> tuple[float, ...]:
    """``OF_SEGMENTS`` of one label.

    Args:
        time: (n,) seconds of the frames that count, n > 0.
        segments: of the label.
    """
    inside = np.zeros(len(time), bool)
    for one in segments:
        inside |= (time >= one.onset - 1e-9) & (time < one.offset - 1e-9)
    onsets = [one.onset for one in segments if window.onset - 1e-9 <= one.onset < window.offset]
    return float(inside.mean()), float(len(onsets)), min(onsets) - window.onset if onsets else np.nan


def row(
    window: Window,
    time: Floats,
    values: Mapping[str, Floats],
    segments: Mapping[str, Sequence[Segment]],
    inside: NDArray[np.bool_],
) -> Iterator[tuple[str, str, float]]:
    """(measure or label, statistic, value) of one window.

    Args:
        time: (n,) of all rows of the person.
        values: measure -> (n,).
        segments: label -> the person's segments.
        inside: (n,) rows of the window that count, at least one.
    """
    for name, curve in values.items():
        found = measure_statistics(time[inside], curve[inside], window)
        yield from ((name, statistic, value) for statistic, value in zip(STATISTICS, found, strict=True))
    for label, own in segments.items():
        found = segment_statistics(time[inside], own, window)
        yield from ((label, statistic, value) for statistic, value in zip(OF_SEGMENTS, found, strict=True))

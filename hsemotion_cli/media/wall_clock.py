"""Seconds in a recording -> date and time of day."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from .source import SourceInfo


def wall_times(times: NDArray[np.float64], info: SourceInfo) -> NDArray[np.str_]:
    """When frames were recorded, in UTC to the millisecond, like 2024-05-01T12:00:00.040Z.

    Args:
        times: (n,) seconds.
        info: of their source.

    Returns:
        (n,); "" where the source has no creation time, or the sum is no date.
    """
    if info.created is None:
        return np.full(len(times), "")
    created = datetime.fromisoformat(info.created)
    return np.array([_moment(created, time) for time in times.tolist()])


def _moment(created: datetime, time: float) -> str:
    try:
        moment = created + timedelta(milliseconds=round(time * 1000))
    except OverflowError:  # a broken clock may lead beyond the year 9999
        return ""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def wall_clock_note(info: SourceInfo) -> str:
    """The note about ``--clock``: where the times of day come from, or why there are none."""
    if info.created:
        return f"wall_time counts from the creation time that the file declares, {info.created} (--clock)."
    if info.kind != "video":
        return "images have no clock, so the column wall_time is empty (--clock)."
    return "the file declares no creation time, so the column wall_time is empty (--clock)."

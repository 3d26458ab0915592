"""How late results are: milliseconds from the arrival of a frame until its rows have been handed on."""

from __future__ import annotations

import time
from array import array
from collections import deque
from typing import Any

import numpy as np

_SHOWN = 100
"""Newest frames that the figures in a window stand for."""


class Latency:
    """Collects the latency of each analysed frame; eight bytes each."""

    def __init__(self) -> None:
        self._all = array("d")
        self._newest: deque[float] = deque(maxlen=_SHOWN)
        self._times: deque[float] = deque(maxlen=_SHOWN)

    def add(self, milliseconds: float) -> None:
        self._all.append(milliseconds)
        self._newest.append(milliseconds)
        self._times.append(time.monotonic())

    def rate(self) -> float:
        """Results per second over the newest frames; 0 for fewer than two."""
        times = list(self._times)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    def summary(self) -> dict[str, Any]:
        """Median, 95th percentile, largest and mean in milliseconds; None without any frame."""
        if not self._all:
            return dict.fromkeys(("p50", "p95", "worst", "mean"))
        values = np.frombuffer(self._all, np.float64)
        p50, p95 = np.percentile(values, (50, 95))
        figures = {"p50": p50, "p95": p95, "worst": values.max(), "mean": values.mean()}
        return {name: round(float(value), 2) for name, value in figures.items()}

    def recent(self) -> tuple[float, float]:
        """Median and 95th percentile in milliseconds over the newest frames; 0 without any."""
        newest = list(self._newest)
        if not newest:
            return 0.0, 0.0
        p50, p95 = np.percentile(newest, (50, 95))
        return float(p50), float(p95)

"""A person's own baseline, and curves relative to it: difference, z or ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .recordings import Floats, Recording, Track
from .windows import Window, parse_span

CORRECTIONS = ("difference", "z", "ratio")
MAD = 1.4826
"""Standard deviations per median absolute deviation, for a normal distribution."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Where a baseline is taken from, and how it applies.

    Attributes:
        span: seconds of every recording, or None.
        event: label of the windows that it is taken from, or "".
        median: whether it is the median of the whole recording (and 1.4826 MAD as its spread).
        correction: of ``CORRECTIONS``: x - m, (x - m) / s, or x / m; m is the mean and s the standard deviation (over
            n - 1) of the frames.
    """

    span: tuple[float, float] | None = None
    event: str = ""
    median: bool = False
    correction: str = "difference"

    @classmethod
    def parse(cls, text: str, correction: str, labels: Sequence[str]) -> Baseline:
        """Read "median", "0-10" or the label of an event.

        Args:
            labels: of the events.

        Raises:
            UsageError: none of them, or an unknown correction.
        """
        if correction not in CORRECTIONS:
            raise UsageError(f"--correct {correction}: choose from {', '.join(CORRECTIONS)}.")
        if text == "median":
            return cls(median=True, correction=correction)
        if (span := parse_span("--baseline", text)) is not None:
            return cls(span=span, correction=correction)
        if text not in labels:
            raise UsageError(f"--baseline {text}: give median, a span of seconds as 0-10, or the label of an event.")
        return cls(event=text, correction=correction)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a sidecar."""
        from_ = "median" if self.median else list(self.span) if self.span else self.event
        return {"from": from_, "correction": self.correction}

    def frames(
        self, recording: Recording, track: Track, windows: Sequence[Window], counts: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], float]:
        """(n,) rows of a track that it is taken from, and the seconds that they should cover."""
        time = recording.time[track.frame]
        if self.median:
            return counts, 0.0
        if self.span:
            onset, offset = self.span
            return counts & (time >= onset) & (time < offset), offset - onset
        own = [w for w in windows if w.label == self.event and w.person in ("", track.person)]
        inside = np.zeros(len(time), bool)
        for window in own:
            inside |= window.frames(recording, track)
        return counts & inside, sum(window.duration for window in own)

    def apply(
        self, values: Mapping[str, Floats], rows: NDArray[np.bool_]
    ) -> tuple[dict[str, Floats], dict[str, tuple[float, float]]]:
        """Curves relative to the baseline, nan where it does not allow that; and m and s of each.

        Args:
            values: measure -> (n,).
            rows: (n,) those of the baseline.
        """
        found, levels = {}, {}
        for name, curve in values.items():
            own = curve[rows & ~np.isnan(curve)]
            level, spread = self._level(own)
            levels[name] = level, spread
            if self.correction == "ratio":
                found[name] = curve / level if level > 0 else np.full(len(curve), np.nan)
            elif self.correction == "z":
                found[name] = (curve - level) / spread if spread > 0 else np.full(len(curve), np.nan)
            else:
                found[name] = curve - level
        return found, levels

    def _level(self, values: Floats) -> tuple[float, float]:
        if not len(values):
            return np.nan, np.nan
        if self.median:
            level = float(np.median(values))
            return level, MAD * float(np.median(np.abs(values - level)))
        return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan

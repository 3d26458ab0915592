"""One recording -> the rows of a summary: one for each person and window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats.events import Event
from ..formats.schema import ANGLES, LIKELIHOODS
from ..tasks import VALENCE_AROUSAL
from . import statistics
from .baseline import Baseline
from .evidence import evidence
from .recordings import P_EXPRESSION, P_UNIT, Recording, Track
from .rules import Rules, labels_of
from .segments import Segment, curve_segments
from .windows import Window, kept, windows_of

LATER = (*ANGLES, *LIKELIHOODS)
"""Measures that tables of earlier versions lack."""

MEASURES = (*VALENCE_AROUSAL, *P_EXPRESSION, *P_UNIT, *LATER)
"""Columns that are summarised unless others are asked for."""

KINDS = ("expression", "quadrant", "action_unit", "smile", "blink")
"""Segments that are counted."""


@dataclass(frozen=True, slots=True)
class SummarySettings:
    """How tables are summarised.

    Attributes:
        measures: columns.
        rules: of segments.
        min_coverage: smallest share of a window's duration in which the face was detected; below, cells are empty.
        min_seconds: smallest time with a detected face in a window; below, cells are empty.
        baseline: or None.
    """

    measures: tuple[str, ...] = MEASURES
    rules: Rules = field(default_factory=lambda: Rules(kinds=KINDS))
    min_coverage: float = 0.5
    min_seconds: float = 1.0
    baseline: Baseline | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for a sidecar."""
        return {
            "measures": list(self.measures),
            "min_coverage": self.min_coverage,
            "min_seconds": self.min_seconds,
            "baseline": self.baseline.to_json() if self.baseline else None,
            "statistics": list(statistics.STATISTICS),
            "of_segments": list(statistics.OF_SEGMENTS),
            "segments": self.rules.to_json(),
        }

    def columns(self) -> list[tuple[str, str]]:
        """(measure or label, statistic) of every value, in order."""
        labels = [label for kind in self.rules.kinds for label in labels_of(kind)]
        return [
            *((name, statistic) for name in self.measures for statistic in statistics.STATISTICS),
            *((label, statistic) for label in labels for statistic in statistics.OF_SEGMENTS),
        ]


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One person in one window.

    Attributes:
        recording, person: as in a segment.
        window: label, times and group.
        frames: number of frames that count.
        coverage: share of the window's duration that they cover, in [0, 1].
        reason: why there are no values, or "".
        values: (measure or label, statistic) -> value; empty with a reason.
    """

    recording: str
    person: str
    window: Window
    frames: int
    coverage: float
    reason: str
    values: Mapping[tuple[str, str], float]


def summarise(recording: Recording, events: Sequence[Event] | None, settings: SummarySettings) -> Iterator[SummaryRow]:
    """The rows of a recording, by person and window.

    Raises:
        InputError: as ``windows.windows_of``.
    """
    windows = windows_of(recording, events)
    segments = _by_person_and_label(recording, settings.rules)
    for track in recording.tracks:
        counts = kept(recording, track, events)
        values = {name: track.values[name] for name in settings.measures if name in track.values}
        refused = ""
        if settings.baseline is not None:
            rows, seconds = settings.baseline.frames(recording, track, windows, counts)
            refused = _too_little(recording, track, rows, seconds, settings)
            values, _ = settings.baseline.apply(values, rows)
        own = {label: found for (person, label), found in segments.items() if person == track.person}
        for window in windows:
            if window.person in ("", track.person):
                yield _row(recording, track, window, counts, values, own, f"baseline: {refused}" if refused else "",
                           settings)  # fmt: skip


def _row(
    recording: Recording, track: Track, window: Window, counts: NDArray[np.bool_],
    values: Mapping[str, NDArray[np.float64]], segments: Mapping[str, Sequence[Segment]], refused: str,
    settings: SummarySettings,
) -> SummaryRow:  # fmt: skip
    inside = counts & window.frames(recording, track)
    covered = float(recording.length[track.frame][inside].sum())
    coverage = min(covered / window.duration, 1.0)
    reason = _too_little(recording, track, inside, window.duration, settings) or refused
    found: dict[tuple[str, str], float] = {}
    if not reason:
        time = recording.time[track.frame]
        found = {(name, s): v for name, s, v in statistics.row(window, time, values, segments, inside)}
    return SummaryRow(recording.name, track.person, window, int(inside.sum()), coverage, reason, found)


def _too_little(
    recording: Recording, track: Track, rows: NDArray[np.bool_], seconds: float, settings: SummarySettings
) -> str:
    """Why some rows are not enough for a statistic, or "".

    Args:
        seconds: that they should cover; 0 for the whole recording.
    """
    covered = float(recording.length[track.frame][rows].sum())
    if not rows.any():
        return "no face in it"
    if covered < settings.min_seconds - 1e-9:
        return f"a face in {covered:.2f} s only, below {settings.min_seconds:g}"
    if seconds and covered / seconds < settings.min_coverage - 1e-9:
        return f"coverage {covered / seconds:.2f}, below {settings.min_coverage:g}"
    return ""


def _by_person_and_label(recording: Recording, rules: Rules) -> dict[tuple[str, str], list[Segment]]:
    """(person, label) -> segments; labels without evidence are left out, those without segments are there."""
    found: dict[tuple[str, str], list[Segment]] = {}
    for curve in evidence(recording, rules):
        found[curve.person, curve.label] = list(curve_segments(recording, curve))
    return found

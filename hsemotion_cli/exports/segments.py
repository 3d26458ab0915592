"""Segments of a table -> the intervals that formats of intervals and events hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..analysis.evidence import columns
from ..analysis.recordings import called, read_recording
from ..analysis.rules import Rules
from ..analysis.segments import Segment, segments
from ..formats.people import PersonName
from .intervals import Interval
from .source_table import SourceTable


def with_intervals(recording: SourceTable, rules: Rules, names: Sequence[PersonName] = ()) -> SourceTable:
    """The recording with its segments as intervals.

    Raises:
        InputError: the table cannot be used for segments, such as one of photos.
    """
    found = segments(read_recording(recording.path, columns(rules), names), rules)
    return replace(recording, intervals=tuple(_interval(one) for one in found))


def _interval(one: Segment) -> Interval:
    person = called(one.person) or "nobody"
    score = None if one.kind == "no_face" else round(one.maximum, 6)
    peak = None if one.kind == "no_face" else one.peak
    return Interval(one.onset, one.offset, person, one.kind, one.label, peak, score)

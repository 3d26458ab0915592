"""Curves of one person -> segments: intervals in which an expression, an action unit or something else is there.

The definition, for one label of one person in one recording (docs/segments.md has it with examples):

1. The evidence is a curve e over the person's frames, smoothed where the table is not (``evidence``).
2. A frame is on if e reaches the onset threshold, or if e reaches the offset threshold and the frame before was on.
   Frames without evidence leave the state as it is, unless they last longer than the merge gap: then it is off.
3. Each run of frames that are on becomes an interval from the time of its first frame to the end of its last.
4. Intervals no further apart than the merge gap become one.
5. Intervals shorter than the minimum duration are dropped, and then those whose evidence lacks too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from .evidence import Evidence, evidence
from .intervals import ROUNDING, hysteresis, merged, runs
from .recordings import Floats, Recording
from .rules import Rules


@dataclass(frozen=True, slots=True)
class Segment:
    """One interval of one person.

    Attributes:
        recording: file name of the table without extension.
        person: name, or the face id as text; "" for no_face in a recording without any face.
        kind: of ``rules.KINDS``.
        label: of ``rules.labels_of(kind)``.
        onset: time of the first frame in seconds.
        peak: time of the frame with the highest evidence, the first of equals.
        offset: end of the last frame in seconds.
        duration: offset - onset.
        mean: mean evidence over the time in which it is there.
        maximum: highest evidence.
        area: sum of evidence x length of frame, in seconds x the unit of the evidence.
        rise: peak - onset in seconds.
        coverage: share of the duration in which the face was detected and has evidence, in [0, 1].
        frames: number of frames with evidence.
        first_row, last_row: rows of the table of the first and last of these frames; the first after the header is 1.
            Empty for no_face, which has no rows.
    """

    recording: str
    person: str
    kind: str
    label: str
    onset: float
    peak: float
    offset: float
    duration: float
    mean: float
    maximum: float
    area: float
    rise: float
    coverage: float
    frames: int
    first_row: int | None
    last_row: int | None


COLUMNS = tuple(each.name for each in fields(Segment))
"""Of ``segments.csv``."""


def segments(recording: Recording, rules: Rules) -> list[Segment]:
    """All segments of a recording, sorted by person, kind, label and onset."""
    return [one for curve in evidence(recording, rules) for one in curve_segments(recording, curve)]


def curve_segments(recording: Recording, curve: Evidence) -> Iterator[Segment]:
    """The segments of one label of one person, in order."""
    time, length = recording.time[curve.frame], recording.length[curve.frame]
    on = curve.on if curve.on is not None else hysteresis(time, length, curve.value, curve.rule)
    spans = merged(runs(time, length, on), curve.rule.merge_gap)
    for onset, offset in spans:
        if offset - onset < curve.rule.min_duration - ROUNDING:
            continue
        one = _segment(recording, curve, time, length, (onset, offset))
        if one is not None:
            yield one


def _segment(
    recording: Recording, curve: Evidence, time: Floats, length: Floats, span: tuple[float, float]
) -> Segment | None:
    """What a span contains; None if too much of its evidence is missing."""
    onset, offset = span
    inside = (time >= onset - ROUNDING) & (time < offset - ROUNDING) & ~np.isnan(curve.value)
    value, lasting = curve.value[inside], length[inside]
    duration = offset - onset
    if duration <= 0 or lasting.sum() < (1 - curve.rule.max_missing) * duration - ROUNDING:
        return None
    peak = float(time[inside][value.argmax()])
    area = float((value * lasting).sum())
    rows = curve.row[inside] if curve.row is not None else None
    return Segment(
        recording.name, curve.person, curve.kind, curve.label, onset, peak, offset, duration,
        mean=area / float(lasting.sum()), maximum=float(value.max()), area=area, rise=peak - onset,
        coverage=min(float(lasting[curve.detected[inside]].sum()) / duration, 1.0), frames=len(value),
        first_row=None if rows is None else int(rows[0]), last_row=None if rows is None else int(rows[-1]),
    )  # fmt: skip

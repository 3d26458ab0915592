"""Rows as they come -> markers for the begin and the end of each expression, as in the segments of a table.

The rule is that of ``analysis.segments``, applied to the frames so far: an expression is on from when its probability
reaches the onset threshold until it falls below the offset threshold; shorter gaps than the merge gap are closed. What
lasts for the shortest duration is announced then, with the time of its begin. The share that may be missing is not
looked at, as it is known at the end only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..analysis.intervals import ROUNDING
from ..analysis.rules import DEFAULTS, Rule
from ..tasks import EXPRESSIONS

KIND = "expression"


@dataclass(frozen=True, slots=True)
class Marker:
    """The begin or the end of an expression.

    Attributes:
        time: seconds, on the clock of the column ``time``; before the newest frame.
        label: of ``tasks.EXPRESSIONS``.
        begins: whether it is the begin.
        face_id: whose.
    """

    time: float
    label: str
    begins: bool
    face_id: int

    @property
    def text(self) -> str:
        """LABEL/onset/FACE_ID or LABEL/offset/FACE_ID; programs for EEG read the slashes as levels."""
        return f"{self.label}/{'onset' if self.begins else 'offset'}/{self.face_id}"


@dataclass(slots=True)
class _Span:
    """An interval of one expression of one face, as far as it is known.

    Attributes:
        begin: time of its first frame.
        end: end of its last frame so far, which is the time of the next analysed frame.
        announced: whether its begin has been announced.
    """

    begin: float
    end: float
    announced: bool = False


@dataclass(slots=True)
class _State:
    """One expression of one face.

    Attributes:
        on: whether it was on in the newest frame that had evidence.
        seen: end of that frame.
        current: whether that is the newest frame of all.
        span: the interval that goes on or may go on, or None.
    """

    on: bool = False
    seen: float = -math.inf
    current: bool = False
    span: _Span | None = None


class Episodes:
    """Follows the expressions of all faces.

    Args:
        rule: thresholds and durations.
    """

    def __init__(self, rule: Rule = DEFAULTS[KIND]) -> None:
        self._rule = rule
        self._states: dict[tuple[int, str], _State] = {}
        self._time, self._step = 0.0, 0.0

    def add(self, time: float, rows: Sequence[Mapping[str, Any]]) -> list[Marker]:
        """Markers that a frame decides, in order of time.

        Args:
            time: of the frame, in seconds.
            rows: of the frame.
        """
        self._lasts_until(time)
        values = {
            (row["face_id"], label): row[f"p_{label}"]
            for row in rows
            if row["face_id"] is not None
            for label in EXPRESSIONS
            if row[f"p_{label}"] is not None
        }
        found: list[Marker] = []
        for key, value in values.items():
            found += self._judge(key, value, time)
        for key, state in list(self._states.items()):
            found += self._decide(key, state, time)
        self._step, self._time = time - self._time, time
        return sorted(found, key=lambda marker: (marker.time, marker.begins))

    def finish(self) -> list[Marker]:
        """The ends of all that has begun, at the end of a session."""
        self._lasts_until(self._time + self._step)
        spans = {key: state.span for key, state in self._states.items() if state.span is not None}
        self._states.clear()
        return [Marker(span.end, key[1], False, key[0]) for key, span in spans.items() if span.announced]

    def _lasts_until(self, time: float) -> None:
        """The frame before lasted until now."""
        for state in self._states.values():
            if state.current:
                state.seen, state.current = time, False
                if state.on and state.span is not None:
                    state.span.end = time

    def _judge(self, key: tuple[int, str], value: float, time: float) -> Iterator[Marker]:
        """Whether an expression is on in a frame that has evidence for it."""
        rule, state = self._rule, self._states.setdefault(key, _State())
        held = state.on and time - state.seen <= rule.merge_gap + ROUNDING
        state.on = value >= rule.onset or (held and value >= rule.offset)
        state.current, state.seen = True, time
        if not state.on:
            return
        if state.span is not None and time - state.span.end > rule.merge_gap + ROUNDING:
            yield from _ended(key, state)
        if state.span is None:
            state.span = _Span(time, time)

    def _decide(self, key: tuple[int, str], state: _State, time: float) -> Iterator[Marker]:
        """Announce what has lasted long enough, and end what has been off for too long."""
        span, going = state.span, state.on and state.current
        if span is None:
            return
        if not span.announced and (time if going else span.end) - span.begin >= self._rule.min_duration - ROUNDING:
            span.announced = True
            yield Marker(span.begin, key[1], True, key[0])
        if not going and time - span.end > self._rule.merge_gap + ROUNDING:
            yield from _ended(key, state)


def _ended(key: tuple[int, str], state: _State) -> Iterator[Marker]:
    span, state.span = state.span, None
    if span is not None and span.announced:
        yield Marker(span.end, key[1], False, key[0])

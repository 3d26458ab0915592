"""``--clock``: the time stamps of a table -> seconds of another clock, or date and time of day.

The only place that converts between clocks. Four ways to count the time of a frame occur:

- its ordinal (``frame``), which no clock is made from here;
- the container's time stamp in seconds (``time``);
- seconds since the first frame of the video (``time - start``), which players show;
- seconds, or date and time, of another device: after an offset, or along a straight line through matching events,
  which also corrects a constant drift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ..errors import UsageError

WORDS = "video, container, offset=SECONDS, start=DATE-TIME or match=SECONDS@TIME[,SECONDS@TIME...]"
"""What ``--clock`` may be."""

MOST_DRIFT = 0.01
"""Largest difference of rate from 1: a clock that is 1 % off is not a clock, and the events do not match."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Container time -> ``rate * (time - zero) + shift`` seconds.

    Attributes:
        words: ``--clock`` as given.
        zero: container time of the first frame of the video in seconds; 0 with "container".
        rate: seconds of this clock for each second of the video.
        shift: what this clock shows at ``zero``, in seconds.
        began: date and time at second 0 of this clock, or None.
        residual: largest distance of a matching event from the line, in seconds.
        notes: sentences about what was assumed or computed.
    """

    words: str = "video"
    zero: float = 0.0
    rate: float = 1.0
    shift: float = 0.0
    began: datetime | None = None
    residual: float = 0.0
    notes: tuple[str, ...] = ()

    def seconds(self, time: float) -> float:
        """Seconds of this clock at a container time."""
        return self.rate * (time - self.zero) + self.shift

    def media(self, time: float) -> float:
        """Seconds since the first frame of the video, whatever the clock: formats that point into a video need them."""
        return time - self.zero

    def date(self, time: float) -> datetime | None:
        """Date and time at a container time, if this clock knows the date."""
        return None if self.began is None else self.began + timedelta(seconds=self.seconds(time))

    def to_json(self) -> dict[str, Any]:
        """As a sidecar records it."""
        return {
            "words": self.words,
            "zero": self.zero,
            "rate": self.rate,
            "shift": self.shift,
            "began": None if self.began is None else self.began.isoformat(),
            "residual": round(self.residual, 6),
            "notes": list(self.notes),
        }


def parse_clock(words: str, meta: Mapping[str, Any]) -> Clock:
    """The clock that ``--clock`` describes, for one table.

    Args:
        words: see ``WORDS``.
        meta: content of the table's sidecar, which has the time stamp of the first frame; {} without one.

    Raises:
        UsageError: the words make no sense.
    """
    kind, _, value = words.strip().partition("=")
    start, notes = _start(meta)
    if kind == "container" and not value:
        return Clock(words)
    if kind == "video" and not value:
        return Clock(words, start, notes=notes)
    if kind == "offset":
        return Clock(words, start, shift=_number(value, words), notes=notes)
    if kind == "start":
        return Clock(words, start, began=_date(value, words), notes=notes)
    if kind == "match":
        return _matched(value, words, start, notes)
    raise UsageError(f"--clock {words}: give {WORDS}.")


def _start(meta: Mapping[str, Any]) -> tuple[float, tuple[str, ...]]:
    """Time stamp of the first frame, and a note if it is not known."""
    start = (meta.get("source") or {}).get("start")
    if isinstance(start, int | float):
        return float(start), ()
    return 0.0, ("the sidecar does not give the time stamp of the first frame, so 0 was assumed.",)


def _matched(value: str, words: str, start: float, notes: tuple[str, ...]) -> Clock:
    """One matching event gives an offset; two or more give a line by least squares."""
    pairs = [_pair(part, words) for part in value.split(",") if part.strip()]
    if not pairs:
        raise UsageError(f"--clock {words}: give one event or more, as match=12.5@100.25,72.5@160.31.")
    dated = [isinstance(other, datetime) for _, other in pairs]
    if any(dated) and not all(dated):
        raise UsageError(f"--clock {words}: give either a date and time for each event, or seconds for each.")
    try:
        began = min((other for _, other in pairs if isinstance(other, datetime)), default=None)
        others = [(o - began).total_seconds() if isinstance(o, datetime) and began else o for _, o in pairs]
    except TypeError as error:
        raise UsageError(f"--clock {words}: give a time zone for every date or for none.") from error
    there, here = np.array(others, float), np.array([seconds for seconds, _ in pairs])
    if len(pairs) == 1:
        return Clock(words, start, shift=float(there[0] - here[0]), began=began, notes=notes)
    if np.ptp(here) == 0:
        raise UsageError(f"--clock {words}: the events are at the same time of the video, so there is no drift to fit.")
    rate = float(np.dot(here - here.mean(), there - there.mean()) / np.dot(here - here.mean(), here - here.mean()))
    shift = float(there.mean() - rate * here.mean())
    residual = float(np.abs(rate * here + shift - there).max())
    if abs(rate - 1) > MOST_DRIFT:
        raise UsageError(
            f"--clock {words}: the other clock would run at {rate:.4f} of the video's rate; check the events."
        )
    note = (
        f"the other clock drifts by {(rate - 1) * 1e6:+.1f} parts per million against the video, by a line through "
        f"{len(pairs)} events; the farthest of them lies {residual * 1000:.1f} ms off the line."
    )
    return Clock(words, start, rate, shift, began, residual, (*notes, note))


def _pair(part: str, words: str) -> tuple[float, float | datetime]:
    here, sign, there = part.strip().partition("@")
    if not sign:
        raise UsageError(
            f"--clock {words}: {part.strip()!r} is no event; write the video's seconds, @, the other time."
        )
    try:
        return _number(here, words), float(there)
    except ValueError:
        return _number(here, words), _date(there, words)


def _number(text: str, words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"--clock {words}: {text!r} is not a number of seconds.")
    return value


def _date(text: str, words: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--clock {words}: {text!r} is no date and time; write 2026-03-01T10:00:00.250, with +01:00 for a zone."
        ) from error


def notes_of(clocks: Sequence[Clock]) -> list[str]:
    """The notes of several clocks, each once, in order."""
    return list(dict.fromkeys(note for clock in clocks for note in clock.notes))

"""What formats of events and intervals hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """One stretch of time in which something is present.

    Attributes:
        onset, offset: container time in seconds, as ``time`` in the table.
        person: who.
        measure: what was measured: "expression", "AU12", "smile", ...
        label: what is shown in the interval: "happiness", "AU12", ...
        peak: container time of the strongest frame, or None.
        score: the highest value, or None.
    """

    onset: float
    offset: float
    person: str
    measure: str
    label: str
    peak: float | None = None
    score: float | None = None


def tiers(intervals: Iterable[Interval]) -> dict[tuple[str, str], list[Interval]]:
    """(person, measure) -> its intervals in order of onset; formats with tiers hold no two that overlap in one."""
    found: dict[tuple[str, str], list[Interval]] = {}
    for interval in sorted(intervals, key=lambda each: (each.onset, each.offset)):
        found.setdefault((interval.person, interval.measure), []).append(interval)
    return found

"""What formats of events and intervals hold, and how intervals are put into tiers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """One stretch of time in which something is present.

    Attributes:
        onset, offset: container time in seconds, as ``time`` in the table.
        person: who; "nobody" for a stretch without any face.
        measure: what was measured: "expression", "action_unit", "smile", ...
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

    @property
    def words(self) -> str:
        """Who and what, in one text: "face 0: happiness"."""
        return f"{self.person}: {self.label}"


@dataclass(frozen=True, slots=True)
class Tier:
    """Intervals of one person and one measure that do not overlap, in order.

    Attributes:
        name: unlike that of any other tier.
    """

    name: str
    person: str
    measure: str
    intervals: tuple[Interval, ...]


def in_order(intervals: Iterable[Interval]) -> list[Interval]:
    """By onset, then offset, person and label."""
    return sorted(intervals, key=lambda one: (one.onset, one.offset, one.person, one.measure, one.label))


def tiers(intervals: Iterable[Interval]) -> list[Tier]:
    """A tier for each person and measure; what would overlap goes into a further tier of the same."""
    lanes: dict[tuple[str, str], list[list[Interval]]] = {}
    for interval in in_order(intervals):
        own = lanes.setdefault((interval.person, interval.measure), [])
        free = next((lane for lane in own if lane[-1].offset <= interval.onset + 1e-9), None)
        if free is None:
            own.append([interval])
        else:
            free.append(interval)
    return [
        Tier(f"{person} {measure}{f' {k}' if k > 1 else ''}", person, measure, tuple(lane))
        for (person, measure), own in lanes.items()
        for k, lane in enumerate(own, 1)
    ]


def milliseconds(seconds: float) -> int:
    """Whole milliseconds from the start of a video; what lies before it is at 0."""
    return max(round(seconds * 1000), 0)

"""Events -> the windows of one recording and one person that statistics are taken over."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..formats.events import Event, for_recording
from .recordings import Recording, Track

WHOLE = "recording"
"""Label of the window that is the whole recording, where there are no events."""

_SPAN = re.compile(r"(-?[0-9]*\.?[0-9]+)\s*(?:-|\.\.|:)\s*([0-9]*\.?[0-9]+)")


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time.

    Attributes:
        label: of the event, or ``WHOLE``.
        group: the event's column ``group`` or ``tier``, or "".
        onset, offset: seconds; a frame belongs to it if onset <= time < offset.
        person: that it is for, or "" for everyone.
        where: file and row of the event, or "".
    """

    label: str
    group: str
    onset: float
    offset: float
    person: str = ""
    where: str = ""

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.offset - self.onset

    def frames(self, recording: Recording, track: Track) -> NDArray[np.bool_]:
        """(n,) which rows of a track belong to it."""
        time = recording.time[track.frame]
        return (time >= self.onset) & (time < self.offset)


def check_windows(events: Sequence[Event]) -> None:
    """Make sure that windows can be told apart.

    Raises:
        InputError: one has no duration, or two of the same recording, person and label overlap.
    """
    for one in events:
        if one.kind == "label" and one.duration == 0:
            raise InputError(f"{one.where}: {one.label!r} has no duration; a window needs an offset after its onset.")
    by_label: dict[str, list[Event]] = defaultdict(list)
    for one in sorted(events, key=lambda event: event.onset):
        if one.kind != "label":
            continue
        for before in by_label[one.label]:
            if before.offset > one.onset + 1e-9 and _meet(before, one):
                raise InputError(
                    f"{one.where}: the window {one.label!r} overlaps the one in {before.where}; give them different "
                    "labels or times that do not overlap."
                )
        by_label[one.label].append(one)


def _meet(one: Event, other: Event) -> bool:
    """Whether there may be a person in a recording whom both events are for."""
    pairs = ((one.recording, other.recording), (one.person, other.person))
    return all(a == b or "" in (a, b) for a, b in pairs)


def windows_of(recording: Recording, events: Iterable[Event] | None) -> list[Window]:
    """The windows of a recording: its events, or itself where ``events`` is None.

    Raises:
        InputError: an event of this very recording lies outside of it, or names a person that is not in it.
    """
    if events is None:
        return [Window(WHOLE, "", recording.start, recording.end)]
    people = {track.person for track in recording.tracks}
    found = []
    for one in for_recording(events, recording.name):
        outside = one.onset >= recording.end or one.offset <= recording.start
        if one.recording and outside:
            raise InputError(
                f"{one.where}: from {one.onset:g} to {one.offset:g} s is outside of {recording.name}, which lasts from "
                f"{recording.start:g} to {recording.end:g} s."
            )
        if one.recording and one.person and one.person not in people:
            raise InputError(
                f"{one.where}: there is no person {one.person!r} in {recording.name}; there "
                f"{'is' if len(people) == 1 else 'are'} {', '.join(sorted(people)) or 'nobody'}."
            )
        if one.kind == "label":
            found.append(Window(one.label, one.tier, one.onset, one.offset, one.person, one.where))
    return found


def kept(recording: Recording, track: Track, events: Iterable[Event] | None) -> NDArray[np.bool_]:
    """(n,) rows of a track that count: detected, and not in a span that is marked with ``exclude``."""
    time, counts = recording.time[track.frame], track.detected.copy()
    for one in for_recording(events or (), recording.name):
        if one.kind == "exclude" and one.person in ("", track.person):
            counts &= ~((time >= one.onset) & (time < one.offset))
    return counts


def parse_span(option: str, text: str) -> tuple[float, float] | None:
    """Read "0-10" (also "0..10" and "0:10") as seconds, the first of which may be negative; None for anything else.

    Raises:
        UsageError: it ends before it begins.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        return None
    onset, offset = float(match[1]), float(match[2])
    if offset <= onset:
        raise UsageError(f"{option} {text}: it ends before it begins; write it as 0-10, in seconds.")
    return onset, offset

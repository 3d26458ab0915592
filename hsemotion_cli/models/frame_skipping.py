"""Networks on some of the frames only: which ones, and what is said of those between.

A network looks at each face in every ``stride``-th frame, and where its person comes, goes, or the scene changes; for
the frames between, scores are taken from a straight line between the two that surround them. Both are known, since
nothing here is live. Models that are no networks cost nothing, and look at every frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..domain import Reading, Scores, Sighting
from ..errors import UsageError

LONGEST = 60
"""Frames from one look to the next at most."""


@dataclass(frozen=True, slots=True, eq=False)
class ScheduledSighting:
    """A sighting, and at which of its faces networks look."""

    sighting: Sighting
    looked_at: tuple[bool, ...]


def check(stride: int) -> None:
    """Raise UsageError unless networks may look that seldom."""
    if not 1 <= stride <= LONGEST:
        raise UsageError(f"--stride {stride}: give a number of frames from 1 to {LONGEST}.")


def schedule(sightings: Iterable[Sighting], stride: int) -> Iterator[ScheduledSighting]:
    """Choose at which faces networks look: of each person at the first, the last and every ``stride``-th in a row.

    Args:
        sightings: with track ids.
    """
    since: dict[int | None, int] = {}  # track -> frames since its last look
    waiting: Sighting | None = None
    for sighting in sightings:
        if waiting is not None:
            goes_on = sighting.segment == waiting.segment
            yield _marked(waiting, {face.track for face in sighting.faces} if goes_on else set(), since, stride)
            if not goes_on:
                since.clear()
        waiting = sighting
    if waiting is not None:
        yield _marked(waiting, set(), since, stride)


def _marked(sighting: Sighting, after: set[int | None], since: dict[int | None, int], stride: int) -> ScheduledSighting:
    here = {face.track for face in sighting.faces}
    looked = []
    for face in sighting.faces:
        count = since.get(face.track, stride - 1) + 1
        look = count >= stride or face.track not in after
        since[face.track] = 0 if look else count
        looked.append(look)
    for gone in since.keys() - here:
        del since[gone]
    return ScheduledSighting(sighting, tuple(looked))


def interpolate(readings: Iterable[tuple[Reading, tuple[bool, ...]]]) -> Iterator[Reading]:
    """Put scores in the place of those that networks did not give.

    Args:
        readings: in order, each with the faces at which networks looked; in the rows of the others their scores are
            nan.
    """
    waiting: list[_Waiting] = []
    last: dict[int | None, _Look] = {}  # by track
    for reading, looked in readings:
        entry = _Waiting(reading, {face.track: k for k, face in enumerate(reading.faces) if not looked[k]})
        for row, face in enumerate(reading.faces):
            if not looked[row]:
                continue
            if face.track in last:
                for earlier in waiting:
                    earlier.fill(face.track, last[face.track], (reading.time, reading.scores, row))
            last[face.track] = reading.time, reading.scores, row
        here = {face.track for face in reading.faces}
        for gone in last.keys() - here:
            del last[gone]
        waiting.append(entry)
        while waiting and not waiting[0].missing:
            yield waiting.pop(0).reading
    assert not waiting  # the last face of a row is always looked at


_Look = tuple[float, Mapping[str, Scores], int]
"""Time, scores and the row in them of a look at a person."""


class _Waiting:
    """A reading of which some rows are missing (track -> row) until the next look at these persons."""

    def __init__(self, reading: Reading, missing: dict[int | None, int]) -> None:
        self.missing = missing
        # Rows are put into copies: scores of several readings may share their memory.
        self.reading = (
            replace(reading, scores={m: _copied(s) for m, s in reading.scores.items()}) if missing else reading
        )

    def fill(self, track: int | None, before: _Look, after: _Look) -> None:
        if track not in self.missing:
            return
        row = self.missing.pop(track)
        (began, first, i), (ended, second, j) = before, after
        share = (self.reading.time - began) / (ended - began) if began < ended else 0.5
        for model, scores in self.reading.scores.items():
            for task, values in scores.tasks.items():
                if np.isnan(values[row]).all():  # a model that looks at every frame has said what it says
                    values[row] = _line(first[model].tasks[task][i], second[model].tasks[task][j], share)


def _line(one: NDArray[np.float32], other: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    return (one * (1 - share) + other * share).astype(np.float32)


def _copied(scores: Scores) -> Scores:
    return replace(scores, tasks={task: values.copy() for task, values in scores.tasks.items()})

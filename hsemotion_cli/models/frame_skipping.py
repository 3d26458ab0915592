"""Frame skipping: networks run on some frames only, and scores in between are interpolated.

Networks score each face in every ``stride``-th frame, where its track starts or ends, and at scene changes. Scores of
the frames in between are interpolated linearly. Models that are not networks are fast and score every frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..domain import Reading, Scores, Sighting
from ..errors import UsageError

LONGEST = 60
"""Largest allowed stride, in frames."""


@dataclass(frozen=True, slots=True, eq=False)
class ScheduledSighting:
    """A sighting, and for each of its faces whether networks score it."""

    sighting: Sighting
    scored: tuple[bool, ...]


def check(stride: int) -> None:
    """Raise UsageError for a stride out of range."""
    if not 1 <= stride <= LONGEST:
        raise UsageError(f"--stride {stride}: give a number of frames from 1 to {LONGEST}.")


def schedule(sightings: Iterable[Sighting], stride: int) -> Iterator[ScheduledSighting]:
    """Choose the faces that networks score: the first, the last and every ``stride``-th of each track's runs.

    Args:
        sightings: with track ids.
    """
    skipped: dict[int | None, int] = {}  # track -> frames since it was last scored
    waiting: Sighting | None = None
    for sighting in sightings:
        if waiting is not None:
            same_segment = sighting.segment == waiting.segment
            yield _mark(waiting, {face.track for face in sighting.faces} if same_segment else set(), skipped, stride)
            if not same_segment:
                skipped.clear()
        waiting = sighting
    if waiting is not None:
        yield _mark(waiting, set(), skipped, stride)


def _mark(
    sighting: Sighting, next_tracks: set[int | None], skipped: dict[int | None, int], stride: int
) -> ScheduledSighting:
    visible = {face.track for face in sighting.faces}
    scored = []
    for face in sighting.faces:
        count = skipped.get(face.track, stride - 1) + 1
        due = count >= stride or face.track not in next_tracks
        skipped[face.track] = 0 if due else count
        scored.append(due)
    for track in skipped.keys() - visible:
        del skipped[track]
    return ScheduledSighting(sighting, tuple(scored))


def interpolate(readings: Iterable[tuple[Reading, tuple[bool, ...]]]) -> Iterator[Reading]:
    """Fill in the scores of skipped faces.

    Args:
        readings: in order, each with the faces that networks scored; the network scores of the others are nan.
    """
    waiting: list[_Pending] = []
    last: dict[int | None, _Anchor] = {}  # by track
    for reading, scored in readings:
        entry = _Pending(reading, {face.track: k for k, face in enumerate(reading.faces) if not scored[k]})
        for row, face in enumerate(reading.faces):
            if not scored[row]:
                continue
            if face.track in last:
                for earlier in waiting:
                    earlier.fill(face.track, last[face.track], (reading.time, reading.scores, row))
            last[face.track] = reading.time, reading.scores, row
        visible = {face.track for face in reading.faces}
        for track in last.keys() - visible:
            del last[track]
        waiting.append(entry)
        while waiting and not waiting[0].missing:
            yield waiting.pop(0).reading
    assert not waiting  # the last face of a run is always scored


_Anchor = tuple[float, Mapping[str, Scores], int]
"""Time, scores, and the row of a scored face in them."""


class _Pending:
    """A reading with missing rows (track -> row), until these tracks are scored again."""

    def __init__(self, reading: Reading, missing: dict[int | None, int]) -> None:
        self.missing = missing
        # Rows are filled in copies, because the scores of several readings may share memory.
        self.reading = replace(reading, scores={m: _copy(s) for m, s in reading.scores.items()}) if missing else reading

    def fill(self, track: int | None, before: _Anchor, after: _Anchor) -> None:
        if track not in self.missing:
            return
        row = self.missing.pop(track)
        (start, first, i), (end, second, j) = before, after
        share = (self.reading.time - start) / (end - start) if start < end else 0.5
        for model, scores in self.reading.scores.items():
            for task, values in scores.tasks.items():
                if np.isnan(values[row]).all():  # not for models that score every frame
                    values[row] = _mix(first[model].tasks[task][i], second[model].tasks[task][j], share)


def _mix(one: NDArray[np.float32], other: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    return (one * (1 - share) + other * share).astype(np.float32)


def _copy(scores: Scores) -> Scores:
    return replace(scores, tasks={task: values.copy() for task, values in scores.tasks.items()})

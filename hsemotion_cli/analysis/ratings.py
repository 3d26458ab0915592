"""Continuous ratings of valence and arousal: a trace that a person rated, or a second table.

A trace is a CSV file with the columns ``time`` (seconds), ``valence`` and ``arousal`` (one may be missing), and where
needed ``recording`` and ``person``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats.event_rows import number, recording_of, rows_of
from ..tasks import VALENCE_AROUSAL
from .recordings import read_recording

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Rating:
    """What one rater gave one person over time.

    Attributes:
        coder: name.
        recording, person: as in a segment; person "" stands for the only one.
        time: (n,) seconds, increasing.
        values: "valence" or "arousal" -> (n,).
    """

    coder: str
    recording: str
    person: str
    time: Floats
    values: Mapping[str, Floats]

    def at(self, measure: str, time: Floats, reach: float) -> Floats:
        """(F,) the rating nearest to each time; nan where none is within ``reach`` seconds."""
        if measure not in self.values or not len(self.time):
            return np.full(len(time), np.nan)
        right = np.searchsorted(self.time, time).clip(1, max(len(self.time) - 1, 1))
        left = right - 1
        right = np.minimum(right, len(self.time) - 1)
        nearer = np.where(np.abs(self.time[right] - time) < np.abs(self.time[left] - time), right, left)
        return np.where(np.abs(self.time[nearer] - time) <= reach, self.values[measure][nearer], np.nan)


def is_trace(path: Path) -> bool:
    """Whether a CSV file holds ratings over time, or is a second table; its header says so."""
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return path.suffix.lower() in (".parquet", ".jsonl")
    lines = rows_of(path)
    header = {name.lower() for name in lines[0][1]} if lines else set()
    return "time" in header and bool(header & set(VALENCE_AROUSAL))


def read_ratings(coder: str, path: Path) -> list[Rating]:
    """The ratings of a trace or of a second table.

    Raises:
        InputError: it cannot be read, or times do not increase.
    """
    header = {name.lower() for name in rows_of(path)[0][1]} if path.suffix.lower() in (".csv", ".tsv", ".txt") else ()
    if not header or "face_id" in header:
        recording = read_recording(path, VALENCE_AROUSAL)
        return [
            Rating(coder, recording.name, track.person, recording.time[track.frame], track.values)
            for track in recording.tracks
        ]
    return _read_trace(coder, path)


def _read_trace(coder: str, path: Path) -> list[Rating]:
    lines = rows_of(path)
    header = [name.lower() for name in lines[0][1]]
    measures = [name for name in VALENCE_AROUSAL if name in header]
    parts: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for line, cells in lines[1:]:
        where = f"{path}, row {line}"
        row = dict(zip(header, cells, strict=False))
        if len(cells) < len(header):
            raise InputError(f"{where}: {len(cells)} cells, but the header has {len(header)}.")
        values = [number(where, name, row[name]) if row[name] else float("nan") for name in measures]
        key = row.get("recording", recording_of(path)), row.get("person", "")
        parts[key].append([number(where, "time", row["time"]), *values])
        if len(parts[key]) > 1 and parts[key][-1][0] <= parts[key][-2][0]:
            raise InputError(f"{where}: its time does not come after that of the row before.")
        if any(abs(value) > 1 for value in values):
            raise InputError(f"{where}: valence and arousal must lie between -1 and 1.")
    found = []
    for (recording, person), rows in parts.items():
        table = np.array(rows)
        found.append(
            Rating(coder, recording, person, table[:, 0], {n: table[:, k + 1] for k, n in enumerate(measures)})
        )
    return found


def for_person(ratings: Sequence[Rating], recording: str, person: str, alone: bool) -> list[Rating]:
    """The ratings of one person of a recording.

    Args:
        alone: whether the person is the only one there, whom ratings without a name are of.
    """
    return [
        one for one in ratings
        if one.recording in ("", recording) and (one.person == person or (not one.person and alone))
    ]  # fmt: skip

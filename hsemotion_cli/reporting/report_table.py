"""A table -> the columns of one recording, as pages and figures want them: frames, and the rows of each face id."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats.schema import COLUMNS, OPTIONAL
from ..formats.table_reader import Block, read_blocks
from ..tasks import EXPRESSIONS

_NUMBERS = tuple(c.name for c in (*COLUMNS, *OPTIONAL) if c.type != "text" and c.name not in ("frame", "time"))
_LONGEST = 30 * 86400.0  # seconds that a time axis can show


class NoTimeError(InputError):
    """A table of photos, which have no time, so that no page can be made of it."""


@dataclass(frozen=True, slots=True, eq=False)
class ReportTable:
    """One table: F analysed frames in order, and N rows with a face.

    Attributes:
        name: the table's file name without extension.
        frame: (F,) int64 frame ordinals.
        time: (F,) float64 seconds, never falling.
        clock: "time", or "row" where the table's times fall or span more than 30 days: ``time`` then counts rows at
            25 per second.
        row: (N,) int64 position in ``frame`` of each row.
        face_id: (N,) int64.
        expression: (N,) int16 position in ``tasks.EXPRESSIONS``, -1 for none.
        numbers: column -> (N,) float64, nan for an empty cell; columns that are empty throughout are left out.
        people: face id -> name, from the column ``person`` where the table has it.
    """

    name: str
    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    clock: str
    row: NDArray[np.int64]
    face_id: NDArray[np.int64]
    expression: NDArray[np.int16]
    numbers: Mapping[str, NDArray[np.float64]]
    people: Mapping[int, str]

    @property
    def ids(self) -> list[int]:
        """Face ids, increasing."""
        return [int(each) for each in np.unique(self.face_id)]

    @property
    def detected(self) -> NDArray[np.bool_]:
        """(N,) whether the face was seen in this very frame."""
        return self.numbers["face_detected"] == 1 if "face_detected" in self.numbers else np.ones(len(self.row), bool)

    @property
    def coverage(self) -> float:
        """Share of the analysed frames in which a face was detected, in [0, 1]; 0 without any frame."""
        return len(np.unique(self.row[self.detected])) / len(self.frame) if len(self.frame) else 0.0


def read_report_table(path: Path) -> ReportTable:
    """Read a table.

    Raises:
        InputError: it cannot be read, has no row, is not sorted by frame, or a face id occurs twice in a frame.
        NoTimeError: it holds photos.
    """
    return of_blocks(path.stem, read_blocks(path), path)


def of_blocks(name: str, blocks: Iterable[Block], path: Path) -> ReportTable:
    """The recording whose table consists of these blocks; ``path`` is for messages. Raises as ``read_report_table``."""
    parts: dict[str, list[NDArray]] = defaultdict(list)
    named: dict[int, Counter[str]] = defaultdict(Counter)
    for block in blocks:
        if "file" in block:
            raise NoTimeError(f"{path}: a table of photos, which have no time; pages show recordings.")
        size = len(block["frame"])
        parts["frame"].append(np.array(block["frame"], np.int64))
        for column in ("time", *_NUMBERS):
            if column in block:
                parts[column].append(np.array(block[column], np.float64))  # None becomes nan
        parts["expression"].append(np.array([_expression(v) for v in block["expression"]], np.int16))
        for face, person in zip(block["face_id"], block.get("person", [None] * size), strict=True):
            if person is not None and face is not None:
                named[face][person] += 1
    if not parts:
        raise InputError(f"{path}: a table without rows, so there is nothing to show.")
    columns = {column: np.concatenate(values) for column, values in parts.items()}
    return _joined(name, columns, {face: count.most_common(1)[0][0] for face, count in named.items()}, path)


def _joined(name: str, columns: dict[str, NDArray], people: Mapping[int, str], path: Path) -> ReportTable:
    frame = columns.pop("frame")
    if (np.diff(frame) < 0).any():
        raise InputError(f"{path}: its rows are not sorted by frame; sort them by the column frame.")
    frames, first, position = np.unique(frame, return_index=True, return_inverse=True)
    time, clock = _time(columns.pop("time")[first])
    face = ~np.isnan(columns["face_id"])
    ids = columns.pop("face_id")[face].astype(np.int64)
    twice = np.unique(np.stack([position[face], ids]), axis=1, return_counts=True)[1] if face.any() else np.ones(0)
    if (twice > 1).any():
        raise InputError(f"{path}: a face id occurs twice in a frame; give one table of one recording.")
    expression = columns.pop("expression")[face]
    numbers = {column: values[face] for column, values in columns.items() if not np.isnan(values[face]).all()}
    return ReportTable(name, frames, time, clock, position[face].astype(np.int64), ids, expression, numbers, people)


def _time(time: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    known = not np.isnan(time).any() and not (np.diff(time) < 0).any()
    if known and time[-1] - time[0] <= _LONGEST and abs(time[0]) <= 1e9:
        return time, "time"
    return np.arange(len(time)) / 25.0, "row"


def _expression(label: Any) -> int:
    return EXPRESSIONS.index(label) if label in EXPRESSIONS else -1

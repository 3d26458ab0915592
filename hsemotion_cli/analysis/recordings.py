"""A table -> one recording: its frames, and for each person the rows with a face. No video and no model is needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import HsemotionError, InputError
from ..formats import sidecar
from ..formats.people import PersonName, names_for
from ..formats.table_reader import Block, read_blocks
from ..formats.table_source import SUFFIXES, is_described
from ..postprocess.recipe import Recipe
from ..runtime.whole_numbers import whole_number
from ..tasks import ACTION_UNITS, EXPRESSIONS

Floats = NDArray[np.float64]

P_EXPRESSION = tuple(f"p_{name}" for name in EXPRESSIONS)
P_UNIT = tuple(f"{name}_p" for name in ACTION_UNITS)

LONGEST_FRAME = 0.5
"""Seconds beyond the usual frame distance for which a frame lasts at most; what follows is a gap in the recording."""

_FACE = ("face_id", "face_detected", "interpolated")


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """The rows of one person, n of them, in time order, at most one for each frame.

    Attributes:
        person: name, or the face id as text.
        frame: (n,) int64 positions in the recording's frames, increasing.
        row: (n,) int64 number of the row in the table, the first after the header is 1.
        detected: (n,) bool, False for interpolated rows.
        values: column -> (n,) float64, nan for an empty cell.
    """

    person: str
    frame: NDArray[np.int64]
    row: NDArray[np.int64]
    detected: NDArray[np.bool_]
    values: Mapping[str, Floats]

    def matrix(self, columns: Sequence[str]) -> Floats:
        """(n, columns) values; nan where the table lacks a column."""
        empty = np.full(len(self.frame), np.nan)
        return np.column_stack([self.values.get(name, empty) for name in columns])


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One table.

    Attributes:
        name: file name of the table without extension.
        path: of the table.
        time: (F,) float64 seconds of the analysed frames.
        length: (F,) float64 seconds that each frame lasts: until the next one, but at most ``LONGEST_FRAME`` longer
            than the usual distance ``step``; so does the last frame last ``step``.
        step: median distance of two frames in seconds.
        tracks: one for each person, in natural order.
        recipe: that the table was made with, by the sidecar beside it; None without one.
        notes: sentences about what was assumed.
    """

    name: str
    path: Path
    time: Floats
    length: Floats
    step: float
    tracks: Sequence[Track]
    recipe: Recipe | None = None
    notes: Sequence[str] = field(default=())

    @property
    def start(self) -> float:
        """Time of the first frame in seconds."""
        return float(self.time.min())

    @property
    def end(self) -> float:
        """End of the last frame in seconds."""
        return float((self.time + self.length).max())


def find_tables(paths: Iterable[Path]) -> list[Path]:
    """The tables among files and folders, sorted by recording; one for each, CSV before Parquet before JSON Lines.

    Raises:
        InputError: a path that is not there, a folder without tables, or two tables of one recording name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for table in _tables_in(path) if path.is_dir() else [path]:
            if not table.is_file():
                raise InputError(f"{table}: no such table.")
            if table.suffix.lower() not in SUFFIXES:
                raise InputError(f"{table}: not a table; give .csv, .parquet or .jsonl files made by annotate.")
            other = found.setdefault(table.stem, table)
            if other.resolve() != table.resolve():
                raise InputError(f"{other} and {table} are both of {table.stem}; give only one of them.")
    return [found[name] for name in sorted(found)]


def _tables_in(folder: Path) -> list[Path]:
    """Tables of a folder: files beside which a sidecar of the same name lies, since other files may be CSV as well."""
    best: dict[str, Path] = {}
    for suffix in reversed(SUFFIXES):
        for table in sorted(folder.glob(f"*{suffix}")):
            if is_described(table):
                best[table.stem] = table
    if not best:
        below = _folders_below(folder)
        raise InputError(
            f"{folder}: no tables with their sidecars in this folder; "
            + (f"its subfolders have some: give {some_of(map(str, below))}." if below else "annotate writes both.")
        )
    return [best[name] for name in sorted(best)]


def unread_folders(paths: Iterable[Path]) -> list[str]:
    """A sentence for each folder in which only a part of the tables is read, since others are in its subfolders."""
    folders = [path for path in paths if path.is_dir()]
    given = {folder.resolve() for folder in folders}
    found = []
    for folder in folders:
        if below := [path for path in _folders_below(folder) if path.resolve() not in given]:
            found.append(
                f"{folder}: tables in its subfolders are not read; give {some_of(map(str, below))} to include them."
            )
    return found


def some_of(names: Iterable[str], count: int = 3) -> str:
    """The first names, and how many more there are, for a message."""
    found = list(names)
    return ", ".join(found[:count]) + (f" and {len(found) - count:,} more" if len(found) > count else "")


def _folders_below(folder: Path) -> list[Path]:
    """Subfolders, at any depth, with a table and its sidecar."""
    below = {path.parent: None for suffix in SUFFIXES for path in sorted(folder.glob(f"*/**/*{suffix}"))}
    return sorted(one for one in below if any(is_described(p) for suffix in SUFFIXES for p in one.glob(f"*{suffix}")))


def read_recording(path: Path, columns: Collection[str], people: Sequence[PersonName] = ()) -> Recording:
    """Read the columns of a table that an analysis needs.

    Args:
        columns: names; those that the table lacks are left out of ``Track.values``.
        people: names of face ids, which count before the table's own column ``person``.

    Raises:
        InputError: it cannot be read, has no rows or no times, is of photos, or is not sorted by frame.
    """
    parts: dict[str, list[NDArray]] = {}
    names: list[str | None] = []
    for block in read_blocks(path, {"frame", "time", "file", "person", *_FACE, *columns}):
        if "file" in block:
            raise InputError(f"{path}: a table of photos, which have no time; give tables of videos.")
        _add(parts, block, columns)
        names += block.get("person") or [None] * len(block["frame"])
    if not parts:
        raise InputError(f"{path}: it has no rows.")
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    notes: list[str] = []
    time, length, step, position = _clock(path, whole)
    tracks = list(_tracks(path, whole, position, names, names_for(people, path.stem), notes))
    return Recording(path.stem, path, time, length, step, tracks, _recipe(path, notes), notes)


def read_each(
    tables: Sequence[Path],
    columns: Collection[str],
    people: Sequence[PersonName],
    failures: list[HsemotionError],
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[Recording]:
    """The tables that can be used, one at a time.

    Args:
        columns, people: as ``read_recording`` takes them.
        failures: the errors of the other tables are added to it.
        progress: called after each with tables done, their number, and its name.
    """
    for done, table in enumerate(tables, 1):
        try:
            recording = read_recording(table, columns, people)
        except InputError as error:
            failures.append(error)
            continue
        yield recording
        if progress:
            progress(done, len(tables), recording.name)


def _add(parts: dict[str, list[NDArray]], block: Block, columns: Collection[str]) -> None:
    for name in ("frame", "time", *_FACE, *(c for c in columns if c in block and c not in _FACE)):
        values: list[Any] = block[name]
        parts.setdefault(name, []).append(np.array(values, np.float64))  # None becomes nan


def _clock(path: Path, whole: Mapping[str, NDArray]) -> tuple[Floats, Floats, float, NDArray[np.int64]]:
    """Times and lengths of the frames, their usual distance, and the frame of each row."""
    if len({len(values) for values in whole.values()}) > 1:
        raise InputError(f"{path}: some of its columns are there in a part of the rows only.")
    frame = whole["frame"]
    if (np.diff(frame) < 0).any():
        raise InputError(f"{path}: its rows are not sorted by frame; sort them by the column frame.")
    _, first, position = np.unique(frame, return_index=True, return_inverse=True)
    time = whole["time"][first]
    if np.isnan(time).any():
        row = int(first[np.flatnonzero(np.isnan(time))[0]]) + 1
        raise InputError(f"{path}, row {row}: it has no time.")
    distance = np.diff(time)
    forward = distance[distance > 0]
    step = float(np.median(forward)) if len(forward) else 0.04
    # Where the clock jumps back, and after the last frame, a frame lasts as long as others do.
    length = np.append(np.where(distance > 0, np.minimum(distance, step + LONGEST_FRAME), step), step)
    return time, length, step, position.astype(np.int64)


def _tracks(
    path: Path, whole: Mapping[str, NDArray], position: NDArray[np.int64], names: Sequence[str | None],
    people: Mapping[int, str], notes: list[str],
) -> Iterator[Track]:  # fmt: skip
    face = whole["face_id"]
    there = np.flatnonzero(~np.isnan(face))
    keys = [people.get(int(face[k]), "") or names[k] or str(int(face[k])) for k in there.tolist()]
    of_person = np.array(keys, dtype=str) if keys else np.empty(0, dtype="U1")
    for person in sorted(set(keys), key=_natural):
        rows = there[of_person == person]
        frame, first = np.unique(position[rows], return_index=True)
        if len(first) < len(rows):
            notes.append(
                f"{path}: {person} has several rows in {len(rows) - len(first)} frames; the first of each counts."
            )
        rows = rows[first]
        detected = (whole["face_detected"][rows] == 1) & (whole["interpolated"][rows] != 1)
        values = {name: column[rows] for name, column in whole.items() if name not in ("frame", "time", *_FACE)}
        yield Track(person, frame.astype(np.int64), rows.astype(np.int64) + 1, detected, values)


def _natural(person: str) -> tuple[int, int, str]:
    return (0, int(person), "") if is_face_id(person) else (1, 0, person)


def is_face_id(person: str) -> bool:
    """Whether a person of a table has no name, so that the text is a face id."""
    return whole_number(person) is not None


def called(person: str, longest: int | None = None) -> str:
    """A person of a table in words: "face 3", or the name, cut to ``longest`` characters."""
    return f"face {person}" if is_face_id(person) else person[:longest]


def _recipe(path: Path, notes: list[str]) -> Recipe | None:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        notes.append(f"{path}: no sidecar beside it, so it counts as not smoothed, with the default thresholds.")
        return None
    content = sidecar.read(beside)
    if content["recipe"] is None:  # imported from another program
        notes.append(f"{path}: imported, so it counts as not smoothed, with the default thresholds.")
        return None
    return sidecar.recipe(content, beside)

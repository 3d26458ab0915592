"""A table and its sidecar, opened for export: rows, clock, source video, intervals."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats.clock import Clock, parse_clock
from ..formats.schema import COLUMNS, OPTIONAL, Column
from ..formats.table_reader import Block, read_blocks
from ..formats.table_source import read_sidecar, source_name
from .intervals import Interval

Row = dict[str, Any]
"""Column -> int, float, str, or None for an empty cell."""

KNOWN: Mapping[str, Column] = {column.name: column for column in (*COLUMNS, *OPTIONAL)}

_SERIES = re.compile(r"^(p_|AU)(?:[0-9]{2}|[a-z_]+)")
"""Columns that differ only in what this matches are one series: ``p_neutral``, ``p_anger``; ``AU01_p``, ``AU02_p``."""

_FLAGS = frozenset(("interpolated",))
"""Columns that are 0 rather than empty where they do not apply."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceTable:
    """One table to be exported.

    Attributes:
        path: of the table.
        name: its file name without extension; results are named after it.
        meta: content of its sidecar; {} without one.
        clock: converts its ``time``.
        columns: names of its columns, in order.
        filled: those that are not empty throughout.
        times: (F,) float64 container times of its frames in seconds.
        people: labels of all faces, in order of appearance; see ``person``.
        names: face id -> name, which counts before the table's column ``person``.
        media: the video that it was made from, or None where its folder is not known.
        intervals: what formats of events and intervals hold, in order of onset; () if none of the formats needs them.
    """

    path: Path
    name: str
    meta: Mapping[str, Any]
    clock: Clock
    columns: tuple[str, ...]
    filled: frozenset[str]
    times: NDArray[np.float64]
    people: tuple[str, ...]
    names: Mapping[int, str]
    media: Path | None = None
    intervals: tuple[Interval, ...] = ()

    @property
    def source(self) -> str:
        """Name of the video, or "" if it is not known."""
        return source_name(self.meta)

    def person(self, row: Row) -> str:
        """Label of the face in a row."""
        return _person(row["face_id"], row.get("person"), self.names)

    @property
    def photos(self) -> bool:
        """Whether each frame is a photo without a time."""
        return "file" in self.columns

    def blocks(self) -> Iterator[Block]:
        """The table, some hundred rows at a time."""
        return read_blocks(self.path)

    def rows(self) -> Iterator[Row]:
        """The table row by row; a row without a face has None for ``face_id``."""
        for block in self.blocks():
            for values in zip(*block.values(), strict=True):
                yield dict(zip(block, values, strict=True))


def open_table(
    path: Path, clock: str = "video", media: Path | None = None, names: Mapping[int, str] | None = None
) -> SourceTable:
    """Prepare a table for exports.

    Args:
        clock: words of ``--clock``.
        media: folder with the videos, or None.
        names: see ``SourceTable``.

    Raises:
        InputError: there is no such table, or its sidecar is damaged.
        UsageError: the clock makes no sense.
    """
    meta = read_sidecar(path)
    name = source_name(meta)
    video = media / name if media is not None and name else None
    scan = _Scan(names or {})
    for block in read_blocks(path):
        scan.add(block)
    if not scan.columns:
        raise InputError(f"{path}: the table has no rows.")
    times, people = np.array(scan.times), tuple(scan.people)
    return SourceTable(
        path, path.stem, meta, parse_clock(clock, meta), scan.columns, frozenset(scan.filled), times, people,
        names or {}, video,
    )  # fmt: skip


class _Scan:
    """Facts about a table gathered before anything is written; reading all of it also finds damage in time."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self.columns: tuple[str, ...] = ()
        self.filled: set[str] = set()
        self.times: list[float] = []
        self.people: dict[str, None] = {}
        self._frame: int | None = None

    def add(self, block: Block) -> None:
        self.columns = tuple(block)
        self.filled |= {name for name, values in block.items() if any(v is not None for v in values)} - _FLAGS
        self.filled |= {name for name in _FLAGS if any(block[name])}
        names = block.get("person") or [None] * len(block["frame"])
        for frame, time, face, name in zip(block["frame"], block["time"], block["face_id"], names, strict=True):
            if frame != self._frame and time is not None:
                self.times.append(time)
            self._frame = frame
            if face is not None:
                self.people.setdefault(_person(face, name, self._names))


def measures(recording: SourceTable) -> list[Column]:
    """The numeric columns that are measured on a face and not empty throughout: what a signal can hold."""
    others = ("frame", "time", "face_id", "face_detected", "image_width", "image_height")
    columns = [KNOWN[name] for name in recording.columns if name in recording.filled]
    return [column for column in columns if column.type != "text" and column.name not in others]


def _person(face_id: int, name: str | None, names: Mapping[int, str]) -> str:
    """The name that the user gave, else that of the table's column ``person``, else "face N"."""
    return names.get(face_id) or name or f"face {face_id}"


def lost(recording: SourceTable, held: Collection[str]) -> list[str]:
    """A sentence about the columns of a table that hold something and that a format cannot hold; [] if all have one."""
    missing = [name for name in recording.columns if name in recording.filled and name not in held]
    return [f"not in this format: {', '.join(_condensed(missing))}."] if missing else []


def _condensed(names: Sequence[str]) -> Iterator[str]:
    """Names of columns, with "AU01_p to AU26_p" for at least three neighbours of one series."""
    for _, group in groupby(names, lambda name: _SERIES.sub(r"\1", name)):
        series = list(group)
        yield from series if len(series) < 3 else (f"{series[0]} to {series[-1]}",)


def need_times(recording: SourceTable, title: str) -> None:
    """Raise InputError for a table of photos, for formats that need times."""
    if recording.photos:
        raise InputError(f"{recording.path}: photos have no time, which {title} needs; export it to openface or xlsx.")

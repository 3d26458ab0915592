"""Rows of another program's file -> rows of a table: one for each face in each frame, or one without a face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..formats.schema import OPTIONAL, names_with
from ..formats.table_reader import Block
from ..tasks import EXPRESSIONS
from .source import KNOWN, Reading, Source, Values
from .text import Text

_BLOCK = 512  # rows
_BOUNDS = {"probability": (0.0, 1.0), "valence": (-1.0, 1.0), "arousal": (-1.0, 1.0), "det_score": (0.0, 1.0)}
_SLACK = 1e-4  # beyond a bound, for what rounding leaves
_ALWAYS = ("frame", "time", "face_id")  # columns that a row without a face has as well


@dataclass(slots=True)
class Counts:
    """What was read, for the sidecar; complete when the rows have run out.

    Attributes:
        lines: rows of the file.
        frames: of the table.
        rows: with a face.
        frames_with_face: frames in which a face is.
        faces: ids.
        absent: why rows have no face -> how many.
        skipped: why rows are no frames -> how many.
        repeated: rows that repeat a face of the same frame; the first is kept.
        first, last: times in seconds, nan for none.
        shortest, longest: distance of two frames in seconds.
        expressions: whether any row has one.
    """

    lines: int = 0
    frames: int = 0
    rows: int = 0
    frames_with_face: int = 0
    faces: set[int] = field(default_factory=set)
    absent: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    first: float = float("nan")
    last: float = float("nan")
    shortest: float = float("inf")
    longest: float = 0.0
    filled: set[str] = field(default_factory=set)


class TableRows:
    """The rows of a table, made while the file is read.

    Args:
        fps: frames per second where the file has frame numbers without times; None where it has times.

    Attributes:
        names: of the table's columns.
        counts: see ``Counts``.
    """

    def __init__(self, text: Text, source: Source, reading: Reading, fps: float | None) -> None:
        self._text, self._source, self._reading, self._fps = text, source, reading, fps
        optional = {column.name for column in OPTIONAL} & {each.column for each in reading.fields.values()}
        self.names = names_with(optional)
        self.counts = Counts()

    def blocks(self) -> Iterator[Block]:
        """The table, block by block.

        Raises:
            InputError: a cell that makes no sense; the message names its line.
        """
        rows: list[Mapping[str, Any]] = []
        for frame in self._frames():
            rows += frame
            if len(rows) >= _BLOCK:
                yield self._block(rows)
                rows = []
        if rows:
            yield self._block(rows)

    def _block(self, rows: list[Mapping[str, Any]]) -> Block:
        block = {name: [row.get(name) for row in rows] for name in self.names}
        self.counts.filled |= {name for name, values in block.items() if any(v is not None for v in values)}
        return block

    def _frames(self) -> Iterator[list[Values]]:
        """The rows of each frame: those with a face, or else one without."""
        counts, current, last = self.counts, None, None
        faces: dict[int, Values] = {}
        for line, values, why in self._rows():
            frame, time = self._when(line, values, current, last)
            if current is not None and frame != current:
                yield self._frame(current, last, faces)
                faces = {}
            if current is not None and frame < current:
                raise self._error(line, f"frame {frame} comes after frame {current}; sort the rows by frame")
            current, last = frame, time if frame != current or last is None else last
            if why:
                counts.absent[why] += 1
                continue
            face_id = values.get("face_id") or 0
            if face_id in faces:
                counts.repeated += 1
                continue
            faces[face_id] = {**values, "frame": frame, "time": last, "face_id": face_id}
        if current is not None:
            yield self._frame(current, last, faces)

    def _frame(self, frame: int, time: float | None, faces: dict[int, Values]) -> list[Values]:
        counts = self.counts
        assert time is not None
        if counts.frames:
            step = time - counts.last
            counts.shortest, counts.longest = min(counts.shortest, step), max(counts.longest, step)
        else:
            counts.first = time
        counts.last = time
        counts.frames += 1
        counts.rows += len(faces)
        counts.frames_with_face += bool(faces)
        counts.faces |= faces.keys()
        if not faces:
            return [{"frame": frame, "time": round(time, 6), "face_detected": 0, "interpolated": 0}]
        return [_finished(faces[face_id]) for face_id in sorted(faces)]

    def _rows(self) -> Iterator[tuple[int, Values, str]]:
        """(line, values, why there is no face) of each row that is a frame."""
        fields = [(k, each.column, each.convert) for k, each in self._reading.fields.items()]
        for line, cells in self._text.rows():
            self.counts.lines += 1
            values: Values = {}
            wrong: dict[str, str] = {}
            for k, column, convert in fields:
                try:
                    value = convert(cells[k])
                except ValueError as error:
                    value = None
                    wrong[column] = f"{self._text.header[k]}: {error}"
                if value is not None or column not in values:
                    values[column] = value
            if reason := self._source.skipped(values):
                self.counts.skipped[reason] += 1
                continue
            why = self._source.absent(values)
            # Programs write all sorts of things into the cells of a row without a face.
            for column, what in wrong.items():
                if not why or column in _ALWAYS or column.startswith("_"):
                    raise self._error(line, what)
            if not why:
                self._reading.finish(values)
                self._check(line, values)
            yield line, values, why

    def _when(self, line: int, values: Values, frame: int | None, last: float | None) -> tuple[int, float]:
        """Frame and time of a row."""
        time = values.get("time")
        if self._fps is not None and values.get("frame") is not None:
            time = values["frame"] / self._fps
        elif self._fps is not None and time is None:
            time = (0 if frame is None else frame + 1) / self._fps
        if time is None:
            raise self._error(line, "there is no time; give --fps if the frame rate is constant")
        if values.get("frame") is not None:
            return values["frame"], time
        if frame is None or last is None:
            return 0, time
        if time < last:
            raise self._error(line, f"the time goes back from {last:g} to {time:g} seconds; sort the rows by time")
        return (frame, last) if time == last and "face_id" in values else (frame + 1, time)

    def _check(self, line: int, values: Values) -> None:
        """Raise InputError for a value that its column cannot have: a sign of another scale."""
        for name, value in values.items():
            column = KNOWN.get(name)
            if column is None or not isinstance(value, float):
                continue
            low, high = _BOUNDS.get(column.name) or _BOUNDS.get(column.unit) or (None, None)
            if low is None or high is None or low <= value <= high:
                continue
            if not low - _SLACK <= value <= high + _SLACK:
                raise self._error(
                    line, f"{name} would be {value:g}, outside {low:g} to {high:g}; is the scale another one?"
                )
            values[name] = min(max(value, low), high)

    def _error(self, line: int, what: str) -> InputError:
        return InputError(f"{self._text.path}: line {line}: {what}.")


def _finished(values: Values) -> Values:
    """A row with a face: its expression by the highest score, numbers rounded as the schema says."""
    row: Values = {"face_detected": 1, "interpolated": 0}
    for name, value in values.items():
        if name in KNOWN:
            row[name] = round(value, KNOWN[name].decimals) + 0.0 if isinstance(value, float) else value
    scores = {name: row[f"p_{name}"] for name in EXPRESSIONS if row.get(f"p_{name}") is not None}
    if scores and row.get("expression") is None:
        row["expression"] = max(scores, key=lambda name: scores[name])
    if scores and row.get("expression") in scores:
        row["expression_score"] = scores[row["expression"]]
    return row

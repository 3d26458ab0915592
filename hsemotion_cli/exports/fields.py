"""Columns of other programs, each as a function of a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from .delimited import Cell
from .source_table import Row, SourceTable

Fields = Mapping[str, Callable[[Row], Cell]]


def rows_of(recording: SourceTable, fields: Fields) -> Iterator[list[Cell]]:
    """The cells of each row of a table."""
    for row in recording.rows():
        yield [field(row) for field in fields.values()]


def value_of(name: str) -> Callable[[Row], Cell]:
    """A column of the table as it is."""
    return lambda row: row[name]


def radians_of(name: str, sign: float = 1.0) -> Callable[[Row], Cell]:
    """A column in degrees as radians, times a sign."""
    return lambda row: None if row[name] is None else rounded(sign * math.radians(row[name]))


def rounded(value: float) -> float:
    """Six decimals, and no negative zero."""
    return round(value, 6) + 0.0

"""What is known of a format that tables are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..formats.schema import COLUMNS, OPTIONAL
from ..tasks import ACTION_UNITS
from .text import number, whole

KNOWN = {column.name: column for column in (*COLUMNS, *OPTIONAL)}

Convert = Callable[[str], Any]
"""A cell -> int, float, text or None; raises ValueError for what makes no sense."""

Values = dict[str, Any]
"""Column of a table -> value; besides, names that begin with an underscore are for ``Source.face`` only."""

EXPRESSION_WORDS = {
    "anger": "anger", "angry": "anger", "contempt": "contempt", "disgust": "disgust", "disgusted": "disgust",
    "fear": "fear", "scared": "fear", "happiness": "happiness", "happy": "happiness", "joy": "happiness",
    "neutral": "neutral", "sadness": "sadness", "sad": "sadness", "surprise": "surprise", "surprised": "surprise",
}  # fmt: skip
"""What programs call the expressions, in lower case -> ours."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a file that is read.

    Attributes:
        column: of the table; or a name with an underscore, see ``Values``.
        convert: makes its value.
    """

    column: str
    convert: Convert = number


@dataclass(frozen=True, slots=True)
class Reading:
    """How the columns of one file are read.

    Attributes:
        fields: position in the header -> its field.
        notes: sentences about what the values are.
        refused: column of the file -> why it is not read although the table has a column of that name.
        finish: changes the values of a row with a face, for what is computed from several columns.
    """

    fields: Mapping[int, Field]
    notes: Sequence[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    finish: Callable[[Values], None] = lambda values: None


@dataclass(frozen=True, slots=True)
class Source:
    """One format.

    Attributes:
        title: for people.
        is_header: whether cells are its header.
        reading: how a file with this header, and these lines before it, is read.
        absent: why a row has no face, or "" if it has one.
        skipped: why a row is not a frame at all, or "".
    """

    title: str
    is_header: Callable[[Sequence[str]], bool]
    reading: Callable[[Sequence[str], Sequence[str]], Reading]
    absent: Callable[[Values], str]
    skipped: Callable[[Values], str] = lambda values: ""


def scaled(factor: float) -> Convert:
    """Convert a number on another scale."""

    def convert(cell: str) -> float | None:
        value = number(cell)
        return None if value is None else value * factor

    return convert


def flag(cell: str) -> int | None:
    """0 or 1.

    Raises:
        ValueError: it is neither.
    """
    value = whole(cell)
    if value not in (None, 0, 1):
        raise ValueError(f"{cell.strip()[:60]!r} is neither 0 nor 1")
    return value


def word(cell: str) -> str | None:
    """An expression in the words of another program.

    Raises:
        ValueError: it is none that tables have.
    """
    text = cell.strip().lower()
    if not text or text in ("unknown", "n/a", "nan", "none"):
        return None
    if text not in EXPRESSION_WORDS:
        raise ValueError(f"{cell.strip()[:60]!r} is not an expression that tables have")
    return EXPRESSION_WORDS[text]


def pick(header: Sequence[str], names: Mapping[str, Field]) -> dict[int, Field]:
    """The fields of the columns that a file has and that tables of this version can hold."""
    held = {name: each for name, each in names.items() if each.column in KNOWN or each.column.startswith("_")}
    return {k: held[name] for k, name in enumerate(header) if name in held}


def unit_fields(pattern: str, column: str, convert: Convert) -> dict[str, Field]:
    """Fields of the action units: "AU{:02d}_r" -> "{}_i", as {"AU01_r": Field("AU01_i"), ...}."""
    return {pattern.format(int(unit[2:])): Field(column.format(unit), convert) for unit in ACTION_UNITS}

"""``--map FILE.toml``: any text file with columns -> a table, by a map that the user writes.

[columns]
time = { from = "Time (ms)", scale = 0.001 }
p_happiness = { from = "Joy", scale = 0.01 }
valence = "Valence"
expression = "Emotion"
frame = { from = "Frame", first = 1 }

[missing]
column = "Status"
values = ["LOST"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .source import KNOWN, Convert, Field, Reading, Source, Values, flag, pick, word
from .text import missing, number, whole

_KEYS = {"from", "scale", "shift", "first"}


def read_map(path: Path) -> Source:
    """The format that a map describes.

    Raises:
        UsageError: it cannot be read, or makes no sense.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--map {path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--map {path}: not TOML ({error}).") from error
    columns = content.get("columns")
    if not isinstance(columns, dict) or not columns or set(content) - {"columns", "missing"}:
        raise UsageError(f"--map {path}: give a table [columns], and [missing] if needed, and nothing else.")
    fields: dict[str, Field] = {}
    for name, how in columns.items():
        column, field = _field(path, name, how)
        if column in fields:
            raise UsageError(f"--map {path}: the column {column!r} of the file is used twice.")
        fields[column] = field
    if not {"time", "frame"} & set(columns):
        raise UsageError(f"--map {path}: map time, or frame and give --fps.")
    lost, values = _missing(path, content.get("missing"))
    if lost in fields:
        raise UsageError(f"--map {path}: the column {lost!r} of the file is used twice.")
    return _source(path, fields, lost, values)


def _source(path: Path, fields: Mapping[str, Field], lost: str, values: frozenset[str]) -> Source:
    named = {**fields, **({lost: Field("_lost", str.strip)} if lost else {})}
    measured = [field.column for field in fields.values() if field.column not in ("time", "frame", "face_id")]

    def is_header(header: Sequence[str]) -> bool:
        return set(named) <= set(header)

    def reading(header: Sequence[str], preamble: Sequence[str]) -> Reading:
        return Reading(pick(header, named))

    def absent(row: Values) -> str:
        if row.get("_lost") in values and lost:
            return f"{lost} is {row['_lost']}"
        return "" if any(row.get(name) is not None for name in measured) else "nothing measured"

    return Source(f"by {path.name}", is_header, reading, absent)


def _field(path: Path, name: str, how: Any) -> tuple[str, Field]:
    """Column of the file, and what is made of it."""
    if name not in KNOWN:
        raise UsageError(f"--map {path}: {name} is not a column of tables; hsemotion schema lists them.")
    given = {"from": how} if isinstance(how, str) else how
    if not isinstance(given, dict) or not isinstance(given.get("from"), str) or set(given) - _KEYS:
        raise UsageError(f"--map {path}: {name}: give a column's name, or {{ from = NAME, scale = FACTOR }}.")
    numbers = {key: given[key] for key in ("scale", "shift", "first") if key in given}
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers.values()):
        raise UsageError(f"--map {path}: {name}: scale, shift and first are numbers.")
    return given["from"], Field(name, _convert(name, numbers))


def _convert(name: str, numbers: Mapping[str, float]) -> Convert:
    if name == "expression":
        return word
    if KNOWN[name].type == "text":
        return lambda cell: None if missing(cell) else cell.strip()
    if KNOWN[name].range == "0 or 1":
        return flag
    if KNOWN[name].type == "integer":
        first = int(numbers.get("first", 0))
        return lambda cell: None if (value := whole(cell)) is None else value - first
    scale, shift = numbers.get("scale", 1.0), numbers.get("shift", 0.0)
    return lambda cell: None if (value := number(cell)) is None else value * scale + shift


def _missing(path: Path, given: Any) -> tuple[str, frozenset[str]]:
    if given is None:
        return "", frozenset()
    if (
        not isinstance(given, dict)
        or set(given) != {"column", "values"}
        or not isinstance(given["column"], str)
        or not isinstance(given["values"], list)
    ):
        raise UsageError(f'--map {path}: [missing] has column = NAME and values = ["...", ...].')
    return given["column"], frozenset(str(value) for value in given["values"])

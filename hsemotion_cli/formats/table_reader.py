"""A table file -> Affect's rows: our own tables, also as R, spreadsheets and data frames write them again.

Such programs put other things than an empty cell where nothing is (R: ``NA``), separate cells by semicolons or tabs and
write decimal commas, quote names, add a column of row numbers, and write whole numbers as ``3.0`` or ``1e+05``.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .schema import ADDED, COLUMNS, NAMES, OPTIONAL, names_with

if TYPE_CHECKING:
    import pandas

_BLOCK = 512  # rows; as Python objects they weigh some 10 kB each
_ALL = (*COLUMNS, *OPTIONAL)
_OPTIONAL = frozenset(column.name for column in OPTIONAL)
_DECIMALS = frozenset(column.name for column in _ALL if column.type == "number")
_INTEGERS = frozenset(column.name for column in _ALL if column.type == "integer")
_NOTHING = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none", "<na>"))
"""How programs write an empty cell, in lower case."""

_FILE = "file"  # the only column with the user's text: a photo may be called NA
_SEPARATORS = (",", ";", "\t")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(?:[.,]0*)?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_LARGEST = 1 << 53  # whole numbers up to here are exact in every program

Block = dict[str, list[Any]]
"""Column name -> values of some consecutive rows: int, float, str, or None for an empty cell."""


def read_blocks(path: Path, only: Collection[str] | None = None) -> Iterator[Block]:
    """Read a table back, block by block, in any of the three formats; the file's suffix says in which.

    Args:
        only: columns that are wanted, which is faster than all of them; the others are left out, and not checked.

    Raises:
        InputError: missing, not such a table, or a cell that does not fit its column.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in _READERS:
        raise InputError(f"{path}: not a table that can be read; give a .csv, .parquet or .jsonl made by annotate.")
    if not path.is_file():
        raise InputError(f"{path}: no such table.")
    try:
        for block in _READERS[suffix](path, only):
            check_cells(block)
            yield block
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        NotImplementedError,
        RecursionError,
        csv.Error,
    ) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: not a table made by annotate ({reason}).") from error


def read_frames(path: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """(frame, rows of its faces) of a table, one for each analysed frame, in order; no rows where no face was found."""
    current: int | None = None
    faces: list[dict[str, Any]] = []
    for block in read_blocks(path):
        for values in zip(*block.values(), strict=True):
            row = dict(zip(block, values, strict=True))
            if row["frame"] != current:
                if current is not None:
                    if row["frame"] < current:
                        raise InputError(
                            f"{path}: its rows are not sorted by frame (frame {row['frame']} after {current})."
                        )
                    yield current, faces
                current, faces = row["frame"], []
            if row["face_id"] is not None:
                faces.append(row)
    if current is not None:
        yield current, faces


def load(path: Path | str) -> pandas.DataFrame:
    """A whole table as a data frame, with nullable integers and strings, so that an empty cell stays empty.

    Raises:
        InputError: as ``read_blocks``.
    """
    return to_frame(read_blocks(Path(path)))


def to_frame(blocks: Iterable[Block]) -> pandas.DataFrame:
    """Blocks of a table as a data frame, with nullable integers and strings, so that an empty cell stays empty."""
    import pandas as pd

    kinds = {"integer": "Int64", "number": "Float64", "text": "string"}
    parts = [pd.DataFrame(block, dtype=object) for block in blocks]
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(NAMES), dtype=object)
    return whole.astype({column.name: kinds[column.type] for column in _ALL if column.name in whole})


def _read_csv(path: Path, only: Collection[str] | None) -> Iterator[Block]:
    with path.open(newline="", encoding=_encoding(path)) as file:
        separator = _separator(file.readline())
        file.seek(0)
        reader = csv.reader(file, delimiter=separator)
        header = next(reader, [])
        _check_header(header)
        rows: list[list[str]] = []
        for row in reader:
            if not row:
                continue  # an empty line, with which some programs end a file
            if len(row) != len(header):
                raise ValueError(f"line {reader.line_num} has {len(row)} cells, not {len(header)}")
            rows.append(row)
            if len(rows) == _BLOCK:
                yield _typed(header, rows, only)
                rows = []
        if rows:
            yield _typed(header, rows, only)


def _encoding(path: Path) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so, as in what spreadsheets call Unicode text."""
    with path.open("rb") as file:
        mark = file.read(2)
    return "utf-16" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _separator(header: str) -> str:
    """The character between two cells: the one that separates most of our names."""

    def known(separator: str) -> int:
        return sum(name in NAMES for name in next(csv.reader([header], delimiter=separator), []))

    return max(_SEPARATORS, key=known)


def _read_jsonl(path: Path, only: Collection[str] | None) -> Iterator[Block]:
    with path.open(encoding="utf-8-sig") as file:
        rows: list[dict[str, Any]] = []
        for line in file:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a line is no object")
            _check_header(list(row))
            rows.append(row)
            if len(rows) == _BLOCK:
                yield _by_column(rows, only)
                rows = []
        if rows:
            yield _by_column(rows, only)


def _read_parquet(path: Path, only: Collection[str] | None) -> Iterator[Block]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        _check_header(file.schema_arrow.names)
        names = _wanted(names_with(_OPTIONAL & set(file.schema_arrow.names)), only)
        there = [name for name in names if name in file.schema_arrow.names]
        for batch in file.iter_batches(_BLOCK, columns=there):
            columns = batch.to_pydict()
            yield {name: columns.get(name) or [None] * len(batch) for name in names}


_READERS: dict[str, Callable[[Path, Collection[str] | None], Iterator[Block]]] = {
    "csv": _read_csv,
    "parquet": _read_parquet,
    "jsonl": _read_jsonl,
}


def _check_header(header: list[str]) -> None:
    missing = [name for name in NAMES if name not in header and name not in ADDED]
    if missing:
        some = any(name in header for name in NAMES)
        raise ValueError(f"the column {missing[0]} is missing" if some else "none of its columns is there")
    if twice := [name for name in header if name in NAMES and header.count(name) > 1]:
        raise ValueError(f"the column {twice[0]} is there twice")


def check_cells(block: Block) -> None:
    """Raise ValueError for a cell that is not of its column's type; whole numbers written as 3.0 become what they are.

    Data frames write integers of columns with empty cells as numbers, and what is missing as nan.
    """
    for name, values in block.items():
        if name != _FILE and any(type(v) is str and v.strip().lower() in _NOTHING for v in values):
            block[name] = values = [None if type(v) is str and v.strip().lower() in _NOTHING else v for v in values]
        kinds = set(map(type, values))
        if name in _INTEGERS and float in kinds:
            block[name] = values = [_whole(name, v) if type(v) is float else v for v in values]
            kinds = set(map(type, values))
        allowed = {int} if name in _INTEGERS else {int, float} if name in _DECIMALS else {str}
        if wrong := kinds - allowed - ({type(None)} if name != "frame" else set()):
            raise ValueError(f"the column {name} holds a {min(kind.__name__ for kind in wrong)}")
        if name in _INTEGERS and any(v is not None and abs(v) > _LARGEST for v in values):
            raise ValueError(f"the column {name} holds a number that is too large")
        if name in _DECIMALS and not all(v is None or math.isfinite(v) for v in values):
            if any(v is not None and math.isinf(v) for v in values):
                raise ValueError(f"the column {name} holds a number that is not finite")
            block[name] = [None if v is None or math.isnan(v) else v for v in values]


def _whole(name: str, value: float) -> int | None:
    if math.isnan(value) and name != "frame":
        return None
    if not value.is_integer():
        raise ValueError(f"the column {name} holds {value}")
    return int(value)


def _wanted(names: Iterable[str], only: Collection[str] | None) -> list[str]:
    return [name for name in names if only is None or name in only]


def _by_column(rows: list[dict[str, Any]], only: Collection[str] | None) -> Block:
    names = _wanted(names_with(_OPTIONAL & rows[0].keys()), only)
    younger = _OPTIONAL.union(ADDED)
    return {name: [row.get(name) if name in younger else row[name] for row in rows] for name in names}


def _typed(header: list[str], rows: list[list[str]], only: Collection[str] | None) -> Block:
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    nothing = ("",) * len(rows)  # for a column that is younger than the table
    names = _wanted(names_with(_OPTIONAL & columns.keys()), only)
    return {name: _cells(name, columns.get(name, nothing)) for name in names}


def _cells(name: str, texts: Sequence[str]) -> list[Any]:
    if name in _DECIMALS:
        if not any(texts):
            return [None] * len(texts)
        try:
            return list(map(float, texts))  # most columns are full, and this is several times as fast
        except ValueError:
            pass  # some cell is empty, or has a decimal comma
    return [_cell(name, text) for text in texts]


def _cell(name: str, text: str) -> Any:
    if name == _FILE:
        return text or None
    text = text.strip()
    if text.lower() in _NOTHING and name != "frame":
        return None
    if name not in _INTEGERS and name not in _DECIMALS:
        return text
    try:
        if name in _INTEGERS and _WHOLE.fullmatch(text):
            return int(re.split("[.,]", text)[0])
        number = float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)
        return _whole(name, number) if name in _INTEGERS else number
    except (ValueError, OverflowError):
        raise ValueError(f"the column {name} holds {text[:60]!r}") from None

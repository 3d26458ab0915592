"""Affect <-> a table file: CSV, Parquet or JSON Lines, one row per frame per face, one for a frame without a face.

All three hold the same numbers, rounded as the schema says. Rows are made and written block by block.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..postprocess.compound import compounds
from ..postprocess.refine import Affect
from ..tasks import ACTION_UNITS, COMPOUNDS, EXPRESSIONS, VALENCE_AROUSAL
from .schema import ADDED, COLUMNS, NAMES

if TYPE_CHECKING:
    import pandas

_BLOCK = 512  # rows; as Python objects they weigh some 10 kB each
_DECIMALS = {column.name: column.decimals for column in COLUMNS if column.type == "number"}
_INTEGERS = frozenset(column.name for column in COLUMNS if column.type == "integer")

Block = dict[str, list[Any]]
"""Column name -> values of some consecutive rows: int, float, str, or None for an empty cell."""


def parse_formats(text: str) -> tuple[str, ...]:
    """Read "csv,parquet".

    Raises:
        UsageError: an unknown format, or none.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in WRITERS]
    if unknown or not names:
        raise UsageError(f"--format {text}: choose from {', '.join(WRITERS)}, separated by commas.")
    return names


def blocks(affect: Affect, size: int = _BLOCK) -> Iterator[Block]:
    """The table, at most ``size`` rows at a time."""
    empty = np.setdiff1d(np.arange(len(affect.index)), affect.row)
    # -1 stands for "no face" and sorts in its frame's place.
    frame_of = np.concatenate([affect.row, empty])
    row_of = np.concatenate([np.arange(len(affect.row)), np.full(len(empty), -1)])
    order = np.lexsort((row_of, frame_of))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        yield _block(affect, frame_of[part], row_of[part])


def _block(affect: Affect, frame: NDArray[np.intp], row: NDArray[np.intp]) -> Block:
    face = row >= 0
    block: Block = {
        "frame": affect.index[frame].tolist(),
        "time": _rounded("time", affect.time[frame]),
        "face_id": _where(face, affect.face_id, row),
        "face_detected": (face & ~_pick(affect.interpolated, row, fill=False)).astype(int).tolist(),
        "interpolated": _pick(affect.interpolated, row, fill=False).astype(int).tolist(),
        "det_score": _rounded("det_score", _pick(affect.det_score, row)),
    }
    box = _pick(affect.box, row)
    for k, name in enumerate("xywh"):
        block[name] = _rounded(name, box[:, k])
    expression = _pick(affect.tasks["expression"], row)
    block["expression"], block["expression_score"] = _label("expression_score", expression, EXPRESSIONS)
    block |= _scores("p_{}", EXPRESSIONS, expression)
    block |= _scores("{}", VALENCE_AROUSAL, _pick(affect.tasks["valence_arousal"], row))
    units = _pick(affect.tasks["action_units"], row)
    block |= _scores("{}_p", ACTION_UNITS, units)
    for k, unit in enumerate(ACTION_UNITS):
        present = units[:, k] >= affect.recipe.thresholds[unit]
        block[f"{unit}_c"] = [None if math.isnan(p) else int(c) for p, c in zip(units[:, k], present, strict=True)]
    compound = compounds(expression)
    block["compound"], _ = _label("", compound, tuple(COMPOUNDS))
    block |= _scores("p_{}", tuple(COMPOUNDS), compound)
    return {name: block[name] for name in NAMES}


def _pick(values: NDArray, row: NDArray[np.intp], fill: Any = np.nan) -> NDArray:
    """Rows of ``values``; ``fill`` where there is no face."""
    if not len(values):
        return np.full((len(row), *values.shape[1:]), fill)
    picked = values[row]
    picked[row < 0] = fill
    return picked


def _where(face: NDArray[np.bool_], values: NDArray, row: NDArray[np.intp]) -> list[int | None]:
    return [int(values[r]) if f else None for f, r in zip(face, row, strict=True)]


def _rounded(name: str, values: NDArray[np.floating]) -> list[float | None]:
    # + 0.0 turns the -0.0 that rounding leaves into 0.0
    rounded = np.round(values.astype(np.float64), _DECIMALS[name]) + 0.0
    return [None if v != v else v for v in rounded.tolist()]


def _scores(pattern: str, names: tuple[str, ...], values: NDArray[np.floating]) -> Block:
    return {pattern.format(name): _rounded(pattern.format(name), values[:, k]) for k, name in enumerate(names)}


def _label(
    score: str, values: NDArray[np.floating], names: tuple[str, ...]
) -> tuple[list[str | None], list[float | None]]:
    """Name and score of the highest known value of each row; the first of equals; None for a row of nan."""
    known = ~np.isnan(values).all(axis=1)
    best = np.nan_to_num(values, nan=-1.0).argmax(axis=1)
    labels = [names[b] if k else None for b, k in zip(best, known, strict=True)]
    if not score:
        return labels, []
    return labels, _rounded(score, np.where(known, values[np.arange(len(best)), best], np.nan))


def write_csv(affect: Affect, file: IO[bytes]) -> None:
    """UTF-8, commas, LF, a header, a fixed number of digits, empty cells for what is not there."""
    file.write((",".join(NAMES) + "\n").encode())
    spec = {name: f".{decimals}f" for name, decimals in _DECIMALS.items()}
    for block in blocks(affect):
        columns = [
            ["" if v is None else format(v, spec[name]) if name in spec else str(v) for v in block[name]]
            for name in NAMES
        ]
        file.write(("\n".join(map(",".join, zip(*columns, strict=True))) + "\n").encode())


def write_jsonl(affect: Affect, file: IO[bytes]) -> None:
    """One JSON object a row with every column; null for an empty cell."""
    for block in blocks(affect):
        for values in zip(*block.values(), strict=True):
            file.write(json.dumps(dict(zip(NAMES, values, strict=True)), allow_nan=False).encode() + b"\n")


def write_parquet(affect: Affect, file: IO[bytes]) -> None:
    """Parquet with int64, double and string columns, null for an empty cell."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string()}
    schema = pa.schema([(column.name, types[column.type]) for column in COLUMNS])
    with pq.ParquetWriter(file, schema) as writer:
        for block in blocks(affect):
            writer.write_table(pa.table(block, schema=schema))


WRITERS: dict[str, Callable[[Affect, IO[bytes]], None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "jsonl": write_jsonl,
}


def read_blocks(path: Path) -> Iterator[Block]:
    """Read a table back, block by block, in any of the three formats, told by the file's suffix.

    Raises:
        InputError: missing, not such a table, or a cell that is not what its column holds.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in _READERS:
        raise InputError(f"{path}: not a table that can be read; give a .csv, .parquet or .jsonl made by annotate.")
    if not path.is_file():
        raise InputError(f"{path}: no such table.")
    try:
        for block in _READERS[suffix](path):
            _check_cells(block)
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
    """(frame, rows of its faces) of a table, in order, one for each analysed frame; no rows where nobody is."""
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
    import pandas as pd

    kinds = {"integer": "Int64", "number": "Float64", "text": "string"}
    parts = [pd.DataFrame(block, dtype=object) for block in read_blocks(Path(path))]
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(NAMES), dtype=object)
    return whole.astype({column.name: kinds[column.type] for column in COLUMNS})


def _read_csv(path: Path) -> Iterator[Block]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        _check_header(header)
        rows: list[list[str]] = []
        for row in reader:
            if len(row) != len(header):
                raise ValueError(f"line {reader.line_num} has {len(row)} cells, not {len(header)}")
            rows.append(row)
            if len(rows) == _BLOCK:
                yield _typed(header, rows)
                rows = []
        if rows:
            yield _typed(header, rows)


def _read_jsonl(path: Path) -> Iterator[Block]:
    with path.open(encoding="utf-8") as file:
        rows: list[dict[str, Any]] = []
        for line in file:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a line is no object")
            _check_header(list(row))
            rows.append(row)
            if len(rows) == _BLOCK:
                yield _by_column(rows)
                rows = []
        if rows:
            yield _by_column(rows)


def _read_parquet(path: Path) -> Iterator[Block]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        _check_header(file.schema_arrow.names)
        there = [name for name in NAMES if name in file.schema_arrow.names]
        for batch in file.iter_batches(_BLOCK, columns=there):
            columns = batch.to_pydict()
            yield {name: columns.get(name) or [None] * len(batch) for name in NAMES}


_READERS: dict[str, Callable[[Path], Iterator[Block]]] = {
    "csv": _read_csv,
    "parquet": _read_parquet,
    "jsonl": _read_jsonl,
}


def _check_header(header: list[str]) -> None:
    missing = [name for name in NAMES if name not in header and name not in ADDED]
    if missing:
        some = any(name in header for name in NAMES)
        raise ValueError(f"the column {missing[0]} is missing" if some else "none of its columns is there")


def _check_cells(block: Block) -> None:
    """Raise ValueError for a cell that is not of its column's type; whole numbers written as 3.0 become what they are.

    Data frames write integers of columns with empty cells as numbers, and what is missing as nan.
    """
    for name, values in block.items():
        kinds = set(map(type, values))
        if name in _INTEGERS and float in kinds:
            block[name] = values = [_whole(name, v) if type(v) is float else v for v in values]
            kinds = set(map(type, values))
        allowed = {int} if name in _INTEGERS else {int, float} if name in _DECIMALS else {str}
        if wrong := kinds - allowed - ({type(None)} if name != "frame" else set()):
            raise ValueError(f"the column {name} holds a {min(kind.__name__ for kind in wrong)}")
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


def _by_column(rows: list[dict[str, Any]]) -> Block:
    return {name: [row.get(name) if name in ADDED else row[name] for row in rows] for name in NAMES}


def _typed(header: list[str], rows: list[list[str]]) -> Block:
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    nothing = ("",) * len(rows)  # for a column that is younger than the table
    return {name: [_cell(name, text) for text in columns.get(name, nothing)] for name in NAMES}


def _cell(name: str, text: str) -> Any:
    if text == "" and name != "frame":
        return None
    try:
        # Spreadsheets and data frames write integers of columns with empty cells as 3.0.
        if name in _INTEGERS:
            return int(text.removesuffix(".0"))
        return float(text) if name in _DECIMALS else text
    except ValueError:
        raise ValueError(f"the column {name} holds {text[:60]!r}") from None

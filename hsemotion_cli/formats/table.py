"""Affect <-> a table file: CSV, Parquet or JSON Lines, one row per frame per face, one for a frame without a face.

All three hold the same numbers, rounded as the schema says. Rows are made and written block by block.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..postprocess.compound import probabilities
from ..postprocess.refine import Affect
from ..runtime.comma_list import comma_list
from ..tasks import ACTION_UNITS, COMPOUNDS, EXPRESSIONS, VALENCE_AROUSAL
from ..timeline import People
from .data_frame import frame_blocks, frame_names
from .schema import ANGLES, COLUMNS, LIKELIHOODS, NO_COMPOUND, OPTIONAL, PEOPLE, names_with
from .spreadsheet import FORMULA
from .table_reader import Block, load, read_blocks, read_frames, to_frame

if TYPE_CHECKING:
    import pandas

__all__ = [
    "WRITERS",
    "Block",
    "BlockRows",
    "blocks",
    "load",
    "parse_formats",
    "read_blocks",
    "read_frames",
    "to_frame",
    "write_csv",
    "write_jsonl",
    "write_parquet",
]

_BLOCK = 512  # rows; as Python objects they weigh some 10 kB each
_ALL = (*COLUMNS, *OPTIONAL)
_DECIMALS = {column.name: column.decimals for column in _ALL if column.type == "number"}
_TEXT = frozenset(column.name for column in _ALL if column.type == "text")
_FOREIGN_TEXT = frozenset(column.name for column in OPTIONAL if column.type == "text")


def parse_formats(text: str) -> tuple[str, ...]:
    """Read "csv,parquet".

    Raises:
        UsageError: an unknown format, or none.
    """
    names = comma_list(text)
    unknown = [name for name in names if name not in WRITERS]
    if unknown or not names:
        raise UsageError(
            f"--format {text}: choose from {', '.join(WRITERS)}, separated by commas; hsemotion export writes other "
            "programs' formats."
        )
    return names


@dataclass(frozen=True, slots=True)
class BlockRows:
    """Rows of a table that are made block by block, as those of an imported file.

    Attributes:
        names: of all columns, in order.
        blocks: with all of them, rounded as the schema says.
    """

    names: tuple[str, ...]
    blocks: Iterator[Block]


Rows = Affect | BlockRows
"""The data that a table is written from, other than a data frame."""


def names_of(rows: Rows | pandas.DataFrame) -> tuple[str, ...]:
    """The columns of a table, in order; raises UsageError for a data frame that is not one."""
    if isinstance(rows, BlockRows):
        return rows.names
    return _optional_names(rows) if isinstance(rows, Affect) else frame_names(rows)


def blocks(rows: Rows | pandas.DataFrame, size: int = _BLOCK) -> Iterator[Block]:
    """The table, at most ``size`` rows at a time; text of others in it made harmless for spreadsheets.

    Raises:
        UsageError: a data frame that is not a table.
    """
    if isinstance(rows, Affect):
        yield from _affect_blocks(rows, size)
        return
    for block in rows.blocks if isinstance(rows, BlockRows) else frame_blocks(rows, size):
        for name in _FOREIGN_TEXT & block.keys():
            block[name] = [None if v is None else _harmless(v) for v in block[name]]
        yield block


def _affect_blocks(affect: Affect, size: int) -> Iterator[Block]:
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
    compound, none = probabilities(expression)
    there = np.where((none < 0.5)[:, None], compound, np.nan)
    block["compound"], _ = _label("", there, tuple(COMPOUNDS))
    block |= _scores("p_{}", tuple(COMPOUNDS), compound)
    block[NO_COMPOUND] = _rounded(NO_COMPOUND, none)
    unmeasured = np.full(len(affect.row), np.nan)
    block |= {
        name: _rounded(name, _pick(affect.measures.get(name, unmeasured), row)) for name in (*ANGLES, *LIKELIHOODS)
    }
    blink = _pick(affect.measures.get("blink", unmeasured), row)
    block["blink"] = [None if math.isnan(closed) else int(closed) for closed in blink.tolist()]
    block["landmarks"] = _landmarks(affect, row)
    for name, values in affect.extra.items():
        block[name] = [_harmless(v) if isinstance(v, str) else v for v in values[frame].tolist()]
    if affect.who is not None:
        block |= _person_columns(affect.who, np.where(face, _pick(affect.face_id, row, fill=-1), -1))
    return {name: block[name] for name in _optional_names(affect)}


def _optional_names(affect: Affect) -> tuple[str, ...]:
    people = () if affect.who is None else [column.name for column in PEOPLE]
    return names_with({*affect.extra, *people})


def _person_columns(people: People, face_id: NDArray[np.int64]) -> Block:
    """Who the rows show; ``face_id`` is -1 where there is no face."""
    at = people.place(face_id)
    block: Block = {"person": [_harmless(str(people.person[k])) if k >= 0 else None for k in at.tolist()]}
    for name, values in (("person_score", people.score), ("person_second", people.second)):
        block[name] = _rounded(name, _pick(values.astype(np.float64), at))
    return block


def _landmarks(affect: Affect, row: NDArray[np.intp]) -> list[int | None]:
    """Whether something was measured on each face, which only landmarks allow; None where that is not known."""
    if "head_pitch" not in affect.measures:
        return [None] * len(row)
    placed = np.isfinite(_pick(affect.measures["head_pitch"], row))
    seen = (row >= 0) & ~_pick(affect.interpolated, row, fill=True)
    return [int(one) if known else None for one, known in zip(placed, seen, strict=True)]


def _harmless(text: str) -> str | None:
    """Text of others as a cell that no spreadsheet computes; None for none. ``./name`` is the same file as ``name``."""
    return f"./{text}" if text.startswith(FORMULA) else text or None


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


def write_csv(rows: Rows | pandas.DataFrame, file: IO[bytes]) -> None:
    """UTF-8, commas, LF, a header, a fixed number of digits, empty cells for what is not there."""
    names = names_of(rows)
    file.write((",".join(names) + "\n").encode())
    spec = {name: f".{decimals}f" for name, decimals in _DECIMALS.items()}
    for block in blocks(rows):
        columns = [
            ["" if v is None else format(v, spec[name]) if name in spec else str(v) for v in block[name]]
            for name in names
        ]
        for k in (k for k, name in enumerate(names) if name in _TEXT):
            columns[k] = [_quoted(cell) for cell in columns[k]]
        file.write(("\n".join(map(",".join, zip(*columns, strict=True))) + "\n").encode())


def _quoted(cell: str) -> str:
    """A CSV cell of RFC 4180."""
    return '"' + cell.replace('"', '""') + '"' if any(c in cell for c in ',"\r\n') else cell


def write_jsonl(rows: Rows | pandas.DataFrame, file: IO[bytes]) -> None:
    """One JSON object a row with every column; null for an empty cell."""
    for block in blocks(rows):
        for values in zip(*block.values(), strict=True):
            file.write(json.dumps(dict(zip(block, values, strict=True)), allow_nan=False).encode() + b"\n")


def write_parquet(rows: Rows | pandas.DataFrame, file: IO[bytes]) -> None:
    """Parquet with int64, double and string columns, null for an empty cell."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string()}
    kinds = {column.name: types[column.type] for column in _ALL}
    schema = pa.schema([(name, kinds[name]) for name in names_of(rows)])
    with pq.ParquetWriter(file, schema) as writer:
        for block in blocks(rows):
            writer.write_table(pa.table(block, schema=schema))


WRITERS: dict[str, Callable[[Rows | pandas.DataFrame, IO[bytes]], None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "jsonl": write_jsonl,
}

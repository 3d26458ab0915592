"""A data frame that the user may have edited -> rows of a table, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .schema import COLUMNS, NAMES, OPTIONAL, names_with
from .table_reader import Block, check_cells

if TYPE_CHECKING:
    import pandas

_DECIMALS = {column.name: column.decimals for column in (*COLUMNS, *OPTIONAL) if column.type == "number"}
_KNOWN = {*NAMES, *(column.name for column in OPTIONAL)}


def fingerprint(frame: pandas.DataFrame) -> bytes:
    """A hash of the names of columns and of all cells, in their order; the index does not count."""
    import pandas as pd

    cells = pd.util.hash_pandas_object(frame, index=False)
    return hashlib.sha256(repr(list(frame.columns)).encode() + cells.to_numpy().tobytes()).digest()


def frame_names(frame: pandas.DataFrame) -> tuple[str, ...]:
    """The columns of the table that a data frame is, in the table's order.

    Raises:
        UsageError: one is missing, there twice, or not a column of a table.
    """
    names = list(frame.columns)
    if more := [name for name in names if name not in _KNOWN]:
        raise UsageError(
            f"the frame has a column {more[0]!r}, which tables do not have; drop it, or write it yourself with "
            "frame.to_csv(...)."
        )
    if missing := [name for name in NAMES if name not in names]:
        raise UsageError(f"the frame has lost the column {missing[0]!r}; a table has all of them.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"the frame has the column {twice[0]!r} twice.")
    return names_with(set(names))


def frame_blocks(frame: pandas.DataFrame, size: int) -> Iterator[Block]:
    """Its rows, at most ``size`` at a time, rounded as the schema says.

    Raises:
        UsageError: as ``frame_names``, or a cell does not fit its column.
    """
    names = frame_names(frame)
    for start in range(0, len(frame), size):
        part = frame.iloc[start : start + size]
        block: Block = {name: _cells(part[name]) for name in names}
        try:
            check_cells(block)
        except (ValueError, TypeError) as error:
            raise UsageError(f"the frame cannot be saved as a table: {error}.") from error
        for name in names:
            if name in _DECIMALS:
                block[name] = [None if v is None else round(float(v), _DECIMALS[name]) + 0.0 for v in block[name]]
        yield block


def _cells(column: pandas.Series[Any]) -> list[Any]:
    """The values of a column as Python's own; None for what pandas takes for missing."""
    missing = column.isna().tolist()
    values = [value.item() if hasattr(value, "item") else value for value in column.tolist()]
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]

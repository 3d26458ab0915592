"""Rows of cells -> text with separators, as spreadsheets and statistics programs read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO

from ..formats.spreadsheet import quoted

Cell = str | int | float | None


def write_rows(
    file: IO[bytes], header: Sequence[str], rows: Iterable[Sequence[Cell]], separator: str = ",", nothing: str = ""
) -> None:
    """UTF-8, LF, one header; numbers with all their digits.

    Args:
        separator: a comma for CSV as in RFC 4180; a tab for the TSV of BIDS, which has no quotes, so that line ends and
            tabs in a text become spaces.
        nothing: an empty cell.
    """
    file.write((separator.join(header) + "\n").encode())
    for row in rows:
        cells = [nothing if cell is None else _cell(cell, separator) for cell in row]
        file.write((separator.join(cells) + "\n").encode("utf-8", "backslashreplace"))


def _cell(value: str | int | float, separator: str) -> str:
    """A cell; text gets an apostrophe before what a spreadsheet would take for a formula."""
    if not isinstance(value, str):
        return str(value)
    text = quoted(value)
    if separator == "\t":
        return " ".join(text.split())
    special = any(sign in text for sign in (separator, '"', "\r", "\n"))
    return '"' + text.replace('"', '""') + '"' if special else text

"""Small tables that people edit by hand, in whatever way their spreadsheet saves them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import InputError

T = TypeVar("T")

Cells = dict[str, str | None]

_LARGEST = 1 << 26  # bytes


def open_table(path: Path, what: str) -> csv.DictReader[str]:
    """A reader of a text table with commas, semicolons or tabs, its column names in lower case.

    Args:
        what: it is a file of, for messages.

    Raises:
        InputError: it cannot be read, is no text in UTF-8, or too large.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: larger than {_LARGEST:,} bytes, which no file of {what} is.")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error.reason}).") from error
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
    return reader


def parsed(path: Path, reader: csv.DictReader[str], parse: Callable[[str, Cells], T]) -> list[T]:
    """Every row, as ``parse`` makes it from where it stands (for messages) and its cells.

    Raises:
        InputError: it is no table; and what ``parse`` raises.
    """
    try:
        return [parse(f"{path}, row {reader.line_num}", cells) for cells in reader]
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a table ({error}).") from error

"""A text file with columns, by any program: its encoding, the lines before its header, its separator, its rows.

Read line by line, so that the size of a file does not matter.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

SEPARATORS = (",", "\t", ";", "|")

_HEAD = 1 << 18  # bytes in which the header must begin
_PREAMBLE = 200  # lines that may stand before it
_LONGEST = 1 << 20  # characters of a cell; csv gives up at 131072
_BINARY = {b"PK\x03\x04": "an Excel workbook or another archive", b"PAR1": "a Parquet file", b"\x89HDF": "an HDF5 file"}
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_LINE_END = re.compile(r"\r\n|\r|\n")  # as files are read below; str.splitlines knows more, such as U+2028
_NOTHING = frozenset(("", "na", "n/a", "nan", "null", "none", "-", "unknown"))

Row = tuple[int, list[str]]
"""Number of the line, from 1, and its cells."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file whose header was found.

    Attributes:
        path: of it.
        encoding: by a byte order mark, UTF-8, or else Windows-1252.
        separator: between cells.
        line: number of the line of the header, from 1.
        header: names of the columns, without spaces around them.
        preamble: the lines before the header.
    """

    path: Path
    encoding: str
    separator: str
    line: int
    header: tuple[str, ...]
    preamble: tuple[str, ...]

    def rows(self) -> Iterator[Row]:
        """The rows below the header.

        Raises:
            InputError: a row has another number of cells than the header.
        """
        csv.field_size_limit(_LONGEST)
        with self.path.open(encoding=self.encoding, errors="replace", newline="") as file:
            for _ in range(self.line - 1):
                file.readline()
            reader = csv.reader(file, delimiter=self.separator)
            next(reader)
            try:
                for cells in reader:
                    if not any(cells):
                        continue
                    line = self.line + reader.line_num - 1
                    # Some programs end each line, or only the header, with a separator.
                    if len(cells) == len(self.header) + 1 and not cells[-1].strip():
                        cells.pop()
                    if len(cells) != len(self.header):
                        raise InputError(
                            f"{self.path}: line {line} has {len(cells)} cells, but the header has {len(self.header)}."
                        )
                    yield line, cells
            except csv.Error as error:
                raise InputError(f"{self.path}: line {self.line + reader.line_num - 1}: {error}.") from error


def find_header(path: Path, is_header: Callable[[Sequence[str]], bool]) -> Text | None:
    """The first line that is a header with one of the separators; None if there is none.

    Raises:
        InputError: the file cannot be read, or is no text.
    """
    encoding, text = _head(path)
    lines = _LINE_END.split(text)
    for number, line in enumerate(itertools.islice(lines, _PREAMBLE), 1):
        for separator in SEPARATORS:
            if separator not in line:
                continue
            cells = tuple(cell.strip() for cell in next(csv.reader([line], delimiter=separator), []))
            while cells and not cells[-1]:
                cells = cells[:-1]
            if is_header(cells):
                return Text(path, encoding, separator, number, cells, tuple(lines[: number - 1]))
    return None


def _head(path: Path) -> tuple[str, str]:
    """Encoding of a file and its beginning."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if not head:
        raise InputError(f"{path}: is empty.")
    for mark, what in _BINARY.items():
        if head.startswith(mark):
            raise InputError(f"{path}: is {what}, not text; save it as CSV first.")
    encoding = _encoding(head)
    return encoding, head.decode(encoding, "replace")


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) > 1 and not any(head[1:200:2]) and any(head[:200:2]):
        return "utf-16-le"  # without a mark: every other byte of Latin text is 0
    try:
        head[: max(len(head) - 3, 0)].decode("utf-8-sig")  # the last character may be cut
    except UnicodeDecodeError as error:
        if error.start < len(head) - 6:
            return "cp1252"
    return "utf-8-sig"


def missing(cell: str) -> bool:
    """Whether a cell holds nothing, however a program writes that."""
    return cell.strip().lower() in _NOTHING


def number(cell: str) -> float | None:
    """A cell with a decimal point or comma; None for nothing.

    Raises:
        ValueError: it is no finite number.
    """
    text = cell.strip()
    try:
        value = float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        if missing(text):
            return None
        raise ValueError(f"{text[:60]!r} is not a number") from None
    if value != value:
        return None
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text!r} is not finite")
    return value


def whole(cell: str) -> int | None:
    """A whole number, also as 3.0; None for nothing.

    Raises:
        ValueError: it is none.
    """
    value = number(cell)
    if value is not None and not value.is_integer():
        raise ValueError(f"{cell.strip()[:60]!r} is not a whole number")
    return None if value is None else int(value)

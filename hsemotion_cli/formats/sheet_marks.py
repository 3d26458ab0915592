"""The marks of a contact sheet: recording, group, frame, time, face_id, label, mark, correct; one row per image."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..tasks import EXPRESSIONS

MARKS = ("right", "wrong", "unsure")
SHEET_GROUPS = ("random", "uncertain", "typical")

_NEEDED = ("recording", "group", "frame", "face_id", "label", "mark")
_LARGEST = 1 << 26  # bytes


@dataclass(frozen=True, slots=True)
class SheetMark:
    """One marked image.

    Attributes:
        group: one of ``SHEET_GROUPS``.
        label: the expression that the sheet showed.
        mark: one of ``MARKS``.
        correct: the right expression of an image marked wrong, or "" where the rater gave none.
        where: file and row, for messages.
    """

    recording: str
    group: str
    frame: int
    face_id: int
    label: str
    mark: str
    correct: str
    where: str


def read_sheet_marks(path: Path) -> list[SheetMark]:
    """Read the marks that a sheet saved; separators may be commas, semicolons or tabs.

    Raises:
        InputError: it cannot be read, lacks a column, has an unknown word or number, or marks an image twice.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: larger than {_LARGEST:,} bytes, which no file of marks is.")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error.reason}).") from error
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    header = [name.strip().lower() for name in reader.fieldnames or []]
    lacking = [name for name in _NEEDED if name not in header]
    if lacking:
        raise InputError(f"{path}: no column {', '.join(lacking)}; give the file that a page of hsemotion sheet saved.")
    reader.fieldnames = header
    try:
        found = [_mark(f"{path}, row {reader.line_num}", cells) for cells in reader]
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a table ({error}).") from error
    counts = Counter((one.recording, one.group, one.frame, one.face_id) for one in found)
    twice = next((one for one in found if counts[one.recording, one.group, one.frame, one.face_id] > 1), None)
    if twice is not None:
        raise InputError(f"{twice.where}: face {twice.face_id} of frame {twice.frame} is marked twice in its group.")
    return found


def _mark(where: str, cells: Mapping[str, str | None]) -> SheetMark:
    def cell(name: str) -> str:
        return (cells.get(name) or "").strip()

    def number(name: str) -> int:
        try:
            value = float(cell(name))  # spreadsheets write 3.0
            if not value.is_integer():
                raise ValueError
        except (ValueError, OverflowError):
            raise InputError(f"{where}: {name} is {cell(name)[:60]!r}, not a whole number.") from None
        return int(value)

    for name, known in (
        ("group", SHEET_GROUPS),
        ("mark", MARKS),
        ("label", EXPRESSIONS),
        ("correct", ("", *EXPRESSIONS)),
    ):
        if cell(name) not in known:
            raise InputError(
                f"{where}: {name} is {cell(name)[:60]!r}; it must be one of {', '.join(filter(None, known))}."
            )
    if cell("correct") and (cell("mark") != "wrong" or cell("correct") == cell("label")):
        raise InputError(
            f"{where}: the right label {cell('correct')} does not fit {cell('label')} marked {cell('mark')}."
        )
    return SheetMark(
        cell("recording"), cell("group"), number("frame"), number("face_id"), cell("label"), cell("mark"),
        cell("correct"), where,
    )  # fmt: skip

"""The marks of a contact sheet: recording, group, frame, time, face_id, label, mark, correct; one row per image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..tasks import EXPRESSIONS
from .small_table import open_table, parsed

MARKS = ("right", "wrong", "unsure")
SHEET_GROUPS = ("random", "uncertain", "typical")

_NEEDED = ("recording", "group", "frame", "face_id", "label", "mark")


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
    reader = open_table(path, "marks")
    header = reader.fieldnames or []
    lacking = [name for name in _NEEDED if name not in header]
    if lacking:
        raise InputError(f"{path}: no column {', '.join(lacking)}; give the file that a page of hsemotion sheet saved.")
    found = parsed(path, reader, _mark)
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

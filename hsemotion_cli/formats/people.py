"""people.csv: which face ids of which recordings are which person. Columns ``recording``, ``face_id``, ``person``.

``recording`` is the file name of a table without its extension; an empty one stands for every table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .small_table import open_table, parsed


@dataclass(frozen=True, slots=True)
class PersonName:
    """One row: a face id of a recording and the name of its person."""

    recording: str
    face_id: int
    person: str


def read_people(path: Path | None) -> list[PersonName]:
    """The rows of a file of people, in its order; separators may be commas, semicolons or tabs. None is no file: [].

    Raises:
        InputError: missing, no such file, a face id that is no whole number, or one that has two names.
    """
    if path is None:
        return []
    reader = open_table(path, "people")
    header = reader.fieldnames or []
    if not {"face_id", "person"} <= set(header):
        raise InputError(
            f"{path}: no columns face_id and person; the header has {', '.join(header)[:200] or 'nothing'}."
        )
    found = parsed(path, reader, _row)
    _check_once(path, found)
    return found


def _row(where: str, cells: dict[str, str | None]) -> PersonName:
    recording, face, person = ((cells.get(name) or "").strip() for name in ("recording", "face_id", "person"))
    try:
        number = float(face)  # spreadsheets write 3.0
        if not number.is_integer():
            raise ValueError
    except (ValueError, OverflowError):
        raise InputError(f"{where}: face_id is {face[:60]!r}, not a whole number.") from None
    if not person:
        raise InputError(f"{where}: it names no person.")
    return PersonName(recording, int(number), person)


def _check_once(path: Path, rows: Iterable[PersonName]) -> None:
    known: dict[tuple[str, int], str] = {}
    for row in rows:
        if known.setdefault((row.recording, row.face_id), row.person) != row.person:
            raise InputError(f"{path}: face id {row.face_id} of {row.recording or 'every recording'} has two names.")


def names_for(rows: Iterable[PersonName], recording: str) -> dict[int, str]:
    """Face id -> person of one recording; its own rows go before those of every recording."""
    rows = list(rows)
    everywhere = {row.face_id: row.person for row in rows if not row.recording}
    return everywhere | {row.face_id: row.person for row in rows if row.recording == recording}

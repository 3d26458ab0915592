"""Tables -> one Excel workbook: a sheet for each table with a frozen header, and the data dictionary.

Written as Office Open XML (ECMA-376) row by row, so that a long table needs no memory. Text is stored as text
(``inlineStr``), which no spreadsheet computes, whatever it begins with.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO
from xml.sax.saxutils import escape, quoteattr

from ..errors import InputError
from .delimited import Cell
from .source_table import KNOWN, SourceTable

MOST_ROWS = 1_048_576
"""Rows of a sheet, by Excel's specification."""

MOST_SHEETS = 250
"""Tables in one workbook; Excel opens more, but slowly."""

DICTIONARY = "columns"
"""Name of the last sheet."""

_SHEET_NAME = 31  # characters
_FORBIDDEN = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # what XML 1.0 cannot hold
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def write(recordings: Sequence[SourceTable], file: IO[bytes]) -> list[str]:
    """Write one workbook; returns what the format cannot hold, in sentences.

    Raises:
        InputError: more tables or rows than a workbook holds.
    """
    if len(recordings) > MOST_SHEETS:
        raise InputError(f"{len(recordings)} tables are too many for one workbook; export {MOST_SHEETS} at a time.")
    names = _sheet_names([recording.name for recording in recordings])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as book:
        _part(book, "[Content_Types].xml", _types(len(names)))
        _part(book, "_rels/.rels", _relations([("officeDocument", "xl/workbook.xml")]))
        _part(book, "xl/workbook.xml", _workbook(names))
        sheets = [("worksheet", f"worksheets/sheet{k}.xml") for k in range(1, len(names) + 1)]
        _part(book, "xl/_rels/workbook.xml.rels", _relations([*sheets, ("styles", "styles.xml")]))
        _part(book, "xl/styles.xml", _STYLES)
        for number, recording in enumerate(recordings, 1):
            _sheet(book, number, recording.columns, _cells(recording), str(recording.path))
        _sheet(book, len(names), ("column", "type", "unit", "range", "meaning"), _dictionary(recordings), DICTIONARY)
    return (
        []
        if all(r.clock.words == "video" for r in recordings)
        else ["times are those of the table, whatever --clock is."]
    )


def _cells(recording: SourceTable) -> Iterator[Sequence[Cell]]:
    for block in recording.blocks():
        yield from zip(*(block[name] for name in recording.columns), strict=True)


def _dictionary(recordings: Sequence[SourceTable]) -> Iterator[Sequence[Cell]]:
    for name in dict.fromkeys(name for recording in recordings for name in recording.columns):
        column = KNOWN[name]
        yield column.name, column.type, column.unit, column.range, column.meaning


def _sheet(
    book: zipfile.ZipFile, number: int, header: Sequence[str], rows: Iterable[Sequence[Cell]], what: str
) -> None:
    with book.open(_info(f"xl/worksheets/sheet{number}.xml"), "w", force_zip64=True) as part:
        pane = '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
        start = f'<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">{pane}</sheetView></sheetViews>'
        part.write(f"{_HEAD}{start}<sheetData>".encode())
        part.write(_row(1, header, style=' s="1"'))
        for count, row in enumerate(rows, 2):
            if count > MOST_ROWS:
                raise InputError(f"{what}: more than the {MOST_ROWS - 1:,} rows that a sheet holds; export it to csv.")
            part.write(_row(count, row))
        part.write(b"</sheetData></worksheet>")


def _row(number: int, cells: Sequence[Cell], style: str = "") -> bytes:
    parts = [f'<row r="{number}">']
    for column, cell in enumerate(cells):
        if cell is None:
            continue
        place = f'<c r="{_letters(column)}{number}"{style}'
        if isinstance(cell, str):
            text = escape(_CONTROL.sub("\ufffd", cell))
            parts.append(f'{place} t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>')
        else:
            parts.append(f"{place}><v>{cell!r}</v></c>")
    return "".join([*parts, "</row>"]).encode()


def _letters(column: int) -> str:
    """0 is A, 26 is AA."""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def _sheet_names(names: Sequence[str]) -> list[str]:
    """Names that Excel allows, all different regardless of case; the dictionary's is the last."""
    taken, found = {DICTIONARY, "history"}, []
    for name in names:
        clean = _FORBIDDEN.sub("_", _CONTROL.sub("_", name)).strip("'") or "table"
        chosen, count = clean[:_SHEET_NAME], 1
        while chosen.lower() in taken:
            count += 1
            chosen = f"{clean[: _SHEET_NAME - len(str(count)) - 1]}~{count}"
        taken.add(chosen.lower())
        found.append(chosen)
    return [*found, DICTIONARY]


def _workbook(names: Sequence[str]) -> str:
    sheets = "".join(f'<sheet name={quoteattr(name)} sheetId="{k}" r:id="rId{k}"/>' for k, name in enumerate(names, 1))
    return f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{sheets}</sheets></workbook>'


def _relations(targets: Sequence[tuple[str, str]]) -> str:
    found = "".join(
        f'<Relationship Id="rId{k}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for k, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{found}</Relationships>'


def _types(sheets: int) -> str:
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = [("/xl/workbook.xml", "sheet.main"), ("/xl/styles.xml", "styles")]
    parts += [(f"/xl/worksheets/sheet{k}.xml", "worksheet") for k in range(1, sheets + 1)]
    overrides = "".join(f'<Override PartName="{name}" ContentType="{kind}.{what}+xml"/>' for name, what in parts)
    defaults = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
    )
    return f'<Types xmlns="{_PACKAGE}/content-types">{defaults}{overrides}</Types>'


_STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><fonts count="2"><font/><font><b/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>'
    '</fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>'
    '<cellXfs count="2"><xf/><xf fontId="1" applyFont="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)


def _part(book: zipfile.ZipFile, name: str, content: str) -> None:
    book.writestr(_info(name), _HEAD + content)


def _info(name: str) -> zipfile.ZipInfo:
    """An entry without the time of day, so that the same tables give the same bytes."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    return info

"""``hsemotion sheet``: a table and its video -> one HTML page of images with their labels, to mark right or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..formats.people import PersonName, names_for
from ..formats.table_source import decoding_of, find_video, read_sidecar, source_name
from ..media.video import open_source
from ..palette import EXPRESSION_COLOURS
from ..runtime.atomic_files import atomic_file
from ..tasks import EXPRESSIONS
from . import page_html, page_media
from .report_page import Progress
from .report_table import ReportTable, read_report_table
from .sheet_choice import APART, Choice, SheetSize, choose

_SIDE = 184  # pixels of an image on the sheet
_MARGIN = 1.1  # of the box's longer side, from its middle to each side: hair and hands help a human rater


@dataclass(frozen=True, slots=True)
class SheetReport:
    """What came of making a sheet.

    Attributes:
        path: of the page.
        counts: group -> images.
        candidates: rows among which was chosen.
        remarks: sentences for the terminal.
    """

    path: Path
    counts: dict[str, int]
    candidates: int
    remarks: tuple[str, ...]


def write_sheet(
    table: Path, out: Path, video: Path | None, size: SheetSize, people: tuple[PersonName, ...] = (),
    progress: Progress = lambda stage, done: None,
) -> SheetReport:  # fmt: skip
    """Make the contact sheet of a table.

    Raises:
        InputError: the table or its video cannot be used, or no row has an expression.
        OutputError: the page could not be written.
    """
    recording, meta = read_report_table(table), read_sidecar(table)
    if people:
        recording = replace(recording, people={**recording.people, **names_for(people, recording.name)})
    choice = choose(recording, size)
    if not choice.candidates:
        raise InputError(f"{table}: no row has a detected face and an expression, so there is nothing to check.")
    wanted = sorted({row for rows in choice.rows.values() for row in rows})
    if not wanted:
        raise InputError(f"{table}: none of {choice.candidates} moments was chosen; ask for at least one of a kind.")
    images = _images(table, recording, meta, video, wanted, progress)
    remarks = []
    if choice.measure == "expression_score":
        remarks.append(
            f"{table}: has no uncertainty, so the moments with the lowest scores stand in for uncertain ones."
        )
    facts = {
        "name": recording.name, "expressions": _known(recording), "colours": EXPRESSION_COLOURS, "seed": size.seed,
        "candidates": choice.candidates, "measure": choice.measure, "apart": APART,
        "groups": [
            {"kind": kind, "cards": [_card(recording, row, choice, images) for row in rows]}
            for kind, rows in choice.rows.items()
        ],
    }  # fmt: skip
    with atomic_file(out) as file:
        for piece in page_html.sheet(f"{recording.name}: contact sheet - hsemotion", facts):
            file.write(piece.encode("utf-8", "backslashreplace"))
    counts = {kind: len(rows) for kind, rows in choice.rows.items()}
    return SheetReport(out, counts, choice.candidates, tuple(remarks))


def _known(recording: ReportTable) -> list[str]:
    """The expressions that the table's model knows."""
    return [name for name in EXPRESSIONS if f"p_{name}" in recording.numbers]


def _images(
    table: Path,
    recording: ReportTable,
    meta: Mapping[str, Any],
    video: Path | None,
    rows: list[int],
    progress: Progress,
) -> dict[int, str]:
    """Row -> its face as a data address."""
    path = find_video(table, meta, video)
    if path is None:
        name = source_name(meta) or table.stem
        raise InputError(f"{table}: its video {name} was not found, and a sheet consists of its images; give --video.")
    by_frame: dict[int, list[int]] = {}
    for row in rows:
        by_frame.setdefault(int(recording.frame[recording.row[row]]), []).append(row)
    source = open_source(path, decoding_of(meta))
    images: dict[int, str] = {}
    for done, frame in enumerate(page_media.frames_of(source, by_frame), 1):
        for row in by_frame[frame.index]:
            box = [float(recording.numbers[side][row]) if side in recording.numbers else np.nan for side in "xywh"]
            images[row] = page_media.thumbnail(frame.image, (box[0], box[1], box[2], box[3]), _SIDE, _MARGIN)
        progress("images", done)
    lacking = next((row for row in rows if row not in images), None)
    if lacking is not None:
        frame_number = int(recording.frame[recording.row[lacking]])
        raise InputError(f"{path}: has no frame {frame_number}; give the video that {table} was made from.")
    return images


def _card(recording: ReportTable, row: int, choice: Choice, images: Mapping[int, str]) -> dict[str, Any]:
    face, at = int(recording.face_id[row]), int(recording.row[row])
    label = EXPRESSIONS[recording.expression[row]]
    uncertainty = None if choice.measure == "expression_score" else _number(recording, choice.measure, row)
    return {
        "row": row, "frame": int(recording.frame[at]), "time": round(float(recording.time[at]), 6), "face": face,
        "person": recording.people.get(face, ""), "label": label,
        "score": _number(recording, f"p_{label}", row), "uncertainty": uncertainty, "image": images[row],
    }  # fmt: skip


def _number(recording: ReportTable, column: str, row: int) -> float | None:
    values = recording.numbers.get(column)
    return None if values is None or not np.isfinite(values[row]) else round(float(values[row]), 4)

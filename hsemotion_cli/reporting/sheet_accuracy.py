"""Marks of a contact sheet -> how many labels are right, and the accuracy of the recording with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..evaluation.proportion import wilson
from ..formats.sheet_marks import MARKS, SHEET_GROUPS, SheetMark
from ..tasks import EXPRESSIONS
from .report_table import read_report_table


@dataclass(frozen=True, slots=True)
class SheetAccuracy:
    """What the marks of one recording say.

    Attributes:
        counts: group -> mark -> number of images.
        accuracy: share of right labels among the random images marked right or wrong; None without any. The other
            groups are selected by their scores, so that they say nothing about the recording as a whole.
        low, high: its 95 % Wilson interval, in [0, 1].
        confusions: (label, right label) -> number of images marked wrong, each moment once, most frequent first.
    """

    counts: dict[str, dict[str, int]]
    accuracy: float | None
    low: float
    high: float
    confusions: dict[tuple[str, str], int] = field(default_factory=dict)


def accuracy_of(marks: Iterable[SheetMark]) -> SheetAccuracy:
    """Count marks of one recording."""
    marks = list(marks)
    found = Counter((one.group, one.mark) for one in marks)
    counts = {group: {mark: found[group, mark] for mark in MARKS} for group in SHEET_GROUPS}
    right, wrong = counts["random"]["right"], counts["random"]["wrong"]
    low, high = wilson(right, right + wrong)
    moments = {(one.frame, one.face_id): (one.label, one.correct) for one in marks if one.correct}
    pairs = Counter(moments.values())
    share = right / (right + wrong) if right + wrong else None
    return SheetAccuracy(counts, share, low, high, dict(pairs.most_common()))


def marks_of_table(table: Path, marks: Iterable[SheetMark]) -> list[SheetMark]:
    """The marks that belong to a table.

    Raises:
        InputError: none does, or one shows another label than the table has, so that the table was made again.
    """
    recording = read_report_table(table)
    own = [one for one in marks if one.recording == recording.name]
    if not own:
        raise InputError(f"{table}: none of the marks is of {recording.name}; give the marks of a sheet of this table.")
    frames = recording.frame[recording.row]
    labels = {
        (int(frame), int(face)): EXPRESSIONS[k] if k >= 0 else ""
        for frame, face, k in zip(frames, recording.face_id, recording.expression, strict=True)
    }
    for one in own:
        label = labels.get((one.frame, one.face_id), "")
        if label != one.label:
            raise InputError(
                f"{one.where}: the sheet showed {one.label}, but {table} has {label or 'no expression'} for face "
                f"{one.face_id} of frame {one.frame}; make a new sheet of this table."
            )
    return own

"""Exports of a batch: the files of other programs for one finished recording, and whether they are there already.

Each recording has a record of its own (``exports.record``), so that workers, shards and machines never write the same
one. A format that holds all recordings together (BIDS, a workbook) is no part of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.rules import Rules
from ..errors import HsemotionError
from ..exports.catalogue import FORMATS
from ..exports.record import read_record, record_of
from ..exports.segments import with_intervals
from ..exports.source_table import open_table
from ..exports.writing import check, check_paths, export
from .messages import Task


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What is exported of each recording.

    Attributes:
        formats: of ``FORMATS``, those with one file for each table.
        table: suffix of the tables to read, such as "csv".
        overwrite: also replace files that no export wrote.
    """

    formats: tuple[str, ...] = ()
    table: str = "csv"
    overwrite: bool = False

    def files(self, name: str) -> dict[str, str]:
        """Format -> file name."""
        return {target: f"{name}{FORMATS[target].suffix}" for target in self.formats}

    def check(self, task: Task, out: Path) -> None:
        """Make sure, before any work on a recording, that its exports lose no file of the user's.

        Raises:
            UsageError: one would be lost.
        """
        folder = task.folder(out)
        if self.formats:
            names = self.files(task.name).values()
            check_paths([folder / name for name in names], folder, self.overwrite, record_of(task.name))

    def missing(self, task: Task, out: Path) -> tuple[str, ...]:
        """The formats that a finished recording lacks, or has from an earlier version of its table.

        The record is written last, so a table that is newer than it was made later. A file that somebody has edited
        since counts as there.
        """
        folder = task.folder(out)
        record, table = folder / record_of(task.name), folder / f"{task.name}.{self.table}"
        content = read_record(record) if self.formats else {}
        try:
            stale = record.stat().st_mtime_ns < table.stat().st_mtime_ns
        except FileNotFoundError:
            stale = True
        if stale or not content:
            return self.formats
        files = self.files(task.name)
        return tuple(
            target
            for target in self.formats
            if target not in content["exported"]
            or files[target] not in content["files"]
            or not (folder / files[target]).is_file()
        )


def export_recording(task: Task, out: Path, plan: ExportPlan, formats: Sequence[str]) -> dict[str, Any]:
    """Export the finished table of one recording, with the default rules of segments.

    Args:
        formats: those of the plan that are missing.

    Returns:
        facts of its ``Outcome``: "exports", format -> file name of all that are there now; and "export_problem", a
        sentence about what could not be exported, if anything. The table is not touched, whatever happens.
    """
    folder = task.folder(out)
    problems: list[str] = []
    try:
        _export(task, folder, plan, formats, problems)
    except HsemotionError as error:
        problems.append(str(error))
    left = plan.missing(task, out)
    there = {target: name for target, name in plan.files(task.name).items() if target not in left}
    problem = {"export_problem": " ".join(dict.fromkeys(problems))} if problems else {}
    return {"exports": there, **problem}


def _export(task: Task, folder: Path, plan: ExportPlan, formats: Sequence[str], problems: list[str]) -> None:
    if not formats:
        return
    recording = open_table(folder / f"{task.name}.{plan.table}", media=Path(task.path).parent)
    if not recording.photos and any(FORMATS[target].intervals for target in formats):
        recording = with_intervals(recording, Rules())
    record = record_of(task.name)
    check([recording], formats, folder, plan.overwrite, record)
    done = export([recording], formats, folder, record=record)
    problems += [str(error) for _, error in done.failures]

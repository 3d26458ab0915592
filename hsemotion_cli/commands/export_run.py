"""What ``hsemotion export`` does, and what it prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis.rules import Rules
from ..errors import HsemotionError, InputError, UsageError, exit_code_of
from ..exports.catalogue import FORMATS, parse_targets
from ..exports.segments import with_intervals
from ..exports.source_table import SourceTable, open_table
from ..exports.writing import Exported, check, check_paths, export
from ..formats.clock import notes_of
from ..formats.people import names_for, read_people
from ..formats.table import WRITERS
from ..runtime.terminal import print_line, say
from .console import counting, print_json
from .defaults import CHOSEN
from .options import OutputOptions
from .table_inputs import tables_in

if TYPE_CHECKING:
    from ..analysis.video_summary import VideoSummary


def export_tables(
    paths: Sequence[Path],
    to: str,
    output: OutputOptions,
    rules: Rules,
    clock: str = "video",
    rate: float | None = None,
    media: Path | None = None,
    people: Path | None = None,
) -> int:
    """Export tables; returns the exit code.

    Args:
        rules: of segments, for formats that hold intervals.
        people: file of names, see ``formats.people``.
    """
    formats = parse_targets(to)
    if rate is not None and not 0 < rate < math.inf:
        raise UsageError(f"--rate {rate:g}: give a rate above 0.")
    if media is not None and not media.is_dir():
        raise UsageError(f"--media {media}: no such folder.")
    intervals = any(FORMATS[name].intervals for name in formats)
    names = read_people(people)
    recordings: list[SourceTable] = []
    failures: list[HsemotionError] = []
    for path in tables_in(paths):
        try:
            recording = open_table(path, clock, media, names_for(names, path.stem))
            wanted = intervals and not recording.photos
            recordings.append(with_intervals(recording, rules, names) if wanted else recording)
        except InputError as error:
            failures.append(error)
    done = Exported()
    if recordings:
        check(recordings, formats, output.out, output.overwrite)
        with counting("export", "results", output.quiet) as progress:
            done = export(recordings, formats, output.out, rate, dict(CHOSEN.get()), progress)
    failures += [error for _, error in done.failures]
    _show(recordings, done, failures, output)
    return exit_code_of(failures, some_succeeded=bool(done.files))


def split_targets(output: OutputOptions) -> tuple[OutputOptions, tuple[str, ...]]:
    """``--format csv,elan`` of annotate: the options for the tables, and the formats to export them to.

    Without a format of tables among them, the table is CSV.

    Raises:
        UsageError: an unknown format, or none.
    """
    names = [part.strip() for part in output.formats.split(",")]
    if [name for name in names if name not in FORMATS and name not in WRITERS]:
        known = f"{', '.join(WRITERS)}, or formats of hsemotion export ({', '.join(FORMATS)})"
        raise UsageError(f"--format {output.formats}: choose from {known}, separated by commas.")
    targets = [name for name in names if name in FORMATS]
    if not targets:
        return output, ()
    tables = [name for name in names if name not in FORMATS] or ["csv"]
    return replace(output, formats=",".join(tables)), tuple(dict.fromkeys(targets))


def check_targets(names: Sequence[str], targets: Sequence[str], output: OutputOptions) -> None:
    """Make sure, before any work, that exports of tables with these names lose no file of the user's.

    Raises:
        UsageError: one would be lost.
    """
    suffixes = [FORMATS[target].suffix for target in targets if FORMATS[target].suffix]
    check_paths([output.out / f"{name}{suffix}" for name in names for suffix in suffixes], output.out, output.overwrite)


def export_annotated(
    done: Sequence[VideoSummary], targets: Sequence[str], table: str, output: OutputOptions
) -> list[HsemotionError]:
    """Export tables that annotate has just written, with the default rules of segments.

    Args:
        table: the format of the tables to read.

    Returns:
        the errors, which are printed at once.
    """
    recordings: list[SourceTable] = []
    failures: list[HsemotionError] = []
    for summary in done:
        try:
            recording = open_table(Path(summary.outputs[table]), media=Path(summary.source).parent)
            needed = not recording.photos and any(FORMATS[name].intervals for name in targets)
            recordings.append(with_intervals(recording, Rules()) if needed else recording)
        except InputError as error:
            failures.append(error)
    try:
        check(recordings, targets, output.out, output.overwrite)
        written = export(recordings, targets, output.out, None, dict(CHOSEN.get()))
    except HsemotionError as error:
        failures.append(error)
        written = Exported()
    failures += [error for _, error in written.failures]
    _show(recordings, written, failures, replace(output, quiet=output.quiet or output.json, json=False))
    return failures


def _show(
    recordings: Sequence[SourceTable], done: Exported, failures: Sequence[HsemotionError], output: OutputOptions
) -> None:
    for error in failures:
        say(str(error))
    notes = notes_of([recording.clock for recording in recordings])
    empty = _empty(recordings, done)
    if output.json:
        print_json(
            {
                "files": [str(path) for path in done.files],
                "lost": done.lost,
                "notes": [*notes, *empty],
                "failures": [str(error) for error in failures],
            }
        )
        return
    if output.quiet:
        return
    for path in done.files[:_LISTED]:
        print_line(str(path))
    if len(done.files) > _LISTED:
        print_line(f"and {len(done.files) - _LISTED} more in {output.out}")
    for name, sentences in done.lost.items():
        for sentence in sentences:
            print_line(f"{FORMATS[name].title}: {sentence}")
    for sentence in notes:
        print_line(f"clock: {sentence}")
    for sentence in empty:
        print_line(sentence)


def _empty(recordings: Sequence[SourceTable], done: Exported) -> list[str]:
    """A sentence about the recordings in which there is nothing that formats of intervals could hold."""
    names = [one.name for one in recordings if not one.intervals and not one.photos]
    if not names or not any(FORMATS[name].intervals for name in done.lost):
        return []
    shown = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    return [f"no segments were found in {shown}, so formats of intervals and events hold nothing of it."]


_LISTED = 20
"""Files that are named on the terminal."""

"""What ``hsemotion export`` does, and what it prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import HsemotionError, InputError, UsageError, exit_code_of
from ..exports.catalogue import FORMATS, parse_targets
from ..exports.recording import Recording, open_recording
from ..exports.writing import Exported, check, export
from ..formats.clock import notes_of
from ..formats.ownership import is_ours
from ..formats.table import WRITERS
from ..runtime.terminal import print_line, say
from .console import counting, print_json
from .defaults import CHOSEN
from .options import OutputOptions


def export_tables(
    paths: Sequence[Path], to: str, output: OutputOptions, clock: str, rate: float | None, media: Path | None
) -> int:
    """Export tables; returns the exit code."""
    formats = parse_targets(to)
    if rate is not None and not 0 < rate < math.inf:
        raise UsageError(f"--rate {rate:g}: give a rate above 0.")
    if media is not None and not media.is_dir():
        raise UsageError(f"--media {media}: no such folder.")
    recordings: list[Recording] = []
    failures: list[HsemotionError] = []
    for path in find_tables(paths):
        try:
            recordings.append(open_recording(path, clock, media))
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


def find_tables(paths: Sequence[Path]) -> list[Path]:
    """The tables among files and folders; of a folder those that hsemotion wrote, one for each name.

    Raises:
        InputError: there is no such file, or none in a folder.
        UsageError: two tables have the same name, so that their results would be the same file.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for table in _in_folder(path) if path.is_dir() else [path]:
            if not table.is_file():
                raise InputError(f"{table}: no such table.")
            if found.setdefault(table.stem, table).resolve() != table.resolve():
                raise UsageError(f"{found[table.stem]} and {table} have the same name; export them to two folders.")
    return list(found.values())


def _in_folder(folder: Path) -> list[Path]:
    best: dict[str, Path] = {}
    for suffix in reversed(WRITERS):
        for path in sorted(folder.rglob(f"*.{suffix}")):
            if path.with_suffix(".json").is_file() and is_ours(path):
                best[str(path.with_suffix(""))] = path
    if not best:
        raise InputError(f"{folder}: no tables with their sidecars in this folder; annotate and import write both.")
    return [best[name] for name in sorted(best)]


def _show(
    recordings: Sequence[Recording], done: Exported, failures: Sequence[HsemotionError], output: OutputOptions
) -> None:
    for error in failures:
        say(str(error))
    notes = notes_of([recording.clock for recording in recordings])
    if output.json:
        print_json(
            {
                "files": [str(path) for path in done.files],
                "lost": done.lost,
                "notes": notes,
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


_LISTED = 20
"""Files that are named on the terminal."""

"""Source tables -> files of other formats, and a record beside them: what was written, what the format cannot hold.

A file is replaced without being asked to only if it is still as an export wrote it, by its SHA-256 in a record: an
annotation that somebody went on to edit in ELAN is not lost. A table with its sidecar is never replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import HsemotionError, UsageError
from ..formats import sidecar
from ..formats.ownership import check_outputs
from ..formats.table_source import is_described
from ..runtime.atomic_files import prepare_folder, write_together
from .catalogue import FORMATS
from .record import RECORD, known_hashes, read_record, record_of, write_record
from .source_table import SourceTable


@dataclass(slots=True)
class Exported:
    """What came of an export.

    Attributes:
        files: paths that were written.
        lost: format -> sentences about what the format cannot hold.
        failures: recording or format -> why nothing was written.
    """

    files: list[Path] = field(default_factory=list)
    lost: dict[str, list[str]] = field(default_factory=dict)
    failures: list[tuple[str, HsemotionError]] = field(default_factory=list)


def check(
    recordings: Sequence[SourceTable], formats: Iterable[str], folder: Path, overwrite: bool, record: str = RECORD
) -> None:
    """Make sure, before anything is written, that no file of the user's is lost.

    Args:
        record: name of the record that the export will write.

    Raises:
        UsageError: one would be.
        InputError: recordings that a format cannot hold together.
    """
    paths = [folder / path for name in formats for path in FORMATS[name].paths(recordings)]
    sources = {recording.path.resolve() for recording in recordings}
    if own := next((path for path in paths if path.resolve() in sources), None):
        raise UsageError(f"{own}: is one of the tables to be exported; choose another output folder.")
    check_paths(paths, folder, overwrite, record, [recording.name for recording in recordings])


def check_paths(
    paths: Sequence[Path], folder: Path, overwrite: bool, record: str = RECORD, names: Iterable[str] = ()
) -> None:
    """Make sure that no file of the user's is lost at some paths in a folder of exports.

    Args:
        record: name of the record that the export will write.
        names: of the recordings, whose own records count as well.

    Raises:
        UsageError: one would be.
    """
    if not overwrite and (table := next((path for path in paths if is_described(path)), None)):
        raise UsageError(f"{table}: is a table of another recording; choose another output folder.")
    place = folder / record
    if not overwrite and place.is_file() and place.stat().st_size and not read_record(place):  # perhaps a sidecar
        raise UsageError(
            f"{place}: already there, and not recognised as written by hsemotion's exports; choose another place, or "
            "give --overwrite to replace."
        )
    known = known_hashes(folder, dict.fromkeys([RECORD, record, *map(record_of, names)]))
    check_outputs(
        [*paths, place],
        overwrite,
        lambda path: path == place,
        lambda path: sidecar.file_hash(path) in known.get(path.relative_to(folder).as_posix(), ()),
    )


def export(
    recordings: Sequence[SourceTable],
    formats: Sequence[str],
    folder: Path,
    rate: float | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, word: None,
    record: str = RECORD,
) -> Exported:
    """Write recordings in some formats; a recording that fails does not stop the others.

    Args:
        rate: samples per second of formats with a constant rate; None for that of each recording.
        options: for the record.
        progress: called with (done, of, what).
        record: name of the record.

    Raises:
        UsageError: nothing can be written in the folder.
        OutputError: a file could not be written; what is complete is in the record.
    """
    prepare_folder(folder)
    done = Exported()
    total = sum(1 if FORMATS[name].together else len(recordings) for name in formats)
    finished = 0
    try:
        for name in formats:
            groups = [list(recordings)] if FORMATS[name].together else [[recording] for recording in recordings]
            for group in groups:
                _export_group(group, name, folder, rate, done)
                finished += 1
                progress(finished, total, name)
    finally:
        if done.files:
            write_record(folder / record, recordings, done.files, done.lost, options or {})
    return done


def _export_group(group: list[SourceTable], name: str, folder: Path, rate: float | None, done: Exported) -> None:
    made = FORMATS[name]
    folders: list[Path] = []
    try:
        paths = [folder / path for path in made.paths(group)]
        folders += sorted({parent for path in paths for parent in path.parents if not parent.exists()})
        for parent in folders:
            parent.mkdir(exist_ok=True)
        with write_together() as opened:
            sentences = made.write(group, folder, opened, rate)
    except HsemotionError as error:
        for parent in reversed(folders):
            with suppress(OSError):  # something else was written into it
                parent.rmdir()
        if error.exit_code in (2, 3):  # a full disk or a wrong option stops everything
            raise
        done.failures.append((f"{group[0].name if len(group) == 1 else 'all'} as {name}", error))
        return
    done.files += paths
    done.lost[name] = list(dict.fromkeys([*done.lost.get(name, ()), *sentences]))

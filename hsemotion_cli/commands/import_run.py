"""What ``hsemotion import`` does, and what it prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import HsemotionError, InputError, UsageError, exit_code_of
from ..formats.ownership import check_outputs
from ..formats.table import parse_formats
from ..imports.catalogue import SOURCES, recognise
from ..imports.job import Imported, import_file
from ..imports.mapping import read_map
from ..imports.source import Source
from ..runtime.atomic_files import prepare_folder
from ..runtime.terminal import note, print_line, say
from .console import counting, print_json
from .defaults import CHOSEN
from .options import OutputOptions

_SUFFIXES = frozenset((".csv", ".tsv", ".txt"))
"""Of the files in a folder that are looked at."""

_SHOWN = 20
"""Files that are named on the terminal with their notes."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One file, and where its table goes, without extension."""

    path: Path
    place: Path


def import_files(
    files: Sequence[Path], name: str, map_file: Path | None, fps: float | None, output: OutputOptions
) -> int:
    """Import files; one that fails does not stop the others. Returns the exit code."""
    formats = parse_formats(output.formats)
    forced = _forced(name, map_file)
    if fps is not None and not 0 < fps < math.inf:
        raise UsageError(f"--fps {fps:g}: give a rate above 0.")
    jobs = _jobs(files)
    places = [output.out / f"{job.place}.{suffix}" for job in jobs for suffix in (*formats, "json")]
    check_outputs(places, output.overwrite)
    prepare_folder(output.out)
    done: list[Imported] = []
    failures: list[HsemotionError] = []
    with counting("import", "files", output.quiet) as progress:
        for number, job in enumerate(jobs, 1):
            try:
                source, text = recognise(job.path, forced, name)
                folder = (output.out / job.place).parent
                prepare_folder(folder)
                options = dict(CHOSEN.get())
                done.append(import_file(text, source, folder, job.place.name, formats, fps, options))
            except InputError as error:
                failures.append(error)
            progress(number, len(jobs), job.path.name)
    _show(done, failures, output)
    return exit_code_of(failures, some_succeeded=bool(done))


def _forced(name: str, map_file: Path | None) -> Sequence[Source] | None:
    """The formats that files may have, or None for any."""
    if name not in ("", "csv", *SOURCES):
        raise UsageError(f"--from {name}: choose from {', '.join(SOURCES)}, or csv with --map.")
    if map_file is not None:
        if name not in ("", "csv"):
            raise UsageError(f"--map describes the columns of --from csv, not of {name}; leave one of the two out.")
        return [read_map(map_file)]
    if name == "csv":
        raise UsageError("--from csv: describe the columns with --map FILE.toml.")
    return SOURCES[name] if name else None


def _jobs(files: Sequence[Path]) -> list[_Job]:
    """Each file, and where its table goes: in a folder that was named, below it as the file is.

    Raises:
        InputError: there is no such file, or none in a folder.
        UsageError: two files would have the same table.
    """
    jobs: dict[str, _Job] = {}
    for given in files:
        if given.is_dir():
            found = sorted(path for path in given.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
            if not found:
                raise InputError(f"{given}: no .csv, .tsv or .txt files in this folder.")
        elif given.exists():
            found = [given]
        else:
            raise InputError(f"{given}: no such file.")
        for path in found:
            place = path.relative_to(given).with_suffix("") if given.is_dir() else Path(path.stem)
            other = jobs.setdefault(str(place), _Job(path, place))
            if other.path.resolve() != path.resolve():
                raise UsageError(f"{other.path} and {path} would both become {place}; import them to two folders.")
    return list(jobs.values())


def _show(done: Sequence[Imported], failures: Sequence[HsemotionError], output: OutputOptions) -> None:
    for error in failures:
        say(str(error))
    if output.json:
        print_json(
            {
                "tables": [
                    {**{kind: str(path) for kind, path in one.outputs.items()}, "notes": one.sentences} for one in done
                ],
                "failures": [str(error) for error in failures],
            }
        )
        return
    for number, one in enumerate(done):
        table = next(iter(one.outputs.values()))
        if not output.quiet and number < _SHOWN:
            print_line(str(table))
            for sentence in one.sentences:
                print_line(f"  {sentence}")
    if not output.quiet and len(done) > _SHOWN:
        note(f"and {len(done) - _SHOWN} more; their notes are in their sidecars")

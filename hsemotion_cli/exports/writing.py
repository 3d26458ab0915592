"""Recordings -> files of other formats, and ``export.json`` beside them: what was written, what the format cannot hold.

A file is replaced without being asked to only if it is still as an export wrote it, by its SHA-256 in ``export.json``:
an annotation that somebody went on to edit in ELAN is not lost.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import HsemotionError
from ..formats import sidecar
from ..formats.ownership import check_outputs
from ..runtime.atomic_files import atomic_file, prepare_folder, write_together
from .catalogue import FORMATS
from .source_table import SourceTable

RECORD = "export.json"
"""Name of the record in the output folder."""


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


def check(recordings: Sequence[SourceTable], formats: Iterable[str], folder: Path, overwrite: bool) -> None:
    """Make sure, before anything is written, that no file of the user's is lost.

    Raises:
        UsageError: one would be.
        InputError: recordings that a format cannot hold together.
    """
    check_paths([folder / path for name in formats for path in FORMATS[name].paths(recordings)], folder, overwrite)


def check_paths(paths: Iterable[Path], folder: Path, overwrite: bool) -> None:
    """Make sure that no file of the user's is lost at some paths in a folder of exports.

    Raises:
        UsageError: one would be.
    """
    known = _hashes(folder)
    check_outputs(
        [*paths, folder / RECORD],
        overwrite,
        lambda path: path.name == RECORD and _is_record(path),
        lambda path: path.name != RECORD and known.get(_relative(path, folder)) == sidecar.file_hash(path),
    )


def export(
    recordings: Sequence[SourceTable],
    formats: Sequence[str],
    folder: Path,
    rate: float | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, word: None,
) -> Exported:
    """Write recordings in some formats; a recording that fails does not stop the others.

    Args:
        rate: samples per second of formats with a constant rate; None for that of each recording.
        options: for the record.
        progress: called with (done, of, what).

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
            _write_record(recordings, folder, done, options or {})
    return done


def _export_group(group: list[SourceTable], name: str, folder: Path, rate: float | None, done: Exported) -> None:
    made = FORMATS[name]
    try:
        paths = [folder / path for path in made.paths(group)]
        for parent in {path.parent for path in paths}:
            parent.mkdir(parents=True, exist_ok=True)
        with write_together() as opened:
            sentences = made.write(group, folder, opened, rate)
    except HsemotionError as error:
        if error.exit_code in (2, 3):  # a full disk or a wrong option stops everything
            raise
        done.failures.append((f"{group[0].name if len(group) == 1 else 'all'} as {name}", error))
        return
    done.files += paths
    done.lost[name] = list(dict.fromkeys([*done.lost.get(name, ()), *sentences]))


def _write_record(recordings: Sequence[SourceTable], folder: Path, done: Exported, options: Mapping[str, Any]) -> None:
    files = {**_hashes(folder), **{_relative(path, folder): sidecar.file_hash(path) for path in done.files}}
    lost = {**_content(folder).get("lost", {}), **done.lost}
    tables = {**_content(folder).get("tables", {}), **{recording.name: _about(recording) for recording in recordings}}
    content = {
        "tool": {"name": "hsemotion", "version": __version__, "python": platform.python_version()},
        "exported": sorted({name for name in lost}),
        "lost": lost,
        "tables": tables,
        **({"options": dict(options)} if options else {}),
        "files": files,
    }
    with atomic_file(folder / RECORD) as file:
        sidecar.write(content, file)


def _about(recording: SourceTable) -> dict[str, Any]:
    return {
        "table": recording.path.name,
        "sha256": sidecar.file_hash(recording.path),
        "source": recording.source or None,
        "clock": recording.clock.to_json(),
    }


def _hashes(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of the files that earlier exports wrote."""
    return dict(_content(folder).get("files", {}))


def _content(folder: Path) -> dict[str, Any]:
    """The record of earlier exports; {} if there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):  # the user's own file of this name
        if _is_record(folder / RECORD):
            found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return found
    return {}


def _is_record(path: Path) -> bool:
    content = json.loads(path.read_text(encoding="utf-8"))
    return bool(content["tool"]["name"] == "hsemotion" and "exported" in content and isinstance(content["files"], dict))


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()

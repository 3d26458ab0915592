"""The record of an export: which files were written from which tables, with their SHA-256, and what they cannot hold.

``hsemotion export`` and ``annotate`` keep one record for their output folder, ``export.json``; ``batch`` keeps one for
each recording, ``NAME.exports.json``, because several batches may work in one folder at the same time.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import __version__
from ..formats import sidecar
from ..runtime.atomic_files import atomic_file
from .source_table import SourceTable

RECORD = "export.json"
"""Name of the record of a whole folder."""


def record_of(name: str) -> str:
    """Name of the record of one recording."""
    return f"{name}.exports.json"


def is_record(path: Path) -> bool:
    """Whether a file is a record.

    Raises:
        OSError, ValueError, KeyError, TypeError, RecursionError: it is not.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    return bool(content["tool"]["name"] == "hsemotion" and "exported" in content and isinstance(content["files"], dict))


def read_record(path: Path) -> dict[str, Any]:
    """The content of a record; {} if there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):  # the user's own file of this name
        if is_record(path):
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
    return {}


def known_hashes(folder: Path, records: Iterable[str]) -> dict[str, set[str]]:
    """Path relative to the folder -> SHA-256 that exports gave the file, by the records of these names."""
    found: dict[str, set[str]] = {}
    for name in records:
        for path, value in read_record(folder / name).get("files", {}).items():
            found.setdefault(path, set()).add(value)
    return found


def write_record(
    path: Path,
    recordings: Sequence[SourceTable],
    files: Iterable[Path],
    lost: Mapping[str, Sequence[str]],
    options: Mapping[str, Any],
) -> None:
    """Add an export to a record; what earlier exports wrote stays in it.

    Args:
        files: that were written, in the folder of the record.
        lost: format -> sentences about what it cannot hold, for each format that was written.
    """
    before = read_record(path)
    tables = {recording.name: _about(recording) for recording in recordings}
    if path.name != RECORD and before.get("tables") != tables:
        before = {"files": before.get("files", {})}  # formats of another version of the table are out of date
    written = {file.relative_to(path.parent).as_posix(): sidecar.file_hash(file) for file in files}
    whole = {**before.get("lost", {}), **lost}
    content = {
        "tool": {"name": "hsemotion", "version": __version__, "python": platform.python_version()},
        "exported": sorted(whole),
        "lost": whole,
        "tables": {**before.get("tables", {}), **tables},
        **({"options": dict(options)} if options else {}),
        "files": {**before.get("files", {}), **written},
    }
    with atomic_file(path) as file:
        sidecar.write(content, file)


def _about(recording: SourceTable) -> dict[str, Any]:
    return {
        "table": recording.path.name,
        "sha256": sidecar.file_hash(recording.path),
        "source": recording.source or None,
        "clock": recording.clock.to_json(),
    }

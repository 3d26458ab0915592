"""Files with one JSON object per line that grow during a run and are rewritten as a whole when it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..runtime.atomic_files import atomic_file, name_failed_file, open_unfollowed


def append(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add lines, and return once they are on the disk.

    Raises:
        OutputError: they cannot be written, or the file is a link.
    """
    data = b"".join(map(_line, records))
    if not data:
        return
    with name_failed_file(path):
        handle = open_unfollowed(path)
        try:
            if os.fstat(handle).st_size:
                os.lseek(handle, -1, os.SEEK_END)
                if os.read(handle, 1) != b"\n":  # the last line was cut off
                    data = b"\n" + data
            while data:
                data = data[os.write(handle, data) :]
            os.fsync(handle)
        finally:
            os.close(handle)


def rewrite(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace the file by these lines.

    Raises:
        OutputError: it cannot be written; the old file is still there.
    """
    with atomic_file(path) as file:
        file.writelines(map(_line, records))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file; lines that are cut off or damaged are skipped, and a missing file has none."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    content = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(content, dict):
                    yield content
    except OSError:
        return


def _line(record: Mapping[str, Any]) -> bytes:
    # Only ASCII: bytes of a name that are not UTF-8 are written as \udcXX and read back as they were.
    return (json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")

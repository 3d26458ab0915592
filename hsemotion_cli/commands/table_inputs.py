"""Files and folders that a command was given -> the tables in them, and a message about tables that are not read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..analysis.recordings import find_tables, unread_folders
from .console import say


def tables_in(paths: Sequence[Path]) -> list[Path]:
    """As ``recordings.find_tables``; what lies in subfolders is not read, and the terminal says so.

    Raises:
        InputError: as ``recordings.find_tables``.
    """
    found = find_tables(paths)
    for sentence in unread_folders(paths):
        say(sentence)
    return found

"""Files appear whole or not at all: written under a temporary name in their own folder, synced, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from .errors import OutputError, UsageError

Opener = Callable[[Path], contextlib.AbstractContextManager[IO[bytes]]]


@contextlib.contextmanager
def together() -> Iterator[Opener]:
    """Several files that belong together: all appear when the block ends well, none of them otherwise.

    Yields:
        a function that opens a file to be written; use what it returns as a context manager.

    Raises:
        OutputError: one cannot be written; what had been at their places is still there.
    """
    partial: dict[Path, Path] = {}

    @contextlib.contextmanager
    def opened(path: Path) -> Iterator[IO[bytes]]:
        partial[path] = temporary(path)
        with guarded(path), partial[path].open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    try:
        yield opened
        for path, part in partial.items():
            with guarded(path):
                os.replace(part, path)
    finally:
        for part in partial.values():
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """One file to write to that takes the place of ``path`` when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: it cannot be written; what had been at ``path`` is still there.
    """
    with together() as opened, opened(path) as file:
        yield file


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The name of a temporary file, for writers that open files by themselves; it takes the place of ``path``.

    Raises:
        OutputError: it cannot be synced or renamed; what had been at ``path`` is still there.
    """
    part = temporary(path)
    try:
        yield part
        with guarded(path):
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Say which file it was when writing it fails."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"{path}: could not be written ({reason}); free some space or choose another place."
        ) from error


def temporary(path: Path) -> Path:
    """A name beside ``path`` that no other process takes, hidden, and short enough for any file system."""
    return path.with_name(f".{path.name[:60]}.{os.getpid()}.part")


def prepare_folder(folder: Path) -> None:
    """Make a folder, and make sure now that files can be written there.

    Raises:
        UsageError: it cannot be made, is no folder, or may not be written to.
    """
    probe = temporary(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"-o {folder}: nothing can be written there ({error.strerror}); choose another folder."
        ) from error

"""Files appear whole or not at all: written under a temporary name in their own folder, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO

from ..errors import OutputError, UsageError
from .processes import lives
from .write_errors import advice, is_bad_name, reason

Opener = Callable[[Path], contextlib.AbstractContextManager[IO[bytes]]]


@contextlib.contextmanager
def write_together() -> Iterator[Opener]:
    """Write several files that belong together: all appear when the block succeeds, none of them otherwise.

    Yields:
        a function that opens a file for writing; use its result as a context manager.

    Raises:
        OutputError: one cannot be written; the files that existed are unchanged.
    """
    partial: dict[Path, Path] = {}

    @contextlib.contextmanager
    def opened(path: Path) -> Iterator[IO[bytes]]:
        partial[path] = temporary(path)
        with name_failed_file(path):
            partial[path].unlink(missing_ok=True)
        with name_failed_file(path), partial[path].open("xb") as file:  # a new file, never a link that was put there
            yield file
            file.flush()
            os.fsync(file.fileno())

    try:
        yield opened
        for path, part in partial.items():
            with name_failed_file(path):
                os.replace(part, path)
    finally:
        for part in partial.values():
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file for writing that replaces ``path`` when the block succeeds, and is removed otherwise.

    Raises:
        OutputError: it cannot be written; a file that existed at ``path`` is unchanged.
    """
    with write_together() as opened, opened(path) as file:
        yield file


@contextlib.contextmanager
def replace_when_done(path: Path) -> Iterator[Path]:
    """The name of a temporary file that then replaces ``path``, for writers that open files themselves.

    Raises:
        OutputError: it cannot be synced or renamed; a file that existed at ``path`` is unchanged.
    """
    part = temporary(path)
    with name_failed_file(path):
        part.unlink(missing_ok=True)  # a link would be written through
    try:
        yield part
        with name_failed_file(path):
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def name_failed_file(path: Path) -> Iterator[None]:
    """Turn an OSError into an OutputError that names the file, with advice."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: could not be written ({reason(error)}); {advice(error)}.") from error


def temporary(path: Path) -> Path:
    """A hidden name beside ``path`` that no other process uses, short enough for any file system."""
    name = path.name
    if len(os.fsencode(name)) > 90:  # the checksum distinguishes talk.csv from talk.json where the end is cut off
        name = f"{name[:25]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return path.with_name(f".{name}.{machine_name()}.{os.getpid()}.part")


def remove_leftovers(
    folder: Path, before: float, processes: Collection[int] | None = None, owner: str | None = None
) -> int:
    """Remove the temporary files that dead processes left in a folder; returns how many.

    Args:
        before: seconds since 1970; younger files stay.
        processes: remove only files of these processes, alive or not; None for all processes that are dead.
        owner: the ``machine_name`` of those processes, None for this machine; it is unknown here which processes of
            other machines are alive.
    """
    pattern = re.compile(rf"\..+\.{re.escape(owner or machine_name())}\.([0-9]{{1,9}})\.part", re.DOTALL)
    count = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0
    for entry in entries:
        match = pattern.fullmatch(entry.name)
        with contextlib.suppress(OSError):  # it is gone by now, or still open on Windows
            if not match or not entry.is_file(follow_symlinks=False):
                continue
            process, written = int(match[1]), entry.stat(follow_symlinks=False).st_mtime
            dead = process in processes if processes is not None else not lives(process, written)
            if dead and written < before:
                os.unlink(entry.path)
                count += 1
    return count


def open_unfollowed(path: Path) -> int:
    """A handle to append to a file and to read it, which is made if there is none.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def machine_name() -> str:
    """This machine's name, as a part of file names: several machines may write into one folder."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:30] or "-"


def prepare_folder(folder: Path) -> None:
    """Make a folder, and check now that files can be written there.

    Raises:
        UsageError: it cannot be made, is not a folder, or is not writable.
    """
    probe = temporary(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"-o {folder}: nothing can be written there ({reason(error)}); {advice(error)}.") from error


def check_names(paths: Iterable[Path]) -> None:
    """Check, before any work, that files can have these names in these folders.

    The file system is asked, because each has its own limits. Names of folders that do not exist yet are looked up in
    the nearest folder that does. Whether a folder can be made and written to is for ``prepare_folder``.

    Raises:
        UsageError: a name is too long or not allowed, or something other than a file has it.
    """
    for path in paths:
        there = next((folder for folder in path.parents if os.path.isdir(folder)), path.parent)
        try:
            for part in path.relative_to(there).parts:
                _mode(there / part)
            mode = _mode(path)
            if mode is not None and stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        except OSError as error:
            if isinstance(error, NotADirectoryError | PermissionError) and not is_bad_name(error):
                continue
            raise UsageError(f"{path}: cannot be written ({reason(error)}); {advice(error)}.") from error
        if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise UsageError(f"{path}: is not a regular file; remove it or choose another name.")


def _mode(path: Path) -> int | None:
    """The mode of the file with this name, or None if there is none; raises OSError if the name is not allowed."""
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError as error:
        if is_bad_name(error):  # so Windows reports it
            raise
        return None

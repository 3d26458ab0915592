"""Locks between processes: ``flock`` on Linux and macOS, ``LockFileEx`` on Windows, both through filelock.

The system gives a lock back however its process ends. Over NFS it carries them to the server, so that they hold between
machines as well.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

_NO_LOCKS = {
    number
    for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP")
    if (number := getattr(errno, name, None)) is not None
}


class Busy(Exception):
    """Another process, or another lock of this one, holds it."""


@contextlib.contextmanager
def hold(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock on a file; the file is created if needed, and its content is ignored.

    Args:
        wait: until another holder is gone; otherwise fail at once.

    Yields:
        whether the file system has locks at all; some network drives have none.

    Raises:
        Busy: another process holds it.
        OSError: the file cannot be opened, for example because it is a link.
    """
    import filelock

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout as error:
        raise Busy(str(path)) from error
    except NotImplementedError:
        yield False
        return
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        yield False
        return
    try:
        yield True
    finally:
        lock.release()

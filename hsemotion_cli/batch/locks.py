"""One process at a time on one output folder, but for the shards of one split, which may work side by side.

Each process holds a lock on a file of its own, ``.hsemotion-batch.lock`` or ``.hsemotion-batch.2of8.lock``, for as long
as it lives; the system gives it back however it ends. Before it takes its own it tries those of all others which might
work on the same inputs. All that happens behind a gate, so that two that start at once see each other. Over NFS the
system carries such locks to the server, so that they hold between machines as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError
from ..runtime.atomic_files import name_failed_file
from .shards import Shard

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"\.hsemotion-batch(?:\.(\d+)of(\d+))?\.lock")


@contextlib.contextmanager
def hold_lock(out: Path, shard: Shard) -> Iterator[bool]:
    """Hold the lock of a shard of a folder.

    Yields:
        whether there is a lock at all: some network file systems have none.

    Raises:
        UsageError: another process works there; the message says which.
        OutputError: the lock's file cannot be written.
    """
    if fcntl is None:
        yield False
        return
    with contextlib.ExitStack() as stack:
        with _opened(out / ".hsemotion-batch.gate") as gate:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX)
            except OSError:  # no locks on this file system
                gate = -1
            if gate >= 0:
                _refuse_others(out, shard)
                own = stack.enter_context(_opened(out / f".hsemotion-batch{shard.suffix}.lock"))
                fcntl.flock(own, fcntl.LOCK_EX)
                os.ftruncate(own, 0)
                os.write(own, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield gate >= 0


def _refuse_others(out: Path, shard: Shard) -> None:
    for path in sorted(out.glob(".hsemotion-batch*.lock")):
        match = _NAME.fullmatch(path.name)
        if match and shard.excludes(Shard(int(match[1] or 1), int(match[2] or 1))):
            with _opened(path) as other:
                try:
                    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    who = os.pread(other, 300, 0).decode("utf-8", "replace") or "another process"
                    raise UsageError(
                        f"-o {out}: {who} writes there already; wait for it, or choose another folder."
                    ) from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    with name_failed_file(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        yield handle
    finally:
        os.close(handle)

"""One process at a time on one output folder, except for the shards of one split, which may work side by side.

Each process holds the lock of a file of its own, ``.hsemotion-batch.lock`` or ``.hsemotion-batch.2of8.lock``, for as
long as it lives. Before it takes its own it tries those of all others which might work on the same inputs. Both happen
behind a gate, so that two processes that start at once see each other. The holder of a lock is written to a second
file, because Windows does not allow a locked file to be read.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError
from ..runtime import file_lock
from ..runtime.atomic_files import atomic_file, name_failed_file
from .shards import Shard

_NAME = re.compile(r"\.hsemotion-batch(?:\.([0-9]{1,6})of([0-9]{1,6}))?\.lock")


@contextlib.contextmanager
def hold_lock(out: Path, shard: Shard) -> Iterator[bool]:
    """Hold the lock of a shard of a folder.

    Yields:
        whether there is a lock at all: some network file systems have none.

    Raises:
        UsageError: another process works there; the message says which.
        OutputError: the lock's file cannot be written.
    """
    own = out / f".hsemotion-batch{shard.suffix}.lock"
    with contextlib.ExitStack() as stack:
        with _held(out / ".hsemotion-batch.gate") as locked:
            if locked:
                _refuse_others(out, shard)
                stack.enter_context(_held(own))
                with atomic_file(own.with_suffix(".owner")) as file:
                    file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield locked


def _refuse_others(out: Path, shard: Shard) -> None:
    for path in sorted(out.glob(".hsemotion-batch*.lock")):
        match = _NAME.fullmatch(path.name)
        if match and shard.excludes(Shard(int(match[1] or 1), int(match[2] or 1))):
            try:
                with _held(path, wait=False):
                    pass
            except file_lock.Busy:
                raise UsageError(
                    f"-o {out}: {_owner(path)} writes there already; wait for it, or choose another folder."
                ) from None


def _owner(lock: Path) -> str:
    """Who noted that it holds a lock."""
    try:
        with lock.with_suffix(".owner").open("rb") as file:
            return file.read(300).decode("utf-8", "replace") or "another process"
    except OSError:
        return "another process"


@contextlib.contextmanager
def _held(path: Path, *, wait: bool = True) -> Iterator[bool]:
    with contextlib.ExitStack() as stack:
        with name_failed_file(path):
            locked = stack.enter_context(file_lock.hold(path, wait=wait))
        yield locked

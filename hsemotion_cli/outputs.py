"""Files appear whole or not at all: written under a temporary name in their own folder, synced, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import OutputError, UsageError


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of ``path`` when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: it cannot be written; what had been at ``path`` is still there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(
            f"{path}: could not be written ({error.strerror or error}); free space or choose another -o."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def prepare_folder(folder: Path) -> None:
    """Make a folder, and make sure now that files can be written there.

    Raises:
        UsageError: it cannot be made, is no folder, or may not be written to.
    """
    probe = folder / f".hsemotion.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"-o {folder}: nothing can be written there ({error.strerror}); choose another folder."
        ) from error

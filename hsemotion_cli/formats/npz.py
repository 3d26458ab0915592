"""Reading ``.npz`` files that somebody else may have made or changed: no pickles, no bombs, one kind of error."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, shortened

DAMAGE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, SyntaxError, MemoryError, OverflowError,
    RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy and zipfile raise for files that are something else, cut short, or changed."""

_MUCH, _PACKED = 1 << 26, 100  # bytes, and times


def arrays(path: Path, names: Iterable[str], what: str) -> dict[str, NDArray]:
    """Read some arrays of an ``.npz`` file.

    Args:
        what: a description of the expected file, for the message.

    Raises:
        InputError: it is missing, lacks an array, or is damaged.
    """
    try:
        # Opened here, because numpy does not close a damaged file.
        with path.open("rb") as file:
            check_declared(file)
            with np.load(file, allow_pickle=False) as data:
                found = {name: data[name] for name in names}
            if wrong := [name for name, values in found.items() if not isinstance(values, np.ndarray)]:
                raise ValueError(f"{wrong[0]} is not an array")
            return found
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except DAMAGE as error:
        raise InputError(f"{path}: not {what}, or damaged ({shortened(str(error), 300)}).") from error


def check_declared(file: IO[bytes]) -> None:
    """Raise ValueError for an npz file that declares far more than it holds, before any memory is taken for it.

    Scores and images shrink to a third at best, and columns that count upwards to a tenth; what packs a hundred
    times and unpacks to much is a bomb. An array may be no larger than what its record unpacks to.
    """
    with zipfile.ZipFile(file) as archive:
        whole = sum(record.file_size for record in archive.infolist())
        if whole > _MUCH and whole > _PACKED * file.seek(0, 2):
            raise ValueError(f"it would unpack to {whole:,} bytes")
        for record in archive.infolist():
            with archive.open(record) as opened:
                version = np.lib.format.read_magic(opened)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, kind = read(opened)
            if math.prod(shape) * kind.itemsize > record.file_size:
                raise ValueError(f"{record.filename[:60]!r} declares more than it holds")
    file.seek(0)

"""Rows of a matrix in a temporary file: for features that do not fit in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096  # rows that are read together


class RowFile:
    """(n, columns) numbers that are read from the disk when they are indexed; rows can only be added at the end.

    The file has no name, so it is gone when the object or the process is. It lies in the system's folder for temporary
    files (``TMPDIR``), which must have room for it.

    Args:
        columns: of each row.
        dtype: of the numbers.
    """

    def __init__(self, columns: int, dtype: np.dtype) -> None:
        self.dtype = np.dtype(dtype)
        self.shape = (0, columns)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115

    @property
    def size(self) -> int:
        """Count of all numbers."""
        return self.shape[0] * self.shape[1]

    def append(self, rows: NDArray) -> None:
        """Add rows (k, columns), converted to the dtype."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(np.ascontiguousarray(rows, self.dtype).tobytes())
        self._file.flush()
        self.shape = (self.shape[0] + len(rows), self.shape[1])

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray:
        """(..., columns) the rows at these indices (...), in their order; neighbours are read at once."""
        width = self.shape[1] * self.dtype.itemsize
        number, flat = self._file.fileno(), rows.reshape(-1)
        runs = np.split(flat, np.flatnonzero(np.diff(flat) != 1) + 1) if len(flat) else []
        data = bytearray().join([os.pread(number, width * len(run), width * int(run[0])) for run in runs])
        return np.frombuffer(data, self.dtype).reshape(*rows.shape, self.shape[1])

    def blocks(self) -> Iterator[NDArray]:
        """All rows, some at a time."""
        width = self.shape[1] * self.dtype.itemsize
        for start in range(0, len(self), _BLOCK):
            count = min(_BLOCK, len(self) - start)
            data = os.pread(self._file.fileno(), width * count, width * start)
            yield np.frombuffer(data, self.dtype).reshape(count, self.shape[1])


def in_memory(rows: NDArray | RowFile) -> NDArray:
    """All rows as an array."""
    return rows[np.arange(len(rows))] if isinstance(rows, RowFile) else rows

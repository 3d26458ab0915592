"""Scheduling: the longest video first, so that no worker is left with it at the end."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence

from ..media.mp4_boxes import find_box, whole
from .messages import Task

_USUAL = 250_000.0  # bytes per second, where no file of the batch declares its duration
_CONTAINERS = (".mp4", ".mov", ".m4v", ".3gp")


def longest_first(tasks: Sequence[Task], sizes: Mapping[str, int]) -> list[Task]:
    """Tasks by decreasing declared duration, or where it is unknown by a guess from the size. Ties keep their order.

    Args:
        sizes: path -> bytes.
    """
    declared = {task.path: declared_seconds(task.path) for task in tasks}
    rates = [sizes.get(path, 0) / seconds for path, seconds in declared.items() if seconds]
    rate = max(statistics.median(rates), 1.0) if rates else _USUAL
    return sorted(tasks, key=lambda task: -(declared[task.path] or sizes.get(task.path, 0) / rate))


def declared_seconds(path: str) -> float | None:
    """The duration in seconds that an MP4 or QuickTime file declares in its movie header; None if it has none.

    No media library reads it, because the process that supervises the workers opens no container. The header is
    described in ISO/IEC 14496-12, 8.2.2.
    """
    if os.path.splitext(path)[1].lower() not in _CONTAINERS:
        return None
    try:
        with open(path, "rb") as file:
            header = find_box(file, whole(file), b"moov", b"mvhd")
            if header is None:
                return None
            file.seek(header[0])
            data = file.read(32)
    except OSError:
        return None
    wide = data[:1] == b"\1"
    first = 20 if wide else 12
    scale, length = (
        int.from_bytes(part) for part in (data[first : first + 4], data[first + 4 : first + (12 if wide else 8)])
    )
    known = scale and 0 < length < (1 << 63) - 1 and length != 0xFFFFFFFF
    return length / scale if known else None

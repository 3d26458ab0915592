"""Boxes of an MP4 or QuickTime file, read without a media library (ISO/IEC 14496-12).

For processes that open no container because a damaged one could crash them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_MOST_BOXES = 200

Span = tuple[int, int]
"""Where the content of a box begins and ends, in bytes from the start of the file."""


def find_box(file: IO[bytes], span: Span, *kinds: bytes) -> Span | None:
    """The first box of the first kind in a span, the first of the next kind in that box, and so on.

    Args:
        file: at any position, which is changed.
        span: where to search.
        kinds: four bytes each. ``meta`` has four bytes of version and flags before the boxes in it.

    Raises:
        OSError: the file cannot be read.
    """
    found: Span | None = span
    for kind in kinds:
        found = _first(file, found, kind) if found else None
        if found and kind == b"meta":
            found = found[0] + 4, found[1]
    return found


def whole(file: IO[bytes]) -> Span:
    """All of a file."""
    return 0, os.fstat(file.fileno()).st_size


def encoding_tool(path: Path) -> str:
    """The name of the program that made a file, from its iTunes-style metadata; "" where it has none.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        span = find_box(file, whole(file), b"moov", b"udta", b"meta", b"ilst", b"\xa9too", b"data")
        if span is None:
            return ""
        file.seek(span[0] + 8)  # type and locale
        return file.read(min(max(span[1] - span[0] - 8, 0), 200)).decode("utf-8", "replace")


def boxes(file: IO[bytes], span: Span) -> Iterator[tuple[bytes, Span]]:
    """(kind, content) of the boxes side by side in a span, up to a damaged one.

    Args:
        file: at any position, which is changed.

    Raises:
        OSError: the file cannot be read.
    """
    start, end = span
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        head = file.read(16)
        size, content = int.from_bytes(head[:4]), start + 8
        if size == 1:
            size, content = int.from_bytes(head[8:16]), start + 16
        elif size == 0:
            size = end - start
        if size < content - start:
            return
        yield head[4:8], (content, min(start + size, end))
        start += size


def _first(file: IO[bytes], span: Span, kind: bytes) -> Span | None:
    return next((content for found, content in boxes(file, span) if found == kind), None)

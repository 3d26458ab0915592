"""Netpbm images (.pbm, .pgm, .ppm) -> RGB.

Read here because OpenCV scales some of them by their largest value and others not, so that an image of 10 bits would be
almost black. The formats are described on netpbm.sourceforge.net (pbm, pgm, ppm).
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from ..domain import Image

_SPACE = rb"(?:\s|#[^\n]*\n)*"
_NUMBER = rb"([0-9]{1,9})"
_BITMAP = re.compile(rb"P([14])\s" + _SPACE + _NUMBER + rb"\s" + _SPACE + _NUMBER + rb"\s")
_PIXMAP = re.compile(
    rb"P([2356])\s" + _SPACE + _NUMBER + rb"\s" + _SPACE + _NUMBER + rb"\s" + _SPACE + rb"([0-9]{1,5})\s"
)


def header(data: bytes) -> tuple[int, int] | None:
    """(width, height) that a Netpbm image declares; None if it is none."""
    found = _BITMAP.match(data) or _PIXMAP.match(data)
    return (int(found[2]), int(found[3])) if found else None


def read(data: bytes) -> Image | None:
    """(height, width, 3) RGB, scaled so that the largest value that the file declares is 255; None if it is cut short.

    Args:
        data: the whole file, whose declared size has been checked.
    """
    if found := _BITMAP.match(data):
        width, height = int(found[2]), int(found[3])
        ink = _bits(data[found.end() :], width, height, packed=found[1] == b"4")
        return None if ink is None else _rgb((1 - ink) * np.uint8(255), 1)
    found = _PIXMAP.match(data)
    if not found or not 0 < int(found[4]) < 65536:
        return None
    width, height, largest = int(found[2]), int(found[3]), int(found[4])
    depth = 3 if found[1] in (b"3", b"6") else 1
    body, count = data[found.end() :], width * height * depth
    if found[1] in (b"2", b"3"):
        values = _ascii(body, count)
    else:
        kind = np.dtype(np.uint8 if largest < 256 else ">u2")
        values = np.frombuffer(body, kind, count).astype(np.int64) if len(body) >= count * kind.itemsize else None
    if values is None:
        return None
    if largest != 255:
        values = (np.minimum(values, largest) * 255 + largest // 2) // largest
    return _rgb(values.astype(np.uint8).reshape(height, width * depth), depth)


def _bits(body: bytes, width: int, height: int, *, packed: bool) -> NDArray[np.uint8] | None:
    """(height, width) of 1 for black and 0 for white."""
    if packed:
        row = (width + 7) // 8
        if len(body) < row * height:
            return None
        rows = np.frombuffer(body, np.uint8, row * height).reshape(height, row)
        return np.unpackbits(rows, axis=1)[:, :width]
    digits = np.frombuffer(re.sub(rb"#[^\n]*\n?|\s", b"", body), np.uint8)
    if len(digits) < width * height or not np.isin(digits[: width * height], (48, 49)).all():
        return None
    return (digits[: width * height] - np.uint8(48)).reshape(height, width)


def _ascii(body: bytes, count: int) -> NDArray[np.int64] | None:
    """A number of whole numbers, stored as text."""
    words = re.sub(rb"#[^\n]*\n?", b" ", body).split(maxsplit=count)[:count]
    if len(words) < count or not all(re.fullmatch(rb"[0-9]{1,5}", word) for word in words):
        return None
    return np.array([int(word) for word in words], np.int64)


def _rgb(values: NDArray[np.uint8], depth: int) -> Image:
    if depth == 1:
        return np.repeat(values[..., None], 3, axis=2)
    return np.ascontiguousarray(values.reshape(len(values), -1, 3))

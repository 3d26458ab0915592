"""Writes TIFF files page by page, also such as no program would write."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence

import numpy as np


def stack(
    pages: Sequence[np.ndarray],
    *,
    reduced: Collection[int] = (),
    missing: Collection[int] = (),
    width: int | None = None,
) -> bytes:
    """Uncompressed RGB pages, one strip each.

    Args:
        pages: (height, width, 3) uint8.
        reduced: numbers of pages that are called smaller copies of others.
        missing: numbers of pages whose pixels lie outside of the file.
        width: that the last page declares.
    """
    data = bytearray(b"II*\0\0\0\0\0")
    link = 4  # where the place of the next directory is written
    for number, page in enumerate(pages):
        height, own, _ = page.shape
        pixels = len(data)
        data += page.tobytes() + bytes(page.size % 2)
        bits = len(data)
        data += struct.pack("<HHH", 8, 8, 8) + b"\0\0"
        struct.pack_into("<I", data, link, len(data))
        declared = width if width and number == len(pages) - 1 else own
        place = 1 << 30 if number in missing else pixels
        entries = (
            (254, 4, 1, int(number in reduced)), (256, 4, 1, declared), (257, 4, 1, height), (258, 3, 3, bits),
            (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, place), (277, 3, 1, 3), (278, 4, 1, height),
            (279, 4, 1, page.size),
        )  # fmt: skip
        data += struct.pack("<H", len(entries))
        data += b"".join(struct.pack("<HHII", *entry) for entry in entries)
        link = len(data)
        data += bytes(4)
    return bytes(data)

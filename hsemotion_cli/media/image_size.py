"""A picture file -> width and height that it declares, before a decoder believes them and takes the memory."""

from __future__ import annotations

import struct

_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_BIG_TIFF = {b"II+\0": "<", b"MM\0+": ">"}
_WIDTH, _HEIGHT = 256, 257  # TIFF tags
_INTEGERS = {3: "H", 4: "I", 16: "Q"}  # TIFF types: SHORT, LONG, LONG8
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers that begin a frame
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # JPEG markers without a length


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in stored pixels of a JPEG, PNG, BMP, WebP or TIFF; None if it is none, or breaks off before."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _two(">II", data, 16)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if order := _TIFF.get(data[:4]):
            return _tiff(data, order, "I", "H", 12)
        if order := _BIG_TIFF.get(data[:4]):
            return _tiff(data, order, "Q", "Q", 20)
    except (struct.error, IndexError, ValueError):
        return None
    return None


def _two(kind: str, data: bytes, where: int) -> tuple[int, int]:
    width, height = struct.unpack_from(kind, data, where)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    """Segments are passed over until the one that begins the frame; what lies between two is skipped."""
    at = 2
    while True:
        at = data.index(b"\xff", at)
        while data[at] == 0xFF:
            at += 1
        marker, at = data[at], at + 1
        if marker in _FRAMES:
            height, width = _two(">HH", data, at + 3)
            return width, height
        if marker not in _ALONE:
            at += max(int(struct.unpack_from(">H", data, at)[0]), 2)


def _bmp(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return _two("<HH", data, 18)
    width, height = _two("<ii", data, 18)
    return width, abs(height)  # below 0: from the top


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = _two("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _tiff(data: bytes, order: str, offset: str, count: str, size: int) -> tuple[int, int] | None:
    """The first directory of a TIFF; offsets and counts of a BigTIFF are wider."""
    at = struct.unpack_from(order + offset, data, 4 if offset == "I" else 8)[0]
    entries = struct.unpack_from(order + count, data, at)[0]
    at += struct.calcsize(order + count)
    found: dict[int, int] = {}
    for k in range(min(entries, 4096)):
        tag, kind = struct.unpack_from(order + "HH", data, at + k * size)
        if tag in (_WIDTH, _HEIGHT) and kind in _INTEGERS:
            value = at + k * size + 4 + struct.calcsize(order + offset)
            found[tag] = struct.unpack_from(order + _INTEGERS[kind], data, value)[0]
    return (found[_WIDTH], found[_HEIGHT]) if len(found) == 2 else None

"""An image file -> width and height that it declares, before a decoder believes them and allocates the memory."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from . import netpbm

_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_BIG_TIFF = {b"II+\0": "<", b"MM\0+": ">"}
_SUBFILE, _WIDTH, _HEIGHT, _DESCRIPTION = 254, 256, 257, 270  # TIFF tags
_INTEGERS = {3: "H", 4: "I", 16: "Q"}  # TIFF types: SHORT, LONG, LONG8
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType: a smaller copy, or a mask, of another page
_MOST_PAGES = 1 << 20
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers that begin a frame
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # JPEG markers without a length
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # HEIF boxes that lead to the sizes, and bytes before their content


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in stored pixels that an image declares; None if it is not an image, or is truncated before.

    JPEG, PNG, BMP, WebP, TIFF (the first page), GIF, PNM, JPEG 2000, HEIC and AVIF. Of the last two, which may hold
    several images, the size is the largest of each side, so that what fits is safe to decode.
    """
    try:
        return _declared(data)
    except (struct.error, IndexError, ValueError):
        return None


def _declared(data: bytes) -> tuple[int, int] | None:
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _two(">II", data, 16)
    if data.startswith(b"BM"):
        return _bmp(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:4] in _TIFF or data[:4] in _BIG_TIFF:
        page = next(tiff_pages(io.BytesIO(data)), None)
        return (page.width, page.height) if page else None
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _two("<HH", data, 6)
    if data[:1] == b"P":
        return netpbm.header(data)
    if data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        return _jpeg_2000(data)
    if data[4:8] == b"ftyp":
        return _heif(data)
    return None


def _two(kind: str, data: bytes, where: int) -> tuple[int, int]:
    width, height = struct.unpack_from(kind, data, where)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    """Segments, and any data between them, are skipped up to the start of the frame."""
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


def _jpeg_2000(data: bytes) -> tuple[int, int]:
    """The reference grid of the codestream (ITU-T T.800, A.5.1), in a file or alone."""
    at = data.index(b"\xff\x4f\xff\x51")
    right, lower, left, upper = struct.unpack_from(">IIII", data, at + 8)
    return right - left, lower - upper


def _heif(data: bytes) -> tuple[int, int] | None:
    """The largest sides of all images of a HEIF file: the boxes ispe (ISO/IEC 23008-12, 6.5.3) in meta/iprp/ipco."""
    widths, heights, waiting = [0], [0], [(0, len(data))]
    while waiting:
        at, end = waiting.pop()
        while at + 8 <= end:
            size, kind = struct.unpack_from(">I4s", data, at)
            head = 8
            if size == 1:
                size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
            size = size or end - at
            if size < head:
                break
            if kind in _CONTAINERS:
                waiting.append((at + head + _CONTAINERS[kind], min(at + size, end)))
            elif kind == b"ispe":
                width, height = _two(">II", data, at + head + 4)
                widths.append(width)
                heights.append(height)
            at += size
    return (max(widths), max(heights)) if len(widths) > 1 else None


@dataclass(frozen=True, slots=True)
class TiffPage:
    """One directory of a TIFF file.

    Attributes:
        number: from 0, in the order of the file.
        width, height: pixels.
        reduced: whether it is a smaller copy or a mask of another page.
        description: of the first page, the text of ImageDescription, where ImageJ writes its frame rate; else "".
        tags: numbers of all its tags.
    """

    number: int
    width: int
    height: int
    reduced: bool
    description: str
    tags: frozenset[int]


def tiff_pages(file: IO[bytes]) -> Iterator[TiffPage]:
    """The pages of a TIFF or BigTIFF file, as far as its directories can be followed; none without a size.

    Args:
        file: seekable; its position changes.
    """
    file.seek(0)
    magic = file.read(4)
    big = magic in _BIG_TIFF
    order = _BIG_TIFF.get(magic) or _TIFF.get(magic)
    seen: set[int] = set()
    if order is None:
        return
    try:
        file.seek(8 if big else 4)
        at = _read(file, order, "Q" if big else "I")
        while at and at not in seen and len(seen) < _MOST_PAGES:
            seen.add(at)
            file.seek(at)
            page, at = _tiff_page(file, order, big, len(seen) - 1)
            if page is not None:
                yield page
    except (struct.error, OverflowError, OSError):
        return  # a directory that lies outside of the file


def _read(file: IO[bytes], order: str, kind: str) -> int:
    return int(struct.unpack(order + kind, file.read(struct.calcsize(order + kind)))[0])


def _tiff_page(file: IO[bytes], order: str, big: bool, number: int) -> tuple[TiffPage | None, int]:
    """The directory at which a file stands, and where the next one lies; offsets and counts of a BigTIFF are wider."""
    size, offset = (20, "Q") if big else (12, "I")
    count = _read(file, order, "Q" if big else "H")
    if count > 4096:
        raise OverflowError("more tags than there are")
    entries = file.read(count * size)
    link = file.read(struct.calcsize(order + offset))
    after = int(struct.unpack(order + offset, link)[0]) if len(link) == struct.calcsize(order + offset) else 0
    found: dict[int, int] = {}
    tags: set[int] = set()
    description = ""
    for k in range(0, len(entries), size):
        tag, kind, length = struct.unpack_from(order + "HH" + offset, entries, k)
        tags.add(tag)
        value = k + 4 + struct.calcsize(order + offset)
        if tag in (_WIDTH, _HEIGHT, _SUBFILE) and kind in _INTEGERS:
            found[tag] = struct.unpack_from(order + _INTEGERS[kind], entries, value)[0]
        elif tag == _DESCRIPTION and number == 0 and 8 < length < 1 << 20:
            file.seek(struct.unpack_from(order + offset, entries, value)[0])
            description = file.read(length).decode("utf-8", "replace").rstrip("\0")
    if _WIDTH not in found or _HEIGHT not in found:
        return None, after
    reduced = bool(found.get(_SUBFILE, 0) & (_REDUCED | _MASK))
    return TiffPage(number, found[_WIDTH], found[_HEIGHT], reduced, description, frozenset(tags)), after

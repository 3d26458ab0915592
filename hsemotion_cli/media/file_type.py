"""The first bytes of a file -> what kind of file it is, whatever its name says.

Only local bytes are read, and few of them: the head of the file, and for GIF and PNG the headers of its blocks. Text is
recognised first and is never media, so no table or play list is taken for a video.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import netpbm
from .image_size import tiff_pages

HEAD = 8192
"""Bytes that are read of each file."""

PNM_SUFFIXES = frozenset([".pbm", ".pgm", ".ppm", ".pnm"])

IMAGE_SUFFIXES = PNM_SUFFIXES | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".jp2", ".j2k", ".heic",
    ".heif", ".avif", ".mpo",
}  # fmt: skip
"""Names of still images; one that begins with digits only is a numbered image."""

RAW_SUFFIXES = frozenset([
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf",
    ".raw", ".rw2", ".srw", ".x3f",
])  # fmt: skip
"""Names of camera raw files, many of which are TIFF files whose first image is a thumbnail."""

IMAGE, ANIMATION, VIDEO, SOUND, OTHER = "image", "animation", "video", "sound", "other"


@dataclass(frozen=True, slots=True)
class FileType:
    """What a file is.

    Attributes:
        kind: ``IMAGE`` for a still image, ``ANIMATION`` for an image file of several frames, ``VIDEO``, ``SOUND``, or
            ``OTHER`` for what is recognised and cannot be read.
        name: of the format, as people write it.
        problem: for ``OTHER``, why it cannot be read and what to do, as a clause; else "".
    """

    kind: str
    name: str
    problem: str = ""


def _other(name: str, remedy: str = "convert it to JPEG or PNG first") -> FileType:
    return FileType(OTHER, name, f"{name} cannot be read here; {remedy}")


_RAW = _other("camera raw", "export it as JPEG or PNG first")
NO_MEDIA = "it is neither an image nor a video"
"""The problem of a file that is recognised as something else."""

# (offset, bytes, type); the first that fits counts.
_SIGNATURES: tuple[tuple[int, bytes, FileType], ...] = (
    (0, b"\xff\xd8\xff", FileType(IMAGE, "JPEG")),
    (0, b"\x89PNG\r\n\x1a\n", FileType(IMAGE, "PNG")),
    (0, b"GIF87a", FileType(IMAGE, "GIF")),
    (0, b"GIF89a", FileType(IMAGE, "GIF")),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", FileType(IMAGE, "JPEG 2000")),
    (0, b"\xff\x4f\xff\x51", FileType(IMAGE, "JPEG 2000")),
    (0, b"\xff\x0a", _other("JPEG XL")),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", _other("JPEG XL")),
    (0, b"8BPS\x00", _other("Photoshop")),
    (0, b"\x76\x2f\x31\x01", _other("OpenEXR")),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIU\x00", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"FOVb", _RAW),
    (0, b"\x00MRM", _RAW),
    (128, b"DICM", _other("DICOM")),
    (0, b"\x1a\x45\xdf\xa3", FileType(VIDEO, "Matroska")),
    (0, b"\x00\x00\x01\xba", FileType(VIDEO, "MPEG program stream")),
    (0, b"\x00\x00\x01\xb3", FileType(VIDEO, "MPEG video")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", FileType(VIDEO, "ASF")),
    (0, b"FLV\x01", FileType(VIDEO, "Flash video")),
    (0, b".RMF\x00", FileType(VIDEO, "RealMedia")),
    (0, b"DKIF\x00\x00", FileType(VIDEO, "IVF")),
    (0, b"nut/multimedia container\x00", FileType(VIDEO, "NUT")),
    (0, b"YUV4MPEG2 ", FileType(VIDEO, "YUV4MPEG2")),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", FileType(VIDEO, "MXF")),
    (0, b"\x1f\x07\x00", FileType(VIDEO, "DV")),
    (0, b"fLaC\x00", FileType(SOUND, "FLAC")),
    (0, b"ID3\x02", FileType(SOUND, "MP3")),
    (0, b"ID3\x03", FileType(SOUND, "MP3")),
    (0, b"ID3\x04", FileType(SOUND, "MP3")),
    (0, b"caff\x00", FileType(SOUND, "CAF")),
    (0, b"#!AMR", FileType(SOUND, "AMR")),
    (0, b".snd\x00", FileType(SOUND, "AU")),
    (0, b"\x0b\x77", FileType(SOUND, "AC-3")),
    (0, b"PK\x03\x04", FileType(OTHER, "ZIP archive", NO_MEDIA)),
    (0, b"%PDF-", FileType(OTHER, "PDF", NO_MEDIA)),
    (0, b"SQLite format 3\x00", FileType(OTHER, "SQLite database", NO_MEDIA)),
    (0, b"\x1f\x8b\x08", FileType(OTHER, "gzip archive", NO_MEDIA)),
    (0, b"\x7fELF", FileType(OTHER, "program", NO_MEDIA)),
    (0, b"PAR1", FileType(OTHER, "Parquet table", NO_MEDIA)),
)

_RIFF = {
    b"WEBP": FileType(IMAGE, "WebP"),
    b"AVI ": FileType(VIDEO, "AVI"),
    b"WAVE": FileType(SOUND, "WAV"),
}

# Brands of ISO base media files (ISO/IEC 14496-12) that are not video; ISO/IEC 23008-12 has those of HEIF.
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2"), FileType(IMAGE, "HEIC")),
    **dict.fromkeys((b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"), FileType(ANIMATION, "HEIF sequence")),
    b"avif": FileType(IMAGE, "AVIF"),
    b"avis": FileType(ANIMATION, "AVIF sequence"),
    b"crx ": _RAW,
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "), FileType(SOUND, "MPEG-4 audio")),
}
_MOVIE_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_DIB_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))  # sizes of the headers that follow "BM"
_ANNEX_B = re.compile(rb"\x00?\x00\x00\x01(?:[\x27\x47\x67\x09\x29]|[\x40\x42\x46]\x01)")  # H.264 or HEVC begins so
_TEXT = bytes(range(32, 127)) + b"\t\n\r\f\x1b" + bytes(range(128, 256))
_DNG_VERSION = 50706  # a tag of Adobe's DNG specification


def is_text(head: bytes) -> bool:
    """Whether the beginning of a file is text: UTF-8 (so also ASCII) or UTF-16, without control characters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        # UTF-16; a text's head may end within a character.
        try:
            return "\0" not in head[: len(head) // 2 * 2].decode("utf-16", "strict")
        except UnicodeDecodeError as error:
            return error.start >= len(head) - 4
    if not head or head.translate(None, _TEXT):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and len(head) == HEAD
    return True


def holds_text(path: Path) -> bool:
    """Whether a file begins as text does; raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return is_text(file.read(HEAD))


def sniff(head: bytes) -> FileType | None:
    """What a file is by its first bytes (at most ``HEAD``); None for text and for everything unknown."""
    if is_text(head):
        return FileType(VIDEO, "YUV4MPEG2") if head.startswith(b"YUV4MPEG2 ") and b"\nFRAME" in head else None
    for offset, magic, found in _SIGNATURES:
        if head.startswith(magic, offset):
            return found
    return _sniff_container(head) or _sniff_image(head) or _sniff_stream(head)


def _sniff_container(head: bytes) -> FileType | None:
    """RIFF, Ogg, AIFF, and the files of MPEG-4 and QuickTime."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:4] == b"OggS":
        seen = (b"theora", b"video\0", b"BBCD\0", b"OVP80")  # how the headers of video codecs begin
        return FileType(VIDEO if any(word in head[:512] for word in seen) else SOUND, "Ogg")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return FileType(SOUND, "AIFF")
    size = int.from_bytes(head[:4])
    if head[4:8] == b"ftyp" and size >= 16:
        return _by_brands(head[8:12], {head[k : k + 4] for k in range(16, min(size, len(head)), 4)})
    if head[4:8] in _MOVIE_BOXES and (size == 1 or size >= 8):
        return FileType(VIDEO, "QuickTime")
    return None


def _by_brands(major: bytes, compatible: set[bytes]) -> FileType:
    """A file of MPEG-4's family: what its major brand says, or an image if only the others say so."""
    if major in (b"mif1", b"mif2", b"msf1") and b"avif" in compatible:
        return _BRANDS[b"avif"]
    if major in _BRANDS:
        return _BRANDS[major]
    images = compatible & {b"heic", b"heix", b"avif", b"crx "}
    return _BRANDS[min(images)] if images else FileType(VIDEO, "MPEG-4")


def _sniff_image(head: bytes) -> FileType | None:
    if head[:2] == b"BM" and head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _DIB_HEADERS:
        return FileType(IMAGE, "BMP")
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _RAW if head[8:10] == b"CR" else FileType(IMAGE, "TIFF")
    if netpbm.header(head):
        return FileType(IMAGE, "Netpbm")
    return None


def _sniff_stream(head: bytes) -> FileType | None:
    """Streams without a container, which have weak signatures."""
    if _ANNEX_B.match(head):
        return FileType(VIDEO, "H.264 or HEVC")
    for first, step in ((0, 188), (4, 192)):  # MPEG transport streams, and those of AVCHD cameras
        marks = head[first::step]
        if len(marks) >= 4 and marks.count(0x47) == len(marks):
            return FileType(VIDEO, "MPEG transport stream")
    # MPEG audio, layer III: eleven bits of ones, a version, a layer, a bit rate and a sampling rate that exist.
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08:
        return FileType(SOUND, "MP3") if head[2] >> 4 not in (0, 15) and head[2] >> 2 & 3 != 3 else None
    return None


def file_type(path: Path) -> FileType | None:
    """What a file is by its content; the name decides only what content cannot.

    Returns:
        None for text and for everything unknown.

    Raises:
        OSError: it cannot be read.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(HEAD)
        found = sniff(head)
        if found is None:
            return FileType(IMAGE, "Netpbm") if suffix in PNM_SUFFIXES and netpbm.header(head) else None
        if found.name == "TIFF":
            return _tiff(file, suffix)
        if suffix in RAW_SUFFIXES and found.kind == IMAGE:
            return _RAW
        if found.name in _ANIMATED and _ANIMATED[found.name](file):
            return FileType(ANIMATION, {"PNG": "APNG"}.get(found.name, found.name))
        return found


def is_animation(content: bytes) -> bool:
    """Whether an image file that has been read holds several frames."""
    found = sniff(content[:HEAD])
    if found is None or found.kind not in (IMAGE, ANIMATION):
        return False
    if found.name == "TIFF":
        return _tiff(io.BytesIO(content), "").kind == ANIMATION
    animated = _ANIMATED.get(found.name)
    return found.kind == ANIMATION or (animated is not None and animated(io.BytesIO(content)))


def _tiff(file: IO[bytes], suffix: str) -> FileType:
    """A TIFF file: a still image, a stack of pages, or camera raw, whose first image is a thumbnail."""
    pages = tiff_pages(file)
    first = next(pages, None)
    if suffix in RAW_SUFFIXES or (first is not None and (_DNG_VERSION in first.tags or first.reduced)):
        return _RAW
    more = any(not page.reduced for page in pages)
    return FileType(ANIMATION if more else IMAGE, "TIFF")


def _webp_is_animated(file: IO[bytes]) -> bool:
    """The flag of the extended header (RFC 9649, 2.7)."""
    file.seek(0)
    head = file.read(21)
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)


def _png_is_animated(file: IO[bytes]) -> bool:
    return png_animation(file, most=1)[0] > 1


def png_animation(file: IO[bytes], most: int = 1 << 20) -> tuple[int, list[float]]:
    """How many frames an animated PNG declares, and the seconds for which each is shown, 0 where it says none.

    Only the headers of chunks are read: acTL, which declares an animation before the image data, and the fcTL of each
    frame (PNG, third edition, 11.3.6).

    Args:
        file: seekable; its position changes.
        most: frames that are looked at.

    Returns:
        (0, []) for another file.
    """
    delays: list[float] = []
    declared, at = 0, 8
    file.seek(0)
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return 0, []
    while len(delays) < most:
        file.seek(at)
        head = file.read(34)
        kind = head[4:8]
        if kind == b"acTL":
            declared = int.from_bytes(head[8:12])
        if len(head) < 12 or kind == b"IEND" or (kind == b"IDAT" and not declared):
            break
        if kind == b"fcTL" and len(head) >= 32:
            delays.append(int.from_bytes(head[28:30]) / (int.from_bytes(head[30:32]) or 100))
        at += 12 + int.from_bytes(head[:4])
    return declared, delays


def _gif_is_animated(file: IO[bytes]) -> bool:
    """A second image among the blocks (GIF89a, appendix A)."""
    file.seek(10)
    flags = file.read(3)
    at = 13 + _colours(flags[:1])
    images = 0
    while True:
        file.seek(at)
        block = file.read(10)
        if block[:1] == b"\x2c" and len(block) == 10:
            images += 1
            if images > 1:
                return True
            at = _after_blocks(file, at + 11 + _colours(block[9:10]))
        elif block[:1] == b"\x21":
            at = _after_blocks(file, at + 2)
        else:
            return False


def _colours(flags: bytes) -> int:
    """Bytes of a colour table, by the flags before it."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _after_blocks(file: IO[bytes], at: int) -> int:
    """Where a chain of data sub-blocks ends."""
    file.seek(at)
    while size := file.read(1):
        if not size[0]:
            return file.tell()
        file.seek(size[0], 1)
    return file.tell()


_ANIMATED: dict[str, Callable[[IO[bytes]], bool]] = {
    "WebP": _webp_is_animated,
    "PNG": _png_is_animated,
    "GIF": _gif_is_animated,
}

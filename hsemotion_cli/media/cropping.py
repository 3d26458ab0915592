"""What a container crops away from its images: the clean aperture of MP4 and QuickTime, PixelCrop of Matroska.

ffmpeg (since 7.1), mpv (since 0.40) and QuickTime leave it out of what they show. PyAV does not pass it on, so it is
read here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..domain import Image
from .mp4_boxes import Span, boxes, find_box, whole

_SAMPLE_ENTRY = 78  # bytes of a visual sample entry before the boxes in it, ISO/IEC 14496-12, 12.1.3.2

# Elements of Matroska, RFC 9559.
_SEGMENT, _CLUSTER, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xE0
_CROP_BOTTOM, _CROP_TOP, _CROP_LEFT, _CROP_RIGHT = 0x54AA, 0x54BB, 0x54CC, 0x54DD
_MOST_ELEMENTS = 1000


@dataclass(frozen=True, slots=True)
class Crop:
    """Columns and rows of the stored image that are not shown, at each of its sides."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return any(astuple(self))

    def fits(self, width: int, height: int) -> bool:
        """Whether anything of an image is left."""
        return self.left + self.right < width and self.top + self.bottom < height

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what is left; of all of it where nothing would be."""
        if not self.fits(width, height):
            return width, height
        return width - self.left - self.right, height - self.top - self.bottom

    def apply(self, image: Image) -> Image:
        """What is left of an image."""
        height, width = image.shape[:2]
        if not self or not self.fits(width, height):
            return image
        return np.ascontiguousarray(image[self.top : height - self.bottom, self.left : width - self.right])


def container_crop(path: Path, container: Any, stream: Any) -> Crop:
    """What a container crops away from the images of a video stream; nothing where it says so badly, or not at all.

    Raises:
        OSError: the file cannot be read.
    """
    name = container.format.name
    if "mp4" in name:
        with path.open("rb") as file:
            return _clean_aperture(file, stream.id)
    if "matroska" in name:
        with path.open("rb") as file:
            videos = list(_matroska_crops(file))
        number = container.streams.video.index(stream)
        return videos[number] if number < len(videos) else Crop()
    return Crop()


def _clean_aperture(file: IO[bytes], track: int) -> Crop:
    """From the first sample entry of a track (ISO/IEC 14496-12, 12.1.4; QuickTime File Format)."""
    movie = find_box(file, whole(file), b"moov")
    for kind, span in boxes(file, movie) if movie else ():
        if kind != b"trak" or _track_id(file, span) != track:
            continue
        table = find_box(file, span, b"mdia", b"minf", b"stbl", b"stsd")
        entry = next(boxes(file, (table[0] + 8, table[1])), None) if table else None
        if entry is None:
            return Crop()
        start, end = entry[1]
        aperture = find_box(file, (start + _SAMPLE_ENTRY, end), b"clap")
        if aperture is None:
            return Crop()
        file.seek(start + 24)
        width, height = (int.from_bytes(file.read(2)) for _ in range(2))
        file.seek(aperture[0])
        return _from_aperture(file.read(32), width, height)
    return Crop()


def _track_id(file: IO[bytes], track: Span) -> int:
    header = find_box(file, track, b"tkhd")
    if header is None:
        return -1
    file.seek(header[0])
    content = file.read(24)
    return int.from_bytes(content[20:24] if content[:1] == b"\1" else content[12:16])


def _from_aperture(content: bytes, width: int, height: int) -> Crop:
    """Its size, and how far its centre lies from that of the image, as fractions; pixels cut in two are kept."""
    if len(content) < 32:
        return Crop()
    numbers = [int.from_bytes(content[k : k + 4], signed=k >= 16 and k % 8 == 0) for k in range(0, 32, 4)]
    if 0 in numbers[1::2]:
        return Crop()
    columns, rows, right, down = (Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
    left, top = right + (width - columns) / 2, down + (height - rows) / 2
    sides = [math.floor(side) for side in (left, top, width - columns - left, height - rows - top)]
    return Crop(*sides) if min(sides) >= 0 and columns > 0 and rows > 0 else Crop()


def _matroska_crops(file: IO[bytes]) -> Iterator[Crop]:
    """Of each video track, in the order of the file."""
    for name, span in _elements(file, whole(file)):
        if name != _SEGMENT:
            continue
        for part, tracks in _elements(file, span):
            if part == _CLUSTER:
                return
            if part != _TRACKS:
                continue
            for kind, track in _elements(file, tracks):
                video = next((s for n, s in _elements(file, track) if n == _VIDEO), None) if kind == _TRACK else None
                if video is not None:
                    yield _pixel_crop(file, video)


def _pixel_crop(file: IO[bytes], video: Span) -> Crop:
    found: dict[int, int] = {}
    for name, (start, end) in _elements(file, video):
        if name in (_CROP_LEFT, _CROP_TOP, _CROP_RIGHT, _CROP_BOTTOM):
            file.seek(start)
            found[name] = int.from_bytes(file.read(min(end - start, 8)))
    return Crop(*(found.get(name, 0) for name in (_CROP_LEFT, _CROP_TOP, _CROP_RIGHT, _CROP_BOTTOM)))


def _elements(file: IO[bytes], span: Span) -> Iterator[tuple[int, Span]]:
    """(ID, content) of the EBML elements side by side in a span, up to a damaged one (RFC 8794)."""
    at, end = span
    for _ in range(_MOST_ELEMENTS):
        if at + 2 > end:
            return
        file.seek(at)
        head = file.read(12)
        id_bytes = _vint_bytes(head)
        size_bytes = _vint_bytes(head[id_bytes:])
        if not 1 <= id_bytes <= 4 or not size_bytes or len(head) < id_bytes + size_bytes:
            return
        marker = 1 << 7 * size_bytes
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes]) & (marker - 1)
        content = at + id_bytes + size_bytes
        # All ones: the size was not known when it was written, so it lasts to the end.
        at = end if size == marker - 1 else content + size
        yield int.from_bytes(head[:id_bytes]), (content, min(at, end))


def _vint_bytes(data: bytes) -> int:
    """Bytes of the variable-length number that begins here; 0 if there is none."""
    return 9 - data[0].bit_length() if data and data[0] else 0

"""Changes what the container of a clip says, byte by byte: display matrix, clean aperture, crop."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np

MATRICES = {
    "as it is": (1, 0, 0, 1),
    "90 clockwise": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "90 counter-clockwise": (0, -1, 1, 0),
    "left to right": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed at the other diagonal": (0, -1, -1, 0),
}
"""All ways to lay a rectangle on itself: a, b, c, d of x' = a x + c y, y' = b x + d y, with y down."""


def with_matrix(source: Path, out: Path, matrix: tuple[float, float, float, float]) -> Path:
    """A copy of an mp4 whose first track has another display matrix."""
    data = bytearray(source.read_bytes())
    header = data.index(b"tkhd") + 4
    assert data[header] == 0, "written by ffmpeg with 32-bit times"
    a, b, c, d = (round(number * 65536) for number in matrix)
    struct.pack_into(">9i", data, header + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    out.write_bytes(data)
    return out


def with_clean_aperture(source: Path, out: Path, width: int, height: int, right: float, down: float) -> Path:
    """A copy of an mp4 with a ``clap`` box: a size, and how far its centre lies from that of the image."""
    data = source.read_bytes()
    assert data.index(b"mdat") < data.index(b"moov"), "offsets of chunks would change"
    content = struct.pack(">4I", width, 1, height, 1) + struct.pack(">iIiI", round(right * 2), 2, round(down * 2), 2)
    box = struct.pack(">I4s", 8 + len(content), b"clap") + content
    names = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")
    starts, at = [], 0
    for name in names:
        at = data.index(name, at) - 4
        starts.append(at)
        at += 8
    end = starts[-1] + struct.unpack_from(">I", data, starts[-1])[0]
    grown = bytearray(data[:end] + box + data[end:])
    for start in starts:
        struct.pack_into(">I", grown, start, struct.unpack_from(">I", grown, start)[0] + len(box))
    out.write_bytes(grown)
    return out


PIXEL_CROP = {"bottom": b"\x54\xaa", "top": b"\x54\xbb", "left": b"\x54\xcc", "right": b"\x54\xdd"}
"""Elements of Matroska (RFC 9559)."""


def cropped_matroska(path: Path, picture: np.ndarray, side: str, pixels: int) -> None:
    """A Matroska file of one image that says to crop it at one side; the unit of its display size makes room."""
    height, width = picture.shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    data, unit = path.read_bytes(), b"\x54\xb2\x81\x04"
    assert data.count(unit) == 1
    path.write_bytes(data.replace(unit, PIXEL_CROP[side] + b"\x81" + bytes([pixels])))


def laid(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """An image moved pixel by pixel, by the definition of the matrix."""
    a, b, c, d = matrix
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    across, down = a * x + c * y, b * x + d * y
    out = np.empty((np.ptp(down) + 1, np.ptp(across) + 1, 3), np.uint8)
    out[down - down.min(), across - across.min()] = image
    return out

"""Decoded frame -> RGB as a player shows it: which matrix, range, transfer function and primaries a frame has.

A frame says so by tags, and often lacks them. Players then go by the size, and so does this: one rule for a stream,
by its first frame. Numbers and names of the tags are those of Recommendation ITU-T H.273, as ffmpeg prints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from ..domain import Image
from . import tone_mapping

_MATRICES = {
    0: "gbr", 1: "bt709", 3: "reserved", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco",
    9: "bt2020nc", 10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
    15: "ipt-c2", 16: "ycgco-re", 17: "ycgco-ro",
}  # fmt: skip
_TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip

HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
"""Transfer functions of HDR -> what people call them."""

_UNLIKE_GAMMA = frozenset(("linear", "log100", "log316"))
"""Transfer functions that are far from those of ordinary displays and are not converted."""

_SWSCALE = {
    "bt709": Colorspace.ITU709, "fcc": Colorspace.FCC, "bt470bg": Colorspace.ITU601, "smpte170m": Colorspace.ITU601,
    "smpte240m": Colorspace.SMPTE240M, "bt2020nc": Colorspace.BT2020,
}  # fmt: skip
"""Matrices that libswscale knows."""

_NEAREST = {"bt2020c": "bt2020nc", "ictcp": "bt2020nc", "ipt-c2": "bt2020nc"}

ACCURATE = 0x2 | 0x40000
"""Bilinear scaling, rounded to the nearest level; otherwise libswscale rounds down, and colours lose a level or two.

SWS_BILINEAR and SWS_ACCURATE_RND of libswscale/swscale.h, which PyAV before 18 has no names for.
"""

_ACCURATE_CHROMA = ACCURATE | 0x2000  # SWS_FULL_CHR_H_INT
_SAYS_NOTHING = (0, 2)  # unspecified, or RGB, which no YCbCr is
_LOWEST_HD, _NARROWEST_HD = 577, 1280
_BY_TAG, _BY_SIZE, _BY_COLOURS = "tag", "size", "transfer and primaries"


@dataclass(frozen=True, slots=True)
class Colour:
    """How the colour of a frame is stored, and how it was read.

    Attributes:
        matrix: from YCbCr to RGB, that was used; "rgb" or "gray" where there is none.
        matrix_from: "tag", or what it was chosen by: "size" or "transfer and primaries"; "" where there is none.
        tagged_matrix: the tag, if it is one that is not supported exactly, else "".
        range: "limited" or "full".
        transfer: transfer function, "unknown" without a tag.
        primaries: likewise.
        conversion: what was done beyond the matrix: "tone mapping by ...", "primaries" or "".
    """

    matrix: str
    matrix_from: str
    tagged_matrix: str
    range: str
    transfer: str
    primaries: str
    conversion: str

    @property
    def hdr(self) -> str:
        """ "HLG", "PQ" or ""."""
        return HDR.get(self.transfer, "")

    @property
    def unconverted(self) -> bool:
        """Whether its transfer function would need a conversion that is not made."""
        return self.transfer in _UNLIKE_GAMMA


class ColourReader:
    """Turns the frames of one stream into RGB.

    Args:
        width, height: pixels of its first frame, as stored.
    """

    def __init__(self, width: int, height: int) -> None:
        # As mpv has it; other players differ between 576 and 720 lines only.
        self._usual = "bt709" if width >= _NARROWEST_HD or height >= _LOWEST_HD else "smpte170m"

    def describe(self, frame: Any) -> Colour:
        """How the colour of a decoded frame is read."""
        transfer = _TRANSFERS.get(int(frame.color_trc), "unknown")
        primaries = _PRIMARIES.get(int(frame.color_primaries), "unknown")
        tag = _MATRICES.get(int(frame.colorspace), "unknown")
        matrix, source = self._matrix(frame, tag, transfer, primaries)
        exact = source == "" or matrix == tag or tag in ("unknown", "gbr")
        return Colour(
            matrix=matrix,
            matrix_from=source,
            tagged_matrix="" if exact else tag,
            range=_range(frame, source == ""),
            transfer=transfer,
            primaries=primaries,
            conversion=_conversion(transfer, _wide(matrix, transfer, primaries)),
        )

    def rgb(self, frame: Any) -> Image:
        """(height, width, 3) 8-bit RGB of a decoded frame, as stored: neither turned nor scaled."""
        colour = self.describe(frame)
        if not colour.conversion:
            return np.asarray(_reformatted(frame, colour, "rgb24"), np.uint8)
        wide = _wide(colour.matrix, colour.transfer, colour.primaries)
        deep = np.asarray(_reformatted(frame, colour, "rgb48le"), np.uint16)
        return tone_mapping.converter(colour.transfer, wide)(deep)

    def luma(self, frame: Any) -> NDArray[np.uint8]:
        """(height, width) brightness, without converting a frame whose first plane is just that."""
        bits = frame.format.components[0].bits
        if frame.format.is_rgb or frame.format.has_palette or not frame.format.is_planar or bits > 16:
            return np.asarray(_reformatted(frame, self.describe(frame), "gray8"), np.uint8)
        plane = frame.planes[0]
        kind = np.dtype(np.uint8 if bits == 8 else ">u2" if frame.format.is_big_endian else "<u2")
        rows = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)[:, : frame.width]
        return np.asarray(rows if bits == 8 else rows >> (bits - 8), np.uint8)

    def _matrix(self, frame: Any, tag: str, transfer: str, primaries: str) -> tuple[str, str]:
        """The matrix to use, and what it was chosen by."""
        if frame.format.is_rgb or frame.format.has_palette or frame.format.name.startswith("xyz"):
            return "rgb", ""
        if len(frame.format.components) < 3:
            return "gray", ""
        if tag in _SWSCALE or tag == "ycgco":
            return tag, _BY_TAG
        if tag in _NEAREST:
            return _NEAREST[tag], _BY_TAG
        if transfer in HDR or primaries == "bt2020":
            return "bt2020nc", _BY_COLOURS
        return self._usual, _BY_SIZE


def _range(frame: Any, is_full: bool) -> str:
    """Of YCbCr it is limited unless said otherwise; RGB and gray are taken for full, as libswscale does."""
    full = is_full or frame.format.name.startswith("yuvj") or int(frame.color_range) == ColorRange.JPEG
    return "full" if full else "limited"


def _wide(matrix: str, transfer: str, primaries: str) -> str:
    """The primaries to convert from, or "bt709" for none."""
    if primaries == "unknown" and (transfer in HDR or matrix == "bt2020nc"):
        return "bt2020"
    return primaries if primaries in tone_mapping.WIDE else "bt709"


def _conversion(transfer: str, wide: str) -> str:
    if transfer in HDR:
        return f"tone mapping by {tone_mapping.METHOD}"
    return "primaries" if wide in tone_mapping.WIDE and transfer not in _UNLIKE_GAMMA else ""


def _reformatted(frame: Any, colour: Colour, format: str) -> NDArray[Any]:
    """A frame in a format of RGB or gray, by the matrix in ``colour``."""
    if colour.matrix == "ycgco":
        return _from_ycgco(frame, colour, format)
    usual = int(frame.colorspace) in _SAYS_NOTHING and colour.matrix == "smpte170m"  # libswscale's own choice
    if usual or colour.matrix_from == "" or (colour.matrix_from == _BY_TAG and not colour.tagged_matrix):
        return frame.to_ndarray(format=format)
    # What is asked for here replaces the tag, which libswscale may refuse.
    matrix = _SWSCALE[colour.matrix]
    return frame.to_ndarray(format=format, src_colorspace=matrix, dst_colorspace=matrix, interpolation=_ACCURATE_CHROMA)


def _from_ycgco(frame: Any, colour: Colour, format: str) -> NDArray[Any]:
    """A frame of YCgCo (H.273, equations 58 to 65), which libswscale does not know."""
    same = {"src_colorspace": Colorspace.ITU709, "dst_colorspace": Colorspace.ITU709}
    full = {"src_color_range": ColorRange.JPEG, "dst_color_range": ColorRange.JPEG}  # only the chroma is scaled
    planes = frame.reformat(format="yuv444p16le", **same, **full)
    y, cg, co = (_plane(plane) for plane in planes.planes)
    offset, luma, chroma = (0.0, 65535.0, 65535.0) if colour.range == "full" else (16 * 256.0, 219 * 256.0, 224 * 256.0)
    y, cg, co = (y - offset) / luma, (cg - 32768) / chroma, (co - 32768) / chroma
    rgb = np.stack((y - cg + co, y + cg, y - cg - co), axis=-1)
    most, kind = (65535, np.uint16) if format == "rgb48le" else (255, np.uint8)
    image = np.asarray(np.clip(rgb, 0, 1) * most + 0.5).astype(kind)
    return image[..., 1] if format == "gray8" else image  # green is near enough to brightness for finding cuts


def _plane(plane: Any) -> NDArray[np.float32]:
    rows = np.frombuffer(plane, "<u2").reshape(plane.height, plane.line_size // 2)
    return rows[:, : plane.width].astype(np.float32)

"""Which way a stored image is turned for display: one of the eight orientations of a rectangle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..domain import Image


@dataclass(frozen=True, slots=True)
class Orientation:
    """A mirror, and then a rotation.

    Attributes:
        quarters: quarter turns counter-clockwise, 0 to 3.
        mirrored: whether left and right are exchanged before that.
        rest: degrees by which the file would rotate further, clockwise, in [-45, 45]. Only quarter turns are made.
    """

    quarters: int = 0
    mirrored: bool = False
    rest: float = 0.0

    @property
    def degrees(self) -> int:
        """Degrees counter-clockwise, a multiple of 90."""
        return self.quarters * 90

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the rotation."""
        return (height, width) if self.quarters % 2 else (width, height)

    def apply(self, image: Image) -> Image:
        """The image as it is displayed; the same array if nothing changes."""
        if self.mirrored:
            image = image[:, ::-1]
        return np.ascontiguousarray(np.rot90(image, self.quarters)) if self.mirrored or self.quarters else image


UPRIGHT = Orientation()


def orientation_of(frame: Any, rotate: str) -> Orientation:
    """How to rotate and mirror a decoded frame.

    Args:
        frame: as PyAV gives it, with its display matrix, if there is one, as side data.
        rotate: "auto" for its display matrix; a number of degrees counter-clockwise replaces it, mirror included.
    """
    if rotate != "auto":
        return Orientation(int(rotate) // 90)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return UPRIGHT if matrix is None else from_matrix(bytes(matrix))


def from_matrix(content: bytes) -> Orientation:
    """The orientation nearest to a display matrix (``tkhd`` of ISO/IEC 14496-12, 8.3.2).

    Args:
        content: nine 32-bit integers in the byte order of this machine, as libavutil/display.h lays them out. A pixel
            at x, y (to the right, down) goes to a x + c y, b x + d y.
    """
    a, b, _, c, d, *_ = (float(number) for number in np.frombuffer(content, np.int32))
    mirrored = a * d - b * c < 0
    if mirrored:  # what is left when columns of the image have been exchanged first
        a, b = -a, -b
    # With y down, this angle is clockwise. Both columns count, as a matrix may be slightly skewed.
    clockwise = math.degrees(math.atan2(b - c, a + d))
    quarters = round(clockwise / 90)
    return Orientation(-quarters % 4, mirrored, clockwise - 90 * quarters)

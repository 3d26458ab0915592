"""Warp a square out of an image with an affine map."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Image

_WORTH = 9
"""Source pixels per pixel of the square up to which adding a fourth channel saves time."""


def warp_square(image: Image, matrix: NDArray[np.float64], size: int, border: int) -> Image:
    """Sample an image at the positions of a square's pixels, with linear interpolation.

    Args:
        image: uint8, (height, width, 3) or (height, width).
        matrix: 2 x 3, from the square's pixel centres to the image's.
        size: width and height of the square.
        border: OpenCV's border type for pixels outside the image.

    Returns:
        uint8, (size, size, 3) or (size, size).
    """
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    height, width = image.shape[:2]
    (left, right), (top, bottom) = (_reach(row, size) for row in matrix.tolist())
    inside = left >= 0 and top >= 0 and right <= width and bottom <= height
    # A mirrored border shows other parts of the image, so all of it is needed.
    alone = inside or border in (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE)
    left, right, top, bottom = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
    small = left < right and top < bottom and (right - left) * (bottom - top) <= _WORTH * size * size
    if not (alone and small):
        return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=how, borderMode=border), np.uint8)
    part, there = image[top:bottom, left:right], matrix.copy()
    there[:, 2] -= left, top
    # OpenCV interpolates pixels of four bytes in less than half the time of those of three, to the same values.
    colours = image.ndim == 3
    given = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA) if colours else part
    seen = cv2.warpAffine(given, there, (size, size), flags=how, borderMode=border)
    return np.asarray(cv2.cvtColor(seen, cv2.COLOR_RGBA2RGB) if colours else seen, np.uint8)


def _reach(row: list[float], size: int) -> tuple[int, int]:
    """Start and end of the square's extent along one side of an image, with a margin of one pixel.

    Anything outside that part of the image is outside the image, where the border applies.
    """
    across, down, first = row
    low, high = first + size * (min(across, 0) + min(down, 0)), first + size * (max(across, 0) + max(down, 0))
    return math.floor(low) - 1, math.ceil(high) + 2

"""One coordinate system for a source, whatever the sizes of its images and whichever part is analysed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..domain import WHOLE, Image, View
from ..errors import UsageError
from ..runtime.whole_numbers import whole_number

Region = tuple[int, int, int, int]
"""x, y, width, height in pixels of the displayed image."""


class Canvas:
    """The displayed image. Its size is that of the source's first image; images of another size are fitted into it.

    Fitted as a player does it: scaled in their own proportions, and centred. Only coordinates are scaled, so every
    image is analysed at its own resolution.

    Args:
        width, height: of the first image.
        region: the part that is analysed; None for all of it.
        path: of the source, for the message.

    Raises:
        UsageError: the region reaches beyond the displayed image.
    """

    def __init__(self, width: int, height: int, region: Region | None, path: Path) -> None:
        self.width, self.height = width, height
        self._region = region
        if region is not None and (region[0] + region[2] > width or region[1] + region[3] > height):
            raise UsageError(
                f"--region {','.join(map(str, region))}: reaches beyond the displayed image of {path}, which has "
                f"{width} x {height} pixels; give x,y,width,height inside of it."
            )

    def view(self, width: int, height: int) -> View:
        """Where an image of a size lies."""
        if (width, height) == (self.width, self.height):
            return WHOLE
        scale = min(self.width / width, self.height / height)
        return View((self.width - width * scale) / 2, (self.height - height * scale) / 2, scale)

    def placed(self, image: Image) -> tuple[Image, View]:
        """The part of an image that is analysed, and where it lies."""
        height, width = image.shape[:2]
        view = self.view(width, height)
        if self._region is None:
            return image, view
        x, y, region_width, region_height = self._region
        left, top = view.to_image(x, y)
        right, bottom = view.to_image(x + region_width, y + region_height)
        # Whole pixels: all that the region touches.
        first, last = max(math.floor(left + _ROUNDING), 0), min(math.ceil(right - _ROUNDING), width)
        above, below = max(math.floor(top + _ROUNDING), 0), min(math.ceil(bottom - _ROUNDING), height)
        if first >= last or above >= below:  # nothing but the border beside an image of other proportions
            return np.zeros((region_height, region_width, 3), np.uint8), View(x, y, 1.0)
        corner = view.to_canvas(first, above)
        return np.ascontiguousarray(image[above:below, first:last]), View(*corner, view.scale)


_ROUNDING = 1e-6
"""Pixels that the arithmetic may be off."""


def parse_region(text: str) -> Region:
    """``--region``: "x,y,width,height" in whole pixels.

    Raises:
        UsageError: anything else.
    """
    parts = [whole_number(part.strip()) for part in text.split(",")]
    x, y, width, height = parts if len(parts) == 4 else [None] * 4
    if x is None or y is None or width is None or height is None:
        raise UsageError(
            f"--region {text}: give x,y,width,height in whole pixels of the displayed image, as 0,0,640,360."
        )
    if not width or not height:
        raise UsageError(f"--region {text}: its width and height must be at least 1 pixel.")
    return x, y, width, height

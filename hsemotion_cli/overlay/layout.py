"""An image and the rows of its faces -> the image with boxes and labels, and beside it a strip with their scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..domain import Image
from .drawing import Rect, Row, Sizes, draw_box, read_row
from .labels import LabelPlacer, draw_label
from .strip import GROUND, HOLD, Moment, PanelStrip, strip_size


class OverlayPainter:
    """Draws on images of one size, in the order of a video.

    It remembers which place in the strip each person has and where its label was, so that both stay where they are.

    Args:
        width, height: pixels of the images, 1 or more.
        hold: seconds for which the place of a person who is not found any more is kept.

    Attributes:
        canvas: width and height of what is drawn; the image is its upper left part.
    """

    def __init__(self, width: int, height: int, hold: float = HOLD) -> None:
        self.width = width
        self.height = height
        self.sizes = Sizes.of(width, height)
        strip, high = strip_size(width, height, self.sizes)
        self.canvas = width + strip, high
        self._strip = PanelStrip(width, high, self.sizes, hold)
        self._labels = LabelPlacer(width, height, self.sizes)
        self._people: dict[str, int] = {}

    def draw(self, image: Image, faces: Sequence[Row], moment: Moment) -> Image:
        """A larger copy of an image with its faces drawn in, and the strip on its right.

        Args:
            image: (height, width, 3) uint8 RGB of the painter's size.
            faces: table rows of the faces of this image; missing values are not drawn.
            moment: of the frame.

        Returns:
            uint8 RGB of the size ``canvas``.

        Raises:
            ValueError: the image has another size.
        """
        if image.shape != (self.height, self.width, 3):
            raise ValueError(f"expected an image of {(self.height, self.width, 3)}, got {image.shape}")
        canvas = np.empty((self.canvas[1], self.canvas[0], 3), np.uint8)
        canvas[self.height :], canvas[:, self.width :] = GROUND, GROUND
        picture = canvas[: self.height, : self.width]  # a view: boxes and labels end at its edges
        picture[:] = image
        known = [face for row in faces if (face := read_row(row, self.width, self.height, self._people)) is not None]
        for face in known:
            draw_box(picture, face, self.sizes)
        drawn = self._strip.draw(canvas, known, moment)
        taken: list[Rect] = []
        for index, face in enumerate(known):
            others = [other.box for k, other in enumerate(known) if k != index]
            found = self._labels.place(face, others + taken, rich=face.key not in drawn)
            if found is not None:
                label, left, top = found
                draw_label(picture, face, label, left, top, self.sizes)
                taken.append((left, top, left + label.width, top + label.height))
        return canvas

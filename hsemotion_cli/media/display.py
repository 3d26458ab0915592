"""Decoded frame -> the image as it is displayed: clean aperture, square pixels, upright, RGB.

In this order, as ffmpeg and players do it: what the container crops away goes first, pixels are made square while the
image lies as it is stored, and then it is turned.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.codec.context import Flags

from ..domain import Image, View
from .canvas import Canvas
from .colour import ColourReader
from .cropping import Crop
from .orientation import orientation_of
from .source import DecodeOptions
from .timestamps import has_no_time_stamps, restarts


class FrameDisplay:
    """Displays the frames of one stream.

    Args:
        first: its first frame, as PyAV decodes it.
        aspect: width of a stored pixel over its height in that frame.
        crop: what the container crops away.
        options: how to decode.
        path: of the file, for messages.

    Raises:
        UsageError: ``--region`` reaches beyond the displayed image.
    """

    def __init__(self, first: Any, aspect: Fraction, crop: Crop, options: DecodeOptions, path: Path) -> None:
        self._crop, self._rotate = crop, options.rotate
        self.colours = ColourReader(first.width, first.height)
        self.canvas = Canvas(*self.size(first, aspect), options.region, path)

    def size(self, frame: Any, aspect: Fraction) -> tuple[int, int]:
        """Width and height of a frame as it is displayed."""
        size = squared(*self._crop.size(frame.width, frame.height), aspect)
        return orientation_of(frame, self._rotate).size(*size)

    def show(self, frame: Any, aspect: Fraction) -> tuple[Image, View]:
        """The part of a frame that is analysed, and where it lies in the displayed image."""
        image = self._crop.apply(self.colours.rgb(frame))
        height, width = image.shape[:2]
        size = squared(width, height, aspect)
        if size != (width, height):
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        return self.canvas.placed(orientation_of(frame, self._rotate).apply(image))


def squared(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Width and height after pixels are made square, never by dropping any."""
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


class PixelAspects:
    """Width of a stored pixel over its height, for each frame of a stream.

    What a container says holds for the whole stream. MPEG-TS and bare codec streams have it in the codec's headers
    only, where a broadcast switches between 4:3 and 16:9. A decoder holds frames back, so that its own value is that of
    a later frame: each packet carries its value through the decoder.

    Args:
        container, stream: as PyAV has them, before anything is decoded.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._codec = stream.codec_context
        self._whole = _known(stream.sample_aspect_ratio or self._codec.sample_aspect_ratio)
        self._may_change = restarts(container) or has_no_time_stamps(container)
        if self._may_change:
            self._codec.flags |= Flags.copy_opaque

    def decode(self, packet: Any) -> list[Any]:
        """The frames that come out of the decoder when a packet goes in."""
        if not self._may_change:
            return packet.decode()
        carried: list[Fraction] = []
        packet.opaque = carried
        frames = packet.decode()
        carried.append(_known(self._codec.sample_aspect_ratio))
        return frames

    def of(self, frame: Any) -> Fraction:
        """The aspect of a decoded frame."""
        return frame.opaque[0] if self._may_change and frame.opaque else self._whole


def _known(aspect: Fraction | None) -> Fraction:
    return Fraction(aspect) if aspect else Fraction(1)

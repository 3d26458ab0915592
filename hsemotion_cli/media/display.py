"""Decoded frame -> the image as it is displayed: square pixels, upright, RGB."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Image


def pixel_aspect(stream: Any) -> Fraction:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(aspect) if aspect else Fraction(1)


def quarter_turn(picture: Any) -> int:
    """Degrees counter-clockwise, as a multiple of 90, by which the picture is turned for display."""
    return round(picture.rotation / 90) * 90 % 360


def displayed_size(height: int, width: int, rotation: int, aspect: Fraction) -> tuple[int, int]:
    """Height and width after pixels are made square (never by dropping any) and the picture is turned."""
    if aspect > 1:
        width = round(width * aspect)
    elif aspect < 1:
        height = round(height / aspect)
    return (width, height) if rotation % 180 else (height, width)


def luma(picture: Any) -> NDArray[np.uint8]:
    """(height, width) brightness of a decoded picture, without converting it where its first plane is just that."""
    bits = picture.format.components[0].bits
    if picture.format.is_rgb or picture.format.has_palette or not picture.format.is_planar or bits > 16:
        return np.asarray(picture.to_ndarray(format="gray8"), np.uint8)
    plane = picture.planes[0]
    kind = np.dtype(np.uint8 if bits == 8 else ">u2" if picture.format.is_big_endian else "<u2")
    rows = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)[:, : picture.width]
    return np.asarray(rows if bits == 8 else rows >> (bits - 8), np.uint8)


def displayed(picture: Any, aspect: Fraction) -> Image:
    image = picture.to_ndarray(format="rgb24")
    if aspect != 1:
        height, width = displayed_size(image.shape[0], image.shape[1], 0, aspect)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    turn = quarter_turn(picture)
    return np.ascontiguousarray(np.rot90(image, turn // 90)) if turn else image

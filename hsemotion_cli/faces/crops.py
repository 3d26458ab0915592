"""Crop a face from an image with the crop recipe that a network was trained with.

Two recipes serve all HSEmotion networks: ``box`` is the plain bounding box, clipped at the image's edge,
without margin or resizing (each network then resizes it by its own rule); ``aligned-N`` is a five-point
similarity transform to the ArcFace template, N x N pixels. ``face-N`` shows the face a little larger and
higher: the ArcFace template ends just below the lips, but a dropped jaw is visible in the chin. Outside the image it
repeats the edge, where the other recipes are black.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Image
from ..errors import UsageError
from ..models.cards import CROP_RECIPE
from . import affine

# Eyes (the left one in the image first), nose tip, mouth corners in a 112 x 112 image: the template of ArcFace,
# Deng et al. 2019, as published in InsightFace's face_align.py.
ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

# In ``face-N`` the template is enlarged about its centre and moved up, in pixels of 112, to show little more than the
# face from the forehead to the chin of an open mouth.
_CENTRE, _GROWTH, _RISE = 55.5, 1.05, 12.0

# The same five points in MediaPipe's 478: the two iris centres, the nose tip, the mouth corners.
FIVE_POINTS = (468, 473, 4, 61, 291)


def check_recipe(recipe: str) -> None:
    """Raise UsageError unless ``recipe`` is "box", "aligned-N" or "face-N" with N pixels."""
    if not re.fullmatch(CROP_RECIPE, recipe):
        raise UsageError(f"unknown crop recipe {recipe!r}: choose box, aligned-N or face-N, such as aligned-112.")


def cut(
    image: Image, box: tuple[float, float, float, float], points: NDArray[np.float32], recipes: Iterable[str]
) -> dict[str, Image]:
    """Crop one face with each recipe.

    Args:
        image: uint8 RGB.
        box: x, y, width, height in pixels.
        points: (5, 2) pixels: the left eye in the image, the other eye, nose tip, mouth corners in the same order.
        recipes: as ``check_recipe`` allows them.

    Returns:
        recipe -> uint8 RGB crop.
    """
    return {recipe: _cut_one(image, box, points, recipe) for recipe in recipes}


def cut_given(image: Image, points: NDArray[np.float32] | None, recipes: Iterable[str]) -> dict[str, Image]:
    """The face of an image that is already cropped, with each recipe.

    The image itself; but networks of ``face-N`` were trained with one position and size of the face, so for them it is
    cropped again if its five points are known, and else resized.

    Args:
        image: uint8 RGB.
        points: (5, 2) pixels as for ``cut``, or None if no face was found in it.
        recipes: as ``check_recipe`` allows them.

    Returns:
        recipe -> uint8 RGB crop.
    """
    return {recipe: _given_one(image, points, recipe) for recipe in recipes}


def _cut_one(image: Image, box: tuple[float, float, float, float], points: NDArray[np.float32], recipe: str) -> Image:
    kind, _, size = recipe.partition("-")
    if kind == "box":
        return boxed(image, box)
    return (face if kind == "face" else aligned)(image, points, int(size))


def _given_one(image: Image, points: NDArray[np.float32] | None, recipe: str) -> Image:
    kind, _, size = recipe.partition("-")
    if kind != "face":
        return image
    return whole(image, int(size)) if points is None else face(image, points, int(size))


def boxed(image: Image, box: tuple[float, float, float, float]) -> Image:
    """The part of the image inside the box, at least one pixel, copied so that the image can be freed."""
    height, width = image.shape[:2]
    left, top = min(max(round(box[0]), 0), width - 1), min(max(round(box[1]), 0), height - 1)
    right = min(max(round(box[0] + box[2]), left + 1), width)
    bottom = min(max(round(box[1] + box[3]), top + 1), height)
    return image[top:bottom, left:right].copy()


def aligned(image: Image, points: NDArray[np.float32], size: int) -> Image:
    """The face rotated, scaled and shifted to align its five points (5, 2) with the ArcFace template."""
    return warped(image, similarity(points.astype(np.float64), _at_size(ARCFACE_TEMPLATE, size)), size)


def face(image: Image, points: NDArray[np.float32], size: int) -> Image:
    """The same, with the chin visible."""
    return warped(image, face_matrix(points.astype(np.float64), size), size, cv2.BORDER_REPLICATE)


def face_matrix(points: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The alignment of a face in ``face-N``.

    Args:
        points: (5, 2) pixels: the left eye in the image, the other eye, nose tip, mouth corners in the same order.
        size: N, width and height of the crop.

    Returns:
        the similarity transform from the image's pixels to the crop's, 2 x 3, as for ``warped``.
    """
    template = (ARCFACE_TEMPLATE - _CENTRE) * _GROWTH + _CENTRE - (0, _RISE)
    return similarity(np.asarray(points, np.float64), _at_size(template, size))


def _at_size(template: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Points in 112 x 112 pixels -> the same points in size x size pixels."""
    # Pixel centres: the template's coordinate c in 112 pixels is at (c + 0.5) * size / 112 - 0.5 in size pixels.
    return (template + 0.5) * (size / 112) - 0.5


def warped(image: Image, matrix: NDArray[np.float64], size: int, border: int = cv2.BORDER_CONSTANT) -> Image:
    """Warp an image with a similarity transform.

    Args:
        image: uint8, (height, width, 3) or (height, width).
        matrix: 2 x 3, from the image's pixel centres to the crop's; may rotate, mirror, scale and shift.
        size: width and height of the crop.
        border: OpenCV's border type for pixels outside the image; black by default.

    Returns:
        uint8, (size, size, 3) or (size, size).
    """
    # A strongly downscaled face is warped at a larger size and then averaged: linear interpolation alone would alias.
    oversample = min(max(math.ceil(1 / math.hypot(matrix[0, 0], matrix[1, 0]) - 0.25), 1), 8)
    larger = matrix * oversample
    larger[:, 2] += (oversample - 1) / 2
    crop = affine.warp_square(image, np.asarray(cv2.invertAffineTransform(larger)), size * oversample, border)
    if oversample > 1:
        return np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    return crop


def whole(image: Image, size: int) -> Image:
    """An image, grey or RGB, resized to size x size pixels ignoring its aspect ratio; area-averaged if downscaled."""
    smaller = size < max(image.shape[:2])
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), np.uint8)


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares rotation, uniform scale and shift from source to target points (n, 2), as a 2 x 3 matrix.

    In the complex plane the map is z -> a z + b, so that a is an ordinary least-squares quotient.
    """
    z, w = source @ (1, 1j), target @ (1, 1j)
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])

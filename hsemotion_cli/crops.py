"""Cut a face out of a picture, by the recipe that a network was trained with.

Two recipes serve all HSEmotion networks: ``box`` is the plain bounding box, clipped at the picture's edge,
no margin, at its own resolution (each network then resizes it by its own rule); ``aligned-N`` is a five-point
similarity transform to the ArcFace template, N x N pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from .domain import Image
from .errors import UsageError

# Eyes (left in the picture first), nose tip, mouth corners in a 112 x 112 picture: the template of ArcFace,
# Deng et al. 2019, as published in InsightFace's face_align.py.
ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

# The same five points in MediaPipe's 478: the two iris centres, the nose tip, the mouth corners.
FIVE_POINTS = (468, 473, 4, 61, 291)


def check_recipe(recipe: str) -> None:
    """Raise UsageError unless ``recipe`` is "box" or "aligned-N" with N pixels."""
    if not re.fullmatch(r"box|aligned-[1-9][0-9]{0,3}", recipe):
        raise UsageError(f"unknown crop recipe {recipe!r}: choose box or aligned-N, such as aligned-112.")


def cut(
    image: Image, box: tuple[float, float, float, float], landmarks: NDArray[np.float32], recipes: Iterable[str]
) -> dict[str, Image]:
    """Cut one face out by each recipe.

    Args:
        image: the picture.
        box: x, y, width, height in pixels.
        landmarks: (478, 2) pixels.
        recipes: "box" or "aligned-N".

    Returns:
        recipe -> uint8 RGB crop.
    """
    return {
        recipe: boxed(image, box)
        if recipe == "box"
        else aligned(image, landmarks, int(recipe.removeprefix("aligned-")))
        for recipe in recipes
    }


def boxed(image: Image, box: tuple[float, float, float, float]) -> Image:
    """The part of the picture inside the box, at least one pixel, copied so that the picture can go."""
    height, width = image.shape[:2]
    left, top = min(max(round(box[0]), 0), width - 1), min(max(round(box[1]), 0), height - 1)
    right = min(max(round(box[0] + box[2]), left + 1), width)
    bottom = min(max(round(box[1] + box[3]), top + 1), height)
    return image[top:bottom, left:right].copy()


def aligned(image: Image, landmarks: NDArray[np.float32], size: int) -> Image:
    """The face turned, scaled and shifted so that its five points lie nearest to the ArcFace template."""
    # Pixel centres: the template's coordinate c in 112 pixels is at (c + 0.5) * size / 112 - 0.5 in size pixels.
    target = (ARCFACE_TEMPLATE + 0.5) * (size / 112) - 0.5
    matrix = similarity(landmarks[list(FIVE_POINTS)].astype(np.float64), target)
    # A strongly shrunk face is drawn larger and then averaged down: linear interpolation alone would alias.
    oversample = min(max(math.ceil(1 / math.hypot(matrix[0, 0], matrix[1, 0]) - 0.25), 1), 8)
    larger = matrix * oversample
    larger[:, 2] += (oversample - 1) / 2
    crop = cv2.warpAffine(image, larger, (size * oversample, size * oversample), flags=cv2.INTER_LINEAR)
    if oversample > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, np.uint8)


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares rotation, uniform scale and shift from source to target points (n, 2), as a 2 x 3 matrix.

    In the complex plane the map is z -> a z + b, so that a is an ordinary least-squares quotient.
    """
    z, w = source @ (1, 1j), target @ (1, 1j)
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])

"""Images, candidates and faces turned by quarters, so that a head that lies or hangs upside down is seen upright.

One turn is counter-clockwise, as ``numpy.rot90`` has it. BlazeFace finds faces that are rolled by up to about 45
degrees, so with three turned images every roll is within its reach.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..domain import Face, Image
from .mediapipe_onnx import Box, Candidate

Size = tuple[int, int]
"""Width and height of an image before it is turned."""


def turned_image(image: Image, turns: int) -> Image:
    """The image after so many quarter turns."""
    return np.ascontiguousarray(np.rot90(image, turns))


def turns_to_upright(points: NDArray[np.float32]) -> int:
    """Quarter turns, 0 to 3, after which the eyes of a face (the first two of its points) are nearest to level."""
    across, down = (points[1] - points[0]).astype(np.float64)
    return round(math.atan2(down, across) / (math.pi / 2)) % 4


def turned_candidate(candidate: Candidate, turns: int, size: Size) -> Candidate:
    """A candidate of an image of that size -> the same in the turned image."""
    box, marks = turned_box(candidate.box, turns, size), turned_points(candidate.marks, turns, size)
    return replace(candidate, box=box, marks=marks)


def upside_down(candidate: Candidate) -> Candidate:
    """A candidate in the same place, its marks turned by half around its middle."""
    x, y, width, height = candidate.box
    return replace(candidate, marks=np.array((2 * x + width, 2 * y + height), np.float32) - candidate.marks)


def turned_face(face: Face, turns: int, size: Size) -> Face:
    """A face of an image of that size, without crops -> the same in the turned image."""
    points, landmarks = (
        None if known is None else turned_points(known, turns, size) for known in (face.points, face.landmarks)
    )
    return replace(face, box=turned_box(face.box, turns, size), points=points, landmarks=landmarks)


def turned_points(points: NDArray[np.float32], turns: int, size: Size) -> NDArray[np.float32]:
    """(n, 2) pixels of an image of that size -> (n, 2) of the turned image."""
    (x, y), (width, height) = np.asarray(points, np.float32).T, size
    x, y = ((x, y), (y, width - x), (width - x, height - y), (height - y, x))[turns % 4]
    return np.column_stack([x, y]).astype(np.float32)


def turned_box(box: Box, turns: int, size: Size) -> Box:
    """x, y, width, height of a box likewise."""
    x, y, wide, high = box
    width, height = size
    beyond, below = width - x - wide, height - y - high
    left, top = ((x, y), (y, beyond), (beyond, below), (below, x))[turns % 4]
    return (left, top, wide, high) if turns % 2 == 0 else (left, top, high, wide)

"""Candidate -> logit of the probability that it is a face, by a small network that sees its surroundings in grey.

The network was trained here on faces and on what BlazeFace takes for faces in images without any
(``scripts/collect_candidates.py`` and ``scripts/train_face_classifier.py``). It sees grey because what makes a face is
not the colour of the skin, and the brightness and contrast of each crop are normalised, so that a dark face is one too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Image
from . import affine
from .mediapipe_onnx import Candidate, _run

CLASSIFIER = "face_classifier.onnx"

NETWORKS = {CLASSIFIER: "48cbad21b7589f95a5134db305dd06fba239e662e34a87751901c5415cc09bd4"}
"""File among the assets -> its SHA-256."""

SIZE = 48
"""Pixels of each side of what the network sees."""

REGION = 1.6
"""Sides of that in the image, in sides of the box that BlazeFace draws."""

_MOST_OVERSAMPLED = 3

_FAINT = 8.0
"""Grey levels that are added to the deviation of a crop, so that the noise of an even surface stays small."""


def logits(image: Image, candidates: Sequence[Candidate]) -> list[float]:
    """For each candidate, the logit of the probability that it is a face."""
    if not candidates:
        return []
    crops = np.stack([crop(image, candidate, SIZE, REGION) for candidate in candidates])
    (found,) = _run(CLASSIFIER, normalised(crops)[:, None])
    return [float(value) for value in found.ravel()]


def crop(image: Image, candidate: Candidate, size: int, region: float) -> NDArray[np.uint8]:
    """(size, size) grey: a candidate with its eyes level, ``region`` sides of its box wide; averaged to shrink it."""
    x, y, width, height = candidate.box
    side = region * max(width, height)
    across, down = (candidate.marks[1] - candidate.marks[0]).astype(np.float64)
    turn = math.atan2(down, across)
    factor = min(max(round(side / size), 1), _MOST_OVERSAMPLED)
    pixels = size * factor
    step = side / pixels
    cos, sin = math.cos(turn) * step, math.sin(turn) * step
    # From the crop's pixel centres to the image's.
    middle = (pixels - 1) / 2
    centre = (x + width / 2 - 0.5, y + height / 2 - 0.5)
    matrix = np.array(
        [[cos, -sin, centre[0] - (cos - sin) * middle], [sin, cos, centre[1] - (sin + cos) * middle]], np.float64
    )
    seen = cv2.cvtColor(affine.warp_square(image, matrix, pixels, cv2.BORDER_REPLICATE), cv2.COLOR_RGB2GRAY)
    if factor > 1:
        seen = cv2.resize(seen, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(seen, np.uint8)


def normalised(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, height, width) grey -> the same with mean 0 and a deviation of about 1."""
    values = crops.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values /= values.std(axis=(1, 2), keepdims=True) + np.float32(_FAINT)
    return values

"""Landmarks -> gaze, lids and lips: irises on eyeballs that turn about a fixed point in the head, and two gaps."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .head_pose import HeadPose, canonical_face

EYES = ((33, 133, 468), (263, 362, 473))
"""Landmarks of the outer corner, the inner corner and the middle of the iris, first of the eye that is left in the
image of an upright face."""

LIDS = ((159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373))
"""Opposite landmarks of the upper and the lower lid: three pairs of each of these eyes."""

LIPS = ((13, 14), (82, 87), (312, 317))
"""Opposite landmarks of the inner edges of the upper and the lower lip."""

IRIS = 0.1433
"""Width of the iris in distances of the outer corners, in the canonical face. It is 11.7 mm in adults, and differs
little between them (Rüfer 2005: 11.71 +- 0.42 mm)."""

RADIUS = 10.5 / 11.7 * IRIS
"""From the middle of the iris's edge to the point about which the eye turns: 13.5 mm from the apex of the cornea
(Fry and Hill 1962), which the edge of the iris lies about 3 mm behind."""

_OPEN = 0.25
"""Opening of the lids in widths of the iris below which too little of the iris is visible."""

_LARGEST = 0.95
"""Sine of the largest angle between gaze and line of sight, 72 degrees."""

_USED = np.array([*(k for eye in EYES for k in eye), *(k for pair in (*LIDS, *LIPS) for k in pair)])


class EyesAndMouth(NamedTuple):
    """What the eyes and the mouth of a face do.

    Attributes:
        pitch, yaw: of the gaze in degrees, up and right of the subject positive; 0, 0 looks into the camera. The mean
            of both eyes, weighted by how wide they show; nan where both are closed.
        openings: mean distance of the lids, of the eye that is left in the image and of the other, in widths of the
            iris.
        mouth: mean distance of the inner edges of the lips, in distances of the outer corners of the eyes.
    """

    pitch: float
    yaw: float
    openings: tuple[float, float]
    mouth: float


def eyes_and_mouth(landmarks: NDArray[np.floating], pose: HeadPose) -> EyesAndMouth:
    """Where a face looks, and how far its eyes and its mouth are open.

    Args:
        landmarks: (478, 2) pixels.
        pose: of these landmarks.
    """
    seen = pose.seen(landmarks[_USED]) * pose.position[2]
    gaps = _gaps(seen[6:], pose)
    openings = sum(gaps[:3]) / 3 / IRIS, sum(gaps[3:6]) / 3 / IRIS
    pitch, yaw = _gaze(seen[:6].tolist(), openings, _pivots(pose))
    return EyesAndMouth(pitch, yaw, openings, sum(gaps[6:]) / 3)


def _gaps(seen: NDArray[np.float64], pose: HeadPose) -> list[float]:
    """Distances of points that are above each other, along the head's own vertical, which shows shortened."""
    vertical = pose.rotation[:2, 1]
    shown = max(float(vertical @ vertical), 0.25)
    return np.maximum((seen[1::2] - seen[::2]) @ vertical / shown, 0).tolist()


def _pivots(pose: HeadPose) -> list[list[float]]:
    """x and y from the middle of each eye's corners to the point about which it turns."""
    found: list[list[float]] = (_pivots_at_rest() @ pose.rotation[:2].T).tolist()
    return found


@functools.cache
def _pivots_at_rest() -> NDArray[np.float64]:
    """(2, 3): behind the place where the iris is in people who look at the camera."""
    face = canonical_face()
    return np.stack([face[iris] + (0, 0, RADIUS) - (face[a] + face[b]) / 2 for a, b, iris in EYES])


def _gaze(points: list[list[float]], openings: tuple[float, float], pivots: list[list[float]]) -> tuple[float, float]:
    across = down = weights = 0.0
    for k, (opening, pivot) in enumerate(zip(openings, pivots, strict=True)):
        (ax, ay), (bx, by), (x, y) = points[3 * k : 3 * k + 3]
        if opening >= _OPEN:
            weight = math.hypot(ax - bx, ay - by)
            across += weight * (x - (ax + bx) / 2 - pivot[0]) / RADIUS
            down += weight * (y - (ay + by) / 2 - pivot[1]) / RADIUS
            weights += weight
    if not weights:
        return math.nan, math.nan
    across, down = across / weights, down / weights
    shorter = min(1.0, _LARGEST / max(math.hypot(across, down), _LARGEST))
    across, down = across * shorter, down * shorter
    ahead = math.sqrt(1 - across * across - down * down)
    return -math.degrees(math.asin(down)), -math.degrees(math.atan2(across, ahead))

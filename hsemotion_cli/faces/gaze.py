"""Landmarks -> gaze: where the irises are in the eyes, on eyeballs that turn about a fixed point in the head."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .head_pose import HeadPose, canonical_face

EYES = ((33, 133, 468), (263, 362, 473))
"""Landmarks of the outer corner, the inner corner and the middle of the iris, first of the eye that is left in the
image of an upright face."""

IRIS = 0.1433
"""Width of the iris in distances of the outer corners, in the canonical face. It is 11.7 mm in adults, and differs
little between them (Rüfer 2005: 11.71 +- 0.42 mm)."""

RADIUS = 10.5 / 11.7 * IRIS
"""From the middle of the iris's edge to the point about which the eye turns: 13.5 mm from the apex of the cornea
(Fry and Hill 1962), which the edge of the iris lies about 3 mm behind."""

_OPEN = 0.25
"""Opening of the lids in widths of the iris below which nothing of the iris can be seen well enough."""

LIDS = (((159, 145), (158, 153), (160, 144)), ((386, 374), (385, 380), (387, 373)))
"""Pairs of landmarks, opposite each other on the upper and the lower lid, of the same eyes."""


def openings(landmarks: NDArray[np.floating], pose: HeadPose) -> NDArray[np.float64]:
    """(2,) mean distance of the lids of both eyes, in widths of the iris, corrected for the turn of the head."""
    return np.array([_gap(landmarks, pose, pairs) for pairs in LIDS]) / IRIS


def mouth_gap(landmarks: NDArray[np.floating], pose: HeadPose) -> float:
    """Mean distance of the inner edges of the lips, in distances of the outer corners of the eyes, likewise."""
    return _gap(landmarks, pose, ((13, 14), (82, 87), (312, 317)))


def _gap(landmarks: NDArray[np.floating], pose: HeadPose, pairs: tuple[tuple[int, int], ...]) -> float:
    """Mean distance along the head's own vertical of points that are above each other, in units of the face."""
    upper, lower = np.array(pairs).T
    seen = (pose.seen(landmarks[lower]) - pose.seen(landmarks[upper])) * pose.position[2]
    vertical = pose.rotation[:2, 1]
    # What lies along the vertical of the head shows shortened by cos(pitch), and in that direction.
    return max(0.0, float((seen @ vertical).mean() / max(vertical @ vertical, 0.25)))


def gaze(landmarks: NDArray[np.floating], pose: HeadPose) -> tuple[float, float]:
    """Pitch and yaw of the gaze in degrees, up and right of the subject positive; 0, 0 looks into the camera.

    The mean of both eyes, weighted by how wide they show; nan where both are closed.
    """
    lids, face = openings(landmarks, pose), canonical_face()
    found, weights = [], []
    for (outer, inner, iris), opening in zip(EYES, lids, strict=True):
        if opening < _OPEN:
            continue
        seen = pose.seen(landmarks[[outer, inner, iris]]) * pose.position[2]
        corners = (face[outer] + face[inner]) / 2
        # The eye turns about a point behind the place where the iris is in people who look at the camera.
        pivot = pose.rotation @ (face[iris] + (0.0, 0.0, RADIUS) - corners)
        across, down = (seen[2] - seen[:2].mean(axis=0) - pivot[:2]) / RADIUS
        found.append((across, down))
        weights.append(float(np.linalg.norm(seen[0] - seen[1])))
    if not found:
        return math.nan, math.nan
    across, down = np.average(found, axis=0, weights=weights)
    # The gaze points to the camera, so its third component is negative.
    length = math.hypot(across, down)
    if length > 0.95:
        across, down = across / length * 0.95, down / length * 0.95
    ahead = math.sqrt(1 - across * across - down * down)
    return -math.degrees(math.asin(down)), -math.degrees(math.atan2(across, ahead))

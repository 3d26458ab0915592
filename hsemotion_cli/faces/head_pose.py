"""Landmarks -> head pose: a canonical face is fitted to them in perspective.

Axes: x to the right of the image, y down, z away from the camera; the unit of length is the distance of the outer
corners of the eyes, 8.2 cm in a face whose irises are 11.7 mm wide. The pose is that relative to the line of sight:
all angles are 0 for a face that is turned to the camera, wherever in the image it is.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelUnavailable, UsageError

FILE = "canonical_face.json"
"""Among the assets; ``scripts/make_canonical_face.py`` makes it."""

DEFAULT_FOV = 60.0
"""Degrees that the longer side of an image shows, unless the user knows better: about what phones and webcams have
(26 to 28 mm lenses in terms of 35 mm film show 65 to 69 degrees of width, webcams mostly 50 to 70)."""

_NEAREST = 5.0
"""Distance of a face at the least, 41 cm. An image in which a face would be closer is cropped from a wider one."""

_CROP_DISTANCE = 12.0
"""Distance that is assumed for faces that were cut out of their images, 98 cm."""

_NOSE_TIP = 2
"""Landmark at the base of the nose. What lies lower moves with the jaw and with speech."""

_LIDS = (0.35, 0.2, 0.12)
"""Distance of the eyes from the middle, and half the width and height of the regions of the lids, which blink."""

_BROWS = (46, 52, 53, 55, 63, 65, 66, 70, 105, 107, 276, 282, 283, 285, 293, 295, 296, 300, 334, 336)

_EVERY = 4
"""Every so many of the remaining points are used, in pairs of left and right."""


@dataclass(frozen=True, slots=True)
class Camera:
    """How directions become pixels.

    Attributes:
        centre: x, y of the optical axis, in pixels.
        focal: focal length in pixels; 0 for faces that were cut out of their images.
    """

    centre: tuple[float, float]
    focal: float

    @classmethod
    def of(cls, width: float, height: float, fov: float = DEFAULT_FOV) -> Camera:
        """The camera of an image whose longer side shows ``fov`` degrees; its axis meets the middle of the image."""
        return cls((width / 2, height / 2), max(width, height) / 2 / math.tan(math.radians(fov) / 2))

    @classmethod
    def of_crop(cls, width: float, height: float) -> Camera:
        """That of an image which is a face, cut out of another image."""
        return cls((width / 2, height / 2), 0.0)

    def focal_for(self, scale: float) -> float:
        """Focal length in pixels that is used for a face whose eyes are ``scale`` pixels apart, seen from the front."""
        return max(self.focal, _NEAREST * scale) if self.focal else _CROP_DISTANCE * scale


@dataclass(frozen=True, slots=True, eq=False)
class HeadPose:
    """Where a head is and how it is turned, as seen by a camera that points between its eyes.

    Attributes:
        rotation: (3, 3) canonical face -> camera; the identity for a face that is turned to the camera.
        position: (3,) of the point between the eyes.
        turn: (3, 3) real camera -> the one that points at the face, by the smallest rotation.
        focal: focal length in pixels.
        centre: x, y of the real camera's axis in pixels.
    """

    rotation: NDArray[np.float64]
    position: NDArray[np.float64]
    turn: NDArray[np.float64]
    focal: float
    centre: tuple[float, float]

    def seen(self, landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 2) pixels -> (n, 2) x and y at the distance 1, as the camera that points at the face sees them."""
        return _turned((landmarks.astype(np.float64) - self.centre) / self.focal, self.turn)

    def angles(self) -> tuple[float, float, float]:
        """Pitch, yaw, roll in degrees, of which up, right and the right shoulder of the subject are positive.

        The rotation is Rz(roll) Ry(yaw) Rx(pitch), the order of 300W-LP and AFLW2000: turning the image changes only
        the roll. Yaw lies in [-90, 90], the others in [-180, 180].
        """
        r = self.rotation
        pitch, roll = math.atan2(r[2, 1], r[2, 2]), math.atan2(r[1, 0], r[0, 0])
        yaw = math.asin(min(1.0, max(-1.0, -r[2, 0])))
        return -math.degrees(pitch), math.degrees(yaw), -math.degrees(roll)


def check_fov(fov: float) -> None:
    """Raise UsageError for an impossible field of view."""
    if not 5 <= fov <= 150:
        raise UsageError(f"--fov {fov:g}: give the degrees that the longer side of the image shows, from 5 to 150.")


def head_pose(landmarks: NDArray[np.floating], camera: Camera) -> HeadPose:
    """The pose of the canonical face that fits landmarks best: the least squared error in the image.

    Args:
        landmarks: (478, 2) pixels, in MediaPipe's order.
        camera: of the image whose pixels these are.
    """
    points, shape = landmarks[_rigid()].astype(np.float64), canonical_face()[_rigid()]
    focal = camera.focal_for(_orthographic(points)[2])
    seen = (points - camera.centre) / focal
    rotation, place, scale = _orthographic(seen)
    _, vector, position = cv2.solvePnP(
        shape,
        seen,
        np.eye(3),
        None,
        cv2.Rodrigues(rotation)[0],
        np.array([*place / scale, 1 / scale]).reshape(3, 1),
        useExtrinsicGuess=True,
        flags=cv2.SOLVEPNP_ITERATIVE,
    )
    rotation, position = np.asarray(cv2.Rodrigues(vector)[0], np.float64), np.asarray(position, np.float64).ravel()
    turn = _towards(position)
    return HeadPose(turn @ rotation, turn @ position, turn, focal, camera.centre)


@functools.cache
def canonical_face() -> NDArray[np.float64]:
    """(478, 3) landmarks of the canonical face; the origin lies between the outer corners of the eyes.

    Raises:
        ModelUnavailable: it is missing from the installation.
    """
    try:
        content = json.loads(files("hsemotion_cli").joinpath("assets", FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{FILE} is missing from the installation; reinstall hsemotion.") from error
    return np.array(content["points"], np.float64)


@functools.cache
def _rigid() -> NDArray[np.intp]:
    """Landmarks that expressions and speech move little: no lower than the nose, without lids and brows."""
    face = canonical_face()[:468]
    across, width, height = _LIDS
    lids = (np.abs(face[:, 1]) < height) & (np.abs(np.abs(face[:, 0]) - across) < width)
    free = np.flatnonzero((face[:, 1] < face[_NOSE_TIP, 1] + 0.02) & ~lids)
    free = np.setdiff1d(free, _BROWS)
    # Both of a pair or none, so that a mirror image has the mirrored pose.
    mirrored = np.round(np.abs(face[free, :1]), 3), np.round(face[free, 1:], 3)
    _, pair = np.unique(np.concatenate(mirrored, axis=1), axis=0, return_inverse=True)
    return free[pair.ravel() % _EVERY == 0]


@functools.cache
def _inverse() -> NDArray[np.float64]:
    """(4, n): makes of seen points the affine map that takes the canonical face to them."""
    shape = canonical_face()[_rigid()]
    return np.linalg.pinv(np.concatenate([shape, np.ones((len(shape), 1))], axis=1))


def _orthographic(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Rotation, place of the origin and scale of the face that fits without perspective."""
    affine = _inverse() @ points
    u, scales, vt = np.linalg.svd(affine[:3].T, full_matrices=False)
    across, down = u @ vt
    return np.stack([across, down, np.cross(across, down)]), affine[3], float(scales.mean())


def _towards(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) smallest rotation that takes the direction of a point to the axis."""
    axis = np.cross(point / np.linalg.norm(point), (0.0, 0.0, 1.0))
    sine = float(np.linalg.norm(axis))
    if sine < 1e-12:
        return np.eye(3)
    return np.asarray(cv2.Rodrigues(axis / sine * math.asin(min(sine, 1.0)))[0], np.float64)


def _turned(points: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) points at the distance 1 after a turn of the camera."""
    directions = points @ turn[:, :2].T + turn[:, 2]
    return directions[:, :2] / directions[:, 2:]

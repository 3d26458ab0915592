"""What is measured on each face: head pose, gaze, eyelids and mouth on its landmarks, quality on its image."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..domain import Face, Frame
from .gaze import eyes_and_mouth
from .head_pose import DEFAULT_FOV, Camera, check_fov, head_pose


@dataclass(frozen=True, slots=True)
class Optics:
    """What is known of the camera.

    Attributes:
        fov: degrees that the longer side of the displayed image shows.
        canvas: width and height of the displayed image in pixels; None for those of each frame, of which a region then
            counts as a whole.
        crops: the images are faces, cut out of other images.

    Raises:
        UsageError: an impossible field of view.
    """

    fov: float = DEFAULT_FOV
    canvas: tuple[int, int] | None = None
    crops: bool = False

    def __post_init__(self) -> None:
        check_fov(self.fov)

    def camera(self, frame: Frame) -> Camera:
        """The camera of a frame, for landmarks in pixels of the displayed image."""
        height, width = frame.image.shape[:2]
        if self.crops:
            return Camera.of_crop(width, height)
        if self.canvas is not None:
            return Camera.of(*self.canvas, fov=self.fov)
        view = frame.view
        camera = Camera.of(width * view.scale, height * view.scale, self.fov)
        return replace(camera, centre=view.to_canvas(width / 2, height / 2))


_SIDE = 64
"""Pixels of the face on which its sharpness is measured: about what networks for expressions resolve."""

USUAL_OPTICS = Optics()
"""Of a camera about which nothing is known."""


def measured(faces: Iterable[Face], frame: Frame, optics: Optics) -> tuple[Face, ...]:
    """Faces with measures; those without landmarks stay as they are.

    Args:
        faces: in pixels of the displayed image.
        frame: that they are in.
    """
    camera = optics.camera(frame)
    return tuple(_measured(face, frame, camera) for face in faces)


def _measured(face: Face, frame: Frame, camera: Camera) -> Face:
    if face.landmarks is None:
        return face
    pose = head_pose(face.landmarks, camera)
    apart = pose.focal / float(pose.position[2]) / frame.view.scale
    found = eyes_and_mouth(face.landmarks, pose)
    values = [*pose.angles(), found.pitch, found.yaw, sum(found.openings) / 2, found.mouth, apart]
    return replace(face, measures=np.array([*values, *_sharpness_and_contrast(face, frame)], np.float32))


def _sharpness_and_contrast(face: Face, frame: Frame) -> tuple[float, float]:
    """See ``tasks.QUALITY``; nan for a face of which nothing lies in the image."""
    x, y = frame.view.to_image(*face.box[:2])
    height, width = frame.image.shape[:2]
    left, top = max(math.floor(x), 0), max(math.floor(y), 0)
    right = min(math.ceil(x + face.box[2] / frame.view.scale), width)
    bottom = min(math.ceil(y + face.box[3] / frame.view.scale), height)
    if left >= right or top >= bottom:
        return math.nan, math.nan
    step = max(1, min(right - left, bottom - top) // (2 * _SIDE))  # averaging all pixels of a large face takes long
    green = np.ascontiguousarray(frame.image[top:bottom:step, left:right:step, 1])
    grey = cv2.resize(green, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    contrast = float(cv2.meanStdDev(grey)[1][0, 0])
    edges = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1][0, 0])
    return edges / max(contrast, 1.0), contrast

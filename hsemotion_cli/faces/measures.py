"""What is measured on the landmarks of each face: head pose, gaze, eyelids, mouth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..domain import Face, Frame
from .gaze import gaze, mouth_gap, openings
from .head_pose import DEFAULT_FOV, Camera, check_fov, head_pose


@dataclass(frozen=True, slots=True)
class Optics:
    """What is known of the camera.

    Attributes:
        fov: degrees that the longer side of the displayed image shows.
        canvas: width and height of the displayed image in pixels; None for those of each frame.
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
        width, height = self.canvas or (width, height)
        return Camera.of(width, height, self.fov)


USUAL_OPTICS = Optics()
"""Of a camera about which nothing is known."""


def measured(faces: Iterable[Face], camera: Camera) -> tuple[Face, ...]:
    """Faces with measures; those without landmarks stay as they are.

    Args:
        faces: with landmarks in pixels of the camera's image.
    """
    return tuple(_measured(face, camera) for face in faces)


def _measured(face: Face, camera: Camera) -> Face:
    if face.landmarks is None:
        return face
    pose = head_pose(face.landmarks, camera)
    eyes = float(openings(face.landmarks, pose).mean())
    values = [*pose.angles(), *gaze(face.landmarks, pose), eyes, mouth_gap(face.landmarks, pose)]
    return replace(face, measures=np.array(values, np.float32))

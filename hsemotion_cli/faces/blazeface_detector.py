"""Detect faces with BlazeFace alone: no landmarks, a seventh of the cost; ``keypoints`` turns its marks into a box."""

from __future__ import annotations

import math

from ..domain import Face, Image
from . import face_classifier, mediapipe_onnx
from .detector import _CLOSER, LARGE, CloserLook, FaceDetector, _the_same, margin, pad_edges, surroundings, whole
from .mediapipe_onnx import Candidate


class BlazeFaceDetector(FaceDetector):
    """Finds faces with their five points, but neither landmarks nor blendshapes; see ``FaceDetector``.

    Raises:
        ModelUnavailable: the map of the marks is missing from the installation.
    """

    NETWORKS = {  # noqa: RUF012
        **{name: mediapipe_onnx.NETWORKS[name] for name in (mediapipe_onnx.BLAZEFACE, mediapipe_onnx.FULL_RANGE)},
        **face_classifier.NETWORKS,
    }

    def find_in_crop(self, image: Image) -> Face:
        """The face that a given crop shows: its points may be None."""
        found = self.detect(pad_edges(image), 0.5)
        edge = margin(image)
        points = self.map.points(found[0].moved(-edge, -edge).marks) if found else None
        return Face(whole(image), math.nan, points)

    def _closer(self, image: Image, candidate: Candidate, classified: float | None = None) -> CloserLook | None:
        """A closer look at a candidate: its marks are then several times as exact; None if it is gone."""
        if candidate.share >= LARGE:
            return CloserLook(candidate)
        again = refine_candidate(self, image, candidate)
        return None if again is None else CloserLook(again)


def refine_candidate(finder: FaceDetector, image: Image, candidate: Candidate) -> Candidate | None:
    """A candidate as BlazeFace draws it when it looks at it by itself; None if it is gone."""
    left, top, region = surroundings(image, candidate.box, 1.0)
    again = _the_same(mediapipe_onnx.detect(region, _CLOSER), candidate.moved(-left, -top))
    return None if again is None else again.moved(left, top)

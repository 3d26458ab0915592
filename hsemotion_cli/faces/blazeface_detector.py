"""Detect faces with BlazeFace alone: no landmarks, a seventh of the cost; ``keypoints`` turns its marks into a box."""

from __future__ import annotations

import math

from ..domain import Face, Image
from . import mediapipe_onnx
from .detector import LARGE, FaceDetector, margin, overlap, pad_edges, surroundings, whole
from .mediapipe_onnx import Candidate

_TWICE = 0.6
"""Mean score of two looks from which a small face counts, which has no landmarks to prove that it is one: clouds
and letters of the tests' clips stay below."""


class BlazeFaceDetector(FaceDetector):
    """Finds faces with their five points, but neither landmarks nor blendshapes; see ``FaceDetector``.

    Raises:
        ModelUnavailable: the map of the marks is missing from the installation.
    """

    NETWORKS = {mediapipe_onnx.BLAZEFACE: mediapipe_onnx.NETWORKS[mediapipe_onnx.BLAZEFACE]}  # noqa: RUF012

    def find_in_crop(self, image: Image) -> Face:
        """The face that a given crop shows: its points may be None."""
        found = self.detect(pad_edges(image))
        edge = margin(image)
        points = self.map.points(found[0].moved(-edge, -edge).marks) if found else None
        return Face(whole(image), math.nan, points)

    def look(self, image: Image, candidate: Candidate) -> Face | None:
        """See ``FaceDetector``: the face of a candidate, or None if there is none after all."""
        if candidate.share >= LARGE:
            best = candidate
        else:
            again = refine_candidate(self, image, candidate)
            # Who asks for less than half is given what comes as near to it.
            least = _TWICE - max(0.5 - self.threshold, 0)
            if again is None or (candidate.score + again.score) / 2 < least:
                return None
            best = again
        return Face(self.map.box(best.marks), candidate.score, self.map.points(best.marks))


def refine_candidate(finder: FaceDetector, image: Image, candidate: Candidate) -> Candidate | None:
    """A candidate looked at once more by itself: its marks are then several times as exact; None if it is gone."""
    left, top, region = surroundings(image, candidate.box, 1.0)
    again = [each.moved(left, top) for each in finder.detect(region)]
    best = max(again, key=lambda each: overlap(each.box, candidate.box), default=None)
    return best if best is not None and overlap(best.box, candidate.box) >= 0.3 else None

"""BlazeFace's six keypoints -> the five points and the box of a face without landmarks.

BlazeFace predicts keypoints for the eyes, the nose, the mouth and the ears. A linear map computes from them the five
points and the box that landmarks would give, so that networks get nearly the same crops. With points as complex
numbers, the map of the points has complex weights that sum to one, which makes it equivariant to rotation, translation
and scale. ``scripts/fit_fast.py`` fits it.
"""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelUnavailable
from .mediapipe_onnx import Box

FILE = "fast.json"


class KeypointMap:
    """BlazeFace's keypoints -> five points and box.

    Args:
        points: (5, 6) complex; each row sums to one.
        box: (4, 13) left, top, right and bottom from x and y of the six marks and 1, in the frame of ``frame``.
    """

    def __init__(self, points: NDArray[np.complex128], box: NDArray[np.float64]) -> None:
        self.weights, self.edges = points, box

    @classmethod
    def read(cls) -> KeypointMap:
        """The map in the package; raises ModelUnavailable."""
        try:
            content = json.loads(files("hsemotion_cli").joinpath("assets", FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{FILE} is missing from the installation; reinstall hsemotion.") from error
        return cls(np.array(content["points"]) @ (1, 1j), np.array(content["box"]))

    def points(self, marks: NDArray[np.float32]) -> NDArray[np.float32]:
        """(6, 2) marks of ``Candidate`` -> (5, 2) points of ``Face``, both in pixels."""
        found = self.weights @ (marks.astype(np.float64) @ (1, 1j))
        return np.column_stack([found.real, found.imag]).astype(np.float32)

    def box(self, marks: NDArray[np.float32]) -> Box:
        """(6, 2) marks -> the box around the landmarks that the face would have."""
        centre, size = frame(marks)
        left, top, right, bottom = self.edges @ [*((marks - centre) / size).ravel(), 1.0] * size + np.tile(centre, 2)
        return float(left), float(top), float(right - left), float(bottom - top)


def frame(marks: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Centre and extent of (6, 2) keypoints: their mean, and their root mean square distance from it.

    Both are equivariant to rotation, translation and scale of the face.
    """
    centre = marks.mean(axis=0, dtype=np.float64)
    return centre, max(float(np.sqrt(((marks - centre) ** 2).sum(axis=1).mean())), 1e-6)

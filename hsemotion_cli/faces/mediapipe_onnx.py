"""MediaPipe's three face networks in ONNX Runtime: face detection, 478 landmarks, 52 blendshapes.

The networks and weights are those of MediaPipe's tasks (``scripts/convert_landmarker.py`` makes the graphs from its
bundle). The steps around them follow its sources at github.com/google-ai-edge/mediapipe, folder
mediapipe/tasks/cc/vision, files face_detector/face_detector_graph.cc, face_landmarker/face_landmarks_detector_graph.cc
and face_landmarker/face_blendshapes_graph.cc. ``tests/test_mediapipe_onnx.py`` compares both. This is faster: a task
copies the image, passes it between threads, and creates hundreds of Python objects per face while holding the GIL.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Image
from ..errors import ModelUnavailable
from ..models import onnx_graphs
from . import affine

Floats = NDArray[np.float32]

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels; may extend past the image's edge."""

BLAZEFACE, FULL_RANGE = "blazeface.onnx", "blazeface_full.onnx"
LANDMARKS, SHAPES = "landmarks.onnx", "blendshapes.onnx"

NETWORKS: dict[str, str] = {
    BLAZEFACE: "5fc4df4a6b69c2cd275185966752cf711b845ed4d3fdc00b67e2a637d0972558",
    FULL_RANGE: "cb71bda2f30f952487e26e17f1059774893714ac0ca44e24d9ca4a211c56ffcf",
    LANDMARKS: "48616c21f88bddfdca1baab1807910454cbb54c1f0ab18762cdc1f7f4915d17f",
    SHAPES: "b2efb61f965e798668228cd24fd735a77e868ea3051ad101c98f85af624b9f92",
}
"""Asset -> its SHA-256."""

_DETECTOR_SIZE = {BLAZEFACE: 128, FULL_RANGE: 192}
_LANDMARK_SIZE = 256

_SAME_FACE = 0.3
"""Overlap above which two boxes belong to one face: the tasks' min_suppression_threshold."""

_AVERAGED = 0.5
"""Lowest score of boxes that are averaged for one face, whatever the threshold: the tasks' min_detection_confidence."""

_PRESENCE = 0.5
"""Lowest probability at which landmarks count as a face: the tasks' min_face_presence_confidence."""

_REGION = 1.5
"""Side of the landmark network's input region, relative to BlazeFace's box."""

_SEEN_BY_BLENDSHAPES = (
    "0 1 4-8 10 13 14 17 21 33 37 39 40 46 52-55 58 61 63 65-67 70 78 80-82 84 87 88 91 93 95 103 105 107 109 127 132 "
    "133 136 144-146 148-150 152-155 157-163 168 172 173 176 178 181 185 191 195 197 234 246 249 251 263 267 269 270 "
    "276 282-285 288 291 293 295-297 300 308 310-312 314 317 318 321 323 324 332 334 336 338 356 361 362 365 373-375 "
    "377-382 384-390 397 398 400 402 405 409 415 454 466 468-477"
)
"""The 146 landmarks that blendshapes are computed from: kLandmarksSubsetIdxs of face_blendshapes_graph.cc."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A face candidate of BlazeFace.

    Attributes:
        box: of the face without forehead and ears, about a square.
        score: in [0, 1].
        marks: (6, 2) pixels: the left eye in the image, the other eye, tip of the nose, middle of the mouth, the left
            ear in the image, the other ear.
        share: its width relative to the longer side of the network's input region: larger ones are more accurate.
    """

    box: Box
    score: float
    marks: Floats
    share: float = 0.0

    def moved(self, left: float, top: float) -> Candidate:
        """The same in the coordinates of an image whose part at (left, top) was searched."""
        x, y, width, height = self.box
        marks = self.marks + np.array((left, top), np.float32)
        return replace(self, box=(x + left, y + top, width, height), marks=marks)

    def in_whole_pixels(self) -> Candidate:
        """The same with the box truncated to whole pixels, as in MediaPipe's detector."""
        x, y, width, height = (float(int(side)) for side in self.box)
        return replace(self, box=(x, y, width, height))


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes x, y, width, height, in [0, 1]."""
    shared = intersection(one, other)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared) if shared else 0.0


def intersection(one: Box, other: Box) -> float:
    """Area that two boxes share, in square pixels."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return across * down if across > 0 and down > 0 else 0.0


def detect(image: Image, threshold: float, margin: int = 0, network: str = BLAZEFACE) -> list[Candidate]:
    """Candidates of BlazeFace in an image, highest score first.

    Args:
        image: uint8 RGB.
        threshold: lowest score of a face, in (0, 1).
        margin: pixels added on each side by repeating the image's edge; without it, images that are not square are
            padded with black, as in MediaPipe.
        network: ``BLAZEFACE`` (short range) or ``FULL_RANGE``.
    """
    height, width = image.shape[:2]
    pixels, anchors = _DETECTOR_SIZE[network], _anchors(network)
    side = max(height, width) + 2 * margin
    left, top = (width - side) / 2, (height - side) / 2
    border = cv2.BORDER_REPLICATE if margin else cv2.BORDER_CONSTANT
    shown = _seen(image, (width / 2, height / 2), (side, side), 0.0, pixels, border)
    shown /= np.float32(127.5)
    shown -= np.float32(1)
    raw, logits = _run(network, shown)
    # Converted to probabilities only above the threshold: far below it exp() would overflow.
    likely = np.flatnonzero(logits[0, :, 0] >= math.log(threshold / (1 - threshold)))
    scores = 1 / (1 + np.exp(-logits[0, likely, 0].astype(np.float64)))
    drawn = raw[0, likely].astype(np.float64).reshape(-1, 8, 2) / pixels
    drawn[:, 0] += anchors[likely]
    drawn[:, 2:] += anchors[likely][:, None]
    sound = (drawn[:, 1] > 0).all(axis=1)
    found = []
    for score, places in _without_repeats(scores[sound], drawn[sound]):
        (x, y), (across, down) = places[:2].tolist()
        box = (x - across / 2) * side + left, (y - down / 2) * side + top, across * side, down * side
        marks = (places[2:] * side + (left, top)).astype(np.float32)
        found.append(Candidate(box, score, marks, across))
    return found


def landmarks(image: Image, face: Candidate) -> Floats | None:
    """The landmarks of a detected face.

    Args:
        image: uint8 RGB; its edge is repeated outside.

    Returns:
        (478, 2) pixels, the last ten are the irises; None if the network detects no face.
    """
    points, presence = landmarks_and_presence(image, face)
    return points if presence >= math.log(_PRESENCE / (1 - _PRESENCE)) else None


def landmarks_and_presence(image: Image, face: Candidate) -> tuple[Floats, float]:
    """(478, 2) landmarks in pixels of a candidate, and the logit of the probability that it is a face."""
    points, presence = mesh_and_presence(image, face)
    return points[:, :2].copy(), presence


def mesh_and_presence(image: Image, face: Candidate) -> tuple[Floats, float]:
    """The same with (478, 3) landmarks, whose depth the network estimates: in pixels, smaller is closer."""
    x, y, width, height = face.box
    centre, size = (x + width / 2, y + height / 2), (width * _REGION, height * _REGION)
    across, down = (face.marks[1] - face.marks[0]).astype(np.float64)
    turn = math.atan2(down, across)
    shown = _seen(image, centre, size, turn, _LANDMARK_SIZE, cv2.BORDER_REPLICATE)
    shown /= np.float32(255)
    raw, presence = _run(LANDMARKS, shown)
    points = raw.reshape(478, 3)[:, :2].astype(np.float64) / _LANDMARK_SIZE - 0.5
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    depth = raw.reshape(478, 3)[:, 2:].astype(np.float64) / _LANDMARK_SIZE * size[0]
    placed = np.concatenate([points @ rotation * size + centre, depth], axis=1)
    return placed.astype(np.float32), float(presence.ravel()[0])


def blendshapes(points: Floats) -> Floats:
    """(478, 2) landmarks -> (52,) blendshapes in [0, 1], in the order of ``tasks.BLENDSHAPES``."""
    (found,) = _run(SHAPES, points[None, _blendshape_points()])
    return found.ravel()


def load(names: Iterable[str]) -> None:
    """Load networks in advance.

    Raises:
        ModelUnavailable: one is missing from the installation or cannot be used.
    """
    for name in names:
        _session(name)


def _seen(
    image: Image, centre: tuple[float, float], size: tuple[float, float], turn: float, pixels: int, border: int
) -> Floats:
    """(1, 3, pixels, pixels) from 0 to 255: a rectangle of an image, rotated about its centre by an angle in radians.

    Corners map to corners, with linear interpolation and no averaging, as in MediaPipe.
    """
    (width, height), cos, sin = size, math.cos(turn), math.sin(turn)
    left = centre[0] - (cos * width - sin * height) / 2
    top = centre[1] - (sin * width + cos * height) / 2
    matrix = np.array(
        [(cos * width / pixels, -sin * height / pixels, left), (sin * width / pixels, cos * height / pixels, top)]
    )
    seen = np.empty((1, 3, pixels, pixels), np.float32)
    for k, plane in enumerate(
        cv2.split(affine.warp_square(image, matrix, pixels, border))
    ):  # faster than a transposed copy
        seen[0, k] = plane
    return seen


def _without_repeats(scores: NDArray[np.float64], points: NDArray[np.float64]) -> list[tuple[float, NDArray]]:
    """Weighted non-maximum suppression: one box per group of overlapping boxes, their mean weighted by score, with
    the highest score.

    Args:
        scores: (n,).
        points: (n, 8, 2) centre, size and six marks.
    """
    boxes = np.concatenate([points[:, 0] - points[:, 1] / 2, points[:, 1]], axis=1).tolist()
    left, found = np.argsort(-scores, kind="stable").tolist(), []
    while left:
        best, *others = left
        same = [best, *(k for k in others if overlap(boxes[best], boxes[k]) > _SAME_FACE)]
        averaged = [k for k in same if scores[k] >= min(scores[best], _AVERAGED)]
        weights = scores[averaged]
        mean = weights / weights.sum() @ points[averaged].reshape(len(averaged), -1)
        found.append((float(scores[best]), mean.reshape(8, 2)))
        left = [k for k in left if k not in same]
    return found


@functools.cache
def _anchors(network: str) -> NDArray[np.float64]:
    """(n, 2) in [0, 1]: centres of a network's anchors.

    Short range: two in each of 16 x 16 cells and six in each of 8 x 8; full range: one in each of 48 x 48.
    """
    found = []
    for cells, each in ((16, 2), (8, 6)) if network == BLAZEFACE else ((48, 1),):
        grid = (np.arange(cells) + 0.5) / cells
        rows, columns = np.meshgrid(grid, grid, indexing="ij")
        found.append(np.repeat(np.stack([columns.ravel(), rows.ravel()], axis=1), each, axis=0))
    return np.concatenate(found)


@functools.cache
def _blendshape_points() -> NDArray[np.int64]:
    """(146,) indices of landmarks."""
    numbers: list[int] = []
    for part in _SEEN_BY_BLENDSHAPES.split():
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return np.array(numbers)


def _run(name: str, given: Floats) -> list[Floats]:
    return _session(name).run(None, {"input": given})


@functools.cache
def _session(name: str) -> Any:
    """One session for all threads: each caller computes in its own thread."""
    resource = files("hsemotion_cli").joinpath("assets", name)
    if not resource.is_file():
        raise ModelUnavailable(f"{name} is missing from the installation; reinstall hsemotion.")
    try:
        return onnx_graphs.session(resource.read_bytes(), threads=1)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{name}: {error} Reinstall hsemotion.") from error

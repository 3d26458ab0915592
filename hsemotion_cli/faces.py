"""Frame -> Sighting: find faces, place 478 landmarks, read 52 blendshapes, cut the face out.

Two of MediaPipe's tasks work together, both in IMAGE mode, so that the same picture gives the same faces whatever
came before it: BlazeFace finds candidates and scores them; the Face Landmarker looks at each candidate's own
surroundings at a good size, and a candidate in which it sees no face is dropped. BlazeFace sees 128 x 128 pixels of
whatever it is shown, so ``min_face`` makes it look at overlapping tiles as well.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import crops, interrupts
from .domain import Face, Frame, Image, Sighting
from .errors import ModelUnavailable, UsageError

BUNDLE = "face_landmarker.task"
BUNDLE_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

BLENDSHAPES: tuple[str, ...] = tuple(
    [
        "_neutral",
        "browDownLeft",
        "browDownRight",
        "browInnerUp",
        "browOuterUpLeft",
        "browOuterUpRight",
        "cheekPuff",
        "cheekSquintLeft",
        "cheekSquintRight",
        "eyeBlinkLeft",
        "eyeBlinkRight",
        "eyeLookDownLeft",
        "eyeLookDownRight",
        "eyeLookInLeft",
        "eyeLookInRight",
        "eyeLookOutLeft",
        "eyeLookOutRight",
        "eyeLookUpLeft",
        "eyeLookUpRight",
        "eyeSquintLeft",
        "eyeSquintRight",
        "eyeWideLeft",
        "eyeWideRight",
        "jawForward",
        "jawLeft",
        "jawOpen",
        "jawRight",
        "mouthClose",
        "mouthDimpleLeft",
        "mouthDimpleRight",
        "mouthFrownLeft",
        "mouthFrownRight",
        "mouthFunnel",
        "mouthLeft",
        "mouthLowerDownLeft",
        "mouthLowerDownRight",
        "mouthPressLeft",
        "mouthPressRight",
        "mouthPucker",
        "mouthRight",
        "mouthRollLower",
        "mouthRollUpper",
        "mouthShrugLower",
        "mouthShrugUpper",
        "mouthSmileLeft",
        "mouthSmileRight",
        "mouthStretchLeft",
        "mouthStretchRight",
        "mouthUpperUpLeft",
        "mouthUpperUpRight",
        "noseSneerLeft",
        "noseSneerRight",
    ]
)
"""The bundle's blendshapes in its own order; ``FaceFinder`` checks it on the first face."""

MAX_FACES = 64
"""Candidates per frame that are looked at, best scores first."""

REACH = 0.14
"""Width of the smallest face that BlazeFace short range finds reliably, as a share of the longer side of what it is
shown (``scripts/detector_reach.py`` measures it)."""

_OVERLAP = 0.35  # of a tile; more than two smallest faces, so that each lies whole in some tile


Box = tuple[float, float, float, float]
"""x, y, width, height in pixels; may reach over the picture's edge."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What BlazeFace takes for a face.

    Attributes:
        box: of the face without forehead and ears, about a square.
        score: in [0, 1].
        marks: (6, 2) pixels: the eye that is left in the picture, the other eye, tip of the nose, middle of the mouth,
            the ear that is left in the picture, the other ear.
    """

    box: Box
    score: float
    marks: NDArray[np.float32]

    def moved(self, left: float, top: float) -> Candidate:
        """The same in a picture of which the one that was looked at is the part that begins at (left, top)."""
        x, y, width, height = self.box
        return Candidate((x + left, y + top, width, height), self.score, self.marks + np.array((left, top), np.float32))


class FaceFinder:
    """Finds the faces of one picture after another, with all their landmarks; use it as a context manager.

    One thread may use it at a time. What it says of a picture does not depend on those before.

    Args:
        min_face: width in pixels of the smallest face that must be found; None looks at whole pictures only.
        threshold: detector confidence in (0, 1) from which a candidate counts.
    """

    def __init__(self, min_face: int | None = None, threshold: float = 0.5) -> None:
        if min_face is not None and min_face < 16:
            raise UsageError(f"--min-face {min_face} is too small to be read: give 16 pixels or more.")
        if not 0 < threshold < 1:
            raise UsageError(f"--det-threshold {threshold:g} is not between 0 and 1.")
        self.min_face = min_face
        self.threshold = threshold
        self._names_checked = False
        self._tasks: list[Any] = []

    def __enter__(self) -> FaceFinder:
        try:
            with interrupts.put_off():
                self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give both tasks back; harmless when there are none."""
        with interrupts.put_off(), _muted_stderr():
            for task in self._tasks:
                task.close()
            self._tasks.clear()

    def _open(self) -> None:
        # TensorFlow Lite and absl write to file descriptor 2 when a task is made and at its first call.
        with bundle() as path, _muted_stderr():
            self._open_detector(path)
            self._open_landmarker(path)
            self.find_in_crop(np.zeros((64, 64, 3), np.uint8))

    def _open_detector(self, path: Any) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        with zipfile.ZipFile(path) as archive:
            detector = archive.read("face_detector.tflite")
        self._detector = vision.FaceDetector.create_from_options(
            vision.FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=detector), min_detection_confidence=self.threshold
            )
        )
        self._tasks.append(self._detector)
        self.detect(np.zeros((64, 64, 3), np.uint8))

    def _open_landmarker(self, path: Any) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        self._landmarker = vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=os.fspath(path)), output_face_blendshapes=True, num_faces=1
            )
        )
        self._tasks.append(self._landmarker)

    def find(self, image: Image) -> list[Face]:
        """All faces of a picture, from the highest detector score down, without crops."""
        found: list[Face] = []
        for candidate in self.candidates(image):
            face = self.look(image, candidate)
            if face is not None and all(overlap(face.box, other.box) < 0.5 for other in found):
                found.append(face)
        return found

    def find_in_crop(self, image: Image) -> Face:
        """The face that a given crop shows, without any detection: points, landmarks and blendshapes may be None."""
        landmarks, blendshapes = self._landmark(framed(image))
        if landmarks is not None:
            landmarks = landmarks - np.float32(margin(image))
        return Face(whole(image), math.nan, _five(landmarks), landmarks, blendshapes)

    def candidates(self, image: Image) -> list[Candidate]:
        """What may be a face, highest score first, from the whole picture and from tiles, each face once."""
        found = self.detect(image)
        for left, top, size in tiles(image.shape[1], image.shape[0], self.min_face):
            found += [c.moved(left, top) for c in self.detect(image[top : top + size, left : left + size])]
        found.sort(key=lambda candidate: (-candidate.score, candidate.box))
        kept: list[Candidate] = []
        for candidate in found:
            if all(overlap(candidate.box, other.box) < 0.4 for other in kept):
                kept.append(candidate)
        return kept[:MAX_FACES]

    def detect(self, image: Image) -> list[Candidate]:
        """What BlazeFace takes for a face in one look at a whole picture."""
        height, width = image.shape[:2]
        return [
            Candidate(
                (float(b.origin_x), float(b.origin_y), float(b.width), float(b.height)),
                d.categories[0].score,
                np.array([(mark.x * width, mark.y * height) for mark in d.keypoints], np.float32),
            )
            for d in self._detector.detect(_as_mediapipe(image)).detections
            if (b := d.bounding_box).width > 0 and b.height > 0
        ]

    def look(self, image: Image, candidate: Candidate) -> Face | None:
        """The face of a candidate, its box drawn around its landmarks; None if there is none after all."""
        # Twice the face is about what the landmarker's own detector sees best; a neighbour that wins the first
        # look is told from the candidate by its place, and a closer second look decides.
        for reach in (1.0, 0.75):
            left, top, region = surroundings(image, candidate.box, reach)
            landmarks, blendshapes = self._landmark(region)
            if landmarks is None:
                continue
            landmarks = landmarks + np.array((left, top), np.float32)
            # 468 of the 478 points lie on the face's surface; the rest are the irises.
            low, high = landmarks[:468].min(axis=0), landmarks[:468].max(axis=0)
            box = float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
            if overlap(box, candidate.box) >= 0.3:
                return Face(box, candidate.score, _five(landmarks), landmarks, blendshapes)
        return None

    def _landmark(self, image: Image) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        result = self._landmarker.detect(_as_mediapipe(image))
        if not result.face_landmarks:
            return None, None
        height, width = image.shape[:2]
        points = np.array([(p.x, p.y) for p in result.face_landmarks[0]], np.float32) * np.array(
            (width, height), np.float32
        )
        shapes = result.face_blendshapes[0]
        if not self._names_checked:
            if tuple(s.category_name for s in shapes) != BLENDSHAPES:
                raise ModelUnavailable(f"{BUNDLE}: its blendshapes are not the 52 expected ones; reinstall hsemotion.")
            self._names_checked = True
        return points, np.array([s.score for s in shapes], np.float32)


def sight(frame: Frame, finder: FaceFinder, recipes: Sequence[str], *, given: bool = False) -> Sighting:
    """Find the faces of a frame and cut them out by each crop recipe.

    Args:
        given: the picture is the face (``--crops``): nothing is detected, and recipes yield the picture itself, but
            for those that ``crops.cut_given`` makes by the points in it.
    """
    image = frame.image
    if given:
        face = finder.find_in_crop(image)
        faces = [replace(face, crops=crops.cut_given(image, face.points, recipes))]
    else:
        faces = [with_crops(face, image, recipes) for face in finder.find(image)]
    return Sighting(frame.index, frame.time, tuple(faces), frame.cut)


def with_crops(face: Face, image: Image, recipes: Sequence[str]) -> Face:
    """A face whose points are known, cut out of its picture by each crop recipe."""
    if not recipes or face.points is None:
        return face
    return replace(face, crops=crops.cut(image, face.box, face.points, recipes))


def tiles(width: int, height: int, min_face: int | None) -> list[tuple[int, int, int]]:
    """Overlapping square tiles (left, top, side) in which a face of ``min_face`` pixels is large enough to be found.

    Tile sides double from the smallest needed until the whole picture does as well; empty for None.
    """
    if min_face is None:
        return []
    side, found = math.ceil(min_face / REACH), []
    while side < max(width, height):
        found += [(left, top, side) for top in _starts(height, side) for left in _starts(width, side)]
        side *= 2
    return found


def _starts(length: int, side: int) -> list[int]:
    """Where tiles of a side begin so that they cover a length and overlap by ``_OVERLAP`` at least."""
    if side >= length:
        return [0]
    count = math.ceil((length - side) / (side * (1 - _OVERLAP))) + 1
    return [round(k * (length - side) / (count - 1)) for k in range(count)]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes x, y, width, height, in [0, 1]."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / (one[2] * one[3] + other[2] * other[3] - across * down)


@contextlib.contextmanager
def bundle() -> Iterator[Any]:
    """The path of MediaPipe's model bundle, which is part of the package."""
    resource = files("hsemotion_cli").joinpath("assets", BUNDLE)
    if not resource.is_file():
        raise ModelUnavailable(f"{BUNDLE} is missing from the installation; reinstall hsemotion.")
    with as_file(resource) as path:
        yield path


def surroundings(image: Image, box: Box, reach: float) -> tuple[int, int, Image]:
    """Left, top and pixels of a square around a box, ``reach`` larger sides to each side of its centre."""
    height, width = image.shape[:2]
    centre_x, centre_y, half = box[0] + box[2] / 2, box[1] + box[3] / 2, max(box[2], box[3]) * reach
    left, top = max(math.floor(centre_x - half), 0), max(math.floor(centre_y - half), 0)
    right, bottom = min(math.ceil(centre_x + half), width), min(math.ceil(centre_y + half), height)
    return left, top, image[top : max(bottom, top + 1), left : max(right, left + 1)]


def margin(image: Image) -> int:
    """Pixels by which a crop is framed: both detectors want some surroundings, and crops have none."""
    return max(image.shape[:2]) // 3


def framed(image: Image) -> Image:
    """A crop with its edge repeated on all sides."""
    edge = margin(image)
    return np.pad(image, ((edge, edge), (edge, edge), (0, 0)), mode="edge")


def whole(image: Image) -> Box:
    """The box of a whole picture."""
    return 0.0, 0.0, float(image.shape[1]), float(image.shape[0])


def _five(landmarks: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if landmarks is None else landmarks[list(crops.FIVE_POINTS)]


def _as_mediapipe(image: Image) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))


@contextlib.contextmanager
def _muted_stderr() -> Iterator[None]:
    """Point file descriptor 2 at nothing for a moment; Python's own messages are flushed first."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr at all
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

"""Frame -> Sighting: find faces, place 478 landmarks, read 52 blendshapes, cut the face out.

MediaPipe's networks (``mediapipe_onnx``) look at one image at a time, so the same image gives the same faces whatever
came before it. BlazeFace proposes and scores candidates, then looks at the surroundings of each candidate again at a
good size, and the landmarks are placed there. A candidate without a face in that second look is dropped, unless it is
large, its mirror image agrees, and there is no other face. BlazeFace sees 128 x 128 pixels of whatever it is given, so
``min_face`` makes it search overlapping tiles as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Face, Frame, Image, Sighting
from ..errors import UsageError
from . import crops, mediapipe_onnx
from .keypoints import KeypointMap
from .mediapipe_onnx import Box, Candidate, intersection, overlap

MAX_FACES = 64
"""Candidates per frame that are looked at, best scores first."""

REACH = 0.14
"""Width of the smallest face that BlazeFace short range finds reliably, as a share of the longer side of what it is
shown (``scripts/detector_reach.py`` measures it)."""

LARGE = 0.3
"""Share of the picture from which a face's marks are as exact as those of a closer look.

``scripts/fast_looks.py`` measures it: on 61 frames the largest distance of the five points from the landmarks', median,
was 0.110 of the eyes' distance after one look and 0.101 after two (0.133 and 0.099 at a share of 0.25).
"""

_AGAIN = 0.5
"""Score from which a face counts when a candidate is looked at by itself: the Face Landmarker's own."""

_FILLS = 0.4
"""Width of a face that fills the picture, as a share of its shorter side. Smaller ones show without surroundings, so
that what is found of them only there is rarely one."""

_LEGIBLE = 24  # pixels; a face that is narrower shows no expression

_SURE = 0.75
"""Score from which a small face counts that nobody asked for: letters and clouds come to 0.67."""

_PLAIN = 0.6
"""Score from which a large face counts that has no landmarks: the mean of a picture's and its mirror image's. What is
taken for a face in noise, letters or clouds seldom looks like one in a mirror as well."""

_INSIDE = 0.7
"""Share of such a face's box that must lie in the picture: a repeated edge alone is a pattern of its own."""

_LARGER = 0.03
"""By how much tiles may be larger than they should, if two rows of them then become one."""

_OVERLAP = 0.35  # of a tile; more than two smallest faces, so that each lies whole in some tile


Shape = tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]
"""(478, 2) landmarks and (52,) blendshapes of a face; both None where there is none."""


class FaceDetector:
    """Finds the faces of one picture after another, with all their landmarks; use it as a context manager.

    One thread may use it at a time. What it says of a picture does not depend on those before.

    Args:
        min_face: width in pixels of the smallest face that must be found; None looks at whole pictures, and at a few
            large tiles where it finds nobody (``smaller``).
        threshold: detector confidence in (0, 1) from which a candidate counts.
        blendshapes: whether anybody reads them.

    Attributes:
        NETWORKS: the files that it reads, with their SHA-256.
        map: makes points of BlazeFace's marks, for faces without landmarks.

    Raises:
        UsageError: a size or threshold that cannot be.
        ModelUnavailable: the map is missing from the installation.
    """

    NETWORKS: Mapping[str, str] = mediapipe_onnx.NETWORKS

    def __init__(self, min_face: int | None = None, threshold: float = 0.5, blendshapes: bool = True) -> None:
        if min_face is not None and min_face < 16:
            raise UsageError(f"--min-face {min_face} is too small to be read: give 16 pixels or more.")
        if not 0 < threshold < 1:
            raise UsageError(f"--det-threshold {threshold:g} is not between 0 and 1.")
        self.min_face = min_face
        self.threshold = threshold
        self.blendshapes = blendshapes
        self.map = KeypointMap.read()

    def __enter__(self) -> FaceDetector:
        mediapipe_onnx.load(name for name in self.NETWORKS if self.blendshapes or name != mediapipe_onnx.SHAPES)
        return self

    def __exit__(self, *_: object) -> None:
        """The networks stay for the next one."""

    def find(self, image: Image) -> list[Face]:
        """All faces of a picture, from the highest detector score down, without crops.

        BlazeFace misses faces that fill the picture, and small ones. So where none is found it looks once more, with
        some surroundings; and then, unless ``min_face`` has decided on that, at tiles in which smaller faces show.
        What is left may be large faces in profile or behind a hand: they have no landmarks, but count if the mirror
        image shows them too.
        """
        found = self._seen(image, self.candidates(image))
        filled = not found and self.fills(image)
        if filled:
            edge, least, larger = margin(image), _FILLS * min(image.shape[:2]), pad_edges(image)
            close = self.detect(larger)
            seen = self._seen(larger, close)
            found = [shifted(face, -edge, -edge) for face in seen if face.box[2] >= least]
        if not found and self.min_face is None:
            looked = self._in_tiles(image, smallest_tiled_face(image.shape[1], image.shape[0]))
            found = self._seen(image, _each_once([candidate for candidate in looked if candidate.score >= _SURE]))
        if not found and filled:
            likely = [candidate for candidate in close if candidate.box[2] >= least]
            found = [shifted(face, -edge, -edge) for face in self._mirrored(larger, likely)]
            found = [face for face in found if share_inside(face.box, image) >= _INSIDE]
        return found

    def _mirrored(self, image: Image, likely: Sequence[Candidate]) -> list[Face]:
        """Those candidates as faces without landmarks that are one in the mirror image too."""
        if not likely:
            return []
        again = self.detect(np.ascontiguousarray(image[:, ::-1]))
        found = []
        for candidate in likely:
            x, y, width, height = candidate.box
            there = (image.shape[1] - x - width, y, width, height)
            mirrored = max((other.score for other in again if overlap(there, other.box) >= 0.5), default=0.0)
            score = (candidate.score + mirrored) / 2
            if score >= _PLAIN:
                # Of a face in profile BlazeFace's own box is nearer to the truth than one made of its marks.
                found.append(Face(candidate.box, score, self.map.points(candidate.marks)))
        return found

    def fills(self, image: Image) -> bool:
        """Whether a face may fill the picture; it is not drawn with its surroundings for that, which takes long."""
        seen = mediapipe_onnx.detect(image, self.threshold, margin(image))
        return any(candidate.box[2] >= _FILLS * min(image.shape[:2]) for candidate in seen)

    def _seen(self, image: Image, candidates: Sequence[Candidate]) -> list[Face]:
        """The faces of those candidates that are one."""
        found: list[Face] = []
        for candidate in candidates:
            face = self.look(image, candidate)
            if face is not None and all(overlap(face.box, other.box) < 0.5 for other in found):
                found.append(face)
        return found

    def find_in_crop(self, image: Image) -> Face:
        """The face that a given crop shows, without any detection: points, landmarks and blendshapes may be None."""
        landmarks, blendshapes = self._landmark(pad_edges(image))
        if landmarks is not None:
            landmarks = landmarks - np.float32(margin(image))
        return Face(whole(image), math.nan, _five(landmarks), landmarks=landmarks, blendshapes=blendshapes)

    def candidates(self, image: Image) -> list[Candidate]:
        """What may be a face, highest score first, from the whole picture and from tiles, each face once."""
        return _each_once(self.detect(image) + self._in_tiles(image, self.min_face))

    def _in_tiles(self, image: Image, min_face: int | None) -> list[Candidate]:
        found = []
        for left, top, size in tiles(image.shape[1], image.shape[0], min_face):
            found += [c.moved(left, top) for c in self.detect(image[top : top + size, left : left + size])]
        return found

    def detect(self, image: Image) -> list[Candidate]:
        """What BlazeFace takes for a face in one look at a whole picture."""
        # In whole pixels, as MediaPipe gives boxes: so it is looked at the same places next.
        return [found.in_whole_pixels() for found in mediapipe_onnx.detect(image, self.threshold)]

    def look(self, image: Image, candidate: Candidate) -> Face | None:
        """The face of a candidate, its box drawn around its landmarks; None if there is none after all."""
        for landmarks, blendshapes in self._looks(image, candidate):
            if landmarks is None:
                continue
            # 468 of the 478 points lie on the face's surface; the rest are the irises.
            low, high = landmarks[:468].min(axis=0), landmarks[:468].max(axis=0)
            box = float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
            if overlap(box, candidate.box) >= 0.3:
                return Face(box, candidate.score, _five(landmarks), landmarks=landmarks, blendshapes=blendshapes)
        return None

    def _looks(self, image: Image, candidate: Candidate) -> Iterator[Shape]:
        """One look at a candidate after another, for the first that shows it."""
        # Twice the face is about what BlazeFace sees best; a neighbour that wins the first
        # look is told from the candidate by its place, and a closer second look decides.
        for reach in (1.0, 0.75):
            left, top, region = surroundings(image, candidate.box, reach)
            landmarks, blendshapes = self._landmark(region)
            yield None if landmarks is None else landmarks + np.array((left, top), np.float32), blendshapes
        if candidate.share >= LARGE:
            yield self._placed(image, candidate)

    def _landmark(self, image: Image) -> Shape:
        """The landmarks and blendshapes of the face that shows best, or none."""
        found = mediapipe_onnx.detect(image, _AGAIN)
        return self._placed(image, found[0]) if found else (None, None)

    def _placed(self, image: Image, candidate: Candidate) -> Shape:
        """The landmarks and blendshapes where the candidate is, or none."""
        points = mediapipe_onnx.landmarks(image, candidate)
        return points, None if points is None or not self.blendshapes else mediapipe_onnx.blendshapes(points)


def detect_faces(frame: Frame, finder: FaceDetector, recipes: Sequence[str], *, given: bool = False) -> Sighting:
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
    return Sighting(frame.index, frame.time, tuple(faces), frame.cut, frame.segment)


def with_crops(face: Face, image: Image, recipes: Sequence[str]) -> Face:
    """A face whose points are known, cut out of its picture by each crop recipe."""
    if not recipes or face.points is None:
        return face
    return replace(face, crops=crops.cut(image, face.box, face.points, recipes))


def _each_once(candidates: list[Candidate]) -> list[Candidate]:
    """Highest score first, each face once, and not too many."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: (-candidate.score, candidate.box)):
        if all(overlap(candidate.box, other.box) < 0.4 for other in kept):
            kept.append(candidate)
    return kept[:MAX_FACES]


def smallest_tiled_face(width: int, height: int) -> int:
    """Width in pixels of the smallest face that is looked for where nobody is found: few tiles are enough for it.

    Three squares side by side cover a picture of 16:9, six of half its width one of 4:3.
    """
    longer, shorter = max(width, height), min(width, height)
    side = shorter if longer / 2 < shorter < longer / 1.4 else longer / 2
    return max(math.ceil(REACH * side), _LEGIBLE)


def tiles(width: int, height: int, min_face: int | None) -> list[tuple[int, int, int]]:
    """Overlapping square tiles (left, top, side) in which a face of ``min_face`` pixels is large enough to be found.

    Tile sides double from the smallest needed until the whole picture does as well; empty for None.
    """
    if min_face is None:
        return []
    side, found = math.ceil(min_face / REACH), []
    if 0 <= min(width, height) - side < _LARGER * side:
        side = min(width, height)
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


def share_inside(box: Box, image: Image) -> float:
    """Share of a box's area that lies in a picture, in [0, 1]."""
    return intersection(box, whole(image)) / (box[2] * box[3])


def surroundings(image: Image, box: Box, reach: float) -> tuple[int, int, Image]:
    """Left, top and pixels of a square around a box, ``reach`` larger sides to each side of its centre."""
    height, width = image.shape[:2]
    centre_x, centre_y, half = box[0] + box[2] / 2, box[1] + box[3] / 2, max(box[2], box[3]) * reach
    left, top = max(math.floor(centre_x - half), 0), max(math.floor(centre_y - half), 0)
    right, bottom = min(math.ceil(centre_x + half), width), min(math.ceil(centre_y + half), height)
    return left, top, image[top : max(bottom, top + 1), left : max(right, left + 1)]


def shifted(face: Face, right: float, down: float) -> Face:
    """A face without crops, so many pixels further."""
    shift, (x, y, width, height) = np.array((right, down), np.float32), face.box
    points, landmarks = (None if known is None else known + shift for known in (face.points, face.landmarks))
    return replace(face, box=(x + right, y + down, width, height), points=points, landmarks=landmarks)


def margin(image: Image) -> int:
    """Pixels by which a crop is framed: both detectors want some surroundings, and crops have none."""
    return max(image.shape[:2]) // 3


def pad_edges(image: Image) -> Image:
    """A crop with its edge repeated on all sides."""
    edge = margin(image)
    return np.asarray(cv2.copyMakeBorder(image, edge, edge, edge, edge, cv2.BORDER_REPLICATE), np.uint8)


def whole(image: Image) -> Box:
    """The box of a whole picture."""
    return 0.0, 0.0, float(image.shape[1]), float(image.shape[0])


def _five(landmarks: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if landmarks is None else landmarks[list(crops.FIVE_POINTS)]

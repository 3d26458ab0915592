"""Frame -> Sighting: find faces, place 478 landmarks, read 52 blendshapes, cut the face out.

BlazeFace proposes candidates: its short-range network sees near faces, its full-range network small ones. Both look at
the whole image, and the full-range network also at overlapping tiles. A small classifier rejects most of what is no
face. Each candidate that is left is looked at again by itself at a good size (``verification`` turns what is found
there into the probability that it is a face), and the landmarks are placed there. The same image gives the same faces
whatever came before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import WHOLE, Face, Frame, Image, Sighting, View
from ..errors import UsageError
from . import crops, face_classifier, mediapipe_onnx, quarter_turns
from .appearance import look
from .keypoints import KeypointMap
from .measures import USUAL_OPTICS, Optics, measured
from .mediapipe_onnx import FULL_RANGE, Box, Candidate, intersection, overlap
from .verification import LOWEST, Evidence, probability

THRESHOLD = 0.75
"""Default probability from which a candidate counts as a face; docs/faces.md has the precision and recall that this
gives."""

MAX_FACES = 64
"""Candidates per search that get a closer look, the likeliest first."""

_MOST_CANDIDATES = 256
"""Candidates per search that the classifier looks at, best scores first."""

REACH = 1 / 12
"""Width of the smallest face that BlazeFace full range finds reliably, as a share of the side of a tile
(``scripts/measure_detection.py`` measures it)."""

LARGE = 0.3
"""Share of the image from which the marks of a face are as exact as those of a closer look.

``scripts/fast_looks.py`` measures it: on 61 frames the largest distance of the five points from the landmarks', median,
was 0.110 of the eyes' distance after one look and 0.101 after two (0.133 and 0.099 at a share of 0.25).
"""

BLOCK = 8
"""Frames per tiled search: a small face is found at most this many frames after it appears."""

_BLOCK_PIXELS = 16_600_000  # in one block: eight frames of 1080p

_SMALLEST = 1 / 32
"""Width of the smallest face that is searched for unasked, as a share of the longer side: 40 pixels in 720p."""

_LEGIBLE = 24
"""Pixels; a narrower face shows no expression."""

_SMALLER = 2 / 3
"""Share of the smallest width that is searched for, below which nothing counts as a face."""

_FILLS = 0.4
"""Width of a face that fills the image, as a share of its shorter side. Smaller ones show without surroundings, so what
is found of them only there is rarely one."""

_CLOSER = 0.1
"""Score that a closer look must reach for a candidate to count at all."""

_CLEAR = 0.3
"""Score of a candidate that is looked at once more where the first closer look shows nothing."""

_REJECTED = -3.0
"""Logit of the classifier below which a candidate gets no closer look."""

_UPSIDE_DOWN, _UPSIDE_DOWN_SURELY = 1.0, 2.0
"""By how much the classifier's logit of a face must be higher after half a turn for it to hang upside down: BlazeFace
and the landmark network take most faces that do for upright ones, with the eyes where the mouth is. The second counts
where the classifier is sure of the face as it is: of 1,129 upright faces, among them wide open mouths, three exceeded 1
there, and the most was 1.5."""

_SURE = 3.0
"""Logit of the classifier from which a candidate may be a face although BlazeFace does not see it in a closer look."""

_SEEN = 0.15
"""Score of BlazeFace that counts in an image that a face may fill."""

_HOPELESS = 0.05
"""Probability without landmarks below which a candidate is given up."""

_SAME = 0.25
"""Overlap from which what a closer look shows is the candidate and not a neighbour."""

_NESTED = 0.1
"""By how much a face may be less likely than one inside of it and yet replace it."""

_CERTAIN = 0.95
"""Probability of a face that is upright for sure. Where no face reaches it, turned images are searched as well, and
what reaches it there is taken instead: BlazeFace finds a false upright face in most that hang upside down."""

_INSIDE = 0.7
"""Share of the box of a face that must lie in the image where it was found with surroundings made of repeated edges:
a repeated edge alone is a pattern of its own."""

_CUT = 0.55
"""Share of the box of a face that must lie in the image: of one that the edge cuts in half, most would be guessed."""

_OVERLAP = 0.35  # of a tile; more than the largest face that only tiles show, so that each lies whole in some tile


Shape = tuple[NDArray[np.float32], NDArray[np.float32] | None, float]
"""(478, 2) landmarks, (52,) blendshapes or None, and the logit of the probability that a face is there."""


@dataclass(frozen=True, slots=True, eq=False)
class CloserLook:
    """What a closer look at a candidate shows.

    Attributes:
        best: the candidate as BlazeFace draws it there.
        shape: landmarks and blendshapes, None where the landmark network sees no face or was not asked.
        presence: highest logit of the landmark network, None where it was not asked.
    """

    best: Candidate
    shape: Shape | None = None
    presence: float | None = None


class FaceDetector:
    """Finds the faces of one image after another, with all their landmarks; use it as a context manager.

    One thread may use it at a time. The result for an image depends on it, and on the faces ``before`` where they are
    given.

    Args:
        min_face: width in pixels of the smallest face to find, in every image; None stands for
            1/32 of the longer side, 24 at least.
        threshold: probability in (0, 1) from which a candidate counts as a face.
        blendshapes: whether blendshapes are needed.

    Attributes:
        NETWORKS: the files that it reads, with their SHA-256.
        lowest: score of BlazeFace from which the classifier looks at a candidate.
        map: makes points and a box of BlazeFace's marks, for faces without landmarks.

    Raises:
        UsageError: an impossible size or threshold.
        ModelUnavailable: the map is missing from the installation.
    """

    NETWORKS: Mapping[str, str] = mediapipe_onnx.NETWORKS | face_classifier.NETWORKS
    lowest: float = LOWEST

    def __init__(self, min_face: int | None = None, threshold: float = THRESHOLD, blendshapes: bool = True) -> None:
        if min_face is not None and min_face < 16:
            raise UsageError(f"--min-face {min_face} is too small to be read: give 16 pixels or more.")
        if not 0 < threshold < 1:
            raise UsageError(f"--det-threshold {threshold:g} is not between 0 and 1.")
        self.min_face = min_face
        self.threshold = threshold
        self.blendshapes = blendshapes
        self.map = KeypointMap.read()

    def __enter__(self) -> Self:
        mediapipe_onnx.load(name for name in self.NETWORKS if self.blendshapes or name != mediapipe_onnx.SHAPES)
        return self

    def __exit__(self, *_: object) -> None:
        """The networks stay for the next one."""

    def find(self, image: Image, before: Sequence[Face] | None = None) -> list[Face]:
        """All faces of an image, from the highest score down, without crops.

        Args:
            before: the faces of the frame before. Only near faces are then searched for in the whole image, and small
                or rolled ones where they were, not in tiles or turned images.
        """
        if before is None:
            found = self._verified(image, self.candidates(image), [])
            found = self._verified(image, self._in_tiles(image, found), found)
        else:
            rolled = [face for face in before if _turns(face.points)]
            found = self._followed(image, rolled, [])
            found = self._verified(image, _each_once(self.detect(image, self.lowest)), found)
            found = self._followed(image, before, found)
            if any(_turns(face.points) for face in found):
                found = [face for face in found if face.score >= _CERTAIN or _turns(face.points)]
        if not found and self.fills(image):
            found = self._close(image)
        if before is None and all(face.score < _CERTAIN for face in found):
            found = self._rolled(image) or found
        return sorted(found, key=lambda face: (-face.score, face.box))

    def candidates(self, image: Image) -> list[Candidate]:
        """Candidates of both networks in one look at a whole image, highest score first, each face once."""
        near = self.detect(image, self.lowest)
        return _each_once(near + mediapipe_onnx.detect(image, self.lowest, network=FULL_RANGE))

    def _in_tiles(self, image: Image, known: Sequence[Face] = ()) -> list[Candidate]:
        """Candidates of the full-range network in the tiles of an image, likewise.

        Args:
            known: faces that were found in the whole image; tiles that show little else are left out.
        """
        height, width = image.shape[:2]
        found: list[Candidate] = []
        for left, top, side in tiles(width, height, self.min_face or smallest_tiled_face(width, height)):
            if any(_fills_tile(face, (left, top, side, side)) for face in known):
                continue
            part = image[top : top + side, left : left + side]
            found += [c.moved(left, top) for c in mediapipe_onnx.detect(part, self.lowest, network=FULL_RANGE)]
        return _each_once(found)

    def _verified(self, image: Image, candidates: Sequence[Candidate], known: list[Face]) -> list[Face]:
        """The faces known already, and those of the candidates that are faces; each face once, the likelier of two."""
        found = list(known)
        new = [c for c in candidates if not any(_covers(face.box, c.box) for face in found)]
        logits = face_classifier.logits(image, new)
        likely = [pair for pair in zip(logits, new, strict=True) if pair[0] >= _REJECTED]
        likely.sort(key=lambda pair: -pair[0] - 2 * pair[1].score)
        for logit, candidate in likely[:MAX_FACES]:
            if not any(_covers(face.box, candidate.box) and not _within(face.box, candidate.box) for face in found):
                self._add(image, self.look(image, candidate, logit), found)
        return found

    def _followed(self, image: Image, before: Sequence[Face], known: list[Face]) -> list[Face]:
        """The faces known already, and those of the frame before that are still where they were."""
        found = list(known)
        for face in before:
            if not any(_covers(other.box, face.box) for other in found):
                self._add(image, self.look(image, _expected(face)), found)
        return found

    def _rolled(self, image: Image) -> list[Face]:
        """The faces of an image that are certain only after it is turned, because they lie or hang upside down."""
        height, width = image.shape[:2]
        for turns in (1, 3, 2):
            turned = quarter_turns.turned_image(image, turns)
            found = self._verified(turned, self.candidates(turned), [])
            certain = [face for face in found if face.score >= _CERTAIN]
            if certain:
                back = (width, height) if turns == 2 else (height, width)
                return [quarter_turns.turned_face(face, -turns, back) for face in certain]
        return []

    def _add(self, image: Image, face: Face | None, found: list[Face]) -> None:
        """Add a face to those that were found unless it is too small, mostly beyond the edge, or one of them."""
        least = _SMALLER * (self.min_face or smallest_tiled_face(image.shape[1], image.shape[0]))
        if face is None or face.box[2] < least or share_inside(face.box, image) < _CUT:
            return
        same = [other for other in found if _covers(other.box, face.box)]
        if all(_within(other.box, face.box) and face.score > other.score - _NESTED for other in same):
            found[:] = [other for other in found if other not in same] + [face]

    def _close(self, image: Image) -> list[Face]:
        """The faces that fill an image: BlazeFace often misses them without some surroundings.

        A face in profile or behind a hand has no landmarks; here it counts if the mirror image shows it as well.
        """
        edge, larger = margin(image), pad_edges(image)
        least = _FILLS * min(image.shape[:2])
        close = [candidate for candidate in _each_once(self.detect(larger, _SEEN)) if candidate.box[2] >= least]
        found = [shifted(face, -edge, -edge) for face in self._verified(larger, close, [])]
        if not close or any(face.score >= _CERTAIN for face in found):
            return found
        mirrored = [shifted(face, -edge, -edge) for face in self._mirrored(larger, close)]
        # What both show is surer than landmarks that are not certain.
        return [face for face in mirrored if share_inside(face.box, image) >= _INSIDE] or found

    def _mirrored(self, image: Image, candidates: Sequence[Candidate]) -> list[Face]:
        """Candidates that the mirror image shows too, as faces without landmarks; the score is the mean of both.

        What looks like a face in noise, letters or clouds seldom does so in a mirror as well.
        """
        again = self.detect(np.ascontiguousarray(image[:, ::-1]), _SEEN)
        found = []
        for candidate in candidates:
            x, y, width, height = candidate.box
            there = (image.shape[1] - x - width, y, width, height)
            other = max((seen.score for seen in again if overlap(there, seen.box) >= 0.5), default=0.0)
            score = (candidate.score + other) / 2
            if score >= self.threshold:
                # Of a face in profile BlazeFace's own box is nearer to the truth than one made of its marks.
                found.append(Face(candidate.box, score, self.map.points(candidate.marks)))
        return found

    def fills(self, image: Image) -> bool:
        """Whether a face may fill the image; for this it need not be drawn with its surroundings, which takes long."""
        seen = mediapipe_onnx.detect(image, _SEEN, margin(image))
        return any(candidate.box[2] >= _FILLS * min(image.shape[:2]) for candidate in seen)

    def find_in_crop(self, image: Image) -> Face:
        """The face that a given crop shows, without any detection: points, landmarks and blendshapes may be None."""
        framed = pad_edges(image)
        near = mediapipe_onnx.detect(framed, 0.5)
        shape = self._landmark(framed, near[0]) if near else None
        if shape is None or shape[2] < 0:
            return Face(whole(image), math.nan)
        landmarks = shape[0] - np.float32(margin(image))
        return Face(whole(image), math.nan, _five(landmarks), landmarks=landmarks, blendshapes=shape[1])

    def detect(self, image: Image, threshold: float = LOWEST) -> list[Candidate]:
        """Candidates of the short-range network in one look at a whole image."""
        # In whole pixels, as MediaPipe gives boxes: so the same places are looked at next.
        return [found.in_whole_pixels() for found in mediapipe_onnx.detect(image, threshold)]

    def look(self, image: Image, candidate: Candidate, classified: float | None = None) -> Face | None:
        """The face of a candidate, its box drawn around its landmarks if it has any; None if it is no face.

        Args:
            classified: the classifier's logit at the candidate, where it is known.
        """
        face, hangs = self._look_as_marked(image, candidate, classified)
        if not hangs:
            return face
        other, _ = self._look_as_marked(image, quarter_turns.upside_down(candidate), None)
        return face if other is None or (face is not None and other.score < face.score) else other

    def _look_as_marked(self, image: Image, candidate: Candidate, classified: float | None) -> tuple[Face | None, bool]:
        """The face of a candidate with its eyes where the marks are, and whether it rather hangs upside down."""
        if turns := _turns(candidate.marks):
            face, hangs = self._look_turned(image, candidate, turns, classified)
            if face is not None or hangs:
                return self._straightened(image, face, turns), hangs
        face, hangs = self._look_upright(image, candidate, classified)
        return self._straightened(image, face, 0), hangs

    def _straightened(self, image: Image, face: Face | None, seen: int) -> Face | None:
        """A face that lay on its side when it was looked at, after ``seen`` quarter turns: looked at again upright,
        because its landmarks are not exact otherwise."""
        if face is None or (turns := _turns(face.points)) == seen:
            return face
        return self._look_turned(image, _expected(face), turns, None)[0] or face

    def _look_turned(
        self, image: Image, candidate: Candidate, turns: int, classified: float | None
    ) -> tuple[Face | None, bool]:
        """The same for a candidate that is upright only after ``turns`` quarter turns; the face must be certain."""
        left, top, region = surroundings(image, candidate.box, 1.5)
        height, width = region.shape[:2]
        turned = quarter_turns.turned_candidate(candidate.moved(-left, -top), turns, (width, height))
        turned = replace(turned, share=0.0)  # marks of a face on its side are not exact, however large it is
        face, hangs = self._look_upright(quarter_turns.turned_image(region, turns), turned, classified)
        if face is None or face.score < self._askew:
            return None, hangs
        back = (width, height) if turns == 2 else (height, width)
        return shifted(quarter_turns.turned_face(face, -turns, back), left, top), hangs

    def _look_upright(self, image: Image, candidate: Candidate, classified: float | None) -> tuple[Face | None, bool]:
        """The same without turning the image."""
        looked, evidence = self.evidence(image, candidate, classified)
        if looked is None or evidence is None:
            return None, False
        score = probability(evidence)
        drawn = looked.best.marks if looked.shape is None else looked.shape[0][list(crops.FIVE_POINTS)]
        # Marks that are far from level are mostly those of no face, or of one that is seen wrongly.
        if score < (self._askew if _turns(candidate.marks) or _turns(drawn) else self.threshold):
            return None, False
        (hanging,) = face_classifier.logits(image, [quarter_turns.upside_down(looked.best)])
        margin = _UPSIDE_DOWN if evidence.classified < _SURE else _UPSIDE_DOWN_SURELY
        hangs = bool(hanging > evidence.classified + margin)
        if looked.shape is None:
            return Face(self.map.box(looked.best.marks), score, self.map.points(looked.best.marks)), hangs
        landmarks, blendshapes, _ = looked.shape
        face = Face(_surface(landmarks), score, _five(landmarks), landmarks=landmarks, blendshapes=blendshapes)
        return face, hangs

    @property
    def _askew(self) -> float:
        """Probability from which a face counts that is far from upright."""
        return max(self.threshold, _CERTAIN)

    def evidence(
        self, image: Image, candidate: Candidate, classified: float | None = None
    ) -> tuple[CloserLook | None, Evidence | None]:
        """What a closer look at a candidate shows, and what speaks for a face there; None, None for hopeless ones."""
        looked = self._closer(image, candidate, classified)
        if looked is None:
            if classified is None or classified < _SURE:
                return None, None
            looked = CloserLook(candidate)  # BlazeFace sees nothing there, but the classifier does
            return looked, Evidence(candidate.score, 0.0, None, candidate.box[2], classified)
        if classified is None or looked.best is not candidate:
            (classified,) = face_classifier.logits(image, [looked.best])
        return looked, Evidence(candidate.score, looked.best.score, looked.presence, candidate.box[2], classified)

    def _closer(self, image: Image, candidate: Candidate, classified: float | None = None) -> CloserLook | None:
        """Look at a candidate by itself until its landmarks are found; None if BlazeFace sees nothing there."""
        best: Candidate | None = None
        presence = -math.inf
        # Twice the face is about what BlazeFace sees best; where a neighbour wins, a closer look decides.
        for again, shape in self._looks(image, candidate, classified):
            if best is None or again.score > best.score:
                best = again
            presence = max(presence, shape[2])
            if shape[2] >= 0 and overlap(_surface(shape[0]), candidate.box) >= _SAME:
                return CloserLook(best, shape, presence)
        return None if best is None else CloserLook(best, None, presence)

    def _looks(self, image: Image, candidate: Candidate, classified: float | None) -> Iterator[tuple[Candidate, Shape]]:
        """One look at a candidate after another, where BlazeFace sees it: as it draws it there, and the landmarks."""
        seen = None
        clear = candidate.score >= _CLEAR or (classified is not None and classified >= 0)
        for reach in (1.0, 0.75):
            left, top, region = surroundings(image, candidate.box, reach)
            # Not in whole pixels: the landmark network is shown just what BlazeFace drew.
            near = _the_same(mediapipe_onnx.detect(region, _CLOSER), candidate.moved(-left, -top))
            if near is None and not clear:
                return
            if near is not None and self._likely(region, candidate, near, classified):
                landmarks, blendshapes, presence = self._landmark(region, near)
                seen = near.moved(left, top)
                yield seen, (landmarks + np.array((left, top), np.float32), blendshapes, presence)
        if seen is not None and candidate.share >= LARGE:
            yield seen, self._placed(image, candidate)

    def _likely(self, region: Image, candidate: Candidate, near: Candidate, classified: float | None) -> bool:
        """Whether the landmark network, which costs more than all looks together, is worth running."""
        if classified is None or classified < 0:  # at the better box the classifier may change its mind
            (classified,) = face_classifier.logits(region, [near])
        return probability(Evidence(candidate.score, near.score, None, candidate.box[2], classified)) >= _HOPELESS

    def _landmark(self, region: Image, near: Candidate) -> Shape:
        """The landmarks and blendshapes of a face in an image of its surroundings, and how sure it is a face."""
        return self._placed(region, near)

    def _placed(self, image: Image, candidate: Candidate) -> Shape:
        points, presence = mediapipe_onnx.landmarks_and_presence(image, candidate)
        wanted = self.blendshapes and presence >= 0
        return points, mediapipe_onnx.blendshapes(points) if wanted else None, presence


def detect_faces(
    frame: Frame,
    finder: FaceDetector,
    recipes: Sequence[str],
    *,
    given: bool = False,
    before: Sequence[Face] | None = None,
    optics: Optics = USUAL_OPTICS,
) -> Sighting:
    """Find the faces of a frame and cut them out by each crop recipe.

    Args:
        given: the image is the face (``--crops``): nothing is detected, and recipes yield the image itself, but for
            those that ``crops.cut_given`` makes by the points in it.
        before: the faces of the frame before; see ``FaceDetector.find``.
        optics: of the camera, for the head poses.
    """
    image = frame.image
    if given:
        face = finder.find_in_crop(image)
        faces = [replace(face, crops=crops.cut_given(image, face.points, recipes))]
    else:
        known = None if before is None else [to_image(face, frame.view) for face in before]
        faces = [
            replace(with_crops(face, image, recipes), look=look(image, face.box)) for face in finder.find(image, known)
        ]
    placed = measured((to_canvas(face, frame.view) for face in faces), frame, optics)
    return Sighting(frame.index, frame.time, placed, frame.cut, frame.segment)


def block_size(pixels: int) -> int:
    """Frames of a block: up to ``BLOCK``; fewer where they are large, so that few are in memory at once.

    Args:
        pixels: of a frame.
    """
    return max(2, min(BLOCK, _BLOCK_PIXELS // max(pixels, 1)))


def blocks(frames: Iterable[Frame], pixels: int) -> Iterator[list[Frame]]:
    """Consecutive frames in blocks of ``block_size``.

    Args:
        pixels: of a frame.
    """
    count = block_size(pixels)
    block: list[Frame] = []
    for frame in frames:
        block.append(frame)
        if len(block) == count:
            yield block
            block = []
    if block:
        yield block


def detect_in_block(
    block: Sequence[Frame],
    finder: FaceDetector,
    recipes: Sequence[str],
    *,
    given: bool = False,
    optics: Optics = USUAL_OPTICS,
) -> list[Sighting]:
    """Find the faces of consecutive frames: search tiles in the first, the places of the frame before in the others.

    A small face that appears within a block is found in the next one. A cut begins a search of its own.
    """
    return list(detect_in_turn(block, len(block), finder, recipes, given=given, optics=optics))


def detect_in_turn(
    frames: Iterable[Frame],
    block: int,
    finder: FaceDetector,
    recipes: Sequence[str],
    *,
    given: bool = False,
    optics: Optics = USUAL_OPTICS,
) -> Iterator[Sighting]:
    """The same for a stream of frames, each as soon as it comes.

    Args:
        block: frames of a block, 1 or more.
    """
    before: tuple[Face, ...] = ()
    for number, frame in enumerate(frames):
        known = None if number % block == 0 or frame.cut else before
        sighting = detect_faces(frame, finder, recipes, given=given, before=known, optics=optics)
        before = sighting.faces
        yield sighting


def with_crops(face: Face, image: Image, recipes: Sequence[str]) -> Face:
    """A face whose points are known, cut out of its image by each crop recipe."""
    if not recipes or face.points is None:
        return face
    return replace(face, crops=crops.cut(image, face.box, face.points, recipes))


def to_canvas(face: Face, view: View) -> Face:
    """Convert a face from pixels of an image to pixels of the displayed image; its crops are unchanged."""
    if view == WHOLE:
        return face
    left, top = view.to_canvas(*face.box[:2])
    return _moved(face, view.scale, (view.left, view.top), (left, top))


def to_image(face: Face, view: View) -> Face:
    """The other way round."""
    if view == WHOLE:
        return face
    left, top = view.to_image(*face.box[:2])
    return _moved(face, 1 / view.scale, view.to_image(0, 0), (left, top))


def _moved(face: Face, scale: float, offset: tuple[float, float], corner: tuple[float, float]) -> Face:
    points, landmarks = (
        None if known is None else np.asarray(known * scale + np.array(offset), np.float32)
        for known in (face.points, face.landmarks)
    )
    box = (*corner, face.box[2] * scale, face.box[3] * scale)
    return replace(face, box=box, points=points, landmarks=landmarks)


def _each_once(candidates: list[Candidate]) -> list[Candidate]:
    """Highest score first, each face once, and not too many."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: (-candidate.score, candidate.box)):
        if all(overlap(candidate.box, other.box) < 0.4 for other in kept):
            kept.append(candidate)
    return kept[:_MOST_CANDIDATES]


def _expected(face: Face) -> Candidate:
    """A face of the frame before as a candidate in this one."""
    assert face.points is not None  # every detected face has them
    marks = face.points[[0, 1, 2, 3, 0, 1]]  # the eyes give the turn, the rest is not used
    return Candidate(face.box, face.score, marks)


def _the_same(seen: Sequence[Candidate], candidate: Candidate) -> Candidate | None:
    """Of what a closer look shows, the candidate itself; None if it is gone."""
    same = [other for other in seen if overlap(other.box, candidate.box) >= _SAME]
    return max(same, key=lambda other: other.score, default=None)


def _turns(points: NDArray[np.float32] | None) -> int:
    """Quarter turns that make points or marks upright, of which the first two are the eyes."""
    assert points is not None  # every detected face has them
    return quarter_turns.turns_to_upright(points)


def _fills_tile(face: Face, tile: Box) -> bool:
    """Whether a tile shows mostly a face and what surrounds it."""
    x, y, width, height = face.box
    around = (x - width / 8, y - height / 8, 1.25 * width, 1.25 * height)
    return intersection(around, tile) >= 0.7 * tile[2] * tile[3]


def _covers(one: Box, other: Box) -> bool:
    """Whether two boxes are of the same face: they overlap by half, or the smaller lies mostly in the larger."""
    smaller = min(one[2] * one[3], other[2] * other[3])
    return overlap(one, other) >= 0.4 or intersection(one, other) >= 0.7 * smaller


def _within(one: Box, other: Box) -> bool:
    """Whether a box is a part of another: an eye or a mouth that was taken for a face is found in the face itself."""
    return one[2] * one[3] < 0.5 * other[2] * other[3] and intersection(one, other) >= 0.7 * one[2] * one[3]


def _surface(landmarks: NDArray[np.float32]) -> Box:
    """The box around the 468 of 478 landmarks that lie on the face's surface; the rest are the irises."""
    low, high = landmarks[:468].min(axis=0), landmarks[:468].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def smallest_tiled_face(width: int, height: int) -> int:
    """Width in pixels of the smallest face that is searched for unasked."""
    return max(math.ceil(_SMALLEST * max(width, height)), _LEGIBLE)


def tiles(width: int, height: int, min_face: int) -> list[tuple[int, int, int]]:
    """Overlapping square tiles (left, top, side) in which a face of ``min_face`` pixels is large enough to be found.

    Sides double from the smallest needed while they are below half of the longer side: larger faces show in the whole.
    """
    side, longer = math.ceil(min_face / REACH), max(width, height)
    found: list[tuple[int, int, int]] = []
    while side < longer and (not found or side < longer / 2):
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
    """Share of a box's area that lies in an image, in [0, 1]."""
    return intersection(box, whole(image)) / (box[2] * box[3])


def surroundings(image: Image, box: Box, reach: float) -> tuple[int, int, Image]:
    """Left, top and pixels of a square around a box, ``reach`` larger sides to each side of its centre."""
    height, width = image.shape[:2]
    centre_x, centre_y, half = box[0] + box[2] / 2, box[1] + box[3] / 2, max(box[2], box[3]) * reach
    # One pixel at least, also of a box that lies beyond the image.
    left = min(max(math.floor(centre_x - half), 0), width - 1)
    top = min(max(math.floor(centre_y - half), 0), height - 1)
    right, bottom = min(math.ceil(centre_x + half), width), min(math.ceil(centre_y + half), height)
    return left, top, image[top : max(bottom, top + 1), left : max(right, left + 1)]


def shifted(face: Face, right: float, down: float) -> Face:
    """A face without crops, shifted by a number of pixels."""
    shift, (x, y, width, height) = np.array((right, down), np.float32), face.box
    points, landmarks = (None if known is None else known + shift for known in (face.points, face.landmarks))
    return replace(face, box=(x + right, y + down, width, height), points=points, landmarks=landmarks)


def margin(image: Image) -> int:
    """Pixels of padding around a crop: both detectors need some context, which crops lack."""
    return max(image.shape[:2]) // 3


def pad_edges(image: Image) -> Image:
    """A crop with its edge repeated on all sides."""
    edge = margin(image)
    return np.asarray(cv2.copyMakeBorder(image, edge, edge, edge, edge, cv2.BORDER_REPLICATE), np.uint8)


def whole(image: Image) -> Box:
    """The box of a whole image."""
    return 0.0, 0.0, float(image.shape[1]), float(image.shape[0])


def _five(landmarks: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if landmarks is None else landmarks[list(crops.FIVE_POINTS)]

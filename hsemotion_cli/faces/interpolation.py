"""Interpolates faces in frames without detection from the frames around them.

Processing is offline, so both ends of a gap are known. A face that is present at both ends is interpolated linearly; if
a face appears or disappears, the detector runs on the frames of the gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..domain import Face, Frame, Sighting
from ..errors import UsageError
from .appearance import look
from .detector import FaceDetector, detect_faces, to_image, with_crops
from .measures import USUAL_OPTICS, Optics, measured
from .tracking import pairs

LONGEST = 15
"""Longest gap in frames: all of them are kept until its end is known."""


@dataclass(frozen=True, slots=True, eq=False)
class ScheduledFrame:
    """A frame, and whether the detector runs on it."""

    frame: Frame
    searched: bool


def check(every: int) -> None:
    """Raise UsageError unless ``every`` is a valid number of frames between detections."""
    if not 1 <= every <= LONGEST:
        raise UsageError(f"--detect-every {every}: give a number of frames from 1 to {LONGEST}.")


def schedule(frames: Iterable[Frame], every: int) -> Iterator[ScheduledFrame]:
    """Choose the frames for detection: each ``every``-th, the last one, and those on both sides of a cut."""
    waiting: Frame | None = None
    position = 0  # since the last search
    for frame in frames:
        if waiting is not None:
            search = position % every == 0 or frame.cut or waiting.cut
            yield ScheduledFrame(waiting, search)
            position = 1 if search else position + 1
        waiting = frame
    if waiting is not None:
        yield ScheduledFrame(waiting, True)


def interpolate(
    found: Iterable[Sighting | Frame], finder: FaceDetector, recipes: Sequence[str], optics: Optics = USUAL_OPTICS
) -> Iterator[Sighting]:
    """Replace frames without detection by interpolated sightings.

    Args:
        found: in order; the first and the last are sightings.
        finder: for gaps in which a face appears or disappears.
        recipes: of the crops.
        optics: of the camera, for the head poses.
    """
    before: Sighting | None = None
    gap: list[Frame] = []
    for item in found:
        if isinstance(item, Frame):
            gap.append(item)
            continue
        if gap:
            assert before is not None  # the first frame is searched
            yield from _inside(before, gap, item, finder, recipes, optics)
            gap = []
        yield item
        before = item


def _inside(
    before: Sighting, gap: list[Frame], after: Sighting, finder: FaceDetector, recipes: Sequence[str], optics: Optics
) -> Iterator[Sighting]:
    same = pairs([face.box for face in before.faces], [face.box for face in after.faces])
    if not len(same) == len(before.faces) == len(after.faces):
        for frame in gap:
            yield detect_faces(frame, finder, recipes, optics=optics)
        return
    for frame in gap:
        share = _share(before, frame, after)
        faces = [_mean(before.faces[i], after.faces[j], share) for i, j in same]
        cropped = tuple(_cropped(face, frame, recipes) for face in faces)
        cropped = measured(cropped, frame, optics)
        yield Sighting(frame.index, frame.time, cropped, segment=frame.segment)


def _cropped(face: Face, frame: Frame, recipes: Sequence[str]) -> Face:
    placed = to_image(face, frame.view)
    crops = with_crops(placed, frame.image, recipes).crops
    return replace(face, crops=crops, look=look(frame.image, placed.box))


def _share(before: Sighting, frame: Frame, after: Sighting) -> float:
    """Relative position of a frame in a gap, in [0, 1], by time; by number if time does not advance (broken files)."""
    if before.time <= frame.time <= after.time and before.time < after.time:
        return (frame.time - before.time) / (after.time - before.time)
    return (frame.index - before.index) / (after.index - before.index)


def _mean(one: Face, other: Face, share: float) -> Face:
    """The interpolation between two faces of a person, at ``share`` of the way to the second."""

    def between(a: object, b: object) -> np.ndarray | None:
        if a is None or b is None:
            return None
        return (np.asarray(a) * (1 - share) + np.asarray(b) * share).astype(np.float32)

    x, y, width, height = np.asarray(one.box) * (1 - share) + np.asarray(other.box) * share
    return replace(
        one,
        box=(float(x), float(y), float(width), float(height)),
        score=one.score * (1 - share) + other.score * share,
        points=between(one.points, other.points),
        landmarks=between(one.landmarks, other.landmarks),
        blendshapes=between(one.blendshapes, other.blendshapes),
        crops={},
    )

"""Sighting -> Sighting: the same person keeps the same id through a clip."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..domain import Reading, Sighting
from ..errors import UsageError
from ..runtime.whole_numbers import whole_number
from .detector import Box, overlap
from .track_matching import continued
from .track_state import Track

_FORGET = 1.25
"""Seconds after which the track of a lost face ends; at least three frame distances."""

_LEAST_OVERLAP = 0.2
_LARGEST_STEP = 0.8  # distance of centres over mean size, for faces too quick to overlap
_LARGEST_GROWTH = 1.6  # of size, for the same


def follow(sightings: Iterable[Sighting]) -> Iterator[Sighting]:
    """Give every face a track id.

    Faces are matched to tracks by the assignment with the lowest total cost (Kuhn-Munkres): how far a face is from
    where the track is expected, and how different it looks. So two faces never share an id in a frame. A face that
    looks like another person, or for which another assignment is nearly as good, gets a new id: an id that ends too
    early does less harm than one that goes from one person to another. A cut ends all tracks. Ids count from 0 in
    order of first appearance, in one frame from left to right, and are never reused.
    """
    tracks: list[Track] = []
    next_id = 0
    last = -math.inf
    for sighting in sightings:
        step = sighting.time - last if last > -math.inf else 0.0
        last = sighting.time
        tracks = [] if sighting.cut else [t for t in tracks if last - t.time <= max(_FORGET, 3 * step)]
        seen = sorted(sighting.faces, key=lambda face: (face.box, face.score))
        same = continued(tracks, seen, sighting.time, step)
        faces = []
        for k, face in enumerate(seen):
            if k in same:
                number, differs = same[k]
                track = tracks[number]
                track.move(face, sighting.time, differs)
            else:
                track = Track.begun(next_id, face, sighting.time)
                tracks.append(track)
                next_id += 1
            faces.append(replace(face, track=track.id))
        yield replace(sighting, faces=tuple(faces))


def one_person(sightings: Iterable[Sighting]) -> Iterator[Sighting]:
    """Give every face the id 0: for crops, which all show the same person."""
    for sighting in sightings:
        yield replace(sighting, faces=tuple(replace(face, track=0) for face in sighting.faces))


def count_within_frames(readings: Iterable[Reading]) -> Iterator[Reading]:
    """Replace ids by the number of the face in its frame, from 0, in the order of the ids: for photos."""
    for reading in readings:
        order = sorted(face.track or 0 for face in reading.faces)
        faces = (replace(face, track=order.index(face.track or 0)) for face in reading.faces)
        yield replace(reading, faces=tuple(faces))


def keep_largest(sightings: Iterable[Sighting], count: int) -> Iterator[Sighting]:
    """Keep the ``count`` faces of the largest area in each frame, in the order of their ids."""
    for sighting in sightings:
        ranked = sorted(sighting.faces, key=lambda face: (-face.box[2] * face.box[3], face.track))
        yield replace(sighting, faces=tuple(sorted(ranked[:count], key=lambda face: face.track or 0)))


def parse_faces(text: str) -> int | None:
    """``--faces``: "all" -> None, "largest" -> 1, a number -> that many.

    Raises:
        UsageError: anything else.
    """
    if text == "all":
        return None
    if text == "largest":
        return 1
    if count := whole_number(text):
        return count
    raise UsageError(f"--faces {text}: choose all, largest, or a number of faces from 1.")


def pairs(ones: Sequence[Box], others: Sequence[Box]) -> list[tuple[int, int]]:
    """Match boxes of one frame to boxes of an earlier one, by the assignment with the largest total overlap.

    Returns:
        (number in ``ones``, number in ``others``), each at most once; boxes too far apart are not matched.
    """
    if not ones or not others:
        return []
    values: NDArray[np.float64] = np.array([[affinity(one, other) for other in others] for one in ones])
    near = values > 0
    if (near.sum(axis=0) <= 1).all() and (near.sum(axis=1) <= 1).all():
        rows, columns = np.nonzero(near)  # no box has two candidates, as in most frames
    else:
        # Imported only if needed: loading it takes longer than annotating some clips.
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(values, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if near[r, c]]


def affinity(expected: Box, box: Box) -> float:
    """How well a face continues a track, in [0, 1]: the overlap, or a low value for a fast move at the same size."""
    shared = overlap(expected, box)
    if shared >= _LEAST_OVERLAP:
        return shared
    size, other = math.sqrt(expected[2] * expected[3]), math.sqrt(box[2] * box[3])
    dx = expected[0] + expected[2] / 2 - box[0] - box[2] / 2
    dy = expected[1] + expected[3] / 2 - box[1] - box[3] / 2
    step = math.hypot(dx, dy) / ((size + other) / 2)
    if step > _LARGEST_STEP or max(size, other) > _LARGEST_GROWTH * min(size, other):
        return 0.0
    return _LEAST_OVERLAP * (1 - step / _LARGEST_STEP) + 1e-6

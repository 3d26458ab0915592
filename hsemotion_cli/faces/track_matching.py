"""Tracks and the faces of the next frame -> which face continues which track; a doubtful one continues none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..domain import Face
from .appearance import Difference
from .detector import overlap
from .track_state import Expected, Track

_LEAST_OVERLAP = 0.2  # with the expected box, from which a face is within reach
_LARGEST_STEP = 0.8  # sizes: distance from the expected place, for faces too quick to overlap
_LARGEST_GROWTH = math.log(1.6)  # of size, for the same

_FARTHER, _FARTHEST = 1.5, 1.5
"""Sizes by which a face may be further away for each second in which it was not seen, and at most."""

_GROWS = 1.0
"""Logarithm of the ratio of sizes by which a face may have grown or shrunk in each such second."""

_LOOKS = 10.0
"""Cost of a difference of looks of 1."""

_OTHER_WHOLE, _OTHER_ALIKE = 0.45, 0.26
"""Difference of looks above which, if both are, a face is somebody else's, unless a part of it is the same."""

_OTHER_PART = 0.16
"""Difference of the most alike part of looks up to which a post or a passer-by may be before the rest of the face."""

_NEW = 9.0
"""Cost of a face that continues no track."""

_MARGIN = 1.0
"""Cost by which the second best way to go on must be worse than the best."""

_IMPOSSIBLE = 1e3  # more than any cost


def continued(tracks: Sequence[Track], faces: Sequence[Face], time: float, step: float) -> dict[int, tuple[int, float]]:
    """Number of a face -> number of the track that it continues, and how differently it looks.

    Args:
        time: of the faces, in seconds.
        step: seconds since the frame before.
    """
    if not tracks or not faces:
        return {}
    costs = np.full((len(tracks), len(faces)), _IMPOSSIBLE)
    looks = np.zeros_like(costs)
    for t, track in enumerate(tracks):
        there, unseen = track.expected(time), max(time - track.time - step, 0.0)
        for f, face in enumerate(faces):
            if _within_reach(track, there, face, unseen):
                differs = track.difference(face)
                if not _somebody_else(track, face, differs):
                    looks[t, f] = differs.alike
                    costs[t, f] = track.motion_cost(there, face.box, time) + _LOOKS * differs.alike
    return {f: (t, float(looks[t, f])) for f, t in _matched(costs).items()}


def _matched(costs: NDArray[np.float64]) -> dict[int, int]:
    """Number of a face (column) -> number of its track (row)."""
    possible = costs < _IMPOSSIBLE
    if (possible.sum(axis=0) <= 1).all() and (possible.sum(axis=1) <= 1).all():
        return {int(f): int(t) for t, f in np.argwhere(possible)}  # nothing to choose, as in most frames
    # Imported only if needed: loading it takes longer than annotating some clips.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.where(possible, np.minimum(costs, _NEW), 1.01 * _NEW))
    chosen = {int(f): int(t) for t, f in zip(rows, columns, strict=True) if possible[t, f]}
    return {f: t for f, t in chosen.items() if not _doubtful(costs, chosen, t, f)}


def _doubtful(costs: NDArray[np.float64], chosen: dict[int, int], track: int, face: int) -> bool:
    """Whether giving the face to another track, or the track another face, would be nearly as good."""
    own = costs[track, face]
    face_of = {t: f for f, t in chosen.items()}
    for other in range(len(costs)):
        if other == track or costs[other, face] >= _IMPOSSIBLE:
            continue
        more = costs[other, face] - own
        if other in face_of:  # the two tracks swap, or this one ends and the other's face begins one
            theirs = face_of[other]
            more += min(costs[track, theirs], _NEW) - costs[other, theirs]
        if more < _MARGIN:
            return True
    free = [other for other in range(costs.shape[1]) if other not in chosen]
    return any(costs[track, other] - own < _MARGIN for other in free)


def _somebody_else(track: Track, face: Face, differs: Difference) -> bool:
    """Whether a face looks so different that it is another person in the same place."""
    different = differs.whole > _OTHER_WHOLE and differs.alike > _OTHER_ALIKE
    return different and not track.half_hidden(face) and track.difference_of_part(face) > _OTHER_PART


def _within_reach(track: Track, there: Expected, face: Face, unseen: float) -> bool:
    """Whether a face may be where it is: near the place where the track is expected, or where it was last.

    Args:
        unseen: seconds for which the track was not seen though frames were analysed.
    """
    width, height = track.box[2:]
    if overlap((there.x - width / 2, there.y - height / 2, width, height), face.box) >= _LEAST_OVERLAP:
        return True
    size, other = math.sqrt(width * height), math.sqrt(face.box[2] * face.box[3])
    if abs(math.log(other / size)) > _LARGEST_GROWTH + _GROWS * unseen:
        return False
    x, y = face.box[0] + face.box[2] / 2, face.box[1] + face.box[3] / 2
    nearer = min(math.hypot(x - there.x, y - there.y), math.hypot(x - track.x, y - track.y))
    return nearer / ((size + other) / 2) <= _LARGEST_STEP + min(_FARTHER * unseen, _FARTHEST)

"""Followed faces -> one embedding for each track: the weighted mean of its best images.

An image counts more where the face is large, sharp and seen from the front. Of each second of a track only the best is
embedded, and of a track only the ``KEPT`` best are kept while it lasts, then their mean: time and memory stay small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Face, Image, Sighting
from . import identity_network

KEPT = 8
"""Embeddings of a track that count."""

_WINDOW = 1.0
"""Seconds of a track from which one image is embedded."""

_ENDED = 10.0
"""Seconds after which a track that is not seen any more is over; trackers give it up earlier."""

_LEAST = 10.0
"""Pixels between the eyes below which a face is not embedded."""

_LARGE, _SHARP = 40.0, 150.0
"""Distance of the eyes in pixels, and variance of the Laplacian of a crop's grey values, of a good image."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackEmbedding:
    """What is known about who the face of a track is.

    Attributes:
        face_id: of the track.
        mean: (192,) of length 1, or None where no image was good enough.
        weight: sum of the qualities of the images that count, from 0 to ``KEPT``.
    """

    face_id: int
    mean: NDArray[np.float32] | None
    weight: float


@dataclass(slots=True)
class _Open:
    """A track that may go on: the best image of this second, and the best embeddings so far with their qualities."""

    since: float
    seen: float
    quality: float = -1.0
    crop: Image | None = None
    best: list[tuple[float, NDArray[np.float32]]] = field(default_factory=list)


class TrackEmbeddings:
    """Collects embeddings while faces are followed."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._done: dict[int, TrackEmbedding] = {}

    def watch(self, sightings: Iterable[Sighting]) -> Iterator[Sighting]:
        """The same sightings, whose faces have ids and crops; ``result`` is complete when they are at their end."""
        last = np.inf
        for sighting in sightings:
            for face in sighting.faces:
                self._add(face, sighting.time)
            # Where few frames are analysed, a track may go on after a long time.
            self._close(sighting.time - max(_ENDED, 5 * (sighting.time - last)))
            last = sighting.time
            yield sighting

    def result(self) -> list[TrackEmbedding]:
        """One for each track, in order of their ids."""
        self._close(np.inf)
        return [self._done[key] for key in sorted(self._done)]

    def _add(self, face: Face, time: float) -> None:
        assert face.track is not None
        track = self._open.setdefault(face.track, _Open(time, time))
        track.seen = max(track.seen, time)
        if not 0 <= time - track.since < _WINDOW:
            _embed_best(track)
            track.since = time
        crop = face.crops.get(identity_network.CROP)
        if crop is None or face.points is None or crop.shape[:2] != (112, 112):
            return
        value = quality(face, crop)
        # Not better than what is there already: it need not be embedded.
        if value > track.quality and (len(track.best) < KEPT or value > track.best[-1][0]):
            track.quality, track.crop = value, crop

    def _close(self, before: float) -> None:
        for key in [key for key, track in self._open.items() if track.seen < before]:
            track = self._open.pop(key)
            _embed_best(track)
            self._done[key] = _mean(key, track.best)


def quality(face: Face, crop: Image) -> float:
    """How well an image shows who somebody is, in [0, 1]; 0 for a face that is too small."""
    assert face.points is not None
    eyes = face.points[1] - face.points[0]
    distance = float(np.hypot(*eyes))
    if distance < _LEAST:
        return 0.0
    # From the front the nose lies between the eyes; half the eyes' distance away it is seen from the side.
    middle = (face.points[0] + face.points[1]) / 2
    aside = abs(float((face.points[2] - middle) @ eyes)) / distance**2
    sharp = float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())
    sure = 1.0 if np.isnan(face.score) else face.score
    return sure * max(1 - 2 * aside, 0.05) * min(distance / _LARGE, 1.0) * sharp / (sharp + _SHARP)


def _embed_best(track: _Open) -> None:
    """Move the image of this second to the embeddings, if it is one of the best."""
    if track.crop is not None and track.quality > 0:
        (embedding,) = identity_network.embed([track.crop])
        track.best.append((track.quality, embedding))
        track.best.sort(key=lambda one: -one[0])
        del track.best[KEPT:]
    track.quality, track.crop = -1.0, None


def _mean(key: int, best: list[tuple[float, NDArray[np.float32]]]) -> TrackEmbedding:
    if not best:
        return TrackEmbedding(key, None, 0.0)
    total = sum(value * embedding for value, embedding in best)
    return TrackEmbedding(key, np.asarray(total / np.linalg.norm(total), np.float32), sum(v for v, _ in best))

"""Embeddings of tracks -> who the face ids of one or several recordings are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..timeline import People
from .linking import THRESHOLD, link, similarities
from .track_embeddings import TrackEmbedding

LEAST_WEIGHT = 0.05
"""Quality of the images of a track (``TrackEmbedding.weight``) below which nobody can be told from them."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Embeddings of people with names, K of them, such as those of a gallery; a name may occur several times.

    Attributes:
        name: K names.
        mean: (K, 192) of length 1.
        weight: (K,) above 0.
    """

    name: tuple[str, ...]
    mean: NDArray[np.float32]
    weight: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """The tracks of one recording.

    Attributes:
        tracks: with their embeddings.
        apart: (m, 2) face ids that are seen in one frame.
        names: face id -> name, given by hand; they always count.
    """

    tracks: Sequence[TrackEmbedding]
    apart: NDArray[np.int64]
    names: Mapping[int, str] = field(default_factory=dict)


def identify(recordings: Sequence[Recorded], known: Known | None = None, threshold: float = THRESHOLD) -> list[People]:
    """Link the tracks of all recordings to people.

    People without a name are called "person 1", "person 2", ... in the order of their first tracks.

    Args:
        recordings: in the order in which unknown people are numbered.
        known: people with names.
        threshold: least similarity of groups of tracks that are one person.

    Returns:
        for each recording who its tracks are; "" for those of which no image was good enough.
    """
    used = [(k, t) for k, one in enumerate(recordings) for t in one.tracks if t.weight >= LEAST_WEIGHT]
    known = known or Known((), np.empty((0, 192), np.float32), np.empty(0, np.float32))
    means = np.array([track.mean for _, track in used], np.float32).reshape(-1, known.mean.shape[1])
    means = np.concatenate([means, known.mean])
    weights = np.concatenate([[track.weight for _, track in used], known.weight])
    names = [*(recordings[k].names.get(track.face_id, "") for k, track in used), *known.name]
    place = {(k, track.face_id): n for n, (k, track) in enumerate(used)}
    pairs = [
        (place[k, a], place[k, b])
        for k, one in enumerate(recordings)
        for a, b in one.apart.tolist()
        if (k, a) in place and (k, b) in place
    ]
    group = link(means, weights, np.array(pairs, np.int64).reshape(-1, 2), names, threshold)
    own, second = similarities(means, weights, group)
    called = _called(group, names, {name for one in recordings for name in one.names.values()})
    return [
        _people(
            one, {t.face_id: place[k, t.face_id] for t in one.tracks if (k, t.face_id) in place}, called, own, second
        )
        for k, one in enumerate(recordings)
    ]


def _called(group: NDArray[np.int64], names: Sequence[str], taken: set[str]) -> list[str]:
    """The name of each track's person."""
    by_group = {int(g): name for g, name in zip(group, names, strict=True) if name}
    taken, number = taken | set(by_group.values()), 0
    for g in group.tolist():  # in the order of first tracks
        if g not in by_group:
            number += 1
            while f"person {number}" in taken:
                number += 1
            by_group[g] = f"person {number}"
    return [by_group[g] for g in group.tolist()]


def _people(
    one: Recorded,
    place: Mapping[int, int],
    called: Sequence[str],
    own: NDArray[np.float64],
    second: NDArray[np.float64],
) -> People:
    ids = sorted(track.face_id for track in one.tracks)
    at = [place.get(key, -1) for key in ids]
    person = np.array([called[k] if k >= 0 else "" for k in at], dtype=str)
    score = np.array([own[k] if k >= 0 else np.nan for k in at], np.float32)
    other = np.array([second[k] if k >= 0 else np.nan for k in at], np.float32)
    return People(np.array(ids, np.int64), person, score, other).named(one.names)

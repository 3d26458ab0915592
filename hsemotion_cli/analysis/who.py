"""A timeline and the embeddings of its tracks -> who its face ids are, and what the sidecar records about that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..faces import identity_network
from ..faces.identify import Recorded, identify
from ..faces.linking import THRESHOLD, seen_together
from ..faces.track_embeddings import TrackEmbedding
from ..formats.gallery import FILE, read_gallery
from ..formats.people import PersonName
from ..timeline import NOBODY, People, Timeline


def identified(
    timeline: Timeline, tracks: Sequence[TrackEmbedding] | None, names: Mapping[int, str], gallery: Path | None = None
) -> Timeline:
    """The same timeline with the people of its face ids.

    Args:
        tracks: embeddings of all tracks, or None where only the names given by hand count.
        names: face id -> name, given by hand.
        gallery: folder with people who have names.

    Raises:
        InputError: the gallery cannot be read.
    """
    present = set(np.unique(timeline.face_id).tolist())
    names = {face: name for face, name in names.items() if face in present}
    if tracks is None:
        return replace(timeline, who=(timeline.who or NOBODY).named(names))
    own = [track for track in tracks if track.face_id in present]  # without those that were too short to be a person
    recorded = Recorded(own, seen_together(timeline.row, timeline.face_id), names)
    (who,) = identify([recorded], None if gallery is None else read_gallery(gallery))
    return replace(timeline, who=who)


def described(who: People, gallery: bool) -> dict[str, Any]:
    """What the sidecar records about identification; names of people are in the table only."""
    return {
        "network": {identity_network.FILE: identity_network.SHA256},
        "threshold": THRESHOLD,
        "gallery": gallery,
        "face_ids": len(who.face_id),
        "people": len(set(who.person.tolist()) - {""}),
        "face_ids_without_person": int((who.person == "").sum()),
    }


def identity_conditions(used: bool, names: Sequence[PersonName], gallery: Path | None) -> dict[str, Any]:
    """What results depend on as far as people are told apart, for the sidecar; {} where they are not.

    Names and embeddings are there as hashes only, by which a change is noticed.
    """
    if not used and not names:
        return {}
    parts = {
        "names": repr([astuple(one) for one in names]).encode() if names else None,
        "gallery": None if gallery is None else (gallery / FILE).read_bytes(),
    }
    hashes = {key: None if part is None else hashlib.sha256(part).hexdigest() for key, part in parts.items()}
    return {"identify": {"used": used, **hashes}}

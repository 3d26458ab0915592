"""Timeline -> sentences about how well the faces of a video were found, for the terminal and the sidecar.

They name what makes results less reliable and is easily overlooked in a table: frames without a face, faces that come
and go, ids that end quickly, and faces so small that others were probably missed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..timeline import Timeline

LEAST_COVERAGE = 0.5
"""Share of the frames with a face below which that is said."""

LEAST_CHANGES, CHANGES_PER_SECOND = 4, 0.1
"""Times that a face appears or is lost between the first and the last frame from which people come and go."""

SHORT, LEAST_SHORT, SHORT_SHARE = 1.0, 3, 1 / 3
"""Seconds of a short track; how many, and which share of all tracks, are many."""

NEAR, NEAR_SHARE = 1.25, 0.2
"""Widths up to this many times the smallest are near it; the share of the faces from which that is said."""


def remarks(timeline: Timeline, smallest: float | NDArray[np.float64]) -> list[str]:
    """What to know about the faces before trusting a table; nothing where all is as it should be.

    Args:
        timeline: one row per face that was found.
        smallest: width in pixels of the smallest face that was searched for, one for all frames or (F,).
    """
    found = [_coverage(timeline)]
    if not timeline.photos:
        found += [_changes(timeline), _short_tracks(timeline)]
    found.append(_small(timeline, smallest))
    return [sentence for sentence in found if sentence]


def _coverage(timeline: Timeline) -> str:
    if timeline.coverage >= LEAST_COVERAGE:
        return ""
    return (
        f"a face was seen in {timeline.coverage:.0%} of its frames; "
        "if faces are narrow (under 1/32 of the longer side), try --min-face with their width in pixels."
    )


def _changes(timeline: Timeline) -> str:
    """Faces that appear after the first frame or are lost before the last one, at cuts as well."""
    first, last = _ends(timeline)
    end = len(timeline.index) - 1
    count = int((first > 0).sum() + (last < end).sum())
    seconds = len(timeline.index) * timeline.step
    if count < LEAST_CHANGES or count < CHANGES_PER_SECOND * seconds:
        return ""
    return (
        f"faces come and go: {count} times in {seconds:.0f} s one appears or is lost; "
        "the rows of one person may be split between several ids."
    )


def _short_tracks(timeline: Timeline) -> str:
    first, last = _ends(timeline)
    lengths = (last - first + 1) * timeline.step
    short = int((lengths < SHORT).sum())
    if len(timeline.index) * timeline.step < 2 * SHORT or short < LEAST_SHORT or short < SHORT_SHARE * len(lengths):
        return ""
    return (
        f"{short} of {len(lengths)} face ids last less than {SHORT:g} s; these may be false, "
        "or pieces of one person who is often lost: look at the overlay, or raise --det-threshold."
    )


def _small(timeline: Timeline, smallest: float | NDArray[np.float64]) -> str:
    if not len(timeline.row):
        return ""
    least = np.broadcast_to(np.asarray(smallest, np.float64), timeline.index.shape)[timeline.row]
    near = float((timeline.box[:, 2] < NEAR * least).mean())
    if near < NEAR_SHARE:
        return ""
    return (
        f"{near:.0%} of its faces are nearly as small as the smallest that is searched for "
        f"({float(np.median(least)):.0f} pixels wide); smaller ones are missed: try --min-face."
    )


def _ends(timeline: Timeline) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Position of the first and the last frame of each track."""
    ids, number = np.unique(timeline.face_id, return_inverse=True)
    first, last = np.full(len(ids), np.iinfo(np.int64).max), np.full(len(ids), -1)
    np.minimum.at(first, number, timeline.row)
    np.maximum.at(last, number, timeline.row)
    return first, last

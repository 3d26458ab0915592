"""Tables -> what figures are drawn from: the chosen people and time of each recording, events, names of models."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...analysis.recordings import P_EXPRESSION, P_UNIT, Recording, Track, read_recording
from ...errors import InputError, UsageError
from ...formats import sidecar
from ...formats.events import Event, for_recording
from ...formats.people import PersonName
from ...tasks import ACTION_UNITS, EXPRESSIONS

Floats = NDArray[np.float64]

UNIT_PRESENT = tuple(f"{name}_c" for name in ACTION_UNITS)
COLUMNS = (*P_EXPRESSION, "valence", "arousal", *P_UNIT, *UNIT_PRESENT, "x", "y", "w", "h", "face_id")


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """One table, ready to be drawn.

    Attributes:
        recording: with the chosen people and frames alone.
        colours: person -> position in the order of all people of the table, so that choosing some changes no colour.
        events: those of this recording.
        made: how it was made, in words: models and smoothing; "" if no sidecar says so.
    """

    recording: Recording
    colours: dict[str, int]
    events: Sequence[Event]
    made: str


def read_material(
    path: Path,
    persons: Collection[str] = (),
    span: tuple[float, float] | None = None,
    events: Sequence[Event] = (),
    people: Sequence[PersonName] = (),
) -> Material:
    """Read a table, and keep the chosen people and the chosen seconds.

    Raises:
        InputError: it cannot be read.
        UsageError: it has none of these people, or no frame in the span.
    """
    whole = read_recording(path, COLUMNS, people)
    names = [track.person for track in whole.tracks]
    if unknown := [name for name in persons if name not in names]:
        raise UsageError(f"--person {unknown[0]}: {path} has no such person; it has {', '.join(names) or 'nobody'}.")
    chosen = [track for track in whole.tracks if not persons or track.person in persons]
    part = _cut(replace(whole, tracks=chosen), span) if span else replace(whole, tracks=chosen)
    return Material(part, {name: k for k, name in enumerate(names)}, for_recording(events, whole.name), made(path))


def _cut(recording: Recording, span: tuple[float, float]) -> Recording:
    keep = (recording.time >= span[0]) & (recording.time < span[1])
    if not keep.any():
        raise UsageError(
            f"--span {span[0]:g}-{span[1]:g}: {recording.path} has no frame there; it lasts from "
            f"{recording.start:.2f} to {recording.end:.2f} s."
        )
    place = np.cumsum(keep) - 1
    tracks = []
    for track in recording.tracks:
        on = keep[track.frame]
        values = {name: column[on] for name, column in track.values.items()}
        tracks.append(Track(track.person, place[track.frame[on]], track.row[on], track.detected[on], values))
    return replace(recording, time=recording.time[keep], length=recording.length[keep], tracks=tracks)


def made(path: Path) -> str:
    """Models and smoothing of a table, by its sidecar; "" if there is none."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return ""
    content = sidecar.read(beside)
    models = " + ".join(str(model.get("name", "")) for model in content.get("models", ()))
    smoothing = (content.get("recipe") or {}).get("smoothing") or {}
    filters = sorted({str(each) for each in smoothing.values()})
    return ", ".join(part for part in (models, f"smoothing {' / '.join(filters)}" if filters else "") if part)


def labels(track: Track) -> NDArray[np.int64]:
    """(n,) position in ``tasks.EXPRESSIONS`` of the most probable expression, -1 where none is known."""
    shares = track.matrix(P_EXPRESSION)
    known = ~np.isnan(shares).all(axis=1)
    return np.where(known, np.argmax(np.nan_to_num(shares, nan=-1.0), axis=1), -1)


def known_expressions(tracks: Sequence[Track]) -> list[str]:
    """Expressions for which a model gave probabilities."""
    found = []
    for name, column in zip(EXPRESSIONS, P_EXPRESSION, strict=True):
        if any(column in track.values and not np.isnan(track.values[column]).all() for track in tracks):
            found.append(name)
    return found


def on_frames(track: Track, column: str, frames: int) -> Floats:
    """(frames,) values of a track on the frames of its recording; nan where it has no row."""
    values = np.full(frames, np.nan)
    values[track.frame] = track.values.get(column, np.full(len(track.frame), np.nan))
    return values


def require(material: Material, columns: Sequence[str], what: str) -> None:
    """Make sure that a table has values to draw.

    Raises:
        InputError: it has no value in any of these columns.
    """
    tracks = material.recording.tracks
    if not any(c in t.values and not np.isnan(t.values[c]).all() for t in tracks for c in columns):
        raise InputError(
            f"{material.recording.path}: it has no {what} to draw (no face was seen, or its model gives none)."
        )

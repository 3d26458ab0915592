"""A video, or a video and its table -> embeddings of the tracks: without any model of affect."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain import Face, Frame, Image, Sighting
from ..errors import InputError
from ..faces import identity_network, tracking
from ..faces.detector import FaceDetector, blocks, detect_in_block, overlap, shifted, surroundings, with_crops
from ..faces.identify import Recorded
from ..faces.linking import seen_together
from ..faces.track_embeddings import KEPT, TrackEmbeddings
from ..formats.table_reader import read_blocks
from ..media.source import Sampling
from ..media.video import Source
from ..timeline import FLEETING

Progress = Callable[[int, int | None], None]
"""Called with frames done and, if known, frames in all."""

_SAME = 0.3
"""Overlap of a box in a table with a face that is found there."""


def from_video(source: Source, progress: Progress) -> Recorded:
    """The tracks of a video, with the ids that ``annotate`` gives them with its default options.

    Raises:
        InputError: it cannot be decoded.
    """
    tracks, rows, ids = TrackEmbeddings(), [], []

    def sightings() -> Iterator[Sighting]:
        with FaceDetector(blendshapes=False) as finder:
            for block in blocks(source.frames(Sampling()), source.info.width * source.info.height):
                yield from detect_in_block(block, finder, [identity_network.CROP])

    for done, sighting in enumerate(tracks.watch(tracking.follow(sightings())), 1):
        rows += [done] * len(sighting.faces)
        ids += [face.track or 0 for face in sighting.faces]
        progress(done, source.info.frames)
    face_id, count = np.unique(np.array(ids, np.int64), return_counts=True)
    lasting = set(face_id[count > FLEETING].tolist())
    apart = seen_together(np.array(rows, np.int64), np.array(ids, np.int64))
    return Recorded([track for track in tracks.result() if track.face_id in lasting], apart)


def from_table(table: Path, source: Source, progress: Progress) -> Recorded:
    """The tracks of a table: of the best rows of each id, the faces in its video are embedded.

    Raises:
        InputError: the table or the video cannot be read.
    """
    whole = _read(table)
    apart = seen_together(whole["frame"].astype(np.int64), whole["face_id"].astype(np.int64))
    wanted: dict[int, list[int]] = {}
    for row in _best_rows(whole):
        wanted.setdefault(int(whole["frame"][row]), []).append(row)
    tracks = TrackEmbeddings()
    for _ in tracks.watch(_looked_up(source, whole, wanted, progress)):
        pass
    return Recorded(tracks.result(), apart)


def _read(table: Path) -> dict[str, NDArray[np.float64]]:
    """Columns of the rows with a detected face, sorted by frame.

    Raises:
        InputError: it cannot be read, is of photos, or its rows are not sorted by frame.
    """
    names = ("frame", "time", "face_id", "det_score", "x", "y", "w", "h", "head_yaw")
    parts: dict[str, list[float]] = {name: [] for name in names}
    for block in read_blocks(table):
        if "file" in block:
            raise InputError(f"{table}: a table of photos, in which nobody is followed; give tables of videos.")
        there = [k for k, seen in enumerate(block["face_detected"]) if seen == 1 and block["face_id"][k] is not None]
        for name in names:
            values: list[Any] = block[name]
            parts[name] += [math.nan if values[k] is None else float(values[k]) for k in there]
    whole = {name: np.array(values, np.float64) for name, values in parts.items()}
    if (np.diff(whole["frame"]) < 0).any():
        raise InputError(f"{table}: its rows are not sorted by frame; sort them by the column frame.")
    return whole


def _best_rows(whole: dict[str, NDArray[np.float64]]) -> list[int]:
    """Of each second of each id the row of the largest face that is seen from the front; of each id the best few."""
    yaw = np.radians(np.nan_to_num(whole["head_yaw"]))
    value = whole["w"] * np.nan_to_num(whole["det_score"], nan=1.0) * np.maximum(np.cos(yaw), 0.05)
    value = np.nan_to_num(value, nan=-1.0)
    second = np.floor(np.nan_to_num(whole["time"]))
    order = np.lexsort((-value, second, whole["face_id"]))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(whole["face_id"][order]) != 0) | (np.diff(second[order]) != 0)
    found: dict[float, list[int]] = {}
    for row in order[new].tolist():
        found.setdefault(float(whole["face_id"][row]), []).append(row)
    return [row for rows in found.values() for row in sorted(rows, key=lambda k: -value[k])[:KEPT]]


def _looked_up(
    source: Source, whole: dict[str, NDArray[np.float64]], wanted: dict[int, list[int]], progress: Progress
) -> Iterator[Sighting]:
    """The faces of the wanted rows, with crops; those of an id a second after one another, so that all are embedded."""
    last, count = max(wanted, default=-1), Counter[int]()
    with FaceDetector(blendshapes=False) as finder:
        for done, frame in enumerate(source.frames(Sampling()), 1):
            progress(done, source.info.frames)
            for row in wanted.get(frame.index, ()):
                box = tuple(float(whole[name][row]) for name in "xywh")
                face = _face_at(finder, frame, box)  # type: ignore[arg-type]
                if face is not None:
                    key = int(whole["face_id"][row])
                    face = replace(face, track=key, score=float(whole["det_score"][row]))
                    yield Sighting(frame.index, float(count[key]), (face,))
                    count[key] += 1
            if frame.index >= last:
                return


def _face_at(finder: FaceDetector, frame: Frame, box: tuple[float, float, float, float]) -> Face | None:
    """The face in a box of the displayed image, with the crop that is embedded; None if it is not found there."""
    image: Image = frame.image
    left, top = frame.view.to_image(box[0], box[1])
    here = (left, top, box[2] / frame.view.scale, box[3] / frame.view.scale)
    x, y, region = surroundings(image, here, 1.0)
    found: Iterable[Face] = (shifted(face, x, y) for face in finder.find(np.ascontiguousarray(region)))
    same = [face for face in found if overlap(face.box, here) >= _SAME]
    if not same:
        return None
    return with_crops(max(same, key=lambda face: overlap(face.box, here)), image, [identity_network.CROP])

"""Files of ``extract`` and annotations -> the frames of each face in order, to train a temporal head on.

Unlike ``features.gather`` this keeps frames without a label, and the places of frames without the face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..evaluation.ground_truth import Annotations
from ..formats import features
from ..models.heads import Base
from ..runtime.row_file import RowFile
from .features import (
    IN_MEMORY,
    Rows,
    RowStore,
    Truth,
    digest_of,
    face_rows,
    frame_numbers,
    matching_names,
    no_match,
    require_base,
    same_base,
)


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """The faces of some videos.

    Attributes:
        rows: all of them, labelled or not, sequence by sequence.
        places: of each sequence, (T,) index into ``rows`` of each step, -1 where the face was not seen.
        rate: steps per second, the median over sequences; 0 if unknown.
    """

    rows: Rows
    places: tuple[NDArray[np.int64], ...]
    rate: float

    @property
    def video(self) -> NDArray[np.str_]:
        """(n,) name of the video of each row."""
        return self.rows.video

    @property
    def frame(self) -> NDArray[np.int64]:
        """(n,) frame number of each row."""
        return self.rows.frame

    def known(self, task: str) -> NDArray[np.int64]:
        """Indices of the rows with a label for a task."""
        return self.rows.known(task)

    def digest(self) -> str:
        """SHA-256 of all rows and places."""
        return digest_of([np.frombuffer(self.rows.digest().encode(), np.uint8), *self.places])


def gather(
    files: Mapping[str, Path], truths: Mapping[str, Truth], *, in_memory: int = IN_MEMORY
) -> tuple[Base, dict[str, Sequences]]:
    """Match features with annotations; the arguments, result and errors are those of ``features.gather``.

    Raises:
        InputError: also for features of sound.
    """
    base, first = None, None
    parts: dict[str, list[_Video]] = {part: [] for part in truths}
    stores = {part: RowStore() for part in truths}
    for video, path in files.items():
        wanted = [(part, truth[name]) for part, truth in truths.items() for name in matching_names(video, truth)]
        if not wanted:
            continue
        columns, facts = features.read(path)
        if features.is_audio(facts):
            raise InputError(f"{path}: features of sound; a temporal head is for faces, so leave out --temporal.")
        for part, truth in wanted:
            if truth.video == video:
                base, first = same_base(base, first, path, columns, facts)
                parts[part].append(_Video(path, columns, facts, truth))
                stores[part].add(columns["embedding"])
        if sum(store.bytes for store in stores.values()) > in_memory:
            for store in stores.values():
                store.to_file()
    found = require_base(base, files, truths)
    for part, videos in parts.items():
        if not any(one.labelled for one in videos):
            raise InputError(no_match(part, files, truths[part]))
    return found, {part: _join(videos, stores[part].result()) for part, videos in parts.items()}


class _Video:
    """The faces of one file without their embeddings, with the labels of those that have some."""

    def __init__(self, path: Path, columns: Mapping[str, NDArray], facts: Mapping[str, Any], truth: Annotations):
        labelled = (
            (truth.expression >= 0)
            | ~np.isnan(truth.valence_arousal).any(axis=1)
            | ~np.isnan(truth.action_units).any(axis=1)
        )
        rows, labels = face_rows(path, columns, facts, truth, labelled)
        size = len(columns["frame"])
        self.labelled = len(rows)
        self.video = truth.video
        self.frame = frame_numbers(columns, facts)
        self.face, self.time = columns["face_id"], columns["time"]
        outputs = columns.get("outputs")
        self.outputs = np.empty((size, 0), np.float32) if outputs is None else outputs.astype(np.float32)
        self.expression = np.full(size, -1, np.int64)
        self.valence_arousal = np.full((size, 2), np.nan, np.float32)
        self.action_units = np.full((size, truth.action_units.shape[1]), np.nan, np.float32)
        self.expression[rows] = truth.expression[labels]
        self.valence_arousal[rows] = truth.valence_arousal[labels]
        self.action_units[rows] = truth.action_units[labels]

    def sequences(self) -> list[NDArray[np.int64]]:
        """(T,) rows of each step of each face, -1 where it was not seen. A step is an analysed frame."""
        numbers = np.unique(self.frame)
        step = max(int(np.gcd.reduce(np.diff(numbers))), 1) if len(numbers) > 1 else 1
        found = []
        for face in np.unique(self.face):
            rows = np.flatnonzero(self.face == face)
            at = (self.frame[rows] - self.frame[rows].min()) // step
            places = np.full(int(at.max()) + 1, -1, np.int64)
            places[at] = rows
            found.append(places)
        return found

    def rate(self) -> float:
        """Steps per second; 0 if all times are the same."""
        seconds = float(self.time.max() - self.time.min())
        numbers = np.unique(self.frame)
        return float(numbers[-1] - numbers[0]) / np.gcd.reduce(np.diff(numbers)) / seconds if seconds > 0 else 0.0


def _join(videos: Sequence[_Video], embeddings: NDArray[np.floating] | RowFile) -> Sequences:
    places, start = [], 0
    for one in videos:
        places += [np.where(place < 0, -1, place + start) for place in one.sequences()]
        start += len(one.frame)
    rows = Rows(
        np.concatenate([np.full(len(one.frame), one.video) for one in videos]),
        np.concatenate([one.frame for one in videos]),
        embeddings,
        np.concatenate([one.outputs for one in videos]),
        np.concatenate([one.expression for one in videos]),
        np.concatenate([one.valence_arousal for one in videos]),
        np.concatenate([one.action_units for one in videos]),
    )
    rates = [rate for one in videos if (rate := one.rate())]
    return Sequences(rows, tuple(places), round(float(np.median(rates)), 3) if rates else 0.0)

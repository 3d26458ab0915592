"""One video, column by column: the interface between analysing frames and writing results.

No later stage opens the video (except the overlay, which reads it again), no earlier stage knows a file format.
It is stored as columns, about 200 bytes per face and frame, so hours of video fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .domain import Reading
from .tasks import MEASURES, SCORES


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The people that the T face ids of a video belong to, in order.

    Attributes:
        face_id: (T,) int64, increasing.
        person: (T,) text, "" where it is not known.
        score: (T,) float32 similarity to the person's other face ids, nan where there are none.
        second: (T,) float32 similarity to the most similar other person, nan where there is none.

    Raises:
        ValueError: columns differ in length, or ids are not increasing.
    """

    face_id: NDArray[np.int64]
    person: NDArray[np.str_]
    score: NDArray[np.float32]
    second: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not self.face_id.shape == self.person.shape == self.score.shape == self.second.shape:
            raise ValueError("columns of people differ in length")
        if (np.diff(self.face_id) <= 0).any():
            raise ValueError("face ids of people are not in order")

    def place(self, face_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) position of each id in these columns, -1 where it is not among them."""
        if not len(self.face_id):
            return np.full(len(face_id), -1)
        at = np.minimum(np.searchsorted(self.face_id, face_id), len(self.face_id) - 1)
        return np.where(self.face_id[at] == face_id, at, -1)

    def named(self, names: Mapping[int, str]) -> People:
        """The same with names given by hand, which go before; ids that are not there are added."""
        ids = np.union1d(self.face_id, np.array(sorted(names), np.int64))
        at = self.place(ids)
        known = at >= 0
        person = np.array([self.person[k] if k >= 0 else "" for k in at], dtype=str)
        score, second = (np.full(len(ids), np.nan, np.float32) for _ in range(2))
        score[known], second[known] = self.score[at[known]], self.second[at[known]]
        given = np.array([int(key) in names for key in ids], bool)
        score[given] = second[given] = np.nan
        person = np.array([names.get(int(k), str(p)) for k, p in zip(ids, person, strict=True)], dtype=str)
        return People(ids, person, score, second)


NOBODY = People(np.empty(0, np.int64), np.empty(0, "U1"), np.empty(0, np.float32), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """All analysed frames of a video, F of them, and all faces seen in them, N rows sorted by frame and id.

    Attributes:
        index: (F,) int64 frame ordinals, increasing.
        time: (F,) float64 seconds.
        row: (N,) int64 position in ``index`` of the frame of each face.
        face_id: (N,) int64.
        det_score: (N,) float32, nan where no detector ran.
        box: (N, 4) float32 x, y, width, height in pixels.
        scores: model -> key of ``tasks.SCORES`` -> (N, its columns) float32, as the model gave them.
        measures: names of ``tasks.MEASURES`` -> (N,) float32, nan where nothing was measured; those that a file from
            before they existed does not hold are missing.
        segment: (F,) int64 number of the part of the source; a new part begins where its clock jumps. None means 0
            throughout.
        extra: optional columns of the table (``formats.schema.OPTIONAL``) -> (F,) text or whole numbers; "" for an
            empty cell of text.
        who: who the ids are, or None where nobody was to be identified.

    Raises:
        ValueError: columns that belong together differ in length, or an id occurs twice in a frame.
    """

    index: NDArray[np.int64]
    time: NDArray[np.float64]
    row: NDArray[np.int64]
    face_id: NDArray[np.int64]
    det_score: NDArray[np.float32]
    box: NDArray[np.float32]
    scores: Mapping[str, Mapping[str, NDArray[np.float32]]]
    segment: NDArray[np.int64] = None  # type: ignore[assignment]
    extra: Mapping[str, NDArray] = field(default_factory=dict)
    measures: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    who: People | None = None

    def __post_init__(self) -> None:
        rows = len(self.row)
        if self.segment is None:
            object.__setattr__(self, "segment", np.zeros(len(self.index), np.int64))
        if not len(self.index) == len(self.time) == len(self.segment):
            raise ValueError(f"{len(self.index)} frames but {len(self.time)} times and {len(self.segment)} segments")
        for name, values in self.extra.items():
            if values.shape != self.index.shape:
                raise ValueError(f"{len(self.index)} frames but {name} has the shape {values.shape}")
        if not len(self.face_id) == len(self.det_score) == len(self.box) == rows:
            raise ValueError(
                f"{rows} rows but {len(self.face_id)} ids, {len(self.det_score)} scores, {len(self.box)} boxes"
            )
        for model, tasks in self.scores.items():
            for task, values in tasks.items():
                if values.shape != (rows, len(SCORES[task])):
                    raise ValueError(f"{model} {task}: expected {(rows, len(SCORES[task]))}, got {values.shape}")
        for name, values in self.measures.items():
            if values.shape != (rows,):
                raise ValueError(f"{rows} rows but {name} has the shape {values.shape}")
        if rows and (self.row.min() < 0 or self.row.max() >= len(self.index)):
            raise ValueError("a face belongs to a frame that does not exist")
        order = self.row * (self.face_id.max(initial=0) + 1) + self.face_id
        if np.any(np.diff(order) <= 0):
            raise ValueError("rows are not sorted by frame and id, or an id occurs twice in a frame")

    @property
    def coverage(self) -> float:
        """Share of the analysed frames in which a face was seen, in [0, 1]."""
        return len(np.unique(self.row)) / len(self.index) if len(self.index) else 0.0

    @property
    def photos(self) -> bool:
        """Whether each frame is a photo of its own, without a time; face ids then count within each photo."""
        return "file" in self.extra

    @property
    def people(self) -> int:
        """Number of ids; of rows for photos, between which nobody is followed."""
        return len(self.row) if self.photos else len(np.unique(self.face_id))

    @property
    def person(self) -> NDArray[np.int64]:
        """(N,) a number for each row's person: face ids of one name are one, every other face id is by itself.

        A name that stands for two faces of one frame, as one given by hand may, keeps its face ids apart.
        """
        if self.who is None or not len(self.face_id):
            return self.face_id
        ids, number = np.unique(self.face_id, return_inverse=True)
        at = self.who.place(ids)
        names = [str(self.who.person[k]) if k >= 0 else "" for k in at]
        first: dict[str, int] = {}
        person = np.array([first.setdefault(n, k) if n else k for k, n in enumerate(names)])[number]
        order = np.lexsort((person, self.row))
        twice = (np.diff(self.row[order]) == 0) & (np.diff(person[order]) == 0)
        shared = np.isin(person, np.unique(person[order[1:][twice]]))
        return np.where(shared, number, person)

    @property
    def step(self) -> float:
        """The usual distance of two analysed frames in seconds (median); 0 for fewer than two."""
        return float(np.median(np.diff(self.time))) if len(self.time) > 1 else 0.0


FLEETING, CERTAIN = 2, 0.9
"""Rows of a track that is too short to be a person, unless one of its faces has this probability."""


def without_fleeting(timeline: Timeline) -> tuple[Timeline, int]:
    """The timeline without tracks of one or two faces that are not certainly faces, and how many those are.

    A pattern that looks like a face does so for a moment; a person stays, or is clear to see.
    """
    ids, number, count = np.unique(timeline.face_id, return_inverse=True, return_counts=True)
    best = np.full(len(ids), -np.inf)
    np.maximum.at(best, number, np.nan_to_num(timeline.det_score, nan=1.0))  # nan: no detector, a crop
    person = (count > FLEETING) | (best >= CERTAIN)
    if person.all():
        return timeline, 0
    kept = person[number]
    scores = {model: {task: v[kept] for task, v in tasks.items()} for model, tasks in timeline.scores.items()}
    columns = {name: getattr(timeline, name)[kept] for name in ("row", "face_id", "det_score", "box")}
    measures = {name: values[kept] for name, values in timeline.measures.items()}
    return replace(timeline, **columns, scores=scores, measures=measures), int((~person).sum())


def gather(readings: Iterable[Reading]) -> Timeline:
    """Collect readings into columns."""
    index: list[int] = []
    time: list[float] = []
    segment: list[int] = []
    columns = _Columns()
    for reading in readings:
        order = sorted(range(len(reading.faces)), key=lambda k: reading.faces[k].track or 0)
        columns.add(len(index), reading, order)
        index.append(reading.index)
        time.append(reading.time)
        segment.append(reading.segment)
    timeline = columns.timeline(np.array(index, np.int64), np.array(time, np.float64))
    return replace(timeline, segment=np.array(segment, np.int64))


class _Columns:
    """Growing columns; full blocks are packed at once, so that no row stays behind as Python objects."""

    _BLOCK = 1024

    def __init__(self) -> None:
        self._packed: dict[tuple[str, ...], list[NDArray]] = {}
        self._open: dict[tuple[str, ...], list] = {}
        self._dtypes: dict[tuple[str, ...], type] = {}

    def add(self, position: int, reading: Reading, order: list[int]) -> None:
        faces = [reading.faces[k] for k in order]
        self._put(("row",), np.int64, [position] * len(faces))
        self._put(("face_id",), np.int64, [face.track for face in faces])
        self._put(("det_score",), np.float32, [face.score for face in faces])
        self._put(("box",), np.float32, [face.box for face in faces])
        unknown = np.full(len(MEASURES), np.nan, np.float32)
        self._put(("measures",), np.float32, [unknown if f.measures is None else f.measures for f in faces])
        for model, scores in reading.scores.items():
            for task, values in scores.tasks.items():
                self._put(("scores", model, task), np.float32, list(values[order]))

    def timeline(self, index: NDArray[np.int64], time: NDArray[np.float64]) -> Timeline:
        columns = {key: self._joined(key) for key in self._dtypes}
        scores: dict[str, dict[str, NDArray]] = {}
        for key, values in columns.items():
            if key[0] == "scores":
                scores.setdefault(key[1], {})[key[2]] = values.reshape(-1, len(SCORES[key[2]]))
        measures = columns.get(("measures",), np.empty(0, np.float32)).reshape(-1, len(MEASURES))
        one = {name: columns.get((name,), np.empty(0)) for name in ("row", "face_id", "det_score", "box")}
        return Timeline(
            index,
            time,
            one["row"].astype(np.int64),
            one["face_id"].astype(np.int64),
            one["det_score"].astype(np.float32),
            one["box"].astype(np.float32).reshape(-1, 4),
            scores,
            measures={name: np.ascontiguousarray(measures[:, k]) for k, name in enumerate(MEASURES)},
        )

    def _put(self, key: tuple[str, ...], dtype: type, values: list) -> None:
        self._dtypes[key] = dtype
        pending = self._open.setdefault(key, [])
        pending += values
        if len(pending) >= self._BLOCK:
            self._packed.setdefault(key, []).append(np.array(pending, dtype))
            pending.clear()

    def _joined(self, key: tuple[str, ...]) -> NDArray:
        blocks = list(self._packed.get(key, []))
        if self._open[key] or not blocks:
            blocks.append(np.array(self._open[key], self._dtypes[key]))
        return np.concatenate(blocks)

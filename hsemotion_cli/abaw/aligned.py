"""Tables, or a file that was submitted -> what they say of the frames that somebody labelled.

What a table says is what ``submit`` would write of it: expressions in Aff-Wild2's classes before gaps are filled,
valence and arousal within [-1, 1], and no model may leave an action unit open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..evaluation.ground_truth import AFFWILD2_EXPRESSIONS, PARTS
from ..postprocess.compound import MEANS
from ..postprocess.recipe import Recipe
from ..tasks import ACTION_UNITS, COMPOUNDS, EMOTIONAL_MIMICRY, VALENCE_AROUSAL
from . import predictions, validation
from .challenges import FIELDS, Track
from .lists import few, header_of
from .predictions import BASIC, OTHERS, AnnotatedVideo
from .scores import HALF, FrameCounts

CLIPS = "emotional_mimicry"
"""The task that is about clips, not frames."""

NAMES: Mapping[str, Sequence[str]] = {
    "expression": AFFWILD2_EXPRESSIONS,
    "valence_arousal": VALENCE_AROUSAL,
    "action_units": ACTION_UNITS,
    "compound": tuple(COMPOUNDS),
    CLIPS: EMOTIONAL_MIMICRY,
}
"""Task -> its classes or columns, as they are scored."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What shall be evaluated, and how.

    Attributes:
        track: of ``challenges.TRACKS``.
        part: of ``truth.PARTS``, where the truth is a whole data set.
        recipe: instead of each table's own.
        thresholds: as ``--threshold`` takes them, instead of the recipe's.
        mean: of ``compound.MEANS``, for compound expressions.
        other: of ``predictions.OTHERS``.
        seen_only: leave out frames in which no face was seen.
        partial: leave out videos without a table, or without any face, instead of refusing them.
        draws: collections of recordings drawn by lot for the intervals; 0 for none.
        seed: of those.

    Raises:
        UsageError: a combination that makes no sense.
    """

    track: Track
    part: str = "validation"
    recipe: Recipe | None = None
    thresholds: tuple[str, ...] = ()
    mean: str = "arithmetic"
    other: str = "contempt"
    seen_only: bool = False
    partial: bool = False
    draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for option, value, choices in (
            ("--part", self.part, PARTS), ("--mean", self.mean, list(MEANS)), ("--other", self.other, OTHERS),
        ):  # fmt: skip
            if value not in choices:
                raise UsageError(f"{option} {value}: choose from {', '.join(choices)}.")
        tasks = {"--threshold": "action_units", "--mean": "compound", "--other": "expression"}
        for option in self.changed:
            if CLIPS in self.track.tasks or tasks.get(option, "") not in ("", *self.track.tasks):
                raise UsageError(f"{option} changes nothing for --track {self.track.name}; leave it out.")
        if self.draws < 0 or self.seed < 0:
            raise UsageError("--bootstrap and --seed: give numbers from 0.")

    @property
    def changed(self) -> list[str]:
        """Options that change what is said of a frame."""
        options = {
            "--recipe": self.recipe is not None,
            "--threshold": bool(self.thresholds),
            "--mean": self.mean != "arithmetic",
            "--other": self.other != "contempt",
            "--seen-only": self.seen_only,
        }
        return [option for option, given in options.items() if given]


@dataclass(frozen=True, slots=True, eq=False)
class TaskPredictions:
    """What is said of k frames of one video for one task.

    Attributes:
        keep: (k,) those that are scored, n of them.
        said: of these, (n,) classes, (n, 2) valence and arousal, or (n, 12) whether each action unit is there.
        second: of expressions (n,) the class without "other"; of action units (n, 12) presence at ``scores.HALF``;
            None where there is no such thing.
        frames: how many were seen, filled and so on.
    """

    keep: NDArray[np.bool_]
    said: NDArray
    second: NDArray | None
    frames: FrameCounts


class AlignedPredictions(Protocol):
    """What is said of one video."""

    @property
    def thresholds(self) -> Mapping[str, float] | None:
        """Of the action units; None where only presence was given."""
        ...

    def silent(self, task: str) -> bool:
        """Whether nothing is said of any frame, since no face was seen."""
        ...

    def told(self, task: str, frames: NDArray[np.int64]) -> TaskPredictions:
        """What is said of some frames.

        Raises:
            InputError: nothing, or not of all of them.
        """
        ...


class PredictionSource(Protocol):
    """Where answers come from.

    Attributes:
        names: of all videos that there are.
        described: for messages.
        advice: what to do about a video without an answer.
    """

    names: list[str]
    described: str
    advice: str

    def place(self, video: str) -> str | None:
        """Which of ``names`` answers for a video of the truth, if any."""
        ...

    def of(self, video: str) -> AlignedPredictions:
        """What is said of a video that has a place."""
        ...


def prediction_source(paths: Sequence[Path], asked: EvaluationSettings) -> PredictionSource:
    """Tables, or one file to be submitted.

    Raises:
        InputError: as ``predictions.find`` and ``validation.read``.
        UsageError: options that a submitted file leaves no room for.
    """
    return SubmissionPredictions(paths[0], asked) if len(paths) == 1 and _submitted(paths[0]) else Tables(paths, asked)


class Tables:
    """Tables of ``annotate``."""

    advice = "annotate it"

    def __init__(self, paths: Sequence[Path], asked: EvaluationSettings) -> None:
        self._found = predictions.find(paths)
        self._asked = asked
        self._last: AnnotatedVideo | None = None
        self.names = list(self._found)
        self.described = f"the tables are of {few(self.names)}"

    def place(self, video: str) -> str | None:
        """The table of that very name; for the left or right person of a video else the video's."""
        found = predictions.place(video, self._found)
        return found[0] if found else None

    def of(self, video: str) -> AlignedPredictions:
        name, side = predictions.place(video, self._found) or (video, None)
        if self._last is None or self._last.video != name:
            self._last = predictions.load(self._found[name])
        return _TableAnswers(self._last, side, self._asked)


class _TableAnswers:
    """What a table says of one video, or of the person on one side of it."""

    def __init__(self, source: AnnotatedVideo, side: str | None, asked: EvaluationSettings) -> None:
        recipe = (asked.recipe or source.recipe).changed(thresholds=asked.thresholds)
        for task in asked.track.tasks:
            _check_told(task, source, recipe)
        self._given = predictions.predict(source, recipe, side=side, mean=asked.mean).in_affwild2(asked.other)
        self._found = _with_a_face(source, side)
        self._seen_only = asked.seen_only
        self.thresholds: Mapping[str, float] | None = {
            unit: self._given.thresholds.get(unit, HALF) for unit in ACTION_UNITS
        }

    def silent(self, task: str) -> bool:
        return bool(np.isnan(self._given.tasks[task]).all())

    def told(self, task: str, frames: NDArray[np.int64]) -> TaskPredictions:
        nobody = self.silent(task) and self._seen_only
        if nobody:
            values, told = np.empty((len(frames), len(NAMES[task]))), np.zeros(len(frames), bool)
        else:
            values, told = self._given.at(task, frames)
        # Rows that bridge a gap are in the table, but no face was seen there.
        seen = told & np.isin(frames, self._found)
        beyond = ~seen & (frames > self._given.last)
        keep = seen if self._seen_only else np.ones(len(frames), bool)
        counts = int(seen.sum()), int((~seen & ~beyond).sum()), int(beyond.sum())
        said, second = self._decided(task, values[keep])
        return TaskPredictions(keep, said, second, FrameCounts(len(frames), int(keep.sum()), *counts))

    def _decided(self, task: str, values: NDArray[np.float64]) -> tuple[NDArray, NDArray | None]:
        unknown = np.flatnonzero(np.isnan(values).any(axis=0)).tolist()
        if unknown:
            names = few(NAMES[task][k] for k in unknown)
            raise InputError(f"{self._given.path}: its models say nothing of {names}; annotate with others.")
        if task == "valence_arousal":
            return np.clip(values, -1, 1), None
        if task == "action_units" and self.thresholds is not None:
            return values >= [self.thresholds[unit] for unit in ACTION_UNITS], values >= HALF
        return values.argmax(axis=1), values[:, :BASIC].argmax(axis=1) if task == "expression" else None


class SubmissionPredictions:
    """A file as ``submit`` writes it: classes and presence, nothing soft."""

    advice = "add it"

    def __init__(self, path: Path, asked: EvaluationSettings) -> None:
        if asked.changed:
            raise UsageError(f"{path} holds final answers, which {asked.changed[0]} cannot change; leave it out.")
        listed, self._values = validation.read(path, asked.track)
        self._frame, self._path, self._partial = listed.frame, path, asked.partial
        self._rows = dict(zip(listed.videos, listed.rows(), strict=True))
        self._fields = np.cumsum([0, *(FIELDS[task] for task in asked.track.tasks)])
        self._tasks = asked.track.tasks
        self.names = list(self._rows)
        self.described = f"{path} of {few(self.names)}"

    def place(self, video: str) -> str | None:
        return video if video in self._rows else None

    def of(self, video: str) -> AlignedPredictions:
        rows = self._rows[video][np.argsort(self._frame[self._rows[video]], kind="stable")]
        k = np.arange(len(self._tasks))
        fields = {self._tasks[j]: slice(self._fields[j], self._fields[j + 1]) for j in k}
        values = {task: self._values[rows, where] for task, where in fields.items()}
        return _FileAnswers(self._path, video, self._frame[rows], values, self._partial)


@dataclass(frozen=True, slots=True, eq=False)
class _FileAnswers:
    """What a file says of one video; its frames increase."""

    path: Path
    video: str
    frame: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    partial: bool
    thresholds: Mapping[str, float] | None = None

    def silent(self, task: str) -> bool:
        return False

    def told(self, task: str, frames: NDArray[np.int64]) -> TaskPredictions:
        keep = np.isin(frames, self.frame)
        if not (keep.all() or self.partial):
            raise InputError(
                f"{self.path}: {(~keep).sum():,} labelled frames of {self.video} have no row: "
                f"{few(f'{frame:05d}' for frame in frames[~keep])}; add them, or give --partial to leave them out."
            )
        values = self.values[task][np.searchsorted(self.frame, frames[keep])]
        if task in ("expression", "compound"):
            values = values[:, 0].astype(np.int64)
        return TaskPredictions(keep, values, None, FrameCounts(len(frames), int(keep.sum())))


def _submitted(path: Path) -> bool:
    """Whether a path is a file to be submitted, by its ending or its header; tables of ``annotate`` are not."""
    if not path.is_file() or path.suffix not in (".txt", ".csv"):
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return path.suffix == ".txt" or header_of(file.readline()) is not None


def _check_told(task: str, source: AnnotatedVideo, recipe: Recipe) -> None:
    """Raise InputError if none of the models of a table has a task."""
    base = "expression" if task == "compound" else task
    if not any(base in source.timeline.scores.get(model, {}) for model in recipe.models):
        raise InputError(
            f"{source.path}: its models ({', '.join(recipe.models)}) say nothing of {base.replace('_', ' ')}; annotate "
            "with one that does (see hsemotion models list)."
        )


def _with_a_face(source: AnnotatedVideo, side: str | None) -> NDArray[np.int64]:
    """Numbers of the frames in which a face was found, as the challenges count."""
    timeline = source.timeline
    rows = np.arange(len(timeline.row)) if side is None else predictions.on_side(timeline.box, source.width, side)
    return timeline.index[timeline.row[rows]] + source.first

"""Tables, or a submission -> predictions aligned with labelled frames.

The predictions of a table are those that ``submit`` would write: expressions are in Aff-Wild2's classes before gaps are
filled, valence and arousal are within [-1, 1], and every action unit must be predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..evaluation.ground_truth import AFFWILD2_EXPRESSIONS, PARTS
from ..postprocess.compound import MEANS
from ..postprocess.recipe import Recipe
from ..reporting.wording import few
from ..tasks import ACTION_UNITS, COMPOUNDS, EMOTIONAL_MIMICRY, VALENCE_AROUSAL
from . import plain_tables, predictions, validation
from .challenges import FIELDS, Track
from .lists import header_of
from .plain_tables import PlainTable
from .predictions import BASIC, OTHERS, AnnotatedVideo, Predictions
from .scores import HALF, FrameCounts

CLIPS = "emotional_mimicry"
"""The task that scores clips, not frames."""

NAMES: Mapping[str, Sequence[str]] = {
    "expression": AFFWILD2_EXPRESSIONS,
    "valence_arousal": VALENCE_AROUSAL,
    "action_units": ACTION_UNITS,
    "compound": tuple(COMPOUNDS),
    CLIPS: EMOTIONAL_MIMICRY,
}
"""Task -> its classes or columns in scoring order."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What to evaluate, and how.

    Attributes:
        track: of ``challenges.TRACKS``.
        part: of ``ground_truth.PARTS``, if the ground truth is a whole data set.
        recipe: instead of each table's own.
        thresholds: as ``--threshold`` takes them, instead of the recipe's.
        mean: of ``compound.MEANS``, for compound expressions.
        other: of ``predictions.OTHERS``.
        seen_only: leave out frames without a face.
        partial: leave out videos without a table or without any face, instead of failing.
        draws: bootstrap resamples for the confidence intervals; 0 for none.
        seed: of the resamples.

    Raises:
        UsageError: an unknown value, or an option that has no effect on the track.
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
                raise UsageError(f"{option} has no effect on --track {self.track.name}; leave it out.")
        if self.draws < 0 or self.seed < 0:
            raise UsageError("--bootstrap and --seed: give numbers from 0.")

    @property
    def changed(self) -> list[str]:
        """The options given that change predictions."""
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
    """Predictions for k frames of one video, for one task.

    Attributes:
        keep: (k,) bool, the frames that are scored, n of them.
        predicted: for these, (n,) classes, (n, 2) valence and arousal, or (n, 12) bool, presence of action units.
        alternative: for expressions (n,) the class without "other"; for action units (n, 12) presence at
            ``scores.HALF``; None for other tasks, and for submissions.
        frames: counts of the frames.
    """

    keep: NDArray[np.bool_]
    predicted: NDArray
    alternative: NDArray | None
    frames: FrameCounts


class AlignedPredictions(Protocol):
    """The predictions for one video."""

    @property
    def thresholds(self) -> Mapping[str, float] | None:
        """Action unit -> threshold; None if its predictions are binary."""
        ...

    def without_faces(self, task: str) -> bool:
        """Whether no frame has a prediction, because no face was found."""
        ...

    def predict(self, task: str, frames: NDArray[np.int64]) -> TaskPredictions:
        """Predictions for some frames, by number.

        Raises:
            InputError: there are none, or not for all of them.
        """
        ...


class PredictionSource(Protocol):
    """Where predictions come from.

    Attributes:
        names: of all videos with predictions.
        description: for messages.
        advice: what to do about a video without predictions.
    """

    names: list[str]
    description: str
    advice: str

    @property
    def alone(self) -> tuple[str, ...]:
        """Tables loaded so far that have no raw scores, and were taken as they stand."""
        ...

    @property
    def tuned_on(self) -> Sequence[Mapping[str, Any]]:
        """``Recipe.tuned_on`` of the tuned recipes that were applied so far."""
        ...

    def notes(self) -> list[str]:
        """Sentences about the predictions loaded so far that a reader of the scores has to know."""
        ...

    def match(self, video: str) -> str | None:
        """Which of ``names`` has the predictions for a video of the ground truth, if any."""
        ...

    def load(self, video: str) -> AlignedPredictions:
        """The predictions for a video that has a match."""
        ...


def prediction_source(paths: Sequence[Path], settings: EvaluationSettings) -> PredictionSource:
    """Tables of ``annotate``, or one submission.

    Raises:
        InputError: as ``plain_tables.find`` and ``validation.read``.
        UsageError: options that cannot change a submission.
    """
    if len(paths) == 1 and _is_submission(paths[0]):
        return SubmissionPredictionSource(paths[0], settings)
    return TablePredictionSource(paths, settings)


class TablePredictionSource:
    """Tables of ``annotate``, with their raw scores; or tables alone, which are scored as they stand."""

    advice = "annotate it"

    def __init__(self, paths: Sequence[Path], settings: EvaluationSettings) -> None:
        self._tables = plain_tables.find(paths)
        self._settings = settings
        self._last: AnnotatedVideo | PlainTable | None = None
        self._alone: dict[str, str] = {}
        self._tuned: list[Mapping[str, Any]] = []
        self.names = list(self._tables)
        self.description = f"the tables are of {few(self.names)}"

    def match(self, video: str) -> str | None:
        """The table of that name; otherwise, for the left or right person of a video, the video's."""
        found = predictions.place(video, self._tables)
        return found[0] if found else None

    def load(self, video: str) -> AlignedPredictions:
        name, side = predictions.place(video, self._tables) or (video, None)
        if self._last is None or self._last.video != name:
            self._last = self._read(name)
        source, settings = self._last, self._settings
        if isinstance(source, PlainTable):
            rows = source.rows(side)
            found = source.predictions(side, settings.mean, settings.other)
            return _TablePredictions(found, source.frames[rows[source.seen[rows]]], settings, None)
        recipe = (settings.recipe or source.recipe).changed(thresholds=settings.thresholds)
        for task in settings.track.tasks:
            _check_task(task, source, recipe)
        if recipe.tuned_on and recipe.tuned_on not in self._tuned:
            self._tuned.append(recipe.tuned_on)
        found = predictions.predict(source, recipe, side=side, mean=settings.mean)
        thresholds = {unit: found.thresholds.get(unit, HALF) for unit in ACTION_UNITS}
        return _TablePredictions(
            found.in_affwild2(settings.other), _frames_with_face(source, side), settings, thresholds
        )

    def _read(self, name: str) -> AnnotatedVideo | PlainTable:
        """A table with its raw scores, or alone.

        Raises:
            UsageError: it is alone, and an option would change what it says.
        """
        path = self._tables[name]
        if path.name.endswith(predictions.RAW):
            return predictions.load(path)
        if option := next((given for given in self._settings.changed if given in ("--recipe", "--threshold")), None):
            raise UsageError(
                f"{option}: {path} has no {path.stem}{predictions.RAW} beside it, so its table can only be scored as "
                f"it stands; leave {option} out, or annotate the video again."
            )
        table = plain_tables.read(path)
        self._alone[name] = table.guessed
        return table

    @property
    def alone(self) -> tuple[str, ...]:
        return tuple(self._alone)

    @property
    def tuned_on(self) -> Sequence[Mapping[str, Any]]:
        return self._tuned

    def notes(self) -> list[str]:
        if not self._alone:
            return []
        found = [
            f"scored as they stand, because there are no raw scores beside them: {few(self._alone)}. Smoothing, blend "
            "and thresholds are those of whoever made the tables, and could not be changed."
        ]
        for guess in sorted(set(self._alone.values()) - {""}):
            names = [name for name, own in self._alone.items() if own == guess]
            found.append(f"no sidecar says how frames are numbered, so {guess}: {few(names)}.")
        return found


class _TablePredictions:
    """The predictions of a table for one video, or for the person on one side of it.

    Args:
        source: with expressions in Aff-Wild2's classes.
        with_face: numbers of the frames with a face.
        thresholds: of action units; None if those of ``source`` are 0 or 1.
    """

    def __init__(
        self,
        source: Predictions,
        with_face: NDArray[np.int64],
        settings: EvaluationSettings,
        thresholds: Mapping[str, float] | None,
    ) -> None:
        self._source, self._with_face, self._seen_only = source, with_face, settings.seen_only
        self.thresholds = thresholds

    def without_faces(self, task: str) -> bool:
        return bool(np.isnan(self._source.tasks[task]).all())

    def predict(self, task: str, frames: NDArray[np.int64]) -> TaskPredictions:
        if self.without_faces(task) and self._seen_only:
            values, exact = np.empty((len(frames), len(NAMES[task]))), np.zeros(len(frames), bool)
        else:
            values, exact = self._source.at(task, frames)
        # The table also has rows that bridge gaps, but no face was found there.
        seen = exact & np.isin(frames, self._with_face)
        beyond = ~seen & (frames > self._source.last)
        keep = seen if self._seen_only else np.ones(len(frames), bool)
        counts = int(seen.sum()), int((~seen & ~beyond).sum()), int(beyond.sum())
        predicted, alternative = self._decide(task, values[keep])
        return TaskPredictions(keep, predicted, alternative, FrameCounts(len(frames), int(keep.sum()), *counts))

    def _decide(self, task: str, values: NDArray[np.float64]) -> tuple[NDArray, NDArray | None]:
        unknown = np.flatnonzero(np.isnan(values).any(axis=0)).tolist()
        if unknown:
            names = few(NAMES[task][k] for k in unknown)
            raise InputError(f"{self._source.path}: its models do not predict {names}; annotate with others.")
        if task == "valence_arousal":
            return np.clip(values, -1, 1), None
        if task == "action_units" and self.thresholds is None:
            return values >= HALF, None
        if task == "action_units" and self.thresholds is not None:
            return values >= [self.thresholds[unit] for unit in ACTION_UNITS], values >= HALF
        return values.argmax(axis=1), values[:, :BASIC].argmax(axis=1) if task == "expression" else None


class SubmissionPredictionSource:
    """A file as ``submit`` writes it: final classes and presence, no probabilities."""

    advice = "add it"
    alone: tuple[str, ...] = ()
    tuned_on: Sequence[Mapping[str, Any]] = ()

    def __init__(self, path: Path, settings: EvaluationSettings) -> None:
        if settings.changed:
            raise UsageError(
                f"{path} holds final predictions, which {settings.changed[0]} cannot change; leave it out."
            )
        listed, self._values = validation.read(path, settings.track)
        self._frame, self._path, self._partial = listed.frame, path, settings.partial
        self._rows = dict(zip(listed.videos, listed.rows(), strict=True))
        self._fields = np.cumsum([0, *(FIELDS[task] for task in settings.track.tasks)])
        self._tasks = settings.track.tasks
        self.names = list(self._rows)
        self.description = f"{path} of {few(self.names)}"

    def notes(self) -> list[str]:
        return []

    def match(self, video: str) -> str | None:
        return video if video in self._rows else None

    def load(self, video: str) -> AlignedPredictions:
        rows = self._rows[video][np.argsort(self._frame[self._rows[video]], kind="stable")]
        k = np.arange(len(self._tasks))
        fields = {self._tasks[j]: slice(self._fields[j], self._fields[j + 1]) for j in k}
        values = {task: self._values[rows, where] for task, where in fields.items()}
        return _SubmissionPredictions(self._path, video, self._frame[rows], values, self._partial)


@dataclass(frozen=True, slots=True, eq=False)
class _SubmissionPredictions:
    """The predictions of a submission for one video; its frames increase."""

    path: Path
    video: str
    frame: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    partial: bool
    thresholds: Mapping[str, float] | None = None

    def without_faces(self, task: str) -> bool:
        return False

    def predict(self, task: str, frames: NDArray[np.int64]) -> TaskPredictions:
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


def _is_submission(path: Path) -> bool:
    """Whether a path is a submission, by its suffix or its header; tables of ``annotate`` are not."""
    if not path.is_file() or path.suffix not in (".txt", ".csv"):
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return path.suffix == ".txt" or header_of(file.readline()) is not None


def _check_task(task: str, source: AnnotatedVideo, recipe: Recipe) -> None:
    """Raise InputError if no model of a table predicts a task."""
    base = "expression" if task == "compound" else task
    if not any(base in source.timeline.scores.get(model, {}) for model in recipe.models):
        raise InputError(
            f"{source.path}: its models ({', '.join(recipe.models)}) do not predict {base.replace('_', ' ')}; annotate "
            "with one that does (see hsemotion models list)."
        )


def _frames_with_face(source: AnnotatedVideo, side: str | None) -> NDArray[np.int64]:
    """Numbers of the frames with a face, counted as the challenges do."""
    timeline = source.timeline
    rows = np.arange(len(timeline.row)) if side is None else predictions.on_side(timeline.box, source.width, side)
    return timeline.index[timeline.row[rows]] + source.first

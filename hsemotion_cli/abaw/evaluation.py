"""Tables and ground truth -> the scores of a track of the ABAW challenges.

All valid frames of a part are pooled, whichever video they are from, and each task uses the frames that are valid for
it. A frame without a face has the value that it would have in a submission; the report counts such frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..evaluation.ground_truth import (
    Annotations,
    CompoundAnnotations,
    read_compound,
    read_for,
    read_intensities,
    recording,
)
from ..evaluation.resampling import resample
from ..postprocess.recipe import recording_key
from ..reporting.wording import few
from ..tasks import ACTION_UNITS, EMOTIONAL_MIMICRY, VALENCE_AROUSAL
from . import scores
from .aligned import BASIC, CLIPS, NAMES, AlignedPredictions, EvaluationSettings, TaskPredictions, prediction_source
from .bootstrap import ConfusionCounts, DetectionCounts, Floats, Moments, Pair
from .scores import FrameCounts, Score, TaskScores, plain
from .tuning_data import truth_digest

Progress = Callable[[int, int, str], None]
"""Called with the videos done, all videos, and the current one."""


@dataclass(frozen=True, slots=True)
class VideoScores:
    """The scores of one video alone.

    Attributes:
        video: its name in the ground truth.
        frames: task -> counts of its labelled frames.
        scores: metric -> value; None if undefined. F1 is the mean over classes or units that occur or are predicted,
            and CCC is undefined if the ground truth never changes.
        mean: over the tasks; None if no task has a score.
    """

    video: str
    frames: Mapping[str, FrameCounts]
    scores: Mapping[str, float | None]
    mean: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        frames = {task: found.to_json() for task, found in self.frames.items()}
        return {"video": self.video, "frames": frames, "scores": dict(self.scores), "mean": self.mean}


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an evaluation.

    Attributes:
        settings: as given.
        score: of the track.
        half: the same with all thresholds of action units at ``scores.HALF``; None if the track has none.
        tasks: scores by task, in the order of the track.
        frames: task -> counts of all videos together; empty for clips.
        videos: scores of each video alone; none for clips.
        recordings: number of recordings that were scored, which is what the bootstrap resamples.
        clips: number of clips that were scored; 0 for tracks of frames.
        left_out: videos (or clips) of the ground truth without predictions, left out on request.
        faceless: videos of the ground truth without any face, left out on request.
        ignored: tables (or clips) without ground truth.
        alone: tables without raw scores, which were scored as they stand.
        tuned: how many of the scored recordings a recipe was tuned on; 0 if none.
        same_labels: whether it was tuned on exactly the labels that are scored.
        notes: sentences that a reader of the scores has to know.
    """

    settings: EvaluationSettings
    score: Score
    half: Score | None
    tasks: Mapping[str, TaskScores]
    frames: Mapping[str, FrameCounts]
    videos: tuple[VideoScores, ...]
    recordings: int
    clips: int = 0
    left_out: tuple[str, ...] = ()
    faceless: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    tuned: int = 0
    same_labels: bool = False
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data; undefined numbers are None."""
        settings = self.settings
        return {
            "track": settings.track.name,
            "part": settings.part,
            "score": self.score.to_json(),
            "score_at_0.5": None if self.half is None else self.half.to_json(),
            "tasks": {task: found.to_json() for task, found in self.tasks.items()},
            "frames": {task: found.to_json() for task, found in self.frames.items()},
            "clips": self.clips,
            "videos": [video.to_json() for video in self.videos],
            "recordings": self.recordings,
            "left_out": list(self.left_out),
            "faceless": list(self.faceless),
            "ignored": list(self.ignored),
            "without_raw_scores": list(self.alone),
            "tuned_on_these": {"recordings": self.tuned, "same_labels": self.same_labels},
            "notes": list(self.notes),
            "settings": {
                "recipe": None if settings.recipe is None else settings.recipe.to_json(),
                "thresholds": list(settings.thresholds),
                "mean": settings.mean,
                "other": settings.other,
                "seen_only": settings.seen_only,
                "partial": settings.partial,
                "bootstrap": settings.draws,
                "seed": settings.seed,
            },
        }


def evaluate(
    tables: Sequence[Path], truth: Path, settings: EvaluationSettings, progress: Progress = lambda *_: None
) -> Report:
    """Score tables, or one submission, against ground truth.

    Args:
        tables: as for ``predictions.find``, or one submission; for --track emi it must be the latter.
        truth: as for ``ground_truth.read_for``, ``read_compound`` or ``read_intensities``, by track.

    Raises:
        InputError: a file that cannot be used, a video of the ground truth without a table or without any face, a
            model that does not predict a task, or nothing to score.
        UsageError: more or less than one file for emi.
    """
    if CLIPS in settings.track.tasks:
        return _evaluate_clips(tables, truth, settings)
    labelled = {
        name: labels for name, labels in _read(truth, settings).items() if _any_label(labels, settings.track.tasks)
    }
    if not labelled:
        raise InputError(f"{truth}: no frame has a label for --track {settings.track.name}.")
    predictions = prediction_source(tables, settings)
    matches = {video: match for video in labelled if (match := predictions.match(video)) is not None}
    left_out = _missing(labelled, matches, truth, settings, predictions.description, predictions.advice)
    ignored = tuple(name for name in predictions.names if name not in set(matches.values()))
    collected = _Collected(settings)
    for done, video in enumerate(matches):
        progress(done, len(matches), video)
        collected.add(video, labelled[video], predictions.load(video))
    progress(len(matches), len(matches), "scoring")
    report = collected.report(truth, left_out, ignored)
    tuned, same_labels = _seen_before(report, predictions.tuned_on, labelled)
    notes = [*_tuned_note(tuned, report.recordings, same_labels), *predictions.notes()]
    return replace(report, alone=predictions.alone, tuned=tuned, same_labels=same_labels, notes=tuple(notes))


def _seen_before(
    report: Report, tuned_on: Sequence[Mapping[str, Any]], truth: Mapping[str, Annotations | CompoundAnnotations]
) -> tuple[int, bool]:
    """How many of the scored recordings a recipe was tuned on, and whether it was on the very same labels."""
    scored = {recording_key(recording(video.video)) for video in report.videos}
    most = max((len(scored & set(one["recordings"])) for one in tuned_on), default=0)
    tasks = report.settings.track.tasks
    plain = {video.video: truth[video.video] for video in report.videos}
    known = {name: found for name, found in plain.items() if isinstance(found, Annotations)}
    same = [one for one in tuned_on if one["track"] == report.settings.track.name]
    return most, bool(same) and len(known) == len(plain) and any(
        one["truth"] == truth_digest(known, tasks) for one in same
    )


def _tuned_note(tuned: int, recordings: int, same_labels: bool) -> list[str]:
    if not tuned:
        return []
    labels = ", against these very labels" if same_labels else ""
    return [
        f"the recipe was tuned on {tuned:,} of the {recordings:,} recordings that are scored here{labels}: the score "
        "is too high for new recordings. Score recordings that tune did not see, or rely on its cross-validated score."
    ]


def _read(truth: Path, settings: EvaluationSettings) -> Mapping[str, Annotations | CompoundAnnotations]:
    if "compound" in settings.track.tasks:
        return read_compound(truth)
    return read_for(truth, settings.track.name, settings.part)


def _labels(truth: Annotations | CompoundAnnotations, task: str) -> tuple[NDArray[np.int64], NDArray]:
    """The numbers and labels of the frames that are labelled for a task."""
    labels: NDArray = getattr(truth, task)
    labelled = labels >= 0 if labels.ndim == 1 else ~np.isnan(labels).any(axis=1)
    return truth.frames[labelled], labels[labelled]


def _any_label(truth: Annotations | CompoundAnnotations, tasks: Iterable[str]) -> bool:
    return any(len(_labels(truth, task)[0]) for task in tasks)


def _missing(
    labelled: Iterable[str],
    predicted: Iterable[str],
    truth: Path,
    settings: EvaluationSettings,
    description: str,
    advice: str,
) -> tuple[str, ...]:
    """Names of the ground truth without predictions.

    Args:
        labelled: names in the ground truth.
        predicted: those of them with predictions.
        description, advice: as of ``PredictionSource``.

    Raises:
        InputError: there are some and they may not be left out, or there are no others.
    """
    labelled, predicted = list(labelled), set(predicted)
    missing = tuple(name for name in labelled if name not in predicted)
    if len(missing) == len(labelled):
        raise InputError(f"{truth} is of {few(labelled)}, and {description}; they are matched by name.")
    if missing and not settings.partial:
        raise InputError(
            f"{truth}: no predictions for {len(missing):,} of its {len(labelled):,}: {few(missing)}; {advice}, or give "
            "--partial to score only the others."
        )
    return missing


# --- frames -----------------------------------------------------------------------------------------------------


class _TaskData(Protocol):
    """Ground truth and predictions of one task, collected video by video."""

    frames: list[FrameCounts]

    def add(self, truth: NDArray, found: TaskPredictions, predictions: AlignedPredictions) -> None:
        """Add the scored frames of one video."""
        ...

    def each(self) -> Mapping[str, Floats]:
        """Metric -> (videos,); the last metric is the task's score, nan if undefined."""
        ...

    def total(self, multiplicity: Floats) -> tuple[TaskScores, Floats, Floats | None]:
        """The scores; and (resamples,) the score of each resample, at the chosen thresholds and at ``scores.HALF``."""
        ...


@dataclass(slots=True)
class _ClassTask:
    """Expressions or compound expressions: one class per frame."""

    task: str
    frames: list[FrameCounts] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    basic: list[Pair | None] = field(default_factory=list)

    def add(self, truth: NDArray, found: TaskPredictions, predictions: AlignedPredictions) -> None:
        self.pairs.append((truth, found.predicted))
        rows = truth < BASIC
        self.basic.append(None if found.alternative is None else (truth[rows], found.alternative[rows]))

    def each(self) -> Mapping[str, Floats]:
        found = ConfusionCounts.of(self.pairs, len(NAMES[self.task]))
        return {"accuracy": found.accuracy, "f1": found.macro_f1_present}

    def total(self, multiplicity: Floats) -> tuple[TaskScores, Floats, Floats | None]:
        names = NAMES[self.task]
        pooled = ConfusionCounts.of(self.pairs, len(names)).pooled(multiplicity)
        basic = _if_complete(self.basic)
        without_other = None if basic is None else ConfusionCounts.of(basic, BASIC).pooled(multiplicity)
        return scores.class_scores(pooled, names, without_other), pooled.macro_f1, pooled.macro_f1


@dataclass(slots=True)
class _AffectTask:
    """Valence and arousal."""

    frames: list[FrameCounts] = field(default_factory=list)
    pairs: list[tuple[Floats, Floats]] = field(default_factory=list)

    def add(self, truth: NDArray, found: TaskPredictions, predictions: AlignedPredictions) -> None:
        self.pairs.append((truth.astype(np.float64), found.predicted))

    def each(self) -> Mapping[str, Floats]:
        found = Moments.of(self.pairs, len(VALENCE_AROUSAL))
        ccc = np.where(found.constant, np.nan, found.ccc)
        return {"valence": ccc[:, 0], "arousal": ccc[:, 1], "ccc": ccc.mean(axis=1)}

    def total(self, multiplicity: Floats) -> tuple[TaskScores, Floats, Floats | None]:
        pooled = Moments.of(self.pairs, len(VALENCE_AROUSAL)).pooled(multiplicity)
        truth, predicted = (np.concatenate(column) for column in zip(*self.pairs, strict=True))
        found = scores.agreement(pooled, VALENCE_AROUSAL, "ccc", scores.density(truth, predicted))
        mean = pooled.ccc.mean(axis=1)
        return found, mean, mean


@dataclass(slots=True)
class _UnitTask:
    """Action units, at the thresholds of each table's recipe and at ``scores.HALF``."""

    frames: list[FrameCounts] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    half: list[Pair | None] = field(default_factory=list)
    thresholds: dict[str, float | None] = field(default_factory=dict)

    def add(self, truth: NDArray, found: TaskPredictions, predictions: AlignedPredictions) -> None:
        self.pairs.append((truth, found.predicted))
        self.half.append(None if found.alternative is None else (truth, found.alternative))
        for unit, threshold in (predictions.thresholds or {}).items():
            if self.thresholds.setdefault(unit, threshold) != threshold:
                self.thresholds[unit] = None

    def each(self) -> Mapping[str, Floats]:
        return {"au_f1": DetectionCounts.of(self.pairs, len(ACTION_UNITS)).mean_f1_present}

    def total(self, multiplicity: Floats) -> tuple[TaskScores, Floats, Floats | None]:
        pooled = DetectionCounts.of(self.pairs, len(ACTION_UNITS)).pooled(multiplicity)
        pairs = _if_complete(self.half)
        half = None if pairs is None else DetectionCounts.of(pairs, len(ACTION_UNITS)).pooled(multiplicity)
        found = scores.unit_scores(pooled, half, ACTION_UNITS, self.thresholds)
        return found, pooled.mean_f1, None if half is None else half.mean_f1


def _if_complete(pairs: Sequence[Pair | None]) -> list[Pair] | None:
    found = [pair for pair in pairs if pair is not None]
    return found if len(found) == len(pairs) else None


class _Collected:
    """Ground truth and predictions of all videos, task by task."""

    def __init__(self, settings: EvaluationSettings) -> None:
        self.settings = settings
        self.names: list[str] = []
        self.faceless: list[str] = []
        self.tasks: dict[str, _TaskData] = {task: self._new(task) for task in settings.track.tasks}

    def _new(self, task: str) -> _TaskData:
        if task == "valence_arousal":
            return _AffectTask()
        return _UnitTask() if task == "action_units" else _ClassTask(task)

    def add(self, video: str, truth: Annotations | CompoundAnnotations, predictions: AlignedPredictions) -> None:
        """Add one video.

        Raises:
            InputError: some of its labelled frames have no prediction.
        """
        labels = {task: _labels(truth, task) for task in self.tasks}
        if not self.settings.seen_only and any(
            len(labels[task][0]) and predictions.without_faces(task) for task in self.tasks
        ):
            self.faceless.append(video)
            return
        self.names.append(video)
        for task, collected in self.tasks.items():
            frames, target = labels[task]
            found = predictions.predict(task, frames) if len(frames) else _no_frames(task)
            collected.frames.append(found.frames)
            collected.add(target[found.keep], found, predictions)

    def report(self, truth: Path, left_out: tuple[str, ...], ignored: tuple[str, ...]) -> Report:
        """Score everything.

        Raises:
            InputError: a task has nothing to score, or there are videos without any face that may not be left out.
        """
        if self.faceless and not self.settings.partial:
            raise InputError(
                f"no face was found in any frame of {few(self.faceless)}, so they have no predictions; give "
                "--partial to leave them out, or --seen-only to score only frames with a face."
            )
        for task, collected in self.tasks.items():
            if not any(frames.scored for frames in collected.frames):
                raise InputError(
                    f"{truth}: nothing to score for {task.replace('_', ' ')}: no frame that counts has a label."
                )
        scored = [any(collected.frames[k].scored for collected in self.tasks.values()) for k in range(len(self.names))]
        multiplicity, count = _multiplicities([recording(name) for name in self.names], scored, self.settings)
        totals = {task: collected.total(multiplicity) for task, collected in self.tasks.items()}
        halves = [half for _, _, half in totals.values() if half is not None]
        both = "action_units" in self.tasks and len(halves) == len(totals)
        return Report(
            self.settings,
            scores.score(np.sum([score for _, score, _ in totals.values()], axis=0)),
            scores.score(np.sum(halves, axis=0)) if both else None,
            {task: found for task, (found, _, _) in totals.items()},
            {task: scores.pooled_counts(collected.frames) for task, collected in self.tasks.items()},
            self._videos(),
            count,
            left_out=left_out,
            faceless=tuple(self.faceless),
            ignored=ignored,
        )

    def _videos(self) -> tuple[VideoScores, ...]:
        each = {task: collected.each() for task, collected in self.tasks.items()}
        found = []
        for k, name in enumerate(self.names):
            frames = {task: collected.frames[k] for task, collected in self.tasks.items()}
            values = {figure: plain(column[k]) for columns in each.values() for figure, column in columns.items()}
            last = [plain(list(columns.values())[-1][k]) for columns in each.values()]
            labelled = [value for value in last if value is not None]
            frames = {task: collected.frames[k] for task, collected in self.tasks.items()}
            found.append(VideoScores(name, frames, values, sum(labelled) / len(labelled) if labelled else None))
        return tuple(found)


def _no_frames(task: str) -> TaskPredictions:
    """Predictions for a video without labelled frames."""
    predicted = np.empty((0,) if task in ("expression", "compound") else (0, len(NAMES[task])))
    alternative = predicted if task in ("expression", "action_units") else None
    return TaskPredictions(np.empty(0, bool), predicted, alternative, FrameCounts(0, 0, 0, 0, 0))


def _multiplicities(groups: Sequence[str], scored: Sequence[bool], settings: EvaluationSettings) -> tuple[Floats, int]:
    """How often each video counts, first once, then in each bootstrap resample; and the number of recordings.

    A single recording says nothing about others, so it is not resampled.
    """
    scored_videos = [k for k, some in enumerate(scored) if some]
    names = [groups[k] for k in scored_videos]
    count = len(set(names))
    multiplicity = np.zeros((1 + (settings.draws if count > 1 else 0), len(groups)))
    multiplicity[0, scored_videos] = 1
    if len(multiplicity) > 1:
        multiplicity[1:, scored_videos] = resample(names, settings.draws, settings.seed)
    return multiplicity, count


# --- clips ------------------------------------------------------------------------------------------------------


def _evaluate_clips(tables: Sequence[Path], truth: Path, settings: EvaluationSettings) -> Report:
    if len(tables) != 1:
        raise UsageError(f"--track emi: give one file of intensities, one row per clip, not {len(tables)} paths.")
    labelled, predicted = read_intensities(truth), read_intensities(tables[0])
    if not labelled:
        raise InputError(f"{truth}: there are no clips below the header.")
    left_out = _missing(
        labelled, predicted, truth, settings, f"{tables[0]} of {few(predicted)}", f"add it to {tables[0]}"
    )
    names = [name for name in labelled if name in predicted]
    moments = Moments.of([([labelled[name]], [predicted[name]]) for name in names], len(EMOTIONAL_MIMICRY))
    multiplicity, count = _multiplicities(names, [True] * len(names), settings)
    found = scores.agreement(moments.pooled(multiplicity), EMOTIONAL_MIMICRY, "pearson")
    ignored = tuple(name for name in predicted if name not in labelled)
    return Report(
        settings, found.score, None, {CLIPS: found}, {}, (), count, clips=count, left_out=left_out, ignored=ignored
    )

"""Tables and truth -> the scores of a track of the ABAW challenges, with all that is needed to trust them.

All valid frames of a part count together, whichever video they are of, and each task by the frames that are valid for
it. A frame without a face has the value that it would have in a submission, and how many there are is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from ..tasks import ACTION_UNITS, EMOTIONAL_MIMICRY, VALENCE_AROUSAL
from . import scores
from .aligned import BASIC, CLIPS, NAMES, AlignedPredictions, EvaluationSettings, TaskPredictions, prediction_source
from .bootstrap import ConfusionCounts, DetectionCounts, Floats, Moments, Pair, resample
from .lists import few
from .scores import FrameCounts, Score, TaskScores, plain

Progress = Callable[[int, int, str], None]
"""Told how many videos are done, of how many, and which."""


@dataclass(frozen=True, slots=True)
class VideoScores:
    """One video by itself.

    Attributes:
        video: its name in the truth.
        frames: task -> its frames with a label.
        scores: figure -> value; None where it says nothing. F1 is the mean over classes or units that occur or were
            said, and concordance is left out where the truth never changes.
        mean: over the tasks; None without any.
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
    """All that came of it.

    Attributes:
        asked: what was asked for.
        score: of the track.
        half: the same with all thresholds of action units at ``scores.HALF``; None where there are none.
        tasks: by name, in the order of the track.
        frames: of each task, of all videos together; empty for clips.
        videos: each by itself, by name; none for clips.
        recordings: that were scored, and are drawn by lot.
        clips: that were scored; 0 for tracks of frames.
        left_out: videos (or clips) of the truth without a table, left out on request.
        faceless: videos of the truth without any face, left out on request.
        ignored: tables (or clips) without truth.
    """

    asked: EvaluationSettings
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

    def to_json(self) -> dict[str, Any]:
        """Plain data; numbers that there are none of are None."""
        asked = self.asked
        return {
            "track": asked.track.name,
            "part": asked.part,
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
            "settings": {
                "recipe": None if asked.recipe is None else asked.recipe.to_json(),
                "thresholds": list(asked.thresholds),
                "mean": asked.mean,
                "other": asked.other,
                "seen_only": asked.seen_only,
                "partial": asked.partial,
                "bootstrap": asked.draws,
                "seed": asked.seed,
            },
        }


def evaluate(
    tables: Sequence[Path], truth: Path, asked: EvaluationSettings, progress: Progress = lambda *_: None
) -> Report:
    """Score tables by what is true.

    Args:
        tables: as for ``predictions.find``; or one file as it is submitted, which for --track emi it must be.
        truth: as for ``truth.read_for``; a list as for ``truth.read_compound`` or ``truth.read_intensities``.

    Raises:
        InputError: a file that cannot be used, a video of the truth without a table or without any face, a model that
            says nothing of a task, or nothing to score.
        UsageError: not one file of intensities.
    """
    if CLIPS in asked.track.tasks:
        return _evaluate_clips(tables, truth, asked)
    known = {name: labels for name, labels in _read(truth, asked).items() if _any_label(labels, asked.track.tasks)}
    if not known:
        raise InputError(f"{truth}: no frame has a label for --track {asked.track.name}.")
    given = prediction_source(tables, asked)
    places = {video: place for video in known if (place := given.place(video)) is not None}
    left_out = _missing(known, places, truth, asked, given.described, given.advice)
    ignored = tuple(name for name in given.names if name not in set(places.values()))
    gathered = _Gathered(asked)
    for done, video in enumerate(places):
        progress(done, len(places), video)
        gathered.add(video, known[video], given.of(video))
    progress(len(places), len(places), "scoring")
    return gathered.report(truth, left_out, ignored)


def _read(truth: Path, asked: EvaluationSettings) -> Mapping[str, Annotations | CompoundAnnotations]:
    if "compound" in asked.track.tasks:
        return read_compound(truth)
    return read_for(truth, asked.track.name, asked.part)


def _labels(truth: Annotations | CompoundAnnotations, task: str) -> tuple[NDArray[np.int64], NDArray]:
    """Numbers of the frames that are valid for a task, by its own marks alone, and their labels."""
    labels: NDArray = getattr(truth, task)
    known = labels >= 0 if labels.ndim == 1 else ~np.isnan(labels).any(axis=1)
    return truth.frames[known], labels[known]


def _any_label(truth: Annotations | CompoundAnnotations, tasks: Iterable[str]) -> bool:
    return any(len(_labels(truth, task)[0]) for task in tasks)


def _missing(
    known: Iterable[str], there: Iterable[str], truth: Path, asked: EvaluationSettings, given: str, advice: str
) -> tuple[str, ...]:
    """Names of the truth that nothing was said of.

    Raises:
        InputError: there are some, and they may not be left out; or there are no others.
    """
    known, there = list(known), set(there)
    missing = tuple(name for name in known if name not in there)
    if len(missing) == len(known):
        raise InputError(f"{truth} is of {few(known)}, and {given}; they are matched by their names.")
    if missing and not asked.partial:
        raise InputError(
            f"{truth}: nothing was said of {len(missing):,} of its {len(known):,}: {few(missing)}; {advice}, or give "
            "--partial to score the others alone."
        )
    return missing


# --- frames -----------------------------------------------------------------------------------------------------


class _Task(Protocol):
    """What a task keeps of each video: what is true, what was said, and which frames these were."""

    frames: list[FrameCounts]

    def add(self, truth: NDArray, told: TaskPredictions, given: AlignedPredictions) -> None:
        """Keep the scored frames of one video."""
        ...

    def each(self) -> Mapping[str, Floats]:
        """Figure -> (videos,); the last one is the task's score, nan where it says nothing."""
        ...

    def total(self, times: Floats) -> tuple[TaskScores, Floats, Floats | None]:
        """The scores; and, of each collection of ``times``, the score and that with thresholds of ``scores.HALF``."""
        ...


@dataclass(slots=True)
class _Labels:
    """Expressions or compounds: one class for each frame."""

    task: str
    frames: list[FrameCounts] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    basic: list[Pair | None] = field(default_factory=list)

    def add(self, truth: NDArray, told: TaskPredictions, given: AlignedPredictions) -> None:
        self.pairs.append((truth, told.said))
        rows = truth < BASIC
        self.basic.append(None if told.second is None else (truth[rows], told.second[rows]))

    def each(self) -> Mapping[str, Floats]:
        found = ConfusionCounts.of(self.pairs, len(NAMES[self.task]))
        return {"accuracy": found.accuracy, "f1": found.macro_f1_there}

    def total(self, times: Floats) -> tuple[TaskScores, Floats, Floats | None]:
        names = NAMES[self.task]
        pooled = ConfusionCounts.of(self.pairs, len(names)).pooled(times)
        basic = _all_there(self.basic)
        second = None if basic is None else ConfusionCounts.of(basic, BASIC).pooled(times)
        return scores.class_scores(pooled, names, second), pooled.macro_f1, pooled.macro_f1


@dataclass(slots=True)
class _Numbers:
    """Valence and arousal."""

    frames: list[FrameCounts] = field(default_factory=list)
    pairs: list[tuple[Floats, Floats]] = field(default_factory=list)

    def add(self, truth: NDArray, told: TaskPredictions, given: AlignedPredictions) -> None:
        self.pairs.append((truth.astype(np.float64), told.said))

    def each(self) -> Mapping[str, Floats]:
        found = Moments.of(self.pairs, len(VALENCE_AROUSAL))
        ccc = np.where(found.constant, np.nan, found.ccc)
        return {"valence": ccc[:, 0], "arousal": ccc[:, 1], "ccc": ccc.mean(axis=1)}

    def total(self, times: Floats) -> tuple[TaskScores, Floats, Floats | None]:
        pooled = Moments.of(self.pairs, len(VALENCE_AROUSAL)).pooled(times)
        truth, said = (np.concatenate(column) for column in zip(*self.pairs, strict=True))
        found = scores.agreement(pooled, VALENCE_AROUSAL, "ccc", scores.density(truth, said))
        mean = pooled.ccc.mean(axis=1)
        return found, mean, mean


@dataclass(slots=True)
class _Units:
    """Action units, at the thresholds of each table's recipe and at ``scores.HALF``."""

    frames: list[FrameCounts] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    half: list[Pair | None] = field(default_factory=list)
    thresholds: dict[str, float | None] = field(default_factory=dict)

    def add(self, truth: NDArray, told: TaskPredictions, given: AlignedPredictions) -> None:
        self.pairs.append((truth, told.said))
        self.half.append(None if told.second is None else (truth, told.second))
        for unit, threshold in (given.thresholds or {}).items():
            if self.thresholds.setdefault(unit, threshold) != threshold:
                self.thresholds[unit] = None

    def each(self) -> Mapping[str, Floats]:
        return {"au_f1": DetectionCounts.of(self.pairs, len(ACTION_UNITS)).mean_f1_there}

    def total(self, times: Floats) -> tuple[TaskScores, Floats, Floats | None]:
        pooled = DetectionCounts.of(self.pairs, len(ACTION_UNITS)).pooled(times)
        pairs = _all_there(self.half)
        half = None if pairs is None else DetectionCounts.of(pairs, len(ACTION_UNITS)).pooled(times)
        found = scores.unit_scores(pooled, half, ACTION_UNITS, self.thresholds)
        return found, pooled.mean_f1, None if half is None else half.mean_f1


def _all_there(pairs: Sequence[Pair | None]) -> list[Pair] | None:
    found = [pair for pair in pairs if pair is not None]
    return found if len(found) == len(pairs) else None


class _Gathered:
    """What is true and what was said of the frames of all videos, task by task."""

    def __init__(self, asked: EvaluationSettings) -> None:
        self.asked = asked
        self.names: list[str] = []
        self.faceless: list[str] = []
        self.tasks: dict[str, _Task] = {task: self._new(task) for task in asked.track.tasks}

    def _new(self, task: str) -> _Task:
        if task == "valence_arousal":
            return _Numbers()
        return _Units() if task == "action_units" else _Labels(task)

    def add(self, video: str, truth: Annotations | CompoundAnnotations, given: AlignedPredictions) -> None:
        """Take one video.

        Raises:
            InputError: not everything is said of it.
        """
        labels = {task: _labels(truth, task) for task in self.tasks}
        if not self.asked.seen_only and any(len(labels[task][0]) and given.silent(task) for task in self.tasks):
            self.faceless.append(video)
            return
        self.names.append(video)
        for task, gathered in self.tasks.items():
            frames, target = labels[task]
            told = given.told(task, frames) if len(frames) else _nothing(task)
            gathered.frames.append(told.frames)
            gathered.add(target[told.keep], told, given)

    def report(self, truth: Path, left_out: tuple[str, ...], ignored: tuple[str, ...]) -> Report:
        """Score everything.

        Raises:
            InputError: there is nothing to score for a task, or videos without any face may not be left out.
        """
        if self.faceless and not self.asked.partial:
            raise InputError(
                f"no face was seen in any frame of {few(self.faceless)}, so nothing can be said of them; give "
                "--partial to leave them out, or --seen-only to score no frame without a face."
            )
        for task, gathered in self.tasks.items():
            if not any(frames.scored for frames in gathered.frames):
                raise InputError(
                    f"{truth}: there is nothing to score for {task.replace('_', ' ')}: "
                    "no frame that counts has a label."
                )
        scored = [any(gathered.frames[k].scored for gathered in self.tasks.values()) for k in range(len(self.names))]
        times, count = _times([recording(name) for name in self.names], scored, self.asked)
        totals = {task: gathered.total(times) for task, gathered in self.tasks.items()}
        halves = [half for _, _, half in totals.values() if half is not None]
        both = "action_units" in self.tasks and len(halves) == len(totals)
        return Report(
            self.asked,
            scores.score(np.sum([score for _, score, _ in totals.values()], axis=0)),
            scores.score(np.sum(halves, axis=0)) if both else None,
            {task: found for task, (found, _, _) in totals.items()},
            {task: scores.together(gathered.frames) for task, gathered in self.tasks.items()},
            self._videos(),
            count,
            left_out=left_out,
            faceless=tuple(self.faceless),
            ignored=ignored,
        )

    def _videos(self) -> tuple[VideoScores, ...]:
        each = {task: gathered.each() for task, gathered in self.tasks.items()}
        found = []
        for k, name in enumerate(self.names):
            values = {figure: plain(column[k]) for columns in each.values() for figure, column in columns.items()}
            last = [plain(list(columns.values())[-1][k]) for columns in each.values()]
            known = [value for value in last if value is not None]
            frames = {task: gathered.frames[k] for task, gathered in self.tasks.items()}
            found.append(VideoScores(name, frames, values, sum(known) / len(known) if known else None))
        return tuple(found)


def _nothing(task: str) -> TaskPredictions:
    """What is said of no frames."""
    said = np.empty((0,) if task in ("expression", "compound") else (0, len(NAMES[task])))
    second = said if task in ("expression", "action_units") else None
    return TaskPredictions(np.empty(0, bool), said, second, FrameCounts(0, 0, 0, 0, 0))


def _times(groups: Sequence[str], scored: Sequence[bool], asked: EvaluationSettings) -> tuple[Floats, int]:
    """How often each video counts: once, then as drawn by lot; and how many recordings are scored.

    One recording alone tells nothing of how others would be, so nothing is drawn then.
    """
    these = [k for k, some in enumerate(scored) if some]
    names = [groups[k] for k in these]
    count = len(set(names))
    times = np.zeros((1 + (asked.draws if count > 1 else 0), len(groups)))
    times[0, these] = 1
    if len(times) > 1:
        times[1:, these] = resample(names, asked.draws, asked.seed)
    return times, count


# --- clips ------------------------------------------------------------------------------------------------------


def _evaluate_clips(tables: Sequence[Path], truth: Path, asked: EvaluationSettings) -> Report:
    if len(tables) != 1:
        raise UsageError(f"--track emi: give one file of intensities, a row for each clip, not {len(tables)} paths.")
    known, said = read_intensities(truth), read_intensities(tables[0])
    if not known:
        raise InputError(f"{truth}: there are no clips below the header.")
    left_out = _missing(known, said, truth, asked, f"{tables[0]} of {few(said)}", f"add it to {tables[0]}")
    names = [name for name in known if name in said]
    moments = Moments.of([([known[name]], [said[name]]) for name in names], len(EMOTIONAL_MIMICRY))
    times, count = _times(names, [True] * len(names), asked)
    found = scores.agreement(moments.pooled(times), EMOTIONAL_MIMICRY, "pearson")
    ignored = tuple(name for name in said if name not in known)
    return Report(
        asked, found.score, None, {CLIPS: found}, {}, (), count, clips=count, left_out=left_out, ignored=ignored
    )

"""Saved raw scores and truth -> the recipe that scores best on one of the challenges' tracks, and what that is worth.

Nothing is decoded and no model is run. Smoothing is linear, so each model is smoothed once by each filter and blends
come afterwards; what is kept of each video is sums, so that the score of any videos is had by adding.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..evaluation import metrics
from ..evaluation.calibration import THRESHOLDS
from ..evaluation.ground_truth import AFFWILD2_EXPRESSIONS, Annotations, recording
from ..postprocess.recipe import Recipe, Smoothing
from ..postprocess.refine import blend
from ..postprocess.smoothing import nested, positions, segments
from ..tasks import ACTION_UNITS, TASKS
from . import challenges
from .objectives import OBJECTIVES, Floats
from .predictions import AnnotatedVideo, affwild2, largest, load, on_side, place, predict
from .search_space import Family, Grid

TRACKS = ("expr", "va", "au", "mtl")
"""Tracks with something to choose and truth to choose it by."""

FOLDS = 5
"""Parts of a cross-validation, where there are as many recordings."""

SPARSE_GAP = 86400.0
"""Seconds across which lists of single pictures are smoothed: whatever lies between two of them."""

_TIE = 12
"""Decimals in which two scores must differ; the rest is rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class AlignedRows:
    """The frames of one person with truth for one task, and where in the timeline what is said of them comes from.

    Attributes:
        frames: (n,) int64 their numbers.
        before, after: (n,) rows of the timeline; the same where the very frame was scored, and at both ends.
        share: (n,) of the later one, in [0, 1].
        truth: (n,) class numbers, (n, 2) or (n, 12), as in the annotations.
        filled: how many were not scored themselves, and so have what lies between their neighbours' values.
    """

    frames: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    share: Floats
    truth: NDArray
    filled: int


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedPerson:
    """What is known of one name of the truth.

    Attributes:
        name: of the truth.
        side: "left" or "right" of a video of two people whose table is of both, or None.
        rows: task -> its frames; only tasks with some.
    """

    name: str
    side: str | None
    rows: Mapping[str, AlignedRows]


@dataclass(frozen=True, slots=True, eq=False)
class TunedVideo:
    """A table with raw scores, and the people in it that truth knows."""

    source: AnnotatedVideo
    people: tuple[AnnotatedPerson, ...]

    @property
    def recording(self) -> str:
        """What belongs into the same fold: the left and right person of one recording are not two."""
        return recording(self.source.video)


@dataclass(frozen=True, slots=True, eq=False)
class TuningData:
    """All that settings are chosen by.

    Attributes:
        track: of ``TRACKS``.
        videos: sorted by name; only those with truth and faces.
        models: one or two, in the order of the weights.
        max_gap: seconds, see ``smooth.segments``.
        sparse: whether these are lists of single pictures, so that ``max_gap`` was set for them.
        unseen: names of the truth in whose table nobody was scored; they are left out.
        absent: names of the truth without a table.
    """

    track: str
    videos: tuple[TunedVideo, ...]
    models: tuple[str, ...]
    max_gap: float
    sparse: bool
    unseen: tuple[str, ...]
    absent: int

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the track."""
        return challenges.track(self.track).tasks

    @property
    def people(self) -> list[tuple[TunedVideo, AnnotatedPerson]]:
        """All people, with their videos."""
        return [(video, person) for video in self.videos for person in video.people]

    @property
    def recordings(self) -> int:
        """Videos, those of the left and the right of one counted once."""
        return len({video.recording for video in self.videos})

    def frames(self, task: str) -> tuple[int, int]:
        """Frames with truth for a task, and how many of them had to be filled."""
        rows = [person.rows[task] for _, person in self.people if task in person.rows]
        return sum(len(one.frames) for one in rows), sum(one.filled for one in rows)

    def recipe(self, choices: Mapping[str, Choice]) -> Recipe:
        """The recipe with what was chosen; the rest is not smoothed, evenly blended, and has thresholds of 0.5."""
        two = len(self.models) == 2
        found = {task: choice.smoothing for task, choice in choices.items() if choice.smoothing.kernel != "none"}
        weights = {task: choice.weight for task, choice in choices.items()}
        thresholds = dict.fromkeys(ACTION_UNITS, 0.5)
        for choice in choices.values():
            thresholds |= choice.thresholds
        blended = {**dict.fromkeys(TASKS, 0.5), **weights} if two else {}
        return Recipe(self.models, blended, found, self.max_gap, 0.0, thresholds)


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings of one task.

    Attributes:
        smoothing: the filter.
        weight: of the first model; 0.5 where only one of them has the task.
        thresholds: action unit -> probability; only of that task.
    """

    smoothing: Smoothing
    weight: float
    thresholds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"smoothing": str(self.smoothing), "weight": self.weight, "thresholds": dict(self.thresholds)}


@dataclass(frozen=True, slots=True)
class Fold:
    """What was chosen without some recordings, and what it scores on these.

    Attributes:
        recordings: left out.
        choice: by all others.
        score: of the choice, on those left out alone.
    """

    recordings: tuple[str, ...]
    choice: Choice
    score: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"recordings": list(self.recordings), **self.choice.to_json(), "score": self.score}


@dataclass(frozen=True, slots=True, eq=False)
class TaskOutcome:
    """One task.

    Attributes:
        choice: by all videos.
        surface: (filters, weights) score of each setting on all videos, with the thresholds that do best.
        weights: that were tried; one where only one model has the task.
        untuned: score without smoothing, of an even blend, with thresholds of 0.5.
        tuned: score of the choice on the videos that it was chosen by.
        crossed: score of what the folds chose, each on its own frames, all frames together; None without folds.
        folds: none where there is only one recording.
    """

    choice: Choice
    surface: Floats
    weights: tuple[float, ...]
    untuned: float
    tuned: float
    crossed: float | None
    folds: tuple[Fold, ...]

    def chosen(self) -> dict[str, Counter[str]]:
        """How often the folds chose each filter, weight, and threshold; by "smoothing", "weight" and the units."""
        found = {"smoothing": Counter(str(fold.choice.smoothing) for fold in self.folds)}
        if len(self.weights) > 1:
            found["weight"] = Counter(f"{fold.choice.weight:g}" for fold in self.folds)
        for unit in self.choice.thresholds:
            found[unit] = Counter(f"{fold.choice.thresholds[unit]:g}" for fold in self.folds)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """What tuning came to.

    Attributes:
        data: what it was done with.
        grid: what was tried.
        tasks: task -> outcome, in the order of the track.
        recipe: with all choices.
    """

    data: TuningData
    grid: Grid
    tasks: Mapping[str, TaskOutcome]
    recipe: Recipe

    @property
    def total(self) -> tuple[float, float, float | None]:
        """Score of the track: untuned, tuned and cross-validated; for mtl the sum over its tasks."""
        found = self.tasks.values()
        crossed = [one.crossed for one in found if one.crossed is not None]
        return (
            sum(one.untuned for one in found),
            sum(one.tuned for one in found),
            sum(crossed) if len(crossed) == len(self.tasks) else None,
        )


def gather(
    tables: Mapping[str, Path],
    truth: Mapping[str, Annotations],
    track: str,
    *,
    models: Sequence[str] = (),
    max_gap: float | None = None,
) -> TuningData:
    """Raw scores with the truth of their frames; tables without truth are not even opened.

    The largest face of a frame counts. A name with ``_left`` or ``_right`` of which there is no table takes the faces
    in that half of the recording's. Frames without a face are filled as ``predictions.Predictions.at`` does.

    Args:
        tables: video -> raw scores, as ``predictions.find`` gives them.
        models: one or two of those that the raw scores hold; all of them if there are not more than two.
        max_gap: seconds; None for 0.5, or for ``SPARSE_GAP`` where these are lists of single pictures.

    Raises:
        UsageError: another track, more than two models, or ones that are not there.
        InputError: no table is of a video of the truth, raw scores that cannot be used, or no frame with truth.
    """
    if track not in TRACKS:
        challenges.track(track)
        raise UsageError(
            f"--track {track}: there is nothing that it could be tuned by; choose from {', '.join(TRACKS)}."
        )
    tasks = challenges.track(track).tasks
    wanted = _names(tables, truth)
    sources = {name: load(tables[name]) for name in wanted}
    seen = [source for source in sources.values() if len(source.timeline.row)]
    if not seen:
        raise InputError(f"{next(iter(sources.values())).path}: no face was seen in it, nor in any other with truth.")
    chosen = _models(seen, models)
    for source in seen:
        _check(source, chosen, tasks)
    recipe = Recipe(chosen, dict.fromkeys(TASKS, 0.5) if len(chosen) == 2 else {})
    videos, unseen = [], []
    for name, source in sources.items():
        people = []
        for called, side in wanted[name]:
            rows = _people(source, recipe, truth[called], side, tasks) if len(source.timeline.row) else None
            if rows is None:
                unseen.append(called)
            elif rows:
                people.append(AnnotatedPerson(called, side, rows))
        if people:
            videos.append(TunedVideo(source, tuple(people)))
    for task in tasks:
        if not any(task in person.rows for video in videos for person in video.people):
            raise InputError(f"no frame of these videos has both truth and a face for {task.replace('_', ' ')}.")
    sparse = max_gap is None and _sparse(videos)
    gap = max_gap if max_gap is not None else SPARSE_GAP if sparse else recipe.max_gap
    replace(recipe, max_gap=gap)  # says so where that is no number of seconds
    absent = len(truth) - sum(map(len, wanted.values()))
    return TuningData(track, tuple(videos), chosen, gap, sparse, tuple(sorted(unseen)), absent)


def tune(
    data: TuningData,
    grid: Grid | None = None,
    *,
    folds: int = FOLDS,
    threads: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> TuningResult:
    """Try every setting, choose the best for each task, and tell what choosing is worth on videos not chosen by.

    Of equal scores the first filter of the grid is taken, none before all others, and the weight nearest to 0.5.

    Args:
        grid: the papers' where None.
        folds: parts of the cross-validation, at least 2; where there are fewer recordings, each is one.
        threads: that work at once; as many as there are processors where None.
        progress: called with steps done, all of them, and a word.

    Raises:
        UsageError: fewer than two folds.
    """
    if folds < 2:
        raise UsageError(f"--folds {folds}: give at least 2.")
    grid = Grid() if grid is None else grid
    weights = {task: _weights(data, task, grid) for task in data.tasks}
    parts = {task: _folds(data, task, folds) for task in data.tasks}
    sums = _all_sums(data, grid, weights, parts, threads, progress)
    found = {task: _outcome(task, grid.filters, weights[task], parts[task], sums[task]) for task in data.tasks}
    recipe = data.recipe({task: outcome.choice for task, outcome in found.items()})
    untuned, tuned = measured(data, data.recipe({})), measured(data, recipe)
    outcomes = {task: replace(found[task], untuned=untuned[task], tuned=tuned[task]) for task in data.tasks}
    return TuningResult(data, grid, outcomes, recipe)


def measured(data: TuningData, recipe: Recipe) -> dict[str, float]:
    """Task -> the track's score by a recipe, by way of ``predictions.predict``, as it is when the recipe is used."""
    said: dict[str, list[NDArray]] = {task: [] for task in data.tasks}
    true: dict[str, list[NDArray]] = {task: [] for task in data.tasks}
    for video, person in data.people:
        found = predict(video.source, recipe, side=person.side)
        for task, rows in person.rows.items():
            values, _ = found.at(task, rows.frames)
            said[task].append(_answers(task, values, recipe))
            true[task].append(rows.truth)
    return {task: _score(task, np.concatenate(true[task]), np.concatenate(said[task])) for task in data.tasks}


def _answers(task: str, values: Floats, recipe: Recipe) -> NDArray:
    """Class numbers, valence and arousal, or which units are present."""
    if task == "expression":
        return affwild2(values).argmax(axis=1)
    if task == "action_units":
        return values >= np.array([recipe.thresholds[unit] for unit in ACTION_UNITS])
    return values


def _score(task: str, true: NDArray, said: NDArray) -> float:
    if task == "expression":
        return metrics.f1_macro(true, said, len(AFFWILD2_EXPRESSIONS))
    return float(np.mean((metrics.ccc if task == "valence_arousal" else metrics.f1_binary)(true, said)))


# --- what there is --------------------------------------------------------------------------------------------


def _names(tables: Mapping[str, Path], truth: Mapping[str, Annotations]) -> dict[str, list[tuple[str, str | None]]]:
    """Table -> names of the truth that it answers for, each with its side."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name in truth:
        if there := place(name, tables):
            table, side = there
            found.setdefault(table, []).append((name, side))
    if not found:
        raise InputError(
            f"none of the {len(truth)} videos of the truth has a table: they are called {_few(truth)}, "
            f"but the tables {_few(tables)}."
        )
    return {name: found[name] for name in sorted(found)}


def _few(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (" and so on" if len(listed) > 3 else "")


def _models(sources: Sequence[AnnotatedVideo], wanted: Sequence[str]) -> tuple[str, ...]:
    """The models that all raw scores hold, or those of them that are wanted."""
    first = sources[0]
    if wanted:
        Recipe(tuple(wanted))  # says what is wrong with none, three, or the same twice
    for source in sources:
        held = list(source.timeline.scores)
        missing = [name for name in wanted if name not in held]
        if missing:
            raise UsageError(
                f"--model {','.join(wanted)}: {source.path} has no raw scores of {missing[0]}, "
                f"only of {', '.join(held)}."
            )
        if not wanted and set(held) != set(first.timeline.scores):
            raise InputError(
                f"{first.path} has raw scores of {', '.join(first.timeline.scores)}, but {source.path} of "
                f"{', '.join(held)}; annotate them alike, or say with --model which to take."
            )
    if wanted:
        return tuple(wanted)
    held = list(first.timeline.scores)
    if len(held) > 2:
        raise UsageError(f"{first.path} has raw scores of {', '.join(held)}; choose one or two of them with --model.")
    return first.recipe.models if set(first.recipe.models) == set(held) else tuple(held)


def _check(source: AnnotatedVideo, models: Sequence[str], tasks: Sequence[str]) -> None:
    """Refuse raw scores that lack a task or hold what is no number; a row or a class may be unknown as a whole."""
    scores = source.timeline.scores
    for task in tasks:
        called = task.replace("_", " ")
        given = [scores[model][task] for model in models if task in scores[model]]
        if not given:
            raise InputError(
                f"{source.path}: {' and '.join(models)} say nothing of {called}; "
                "annotate with a model that does (see hsemotion models list)."
            )
        for values in given:
            unknown = np.isnan(values)
            known = unknown[~unknown.all(axis=1)]
            broken = bool((known.any(axis=0) != known.all(axis=0)).any()) if len(known) else False
            if np.isinf(values).any() or broken or (task == "valence_arousal" and known.any()):
                raise InputError(f"{source.path}: its {called} holds nan or infinity among numbers; annotate it anew.")


def _people(
    source: AnnotatedVideo, recipe: Recipe, truth: Annotations, side: str | None, tasks: Sequence[str]
) -> dict[str, AlignedRows] | None:
    """Task -> its frames with truth; None where nobody was scored."""
    timeline = source.timeline
    box = timeline.box.astype(np.float64)
    rows = np.arange(len(timeline.row)) if side is None else on_side(box, source.width, side)
    rows = rows[largest(timeline.row[rows], box[rows])]
    found, nobody = {}, False
    for task in tasks:
        values = getattr(truth, task)
        known = values >= 0 if task == "expression" else ~np.isnan(values[:, 0])
        if not known.any():
            continue
        scored = rows[~np.isnan(blend(timeline, recipe, task)[rows]).all(axis=1)]
        if not len(scored):
            nobody = True
            continue
        at, frames = timeline.index[timeline.row[scored]] + source.first, truth.frames[known]
        after = np.minimum(np.searchsorted(at, frames), len(at) - 1)
        before = np.where(at[after] > frames, np.maximum(after - 1, 0), after)
        apart = np.maximum(at[after] - at[before], 1)
        share = np.where(after == before, 0.0, (frames - at[before]) / apart)
        filled = len(frames) - int(np.isin(frames, at).sum())
        found[task] = AlignedRows(frames, scored[before], scored[after], share, values[known], filled)
    return None if nobody and not found else found


def _sparse(videos: Sequence[TunedVideo]) -> bool:
    """Whether these are pictures of which there is, usually, not even each second one."""
    steps = [np.diff(video.source.timeline.index) for video in videos if not video.source.first]
    return bool(steps) and bool(np.median(np.concatenate(steps) if any(map(len, steps)) else [1]) > 1)


# --- trying ---------------------------------------------------------------------------------------------------


def _all_sums(
    data: TuningData,
    grid: Grid,
    weights: Mapping[str, Sequence[float]],
    parts: Mapping[str, Sequence[tuple[str, ...]]],
    threads: int | None,
    progress: Callable[[int, int, str], None],
) -> dict[str, Floats]:
    """Task -> (folds, filters, weights, *shape) sums over the frames of each fold."""
    sums = {
        task: np.zeros((len(parts[task]), len(grid.filters), len(weights[task]), *OBJECTIVES[task].shape))
        for task in data.tasks
    }
    fold_of = {task: {name: k for k, names in enumerate(parts[task]) for name in names} for task in data.tasks}
    # Those that take longest come first, so that all threads end at about the same time.
    videos = sorted(data.videos, key=lambda video: -len(video.source.timeline.row))
    jobs = [
        (video, task, family)
        for video, task, family in product(videos, data.tasks, grid.families)
        if any(task in person.rows for person in video.people)
    ]
    models = {(video.source.video, task): _scores(data, video, task) for video in data.videos for task in data.tasks}

    def work(job: tuple[TunedVideo, str, Family]) -> Floats:
        video, task, family = job
        return _tried(data, video, task, family, weights[task], models[video.source.video, task])

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for done, ((video, task, family), found) in enumerate(zip(jobs, pool.map(work, jobs), strict=True), 1):
            sums[task][fold_of[task][video.recording], list(family.members)] += found
            progress(done, len(jobs), task.replace("_", " "))
    return sums


def _weights(data: TuningData, task: str, grid: Grid) -> tuple[float, ...]:
    """Weights that are tried, those nearest to an even blend first; one where they make no difference."""
    shared = any(
        sum(task in video.source.timeline.scores[model] for model in data.models) == 2 for video in data.videos
    )
    return tuple(sorted(grid.weights, key=lambda weight: (abs(weight - 0.5), weight))) if shared else (0.5,)


def _scores(data: TuningData, video: TunedVideo, task: str) -> tuple[Floats, ...]:
    """(N, columns) of each model, filled with the other's where only that knows something, so that blending is linear.

    Columns that nobody knows are left out. One where both are the same.
    """
    timeline = video.source.timeline
    ends = []
    for weight in (1.0, 0.0)[: len(data.models)]:
        recipe = Recipe(data.models, {task: weight} if len(data.models) == 2 else {})
        ends.append(blend(timeline, recipe, task))
    return tuple(ends[:1]) if all(np.array_equal(one, ends[0], equal_nan=True) for one in ends[1:]) else tuple(ends)


def _tried(
    data: TuningData, video: TunedVideo, task: str, family: Family, weights: Sequence[float], models: tuple[Floats, ...]
) -> Floats:
    """(members, weights, *shape) sums of one video for the filters of a family."""
    known = np.array(~np.isnan(models[0]).all(axis=0))
    values = np.hstack([model[:, known] for model in models])
    smoothed = np.full((len(family.windows), *values.shape), np.nan)
    position = positions(video.source.timeline, family.smoothing)
    for run in segments(video.source.timeline, data.max_gap):
        for k, found in enumerate(nested(position[run], values[run], family.smoothing, family.windows)):
            smoothed[k, run] = found
    sums = np.zeros((len(family.windows), len(weights), *OBJECTIVES[task].shape))
    for one in (person.rows[task] for person in video.people if task in person.rows):
        truth = one.truth if task == "expression" else np.ascontiguousarray(one.truth.T)
        for k, by_model in enumerate(np.split(part, len(models), axis=1) for part in smoothed):
            said = [_said(task, part, known, one) for part in by_model]
            sums[k] += OBJECTIVES[task].sums(said[0], said[-1], weights, truth)
    return sums


def _said(task: str, smoothed: Floats, known: NDArray[np.bool_], rows: AlignedRows) -> Floats:
    """(columns of the challenge, n) what one model says of the frames with truth."""
    said = np.full((len(rows.frames), len(known)), np.nan)
    share = rows.share[:, None]
    said[:, known] = (1 - share) * smoothed[rows.before] + share * smoothed[rows.after]
    return np.ascontiguousarray((affwild2(said) if task == "expression" else said).T)


# --- choosing -------------------------------------------------------------------------------------------------


def _folds(data: TuningData, task: str, folds: int) -> list[tuple[str, ...]]:
    """Recordings with truth for a task in parts of about as many frames; each is its own part if there are few."""
    frames: Counter[str] = Counter()
    for video, person in data.people:
        if task in person.rows:
            frames[video.recording] += len(person.rows[task].frames)
    parts: list[list[str]] = [[] for _ in range(min(folds, len(frames)))]
    load = [0] * len(parts)
    for name in sorted(frames, key=lambda name: (-frames[name], name)):
        least = load.index(min(load))
        parts[least].append(name)
        load[least] += frames[name]
    return [tuple(sorted(part)) for part in parts]


def _outcome(
    task: str, filters: Sequence[Smoothing], weights: Sequence[float], parts: Sequence[tuple[str, ...]], sums: Floats
) -> TaskOutcome:
    """Choose by all sums, and by those without each fold.

    Args:
        sums: (folds, filters, weights, *shape)
    """
    measure = OBJECTIVES[task]

    def choose(of: Floats) -> tuple[tuple[int, int], NDArray[np.int64], Floats]:
        surface = measure.best(of)
        best = np.unravel_index(int(np.argmax(np.round(surface, _TIE))), surface.shape)
        place = int(best[0]), int(best[1])
        return place, measure.thresholds(of[place]), surface

    def choice(place: tuple[int, int], thresholds: NDArray[np.int64]) -> Choice:
        at = {unit: THRESHOLDS[k] for unit, k in zip(ACTION_UNITS, thresholds, strict=False)}
        return Choice(filters[place[0]], weights[place[1]], at)

    place, thresholds, surface = choose(sums.sum(axis=0))
    folds, kept = [], []
    for k, names in enumerate(parts if len(parts) > 1 else ()):
        there, levels, _ = choose(np.delete(sums, k, axis=0).sum(axis=0))
        kept.append(measure.at_thresholds(sums[k][there], levels))
        folds.append(Fold(names, choice(there, levels), measure.score(kept[-1])))
    crossed = measure.score(np.sum(kept, axis=0)) if kept else None
    order = np.argsort(weights)
    return TaskOutcome(
        choice(place, thresholds), surface[:, order], tuple(sorted(weights)), 0.0, 0.0, crossed, tuple(folds)
    )

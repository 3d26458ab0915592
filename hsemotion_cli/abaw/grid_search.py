"""Grid search for the recipe that scores best on a track of the challenges, and its cross-validated score.

Smoothing is linear, so each model is smoothed once by each filter and blended afterwards; per-video sums add up to any
subset's score, so cross-validation costs nothing extra.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..evaluation import metrics
from ..evaluation.calibration import THRESHOLDS
from ..evaluation.ground_truth import AFFWILD2_EXPRESSIONS
from ..postprocess.recipe import Recipe, Smoothing
from ..postprocess.refine import blend
from ..postprocess.smoothing import nested, positions, segments
from ..tasks import ACTION_UNITS, FROZEN, TASKS
from .gated_objective import GatedExpressionF1, GatedRows
from .objectives import OBJECTIVES, Floats, Objective
from .predictions import affwild2, predict
from .search_space import Family, Grid
from .tuning_data import AlignedRows, TunedVideo, TuningData

FOLDS = 5
"""Folds of the cross-validation, if there are as many recordings."""

_TIE = 12
"""Decimals to which scores are compared; the rest is rounding."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings of one task.

    Attributes:
        smoothing: the filter.
        weight: of the first model; 0.5 if only one model has the task.
        thresholds: action unit -> probability; empty for other tasks.
        gate: of expressions, or None.
    """

    smoothing: Smoothing
    weight: float
    thresholds: Mapping[str, float]
    gate: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        gate = {} if self.gate is None else {"gate": self.gate}
        return {"smoothing": str(self.smoothing), "weight": self.weight, "thresholds": dict(self.thresholds), **gate}


def gate_word(gate: float | None) -> str:
    """A gate as the command line takes it."""
    return "none" if gate is None else f"{gate:g}"


def objective(task: str, grid: Grid) -> Objective:
    """The objective of a task, with the gates of the grid."""
    return GatedExpressionF1(grid.gates) if task == "expression" and grid.gates else OBJECTIVES[task]


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of the cross-validation.

    Attributes:
        recordings: held out.
        choice: made on all others.
        score: of the choice, on the held-out recordings.
    """

    recordings: tuple[str, ...]
    choice: Choice
    score: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"recordings": list(self.recordings), **self.choice.to_json(), "score": self.score}


@dataclass(frozen=True, slots=True, eq=False)
class TaskOutcome:
    """The result of tuning one task.

    Attributes:
        choice: made on all videos.
        surface: (filters, weights) score of each setting on all videos, with its best thresholds.
        weights: that were tried; a single one if only one model has the task.
        untuned: score without smoothing, with an even blend and thresholds of 0.5.
        tuned: score of the choice on the videos that it was made on.
        cross_validated: score of all folds' choices on their held-out frames, pooled; None without folds.
        folds: none if there is only one recording.
    """

    choice: Choice
    surface: Floats
    weights: tuple[float, ...]
    untuned: float
    tuned: float
    cross_validated: float | None
    folds: tuple[Fold, ...]

    def fold_choices(self) -> dict[str, Counter[str]]:
        """How often the folds chose each filter ("smoothing"), weight ("weight") and threshold (by action unit)."""
        found = {"smoothing": Counter(str(fold.choice.smoothing) for fold in self.folds)}
        if len(self.weights) > 1:
            found["weight"] = Counter(f"{fold.choice.weight:g}" for fold in self.folds)
        for unit in self.choice.thresholds:
            found[unit] = Counter(f"{fold.choice.thresholds[unit]:g}" for fold in self.folds)
        if any(choice.gate is not None for choice in (self.choice, *(fold.choice for fold in self.folds))):
            found["gate"] = Counter(gate_word(fold.choice.gate) for fold in self.folds)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """The result of tuning.

    Attributes:
        data: that it was done on.
        grid: that was searched.
        tasks: task -> outcome, in the order of the track.
        recipe: with all choices.
    """

    data: TuningData
    grid: Grid
    tasks: Mapping[str, TaskOutcome]
    recipe: Recipe

    @property
    def total(self) -> tuple[float, float, float | None]:
        """Score of the track: untuned, in-sample and cross-validated; for mtl the sum over its tasks."""
        found = self.tasks.values()
        cross_validated = [one.cross_validated for one in found if one.cross_validated is not None]
        return (
            sum(one.untuned for one in found),
            sum(one.tuned for one in found),
            sum(cross_validated) if len(cross_validated) == len(self.tasks) else None,
        )


def tune(
    data: TuningData,
    grid: Grid | None = None,
    *,
    folds: int = FOLDS,
    threads: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> TuningResult:
    """Try every setting, choose the best for each task, and cross-validate the choice.

    Ties go to the first filter of the grid, which is no smoothing, and to the weight nearest to 0.5.

    Args:
        grid: by default the papers'.
        folds: of the cross-validation, at least 2; with fewer recordings, each is one fold.
        threads: by default one per processor.
        progress: called with the steps done, all steps, and the task.

    Raises:
        UsageError: fewer than two folds, or gates to try without expressions of a frozen network.
    """
    if folds < 2:
        raise UsageError(f"--folds {folds}: give at least 2.")
    grid = Grid() if grid is None else grid
    if grid.gates:
        _check_gates(data)
    weights = {task: _tried_weights(data, task, grid) for task in data.tasks}
    parts = {task: _folds(data, task, folds) for task in data.tasks}
    sums = _all_sums(data, grid, weights, parts, threads, progress)
    found = {
        task: _outcome(objective(task, grid), grid.filters, weights[task], parts[task], sums[task])
        for task in data.tasks
    }
    recipe = chosen_recipe(data, {task: outcome.choice for task, outcome in found.items()})
    untuned, tuned = score_recipe(data, chosen_recipe(data, {})), score_recipe(data, recipe)
    outcomes = {task: replace(found[task], untuned=untuned[task], tuned=tuned[task]) for task in data.tasks}
    return TuningResult(data, grid, outcomes, recipe)


def chosen_recipe(data: TuningData, choices: Mapping[str, Choice]) -> Recipe:
    """The recipe with these choices; other tasks are not smoothed, blended evenly, and have thresholds of 0.5."""
    smoothing = {task: choice.smoothing for task, choice in choices.items() if choice.smoothing.kernel != "none"}
    weights = {task: choice.weight for task, choice in choices.items()}
    thresholds = dict.fromkeys(ACTION_UNITS, 0.5)
    for choice in choices.values():
        thresholds |= choice.thresholds
    blended = {**dict.fromkeys(TASKS, 0.5), **weights} if len(data.models) == 2 else {}
    gate = choices["expression"].gate if "expression" in choices else None
    return Recipe(data.models, blended, smoothing, data.max_gap, 0.0, thresholds, gate=gate)


def score_recipe(data: TuningData, recipe: Recipe) -> dict[str, float]:
    """Task -> the track's score with a recipe, computed through ``predictions.predict`` as when the recipe is used."""
    scores: dict[str, list[NDArray]] = {task: [] for task in data.tasks}
    truth: dict[str, list[NDArray]] = {task: [] for task in data.tasks}
    for video, person in data.people:
        found = predict(video.source, recipe, side=person.side)
        if recipe.gate is not None:  # classes differ from row to row, so they are mapped before gaps are filled
            found = found.in_affwild2("contempt")
        for task, rows in person.rows.items():
            values, _ = found.at(task, rows.frames)
            scores[task].append(_final(task, values, recipe))
            truth[task].append(rows.truth)
    return {task: _score(task, np.concatenate(truth[task]), np.concatenate(scores[task])) for task in data.tasks}


def _final(task: str, values: Floats, recipe: Recipe) -> NDArray:
    """Final predictions: class numbers, valence and arousal, or presence of action units."""
    if task == "expression":
        return (values if recipe.gate is not None else affwild2(values)).argmax(axis=1)
    if task == "action_units":
        return values >= np.array([recipe.thresholds[unit] for unit in ACTION_UNITS])
    return values


def _score(task: str, truth: NDArray, scores: NDArray) -> float:
    if task == "expression":
        return metrics.f1_macro(truth, scores, len(AFFWILD2_EXPRESSIONS))
    return float(np.mean((metrics.ccc if task == "valence_arousal" else metrics.f1_binary)(truth, scores)))


# --- grid -----------------------------------------------------------------------------------------------------


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
        task: np.zeros((len(parts[task]), len(grid.filters), len(weights[task]), *objective(task, grid).shape))
        for task in data.tasks
    }
    fold_of = {task: {name: k for k, names in enumerate(parts[task]) for name in names} for task in data.tasks}
    # The longest videos come first, so that all threads finish at about the same time.
    videos = sorted(data.videos, key=lambda video: -len(video.source.timeline.row))
    jobs = [
        (video, task, family)
        for video, task, family in product(videos, data.tasks, grid.families)
        if any(task in person.rows for person in video.people)
    ]
    models = {
        (video.source.video, task): _model_scores(data, video, task) for video in data.videos for task in data.tasks
    }

    def work(job: tuple[TunedVideo, str, Family]) -> Floats:
        video, task, family = job
        measure = objective(task, grid)
        if isinstance(measure, GatedExpressionF1):
            return _gated_sums(data, video, family, weights[task], measure)
        return _family_sums(data, video, task, family, weights[task], models[video.source.video, task])

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for done, ((video, task, family), found) in enumerate(zip(jobs, pool.map(work, jobs), strict=True), 1):
            sums[task][fold_of[task][video.recording], list(family.members)] += found
            progress(done, len(jobs), task.replace("_", " "))
    return sums


def _tried_weights(data: TuningData, task: str, grid: Grid) -> tuple[float, ...]:
    """The weights to try, those nearest to an even blend first; a single one if they make no difference."""
    shared = any(
        sum(task in video.source.timeline.scores[model] for model in data.models) == 2 for video in data.videos
    )
    return tuple(sorted(grid.weights, key=lambda weight: (abs(weight - 0.5), weight))) if shared else (0.5,)


def _model_scores(data: TuningData, video: TunedVideo, task: str) -> tuple[Floats, ...]:
    """(N, columns) of each model, with its gaps filled from the other one, so that blending is linear.

    A single array if both are the same.
    """
    timeline = video.source.timeline
    ends = []
    for weight in (1.0, 0.0)[: len(data.models)]:
        share = {"expression" if task == FROZEN else task: weight}
        recipe = Recipe(data.models, share if len(data.models) == 2 else {})
        ends.append(blend(timeline, recipe, task))
    return tuple(ends[:1]) if all(np.array_equal(one, ends[0], equal_nan=True) for one in ends[1:]) else tuple(ends)


def _family_sums(
    data: TuningData, video: TunedVideo, task: str, family: Family, weights: Sequence[float], models: tuple[Floats, ...]
) -> Floats:
    """(members, weights, *shape) sums of one video for all filters of a family."""
    known = np.array(~np.isnan(models[0]).all(axis=0))
    values = np.hstack([model[:, known] for model in models])
    smoothed = _smoothed(data, video, family, values)
    sums = np.zeros((len(family.windows), len(weights), *OBJECTIVES[task].shape))
    for one in (person.rows[task] for person in video.people if task in person.rows):
        truth = one.truth if task == "expression" else np.ascontiguousarray(one.truth.T)
        for k, by_model in enumerate(np.split(part, len(models), axis=1) for part in smoothed):
            scores = [_frame_scores(task, part, known, one) for part in by_model]
            sums[k] += OBJECTIVES[task].sums(scores[0], scores[-1], weights, truth)
    return sums


def _gated_sums(
    data: TuningData, video: TunedVideo, family: Family, weights: Sequence[float], measure: GatedExpressionF1
) -> Floats:
    """(members, weights, *shape) sums of one video for all filters of a family, with each gate."""
    heads, frozen = _model_scores(data, video, "expression"), _model_scores(data, video, FROZEN)
    smoothed = _smoothed(data, video, family, np.hstack([*heads, *frozen]))
    sums = np.zeros((len(family.windows), len(weights), *measure.shape))
    for one in (person.rows["expression"] for person in video.people if "expression" in person.rows):
        for k, part in enumerate(smoothed):
            before, after = (
                GatedRows(tuple(columns[: len(heads)]), tuple(columns[len(heads) :]))
                for columns in (
                    np.split(part[rows], len(heads) + len(frozen), axis=1) for rows in (one.before, one.after)
                )
            )
            sums[k] += measure.gated_sums(before, after, one.share, weights, one.truth)
    return sums


def _smoothed(data: TuningData, video: TunedVideo, family: Family, values: Floats) -> Floats:
    """(members, N, columns) scores of one video by each filter of a family."""
    smoothed = np.full((len(family.windows), *values.shape), np.nan)
    position = positions(video.source.timeline, family.smoothing)
    for run in segments(video.source.timeline, data.max_gap):
        for k, found in enumerate(nested(position[run], values[run], family.smoothing, family.windows)):
            smoothed[k, run] = found
    return smoothed


def _check_gates(data: TuningData) -> None:
    for video in data.videos:
        if not any(FROZEN in video.source.timeline.scores[model] for model in data.models):
            raise UsageError(
                f"--gates: {video.source.path} holds no expressions of a frozen network beside those of its head; "
                "annotate it with --head, or leave out --gates."
            )
    if "expression" not in data.tasks:
        raise UsageError(f"--gates: there are no expressions in track {data.track}; leave it out.")


def _frame_scores(task: str, smoothed: Floats, known: NDArray[np.bool_], rows: AlignedRows) -> Floats:
    """(columns of the challenge, n) scores of one model for the labelled frames."""
    scores = np.full((len(rows.frames), len(known)), np.nan)
    share = rows.share[:, None]
    scores[:, known] = (1 - share) * smoothed[rows.before] + share * smoothed[rows.after]
    return np.ascontiguousarray((affwild2(scores) if task == "expression" else scores).T)


# --- choosing -------------------------------------------------------------------------------------------------


def _folds(data: TuningData, task: str, folds: int) -> list[tuple[str, ...]]:
    """Recordings with labels for a task, in folds of about equally many labelled frames."""
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
    measure: Objective,
    filters: Sequence[Smoothing],
    weights: Sequence[float],
    parts: Sequence[tuple[str, ...]],
    sums: Floats,
) -> TaskOutcome:
    """Choose on all sums, and on those without each fold.

    Args:
        sums: (folds, filters, weights, *shape)
    """

    def choose(of: Floats) -> tuple[tuple[int, int], NDArray[np.int64], Floats]:
        surface = measure.best(of)
        best = np.unravel_index(int(np.argmax(np.round(surface, _TIE))), surface.shape)
        place = int(best[0]), int(best[1])
        return place, measure.thresholds(of[place]), surface

    def choice(place: tuple[int, int], thresholds: NDArray[np.int64]) -> Choice:
        if isinstance(measure, GatedExpressionF1):
            return Choice(filters[place[0]], weights[place[1]], {}, measure.gates[thresholds[0]])
        at = {unit: THRESHOLDS[k] for unit, k in zip(ACTION_UNITS, thresholds, strict=False)}
        return Choice(filters[place[0]], weights[place[1]], at)

    place, thresholds, surface = choose(sums.sum(axis=0))
    folds, kept = [], []
    for k, names in enumerate(parts if len(parts) > 1 else ()):
        there, levels, _ = choose(np.delete(sums, k, axis=0).sum(axis=0))
        kept.append(measure.at_thresholds(sums[k][there], levels))
        folds.append(Fold(names, choice(there, levels), measure.score(kept[-1])))
    cross_validated = measure.score(np.sum(kept, axis=0)) if kept else None
    order = np.argsort(weights)
    return TaskOutcome(
        choice(place, thresholds), surface[:, order], tuple(sorted(weights)), 0.0, 0.0, cross_validated, tuple(folds)
    )

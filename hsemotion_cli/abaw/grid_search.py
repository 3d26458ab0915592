"""Grid search for the recipe that scores best on a track of the challenges, and its cross-validated score.

Smoothing is linear, so each model is smoothed once by each filter and blended afterwards; per-video sums add up to any
subset's score, so cross-validation costs nothing extra.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..evaluation import metrics
from ..evaluation.ground_truth import AFFWILD2_EXPRESSIONS
from ..postprocess.recipe import Recipe, Smoothing
from ..postprocess.refine import blend
from ..postprocess.smoothing import nested, positions, segments
from ..tasks import ACTION_UNITS, FROZEN, TASKS
from . import grid_edges, selection
from .gated_objective import GatedExpressionF1, GatedRows
from .objectives import Floats, Objective, objectives
from .predictions import affwild2, predict
from .search_space import Family, Grid
from .tuning_data import AlignedRows, TunedVideo, TuningData
from .tuning_result import Choice, Fold, TaskOutcome, TuningResult

__all__ = ["FOLDS", "Choice", "chosen_recipe", "score_recipe", "tune"]

FOLDS = 5
"""Folds of the cross-validation, if there are as many recordings."""

Progress = Callable[[int, int, str], None]
"""Called with the steps done, all steps, and the task."""

Sums = dict[tuple[str, Smoothing], Floats]
"""(task, filter) -> (folds, weights, *shape) sums over the frames of each fold."""


def tune(
    data: TuningData,
    grid: Grid | None = None,
    *,
    folds: int = FOLDS,
    threads: int | None = None,
    one_se: bool = False,
    progress: Progress = lambda done, total, note: None,
) -> TuningResult:
    """Try every setting, choose the best for each task, and cross-validate the choice.

    Ties go to the first filter of the grid, which is no smoothing, and to the weight nearest to 0.5. While the best
    filter is at an edge of the grid that is open, the grid is extended (``grid_edges``). A choice that does worse than
    the default on recordings that it was not made on is not written into the recipe.

    Args:
        grid: by default the papers', which is not extended.
        folds: of the cross-validation, at least 2; with fewer recordings, each is one fold.
        threads: by default one per processor.
        one_se: choose by ``selection.simplest`` instead of the best score.

    Raises:
        UsageError: fewer than two folds, or gates to try without expressions of a frozen network.
    """
    if folds < 2:
        raise UsageError(f"--folds {folds}: give at least 2.")
    first = grid = Grid() if grid is None else grid
    if grid.gates:
        _check_gates(data)
    search = _Search(data, grid, folds, threads, one_se)
    longest = max(len(video.source.timeline.index) for video in data.videos)
    while True:
        search.add(grid, progress)
        found = {task: search.outcome(task, grid.filters) for task in data.tasks}
        wider = grid_edges.extended(grid, [outcome.choice.smoothing for outcome in found.values()], longest)
        if wider == grid:
            break
        grid = wider
    untuned = score_recipe(data, chosen_recipe(data, {}))
    default = score_recipe(data, replace(data.default, max_gap=data.max_gap))
    tuned = score_recipe(data, chosen_recipe(data, {task: outcome.choice for task, outcome in found.items()}))
    scored = {
        task: replace(found[task], untuned=untuned[task], as_default=default[task], tuned=tuned[task])
        for task in data.tasks
    }
    return TuningResult(data, grid, scored, written_recipe(data, scored), first, one_se)


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


def written_recipe(data: TuningData, outcomes: Mapping[str, TaskOutcome]) -> Recipe:
    """The default recipe with what is written of each task, and what it was tuned on."""
    smoothing = {**data.default.smoothing, **{task: one.written.smoothing for task, one in outcomes.items()}}
    weights = {task: one.written.weight for task, one in outcomes.items()}
    thresholds = dict(data.default.thresholds)
    for one in outcomes.values():
        thresholds |= one.written.thresholds
    # The grid is without offsets, so tasks that were chosen from it have none.
    tuned = {name for task, one in outcomes.items() if not one.keeps_default for name in TASKS[task]}
    return replace(
        data.default,
        blend={**data.default.blend, **weights} if len(data.models) == 2 else {},
        smoothing={task: one for task, one in smoothing.items() if one.kernel != "none"},
        max_gap=data.max_gap,
        thresholds=thresholds,
        gate=outcomes["expression"].written.gate if "expression" in outcomes else data.default.gate,
        offsets={name: offset for name, offset in data.default.offsets.items() if name not in tuned},
        tuned_on=data.tuned_on,
    )


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


class _Search:
    """The sums of all settings tried so far.

    Args:
        grid: whose weights and thresholds are tried; those are never extended here.
    """

    def __init__(self, data: TuningData, grid: Grid, folds: int, threads: int | None, one_se: bool) -> None:
        self.data, self.threads, self.one_se = data, threads, one_se
        self.measures = dict(objectives(grid.thresholds, extended="thresholds" in grid.open, both=grid.both))
        if grid.gates:
            self.measures["expression"] = GatedExpressionF1(grid.gates)
        self.weights = {task: _tried_weights(data, task, grid) for task in data.tasks}
        self.parts = {task: _folds(data, task, folds) for task in data.tasks}
        self.sums: Sums = {}

    def add(self, grid: Grid, progress: Progress) -> None:
        """Compute the sums of the filters of a grid that are not there yet."""
        new = {filter_: k for k, filter_ in enumerate(grid.filters) if (self.data.tasks[0], filter_) not in self.sums}
        families = [_reduced(family, set(new.values())) for family in grid.families]
        families = [family for family in families if family.members]
        sums = self._all_sums(families, len(grid.filters), progress)
        for (filter_, k), task in product(new.items(), self.data.tasks):
            self.sums[task, filter_] = sums[task][:, k]

    def _all_sums(self, families: Sequence[Family], filters: int, progress: Progress) -> dict[str, Floats]:
        """Task -> (folds, filters, weights, *shape)."""
        data, weights = self.data, self.weights
        sums = {
            task: np.zeros((len(self.parts[task]), filters, len(weights[task]), *self.measures[task].shape))
            for task in data.tasks
        }
        fold_of = {
            task: {name: k for k, names in enumerate(parts) for name in names} for task, parts in self.parts.items()
        }
        # The longest videos come first, so that all threads finish at about the same time.
        videos = sorted(data.videos, key=lambda video: -len(video.source.timeline.row))
        jobs = [
            (video, task, family)
            for video, task, family in product(videos, data.tasks, families)
            if any(task in person.rows for person in video.people)
        ]
        models = {
            (video.source.video, task): _model_scores(data, video, task) for video in data.videos for task in data.tasks
        }

        def work(job: tuple[TunedVideo, str, Family]) -> Floats:
            video, task, family = job
            given = models[video.source.video, task]
            measure = self.measures[task]
            if isinstance(measure, GatedExpressionF1):
                return _gated_sums(data, video, family, weights[task], measure)
            return _family_sums(data, video, task, family, weights[task], given, measure)

        with ThreadPoolExecutor(self.threads or os.cpu_count() or 1) as pool:
            for done, ((video, task, family), found) in enumerate(zip(jobs, pool.map(work, jobs), strict=True), 1):
                sums[task][fold_of[task][video.recording], list(family.members)] += found
                progress(done, len(jobs), task.replace("_", " "))
        return sums

    def outcome(self, task: str, filters: Sequence[Smoothing]) -> TaskOutcome:
        """Choose on all sums, and on those without each fold; scores by ``score_recipe`` are still 0."""
        measure, weights, parts = self.measures[task], self.weights[task], self.parts[task]
        default = Choice.of(self.data.default, task)
        sums = np.stack([self.sums[task, filter_] for filter_ in filters], axis=1)

        def choose(of: Floats) -> selection.Picked:
            if self.one_se:
                return selection.simplest(measure, of, filters, weights, default)
            return selection.best(measure, of)

        def choice(picked: selection.Picked) -> Choice:
            if isinstance(measure, GatedExpressionF1):
                gate = measure.gates[picked.thresholds[0]]
                return Choice(filters[picked.place[0]], weights[picked.place[1]], {}, gate)
            at = {unit: measure.levels[k] for unit, k in zip(ACTION_UNITS, picked.thresholds, strict=False)}
            return Choice(filters[picked.place[0]], weights[picked.place[1]], at)

        picked = choose(sums)
        folds, kept = [], []
        for k, names in enumerate(parts if len(parts) > 1 else ()):
            there = choose(np.delete(sums, k, axis=0))
            kept.append(measure.at_thresholds(sums[k][there.place], there.thresholds))
            folds.append(Fold(names, choice(there), measure.score(kept[-1])))
        crossed = measure.score(np.sum(kept, axis=0)) if kept else None
        surface = picked.surface[:, np.argsort(weights)]
        return TaskOutcome(
            choice(picked), surface, tuple(sorted(weights)), default, 0.0, 0.0, 0.0, crossed, tuple(folds)
        )


def _reduced(family: Family, wanted: set[int]) -> Family:
    """A family with only some of its members."""
    pairs = [(w, k) for w, k in zip(family.windows, family.members, strict=True) if k in wanted]
    return replace(family, windows=tuple(w for w, _ in pairs), members=tuple(k for _, k in pairs))


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
    data: TuningData,
    video: TunedVideo,
    task: str,
    family: Family,
    weights: Sequence[float],
    models: tuple[Floats, ...],
    measure: Objective,
) -> Floats:
    """(members, weights, *shape) sums of one video for all filters of a family."""
    known = np.array(~np.isnan(models[0]).all(axis=0))
    values = np.hstack([model[:, known] for model in models])
    smoothed = _smoothed(data, video, family, values)
    sums = np.zeros((len(family.windows), len(weights), *measure.shape))
    for one in (person.rows[task] for person in video.people if task in person.rows):
        truth = one.truth if task == "expression" else np.ascontiguousarray(one.truth.T)
        for k, by_model in enumerate(np.split(part, len(models), axis=1) for part in smoothed):
            scores = [_frame_scores(task, part, known, one) for part in by_model]
            sums[k] += measure.sums(scores[0], scores[-1], weights, truth)
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

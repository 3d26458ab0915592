"""Timeline -> Affect: blend the models, smooth, interpolate short gaps. It takes seconds and needs no video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..tasks import BEHAVIOUR, FROZEN, MEASURES, SCORES, TASKS, UNCERTAINTIES
from ..timeline import People, Timeline
from .blinks import closed_eyes
from .gate import gated
from .offsets import shifted
from .recipe import Recipe, Smoothing
from .smoothing import segments, smooth
from .speech import mouth_open, speaking
from .uncertainty import uncertainties

_SHOWN = (*MEASURES, *BEHAVIOUR, *UNCERTAINTIES.values())
_ANGLE = np.array([name.startswith(("head_", "gaze_")) for name in _SHOWN])
_NOT_BRIDGED = np.array([name in ("blink", *UNCERTAINTIES.values()) for name in _SHOWN])
"""What cannot be known of a frame in which the face was not seen."""


@dataclass(frozen=True, slots=True, eq=False)
class Affect:
    """Final scores; N rows sorted by frame and face id, including interpolated ones.

    Attributes:
        index, time: (F,) all analysed frames, as in the timeline.
        row: (N,) position of each row's frame in ``index``.
        face_id: (N,).
        interpolated: (N,) bool, True for rows without a detected face.
        det_score: (N,) nan if interpolated or unknown.
        box: (N, 4) pixels.
        tasks: task -> (N, columns) float64; all nan for a task that no model predicts.
        recipe: that was applied.
        measures: the names of measures, behaviour and uncertainties in ``tasks`` -> (N,) float64, nan where nothing is
            known; only the uncertainties for raw scores from before the rest existed. They are not smoothed; in
            interpolated rows they lie between those of the neighbours, angles on the shorter way round, but ``blink``
            and uncertainties are nan.
        extra: optional columns of the table, as in the timeline.
        who: who the face ids are, as in the timeline.
    """

    index: NDArray[np.int64]
    time: NDArray[np.float64]
    row: NDArray[np.int64]
    face_id: NDArray[np.int64]
    interpolated: NDArray[np.bool_]
    det_score: NDArray[np.float64]
    box: NDArray[np.float64]
    tasks: Mapping[str, NDArray[np.float64]]
    recipe: Recipe
    extra: Mapping[str, NDArray] = field(default_factory=dict)
    measures: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    who: People | None = None


def refine(timeline: Timeline, recipe: Recipe) -> Affect:
    """Apply a recipe to raw scores.

    Raises:
        InputError: the timeline lacks scores of a model of the recipe.
    """
    tasks, blended = {}, {task: blend(timeline, recipe, task) for task in TASKS}
    for task, scores in blended.items():
        values = shifted(scores, task, recipe.offsets)
        tasks[task] = smooth(timeline, values, recipe.smoothing.get(task, Smoothing()), recipe.max_gap)
    measured = _measured(timeline, recipe.max_gap) | uncertainties(timeline, recipe, blended)
    if recipe.gate is not None:
        tasks[FROZEN] = frozen_scores(timeline, recipe)
    affect = _bridge(timeline, tasks, np.stack([measured[name] for name in _SHOWN], axis=1), recipe)
    return affect if recipe.gate is None else _gated(affect, recipe.gate)


def frozen_scores(timeline: Timeline, recipe: Recipe) -> NDArray[np.float64]:
    """(N, 9) expressions of the frozen networks themselves, blended and smoothed like those of their heads.

    Raises:
        InputError: no model of the recipe had a head for expressions when the raw scores were made.
    """
    if not any(FROZEN in timeline.scores.get(name, {}) for name in recipe.models):
        raise InputError(
            f"the recipe has a gate of {recipe.gate:g}, but the raw scores hold no expressions of a frozen network "
            "beside those of its head; annotate with --head, or take the gate away with --gate none."
        )
    smoothing = recipe.smoothing.get("expression", Smoothing())
    return smooth(timeline, blend(timeline, recipe, FROZEN), smoothing, recipe.max_gap)


def _gated(affect: Affect, gate: float) -> Affect:
    """The frozen networks' expressions in the rows where they are sure, the head's in all others."""
    tasks = dict(affect.tasks)
    frozen = tasks.pop(FROZEN)
    return replace(affect, tasks={**tasks, "expression": gated(tasks["expression"], frozen, gate)})


def photo_note(timeline: Timeline, recipe: Recipe) -> str:
    """A sentence about what a recipe asks for and photos do not get, or ""."""
    smooths = any(smoothing.kernel != "none" for smoothing in recipe.smoothing.values())
    if not timeline.photos or not (smooths or recipe.interpolate):
        return ""
    return "photos have no neighbours in time, so nothing is smoothed or interpolated from one to another."


def blend(timeline: Timeline, recipe: Recipe, task: str) -> NDArray[np.float64]:
    """(N, columns) weighted mean of the scores of the recipe's models; a task of only one of them uses that one alone.

    The same holds for faces that only one model scored, and for classes that only one model has; the other model's
    classes are then scaled to the remaining probability. Blending applies to probabilities and to valence and arousal,
    before smoothing (HSEmotion, ABAW-7).
    """
    missing = [name for name in recipe.models if name not in timeline.scores]
    if missing:
        raise InputError(f"there are no raw scores of {', '.join(missing)}, only of {', '.join(timeline.scores)}.")
    given = [timeline.scores[name][task] for name in recipe.models if task in timeline.scores[name]]
    if not given:
        return np.full((len(timeline.row), len(SCORES[task])), np.nan)
    if len(given) == 1:
        return given[0].astype(np.float64)
    first, second = (values.astype(np.float64) for values in given)
    if task in ("expression", FROZEN):
        first, second = _completed(first, second), _completed(second, first)
    return weighted_mean(first, second, recipe.blend.get("expression" if task == FROZEN else task, 0.5))


def weighted_mean(first: NDArray[np.floating], second: NDArray[np.floating], share: float) -> NDArray[np.float64]:
    """(n, columns) mean with weight ``share`` of the first; where one is nan, the value of the other."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, share * one + (1 - share) * other))


def _completed(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities with missing classes taken from the other model, and the own ones scaled to the remainder."""
    missing = np.isnan(one) & ~np.isnan(one).all(axis=1, keepdims=True) & ~np.isnan(other)
    taken = np.where(missing, other, 0.0).sum(axis=1, keepdims=True)
    return np.where(missing, other, one * (1 - taken))


def _bridge(
    timeline: Timeline, tasks: Mapping[str, NDArray[np.float64]], measured: NDArray[np.float64], recipe: Recipe
) -> Affect:
    """Add interpolated rows for the frames in gaps of at most ``recipe.interpolate`` seconds.

    Args:
        measured: (N, len(_SHOWN)).
    """
    row, face_id = [timeline.row], [timeline.face_id]
    measures = [measured]
    box, scores = [timeline.box.astype(np.float64)], {task: [values] for task, values in tasks.items()}
    for rows in segments(timeline, recipe.interpolate) if recipe.interpolate > 0 else []:
        seen = timeline.row[rows]
        inside = np.setdiff1d(np.arange(seen[0], seen[-1] + 1), seen)
        if not len(inside):
            continue
        left = np.searchsorted(seen, inside) - 1
        # By number where time stands still, as some files have it.
        clock = timeline.time if (np.diff(timeline.time[seen]) > 0).all() else np.arange(len(timeline.time))
        start, end = clock[seen[left]], clock[seen[left + 1]]
        t = ((clock[inside] - start) / (end - start))[:, None]
        row.append(inside)
        face_id.append(np.full(len(inside), timeline.face_id[rows[0]]))
        for values, out in [(box[0], box), *((tasks[task], scores[task]) for task in tasks)]:
            out.append((1 - t) * values[rows[left]] + t * values[rows[left + 1]])
        start, way = measured[rows[left]], measured[rows[left + 1]] - measured[rows[left]]
        measures.append(np.where(_NOT_BRIDGED, np.nan, _within(start + t * _within(way))))
    rows_now, ids_now = np.concatenate(row), np.concatenate(face_id)
    order = np.lexsort((ids_now, rows_now))
    added = len(rows_now) - len(timeline.row)
    shown = dict(zip(_SHOWN, np.concatenate(measures)[order].T, strict=True))
    return Affect(
        index=timeline.index,
        time=timeline.time,
        row=rows_now[order],
        face_id=ids_now[order],
        interpolated=(np.arange(len(rows_now)) >= len(timeline.row))[order],
        det_score=np.concatenate([timeline.det_score, np.full(added, np.nan)])[order].astype(np.float64),
        box=np.concatenate(box)[order],
        tasks={task: np.concatenate(parts)[order] for task, parts in scores.items()},
        recipe=recipe,
        extra=timeline.extra,
        who=timeline.who,
        measures={name: found for name, found in shown.items() if timeline.measures or name in UNCERTAINTIES.values()},
    )


def _measured(timeline: Timeline, max_gap: float) -> dict[str, NDArray[np.float64]]:
    """Names of measures and behaviour -> (N,), nan for what a timeline does not have."""
    unknown = np.full(len(timeline.row), np.nan)
    known = {name: timeline.measures.get(name, unknown).astype(np.float64) for name in MEASURES}
    behaviour = {
        "blink": closed_eyes(timeline, known["eye_opening"], max_gap),
        "mouth_open": mouth_open(known["mouth_gap"]),
        "speaking": speaking(timeline, known["mouth_gap"], max_gap),
    }
    return {**known, **behaviour}


def _within(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, len(_SHOWN)) with angles brought between -180 and 180 degrees."""
    return np.where(_ANGLE & (np.abs(values) > 180), (values + 180) % 360 - 180, values)

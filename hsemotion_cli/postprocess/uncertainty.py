"""Scores of each face -> how uncertain they are: one number in [0, 1] for each task.

A logistic function of what is known about a face: how evenly the probabilities are spread, how much the models
disagree, and how good the image is. ``scripts/fit_uncertainty.py`` fits it for the default models; with others it still
ranks rows, but its values are no longer calibrated. What is not known of a face counts as average.

Heads of an ensemble that are d apart raise an uncertainty u to 1 - (1 - u)(1 - d), as if their disagreement were a
second and independent way to be wrong. This is a rule and not a fit: no labelled data with such heads are at hand.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelUnavailable
from ..models.ensemble import distance
from ..tasks import ACTION_UNITS, DISAGREEMENT, TASKS, UNCERTAINTIES
from ..timeline import Timeline
from .recipe import Recipe

FILE = "uncertainty.json"
"""Among the assets."""

_TINY = 1e-6
_GOOD_CONTRAST = 40.0  # standard deviation of grey values from which more contrast says nothing

Features = Mapping[str, NDArray[np.float64]]


def uncertainties(
    timeline: Timeline, recipe: Recipe, blended: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Column -> (N,) uncertainty in [0, 1] of each row by itself; nan where a task has no scores.

    Args:
        blended: task -> (N, columns) scores before smoothing.
    """
    found = {}
    for task, column in UNCERTAINTIES.items():
        total = np.full(len(timeline.row), float(_weights()[task]["bias"]))
        for name, values in features(timeline, recipe, blended, task).items():
            mean, spread, weight = _weights()[task]["features"][name]
            total += np.nan_to_num((values - mean) / spread) * weight
        unscored = np.isnan(blended[task]).all(axis=1)
        alone = 1 / (1 + np.exp(-total))
        apart = _of_members(timeline, recipe, task)
        found[column] = np.where(unscored, np.nan, np.where(apart > 0, 1 - (1 - alone) * (1 - apart), alone))
    return found


def features(
    timeline: Timeline, recipe: Recipe, blended: Mapping[str, NDArray[np.float64]], task: str
) -> dict[str, NDArray[np.float64]]:
    """Feature -> (N,) of what the uncertainty of a task is made from; nan where it is not known.

    * ``doubt``: ln((1 - p) / p) for the highest probability p of an expression.
    * ``entropy`` of the expressions, as a share of the largest possible one.
    * ``threshold`` (action units only): mean closeness of the units to their thresholds, 2 / (1 + exp(d)), where d is
      the distance of the logits; 1 at the threshold.
    * ``disagreement`` of the two models: ``models.ensemble.distance``.
    * ``sharpness``: its logarithm; ``contrast``: log2(contrast / 40), at most 0; ``hidden``: 1 without landmarks.
    """
    measured = timeline.measures.get("contrast")
    known = np.full(len(timeline.row), np.nan) if measured is None else measured.astype(np.float64)
    sharpness = timeline.measures.get("sharpness", known).astype(np.float64)
    found = {
        "disagreement": _disagreement(timeline, recipe, task),
        "sharpness": np.log(np.maximum(sharpness, _TINY)),
        "contrast": np.minimum(np.log2(np.maximum(known, 1.0) / _GOOD_CONTRAST), 0),
        # Where no face has landmarks, they were not looked for.
        "hidden": known if np.isnan(known).all() else np.isnan(known).astype(np.float64),
    }
    if task == "action_units":
        return {"threshold": _closeness(blended[task], recipe), **found}
    return {**_spread(blended["expression"]), **found}


def _spread(probabilities: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    known = ~np.isnan(probabilities)
    none = ~known.any(axis=1)
    p = np.clip(np.where(known, probabilities, 0.0), 0.0, 1.0)
    highest = np.clip(p.max(axis=1, initial=0.0), _TINY, 1 - _TINY)
    entropy = -(p * np.log(np.maximum(p, _TINY))).sum(axis=1) / np.log(np.maximum(known.sum(axis=1), 2))
    doubt = np.log((1 - highest) / highest)
    return {"doubt": np.where(none, np.nan, doubt), "entropy": np.where(none, np.nan, entropy)}


def _closeness(probabilities: NDArray[np.float64], recipe: Recipe) -> NDArray[np.float64]:
    thresholds = np.array([recipe.thresholds.get(unit, 0.5) for unit in ACTION_UNITS])
    distance = np.abs(_logit(probabilities) - _logit(thresholds))
    known = ~np.isnan(distance)
    closeness = np.where(known, 2 / (1 + np.exp(np.where(known, distance, 0.0))), 0.0)
    return np.where(known.any(axis=1), closeness.sum(axis=1) / np.maximum(known.sum(axis=1), 1), np.nan)


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probability, _TINY, 1 - _TINY)
    return np.log(clipped / (1 - clipped))


def _disagreement(timeline: Timeline, recipe: Recipe, task: str) -> NDArray[np.float64]:
    """nan where fewer than two models predict the task; classes that one of them lacks do not count."""
    given = [timeline.scores[name][task] for name in recipe.models if task in timeline.scores[name]]
    return np.full(len(timeline.row), np.nan) if len(given) < 2 else distance(task, *given)


def _of_members(timeline: Timeline, recipe: Recipe, task: str) -> NDArray[np.float64]:
    """(N,) how far apart the heads of ensembles are, at most 1, the mean over models; 0 where there is no ensemble."""
    column = list(TASKS).index(task)
    given = [timeline.scores[name][DISAGREEMENT] for name in recipe.models if DISAGREEMENT in timeline.scores[name]]
    apart = [np.nan_to_num(values[:, column].astype(np.float64)) for values in given]
    return np.minimum(np.mean(apart, axis=0), 1.0) if apart else np.zeros(len(timeline.row))


@functools.cache
def _weights() -> dict[str, Any]:
    """Task -> "bias", and "features": name -> mean, standard deviation, weight.

    Raises:
        ModelUnavailable: they are missing from the installation.
    """
    try:
        content: dict[str, Any] = json.loads(
            files("hsemotion_cli").joinpath("assets", FILE).read_text(encoding="utf-8")
        )
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{FILE} is missing from the installation; reinstall hsemotion.") from error
    return content["tasks"]

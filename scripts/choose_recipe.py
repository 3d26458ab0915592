"""Chooses the default recipe on labelled sets of other domains, which nothing was trained on.

    python scripts/choose_recipe.py --faces domains.npz

``domains.npz`` is made by ``measure_domains.py``. Writes hsemotion_cli/assets/default_recipe.json:

- the weight of the network for expressions: the smallest for which the mean of accuracy and macro F1, over the sets and
  the calibration part of FER+ if ``--ferplus`` names packed faces of it, is within 0.004 of the best;
- the weight of the network for action units, and their thresholds. Nobody coded action units in these images, so the
  units that each expression typically has (Du, Tao & Martinez 2014, PNAS 111:E1454, table 1) stand in for codes: a unit
  should be on in the expressions of ``TYPICAL``, may be on in those of ``POSSIBLE``, and off in the others. The weight
  is the smallest whose mean area under the ROC curve is within 0.01 of the best. A threshold is that of the largest
  difference between the rates in expressions with and without the unit, as long as at most 10 % of the neutral faces
  and 20 % of the faces without the unit have it. Units for which that difference stays below 0.05 get the threshold
  that 10 % of all faces reach.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from measure_domains import ALL_CLASSES, chosen
from measure_models import GEOMETRY, RECIPE, predicted
from numpy.typing import NDArray
from scipy.stats import rankdata

from hsemotion_cli.evaluation import metrics
from hsemotion_cli.models import registry
from hsemotion_cli.models.blendshapes import GeometryModel
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import weighted_mean
from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS
from hsemotion_cli.training import dataset
from hsemotion_cli.training.dataset import Dataset

TYPICAL = {
    "AU01": "fear surprise", "AU02": "surprise", "AU04": "anger sadness fear", "AU06": "happiness", "AU07": "anger",
    "AU10": "disgust", "AU12": "happiness", "AU15": "sadness", "AU23": "anger", "AU24": "anger",
    "AU25": "happiness fear surprise", "AU26": "surprise",
}  # fmt: skip
POSSIBLE = {
    "AU01": "sadness", "AU02": "fear", "AU04": "disgust", "AU06": "sadness", "AU07": "disgust fear sadness happiness",
    "AU10": "anger happiness", "AU12": "contempt", "AU15": "disgust contempt", "AU23": "disgust sadness",
    "AU24": "disgust sadness contempt", "AU25": "disgust anger sadness", "AU26": "fear disgust anger",
}  # fmt: skip
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
THRESHOLDS = np.arange(5, 90) / 100
NEUTRAL_RATE, FALSE_RATE, USEFUL, RARE = 0.10, 0.20, 0.05, 0.10
TOLERANCE = {"expression": 0.004, "action_units": 0.01}
"""Mean differences that are within chance; then the more even blend wins, since models that disagree tell of doubt."""

Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="packed faces of the sets")
    parser.add_argument("--ferplus", type=Path, help="packed faces of FER+")
    options = parser.parse_args()
    faces = dataset.read(options.faces)
    usual = Recipe.usual()
    network, geometry = scored(usual.models[0], faces)
    trials = [(faces, network["expression"], geometry["expression"])]
    if options.ferplus:
        known = dataset.read(options.ferplus)
        known = known.subset(np.flatnonzero((known.source == "ferplus") & (known.part == "calibration") & known.clear))
        one, other = scored(usual.models[0], known)
        trials.append((known, one["expression"], other["expression"]))
    means = {k / 20: float(np.mean([value for trial in trials for value in score(*trial, k / 20)])) for k in range(21)}
    print("expressions, mean of accuracy and macro F1 by the weight of the network:", means)
    expression = smallest(means, TOLERANCE["expression"])
    units, thresholds = action_units(network["action_units"], geometry["action_units"], faces)
    recipe = {
        "models": list(usual.models),
        "blend": {"expression": expression, "valence_arousal": 1.0, "action_units": units},
        "thresholds": thresholds,
    }
    print(json.dumps(recipe, indent=1))
    RECIPE.write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")


def scored(name: str, faces: Dataset) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Task -> scores of the network, and of ``mp-blendshapes`` (nan without a face)."""
    own = predicted(registry.card(name), faces, np.arange(len(faces)))
    shapes = GeometryModel(registry.card(GEOMETRY)).read(faces.blendshapes).tasks
    return own, {task: values.astype(np.float64) for task, values in shapes.items()}


def smallest(scores: dict[float, float], tolerance: float) -> float:
    """The smallest weight whose score is within a tolerance of the best."""
    return min(weight for weight, found in scores.items() if found >= max(scores.values()) - tolerance)


def score(faces: Dataset, one: Floats, other: Floats, weight: float) -> list[float]:
    """Accuracy and macro F1 on each set, of expressions blended with a weight."""
    blended = weighted_mean(one[:, :8], other[:, :8], weight)
    found = []
    for source in np.unique(faces.source):
        rows = np.flatnonzero((faces.source == source) & ~np.isnan(faces.expression).any(axis=1))
        truth = faces.expression[rows].argmax(axis=1)
        everything = str(source) if str(source) != "ferplus" else ALL_CLASSES[0]
        label = chosen(blended[rows], truth, everything)
        f1 = metrics.per_class(truth, label, 8).f1[np.unique(truth)]
        found += [metrics.accuracy(truth, label), float(f1.mean())]
    return found


def action_units(one: Floats, other: Floats, faces: Dataset) -> tuple[float, dict[str, float]]:
    """The weight of the first model, and the thresholds."""
    seen = ~np.isnan(other).any(axis=1)
    label = faces.expression.argmax(axis=1)
    sets = [seen & (faces.source == source) for source in np.unique(faces.source) if source not in ALL_CLASSES]
    cases = {unit: (has(label, TYPICAL[unit]), ~has(label, POSSIBLE[unit])) for unit in ACTION_UNITS}

    def area(weight: float) -> float:
        blended = weight * one + (1 - weight) * other
        return float(
            np.mean([auc(blended[part & use, k], typical[part & use])
                     for k, (typical, use) in enumerate(cases.values()) for part in sets])
        )  # fmt: skip

    areas = {weight: area(weight) for weight in WEIGHTS}
    print("action units, mean area under the ROC curve by the weight of the network:", areas)
    best = smallest(areas, TOLERANCE["action_units"])
    blended = best * one + (1 - best) * other
    neutral = seen & (label == 0)
    thresholds = {}
    for k, (unit, (typical, use)) in enumerate(cases.items()):
        scores = blended[:, k]
        gains = {}
        for threshold in THRESHOLDS:
            on = scores >= threshold
            if on[neutral].mean() <= NEUTRAL_RATE and on[seen & use & ~typical].mean() <= FALSE_RATE:
                gains[float(threshold)] = np.mean(
                    [on[part & use & typical].mean() - on[part & use & ~typical].mean() for part in sets]
                )
        found = max(gains, key=lambda threshold: gains[threshold])
        if gains[found] < USEFUL:
            found = float(np.round(np.quantile(scores[seen], 1 - RARE), 3))
        thresholds[unit] = found
        rates = [(scores >= found)[where].mean() for where in (seen & use & typical, seen & use & ~typical, neutral)]
        print(f"{unit}: {found:g}; on in {rates[0]:.2f} with, {rates[1]:.2f} without, {rates[2]:.2f} of neutral faces")
    return best, thresholds


def has(label: NDArray[np.int64], names: str) -> NDArray[np.bool_]:
    """Whether each label is one of some expressions."""
    return np.isin(label, [BASIC_EXPRESSIONS.index(name) for name in names.split()])


def auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """The area under the ROC curve: the chance that a positive scores higher than a negative."""
    ranks, n = rankdata(scores), int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


if __name__ == "__main__":
    main()

"""Fits how uncertain a row of the table is, on the calibration images of FER+ and degraded ones of them.

    python scripts/collect_faces.py ... -o faces.npz
    python scripts/fit_uncertainty.py faces.npz

A logistic regression for each task, on the features of ``hsemotion_cli/postprocess/uncertainty.py``:

* expression: whether the predicted expression is another than most raters chose;
* valence and arousal: whether they are more than 0.3 away, in their plane, from those that follow from the votes;
* action units: the share of the units that are decided otherwise than on the image before it was degraded. No image
  here has coded units, so this is how little the decisions can be repeated, not how wrong they are.

Writes hsemotion_cli/assets/uncertainty.json; ``risk_coverage.py`` shows what it is worth.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from collect_faces import Scored, load
from numpy.typing import NDArray
from scipy.optimize import minimize

from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import blend
from hsemotion_cli.postprocess.uncertainty import FILE, features
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS, TASKS

TARGET = Path(__file__).resolve().parent.parent / "hsemotion_cli" / "assets" / FILE
FAR = 0.3
"""Distance in the plane of valence and arousal that counts as an error: about what raters differ by."""

_RIDGE = 0.01
_BETTER = ("sharpness", "contrast")
"""Features that may only lower an uncertainty; the others may only raise it. A fit without these limits gives the
disagreement a small weight of the wrong sign."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="made by collect_faces.py")
    faces, recipe = load(parser.parse_args().faces), Recipe.usual()
    blended = {task: blend(faces.timeline, recipe, task) for task in TASKS}
    errors = errors_of(faces, blended, recipe)
    content: dict[str, object] = {"made_by": "scripts/fit_uncertainty.py", "models": list(recipe.models), "tasks": {}}
    tasks: dict[str, object] = {}
    for task in TASKS:
        rows = (faces.part == "ferplus calibration") & ~np.isnan(errors[task])
        target = errors[task][rows] > FAR if task == "valence_arousal" else errors[task][rows]
        given = features(faces.timeline, recipe, blended, task)
        tasks[task] = fit({name: values[rows] for name, values in given.items()}, target.astype(np.float64))
        print(task, f"{int(rows.sum())} images:", json.dumps(tasks[task]))
    TARGET.write_text(json.dumps({**content, "tasks": tasks}, indent=1) + "\n", encoding="utf-8")


def errors_of(faces: Scored, blended: dict[str, NDArray[np.float64]], recipe: Recipe) -> dict[str, NDArray[np.float64]]:
    """Task -> (n,) 1 for a wrong expression, the distance of valence and arousal, the share of units that flip.

    nan where the truth is not known.
    """
    expression = blended["expression"]
    wrong = np.array(EXPRESSIONS)[np.nan_to_num(expression, nan=-1).argmax(axis=1)] != faces.label
    thresholds = np.array([recipe.thresholds[unit] for unit in ACTION_UNITS])
    units = blended["action_units"]
    flips = ((units >= thresholds) != (units[faces.original] >= thresholds)).mean(axis=1)
    unknown = (faces.original < 0) | np.isnan(units).any(axis=1) | np.isnan(units[faces.original]).any(axis=1)
    return {
        "expression": np.where(np.isnan(expression).all(axis=1), np.nan, wrong),
        "valence_arousal": np.linalg.norm(blended["valence_arousal"] - faces.affect, axis=1),
        "action_units": np.where(unknown, np.nan, flips),
    }


def fit(given: dict[str, NDArray[np.float64]], target: NDArray[np.float64]) -> dict[str, object]:
    """Mean, standard deviation and weight of each feature, and the bias, that minimise the cross-entropy."""
    means, spreads = {}, {}
    columns = []
    for name, values in given.items():
        means[name], spreads[name] = float(np.nanmean(values)), max(float(np.nanstd(values)), 1e-6)
        columns.append(np.nan_to_num((values - means[name]) / spreads[name]))
    table = np.column_stack([*columns, np.ones(len(target))])

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total = table @ w
        penalty = np.append(w[:-1], 0.0)
        value = (np.logaddexp(0, total) - target * total).mean() + _RIDGE / 2 * (penalty @ penalty)
        slope = table.T @ (1 / (1 + np.exp(-total)) - target) / len(target) + _RIDGE * penalty
        return float(value), slope

    limits = [(None, 0) if name in _BETTER else (0, None) for name in given]
    weights = minimize(loss, np.zeros(table.shape[1]), jac=True, bounds=[*limits, (None, None)]).x
    rounded = {
        name: [round(means[name], 4), round(spreads[name], 4), round(float(w), 4)]
        for name, w in zip(given, weights, strict=False)
    }
    return {"bias": round(float(weights[-1]), 4), "features": rounded}


if __name__ == "__main__":
    main()
